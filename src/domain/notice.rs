//! Notices: what a project's people are told without looking, where, and how often it is tried.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::activity::{Activity, ActivityKind, ActivityResult, ActivityState, Keeping, Payload};
use super::bytes::Bytes;
use super::drill;
use super::environment::words;
use super::ids::{ActivityId, ChannelId, DeliveryId, ProjectId, UserId};
use super::schedule::{Errand, ScheduleChange};
use super::ticket::TicketAct;
use super::time::Timestamp;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// Also one that was refused.
    SnapshotFailed,
    /// One that was due and was not taken, or is not over; and a schedule that was stopped.
    SnapshotMissed,
    Restored,
    RestoreFailed,
    DrillFailed,
    /// The same of drills as of snapshots.
    DrillMissed,
    TicketChanged,
    StorageNear,
    /// By a person, or for want of space; and one whose protection was taken off. Not what goes by its age.
    SnapshotDeleted,
    /// Somebody pressed the button.
    Trial,
}

impl Notice {
    /// Those that a channel may be asked to carry.
    pub const ALL: [Self; 9] = [
        Self::SnapshotFailed,
        Self::SnapshotMissed,
        Self::RestoreFailed,
        Self::Restored,
        Self::DrillFailed,
        Self::DrillMissed,
        Self::TicketChanged,
        Self::StorageNear,
        Self::SnapshotDeleted,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::SnapshotFailed => "snapshot_failed",
            Self::SnapshotMissed => "snapshot_missed",
            Self::Restored => "restored",
            Self::RestoreFailed => "restore_failed",
            Self::DrillFailed => "drill_failed",
            Self::DrillMissed => "drill_missed",
            Self::TicketChanged => "ticket_changed",
            Self::StorageNear => "storage_near",
            Self::SnapshotDeleted => "snapshot_deleted",
            Self::Trial => "trial",
        }
    }

    /// As a subject, and as a choice: "A snapshot failed".
    pub fn title(self) -> &'static str {
        match self {
            Self::SnapshotFailed => "A snapshot failed",
            Self::SnapshotMissed => "A snapshot that was due is not there",
            Self::Restored => "A restore is complete",
            Self::RestoreFailed => "A restore failed",
            Self::DrillFailed => "A snapshot could not be restored when that was tried",
            Self::DrillMissed => "A restore that was to be tried was not",
            Self::TicketChanged => "A restore ticket changed",
            Self::StorageNear => "The storage budget is nearly used, or used up",
            Self::SnapshotDeleted => "A snapshot was deleted, or is no longer protected",
            Self::Trial => "A test message",
        }
    }

    /// What an activity that is over tells: to a channel, the first of these that it carries.
    pub fn of(activity: &Activity) -> Vec<Self> {
        let Some(result) = activity.result.filter(|_| activity.state == ActivityState::Complete) else {
            return Vec::new();
        };
        match (&activity.payload, activity.kind, result) {
            (Payload::ChangeSchedule(change), ..) if change.change == ScheduleChange::Stopped => {
                vec![Self::missed(change.what)]
            }
            // A stolen token, a wrong click: there are three days to take it back (R14).
            (Payload::DeleteSnapshot(_), _, ActivityResult::Success) => vec![Self::SnapshotDeleted],
            (Payload::KeepSnapshot(keep), _, ActivityResult::Success) if keep.how == Keeping::Unprotected => {
                vec![Self::SnapshotDeleted]
            }
            (Payload::RunDrill(run), _, ActivityResult::Failure) => match run.outcome {
                Some(drill::Outcome::NotBegun) => vec![Self::DrillMissed],
                _ => vec![Self::DrillFailed],
            },
            (Payload::RestoreSnapshot(restore), ActivityKind::Restore | ActivityKind::Branch, result) => {
                // Also into an environment that was made for it.
                let own = match result {
                    ActivityResult::Success => Self::Restored,
                    ActivityResult::Failure => Self::RestoreFailed,
                };
                [own].into_iter().chain(restore.ticket.as_ref().map(|_| Self::TicketChanged)).collect()
            }
            // Who took none up had none to take up: the scheduler wrote it down as missed.
            (_, ActivityKind::Backup, ActivityResult::Failure) => match activity.initiator.is_schedule() {
                true if activity.started_at.is_none() => vec![Self::SnapshotMissed],
                _ => vec![Self::SnapshotFailed],
            },
            (_, ActivityKind::Restore | ActivityKind::Branch, ActivityResult::Failure) => vec![Self::RestoreFailed],
            (_, ActivityKind::Ticket(_), ActivityResult::Success) => vec![Self::TicketChanged],
            _ => Vec::new(),
        }
    }

    /// What is due and does not come.
    pub fn missed(what: Errand) -> Self {
        match what {
            Errand::Snapshot => Self::SnapshotMissed,
            Errand::Drill => Self::DrillMissed,
        }
    }
}

words!(
    Notice,
    "a notice (snapshot_failed, snapshot_missed, restore_failed, restored, drill_failed, drill_missed, ticket_changed, storage_near, \
     snapshot_deleted)",
    [
        Self::SnapshotFailed,
        Self::SnapshotMissed,
        Self::Restored,
        Self::RestoreFailed,
        Self::DrillFailed,
        Self::DrillMissed,
        Self::TicketChanged,
        Self::StorageNear,
        Self::SnapshotDeleted,
        Self::Trial,
    ]
);

/// Who is told of a ticket by mail, besides the project's channels; never whoever did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Audience {
    pub requester: bool,
    pub claimer: bool,
    /// All of the support staff: there is something to take up.
    pub support: bool,
}

impl Audience {
    /// Of a step.
    pub fn of(act: TicketAct) -> Self {
        let (requester, claimer, support) = match act {
            TicketAct::File => (false, false, true),
            TicketAct::Comment => (true, true, false),
            TicketAct::Claim | TicketAct::Release | TicketAct::Decline => (true, false, false),
            TicketAct::Withdraw => (false, true, false),
            TicketAct::Reopen => (true, true, true),
            // The restore's end tells.
            TicketAct::Run => (false, false, false),
        };
        Self { requester, claimer, support }
    }

    /// Of the end of the restore that was run for it.
    pub fn of_run(result: ActivityResult) -> Self {
        let is_restored = result == ActivityResult::Success;
        Self { requester: is_restored, claimer: !is_restored, support: false }
    }
}

/// Percent of a storage budget that are told when they are reached.
const LEVELS: [u32; 2] = [80, 100];
/// Percent that what is taken must fall below a level before reaching it is told again.
const SLACK: u32 = 10;

/// Which level counts as told from now on: reaching a higher one than `told` is told, once; what goes up and down around a
/// level is not told each time.
pub fn storage_level(told: u32, taken: Bytes, budget: Bytes) -> u32 {
    let percent = percent_of(taken, budget);
    let highest = |fits: &dyn Fn(u32) -> bool| LEVELS.into_iter().filter(|level| fits(*level)).max().unwrap_or(0);
    let reached = highest(&|level| percent >= level);
    reached.max(highest(&|level| level <= told && percent + SLACK >= level))
}

/// "8.1 GiB of the storage budget of 10.0 GiB are used: 81 %."
pub fn storage_in_words(taken: Bytes, budget: Bytes) -> String {
    format!("{taken} of the storage budget of {budget} are used: {} %.", percent_of(taken, budget))
}

fn percent_of(taken: Bytes, budget: Bytes) -> u32 {
    let percent = u128::from(taken.0) * 100 / u128::from(budget.0.max(1));
    // More than that is no more news.
    u32::try_from(percent).unwrap_or(u32::MAX).min(1_000_000)
}

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

/// Whom a notice goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    Channel(ChannelId),
    /// By mail, to the address that they have then.
    Person(UserId),
}

/// In order for each of these.
impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Channel(id) => write!(f, "channel:{id}"),
            Self::Person(id) => write!(f, "person:{id}"),
        }
    }
}

/// One notice on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub id: DeliveryId,
    pub to: Destination,
    pub project: ProjectId,
    /// `None`: a trial, or what no activity tells.
    pub activity: Option<ActivityId>,
    pub notice: Notice,
    /// What is told, where the activity does not say it; a sentence.
    pub about: Option<String>,
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

/// A delivery that failed so often keeps later ones to the same destination waiting no more: it may be the only one that is
/// not taken there.
pub const HOLDS_UP: u32 = 3;

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

    #[test]
    fn a_level_of_the_budget_is_told_once_for_each_time_that_it_is_reached() {
        let budget = Bytes(1_000);
        // (told before, taken, told afterwards)
        let table = [
            (0, 0, 0),
            (0, 799, 0),
            (0, 800, 80),
            (80, 999, 80),
            (80, 1_000, 100),
            (0, 5_000, 100),
            // Around a level.
            (80, 790, 80),
            (80, 700, 80),
            (80, 699, 0),
            (100, 990, 100),
            (100, 900, 100),
            (100, 899, 80),
            (100, 699, 0),
        ];
        for (told, taken, then) in table {
            assert_eq!(storage_level(told, Bytes(taken), budget), then, "{told} {taken}");
        }
        assert_eq!(storage_level(0, Bytes(1), Bytes(0)), 100, "a budget of nothing is used up");
        assert_eq!(
            storage_in_words(Bytes(81 << 20), Bytes(100 << 20)),
            "81.0 MiB of the storage budget of 100.0 MiB are used: 81 %."
        );
    }

    #[test]
    fn whoever_waits_for_a_ticket_is_told_and_support_of_what_is_to_be_taken_up() {
        let told = |audience: Audience| {
            let Audience { requester, claimer, support } = audience;
            [(requester, "requester"), (claimer, "claimer"), (support, "support")]
                .into_iter()
                .filter_map(|(is, who)| is.then_some(who))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let table = [
            (TicketAct::File, "support"),
            (TicketAct::Comment, "requester claimer"),
            (TicketAct::Claim, "requester"),
            (TicketAct::Release, "requester"),
            (TicketAct::Decline, "requester"),
            (TicketAct::Run, ""),
            (TicketAct::Withdraw, "claimer"),
            (TicketAct::Reopen, "requester claimer support"),
        ];
        assert_eq!(table.map(|(act, _)| act).len(), TicketAct::ALL.len());
        for (act, who) in table {
            assert_eq!(told(Audience::of(act)), who, "{act}");
        }
        assert_eq!(told(Audience::of_run(ActivityResult::Success)), "requester");
        assert_eq!(told(Audience::of_run(ActivityResult::Failure)), "claimer");
    }

    fn over(kind: ActivityKind, result: ActivityResult, payload: Payload, authority: &str) -> Activity {
        let id = || "0".repeat(20);
        Activity {
            id: ActivityId::parse(id()).expect("an id"),
            project: ProjectId::parse("shop").expect("an id"),
            environment: crate::domain::EnvironmentId::parse(id()).expect("an id"),
            kind,
            state: ActivityState::Complete,
            result: Some(result),
            failure: None,
            initiator: crate::domain::activity::Initiator {
                user: None,
                name: "Stillpoint".to_owned(),
                authority: authority.to_owned(),
                address: None,
            },
            progress: 0,
            payload,
            created_at: Timestamp::from_micros(0),
            updated_at: Timestamp::from_micros(0),
            started_at: None,
            completed_at: None,
            seq: 0,
        }
    }

    #[test]
    fn what_failed_is_told_apart_from_what_was_missed_and_from_what_can_not_be_proven() {
        use crate::domain::activity::{RunDrill, SnapshotMode, TakeSnapshot};
        use ActivityResult::{Failure, Success};
        let name = || crate::domain::SnapshotName::parse("2ca4d90639f706283fee").expect("a name");
        let take = || {
            Payload::TakeSnapshot(TakeSnapshot {
                snapshot: name(),
                mode: SnapshotMode::Consistent,
                origin: crate::domain::snapshot::Origin::Automatic,
                note: None,
                evict: Vec::new(),
            })
        };
        let drill = |outcome| Payload::RunDrill(RunDrill { snapshot: Some(name()), outcome });
        let (backup, tried) = (ActivityKind::Backup, ActivityKind::Drill);
        let delete = || {
            let until = Timestamp::from_micros(0);
            Payload::DeleteSnapshot(crate::domain::activity::DeleteSnapshot { snapshot: name(), until })
        };
        let keep = |how| Payload::KeepSnapshot(crate::domain::activity::KeepSnapshot { snapshot: name(), how });
        let (deletes, keeps) = (ActivityKind::BackupDelete, ActivityKind::BackupKeep);
        let table = [
            (over(backup, Failure, take(), "plan:pro"), vec![Notice::SnapshotMissed]),
            (over(backup, Failure, take(), "schedule:1"), vec![Notice::SnapshotMissed]),
            (over(backup, Failure, take(), "session"), vec![Notice::SnapshotFailed]),
            (over(backup, Success, take(), "plan:pro"), vec![]),
            (over(tried, Failure, drill(None), "system"), vec![Notice::DrillFailed]),
            (over(tried, Failure, drill(Some(drill::Outcome::NotBegun)), "system"), vec![Notice::DrillMissed]),
            (over(tried, Success, drill(Some(drill::Outcome::Unprovable)), "system"), vec![]),
            (over(tried, Success, drill(None), "system"), vec![]),
            (over(deletes, Success, delete(), "token:ci"), vec![Notice::SnapshotDeleted]),
            (over(deletes, Failure, delete(), "token:ci"), vec![]),
            (over(keeps, Success, keep(Keeping::Unprotected), "session"), vec![Notice::SnapshotDeleted]),
            (over(keeps, Success, keep(Keeping::Protected), "session"), vec![]),
            (over(keeps, Success, keep(Keeping::TakenBack), "session"), vec![]),
        ];
        for (activity, told) in table {
            assert_eq!(Notice::of(&activity), told, "{activity:?}");
        }
        let restored = |kind| {
            let restore: crate::domain::activity::RestoreSnapshot = serde_json::from_value(serde_json::json!({
                "snapshot": name(), "safety": name(), "plan_hash": null,
            }))
            .expect("what is left out has a default");
            Notice::of(&over(kind, Success, Payload::RestoreSnapshot(restore), "session"))
        };
        assert_eq!(restored(ActivityKind::Restore), [Notice::Restored]);
        assert_eq!(restored(ActivityKind::Branch), [Notice::Restored], "also into an environment that was made for it");
        let started =
            Activity { started_at: Some(Timestamp::from_micros(1)), ..over(backup, Failure, take(), "plan:pro") };
        assert_eq!(Notice::of(&started), [Notice::SnapshotFailed]);
        let running = Activity { state: ActivityState::InProgress, result: None, ..started };
        assert_eq!(Notice::of(&running), []);
    }
}
