//! Websockets and other upgraded connections: bytes both ways, and those towards the site wait while it is held.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::barrier::Barrier;

const CHUNK: usize = 16 * 1024;
/// How long a client may go on talking to a site that has hung up.
const FAREWELL: Duration = Duration::from_secs(10);

/// Joins both sides once they have switched, until one ends or the gateway stops.
pub(super) fn join(client: OnUpgrade, site: OnUpgrade, barrier: Arc<Barrier>, stop: CancellationToken) {
    tokio::spawn(async move {
        let joined = async {
            let (client, site) = tokio::try_join!(client, site).map_err(io::Error::other)?;
            relay(client, site, &barrier).await
        };
        tokio::select! {
            () = stop.cancelled() => {}
            outcome = joined => if let Err(error) = outcome {
                tracing::debug!("upgraded connection ended: {error}");
            }
        }
    });
}

async fn relay(client: Upgraded, site: Upgraded, barrier: &Barrier) -> io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(TokioIo::new(client));
    let (mut from_site, mut to_site) = tokio::io::split(TokioIo::new(site));
    let up = async {
        copy_while_open(&mut from_client, &mut to_site, barrier).await?;
        to_site.shutdown().await
    };
    let down = async {
        tokio::io::copy(&mut from_site, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::pin!(up, down);
    tokio::select! {
        outcome = &mut up => {
            outcome?;
            down.await
        }
        outcome = &mut down => {
            outcome?;
            tokio::time::timeout(FAREWELL, up).await.unwrap_or(Ok(()))
        }
    }
}

async fn copy_while_open<R, W>(from: &mut R, to: &mut W, barrier: &Barrier) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        let mut rest = &chunk[..read];
        while !rest.is_empty() {
            // One write at a time, each under the barrier's lock, so that none comes after the gate closed.
            let write = poll_fn(|cx| match barrier.while_open(|| Pin::new(&mut *to).poll_write(cx, rest)) {
                Some(polled) => polled.map_ok(Some),
                None => Poll::Ready(Ok(None)),
            });
            match write.await? {
                Some(0) => return Err(io::ErrorKind::WriteZero.into()),
                Some(written) => rest = &rest[written..],
                None => barrier.opened().await,
            }
        }
        to.flush().await?;
    }
}
