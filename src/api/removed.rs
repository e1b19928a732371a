//! What was removed, and letting it go before its time.

use axum::Json;
use axum::extract::State;

use super::extract::{Caller, InProject, Place};
use super::fault::Fault;
use crate::authz::{Need, PurgeProject, ViewProject};
use crate::ops::{self, App};
use crate::wire::removed::{Purge, RemovedEnvironment, RemovedProject};

pub async fn projects(State(app): State<App>, Caller(actor): Caller) -> Result<Json<Vec<RemovedProject>>, Fault> {
    let operator = app.authorize_operator(&actor, Need::Look).await?;
    let removed = ops::removed::projects(&app, &operator).await?;
    Ok(Json(removed.into_iter().map(RemovedProject::from).collect()))
}

pub async fn of_project(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
) -> Result<Json<Vec<RemovedEnvironment>>, Fault> {
    let proof = app.authorize_project::<ViewProject>(&actor, &at.project).await?;
    let page = ops::removed::page(&app, &proof).await?;
    Ok(Json(page.environments.into_iter().map(RemovedEnvironment::from).collect()))
}

pub async fn purge(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
) -> Result<Json<Purge>, Fault> {
    let proof = app.authorize_project::<PurgeProject>(&actor, &at.project).await?;
    Ok(Json(ops::removed::purge(&app, proof, None).await?.into()))
}

pub async fn unpurge(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
) -> Result<Json<Purge>, Fault> {
    let proof = app.authorize_project::<PurgeProject>(&actor, &at.project).await?;
    let backup_count = ops::removed::take_back(&app, proof).await?;
    Ok(Json(Purge { backup_count, until: None, held: Vec::new() }))
}
