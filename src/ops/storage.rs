//! How much storage is declared for services and mounts, and changing it (R10).

use super::activities::Viewer;
use super::audit::Attempt;
use super::environments::evictions;
use super::{App, Error, first};
use crate::authz::{Authorized, ChangeStorage, ViewHistory};
use crate::domain::activity::{self, ActivityKind, First, Payload};
use crate::domain::environment::Composition;
use crate::domain::policy::advice::{Occasion, Wish};
use crate::domain::policy::{Act, Refusal, storage};
use crate::domain::view::{ActivityEntry, StoragePage, StoragePart};
use crate::domain::{Bytes, EnvironmentId, PartName, SnapshotName};
use crate::drivers::mount::Rules;
use crate::jobs;
use crate::queue::{self, NewActivity};
use crate::store::{environments, projects};

#[derive(Debug, Clone)]
pub struct StorageRequest {
    pub part: PartName,
    pub size: Bytes,
    pub snapshot: Wish,
    /// What the snapshot pushes out, by name: all of it must be named.
    pub evict: Vec<SnapshotName>,
}

/// What is declared and used, and what is advised before a change.
///
/// # Errors
/// When the store fails.
pub async fn page(app: &App, proof: &Authorized<ViewHistory>) -> Result<StoragePage, Error> {
    let (project, environment) = (&proof.on().project, &proof.on().environment);
    let mut db = app.store().read().await?;
    let terms = projects::terms(&mut db, &project.id).await?;
    let commands = projects::commands(&mut db, &project.id).await?;
    let composition = environments::composition(&mut db, app.store().sealer(), &environment.id).await?;
    let advice = first::advice(app, &mut db, (environment, &terms), proof.standing(), Occasion::Storage).await?;
    let eviction = evictions(&mut db, environment, &terms).await?;
    let change = proof.standing().may(Act::ChangeStorage, environment);
    // Measuring takes its time, and reads every directory: for those who can do something about it.
    drop(db);
    let parts = measured(app, &environment.id, &composition, change.is_ok()).await;
    Ok(StoragePage {
        parts,
        has_command: commands.resize.is_some(),
        minutes: commands.minutes(),
        change: change.into(),
        project: project.clone(),
        environment: environment.clone(),
        advice,
        eviction,
    })
}

async fn measured(app: &App, of: &EnvironmentId, composition: &Composition, measure: bool) -> Vec<StoragePart> {
    let mut parts = Vec::new();
    let rules = if measure { rules(app, of).await } else { None };
    for (part, kind) in composition.names() {
        let used = match &rules {
            Some(rules) => jobs::used(composition, &part, rules).await,
            None => None,
        };
        parts.push(StoragePart { declared: composition.storage.get(&part).copied(), kind, used, part });
    }
    parts
}

/// `None`: they can't be read now, so nothing is measured.
async fn rules(app: &App, of: &EnvironmentId) -> Option<Rules> {
    let settings = app.settings();
    jobs::rules(app.store(), (&settings.roots, &settings.data), of).await.ok()
}

/// Queues the change, behind the snapshot that comes first.
///
/// # Errors
/// [`Error::NotFound`] when the environment has no such part, [`Error::Conflict`] when it would not fit (recorded in the
/// feed, R5) or the snapshot would push out what was not named, [`Error::Forbidden`] when a snapshot is insisted on that
/// the plan does not allow (recorded, too).
pub async fn change(
    app: &App,
    proof: Authorized<ChangeStorage>,
    request: StorageRequest,
) -> Result<ActivityEntry, Error> {
    let (project, environment) = (&proof.on().project, &proof.on().environment);
    let mut db = app.store().read().await?;
    let composition = environments::composition(&mut db, app.store().sealer(), &environment.id).await?;
    drop(db);
    let StorageRequest { part, size, snapshot, evict } = request;
    if !composition.has(&part) {
        return Err(Error::NotFound("service or mount"));
    }
    let declared = composition.storage.get(&part).copied();
    let used = match rules(app, &environment.id).await {
        Some(rules) => jobs::used(&composition, &part, &rules).await,
        None => None,
    };
    let new = |first| NewActivity {
        project: project.id.clone(),
        environment: environment.id.clone(),
        region: project.region.clone(),
        kind: ActivityKind::Storage,
        initiator: proof.actor().initiator(),
        payload: Payload::ChangeStorage(activity::ChangeStorage {
            part: part.clone(),
            from: declared,
            to: size,
            first,
        }),
    };
    let mut tx = app.store().write().await?;
    let terms = projects::terms(&mut tx, &project.id).await?;
    let advice = first::advice(app, &mut tx, (environment, &terms), proof.standing(), Occasion::Storage).await?;
    let fits = storage::may_declare(&part, declared, size, used).map_err(Error::Conflict);
    let step = match fits.and_then(|()| advice.follow(snapshot).map_err(Error::Forbidden)) {
        Ok(step) => step,
        Err(error) => {
            let because = error.to_string();
            let refused = new(First::Nothing { because: because.clone() });
            queue::record_refused(&mut tx, app.store(), refused, &because).await?;
            app.store().commit(tx).await?;
            return Err(error);
        }
    };
    let note = format!("before the declared storage of the {} is {size}", part.in_words());
    let first = match first::take(app, &mut tx, &proof, step, (note, evict)).await {
        Ok(first) => first,
        Err(error) => {
            // Nothing else is written with it, and whoever records it needs the database.
            drop(tx);
            return Attempt::of(&proof).recorded(app, Err(error)).await;
        }
    };
    let activity = queue::enqueue(&mut tx, app.store(), new(first)).await?;
    app.store().commit(tx).await?;
    Viewer::of(&proof).one(app, &activity.id).await
}

/// As people write it.
///
/// # Errors
/// [`Error::Invalid`].
pub fn size(text: &str) -> Result<Bytes, Error> {
    text.trim().parse().map_err(|error| {
        let refusal = Refusal::new(format!("`{}` is no size: {error}.", text.trim()));
        Error::invalid(refusal.to_string())
    })
}
