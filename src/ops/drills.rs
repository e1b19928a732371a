//! Drills: asked for, their reports, and when the next one is (R29).

use super::activities::Viewer;
use super::audit::Attempt;
use super::snapshots::taken_of;
use super::{App, Error};
use crate::authz::{Authorized, RunDrill, ViewHistory};
use crate::domain::activity::{self, ActivityKind, Payload};
use crate::domain::drill::Drill;
use crate::domain::policy::Refusal;
use crate::domain::view::ActivityEntry;
use crate::domain::{ActivityId, SnapshotName};
use crate::queue::{self, NewActivity};
use crate::store::{activities, drills, snapshots};

/// A year of weekly ones.
const LISTED: u32 = 53;

/// Queues a drill of that snapshot, or of the newest: from then on nothing takes it away (R13).
///
/// # Errors
/// [`Error::NotFound`] when the environment has no such snapshot, [`Error::Conflict`] when it has none at all.
pub async fn run(
    app: &App,
    proof: Authorized<RunDrill>,
    snapshot: Option<SnapshotName>,
) -> Result<ActivityEntry, Error> {
    let activity = Attempt::of(&proof).recorded(app, enqueue(app, &proof, snapshot).await).await?;
    Viewer::of(&proof).one(app, &activity).await
}

async fn enqueue(app: &App, proof: &Authorized<RunDrill>, snapshot: Option<SnapshotName>) -> Result<ActivityId, Error> {
    let on = proof.on();
    let mut tx = app.store().write().await?;
    activities::hold_off(&mut tx).await?;
    let snapshot = match snapshot {
        Some(name) => taken_of(&mut tx, &on.environment.id, &name).await?.0.name,
        None => match snapshots::newest_wanted(&mut tx, &on.environment.id).await? {
            Some(newest) => newest.name,
            None => {
                let refusal = Refusal::new("There is no snapshot to try.").instead("Take one first.");
                return Err(Error::Conflict(refusal));
            }
        },
    };
    let new = NewActivity {
        project: on.project.id.clone(),
        environment: on.environment.id.clone(),
        region: on.project.region.clone(),
        kind: ActivityKind::Drill,
        initiator: proof.actor().initiator(),
        payload: Payload::RunDrill(activity::RunDrill { snapshot: Some(snapshot), outcome: None }),
    };
    let activity = queue::enqueue(&mut tx, app.store(), new).await?;
    app.store().commit(tx).await?;
    Ok(activity.id)
}

/// Those that were begun, newest first.
///
/// # Errors
/// When the store fails.
pub async fn list(app: &App, proof: &Authorized<ViewHistory>) -> Result<Vec<Drill>, Error> {
    Ok(drills::by_environment(&mut *app.store().read().await?, &proof.on().environment.id, LISTED).await?)
}

/// # Errors
/// [`Error::NotFound`] when the environment has no such drill, or it is not over.
pub async fn report(app: &App, proof: &Authorized<ViewHistory>, activity: &ActivityId) -> Result<Drill, Error> {
    let found = drills::by_activity(&mut *app.store().read().await?, activity).await?;
    found.filter(|drill| drill.environment == proof.on().environment.id).ok_or(Error::NotFound("drill"))
}
