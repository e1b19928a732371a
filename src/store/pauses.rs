//! Environments that are paused: whose `resume` command must still run.

use std::time::Duration;

use super::row::Columns as _;
use super::{Db, Error};
use crate::domain::{ActivityId, EnvironmentId, Timestamp};

/// A pause that may be in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    pub environment: EnvironmentId,
    /// Which paused it.
    pub activity: ActivityId,
}

/// Before anything is paused.
///
/// # Errors
/// When the database fails: then nothing may be paused.
pub async fn put(db: &mut Db, environment: &EnvironmentId, activity: &ActivityId) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO pauses (environment_id, activity_id, busy_until, again_at) VALUES ($1, $2, 0, 0)
         ON CONFLICT (environment_id) DO UPDATE SET activity_id = excluded.activity_id, busy_until = 0, again_at = 0",
    )
    .bind(environment.as_str())
    .bind(activity.as_str())
    .execute(db)
    .await?;
    Ok(())
}

/// # Errors
/// When the database fails.
pub async fn all(db: &mut Db) -> Result<Vec<Pause>, Error> {
    let rows = sqlx::query("SELECT * FROM pauses").fetch_all(db).await?;
    let read = |row: &sqlx::any::AnyRow| {
        Ok(Pause { environment: row.word("environment_id")?, activity: row.word("activity_id")? })
    };
    rows.iter().map(read).collect()
}

/// Who wants to resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Whenever nobody else is at it.
    AtOnce,
    /// And not too soon after it failed.
    NowAndThen,
}

/// Whether this caller is to resume it, for which nobody else will begin within that time.
///
/// # Errors
/// When the database fails.
pub async fn begin(db: &mut Db, it: &Pause, turn: Turn, now: Timestamp, time: Duration) -> Result<bool, Error> {
    let waits = match turn {
        Turn::AtOnce => i64::MAX,
        Turn::NowAndThen => now.as_micros(),
    };
    let begun = sqlx::query(
        "UPDATE pauses SET busy_until = $1
         WHERE environment_id = $2 AND activity_id = $3 AND busy_until <= $4 AND again_at <= $5",
    )
    .bind(now.plus(time).as_micros())
    .bind(it.environment.as_str())
    .bind(it.activity.as_str())
    .bind(now.as_micros())
    .bind(waits)
    .execute(db)
    .await?;
    Ok(begun.rows_affected() == 1)
}

/// It failed: from then on it is to be tried again.
///
/// # Errors
/// When the database fails.
pub async fn end(db: &mut Db, it: &Pause, again_at: Timestamp) -> Result<(), Error> {
    sqlx::query("UPDATE pauses SET busy_until = 0, again_at = $1 WHERE environment_id = $2 AND activity_id = $3")
        .bind(again_at.as_micros())
        .bind(it.environment.as_str())
        .bind(it.activity.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// It goes on again.
///
/// # Errors
/// When the database fails.
pub async fn delete(db: &mut Db, it: &Pause) -> Result<(), Error> {
    sqlx::query("DELETE FROM pauses WHERE environment_id = $1 AND activity_id = $2")
        .bind(it.environment.as_str())
        .bind(it.activity.as_str())
        .execute(db)
        .await?;
    Ok(())
}
