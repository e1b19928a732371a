//! Takes back what nobody works on any more (R23): at a worker's start, now and then, and before the
//! environment's next job.

use super::context::Context;
use super::journal::{Body, Journal};
use super::parts::Parts;
use super::{Error, hooks, safety, swap};
use crate::domain::ids::RegionId;
use crate::domain::{ActivityId, EnvironmentId};
use crate::store::swaps::Stage;
use crate::store::{activities, environments, regions, swaps};

/// Takes every half-done swap back whose activity is over, removes what a load left, stores what could not be stored, and
/// lets go on what was left paused. One whose activity is still in the queue is dealt with by the worker that takes it up again.
///
/// # Errors
/// When the store fails. A swap that can't be taken back is logged, and its gate stays shut.
pub async fn recover(context: &Context, region: &RegionId) -> Result<(), Error> {
    for (activity, environment, stage) in left(context).await? {
        // What stands beside a site is reached by its own region's workers.
        if regions::of_environment(&mut *context.store().read().await?, &environment).await?.as_ref() != Some(region) {
            continue;
        }
        if stage == Stage::Swapped {
            // May take as long as a snapshot, and shut sites can't wait for it.
            tokio::spawn(keep(context.clone(), activity));
            continue;
        }
        match take_back(context, &activity, &environment, stage).await {
            // Its worker may be at it still, which does no harm.
            Ok(()) if stage == Stage::Kept => {
                tracing::info!(activity.id = %activity, "what a restore had replaced is removed");
            }
            Ok(()) => tracing::warn!(activity.id = %activity, "what a restore had left was taken back"),
            Err(error) if stage.is_mixed() => {
                tracing::error!(activity.id = %activity, error = %error.for_people(), "the site stays shut");
            }
            Err(error) => {
                tracing::warn!(activity.id = %activity, error = %error.for_people(), "a restore's leftovers stay");
            }
        }
    }
    // Last: what goes round the gate must not write to a site that is half exchanged.
    hooks::resume_over(context, region).await
}

async fn keep(context: Context, activity: ActivityId) {
    if let Err(error) = safety::keep_again(&context, &activity).await {
        let error = error.for_people();
        tracing::warn!(activity.id = %activity, %error, "what a restore replaced could not be stored again");
    }
}

/// Before a job touches the environment: a swap that an earlier activity left half done must not be read, and would be
/// taken back later over whatever this job brought.
///
/// # Errors
/// [`Error::Mixed`] when it can't be taken back now either.
pub(super) async fn take_back_others(context: &Context, environment: &EnvironmentId) -> Result<(), Error> {
    for (activity, of, stage) in left(context).await? {
        if of == *environment && stage.is_mixed() {
            take_back(context, &activity, &of, stage).await?;
        }
    }
    Ok(())
}

/// Journals whose activities are over although the journals are not.
async fn left(context: &Context) -> Result<Vec<(ActivityId, EnvironmentId, Stage)>, Error> {
    let mut db = context.store().read().await?;
    let mut left = Vec::new();
    for (activity, environment, stage) in swaps::unfinished(&mut db).await? {
        let over = activities::by_id(&mut db, &activity).await?.is_none_or(|activity| activity.state.is_over());
        if over {
            left.push((activity, environment, stage));
        }
    }
    Ok(left)
}

async fn take_back(
    context: &Context,
    activity: &ActivityId,
    environment: &EnvironmentId,
    stage: Stage,
) -> Result<(), Error> {
    let mut db = context.store().read().await?;
    let composition = environments::composition(&mut db, context.store().sealer(), environment).await?;
    drop(db);
    let journal = Journal { context, activity: activity.clone(), environment: environment.clone() };
    let Some((_, body)) = journal.read().await? else { return Ok(()) };
    let parts = Parts::connect(&composition)?;
    if stage.is_mixed() {
        swap::recover(context, &journal, &parts, &body).await?;
    }
    swap::discard(&journal, &parts, &body).await?;
    journal.write(Stage::Done, &Body::default()).await
}
