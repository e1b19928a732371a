//! Orders over the wire: the endpoint that obeys them, and the client that sends them.
//!
//! The key travels as a bearer token, so the endpoint belongs on loopback or a private network.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use sha2::{Digest, Sha256};

use super::Gateway;
use super::error::HoldError;
use super::order::{Act, Order, Reply};
use crate::domain::Secret;
use crate::domain::problem::chain;

const PATH: &str = "/gate/v1/orders";
/// Orders and replies are a few hundred bytes.
const LIMIT: usize = 64 * 1024;
/// What a gate may take to answer beyond what the order itself waits for.
const ANSWER: Duration = Duration::from_secs(1);

impl Gateway {
    /// The endpoint that lets a worker in another process hold this gateway; whoever has the key may.
    pub fn control_router(&self, key: Secret) -> axum::Router {
        let control = Control { gateway: self.clone(), key };
        axum::Router::new().route(PATH, post(obey)).layer(DefaultBodyLimit::max(LIMIT)).with_state(control)
    }
}

#[derive(Clone)]
struct Control {
    gateway: Gateway,
    key: Secret,
}

async fn obey(State(control): State<Control>, headers: HeaderMap, body: Bytes) -> Response {
    if !is_key(&control.key, &headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match serde_json::from_slice::<Order>(&body) {
        Ok(order) => Json(control.gateway.obey(order).await).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// Takes the same time whatever the bytes: digests are compared, and all of each.
fn is_key(key: &Secret, headers: &HeaderMap) -> bool {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let given = Sha256::digest(given.unwrap_or_default());
    let wanted = Sha256::digest(key.reveal().as_bytes());
    let difference = given.iter().zip(wanted.iter()).fold(0_u8, |sum, (a, b)| sum | (a ^ b));
    // An empty key opens nothing, rather than everything.
    difference == 0 && !key.reveal().is_empty()
}

/// A gateway in another process.
#[derive(Debug, Clone)]
pub struct Remote(Arc<Address>);

#[derive(Debug)]
struct Address {
    base: Uri,
    /// The same as text.
    text: String,
    key: Secret,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Remote {
    /// `base` is where the other process mounts [`Gateway::control_router`], e.g. `http://10.0.0.7:4182`.
    pub fn new(base: Uri, key: Secret) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(ANSWER));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .build(connector);
        Self(Arc::new(Address { text: base.to_string(), base, key, client }))
    }

    pub(super) fn address(&self) -> &str {
        &self.0.text
    }

    pub(super) async fn send(&self, order: &Order) -> Result<Reply, HoldError> {
        let waits = match &order.act {
            Act::Calm { patience, .. } => *patience,
            Act::Close(closing) => closing.limits.drain,
            _ => Duration::ZERO,
        };
        let patience = ANSWER.saturating_add(waits);
        match tokio::time::timeout(patience, self.exchange(order)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(cause)) => Err(self.unreachable(cause)),
            Err(_) => Err(self.unreachable("it did not answer in time".to_owned())),
        }
    }

    /// The outer error is a broken exchange, in words; the inner one is the gate's own.
    async fn exchange(&self, order: &Order) -> Result<Result<Reply, HoldError>, String> {
        let text = serde_json::to_vec(order).map_err(|error| error.to_string())?;
        let address = format!("{}{PATH}", self.0.base.to_string().trim_end_matches('/'));
        let request = Request::post(address)
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, format!("Bearer {}", self.0.key.reveal()))
            .body(Full::new(Bytes::from(text)))
            .map_err(|error| error.to_string())?;
        let response = self.0.client.request(request).await.map_err(|error| chain(&error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Ok(Err(HoldError::Denied { gate: self.0.base.to_string() })),
            status => return Err(format!("it answered {status}")),
        }
        let body = Limited::new(response.into_body(), LIMIT).collect().await.map_err(|error| error.to_string())?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| format!("it answered something else: {error}"))
    }

    fn unreachable(&self, cause: String) -> HoldError {
        HoldError::Unreachable { gate: self.0.base.to_string(), cause }
    }
}
