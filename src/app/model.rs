//! What pages and live streams are drawn from: small values with every text already made.
//!
//! **Invariant:** no rule and no clock here: `present` makes these from `domain::view`.

use crate::domain::drill::Drill;
use crate::domain::ids::ProjectId;

/// An instant: for `<time datetime>`, and as text in UTC until the browser puts it in its own zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    pub iso: String,
    pub text: String,
}

/// Where something can be done; with `refusal` it is shown and can't be used (R7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    pub href: String,
    pub refusal: Option<String>,
}

/// How something stands: never told by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Busy,
    Attention,
    Bad,
    Quiet,
}

impl Tone {
    pub fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy => "busy",
            Self::Attention => "attention",
            Self::Bad => "bad",
            Self::Quiet => "quiet",
        }
    }

    pub fn glyph(self) -> &'static str {
        match self {
            Self::Good => "check",
            Self::Busy => "turning",
            Self::Attention => "alert",
            Self::Bad => "cross",
            Self::Quiet => "dash",
        }
    }
}

/// A sentence and how serious it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub tone: Tone,
    pub sentence: String,
}

/// How far an activity is, as one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Waiting,
    Running,
    Done,
    Failed,
    Cancelled,
}

impl Stage {
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Running => "Running",
            Self::Done => "Complete",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }

    pub fn tone(self) -> Tone {
        match self {
            Self::Waiting => Tone::Quiet,
            Self::Running => Tone::Busy,
            Self::Done => Tone::Good,
            Self::Failed => Tone::Bad,
            Self::Cancelled => Tone::Quiet,
        }
    }

    pub fn glyph(self) -> &'static str {
        match self {
            Self::Waiting => "clock",
            other => other.tone().glyph(),
        }
    }

    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// One activity in a feed.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub id: String,
    pub href: String,
    /// Name of the icon: `snapshot`, `restore`, `trash`.
    pub glyph: &'static str,
    pub stage: Stage,
    pub who: String,
    /// "created a snapshot of main"
    pub what: String,
    pub at: Moment,
    /// From start to end: "3.2 s".
    pub took: Option<String>,
    /// 0 to 100.
    pub percent: u16,
    pub failure: Option<String>,
    /// Name of the snapshot that it made or restored, and its page.
    pub snapshot: Option<(String, String)>,
    /// Name of the environment that it made, and its page.
    pub made: Option<(String, String)>,
    pub restore: Option<Door>,
    pub undo: Option<Door>,
    pub cancel: Option<Door>,
}

/// One snapshot in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub name: String,
    pub href: String,
    pub taken: Moment,
    pub expires: Option<Moment>,
    /// "manual", "automatic", "safety"
    pub origin: String,
    pub consistency: String,
    /// "protected: before the audit"
    pub protection: Option<String>,
    pub note: Option<String>,
    pub size: String,
    pub added: String,
    /// How long the gate was closed; `None`: there was no hold.
    pub closed: Option<String>,
    pub restore: Door,
}

/// The dump of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    pub service: String,
    /// "PostgreSQL database"
    pub what: String,
    pub plain: Door,
    pub packed: Door,
}

/// What changes on an environment's page beside its feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    pub condition: Condition,
    /// What restores replaced and is not gone yet, a sentence each.
    pub aside: Vec<String>,
    pub snapshot: Door,
    pub restore_refusal: Option<String>,
    pub snapshots: Vec<Kept>,
}

/// One line of an activity's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub at: Moment,
    pub message: String,
}

/// What changes on an activity's page beside its log.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    pub entry: Entry,
    pub condition: Condition,
    pub made: Option<Kept>,
    /// What a restore that was tried proved.
    pub drill: Option<(ProjectId, Drill)>,
}

/// What the form that cancels sends.
#[derive(Debug, Clone)]
pub struct Cancel {
    pub project: String,
    pub activity: String,
    /// By which it acts once (`once`).
    pub form: String,
}

/// One line of what a plan says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub title: String,
    pub text: String,
    pub is_available: bool,
}
