//! Read models of restore tickets.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{LogLine, Offer, Preflight};
use crate::domain::activity::{ActivityResult, ActivityState, Initiator};
use crate::domain::environment::Project;
use crate::domain::ids::{ActivityId, ProjectId, RegionId, SnapshotName};
use crate::domain::snapshot::Proof;
use crate::domain::ticket::{Ticket, TicketAct};
use crate::domain::time::Timestamp;

/// A ticket in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TicketEntry {
    pub ticket: Ticket,
    pub project_title: String,
    pub region: RegionId,
    /// Since it was filed.
    pub age: Duration,
    /// What is open to the one who looks.
    pub offers: BTreeMap<TicketAct, Offer>,
}

/// Tickets, oldest first, and what they can be filtered by.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Queue {
    pub entries: Vec<TicketEntry>,
    pub projects: Vec<(ProjectId, String)>,
    pub regions: Vec<(RegionId, String)>,
    /// There are more than these.
    pub is_cut: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TicketPage {
    pub entry: TicketEntry,
    pub project: Project,
    /// Who looks filed it.
    pub is_own: bool,
    /// Who looks is support staff.
    pub is_staff: bool,
    /// What a run would do now; `None` once it is over, and where nothing can be said: then `obstacles` says why.
    pub preflight: Option<Preflight>,
    /// What was there when it was filed, by the part's name.
    pub when_filed: BTreeMap<String, String>,
    /// What is otherwise than when it was filed, sentences.
    pub changed: Vec<String>,
    /// Why it can't be run now, sentences.
    pub obstacles: Vec<String>,
    pub steps: Vec<Step>,
}

/// One thing that happened with a ticket: an activity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub activity: ActivityId,
    pub at: Timestamp,
    pub who: Initiator,
    /// `None`: the restore itself was run.
    pub act: Option<TicketAct>,
    /// After the name: "claimed the ticket".
    pub what: String,
    /// The comment, or the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Why it was refused or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
}

/// How a restore that was run for a ticket went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub state: ActivityState,
    pub result: Option<ActivityResult>,
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
    /// What it replaced is kept under this name.
    pub safety: Option<SnapshotName>,
    /// How long the gate was closed for the swap, who waited and who was lost (R18); `None`: nothing was swapped.
    pub proof: Option<Proof>,
    /// In the evidence only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogLine>,
}

/// Who did what, when, and what came of it: to be kept outside (R28).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Of this form.
    pub version: u32,
    pub exported_at: Timestamp,
    pub exported_by: String,
    pub region: RegionId,
    pub project_title: String,
    pub ticket: Ticket,
    pub steps: Vec<Step>,
}

impl TicketEntry {
    pub fn offers(&self, act: TicketAct) -> bool {
        self.offers.get(&act).is_some_and(Offer::is_open)
    }
}
