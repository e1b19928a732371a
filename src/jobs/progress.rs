//! Progress: bytes read of bytes known, never a timer (R19).

use std::future::Future;
use std::time::Duration;

use crate::engine;
use crate::queue::Lease;

/// How often the feed learns of it.
const STEP: Duration = Duration::from_millis(250);

/// Runs `work`; meanwhile reports the engine job's bytes as progress, and passes a wish to cancel on to it.
pub(super) async fn watched<T>(lease: &Lease, job: &engine::Job, work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        () = report(lease, job, lease.cancelled()) => unreachable!("reporting never ends by itself"),
    }
}

/// Like [`watched`], for what must be brought to its end once it was begun: a wish to cancel comes too late.
pub(super) async fn completed<T>(lease: &Lease, job: &engine::Job, work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        () = report(lease, job, lease.interrupted()) => unreachable!("reporting never ends by itself"),
    }
}

async fn report(lease: &Lease, job: &engine::Job, cancelled: impl Future<Output = ()>) {
    tokio::pin!(cancelled);
    let mut told = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(STEP) => {}
            () = &mut cancelled => {
                job.cancel();
                // What runs ends at its next step; its own outcome is what counts.
                std::future::pending::<()>().await;
            }
        }
        let now = per_mille(job.bytes_done(), job.bytes_total());
        if now > told {
            told = now;
            // A feed that lags does no harm; a lost lease shows where something final is written.
            if let Err(error) = lease.progress(now).await {
                tracing::debug!(%error, "progress was not stored");
            }
        }
    }
}

/// 1000 is left to the activity's end.
fn per_mille(done: u64, total: u64) -> u16 {
    if total == 0 {
        return 0;
    }
    let share = u128::from(done.min(total)) * 1000 / u128::from(total);
    u16::try_from(share).unwrap_or(999).min(999)
}

#[cfg(test)]
mod tests {
    use super::per_mille;

    #[test]
    fn progress_is_a_share_of_known_bytes_and_never_complete_by_itself() {
        assert_eq!(per_mille(0, 0), 0);
        assert_eq!(per_mille(1, 3), 333);
        assert_eq!(per_mille(5, 3), 999);
        assert_eq!(per_mille(u64::MAX, u64::MAX), 999);
    }
}
