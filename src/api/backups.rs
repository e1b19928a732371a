//! Snapshots, which U calls backups, and restoring them.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{Caller, InEnvironment, Json, OfBackup, Place};
use super::fault::Fault;
use crate::authz::{CreateSnapshot, RestoreSnapshot, ViewHistory};
use crate::domain::activity::SnapshotMode;
use crate::domain::environment::Environment;
use crate::domain::policy::Refusal;
use crate::ops::restores::RestoreRequest;
use crate::ops::snapshots::SnapshotRequest;
use crate::ops::{self, App, Error};
use crate::wire::{self, Backup, BackupRequest, Operation, Preflight};

type Accepted = (StatusCode, Reply<Operation>);

pub async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InEnvironment>,
    Json(body): Json<BackupRequest>,
) -> Result<Accepted, Fault> {
    let mode = if body.safe == Some(false) { SnapshotMode::Live } else { SnapshotMode::Consistent };
    let proof = app.authorize_environment::<CreateSnapshot>(&actor, &at.project, &at.environment).await?;
    let entry = ops::snapshots::create(&app, proof, SnapshotRequest { mode, note: body.note }).await?;
    Ok((StatusCode::ACCEPTED, Reply(entry.into())))
}

pub async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InEnvironment>,
) -> Result<Reply<Vec<Backup>>, Fault> {
    let proof = app.authorize_environment::<ViewHistory>(&actor, &at.project, &at.environment).await?;
    let entries = ops::snapshots::list(&app, &proof).await?;
    let environment = &proof.on().environment;
    Ok(Reply(entries.into_iter().map(|entry| Backup::new(entry, environment)).collect()))
}

pub async fn get(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfBackup>,
) -> Result<Reply<Backup>, Fault> {
    let proof = app.authorize_environment::<ViewHistory>(&actor, &at.project, &at.environment).await?;
    let page = ops::snapshots::page(&app, &proof, &at.backup).await?;
    Ok(Reply(page.into()))
}

pub async fn preflight(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfBackup>,
) -> Result<Reply<Preflight>, Fault> {
    let proof = app.authorize_environment::<RestoreSnapshot>(&actor, &at.project, &at.environment).await?;
    let plan = ops::restores::preflight(&app, &proof, &at.backup).await?;
    Ok(Reply(plan.into()))
}

pub async fn restore(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfBackup>,
    Json(body): Json<wire::RestoreRequest>,
) -> Result<Accepted, Fault> {
    let proof = app.authorize_environment::<RestoreSnapshot>(&actor, &at.project, &at.environment).await?;
    if body.leaves(&at.environment) {
        return Err(not_elsewhere_yet(&proof.on().environment).into());
    }
    let request = RestoreRequest { snapshot: at.backup, plan_hash: body.plan_hash };
    let entry = ops::restores::create(&app, proof, request).await?;
    Ok((StatusCode::ACCEPTED, Reply(entry.into())))
}

/// R21 knows more targets than this version can reach.
fn not_elsewhere_yet(source: &Environment) -> Error {
    let name = &source.name;
    let refusal = Refusal::new("Restoring into another environment is not available in this version yet.");
    Error::Conflict(refusal.instead(format!(
        "Leave out the target and the branch to start from (--target, --branch-from) to restore into {name}, where the \
         snapshot was taken; what is there now is kept as a safety snapshot."
    )))
}
