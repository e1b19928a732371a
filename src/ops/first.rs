//! The snapshot that comes before a change (R10): advised, decided, and queued in the change's own transaction.

use super::snapshots::{self, SnapshotRequest};
use super::{App, Error};
use crate::authz::{Authorized, OnEnvironment, Permission};
use crate::domain::SnapshotName;
use crate::domain::activity::{First, Payload, SnapshotMode};
use crate::domain::environment::Environment;
use crate::domain::policy::advice::{Occasion, Step};
use crate::domain::policy::{Advice, Standing, Terms};
use crate::store::{self, Db, clock};

/// What is advised for the environment now.
pub(super) async fn advice(
    app: &App,
    db: &mut Db,
    (environment, terms): (&Environment, &Terms),
    standing: &Standing,
    occasion: Occasion,
) -> Result<Advice, Error> {
    let now = clock::now(db, app.store().dialect()).await?;
    let newest = store::snapshots::newest_wanted(db, &environment.id).await?;
    let newest = newest.map(|snapshot| snapshot.taken_at);
    Ok(Advice::new(occasion, environment, terms, standing, (newest, now)))
}

/// Does the step: the change that is queued next waits for what is queued here.
///
/// # Errors
/// [`Error::Conflict`] when the snapshot would push out others than were named.
pub(super) async fn take<A: Permission<On = OnEnvironment>>(
    app: &App,
    tx: &mut Db,
    proof: &Authorized<A>,
    step: Step,
    (note, evict): (String, Vec<SnapshotName>),
) -> Result<First, Error> {
    let request = match step {
        Step::Nothing { because } => return Ok(First::Nothing { because }),
        Step::Snapshot => SnapshotRequest { mode: SnapshotMode::Consistent, note: Some(note), evict },
    };
    let activity = snapshots::ask(app, tx, proof, request).await?.map_err(Error::Forbidden)?;
    match activity.payload {
        Payload::TakeSnapshot(take) => Ok(First::Snapshot { activity: activity.id, snapshot: take.snapshot }),
        _ => Err(Error::invalid("what was queued is no snapshot")),
    }
}
