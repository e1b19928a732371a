//! People.

use super::row::Columns as _;
use super::{Db, Error};
use crate::domain::{Timestamp, UserId};

#[derive(Debug, Clone)]
pub struct User {
    pub id: UserId,
    /// Lower case: the form in which it was entered doesn't matter at login.
    pub email: String,
    /// Argon2id, in PHC form.
    pub password_hash: String,
    pub operator: bool,
    pub support: bool,
    pub created_at: Timestamp,
    /// Exact to minutes.
    pub last_seen_at: Option<Timestamp>,
}

/// # Errors
/// [`Error::Taken`] when the address has an account.
pub async fn insert(db: &mut Db, user: &User) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO users (id, email, password_hash, operator, support, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(user.id.as_str())
    .bind(&user.email)
    .bind(&user.password_hash)
    .bind(i64::from(user.operator))
    .bind(i64::from(user.support))
    .bind(user.created_at.as_micros())
    .execute(db)
    .await?;
    Ok(())
}

/// # Errors
/// When the database fails.
pub async fn by_id(db: &mut Db, id: &UserId) -> Result<Option<User>, Error> {
    let row = sqlx::query("SELECT * FROM users WHERE id = $1").bind(id.as_str()).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

/// # Errors
/// When the database fails.
pub async fn by_email(db: &mut Db, email: &str) -> Result<Option<User>, Error> {
    let row = sqlx::query("SELECT * FROM users WHERE email = $1").bind(email).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

/// # Errors
/// When the database fails.
pub async fn count(db: &mut Db) -> Result<i64, Error> {
    sqlx::query("SELECT COUNT(*) AS n FROM users").fetch_one(db).await?.number("n")
}

/// All, by address.
///
/// # Errors
/// When the database fails.
pub async fn all(db: &mut Db) -> Result<Vec<User>, Error> {
    let rows = sqlx::query("SELECT * FROM users ORDER BY email").fetch_all(db).await?;
    rows.iter().map(read).collect()
}

/// # Errors
/// When the database fails.
pub async fn set_password(db: &mut Db, id: &UserId, password_hash: &str) -> Result<(), Error> {
    sqlx::query("UPDATE users SET password_hash = $1 WHERE id = $2")
        .bind(password_hash)
        .bind(id.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// # Errors
/// When the database fails.
pub async fn touch(db: &mut Db, id: &UserId, now: Timestamp) -> Result<(), Error> {
    sqlx::query("UPDATE users SET last_seen_at = $1 WHERE id = $2")
        .bind(now.as_micros())
        .bind(id.as_str())
        .execute(db)
        .await?;
    Ok(())
}

fn read(row: &sqlx::any::AnyRow) -> Result<User, Error> {
    Ok(User {
        id: row.word("id")?,
        email: row.text("email")?,
        password_hash: row.text("password_hash")?,
        operator: row.flag("operator")?,
        support: row.flag("support")?,
        created_at: row.time("created_at")?,
        last_seen_at: row.optional_time("last_seen_at")?,
    })
}

/// Who works restore tickets.
///
/// # Errors
/// When the database fails.
pub async fn support(db: &mut Db) -> Result<Vec<UserId>, Error> {
    let rows = sqlx::query("SELECT id FROM users WHERE support = 1 ORDER BY id").fetch_all(db).await?;
    rows.iter().map(|row| row.word("id")).collect()
}

/// Who runs the installation.
///
/// # Errors
/// When the database fails.
pub async fn operators(db: &mut Db) -> Result<Vec<UserId>, Error> {
    let rows = sqlx::query("SELECT id FROM users WHERE operator = 1 ORDER BY created_at").fetch_all(db).await?;
    rows.iter().map(|row| row.word("id")).collect()
}
