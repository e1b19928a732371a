//! Taking connections, and stopping without cutting requests off.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::proxy::Connection;
use super::{Error, Gateway};

/// Pause after a failed accept: it fails when file descriptors run out, and would again at once.
const BREATH: Duration = Duration::from_millis(50);

impl Gateway {
    /// Serves until `shutdown`; then takes no more connections and waits for requests in flight, but not for event
    /// streams and websockets, which it ends.
    ///
    /// # Errors
    /// [`Error::Listen`] when the listener is unusable from the start.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), Error> {
        let address = listener.local_addr().map_err(Error::Listen)?;
        tracing::info!(gateway.address = %address, "gateway listens");
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(self.clone().converse(stream, peer, shutdown.clone()));
                }
                Err(error) => {
                    tracing::warn!("the gateway could not take a connection: {error}");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
        drop(listener);
        connections.close();
        if tokio::time::timeout(self.settings().stop, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "the gateway stops before all requests have ended");
        }
        Ok(())
    }

    async fn converse(self, stream: TcpStream, peer: SocketAddr, stop: CancellationToken) {
        // Only costs latency when it fails.
        let _ = stream.set_nodelay(true);
        let client_idle = self.settings().client_idle;
        let connection = Connection { peer, stop: stop.clone() };
        let service = service_fn(move |request| self.clone().answer(connection.clone(), request));
        let conversation = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(client_idle)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(conversation);
        let outcome = tokio::select! {
            outcome = conversation.as_mut() => outcome,
            () = stop.cancelled() => {
                conversation.as_mut().graceful_shutdown();
                conversation.await
            }
        };
        if let Err(error) = outcome {
            tracing::debug!("connection ended: {error}");
        }
    }
}
