//! Activities: one thing that somebody or a schedule asked for. Queue entry, history line and audit record at once.

use serde::{Deserialize, Serialize};

use super::environment::words;
use super::ids::{ActivityId, EnvironmentId, ProjectId, UserId};
use super::ticket::{TicketAct, TicketStep};
use super::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    pub id: ActivityId,
    pub project: ProjectId,
    pub environment: EnvironmentId,
    pub kind: ActivityKind,
    pub state: ActivityState,
    pub result: Option<ActivityResult>,
    /// Why it failed or was refused, for people, with what to do next.
    pub failure: Option<String>,
    pub initiator: Initiator,
    /// Per mille of the work done: bytes read of bytes known (R19).
    pub progress: u16,
    pub payload: Payload,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
    /// Position in the instance's feed: grows with every activity.
    pub seq: i64,
}

impl Activity {
    /// Whole percent, rounded down: 100 only when all is done.
    pub fn percent(&self) -> u16 {
        self.progress / 10
    }
}

/// U's activity types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ActivityKind {
    #[serde(rename = "environment.backup")]
    Backup,
    #[serde(rename = "environment.restore")]
    Restore,
    #[serde(rename = "environment.backup.delete")]
    BackupDelete,
    /// An environment is made by a restore; also the first line of its own feed.
    #[serde(rename = "environment.branch")]
    Branch,
    /// Ours: somebody took a service's data out (R2, R26).
    #[serde(rename = "environment.dump")]
    Dump,
    /// Ours: a snapshot is restored beside the live data, checked and dropped (R29).
    #[serde(rename = "environment.drill")]
    Drill,
    /// Ours: somebody, or we ourselves, changed a schedule.
    #[serde(rename = "environment.schedule")]
    Schedule,
    /// Ours: protection put on or taken off, a deletion taken back.
    #[serde(rename = "environment.backup.keep")]
    BackupKeep,
    /// Ours: what a plan lets go (R11).
    #[serde(rename = "environment.retention")]
    Retention,
    /// An environment is merged into its parent, in whose feed it stands; or CI announces that it does (R10).
    #[serde(rename = "environment.merge")]
    Merge,
    /// Ours: how much storage is declared for a service or mount is changed (R10).
    #[serde(rename = "environment.storage")]
    Storage,
    /// Ours: the project was put under another plan.
    #[serde(rename = "project.plan")]
    Plan,
    /// An environment is taken out of the console.
    #[serde(rename = "environment.delete")]
    Remove,
    /// Ours: the project's repository goes to another region (R27).
    #[serde(rename = "project.move")]
    Move,
    /// Ours: the project is taken out of the console, with all its environments.
    #[serde(rename = "project.delete")]
    RemoveProject,
    /// Ours: a step of a restore ticket (R28).
    #[serde(untagged)]
    Ticket(TicketAct),
}

impl ActivityKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "environment.backup",
            Self::Restore => "environment.restore",
            Self::BackupDelete => "environment.backup.delete",
            Self::Branch => "environment.branch",
            Self::Dump => "environment.dump",
            Self::Drill => "environment.drill",
            Self::Schedule => "environment.schedule",
            Self::Ticket(act) => act.as_str(),
            Self::BackupKeep => "environment.backup.keep",
            Self::Retention => "environment.retention",
            Self::Merge => "environment.merge",
            Self::Storage => "environment.storage",
            Self::Plan => "project.plan",
            Self::Remove => "environment.delete",
            Self::Move => "project.move",
            Self::RemoveProject => "project.delete",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivityState {
    Pending,
    InProgress,
    Complete,
    Cancelled,
}

impl ActivityState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Complete => "complete",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn is_over(self) -> bool {
        matches!(self, Self::Complete | Self::Cancelled)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivityResult {
    Success,
    Failure,
}

impl ActivityResult {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

words!(
    ActivityKind,
    "an activity type",
    [
        Self::Backup,
        Self::Restore,
        Self::BackupDelete,
        Self::Branch,
        Self::Dump,
        Self::Drill,
        Self::Schedule,
        Self::Ticket(TicketAct::File),
        Self::Ticket(TicketAct::Comment),
        Self::Ticket(TicketAct::Claim),
        Self::Ticket(TicketAct::Release),
        Self::Ticket(TicketAct::Decline),
        Self::Ticket(TicketAct::Run),
        Self::Ticket(TicketAct::Withdraw),
        Self::Ticket(TicketAct::Reopen),
        Self::BackupKeep,
        Self::Retention,
        Self::Merge,
        Self::Storage,
        Self::Plan,
        Self::Remove,
        Self::Move,
        Self::RemoveProject,
    ]
);
words!(
    ActivityState,
    "an activity state (pending, in_progress, complete, cancelled)",
    [Self::Pending, Self::InProgress, Self::Complete, Self::Cancelled]
);
words!(ActivityResult, "an activity result (success, failure)", [Self::Success, Self::Failure]);

/// Who asked, and with what authority: asked again when the job starts (R1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initiator {
    /// `None`: the system itself.
    pub user: Option<UserId>,
    /// As shown in the feed: an e-mail address, or "Stillpoint".
    pub name: String,
    /// `session`, `token:<name>`, `ticket:<id>`, `system`, `plan:<id>`, `schedule:<id>`.
    pub authority: String,
    /// Where they were; for the audit alone.
    #[serde(skip)]
    pub address: Option<std::net::IpAddr>,
}

impl Initiator {
    /// Nobody asked for it at that moment.
    pub fn is_schedule(&self) -> bool {
        ["schedule:", "plan:"].iter().any(|by| self.authority.starts_with(by))
    }
}

/// What a job works from: written when it is asked for. The version lets a newer worker read older entries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum Payload {
    TakeSnapshot(TakeSnapshot),
    RestoreSnapshot(RestoreSnapshot),
    /// Nothing to work on: the first line in the feed of an environment that a restore has made.
    BranchEnvironment(BranchEnvironment),
    ReadDump(ReadDump),
    RunDrill(RunDrill),
    /// Nothing to work on: what became of a schedule.
    ChangeSchedule(ChangeSchedule),
    /// Nothing to work on: a line of the feed.
    Ticket(TicketStep),
    /// Nothing to work on: it was done when it was asked for. Its data goes when it can't be taken back any more.
    DeleteSnapshot(DeleteSnapshot),
    /// Nothing to work on.
    KeepSnapshot(KeepSnapshot),
    /// Lets go what the project's plan says of this environment.
    Retain,
    MergeEnvironment(MergeEnvironment),
    ChangeStorage(ChangeStorage),
    /// Nothing to work on.
    ChangePlan(ChangePlan),
    RemoveEnvironment(RemoveEnvironment),
    MoveProject(MoveProject),
    RemoveProject(RemoveProject),
}

impl Payload {
    pub const VERSION: i64 = 1;

    /// The snapshot that the work reads: until it is over, that stays (R13).
    pub fn reads(&self) -> Option<&super::SnapshotName> {
        match self {
            Self::RestoreSnapshot(restore) => Some(&restore.snapshot),
            Self::ReadDump(read) => read.snapshot.as_ref(),
            Self::RunDrill(run) => run.snapshot.as_ref(),
            Self::TakeSnapshot(_) | Self::BranchEnvironment(_) | Self::DeleteSnapshot(_) => None,
            Self::KeepSnapshot(_) | Self::Retain | Self::ChangePlan(_) => None,
            Self::ChangeSchedule(_) | Self::Ticket(_) => None,
            Self::MergeEnvironment(_) | Self::ChangeStorage(_) => None,
            Self::RemoveEnvironment(remove) => remove.after.as_ref(),
            Self::MoveProject(_) | Self::RemoveProject(_) => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteSnapshot {
    pub snapshot: super::SnapshotName,
    /// Until when it can be taken back (R14).
    pub until: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepSnapshot {
    pub snapshot: super::SnapshotName,
    pub how: Keeping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keeping {
    Protected,
    Unprotected,
    /// Its deletion was taken back.
    TakenBack,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangePlan {
    /// Titles.
    pub from: String,
    pub to: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveEnvironment {
    /// The last snapshot, which was asked for right before: without it nothing is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<super::SnapshotName>,
    pub weighty: Weighty,
}

/// Whether somebody agreed to removing what visitors use, or a project's only production environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighty {
    #[default]
    Refused,
    Agreed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveProject {
    pub from: super::ids::RegionId,
    pub to: super::ids::RegionId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveProject {
    pub title: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeSnapshot {
    pub snapshot: super::SnapshotName,
    pub mode: SnapshotMode,
    pub origin: super::snapshot::Origin,
    pub note: Option<String>,
    /// What its plan has no room for beside it: deleted once this one is complete, as was agreed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evict: Vec<super::SnapshotName>,
}

/// R16: with the snapshot hold, or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotMode {
    #[default]
    Consistent,
    Live,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreSnapshot {
    pub snapshot: super::SnapshotName,
    /// Name that the safety snapshot will have (R22).
    pub safety: super::SnapshotName,
    /// Hash of the plan that was confirmed (R25); `None` from doors that confirm nothing in particular.
    pub plan_hash: Option<String>,
    /// Where the snapshot was taken, when that is another environment than the one that is overwritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Source>,
    /// Which parts (R26).
    #[serde(default, skip_serializing_if = "super::Scope::is_everything")]
    pub scope: super::Scope,
    /// The target is made for it, and stands in the feed where the snapshot was taken until it is there (R21).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<NewEnvironment>,
    /// Support staff runs it for whoever filed this ticket, whose role counts (R28).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<super::TicketId>,
}

/// An environment that a restore makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEnvironment {
    pub id: EnvironmentId,
    pub name: super::ids::EnvironmentName,
    pub kind: super::environment::EnvironmentKind,
    /// Whose services and mounts it gets.
    pub parent: super::ids::EnvironmentName,
    /// What may have been made of it, written down before that begins: a failure takes it away again.
    #[serde(default)]
    pub made: Vec<Made>,
}

impl NewEnvironment {
    /// Stands in a plan for one that has none yet.
    ///
    /// # Panics
    /// Never.
    pub fn planned_id() -> EnvironmentId {
        EnvironmentId::parse("0".repeat(20)).expect("20 hexadecimal digits")
    }
}

/// What a restore made for an environment and in it: goes when the environment is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioned {
    pub parent: super::ids::EnvironmentName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// In the order of its making.
    pub made: Vec<Made>,
}

impl Made {
    /// As in "… is deleted".
    pub fn in_words(&self) -> String {
        match self {
            // Never a place or an address: whoever may see the feed reads it.
            Self::Directory(_) => "its directory, with the files and databases in it".to_owned(),
            Self::Database { name, .. } => format!("the data of the service {name}"),
            Self::ByProgram => "its application, and whatever else the provisioning program made".to_owned(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// Its directory and everything in it, by its path.
    Directory(String),
    /// A database of a server; where, without account and password.
    Database { name: super::ids::ServiceName, place: String },
    /// Whatever the contract's program makes.
    ByProgram,
}

/// How an environment came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchEnvironment {
    pub snapshot: super::SnapshotName,
    pub source: Source,
    pub parent: super::ids::EnvironmentName,
}

/// Which snapshot is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDrill {
    /// `None` in entries from before it was chosen when it was asked for: the newest one when it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<super::SnapshotName>,
    /// Once it is over; `None`: it succeeded or failed as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<super::drill::Outcome>,
}

/// An environment is merged into its parent: the activity's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeEnvironment {
    /// What is merged.
    pub from: Source,
    pub how: MergeHow,
    pub first: First,
}

/// Who does the merging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MergeHow {
    /// A command that an operator named for the project (R6).
    Command,
    /// Whoever announces it, once the announcement stands in the feed: CI.
    #[default]
    Announcement,
}

impl MergeHow {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Announcement => "announcement",
        }
    }
}

words!(MergeHow, "a way of merging (command, announcement)", [Self::Command, Self::Announcement]);

/// Another size is declared for a service or mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeStorage {
    pub part: super::PartName,
    /// When it was asked for.
    pub from: Option<super::Bytes>,
    pub to: super::Bytes,
    pub first: First,
}

/// What comes before a change: a snapshot, as is advised, or none (R10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum First {
    /// Queued before the change; that is not begun unless it is complete.
    Snapshot { activity: ActivityId, snapshot: super::SnapshotName },
    /// And why, as a sentence.
    Nothing { because: String },
}

impl First {
    pub fn activity(&self) -> Option<&ActivityId> {
        match self {
            Self::Snapshot { activity, .. } => Some(activity),
            Self::Nothing { .. } => None,
        }
    }

    pub fn snapshot(&self) -> Option<&super::SnapshotName> {
        match self {
            Self::Snapshot { snapshot, .. } => Some(snapshot),
            Self::Nothing { .. } => None,
        }
    }
}

/// Whose dump somebody read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadDump {
    pub service: super::ids::ServiceName,
    /// `None`: of the live environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<super::SnapshotName>,
    #[serde(default)]
    pub compression: super::dump::Compression,
}

/// What became of which schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSchedule {
    pub schedule: super::ids::ScheduleId,
    pub change: super::schedule::ScheduleChange,
    /// As it was asked for.
    pub cron: String,
    pub time_zone: String,
    #[serde(default, skip_serializing_if = "super::schedule::Errand::is_snapshot")]
    pub what: super::schedule::Errand,
}

/// An environment as it was when a restore of its snapshot into another one was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub id: EnvironmentId,
    pub name: super::ids::EnvironmentName,
    pub kind: super::environment::EnvironmentKind,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_away_is_told_in_words() {
        let database = Made::Database {
            name: "database".parse().expect("a valid name"),
            place: "shop_try_out at db:5432".to_owned(),
        };
        let made = [Made::Directory("/srv/environments/try-out".to_owned()), database, Made::ByProgram];
        assert_eq!(
            made.map(|made| made.in_words()),
            [
                "its directory, with the files and databases in it",
                "the data of the service database",
                "its application, and whatever else the provisioning program made",
            ]
        );
    }
}
