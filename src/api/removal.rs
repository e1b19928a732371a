//! Taking environments and projects out of the console.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{Asked, Caller, InEnvironment, InProject, Place};
use super::fault::Fault;
use crate::authz::{RemoveEnvironment, RemoveProject, ViewHistory, ViewProject};
use crate::domain::activity::Weighty;
use crate::ops::removal::{LastSnapshot, RemovalRequest};
use crate::ops::{self, App};
use crate::wire::{Operation, ProjectRemoval, Removal};

pub async fn preview(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InEnvironment>,
) -> Result<Reply<Removal>, Fault> {
    let proof = app.authorize_environment::<ViewHistory>(&actor, &at.project, &at.environment).await?;
    Ok(Reply(ops::removal::page(&app, &proof).await?.into()))
}

/// `even_live=true` agrees to the removal of what visitors use; `backup=true` or `false` says whether a last snapshot is taken.
pub async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InEnvironment>,
    asked: Asked,
) -> Result<(StatusCode, Reply<Operation>), Fault> {
    let proof = app.authorize_environment::<RemoveEnvironment>(&actor, &at.project, &at.environment).await?;
    let entry = ops::removal::remove(&app, proof, wish(&asked)?).await?;
    Ok((StatusCode::ACCEPTED, Reply(entry.into())))
}

fn wish(asked: &Asked) -> Result<RemovalRequest, Fault> {
    let last = asked.last("backup").map(|word| truth("backup", word)).transpose()?;
    let even_live = asked.last("even_live").map(|word| truth("even_live", word)).transpose()?;
    Ok(RemovalRequest {
        typed: None,
        weighty: if even_live == Some(true) { Weighty::Agreed } else { Weighty::Refused },
        last: match last {
            None => LastSnapshot::WhereDataGoes,
            Some(true) => LastSnapshot::Taken,
            Some(false) => LastSnapshot::Left,
        },
    })
}

fn truth(key: &str, word: &str) -> Result<bool, Fault> {
    word.parse().map_err(|_| Fault::bad_request(format!("`{key}` is true or false, not {word}.")))
}

pub async fn preview_project(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
) -> Result<Reply<ProjectRemoval>, Fault> {
    let proof = app.authorize_project::<ViewProject>(&actor, &at.project).await?;
    Ok(Reply(ops::removal::project_page(&app, &proof).await?.into()))
}

/// Answers the activity, or nothing where there was no environment.
pub async fn delete_project(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
) -> Result<(StatusCode, Reply<Vec<String>>), Fault> {
    let proof = app.authorize_project::<RemoveProject>(&actor, &at.project).await?;
    let activity = ops::removal::remove_project(&app, proof, None).await?;
    Ok((StatusCode::ACCEPTED, Reply(activity.iter().map(ToString::to_string).collect())))
}
