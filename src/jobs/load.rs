//! Loading one part of a snapshot beside the live data, and checking it (R22).

use std::path::{Path, PathBuf};

use super::parts::{MountPart, ServicePart};
use super::paths::Held;
use super::{Error, stream};
use crate::domain::Bytes;
use crate::domain::manifest::{MountEntry, ServiceEntry};
use crate::domain::policy::versions::is_newer;
use crate::drivers::Beside;
use crate::drivers::mount::{Contents, MountBeside};
use crate::engine::{self, Repository, Restored};

/// A snapshot that is read. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub repository: Repository,
    pub job: engine::Job,
    /// The repository's own id of the entry.
    pub id: String,
}

impl Reading {
    /// Fills the directory beside the mount, or of it the paths that are held. Gives what could not be restored as it was,
    /// in sentences. Blocks.
    pub(super) fn mount(
        &self,
        mount: &MountPart,
        beside: &MountBeside,
        entry: &MountEntry,
        held: &[Held],
    ) -> Result<Vec<String>, Error> {
        let (failed, tree) = (|| Error::part(mount.label()), beside.tree());
        let there = held.iter().filter(|held| held.mount == entry.name && held.contents.is_some());
        let there: Vec<PathBuf> = there.map(|held| held.path.as_str().into()).collect();
        let restored = if entry.paths.is_empty() {
            self.repository.restore_tree(&self.job, &self.id, mount.name(), &tree)?
        } else if there.is_empty() {
            Restored::default()
        } else {
            self.repository.restore_paths(&self.job, &self.id, mount.name(), &there, &tree)?
        };
        mount.driver.check(beside, expected(entry, held)).map_err(failed())?;
        mount.driver.load_databases(beside, &entry.databases).map_err(failed())?;
        Ok(restored.limits)
    }

    /// Loads into `directory`, made anew, or beside the live database in its server. Blocks.
    pub(super) fn service(
        &self,
        service: &ServicePart,
        directory: &Path,
        entry: &ServiceEntry,
    ) -> Result<Beside, Error> {
        let failed = || Error::part(service.label());
        fresh(directory)?;
        let (reading, name) = (self.clone(), service.name().clone());
        let mut dump = stream::reading_from(move |out| {
            reading.repository.read_stream(&reading.job, &reading.id, &name, out).map(drop)
        })
        .map_err(Error::io("a pipe could not be made"))?;
        let loaded = service.driver.load_beside(directory, &mut dump);
        let beside = loaded.map_err(|source| match service.driver.test() {
            Ok(tested) if is_newer(&entry.kind, &entry.version, &tested.version) => Error::NewerServer {
                part: service.label(),
                snapshot: entry.version.clone(),
                server: tested.version,
                source: Box::new(source),
            },
            _ => failed()(source),
        })?;
        service.driver.check(&beside, &entry.facts).map_err(failed())?;
        Ok(beside)
    }
}

/// On a thread for work that blocks.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await?
}

/// What a load of this mount, or of its paths, has to come to.
pub(super) fn expected(entry: &MountEntry, held: &[Held]) -> Contents {
    if entry.paths.is_empty() {
        return Contents::from(entry);
    }
    let of = held.iter().filter(|held| held.mount == entry.name).filter_map(|held| held.contents);
    of.fold(Contents::default(), |sum, held| Contents {
        files: sum.files + held.files,
        bytes: sum.bytes + Bytes(held.bytes),
    })
}

fn fresh(directory: &Path) -> Result<(), Error> {
    let doing = || format!("{} could not be made", directory.display());
    if directory.exists() {
        std::fs::remove_dir_all(directory).map_err(Error::io(doing()))?;
    }
    std::fs::create_dir_all(directory).map_err(Error::io(doing()))
}
