//! Environments and what they consist of.

use super::row::{Columns as _, to_json};
use super::sql::Sql;
use super::{Db, Error, Sealer, schedules};
use crate::domain::activity::Provisioned;
use crate::domain::environment::{Composition, Environment, EnvironmentStatus};
use crate::domain::ids::{EnvironmentName, RegionId};
use crate::domain::{EnvironmentId, ProjectId, Timestamp};

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
    let removed = environment.status == EnvironmentStatus::Removed;
    if !removed {
        // A removed one that had this name is called by its id from now on.
        sqlx::query(
            "UPDATE environments SET called = id
             WHERE project_id = $1 AND called = $2 AND id <> $3 AND status = 'removed'",
        )
        .bind(environment.project.as_str())
        .bind(environment.name.as_str())
        .bind(environment.id.as_str())
        .execute(&mut *db)
        .await?;
    }
    sqlx::query(
        "INSERT INTO environments
           (id, project_id, name, title, parent, kind, status, live, sealed_composition, created_at, updated_at, called)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (id) DO UPDATE SET
           name = excluded.name, called = excluded.called, title = excluded.title, parent = excluded.parent, kind = excluded.kind, status = excluded.status,
           live = excluded.live, sealed_composition = excluded.sealed_composition, updated_at = excluded.updated_at",
    )
    .bind(environment.id.as_str())
    .bind(environment.project.as_str())
    .bind(if removed { unnamed(&environment.id) } else { environment.name.to_string() })
    .bind(&environment.title)
    .bind(environment.parent.as_ref().map(EnvironmentName::as_str))
    .bind(environment.kind.as_str())
    .bind(environment.status.as_str())
    .bind(i64::from(environment.live))
    .bind(sealer.seal(&context(&environment.id), composition))
    .bind(environment.created_at.as_micros())
    .bind(environment.updated_at.as_micros())
    .bind(removed.then(|| environment.name.as_str()))
    .execute(&mut *db)
    .await?;
    schedules::follow_environment(db, environment, environment.updated_at).await
}

/// No name of an environment has a slash.
fn unnamed(id: &EnvironmentId) -> String {
    format!("/{id}")
}

/// Takes it out of the console: its name is free, its schedules end, and what reached its services and mounts is forgotten.
/// Feed and snapshots stay.
///
/// # Errors
/// When the database fails.
pub async fn remove(db: &mut Db, sealer: &Sealer, environment: &Environment, now: Timestamp) -> Result<(), Error> {
    let (status, live, updated_at) = (EnvironmentStatus::Removed, false, now);
    let removed = Environment { status, live, updated_at, ..environment.clone() };
    put(db, sealer, &removed, &Composition::default()).await
}

/// Opens or closes it to visitors; its schedules follow.
///
/// # Errors
/// When the database fails.
pub async fn set_status(
    db: &mut Db,
    environment: &Environment,
    status: EnvironmentStatus,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query("UPDATE environments SET status = $1, updated_at = $2 WHERE id = $3")
        .bind(status.as_str())
        .bind(now.as_micros())
        .bind(environment.id.as_str())
        .execute(&mut *db)
        .await?;
    schedules::follow_environment(db, &Environment { status, updated_at: now, ..environment.clone() }, now).await
}

/// What a restore made for it and in it; `None`: it was declared, and nothing of it is ours.
///
/// # Errors
/// When the database fails.
pub async fn provisioned(db: &mut Db, id: &EnvironmentId) -> Result<Option<Provisioned>, Error> {
    let row = sqlx::query("SELECT made FROM environments WHERE id = $1").bind(id.as_str()).fetch_one(db).await?;
    let text = row.optional_text("made")?;
    text.map(|text| serde_json::from_str(&text).map_err(Error::corrupt("made"))).transpose()
}

/// # Errors
/// When the database fails.
pub async fn set_provisioned(db: &mut Db, id: &EnvironmentId, made: Option<&Provisioned>) -> Result<(), Error> {
    sqlx::query("UPDATE environments SET made = $1 WHERE id = $2")
        .bind(made.map(to_json))
        .bind(id.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// # Errors
/// When the database fails.
pub async fn by_id(db: &mut Db, id: &EnvironmentId) -> Result<Option<Environment>, Error> {
    let row = sqlx::query("SELECT * FROM environments WHERE id = $1").bind(id.as_str()).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

/// One that is there; a removed one has no name.
///
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

/// The removed one that is called so, or has this id; the newest removal, if there are several.
///
/// # Errors
/// When the database fails.
pub async fn removed_by_name(
    db: &mut Db,
    project: &ProjectId,
    name: &EnvironmentName,
) -> Result<Option<Environment>, Error> {
    let row = sqlx::query(
        "SELECT * FROM environments WHERE project_id = $1 AND status = 'removed' AND (called = $2 OR id = $3)
         ORDER BY updated_at DESC, id LIMIT 1",
    )
    .bind(project.as_str())
    .bind(name.as_str())
    .bind(name.as_str())
    .fetch_optional(db)
    .await?;
    row.map(|row| read(&row)).transpose()
}

/// Those that are there: production first, then staging, then development; by name within a type.
///
/// # Errors
/// When the database fails.
pub async fn by_project(db: &mut Db, project: &ProjectId) -> Result<Vec<Environment>, Error> {
    let rows = sqlx::query("SELECT * FROM environments WHERE project_id = $1 AND status <> 'removed' ORDER BY name")
        .bind(project.as_str())
        .fetch_all(db)
        .await?;
    let mut environments: Vec<Environment> = rows.iter().map(read).collect::<Result<_, _>>()?;
    environments.sort_by_key(|environment| environment.kind);
    Ok(environments)
}

/// Also those that were removed, which come last: of many, the hundred that were removed last.
///
/// # Errors
/// When the database fails.
pub async fn ever_in_project(db: &mut Db, project: &ProjectId) -> Result<Vec<Environment>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM environments WHERE project_id = $1 AND (status <> 'removed' OR id IN (
           SELECT id FROM environments WHERE project_id = $2 AND status = 'removed' ORDER BY updated_at DESC LIMIT 100))
         ORDER BY name",
    )
    .bind(project.as_str())
    .bind(project.as_str())
    .fetch_all(db)
    .await?;
    let mut environments: Vec<Environment> = rows.iter().map(read).collect::<Result<_, _>>()?;
    let is_removed = |environment: &Environment| environment.status == EnvironmentStatus::Removed;
    environments.sort_by_key(|environment| (is_removed(environment), environment.kind));
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

/// Of all environments that were not removed, also those that are closed.
///
/// # Errors
/// As [`compositions`].
pub async fn compositions_kept(db: &mut Db, sealer: &Sealer) -> Result<Vec<(EnvironmentId, Composition)>, Error> {
    opened(db, sealer, Sql::new("SELECT id, sealed_composition FROM environments WHERE status <> 'removed'")).await
}

/// All active environments with their compositions: for the gateway's routes.
///
/// # Errors
/// When the database fails, or a composition can't be unsealed.
pub async fn compositions(db: &mut Db, sealer: &Sealer) -> Result<Vec<(EnvironmentId, Composition)>, Error> {
    opened(db, sealer, Sql::new("SELECT id, sealed_composition FROM environments WHERE status = 'active'")).await
}

async fn opened(db: &mut Db, sealer: &Sealer, query: Sql) -> Result<Vec<(EnvironmentId, Composition)>, Error> {
    let rows = query.fetch_all(db).await?;
    rows.iter()
        .map(|row| {
            let id: EnvironmentId = row.word("id")?;
            let composition = sealer.open(&context(&id), &row.text("sealed_composition")?)?;
            Ok((id, composition))
        })
        .collect()
}

/// The same of one region: what its gateways serve.
///
/// # Errors
/// As [`compositions`].
pub async fn compositions_in(
    db: &mut Db,
    sealer: &Sealer,
    region: &RegionId,
) -> Result<Vec<(EnvironmentId, Composition)>, Error> {
    let mut query = Sql::new(
        "SELECT e.id, e.sealed_composition FROM environments e JOIN projects p ON p.id = e.project_id
         WHERE e.status = 'active' AND p.region_id = ",
    );
    query.text(region.as_str());
    opened(db, sealer, query).await
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
        name: row.optional_word("called")?.map_or_else(|| row.word("name"), Ok)?,
        title: row.text("title")?,
        parent: row.optional_word("parent")?,
        kind: row.word("kind")?,
        status: row.word("status")?,
        live: row.flag("live")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}
