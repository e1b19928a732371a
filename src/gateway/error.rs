//! What can go wrong in this room.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::time::span;

/// Running the proxy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the gateway cannot tell which address it listens on")]
    Listen(#[source] std::io::Error),
}

/// Why there is no hold, or no longer. Travels between a gateway and its controller as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum HoldError {
    #[error("no gateway serves this environment's region; start one, or take a live snapshot")]
    NoGate,
    #[error(
        "`{method} {path}` has been running for {} and did not end in time{}; try again once it is done",
        span(*.age), and_others(*.others)
    )]
    Busy { method: String, path: String, age: Duration, others: u64 },
    #[error("the environment is held already; wait for the other activity to end")]
    AlreadyHeld,
    #[error("the environment is shut until its recovery is done ({reason})")]
    Shut { reason: String },
    #[error("the hold ended before its work was done: it reached its limit, or its owner did not answer in time")]
    Lapsed,
    #[error("a gateway was restarted during the hold, so that requests may have passed")]
    Restarted,
    #[error("a gateway was started during the hold, at {gate}, so that requests may have passed; try again")]
    Joined { gate: String },
    #[error("{requests} requests passed during the hold")]
    Passed { requests: u64 },
    #[error("the gateway at {gate} did not confirm ({cause}); see that it runs and can be reached")]
    Unreachable { gate: String, cause: String },
    #[error("the gateway at {gate} refused the control key; give both the same one")]
    Denied { gate: String },
}

fn and_others(others: u64) -> String {
    match others {
        0 => String::new(),
        1 => ", nor did another one".to_owned(),
        n => format!(", nor did {n} others"),
    }
}
