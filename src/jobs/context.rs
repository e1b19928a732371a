//! What jobs work with.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::sync::Mutex;

use super::Error;
use crate::domain::ids::RegionId;
use crate::domain::{ActivityId, Bytes, ProjectId, Secret};
use crate::drivers::mount::{Rules, StagingLimits};
use crate::engine::{Location, Repository};
use crate::gateway::{Gate, Gateway, Limits, Remote};
use crate::store::{Store, clock, environments, gateways, leases, projects};

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    data: PathBuf,
    roots: Vec<PathBuf>,
    gateways: Gateways,
    limits: Limits,
    repositories: Mutex<HashMap<ProjectId, Repository>>,
}

/// Which gates a hold closes.
#[derive(Debug, Clone)]
pub enum Gateways {
    /// The one in this process.
    Local(Gateway),
    /// All that are registered in the region.
    Registered { region: RegionId, key: Secret },
}

/// What one hold may copy aside; past it the snapshot fails instead of stretching the pause.
const STAGING: StagingLimits = StagingLimits { bytes: Bytes(256 * 1024 * 1024), time: Duration::from_secs(5) };

/// How long a repository lease lasts without being renewed.
const REPOSITORY_LEASE: Duration = Duration::from_secs(60);

impl Context {
    pub fn new(store: Store, data: PathBuf, roots: Vec<PathBuf>, gateways: Gateways, limits: Limits) -> Self {
        let repositories = Mutex::default();
        Self(Arc::new(Inner { store, data, roots, gateways, limits, repositories }))
    }

    pub fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(super) fn staging_limits(&self) -> StagingLimits {
        STAGING
    }

    pub(super) async fn gates(&self) -> Result<Vec<Gate>, Error> {
        match &self.0.gateways {
            Gateways::Local(gateway) => Ok(vec![Gate::Local(gateway.clone())]),
            Gateways::Registered { region, key } => {
                let mut db = self.store().read().await?;
                let now = clock::now(&mut db, self.store().dialect()).await?;
                let live = gateways::live(&mut db, region, now).await?;
                let addresses = live.into_iter().filter_map(|entry| entry.control_url.parse::<Uri>().ok());
                Ok(addresses.map(|address| Gate::Remote(Remote::new(address, key.clone()))).collect())
            }
        }
    }

    /// A directory for one activity's intermediate files; emptied, since an earlier try may have left some.
    pub(super) fn scratch(&self, activity: &ActivityId) -> Result<Scratch, Error> {
        let path = self.0.data.join("work").join(activity.as_str());
        let doing = || format!("the directory {} could not be made", path.display());
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(Error::io(doing()))?;
        }
        std::fs::create_dir_all(&path).map_err(Error::io(doing()))?;
        Ok(Scratch { path })
    }

    /// Where a restore keeps what must outlive the process: loaded databases and what they replaced.
    pub(super) fn swap_directory(&self, activity: &ActivityId) -> PathBuf {
        self.0.data.join("swaps").join(activity.as_str())
    }

    /// Opens the project's repository, or gives the one that is open.
    pub(super) async fn repository(&self, project: &ProjectId) -> Result<Repository, Error> {
        let mut open = self.0.repositories.lock().await;
        if let Some(repository) = open.get(project) {
            return Ok(repository.clone());
        }
        let access = projects::repository(&mut *self.store().read().await?, self.store().sealer(), project).await?;
        let repository = tokio::task::spawn_blocking(move || {
            Repository::open(&Location::Local(PathBuf::from(access.location)), &access.key)
        })
        .await??;
        open.insert(project.clone(), repository.clone());
        Ok(repository)
    }

    /// What this environment's mounts must keep clear of (R6), as it is now.
    pub(super) async fn rules(&self, but: &crate::domain::EnvironmentId) -> Result<Rules, Error> {
        let mut db = self.store().read().await?;
        let all = environments::compositions(&mut db, self.store().sealer()).await?;
        let others = || all.iter().filter(|(id, _)| id != but);
        Ok(Rules {
            roots: self.0.roots.clone(),
            data: Some(self.0.data.clone()),
            mounts: others().flat_map(|(_, other)| &other.mounts).map(|mount| PathBuf::from(&mount.path)).collect(),
            databases: others().flat_map(|(_, other)| other.databases()).collect(),
        })
    }

    /// A shared lease on the project's repository (R14), renewed until it is dropped.
    pub(super) async fn share_repository(&self, project: &ProjectId, id: &str) -> Result<RepositoryLease, Error> {
        let store = self.store();
        let mut tx = store.write().await?;
        let now = clock::now(&mut tx, store.dialect()).await?;
        if !leases::take(&mut tx, project, id, leases::Access::Shared, now, REPOSITORY_LEASE).await? {
            return Err(Error::RepositoryBusy);
        }
        store.commit(tx).await?;
        let keeper = tokio::spawn(keep(store.clone(), id.to_owned()));
        Ok(RepositoryLease { store: store.clone(), id: id.to_owned(), keeper })
    }
}

async fn keep(store: Store, id: String) {
    loop {
        tokio::time::sleep(REPOSITORY_LEASE / 4).await;
        if let Err(error) = renew(&store, &id).await {
            tracing::warn!(%error, "a lease on a repository could not be renewed");
        }
    }
}

async fn renew(store: &Store, id: &str) -> Result<bool, crate::store::Error> {
    let mut tx = store.write().await?;
    let now = clock::now(&mut tx, store.dialect()).await?;
    let renewed = leases::renew(&mut tx, id, now, REPOSITORY_LEASE).await?;
    store.commit(tx).await?;
    Ok(renewed)
}

/// The right to use a repository. Expires by itself when its holder dies.
#[derive(Debug)]
pub(super) struct RepositoryLease {
    store: Store,
    id: String,
    keeper: tokio::task::JoinHandle<()>,
}

impl RepositoryLease {
    /// Asks the database: before anything final is written.
    pub(super) async fn confirm(&self) -> Result<(), Error> {
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

/// A directory that is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) path: PathBuf,
}

impl Scratch {
    pub(super) fn directory(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).map_err(Error::io(format!("{} could not be made", path.display())))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "intermediate files could not be removed");
        }
    }
}
