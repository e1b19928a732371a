//! What the parts that are to be replaced say of it themselves: versions, maintenance, waits (R25).

use crate::domain::environment::Composition;
use crate::domain::ids::ServiceName;
use crate::domain::manifest::Manifest;
use crate::domain::policy::maintenance::{Maintenance, Past};
use crate::domain::policy::versions;
use crate::domain::snapshot::Snapshot;
use crate::domain::view::Versions;
use crate::domain::{Bytes, EnvironmentId, Scope};
use crate::drivers::service::InPlace;
use crate::jobs::Parts;
use crate::store::{Db, Error, snapshots};

/// How many snapshots are looked through for the last restore in place.
const PAST: u32 = 200;

/// What does not answer says nothing here: why not stands among the obstacles.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub notices: Vec<String>,
    pub versions: Vec<Versions>,
    pub in_place: Vec<(ServiceName, InPlace)>,
}

pub(super) async fn ask(composition: &Composition, scope: &Scope, manifest: &Manifest) -> Asked {
    let (composition, scope, manifest) = (composition.clone(), scope.clone(), manifest.clone());
    let asked = tokio::task::spawn_blocking(move || {
        let mut asked = Asked::default();
        let Ok(connected) = Parts::chosen(&composition, &scope) else { return asked };
        for service in &connected.services {
            let Some(entry) = manifest.services.iter().find(|entry| entry.name == *service.name()) else { continue };
            asked.notices.extend(service.driver.notice());
            if let Ok(tested) = service.driver.test() {
                asked.versions.push(versions::compare(entry, &tested.version));
            }
            if let Ok(Some(in_place)) = service.driver.in_place() {
                asked.in_place.push((service.name().clone(), in_place));
            }
        }
        for mount in &connected.mounts {
            let entry = manifest.mounts.iter().find(|entry| entry.name == *mount.name());
            asked.notices.extend(entry.map(|entry| mount.driver.notices(&entry.databases)).unwrap_or_default());
        }
        asked
    });
    asked.await.unwrap_or_default()
}

impl Asked {
    /// The maintenance that it takes, if it takes any.
    pub(super) async fn maintenance(
        &self,
        db: &mut Db,
        environment: &EnvironmentId,
        snapshot: &Snapshot,
        manifest: &Manifest,
    ) -> Result<Option<Maintenance>, Error> {
        if self.in_place.is_empty() {
            return Ok(None);
        }
        let files: Bytes = manifest.mounts.iter().map(|mount| Bytes(mount.bytes)).sum();
        // Of several services in a snapshot it is not known which takes what: all count.
        let loaded = Bytes(snapshot.size.0.saturating_sub(files.0));
        let kept: Bytes = self.in_place.iter().map(|(_, in_place)| in_place.size).sum();
        let past = Past::newest(&snapshots::by_environment(db, environment, PAST).await?);
        let services = self.in_place.iter().map(|(name, in_place)| (name.clone(), in_place.why.clone())).collect();
        Ok(Some(Maintenance { services, work: kept + loaded, past }))
    }
}
