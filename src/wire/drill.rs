//! Drills on the wire (ours; U has none).

use serde::{Deserialize, Serialize};

use super::links::{Links, href, path};
use crate::domain::drill;
use crate::domain::ids::{ActivityId, EnvironmentName, ProjectId, SnapshotName};
use crate::domain::time::Timestamp;

/// The report of one that was begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drill {
    /// The activity's.
    pub id: ActivityId,
    pub environment: EnvironmentName,
    pub backup: SnapshotName,
    /// The instant that the snapshot shows.
    pub taken_at: Timestamp,
    pub finished_at: Timestamp,
    /// From the first byte that was read to the last check.
    pub seconds: f64,
    pub parts: Vec<DrilledPart>,
    /// What could not be tried where the environment stands; nothing is known of it.
    #[serde(default)]
    pub unproven: Vec<UnprovenPart>,
    /// `proven`, `proven_but` (for what is `unproven`), `unprovable` or `failed`.
    #[serde(default)]
    pub result: String,
    /// Of one that failed: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<DrillFailure>,
    #[serde(rename = "_links")]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrilledPart {
    /// `service:NAME` or `mount:NAME`.
    pub part: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// What was loaded, and is as the snapshot recorded it.
    pub proven: String,
    pub seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillFailure {
    /// What could not be loaded; `null`: it had not come to any.
    pub part: Option<String>,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnprovenPart {
    pub part: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// Why, and what to do.
    pub reason: String,
}

/// Body of `POST …/drills`; it may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DrillRequest {
    /// The newest when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<SnapshotName>,
}

impl Drill {
    pub fn new(drill: drill::Drill, project: &ProjectId, environment: &EnvironmentName) -> Self {
        let result = match drill.outcome() {
            None => "proven",
            Some(drill::Outcome::ProvenBut(_)) => "proven_but",
            Some(drill::Outcome::Unprovable | drill::Outcome::NotBegun) => "unprovable",
            Some(drill::Outcome::Failed) => "failed",
        };
        let parts = drill.parts.into_iter().map(|part| DrilledPart {
            part: part.part.to_string(),
            kind: part.kind,
            proven: part.proven,
            seconds: seconds(part.took_us),
        });
        let unproven = drill.unproven.into_iter().map(|left| UnprovenPart {
            part: left.part.to_string(),
            kind: left.kind,
            reason: left.why,
        });
        Self {
            parts: parts.collect(),
            unproven: unproven.collect(),
            result: result.to_owned(),
            failure: drill.failure.map(|failure| DrillFailure {
                part: failure.part.map(|part| part.to_string()),
                reason: failure.reason,
            }),
            environment: environment.clone(),
            taken_at: drill.taken_at,
            finished_at: drill.finished_at,
            seconds: seconds(drill.took_us),
            links: Links::to_self(href(&path::drill(project, environment, &drill.activity)))
                .with("activity", href(&path::activity(project, &drill.activity)))
                .with("backup", href(&path::backup(project, environment, &drill.snapshot))),
            backup: drill.snapshot,
            id: drill.activity,
        }
    }
}

/// To the millisecond.
#[allow(clippy::cast_precision_loss, reason = "a thousand years have fewer milliseconds than a double's digits")]
fn seconds(micros: u64) -> f64 {
    (micros / 1000) as f64 / 1000.0
}
