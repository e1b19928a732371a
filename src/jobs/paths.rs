//! Single paths of mounts in a restore (R26): what a snapshot holds at them.

use std::path::PathBuf;

use super::Error;
use crate::domain::MountPath;
use crate::domain::ids::MountName;
use crate::domain::manifest::MountEntry;
use crate::domain::policy::{Refusal, RestorePlan};
use crate::engine::{self, Contents, Repository};

/// One path that a plan replaces.
#[derive(Debug, Clone)]
pub struct Held {
    pub mount: MountName,
    pub path: MountPath,
    /// None: it did not exist, and a restore removes what is there now.
    pub contents: Option<Contents>,
}

/// In the plan's order. Blocks. `all`: of the snapshot's manifest, which names the paths that did not exist.
///
/// # Errors
/// A refusal for a path that is not in the snapshot; [`Error::Engine`].
pub fn held(
    (repository, job, id): (&Repository, &engine::Job, &str),
    plan: &RestorePlan,
    all: &[MountEntry],
) -> Result<Vec<Held>, Error> {
    let mut found = Vec::new();
    for entry in plan.mounts.iter().filter(|entry| !entry.paths.is_empty()) {
        let mount = &entry.name;
        let paths: Vec<PathBuf> = entry.paths.iter().map(|path| path.as_str().into()).collect();
        let contents = repository.contents_of(job, id, mount, &paths)?;
        for (path, contents) in entry.paths.iter().zip(contents) {
            let is_known = || all.iter().any(|entry| entry.name == *mount && entry.paths.contains(path));
            if contents.is_none() && !is_known() {
                return Err(Refusal::new(format!("The snapshot holds nothing at {path} in the mount {mount}."))
                    .instead("Write the path as it was when the snapshot was taken, or restore the whole mount.")
                    .into());
            }
            found.push(Held { mount: mount.clone(), path: path.clone(), contents });
        }
    }
    Ok(found)
}
