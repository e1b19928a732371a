//! What is kept: the preview, deleting and taking back, protection; a project's plan.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::extract::{Caller, InEnvironment, InProject, Json, OfBackup, Place};
use super::fault::Fault;
use crate::authz::{ChangePlan, DeleteSnapshot, ProtectSnapshot, ViewHistory, ViewProject};
use crate::ops::{self, App};
use crate::wire::{Operation, Plan, PlanChange, PlanRequest, Retention};

type Accepted = Result<(StatusCode, Reply<Operation>), Fault>;

pub async fn preview(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InEnvironment>,
) -> Result<Reply<Retention>, Fault> {
    let proof = app.authorize_environment::<ViewHistory>(&actor, &at.project, &at.environment).await?;
    Ok(Reply(ops::retention::preview(&app, &proof).await?.into()))
}

pub async fn delete(State(app): State<App>, Caller(actor): Caller, Place(at): Place<OfBackup>) -> Accepted {
    let proof = app.authorize_environment::<DeleteSnapshot>(&actor, &at.project, &at.environment).await?;
    let entry = ops::retention::delete(&app, proof, &at.backup).await?;
    Ok((StatusCode::ACCEPTED, Reply(entry.into())))
}

pub async fn undelete(State(app): State<App>, Caller(actor): Caller, Place(at): Place<OfBackup>) -> Accepted {
    let proof = app.authorize_environment::<DeleteSnapshot>(&actor, &at.project, &at.environment).await?;
    let entry = ops::retention::undelete(&app, proof, &at.backup).await?;
    Ok((StatusCode::ACCEPTED, Reply(entry.into())))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Note {
    note: Option<String>,
}

pub async fn protect(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfBackup>,
    Json(body): Json<Note>,
) -> Accepted {
    let proof = app.authorize_environment::<ProtectSnapshot>(&actor, &at.project, &at.environment).await?;
    let entry = ops::retention::protect(&app, proof, &at.backup, body.note).await?;
    Ok((StatusCode::ACCEPTED, Reply(entry.into())))
}

pub async fn unprotect(State(app): State<App>, Caller(actor): Caller, Place(at): Place<OfBackup>) -> Accepted {
    let proof = app.authorize_environment::<ProtectSnapshot>(&actor, &at.project, &at.environment).await?;
    let entry = ops::retention::unprotect(&app, proof, &at.backup).await?;
    Ok((StatusCode::ACCEPTED, Reply(entry.into())))
}

pub async fn plan(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
) -> Result<Reply<Plan>, Fault> {
    let proof = app.authorize_project::<ViewProject>(&actor, &at.project).await?;
    Ok(Reply(ops::plans::page(&app, &proof).await?.into()))
}

/// Without the hash of the change that was looked at, it only answers that change.
pub async fn change_plan(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
    Json(body): Json<PlanRequest>,
) -> Result<Reply<PlanChange>, Fault> {
    let proof = app.authorize_project::<ChangePlan>(&actor, &at.project).await?;
    let to = body.plan.ok_or_else(|| Fault::bad_request("Name the plan in `plan`: GET shows which are offered."))?;
    let Some(hash) = body.hash.as_deref() else {
        return Ok(Reply(PlanChange::new(ops::plans::change(&app, &proof, &to).await?, false)));
    };
    let change = ops::plans::set(&app, proof, &to, Some(hash)).await?;
    Ok(Reply(PlanChange::new(change, true)))
}
