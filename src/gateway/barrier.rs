//! One environment's barrier in one gateway: counts requests in flight, lets new ones wait, and gives up by itself.
//!
//! **Invariant:** a request is counted and the hold is looked at under one lock, so none can slip between the two; and
//! no ticket is given out while a hold stands, which `confirm` and `release` check by number.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use http::uri::PathAndQuery;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::error::HoldError;
use super::order::{Closing, GateReport, HoldId, HoldKind};

#[derive(Debug, Default)]
pub(super) struct Barrier {
    state: Mutex<State>,
    /// A request in flight has ended.
    ended: Notify,
    /// The barrier opened.
    opened: Notify,
}

#[derive(Debug, Default)]
struct State {
    status: Status,
    running: HashMap<u64, Running>,
    /// Tickets given out so far; also the next one's number.
    granted: u64,
    /// In order of arrival.
    waiting: VecDeque<Waiter>,
}

#[derive(Debug, Default)]
enum Status {
    #[default]
    Open,
    Held(Hold),
    /// Closed without an owner: answers 503 until somebody opens it (R23).
    Shut {
        reason: String,
    },
}

#[derive(Debug)]
struct Hold {
    id: HoldId,
    kind: HoldKind,
    /// Confirmed by its controller on every gate. Before that no hold fails closed: nothing was swapped yet.
    armed: bool,
    /// The reason it was shut for when a swap hold was laid over a shut barrier, by a recovery.
    beneath: Option<String>,
    closed_at: Instant,
    drain: Duration,
    lease: Duration,
    /// When the controller counts as dead.
    lease_ends: Instant,
    /// When the hold ends whatever the controller says.
    ceiling: Instant,
    /// `granted` at the closing.
    granted: u64,
    queue: usize,
    waited: u64,
    lost: u64,
}

/// A request on its way: what it is, for the message that names a culprit. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct What {
    pub method: Method,
    pub path: PathAndQuery,
}

#[derive(Debug)]
struct Running {
    what: What,
    since: Instant,
}

#[derive(Debug)]
struct Waiter {
    what: What,
    since: Instant,
    answer: oneshot::Sender<Result<Ticket, Refused>>,
}

/// Why a request was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// As many wait already as may.
    Full,
    /// Closed without an owner.
    Shut,
}

/// One request in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    /// `None`: its entry is removed already.
    barrier: Option<Arc<Barrier>>,
    number: u64,
}

#[cfg(test)]
impl Ticket {
    pub fn number(&self) -> u64 {
        self.number
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

/// What a barrier is doing, for pages and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    pub standing: Standing,
    /// Requests in flight; event streams and websockets are not among them.
    pub running: usize,
    pub waiting: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Open,
    Held,
    Shut,
}

impl Barrier {
    /// Waits while the barrier is held; `queue` is the gateway's own bound on how many may.
    pub async fn enter(self: &Arc<Self>, what: What, queue: usize) -> Result<Ticket, Refused> {
        let turn = {
            let mut state = self.lock();
            if matches!(state.status, Status::Open) {
                return Ok(state.grant(self, what));
            }
            if let Status::Held(hold) = &state.status
                && state.waiting.len() >= queue.min(hold.queue)
            {
                state.waiting.retain(|waiter| !waiter.answer.is_closed());
            }
            let State { status, waiting, .. } = &mut *state;
            match status {
                Status::Held(hold) if waiting.len() < queue.min(hold.queue) => {
                    hold.waited += 1;
                    let (answer, turn) = oneshot::channel();
                    waiting.push_back(Waiter { what, since: Instant::now(), answer });
                    turn
                }
                Status::Held(hold) => {
                    hold.lost += 1;
                    return Err(Refused::Full);
                }
                Status::Open | Status::Shut { .. } => return Err(Refused::Shut),
            }
        };
        turn.await.unwrap_or(Err(Refused::Shut))
    }

    /// Runs `act` if the barrier is open, and keeps it open meanwhile: for one write to a websocket, so `act` must be
    /// short and must not block.
    pub fn while_open<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        let state = self.lock();
        matches!(state.status, Status::Open).then(act)
    }

    pub async fn opened(&self) {
        loop {
            let turned = self.opened.notified();
            tokio::pin!(turned);
            turned.as_mut().enable();
            if matches!(self.lock().status, Status::Open) {
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
        let closed_at = self.shut_the_door(order)?;
        let aborts = AbortOnDrop { barrier: self, hold: Some(&order.hold) };
        self.watch(order.hold.clone());
        if tokio::time::timeout(order.limits.drain, self.drained()).await.is_err() {
            let culprit = self.oldest();
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

    fn shut_the_door(&self, order: &Closing) -> Result<Instant, HoldError> {
        let mut state = self.lock();
        let beneath = match (&mut state.status, order.kind) {
            (Status::Held(_), _) => return Err(HoldError::AlreadyHeld),
            (Status::Shut { reason }, HoldKind::Snapshot) => return Err(HoldError::Shut { reason: reason.clone() }),
            (Status::Shut { reason }, HoldKind::Swap) => Some(std::mem::take(reason)),
            (Status::Open, _) => None,
        };
        let now = Instant::now();
        state.status = Status::Held(Hold {
            id: order.hold.clone(),
            kind: order.kind,
            armed: false,
            beneath,
            closed_at: now,
            drain: Duration::ZERO,
            lease: order.limits.lease,
            lease_ends: now + order.limits.drain + order.limits.lease,
            ceiling: now + order.limits.ceiling,
            granted: state.granted,
            queue: order.limits.queue,
            waited: 0,
            lost: 0,
        });
        Ok(now)
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

    fn oldest(&self) -> Option<HoldError> {
        let state = self.lock();
        let oldest = state.running.values().min_by_key(|running| running.since)?;
        Some(HoldError::Busy {
            method: oldest.what.method.to_string(),
            path: oldest.what.path.path().chars().take(200).collect(),
            age: oldest.since.elapsed(),
            others: state.running.len() as u64 - 1,
        })
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
        let mut state = self.lock();
        if let Ok(hold) = state.held(id) {
            match hold.beneath.take() {
                Some(reason) => state.shut(reason),
                None => drop(state.open(self)),
            }
        }
    }

    /// Ends a hold whose swap went wrong: stays closed. Nothing to do when it is shut already.
    pub fn forsake(self: &Arc<Self>, id: &HoldId, reason: &str) -> Result<(), HoldError> {
        let mut state = self.lock();
        match &state.status {
            Status::Held(hold) if hold.id == *id => state.shut(reason.to_owned()),
            Status::Shut { .. } => {}
            Status::Open | Status::Held(_) => return Err(HoldError::Lapsed),
        }
        Ok(())
    }

    pub fn shut(&self, reason: &str) {
        self.lock().shut(reason.to_owned());
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

    pub fn is_held_by(&self, id: &HoldId) -> bool {
        self.due(id).is_some_and(|due| Instant::now() < due)
    }

    pub fn traffic(&self) -> Traffic {
        let state = self.lock();
        let standing = match &state.status {
            Status::Open => Standing::Open,
            Status::Held(_) => Standing::Held,
            Status::Shut { .. } => Standing::Shut,
        };
        let waiting = state.waiting.iter().filter(|waiter| !waiter.answer.is_closed()).count();
        Traffic { standing, running: state.running.len(), waiting }
    }

    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        matches!(state.status, Status::Open) && state.running.is_empty() && state.waiting.is_empty()
    }

    /// Nothing that runs under the lock can panic half-way through a change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn grant(&mut self, barrier: &Arc<Barrier>, what: What) -> Ticket {
        let number = self.granted;
        self.granted += 1;
        self.running.insert(number, Running { what, since: Instant::now() });
        Ticket { barrier: Some(Arc::clone(barrier)), number }
    }

    fn held(&mut self, id: &HoldId) -> Result<&mut Hold, HoldError> {
        match &mut self.status {
            Status::Held(hold) if hold.id == *id => Ok(hold),
            _ => Err(HoldError::Lapsed),
        }
    }

    fn nothing_passed(&self) -> Result<(), HoldError> {
        let Status::Held(hold) = &self.status else { return Err(HoldError::Lapsed) };
        let passed = self.granted - hold.granted + self.running.len() as u64;
        if passed == 0 { Ok(()) } else { Err(HoldError::Passed { requests: passed }) }
    }

    fn expire(&mut self, barrier: &Arc<Barrier>) {
        let Status::Held(hold) = &mut self.status else { return };
        let now = Instant::now();
        if now < hold.due() {
            return;
        }
        let why = if now < hold.ceiling { "its owner no longer answers" } else { "it reached its ceiling" };
        tracing::warn!(hold.id = %hold.id, hold.kind = ?hold.kind, "hold ended by the gate: {why}");
        match (hold.kind, hold.armed, hold.beneath.take()) {
            (HoldKind::Swap, true, _) => self.shut(format!("a swap was left unfinished: {why}")),
            (_, _, Some(reason)) => self.shut(reason),
            _ => drop(self.open(barrier)),
        }
    }

    /// Lets the waiting requests through in order of arrival.
    fn open(&mut self, barrier: &Arc<Barrier>) -> GateReport {
        let status = std::mem::take(&mut self.status);
        let mut report = GateReport::default();
        let now = Instant::now();
        if let Status::Held(hold) = status {
            report.closed = now - hold.closed_at;
            report.drain = hold.drain;
            report.waited = hold.waited;
            report.lost = hold.lost;
        }
        for waiter in std::mem::take(&mut self.waiting) {
            if waiter.answer.is_closed() {
                continue;
            }
            report.longest_wait = report.longest_wait.max(now - waiter.since);
            let ticket = self.grant(barrier, waiter.what);
            if let Err(Ok(mut unwanted)) = waiter.answer.send(Ok(ticket)) {
                // Its client left this very moment. Dropping the ticket would take the lock that is held here.
                self.running.remove(&unwanted.number);
                unwanted.barrier = None;
            }
        }
        barrier.opened.notify_waiters();
        report
    }

    fn shut(&mut self, reason: String) {
        tracing::warn!("gate shut: {reason}");
        self.status = Status::Shut { reason };
        for waiter in std::mem::take(&mut self.waiting) {
            // A client that has left needs no answer.
            let _ = waiter.answer.send(Err(Refused::Shut));
        }
    }
}

impl Hold {
    fn due(&self) -> Instant {
        self.lease_ends.min(self.ceiling)
    }

    fn renew(&mut self) -> &mut Self {
        self.lease_ends = Instant::now() + self.lease;
        self
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
