//! A mount's metadata before pass 1: compact, so that a hundred thousand files stay below 20 MB.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use super::clones::Clones;
use super::databases::{self, InDirectory, Recognising};
use super::journal::{Journal, NoJournal, Touched};
use super::scan::Ahead;
use super::walk::{Listing, Tree, in_parallel, join, split};
use crate::domain::Bytes;
use crate::domain::manifest::MountEntry;
use crate::domain::tree::{Stamp, TreeIndex};
use crate::drivers::Error;

/// How close to the index's start a change may lie and still be missed by comparing times. A file's times are taken from
/// the kernel's tick, 1 to 10 ms long: written twice within one, it looks as if written once. Twice the longest.
pub(super) const TICK: i64 = 20_000_000;

/// The same for file systems that keep whole seconds (ext3, HFS+) or even ones (FAT).
const SECONDS: i64 = 2_000_000_000;

/// Every entry of a mount at one time: relative path, size, times, inode, mode and owner. Sockets are left out.
#[derive(Debug)]
pub struct Index {
    pub(super) path: PathBuf,
    pub(super) exclude: Vec<PathBuf>,
    /// Of what is left out, in sentences.
    pub(super) said: Vec<String>,
    /// That, and databases.
    pub(super) left_out: Vec<PathBuf>,
    pub(super) databases: databases::Databases,
    /// Nanoseconds since 1970, before the first entry was looked at.
    pub(super) started: i64,
    pub(super) root: Stamp,
    /// By path.
    pub(super) directories: Vec<Directory>,
    entries: Vec<Entry>,
    names: Vec<u8>,
    sockets: Vec<PathBuf>,
    /// Files with several names.
    pub(super) linked: Vec<Vec<u8>>,
    pub(super) journal: Result<Journal, NoJournal>,
    pub(super) ahead: Mutex<Ahead>,
    pub(super) clones: Option<Clones>,
}

#[derive(Debug)]
pub(super) struct Directory {
    /// Relative; empty for the root.
    pub path: Box<[u8]>,
    start: u32,
    len: u32,
}

#[derive(Debug)]
struct Entry {
    stamp: Stamp,
    name_start: u32,
    name_len: u16,
}

/// Everything but directories, and the sum of the files' sizes; a file with two names counts twice, as in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents {
    pub files: u64,
    pub bytes: Bytes,
}

impl Contents {
    pub(super) fn of<'a>(entries: impl Iterator<Item = &'a Stamp>) -> Self {
        let files = entries.filter(|stamp| !stamp.is_directory());
        files.fold(Self::default(), |sum, stamp| Self { files: sum.files + 1, bytes: sum.bytes + stamp.bytes() })
    }
}

impl From<&MountEntry> for Contents {
    fn from(entry: &MountEntry) -> Self {
        Self { files: entry.files, bytes: Bytes(entry.bytes) }
    }
}

/// What becomes of SQLite databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Databases {
    /// They are files like any other.
    Files,
    /// They are left out, and the hold opens views of them.
    Recognised,
}

impl Index {
    pub(super) fn take(
        path: &Path,
        exclude: &[PathBuf],
        journal: Result<Journal, NoJournal>,
        databases: Databases,
    ) -> Result<Self, Error> {
        let started = now();
        let begun = (databases == Databases::Recognised).then(Recognising::begin);
        let tree = Tree::open(path, exclude)?;
        let mut index = Self {
            path: path.to_owned(),
            exclude: exclude.to_vec(),
            said: Vec::new(),
            left_out: Vec::new(),
            databases: databases::Databases::default(),
            started,
            root: tree.stamp,
            directories: Vec::new(),
            entries: Vec::new(),
            names: Vec::new(),
            sockets: Vec::new(),
            linked: Vec::new(),
            journal,
            ahead: Mutex::default(),
            clones: None,
        };
        let mut level = vec![Vec::new()];
        while !level.is_empty() {
            let journal = index.journal.as_ref().ok();
            let listings = in_parallel(&level, |directory| {
                let watch = |opened: BorrowedFd<'_>| journal.into_iter().for_each(|it| it.watch(directory, opened));
                let listing = tree.list_after(directory, watch)?.unwrap_or_default();
                let found = begun.as_ref().map(|begun| databases::recognise(begun, &tree, directory, &listing));
                Ok((listing, found.unwrap_or_default()))
            })?;
            let mut below = Vec::new();
            for (directory, (listing, found)) in level.into_iter().zip(listings) {
                index.add(directory, listing, found, &mut below);
            }
            level = below;
        }
        index.directories.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        index.left_out = index.exclude.iter().cloned().chain(index.databases.left_out()).collect();
        index.entries.shrink_to_fit();
        index.names.shrink_to_fit();
        Ok(index)
    }

    fn add(&mut self, directory: Vec<u8>, listing: Listing, found: InDirectory, below: &mut Vec<Vec<u8>>) {
        // 4 billion entries or bytes of names would not fit into memory either.
        let position = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let start = position(self.entries.len());
        for (name, stamp) in listing.iter().filter(|(name, _)| !found.names.contains(*name)) {
            if stamp.is_directory() {
                below.push(join(&directory, name));
            }
            let name_start = position(self.names.len());
            let name_len = u16::try_from(name.len()).unwrap_or(u16::MAX);
            self.names.extend_from_slice(name);
            self.entries.push(Entry { stamp: *stamp, name_start, name_len });
        }
        self.sockets.extend(listing.sockets);
        let is_file = |path: &Vec<u8>| !found.names.contains(split(path).1);
        self.linked.extend(listing.linked.into_iter().filter(is_file));
        self.databases.add(&directory, found);
        let len = position(self.entries.len()) - start;
        self.directories.push(Directory { path: directory.into_boxed_slice(), start, len });
    }

    /// Entries of one directory, in the order in which the file system gave them.
    pub(super) fn entries_of(&self, directory: &Directory) -> impl ExactSizeIterator<Item = (&[u8], &Stamp)> + Clone {
        let start = directory.start as usize;
        self.entries[start..start + directory.len as usize].iter().map(|entry| {
            let start = entry.name_start as usize;
            (&self.names[start..start + entry.name_len as usize], &entry.stamp)
        })
    }

    /// May this entry have changed after it was looked at without showing it in its times?
    pub(super) fn is_ambiguous(&self, stamp: &Stamp) -> bool {
        is_recent(stamp, self.started)
    }

    /// Why the hold will scan this mount: because there is no journal of its changes. `None`: there is one.
    pub fn scanned_because(&self) -> Option<NoJournal> {
        match &self.journal {
            Ok(journal) => journal.ended(),
            Err(why) => Some(*why),
        }
    }

    /// Without what SQLite tells of.
    pub(super) fn files_of(&self, mut touched: Touched) -> Touched {
        touched.entries.retain(|path| !self.databases.has(path));
        touched
    }

    pub(super) fn directory(&self, path: &[u8]) -> Option<&Directory> {
        let at = self.directories.binary_search_by(|directory| (*directory.path).cmp(path)).ok()?;
        Some(&self.directories[at])
    }

    pub(super) fn stamp_of(&self, path: &Path) -> Option<Stamp> {
        let (directory, name) = split(path.as_os_str().as_bytes());
        let found = self.entries_of(self.directory(directory)?).find(|(entry, _)| *entry == name)?;
        Some(*found.1)
    }

    /// All names of the file that has this inode.
    pub(super) fn names_of(&self, inodes: &HashSet<u64>) -> Vec<Vec<u8>> {
        let all = self.directories.iter().flat_map(|directory| {
            let named =
                self.entries_of(directory).filter(|(_, stamp)| stamp.is_file() && inodes.contains(&stamp.inode));
            named.map(|(name, _)| join(&directory.path, name))
        });
        all.collect()
    }

    /// What pass 1 will read.
    pub fn contents(&self) -> Contents {
        Contents::of(self.entries.iter().map(|entry| &entry.stamp))
    }

    /// Entries of any kind, the root not counted.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Memory that the index takes.
    pub fn memory(&self) -> Bytes {
        let directories: usize = self.directories.iter().map(|directory| directory.path.len()).sum();
        let fixed = size_of::<Directory>() * self.directories.capacity() + size_of::<Entry>() * self.entries.capacity();
        Bytes((directories + fixed + self.names.capacity()) as u64)
    }

    /// What is not in the snapshot, in sentences (R15).
    pub fn limits(&self) -> Vec<String> {
        let mut limits = Vec::new();
        if let Some(first) = self.sockets.first() {
            let (count, first) = (self.sockets.len(), first.display());
            limits.push(match count {
                1 => format!("The socket `{first}` is left out: the program that made it makes it again."),
                _ => format!("{count} sockets, `{first}` among them, are left out: their programs make them again."),
            });
        }
        limits.extend(self.said.iter().cloned());
        limits.extend(self.databases.limits());
        limits
    }
}

impl TreeIndex for Index {
    fn entries<'a>(&'a self, directory: &Path) -> Box<dyn Iterator<Item = (&'a OsStr, Stamp)> + 'a> {
        let path = directory.as_os_str().as_bytes();
        let found = self.directory(path).into_iter().flat_map(|directory| self.entries_of(directory));
        Box::new(found.map(|(name, stamp)| (OsStr::from_bytes(name), *stamp)))
    }
}

/// Is the change time so close to `start`, or after it, that another change after `start` might not show in it?
pub(super) fn is_recent(stamp: &Stamp, start: i64) -> bool {
    let margin = if stamp.ctime % 1_000_000_000 == 0 { SECONDS } else { TICK };
    stamp.ctime >= start.saturating_sub(margin)
}

pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
