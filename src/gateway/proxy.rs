//! One request's way to its site and back.

use std::convert::Infallible;
use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, Response, StatusCode, request};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::barrier::{Barrier, Ticket};
use super::body::{Progress, ReplyBody, RequestBody};
use super::pages::Fault;
use super::state::{Refused, What};
use super::{Gateway, Settings, headers, upgrade};
use crate::domain::problem::chain;

pub(super) type Upstreams = Client<HttpConnector, RequestBody>;

pub(super) fn upstreams(settings: &Settings) -> Upstreams {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(settings.connect));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(settings.upstream_idle)
        .build(connector)
}

/// What is known of a client's connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub peer: SocketAddr,
    /// Cancelled when the gateway stops: ends what would never end by itself.
    pub stop: CancellationToken,
}

impl Gateway {
    pub(super) async fn answer(
        self,
        connection: Connection,
        request: Request<Incoming>,
    ) -> Result<Response<ReplyBody>, Infallible> {
        let asked = request.headers().get(http::header::ACCEPT).cloned();
        match self.forward(connection, request).await {
            Ok(response) => Ok(response),
            Err(fault) => {
                let headers = asked.map(|accept| (http::header::ACCEPT, accept)).into_iter().collect();
                Ok(fault.page(&headers, self.settings().retry_after))
            }
        }
    }

    async fn forward(
        &self,
        connection: Connection,
        mut request: Request<Incoming>,
    ) -> Result<Response<ReplyBody>, Fault> {
        if *request.method() == Method::CONNECT || !headers::is_readable(request.headers()) {
            return Err(Fault::Malformed);
        }
        let host = headers::host(&request).ok_or(Fault::Malformed)?;
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let (barrier, upstream, ticket) =
            self.let_in(&headers::host_name(&host), What { method: request.method().clone(), path }).await?;

        let client_side = headers::upgrade_of(request.headers()).map(|_| hyper::upgrade::on(&mut request));
        headers::prepare(&mut request, &host, connection.peer, &self.settings().trusted);
        *request.uri_mut() = address(&upstream, request.uri()).ok_or(Fault::Malformed)?;

        let mut response = self.exchange(request, ticket, &connection).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let client_side = client_side.ok_or(Fault::Unreachable)?;
            upgrade::join(client_side, hyper::upgrade::on(&mut response), barrier, connection.stop);
        } else {
            headers::strip(response.headers_mut());
        }
        Ok(response)
    }

    /// Finds the route and passes the barrier. The route is looked up again when it changed while the request waited.
    async fn let_in(&self, host: &str, what: What) -> Result<(Arc<Barrier>, Uri, Ticket), Fault> {
        loop {
            let (barrier, _) = self.route(host).ok_or(Fault::UnknownHost)?;
            let ticket = barrier.enter(what.clone(), self.settings().queue).await.map_err(|refused| match refused {
                Refused::Full => Fault::Full,
                Refused::Shut { left } => Fault::Shut { left },
            })?;
            let (same, upstream) = self.route(host).ok_or(Fault::UnknownHost)?;
            if Arc::ptr_eq(&barrier, &same) {
                return Ok((barrier, upstream, ticket));
            }
        }
    }

    /// Runs in a task of its own: when the client leaves, or its patience ends, the upstream goes on working, and the
    /// ticket must live as long.
    async fn exchange(
        &self,
        request: Request<Incoming>,
        ticket: Ticket,
        connection: &Connection,
    ) -> Result<Response<ReplyBody>, Fault> {
        let progress = Progress::new();
        let (mut answer, answered) = oneshot::channel();
        let (gateway, moved, stop) = (self.clone(), Arc::clone(&progress), connection.stop.clone());
        tokio::spawn(async move {
            let abandoned = gateway.settings().abandoned;
            let reply = tokio::select! {
                reply = gateway.send(request, moved) => reply,
                () = async { answer.closed().await; tokio::time::sleep(abandoned).await } => return,
            };
            // Nobody may be left to take it: then dropping the body reads it to its end.
            let _ = answer.send(reply.map(|response| gateway.hand_over(response, ticket, stop)));
        });
        let late = async {
            loop {
                let due = progress.last() + self.settings().response;
                if due <= Instant::now() {
                    return;
                }
                tokio::time::sleep_until(due).await;
            }
        };
        tokio::select! {
            biased;
            answer = answered => answer.unwrap_or(Err(Fault::Unreachable)),
            () = late => Err(Fault::Late),
        }
    }

    fn hand_over(&self, response: Response<Incoming>, ticket: Ticket, stop: CancellationToken) -> Response<ReplyBody> {
        let is_events = response.headers().get(CONTENT_TYPE).is_some_and(is_event_stream);
        let is_upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let settings = self.settings();
        response.map(|body| {
            if is_events || is_upgraded {
                drop(ticket);
                ReplyBody::events(body, stop)
            } else {
                ReplyBody::upstream(body, ticket, settings.stall, settings.abandoned)
            }
        })
    }

    /// Once more when a pooled connection turned out to be stale, if that can do no harm. (The client itself sends
    /// again what it knows was not sent at all.)
    async fn send(&self, request: Request<Incoming>, progress: Arc<Progress>) -> Result<Response<Incoming>, Fault> {
        let (head, body) = request.into_parts();
        let again = (headers::is_repeatable(&head.method) && body.is_end_stream()).then(|| head.clone());
        let upstream = head.uri.authority().cloned();
        let first = build(head, Some(body).filter(|body| !body.is_end_stream()), &progress);
        let error = match self.upstreams().request(first).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let outcome = match again {
            Some(head) if !error.is_connect() && is_stale(&error) => {
                self.upstreams().request(build(head, None, &progress)).await
            }
            _ => Err(error),
        };
        outcome.map_err(|error| {
            let upstream = upstream.as_ref().map_or("", |authority| authority.as_str());
            tracing::warn!(upstream.address = upstream, "a site did not answer: {}", chain(&error));
            Fault::Unreachable
        })
    }
}

fn build(head: request::Parts, inner: Option<Incoming>, progress: &Arc<Progress>) -> Request<RequestBody> {
    // The upgrade that waits in the extensions is the client's, and stays on this side.
    let mut request = Request::new(RequestBody { inner, progress: Arc::clone(progress) });
    *request.method_mut() = head.method;
    *request.uri_mut() = head.uri;
    *request.version_mut() = head.version;
    *request.headers_mut() = head.headers;
    request
}

/// Path and query of `asked` at `upstream`, below its own path if it has one.
fn address(upstream: &Uri, asked: &Uri) -> Option<Uri> {
    let mut parts = upstream.clone().into_parts();
    let wanted = asked.path_and_query().map_or("/", PathAndQuery::as_str);
    let below = upstream.path().trim_end_matches('/');
    parts.path_and_query = Some(match below {
        "" => asked.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
        below => format!("{below}{wanted}").parse().ok()?,
    });
    Uri::from_parts(parts).ok()
}

fn is_event_stream(kind: &HeaderValue) -> bool {
    kind.as_bytes().get(..17).is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
}

fn is_stale(error: &hyper_util::client::legacy::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(hyper) = error.downcast_ref::<hyper::Error>()
            && (hyper.is_incomplete_message() || hyper.is_closed())
        {
            return true;
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return matches!(io.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
        }
        cause = error.source();
    }
    false
}
