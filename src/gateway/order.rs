//! What a controller asks of a gate, in one form for a gate in this process and for one in another.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::control::Remote;
use super::error::HoldError;
use super::{Gateway, Limits};
use crate::domain::EnvironmentId;

/// Any gate, here or in another process: same behaviour, because both obey the same orders.
#[derive(Debug, Clone)]
pub enum Gate {
    Local(Gateway),
    Remote(Remote),
}

impl Gate {
    /// Fail-closed state without an owner, see [`Gateway::shut`].
    ///
    /// # Errors
    /// [`HoldError::Unreachable`] and [`HoldError::Denied`], from a remote gate only.
    pub async fn shut(&self, environment: &EnvironmentId, reason: &str) -> Result<(), HoldError> {
        self.obey(environment, Act::Shut { reason: reason.to_owned() }).await.map(drop)
    }

    /// Ends the state without an owner.
    ///
    /// # Errors
    /// As [`Gate::shut`].
    pub async fn open(&self, environment: &EnvironmentId) -> Result<(), HoldError> {
        self.obey(environment, Act::Open).await.map(drop)
    }

    /// Where it takes orders; `None`: in this process.
    pub(super) fn address(&self) -> Option<&str> {
        match self {
            Self::Local(_) => None,
            Self::Remote(remote) => Some(remote.address()),
        }
    }

    pub(super) async fn obey(&self, environment: &EnvironmentId, act: Act) -> Result<Reply, HoldError> {
        let order = Order { environment: environment.clone(), act };
        match self {
            Self::Local(gateway) => gateway.obey(order).await,
            Self::Remote(remote) => remote.send(&order).await,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldKind {
    /// Fails open: left alone, requests go on (R17).
    Snapshot,
    /// Fails closed: left alone, requests get 503 with Retry-After until a recovery opens the gate (R23).
    Swap,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct HoldId(String);

impl HoldId {
    pub fn random() -> Self {
        Self(random_hex())
    }
}

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of one gateway: another value after a restart, when everything it knew of holds is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Epoch(String);

impl Epoch {
    pub fn random() -> Self {
        Self(random_hex())
    }
}

fn random_hex() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    pub environment: EnvironmentId,
    pub act: Act,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Act {
    Calm {
        age: Duration,
        patience: Duration,
    },
    Close(Closing),
    Confirm(Reference),
    Renew(Reference),
    Release(Reference),
    /// Needs no epoch: also sent when the reply to `Close` was lost.
    Abort {
        hold: HoldId,
    },
    Forsake {
        hold: HoldId,
        reason: String,
    },
    Shut {
        reason: String,
    },
    Open,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Closing {
    pub hold: HoldId,
    pub kind: HoldKind,
    pub limits: Limits,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Reference {
    pub hold: HoldId,
    pub epoch: Epoch,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub(super) enum Reply {
    Done,
    Closed { epoch: Epoch, drain: Duration },
    Released(GateReport),
}

/// How a hold went at one gate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GateReport {
    pub closed: Duration,
    pub drain: Duration,
    pub waited: u64,
    pub longest_wait: Duration,
    pub lost: u64,
}

impl Gateway {
    pub(super) async fn obey(&self, order: Order) -> Result<Reply, HoldError> {
        match &order.act {
            Act::Calm { age, patience } => {
                // Not calm in time is no error: the drain will tell, and name who is in the way.
                self.barrier(&order.environment).calm(*age, *patience).await;
                Ok(Reply::Done)
            }
            Act::Close(closing) => {
                let drain = self.barrier(&order.environment).close(closing).await?;
                Ok(Reply::Closed { epoch: self.epoch().clone(), drain })
            }
            _ => self.obey_at_once(&order),
        }
    }

    /// Every order but the two that wait.
    pub(super) fn obey_at_once(&self, order: &Order) -> Result<Reply, HoldError> {
        let barrier = self.barrier(&order.environment);
        if let Act::Confirm(reference) | Act::Renew(reference) | Act::Release(reference) = &order.act
            && reference.epoch != *self.epoch()
        {
            return Err(HoldError::Restarted);
        }
        match &order.act {
            Act::Confirm(reference) => barrier.confirm(&reference.hold)?,
            Act::Renew(reference) => barrier.renew(&reference.hold)?,
            Act::Release(reference) => return barrier.release(&reference.hold).map(Reply::Released),
            Act::Abort { hold } => barrier.abort(hold),
            Act::Forsake { hold, reason } => barrier.forsake(hold, reason)?,
            Act::Shut { reason } => barrier.shut(reason),
            Act::Open => barrier.open(),
            Act::Calm { .. } | Act::Close(_) => {}
        }
        Ok(Reply::Done)
    }
}
