//! Drills: reports, and asking for one.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{Caller, InEnvironment, Json, OfEnvironmentActivity, Place};
use super::fault::Fault;
use crate::authz::{RunDrill, ViewHistory};
use crate::ops::{App, drills};
use crate::wire::{Drill, DrillRequest, Operation};

pub async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InEnvironment>,
) -> Result<Reply<Vec<Drill>>, Fault> {
    let proof = app.authorize_environment::<ViewHistory>(&actor, &at.project, &at.environment).await?;
    let found = drills::list(&app, &proof).await?;
    Ok(Reply(found.into_iter().map(|drill| Drill::new(drill, &at.project, &at.environment)).collect()))
}

pub async fn run(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InEnvironment>,
    Json(body): Json<DrillRequest>,
) -> Result<(StatusCode, Reply<Operation>), Fault> {
    let proof = app.authorize_environment::<RunDrill>(&actor, &at.project, &at.environment).await?;
    let entry = drills::run(&app, proof, body.backup).await?;
    Ok((StatusCode::ACCEPTED, Reply(entry.into())))
}

pub async fn get(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfEnvironmentActivity>,
) -> Result<Reply<Drill>, Fault> {
    let proof = app.authorize_environment::<ViewHistory>(&actor, &at.project, &at.environment).await?;
    let drill = drills::report(&app, &proof, &at.activity).await?;
    Ok(Reply(Drill::new(drill, &at.project, &at.environment)))
}
