//! Who has which role in which project (R1).

use std::collections::HashMap;

use super::row::{Columns as _, to_json};
use super::{Db, Error};
use crate::domain::policy::{MemberSource, ProjectRole, Roles};
use crate::domain::{ProjectId, Timestamp, UserId};

/// One person in one project.
#[derive(Debug, Clone)]
pub struct Member {
    pub user: UserId,
    pub email: String,
    pub roles: Roles,
    pub source: MemberSource,
    /// `None`: from before this was written down.
    pub since: Option<Timestamp>,
    pub last_seen_at: Option<Timestamp>,
    /// The account is closed: the roles are there when it is opened again.
    pub is_closed: bool,
}

/// What the user is in the project; nothing when they are no member.
///
/// # Errors
/// When the database fails.
pub async fn roles(db: &mut Db, project: &ProjectId, user: &UserId) -> Result<Roles, Error> {
    let row = sqlx::query("SELECT role, types FROM members WHERE project_id = $1 AND user_id = $2")
        .bind(project.as_str())
        .bind(user.as_str())
        .fetch_optional(db)
        .await?;
    row.map_or(Ok(Roles::default()), |row| read_roles(&row))
}

/// By address.
///
/// # Errors
/// When the database fails.
pub async fn by_project(db: &mut Db, project: &ProjectId) -> Result<Vec<Member>, Error> {
    let rows = sqlx::query(
        "SELECT m.user_id, m.role, m.types, m.source, m.since, u.email, u.last_seen_at, u.closed_at
         FROM members m JOIN users u ON u.id = m.user_id WHERE m.project_id = $1 ORDER BY u.email",
    )
    .bind(project.as_str())
    .fetch_all(db)
    .await?;
    let read = |row: &sqlx::any::AnyRow| {
        Ok(Member {
            user: row.word("user_id")?,
            email: row.text("email")?,
            roles: read_roles(row)?,
            source: row.word("source")?,
            since: row.optional_time("since")?,
            last_seen_at: row.optional_time("last_seen_at")?,
            is_closed: row.optional_time("closed_at")?.is_some(),
        })
    };
    rows.iter().map(read).collect()
}

/// Projects that have one admin with an open account, by who that is; without removed ones.
///
/// # Errors
/// When the database fails.
pub async fn only_admins(db: &mut Db) -> Result<HashMap<UserId, Vec<ProjectId>>, Error> {
    let rows = sqlx::query(
        "SELECT m.project_id, MIN(m.user_id) AS user_id FROM members m
         JOIN users u ON u.id = m.user_id JOIN projects p ON p.id = m.project_id
         WHERE m.role = 'admin' AND u.closed_at IS NULL AND p.removed_at IS NULL
         GROUP BY m.project_id HAVING COUNT(*) = 1 ORDER BY m.project_id",
    )
    .fetch_all(db)
    .await?;
    let mut all: HashMap<UserId, Vec<ProjectId>> = HashMap::new();
    for row in rows {
        all.entry(row.word("user_id")?).or_default().push(row.word("project_id")?);
    }
    Ok(all)
}

/// Gives the user exactly these roles, managed there from now on.
///
/// # Errors
/// When the database fails.
pub async fn set(
    db: &mut Db,
    project: &ProjectId,
    user: &UserId,
    roles: &Roles,
    (source, now): (MemberSource, Timestamp),
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO members (project_id, user_id, role, types, source, since) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (project_id, user_id) DO UPDATE SET
           role = excluded.role, types = excluded.types, source = excluded.source",
    )
    .bind(project.as_str())
    .bind(user.as_str())
    .bind(roles.project.map(ProjectRole::as_str))
    .bind(to_json(&roles.types))
    .bind(source.as_str())
    .bind(now.as_micros())
    .execute(db)
    .await?;
    Ok(())
}

/// From now on nobody of the project is managed by the file, which names anew whom it manages.
///
/// # Errors
/// When the database fails.
pub async fn release(db: &mut Db, project: &ProjectId) -> Result<(), Error> {
    sqlx::query("UPDATE members SET source = 'console' WHERE project_id = $1")
        .bind(project.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// Takes all roles away.
///
/// # Errors
/// When the database fails.
pub async fn remove(db: &mut Db, project: &ProjectId, user: &UserId) -> Result<(), Error> {
    sqlx::query("DELETE FROM members WHERE project_id = $1 AND user_id = $2")
        .bind(project.as_str())
        .bind(user.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// Until the transaction ends, nobody else changes the project's members: of two admins who remove each other at once,
/// one stays. (SQLite has one writer in any case.)
///
/// # Errors
/// When the database fails.
pub async fn lock(db: &mut Db, project: &ProjectId) -> Result<(), Error> {
    sqlx::query("UPDATE projects SET title = title WHERE id = $1").bind(project.as_str()).execute(db).await?;
    Ok(())
}

pub(super) fn read_roles(row: &sqlx::any::AnyRow) -> Result<Roles, Error> {
    Ok(Roles { project: row.optional_word("role")?, types: row.json("types")? })
}
