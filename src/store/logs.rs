//! An activity's log.

use super::row::Columns as _;
use super::{Db, Error};
use crate::domain::view::LogLine;
use crate::domain::{ActivityId, Timestamp};

/// Appends one line, numbered from 1.
///
/// # Errors
/// When the database fails.
pub async fn append(db: &mut Db, activity: &ActivityId, at: Timestamp, message: &str) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO activity_log (activity_id, seq, at, message)
         SELECT $1, COALESCE(MAX(seq), 0) + 1, $2, $3 FROM activity_log WHERE activity_id = $1",
    )
    .bind(activity.as_str())
    .bind(at.as_micros())
    .bind(message)
    .execute(db)
    .await?;
    Ok(())
}

/// Lines after number `after`, in order.
///
/// # Errors
/// When the database fails.
pub async fn after(db: &mut Db, activity: &ActivityId, after: i64) -> Result<Vec<LogLine>, Error> {
    let rows =
        sqlx::query("SELECT seq, at, message FROM activity_log WHERE activity_id = $1 AND seq > $2 ORDER BY seq")
            .bind(activity.as_str())
            .bind(after)
            .fetch_all(db)
            .await?;
    rows.iter()
        .map(|row| Ok(LogLine { seq: row.number("seq")?, at: row.time("at")?, message: row.text("message")? }))
        .collect()
}
