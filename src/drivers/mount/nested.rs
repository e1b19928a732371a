//! Mounts that are declared inside other ones: each is stored, restored and undone by itself.
//!
//! **Invariant:** the outer mount neither reads nor replaces what belongs to the inner one: that is left out of it as an
//! exclude is. Its exchange carries the inner directory along, and with it `.stillpoint/` beside that, where the inner
//! one's restore has its place: so every path of the inner one stays true, whichever of its two trees stands there. The
//! outer one comes first, forward and back.

use std::path::{Path, PathBuf};

use super::carry::Carried;
use super::swap::{MountBeside, inode_of};
use super::{BESIDE, Mount, outermost, real};
use crate::domain::environment::MountSpec;
use crate::domain::ids::MountName;
use crate::drivers::Error;

/// One that lies inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inner {
    pub name: MountName,
    /// From the outer one's top.
    pub path: PathBuf,
}

impl Mount {
    /// Makes known which other mounts the environment has.
    #[must_use]
    pub fn among(mut self, all: &[MountSpec]) -> Self {
        let root = real(Path::new(&self.spec.path));
        for other in all.iter().filter(|other| other.name != self.spec.name) {
            let path = real(Path::new(&other.path));
            match path.strip_prefix(&root) {
                Ok(below) if below.as_os_str().is_empty() => self.twin = Some(path),
                Ok(below) => {
                    self.exclude.extend([below.to_owned(), below.with_file_name(BESIDE)]);
                    self.inner.push(Inner { name: other.name.clone(), path: below.to_owned() });
                }
                Err(_) => {}
            }
        }
        self.exclude = outermost(self.exclude);
        self
    }

    /// How deep it lies: an outer mount always less deep than those in it.
    pub fn depth(&self) -> usize {
        real(Path::new(&self.spec.path)).components().count()
    }

    /// The mount inside this one that a path belongs to.
    pub(super) fn inner_of(&self, path: &Path) -> Option<&Inner> {
        self.inner
            .iter()
            .filter(|inner| path.starts_with(&inner.path))
            .max_by_key(|inner| inner.path.components().count())
    }

    /// An inner mount is told by two inodes while it is being restored too: its old tree's, and the one of what was loaded.
    pub(super) fn with_loaded(&self, beside: &MountBeside, carried: Vec<Carried>) -> Result<Vec<Carried>, Error> {
        let with_loaded = |carried: Carried| match self.inner.iter().find(|inner| inner.path == *carried.path()) {
            Some(inner) => Ok(carried.or(beside.of_inner(self, inner).map_or(Ok(None), |tree| inode_of(&tree))?)),
            None => Ok(carried),
        };
        carried.into_iter().map(with_loaded).collect()
    }

    /// What an exclude is, in a sentence for the snapshot's page; `None`: nobody needs to know.
    pub(super) fn says_of(&self, exclude: &Path) -> Option<String> {
        if exclude.file_name().is_some_and(|name| name == BESIDE) {
            return None;
        }
        match self.inner.iter().find(|inner| inner.path == exclude) {
            Some(inner) => Some(format!("`{}` is the mount {} and stored as that.", exclude.display(), inner.name)),
            None => Some(format!("`{}` is excluded.", exclude.display())),
        }
    }
}

impl MountBeside {
    /// Where the same restore loads the inner mount.
    fn of_inner(&self, outer: &Mount, inner: &Inner) -> Option<PathBuf> {
        let place = self.place.file_name()?.to_str()?;
        let activity = place.strip_suffix(outer.spec().name.as_str())?.strip_suffix('-')?;
        let beside = self.root.join(&inner.path).with_file_name(BESIDE);
        Some(beside.join(format!("{activity}-{}", inner.name)).join("tree"))
    }
}
