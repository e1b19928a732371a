//! Projects, and the very texts of their plans.

use serde::{Deserialize, Serialize};

use super::row::{Columns as _, to_bigint, to_json};
use super::{Db, Error, Sealer, environments, plans, schedules};
use crate::domain::environment::{Project, ProjectCommands, store_is_live};
use crate::domain::ids::RegionId;
use crate::domain::policy::{Plan, Provision, Terms};
use crate::domain::{Bytes, ProjectId, Secret, Timestamp};

/// Where a project's snapshots are, and the key that they are encrypted with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryAccess {
    /// A directory.
    pub location: String,
    pub key: Secret,
}

/// # Errors
/// When the database fails.
pub async fn insert(
    db: &mut Db,
    sealer: &Sealer,
    project: &Project,
    plan: &Plan,
    repository: &RepositoryAccess,
) -> Result<(), Error> {
    let hash = plans::put(db, plan, project.created_at).await?;
    sqlx::query(
        "INSERT INTO projects
           (id, title, region_id, plan_id, plan_hash, repository, sealed_repository_key, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(project.id.as_str())
    .bind(&project.title)
    .bind(project.region.as_str())
    .bind(plan.id.as_str())
    .bind(hash)
    .bind(&repository.location)
    .bind(sealer.seal(&key_context(&project.id), &repository.key))
    .bind(project.created_at.as_micros())
    .execute(db)
    .await?;
    Ok(())
}

/// Changes title and plan; the schedules of its environments follow.
///
/// # Errors
/// When the database fails.
pub async fn update(db: &mut Db, project: &ProjectId, title: &str, plan: &Plan, now: Timestamp) -> Result<(), Error> {
    let hash = plans::put(db, plan, now).await?;
    sqlx::query("UPDATE projects SET title = $1, plan_id = $2, plan_hash = $3 WHERE id = $4")
        .bind(title)
        .bind(plan.id.as_str())
        .bind(hash)
        .bind(project.as_str())
        .execute(&mut *db)
        .await?;
    schedules::follow_plan(db, project, now).await
}

/// # Errors
/// When the database fails.
pub async fn by_id(db: &mut Db, id: &ProjectId) -> Result<Option<Project>, Error> {
    let row = sqlx::query("SELECT * FROM projects WHERE id = $1").bind(id.as_str()).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

/// Takes it out of the console, or (`None`) has it there again.
///
/// # Errors
/// When the database fails.
pub async fn set_removed(db: &mut Db, id: &ProjectId, at: Option<Timestamp>) -> Result<(), Error> {
    sqlx::query("UPDATE projects SET removed_at = $1 WHERE id = $2")
        .bind(at.map(Timestamp::as_micros))
        .bind(id.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// Until the transaction ends nobody reinstates the project whose snapshots go all at once. To be called before
/// [`super::activities::hold_off`], in the order in which a declaration changes both. `false`: it is there.
///
/// # Errors
/// When the database fails.
pub async fn hold_removed(db: &mut Db, project: &ProjectId) -> Result<bool, Error> {
    let held = sqlx::query("UPDATE projects SET removed_at = removed_at WHERE id = $1 AND removed_at IS NOT NULL")
        .bind(project.as_str())
        .execute(db)
        .await?;
    Ok(held.rows_affected() == 1)
}

/// All of the installation, by id; also removed ones.
///
/// # Errors
/// When the database fails.
pub async fn all(db: &mut Db) -> Result<Vec<Project>, Error> {
    let rows = sqlx::query("SELECT * FROM projects ORDER BY id").fetch_all(db).await?;
    rows.iter().map(read).collect()
}

/// The plan as it was when the project was put under it.
///
/// # Errors
/// When the database fails.
pub async fn plan(db: &mut Db, id: &ProjectId) -> Result<Plan, Error> {
    sqlx::query("SELECT p.body FROM plans p JOIN projects j ON j.plan_hash = p.hash WHERE j.id = $1")
        .bind(id.as_str())
        .fetch_one(db)
        .await?
        .json("body")
}

/// How new environments are made; `None`: they are not.
///
/// # Errors
/// When the database fails.
pub async fn provision(db: &mut Db, id: &ProjectId) -> Result<Option<Provision>, Error> {
    let row = sqlx::query("SELECT provision FROM projects WHERE id = $1").bind(id.as_str()).fetch_one(db).await?;
    let text = row.optional_text("provision")?;
    text.map(|text| serde_json::from_str(&text).map_err(Error::corrupt("provision"))).transpose()
}

/// # Errors
/// When the database fails.
pub async fn set_provision(db: &mut Db, id: &ProjectId, provision: Option<&Provision>) -> Result<(), Error> {
    sqlx::query("UPDATE projects SET provision = $1 WHERE id = $2")
        .bind(provision.map(to_json))
        .bind(id.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// What an operator named for all of its environments.
///
/// # Errors
/// When the database fails.
pub async fn commands(db: &mut Db, id: &ProjectId) -> Result<ProjectCommands, Error> {
    let row = sqlx::query("SELECT commands FROM projects WHERE id = $1").bind(id.as_str()).fetch_one(db).await?;
    let Some(text) = row.optional_text("commands")? else { return Ok(ProjectCommands::default()) };
    serde_json::from_str(&text).map_err(Error::corrupt("commands"))
}

/// # Errors
/// When the database fails.
pub async fn set_commands(db: &mut Db, id: &ProjectId, commands: &ProjectCommands) -> Result<(), Error> {
    sqlx::query("UPDATE projects SET commands = $1 WHERE id = $2")
        .bind(to_json(commands))
        .bind(id.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// What its snapshots may take together; `None`: as much as there is.
///
/// # Errors
/// When the database fails.
pub async fn storage_budget(db: &mut Db, id: &ProjectId) -> Result<Option<Bytes>, Error> {
    let row = sqlx::query("SELECT storage_budget FROM projects WHERE id = $1").bind(id.as_str()).fetch_one(db).await?;
    let bytes = row.optional_number("storage_budget")?;
    bytes.map(|bytes| u64::try_from(bytes).map(Bytes).map_err(Error::corrupt("storage_budget"))).transpose()
}

/// # Errors
/// When the database fails.
pub async fn set_storage_budget(db: &mut Db, id: &ProjectId, budget: Option<Bytes>) -> Result<(), Error> {
    sqlx::query("UPDATE projects SET storage_budget = $1 WHERE id = $2")
        .bind(budget.map(to_bigint))
        .bind(id.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// When freed space is to be taken out of its repository; `None`: not before more is freed.
///
/// # Errors
/// When the database fails.
pub async fn set_prune_at(db: &mut Db, id: &ProjectId, at: Option<Timestamp>) -> Result<(), Error> {
    sqlx::query("UPDATE projects SET prune_at = $1 WHERE id = $2")
        .bind(at.map(Timestamp::as_micros))
        .bind(id.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// Those that were never pruned are, some day: what a snapshot left that failed is found then.
///
/// # Errors
/// When the database fails.
pub async fn prune_some_day(db: &mut Db, at: Timestamp) -> Result<(), Error> {
    sqlx::query("UPDATE projects SET prune_at = $1 WHERE prune_at IS NULL").bind(at.as_micros()).execute(db).await?;
    Ok(())
}

/// Those of a region in whose repositories freed space waits to be taken out.
///
/// # Errors
/// When the database fails.
pub async fn to_prune(db: &mut Db, region: &RegionId, now: Timestamp) -> Result<Vec<ProjectId>, Error> {
    let rows = sqlx::query("SELECT id FROM projects WHERE region_id = $1 AND prune_at <= $2 ORDER BY prune_at, id")
        .bind(region.as_str())
        .bind(now.as_micros())
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| row.word("id")).collect()
}

/// Plan and state of the store.
///
/// # Errors
/// When the database fails.
pub async fn terms(db: &mut Db, id: &ProjectId) -> Result<Terms, Error> {
    let plan = plan(db, id).await?;
    Ok(Terms { plan, store_is_live: store_is_live(&environments::by_project(db, id).await?) })
}

/// # Errors
/// When the database fails, or the key can't be unsealed.
pub async fn repository(db: &mut Db, sealer: &Sealer, id: &ProjectId) -> Result<RepositoryAccess, Error> {
    let row = sqlx::query("SELECT repository, sealed_repository_key FROM projects WHERE id = $1")
        .bind(id.as_str())
        .fetch_one(db)
        .await?;
    let key = sealer.open(&key_context(id), &row.text("sealed_repository_key")?)?;
    Ok(RepositoryAccess { location: row.text("repository")?, key })
}

/// Seals the repository's key with the sealer's current key.
///
/// # Errors
/// When the database fails, or the repository's key can't be unsealed.
pub async fn reseal(db: &mut Db, sealer: &Sealer, id: &ProjectId) -> Result<(), Error> {
    let row = sqlx::query("SELECT sealed_repository_key FROM projects WHERE id = $1")
        .bind(id.as_str())
        .fetch_one(&mut *db)
        .await?;
    sqlx::query("UPDATE projects SET sealed_repository_key = $1 WHERE id = $2")
        .bind(sealer.reseal(&key_context(id), &row.text("sealed_repository_key")?)?)
        .bind(id.as_str())
        .execute(db)
        .await?;
    Ok(())
}

fn key_context(id: &ProjectId) -> String {
    format!("repository-key:{id}")
}

fn read(row: &sqlx::any::AnyRow) -> Result<Project, Error> {
    Ok(Project {
        id: row.word("id")?,
        title: row.text("title")?,
        region: row.word("region_id")?,
        plan: row.word("plan_id")?,
        created_at: row.time("created_at")?,
        removed_at: row.optional_time("removed_at")?,
    })
}
