//! Invitations into a project: stored by the hash of their link.

use super::members::read_roles;
use super::row::{Columns as _, to_json};
use super::{Db, Error};
use crate::domain::policy::{ProjectRole, Roles};
use crate::domain::{InvitationId, ProjectId, Timestamp, UserId};

#[derive(Debug, Clone)]
pub struct Invitation {
    pub id: InvitationId,
    pub project: ProjectId,
    pub email: String,
    pub roles: Roles,
    /// SHA-256 of the link's secret, hexadecimal.
    pub hash: String,
    pub invited_by: UserId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub accepted_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// # Errors
/// When the database fails.
pub async fn insert(db: &mut Db, invitation: &Invitation) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO invitations (id, project_id, email, role, types, hash, invited_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(invitation.id.as_str())
    .bind(invitation.project.as_str())
    .bind(&invitation.email)
    .bind(invitation.roles.project.map(ProjectRole::as_str))
    .bind(to_json(&invitation.roles.types))
    .bind(&invitation.hash)
    .bind(invitation.invited_by.as_str())
    .bind(invitation.created_at.as_micros())
    .bind(invitation.expires_at.as_micros())
    .execute(db)
    .await?;
    Ok(())
}

/// Whatever became of it.
///
/// # Errors
/// When the database fails.
pub async fn by_hash(db: &mut Db, hash: &str) -> Result<Option<Invitation>, Error> {
    let row = sqlx::query("SELECT * FROM invitations WHERE hash = $1").bind(hash).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

/// Those that can still be accepted, newest first.
///
/// # Errors
/// When the database fails.
pub async fn open(db: &mut Db, project: &ProjectId, now: Timestamp) -> Result<Vec<Invitation>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM invitations
         WHERE project_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $2
         ORDER BY created_at DESC, id",
    )
    .bind(project.as_str())
    .bind(now.as_micros())
    .fetch_all(db)
    .await?;
    rows.iter().map(read).collect()
}

/// `false` when it was accepted, revoked or over already: of two who use a link at once, one gets in.
///
/// # Errors
/// When the database fails.
pub async fn accept(db: &mut Db, id: &InvitationId, now: Timestamp) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE invitations SET accepted_at = $1
         WHERE id = $2 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $1",
    )
    .bind(now.as_micros())
    .bind(id.as_str())
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends one that is open; `None` when the project has no such one.
///
/// # Errors
/// When the database fails.
pub async fn revoke(
    db: &mut Db,
    project: &ProjectId,
    id: &InvitationId,
    now: Timestamp,
) -> Result<Option<Invitation>, Error> {
    let row = sqlx::query(
        "UPDATE invitations SET revoked_at = $1
         WHERE id = $2 AND project_id = $3 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $1
         RETURNING *",
    )
    .bind(now.as_micros())
    .bind(id.as_str())
    .bind(project.as_str())
    .fetch_optional(db)
    .await?;
    row.map(|row| read(&row)).transpose()
}

/// Ends all open ones to this address: another one takes their place.
///
/// # Errors
/// When the database fails.
pub async fn replace(db: &mut Db, project: &ProjectId, email: &str, now: Timestamp) -> Result<(), Error> {
    sqlx::query(
        "UPDATE invitations SET revoked_at = $1
         WHERE project_id = $2 AND email = $3 AND accepted_at IS NULL AND revoked_at IS NULL",
    )
    .bind(now.as_micros())
    .bind(project.as_str())
    .bind(email)
    .execute(db)
    .await?;
    Ok(())
}

fn read(row: &sqlx::any::AnyRow) -> Result<Invitation, Error> {
    Ok(Invitation {
        id: row.word("id")?,
        project: row.word("project_id")?,
        email: row.text("email")?,
        roles: read_roles(row)?,
        hash: row.text("hash")?,
        invited_by: row.word("invited_by")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        accepted_at: row.optional_time("accepted_at")?,
        revoked_at: row.optional_time("revoked_at")?,
    })
}
