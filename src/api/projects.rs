//! Projects.

use axum::Json;
use axum::extract::State;

use super::extract::{Caller, InProject, Place};
use super::fault::Fault;
use crate::authz::ViewProject;
use crate::ops::{self, App};
use crate::wire::Project;

pub async fn list(State(app): State<App>, Caller(actor): Caller) -> Result<Json<Vec<Project>>, Fault> {
    let cards = ops::projects::list(&app, &actor).await?;
    Ok(Json(cards.into_iter().map(Project::from).collect()))
}

pub async fn get(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
) -> Result<Json<Project>, Fault> {
    let proof = app.authorize_project::<ViewProject>(&actor, &at.project).await?;
    let page = ops::projects::page(&app, proof).await?;
    Ok(Json(page.card.into()))
}
