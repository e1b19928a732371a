//! At a worker's start: takes back what nobody works on any more (R23).

use super::context::Context;
use super::journal::{Body, Journal};
use super::parts::Parts;
use super::{Error, swap};
use crate::store::swaps::Stage;
use crate::store::{activities, environments, swaps};

/// Takes every half-done swap back whose activity is over. One whose activity is still in the queue is dealt with by
/// the worker that takes it up again.
///
/// # Errors
/// When the store fails. A swap that can't be taken back is logged, and its gate stays shut.
pub async fn recover(context: &Context) -> Result<(), Error> {
    let mut db = context.store().read().await?;
    let unfinished = swaps::unfinished(&mut db).await?;
    drop(db);
    for (activity, environment, stage) in unfinished {
        let mut db = context.store().read().await?;
        let over = activities::by_id(&mut db, &activity).await?.is_none_or(|activity| activity.state.is_over());
        if !over || !stage.is_mixed() {
            continue;
        }
        let composition = environments::composition(&mut db, context.store().sealer(), &environment).await?;
        drop(db);
        let journal = Journal { context, activity, environment };
        let taken_back = async {
            let Some((_, body)) = journal.read().await? else { return Ok(()) };
            let parts = Parts::connect(&composition)?;
            swap::recover(context, &journal, &parts, &body).await?;
            swap::discard(&parts, &body).await?;
            journal.write(Stage::Done, &Body::default()).await
        };
        let id = &journal.activity;
        match taken_back.await {
            Ok(()) => tracing::warn!(activity.id = %id, "a restore that was left half done was taken back"),
            Err(error) => tracing::error!(activity.id = %id, error = %error.for_people(), "the site stays shut"),
        }
    }
    Ok(())
}
