//! How a mount can be replaced: as a whole, from beside it, or entry by entry, from inside it. Tried out, not guessed.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, RenameFlags, StatxFlags};
use tempfile::TempDir;

use super::swap::{in_hidden, quietly};
use crate::drivers::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// One rename exchanges it with a directory beside it, in its parent.
    Whole,
    /// Its entries change places with those of a directory inside it (`children.rs`).
    Entries,
}

/// # Errors
/// [`Error::NestedMountPoint`], unless it is excluded at the mount's top; [`Error::NotWritable`], [`Error::NoExchange`].
pub(super) fn way(root: &Path, exclude: &[PathBuf]) -> Result<Way, Error> {
    let parent = parent_of(root)?;
    let holds_points = check_inside(root, exclude)?;
    if holds_points || is_point(root)? {
        return try_moves(root).map(|()| Way::Entries);
    }
    match try_exchange(root, parent) {
        Ok(()) => Ok(Way::Whole),
        // NFS and others exchange nothing, but rename.
        Err(Error::NoExchange { source, .. }) if cannot(&source) => try_moves(root).map(|()| Way::Entries),
        Err(error) => Err(error),
    }
}

fn cannot(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// The directory that holds `root`.
pub(super) fn parent_of(root: &Path) -> Result<&Path, Error> {
    root.parent().ok_or_else(|| Error::RootDirectory { path: root.to_owned() })
}

/// A bind mount has its parent's device: only the mount's id tells.
pub(super) fn is_point(root: &Path) -> Result<bool, Error> {
    let id = |path: &Path| {
        let wanted = StatxFlags::MNT_ID | StatxFlags::BASIC_STATS;
        let found = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, wanted);
        found
            .map(|found| (found.stx_mnt_id, found.stx_dev_major, found.stx_dev_minor))
            .map_err(Error::reading("look at", path))
    };
    Ok(id(root)? != id(parent_of(root)?)?)
}

/// Where another file system is mounted below a directory; the first of them.
pub fn mount_point_in(directory: &Path) -> Option<PathBuf> {
    let root = directory.canonicalize().ok()?;
    inside(&root).into_iter().next().map(|below| root.join(below))
}

/// By the kernel's table, relative to `root`, which is free of links.
fn inside(root: &Path) -> Vec<PathBuf> {
    // Absent in some containers: then only the walk finds what another device gives away.
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let points = table.split(|byte| *byte == b'\n').filter_map(|line| {
        let point = line.split(|byte| *byte == b' ').nth(4).map(unescape)?;
        point.strip_prefix(root).ok().filter(|below| !below.as_os_str().is_empty()).map(Path::to_owned)
    });
    points.collect()
}

/// Whether other file systems are mounted inside, all of them in places that are left out and never moved.
fn check_inside(root: &Path, exclude: &[PathBuf]) -> Result<bool, Error> {
    let mut any = false;
    for point in inside(root) {
        let stays = |out: &&PathBuf| out.components().count() == 1 && point.starts_with(out);
        if !exclude.iter().any(|out| stays(&out)) {
            return Err(Error::NestedMountPoint { path: root.join(point) });
        }
        any = true;
    }
    Ok(any)
}

/// Spaces and the like stand as `\040` in the kernel's table.
pub(super) fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if *first == b'\\' => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

/// Exchanges two empty directories just where a restore would work.
fn try_exchange(root: &Path, parent: &Path) -> Result<(), Error> {
    let tried = quietly(parent, || {
        probe(parent, |one, other| {
            rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
            Ok(())
        })
    })?;
    named(root, parent, tried)
}

/// Moves an empty directory into another one, inside the mount.
fn try_moves(root: &Path) -> Result<(), Error> {
    let tried = quietly(root, || probe(root, |one, other| fs::rename(one, other.join("one"))))?;
    named(root, root, tried)
}

fn named(root: &Path, within: &Path, tried: io::Result<()>) -> Result<(), Error> {
    tried.map_err(|source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { path: within.to_owned() },
        _ => Error::NoExchange { path: root.to_owned(), source },
    })
}

/// Leaves nothing behind.
fn probe(within: &Path, work: impl FnOnce(&Path, &Path) -> io::Result<()>) -> Result<io::Result<()>, Error> {
    let made = in_hidden(within, |hidden| tempfile::Builder::new().prefix("probe-").tempdir_in(hidden));
    let (hidden, probe): (_, TempDir) = made.map_err(|source| match Error::io("try", within)(source) {
        Error::Io { path, source, .. } => Error::NotWritable { path, source },
        full => full,
    })?;
    let (one, other) = (probe.path().join("one"), probe.path().join("other"));
    let tried = fs::create_dir(&one).and_then(|()| fs::create_dir(&other)).and_then(|()| work(&one, &other));
    drop(probe);
    // Stays when a restore is using it.
    fs::remove_dir(&hidden).ok();
    Ok(tried)
}
