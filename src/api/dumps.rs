//! Services and their dumps: of the live environment, and of a snapshot.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};

use super::extract::{Asked, Caller, InEnvironment, OfBackup, OfService, Place};
use super::fault::Fault;
use crate::authz::ViewHistory;
use crate::domain::problem::sentence;
use crate::ops::App;
use crate::ops::dumps::{self, DumpRequest};
use crate::wire::Service;
use crate::wire::links::path;

type Services = Result<Json<Vec<Service>>, Fault>;

pub async fn services(State(app): State<App>, Caller(actor): Caller, Place(at): Place<InEnvironment>) -> Services {
    let proof = app.authorize_environment::<ViewHistory>(&actor, &at.project, &at.environment).await?;
    let entries = dumps::services(&app, &proof, None).await?;
    let here = path::services(&at.project, &at.environment);
    Ok(Json(entries.into_iter().map(|entry| Service::new(entry, &here)).collect()))
}

pub async fn backup_services(State(app): State<App>, Caller(actor): Caller, Place(at): Place<OfBackup>) -> Services {
    let proof = app.authorize_environment::<ViewHistory>(&actor, &at.project, &at.environment).await?;
    let entries = dumps::services(&app, &proof, Some(&at.backup)).await?;
    let here = path::backup_services(&at.project, &at.environment, &at.backup);
    Ok(Json(entries.into_iter().map(|entry| Service::new(entry, &here)).collect()))
}

/// Of the live environment or of a snapshot, as the address says. `?compress=gzip`.
pub async fn dump(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfService>,
    method: Method,
    asked: Asked,
) -> Result<Response, Fault> {
    let compression = asked.last("compress").map(str::parse).transpose();
    let compression = compression.map_err(|error| Fault::bad_request(sentence(&format!("{error}"))))?;
    let request =
        DumpRequest { service: at.service, snapshot: at.backup, compression: compression.unwrap_or_default() };
    let proof = dumps::authorize(&app, &actor, &at.project, &at.environment, &request).await?;
    // Asked for the headers alone: nothing is read.
    if method == Method::HEAD {
        let (file_name, media_type) = dumps::announce(&app, &proof, &request).await?;
        return Ok(attached(&file_name, media_type, Body::empty()));
    }
    let dump = dumps::open(&app, proof, request).await?;
    Ok(attached(&dump.file_name, dump.media_type, Body::from_stream(dump.body)))
}

fn attached(file_name: &str, media_type: &'static str, body: Body) -> Response {
    // Names hold nothing but what may stand there (`domain::dump::file_name`).
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{file_name}\""));
    let disposition = disposition.unwrap_or_else(|_| HeaderValue::from_static("attachment"));
    let headers = [
        (header::CONTENT_DISPOSITION, disposition),
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        // Proxies (nginx) collect answers unless told not to.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}
