//! Holding an environment on all of its gates at once, and the guard that proves it.
//!
//! **Invariant:** a [`Held`] that stands means: every gate given is closed, and no request is in flight on any of them.
//! Whatever becomes of it, each gate ends the hold by itself when it is no longer renewed.

use std::time::Duration;

use futures::future::{join_all, try_join_all};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::error::HoldError;
use super::heartbeat::Heartbeat;
use super::order::{Act, Closing, Epoch, Gate, HoldId, HoldKind, Order, Reference, Reply};
use crate::domain::EnvironmentId;
use crate::domain::snapshot::Proof;
use crate::domain::time::DAY;

/// Attempts within `calm_wait`: each that fails made visitors wait for the length of a drain.
const ATTEMPTS: u32 = 3;

/// How long a hold may make whom wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// How long to wait, without holding, for a moment when long requests are done (R17).
    pub calm_wait: Duration,
    /// How long requests in flight may take to end once the gate is closed.
    pub drain: Duration,
    /// The dead-man: how long a gate waits for a sign of its controller before it ends the hold.
    pub lease: Duration,
    /// When a gate ends the hold, whatever its controller says.
    pub ceiling: Duration,
    /// How many requests may wait; the next ones get 503 with Retry-After.
    pub queue: usize,
    /// How long the work in it was said to take: who is told to come back learns how much of that is left.
    #[serde(default)]
    pub announced: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calm_wait: Duration::from_secs(30),
            drain: Duration::from_secs(1),
            lease: Duration::from_millis(2_500),
            ceiling: Duration::from_secs(10),
            queue: 1_024,
            announced: None,
        }
    }
}

/// Closes the environment on every given gate and drains: all or nothing. Waits first, without holding, for a calm
/// moment; when a request is in the way after all, waits for its end and tries again as long as `calm_wait` allows.
///
/// A swap hold may be laid over a gate that is shut: so a recovery gets its [`Held`] (R23).
///
/// # Errors
/// [`HoldError::Busy`] names the request that did not end. Whatever the error, all gates are as they were before; only
/// after [`HoldError::Unreachable`] for a swap, the gate that cannot be reached may shut itself, so that whoever clears
/// the swap's intent should also [`Gate::open`] all gates.
pub async fn hold(
    gates: &[Gate],
    environment: &EnvironmentId,
    kind: HoldKind,
    limits: &Limits,
) -> Result<Held, HoldError> {
    if gates.is_empty() {
        return Err(HoldError::NoGate);
    }
    let patience_ends = Instant::now() + limits.calm_wait.min(DAY);
    let mut attempt = 1;
    loop {
        let patience = patience_ends.saturating_duration_since(Instant::now());
        let calm = Act::Calm { age: limits.drain / 2, patience };
        try_join_all(gates.iter().map(|gate| gate.obey(environment, calm.clone()))).await?;
        match close(gates, environment, kind, limits).await {
            Err(HoldError::Busy { .. }) if attempt < ATTEMPTS && Instant::now() < patience_ends => attempt += 1,
            Err(error) => return Err(error),
            Ok(mut held) => {
                held.attempts = attempt;
                return Ok(held);
            }
        }
    }
}

async fn close(
    gates: &[Gate],
    environment: &EnvironmentId,
    kind: HoldKind,
    limits: &Limits,
) -> Result<Held, HoldError> {
    let closing = Closing { hold: HoldId::random(), kind, limits: limits.clone() };
    let closed_at = Instant::now();
    let mut held = Held {
        environment: environment.clone(),
        kind,
        hold: closing.hold.clone(),
        closed_at,
        limits: limits.clone(),
        attempts: 1,
        stage: Stage::Closing,
        gates: gates.iter().map(|gate| (gate.clone(), None)).collect(),
        heartbeat: Heartbeat::new(closed_at),
    };
    let replies = try_join_all(gates.iter().map(|gate| gate.obey(environment, Act::Close(closing.clone())))).await;
    let closed = match replies {
        Ok(replies) => {
            for ((_, epoch), reply) in held.gates.iter_mut().zip(replies) {
                if let Reply::Closed { epoch: of_this_life, .. } = reply {
                    *epoch = Some(of_this_life);
                }
            }
            // Only now that all of them are closed: from here on a swap hold fails closed.
            held.confirm().await
        }
        Err(error) => Err(error),
    };
    match closed {
        Ok(()) => {
            held.stage = Stage::Standing;
            held.beat();
            Ok(held)
        }
        Err(error) => {
            held.end(Act::Abort { hold: closing.hold }).await;
            Err(error)
        }
    }
}

/// The proof that an environment is paused: what needs the pause takes `&Held`.
///
/// Dropped without [`Held::release`], a snapshot hold opens at once, and a swap hold stays closed (503).
#[derive(Debug)]
#[must_use = "dropped, the hold ends"]
pub struct Held {
    environment: EnvironmentId,
    kind: HoldKind,
    hold: HoldId,
    closed_at: Instant,
    limits: Limits,
    attempts: u32,
    stage: Stage,
    gates: Vec<(Gate, Option<Epoch>)>,
    heartbeat: Heartbeat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not yet handed out: nothing can have been changed under it, so even a swap hold may just open.
    Closing,
    Standing,
    Over,
}

/// How a hold went (R18), over all gates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HoldReport {
    /// From closing the gate to opening it, drain included.
    pub closed: Duration,
    /// Of which: waiting for requests in flight to end.
    pub drain: Duration,
    /// Requests that had to wait.
    pub waited: u64,
    pub longest_wait: Duration,
    /// Requests that were refused because of the hold.
    pub lost: u64,
    /// How often the gate was closed for it: each attempt before the last made requests wait for at most one drain.
    pub attempts: u32,
}

impl HoldReport {
    /// The gate's share of a snapshot's proof.
    pub fn proof(&self) -> Proof {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Proof {
            closed_us: micros(self.closed),
            drain_us: micros(self.drain),
            waited: self.waited,
            longest_wait_us: micros(self.longest_wait),
            lost: self.lost,
            ..Proof::default()
        }
    }
}

impl Held {
    pub fn environment(&self) -> &EnvironmentId {
        &self.environment
    }

    pub fn kind(&self) -> HoldKind {
        self.kind
    }

    /// Whether the hold can still be relied on, as far as this process knows: cheap, for asking between steps.
    /// Gates in other processes are believed for the length of a lease since they last answered.
    pub fn is_standing(&self) -> bool {
        let here = self.gates.iter().all(|(gate, _)| match gate {
            Gate::Local(gateway) => gateway.barrier(&self.environment).is_held_by(&self.hold),
            Gate::Remote(_) => true,
        });
        here && self.heartbeat.is_fresh(self.limits.lease) && self.closed_at.elapsed() < self.limits.ceiling
    }

    /// Asks every gate: still closed, in the same life, and nothing passed.
    ///
    /// # Errors
    /// The first gate's that could not say so. The hold is left as it is.
    pub async fn confirm(&self) -> Result<(), HoldError> {
        let asked_at = Instant::now();
        let confirm = |(gate, epoch): &(Gate, Option<Epoch>)| {
            let act = self.reference(epoch).map(Act::Confirm);
            let gate = gate.clone();
            async move { gate.obey(&self.environment, act?).await }
        };
        try_join_all(self.gates.iter().map(confirm)).await?;
        self.heartbeat.seen(asked_at);
        Ok(())
    }

    /// Whether the hold closes all of these gates: one that was started since is not held, and lets requests pass.
    ///
    /// # Errors
    /// [`HoldError::Joined`] with the first that is not held.
    pub fn covers(&self, gates: &[Gate]) -> Result<(), HoldError> {
        let held = |gate: &&Gate| self.gates.iter().any(|(held, _)| held.address() == gate.address());
        match gates.iter().find(|gate| !held(gate)) {
            Some(gate) => Err(HoldError::Joined { gate: gate.address().unwrap_or("this process").to_owned() }),
            None => Ok(()),
        }
    }

    /// Opens every gate.
    ///
    /// # Errors
    /// When a gate ended the hold before, was restarted, or cannot be reached. A snapshot hold is open then all the
    /// same, and its snapshot must be discarded; of a swap hold, gates that had given up stay shut until
    /// [`Gate::open`].
    pub async fn release(mut self) -> Result<HoldReport, HoldError> {
        if self.kind == HoldKind::Swap {
            // All or nothing: opening some of them while others have given up would show a half-open site.
            if let Err(error) = self.confirm().await {
                let reason = format!("the hold could not be confirmed after a swap: {error}");
                self.end(Act::Forsake { hold: self.hold.clone(), reason }).await;
                return Err(error);
            }
        }
        let held = &self;
        let release = |(gate, epoch): &(Gate, Option<Epoch>)| {
            let act = held.reference(epoch).map(Act::Release);
            let gate = gate.clone();
            async move { gate.obey(&held.environment, act?).await }
        };
        let replies = join_all(held.gates.iter().map(release)).await;
        if replies.iter().any(Result::is_err) && self.kind == HoldKind::Snapshot {
            self.end(Act::Abort { hold: self.hold.clone() }).await;
        }
        self.stage = Stage::Over;
        let mut report = HoldReport { attempts: self.attempts, ..HoldReport::default() };
        for reply in replies {
            if let Reply::Released(gate) = reply? {
                report.closed = report.closed.max(gate.closed);
                report.drain = report.drain.max(gate.drain);
                report.longest_wait = report.longest_wait.max(gate.longest_wait);
                report.waited += gate.waited;
                report.lost += gate.lost;
            }
        }
        Ok(report)
    }

    /// Keeps every gate closed without an owner: the swap went wrong, and its recovery will open them (R23).
    ///
    /// # Errors
    /// The first gate's that did not confirm: it was restarted or opened by a recovery meanwhile, or cannot be reached.
    pub async fn shut(mut self, reason: &str) -> Result<(), HoldError> {
        let act = Act::Forsake { hold: self.hold.clone(), reason: reason.to_owned() };
        self.end(act).await.into_iter().try_for_each(|reply| reply.map(drop))
    }

    async fn end(&mut self, act: Act) -> Vec<Result<Reply, HoldError>> {
        let replies = join_all(self.gates.iter().map(|(gate, _)| gate.obey(&self.environment, act.clone()))).await;
        self.stage = Stage::Over;
        replies
    }

    fn reference(&self, epoch: &Option<Epoch>) -> Result<Reference, HoldError> {
        let epoch = epoch.clone().ok_or(HoldError::Restarted)?;
        Ok(Reference { hold: self.hold.clone(), epoch })
    }

    fn beat(&mut self) {
        let renewal =
            |(gate, epoch): &(Gate, Option<Epoch>)| Some((gate.clone(), Act::Renew(self.reference(epoch).ok()?)));
        let renewals = self.gates.iter().filter_map(renewal).collect();
        self.heartbeat.begin(self.environment.clone(), renewals, self.limits.lease);
    }

    fn order(&self, act: Act) -> Order {
        Order { environment: self.environment.clone(), act }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let act = match (self.stage, self.kind) {
            (Stage::Over, _) => return,
            (Stage::Standing, HoldKind::Swap) => {
                Act::Forsake { hold: self.hold.clone(), reason: "a swap was left unfinished by its owner".to_owned() }
            }
            (Stage::Closing, _) | (Stage::Standing, HoldKind::Snapshot) => Act::Abort { hold: self.hold.clone() },
        };
        for (gate, _) in &self.gates {
            match gate {
                // Can only fail because the hold is over, which is what is wanted.
                Gate::Local(gateway) => drop(gateway.obey_at_once(&self.order(act.clone()))),
                // The dead-man stands behind this: no runtime or no connection means that it ends the hold.
                Gate::Remote(remote) => {
                    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                        let (remote, order) = (remote.clone(), self.order(act.clone()));
                        runtime.spawn(async move { remote.send(&order).await.map(drop) });
                    }
                }
            }
        }
    }
}
