//! Single paths of a mount in a snapshot (R26): what is there, and restoring that alone.

use std::path::{Path, PathBuf};

use rustic_core::repofile::Node;

use super::error::Error;
use super::job::Job;
use super::live::Contents;
use super::read::Reading;
use super::restore::Restored;
use super::{MOUNTS, Repository};
use crate::domain::ids::MountName;

impl Repository {
    /// What lies at each of these paths, in their order; `None` where nothing does.
    ///
    /// # Errors
    /// [`Error::UnknownSnapshot`], [`Error::UnknownMount`], or a damaged repository.
    pub fn contents_of(
        &self,
        job: &Job,
        id: &str,
        mount: &MountName,
        paths: &[PathBuf],
    ) -> Result<Vec<Option<Contents>>, Error> {
        let reading = self.reading(job, id)?;
        let top = reading.mount(mount)?;
        paths.iter().map(|path| reading.contents_at(job, &top, path)).collect()
    }

    /// As [`Repository::restore_tree`], but only these paths, with the directories that lead to them.
    pub fn restore_paths(
        &self,
        job: &Job,
        id: &str,
        mount: &MountName,
        paths: &[PathBuf],
        destination: &Path,
    ) -> Result<Restored, Error> {
        job.end(self.restore(job, id, (mount, Some(paths)), destination))
    }
}

impl Reading {
    /// The mount's top directory.
    pub fn mount(&self, mount: &MountName) -> Result<Node, Error> {
        let mounts = self.child(self.root, MOUNTS)?.and_then(|node| node.subtree);
        let node = mounts.map(|mounts| self.child(mounts, mount.as_str())).transpose()?.flatten();
        node.filter(Node::is_dir).ok_or_else(|| Error::UnknownMount { mount: mount.clone() })
    }

    fn contents_at(&self, job: &Job, top: &Node, path: &Path) -> Result<Option<Contents>, Error> {
        let mut at = top.clone();
        for name in path {
            let Some(directory) = at.subtree else { return Ok(None) };
            let nodes = self.tree(directory, path)?.nodes;
            match nodes.into_iter().find(|node| *node.name() == *name) {
                Some(node) => at = node,
                None => return Ok(None),
            }
        }
        let mut contents = Contents::default();
        let mut open = vec![at];
        while let Some(node) = open.pop() {
            job.check()?;
            match node.subtree.filter(|_| node.is_dir()) {
                Some(directory) => open.extend(self.tree(directory, path)?.nodes),
                None => contents.add(Contents { files: 1, bytes: if node.is_file() { node.meta.size } else { 0 } }),
            }
        }
        Ok(Some(contents))
    }
}

/// Whether it is one of these paths, below one, or on the way to one.
pub(super) fn is_wanted(path: &Path, only: &[PathBuf]) -> bool {
    only.iter().any(|wanted| path.starts_with(wanted) || wanted.starts_with(path))
}
