//! Projects that go from region to region.

use super::row::Columns as _;
use super::{Db, Error};
use crate::domain::ids::RegionId;
use crate::domain::{ProjectId, Timestamp};

/// The project is there from now on, with what waits in it; its key stays, and where it was is noted. Gateways learn of it by
/// its environments.
///
/// # Errors
/// When the database fails.
pub async fn switch(
    db: &mut Db,
    project: &ProjectId,
    (region, location): (&RegionId, &str),
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO left_repositories (project_id, location, region_id, left_at)
         SELECT id, repository, region_id, CAST($1 AS BIGINT) FROM projects WHERE id = $2
         ON CONFLICT (project_id, location) DO UPDATE SET region_id = excluded.region_id, left_at = excluded.left_at",
    )
    .bind(now.as_micros())
    .bind(project.as_str())
    .execute(&mut *db)
    .await?;
    sqlx::query("DELETE FROM left_repositories WHERE project_id = $1 AND location = $2")
        .bind(project.as_str())
        .bind(location)
        .execute(&mut *db)
        .await?;
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

/// A repository that a move left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub region: RegionId,
    /// A directory, as that region's workers see it.
    pub location: String,
    pub at: Timestamp,
}

/// Those of a project, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn left(db: &mut Db, project: &ProjectId) -> Result<Vec<Left>, Error> {
    let query = "SELECT region_id, location, left_at FROM left_repositories WHERE project_id = $1
                 ORDER BY left_at DESC, location";
    let rows = sqlx::query(query).bind(project.as_str()).fetch_all(db).await?;
    let read = |row: &sqlx::any::AnyRow| {
        Ok(Left { region: row.word("region_id")?, location: row.text("location")?, at: row.time("left_at")? })
    };
    rows.iter().map(read).collect()
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
