//! Leases on repositories (R14): shared for snapshot, restore and reading, exclusive for prune.

use std::time::Duration;

use super::row::Columns as _;
use super::{Db, Error};
use crate::domain::{ProjectId, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Shared,
    Exclusive,
}

/// Takes the lease `id`, or `false` when another one stands in its way. Call inside a transaction that writes: it
/// removes expired leases, then adds its own. `now` by the database's clock.
///
/// # Errors
/// When the database fails.
pub async fn take(
    db: &mut Db,
    project: &ProjectId,
    id: &str,
    access: Access,
    now: Timestamp,
    time: Duration,
) -> Result<bool, Error> {
    // On PostgreSQL this makes two takers of one project queue up; SQLite has one writer anyway.
    sqlx::query("UPDATE projects SET title = title WHERE id = $1").bind(project.as_str()).execute(&mut *db).await?;
    sqlx::query("DELETE FROM repository_leases WHERE project_id = $1 AND expires_at <= $2")
        .bind(project.as_str())
        .bind(now.as_micros())
        .execute(&mut *db)
        .await?;
    let blocking = sqlx::query(
        "SELECT COUNT(*) AS n FROM repository_leases WHERE project_id = $1 AND id <> $2 AND (exclusive = 1 OR $3 = 1)",
    )
    .bind(project.as_str())
    .bind(id)
    .bind(i64::from(access == Access::Exclusive))
    .fetch_one(&mut *db)
    .await?
    .number("n")?;
    if blocking > 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO repository_leases (id, project_id, exclusive, expires_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (id) DO UPDATE SET exclusive = excluded.exclusive, expires_at = excluded.expires_at",
    )
    .bind(id)
    .bind(project.as_str())
    .bind(i64::from(access == Access::Exclusive))
    .bind(now.plus(time).as_micros())
    .execute(db)
    .await?;
    Ok(true)
}

/// # Errors
/// When the database fails.
pub async fn is_held(db: &mut Db, id: &str, now: Timestamp) -> Result<bool, Error> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM repository_leases WHERE id = $1 AND expires_at > $2")
        .bind(id)
        .bind(now.as_micros())
        .fetch_one(db)
        .await?;
    Ok(row.number("n")? > 0)
}

/// `false` when the lease had already expired: its holder must not write anything final.
///
/// # Errors
/// When the database fails.
pub async fn renew(db: &mut Db, id: &str, now: Timestamp, time: Duration) -> Result<bool, Error> {
    let done = sqlx::query("UPDATE repository_leases SET expires_at = $1 WHERE id = $2 AND expires_at > $3")
        .bind(now.plus(time).as_micros())
        .bind(id)
        .bind(now.as_micros())
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// # Errors
/// When the database fails.
pub async fn give_back(db: &mut Db, id: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM repository_leases WHERE id = $1").bind(id).execute(db).await?;
    Ok(())
}
