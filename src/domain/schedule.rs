//! Schedules: when snapshots of an environment are taken, and restores tried, without anybody asking at that moment (R8, R9,
//! R29).

use serde::{Deserialize, Serialize};

use super::environment::words;
use super::ids::{ActivityId, EnvironmentId, ScheduleId, UserId};
use super::time::Timestamp;

/// What is said where one is removed.
pub const REMOVED: &str = "What it took stays, and goes when it would have gone had it run on; what it proved stays.";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub id: ScheduleId,
    pub environment: EnvironmentId,
    pub what: Errand,
    pub source: ScheduleSource,
    /// Five fields.
    pub cron: String,
    /// As in "Europe/Berlin".
    pub time_zone: String,
    /// It came by itself, but a person changed when it runs.
    pub edited: bool,
    /// In whose name it runs: asked again at each run (R1). `None` for what came by itself.
    pub owner: Option<Owner>,
    pub state: ScheduleState,
    /// Why it was stopped, for people.
    pub stopped_because: Option<String>,
    /// It counts from then: made, changed or resumed.
    pub since: Timestamp,
    /// The next run; `None` while it is paused or stopped, or its environment inactive.
    pub slot: Option<Slot>,
    /// Runs in a row that came to nothing.
    pub missed: u32,
    pub last_activity: Option<ActivityId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub id: UserId,
    pub email: String,
}

/// One run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// By the cron expression.
    pub due: Timestamp,
    /// When it really begins: a little later, so that not all begin at once.
    pub run: Timestamp,
}

/// What it does when it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Errand {
    #[default]
    Snapshot,
    /// Tries a restore of the newest snapshot (R29).
    Drill,
}

impl Errand {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Drill => "drill",
        }
    }

    /// For serde: what older entries leave out.
    pub fn is_snapshot(&self) -> bool {
        *self == Self::Snapshot
    }
}

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleSource {
    /// It comes by itself: snapshots with the plan, drills with every production environment.
    Plan,
    Person,
}

impl ScheduleSource {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Person => "person",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleState {
    Active,
    /// By a person, until a person resumes it.
    Paused,
    /// By us: its owner may no longer, or the plan does not allow it any more.
    Stopped,
}

impl ScheduleState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

words!(Errand, "what a schedule does (snapshot, drill)", [Self::Snapshot, Self::Drill]);
words!(ScheduleSource, "whose a schedule is (plan, person)", [Self::Plan, Self::Person]);
words!(ScheduleState, "a schedule's state (active, paused, stopped)", [Self::Active, Self::Paused, Self::Stopped]);

/// What became of a schedule, as it stands in the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleChange {
    Added,
    Changed,
    Paused,
    Resumed,
    Removed,
    Stopped,
}

impl ScheduleChange {
    /// As in "removed the schedule …".
    pub fn verb(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Removed => "removed",
            Self::Stopped => "stopped",
        }
    }

    /// As in "asked to remove the schedule …".
    pub fn infinitive(self) -> &'static str {
        match self {
            Self::Added => "add",
            Self::Changed => "change",
            Self::Paused => "pause",
            Self::Resumed => "resume",
            Self::Removed => "remove",
            Self::Stopped => "stop",
        }
    }
}
