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
        Self::chosen(composition, &Scope::default())
    }

    /// Those in the scope, of an environment that has more: a mount must know which others lie inside it.
    ///
    /// # Errors
    /// As [`Parts::connect`].
    pub fn chosen(all: &Composition, scope: &Scope) -> Result<Self, Error> {
        let composition = all.only(scope);
        let services = composition.services.iter().map(|spec| {
            let driver = drivers::connect(&spec.connection).map_err(Error::part(format!("service {}", spec.name)))?;
            Ok(Arc::new(ServicePart { spec: spec.clone(), driver }))
        });
        let mounts = composition.mounts.iter().map(|spec| {
            let driver = Mount::connect(spec).map_err(Error::part(format!("mount {}", spec.name)))?;
            Ok(Arc::new(MountPart { driver: driver.among(&all.mounts) }))
        });
        Ok(Self { services: services.collect::<Result<_, Error>>()?, mounts: mounts.collect::<Result<_, Error>>()? })
    }

    /// Mounts, each after the one that it lies inside: so they are made, exchanged and taken back.
    pub(super) fn outermost_first(&self) -> Vec<Arc<MountPart>> {
        let mut mounts = self.mounts.clone();
        mounts.sort_by_cached_key(|mount| mount.driver.depth());
        mounts
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
                within_rules(&reached, rules)?;
            }
            sizes.services = sizes.services + service.driver.test().map_err(Error::part(service.label()))?.size;
        }
        for mount in &self.mounts {
            let mut rules = rules.clone();
            rules.databases.extend(self.services.iter().flat_map(|service| service.spec.connection.file()));
            mount.driver.test(&rules).map_err(Error::part(mount.label()))?;
        }
        Ok(sizes)
    }
}

/// Paths reach out of the system, so the operator decides about those of databases as about those of mounts; and a link must
/// not lead to what another environment has (R6).
fn within_rules(file: &Path, rules: &Rules) -> Result<(), Error> {
    // One that does not exist has its own error, from its driver.
    let Ok(real) = file.canonicalize() else { return Ok(()) };
    let below = |root: &PathBuf| root.canonicalize().is_ok_and(|root| real.starts_with(root));
    let shown = file.display();
    let (reason, instead) = if !rules.roots.iter().any(below) {
        ("is outside the directories that the operator allows", "Ask for its directory to be allowed.")
    } else if rules.data.iter().any(below) {
        ("lies in Stillpoint's own data directory", "Move it elsewhere.")
    } else if rules.databases.iter().chain(&rules.mounts).any(below) {
        ("belongs to another environment", "Declare the one that is this environment's own; a link may have changed.")
    } else {
        return Ok(());
    };
    Err(Refusal::new(format!("The database {shown} {reason}.")).instead(instead).into())
}

impl Context {
    /// The environment's parts as they are declared now, tested.
    pub(super) async fn parts(&self, environment: &EnvironmentId, scope: &Scope) -> Result<(Parts, Sizes), Error> {
        let mut db = self.store().read().await?;
        let composition = environments::composition(&mut db, self.store().sealer(), environment).await?;
        drop(db);
        let (rules, scope) = (self.rules(environment).await?, scope.clone());
        tokio::task::spawn_blocking(move || {
            let parts = Parts::chosen(&composition, &scope)?;
            let sizes = parts.test(&rules)?;
            Ok((parts, sizes))
        })
        .await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R6, as things are when it is run: a link may lead elsewhere by then.
    #[test]
    fn a_database_is_asked_for_by_where_it_really_lies() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let at = |path: &str| home.path().join(path);
        for directory in ["site", "data", "other/uploads"] {
            std::fs::create_dir_all(at(directory)).expect("a directory");
        }
        for file in ["site/own.db", "data/catalogue.db", "other/shop.db", "other/uploads/inner.db"] {
            std::fs::write(at(file), "").expect("a file");
        }
        let rules = Rules {
            roots: vec![home.path().to_owned()],
            data: Some(at("data")),
            mounts: vec![at("other/uploads")],
            databases: vec![at("other/shop.db")],
        };
        let (own, link) = (at("site/own.db"), at("site/link.db"));
        assert!(within_rules(&own, &rules).is_ok());
        assert!(within_rules(&at("site/missing.db"), &rules).is_ok(), "its driver says so");
        for (target, said) in [
            ("/dev/null", "outside the directories"),
            ("data/catalogue.db", "own data directory"),
            ("other/shop.db", "belongs to another environment"),
            ("other/uploads/inner.db", "belongs to another environment"),
        ] {
            std::os::unix::fs::symlink(home.path().join(target), &link).expect("a link");
            let refused = within_rules(&link, &rules).expect_err(target).for_people();
            assert!(refused.contains(said), "{target}: {refused}");
            std::fs::remove_file(&link).expect("the link");
        }
        std::os::unix::fs::symlink(&own, &link).expect("a link");
        assert!(within_rules(&link, &rules).is_ok());
    }
}
