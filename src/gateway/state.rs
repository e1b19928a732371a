//! What a barrier knows, and how it changes: everything in here runs under the barrier's lock.
//!
//! **Invariant:** no ticket is given out while a hold stands, which `nothing_passed` checks by number.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::uri::PathAndQuery;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::barrier::{Barrier, Ticket};
use super::error::HoldError;
use super::order::{Closing, GateReport, HoldId, HoldKind};

/// More than any hold takes; keeps what a controller sends from overflowing the clock.
const LONGEST: Duration = Duration::from_secs(48 * 60 * 60);

#[derive(Debug, Default)]
pub(super) struct State {
    pub status: Status,
    pub running: HashMap<u64, Running>,
    /// Tickets given out so far; also the next one's number.
    pub granted: u64,
    /// In order of arrival.
    pub waiting: VecDeque<Waiter>,
}

#[derive(Debug, Default)]
pub(super) enum Status {
    #[default]
    Open,
    Held(Hold),
    /// Closed without an owner: answers 503 until somebody opens it (R23).
    Shut {
        reason: String,
        since: Instant,
    },
}

#[derive(Debug)]
pub(super) struct Hold {
    pub id: HoldId,
    kind: HoldKind,
    /// Confirmed by its controller on every gate. Before that no hold fails closed: nothing was swapped yet.
    pub armed: bool,
    /// The reason it was shut for when a swap hold was laid over a shut barrier, by a recovery.
    pub beneath: Option<String>,
    closed_at: Instant,
    pub drain: Duration,
    lease: Duration,
    /// When the controller counts as dead.
    lease_ends: Instant,
    /// When the hold ends whatever the controller says.
    ceiling: Instant,
    /// When it should be over by what was announced.
    announced: Option<Instant>,
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
pub(super) struct Running {
    what: What,
    pub since: Instant,
}

#[derive(Debug)]
pub(super) struct Waiter {
    what: What,
    since: Instant,
    answer: oneshot::Sender<Result<Ticket, Refused>>,
}

/// Why a request was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// As many wait already as may.
    Full,
    /// Closed without an owner, or for longer than anybody may be kept waiting; `left`: what is left of the announced time.
    Shut { left: Option<Duration> },
}

impl Refused {
    pub const SHUT: Self = Self::Shut { left: None };
}

/// How a request enters.
#[derive(Debug)]
pub(super) enum Entry {
    Now(Ticket),
    Later(oneshot::Receiver<Result<Ticket, Refused>>),
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

impl State {
    /// Counts the request and lets it in, or lets it wait; `queue` is the gateway's own bound on how many may.
    pub fn enter(&mut self, barrier: &Arc<Barrier>, what: What, queue: usize) -> Result<Entry, Refused> {
        let hold = match &mut self.status {
            Status::Open => return Ok(Entry::Now(self.grant(barrier, what))),
            Status::Shut { .. } => return Err(Refused::SHUT),
            Status::Held(hold) => hold,
        };
        if hold.queue == 0 {
            // It takes longer than anybody may be kept waiting.
            hold.lost += 1;
            return Err(Refused::Shut { left: hold.left() });
        }
        let queue = queue.min(hold.queue);
        if self.waiting.len() >= queue {
            self.waiting.retain(|waiter| !waiter.answer.is_closed());
        }
        if self.waiting.len() >= queue {
            hold.lost += 1;
            return Err(Refused::Full);
        }
        hold.waited += 1;
        let (answer, turn) = oneshot::channel();
        self.waiting.push_back(Waiter { what, since: Instant::now(), answer });
        Ok(Entry::Later(turn))
    }

    /// Begins a hold, which is not armed yet.
    pub fn close(&mut self, order: &Closing) -> Result<Instant, HoldError> {
        let beneath = match (&mut self.status, order.kind) {
            (Status::Held(_), _) => return Err(HoldError::AlreadyHeld),
            (Status::Shut { reason, .. }, HoldKind::Snapshot) => {
                return Err(HoldError::Shut { reason: reason.clone() });
            }
            (Status::Shut { reason, .. }, HoldKind::Swap) => Some(std::mem::take(reason)),
            (Status::Open, _) => None,
        };
        let now = Instant::now();
        let limits = &order.limits;
        self.status = Status::Held(Hold {
            id: order.hold.clone(),
            kind: order.kind,
            armed: false,
            beneath,
            closed_at: now,
            drain: Duration::ZERO,
            lease: limits.lease.min(LONGEST),
            lease_ends: now + limits.drain.min(LONGEST) + limits.lease.min(LONGEST),
            ceiling: now + limits.ceiling.min(LONGEST),
            announced: limits.announced.map(|length| now + length.min(LONGEST)),
            granted: self.granted,
            queue: limits.queue,
            waited: 0,
            lost: 0,
        });
        Ok(now)
    }

    /// Ends a hold under which nothing was changed: as it was before.
    pub fn abort(&mut self, barrier: &Arc<Barrier>, id: &HoldId) {
        if let Ok(hold) = self.held(id) {
            match hold.beneath.take() {
                Some(reason) => self.shut(barrier, reason),
                None => drop(self.open(barrier)),
            }
        }
    }

    /// The request that has been running for longest, as the reason why there is no hold.
    pub fn oldest(&self) -> Option<HoldError> {
        let oldest = self.running.values().min_by_key(|running| running.since)?;
        Some(HoldError::Busy {
            method: oldest.what.method.to_string(),
            path: oldest.what.path.path().chars().take(200).collect(),
            age: oldest.since.elapsed(),
            others: self.running.len() as u64 - 1,
        })
    }

    pub fn traffic(&self) -> Traffic {
        let standing = match &self.status {
            Status::Open => Standing::Open,
            Status::Held(_) => Standing::Held,
            Status::Shut { .. } => Standing::Shut,
        };
        let waiting = self.waiting.iter().filter(|waiter| !waiter.answer.is_closed()).count();
        Traffic { standing, running: self.running.len(), waiting }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.status, Status::Open)
    }

    pub fn grant(&mut self, barrier: &Arc<Barrier>, what: What) -> Ticket {
        let number = self.granted;
        self.granted += 1;
        self.running.insert(number, Running { what, since: Instant::now() });
        Ticket::new(barrier, number)
    }

    pub fn held(&mut self, id: &HoldId) -> Result<&mut Hold, HoldError> {
        match &mut self.status {
            Status::Held(hold) if hold.id == *id => Ok(hold),
            _ => Err(HoldError::Lapsed),
        }
    }

    pub fn nothing_passed(&self) -> Result<(), HoldError> {
        let Status::Held(hold) = &self.status else { return Err(HoldError::Lapsed) };
        let passed = self.granted - hold.granted + self.running.len() as u64;
        if passed == 0 { Ok(()) } else { Err(HoldError::Passed { requests: passed }) }
    }

    pub fn expire(&mut self, barrier: &Arc<Barrier>) {
        let Status::Held(hold) = &mut self.status else { return };
        let now = Instant::now();
        if now < hold.due() {
            return;
        }
        let why = if now < hold.ceiling { "its owner no longer answers" } else { "it reached its ceiling" };
        let environment = &barrier.environment;
        tracing::warn!(environment.id = %environment, hold.id = %hold.id, "hold ended by the gate: {why}");
        match (hold.kind, hold.armed, hold.beneath.take()) {
            (HoldKind::Swap, true, _) => self.shut(barrier, format!("a swap was left unfinished: {why}")),
            (_, _, Some(reason)) => self.shut(barrier, reason),
            _ => drop(self.open(barrier)),
        }
    }

    /// Lets the waiting requests through in order of arrival.
    pub fn open(&mut self, barrier: &Arc<Barrier>) -> GateReport {
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
                self.running.remove(&unwanted.number());
                unwanted.spend();
            }
        }
        barrier.has_opened();
        report
    }

    pub fn shut(&mut self, barrier: &Barrier, reason: String) {
        tracing::warn!(environment.id = %barrier.environment, "gate shut: {reason}");
        self.status = Status::Shut { reason, since: Instant::now() };
        for waiter in std::mem::take(&mut self.waiting) {
            // A client that has left needs no answer.
            let _ = waiter.answer.send(Err(Refused::SHUT));
        }
    }
}

impl Hold {
    pub fn due(&self) -> Instant {
        self.lease_ends.min(self.ceiling)
    }

    /// Of the announced time; `None`: nothing was announced, or it takes longer than that.
    fn left(&self) -> Option<Duration> {
        let left = self.announced?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    pub fn renew(&mut self) -> &mut Self {
        self.lease_ends = Instant::now() + self.lease;
        self
    }
}
