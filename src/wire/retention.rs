//! What goes, when and why: our own addition to U, `GET …/environments/{environment}/retention`; and a project's plan,
//! `GET` and `POST …/plan`.

use serde::{Deserialize, Serialize};

use super::links::{Links, href, path};
use super::word::Word;
use crate::domain::bytes::Bytes;
use crate::domain::environment::EnvironmentKind;
use crate::domain::ids::{EnvironmentName, PlanId, ProjectId, SnapshotName};
use crate::domain::policy::plans::Line;
use crate::domain::policy::retention::{Decision, Fate};
use crate::domain::snapshot::Origin;
use crate::domain::time::Timestamp;
use crate::domain::view::{self, RetentionPage};

/// The preview of an environment (R11).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retention {
    pub project: ProjectId,
    pub environment: EnvironmentName,
    /// Title of the project's plan.
    pub plan: String,
    /// What the plan says of this type of environment.
    pub rules: Vec<Line>,
    /// Newest first.
    pub backups: Vec<Fated>,
    /// What all snapshots of the project added to its storage, in bytes.
    pub project_size_added: Bytes,
    /// What they may take together, in bytes.
    pub project_storage_budget: Option<Bytes>,
    #[serde(rename = "_links")]
    pub links: Links,
}

/// One snapshot and what becomes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fated {
    pub id: SnapshotName,
    pub environment: EnvironmentName,
    pub origin: Word<Origin>,
    pub taken_at: Timestamp,
    pub size_added: Bytes,
    /// At the next run.
    pub goes: bool,
    /// When its time is over by the plan, as things are now; null: it has no end. What holds it comes on top.
    pub goes_at: Option<Timestamp>,
    /// A sentence.
    pub reason: String,
    /// What keeps it whatever the plan says, sentences (R13).
    pub held: Vec<String>,
}

impl From<Decision> for Fated {
    fn from(decision: Decision) -> Self {
        Self {
            id: decision.snapshot,
            environment: decision.environment_name,
            origin: decision.origin.into(),
            taken_at: decision.taken_at,
            size_added: decision.added,
            goes: decision.fate == Fate::Goes,
            goes_at: decision.goes_at,
            reason: decision.reason,
            held: decision.holds.iter().map(crate::domain::policy::retention::Hold::in_words).collect(),
        }
    }
}

impl From<RetentionPage> for Retention {
    fn from(page: RetentionPage) -> Self {
        Self {
            links: Links::to_self(href(&path::retention(&page.project.id, &page.environment.name)))
                .with("backups", href(&path::backups(&page.project.id, &page.environment.name))),
            project: page.project.id,
            environment: page.environment.name,
            plan: page.plan_title,
            rules: page.told,
            backups: page.plan.decisions.into_iter().map(Fated::from).collect(),
            project_size_added: page.plan.taken,
            project_storage_budget: page.plan.budget,
        }
    }
}

/// What a project's plan says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub id: PlanId,
    pub title: String,
    /// By type of environment.
    pub rules: Vec<(Word<EnvironmentKind>, Vec<Line>)>,
    /// Plans that the project can be put under, and their titles.
    pub offered: Vec<(PlanId, String)>,
    /// The plan's text has changed since the project was put under it: what the new one would change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newer: Option<PlanChange>,
    pub size_added: Bytes,
    pub storage_budget: Option<Bytes>,
    #[serde(rename = "_links")]
    pub links: Links,
}

impl From<view::PlanPage> for Plan {
    fn from(page: view::PlanPage) -> Self {
        let here = href(&path::plan(&page.project.id));
        let open = page.change.is_open().then(|| here.clone());
        Self {
            id: page.plan,
            title: page.plan_title,
            rules: page.told.into_iter().map(|(kind, lines)| (kind.into(), lines)).collect(),
            offered: page.offered,
            newer: page.newer.map(|newer| PlanChange::new(newer, false)),
            size_added: page.taken,
            storage_budget: page.budget,
            links: Links::to_self(here).with_if(open, "#change"),
        }
    }
}

/// Body of `POST …/plan`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlanRequest {
    pub plan: Option<PlanId>,
    /// `hash` of the change that was looked at: nothing is done, and the change answered, without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// What another plan would change, or has changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanChange {
    /// Whether it is done.
    pub done: bool,
    pub from: String,
    pub to: String,
    pub rules: Vec<Differs>,
    /// Snapshots that go at the next run after it, and would not now.
    pub goes: Vec<Fated>,
    /// Send it back to have exactly this done.
    pub hash: String,
}

/// A line of a plan that another plan has otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differs {
    #[serde(rename = "type")]
    pub kind: Word<EnvironmentKind>,
    pub title: String,
    pub is: String,
    pub becomes: String,
}

impl PlanChange {
    pub fn new(change: view::PlanChange, done: bool) -> Self {
        let differs = change.told.into_iter().map(|(kind, is, becomes)| Differs {
            kind: kind.into(),
            title: is.title,
            is: is.text,
            becomes: becomes.text,
        });
        Self {
            done,
            from: change.from_title,
            to: change.to_title,
            rules: differs.collect(),
            goes: change.going.into_iter().map(Fated::from).collect(),
            hash: change.hash,
        }
    }
}
