//! The engine against real repositories in temporary directories, with stock restic as the judge.

mod damage;
mod failures;
mod format;
mod hold;
mod prune;
mod reading;
mod relocate;
mod streams;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Cursor, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::live::Walk;
use super::unchanged::Unchanged;
use super::*;
use crate::domain::ids::{MountName, ServiceName};
use crate::domain::tree::{FileKind, FileMeta, Override, Stamp, TreeChanges, TreeIndex};

const KEY: &str = "the recovery key";
const NAME: &str = "2ca4d90639f706283fee";
const MANIFEST_TEXT: &[u8] = b"{\"version\":1}";

/// A repository, a live tree called `uploads`, and room for copies and restores.
struct Sandbox {
    dir: TempDir,
    repository: Repository,
}

impl Sandbox {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in ["live", "staging", "out"] {
            fs::create_dir(dir.path().join(name)).expect("an empty place");
        }
        let location = Location::Local(dir.path().join("repository"));
        let repository = Repository::create(&location, &Secret::new(KEY)).expect("an empty place");
        Self { dir, repository }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn live(&self) -> PathBuf {
        self.path("live")
    }

    fn write(&self, relative: &str, content: &[u8]) {
        let path = self.live().join(relative);
        fs::create_dir_all(path.parent().expect("below live")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    fn pre_copy(&self, parent: Option<&str>) -> Baseline {
        self.repository.pre_copy(&job(), &[self.source()], parent).expect("pass 1")
    }

    /// The live tree as it is.
    fn source(&self) -> SourceTree {
        self.source_of(Listed::of(&self.live()))
    }

    /// The live tree, of which pass 1 is told `index`.
    fn source_of(&self, index: impl TreeIndex + 'static) -> SourceTree {
        SourceTree { name: uploads(), root: self.live(), index: Arc::new(index) }
    }

    fn tree(&self, changes: TreeChanges) -> Vec<FinalTree> {
        vec![FinalTree { name: uploads(), root: self.live(), changes }]
    }

    /// A snapshot of the live tree as it is and of these streams.
    fn snapshot(&self, parent: Option<&str>, streams: Vec<Stream>) -> Archived {
        let baseline = self.pre_copy(parent);
        self.archive(&job(), Some(&baseline), TreeChanges::default(), streams).expect("a snapshot")
    }

    fn archive(
        &self,
        job: &Job,
        baseline: Option<&Baseline>,
        changes: TreeChanges,
        streams: Vec<Stream>,
    ) -> Result<Archived, Error> {
        let trees = if baseline.is_some() { self.tree(changes) } else { Vec::new() };
        self.repository.archive(job, &entry(), baseline, trees, streams, |_| MANIFEST_TEXT.to_vec())
    }

    fn restore(&self, id: &str) -> Result<PathBuf, Error> {
        let out = tempfile::tempdir_in(self.path("out")).expect("an empty directory").keep();
        self.repository.restore_tree(&Job::reading(), id, &uploads(), &out).map(|_| out)
    }

    fn restic(&self, arguments: &[&str]) -> String {
        restic(&self.path("repository"), KEY, arguments)
    }

    /// Ids of the entries, as restic sees them.
    fn entries(&self) -> Vec<String> {
        let list: serde_json::Value =
            serde_json::from_str(&self.restic(&["snapshots", "--json"])).expect("restic's list");
        let ids = list.as_array().into_iter().flatten();
        ids.map(|entry| entry["id"].as_str().expect("an id").to_owned()).collect()
    }
}

fn restic(repository: &Path, key: &str, arguments: &[&str]) -> String {
    let output = Command::new("restic")
        .args(["--no-cache", "--repo"])
        .arg(repository)
        .args(arguments)
        .env("RESTIC_PASSWORD", key)
        .output()
        .expect("restic is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "restic {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn job() -> Job {
    Job::new(|| true)
}

fn entry() -> Entry {
    Entry {
        name: SnapshotName::parse(NAME).expect("a name"),
        time: Timestamp::from_micros(1_434_733_902_000_001),
        host: "demo/main".to_owned(),
    }
}

fn uploads() -> MountName {
    MountName::parse("uploads").expect("a name")
}

fn database() -> ServiceName {
    ServiceName::parse("database").expect("a name")
}

fn stream(content: impl Into<Vec<u8>>) -> Stream {
    Stream { name: database(), reader: Box::new(Cursor::new(content.into())) }
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

/// All that a restore has to bring back, by path.
type Description = BTreeMap<PathBuf, Described>;

#[derive(Debug, Clone, PartialEq)]
struct Described {
    kind: FileKind,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, u32),
    size: u64,
    hash: Option<[u8; 32]>,
    xattrs: Vec<(std::ffi::OsString, Vec<u8>)>,
    /// First path of the same file.
    linked: PathBuf,
}

/// A tree's entries as they were when it was looked at.
#[derive(Debug, Clone, Default)]
struct Listed(BTreeMap<PathBuf, Stamp>);

impl Listed {
    fn of(root: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        let stamp = |meta: &fs::Metadata| Stamp {
            size: meta.size(),
            mtime: meta.mtime() * 1_000_000_000 + meta.mtime_nsec(),
            ctime: meta.ctime() * 1_000_000_000 + meta.ctime_nsec(),
            inode: meta.ino(),
            mode: meta.mode(),
            uid: meta.uid(),
            gid: meta.gid(),
        };
        let below = walkdir::WalkDir::new(root).min_depth(1).into_iter().map(|entry| {
            let entry = entry.expect("readable");
            let relative = entry.path().strip_prefix(root).expect("below the root").to_owned();
            (relative, stamp(&entry.metadata().expect("readable")))
        });
        Self(below.collect())
    }

    fn without(mut self, path: &str) -> Self {
        self.0.retain(|known, _| !known.starts_with(path));
        self
    }
}

impl TreeIndex for Listed {
    fn entries<'a>(&'a self, directory: &Path) -> Box<dyn Iterator<Item = (&'a OsStr, Stamp)> + 'a> {
        let directory = directory.to_owned();
        let here = self.0.iter().filter(move |(path, _)| path.parent() == Some(&directory));
        Box::new(here.filter_map(|(path, stamp)| Some((path.file_name()?, *stamp))))
    }
}

/// Everything in a tree, its root too, as pass 1 sees it.
fn index(root: &Path) -> BTreeMap<PathBuf, (FileMeta, jiff::Timestamp)> {
    let walk = Walk::new(&Job::reading(), root, Arc::new(Listed::of(root)), Unchanged::new()).expect("a directory");
    walk.map(|found| (found.relative, (found.meta, found.ctime))).collect()
}

fn describe(root: &Path) -> Description {
    let mut first: HashMap<u64, PathBuf> = HashMap::new();
    let describe = |(path, (meta, _)): (PathBuf, (FileMeta, _))| {
        let hash = (meta.kind == FileKind::File)
            .then(|| Sha256::digest(fs::read(root.join(&path)).expect("a readable file")).into());
        let described = Described {
            linked: first.entry(meta.inode).or_insert_with(|| path.clone()).clone(),
            mode: meta.mode,
            owner: (meta.uid, meta.gid),
            mtime: (meta.mtime_s, meta.mtime_ns),
            size: meta.size,
            hash,
            xattrs: meta.xattrs,
            kind: meta.kind,
        };
        (path, described)
    };
    index(root).into_iter().map(describe).collect()
}

#[track_caller]
fn assert_same(left: &Description, right: &Description) {
    for (path, described) in left {
        assert_eq!(Some(described), right.get(path), "{}", path.display());
    }
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>());
}

/// What a driver finds in the hold, by comparing with an earlier index, and copies aside.
fn changes(before: &BTreeMap<PathBuf, (FileMeta, jiff::Timestamp)>, root: &Path, staging: &Path) -> TreeChanges {
    let now = index(root);
    let mut found = TreeChanges {
        removed: before.keys().filter(|path| !now.contains_key(*path)).cloned().collect(),
        ..TreeChanges::default()
    };
    for (number, (path, seen)) in now.into_iter().enumerate() {
        if before.get(&path) != Some(&seen) {
            let staged = (seen.0.kind == FileKind::File).then(|| {
                let copy = staging.join(number.to_string());
                fs::copy(root.join(&path), &copy).expect("a copy");
                copy
            });
            found.overrides.insert(path, Override { meta: seen.0, staged });
        }
    }
    found
}

/// Everything a tree can hold that a restore may get wrong. `Strange::Yes`: also what restic 0.14 doesn't restore.
enum Strange {
    No,
    Yes,
}

fn odd_tree(root: &Path, strange: Strange) {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let put = |name: &[u8], content: &[u8]| {
        let path = root.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
        fs::write(&path, content).expect("a file");
        path
    };
    put(b"plain.txt", b"hello");
    put(b"empty", b"");
    put(b"big", &noise(3 << 20, 1));
    put(b"new\nline", b"1");
    put(b"not-utf8-\xff\xfe", b"2");
    put(b"quote\"back\\slash", b"3");
    put("umläut €".as_bytes(), b"4");
    put(b"a/b/c/deep", b"5");
    put(b"a.b", b"sorts between a and a/");
    put(b"a-b", b"so does this");
    let sparse = fs::File::create(root.join("sparse")).expect("a file");
    sparse.set_len(20 << 20).expect("room");
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 9 << 20).expect("room");
    fs::create_dir(root.join("empty directory")).expect("a directory");
    fs::set_permissions(root.join("empty directory"), fs::Permissions::from_mode(0o1777)).expect("own directory");
    let locked = put(b"read-only", b"6");
    // On file systems without attributes there are none to bring back.
    _ = xattr::set(&locked, "user.colour", b"blue\0green");
    _ = xattr::set(root.join("a/b"), "user.of-a-directory", b"");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o440)).expect("own file");
    fs::set_permissions(put(b"setuid", b"7"), fs::Permissions::from_mode(0o4755)).expect("own file");
    fs::hard_link(root.join("big"), root.join("a/second name of big")).expect("a link");
    fs::hard_link(root.join("plain.txt"), root.join("zz")).expect("a link");
    symlink("a/b/c", root.join("link")).expect("a link");
    symlink("/nowhere/at all", root.join("dangling")).expect("a link");
    let pipe = |name: &str| {
        rustix::fs::mknodat(rustix::fs::CWD, root.join(name), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .expect("a pipe");
    };
    pipe("pipe");
    if let Strange::Yes = strange {
        symlink(OsStr::from_bytes(b"to-\xff"), root.join("link to not UTF-8")).expect("a link");
        drop(std::os::unix::net::UnixListener::bind(root.join("socket")).expect("a socket"));
    }
    for (name, seconds, nanos) in
        [("plain.txt", 1_000_000_000, 123_456_789), ("empty", -86_400, 5), ("a/b", 1, 1), ("a", 2, 0)]
    {
        let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanos };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, root.join(name), &times, rustix::fs::AtFlags::empty())
            .expect("own file");
    }
}

/// Gives `content`, then what `end` says.
struct Ending<F> {
    content: Cursor<Vec<u8>>,
    end: F,
}

impl<F: FnMut() -> io::Result<usize>> Read for Ending<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.content.read(buffer)? {
            0 if !buffer.is_empty() => (self.end)(),
            read => Ok(read),
        }
    }
}

fn ending(content: Vec<u8>, end: impl FnMut() -> io::Result<usize> + Send + 'static) -> Stream {
    Stream { name: database(), reader: Box::new(Ending { content: Cursor::new(content), end }) }
}
