//! Files of a mount as plain data: what a driver sees in the hold, and what the engine writes from it.
//!
//! **Invariant:** no I/O; nothing here is resolved or opened. Paths are relative to the mount's root, without a leading
//! slash and without `.` or `..`; the empty path is the root itself.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bytes::Bytes;

/// What `lstat` says of one entry, as far as a change shows in it. Times in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub size: u64,
    pub mtime: i64,
    pub ctime: i64,
    pub inode: u64,
    /// `st_mode` whole: kind and permissions.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Bits of `st_mode` that tell the kind.
const KIND: u32 = 0o170_000;

impl Stamp {
    pub fn is_directory(&self) -> bool {
        self.mode & KIND == 0o040_000
    }

    pub fn is_file(&self) -> bool {
        self.mode & KIND == 0o100_000
    }

    /// What a copy of it takes: nothing for what is no regular file.
    pub fn bytes(&self) -> Bytes {
        if self.is_file() { Bytes(self.size) } else { Bytes(0) }
    }

    pub fn is_symlink(&self) -> bool {
        self.mode & KIND == 0o120_000
    }

    pub fn is_socket(&self) -> bool {
        self.mode & KIND == 0o140_000
    }
}

/// Every entry of a tree at one time.
pub trait TreeIndex: Debug + Send + Sync {
    /// Names and stamps of what a directory held, in no particular order. Nothing when there was no such directory.
    fn entries<'a>(&'a self, directory: &Path) -> Box<dyn Iterator<Item = (&'a OsStr, Stamp)> + 'a>;
}

/// What differs between the tree as it stood in the hold and the index that was taken before pass 1.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TreeChanges {
    /// No longer there in the hold. A directory takes everything below it along.
    pub removed: BTreeSet<PathBuf>,
    /// New or changed. A changed directory stands here for its own metadata only; a new directory is listed together
    /// with everything below it. What changed its kind (file to directory and so on) is listed here, not in `removed`.
    pub overrides: BTreeMap<PathBuf, Override>,
}

impl TreeChanges {
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.overrides.is_empty()
    }
}

/// One path as it stood in the hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    pub meta: FileMeta,
    /// Absolute path of the copy that was made in the hold. `Some` for every regular file, `None` for all other kinds.
    pub staged: Option<PathBuf>,
}

/// Metadata of one file, as `lstat`, `listxattr` and `readlink` give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMeta {
    pub kind: FileKind,
    /// The lower twelve bits of `st_mode`: permissions, setuid, setgid, sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970, negative before.
    pub mtime_s: i64,
    /// Nanoseconds within that second: 0 to 999,999,999, also before 1970.
    pub mtime_ns: u32,
    /// Bytes of a regular file's staged copy; 0 for all other kinds.
    pub size: u64,
    /// Hard links of a file that is no directory.
    pub links: u64,
    /// With `device` the identity of hard links: names with `links > 1` and the same pair are one file.
    pub inode: u64,
    pub device: u64,
    /// All of them, ACLs and capabilities too.
    pub xattrs: Vec<(OsString, Vec<u8>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileKind {
    File,
    Directory,
    Symlink {
        target: OsString,
    },
    /// `st_rdev`.
    BlockDevice {
        rdev: u64,
    },
    /// `st_rdev`.
    CharDevice {
        rdev: u64,
    },
    Fifo,
    Socket,
}
