//! Drills: a snapshot that was really restored beside the live data, checked, timed and dropped again (R29).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{ActivityId, EnvironmentId, SnapshotName};
use super::scope::PartName;
use super::time::{Timestamp, span};

/// One that succeeded, as its report tells. One that failed is an activity with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    pub activity: ActivityId,
    pub environment: EnvironmentId,
    pub snapshot: SnapshotName,
    /// The instant that the snapshot shows.
    pub taken_at: Timestamp,
    pub finished_at: Timestamp,
    /// From the first byte that was read to the last check, microseconds.
    pub took_us: u64,
    pub parts: Vec<Drilled>,
}

/// What was proven of one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drilled {
    pub part: PartName,
    /// `sqlite`, `mount`, …
    pub kind: String,
    /// What was loaded and is as the snapshot recorded it: "3,041 rows in 6 tables".
    pub proven: String,
    /// Microseconds.
    pub took_us: u64,
}

impl Drill {
    /// How long a restore of all of it takes, without the swap.
    pub fn took(&self) -> Duration {
        Duration::from_micros(self.took_us)
    }

    /// For the log and the feed.
    pub fn sentence(&self) -> String {
        format!("Proven: {} was loaded and checked in {}, and dropped again.", self.snapshot, span(self.took()))
    }
}
