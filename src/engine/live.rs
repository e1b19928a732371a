//! Walking a live tree, in the order in which the repository stores it.
//!
//! **Invariant:** no symbolic link below the root is followed: every name is looked up in the directory that was opened
//! for it. What the index names and is gone meanwhile is written down as unsettled, what it does not name is not looked
//! at, and what cannot be read makes the job bad.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::jiff::Timestamp;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::error::Error;
use super::job::Job;
use super::source::{Lost, Unsettled};
use super::unchanged::{Unchanged, Whole};
use crate::domain::tree::{FileKind, FileMeta, TreeIndex};

/// What lies below a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents {
    /// Everything that is not a directory.
    pub files: u64,
    /// Sum of the files' sizes.
    pub bytes: u64,
}

impl Contents {
    pub(super) fn add(&mut self, more: Contents) {
        self.files += more.files;
        self.bytes += more.bytes;
    }
}

/// Contents of every directory, by path relative to the mount; filled when the walk leaves it.
pub(super) type ByDirectory = Arc<Mutex<BTreeMap<PathBuf, Contents>>>;

pub(super) struct Walk {
    pub job: Job,
    pub root: PathBuf,
    index: Arc<dyn TreeIndex>,
    unchanged: Unchanged,
    pub lost: Unsettled,
    pub contents: ByDirectory,
    start: Option<Found>,
    levels: Vec<Level>,
}

struct Level {
    directory: Arc<OwnedFd>,
    relative: PathBuf,
    names: std::vec::IntoIter<OsString>,
    contents: Contents,
}

pub(super) struct Found {
    /// Empty for the root, which comes first.
    pub relative: PathBuf,
    /// The root's is empty too.
    pub name: OsString,
    pub meta: FileMeta,
    pub ctime: Timestamp,
    /// The directory that it was found in; the root in itself.
    pub directory: Arc<OwnedFd>,
    /// An unchanged directory: nothing below it follows.
    pub whole: Option<Whole>,
}

impl Walk {
    /// Walks what `index` knows, but for what lies below the directories that are `unchanged`.
    pub fn new(job: &Job, root: &Path, index: Arc<dyn TreeIndex>, unchanged: Unchanged) -> Result<Self, Error> {
        let failed = |action| move |source: io::Error| Error::Source { action, path: root.to_owned(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            rustix::fs::open(root, flags, Mode::empty()).map_err(io::Error::from).map_err(failed("open the mount"))?;
        let stat = rustix::fs::fstat(&directory).map_err(io::Error::from).map_err(failed("read the metadata of"))?;
        let (meta, ctime) = meta(&directory, OsStr::new(""), root, &stat).map_err(failed("read the metadata of"))?;
        let contents = unchanged.iter().map(|(path, whole)| (path.clone(), whole.contents)).collect();
        let mut walk = Self {
            job: job.clone(),
            root: root.to_owned(),
            index,
            unchanged,
            lost: Unsettled::default(),
            contents: Arc::new(Mutex::new(contents)),
            start: None,
            levels: Vec::new(),
        };
        let directory = Arc::new(directory);
        let whole = walk.enter(directory.clone(), PathBuf::new());
        walk.start = Some(Found { relative: PathBuf::new(), name: OsString::new(), meta, ctime, directory, whole });
        Ok(walk)
    }

    /// Gives an unchanged directory as a whole; goes into another.
    fn enter(&mut self, directory: Arc<OwnedFd>, relative: PathBuf) -> Option<Whole> {
        if let Some(whole) = self.unchanged.get(&relative) {
            if let Some(above) = self.levels.last_mut() {
                above.contents.add(whole.contents);
            }
            return Some(*whole);
        }
        let mut names: Vec<OsString> = self.index.entries(&relative).map(|(name, _)| name.to_owned()).collect();
        // In the order of their bytes, which is the repository's.
        names.sort_unstable();
        self.levels.push(Level { directory, relative, names: names.into_iter(), contents: Contents::default() });
        None
    }

    fn lose(&self, what: Lost) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    fn leave(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        if let Some(above) = self.levels.last_mut() {
            above.contents.add(level.contents);
        }
        self.contents.lock().unwrap_or_else(PoisonError::into_inner).insert(level.relative, level.contents);
    }

    /// `Ok(None)`: it vanished, or became something else while it was looked at.
    fn look(&mut self, name: OsString, relative: PathBuf) -> io::Result<Option<Found>> {
        let Some(level) = self.levels.last_mut() else { return Ok(None) };
        let directory = level.directory.clone();
        let path = self.root.join(&relative);
        let stat = match rustix::fs::statat(&directory, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                self.lose(Lost::File(relative));
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
        let lost = if is_directory { Lost::Directory } else { Lost::File };
        let (meta, ctime) = match meta(&directory, &name, &path, &stat) {
            Ok(read) => read,
            Err(error) if is_gone(&error) => {
                self.lose(lost(relative));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut whole = None;
        if is_directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(&directory, name.as_os_str(), flags, Mode::empty()).map_err(io::Error::from) {
                Ok(below) => whole = self.enter(Arc::new(below), relative.clone()),
                Err(error) if is_gone(&error) => {
                    self.lose(lost(relative));
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        } else {
            level.contents.add(Contents { files: 1, bytes: meta.size });
        }
        Ok(Some(Found { relative, name, meta, ctime, directory, whole }))
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            if self.job.is_bad() {
                return None;
            }
            if let Some(root) = self.start.take() {
                return Some(root);
            }
            let level = self.levels.last_mut()?;
            let Some(name) = level.names.next() else {
                self.leave();
                continue;
            };
            let relative = level.relative.join(&name);
            match self.look(name, relative.clone()) {
                Ok(Some(found)) => return Some(found),
                Ok(None) => {}
                Err(source) => {
                    let path = self.root.join(relative);
                    self.job.fail_with(Error::Source { action: "read", path, source });
                    return None;
                }
            }
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::STALE];
    error.raw_os_error().is_some_and(|code| gone.iter().any(|errno| errno.raw_os_error() == code))
}

/// `path` is for attributes, which have no call relative to a directory.
#[allow(clippy::unnecessary_cast, reason = "the fields of `stat` differ between platforms")]
fn meta(directory: &OwnedFd, name: &OsStr, path: &Path, stat: &Stat) -> io::Result<(FileMeta, Timestamp)> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
            FileKind::Symlink { target: OsString::from_vec(target.into_bytes()) }
        }
        FileType::BlockDevice => FileKind::BlockDevice { rdev: stat.st_rdev as u64 },
        FileType::CharacterDevice => FileKind::CharDevice { rdev: stat.st_rdev as u64 },
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::Unknown => return Err(io::Error::other("it is of no known kind")),
    };
    let mut xattrs = Vec::new();
    match xattr::list(path) {
        Ok(names) => {
            for name in names {
                // `None`: removed meanwhile.
                if let Some(value) = xattr::get(path, &name)? {
                    xattrs.push((name, value));
                }
            }
        }
        // The file system has none.
        Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    xattrs.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    let is_file = kind == FileKind::File;
    let meta = FileMeta {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime_s: stat.st_mtime as i64,
        mtime_ns: stat.st_mtime_nsec as u32,
        size: if is_file { u64::try_from(stat.st_size).map_err(io::Error::other)? } else { 0 },
        links: stat.st_nlink as u64,
        inode: stat.st_ino as u64,
        device: stat.st_dev as u64,
        xattrs,
    };
    let ctime = Timestamp::new(stat.st_ctime as i64, stat.st_ctime_nsec as i32).map_err(io::Error::other)?;
    Ok((meta, ctime))
}
