//! Recognising SQLite databases among a mount's files, cheaply: by a name first, then by the first bytes.
//!
//! **Invariant:** a file that this process has open is not opened a second time to read its head: closing it would drop
//! the locks that SQLite holds on it for us. Such a file is left to SQLite to judge.

use std::collections::HashSet;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::walk::{Listing, Tree, in_parallel, join, split};
use crate::domain::tree::Stamp;
use crate::drivers::Error;
use crate::drivers::sqlite::{BESIDE, MAGIC, name_beside};

/// Endings that databases are given.
const ENDINGS: [&[u8]; 6] = [b"db", b"db3", b"sqlite", b"sqlite3", b"s3db", b"sl3"];

/// What SQLite's smallest page holds: nothing shorter is a database.
const SMALLEST: u64 = 512;

/// A file whose head is a database's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Whether it is in WAL mode.
    pub wal: bool,
    /// Whether it has other names too, under which others may have it open with another log.
    pub linked: bool,
}

/// Files that this process has open, by device and inode.
#[derive(Debug, Default)]
pub(super) struct Own(HashSet<(u64, u64)>);

impl Own {
    pub fn look() -> Self {
        let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let stats = entries.filter_map(|entry| fs::metadata(entry.path()).ok());
        Self(stats.filter(fs::Metadata::is_file).map(|file| (file.dev(), file.ino())).collect())
    }
}

/// The database that a name belongs to, if it is one of those that SQLite puts beside a database.
pub(super) fn main_of(name: &[u8]) -> Option<&[u8]> {
    let main = BESIDE.iter().find_map(|suffix| name.strip_suffix(suffix.as_bytes()))?;
    (!main.is_empty() && !main.ends_with(b"/")).then_some(main)
}

/// Whether the name alone is a hint.
pub(super) fn is_named_so(name: &[u8]) -> bool {
    let Some(at) = name.iter().rposition(|byte| *byte == b'.') else { return false };
    ENDINGS.iter().any(|ending| name[at + 1..].eq_ignore_ascii_case(ending))
}

/// Whether nothing lies beside it that SQLite puts there: no log, no interrupted transaction.
pub(super) fn is_alone(tree: &Tree, path: &Path) -> bool {
    !BESIDE.iter().any(|suffix| exists(tree, name_beside(path, suffix).as_os_str().as_bytes()))
}

/// Names of the databases in a directory, with their heads.
pub(super) fn in_listing(tree: &Tree, own: &Own, directory: &[u8], listing: &Listing) -> Vec<(Vec<u8>, Stamp, Head)> {
    let beside: HashSet<&[u8]> = listing.iter().filter_map(|(name, _)| main_of(name)).collect();
    let hinted = |name: &[u8]| is_named_so(name) || beside.contains(name);
    let hinted = listing.iter().filter(|(name, stamp)| stamp.is_file() && stamp.size >= SMALLEST && hinted(name));
    hinted.filter_map(|(name, stamp)| Some((name.to_vec(), *stamp, head(tree, own, &join(directory, name))?))).collect()
}

/// Every database of a tree, by path, looked for anew.
///
/// # Errors
/// As [`Tree::list`].
pub(super) fn in_tree(tree: &Tree) -> Result<Vec<Vec<u8>>, Error> {
    let own = Own::look();
    let mut all = Vec::new();
    let mut level = vec![Vec::new()];
    while !level.is_empty() {
        let found = in_parallel(&level, |directory: &Vec<u8>| {
            let listing = tree.list(directory)?.unwrap_or_default();
            let below = listing.iter().filter(|(_, stamp)| stamp.is_directory());
            let below: Vec<_> = below.map(|(name, _)| join(directory, name)).collect();
            let databases = in_listing(tree, &own, directory, &listing).into_iter();
            Ok((databases.map(|(name, ..)| join(directory, &name)).collect::<Vec<_>>(), below))
        })?;
        level.clear();
        for (databases, below) in found {
            all.extend(databases);
            level.extend(below);
        }
    }
    Ok(all)
}

/// The head of a file, if it is a database's. A name that is no text is none: manifests and journals are text.
pub(super) fn head(tree: &Tree, own: &Own, path: &[u8]) -> Option<Head> {
    std::str::from_utf8(path).ok()?;
    let known = own.is_open(tree, path);
    if let Some(linked) = known {
        return Some(Head { wal: true, linked });
    }
    // Not blocking, in case somebody put a fifo there just now.
    let file = tree.open_below(path, OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    let mut bytes = [0; 20];
    let read = rustix::io::pread(file.as_fd(), &mut bytes, 0).ok()?;
    (read == bytes.len() && bytes.starts_with(MAGIC)).then(|| Head { wal: bytes[18] == 2, linked: stat.st_nlink > 1 })
}

impl Own {
    /// When it is open here: whether it has several names.
    pub fn is_open(&self, tree: &Tree, path: &[u8]) -> Option<bool> {
        let (directory, name) = split(path);
        let directory = tree.open_below(directory, OFlags::PATH | OFlags::DIRECTORY).ok()?;
        let stat = rustix::fs::statat(&directory, Path::new(std::str::from_utf8(name).ok()?), LOOK).ok()?;
        #[allow(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
        let identity = (stat.st_dev as u64, stat.st_ino as u64);
        self.0.contains(&identity).then_some(stat.st_nlink > 1)
    }
}

const LOOK: rustix::fs::AtFlags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;

/// Whether a name exists below the tree.
pub(super) fn exists(tree: &Tree, path: &[u8]) -> bool {
    let (directory, name) = split(path);
    let looked = tree
        .open_below(directory, OFlags::PATH | OFlags::DIRECTORY)
        .and_then(|directory| rustix::fs::statat(&directory, name, LOOK));
    !matches!(looked, Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}
