//! Begins what is due: a snapshot is asked for as if somebody had (R8, R9).
//!
//! 1. Sleep until the earliest run of all schedules; one query by an index says when, whatever their number.
//! 2. Take each schedule that is due on to its next run. Of several servers one succeeds, and begins the run in the same
//!    transaction.
//! 3. Ask role and plan (R1). Who lost the role loses the schedule, and the feed says so.
//! 4. What no server was there to begin is told once, and caught up by one run. Behind a run that is not over no other
//!    one is queued; that too is told once.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Error;
use crate::authz;
use crate::domain::activity::{ActivityKind, ChangeSchedule, Initiator, Payload, SnapshotMode, TakeSnapshot};
use crate::domain::environment::{Environment, EnvironmentStatus, Project};
use crate::domain::policy::schedule::{Rhythm, Turn, Turns, missed_in_words, passed_in_words};
use crate::domain::policy::{Refusal, Verdict};
use crate::domain::schedule::{Schedule, ScheduleChange, ScheduleSource, ScheduleState};
use crate::domain::snapshot::Origin;
use crate::domain::{ScheduleId, SnapshotName};
use crate::queue::{self, NewActivity};
use crate::store::{self, Db, Store, clock, environments, projects, schedules, users};

/// The longest sleep: a schedule that is made meanwhile, or by another process, begins this much late at most.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// The shortest: what is due within it is begun together.
const TOGETHER: Duration = Duration::from_secs(1);
/// So many at a time are read.
const BATCH: u32 = 100;

/// Begins what is due until `stop`.
pub async fn schedule(store: Store, stop: CancellationToken) {
    let mut prepared = false;
    loop {
        let pause = match look(&store, &mut prepared).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::error!(error = %error.for_people(), "schedules could not be looked at; they are in a moment");
                LOOK_AGAIN
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Begins what is due, and gives the time until something is again.
async fn look(store: &Store, prepared: &mut bool) -> Result<Duration, Error> {
    if !*prepared {
        let mut tx = store.write().await?;
        let now = clock::now(&mut tx, store.dialect()).await?;
        schedules::follow_missing(&mut tx, now).await?;
        store.commit(tx).await?;
        *prepared = true;
    }
    begin_due(store).await?;
    let mut db = store.read().await?;
    let now = clock::now(&mut db, store.dialect()).await?;
    let earliest = schedules::earliest(&mut db).await?;
    Ok(earliest.map_or(LOOK_AGAIN, |at| at.since(now)).clamp(TOGETHER, LOOK_AGAIN))
}

/// Begins every run that is due. One that fails is tried again with the next look; the others go on.
///
/// # Errors
/// When the store fails.
pub async fn begin_due(store: &Store) -> Result<(), Error> {
    let mut failed = None;
    loop {
        let mut db = store.read().await?;
        let now = clock::now(&mut db, store.dialect()).await?;
        let due = schedules::due(&mut db, now, BATCH).await?;
        drop(db);
        let number = due.len();
        for id in due {
            if let Err(error) = begin(store, &id).await {
                tracing::error!(schedule.id = %id, error = %error.for_people(), "a scheduled snapshot could not be queued");
                failed = Some(error);
            }
        }
        if number < BATCH as usize || failed.is_some() {
            return failed.map_or(Ok(()), Err);
        }
    }
}

/// Steps 2 to 4 for one schedule, in one transaction.
async fn begin(store: &Store, id: &ScheduleId) -> Result<(), Error> {
    let mut tx = store.write().await?;
    let db = &mut *tx;
    let now = clock::now(db, store.dialect()).await?;
    let found = schedules::by_id(db, id).await?;
    let Some((schedule, slot)) = found.and_then(|found| found.slot.map(|slot| (found, slot))) else { return Ok(()) };
    if slot.run > now {
        return Ok(());
    }
    let Some((project, environment)) = of(db, &schedule).await? else { return Ok(()) };
    let rhythm = Rhythm::parse(&schedule.cron, &schedule.time_zone);
    let (passed, next) = match &rhythm {
        Ok(rhythm) => Turns::of(rhythm, id, schedule.source).next(slot, now),
        Err(_) => (0, None),
    };
    if !schedules::claim(db, id, slot.run, next).await? {
        return Ok(());
    }
    // As it is now that the row is ours: a person may have changed it since it was read.
    let Some(mut schedule) = schedules::by_id(db, id).await? else { return Ok(()) };
    schedule.updated_at = now;
    let run = Run { store, project: &project, environment: &environment };
    // A zone that is known no more stops it like a role that was lost.
    let allowed = match rhythm {
        Ok(_) => may(store, db, &schedule, (&project, &environment)).await?,
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = allowed {
        run.stop(db, &mut schedule, &refusal).await?;
    } else {
        let unfinished = schedules::unfinished(db, &environment.id).await?;
        match (Turn::of(slot, unfinished.as_ref().map(|(_, asked)| *asked)), unfinished) {
            (Turn::Missed, Some((_, asked))) => {
                if schedule.missed == 0 {
                    run.record_missed(db, &schedule, &missed_in_words(slot, asked)).await?;
                }
                schedule.missed = schedule.missed.saturating_add(passed).saturating_add(1);
            }
            (Turn::Shared, Some((activity, _))) => {
                (schedule.last_activity, schedule.missed) = (Some(activity), 0);
            }
            _ => {
                if passed > 0 {
                    run.record_missed(db, &schedule, &passed_in_words(slot, passed, now)).await?;
                }
                let activity = queue::enqueue(db, store, run.snapshot(&schedule)).await?;
                (schedule.last_activity, schedule.missed) = (Some(activity.id), 0);
            }
        }
    }
    schedules::put(db, &schedule).await?;
    Ok(store.commit(tx).await?)
}

async fn of(db: &mut Db, schedule: &Schedule) -> Result<Option<(Project, Environment)>, store::Error> {
    let Some(environment) = environments::by_id(db, &schedule.environment).await? else { return Ok(None) };
    let project = projects::by_id(db, &environment.project).await?;
    Ok(project.map(|project| (project, environment)))
}

/// Role and plan, at this moment (R1). The plan's own need no person.
async fn may(
    store: &Store,
    db: &mut Db,
    schedule: &Schedule,
    (project, environment): (&Project, &Environment),
) -> Result<Verdict, Error> {
    if environment.status != EnvironmentStatus::Active {
        return Ok(Err(Refusal::new("The environment is not active.")));
    }
    let composition = environments::composition(db, store.sealer(), &environment.id).await?;
    if composition.services.is_empty() && composition.mounts.is_empty() {
        // As after `adopt`: an empty snapshot would look like the newest good one.
        return Ok(Err(Refusal::new("The environment has neither services nor mounts; declare them first.")));
    }
    let terms = projects::terms(db, &project.id).await?;
    if schedule.source == ScheduleSource::Plan {
        return Ok(terms.plan.takes_automatic(environment.kind));
    }
    let owner = match &schedule.owner {
        Some(owner) => users::by_id(db, &owner.id).await?,
        None => None,
    };
    let Some(owner) = owner else {
        return Ok(Err(Refusal::new("The account in whose name it ran does not exist any more.")));
    };
    let standing = authz::standing_of(db, &owner, project).await?;
    Ok(terms.may_schedule(&standing, environment))
}

struct Run<'a> {
    store: &'a Store,
    project: &'a Project,
    environment: &'a Environment,
}

impl Run<'_> {
    /// A consistent one (R16), in the name of the plan or of whoever made the schedule.
    fn snapshot(&self, schedule: &Schedule) -> NewActivity {
        let snapshot = SnapshotName::parse(store::random_id()).expect("20 hexadecimal digits");
        let take = TakeSnapshot {
            snapshot,
            mode: SnapshotMode::Consistent,
            origin: Origin::Automatic,
            note: None,
            evict: Default::default(),
        };
        self.activity(ActivityKind::Backup, self.initiator(schedule), Payload::TakeSnapshot(take))
    }

    fn initiator(&self, schedule: &Schedule) -> Initiator {
        match &schedule.owner {
            Some(owner) => Initiator {
                user: Some(owner.id.clone()),
                name: owner.email.clone(),
                authority: format!("schedule:{}", schedule.id),
                address: None,
            },
            None => Initiator { authority: format!("plan:{}", self.project.plan), ..ourselves() },
        }
    }

    fn activity(&self, kind: ActivityKind, initiator: Initiator, payload: Payload) -> NewActivity {
        NewActivity {
            project: self.project.id.clone(),
            environment: self.environment.id.clone(),
            region: self.project.region.clone(),
            kind,
            initiator,
            payload,
        }
    }

    async fn record_missed(&self, db: &mut Db, schedule: &Schedule, reason: &str) -> Result<(), Error> {
        queue::record_refused(db, self.store, self.snapshot(schedule), reason).await?;
        Ok(())
    }

    async fn stop(&self, db: &mut Db, schedule: &mut Schedule, refusal: &Refusal) -> Result<(), Error> {
        let change = ChangeSchedule {
            schedule: schedule.id.clone(),
            change: ScheduleChange::Stopped,
            cron: schedule.cron.clone(),
            time_zone: schedule.time_zone.clone(),
        };
        let of = schedule.owner.as_ref().map(|owner| format!(" of {}", owner.email)).unwrap_or_default();
        let reason = format!(
            "The schedule{of} takes no more snapshots: {refusal} Somebody who may can resume it, or make another."
        );
        let new = self.activity(ActivityKind::Schedule, ourselves(), Payload::ChangeSchedule(change));
        queue::record_refused(db, self.store, new, &reason).await?;
        (schedule.state, schedule.slot) = (ScheduleState::Stopped, None);
        schedule.stopped_because = Some(refusal.to_string());
        Ok(())
    }
}

fn ourselves() -> Initiator {
    Initiator { user: None, name: "Stillpoint".to_owned(), authority: "system".to_owned(), address: None }
}
