//! Links that set a new password once, by the hash of their secret.

use super::row::Columns as _;
use super::{Db, Error};
use crate::domain::{Timestamp, UserId};

/// Replaces the account's former one.
///
/// # Errors
/// When the database fails.
pub async fn put(db: &mut Db, user: &UserId, hash: &str, expires_at: Timestamp) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO password_resets (user_id, hash, expires_at) VALUES ($1, $2, $3)
         ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, expires_at = excluded.expires_at",
    )
    .bind(user.as_str())
    .bind(hash)
    .bind(expires_at.as_micros())
    .execute(db)
    .await?;
    Ok(())
}

/// Whose password it sets; `None` when it is unknown, used, replaced or over.
///
/// # Errors
/// When the database fails.
pub async fn user(db: &mut Db, hash: &str, now: Timestamp) -> Result<Option<UserId>, Error> {
    let row = sqlx::query("SELECT user_id FROM password_resets WHERE hash = $1 AND expires_at > $2")
        .bind(hash)
        .bind(now.as_micros())
        .fetch_optional(db)
        .await?;
    row.map(|row| row.word("user_id")).transpose()
}

/// `false` when somebody else has used it meanwhile.
///
/// # Errors
/// When the database fails.
pub async fn take(db: &mut Db, hash: &str) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM password_resets WHERE hash = $1").bind(hash).execute(db).await?;
    Ok(done.rows_affected() == 1)
}

/// The account's, if there is one: a password that was just set must not be set again by an old link.
///
/// # Errors
/// When the database fails.
pub async fn forget(db: &mut Db, user: &UserId) -> Result<(), Error> {
    sqlx::query("DELETE FROM password_resets WHERE user_id = $1").bind(user.as_str()).execute(db).await?;
    Ok(())
}
