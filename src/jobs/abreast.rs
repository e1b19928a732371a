//! Work on all parts of an environment side by side inside a hold, each within its time.
//!
//! **Invariant:** the first part that fails or is late ends the waiting at once, so that whoever holds the site lets go
//! before the others are done (R17). What they still do is waited for afterwards, by [`Stopped::reason`]: nothing goes on
//! behind a job that was tried again.

use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use super::Error;

/// How long a part that is late is given to say why, once nobody waits for it any more.
const EXPLAIN: Duration = Duration::from_secs(30);

/// One part's work, on a thread of its own.
pub(super) struct Piece<T> {
    part: String,
    limit: Duration,
    until: Instant,
    thread: JoinHandle<Result<T, Error>>,
    outcome: Option<Result<T, Error>>,
}

impl<T: Send + 'static> Piece<T> {
    /// Begins at once. `limit` is how long whoever waits does so.
    pub fn start(part: String, limit: Duration, work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Self {
        Self { part, limit, until: Instant::now() + limit, thread: spawn_blocking(work), outcome: None }
    }

    /// Whether it ended well, and by then.
    async fn ends_by(&mut self, until: Instant) -> bool {
        if self.outcome.is_none()
            && let Ok(joined) = timeout_at(until, &mut self.thread).await
        {
            self.outcome = Some(joined.unwrap_or_else(|ended| Err(ended.into())));
        }
        matches!(self.outcome, Some(Ok(_)))
    }
}

/// What every piece came to, in their order.
///
/// # Errors
/// As soon as one fails, or is not done within its limit.
pub(super) async fn all<T: Send + 'static>(mut pieces: Vec<Piece<T>>) -> Result<Vec<T>, Stopped> {
    let mut running: FuturesUnordered<_> = pieces.iter_mut().map(|piece| piece.ends_by(piece.until)).collect();
    while let Some(well) = running.next().await {
        if !well {
            drop(running);
            return Err(Stopped(Box::pin(wind_up(pieces))));
        }
    }
    drop(running);
    Ok(pieces.into_iter().filter_map(|piece| piece.outcome?.ok()).collect())
}

/// Something failed or was late; other pieces may still be at work.
#[must_use = "what is still at work is waited for by asking for the reason"]
pub(super) struct Stopped(BoxFuture<'static, Error>);

impl Stopped {
    /// What was opened before goes too: after the pieces that may use it, and on a thread, since it may take its time.
    pub fn and_drop<T: Send + 'static>(self, opened: T) -> Self {
        Self(Box::pin(async move {
            let error = self.0.await;
            dropped(opened).await;
            error
        }))
    }

    /// Waits until all are done, and gives the first failure; of a part that is late what it says itself, if it does.
    pub async fn reason(self) -> Error {
        self.0.await
    }
}

/// Closing a view can mean to wait for a server.
pub(super) async fn dropped<T: Send + 'static>(value: T) {
    // Fails only when that panics, which is told where it does.
    let _ = spawn_blocking(move || drop(value)).await;
}

async fn wind_up<T: Send + 'static>(mut pieces: Vec<Piece<T>>) -> Error {
    let failed = |piece: &Piece<T>| matches!(piece.outcome, Some(Err(_)));
    let first = pieces.iter().position(failed);
    let late = pieces.iter().position(|piece| piece.outcome.is_none() && piece.until <= Instant::now());
    let patience = Instant::now() + EXPLAIN;
    for piece in &mut pieces {
        piece.ends_by(patience).await;
    }
    let error = match (first.or(late).and_then(|index| pieces[index].outcome.take_if(|it| it.is_err())), late) {
        (Some(Err(error)), _) => error,
        (_, Some(late)) => Error::Late { part: pieces[late].part.clone(), limit: pieces[late].limit },
        // Unreachable as long as only a failure and lateness end the waiting; and not wrong even then.
        (_, None) => Error::Cancelled,
    };
    dropped(pieces).await;
    error
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    fn failure(part: &str) -> Error {
        Error::part(part)(crate::drivers::Error::Cancelled)
    }

    /// Works until it is told what to end with.
    fn until_told<T: Send + 'static>(part: &str, limit: Duration) -> (mpsc::Sender<Result<T, Error>>, Piece<T>) {
        let (tell, told) = mpsc::channel();
        (tell, Piece::start(part.to_owned(), limit, move || told.recv().expect("the test tells")))
    }

    #[tokio::test]
    async fn all_that_succeed_are_given_in_their_order() {
        let (slow, first) = until_told("slow", LONG);
        let second = Piece::start("quick".to_owned(), LONG, move || {
            slow.send(Ok(1)).expect("it waits");
            Ok(2)
        });
        assert_eq!(all(vec![first, second]).await.ok(), Some(vec![1, 2]));
    }

    #[tokio::test]
    async fn one_that_fails_ends_the_waiting_and_the_rest_is_waited_for_afterwards() {
        let (slow, piece) = until_told("slow", LONG);
        let failing = Piece::start("bad".to_owned(), LONG, || Err(failure("bad")));
        let stopped = all::<mpsc::Sender<()>>(vec![piece, failing]).await.expect_err("one failed");
        // It works on; what it opens is closed before the reason is told.
        let (opened, closed) = mpsc::channel();
        slow.send(Ok(opened)).expect("it still waits");
        assert!(stopped.reason().await.to_string().contains("bad"));
        assert!(matches!(closed.try_recv(), Err(mpsc::TryRecvError::Disconnected)), "it was dropped");
    }

    #[tokio::test]
    async fn one_that_is_late_is_named_with_its_own_words_if_it_has_any() {
        for own in [true, false] {
            let (tell, piece) = until_told("frozen", SHORT);
            let stopped = all::<u8>(vec![piece]).await.expect_err("it is late");
            tell.send(if own { Err(failure("locked by")) } else { Ok(1) }).expect("it still works");
            let reason = stopped.reason().await.to_string();
            assert!(reason.contains(if own { "locked by" } else { "frozen" }), "{reason}");
        }
    }
}
