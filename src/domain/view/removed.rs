//! What was removed, and what stays of it.

use serde::{Deserialize, Serialize};

use super::Offer;
use crate::domain::environment::{Environment, Project};
use crate::domain::ids::{ActivityId, SnapshotName};
use crate::domain::policy::Refusal;
use crate::domain::policy::retention::Decision;
use crate::domain::time::Timestamp;

/// The environments of a project that were removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemovedPage {
    pub project: Project,
    pub plan_title: String,
    /// The newest removal first; also those of which nothing is left.
    pub environments: Vec<RemovedEnvironment>,
    /// How many snapshots of the project are deleted and can be taken back.
    pub deleted: u64,
    /// Whether the one who looks may have its snapshots go before their time; `None`: the project was not removed.
    pub purge: Option<Offer>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemovedEnvironment {
    /// Its last change is its removal.
    pub environment: Environment,
    /// Who asked for it.
    pub by: Option<String>,
    /// The activity that did it, if the one who looks may see it.
    pub activity: Option<ActivityId>,
    /// Newest first.
    pub snapshots: Vec<RemovedSnapshot>,
}

/// A snapshot that outlives its environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemovedSnapshot {
    /// What the plan says of it.
    pub decision: Decision,
    /// Whether the one who looks may restore it elsewhere.
    pub restore: Offer,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemovedProject {
    pub project: Project,
    pub at: Timestamp,
    /// Who asked for it.
    pub by: Option<String>,
    pub snapshots: u64,
    pub until: Until,
}

/// Until when the last of several snapshots stays, as things are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Until {
    /// There is none.
    Gone,
    At(Timestamp),
    /// Something holds one of them, or the plan keeps it by number: it stays until somebody deletes it.
    NoEnd,
}

impl Until {
    pub fn of<'a>(decisions: impl IntoIterator<Item = &'a Decision>) -> Self {
        decisions.into_iter().fold(Self::Gone, |until, decision| match (until, decision.goes_at) {
            (Self::NoEnd, _) | (_, None) => Self::NoEnd,
            _ if !decision.holds.is_empty() => Self::NoEnd,
            (Self::Gone, Some(at)) => Self::At(at),
            (Self::At(last), Some(at)) => Self::At(last.max(at)),
        })
    }

    /// What can be told to a machine as an instant.
    pub fn at(self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::Gone | Self::NoEnd => None,
        }
    }
}

impl RemovedEnvironment {
    pub fn until(&self) -> Until {
        Until::of(self.snapshots.iter().map(|snapshot| &snapshot.decision))
    }
}

/// What a purge did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    pub deleted: u64,
    /// Until then all of it can be taken back.
    pub until: Timestamp,
    /// What stays, and why.
    pub held: Vec<(SnapshotName, Refusal)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::bytes::Bytes;
    use crate::domain::ids::EnvironmentId;
    use crate::domain::policy::retention::{Fate, Hold};
    use crate::domain::snapshot::Origin;

    fn decision(goes_at: Option<i64>, hold: Option<Hold>) -> Decision {
        Decision {
            environment: EnvironmentId::parse("a".repeat(20)).expect("a valid id"),
            environment_name: "staging".parse().expect("a valid name"),
            snapshot: SnapshotName::parse("2ca4d90639f706283fee").expect("a valid name"),
            origin: Origin::Manual,
            taken_at: Timestamp::from_micros(0),
            added: Bytes(0),
            fate: Fate::Stays,
            reason: String::new(),
            goes_at: goes_at.map(Timestamp::from_micros),
            holds: hold.into_iter().collect(),
            is_for_space: false,
        }
    }

    #[test]
    fn the_last_that_goes_says_until_when_and_one_that_stays_says_that_there_is_no_end() {
        let at = |micros| Until::At(Timestamp::from_micros(micros));
        let table = [
            (vec![], Until::Gone),
            (vec![decision(Some(3), None)], at(3)),
            (vec![decision(Some(5), None), decision(Some(3), None)], at(5)),
            (vec![decision(Some(3), None), decision(None, None), decision(Some(9), None)], Until::NoEnd),
            (vec![decision(Some(3), Some(Hold::OnTicket))], Until::NoEnd),
        ];
        for (decisions, expected) in table {
            assert_eq!(Until::of(&decisions), expected, "{decisions:?}");
        }
    }
}
