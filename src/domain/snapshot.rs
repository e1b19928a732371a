//! A snapshot as the catalogue knows it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bytes::Bytes;
use super::environment::words;
use super::ids::{ActivityId, EnvironmentId, ProjectId, SnapshotName};
use super::time::{self, DAY, Timestamp};

/// One complete, encrypted backup of an environment. Stands in the catalogue only once it is complete (R15).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub name: SnapshotName,
    pub project: ProjectId,
    pub environment: EnvironmentId,
    /// The activity that took it; `None` after the catalogue was rebuilt (R34).
    pub activity: Option<ActivityId>,
    pub origin: Origin,
    pub consistency: Consistency,
    pub note: Option<String>,
    /// The repository's own id of the entry, 64 hexadecimal digits.
    pub repository_id: String,
    /// The instant that the snapshot shows.
    pub taken_at: Timestamp,
    pub created_at: Timestamp,
    /// When retention may remove it; `None`: not by time.
    pub expires_at: Option<Timestamp>,
    /// Size of everything in it.
    pub size: Bytes,
    /// What it added to the repository, compressed and encrypted.
    pub added: Bytes,
    pub proof: Option<Proof>,
    /// Pinned: retention never removes it, and a person only after taking this off (R13).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// Its last drill could not load it, then (R29); `None`: it could, or there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill_failed_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Protection {
    pub note: Option<String>,
}

/// A deletion by a person, as long as it can be taken back (R14).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    pub at: Timestamp,
    pub by: String,
    /// Then the data goes.
    pub until: Timestamp,
}

/// How long a deletion by a person can be taken back (R14).
pub const TAKE_BACK: Duration = DAY.saturating_mul(3);

/// Who or what asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    Manual,
    Automatic,
    /// Taken of what a restore replaced (R22).
    Safety,
}

impl Origin {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Automatic => "automatic",
            Self::Safety => "safety",
        }
    }
}

/// The label of R16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// Every service and every file at one instant: nothing moved while the views were opened.
    Consistent,
    /// Each service is consistent in itself, but something wrote round the gate.
    EachService,
    /// Taken without a hold.
    Live,
}

impl Consistency {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consistent => "consistent",
            Self::EachService => "each_service",
            Self::Live => "live",
        }
    }

    /// As it stands on pages and in tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::Consistent => "consistent",
            Self::EachService => "each service consistent",
            Self::Live => "live",
        }
    }
}

words!(Origin, "a snapshot origin (manual, automatic, safety)", [Self::Manual, Self::Automatic, Self::Safety]);
words!(Consistency, "a consistency label", [Self::Consistent, Self::EachService, Self::Live]);

/// How the hold went (R18). All spans in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Proof {
    /// From closing the gate to opening it, drain included.
    pub closed_us: u64,
    /// Of which: waiting for running requests to end.
    pub drain_us: u64,
    /// Requests that had to wait.
    pub waited: u64,
    pub longest_wait_us: u64,
    /// Requests that were refused because of the hold (queue full, or waited too long).
    pub lost: u64,
    /// Each service's point, and what wrote round the gate, in words.
    #[serde(default)]
    pub points: Vec<Point>,
    /// Time by phase, so that the next one to mend is seen.
    #[serde(default)]
    pub phases: Vec<Phase>,
    /// Of a restore that loaded something in the hold: how much was kept and loaded there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place: Option<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Service or mount.
    pub of: String,
    pub after_drain: String,
    pub after_views: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    pub name: String,
    pub micros: u64,
}

impl Proof {
    /// One sentence for people.
    pub fn sentence(&self) -> String {
        let closed = time::span(Duration::from_micros(self.closed_us));
        let waited = match self.waited {
            0 => "no request had to wait".to_owned(),
            1 => format!("1 request waited {}", time::span(Duration::from_micros(self.longest_wait_us))),
            n => format!("{n} requests waited, at most {}", time::span(Duration::from_micros(self.longest_wait_us))),
        };
        let lost = match self.lost {
            0 => "none was lost".to_owned(),
            n => format!("{n} were refused"),
        };
        format!("The gate was closed for {closed}; {waited}, {lost}.")
    }
}
