//! A repository at another place: the same files under the same names, so that ids stay what they are and every restic
//! program opens the copy with the same keys.
//!
//! **Invariant:** nothing counts as copied that was not read back from the new place and found to be what its name says
//! (restic names files by the SHA-256 of their content). `config` comes last: until then nothing takes the copy for a
//! repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustic_core::CheckOptions;
use rustic_core::repofile::SnapshotFile;
use sha2::{Digest as _, Sha256};

use super::error::{Cause, Error};
use super::guard::Entries;
use super::job::Job;
use super::{Location, Repository, Use, parse};
use crate::domain::Bytes;

/// In this order: what others point to comes first.
const DIRECTORIES: [&str; 4] = ["data", "index", "snapshots", "keys"];
const CONFIG: &str = "config";
/// What is being written, until it is whole.
const UNFINISHED: &str = ".copying";
const CHUNK: usize = 1 << 20;

/// A copy in the making. What was read back is remembered, so that a second round reads only what came since.
#[derive(Debug)]
pub struct Copy {
    from: PathBuf,
    to: PathBuf,
    sound: BTreeSet<PathBuf>,
}

/// What a round found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Files of the repository, and their size.
    pub files: u64,
    pub size: Bytes,
    /// Left the copy, because they had left the repository.
    pub removed: u64,
}

impl Copy {
    /// # Errors
    /// [`Error::Exists`] when another repository is there.
    pub fn new(from: &Location, to: &Location) -> Result<Self, Error> {
        let (Location::Local(from), Location::Local(to)) = (from, to);
        let (own, there) = (std::fs::read(from.join(CONFIG)), std::fs::read(to.join(CONFIG)));
        let own = own.map_err(|source| at("read", &from.join(CONFIG))(source))?;
        if is_within(from, to) || is_within(to, from) {
            return Err(Error::Exists { location: to.display().to_string() });
        }
        match there {
            Ok(there) if there != own => Err(Error::Exists { location: to.display().to_string() }),
            _ => Ok(Self { from: from.clone(), to: to.clone(), sound: BTreeSet::new() }),
        }
    }

    /// What is not there yet: for the room that is needed.
    ///
    /// # Errors
    /// When its storage can't be read.
    pub fn missing(&self) -> Result<Bytes, Error> {
        let there = listed(&self.to)?;
        let files = listed(&self.from)?.into_iter();
        Ok(Bytes(files.filter(|(name, size)| there.get(name) != Some(size)).map(|(_, size)| size).sum()))
    }

    /// What the repository takes.
    ///
    /// # Errors
    /// When its storage can't be read.
    pub fn size(&self) -> Result<Bytes, Error> {
        Ok(Bytes(listed(&self.from)?.values().sum()))
    }

    /// Copies what is missing, reads back what was not yet, and removes from the copy what is in the repository no more.
    /// `each` is called after every file. While others use the repository, it is not yet the whole of it.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a file that is not what its name says; what keeps either storage from being used.
    pub fn round(&mut self, job: &Job, each: &dyn Fn()) -> Result<Copied, Error> {
        job.end(self.step(job, each))
    }

    fn step(&mut self, job: &Job, each: &dyn Fn()) -> Result<Copied, Error> {
        let files = listed(&self.from)?;
        let there = listed(&self.to)?;
        let missing = |name: &PathBuf, size: u64| there.get(name) != Some(&size);
        // Each file is read here and written, and read there.
        let work = files.iter().filter(|(name, _)| !self.sound.contains(*name));
        let work = work.map(|(name, size)| if missing(name, *size) { 2 * size } else { *size });
        job.expect_bytes(work.sum());
        let mut touched = BTreeSet::new();
        let mut in_order: Vec<_> = files.iter().collect();
        in_order.sort_by_key(|(name, _)| rank(name));
        for (name, size) in in_order {
            if self.sound.contains(name) && !missing(name, *size) {
                continue;
            }
            if missing(name, *size) {
                touched.extend(self.copy(name, job)?);
            }
            if let Err(error) = self.read_back(name, job) {
                if matches!(error, Error::Cancelled) || !there.contains_key(name) {
                    return Err(error);
                }
                // Left by a try that died, or by a disk: once more.
                touched.extend(self.copy(name, job)?);
                self.read_back(name, job)?;
            }
            self.sound.insert(name.clone());
            each();
        }
        let mut removed = 0;
        for name in there.keys().filter(|name| !files.contains_key(*name)) {
            let path = self.to.join(name);
            std::fs::remove_file(&path).map_err(at("remove", &path))?;
            self.sound.remove(name);
            removed += 1;
        }
        for directory in touched {
            File::open(&directory).and_then(|it| it.sync_all()).map_err(at("write", &directory))?;
        }
        Ok(Copied { files: files.len() as u64, size: Bytes(files.values().sum()), removed })
    }

    /// Gives the directories that have another content now.
    fn copy(&self, name: &Path, job: &Job) -> Result<Vec<PathBuf>, Error> {
        let (from, to) = (self.from.join(name), self.to.join(name));
        let directory = to.parent().unwrap_or(&self.to).to_owned();
        std::fs::create_dir_all(&directory).map_err(at("write", &directory))?;
        let unfinished = directory.join(UNFINISHED);
        let mut source = File::open(&from).map_err(at("read", &from))?;
        let mut target = File::create(&unfinished).map_err(at("write", &unfinished))?;
        let hash = through(&mut source, job, |bytes| target.write_all(bytes))
            .map_err(|broken| broken.into_error(&from, &unfinished))?;
        if !is_named(name, &hash) {
            return Err(Error::wrong(format!("the file {}", from.display())));
        }
        target.sync_all().map_err(at("write", &unfinished))?;
        std::fs::rename(&unfinished, &to).map_err(at("write", &to))?;
        let above = directory.parent().map(Path::to_owned);
        Ok([Some(directory), above].into_iter().flatten().collect())
    }

    fn read_back(&self, name: &Path, job: &Job) -> Result<(), Error> {
        let path = self.to.join(name);
        let mut file = File::open(&path).map_err(at("read", &path))?;
        let hash = through(&mut file, job, |_| Ok(())).map_err(|broken| broken.into_error(&path, &path))?;
        let sound = match name == Path::new(CONFIG) {
            true => std::fs::read(&path).ok() == std::fs::read(self.from.join(name)).ok(),
            false => is_named(name, &hash),
        };
        if sound { Ok(()) } else { Err(Error::wrong(format!("the copy {}", path.display()))) }
    }
}

impl Repository {
    /// Whether every one of these entries is there and all that it needs: its tree, each directory and each file's data in
    /// it, by the index and by the packs' lengths. Reads no file's data: [`struct@Copy`] has compared it with its name.
    ///
    /// # Errors
    /// [`Error::UnknownSnapshot`] and [`Error::Damaged`].
    pub fn check(&self, job: &Job, entries: &[String]) -> Result<(), Error> {
        job.end(self.check_entries(job, entries))
    }

    fn check_entries(&self, job: &Job, entries: &[String]) -> Result<(), Error> {
        let there: BTreeSet<_> = self.entry_ids()?.into_iter().collect();
        let (repository, _) = self.session(job, Entries::Refuse, Use::reading())?;
        job.pool()?.install(|| {
            let mut trees = Vec::new();
            for id in entries {
                let parsed = parse(id)?;
                if !there.contains(&parsed) {
                    return Err(Error::UnknownSnapshot { id: id.clone() });
                }
                let entry: SnapshotFile = repository
                    .get_file(&parsed.into())
                    .map_err(|error| Error::damaged(format!("the entry {id}"), error))?;
                trees.push(entry.tree);
            }
            let damaged = |error| Error::damaged("what its entries use", error);
            let found = repository.check_with_trees(CheckOptions::default(), trees).map_err(damaged)?;
            found.is_ok().map_err(damaged)
        })
    }
}

/// Names of its files below the directory, with their sizes: of restic's layout, nothing else that may lie there.
fn listed(root: &Path) -> Result<BTreeMap<PathBuf, u64>, Error> {
    let mut files = BTreeMap::new();
    for kind in DIRECTORIES {
        let directory = root.join(kind);
        for name in names(&directory)? {
            let below = directory.join(&name);
            if kind == "data" && name.len() == 2 {
                for file in names(&below)? {
                    add(&mut files, root, &Path::new(kind).join(&name).join(file))?;
                }
            } else {
                add(&mut files, root, &Path::new(kind).join(name))?;
            }
        }
    }
    if root.join(CONFIG).exists() {
        add(&mut files, root, Path::new(CONFIG))?;
    }
    Ok(files)
}

fn add(files: &mut BTreeMap<PathBuf, u64>, root: &Path, name: &Path) -> Result<(), Error> {
    let is_ours = name == Path::new(CONFIG)
        || name.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
        });
    if is_ours {
        let path = root.join(name);
        let metadata = path.metadata().map_err(at("read", &path))?;
        if metadata.is_file() {
            files.insert(name.to_owned(), metadata.len());
        }
    }
    Ok(())
}

fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at("read", directory))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(at("read", directory))?.file_name().into_string());
    }
    Ok(names)
}

/// Where among the others it is copied: what others point to comes first, `config` last.
fn rank(name: &Path) -> usize {
    DIRECTORIES.iter().position(|directory| name.starts_with(directory)).unwrap_or(DIRECTORIES.len())
}

/// Whether a directory is another one, or lies in it, by whatever way it is reached. One that is not there yet lies where
/// its nearest directory does.
fn is_within(inner: &Path, outer: &Path) -> bool {
    let identity = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    let Some(outer) = identity(outer) else { return false };
    let there = inner.ancestors().find_map(|path| path.canonicalize().ok());
    there.is_some_and(|there| there.ancestors().any(|path| identity(path) == Some(outer)))
}

fn is_named(name: &Path, hash: &str) -> bool {
    name == Path::new(CONFIG) || name.file_name().and_then(|name| name.to_str()) == Some(hash)
}

enum Broken {
    Reading(io::Error),
    Writing(io::Error),
    Stopped(Error),
}

impl Broken {
    fn into_error(self, from: &Path, to: &Path) -> Error {
        match self {
            Self::Reading(source) => at("read", from)(source),
            Self::Writing(source) => at("write", to)(source),
            Self::Stopped(error) => error,
        }
    }
}

/// Reads to the end; gives the hash of all that was read.
fn through(source: &mut File, job: &Job, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> Result<String, Broken> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        job.check().map_err(Broken::Stopped)?;
        let read = match source.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(Broken::Reading)?,
        };
        if read == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..read]);
        each(&buffer[..read]).map_err(Broken::Writing)?;
        job.did(read as u64);
    }
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let location = path.display().to_string();
    let action = match action {
        "read" => "read",
        "remove" => "tidied up",
        _ => "written",
    };
    move |source| Error::Storage { location, action, source: Cause::from(source) }
}
