//! Regions, and what each of them offers (R27).

use super::row::Columns as _;
use super::{Db, Error};
use crate::domain::EnvironmentId;
use crate::domain::ids::RegionId;
use crate::domain::policy::Region;

/// In whose reach an environment's services and mounts are.
///
/// # Errors
/// When the database fails.
pub async fn of_environment(db: &mut Db, environment: &EnvironmentId) -> Result<Option<RegionId>, Error> {
    let query = "SELECT p.region_id FROM environments e JOIN projects p ON p.id = e.project_id WHERE e.id = $1";
    let row = sqlx::query(query).bind(environment.as_str()).fetch_optional(db).await?;
    row.map(|row| row.word("region_id")).transpose()
}

/// Adds it, or changes title and offer.
///
/// # Errors
/// When the database fails.
pub async fn put(db: &mut Db, region: &Region) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO regions (id, title, restore_elsewhere, repositories) VALUES ($1, $2, $3, $4)
         ON CONFLICT (id) DO UPDATE SET title = excluded.title, restore_elsewhere = excluded.restore_elsewhere,
           repositories = excluded.repositories",
    )
    .bind(region.id.as_str())
    .bind(&region.title)
    .bind(region.restore_elsewhere.as_str())
    .bind(region.repositories.as_deref())
    .execute(db)
    .await?;
    Ok(())
}

/// Adds it, unless it is there: what an operator declared of it stays.
///
/// # Errors
/// When the database fails.
pub async fn add(db: &mut Db, region: &Region) -> Result<(), Error> {
    sqlx::query("INSERT INTO regions (id, title, restore_elsewhere) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(region.id.as_str())
        .bind(&region.title)
        .bind(region.restore_elsewhere.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// # Errors
/// When the database fails, or there is none.
pub async fn by_id(db: &mut Db, id: &RegionId) -> Result<Region, Error> {
    let row = sqlx::query("SELECT * FROM regions WHERE id = $1").bind(id.as_str()).fetch_one(db).await?;
    read(&row)
}

/// # Errors
/// When the database fails.
pub async fn find(db: &mut Db, id: &RegionId) -> Result<Option<Region>, Error> {
    let row = sqlx::query("SELECT * FROM regions WHERE id = $1").bind(id.as_str()).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

/// By id.
///
/// # Errors
/// When the database fails.
pub async fn all(db: &mut Db) -> Result<Vec<Region>, Error> {
    let rows = sqlx::query("SELECT * FROM regions ORDER BY id").fetch_all(db).await?;
    rows.iter().map(read).collect()
}

fn read(row: &sqlx::any::AnyRow) -> Result<Region, Error> {
    Ok(Region {
        id: row.word("id")?,
        title: row.text("title")?,
        restore_elsewhere: row.word("restore_elsewhere")?,
        repositories: row.optional_text("repositories")?,
    })
}
