//! What is tidied up now and then: expired sessions, old events, the log of notices.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::Timestamp;
use crate::domain::time::DAY;
use crate::store::{self, Store, events, notices, sessions};

const EVERY: Duration = Duration::from_secs(60 * 60);
/// The log of deliveries.
const NOTICES_KEPT: Duration = DAY.saturating_mul(30);

/// Runs until `stop`.
pub async fn run(store: Store, stop: CancellationToken) {
    loop {
        if let Err(error) = tidy(&store).await {
            tracing::warn!(%error, "tidying up failed; it is tried again in an hour");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn tidy(store: &Store) -> Result<(), store::Error> {
    let now = Timestamp::now();
    let mut tx = store.write().await?;
    sessions::delete_expired(&mut tx, now).await?;
    events::delete_older(&mut tx, now.minus(events::KEPT)).await?;
    notices::delete_older(&mut tx, now.minus(NOTICES_KEPT)).await?;
    store.commit(tx).await
}
