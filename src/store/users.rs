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
    /// Nobody gets in by it since then, and nothing runs in its name.
    pub closed_at: Option<Timestamp>,
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

/// Closed ones too: for the history. Who is to act is looked for by [`open_by_id`].
///
/// # Errors
/// When the database fails.
pub async fn by_id(db: &mut Db, id: &UserId) -> Result<Option<User>, Error> {
    let row = sqlx::query("SELECT * FROM users WHERE id = $1").bind(id.as_str()).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

/// One that is not closed.
///
/// # Errors
/// When the database fails.
pub async fn open_by_id(db: &mut Db, id: &UserId) -> Result<Option<User>, Error> {
    Ok(by_id(db, id).await?.filter(|user| user.closed_at.is_none()))
}

/// Closed ones too: an address has one account.
///
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

/// Closes it at that moment, or (`None`) opens it again.
///
/// # Errors
/// When the database fails.
pub async fn set_closed(db: &mut Db, id: &UserId, at: Option<Timestamp>) -> Result<(), Error> {
    sqlx::query("UPDATE users SET closed_at = $1 WHERE id = $2")
        .bind(at.map(Timestamp::as_micros))
        .bind(id.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// What it may beside its roles in projects.
///
/// # Errors
/// When the database fails.
pub async fn set_duties(db: &mut Db, user: &User) -> Result<(), Error> {
    sqlx::query("UPDATE users SET operator = $1, support = $2 WHERE id = $3")
        .bind(i64::from(user.operator))
        .bind(i64::from(user.support))
        .bind(user.id.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// Until the transaction ends, nobody else changes who the operators are: of two who close each other at once, one stays.
/// (SQLite has one writer in any case.)
///
/// # Errors
/// When the database fails.
pub async fn lock(db: &mut Db) -> Result<(), Error> {
    sqlx::query("UPDATE users SET operator = operator WHERE operator = 1").execute(db).await?;
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
        closed_at: row.optional_time("closed_at")?,
    })
}

/// Who works restore tickets, of open accounts.
///
/// # Errors
/// When the database fails.
pub async fn support(db: &mut Db) -> Result<Vec<UserId>, Error> {
    let rows =
        sqlx::query("SELECT id FROM users WHERE support = 1 AND closed_at IS NULL ORDER BY id").fetch_all(db).await?;
    rows.iter().map(|row| row.word("id")).collect()
}

/// Who runs the installation, of open accounts.
///
/// # Errors
/// When the database fails.
pub async fn operators(db: &mut Db) -> Result<Vec<UserId>, Error> {
    let rows = sqlx::query("SELECT id FROM users WHERE operator = 1 AND closed_at IS NULL ORDER BY created_at")
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| row.word("id")).collect()
}
