//! An environment's services and mounts, connected and tested.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Context, Error};
use crate::domain::environment::{Composition, ServiceSpec};
use crate::domain::ids::{MountName, ServiceName};
use crate::domain::policy::Refusal;
use crate::domain::{Bytes, EnvironmentId, Scope};
use crate::drivers::mount::Rules;
use crate::drivers::{self, Mount, Service};
use crate::store::environments;

/// All parts of an environment. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Parts {
    pub services: Vec<Arc<ServicePart>>,
    pub mounts: Vec<Arc<MountPart>>,
}

/// What the services said of themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sizes {
    /// About how much there is to read in them.
    pub services: Bytes,
}

#[derive(Debug)]
pub struct ServicePart {
    pub spec: ServiceSpec,
    pub driver: Box<dyn Service>,
}

#[derive(Debug)]
pub struct MountPart {
    pub driver: Mount,
}

impl ServicePart {
    pub fn name(&self) -> &ServiceName {
        &self.spec.name
    }

    pub(super) fn label(&self) -> String {
        format!("service {}", self.spec.name)
    }
}

impl MountPart {
    pub fn name(&self) -> &MountName {
        &self.driver.spec().name
    }

    pub(super) fn label(&self) -> String {
        format!("mount {}", self.name())
    }
}

impl Parts {
    /// # Errors
    /// When a declaration can't be used at all.
    pub fn connect(composition: &Composition) -> Result<Self, Error> {
        let services = composition.services.iter().map(|spec| {
            let driver = drivers::connect(&spec.connection).map_err(Error::part(format!("service {}", spec.name)))?;
            Ok(Arc::new(ServicePart { spec: spec.clone(), driver }))
        });
        let mounts = composition.mounts.iter().map(|spec| {
            let driver = Mount::connect(spec).map_err(Error::part(format!("mount {}", spec.name)))?;
            Ok(Arc::new(MountPart { driver }))
        });
        Ok(Self { services: services.collect::<Result<_, Error>>()?, mounts: mounts.collect::<Result<_, Error>>()? })
    }

    /// Really tries each part. Blocks.
    ///
    /// # Errors
    /// The first part that does not work, with what to do.
    pub fn test(&self, rules: &Rules) -> Result<Sizes, Error> {
        let mut sizes = Sizes::default();
        for service in &self.services {
            let connection = &service.spec.connection;
            for reached in [connection.file(), connection.directory()].into_iter().flatten() {
                within_roots(&reached, rules)?;
            }
            sizes.services = sizes.services + service.driver.test().map_err(Error::part(service.label()))?.size;
        }
        for mount in &self.mounts {
            let mut rules = rules.clone();
            let others = self.mounts.iter().filter(|other| other.name() != mount.name());
            rules.mounts.extend(others.map(|other| PathBuf::from(&other.driver.spec().path)));
            rules.databases.extend(self.services.iter().flat_map(|service| service.spec.connection.file()));
            mount.driver.test(&rules).map_err(Error::part(mount.label()))?;
        }
        Ok(sizes)
    }
}

/// Paths reach out of the system, so the operator decides about those of databases as about those of mounts (R6).
fn within_roots(file: &Path, rules: &Rules) -> Result<(), Error> {
    // One that does not exist has its own error, from its driver.
    let Ok(real) = file.canonicalize() else { return Ok(()) };
    let below = |root: &PathBuf| root.canonicalize().is_ok_and(|root| real.starts_with(root));
    let shown = file.display();
    if !rules.roots.iter().any(below) {
        let reason = format!("The database {shown} is outside the directories that the operator allows.");
        return Err(Refusal::new(reason).instead("Ask for its directory to be allowed.").into());
    }
    if rules.data.iter().any(below) {
        let reason = format!("The database {shown} lies in Stillpoint's own data directory.");
        return Err(Refusal::new(reason).instead("Move it elsewhere.").into());
    }
    Ok(())
}

impl Context {
    /// The environment's parts as they are declared now, tested.
    pub(super) async fn parts(&self, environment: &EnvironmentId, scope: &Scope) -> Result<(Parts, Sizes), Error> {
        let mut db = self.store().read().await?;
        let composition = environments::composition(&mut db, self.store().sealer(), environment).await?.only(scope);
        drop(db);
        let rules = self.rules(environment).await?;
        tokio::task::spawn_blocking(move || {
            let parts = Parts::connect(&composition)?;
            let sizes = parts.test(&rules)?;
            Ok((parts, sizes))
        })
        .await?
    }
}
