//! The durable journal of swaps (R23): what was intended, and how far it got.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::row::Columns as _;
use super::sql::Sql;
use super::{Db, Error, Sealer};
use crate::domain::environment::words;
use crate::domain::{ActivityId, EnvironmentId, Timestamp};

/// How far a swap got. Every stage is written before its work begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Data is being loaded beside; nothing live was touched.
    Loading,
    /// Live data is being exchanged: the site must not be served.
    Swapping,
    /// All exchanged; what was replaced still stands aside.
    Swapped,
    /// What was replaced is kept as a snapshot; what stands aside is being removed.
    Kept,
    /// The exchange is being taken back: the site must not be served.
    RollingBack,
    Done,
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Swapping => "swapping",
            Self::Swapped => "swapped",
            Self::Kept => "kept",
            Self::RollingBack => "rolling_back",
            Self::Done => "done",
        }
    }

    /// Whether data may be half old and half new.
    pub fn is_mixed(self) -> bool {
        matches!(self, Self::Swapping | Self::RollingBack)
    }
}

words!(
    Stage,
    "a swap's stage",
    [Self::Loading, Self::Swapping, Self::Swapped, Self::Kept, Self::RollingBack, Self::Done]
);

#[derive(Debug, Clone)]
pub struct Entry<T> {
    pub activity: ActivityId,
    pub environment: EnvironmentId,
    pub stage: Stage,
    pub body: T,
}

/// # Errors
/// When the database fails: then the swap must not go on.
pub async fn put<T: Serialize>(db: &mut Db, sealer: &Sealer, entry: &Entry<T>, now: Timestamp) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO swaps (activity_id, environment_id, stage, sealed_body, updated_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (activity_id) DO UPDATE SET
           stage = excluded.stage, sealed_body = excluded.sealed_body, updated_at = excluded.updated_at",
    )
    .bind(entry.activity.as_str())
    .bind(entry.environment.as_str())
    .bind(entry.stage.as_str())
    .bind(sealer.seal(&context(&entry.activity), &entry.body))
    .bind(now.as_micros())
    .execute(db)
    .await?;
    Ok(())
}

/// # Errors
/// When the database fails, or the entry can't be unsealed.
pub async fn by_activity<T: DeserializeOwned>(
    db: &mut Db,
    sealer: &Sealer,
    activity: &ActivityId,
) -> Result<Option<Entry<T>>, Error> {
    let row =
        sqlx::query("SELECT * FROM swaps WHERE activity_id = $1").bind(activity.as_str()).fetch_optional(db).await?;
    row.map(|row| read(&row, sealer)).transpose()
}

fn read<T: DeserializeOwned>(row: &sqlx::any::AnyRow, sealer: &Sealer) -> Result<Entry<T>, Error> {
    let activity: ActivityId = row.word("activity_id")?;
    let body = sealer.open(&context(&activity), &row.text("sealed_body")?)?;
    Ok(Entry { environment: row.word("environment_id")?, stage: row.word("stage")?, body, activity })
}

/// Swaps that are not done.
///
/// # Errors
/// When the database fails.
pub async fn unfinished(db: &mut Db) -> Result<Vec<(ActivityId, EnvironmentId, Stage)>, Error> {
    let rows =
        sqlx::query("SELECT activity_id, environment_id, stage FROM swaps WHERE stage <> 'done'").fetch_all(db).await?;
    rows.iter().map(|row| Ok((row.word("activity_id")?, row.word("environment_id")?, row.word("stage")?))).collect()
}

/// Complete swaps of these environments of which what was replaced still stands aside, oldest first.
///
/// # Errors
/// When the database fails, or an entry can't be unsealed.
pub async fn aside<T: DeserializeOwned>(
    db: &mut Db,
    sealer: &Sealer,
    environments: &[EnvironmentId],
) -> Result<Vec<Entry<T>>, Error> {
    let mut query = Sql::new("SELECT * FROM swaps WHERE stage <> 'done' AND stage IN ('swapped', 'kept') AND ");
    query.one_of("environment_id", environments.iter().map(EnvironmentId::as_str)).push(" ORDER BY updated_at");
    query.fetch_all(db).await?.iter().map(|row| read(row, sealer)).collect()
}

/// Whether this caller is to try again what a complete swap has left to do: nobody began that within the last `pause`.
///
/// # Errors
/// When the database fails.
pub async fn begin_again(db: &mut Db, activity: &ActivityId, now: Timestamp, pause: Duration) -> Result<bool, Error> {
    let begun = sqlx::query(
        "UPDATE swaps SET updated_at = $1 WHERE activity_id = $2 AND stage = 'swapped' AND updated_at <= $3",
    )
    .bind(now.as_micros())
    .bind(activity.as_str())
    .bind(now.minus(pause).as_micros())
    .execute(db)
    .await?;
    Ok(begun.rows_affected() == 1)
}

/// Environments whose data may be mixed right now: their gates must be closed.
///
/// # Errors
/// When the database fails.
pub async fn mixed(db: &mut Db) -> Result<Vec<EnvironmentId>, Error> {
    let rows = sqlx::query("SELECT DISTINCT environment_id FROM swaps WHERE stage IN ('swapping', 'rolling_back')")
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| row.word("environment_id")).collect()
}

fn context(activity: &ActivityId) -> String {
    format!("swap:{activity}")
}
