//! The queue, which *is* the activity feed: in order per environment, leases, progress, log. Knows no concrete job.
//!
//! **Invariant:** an activity is worked on by the holder of its lease only; whoever lost the lease changes nothing final.

mod lease;
mod worker;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::activity::{Activity, ActivityKind, ActivityResult, ActivityState, Initiator, Payload};
use crate::domain::ids::RegionId;
use crate::domain::{ActivityId, EnvironmentId, ProjectId};
use crate::store::{self, Db, Store, activities, clock, work};

pub use lease::Lease;
pub use worker::{Failure, Handler, Work, Worker};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the lease on activity {0} was lost: another worker may have taken it up")]
    LeaseLost(ActivityId),
}

/// Which activity to enqueue.
#[derive(Debug, Clone)]
pub struct NewActivity {
    pub project: ProjectId,
    /// Whose feed it stands in, and which it locks (R20): nothing else runs there meanwhile.
    pub environment: EnvironmentId,
    pub region: RegionId,
    pub kind: ActivityKind,
    pub initiator: Initiator,
    pub payload: Payload,
}

/// Enqueues it, inside the transaction that made it true. Announced when that is committed with [`Store::commit`].
///
/// # Errors
/// When the database fails.
pub async fn enqueue(db: &mut Db, store: &Store, new: NewActivity) -> Result<Activity, Error> {
    let now = clock::now(db, store.dialect()).await?;
    let mut activity = blank(&new, now);
    activities::insert(db, &mut activity, &new.region, std::slice::from_ref(&new.environment)).await?;
    Ok(activity)
}

/// The same for one that locks all of these environments.
///
/// # Errors
/// When the database fails.
pub async fn enqueue_for(
    db: &mut Db,
    store: &Store,
    new: NewActivity,
    targets: &[EnvironmentId],
) -> Result<Activity, Error> {
    let now = clock::now(db, store.dialect()).await?;
    let mut activity = blank(&new, now);
    activities::insert(db, &mut activity, &new.region, targets).await?;
    Ok(activity)
}

/// The same for one that needs no environment for itself: what is there now may go on changing.
///
/// # Errors
/// When the database fails.
pub async fn enqueue_beside(db: &mut Db, store: &Store, new: NewActivity) -> Result<Activity, Error> {
    let now = clock::now(db, store.dialect()).await?;
    let mut activity = blank(&new, now);
    activities::insert(db, &mut activity, &new.region, &[]).await?;
    Ok(activity)
}

/// Records what has become true with the caller's transaction.
///
/// # Errors
/// When the database fails.
pub async fn record_done(db: &mut Db, store: &Store, new: NewActivity) -> Result<Activity, Error> {
    let now = clock::now(db, store.dialect()).await?;
    let mut activity = blank(&new, now);
    activity.state = ActivityState::Complete;
    activity.result = Some(ActivityResult::Success);
    activity.progress = 1000;
    activity.completed_at = Some(now);
    activities::insert(db, &mut activity, &new.region, &[]).await?;
    Ok(activity)
}

/// Inserts an activity that whoever calls works on at once: it waits for nothing and nothing waits for it, since it locks
/// no environment (R20). To be worked on within [`Lease::kept`]. When its holder dies, a worker takes it up and ends it.
///
/// # Errors
/// When the database fails.
pub async fn begin(store: &Store, new: NewActivity, timing: Timing) -> Result<Lease, Error> {
    let mut tx = store.write().await?;
    let now = clock::now(&mut tx, store.dialect()).await?;
    let mut activity = blank(&new, now);
    activities::insert(&mut tx, &mut activity, &new.region, &[]).await?;
    let owner = store::random_id();
    let taken = work::begin(&mut tx, &activity.id, &owner, now, timing.lease).await?;
    store.commit(tx).await?;
    let holder = work::Holder { activity: activity.id, owner, generation: taken.generation };
    Ok(Lease::new(store.clone(), holder, timing, CancellationToken::new()))
}

/// Records something that was refused or failed before it could start, with the reason, for admins to see (R5).
///
/// # Errors
/// When the database fails.
pub async fn record_refused(db: &mut Db, store: &Store, new: NewActivity, reason: &str) -> Result<Activity, Error> {
    let now = clock::now(db, store.dialect()).await?;
    let mut activity = blank(&new, now);
    activity.state = ActivityState::Complete;
    activity.result = Some(ActivityResult::Failure);
    activity.failure = Some(reason.to_owned());
    activity.completed_at = Some(now);
    activities::insert(db, &mut activity, &new.region, &[]).await?;
    Ok(activity)
}

fn blank(new: &NewActivity, now: crate::domain::Timestamp) -> Activity {
    Activity {
        id: ActivityId::parse(store::random_id()).expect("20 hexadecimal digits"),
        project: new.project.clone(),
        environment: new.environment.clone(),
        kind: new.kind,
        state: ActivityState::Pending,
        result: None,
        failure: None,
        initiator: new.initiator.clone(),
        progress: 0,
        payload: new.payload.clone(),
        created_at: now,
        updated_at: now,
        started_at: None,
        completed_at: None,
        seq: 0,
    }
}

/// What came of a wish to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelling {
    /// It had not started and never will.
    Cancelled,
    /// It is running: its worker was told and stops where that is safe (R20).
    Asked,
    /// It is over already.
    TooLate,
}

/// # Errors
/// When the database fails.
pub async fn cancel(db: &mut Db, store: &Store, activity: &ActivityId) -> Result<Cancelling, Error> {
    let now = clock::now(db, store.dialect()).await?;
    if work::cancel_pending(db, activity, now).await? {
        return Ok(Cancelling::Cancelled);
    }
    if work::request_cancel(db, activity, now).await? {
        return Ok(Cancelling::Asked);
    }
    Ok(Cancelling::TooLate)
}

/// How long a lease lasts and how often it is renewed.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub lease: Duration,
    pub heartbeat: Duration,
}

impl Default for Timing {
    /// A dead worker's activity is taken up again after 20 s.
    fn default() -> Self {
        Self { lease: Duration::from_secs(20), heartbeat: Duration::from_secs(2) }
    }
}
