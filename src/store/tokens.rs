//! API tokens (R4): stored hashed.

use super::row::{Columns as _, to_json};
use super::{Db, Error};
use crate::domain::policy::Grants;
use crate::domain::{Timestamp, TokenId, UserId};

#[derive(Debug, Clone)]
pub struct Token {
    pub id: TokenId,
    pub user: UserId,
    pub name: String,
    /// SHA-256 of the text, hexadecimal: the text has 256 random bits, so a slow hash would add nothing.
    pub hash: String,
    pub grants: Grants,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
}

/// # Errors
/// When the database fails.
pub async fn insert(db: &mut Db, token: &Token) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO tokens (id, user_id, name, hash, grants, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(token.id.as_str())
    .bind(token.user.as_str())
    .bind(&token.name)
    .bind(&token.hash)
    .bind(to_json(&token.grants))
    .bind(token.created_at.as_micros())
    .bind(token.expires_at.map(Timestamp::as_micros))
    .execute(db)
    .await?;
    Ok(())
}

/// One that is neither revoked nor expired.
///
/// # Errors
/// When the database fails.
pub async fn by_hash(db: &mut Db, hash: &str, now: Timestamp) -> Result<Option<Token>, Error> {
    usable(db, "hash", hash, now).await
}

/// One that is neither revoked nor expired.
///
/// # Errors
/// When the database fails.
pub async fn by_id(db: &mut Db, id: &TokenId, now: Timestamp) -> Result<Option<Token>, Error> {
    usable(db, "id", id.as_str(), now).await
}

async fn usable(db: &mut Db, column: &'static str, value: &str, now: Timestamp) -> Result<Option<Token>, Error> {
    let sql = format!(
        "SELECT * FROM tokens
         WHERE {column} = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(value).bind(now.as_micros()).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

/// Those that are not revoked, newest first.
///
/// # Errors
/// When the database fails.
pub async fn by_user(db: &mut Db, user: &UserId) -> Result<Vec<Token>, Error> {
    let rows = sqlx::query("SELECT * FROM tokens WHERE user_id = $1 AND revoked_at IS NULL ORDER BY created_at DESC")
        .bind(user.as_str())
        .fetch_all(db)
        .await?;
    rows.iter().map(read).collect()
}

/// `false` when the user has no such token.
///
/// # Errors
/// When the database fails.
pub async fn revoke(db: &mut Db, id: &TokenId, user: &UserId, now: Timestamp) -> Result<bool, Error> {
    let done = sqlx::query("UPDATE tokens SET revoked_at = $1 WHERE id = $2 AND user_id = $3 AND revoked_at IS NULL")
        .bind(now.as_micros())
        .bind(id.as_str())
        .bind(user.as_str())
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// All of a person's; gives how many.
///
/// # Errors
/// When the database fails.
pub async fn revoke_all(db: &mut Db, user: &UserId, now: Timestamp) -> Result<u64, Error> {
    let done = sqlx::query("UPDATE tokens SET revoked_at = $1 WHERE user_id = $2 AND revoked_at IS NULL")
        .bind(now.as_micros())
        .bind(user.as_str())
        .execute(db)
        .await?;
    Ok(done.rows_affected())
}

/// # Errors
/// When the database fails.
pub async fn touch(db: &mut Db, id: &TokenId, now: Timestamp) -> Result<(), Error> {
    sqlx::query("UPDATE tokens SET last_used_at = $1 WHERE id = $2")
        .bind(now.as_micros())
        .bind(id.as_str())
        .execute(db)
        .await?;
    Ok(())
}

fn read(row: &sqlx::any::AnyRow) -> Result<Token, Error> {
    Ok(Token {
        id: row.word("id")?,
        user: row.word("user_id")?,
        name: row.text("name")?,
        hash: row.text("hash")?,
        grants: row.json("grants")?,
        created_at: row.time("created_at")?,
        expires_at: row.optional_time("expires_at")?,
        last_used_at: row.optional_time("last_used_at")?,
    })
}
