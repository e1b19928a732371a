//! Takes activities and has them worked on, several at a time, each of another environment.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Error, Lease, Timing};
use crate::domain::activity::Activity;
use crate::domain::ids::RegionId;
use crate::store::work::{self, End, Holder};
use crate::store::{self, Store, clock};

/// One activity to work on.
#[derive(Debug)]
pub struct Work {
    pub activity: Activity,
    pub lease: Lease,
    /// 1 at the first try; more when an earlier worker died on it.
    pub attempt: i64,
}

/// Why work ended without success.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// For people: what failed, and what to do.
    #[error("{0}")]
    Failed(String),
    /// It ended because it was told to, and left nothing behind.
    #[error("it was cancelled")]
    Cancelled,
    /// The lease is gone: somebody else works on it now.
    #[error(transparent)]
    Queue(#[from] Error),
}

/// Works on activities. On success it has already finished the activity with [`Lease::finish`], in the transaction
/// that made its result true.
pub trait Handler: Send + Sync + 'static {
    fn run(&self, work: Work) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>>;
}

/// Takes work of one region until it is told to stop.
pub struct Worker {
    pub store: Store,
    pub region: RegionId,
    pub handler: Arc<dyn Handler>,
    /// How many activities run side by side.
    pub capacity: usize,
    pub timing: Timing,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("region", &self.region).field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl Worker {
    /// Runs until `stop`; then tells running work to end, puts it back into the queue, and returns.
    pub async fn run(self, stop: CancellationToken) {
        let owner = store::random_id();
        let worker = Arc::new(self);
        let permits = Arc::new(Semaphore::new(worker.capacity));
        let tasks = TaskTracker::new();
        while !stop.is_cancelled() {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
            if stop.is_cancelled() {
                break;
            }
            let mut mark = worker.store.mark();
            match worker.take(&owner).await {
                Ok(Some(taken)) => {
                    let holder = Holder {
                        activity: taken.activity.id.clone(),
                        owner: owner.clone(),
                        generation: taken.generation,
                    };
                    let lease = Lease::new(worker.store.clone(), holder, worker.timing, stop.child_token());
                    let work = Work { activity: taken.activity, lease, attempt: taken.attempt };
                    let worker = Arc::clone(&worker);
                    tasks.spawn(async move {
                        worker.work(work).await;
                        drop(permit);
                    });
                }
                Ok(None) => {
                    tokio::select! {
                        () = worker.store.changed(&mut mark) => {}
                        () = stop.cancelled() => {}
                    }
                }
                Err(error) => {
                    tracing::error!(error = %error, "no work could be taken");
                    tokio::select! {
                        () = tokio::time::sleep(worker.timing.heartbeat) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    async fn take(&self, owner: &str) -> Result<Option<work::Taken>, Error> {
        let dialect = self.store.dialect();
        let mut tx = self.store.write().await?;
        let now = clock::now(&mut tx, dialect).await?;
        let taken = work::take(&mut tx, dialect, &self.region, owner, now, self.timing.lease).await?;
        match taken {
            Some(_) => self.store.commit(tx).await?,
            None => drop(tx),
        }
        Ok(taken)
    }

    async fn work(&self, work: Work) {
        let lease = work.lease.clone();
        let activity = work.activity.id.clone();
        let outcome = tokio::select! {
            outcome = self.handler.run(work) => outcome,
            () = lease.keep() => unreachable!("keeping a lease never ends by itself"),
        };
        let ended = match outcome {
            Ok(()) => Ok(()),
            Err(Failure::Queue(error)) if lease.is_lost() => Err(error),
            Err(Failure::Cancelled) if lease.is_stopping() => lease.put_back().await,
            Err(Failure::Cancelled) => self.end(&lease, End::Cancelled).await,
            Err(failure) => self.end(&lease, End::Failure(failure.to_string())).await,
        };
        if let Err(error) = ended {
            tracing::warn!(activity.id = %activity, %error, "the activity was left to another worker");
        }
    }

    async fn end(&self, lease: &Lease, end: End) -> Result<(), Error> {
        let mut tx = self.store.write().await?;
        lease.finish(&mut tx, &end).await?;
        self.store.commit(tx).await?;
        Ok(())
    }
}
