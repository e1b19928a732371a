//! The sign of life of a hold's controller.
//!
//! **Invariant:** what it believes ends before the gates' own leases do: time is counted from before it asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::error::HoldError;
use super::order::{Act, Gate};
use crate::domain::EnvironmentId;

/// Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Heartbeat {
    pulse: Arc<Mutex<Pulse>>,
    task: Option<AbortHandle>,
}

#[derive(Debug)]
struct Pulse {
    /// When the last round began in which every gate answered.
    seen: Instant,
    /// A gate said that the hold is over.
    is_lost: bool,
}

impl Heartbeat {
    pub fn new(seen: Instant) -> Self {
        Self { pulse: Arc::new(Mutex::new(Pulse { seen, is_lost: false })), task: None }
    }

    pub fn is_fresh(&self, lease: Duration) -> bool {
        let pulse = lock(&self.pulse);
        !pulse.is_lost && pulse.seen.elapsed() < lease
    }

    pub fn seen(&self, asked_at: Instant) {
        let mut pulse = lock(&self.pulse);
        pulse.seen = pulse.seen.max(asked_at);
    }

    /// Renews the lease on every gate, four times in its length, for as long as this process lives and is responsive.
    pub fn begin(&mut self, environment: EnvironmentId, renewals: Vec<(Gate, Act)>, lease: Duration) {
        let every = (lease / 4).max(Duration::from_millis(1));
        let pulse = Arc::clone(&self.pulse);
        let beating = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let asked_at = Instant::now();
                let round = renewals.iter().map(|(gate, renewal)| gate.obey(&environment, renewal.clone()));
                // To its end: a gate that cannot be reached must not keep the others from being renewed.
                match join_all(round).await.into_iter().collect::<Result<Vec<_>, _>>() {
                    Ok(_) => lock(&pulse).seen = asked_at,
                    // May be back before the lease ends; `is_fresh` knows when it has.
                    Err(HoldError::Unreachable { .. }) => {}
                    Err(_) => {
                        lock(&pulse).is_lost = true;
                        return;
                    }
                }
            }
        });
        self.task = Some(beating.abort_handle());
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn lock(pulse: &Mutex<Pulse>) -> MutexGuard<'_, Pulse> {
    pulse.lock().unwrap_or_else(PoisonError::into_inner)
}
