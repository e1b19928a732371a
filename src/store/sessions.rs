//! Browser sessions, as opaque records of the session layer, with whose they are beside.

use super::row::Columns as _;
use super::{Db, Error};
use crate::domain::{Timestamp, UserId};

/// A session as the layer keeps it.
#[derive(Debug, Clone)]
pub struct Record {
    pub id: String,
    pub data: String,
    pub expires_at: Timestamp,
    pub owner: Owner,
}

/// Whose it is; nobody's before a login.
#[derive(Debug, Clone, Default)]
pub struct Owner {
    pub user: Option<String>,
    pub since: Option<Timestamp>,
    pub address: Option<String>,
}

/// # Errors
/// When the database fails.
pub async fn save(db: &mut Db, record: &Record) -> Result<(), Error> {
    put(
        db,
        record,
        "DO UPDATE SET data = excluded.data, expires_at = excluded.expires_at, user_id = excluded.user_id, \
                     started_at = excluded.started_at, address = excluded.address",
    )
    .await
    .map(drop)
}

/// Adds a session; `false` when the id is taken.
///
/// # Errors
/// When the database fails.
pub async fn create(db: &mut Db, record: &Record) -> Result<bool, Error> {
    Ok(put(db, record, "DO NOTHING").await? == 1)
}

async fn put(db: &mut Db, record: &Record, on_conflict: &'static str) -> Result<u64, Error> {
    let sql = format!(
        "INSERT INTO sessions (id, data, expires_at, user_id, started_at, address) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (id) {on_conflict}"
    );
    let done = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(&record.id)
        .bind(&record.data)
        .bind(record.expires_at.as_micros())
        .bind(record.owner.user.as_deref())
        .bind(record.owner.since.map(Timestamp::as_micros))
        .bind(record.owner.address.as_deref())
        .execute(db)
        .await?;
    Ok(done.rows_affected())
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

/// A person's sessions that have not ended, newest first: id and whose.
///
/// # Errors
/// When the database fails.
pub async fn by_user(db: &mut Db, user: &UserId, now: Timestamp) -> Result<Vec<(String, Owner)>, Error> {
    let rows = sqlx::query(
        "SELECT id, started_at, address FROM sessions WHERE user_id = $1 AND expires_at > $2
         ORDER BY started_at DESC, id",
    )
    .bind(user.as_str())
    .bind(now.as_micros())
    .fetch_all(db)
    .await?;
    let read = |row: &sqlx::any::AnyRow| {
        let owner = Owner {
            user: Some(user.to_string()),
            since: row.optional_time("started_at")?,
            address: row.optional_text("address")?,
        };
        Ok((row.text("id")?, owner))
    };
    rows.iter().map(read).collect()
}

/// Ends all sessions of a person but one (empty: all).
///
/// # Errors
/// When the database fails.
pub async fn end_others(db: &mut Db, user: &UserId, but: &str) -> Result<u64, Error> {
    let done = sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND id <> $2")
        .bind(user.as_str())
        .bind(but)
        .execute(db)
        .await?;
    Ok(done.rows_affected())
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
