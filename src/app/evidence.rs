//! A ticket's evidence as a file.
//!
//! **Invariant:** thin: parse, proof, operation.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, HeaderValue};
use http::request::Parts;
use tower_sessions::Session;

use super::downloads::asking;
use super::server::Console;
use super::visit::Visit;
use crate::authz::ViewTicket;
use crate::domain::ids::{ProjectId, TicketId};
use crate::ops::{Error, tickets};

/// `GET /projects/:project/tickets/:ticket/evidence.json`
pub async fn json(
    State(console): State<Console>,
    session: Session,
    Path((project, ticket)): Path<(String, String)>,
    parts: Parts,
) -> Response {
    give(asking(console, &session, &parts).await, project, ticket).await.unwrap_or_else(|error| {
        let problem = error.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(problem)).into_response()
    })
}

async fn give(asked: Result<Visit, Error>, project: String, ticket: String) -> Result<Response, Error> {
    let Visit { app, actor, .. } = asked?;
    let project = ProjectId::parse(project).map_err(|_| Error::NotFound("project"))?;
    let ticket = TicketId::parse(ticket).map_err(|_| Error::NotFound("ticket"))?;
    let proof = app.authorize_ticket::<ViewTicket>(&actor, &project, &ticket).await?;
    let evidence = tickets::evidence(&app, &proof).await?;
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"ticket-{ticket}.json\""));
    let headers = [
        (CONTENT_DISPOSITION, disposition.unwrap_or_else(|_| HeaderValue::from_static("attachment"))),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Json(evidence)).into_response())
}
