//! The projects' repositories, and the right to use them (R14): for jobs, and for readings that no worker does.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::Error;
use crate::domain::ProjectId;
use crate::engine::{Location, Repository};
use crate::store::{Store, clock, leases, projects};

/// How long a lease lasts without being renewed.
const LEASE: Duration = Duration::from_secs(60);
/// How long a prune may keep others waiting; its steps take seconds, unless the repository is very large.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repositories {
    store: Store,
    /// By its place too: a project may have been moved meanwhile, by another process.
    open: Arc<Mutex<HashMap<ProjectId, (String, Repository)>>>,
}

impl Repositories {
    pub fn new(store: Store) -> Self {
        Self { store, open: Arc::default() }
    }

    /// Opens the project's repository, or gives the one that is open. Under a lease: without one it may be another in a moment.
    pub(crate) async fn open(&self, project: &ProjectId) -> Result<Repository, Error> {
        let access = projects::repository(&mut *self.store.read().await?, self.store.sealer(), project).await?;
        let mut open = self.open.lock().await;
        if let Some((_, repository)) = open.get(project).filter(|(place, _)| *place == access.location) {
            return Ok(repository.clone());
        }
        let place = access.location.clone();
        let repository = tokio::task::spawn_blocking(move || {
            Repository::open(&Location::Local(PathBuf::from(access.location)), &access.key)
        })
        .await??;
        open.insert(project.clone(), (place, repository.clone()));
        Ok(repository)
    }

    /// A shared lease on the project's repository, renewed until it is dropped. `id`: the activity's. Waits for a prune
    /// that is at it: its steps are short.
    pub(crate) async fn share(&self, project: &ProjectId, id: &str) -> Result<RepositoryLease, Error> {
        let since = tokio::time::Instant::now();
        loop {
            let mut mark = self.store.mark();
            match self.take(project, id, leases::Access::Shared).await {
                Err(Error::RepositoryBusy) if since.elapsed() < PATIENCE => self.store.changed(&mut mark).await,
                taken => return taken,
            }
        }
    }

    /// The exclusive one, if nobody uses the repository at this moment: whoever does is not kept waiting.
    ///
    /// # Errors
    /// [`Error::RepositoryBusy`]
    pub(crate) async fn reserve(&self, project: &ProjectId, id: &str) -> Result<RepositoryLease, Error> {
        self.take(project, id, leases::Access::Exclusive).await
    }

    async fn take(&self, project: &ProjectId, id: &str, access: leases::Access) -> Result<RepositoryLease, Error> {
        let store = &self.store;
        let mut tx = store.write().await?;
        let now = clock::now(&mut tx, store.dialect()).await?;
        if !leases::take(&mut tx, project, id, access, now, LEASE).await? {
            return Err(Error::RepositoryBusy);
        }
        store.commit(tx).await?;
        let keeper = tokio::spawn(keep(store.clone(), id.to_owned()));
        Ok(RepositoryLease { store: store.clone(), id: id.to_owned(), keeper })
    }
}

async fn keep(store: Store, id: String) {
    loop {
        tokio::time::sleep(LEASE / 4).await;
        if let Err(error) = renew(&store, &id).await {
            tracing::warn!(%error, "a lease on a repository could not be renewed");
        }
    }
}

async fn renew(store: &Store, id: &str) -> Result<bool, crate::store::Error> {
    let mut tx = store.write().await?;
    let now = clock::now(&mut tx, store.dialect()).await?;
    let renewed = leases::renew(&mut tx, id, now, LEASE).await?;
    store.commit(tx).await?;
    Ok(renewed)
}

/// The right to use a repository. Expires by itself when its holder dies.
#[derive(Debug)]
pub(crate) struct RepositoryLease {
    store: Store,
    id: String,
    keeper: tokio::task::JoinHandle<()>,
}

impl RepositoryLease {
    /// Asks the database: before anything final is written.
    pub(crate) async fn confirm(&self) -> Result<(), Error> {
        if renew(&self.store, &self.id).await? { Ok(()) } else { Err(Error::RepositoryLeaseLost) }
    }
}

impl Drop for RepositoryLease {
    fn drop(&mut self) {
        self.keeper.abort();
        let (store, id) = (self.store.clone(), std::mem::take(&mut self.id));
        tokio::spawn(async move {
            let given_back = async {
                let mut tx = store.write().await?;
                leases::give_back(&mut tx, &id).await?;
                store.commit(tx).await
            };
            if let Err(error) = given_back.await {
                tracing::warn!(%error, "a lease on a repository could not be given back; it will expire");
            }
        });
    }
}
