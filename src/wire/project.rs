//! Projects on the wire.

use serde::{Deserialize, Serialize};

use super::links::{Links, href, path};
use crate::domain::ids::{PlanId, ProjectId, RegionId};
use crate::domain::time::Timestamp;
use crate::domain::view::ProjectCard;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    pub id: ProjectId,
    pub title: String,
    pub region: RegionId,
    pub plan: PlanId,
    pub created_at: Timestamp,
    /// Environments that the one who asks may see.
    pub environment_count: u64,
    #[serde(rename = "_links")]
    pub links: Links,
}

impl From<ProjectCard> for Project {
    fn from(card: ProjectCard) -> Self {
        let ProjectCard { project, environments, .. } = card;
        let links = Links::to_self(href(&path::project(&project.id)))
            .with("environments", href(&path::environments(&project.id)))
            .with("activities", href(&path::project_activities(&project.id)));
        Self {
            id: project.id,
            title: project.title,
            region: project.region,
            plan: project.plan,
            created_at: project.created_at,
            environment_count: environments,
            links,
        }
    }
}
