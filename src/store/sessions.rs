//! Browser sessions, as opaque records of the session layer.

use super::row::Columns as _;
use super::{Db, Error};
use crate::domain::Timestamp;

/// # Errors
/// When the database fails.
pub async fn save(db: &mut Db, id: &str, data: &str, expires_at: Timestamp) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO sessions (id, data, expires_at) VALUES ($1, $2, $3)
         ON CONFLICT (id) DO UPDATE SET data = excluded.data, expires_at = excluded.expires_at",
    )
    .bind(id)
    .bind(data)
    .bind(expires_at.as_micros())
    .execute(db)
    .await?;
    Ok(())
}

/// Adds a session; `false` when the id is taken.
///
/// # Errors
/// When the database fails.
pub async fn create(db: &mut Db, id: &str, data: &str, expires_at: Timestamp) -> Result<bool, Error> {
    let done = sqlx::query("INSERT INTO sessions (id, data, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(id)
        .bind(data)
        .bind(expires_at.as_micros())
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// # Errors
/// When the database fails.
pub async fn load(db: &mut Db, id: &str, now: Timestamp) -> Result<Option<String>, Error> {
    let row = sqlx::query("SELECT data FROM sessions WHERE id = $1 AND expires_at > $2")
        .bind(id)
        .bind(now.as_micros())
        .fetch_optional(db)
        .await?;
    row.map(|row| row.text("data")).transpose()
}

/// # Errors
/// When the database fails.
pub async fn delete(db: &mut Db, id: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM sessions WHERE id = $1").bind(id).execute(db).await?;
    Ok(())
}

/// # Errors
/// When the database fails.
pub async fn delete_expired(db: &mut Db, now: Timestamp) -> Result<u64, Error> {
    let done = sqlx::query("DELETE FROM sessions WHERE expires_at <= $1").bind(now.as_micros()).execute(db).await?;
    Ok(done.rows_affected())
}
