//! The sequence of changes that live feeds follow.

use std::time::Duration;

use super::row::Columns as _;
use super::{Db, Error, notices};
use crate::domain::activity::Activity;
use crate::domain::{ActivityId, EnvironmentId, Timestamp};

/// The next number of a gap-free sequence. Holds its row until the transaction ends, so that numbers appear in the
/// order of commit.
///
/// # Errors
/// When the database fails.
pub(super) async fn next(db: &mut Db, counter: &str) -> Result<i64, Error> {
    sqlx::query("UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value")
        .bind(counter)
        .fetch_one(db)
        .await?
        .number("value")
}

/// Says that the activity changed; when it is over, also to those who want to be told.
///
/// # Errors
/// When the database fails.
pub(super) async fn announce(db: &mut Db, activity: &Activity) -> Result<(), Error> {
    let seq = next(db, "event").await?;
    sqlx::query("INSERT INTO events (seq, project_id, environment_id, activity_id, at) VALUES ($1, $2, $3, $4, $5)")
        .bind(seq)
        .bind(activity.project.as_str())
        .bind(activity.environment.as_str())
        .bind(activity.id.as_str())
        .bind(activity.updated_at.as_micros())
        .execute(&mut *db)
        .await?;
    notices::tell(db, activity).await
}

/// The newest event's number.
///
/// # Errors
/// When the database fails.
pub async fn newest(db: &mut Db) -> Result<i64, Error> {
    sqlx::query("SELECT value FROM counters WHERE name = 'event'").fetch_one(db).await?.number("value")
}

/// Activities that changed after event `after`, each once with its newest event, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn after(db: &mut Db, environment: &EnvironmentId, after: i64) -> Result<Vec<(i64, ActivityId)>, Error> {
    let rows = sqlx::query(
        "SELECT MAX(seq) AS newest, activity_id FROM events WHERE environment_id = $1 AND seq > $2
         GROUP BY activity_id ORDER BY newest",
    )
    .bind(environment.as_str())
    .bind(after)
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| Ok((row.number("newest")?, row.word("activity_id")?))).collect()
}

/// How long a feed can have been away and still resume where it broke off.
pub const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// # Errors
/// When the database fails.
pub async fn delete_older(db: &mut Db, before: Timestamp) -> Result<u64, Error> {
    let done = sqlx::query("DELETE FROM events WHERE at < $1").bind(before.as_micros()).execute(db).await?;
    Ok(done.rows_affected())
}
