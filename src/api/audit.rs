//! The audit: a project's for its admins, the installation's for operators.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::activities::{instant, not_a};
use super::extract::{Asked, Caller, InProject, Place};
use super::fault::Fault;
use crate::authz::{Need, ViewAudit};
use crate::domain::audit::AuditFilter;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::ops::audit::{Form, Scope};
use crate::ops::{self, App, Error};
use crate::wire::audit::AuditEntry;

type Entries = Result<Json<Vec<AuditEntry>>, Fault>;

pub async fn of_project(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
    asked: Asked,
) -> Entries {
    let proof = app.authorize_project::<ViewAudit>(&actor, &at.project).await?;
    list(&app, &Scope::Project(Box::new(proof)), &asked).await
}

pub async fn of_installation(State(app): State<App>, Caller(actor): Caller, asked: Asked) -> Entries {
    let proof = app.authorize_operator(&actor, Need::Look).await?;
    list(&app, &Scope::Installation(proof), &asked).await
}

pub async fn export_project(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
    asked: Asked,
) -> Result<Response, Fault> {
    let proof = app.authorize_project::<ViewAudit>(&actor, &at.project).await?;
    export(&app, Scope::Project(Box::new(proof)), &asked).await
}

pub async fn export_installation(
    State(app): State<App>,
    Caller(actor): Caller,
    asked: Asked,
) -> Result<Response, Fault> {
    let proof = app.authorize_operator(&actor, Need::Look).await?;
    export(&app, Scope::Installation(proof), &asked).await
}

async fn list(app: &App, scope: &Scope, asked: &Asked) -> Entries {
    let page = ops::audit::page(app, scope, &filter(asked)?).await?;
    Ok(Json(page.entries.into_iter().map(AuditEntry::from).collect()))
}

async fn export(app: &App, scope: Scope, asked: &Asked) -> Result<Response, Fault> {
    let word = asked.last("format").unwrap_or("jsonl");
    let form = Form::parse(word).ok_or_else(|| not_a("format", word, "csv or jsonl"))?;
    let body = ops::audit::export(app, scope, filter(asked)?, form).await?;
    Ok(([(header::CONTENT_TYPE, form.media_type())], Body::from_stream(body)).into_response())
}

fn filter(asked: &Asked) -> Result<AuditFilter, Fault> {
    let number = |key| asked.last(key).map(|text| text.parse().map_err(|_| not_a(key, text, "a number"))).transpose();
    let project = asked.last("project").map(ProjectId::parse).transpose().map_err(Error::from)?;
    let environment = asked.last("environment").map(EnvironmentName::parse).transpose().map_err(Error::from)?;
    let count =
        asked.last("count").map(|text| text.parse().map_err(|_| not_a("count", text, "a number"))).transpose()?;
    Ok(AuditFilter {
        kinds: asked.all("type").map(str::to_owned).collect(),
        name: asked.last("user").map(str::to_lowercase),
        project,
        outcome: asked.last("outcome").map(str::to_owned),
        environment,
        since: asked.last("since").map(instant).transpose()?,
        until: asked.last("until").map(instant).transpose()?,
        before: number("before")?,
        count,
    })
}
