//! What the operator does from the server's own command line: declare projects, rebuild the catalogue, keys.
//!
//! **Invariant:** nothing here is reachable from a door: these operations ask for no proof, because whoever can read the
//! data directory runs the installation.

mod adopt;
mod declaration;

pub use adopt::{Adopted, adopt};
pub use declaration::{Applied, Consent, Outlook, Trouble, apply, apply_with};

use super::{App, Error, audit};
use crate::domain::audit::AuditKind;
use crate::domain::environment::Project;
use crate::domain::ids::RegionId;
use crate::domain::policy::{Plan, Region, RestoreElsewhere, region};
use crate::domain::{ProjectId, Secret};
use crate::engine::{self, Location, Repository};
use crate::store::projects::RepositoryAccess;
use crate::store::{self, Db, projects, regions, settings};

/// A region as it is until somebody declares it.
fn undeclared(id: RegionId) -> Region {
    let title = if id == local_region() { "This machine".to_owned() } else { id.to_string() };
    Region { id, title, restore_elsewhere: RestoreElsewhere::SelfService, repositories: None }
}

const RECOVERY_KEY: &str = "sealed_recovery_key";

pub(super) fn local_region() -> RegionId {
    RegionId::parse(region::LOCAL).expect("a valid id")
}

/// The key that opens every repository without our database (R34). Made at the first asking; to be kept outside. That it was
/// shown stands in the audit.
///
/// # Errors
/// When the store fails.
pub async fn recovery_key(app: &App) -> Result<Secret, Error> {
    let key = recovery(app).await?;
    let mut tx = app.store().write().await?;
    let about = "showed the recovery key".to_owned();
    audit::note(&mut tx, app, (audit::terminal(), None), AuditKind::Installation, about).await?;
    app.store().commit(tx).await?;
    Ok(key)
}

/// The same for ourselves.
async fn recovery(app: &App) -> Result<Secret, Error> {
    let mut tx = app.store().write().await?;
    if let Some(sealed) = settings::get(&mut tx, RECOVERY_KEY).await? {
        return Ok(app.store().sealer().open(RECOVERY_KEY, &sealed)?);
    }
    let key = random_key();
    settings::set(&mut tx, RECOVERY_KEY, &app.store().sealer().seal(RECOVERY_KEY, &key)).await?;
    app.store().commit(tx).await?;
    Ok(key)
}

/// 240 random bits in groups that can be copied by hand.
fn random_key() -> Secret {
    let hex = hex::encode(rand::random::<[u8; 30]>());
    let groups: Vec<&str> = (0..hex.len()).step_by(6).map(|start| &hex[start..start + 6]).collect();
    Secret::new(groups.join("-"))
}

/// Makes the project's repository in its region, which the recovery key opens. One that a try left which died here is used.
async fn make_repository(app: &App, region: &RegionId, project: &ProjectId) -> Result<RepositoryAccess, Error> {
    let region = regions::find(&mut *app.store().read().await?, region).await?;
    let region = region.unwrap_or_else(|| undeclared(local_region()));
    let path = region::place(&region, project, app.data()).map_err(Error::Conflict)?;
    let location = path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::invalid(format!("The data directory {} is not UTF-8; choose another one.", app.data().display()))
    })?;
    let recovery = recovery(app).await?;
    let key = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&path)
            .map_err(|source| Error::Io { what: format!("{} could not be made", path.display()), source })?;
        let at = Location::Local(path);
        let repository = match Repository::create(&at, &recovery) {
            Err(engine::Error::Exists { .. }) => Repository::unlock(&at, &recovery),
            made => made,
        };
        Ok::<_, Error>(repository?.key())
    })
    .await
    .expect("making a repository does not panic")?;
    Ok(RepositoryAccess { location, key })
}

async fn insert_project(
    app: &App,
    db: &mut Db,
    project: &Project,
    plan: &Plan,
    access: &RepositoryAccess,
) -> Result<(), store::Error> {
    regions::add(db, &undeclared(project.region.clone())).await?;
    projects::insert(db, app.store().sealer(), project, plan, access).await
}

/// A built-in plan, by id.
fn plan(id: &str) -> Option<Plan> {
    Plan::built_in().into_iter().find(|plan| plan.id.as_str() == id)
}
