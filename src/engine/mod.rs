//! The repository: writes, reads and forgets snapshots in restic's format, so that stock restic can list, check and
//! restore them without us.
//!
//! A snapshot is one entry with `manifest.json`, `mounts/<name>/…` and `services/<name>/000000…` in it. Taking one has
//! two steps: [`Repository::pre_copy`] reads the live trees without a hold, and [`Repository::archive`] stores what the
//! hold saw, from pass 1's nodes, the copies that were made in the hold, and the services' streams. All calls block.
//!
//! **Invariant:** an entry is complete or not there (R15), and what is read is what was stored, or an error. The room
//! knows no service, no hold and no lease: a [`Job`] carries the question whether the lease still stands.

mod archive;
mod entries;
mod error;
mod guard;
mod job;
mod live;
mod locks;
mod merge;
mod node;
mod paths;
mod pre_copy;
mod prune;
mod put;
mod read;
mod relocate;
mod restore;
mod segments;
mod source;
#[cfg(test)]
mod tests;
mod unchanged;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustic_backend::LocalBackend;
use rustic_core::repofile::{MasterKey, SnapshotFile};
use rustic_core::{
    ConfigOptions, Credentials, FileType, Id, IndexedFullStatus, KeyOptions, OpenStatus, ReadBackend,
    RepositoryBackends, RepositoryOptions, RusticError, WriteBackend,
};

pub use self::archive::{Archived, Entry, FinalTree, Stream};
pub use self::error::{Cause, Error};
pub use self::job::Job;
pub use self::live::Contents;
pub use self::pre_copy::{Baseline, SourceTree};
pub use self::prune::{Limits, Pruned};
pub use self::relocate::{Copied, Copy};
pub use self::restore::Restored;

use self::guard::{Entries, Guard, Tally};
use self::job::Counting;
use crate::domain::{Secret, SnapshotName, Timestamp};

/// Names of the layout, top level.
const MANIFEST: &str = "manifest.json";
const MOUNTS: &str = "mounts";
const SERVICES: &str = "services";

/// zstd's level, about what restic's own default comes to. The library's is 3: a quarter more work for 6 % less space.
const COMPRESSION: i32 = 1;

/// What packs of data begin at, as restic's; they grow with the repository. The library looks for each blob in the whole
/// pack that is being filled, so larger ones cost time as well as memory.
const PACK: &str = "16 MiB";

type Opened = rustic_core::Repository<OpenStatus>;
type Indexed = rustic_core::Repository<IndexedFullStatus>;

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory; its path must be UTF-8.
    Local(PathBuf),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Location {
    fn backend(&self) -> Result<Arc<dyn WriteBackend>, Error> {
        match self {
            Self::Local(path) => {
                let text = path.to_str().ok_or_else(|| Error::BadLocation { path: path.clone() })?;
                Ok(Arc::new(LocalBackend::new(text, []).map_err(|error| self.storage("used", error))?))
            }
        }
    }

    fn directory(&self) -> Option<PathBuf> {
        match self {
            Self::Local(path) => Some(path.clone()),
        }
    }

    fn storage(&self, action: &'static str, error: Box<RusticError>) -> Error {
        Error::Storage { location: self.to_string(), action, source: error.into() }
    }
}

/// A repository that was opened. Cheap to clone.
#[derive(Clone)]
pub struct Repository(Arc<Inner>);

struct Inner {
    location: Location,
    key: MasterKey,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("location", &self.0.location).finish_non_exhaustive()
    }
}

/// An entry as the repository lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// 64 hexadecimal digits.
    pub id: String,
    pub time: Timestamp,
    pub host: String,
    /// `None`: another restic program made it.
    pub name: Option<SnapshotName>,
}

/// All entries, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    pub snapshots: Vec<Stored>,
    /// Ids of entries that are there and cannot be read, for people to look into.
    pub unreadable: Vec<String>,
}

impl Repository {
    /// Makes a repository that `password` opens, for restic too: the operator's recovery key (R34).
    ///
    /// # Errors
    /// [`Error::Exists`]: then [`unlock`](Self::unlock) it.
    pub fn create(location: &Location, password: &Secret) -> Result<Self, Error> {
        let job = Job::reading();
        let fresh = fresh(location, location.backend()?)?;
        if fresh.config_id().map_err(|error| location.storage("looked at", error))?.is_some() {
            return Err(Error::Exists { location: location.to_string() });
        }
        let credentials = Credentials::password(password.reveal());
        let mut config = ConfigOptions::default().set_compression(COMPRESSION);
        config.set_datapack_size = Some(PACK.parse().expect("a size"));
        let opened = job
            .pool()?
            .install(|| fresh.init(&credentials, &KeyOptions::default(), &config))
            .map_err(|error| location.storage("created", error))?;
        Ok(Self(Arc::new(Inner { location: location.clone(), key: opened.key() })))
    }

    /// Opens it with one of its passwords, which takes half a second and 133 MB.
    ///
    /// # Errors
    /// [`Error::WrongKey`], [`Error::Missing`], or what keeps its storage from being read.
    pub fn unlock(location: &Location, password: &Secret) -> Result<Self, Error> {
        Self::with(location, &Credentials::password(password.reveal()))
    }

    /// Opens it with its own [`key`](Self::key): at once.
    ///
    /// # Errors
    /// As [`unlock`](Self::unlock).
    pub fn open(location: &Location, key: &Secret) -> Result<Self, Error> {
        let key = serde_json::from_str(key.reveal()).map_err(|_| Error::WrongKey { location: location.to_string() })?;
        Self::with(location, &Credentials::Masterkey(key))
    }

    fn with(location: &Location, credentials: &Credentials) -> Result<Self, Error> {
        let fresh = fresh(location, location.backend()?)?;
        if fresh.config_id().map_err(|error| location.storage("looked at", error))?.is_none() {
            return Err(Error::Missing { location: location.to_string() });
        }
        let opened = Job::reading().pool()?.install(|| fresh.open(credentials)).map_err(|error| {
            if error.is_incorrect_password() || is_sealed(&error) {
                Error::WrongKey { location: location.to_string() }
            } else {
                location.storage("opened", error)
            }
        })?;
        Ok(Self(Arc::new(Inner { location: location.clone(), key: opened.key() })))
    }

    /// The key that everything in it is encrypted with, whatever its passwords are: to be kept sealed.
    pub fn key(&self) -> Secret {
        Secret::new(serde_json::to_string(&self.0.key).expect("a key has string keys"))
    }

    /// Lets the repository be opened with `password` too, unless it can be already.
    pub fn ensure_password(&self, password: &Secret) -> Result<(), Error> {
        let location = self.location();
        match Self::unlock(location, password) {
            Err(Error::WrongKey { .. }) => {}
            other => return other.map(|_| ()),
        }
        let opened = Job::reading()
            .pool()?
            .install(|| fresh(location, location.backend()?).map(|fresh| fresh.open(&self.credentials())))?
            .map_err(|error| location.storage("opened", error))?;
        opened
            .add_key(password.reveal(), &KeyOptions::default())
            .map_err(|error| location.storage("given another key", error))?;
        Ok(())
    }

    pub fn location(&self) -> &Location {
        &self.0.location
    }

    /// All entries, for rebuilding the catalogue (R34).
    pub fn list(&self) -> Result<Listing, Error> {
        let job = Job::reading();
        let (repository, _) = self.session(&job, Entries::Refuse, Use::reading())?;
        let mut listing = Listing::default();
        for id in self.entry_ids()? {
            let hex = id.to_hex().to_string();
            let Ok(snapshot) = repository.get_file::<SnapshotFile>(&id.into()) else {
                listing.unreadable.push(hex);
                continue;
            };
            listing.snapshots.push(Stored {
                id: hex,
                time: Timestamp::from_micros(snapshot.time.timestamp().as_microsecond()),
                host: snapshot.hostname,
                name: snapshot.tags.iter().find_map(|tag| SnapshotName::parse(tag).ok()),
            });
        }
        listing.snapshots.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
        Ok(listing)
    }

    /// Removes the entry; its data goes at the next prune. Not an error when it is gone already: a job may run twice.
    pub fn forget(&self, id: &str) -> Result<(), Error> {
        let id = parse(id)?;
        if !self.entry_ids()?.contains(&id) {
            return Ok(());
        }
        let backend = self.location().backend()?;
        backend.remove(FileType::Snapshot, &id, false).map_err(|error| self.location().storage("written", error))
    }

    /// The library's own listing takes a directory that cannot be read for an empty one.
    fn entry_ids(&self) -> Result<Vec<Id>, Error> {
        let location = self.location();
        if let Some(directory) = location.directory() {
            let entries = directory.join(FileType::Snapshot.dirname());
            std::fs::read_dir(&entries).map_err(|source| Error::Storage {
                location: location.to_string(),
                action: "listed",
                source: source.into(),
            })?;
        }
        location.backend()?.list(FileType::Snapshot).map_err(|error| location.storage("listed", error))
    }

    fn credentials(&self) -> Credentials {
        Credentials::Masterkey(self.0.key.clone())
    }

    /// The repository as `job` may use it.
    fn session(&self, job: &Job, entries: Entries, usage: Use) -> Result<(Opened, Arc<Tally>), Error> {
        let location = self.location();
        let tally = Arc::new(Tally::default());
        let Use { counted, indexes } = usage;
        let guard = Guard {
            inner: location.backend()?,
            job: job.clone(),
            entries,
            tally: tally.clone(),
            directory: location.directory(),
            touched: Mutex::new(BTreeSet::new()),
            indexes,
            confirmed: Mutex::new(None),
        };
        let backends = RepositoryBackends::new(Arc::new(guard), None);
        let fresh = rustic_core::Repository::new_with_progress(&options(), &backends, Counting(counted))
            .map_err(|error| location.storage("opened", error))?;
        if fresh.config_id().map_err(|error| location.storage("looked at", error))?.is_none() {
            return Err(Error::Missing { location: location.to_string() });
        }
        let opened = job.pool()?.install(|| fresh.open(&self.credentials()));
        Ok((opened.map_err(|error| location.storage("opened", error))?, tally))
    }

    fn index_ids(&self) -> Result<BTreeSet<Id>, Error> {
        let listed = self.location().backend()?.list(FileType::Index);
        Ok(listed.map_err(|error| self.location().storage("listed", error))?.into_iter().collect())
    }

    fn indexed(&self, repository: Opened) -> Result<Indexed, Error> {
        repository.to_indexed().map_err(|error| Error::damaged("its index", error))
    }
}

/// Whether something was encrypted with another key: the library says so somewhere among the causes.
fn is_sealed(error: &RusticError) -> bool {
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let code = |error: &RusticError| error.is_code("C001");
    causes.any(|cause| {
        cause.downcast_ref().is_some_and(code)
            || cause.downcast_ref::<Box<RusticError>>().is_some_and(|error| code(error))
    })
}

struct Use {
    /// What the library says it worked through is counted for this job.
    counted: Job,
    /// What a commit builds on.
    indexes: BTreeSet<Id>,
}

impl Use {
    fn reading() -> Self {
        Self { counted: Job::reading(), indexes: BTreeSet::new() }
    }
}

fn options() -> RepositoryOptions {
    RepositoryOptions::default().no_cache(true)
}

fn fresh(location: &Location, backend: Arc<dyn WriteBackend>) -> Result<rustic_core::Repository<()>, Error> {
    rustic_core::Repository::new(&options(), &RepositoryBackends::new(backend, None))
        .map_err(|error| location.storage("opened", error))
}

/// Ids of entries are told in full only: the library would take eight digits for a search.
fn parse(id: &str) -> Result<Id, Error> {
    id.parse().map_err(|_| Error::UnknownSnapshot { id: id.to_owned() })
}
