//! The database's clock, by which all leases run: workers' own clocks may differ.

use sqlx::Row as _;

use super::{Db, Dialect, Error};
use crate::domain::Timestamp;

/// # Errors
/// When the database fails.
pub async fn now(db: &mut Db, dialect: Dialect) -> Result<Timestamp, Error> {
    let row = sqlx::query(dialect.clock()).fetch_one(db).await?;
    Ok(Timestamp::from_micros(row.try_get(0)?))
}
