//! Projects that go from region to region, and the repositories that they leave.

use super::row::Columns as _;
use super::{Db, Error};
use crate::domain::ids::RegionId;
use crate::domain::{ProjectId, Timestamp};

/// What was a project's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    pub location: String,
    pub project: ProjectId,
    /// Whose workers reach it.
    pub region: RegionId,
    pub remove_at: Timestamp,
}

/// The project is there from now on, with what waits in it; its key stays. Gateways learn of it by its environments.
///
/// # Errors
/// When the database fails.
pub async fn switch(
    db: &mut Db,
    project: &ProjectId,
    (region, location): (&RegionId, &str),
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query("UPDATE projects SET region_id = $1, repository = $2 WHERE id = $3")
        .bind(region.as_str())
        .bind(location)
        .bind(project.as_str())
        .execute(&mut *db)
        .await?;
    sqlx::query("UPDATE environments SET updated_at = $1 WHERE project_id = $2 AND status <> 'removed'")
        .bind(now.as_micros())
        .bind(project.as_str())
        .execute(&mut *db)
        .await?;
    strays(db).await
}

/// What is unfinished is worked on in its project's region: also what was asked for while that changed.
///
/// # Errors
/// When the database fails.
pub async fn strays(db: &mut Db) -> Result<(), Error> {
    sqlx::query(
        "UPDATE activities SET region_id = (SELECT p.region_id FROM projects p WHERE p.id = activities.project_id)
         WHERE state IN ('pending', 'in_progress') AND kind <> 'project.move'
           AND region_id <> (SELECT p.region_id FROM projects p WHERE p.id = activities.project_id)",
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes what the project left. What it has come back to is no former one any more.
///
/// # Errors
/// When the database fails.
pub async fn leave(db: &mut Db, former: &Former, present: &str) -> Result<(), Error> {
    forget(db, present).await?;
    sqlx::query(
        "INSERT INTO former_repositories (location, project_id, region_id, remove_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (location) DO UPDATE SET remove_at = excluded.remove_at, region_id = excluded.region_id",
    )
    .bind(&former.location)
    .bind(former.project.as_str())
    .bind(former.region.as_str())
    .bind(former.remove_at.as_micros())
    .execute(db)
    .await?;
    Ok(())
}

/// # Errors
/// When the database fails.
pub async fn forget(db: &mut Db, location: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM former_repositories WHERE location = $1").bind(location).execute(db).await?;
    Ok(())
}

/// Of a region: those whose time is over.
///
/// # Errors
/// When the database fails.
pub async fn due(db: &mut Db, region: &RegionId, now: Timestamp) -> Result<Vec<Former>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM former_repositories WHERE region_id = $1 AND remove_at <= $2 ORDER BY remove_at, location",
    )
    .bind(region.as_str())
    .bind(now.as_micros())
    .fetch_all(db)
    .await?;
    rows.iter().map(read).collect()
}

/// Of a project, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn by_project(db: &mut Db, project: &ProjectId) -> Result<Vec<Former>, Error> {
    let rows = sqlx::query("SELECT * FROM former_repositories WHERE project_id = $1 ORDER BY remove_at DESC, location")
        .bind(project.as_str())
        .fetch_all(db)
        .await?;
    rows.iter().map(read).collect()
}

/// Whether a project's repository lies there.
///
/// # Errors
/// When the database fails.
pub async fn is_used(db: &mut Db, location: &str) -> Result<bool, Error> {
    let row =
        sqlx::query("SELECT COUNT(*) AS n FROM projects WHERE repository = $1").bind(location).fetch_one(db).await?;
    Ok(row.number("n")? > 0)
}

fn read(row: &sqlx::any::AnyRow) -> Result<Former, Error> {
    Ok(Former {
        location: row.text("location")?,
        project: row.word("project_id")?,
        region: row.word("region_id")?,
        remove_at: row.time("remove_at")?,
    })
}
