//! Wakes those who wait for a change: at once within the process, by PostgreSQL's NOTIFY across processes, and in any
//! case after a short while, since the tables are the truth and a wake-up may be lost.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::watch;

use super::{Error, dialect};

/// How long a change in another process can go unseen where nothing notifies (SQLite).
const LOOK_AGAIN: Duration = Duration::from_millis(400);

#[derive(Debug, Clone)]
pub(super) struct Wake {
    changes: Arc<watch::Sender<u64>>,
}

/// The moment since when changes are waited for.
#[derive(Debug)]
pub struct WakeMark(watch::Receiver<u64>);

impl Wake {
    pub(super) fn new() -> Self {
        Self { changes: Arc::new(watch::Sender::new(0)) }
    }

    pub(super) fn all(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn mark(&self) -> WakeMark {
        WakeMark(self.changes.subscribe())
    }

    pub(super) async fn changed(&self, mark: &mut WakeMark) {
        // Elapsed and closed both mean: look again.
        let _ = tokio::time::timeout(LOOK_AGAIN, mark.0.changed()).await;
    }

    /// Passes other processes' announcements on, until the last clone of the store is gone.
    pub(super) async fn listen(&self, url: &str) -> Result<(), Error> {
        let mut listener = PgListener::connect(url).await?;
        listener.listen(dialect::CHANNEL).await?;
        let changes = Arc::downgrade(&self.changes);
        tokio::spawn(async move {
            // The listener reconnects by itself; what it misses meanwhile is seen by looking again.
            while listener.recv().await.is_ok() {
                let Some(changes) = changes.upgrade() else { return };
                changes.send_modify(|count| *count = count.wrapping_add(1));
            }
        });
        Ok(())
    }
}
