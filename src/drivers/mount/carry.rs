//! Excluded paths in a swap: nobody restores them, so they are carried from the old tree into the new one, and back.
//!
//! **Invariant:** where a path stands is told by its inode, and no link on the way is followed.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::children::rename_new;
use super::walk::{Tree, stamp};
use crate::drivers::Error;

/// A directory on the way that is still being made.
const UNNAMED: &str = ".stillpoint-way";

/// One excluded path that existed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Carried {
    path: String,
    inode: u64,
    /// A mount of its own has this one while it is being restored too (`nested.rs`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    loaded: Option<u64>,
}

impl Carried {
    pub fn path(&self) -> &Path {
        Path::new(&self.path)
    }

    pub fn or(self, loaded: Option<u64>) -> Self {
        Self { loaded, ..self }
    }

    fn stands_in(&self, tree: &Tree) -> Result<bool, Error> {
        let found = inode_below(tree, self.path())?;
        Ok(found.is_some() && (found == Some(self.inode) || found == self.loaded))
    }

    /// Whether it is this entry of the mount's top directory.
    pub fn is(&self, name: &OsStr) -> bool {
        name == self.path.as_str()
    }

    pub fn is_at_top(&self) -> bool {
        !self.path.contains('/')
    }
}

/// What is to be carried from `old` to `new`. Looks only.
///
/// # Errors
/// [`Error::CannotSwap`] when there would be no way to it.
pub(super) fn plan(old: &Tree, new: &Tree, exclude: &[PathBuf]) -> Result<Vec<Carried>, Error> {
    let mut carried = Vec::new();
    for path in exclude {
        let Some(inode) = inode_below(old, path)? else { continue };
        check_way(new, path)?;
        // Excludes are declared as text.
        carried.push(Carried { path: path.to_string_lossy().into_owned(), inode, loaded: None });
    }
    Ok(carried)
}

/// Moves every excluded path that does not stand in `to` yet from `from` there; what stands there goes the other way.
pub(super) fn carry(from: &Path, to: &Path, carried: &[Carried]) -> Result<(), Error> {
    if carried.is_empty() {
        return Ok(());
    }
    let (source, target) = (Tree::open(from, &[])?, Tree::open(to, &[])?);
    for carried in carried {
        let path = carried.path();
        // Carried before, or removed by its owner meanwhile.
        if carried.stands_in(&target)? || !carried.stands_in(&source)? {
            continue;
        }
        let Some(name) = path.file_name() else { continue };
        let failed = |errno: Errno| Error::io("carry over", &from.join(path))(errno);
        let source = parent_below(&source, path).map_err(failed)?;
        let target = make_way(&parents(from, path), &target, path).map_err(failed)?;
        match rename_new(&source, name, &target, name) {
            Err(Errno::EXIST) => rustix::fs::renameat_with(&source, name, &target, name, RenameFlags::EXCHANGE),
            moved => moved,
        }
        .and_then(|()| rustix::fs::fsync(&target))
        .and_then(|()| rustix::fs::fsync(&source))
        .map_err(failed)?;
    }
    Ok(())
}

/// Directories above `path`, outermost first, each relative and as it stands below `root`.
pub(super) fn parents(root: &Path, path: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut parents: Vec<_> = path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()).collect();
    parents.reverse();
    parents.into_iter().map(|parent| (parent.to_owned(), root.join(parent))).collect()
}

/// The directory above `path` in `tree`; those that are missing are made like the ones they come from.
pub(super) fn make_way(parents: &[(PathBuf, PathBuf)], tree: &Tree, path: &Path) -> Result<OwnedFd, Errno> {
    for (parent, like) in parents {
        let above = parent_below(tree, parent)?;
        let Some(name) = parent.file_name() else { continue };
        match rustix::fs::statat(&above, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            looked => {
                looked?;
                continue;
            }
        }
        // Under its name only once it is like its model: a worker that dies here leaves no half-made directory.
        match rustix::fs::mkdirat(&above, UNNAMED, Mode::RWXU) {
            Err(Errno::EXIST) | Ok(()) => {}
            Err(errno) => return Err(errno),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&above, UNNAMED, flags, Mode::empty())?;
        let metadata = fs::symlink_metadata(like).map_err(|_| Errno::NOENT)?;
        rustix::fs::fchown(&made, Some(Uid::from_raw(metadata.uid())), Some(Gid::from_raw(metadata.gid())))?;
        rustix::fs::fchmod(&made, Mode::from_raw_mode(metadata.mode() & 0o7777))?;
        rename_new(&above, OsStr::new(UNNAMED), &above, name)?;
        rustix::fs::fsync(&above)?;
    }
    parent_below(tree, path)
}

/// Could `path` be carried into this tree? What stands above it there must be directories, or nothing.
pub(super) fn check_way(tree: &Tree, path: &Path) -> Result<(), Error> {
    for (parent, there) in parents(&tree.path, path) {
        match tree.open_below(parent.as_os_str().as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let why = format!(
                    "the excluded `{}` can't be kept, since `{}` is no directory in the snapshot: move it away first",
                    path.display(),
                    parent.display()
                );
                return Err(Error::CannotSwap { path: tree.path.clone(), why });
            }
            Err(errno) => return Err(Error::reading("open", &there)(errno)),
        }
    }
    Ok(())
}

pub(super) fn parent_below(tree: &Tree, path: &Path) -> Result<OwnedFd, Errno> {
    let parent = path.parent().unwrap_or(Path::new(""));
    tree.open_below(parent.as_os_str().as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)
}

pub(super) fn inode_below(tree: &Tree, path: &Path) -> Result<Option<u64>, Error> {
    let failed = |errno: Errno| Error::reading("look at", &tree.path.join(path))(errno);
    let parent = match parent_below(tree, path) {
        Ok(parent) => parent,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(errno) => return Err(failed(errno)),
    };
    let Some(name) = path.file_name() else { return Ok(None) };
    match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stamp(&stat).inode)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(failed(errno)),
    }
}
