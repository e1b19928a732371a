//! Snapshots, which U calls backups, and restoring them.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{Asked, Caller, InEnvironment, Json, OfBackup, Place};
use super::fault::Fault;
use crate::authz::{CreateSnapshot, ViewHistory};
use crate::domain::activity::SnapshotMode;
use crate::domain::problem::sentence;
use crate::domain::{PartName, SnapshotName};
use crate::ops::restores::{RestoreRequest, Way, Wish};
use crate::ops::snapshots::SnapshotRequest;
use crate::ops::{self, App};
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
    let request = SnapshotRequest { mode, note: body.note, evict: body.evict.map(Into::into).unwrap_or_default() };
    let entry = ops::snapshots::create(&app, proof, request).await?;
    Ok((StatusCode::ACCEPTED, Reply(entry.into())))
}

pub async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InEnvironment>,
    asked: Asked,
) -> Result<Reply<Vec<Backup>>, Fault> {
    let proof = app.authorize_environment::<ViewHistory>(&actor, &at.project, &at.environment).await?;
    if asked.last("status").is_some_and(|status| status == "DELETING") {
        let page = ops::retention::preview(&app, &proof).await?;
        let backups = page.deleted.into_iter().map(|entry| Backup::deleting(entry, &page.environment));
        return Ok(Reply(backups.collect()));
    }
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

/// Takes the fields of the request's body as a query.
pub async fn preflight(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfBackup>,
    asked: Asked,
) -> Result<Reply<Preflight>, Fault> {
    let wish = Wish { target: asked.last("environment_name"), branch_from: asked.last("branch_from") };
    let way = Way::authorize(&app, &actor, &at.project, &at.environment, wish).await?;
    let parts: Result<Vec<PartName>, _> = asked.all("parts").map(str::parse).collect();
    let parts = parts.map_err(|error| Fault::bad_request(sentence(&error.to_string())))?;
    let plan = ops::restores::preflight(&app, &way, &at.backup, &parts.into_iter().collect()).await?;
    Ok(Reply(plan.into()))
}

pub async fn restore(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfBackup>,
    Json(body): Json<wire::RestoreRequest>,
) -> Result<Accepted, Fault> {
    let wish = Wish { target: body.environment_name.as_deref(), branch_from: body.branch_from.as_deref() };
    let way = Way::authorize(&app, &actor, &at.project, &at.environment, wish).await?;
    let entry = ops::restores::create(&app, way, restore_request(at.backup, body)?).await?;
    Ok((StatusCode::ACCEPTED, Reply(entry.into())))
}

pub(super) fn restore_request(snapshot: SnapshotName, body: wire::RestoreRequest) -> Result<RestoreRequest, Fault> {
    if body.parts.as_ref().is_some_and(Vec::is_empty) {
        let message = "No part is named: name at least one, or leave `parts` out to restore everything.";
        return Err(Fault::bad_request(message));
    }
    let scope = body.parts.into_iter().flatten().collect();
    Ok(RestoreRequest { snapshot, scope, plan_hash: body.plan_hash })
}
