//! One environment's barrier in one gateway: counts requests in flight, lets new ones wait, and gives up by itself.
//!
//! **Invariant:** a request is counted and the hold is looked at under one lock, so none can slip between the two.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::error::HoldError;
use super::order::{Closing, GateReport, HoldId};
use super::state::{Entry, Refused, State, Status, Traffic, What};
use crate::domain::EnvironmentId;

#[derive(Debug)]
pub(super) struct Barrier {
    pub environment: EnvironmentId,
    state: Mutex<State>,
    /// A request in flight has ended.
    ended: Notify,
    /// The barrier opened.
    opened: Notify,
}

/// One request in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    /// `None`: its entry is removed already.
    barrier: Option<Arc<Barrier>>,
    number: u64,
}

impl Ticket {
    pub fn new(barrier: &Arc<Barrier>, number: u64) -> Self {
        Self { barrier: Some(Arc::clone(barrier)), number }
    }

    /// Tickets are numbered in the order in which requests were let in.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its entry is removed already: for who drops it while the lock is held.
    pub fn spend(&mut self) {
        self.barrier = None;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(barrier) = self.barrier.take() {
            barrier.lock().running.remove(&self.number);
            barrier.ended.notify_waiters();
        }
    }
}

impl Barrier {
    pub fn new(environment: EnvironmentId) -> Self {
        Self { environment, state: Mutex::default(), ended: Notify::new(), opened: Notify::new() }
    }

    /// Waits while the barrier is held; `queue` is the gateway's own bound on how many may.
    pub async fn enter(self: &Arc<Self>, what: What, queue: usize) -> Result<Ticket, Refused> {
        let entry = self.lock().enter(self, what, queue)?;
        match entry {
            Entry::Now(ticket) => Ok(ticket),
            Entry::Later(turn) => turn.await.unwrap_or(Err(Refused::SHUT)),
        }
    }

    /// Runs `act` if the barrier is open, and keeps it open meanwhile: for one write to a websocket, so `act` must be
    /// short and must not block.
    pub fn while_open<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        let state = self.lock();
        state.is_open().then(act)
    }

    pub async fn opened(&self) {
        loop {
            let turned = self.opened.notified();
            tokio::pin!(turned);
            turned.as_mut().enable();
            if self.lock().is_open() {
                return;
            }
            turned.await;
        }
    }

    /// Waits, without holding, until no request in flight is older than `age` (R17). `false`: not within `patience`.
    pub async fn calm(&self, age: Duration, patience: Duration) -> bool {
        let calm = async {
            loop {
                let ended = self.ended.notified();
                tokio::pin!(ended);
                ended.as_mut().enable();
                if self.lock().running.values().all(|running| running.since.elapsed() <= age) {
                    return;
                }
                ended.await;
            }
        };
        tokio::time::timeout(patience, calm).await.is_ok()
    }

    /// Closes and drains. Dropped half-way, or failing, it opens again.
    pub async fn close(self: &Arc<Self>, order: &Closing) -> Result<Duration, HoldError> {
        let closed_at = self.lock().close(order)?;
        let aborts = AbortOnDrop { barrier: self, hold: Some(&order.hold) };
        self.watch(order.hold.clone());
        if tokio::time::timeout(order.limits.drain, self.drained()).await.is_err() {
            let culprit = self.lock().oldest();
            drop(aborts);
            return match culprit {
                Some(busy) => Err(busy),
                None => Err(HoldError::Lapsed),
            };
        }
        let drain = closed_at.elapsed();
        let mut state = self.lock();
        state.held(&order.hold)?.drain = drain;
        drop(state);
        aborts.disarm();
        Ok(drain)
    }

    async fn drained(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.lock().running.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// The dead-man: ends the hold when its controller no longer renews it, or at its ceiling.
    fn watch(self: &Arc<Self>, id: HoldId) {
        let barrier = Arc::clone(self);
        tokio::spawn(async move {
            while let Some(due) = barrier.due(&id) {
                tokio::time::sleep_until(due).await;
                barrier.lock().expire(&barrier);
            }
        });
    }

    fn due(&self, id: &HoldId) -> Option<Instant> {
        match &self.lock().status {
            Status::Held(hold) if hold.id == *id => Some(hold.due()),
            _ => None,
        }
    }

    /// Still closed, drained, and nothing passed; renews the lease, and from now on a swap hold fails closed.
    pub fn confirm(self: &Arc<Self>, id: &HoldId) -> Result<(), HoldError> {
        let mut state = self.lock();
        state.expire(self);
        state.held(id)?.renew().armed = true;
        state.nothing_passed()
    }

    pub fn renew(self: &Arc<Self>, id: &HoldId) -> Result<(), HoldError> {
        let mut state = self.lock();
        state.expire(self);
        state.held(id)?.renew();
        Ok(())
    }

    /// Opens, if the hold still stands. Opens too when something passed, and says so.
    pub fn release(self: &Arc<Self>, id: &HoldId) -> Result<GateReport, HoldError> {
        let mut state = self.lock();
        state.expire(self);
        state.held(id)?;
        let verdict = state.nothing_passed();
        let report = state.open(self);
        verdict.map(|()| report)
    }

    /// Ends a hold under which nothing was changed: as it was before.
    pub fn abort(self: &Arc<Self>, id: &HoldId) {
        self.lock().abort(self, id);
    }

    /// Ends a hold whose swap went wrong: stays closed. Nothing to do when it is shut already.
    pub fn forsake(self: &Arc<Self>, id: &HoldId, reason: &str) -> Result<(), HoldError> {
        let mut state = self.lock();
        match &state.status {
            Status::Held(hold) if hold.id == *id => state.shut(self, reason.to_owned()),
            Status::Shut { .. } => {}
            Status::Open | Status::Held(_) => return Err(HoldError::Lapsed),
        }
        Ok(())
    }

    pub fn shut(&self, reason: &str) {
        self.lock().shut(self, reason.to_owned());
    }

    /// Ends the state without an owner. A hold that stands keeps standing, and opens when it is released.
    pub fn open(self: &Arc<Self>) {
        let mut state = self.lock();
        match &mut state.status {
            Status::Held(hold) => hold.beneath = None,
            Status::Shut { .. } => drop(state.open(self)),
            Status::Open => {}
        }
    }

    /// Since when it has been without an owner; `None`: it isn't.
    pub fn shut_since(&self) -> Option<Instant> {
        match &self.lock().status {
            Status::Shut { since, .. } => Some(*since),
            _ => None,
        }
    }

    /// Opens what has been shut since then, and nothing that was held or shut later.
    pub fn open_shut(self: &Arc<Self>, since: Instant) {
        let mut state = self.lock();
        if matches!(&state.status, Status::Shut { since: other, .. } if *other == since) {
            let _ = state.open(self);
        }
    }

    pub fn is_held_by(&self, id: &HoldId) -> bool {
        self.due(id).is_some_and(|due| Instant::now() < due)
    }

    pub fn traffic(&self) -> Traffic {
        self.lock().traffic()
    }

    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.is_open() && state.running.is_empty() && state.waiting.is_empty()
    }

    /// The state changed to open, under its lock.
    pub fn has_opened(&self) {
        self.opened.notify_waiters();
    }

    /// Nothing that runs under the lock can panic half-way through a change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens again a closing that was given up half-way.
struct AbortOnDrop<'a> {
    barrier: &'a Arc<Barrier>,
    hold: Option<&'a HoldId>,
}

impl AbortOnDrop<'_> {
    fn disarm(mut self) {
        self.hold = None;
    }
}

impl Drop for AbortOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(hold) = self.hold {
            self.barrier.abort(hold);
        }
    }
}
