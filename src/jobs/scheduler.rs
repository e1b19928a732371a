//! Begins what is due: a snapshot, or a try of a restore, is asked for as if somebody had (R8, R9, R29).
//!
//! 1. Sleep until the earliest run of all schedules; one query by an index says when, whatever their number.
//! 2. Take each schedule that is due on to its next run. Of several servers one succeeds, and begins the run in the same
//!    transaction.
//! 3. Ask role and plan (R1). Who lost the role loses the schedule, and the feed says so.
//! 4. What no server was there to begin is told once, and caught up by one run. Behind a run that is not over no other
//!    one is queued; that too is told once. A drill that was missed is caught up without a word, since none is lost by it.
//! 5. Tell of what was begun and is not over long after it should be.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Error;
use crate::authz;
use crate::domain::activity::{ActivityKind, ChangeSchedule, Initiator, Payload, RunDrill, SnapshotMode, TakeSnapshot};
use crate::domain::environment::{Environment, EnvironmentStatus, Project};
use crate::domain::notice::Notice;
use crate::domain::policy::schedule::{Rhythm, Turn, Turns, grace, missed_in_words, passed_in_words};
use crate::domain::policy::{Refusal, Verdict, drills as rules};
use crate::domain::schedule::{Errand, Schedule, ScheduleChange, ScheduleSource, ScheduleState, Slot};
use crate::domain::snapshot::Origin;
use crate::domain::{ActivityId, ScheduleId, SnapshotName, Timestamp};
use crate::queue::{self, NewActivity};
use crate::store::notices::{self, Told};
use crate::store::{self, Db, Store, activities, clock, drills, environments, projects, schedules, snapshots, users};

/// The longest sleep: a schedule that is made meanwhile, or by another process, begins this much late at most.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// The shortest: what is due within it is begun together.
const TOGETHER: Duration = Duration::from_secs(1);
/// How often it is looked for what is late.
const LATE: Duration = Duration::from_secs(60);
/// So many at a time are read.
const BATCH: u32 = 100;

/// Begins what is due until `stop`.
pub async fn schedule(store: Store, stop: CancellationToken) {
    let mut done = Done::default();
    loop {
        let pause = match look(&store, &mut done).await {
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

/// What needs not be done at every look.
#[derive(Debug, Default)]
struct Done {
    prepared: bool,
    looked_for_late: Option<Instant>,
}

/// Begins what is due, and gives the time until something is again.
async fn look(store: &Store, done: &mut Done) -> Result<Duration, Error> {
    if !done.prepared {
        let mut tx = store.write().await?;
        let now = clock::now(&mut tx, store.dialect()).await?;
        schedules::follow_missing(&mut tx, now).await?;
        store.commit(tx).await?;
        done.prepared = true;
    }
    begin_due(store).await?;
    if done.looked_for_late.is_none_or(|last| last.elapsed() >= LATE) {
        tell_late(store).await?;
        done.looked_for_late = Some(Instant::now());
    }
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
                tracing::error!(schedule.id = %id, error = %error.for_people(), "what is due could not be queued");
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
    // Before anything else: the snapshot that a drill is to read must not go meanwhile.
    activities::hold_off(db).await?;
    let now = clock::now(db, store.dialect()).await?;
    let found = schedules::by_id(db, id).await?;
    let Some((schedule, slot)) = found.and_then(|found| found.slot.map(|slot| (found, slot))) else { return Ok(()) };
    if slot.run > now {
        return Ok(());
    }
    let Some((project, environment)) = of(db, &schedule).await? else { return Ok(()) };
    let rhythm = Rhythm::parse(&schedule.cron, &schedule.time_zone);
    let (passed, next) = match &rhythm {
        Ok(rhythm) => Turns::of(rhythm, &schedule).next(slot, now),
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
    let late = Late { slot, passed, now };
    match (allowed, schedule.what) {
        (Err(refusal), _) => run.stop(db, &mut schedule, &refusal).await?,
        (Ok(()), Errand::Snapshot) => run.take_snapshot(db, &mut schedule, late).await?,
        (Ok(()), Errand::Drill) => run.try_restore(db, &mut schedule, late).await?,
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
    match (schedule.source, schedule.what) {
        (ScheduleSource::Plan, Errand::Snapshot) => return Ok(terms.plan.takes_automatic(environment.kind)),
        (ScheduleSource::Plan, Errand::Drill) => return Ok(Ok(())),
        (ScheduleSource::Person, _) => {}
    }
    let owner = match &schedule.owner {
        Some(owner) => users::open_by_id(db, &owner.id).await?,
        None => None,
    };
    let Some(owner) = owner else {
        return Ok(Err(Refusal::new("The account in whose name it ran is closed.")));
    };
    let standing = authz::standing_of(db, &owner, project).await?;
    Ok(match schedule.what {
        Errand::Snapshot => terms.may_schedule(&standing, environment),
        Errand::Drill => rules::may_schedule(&standing, environment),
    })
}

/// Tells of what was begun and is not over, long after it should be: once.
///
/// # Errors
/// When the store fails.
pub async fn tell_late(store: &Store) -> Result<(), Error> {
    for what in [Errand::Snapshot, Errand::Drill] {
        let mut db = store.read().await?;
        let now = clock::now(&mut db, store.dialect()).await?;
        let late = schedules::late(&mut db, what, now.minus(grace(what))).await?;
        drop(db);
        for (schedule, activity) in late {
            tell_of(store, &schedule, &activity, Notice::missed(what)).await?;
        }
    }
    Ok(())
}

async fn tell_of(store: &Store, schedule: &ScheduleId, activity: &ActivityId, notice: Notice) -> Result<(), Error> {
    let mut tx = store.write().await?;
    // Of several servers one tells.
    if !schedules::told(&mut tx, schedule, activity).await? {
        return Ok(());
    }
    let Some(activity) = activities::by_id(&mut tx, activity).await?.filter(|activity| !activity.state.is_over())
    else {
        return Ok(());
    };
    let at = clock::now(&mut tx, store.dialect()).await?;
    let told = Told { project: &activity.project, activity: Some(&activity.id), about: None, at };
    notices::announce(&mut tx, &told, notice).await?;
    Ok(store.commit(tx).await?)
}

/// A run that is due, and how many after it nobody began.
#[derive(Debug, Clone, Copy)]
struct Late {
    slot: Slot,
    passed: u32,
    now: Timestamp,
}

struct Run<'a> {
    store: &'a Store,
    project: &'a Project,
    environment: &'a Environment,
}

impl Run<'_> {
    async fn take_snapshot(&self, db: &mut Db, schedule: &mut Schedule, late: Late) -> Result<(), Error> {
        let Late { slot, passed, now } = late;
        let unfinished = schedules::unfinished(db, &self.environment.id, Errand::Snapshot).await?;
        match (Turn::of(slot, unfinished.as_ref().map(|(_, asked)| *asked)), unfinished) {
            (Turn::Missed, Some((_, asked))) => {
                if schedule.missed == 0 {
                    self.record_missed(db, schedule, &missed_in_words(slot, asked)).await?;
                }
                schedule.missed = schedule.missed.saturating_add(passed).saturating_add(1);
            }
            (Turn::Shared, Some((activity, _))) => {
                schedules::ran(db, &schedule.id, &activity).await?;
                (schedule.last_activity, schedule.missed) = (Some(activity), 0);
            }
            _ => {
                if passed > 0 {
                    self.record_missed(db, schedule, &passed_in_words(slot, passed, now)).await?;
                }
                let activity = queue::enqueue(db, self.store, self.snapshot(schedule)).await?;
                schedules::ran(db, &schedule.id, &activity.id).await?;
                (schedule.last_activity, schedule.missed) = (Some(activity.id), 0);
            }
        }
        Ok(())
    }

    /// Whoever asked for the one that is not over, no second one is queued behind it. The snapshot is chosen here: from now
    /// on nothing takes it away (R13).
    async fn try_restore(&self, db: &mut Db, schedule: &mut Schedule, late: Late) -> Result<(), Error> {
        let Late { slot, passed, now } = late;
        let unfinished = drills::unfinished(db, &self.environment.id).await?;
        match (Turn::of(slot, unfinished.as_ref().map(|(_, asked)| *asked)), unfinished) {
            (Turn::Missed, _) => schedule.missed = schedule.missed.saturating_add(passed).saturating_add(1),
            (Turn::Shared, Some((activity, _))) => {
                (schedule.last_activity, schedule.missed) = (Some(activity), 0);
            }
            _ => match snapshots::newest_wanted(db, &self.environment.id).await? {
                Some(newest) => {
                    let payload = Payload::RunDrill(RunDrill { snapshot: Some(newest.name), outcome: None });
                    let new = self.activity(ActivityKind::Drill, self.initiator(schedule), payload);
                    let activity = queue::enqueue(db, self.store, new).await?;
                    (schedule.last_activity, schedule.missed) = (Some(activity.id), 0);
                }
                // That there is none stands on every page; a drill is not late for it.
                None => (schedule.since, schedule.missed) = (now, 0),
            },
        }
        Ok(())
    }

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
            None if schedule.what == Errand::Drill => {
                Initiator { authority: format!("schedule:{}", schedule.id), ..ourselves() }
            }
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
            what: schedule.what,
        };
        let does = match schedule.what {
            Errand::Snapshot => "takes no more snapshots",
            Errand::Drill => "tries no more restores",
        };
        let of = schedule.owner.as_ref().map(|owner| format!(" of {}", owner.email)).unwrap_or_default();
        let reason = format!("The schedule{of} {does}: {refusal} Somebody who may can resume it, or make another.");
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
