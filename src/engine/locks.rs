//! Locks that other restic programs left in the repository (R14).
//!
//! Ours are leases in the database, which restic knows nothing of; so a commit also looks whether the index it builds on
//! is still there. For those only exclusive locks are in the way: the others read, or add as we do. For a prune every
//! lock is.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustic_core::{FileType, Id};
use serde::Deserialize;

use super::error::Error;
use super::guard::{Entries, Kept};
use super::job::Job;
use super::{Repository, Use};
use crate::domain::Timestamp;

/// restic refreshes its locks every five minutes and takes older ones than this for left behind.
const STALE: Duration = Duration::from_secs(30 * 60);

#[derive(Deserialize)]
struct Lock {
    time: Timestamp,
    #[serde(default)]
    exclusive: bool,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    pid: u64,
}

impl Repository {
    /// # Errors
    /// [`Error::Locked`] while another program has the repository for itself.
    pub(super) fn heed_locks(&self) -> Result<(), Error> {
        self.heed(|lock| lock.exclusive)
    }

    /// # Errors
    /// [`Error::Locked`] while another program uses the repository in any way.
    pub(crate) fn heed_every_lock(&self) -> Result<(), Error> {
        self.heed(|_| true)
    }

    fn heed(&self, counts: impl Fn(&Lock) -> bool) -> Result<(), Error> {
        let Some(directory) = self.location().directory() else { return Ok(()) };
        let failed = |source: io::Error| Error::Storage {
            location: self.location().to_string(),
            action: "looked at for locks",
            source: source.into(),
        };
        let entries = match std::fs::read_dir(directory.join("locks")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<Id>().ok()) else { continue };
            if let Some(by) = self.holder(&entry.path(), id, &counts)? {
                return Err(Error::Locked { location: self.location().to_string(), by });
            }
        }
        Ok(())
    }

    /// Who holds the lock, when it counts and is fresh.
    fn holder(&self, path: &Path, id: Id, counts: impl Fn(&Lock) -> bool) -> Result<Option<String>, Error> {
        // Unlocked meanwhile.
        let Ok(content) = std::fs::read(path) else { return Ok(None) };
        let job = Job::reading();
        let served = Entries::Serve(Kept { id, content: content.into() });
        let (repository, _) = self.session(&job, served, Use::reading())?;
        let read = repository.cat_file(FileType::Snapshot, &id.to_hex());
        let Some(lock) = read.ok().and_then(|text| serde_json::from_slice::<Lock>(&text).ok()) else {
            return Ok(Some(format!("its lock {} cannot be read", path.display())));
        };
        let is_fresh = Timestamp::now().since(lock.time) < STALE;
        let by = format!("process {} on {}, since {}", lock.pid, lock.hostname, lock.time.table());
        Ok((counts(&lock) && is_fresh).then_some(by))
    }
}
