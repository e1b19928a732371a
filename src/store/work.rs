//! The rows that the queue moves: taking, renewing, finishing. Every change of a running activity names the lease's
//! generation, so that a worker that lost its lease changes nothing.

use std::time::Duration;

use sqlx::any::AnyRow;

use super::row::{Columns as _, to_json};
use super::{Db, Dialect, Error, activities, events, tickets};
use crate::domain::activity::{Activity, ActivityResult, ActivityState, Payload};
use crate::domain::ids::RegionId;
use crate::domain::{ActivityId, EnvironmentId, Timestamp};

/// An activity that was taken, and the generation of its lease.
#[derive(Debug, Clone)]
pub struct Taken {
    pub activity: Activity,
    pub generation: i64,
    /// 1 at the first try; more when an earlier worker died.
    pub attempt: i64,
}

/// Takes the oldest activity that may run: pending, or its worker's lease expired; and nothing older that locks one of
/// the same environments is unfinished (R20). `now` by the database's clock.
///
/// # Errors
/// When the database fails.
pub async fn take(
    db: &mut Db,
    dialect: Dialect,
    region: &RegionId,
    owner: &str,
    now: Timestamp,
    time: Duration,
) -> Result<Option<Taken>, Error> {
    let sql = format!(
        "UPDATE activities SET state = 'in_progress', lease_owner = $1, lease_generation = lease_generation + 1,
           lease_expires_at = $2, attempts = attempts + 1, started_at = COALESCE(started_at, $3), updated_at = $4
         WHERE id = (
           SELECT a.id FROM activities a
           WHERE a.state IN ('pending', 'in_progress') AND a.region_id = $5 AND a.parent_id IS NULL
             AND (a.state = 'pending' OR a.lease_expires_at < $6)
             AND NOT EXISTS (
               SELECT 1 FROM activity_targets mine
               JOIN activity_targets theirs ON theirs.environment_id = mine.environment_id
               JOIN activities b ON b.id = theirs.activity_id
               WHERE mine.activity_id = a.id AND b.seq < a.seq AND b.state IN ('pending', 'in_progress'))
           ORDER BY a.seq LIMIT 1{})
         RETURNING *",
        dialect.skip_locked()
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(owner)
        .bind(now.plus(time).as_micros())
        .bind(now.as_micros())
        .bind(now.as_micros())
        .bind(region.as_str())
        .bind(now.as_micros())
        .fetch_optional(&mut *db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let activity = changed(db, &row).await?;
    Ok(Some(Taken { activity, generation: row.number("lease_generation")?, attempt: row.number("attempts")? }))
}

/// Gives an activity that was just inserted to whoever inserted it, past the queue. In the same transaction, before it is
/// announced anew.
///
/// # Errors
/// When the database fails.
pub async fn begin(
    db: &mut Db,
    activity: &ActivityId,
    owner: &str,
    now: Timestamp,
    time: Duration,
) -> Result<Taken, Error> {
    let row = sqlx::query(
        "UPDATE activities SET state = 'in_progress', lease_owner = $1, lease_generation = 1, lease_expires_at = $2,
           attempts = 1, started_at = $3 WHERE id = $4 RETURNING *",
    )
    .bind(owner)
    .bind(now.plus(time).as_micros())
    .bind(now.as_micros())
    .bind(activity.as_str())
    .fetch_one(&mut *db)
    .await?;
    Ok(Taken { activity: changed(db, &row).await?, generation: 1, attempt: 1 })
}

/// Whose lease, and which.
#[derive(Debug, Clone)]
pub struct Holder {
    pub activity: ActivityId,
    pub owner: String,
    pub generation: i64,
}

/// Renews the lease; `None`: it was lost. Otherwise whether somebody asked to cancel.
///
/// # Errors
/// When the database fails.
pub async fn renew(db: &mut Db, holder: &Holder, now: Timestamp, time: Duration) -> Result<Option<bool>, Error> {
    let row = under_lease(db, holder, "lease_expires_at = $1", &[Value::Number(now.plus(time).as_micros())]).await?;
    row.map(|row| row.flag("cancel_requested")).transpose()
}

/// Sets the progress; `false`: the lease was lost.
///
/// # Errors
/// When the database fails.
pub async fn progress(db: &mut Db, holder: &Holder, per_mille: u16, now: Timestamp) -> Result<bool, Error> {
    let values = [Value::Number(i64::from(per_mille)), Value::Number(now.as_micros())];
    let row = under_lease(db, holder, "progress = $1, updated_at = $2", &values).await?;
    announced(db, row).await
}

/// Writes the activity's payload anew, for a job that notes what it is about to do; `false`: the lease was lost.
///
/// # Errors
/// When the database fails.
pub async fn note(db: &mut Db, holder: &Holder, payload: &Payload) -> Result<bool, Error> {
    let text = to_json(payload);
    Ok(under_lease(db, holder, "payload = $1", &[Value::Text(Some(&text))]).await?.is_some())
}

/// How an activity ends.
#[derive(Debug, Clone)]
pub enum End {
    Success,
    Failure(String),
    Cancelled,
}

/// Ends it; `false`: the lease was lost, and nothing was changed.
///
/// # Errors
/// When the database fails.
pub async fn finish(db: &mut Db, holder: &Holder, end: &End, now: Timestamp) -> Result<bool, Error> {
    let (state, result, failure) = match end {
        End::Success => (ActivityState::Complete, Some(ActivityResult::Success), None),
        End::Failure(reason) => (ActivityState::Complete, Some(ActivityResult::Failure), Some(reason.as_str())),
        End::Cancelled => (ActivityState::Cancelled, None, None),
    };
    let set = "state = $1, result = $2, failure = $3, completed_at = $4, updated_at = $5,
       progress = CASE WHEN $6 = 1 THEN 1000 ELSE progress END, lease_owner = NULL, lease_expires_at = NULL";
    let values = [
        Value::Text(Some(state.as_str())),
        Value::Text(result.map(ActivityResult::as_str)),
        Value::Text(failure),
        Value::Number(now.as_micros()),
        Value::Number(now.as_micros()),
        Value::Number(i64::from(matches!(end, End::Success))),
    ];
    let row = under_lease(db, holder, set, &values).await?;
    if row.is_some() {
        tickets::run_ended(db, &holder.activity, matches!(end, End::Success), now).await?;
    }
    announced(db, row).await
}

/// Puts it back into the queue, as if this try had not been: the worker is stopping.
///
/// # Errors
/// When the database fails.
pub async fn put_back(db: &mut Db, holder: &Holder, now: Timestamp) -> Result<bool, Error> {
    let set = "state = 'pending', progress = 0, updated_at = $1, attempts = attempts - 1, lease_owner = NULL,
       lease_expires_at = NULL";
    let row = under_lease(db, holder, set, &[Value::Number(now.as_micros())]).await?;
    announced(db, row).await
}

/// What a column is set to.
enum Value<'a> {
    Number(i64),
    Text(Option<&'a str>),
}

/// Changes a running activity if the lease still stands; `None`: it was lost, and nothing was changed. `values` are those
/// of `set`, which numbers them from `$1`.
async fn under_lease(
    db: &mut Db,
    holder: &Holder,
    set: &'static str,
    values: &[Value<'_>],
) -> Result<Option<AnyRow>, Error> {
    let next = values.len() + 1;
    let sql = format!(
        "UPDATE activities SET {set}
         WHERE id = ${next} AND lease_owner = ${} AND lease_generation = ${} AND state = 'in_progress' RETURNING *",
        next + 1,
        next + 2
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
    for value in values {
        query = match value {
            Value::Number(number) => query.bind(*number),
            Value::Text(text) => query.bind(*text),
        };
    }
    let query = query.bind(holder.activity.as_str()).bind(&holder.owner).bind(holder.generation);
    Ok(query.fetch_optional(db).await?)
}

/// Those that lock the environment and have not begun, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn pending(db: &mut Db, environment: &EnvironmentId) -> Result<Vec<ActivityId>, Error> {
    let rows = sqlx::query(
        "SELECT a.id FROM activities a JOIN activity_targets t ON t.activity_id = a.id
         WHERE t.environment_id = $1 AND a.state = 'pending' ORDER BY a.seq",
    )
    .bind(environment.as_str())
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| row.word("id")).collect()
}

/// `false`: it was not pending any more.
///
/// # Errors
/// When the database fails.
pub async fn cancel_pending(db: &mut Db, activity: &ActivityId, now: Timestamp) -> Result<bool, Error> {
    let row = sqlx::query(
        "UPDATE activities SET state = 'cancelled', completed_at = $1, updated_at = $2
         WHERE id = $3 AND state = 'pending' RETURNING *",
    )
    .bind(now.as_micros())
    .bind(now.as_micros())
    .bind(activity.as_str())
    .fetch_optional(&mut *db)
    .await?;
    if row.is_some() {
        tickets::run_ended(db, activity, false, now).await?;
    }
    announced(db, row).await
}

/// `false`: it was not running.
///
/// # Errors
/// When the database fails.
pub async fn request_cancel(db: &mut Db, activity: &ActivityId, now: Timestamp) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE activities SET cancel_requested = 1, updated_at = $1 WHERE id = $2 AND state = 'in_progress'",
    )
    .bind(now.as_micros())
    .bind(activity.as_str())
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether a row was changed; if so, the feed learns of it.
async fn announced(db: &mut Db, row: Option<AnyRow>) -> Result<bool, Error> {
    match row {
        Some(row) => changed(db, &row).await.map(|_| true),
        None => Ok(false),
    }
}

async fn changed(db: &mut Db, row: &AnyRow) -> Result<Activity, Error> {
    let activity = activities::read(row)?;
    events::announce(db, &activity).await?;
    Ok(activity)
}
