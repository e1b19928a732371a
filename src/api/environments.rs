//! Environments.

use axum::Json;
use axum::extract::State;

use super::extract::{Asked, Caller, InEnvironment, InProject, Place};
use super::fault::Fault;
use crate::authz::{ViewHistory, ViewProject};
use crate::ops::{self, App};
use crate::wire::Environment;

pub async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
    asked: Asked,
) -> Result<Json<Vec<Environment>>, Fault> {
    let proof = app.authorize_project::<ViewProject>(&actor, &at.project).await?;
    let cards = match asked.last("status") {
        Some("removed") => ops::environments::removed(&app, &proof).await?,
        _ => ops::environments::list(&app, proof).await?,
    };
    Ok(Json(cards.into_iter().map(Environment::from).collect()))
}

pub async fn get(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InEnvironment>,
) -> Result<Json<Environment>, Fault> {
    let proof = app.authorize_environment::<ViewHistory>(&actor, &at.project, &at.environment).await?;
    Ok(Json(ops::environments::card(&app, proof).await?.into()))
}
