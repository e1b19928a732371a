//! The installation's few values: the set-up code, the recovery key.

use super::row::Columns as _;
use super::{Db, Error};

/// # Errors
/// When the database fails.
pub async fn get(db: &mut Db, name: &str) -> Result<Option<String>, Error> {
    let row = sqlx::query("SELECT value FROM installation WHERE name = $1").bind(name).fetch_optional(db).await?;
    row.map(|row| row.text("value")).transpose()
}

/// # Errors
/// When the database fails.
pub async fn set(db: &mut Db, name: &str, value: &str) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO installation (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(name)
    .bind(value)
    .execute(db)
    .await?;
    Ok(())
}

/// # Errors
/// When the database fails.
pub async fn remove(db: &mut Db, name: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM installation WHERE name = $1").bind(name).execute(db).await?;
    Ok(())
}
