//! Downloads: the dump of a service as a file, of the live environment or of a snapshot. A plain link leads here.
//!
//! **Invariant:** thin: parse, proof, operation. A browser that is refused is led back to the page with the reason; what
//! breaks off on the way breaks the transfer, so that no browser takes half a dump for a whole one.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, REFERER,
    SET_COOKIE,
};
use http::request::Parts;
use http::{Method, StatusCode};
use serde::Deserialize;
use tower_sessions::Session;

use super::asked::AuditAsked;
use super::flash::{Flash, Transport};
use super::local::LocalPath;
use super::present::at;
use super::server::Console;
use super::visit::Visit;
use crate::authz::ViewHistory;
use crate::domain::dump::Compression;
use crate::domain::ids::{ActivityId, EnvironmentName, ProjectId, ServiceName};
use crate::domain::{Client, Problem, SnapshotName};
use crate::ops::audit::Form;
use crate::ops::dumps::{self, DumpRequest};
use crate::ops::{self, Error};

/// By which a page finds why a download did not begin.
pub const ACTION: &str = "dump";

#[derive(Debug, Deserialize)]
pub struct Place {
    project: String,
    environment: String,
    /// `None` in addresses of the live environment.
    snapshot: Option<String>,
    service: String,
}

#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    #[serde(default)]
    compress: Compression,
}

/// `GET …/services/:service/dump` and `GET …/snapshots/:snapshot/services/:service/dump`; `?compress=gzip`.
pub async fn dump(
    State(console): State<Console>,
    session: Session,
    Path(place): Path<Place>,
    Query(asked): Query<Asked>,
    parts: Parts,
) -> Response {
    let (page, given) = match parse(&place, asked) {
        Ok((project, environment, request)) => {
            let page = match &request.snapshot {
                Some(name) => at::snapshot(&project, &environment, name),
                None => at::environment(&project, &environment),
            };
            (page, give(console, &session, (&project, &environment), request, &parts).await)
        }
        Err(error) => ("/".to_owned(), Err(error)),
    };
    given.unwrap_or_else(|error| refuse(&error, &page, &parts.headers))
}

/// `GET …/activities/:activity/report`: of a drill that succeeded, as JSON (R29).
pub async fn report(
    State(console): State<Console>,
    session: Session,
    Path((project, activity)): Path<(String, String)>,
    parts: Parts,
) -> Response {
    let given = async {
        let Visit { app, actor, .. } = asking(console, &session, &parts).await?;
        let project = ProjectId::parse(&project).map_err(|_| Error::NotFound("project"))?;
        let activity = ActivityId::parse(&activity).map_err(|_| Error::NotFound("activity"))?;
        let proof = app.authorize_activity::<ViewHistory>(&actor, &project, &activity).await?;
        let drill = ops::drills::report(&app, &proof, &activity).await?;
        let name = format!("{}--{}--restore-proven.json", proof.on().environment.name, drill.snapshot);
        let json = serde_json::to_vec_pretty(&drill).expect("its keys are strings");
        Ok(attached(&name, "application/json", Body::from(json)))
    };
    given.await.unwrap_or_else(|error| refuse(&error, "/", &parts.headers))
}

fn parse(place: &Place, asked: Asked) -> Result<(ProjectId, EnvironmentName, DumpRequest), Error> {
    let request = DumpRequest {
        service: ServiceName::parse(&place.service).map_err(|_| Error::NotFound("service"))?,
        snapshot: place
            .snapshot
            .as_ref()
            .map(SnapshotName::parse)
            .transpose()
            .map_err(|_| Error::NotFound("snapshot"))?,
        compression: asked.compress,
    };
    let project = ProjectId::parse(&place.project).map_err(|_| Error::NotFound("project"))?;
    let environment = EnvironmentName::parse(&place.environment).map_err(|_| Error::NotFound("environment"))?;
    Ok((project, environment, request))
}

async fn give(
    console: Console,
    session: &Session,
    (project, environment): (&ProjectId, &EnvironmentName),
    request: DumpRequest,
    parts: &Parts,
) -> Result<Response, Error> {
    let Visit { app, actor, .. } = asking(console, session, parts).await?;
    let proof = dumps::authorize(&app, &actor, project, environment, &request).await?;
    // Asked for the headers alone: nothing is read.
    if parts.method == Method::HEAD {
        let (file_name, media_type) = dumps::announce(&app, &proof, &request).await?;
        return Ok(attached(&file_name, media_type, Body::empty()));
    }
    let dump = dumps::open(&app, proof, request).await?;
    Ok(attached(&dump.file_name, dump.media_type, Body::from_stream(dump.body)))
}

/// Who asks for a download. A link on another site would make a person's browser read for nothing, in their name.
pub(super) async fn asking(console: Console, session: &Session, parts: &Parts) -> Result<Visit, Error> {
    let from = parts.extensions.get::<Client>().map(|Client(address)| *address);
    let visit = Visit::of(console.app, session, from).await?;
    if parts.headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site") {
        return Err(Error::invalid("this download was asked for by another site; begin it on the console's own page"));
    }
    Ok(visit)
}

/// `GET /projects/:p/audit/export` and `GET /audit/export`: what the page shows under the same filter, all of it.
pub async fn audit(
    State(console): State<Console>,
    session: Session,
    project: Option<Path<String>>,
    Query(asked): Query<AuditAsked>,
    parts: Parts,
) -> Response {
    let project = project.map(|Path(project)| project);
    let page = project.as_ref().and_then(|project| ProjectId::parse(project).ok());
    let page = page.map_or_else(|| "/audit".to_owned(), |project| at::audit(&project));
    let given = async {
        let visit = asking(console, &session, &parts).await?;
        let scope = asked.scope(&visit.app, &visit.actor, project.as_deref()).await?;
        let form = asked.format.as_deref().and_then(Form::parse).unwrap_or(Form::Csv);
        let body = ops::audit::export(&visit.app, scope, asked.filter()?, form).await?;
        Ok(attached(form.file_name(), form.media_type(), Body::from_stream(body)))
    };
    given.await.unwrap_or_else(|error: Error| refuse(&error, &page, &parts.headers))
}

fn attached(file_name: &str, media_type: &'static str, body: Body) -> Response {
    // Names hold nothing but what may stand there (`domain::dump::file_name`).
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{file_name}\""));
    let headers = [
        (CONTENT_DISPOSITION, disposition.unwrap_or_else(|_| HeaderValue::from_static("attachment"))),
        (CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Proxies (nginx) collect answers unless told not to.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}

/// Back to the page with the reason; a program gets it as JSON with its status.
fn refuse(error: &Error, page: &str, headers: &HeaderMap) -> Response {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let problem = error.problem();
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if !text(ACCEPT).contains("text/html") {
        return (status, axum::Json(problem)).into_response();
    }
    // What is not there, or must not be known to, has a page that says so.
    let page = LocalPath::parse(page).unwrap_or(LocalPath::root());
    let (location, said) = match error {
        Error::NotLoggedIn => (page.after_login(), None),
        _ => (page.to_string(), Some(said(problem, text(REFERER)))),
    };
    let location = HeaderValue::from_str(&location).unwrap_or(HeaderValue::from_static("/"));
    let mut answer = HeaderMap::from_iter([(LOCATION, location)]);
    answer.extend(said.flatten().map(|cookie| (SET_COOKIE, cookie)));
    (StatusCode::SEE_OTHER, answer).into_response()
}

fn said(problem: Problem, referer: &str) -> Option<HeaderValue> {
    let transport = if referer.starts_with("https://") { Transport::Tls } else { Transport::Plain };
    Flash::Refused { action: ACTION.to_owned(), problem, kept: Vec::new() }.set_cookie(transport)
}
