//! Notices: what a project's people are told without looking, where, and how often it is tried.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::activity::{Activity, ActivityKind, ActivityResult, ActivityState, ChangeSchedule, Payload};
use super::environment::words;
use super::ids::{ActivityId, ChannelId, DeliveryId, ProjectId};
use super::schedule::ScheduleChange;
use super::time::Timestamp;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// Also one that was due and could not be taken, and a schedule that was stopped.
    SnapshotFailed,
    Restored,
    RestoreFailed,
    DrillFailed,
    /// Somebody pressed the button.
    Trial,
}

impl Notice {
    /// Those that a channel may be asked to carry.
    pub const ALL: [Self; 4] = [Self::SnapshotFailed, Self::RestoreFailed, Self::Restored, Self::DrillFailed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::SnapshotFailed => "snapshot_failed",
            Self::Restored => "restored",
            Self::RestoreFailed => "restore_failed",
            Self::DrillFailed => "drill_failed",
            Self::Trial => "trial",
        }
    }

    /// As a subject, and as a choice: "A snapshot failed".
    pub fn title(self) -> &'static str {
        match self {
            Self::SnapshotFailed => "A snapshot failed",
            Self::Restored => "A restore is complete",
            Self::RestoreFailed => "A restore failed",
            Self::DrillFailed => "A snapshot could not be restored when that was tried",
            Self::Trial => "A test message",
        }
    }

    /// What an activity that is over tells; `None`: nothing.
    pub fn of(activity: &Activity) -> Option<Self> {
        if activity.state != ActivityState::Complete {
            return None;
        }
        let stops = |change: &ChangeSchedule| change.change == ScheduleChange::Stopped;
        if matches!(&activity.payload, Payload::ChangeSchedule(change) if stops(change)) {
            return Some(Self::SnapshotFailed);
        }
        match (activity.kind, activity.result) {
            (ActivityKind::Backup, Some(ActivityResult::Failure)) => Some(Self::SnapshotFailed),
            (ActivityKind::Restore | ActivityKind::Branch, Some(ActivityResult::Failure)) => Some(Self::RestoreFailed),
            (ActivityKind::Restore, Some(ActivityResult::Success)) => Some(Self::Restored),
            (ActivityKind::Drill, Some(ActivityResult::Failure)) => Some(Self::DrillFailed),
            _ => None,
        }
    }
}

words!(Notice, "a notice", [Self::SnapshotFailed, Self::Restored, Self::RestoreFailed, Self::DrillFailed, Self::Trial]);

/// How a notice travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    Mail,
    /// A signed `POST`.
    Webhook,
}

impl Way {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Webhook => "webhook",
        }
    }
}

words!(Way, "a way of notices (mail, webhook)", [Self::Mail, Self::Webhook]);

/// Where a project's notices go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    pub id: ChannelId,
    pub project: ProjectId,
    pub way: Way,
    /// An e-mail address, or an http(s) address.
    pub address: String,
    pub notices: Vec<Notice>,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Waiting,
    Delivered,
    GivenUp,
}

impl DeliveryState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::GivenUp => "given_up",
        }
    }
}

words!(DeliveryState, "the state of a delivery", [Self::Waiting, Self::Delivered, Self::GivenUp]);

/// One notice on its way to one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub id: DeliveryId,
    pub channel: ChannelId,
    pub project: ProjectId,
    /// `None`: a trial.
    pub activity: Option<ActivityId>,
    pub notice: Notice,
    pub state: DeliveryState,
    /// Tries so far.
    pub attempts: u32,
    /// When it is tried again.
    pub next_at: Timestamp,
    /// Why the last try failed.
    pub error: Option<String>,
    pub created_at: Timestamp,
    pub done_at: Option<Timestamp>,
}

/// Pauses after the first, second, … try that failed; after the last of them it is given up, a day later.
const PAUSES: [Duration; 7] = [
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(4 * 60 * 60),
    Duration::from_secs(8 * 60 * 60),
    Duration::from_secs(11 * 60 * 60),
];

/// How long to wait after so many tries (1 or more) failed; `None`: it is given up. Nobody waits for the result of a
/// trial for a day.
pub fn pause_after(notice: Notice, attempts: u32) -> Option<Duration> {
    if notice == Notice::Trial {
        return None;
    }
    PAUSES.get(usize::try_from(attempts).ok()?.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_tried_for_a_day_and_then_given_up() {
        let pauses: Vec<_> = (1..).map_while(|attempts| pause_after(Notice::Restored, attempts)).collect();
        assert_eq!(pauses.len(), 7);
        assert!(pauses.is_sorted());
        let all: Duration = pauses.iter().sum();
        assert!(all > Duration::from_secs(23 * 3600) && all < Duration::from_secs(25 * 3600), "{all:?}");
        assert_eq!(pause_after(Notice::Trial, 1), None);
    }
}
