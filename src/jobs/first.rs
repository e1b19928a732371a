//! What comes before a change: the snapshot that is advised (R10). Change and snapshot are one story: the snapshot is queued
//! right before the change, in the same transaction, and the order of an environment's activities does the rest (R20).

use super::{Context, Error};
use crate::domain::ActivityId;
use crate::domain::activity::{ActivityResult, ActivityState, First};
use crate::queue::Lease;
use crate::store::activities;

/// Goes on when the snapshot that was to come first is complete, or none was to.
///
/// # Errors
/// [`Error::NoSnapshotFirst`].
pub(super) async fn settled(context: &Context, lease: &Lease, first: &First) -> Result<(), Error> {
    let line = match first {
        First::Nothing { because } => format!("No snapshot was taken first. {because}"),
        First::Snapshot { activity, snapshot } => {
            is_complete(context, activity).await?;
            format!("The snapshot {snapshot} was taken first; it is complete")
        }
    };
    Ok(lease.log(&line).await?)
}

async fn is_complete(context: &Context, activity: &ActivityId) -> Result<(), Error> {
    let found = activities::by_id(&mut *context.store().read().await?, activity).await?;
    let Some(found) = found else { return Err(Error::NoSnapshotFirst("it is not there".to_owned())) };
    match (found.state, found.result) {
        (ActivityState::Complete, Some(ActivityResult::Success)) => Ok(()),
        (ActivityState::Cancelled, _) => Err(Error::NoSnapshotFirst("it was cancelled".to_owned())),
        (ActivityState::Complete, _) => {
            let reason = found.failure.unwrap_or_default();
            Err(Error::NoSnapshotFirst(format!("it failed: {}", reason.trim_end_matches('.'))))
        }
        // The queue lets nothing begin before it is over.
        (ActivityState::Pending | ActivityState::InProgress, _) => {
            Err(Error::NoSnapshotFirst("it is not complete yet".to_owned()))
        }
    }
}
