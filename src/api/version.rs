//! The version of the shapes, by header; and that nothing here is ever cached.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::fault::Fault;
use crate::wire::{VERSION, VERSION_HEADER};

/// Refuses a version that this build does not speak; a request that names none gets ours.
pub async fn speak(request: Request, next: Next) -> Response {
    let asked = request.headers().get(VERSION_HEADER).cloned();
    let mut reply = match asked {
        Some(version) if version != VERSION => unsupported(&version).into_response(),
        _ => next.run(request).await,
    };
    reply.headers_mut().insert(VERSION_HEADER, HeaderValue::from_static(VERSION));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

fn unsupported(version: &HeaderValue) -> Fault {
    let version = String::from_utf8_lossy(version.as_bytes()).into_owned();
    let message = format!("This server does not speak version `{version}` of the API; it speaks {VERSION}.");
    let hint = "Use a command line of the server's version.";
    Fault::new(StatusCode::BAD_REQUEST, "unsupported_version", message, Some(hint))
}
