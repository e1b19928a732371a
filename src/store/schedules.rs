//! Schedules: what is due, who begins it, and the plan's own, kept in step with environments and plans.

use std::collections::HashMap;

use super::row::Columns as _;
use super::{Db, Error, random_id};
use crate::domain::environment::{Environment, EnvironmentStatus};
use crate::domain::policy::Plan;
use crate::domain::policy::plans::Automatic;
use crate::domain::policy::schedule::{Rhythm, Turns};
use crate::domain::schedule::{Owner, Schedule, ScheduleSource, ScheduleState, Slot};
use crate::domain::{ActivityId, EnvironmentId, ProjectId, ScheduleId, Timestamp};

/// Adds it, or changes the one of this id.
///
/// # Errors
/// When the database fails.
pub async fn put(db: &mut Db, schedule: &Schedule) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO schedules
           (id, environment_id, source, cron, time_zone, edited, owner_user, owner_name, state, stopped_because, since,
            due_at, next_at, missed, last_activity, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
         ON CONFLICT (id) DO UPDATE SET
           cron = excluded.cron, time_zone = excluded.time_zone, edited = excluded.edited,
           owner_user = excluded.owner_user, owner_name = excluded.owner_name, state = excluded.state,
           stopped_because = excluded.stopped_because, since = excluded.since, due_at = excluded.due_at,
           next_at = excluded.next_at, missed = excluded.missed, last_activity = excluded.last_activity,
           updated_at = excluded.updated_at",
    )
    .bind(schedule.id.as_str())
    .bind(schedule.environment.as_str())
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

/// # Errors
/// When the database fails.
pub async fn delete(db: &mut Db, id: &ScheduleId) -> Result<(), Error> {
    sqlx::query("DELETE FROM schedules WHERE id = $1").bind(id.as_str()).execute(db).await?;
    Ok(())
}

/// # Errors
/// When the database fails.
pub async fn by_id(db: &mut Db, id: &ScheduleId) -> Result<Option<Schedule>, Error> {
    let row = sqlx::query("SELECT * FROM schedules WHERE id = $1").bind(id.as_str()).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

/// The plan's own first, then in the order that they were made.
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

/// The activity that any schedule of the environment asked for last, and when, if that is not over.
///
/// # Errors
/// When the database fails.
pub async fn unfinished(db: &mut Db, environment: &EnvironmentId) -> Result<Option<(ActivityId, Timestamp)>, Error> {
    let row = sqlx::query(
        "SELECT a.id, a.created_at FROM schedules s JOIN activities a ON a.id = s.last_activity
         WHERE s.environment_id = $1 AND a.state IN ('pending', 'in_progress') ORDER BY a.seq DESC LIMIT 1",
    )
    .bind(environment.as_str())
    .fetch_optional(db)
    .await?;
    row.map(|row| Ok((row.word("id")?, row.time("created_at")?))).transpose()
}

/// Keeps an environment's schedules in step with what it is now, in the transaction that changes it: the plan's own is
/// there exactly while the plan takes automatic snapshots of the active environment, and none runs for an inactive one.
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
    let own = own.into_iter().find(|schedule| schedule.source == ScheduleSource::Plan);
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
        (Some(automatic), None) if active => insert_of_plan(db, &environment.id, automatic, now).await,
        (None, Some(own)) => delete(db, &own.id).await,
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
         LEFT JOIN schedules s ON s.environment_id = e.id AND s.source = 'plan'
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
            insert_of_plan(db, &row.word("id")?, automatic, now).await?;
        }
    }
    Ok(())
}

async fn insert_of_plan(
    db: &mut Db,
    environment: &EnvironmentId,
    automatic: &Automatic,
    now: Timestamp,
) -> Result<(), Error> {
    let blank = Schedule {
        id: ScheduleId::parse(random_id()).map_err(Error::corrupt("id"))?,
        environment: environment.clone(),
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
    };
    put(db, &placed(of_plan(blank, automatic), true, now)).await
}

fn of_plan(schedule: Schedule, automatic: &Automatic) -> Schedule {
    let (cron, time_zone) = (automatic.cron.clone(), "UTC".to_owned());
    Schedule { cron, time_zone, edited: false, state: ScheduleState::Active, stopped_because: None, ..schedule }
}

/// With the place of its next run, if it is to have one.
pub fn placed(schedule: Schedule, active: bool, now: Timestamp) -> Schedule {
    let rhythm = Rhythm::parse(&schedule.cron, &schedule.time_zone);
    let runs = active && schedule.state == ScheduleState::Active;
    let slot =
        rhythm.ok().filter(|_| runs).and_then(|rhythm| Turns::of(&rhythm, &schedule.id, schedule.source).after(now));
    Schedule { slot, missed: 0, updated_at: now, ..schedule }
}

fn read(row: &sqlx::any::AnyRow) -> Result<Schedule, Error> {
    let owner = row.optional_word("owner_user")?.zip(row.optional_text("owner_name")?);
    let slot = row.optional_time("due_at")?.zip(row.optional_time("next_at")?);
    Ok(Schedule {
        id: row.word("id")?,
        environment: row.word("environment_id")?,
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
