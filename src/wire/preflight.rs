//! What a restore would do, before it is asked for (R25): our own addition to U, `GET …/backups/{id}/restore`.

use serde::{Deserialize, Serialize};

use super::links::{Links, href, path};
use crate::domain::PartName;
use crate::domain::bytes::Bytes;
use crate::domain::ids::{EnvironmentName, ProjectId, SnapshotName};
use crate::domain::policy::Refusal;
use crate::domain::time::Timestamp;
use crate::domain::view::{self, Change, Versions};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preflight {
    pub project: ProjectId,
    /// The one that is overwritten.
    pub environment: EnvironmentName,
    /// Where the snapshot was taken.
    pub source: EnvironmentName,
    /// The environment does not exist yet: it is made with the services and mounts of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_from: Option<EnvironmentName>,
    pub backup: SnapshotName,
    /// The instant that the snapshot shows.
    pub taken_at: Timestamp,
    pub size_used: Bytes,
    /// Everything that the snapshot holds, to choose from (`parts` of the `POST`).
    pub parts: Vec<PartName>,
    /// Environments that the one who asks may restore into (`environment_name` of the `POST`).
    pub targets: Vec<EnvironmentName>,
    pub changes: Vec<Change>,
    /// Stays as it is.
    pub untouched: Vec<String>,
    /// Wait and duration, sentences.
    pub expectations: Vec<String>,
    /// What is to be minded first: maintenance and its length, a server that is older than the snapshot's; sentences.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The snapshot's servers beside those that it goes to.
    #[serde(default)]
    pub versions: Vec<Versions>,
    /// Why it can't be done now, sentences.
    pub obstacles: Vec<String>,
    /// Why the one who asks may not do it.
    pub refusal: Option<Refusal>,
    /// Send it back in the `POST`, so that what was read is what is run.
    pub plan_hash: String,
    #[serde(rename = "_links")]
    pub links: Links,
}

impl From<view::Preflight> for Preflight {
    fn from(plan: view::Preflight) -> Self {
        let here = href(&path::restore(&plan.project.id, &plan.source, &plan.snapshot.name));
        let file = plan.ticket.as_ref().is_some_and(view::Offer::is_open);
        let file = file.then(|| href(&path::backup_tickets(&plan.project.id, &plan.source, &plan.snapshot.name)));
        let open = (plan.offer.is_open() && plan.obstacles.is_empty()).then(|| here.clone());
        Self {
            project: plan.project.id,
            environment: plan.environment.name,
            source: plan.source,
            branch_from: plan.branch_from,
            backup: plan.snapshot.name,
            taken_at: plan.snapshot.taken_at,
            size_used: plan.snapshot.size,
            parts: plan.choices.into_iter().map(|(part, _)| part).collect(),
            targets: plan.targets,
            changes: plan.changes,
            untouched: plan.untouched.iter().map(PartName::in_words).collect(),
            expectations: plan.expectations,
            warnings: plan.warnings,
            versions: plan.versions,
            obstacles: plan.obstacles,
            refusal: plan.offer.refusal,
            plan_hash: plan.hash,
            links: Links::to_self(here).with_if(open, "#restore").with_if(file, "#ticket"),
        }
    }
}
