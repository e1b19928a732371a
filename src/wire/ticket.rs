//! Restore tickets on the wire: our own addition (R27, R28).

use serde::{Deserialize, Serialize};

use super::links::{Links, href, path};
use super::preflight::Preflight;
use super::word::Word;
use crate::domain::PartName;
use crate::domain::ids::{ActivityId, EnvironmentName, ProjectId, RegionId, SnapshotName, TicketId};
use crate::domain::ticket::{TicketAct, TicketState};
use crate::domain::time::Timestamp;
use crate::domain::view::{Offer, Step, TicketEntry, TicketPage};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    pub id: TicketId,
    pub project: ProjectId,
    pub region: RegionId,
    pub state: Word<TicketState>,
    /// Where the snapshot was taken.
    pub environment: EnvironmentName,
    pub backup: SnapshotName,
    /// The instant that the snapshot shows.
    pub taken_at: Timestamp,
    /// What it is to be restored into.
    pub environment_name: EnvironmentName,
    /// The target is made for it, after this one.
    pub branch_from: Option<EnvironmentName>,
    /// Empty: everything that the snapshot holds.
    pub parts: Vec<PartName>,
    pub plan_hash: String,
    pub reason: String,
    pub requester: String,
    /// Who of the support staff works on it.
    pub claimer: Option<String>,
    /// The restore that is under way for it, or that did it.
    pub run: Option<ActivityId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Since it was filed.
    pub age_seconds: u64,
    /// Its history, oldest first; empty in lists.
    pub steps: Vec<Step>,
    /// What a run would do now; not in lists, and not once it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Preflight>,
    /// What is otherwise than when it was filed, sentences.
    pub changed: Vec<String>,
    /// Why it can't be run now, sentences.
    pub obstacles: Vec<String>,
    #[serde(rename = "_links")]
    pub links: Links,
}

impl From<TicketEntry> for Ticket {
    fn from(entry: TicketEntry) -> Self {
        let TicketEntry { ticket, region, age, offers, .. } = entry;
        let here = path::ticket(&ticket.project, &ticket.id);
        let links = Links::to_self(href(&here)).with("evidence", href(&format!("{here}/evidence")));
        let open = offers.into_iter().filter(|(_, offer)| Offer::is_open(offer));
        let links = open.fold(links, |links, (act, _)| {
            links.with(&format!("#{}", word(act)), href(&format!("{here}/{}", word(act))))
        });
        let wanted = ticket.wanted;
        Self {
            state: ticket.state.into(),
            environment: wanted.source.name,
            backup: wanted.snapshot,
            taken_at: wanted.taken_at,
            environment_name: wanted.target.name,
            branch_from: wanted.target.branch_from,
            parts: wanted.scope.named().cloned().collect(),
            plan_hash: wanted.plan_hash,
            reason: wanted.reason,
            requester: ticket.requester.name,
            claimer: ticket.claimer.map(|person| person.name),
            run: ticket.run,
            created_at: ticket.created_at,
            updated_at: ticket.updated_at,
            age_seconds: age.as_secs(),
            steps: Vec::new(),
            preflight: None,
            changed: Vec::new(),
            obstacles: Vec::new(),
            links,
            id: ticket.id,
            project: ticket.project,
            region,
        }
    }
}

impl From<TicketPage> for Ticket {
    fn from(page: TicketPage) -> Self {
        let TicketPage { entry, preflight, changed, obstacles, steps, .. } = page;
        Self { steps, preflight: preflight.map(Preflight::from), changed, obstacles, ..Self::from(entry) }
    }
}

/// `claim`: as it stands in addresses.
pub fn word(act: TicketAct) -> &'static str {
    act.as_str().trim_start_matches("ticket.")
}

/// Body of `POST …/backups/{id}/tickets`: a restore's, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TicketRequest {
    pub reason: String,
    #[serde(flatten)]
    pub restore: super::RestoreRequest,
}

/// Body of a ticket's acts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TicketText {
    /// The comment, or the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}
