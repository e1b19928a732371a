//! Bodies on their way through: streamed, never collected.
//!
//! **Invariant:** a reply's ticket lives until the upstream's body has ended, even when the client has gone away.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::barrier::Ticket;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// When a request last moved, so that a long upload is not taken for an upstream that hangs.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    /// Microseconds after `began`.
    moved: AtomicU64,
}

impl Progress {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), moved: AtomicU64::new(0) })
    }

    fn note(&self) {
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.moved.store(micros, Ordering::Relaxed);
    }

    pub fn last(&self) -> Instant {
        self.began + Duration::from_micros(self.moved.load(Ordering::Relaxed))
    }
}

/// A client's request body, streamed to the upstream.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// `None`: there is none.
    pub inner: Option<Incoming>,
    pub progress: Arc<Progress>,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let polled = Pin::new(inner).poll_frame(cx);
        if polled.is_ready() {
            self.progress.note();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// What a client gets.
#[derive(Debug)]
pub(super) enum ReplyBody {
    /// A page of our own.
    Page(Full<Bytes>),
    Upstream(UpstreamBody),
    /// Server-sent events: left out of the drain, and ended when the gateway stops.
    Events {
        inner: Incoming,
        stop: Pin<Box<WaitForCancellationFutureOwned>>,
    },
}

/// A reply in the making; holds its request's ticket.
#[derive(Debug)]
pub(super) struct UpstreamBody {
    /// `None`: it has ended.
    inner: Option<(Incoming, Ticket)>,
    left: SizeHint,
    stall: Duration,
    /// Runs only while the upstream is waited for.
    stalled: Option<Pin<Box<Sleep>>>,
    abandoned: Duration,
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the site stopped in the middle of its reply")]
    Stalled,
    #[error("the gateway is stopping")]
    Stopping,
}

impl ReplyBody {
    /// `stall`: how long the upstream may stop in the middle. `abandoned`: how long it may go on without a client.
    pub fn upstream(inner: Incoming, ticket: Ticket, stall: Duration, abandoned: Duration) -> Self {
        let left = inner.size_hint();
        let inner = (!inner.is_end_stream()).then_some((inner, ticket));
        Self::Upstream(UpstreamBody { inner, left, stall, stalled: None, abandoned })
    }

    pub fn events(inner: Incoming, stop: CancellationToken) -> Self {
        Self::Events { inner, stop: Box::pin(stop.cancelled_owned()) }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Page(page) => Pin::new(page).poll_frame(cx).map_err(|never| match never {}),
            Self::Upstream(upstream) => upstream.poll_frame(cx),
            Self::Events { inner, stop } => {
                if stop.poll_unpin(cx).is_ready() {
                    return Poll::Ready(Some(Err(Broken::Stopping.into())));
                }
                Pin::new(inner).poll_frame(cx).map_err(Into::into)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Page(page) => page.is_end_stream(),
            Self::Upstream(upstream) => upstream.inner.is_none(),
            Self::Events { inner, .. } => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Page(page) => page.size_hint(),
            Self::Upstream(upstream) => upstream.left,
            Self::Events { inner, .. } => inner.size_hint(),
        }
    }
}

impl UpstreamBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some((inner, _)) = &mut self.inner else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(&mut *inner).poll_frame(cx) else {
            let stall = self.stall;
            let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
            return match stalled.poll_unpin(cx) {
                Poll::Ready(()) => {
                    self.inner = None;
                    Poll::Ready(Some(Err(Broken::Stalled.into())))
                }
                Poll::Pending => Poll::Pending,
            };
        };
        self.stalled = None;
        self.left = inner.size_hint();
        if inner.is_end_stream() || !matches!(frame, Some(Ok(_))) {
            self.inner = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }
}

/// The client is gone, but the upstream's handler goes on writing: it is read to its end.
impl Drop for UpstreamBody {
    fn drop(&mut self) {
        let Some((mut inner, ticket)) = self.inner.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let abandoned = self.abandoned;
        runtime.spawn(async move {
            let rest = async { while let Some(Ok(_)) = inner.frame().await {} };
            // Beyond that the connection is cut, which is all that can be done about it.
            let _ = tokio::time::timeout(abandoned, rest).await;
            drop(ticket);
        });
    }
}
