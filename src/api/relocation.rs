//! Moving a project to another region (R27).

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{Asked, Caller, InProject, Json, Place};
use super::fault::Fault;
use crate::authz::MoveProject;
use crate::domain::ids::RegionId;
use crate::ops::{self, App};
use crate::wire::{Move, MoveRequest, Operation};

pub async fn preflight(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
    asked: Asked,
) -> Result<Reply<Move>, Fault> {
    let proof = app.authorize_project::<MoveProject>(&actor, &at.project).await?;
    let to = asked.last("region").and_then(|text| RegionId::parse(text).ok()).ok_or_else(unnamed)?;
    Ok(Reply(ops::relocation::preflight(&app, &proof, &to).await?.into()))
}

pub async fn begin(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
    Json(body): Json<MoveRequest>,
) -> Result<(StatusCode, Reply<Operation>), Fault> {
    let proof = app.authorize_project::<MoveProject>(&actor, &at.project).await?;
    let entry = ops::relocation::begin(&app, proof, &body.region.ok_or_else(unnamed)?).await?;
    Ok((StatusCode::ACCEPTED, Reply(entry.into())))
}

fn unnamed() -> Fault {
    Fault::bad_request("Name the region in `region`.")
}
