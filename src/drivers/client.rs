//! What the drivers of database servers share: the runtime that their connections live on, and what goes wrong there.

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

/// Turns the wheels of all connections, whichever thread waits for them. Never dropped: a runtime must not be, where
/// drivers are.
pub(super) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("databases").enable_all().build();
    runtime.expect("a thread can be started")
});

/// Waits on this thread, and not longer than that.
pub(super) fn wait<T>(within: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let waiting = async { tokio::time::timeout(within, work).await };
    RUNTIME.block_on(waiting).unwrap_or_else(|_| Err(too_late()))
}

/// When all that a connection is asked has to be answered: in a hold, where a server that says nothing would keep visitors
/// waiting (R17).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hurry(pub Option<Instant>);

impl Hurry {
    pub fn at_most(self, within: Duration) -> Duration {
        self.0.map_or(within, |until| within.min(until.saturating_duration_since(Instant::now())))
    }
}

pub(super) fn too_late() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time"))
}

/// The server has gone, or somebody ended the connection.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let kinds = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
    matches!(error, sqlx::Error::Io(error) if kinds.contains(&error.kind()))
}

/// What the server, or the way to it, said: its words alone, without sqlx's.
#[derive(Debug)]
pub struct Cause(pub(super) sqlx::Error);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            sqlx::Error::Database(error) => f.write_str(error.message()),
            sqlx::Error::Io(error) => error.fmt(f),
            other => other.fmt(f),
        }
    }
}

impl std::error::Error for Cause {}
