//! Letting go what a plan lets go (R11): the preview's plan, obeyed.
//!
//! 1. Plan, from what is there now.                          Nothing to undo.
//! 2. For each that goes, in a transaction of its own: plan   Not deleted: it goes at the next run if it must.
//!    again, with all that holds it (R13); only what still
//!    goes is taken out of the catalogue.
//! 3. End the activity. Its data leaves at the next upkeep    From here on it can't be taken back: it was announced
//!    (`upkeep.rs`).                                          on the preview, and nobody deleted it by mistake.

use super::snapshot::subject;
use super::{ATTEMPTS, Context, Error, crash_point};
use crate::domain::activity::{ActivityKind, Initiator, Payload};
use crate::domain::environment::Project;
use crate::domain::notice::Notice;
use crate::domain::policy::retention::{self, Fate, RetentionPlan};
use crate::domain::snapshot::TAKE_BACK;
use crate::domain::{EnvironmentId, SnapshotName, Timestamp};
use crate::queue::{self, NewActivity, Work};
use crate::store::notices::{self, Told};
use crate::store::work::End;
use crate::store::{self, Db, activities, clock, projects, snapshots};

/// Who deletes what a plan lets go.
const BY: &str = "retention";

pub(super) async fn run(context: &Context, work: &Work) -> Result<(), Error> {
    if work.attempt > ATTEMPTS {
        return Err(Error::TooManyAttempts(ATTEMPTS));
    }
    let (project, environment) = subject(context, &work.activity).await?;
    let store = context.store();
    let mut is_told = false;
    let (planned, _) = planned(context, &mut *store.read().await?, &project).await?;
    for wanted in planned.going().filter(|decision| decision.environment == environment.id) {
        if work.lease.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let mut tx = store.write().await?;
        activities::hold_off(&mut tx).await?;
        let (again, now) = self::planned(context, &mut tx, &project).await?;
        let line = match again.of(&wanted.snapshot) {
            Some(decision) if decision.fate == Fate::Goes => {
                snapshots::delete(&mut tx, &wanted.snapshot, BY, now, now).await?;
                if decision.is_for_space && !std::mem::replace(&mut is_told, true) {
                    let (activity, about) = (Some(&work.activity.id), Some(decision.reason.as_str()));
                    let told = Told { project: &project.id, activity, about, at: now };
                    notices::announce(&mut tx, &told, Notice::SnapshotDeleted).await?;
                }
                format!("{} of {} goes. {}", wanted.snapshot, wanted.taken_at.table(), decision.reason)
            }
            Some(decision) => match decision.holds.first() {
                Some(hold) => format!("{} stays after all. {}", wanted.snapshot, hold.in_words()),
                None => format!("{} stays after all. {}", wanted.snapshot, decision.reason),
            },
            None => continue,
        };
        store.commit(tx).await?;
        crash_point("retention: deleted");
        work.lease.log(&line).await?;
    }
    let mut tx = store.write().await?;
    work.lease.finish(&mut tx, &End::Success).await?;
    Ok(store.commit(tx).await?)
}

async fn planned(
    context: &Context,
    db: &mut Db,
    project: &Project,
) -> Result<(RetentionPlan, Timestamp), store::Error> {
    let facts = store::retention::facts(db, &project.id).await?;
    let plan = projects::plan(db, &project.id).await?;
    let now = clock::now(db, context.store().dialect()).await?;
    Ok((retention::plan(&plan, &facts, now), now))
}

/// Asks for a run wherever something goes, and writes down when the rest will. Environments where a run is waiting or
/// running get no second one.
///
/// # Errors
/// When the store fails.
pub(super) async fn enqueue(context: &Context, project: &Project) -> Result<(), Error> {
    let store = context.store();
    let (plan, _) = planned(context, &mut *store.read().await?, project).await?;
    let known = snapshots::by_project(&mut *store.read().await?, &project.id).await?;
    let moved: Vec<_> = plan
        .decisions
        .iter()
        .filter(|decision| {
            known.iter().any(|snapshot| snapshot.name == decision.snapshot && snapshot.expires_at != decision.goes_at)
        })
        .collect();
    let mut going: Vec<EnvironmentId> = plan.going().map(|decision| decision.environment.clone()).collect();
    going.dedup();
    if moved.is_empty() && going.is_empty() {
        return Ok(());
    }
    let mut tx = store.write().await?;
    for decision in moved {
        snapshots::set_expiry(&mut tx, &decision.snapshot, decision.goes_at).await?;
    }
    let unfinished = activities::unfinished(&mut tx, &project.id).await?;
    for environment in going {
        if unfinished.iter().any(|(of, payload)| *of == environment && *payload == Payload::Retain) {
            continue;
        }
        let new = NewActivity {
            project: project.id.clone(),
            environment,
            region: project.region.clone(),
            kind: ActivityKind::Retention,
            initiator: Initiator {
                user: None,
                name: "Stillpoint".to_owned(),
                authority: "system".to_owned(),
                address: None,
            },
            payload: Payload::Retain,
        };
        // Beside what runs there: rows are taken out one by one, and what is in use stays.
        queue::enqueue_beside(&mut tx, store, new).await?;
    }
    Ok(store.commit(tx).await?)
}

/// Deletes what was agreed to go for a new snapshot, so that it can be taken back as any deletion by a person; tells each.
pub(super) async fn evict(
    db: &mut Db,
    project: &Project,
    names: &[SnapshotName],
    by: &str,
    now: Timestamp,
) -> Result<Vec<String>, store::Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let facts = store::retention::facts(db, &project.id).await?;
    let mut lines = Vec::new();
    for name in names {
        let item = facts.environments.iter().flat_map(|shelf| &shelf.items).find(|item| item.name == *name);
        let Some(item) = item else { continue };
        lines.push(match retention::may_delete(&item.holds) {
            Err(refusal) => format!("{name} was to go for it, and stays. {}", refusal.reason),
            Ok(()) => {
                snapshots::delete(db, name, by, now, now.plus(TAKE_BACK)).await?;
                format!(
                    "For it {name} of {} went, as was agreed; that can be taken back for 3 days",
                    item.taken_at.table()
                )
            }
        });
    }
    Ok(lines)
}
