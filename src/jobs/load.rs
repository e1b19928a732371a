//! Loading one part of a snapshot beside the live data, and checking it (R22).

use std::path::Path;

use super::parts::{MountPart, ServicePart};
use super::{Error, stream};
use crate::domain::manifest::{MountEntry, ServiceEntry};
use crate::drivers::Beside;
use crate::drivers::mount::{Contents, MountBeside};
use crate::engine::{self, Repository};

/// A snapshot that is read. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub repository: Repository,
    pub job: engine::Job,
    /// The repository's own id of the entry.
    pub id: String,
}

impl Reading {
    /// Fills the directory beside the mount. Gives what could not be restored as it was, in sentences. Blocks.
    pub(super) fn mount(
        &self,
        mount: &MountPart,
        beside: &MountBeside,
        entry: &MountEntry,
    ) -> Result<Vec<String>, Error> {
        let restored = self.repository.restore_tree(&self.job, &self.id, mount.name(), &beside.tree())?;
        mount.driver.check(beside, Contents::from(entry)).map_err(Error::part(mount.label()))?;
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
        let beside = service.driver.load_beside(directory, &mut dump).map_err(failed())?;
        service.driver.check(&beside, &entry.facts).map_err(failed())?;
        Ok(beside)
    }
}

fn fresh(directory: &Path) -> Result<(), Error> {
    let doing = || format!("{} could not be made", directory.display());
    if directory.exists() {
        std::fs::remove_dir_all(directory).map_err(Error::io(doing()))?;
    }
    std::fs::create_dir_all(directory).map_err(Error::io(doing()))
}
