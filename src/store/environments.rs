//! Environments and what they consist of.

use super::row::Columns as _;
use super::{Db, Error, Sealer, schedules};
use crate::domain::environment::{Composition, Environment};
use crate::domain::ids::EnvironmentName;
use crate::domain::{EnvironmentId, ProjectId};

/// Adds the environment, or changes the one of this id; its schedules follow. Its composition may hold passwords: it is
/// sealed.
///
/// # Errors
/// [`Error::Taken`] when the project has another one of this name.
pub async fn put(
    db: &mut Db,
    sealer: &Sealer,
    environment: &Environment,
    composition: &Composition,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO environments
           (id, project_id, name, title, parent, kind, status, live, sealed_composition, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (id) DO UPDATE SET
           title = excluded.title, parent = excluded.parent, kind = excluded.kind, status = excluded.status,
           live = excluded.live, sealed_composition = excluded.sealed_composition, updated_at = excluded.updated_at",
    )
    .bind(environment.id.as_str())
    .bind(environment.project.as_str())
    .bind(environment.name.as_str())
    .bind(&environment.title)
    .bind(environment.parent.as_ref().map(EnvironmentName::as_str))
    .bind(environment.kind.as_str())
    .bind(environment.status.as_str())
    .bind(i64::from(environment.live))
    .bind(sealer.seal(&context(&environment.id), composition))
    .bind(environment.created_at.as_micros())
    .bind(environment.updated_at.as_micros())
    .execute(&mut *db)
    .await?;
    schedules::follow_environment(db, environment, environment.updated_at).await
}

/// # Errors
/// When the database fails.
pub async fn by_id(db: &mut Db, id: &EnvironmentId) -> Result<Option<Environment>, Error> {
    let row = sqlx::query("SELECT * FROM environments WHERE id = $1").bind(id.as_str()).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

/// # Errors
/// When the database fails.
pub async fn by_name(db: &mut Db, project: &ProjectId, name: &EnvironmentName) -> Result<Option<Environment>, Error> {
    let row = sqlx::query("SELECT * FROM environments WHERE project_id = $1 AND name = $2")
        .bind(project.as_str())
        .bind(name.as_str())
        .fetch_optional(db)
        .await?;
    row.map(|row| read(&row)).transpose()
}

/// Production first, then staging, then development; by name within a type.
///
/// # Errors
/// When the database fails.
pub async fn by_project(db: &mut Db, project: &ProjectId) -> Result<Vec<Environment>, Error> {
    let rows = sqlx::query("SELECT * FROM environments WHERE project_id = $1 ORDER BY name")
        .bind(project.as_str())
        .fetch_all(db)
        .await?;
    let mut environments: Vec<Environment> = rows.iter().map(read).collect::<Result<_, _>>()?;
    environments.sort_by_key(|environment| environment.kind);
    Ok(environments)
}

/// # Errors
/// When the database fails, or the composition can't be unsealed.
pub async fn composition(db: &mut Db, sealer: &Sealer, id: &EnvironmentId) -> Result<Composition, Error> {
    let row = sqlx::query("SELECT sealed_composition FROM environments WHERE id = $1")
        .bind(id.as_str())
        .fetch_one(db)
        .await?;
    sealer.open(&context(id), &row.text("sealed_composition")?)
}

/// All active environments with their compositions: for the gateway's routes.
///
/// # Errors
/// When the database fails, or a composition can't be unsealed.
pub async fn compositions(db: &mut Db, sealer: &Sealer) -> Result<Vec<(EnvironmentId, Composition)>, Error> {
    let rows =
        sqlx::query("SELECT id, sealed_composition FROM environments WHERE status = 'active'").fetch_all(db).await?;
    rows.iter()
        .map(|row| {
            let id: EnvironmentId = row.word("id")?;
            let composition = sealer.open(&context(&id), &row.text("sealed_composition")?)?;
            Ok((id, composition))
        })
        .collect()
}

/// Differs after every change of active environments: whoever follows them need not open all compositions to see that
/// nothing has changed.
///
/// # Errors
/// When the database fails.
pub async fn version(db: &mut Db) -> Result<(i64, i64), Error> {
    // A sum of whole times would not fit; the newest alone would miss one that is committed after a younger one.
    let row = sqlx::query(
        "SELECT COUNT(*) AS n, CAST(COALESCE(SUM(updated_at % 1000000007), 0) AS BIGINT) AS mark FROM environments
         WHERE status = 'active'",
    )
    .fetch_one(db)
    .await?;
    Ok((row.number("n")?, row.number("mark")?))
}

/// Whether an active environment has a route for this host name.
///
/// # Errors
/// As [`compositions`].
pub async fn has_host(db: &mut Db, sealer: &Sealer, host: &str) -> Result<bool, Error> {
    let all = compositions(db, sealer).await?;
    let mut routes = all.iter().flat_map(|(_, composition)| &composition.routes);
    Ok(routes.any(|route| route.host.eq_ignore_ascii_case(host)))
}

/// Seals the composition with the sealer's current key.
///
/// # Errors
/// When the database fails, or the composition can't be unsealed.
pub async fn reseal(db: &mut Db, sealer: &Sealer, id: &EnvironmentId) -> Result<(), Error> {
    let row = sqlx::query("SELECT sealed_composition FROM environments WHERE id = $1")
        .bind(id.as_str())
        .fetch_one(&mut *db)
        .await?;
    sqlx::query("UPDATE environments SET sealed_composition = $1 WHERE id = $2")
        .bind(sealer.reseal(&context(id), &row.text("sealed_composition")?)?)
        .bind(id.as_str())
        .execute(db)
        .await?;
    Ok(())
}

fn context(id: &EnvironmentId) -> String {
    format!("composition:{id}")
}

fn read(row: &sqlx::any::AnyRow) -> Result<Environment, Error> {
    Ok(Environment {
        id: row.word("id")?,
        project: row.word("project_id")?,
        name: row.word("name")?,
        title: row.text("title")?,
        parent: row.optional_word("parent")?,
        kind: row.word("kind")?,
        status: row.word("status")?,
        live: row.flag("live")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}
