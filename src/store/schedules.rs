//! Schedules: what is due, who begins it, and those that come by themselves, kept in step with environments and plans.

use std::collections::{BTreeSet, HashMap};

use super::row::Columns as _;
use super::sql::Sql;
use super::{Db, Error, random_id};
use crate::domain::environment::{Environment, EnvironmentStatus};
use crate::domain::policy::Plan;
use crate::domain::policy::drills;
use crate::domain::policy::plans::Automatic;
use crate::domain::policy::schedule::{Rhythm, Turns};
use crate::domain::schedule::{Errand, Owner, Schedule, ScheduleSource, ScheduleState, Slot};
use crate::domain::{ActivityId, EnvironmentId, ProjectId, ScheduleId, Timestamp, UserId};

/// Runs of a removed schedule that are counted: what a plan that keeps more than so many of each would let go by them stays.
const MOST_COUNTED: usize = 400;

/// Adds it, or changes the one of this id.
///
/// # Errors
/// When the database fails.
pub async fn put(db: &mut Db, schedule: &Schedule) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO schedules
           (id, environment_id, what, source, cron, time_zone, edited, owner_user, owner_name, state, stopped_because, since,
            due_at, next_at, missed, last_activity, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
         ON CONFLICT (id) DO UPDATE SET
           cron = excluded.cron, time_zone = excluded.time_zone, edited = excluded.edited,
           owner_user = excluded.owner_user, owner_name = excluded.owner_name, state = excluded.state,
           stopped_because = excluded.stopped_because, since = excluded.since, due_at = excluded.due_at,
           next_at = excluded.next_at, missed = excluded.missed, last_activity = excluded.last_activity,
           updated_at = excluded.updated_at",
    )
    .bind(schedule.id.as_str())
    .bind(schedule.environment.as_str())
    .bind(schedule.what.as_str())
    .bind(schedule.source.as_str())
    .bind(&schedule.cron)
    .bind(&schedule.time_zone)
    .bind(i64::from(schedule.edited))
    .bind(schedule.owner.as_ref().map(|owner| owner.id.as_str().to_owned()))
    .bind(schedule.owner.as_ref().map(|owner| owner.email.clone()))
    .bind(schedule.state.as_str())
    .bind(schedule.stopped_because.as_deref())
    .bind(schedule.since.as_micros())
    .bind(schedule.slot.map(|slot| slot.due.as_micros()))
    .bind(schedule.slot.map(|slot| slot.run.as_micros()))
    .bind(i64::from(schedule.missed))
    .bind(schedule.last_activity.as_ref().map(|id| id.as_str().to_owned()))
    .bind(schedule.created_at.as_micros())
    .bind(schedule.updated_at.as_micros())
    .execute(db)
    .await?;
    Ok(())
}

/// What it took stays, and goes as it would have gone had it run on ([`ended`]).
///
/// # Errors
/// When the database fails.
pub async fn delete(db: &mut Db, id: &ScheduleId, now: Timestamp) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO ended_schedules (id, environment_id, cron, time_zone, ended_at)
         SELECT id, environment_id, cron, time_zone, $1 FROM schedules WHERE id = $2 AND what = 'snapshot'
         ON CONFLICT DO NOTHING",
    )
    .bind(now.as_micros())
    .bind(id.as_str())
    .execute(&mut *db)
    .await?;
    sqlx::query("DELETE FROM schedules WHERE id = $1").bind(id.as_str()).execute(db).await?;
    Ok(())
}

/// # Errors
/// When the database fails.
pub async fn by_id(db: &mut Db, id: &ScheduleId) -> Result<Option<Schedule>, Error> {
    let row = sqlx::query("SELECT * FROM schedules WHERE id = $1").bind(id.as_str()).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

/// Those that came by themselves first, then in the order that they were made.
///
/// # Errors
/// When the database fails.
pub async fn by_environment(db: &mut Db, environment: &EnvironmentId) -> Result<Vec<Schedule>, Error> {
    let rows = sqlx::query("SELECT * FROM schedules WHERE environment_id = $1 ORDER BY created_at, id")
        .bind(environment.as_str())
        .fetch_all(db)
        .await?;
    let mut schedules: Vec<Schedule> = rows.iter().map(read).collect::<Result<_, _>>()?;
    schedules.sort_by_key(|schedule| schedule.source != ScheduleSource::Plan);
    Ok(schedules)
}

/// The same of several environments.
///
/// # Errors
/// When the database fails.
pub async fn by_environments(
    db: &mut Db,
    environments: &[EnvironmentId],
) -> Result<HashMap<EnvironmentId, Vec<Schedule>>, Error> {
    let mut query = Sql::new("SELECT * FROM schedules WHERE ");
    query.one_of("environment_id", environments.iter().map(EnvironmentId::as_str)).push(" ORDER BY created_at, id");
    let mut all: HashMap<EnvironmentId, Vec<Schedule>> = HashMap::new();
    for row in query.fetch_all(db).await? {
        let schedule = read(&row)?;
        all.entry(schedule.environment.clone()).or_default().push(schedule);
    }
    all.values_mut().for_each(|own| own.sort_by_key(|schedule| schedule.source != ScheduleSource::Plan));
    Ok(all)
}

/// How many run in the name of whom.
///
/// # Errors
/// When the database fails.
pub async fn owned(db: &mut Db) -> Result<HashMap<UserId, u64>, Error> {
    let rows = sqlx::query(
        "SELECT owner_user, COUNT(*) AS n FROM schedules
         WHERE source = 'person' AND next_at IS NOT NULL AND owner_user IS NOT NULL GROUP BY owner_user",
    )
    .fetch_all(db)
    .await?;
    let read = |row: &sqlx::any::AnyRow| {
        Ok((row.word("owner_user")?, u64::try_from(row.number("n")?).map_err(Error::corrupt("n"))?))
    };
    rows.iter().map(read).collect()
}

/// The most overdue ones, at most `count`.
///
/// # Errors
/// When the database fails.
pub async fn due(db: &mut Db, now: Timestamp, count: u32) -> Result<Vec<ScheduleId>, Error> {
    let rows = sqlx::query("SELECT id FROM schedules WHERE next_at <= $1 ORDER BY next_at LIMIT $2")
        .bind(now.as_micros())
        .bind(i64::from(count))
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| row.word("id")).collect()
}

/// When the next one is due, of all.
///
/// # Errors
/// When the database fails.
pub async fn earliest(db: &mut Db) -> Result<Option<Timestamp>, Error> {
    let row = sqlx::query("SELECT next_at FROM schedules WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1")
        .fetch_optional(db)
        .await?;
    row.map(|row| row.time("next_at")).transpose()
}

/// Moves it on from the run at `run` to the next one; `false`: somebody else did, and begins that run.
///
/// # Errors
/// When the database fails.
pub async fn claim(db: &mut Db, id: &ScheduleId, run: Timestamp, next: Option<Slot>) -> Result<bool, Error> {
    let done = sqlx::query("UPDATE schedules SET due_at = $1, next_at = $2 WHERE id = $3 AND next_at = $4")
        .bind(next.map(|slot| slot.due.as_micros()))
        .bind(next.map(|slot| slot.run.as_micros()))
        .bind(id.as_str())
        .bind(run.as_micros())
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes that an activity takes a snapshot for this schedule, among others perhaps.
///
/// # Errors
/// When the database fails.
pub async fn ran(db: &mut Db, id: &ScheduleId, activity: &ActivityId) -> Result<(), Error> {
    sqlx::query("INSERT INTO schedule_runs (activity_id, schedule_id) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(activity.as_str())
        .bind(id.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// When schedules of a project that were removed would have run since, in order and each at most `MOST_COUNTED` times; of those
/// that took something which is kept.
///
/// # Errors
/// When the database fails.
pub async fn ended(db: &mut Db, project: &ProjectId) -> Result<HashMap<ScheduleId, Vec<Timestamp>>, Error> {
    let rows = sqlx::query(
        "SELECT e.id, e.cron, e.time_zone, e.ended_at FROM ended_schedules e
         WHERE e.id IN (SELECT r.schedule_id FROM snapshots s JOIN schedule_runs r ON r.activity_id = s.activity_id
                        WHERE s.project_id = $1 AND s.deleted_at IS NULL)",
    )
    .bind(project.as_str())
    .fetch_all(db)
    .await?;
    let mut all = HashMap::new();
    for row in rows {
        let mut at: Timestamp = row.time("ended_at")?;
        // What never runs displaces nothing.
        let rhythm = Rhythm::parse(&row.text("cron")?, &row.text("time_zone")?).ok();
        let runs = std::iter::from_fn(|| {
            at = rhythm.as_ref()?.next_after(at)?;
            Some(at)
        });
        all.insert(row.word("id")?, runs.take(MOST_COUNTED).collect());
    }
    Ok(all)
}

/// For which schedules the activities took the snapshots of a project that are kept; also of schedules that were removed.
///
/// # Errors
/// When the database fails.
pub async fn of_snapshots(
    db: &mut Db,
    project: &ProjectId,
) -> Result<HashMap<ActivityId, BTreeSet<ScheduleId>>, Error> {
    let rows = sqlx::query(
        "SELECT r.activity_id, r.schedule_id FROM snapshots s
         JOIN schedule_runs r ON r.activity_id = s.activity_id
         WHERE s.project_id = $1 AND s.deleted_at IS NULL",
    )
    .bind(project.as_str())
    .fetch_all(db)
    .await?;
    let mut all: HashMap<ActivityId, BTreeSet<ScheduleId>> = HashMap::new();
    for row in rows {
        all.entry(row.word("activity_id")?).or_default().insert(row.word("schedule_id")?);
    }
    Ok(all)
}

/// The activity that any schedule of the environment asked for last to do this, and when, if that is not over.
///
/// # Errors
/// When the database fails.
pub async fn unfinished(
    db: &mut Db,
    environment: &EnvironmentId,
    what: Errand,
) -> Result<Option<(ActivityId, Timestamp)>, Error> {
    let row = sqlx::query(
        "SELECT a.id, a.created_at FROM schedules s JOIN activities a ON a.id = s.last_activity
         WHERE s.environment_id = $1 AND s.what = $2 AND a.state IN ('pending', 'in_progress')
         ORDER BY a.seq DESC LIMIT 1",
    )
    .bind(environment.as_str())
    .bind(what.as_str())
    .fetch_optional(db)
    .await?;
    row.map(|row| Ok((row.word("id")?, row.time("created_at")?))).transpose()
}

/// What schedules asked for before `asked` and is neither over nor told of: those behind which nothing was missed yet, since
/// that is told as well.
///
/// # Errors
/// When the database fails.
pub async fn late(db: &mut Db, what: Errand, asked: Timestamp) -> Result<Vec<(ScheduleId, ActivityId)>, Error> {
    let rows = sqlx::query(
        "SELECT s.id, s.last_activity FROM activities a JOIN schedules s ON s.last_activity = a.id
         WHERE a.state IN ('pending', 'in_progress') AND a.created_at < $1 AND s.what = $2 AND s.missed = 0
           AND (s.told_activity IS NULL OR s.told_activity <> a.id)",
    )
    .bind(asked.as_micros())
    .bind(what.as_str())
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| Ok((row.word("id")?, row.word("last_activity")?))).collect()
}

/// Notes that somebody is told of it; `false`: somebody was.
///
/// # Errors
/// When the database fails.
pub async fn told(db: &mut Db, id: &ScheduleId, activity: &ActivityId) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE schedules SET told_activity = $1 WHERE id = $2 AND (told_activity IS NULL OR told_activity <> $3)",
    )
    .bind(activity.as_str())
    .bind(id.as_str())
    .bind(activity.as_str())
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Keeps an environment's schedules in step with what it is now, in the transaction that changes it: the plan's own is
/// there exactly while the plan takes automatic snapshots of the active environment, drills while it is for production, and
/// none runs for an inactive one.
///
/// # Errors
/// When the database fails.
pub async fn follow_environment(db: &mut Db, environment: &Environment, now: Timestamp) -> Result<(), Error> {
    let plan = super::projects::plan(db, &environment.project).await?;
    let own = by_environment(db, &environment.id).await?;
    let active = environment.status == EnvironmentStatus::Active;
    for schedule in own.iter().filter(|schedule| schedule.source == ScheduleSource::Person) {
        let runs = active && schedule.state == ScheduleState::Active;
        if runs != schedule.slot.is_some() {
            let since = if runs { now } else { schedule.since };
            put(db, &placed(Schedule { since, ..schedule.clone() }, active, now)).await?;
        }
    }
    let (drill, own): (Vec<_>, Vec<_>) =
        own.into_iter().filter(|own| own.source == ScheduleSource::Plan).partition(|own| own.what == Errand::Drill);
    follow_drill(db, environment, drill.into_iter().next(), now).await?;
    let own = own.into_iter().next();
    match (&plan.rules(environment.kind).automatic, own) {
        (Some(automatic), Some(own)) => {
            let kept = own.edited && automatic.editable;
            let wanted = if kept { own.clone() } else { of_plan(own.clone(), automatic) };
            let runs = active && wanted.state == ScheduleState::Active;
            let same = (&wanted.cron, &wanted.time_zone, wanted.state) == (&own.cron, &own.time_zone, own.state);
            if !same || runs != own.slot.is_some() {
                put(db, &placed(Schedule { since: now, ..wanted }, active, now)).await?;
            }
            Ok(())
        }
        (Some(automatic), None) if active => {
            put(db, &placed(of_plan(blank(&environment.id, Errand::Snapshot, now)?, automatic), true, now)).await
        }
        (None, Some(own)) => delete(db, &own.id, now).await,
        (_, None) => Ok(()),
    }
}

/// What a person changed stays.
async fn follow_drill(
    db: &mut Db,
    environment: &Environment,
    own: Option<Schedule>,
    now: Timestamp,
) -> Result<(), Error> {
    let active = environment.status == EnvironmentStatus::Active;
    match (drills::by_default(environment.kind), own) {
        (_, Some(own)) if own.edited => {
            let runs = active && own.state == ScheduleState::Active;
            match runs == own.slot.is_some() {
                true => Ok(()),
                false => put(db, &placed(Schedule { since: now, ..own }, active, now)).await,
            }
        }
        (true, Some(own)) => {
            let wanted = of_drill(own.clone());
            match (&wanted.cron, wanted.state, active) == (&own.cron, own.state, own.slot.is_some()) {
                true => Ok(()),
                false => put(db, &placed(Schedule { since: now, ..wanted }, active, now)).await,
            }
        }
        (true, None) if active => {
            put(db, &placed(of_drill(blank(&environment.id, Errand::Drill, now)?), true, now)).await
        }
        (false, Some(own)) => delete(db, &own.id, now).await,
        (_, None) => Ok(()),
    }
}

/// The same for all environments of a project, in the transaction that puts it under another plan.
///
/// # Errors
/// When the database fails.
pub async fn follow_plan(db: &mut Db, project: &ProjectId, now: Timestamp) -> Result<(), Error> {
    for environment in super::environments::by_project(db, project).await? {
        follow_environment(db, &environment, now).await?;
    }
    Ok(())
}

/// Makes what is missing: for an installation from before there were schedules. At a scheduler's start.
///
/// # Errors
/// When the database fails.
pub async fn follow_missing(db: &mut Db, now: Timestamp) -> Result<(), Error> {
    let rows = sqlx::query(
        "SELECT e.id, e.kind, e.project_id FROM environments e
         LEFT JOIN schedules s ON s.environment_id = e.id AND s.source = 'plan' AND s.what = 'snapshot'
         WHERE e.status = 'active' AND s.id IS NULL",
    )
    .fetch_all(&mut *db)
    .await?;
    let mut plans: HashMap<ProjectId, Plan> = HashMap::new();
    for row in rows {
        let project: ProjectId = row.word("project_id")?;
        if !plans.contains_key(&project) {
            plans.insert(project.clone(), super::projects::plan(db, &project).await?);
        }
        if let Some(automatic) =
            plans.get(&project).and_then(|plan| plan.rules(row.word("kind").ok()?).automatic.as_ref())
        {
            let blank = blank(&row.word("id")?, Errand::Snapshot, now)?;
            put(db, &placed(of_plan(blank, automatic), true, now)).await?;
        }
    }
    let rows = sqlx::query(
        "SELECT e.id, e.kind FROM environments e
         LEFT JOIN schedules s ON s.environment_id = e.id AND s.source = 'plan' AND s.what = 'drill'
         WHERE e.status = 'active' AND s.id IS NULL",
    )
    .fetch_all(&mut *db)
    .await?;
    for row in rows {
        if drills::by_default(row.word("kind")?) {
            put(db, &placed(of_drill(blank(&row.word("id")?, Errand::Drill, now)?), true, now)).await?;
        }
    }
    Ok(())
}

/// One that comes by itself, with nothing said yet of when.
fn blank(environment: &EnvironmentId, what: Errand, now: Timestamp) -> Result<Schedule, Error> {
    Ok(Schedule {
        id: ScheduleId::parse(random_id()).map_err(Error::corrupt("id"))?,
        environment: environment.clone(),
        what,
        source: ScheduleSource::Plan,
        cron: String::new(),
        time_zone: String::new(),
        edited: false,
        owner: None,
        state: ScheduleState::Active,
        stopped_because: None,
        since: now,
        slot: None,
        missed: 0,
        last_activity: None,
        created_at: now,
        updated_at: now,
    })
}

fn of_plan(schedule: Schedule, automatic: &Automatic) -> Schedule {
    let (cron, time_zone) = (automatic.cron.clone(), "UTC".to_owned());
    Schedule { cron, time_zone, edited: false, state: ScheduleState::Active, stopped_because: None, ..schedule }
}

fn of_drill(schedule: Schedule) -> Schedule {
    let (cron, time_zone) = (drills::usual(&schedule.id), "UTC".to_owned());
    Schedule { cron, time_zone, state: ScheduleState::Active, stopped_because: None, ..schedule }
}

/// With the place of its next run, if it is to have one.
pub fn placed(schedule: Schedule, active: bool, now: Timestamp) -> Schedule {
    let rhythm = Rhythm::parse(&schedule.cron, &schedule.time_zone);
    let runs = active && schedule.state == ScheduleState::Active;
    let slot = rhythm.ok().filter(|_| runs).and_then(|rhythm| Turns::of(&rhythm, &schedule).after(now));
    Schedule { slot, missed: 0, updated_at: now, ..schedule }
}

fn read(row: &sqlx::any::AnyRow) -> Result<Schedule, Error> {
    let owner = row.optional_word("owner_user")?.zip(row.optional_text("owner_name")?);
    let slot = row.optional_time("due_at")?.zip(row.optional_time("next_at")?);
    Ok(Schedule {
        id: row.word("id")?,
        environment: row.word("environment_id")?,
        what: row.word("what")?,
        source: row.word("source")?,
        cron: row.text("cron")?,
        time_zone: row.text("time_zone")?,
        edited: row.flag("edited")?,
        owner: owner.map(|(id, email)| Owner { id, email }),
        state: row.word("state")?,
        stopped_because: row.optional_text("stopped_because")?,
        since: row.time("since")?,
        slot: slot.map(|(due, run)| Slot { due, run }),
        missed: u32::try_from(row.number("missed")?).map_err(Error::corrupt("missed"))?,
        last_activity: row.optional_word("last_activity")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}
