//! What a restore would do, before it is asked for (R25): our own addition to U, `GET …/backups/{id}/restore`.

use serde::{Deserialize, Serialize};

use super::links::{Links, href, path};
use crate::domain::bytes::Bytes;
use crate::domain::ids::{EnvironmentName, ProjectId, SnapshotName};
use crate::domain::policy::Refusal;
use crate::domain::time::Timestamp;
use crate::domain::view::{self, Change};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preflight {
    pub project: ProjectId,
    pub environment: EnvironmentName,
    pub backup: SnapshotName,
    /// The instant that the snapshot shows.
    pub taken_at: Timestamp,
    pub size_used: Bytes,
    pub changes: Vec<Change>,
    /// Stays as it is.
    pub untouched: Vec<String>,
    /// Wait and duration, sentences.
    pub expectations: Vec<String>,
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
        let here = href(&path::restore(&plan.project.id, &plan.environment.name, &plan.snapshot.name));
        let open = (plan.offer.is_open() && plan.obstacles.is_empty()).then(|| here.clone());
        Self {
            project: plan.project.id,
            environment: plan.environment.name,
            backup: plan.snapshot.name,
            taken_at: plan.snapshot.taken_at,
            size_used: plan.snapshot.size,
            changes: plan.changes,
            untouched: plan.untouched,
            expectations: plan.expectations,
            obstacles: plan.obstacles,
            refusal: plan.offer.refusal,
            plan_hash: plan.hash,
            links: Links::to_self(here).with_if(open, "#restore"),
        }
    }
}
