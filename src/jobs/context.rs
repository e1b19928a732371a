//! What jobs work with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Error;
use super::repositories::{Repositories, RepositoryLease};
use crate::domain::ids::RegionId;
use crate::domain::{ActivityId, Bytes, EnvironmentId, ProjectId, Secret};
use crate::drivers::mount::{Rules, StagingLimits};
use crate::engine::Repository;
use crate::gateway::{Gate, Gateway, Limits, Remote};
use crate::store::{self, Store, clock, environments, gateways};
use http::Uri;

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
    repositories: Repositories,
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

impl Context {
    pub fn new(store: Store, data: PathBuf, roots: Vec<PathBuf>, gateways: Gateways, limits: Limits) -> Self {
        let repositories = Repositories::new(store.clone());
        Self(Arc::new(Inner { store, data, roots, gateways, limits, repositories }))
    }

    pub fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn data(&self) -> &Path {
        &self.0.data
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
        Scratch::make(&self.0.data, activity)
    }

    /// Where a restore keeps what must outlive the process: loaded databases and what they replaced.
    pub(super) fn swap_directory(&self, activity: &ActivityId) -> PathBuf {
        self.0.data.join("swaps").join(activity.as_str())
    }

    /// Opens the project's repository, or gives the one that is open.
    pub(super) async fn repository(&self, project: &ProjectId) -> Result<Repository, Error> {
        self.0.repositories.open(project).await
    }

    /// What this environment's services and mounts must keep to (R6), as it is now.
    pub(super) async fn rules(&self, but: &EnvironmentId) -> Result<Rules, Error> {
        Ok(rules(self.store(), (&self.0.roots, &self.0.data), but).await?)
    }

    /// A shared lease on the project's repository (R14), renewed until it is dropped.
    pub(super) async fn share_repository(&self, project: &ProjectId, id: &str) -> Result<RepositoryLease, Error> {
        self.0.repositories.share(project, id).await
    }

    /// The exclusive lease on the project's repository (R14), if nobody uses it now; renewed until it is dropped.
    pub(super) async fn reserve_repository(&self, project: &ProjectId, id: &str) -> Result<RepositoryLease, Error> {
        self.0.repositories.reserve(project, id).await
    }
}

/// What the services and mounts of the environment `but` must keep to (R6): the roots, and clear of the data directory and of
/// all other environments, as they are now.
pub(crate) async fn rules(
    store: &Store,
    (roots, data): (&[PathBuf], &Path),
    but: &EnvironmentId,
) -> Result<Rules, store::Error> {
    let mut db = store.read().await?;
    let all = environments::compositions(&mut db, store.sealer()).await?;
    let others = || all.iter().filter(|(id, _)| id != but);
    Ok(Rules {
        roots: roots.to_vec(),
        data: Some(data.to_owned()),
        mounts: others().flat_map(|(_, other)| &other.mounts).map(|mount| PathBuf::from(&mount.path)).collect(),
        databases: others().flat_map(|(_, other)| other.databases()).collect(),
    })
}

/// A directory that is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(super) path: PathBuf,
}

impl Scratch {
    /// Below the data directory; emptied.
    pub(crate) fn make(data: &Path, activity: &ActivityId) -> Result<Self, Error> {
        let path = data.join("work").join(activity.as_str());
        let doing = || format!("the directory {} could not be made", path.display());
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(Error::io(doing()))?;
        }
        std::fs::create_dir_all(&path).map_err(Error::io(doing()))?;
        Ok(Self { path })
    }

    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf, Error> {
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
