//! A real site behind a real gateway, and clients that connect to it.

mod holding;
mod proxying;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::domain::Secret;

const HOST: &str = "shop.test";
const KEY: &str = "a key for tests";

/// What the site's handlers count and wait for.
#[derive(Default)]
struct Site {
    served: AtomicU64,
    /// Set by a test while it believes that the site is held.
    held: AtomicBool,
    /// Requests that ran while `held` was set.
    slipped: AtomicU64,
    started: AtomicU64,
    uploaded: AtomicU64,
    from_socket: AtomicU64,
    /// `true` lets the slow ones end.
    finish: watch::Sender<bool>,
    events: watch::Sender<u64>,
}

impl Site {
    fn note(&self) {
        if self.held.load(Ordering::SeqCst) {
            self.slipped.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn finished(&self) {
        // The sender lives in `self`, so that the channel cannot be closed.
        let _ = self.finish.subscribe().wait_for(|finish| *finish).await;
    }
}

async fn write(State(site): State<Arc<Site>>) -> &'static str {
    site.note();
    tokio::task::yield_now().await;
    site.served.fetch_add(1, Ordering::SeqCst);
    site.note();
    "written"
}

async fn slow(State(site): State<Arc<Site>>) -> &'static str {
    site.started.fetch_add(1, Ordering::SeqCst);
    site.finished().await;
    site.served.fetch_add(1, Ordering::SeqCst);
    "done"
}

/// Answers at once, and ends its body when it may.
async fn drip(State(site): State<Arc<Site>>) -> Body {
    let rest = async move {
        site.finished().await;
        site.served.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Infallible>(Bytes::from_static(b"end"))
    };
    let begin = futures::stream::once(async { Ok(Bytes::from_static(b"begin")) });
    Body::from_stream(begin.chain(futures::stream::once(rest)))
}

async fn events(State(site): State<Arc<Site>>) -> impl IntoResponse {
    let numbers = futures::stream::unfold((site.events.subscribe(), true), |(mut events, is_first)| async move {
        if !is_first {
            events.changed().await.ok()?;
        }
        let number = *events.borrow_and_update();
        Some((Ok::<_, Infallible>(Bytes::from(format!("data: {number}\n\n"))), (events, false)))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(numbers))
}

async fn upload(State(site): State<Arc<Site>>, body: Body) -> String {
    let mut body = body.into_data_stream();
    while let Some(Ok(chunk)) = body.next().await {
        site.uploaded.fetch_add(chunk.len() as u64, Ordering::SeqCst);
    }
    site.uploaded.load(Ordering::SeqCst).to_string()
}

async fn told(headers: HeaderMap) -> String {
    let mut lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    lines.sort();
    lines.join("\n")
}

async fn echo(body: Bytes) -> Bytes {
    body
}

async fn socket(State(site): State<Arc<Site>>, mut request: Request<Body>) -> impl IntoResponse {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut socket = TokioIo::new(upgrade.await.expect("the gateway switches"));
        let mut byte = [0];
        while socket.read_exact(&mut byte).await.is_ok() {
            site.from_socket.fetch_add(1, Ordering::SeqCst);
            socket.write_all(&byte).await.expect("the gateway reads");
        }
    });
    (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "websocket")])
}

/// Where the controller stands.
#[derive(Debug, Clone, Copy)]
enum Controller {
    SameProcess,
    OverTheWire,
}

const BOTH: [Controller; 2] = [Controller::SameProcess, Controller::OverTheWire];

struct Stage {
    site: Arc<Site>,
    gateway: Gateway,
    address: SocketAddr,
    upstream: SocketAddr,
    environment: EnvironmentId,
    gate: Gate,
    client: Client<HttpConnector, Full<Bytes>>,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), Error>>,
}

async fn loopback() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

fn uri(address: SocketAddr) -> Uri {
    format!("http://{address}").parse().expect("an address makes a URI")
}

fn environment() -> EnvironmentId {
    EnvironmentId::parse("0123456789abcdef0123").expect("20 digits")
}

impl Stage {
    async fn new(controller: Controller) -> Self {
        Self::with(controller, Settings::default()).await
    }

    async fn with(controller: Controller, settings: Settings) -> Self {
        let site = Arc::new(Site::default());
        let app = axum::Router::new()
            .route("/write", post(write))
            .route("/slow", any(slow))
            .route("/drip", get(drip))
            .route("/events", get(events))
            .route("/upload", any(upload))
            .route("/told", get(told))
            .route("/echo", any(echo))
            .route("/socket", get(socket))
            .route("/nothing", get(|| async { StatusCode::NO_CONTENT }))
            .with_state(Arc::clone(&site));
        let (listener, upstream) = loopback().await;
        tokio::spawn(async move { axum::serve(listener, app).await });

        let gateway = Gateway::new(settings);
        let environment = environment();
        let route = Route { host: HOST.to_owned(), environment: environment.clone(), upstream: uri(upstream) };
        gateway.set_routes(vec![route]);
        let (listener, address) = loopback().await;
        let shutdown = CancellationToken::new();
        let (serving, stop) = (gateway.clone(), shutdown.clone());
        let serving = tokio::spawn(async move { serving.serve(listener, stop).await });
        let gate = match controller {
            Controller::SameProcess => Gate::Local(gateway.clone()),
            Controller::OverTheWire => Gate::Remote(Remote::new(uri(control(&gateway).await), Secret::new(KEY))),
        };
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { site, gateway, address, upstream, environment, gate, client, shutdown, serving }
    }

    async fn hold(&self, kind: HoldKind, limits: &Limits) -> Result<Held, HoldError> {
        hold(std::slice::from_ref(&self.gate), &self.environment, kind, limits).await
    }

    fn request(&self, method: &str, path: &str) -> Request<Full<Bytes>> {
        let request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        request.header("host", HOST).body(Full::default()).expect("a well-formed request")
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.client.request(request).await.expect("the gateway answers")
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        text(self.send(self.request("GET", path)).await).await
    }

    async fn write(&self) -> StatusCode {
        text(self.send(self.request("POST", "/write")).await).await.0
    }

    /// In the background.
    fn begin(&self, method: &str, path: &str) -> JoinHandle<(StatusCode, HeaderMap)> {
        let (client, request) = (self.client.clone(), self.request(method, path));
        tokio::spawn(async move {
            let response = client.request(request).await.expect("the gateway answers");
            let (status, headers) = (response.status(), response.headers().clone());
            text(response).await;
            (status, headers)
        })
    }

    /// A connection of its own, that can be cut at will.
    async fn connect(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("the gateway listens");
        stream.write_all(request.as_bytes()).await.expect("the gateway reads");
        stream
    }

    fn traffic(&self) -> Traffic {
        self.gateway.traffic(&self.environment)
    }

    async fn until_waiting(&self, count: usize) {
        until(|| self.traffic().waiting == count).await;
    }
}

async fn control(gateway: &Gateway) -> SocketAddr {
    let (listener, address) = loopback().await;
    let router = gateway.control_router(Secret::new(KEY));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn text(response: Response<Incoming>) -> (StatusCode, String) {
    let status = response.status();
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

async fn until(condition: impl Fn() -> bool) {
    let met = async {
        let mut looks = tokio::time::interval(Duration::from_millis(1));
        while !condition() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met).await.expect("the condition is met in time");
}

/// Reads until `wanted` has come.
async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(wanted) {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await.expect("the gateway answers");
        assert!(read > 0, "ended before {wanted:?}: {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&chunk[..read]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

fn quick() -> Limits {
    Limits { calm_wait: Duration::from_millis(50), drain: Duration::from_millis(100), ..Limits::default() }
}
