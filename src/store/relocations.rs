//! Projects that go from region to region.

use super::{Db, Error};
use crate::domain::ids::RegionId;
use crate::domain::{ProjectId, Timestamp};

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
