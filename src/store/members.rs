//! Who has which role in which project (R1).

use std::collections::BTreeMap;

use super::row::{Columns as _, to_json};
use super::{Db, Error};
use crate::domain::environment::EnvironmentKind;
use crate::domain::policy::{ProjectRole, TypeRole};
use crate::domain::{ProjectId, UserId};

pub type Roles = (Option<ProjectRole>, BTreeMap<EnvironmentKind, TypeRole>);

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
    let Some(row) = row else { return Ok((None, BTreeMap::new())) };
    Ok((row.optional_word("role")?, row.json("types")?))
}

/// Gives the user exactly these roles.
///
/// # Errors
/// When the database fails.
pub async fn set(db: &mut Db, project: &ProjectId, user: &UserId, roles: &Roles) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO members (project_id, user_id, role, types) VALUES ($1, $2, $3, $4)
         ON CONFLICT (project_id, user_id) DO UPDATE SET role = excluded.role, types = excluded.types",
    )
    .bind(project.as_str())
    .bind(user.as_str())
    .bind(roles.0.map(ProjectRole::as_str))
    .bind(to_json(&roles.1))
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
