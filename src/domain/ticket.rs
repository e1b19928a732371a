//! Restore tickets: what somebody asks support for where a region does not let them do it (R27, R28).

use serde::{Deserialize, Serialize};

use super::activity::Source;
use super::environment::{EnvironmentKind, words};
use super::ids::{ActivityId, EnvironmentId, EnvironmentName, ProjectId, SnapshotName, TicketId, UserId};
use super::policy::acts::{Act, Subject};
use super::scope::Scope;
use super::time::Timestamp;

/// A request for one restore.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    pub id: TicketId,
    pub project: ProjectId,
    pub wanted: Wanted,
    pub requester: Person,
    pub state: TicketState,
    /// Who of the support staff works on it.
    pub claimer: Option<Person>,
    /// The restore that is under way for it; once it is restored, the one that did it.
    pub run: Option<ActivityId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Grows with every change, so that of two who change it at once one is told.
    pub version: i64,
}

/// What is asked for. Never changed: an edit is a new ticket (R28).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    pub snapshot: SnapshotName,
    /// The instant that the snapshot shows.
    pub taken_at: Timestamp,
    pub source: Source,
    pub target: TicketTarget,
    #[serde(default, skip_serializing_if = "Scope::is_everything")]
    pub scope: Scope,
    pub plan_hash: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketTarget {
    /// For one that is to be made: that of a plan.
    pub id: EnvironmentId,
    pub name: EnvironmentName,
    pub kind: EnvironmentKind,
    /// It is made, with the services and mounts of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_from: Option<EnvironmentName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub user: UserId,
    /// E-mail address.
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketState {
    Open,
    InProgress,
    Restored,
    Declined,
    Withdrawn,
}

impl TicketState {
    pub const ALL: [Self; 5] = [Self::Open, Self::InProgress, Self::Restored, Self::Declined, Self::Withdrawn];
    /// What somebody waits for. Their snapshots are kept (R13).
    pub const UNFINISHED: [Self; 2] = [Self::Open, Self::InProgress];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::InProgress => "in_progress",
            Self::Restored => "restored",
            Self::Declined => "declined",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// As it stands on pages.
    pub fn label(self) -> &'static str {
        match self {
            Self::InProgress => "in progress",
            other => other.as_str(),
        }
    }

    pub fn is_over(self) -> bool {
        !Self::UNFINISHED.contains(&self)
    }
}

/// What can be done with a ticket; each is an activity of this type in the feed of the snapshot's environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TicketAct {
    #[serde(rename = "ticket.file")]
    File,
    #[serde(rename = "ticket.comment")]
    Comment,
    #[serde(rename = "ticket.claim")]
    Claim,
    /// Hand back to the queue.
    #[serde(rename = "ticket.release")]
    Release,
    #[serde(rename = "ticket.decline")]
    Decline,
    /// Start the restore. Where that succeeds the restore's own activity is the step.
    #[serde(rename = "ticket.run")]
    Run,
    #[serde(rename = "ticket.withdraw")]
    Withdraw,
    #[serde(rename = "ticket.reopen")]
    Reopen,
}

impl TicketAct {
    pub const ALL: [Self; 8] =
        [Self::File, Self::Comment, Self::Claim, Self::Release, Self::Decline, Self::Run, Self::Withdraw, Self::Reopen];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "ticket.file",
            Self::Comment => "ticket.comment",
            Self::Claim => "ticket.claim",
            Self::Release => "ticket.release",
            Self::Decline => "ticket.decline",
            Self::Run => "ticket.run",
            Self::Withdraw => "ticket.withdraw",
            Self::Reopen => "ticket.reopen",
        }
    }

    /// Whether it can't be done without saying why, or what.
    pub fn needs_text(self) -> bool {
        matches!(self, Self::File | Self::Comment | Self::Decline | Self::Reopen)
    }

    /// What one must be allowed to for it.
    pub fn act(self) -> Act {
        match self {
            Self::File | Self::Withdraw => Act::FileTicket,
            Self::Comment | Self::Reopen => Act::CommentTicket,
            Self::Claim | Self::Release | Self::Decline | Self::Run => Act::WorkTicket,
        }
    }

    /// After the name of whoever did it: "claimed the ticket".
    pub fn done(self) -> &'static str {
        match self {
            Self::File => "filed the ticket",
            Self::Comment => "commented",
            Self::Claim => "claimed the ticket",
            Self::Release => "handed the ticket back to the queue",
            Self::Decline => "declined the ticket",
            Self::Run => "tried to run the ticket",
            Self::Withdraw => "withdrew the ticket",
            Self::Reopen => "reopened the ticket",
        }
    }
}

words!(
    TicketState,
    "a ticket state (open, in_progress, restored, declined, withdrawn)",
    [Self::Open, Self::InProgress, Self::Restored, Self::Declined, Self::Withdrawn]
);
words!(
    TicketAct,
    "a step of a ticket",
    [Self::File, Self::Comment, Self::Claim, Self::Release, Self::Decline, Self::Run, Self::Withdraw, Self::Reopen]
);

/// One step, as it stands in an activity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketStep {
    pub ticket: TicketId,
    pub act: TicketAct,
    pub snapshot: SnapshotName,
    pub target: TicketTarget,
    /// The comment, or the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Ticket {
    /// Both environments that it is about, for asking who may.
    pub fn subjects(&self) -> [Subject<'_>; 2] {
        let Wanted { source, target, .. } = &self.wanted;
        [(&source.id, source.kind), (&target.id, target.kind)]
            .map(|environment| Subject { project: &self.project, environment: Some(environment) })
    }

    pub fn step(&self, act: TicketAct, text: Option<String>) -> TicketStep {
        let Wanted { snapshot, target, .. } = &self.wanted;
        TicketStep { ticket: self.id.clone(), act, snapshot: snapshot.clone(), target: target.clone(), text }
    }

    /// "2ca4… of main into staging".
    pub fn title(&self) -> String {
        let Wanted { snapshot, source, target, .. } = &self.wanted;
        let new = if target.branch_from.is_some() { "the new environment " } else { "" };
        format!("{snapshot} of {} into {new}{}", source.name, target.name)
    }
}
