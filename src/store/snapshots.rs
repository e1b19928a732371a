//! The catalogue of complete snapshots.

use std::collections::{HashMap, HashSet};

use super::row::{Columns as _, to_bigint, to_json};
use super::sql::Sql;
use super::{Db, Error, notices};
use crate::domain::manifest::Manifest;
use crate::domain::snapshot::{Deletion, Protection, Snapshot};
use crate::domain::{ActivityId, EnvironmentId, ProjectId, SnapshotName, Timestamp};

const COLUMNS: &str = "SELECT name, project_id, environment_id, activity_id, origin, consistency, note, repository_id,
    taken_at, created_at, expires_at, size, added, proof, protected, protection_note,
    drill_failed_at FROM snapshots WHERE deleted_at IS NULL";

/// Adds it; a second time changes nothing, so that a job may run twice.
///
/// # Errors
/// When the database fails.
pub async fn insert(db: &mut Db, snapshot: &Snapshot, manifest: &Manifest) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO snapshots
           (name, project_id, environment_id, activity_id, origin, consistency, note, repository_id, manifest,
            taken_at, created_at, expires_at, size, added, proof, protected, protection_note)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) ON CONFLICT (name) DO NOTHING",
    )
    .bind(snapshot.name.as_str())
    .bind(snapshot.project.as_str())
    .bind(snapshot.environment.as_str())
    .bind(snapshot.activity.as_ref().map(|id| id.as_str().to_owned()))
    .bind(snapshot.origin.as_str())
    .bind(snapshot.consistency.as_str())
    .bind(snapshot.note.as_deref())
    .bind(&snapshot.repository_id)
    .bind(to_json(manifest))
    .bind(snapshot.taken_at.as_micros())
    .bind(snapshot.created_at.as_micros())
    .bind(snapshot.expires_at.map(Timestamp::as_micros))
    .bind(to_bigint(snapshot.size))
    .bind(to_bigint(snapshot.added))
    .bind(snapshot.proof.as_ref().map(to_json))
    .bind(i64::from(snapshot.protection.is_some()))
    .bind(snapshot.protection.as_ref().and_then(|protection| protection.note.as_deref()))
    .execute(&mut *db)
    .await?;
    notices::look_at_storage(db, &snapshot.project, snapshot.created_at).await
}

/// # Errors
/// When the database fails.
pub async fn by_name(db: &mut Db, name: &SnapshotName) -> Result<Option<Snapshot>, Error> {
    let sql = format!("{COLUMNS} AND name = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(name.as_str()).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

/// The snapshot that an activity made.
///
/// # Errors
/// When the database fails.
pub async fn by_activity(db: &mut Db, activity: &ActivityId) -> Result<Option<Snapshot>, Error> {
    let sql = format!("{COLUMNS} AND activity_id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(activity.as_str()).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

/// Newest first.
///
/// # Errors
/// When the database fails.
pub async fn by_environment(db: &mut Db, environment: &EnvironmentId, count: u32) -> Result<Vec<Snapshot>, Error> {
    let sql = format!("{COLUMNS} AND environment_id = $1 ORDER BY taken_at DESC LIMIT $2");
    let rows =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(environment.as_str()).bind(i64::from(count)).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

/// The newest that shows the environment as somebody wanted it kept: not what a restore replaced.
///
/// # Errors
/// When the database fails.
pub async fn newest_wanted(db: &mut Db, environment: &EnvironmentId) -> Result<Option<Snapshot>, Error> {
    let sql = format!("{COLUMNS} AND environment_id = $1 AND origin <> 'safety' ORDER BY taken_at DESC LIMIT 1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(environment.as_str()).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

/// [`newest_wanted`] of several environments.
///
/// # Errors
/// When the database fails.
pub async fn newest_wanted_of(
    db: &mut Db,
    environments: &[EnvironmentId],
) -> Result<HashMap<EnvironmentId, Snapshot>, Error> {
    let mut query = Sql::new(COLUMNS);
    query.push(
        " AND name IN (SELECT (SELECT n.name FROM snapshots n
           WHERE n.environment_id = e.id AND n.deleted_at IS NULL AND n.origin <> 'safety'
           ORDER BY n.taken_at DESC LIMIT 1)
         FROM environments e WHERE ",
    );
    query.one_of("e.id", environments.iter().map(EnvironmentId::as_str)).push(")");
    let rows = query.fetch_all(db).await?;
    rows.iter().map(|row| read(row).map(|snapshot| (snapshot.environment.clone(), snapshot))).collect()
}

/// When the newest of each was taken that nobody asked for at that moment; also if it is gone by now.
///
/// # Errors
/// When the database fails.
pub async fn newest_automatic_of(
    db: &mut Db,
    environments: &[EnvironmentId],
) -> Result<HashMap<EnvironmentId, Timestamp>, Error> {
    let mut query = Sql::new(
        "SELECT e.id AS id, (SELECT n.taken_at FROM snapshots n WHERE n.environment_id = e.id AND n.origin = 'automatic'
           ORDER BY n.taken_at DESC LIMIT 1) AS taken_at
         FROM environments e WHERE ",
    );
    query.one_of("e.id", environments.iter().map(EnvironmentId::as_str));
    let rows = query.fetch_all(db).await?;
    let read = |row: &sqlx::any::AnyRow| Ok(row.optional_time("taken_at")?.map(|at| Ok((row.word("id")?, at))));
    rows.iter().filter_map(|row| read(row).and_then(Option::transpose).transpose()).collect()
}

/// Which of these are in the catalogue.
///
/// # Errors
/// When the database fails.
pub async fn existing(db: &mut Db, names: &[SnapshotName]) -> Result<HashSet<SnapshotName>, Error> {
    if names.is_empty() {
        return Ok(HashSet::new());
    }
    let mut query = Sql::new("SELECT name FROM snapshots WHERE deleted_at IS NULL AND ");
    query.one_of("name", names.iter().map(SnapshotName::as_str));
    let rows = query.fetch_all(db).await?;
    rows.iter().map(|row| row.word("name")).collect()
}

/// # Errors
/// When the database fails.
pub async fn count(db: &mut Db, environment: &EnvironmentId) -> Result<u64, Error> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM snapshots WHERE deleted_at IS NULL AND environment_id = $1")
        .bind(environment.as_str())
        .fetch_one(db)
        .await?;
    Ok(row.bytes("n")?.0)
}

/// [`count`] of several environments; none where there are none.
///
/// # Errors
/// When the database fails.
pub async fn counts(db: &mut Db, environments: &[EnvironmentId]) -> Result<HashMap<EnvironmentId, u64>, Error> {
    let mut query = Sql::new("SELECT environment_id, COUNT(*) AS n FROM snapshots WHERE deleted_at IS NULL AND ");
    query.one_of("environment_id", environments.iter().map(EnvironmentId::as_str)).push(" GROUP BY environment_id");
    let rows = query.fetch_all(db).await?;
    rows.iter().map(|row| Ok((row.word("environment_id")?, row.bytes("n")?.0))).collect()
}

/// # Errors
/// When the database fails.
pub async fn manifest(db: &mut Db, name: &SnapshotName) -> Result<Option<Manifest>, Error> {
    let row = sqlx::query("SELECT manifest FROM snapshots WHERE name = $1 AND deleted_at IS NULL")
        .bind(name.as_str())
        .fetch_optional(db)
        .await?;
    row.map(|row| row.json("manifest")).transpose()
}

/// Pins it, or takes the pin off; `false`: it is not there.
///
/// # Errors
/// When the database fails.
pub async fn protect(db: &mut Db, name: &SnapshotName, protection: Option<&Protection>) -> Result<bool, Error> {
    let done =
        sqlx::query("UPDATE snapshots SET protected = $1, protection_note = $2 WHERE name = $3 AND deleted_at IS NULL")
            .bind(i64::from(protection.is_some()))
            .bind(protection.and_then(|protection| protection.note.as_deref()))
            .bind(name.as_str())
            .execute(db)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes it out of the catalogue; its data goes at `forget_at`. `false`: it is not there any more.
///
/// # Errors
/// When the database fails.
pub async fn delete(
    db: &mut Db,
    name: &SnapshotName,
    by: &str,
    now: Timestamp,
    forget_at: Timestamp,
) -> Result<bool, Error> {
    let row = sqlx::query(
        "UPDATE snapshots SET deleted_at = $1, deleted_by = $2, forget_at = $3 WHERE name = $4 AND deleted_at IS NULL
         RETURNING project_id",
    )
    .bind(now.as_micros())
    .bind(by)
    .bind(forget_at.as_micros())
    .bind(name.as_str())
    .fetch_optional(&mut *db)
    .await?;
    changed(db, row, now).await
}

/// What came of a drill of a snapshot, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// It was loaded, all of it or what could be tried.
    Proven(Timestamp),
    /// It could not be loaded.
    Failed(Timestamp),
}

/// Notes what came of its last drill (R29).
///
/// # Errors
/// When the database fails.
pub async fn drilled(db: &mut Db, name: &SnapshotName, tried: Tried) -> Result<(), Error> {
    let (proven, failed) = match tried {
        Tried::Proven(at) => (Some(at), None),
        Tried::Failed(at) => (None, Some(at)),
    };
    sqlx::query("UPDATE snapshots SET proven_at = $1, drill_failed_at = $2 WHERE name = $3")
        .bind(proven.map(Timestamp::as_micros))
        .bind(failed.map(Timestamp::as_micros))
        .bind(name.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// Those of a project that are kept and whose last drill proved them.
///
/// # Errors
/// When the database fails.
pub async fn proven(db: &mut Db, project: &ProjectId) -> Result<HashSet<SnapshotName>, Error> {
    let rows = sqlx::query(
        "SELECT name FROM snapshots
         WHERE project_id = $1 AND deleted_at IS NULL AND proven_at IS NOT NULL AND drill_failed_at IS NULL",
    )
    .bind(project.as_str())
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| row.word("name")).collect()
}

/// Puts it back into the catalogue; `false`: its time to be taken back is over, or it was not deleted.
///
/// # Errors
/// When the database fails.
pub async fn undelete(db: &mut Db, name: &SnapshotName, now: Timestamp) -> Result<bool, Error> {
    let row = sqlx::query(
        "UPDATE snapshots SET deleted_at = NULL, deleted_by = NULL, forget_at = NULL WHERE name = $1 AND forget_at > $2
         RETURNING project_id",
    )
    .bind(name.as_str())
    .bind(now.as_micros())
    .fetch_optional(&mut *db)
    .await?;
    changed(db, row, now).await
}

/// Whether there was one; then its project's storage is another.
async fn changed(db: &mut Db, row: Option<sqlx::any::AnyRow>, now: Timestamp) -> Result<bool, Error> {
    let Some(row) = row else { return Ok(false) };
    notices::look_at_storage(db, &row.word("project_id")?, now).await?;
    Ok(true)
}

/// Those of an environment whose deletion can still be taken back, the newest deletion first.
///
/// # Errors
/// When the database fails.
pub async fn deleted(
    db: &mut Db,
    environment: &EnvironmentId,
    now: Timestamp,
) -> Result<Vec<(Snapshot, Deletion)>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM snapshots WHERE environment_id = $1 AND deleted_at IS NOT NULL AND forget_at > $2
         ORDER BY deleted_at DESC, name",
    )
    .bind(environment.as_str())
    .bind(now.as_micros())
    .fetch_all(db)
    .await?;
    let read = |row: &sqlx::any::AnyRow| {
        let by = row.optional_text("deleted_by")?.unwrap_or_default();
        Ok((read(row)?, Deletion { at: row.time("deleted_at")?, by, until: row.time("forget_at")? }))
    };
    rows.iter().map(read).collect()
}

/// All that are in the catalogue, of every environment of the project.
///
/// # Errors
/// When the database fails.
pub async fn by_project(db: &mut Db, project: &ProjectId) -> Result<Vec<Snapshot>, Error> {
    let sql = format!("{COLUMNS} AND project_id = $1 ORDER BY taken_at, name");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(project.as_str()).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

/// A deleted one whose data is to leave its repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    pub name: SnapshotName,
    pub project: ProjectId,
    pub repository_id: String,
}

/// # Errors
/// When the database fails.
pub async fn leaving(db: &mut Db, now: Timestamp) -> Result<Vec<Leaving>, Error> {
    let rows = sqlx::query("SELECT name, project_id, repository_id FROM snapshots WHERE forget_at <= $1 ORDER BY name")
        .bind(now.as_micros())
        .fetch_all(db)
        .await?;
    let read = |row: &sqlx::any::AnyRow| {
        let repository_id = row.text("repository_id")?;
        Ok(Leaving { name: row.word("name")?, project: row.word("project_id")?, repository_id })
    };
    rows.iter().map(read).collect()
}

/// Its entry has left the repository.
///
/// # Errors
/// When the database fails.
pub async fn left(db: &mut Db, name: &SnapshotName) -> Result<(), Error> {
    sqlx::query("UPDATE snapshots SET forget_at = NULL WHERE name = $1").bind(name.as_str()).execute(db).await?;
    Ok(())
}

/// Ids of all entries that the project's repository must hold: of what is in the catalogue, and of what can be put back.
///
/// # Errors
/// When the database fails.
pub async fn entries(db: &mut Db, project: &ProjectId) -> Result<Vec<String>, Error> {
    let rows = sqlx::query(
        "SELECT repository_id FROM snapshots WHERE project_id = $1 AND (deleted_at IS NULL OR forget_at IS NOT NULL)",
    )
    .bind(project.as_str())
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| row.text("repository_id")).collect()
}

/// # Errors
/// When the database fails.
pub async fn set_expiry(db: &mut Db, name: &SnapshotName, expires_at: Option<Timestamp>) -> Result<(), Error> {
    sqlx::query("UPDATE snapshots SET expires_at = $1 WHERE name = $2")
        .bind(expires_at.map(Timestamp::as_micros))
        .bind(name.as_str())
        .execute(db)
        .await?;
    Ok(())
}

fn read(row: &sqlx::any::AnyRow) -> Result<Snapshot, Error> {
    Ok(Snapshot {
        name: row.word("name")?,
        project: row.word("project_id")?,
        environment: row.word("environment_id")?,
        activity: row.optional_word("activity_id")?,
        origin: row.word("origin")?,
        consistency: row.word("consistency")?,
        note: row.optional_text("note")?,
        repository_id: row.text("repository_id")?,
        taken_at: row.time("taken_at")?,
        created_at: row.time("created_at")?,
        expires_at: row.optional_time("expires_at")?,
        size: row.bytes("size")?,
        added: row.bytes("added")?,
        proof: row
            .optional_text("proof")?
            .map(|text| serde_json::from_str(&text).map_err(Error::corrupt("proof")))
            .transpose()?,
        protection: match row.flag("protected")? {
            true => Some(Protection { note: row.optional_text("protection_note")? }),
            false => None,
        },
        drill_failed_at: row.optional_time("drill_failed_at")?,
    })
}
