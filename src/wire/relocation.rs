//! Moving a project to another region (ours; R27): `GET /projects/{p}/move?region=R` says what that changes.

use serde::{Deserialize, Serialize};

use super::links::{Links, href, path};
use crate::domain::bytes::Bytes;
use crate::domain::ids::{ProjectId, RegionId};
use crate::domain::view::MovePage;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    pub project: ProjectId,
    pub from: RegionId,
    pub to: RegionId,
    pub backup_count: u64,
    /// Of the repository; `None`: the console's machine can't see it.
    pub size: Option<Bytes>,
    /// Where it would go.
    pub free: Option<Bytes>,
    /// What the other region does differently: sentences.
    pub changes: Vec<String>,
    /// What will happen, how long it takes and what stays behind: sentences.
    #[serde(default)]
    pub expectations: Vec<String>,
    /// Why it can't be done now: sentences.
    pub obstacles: Vec<String>,
    #[serde(rename = "_links")]
    pub links: Links,
}

/// Body of `POST /projects/{p}/move`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MoveRequest {
    pub region: Option<RegionId>,
}

impl From<MovePage> for Move {
    fn from(page: MovePage) -> Self {
        let here = href(&path::relocation(&page.project.id));
        let open = page.obstacles.is_empty().then(|| here.clone());
        Self {
            expectations: page.expectations(),
            links: Links::to_self(format!("{here}?region={}", page.to.id)).with_if(open, "#move"),
            project: page.project.id,
            from: page.from.id,
            to: page.to.id,
            backup_count: page.snapshots,
            size: page.size,
            free: page.free,
            changes: page.changes,
            obstacles: page.obstacles,
        }
    }
}
