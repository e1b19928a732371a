//! The right to work on one activity.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Error, Timing};
use crate::domain::activity::Payload;
use crate::domain::{ActivityId, Timestamp};
use crate::store::work::{self, End, Holder};
use crate::store::{Db, Store, clock, logs};

/// Held while an activity runs; renewed in the background. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lease(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    holder: Holder,
    timing: Timing,
    lost: CancellationToken,
    cancel: CancellationToken,
    stop: CancellationToken,
}

impl Lease {
    pub(super) fn new(store: Store, holder: Holder, timing: Timing, stop: CancellationToken) -> Self {
        let cancel = stop.child_token();
        Self(Arc::new(Inner { store, holder, timing, lost: CancellationToken::new(), cancel, stop }))
    }

    pub fn activity(&self) -> &ActivityId {
        &self.0.holder.activity
    }

    /// Resolves when the work should end: somebody cancelled it, the worker is stopping, or the lease was lost.
    pub async fn cancelled(&self) {
        self.0.cancel.cancelled().await;
    }

    /// Resolves when the work can't go on here, whatever was wished for: the worker is stopping, or the lease was lost.
    pub async fn interrupted(&self) {
        tokio::select! {
            () = self.0.stop.cancelled() => {}
            () = self.0.lost.cancelled() => {}
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.cancel.is_cancelled()
    }

    /// The worker is stopping: the activity goes back into the queue.
    pub fn is_stopping(&self) -> bool {
        self.0.stop.is_cancelled()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.0.lost.is_cancelled()
    }

    /// Asks the database whether the lease still stands: before anything final is written.
    ///
    /// # Errors
    /// [`Error::LeaseLost`]; or when the database fails, which is no leave to go on either.
    pub async fn confirm(&self) -> Result<(), Error> {
        if self.renew().await? { Ok(()) } else { Err(self.lost()) }
    }

    /// The same within the caller's transaction: what that changes is changed only by the holder.
    ///
    /// # Errors
    /// [`Error::LeaseLost`]: the caller must let its transaction roll back.
    pub async fn confirm_in(&self, db: &mut Db) -> Result<(), Error> {
        let now = clock::now(db, self.0.store.dialect()).await?;
        match work::renew(db, &self.0.holder, now, self.0.timing.lease).await? {
            Some(_) => Ok(()),
            None => Err(self.lost()),
        }
    }

    /// One line for people in the activity's log.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn log(&self, message: &str) -> Result<(), Error> {
        tracing::info!(activity.id = %self.activity(), "{message}");
        let store = &self.0.store;
        let mut tx = store.write().await?;
        let now = clock::now(&mut tx, store.dialect()).await?;
        logs::append(&mut tx, self.activity(), now, message).await?;
        store.commit(tx).await?;
        Ok(())
    }

    /// # Errors
    /// [`Error::LeaseLost`], or when the database fails.
    pub async fn progress(&self, per_mille: u16) -> Result<(), Error> {
        let store = &self.0.store;
        let mut tx = store.write().await?;
        let now = clock::now(&mut tx, store.dialect()).await?;
        if !work::progress(&mut tx, &self.0.holder, per_mille.min(1000), now).await? {
            return Err(self.lost());
        }
        store.commit(tx).await?;
        Ok(())
    }

    /// Writes the activity's payload anew; durable when it returns.
    ///
    /// # Errors
    /// [`Error::LeaseLost`], or when the database fails.
    pub async fn note(&self, payload: &Payload) -> Result<(), Error> {
        let store = &self.0.store;
        let mut tx = store.write().await?;
        if !work::note(&mut tx, &self.0.holder, payload).await? {
            return Err(self.lost());
        }
        store.commit(tx).await?;
        Ok(())
    }

    /// Ends the activity inside the caller's transaction: what it made and that it is done become true together. The
    /// caller commits.
    ///
    /// # Errors
    /// [`Error::LeaseLost`]: the caller must let its transaction roll back.
    pub async fn finish(&self, db: &mut Db, end: &End) -> Result<Timestamp, Error> {
        let now = clock::now(db, self.0.store.dialect()).await?;
        if !work::finish(db, &self.0.holder, end, now).await? {
            return Err(self.lost());
        }
        Ok(now)
    }

    pub(super) async fn put_back(&self) -> Result<(), Error> {
        let store = &self.0.store;
        let mut tx = store.write().await?;
        let now = clock::now(&mut tx, store.dialect()).await?;
        work::put_back(&mut tx, &self.0.holder, now).await?;
        store.commit(tx).await?;
        Ok(())
    }

    async fn renew(&self) -> Result<bool, Error> {
        let Inner { store, timing, .. } = &*self.0;
        let mut tx = store.write().await?;
        let now = clock::now(&mut tx, store.dialect()).await?;
        let renewed = work::renew(&mut tx, &self.0.holder, now, timing.lease).await?;
        tx.commit().await.map_err(crate::store::Error::from)?;
        if renewed == Some(true) {
            self.0.cancel.cancel();
        }
        Ok(renewed.is_some())
    }

    /// Does the work, and renews the lease meanwhile.
    pub async fn kept<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            () = self.keep() => unreachable!("keeping a lease never ends by itself"),
        }
    }

    /// Renews until dropped. A database that can't be reached is tried again; once the lease must have expired it
    /// counts as lost.
    pub(super) async fn keep(&self) {
        let timing = self.0.timing;
        let mut renewed_at = tokio::time::Instant::now();
        loop {
            tokio::time::sleep(timing.heartbeat).await;
            match self.renew().await {
                Ok(true) => renewed_at = tokio::time::Instant::now(),
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(activity.id = %self.activity(), %error, "the lease could not be renewed");
                    if renewed_at.elapsed() >= timing.lease {
                        break;
                    }
                }
            }
        }
        let _ = self.lost();
        std::future::pending().await
    }

    fn lost(&self) -> Error {
        self.0.lost.cancel();
        self.0.cancel.cancel();
        Error::LeaseLost(self.activity().clone())
    }
}
