//! What a removal would do, before it is asked for (ours; U has the `DELETE` alone).

use serde::{Deserialize, Serialize};

use super::links::{Links, href, path};
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::domain::policy::Refusal;
use crate::domain::view::{ProjectRemovalPage, RemovalPage};

/// Of an environment: `GET …/environments/{e}/removal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    pub project: ProjectId,
    pub environment: EnvironmentName,
    /// Why it takes `even_live` (or `--even-live`): a sentence.
    pub weight: Option<String>,
    /// Host names that are served no more.
    pub hosts: Vec<String>,
    /// What a restore made for it, and goes with it.
    pub deleted: Vec<String>,
    /// Services and mounts that stay where they are.
    pub stays: Vec<String>,
    /// How many are kept as long as the plan says.
    pub backup_count: u64,
    /// Activities that have not begun, and are cancelled.
    pub cancelled_count: u64,
    /// Whether a last snapshot is taken before, if nothing is said about it.
    pub last_backup: bool,
    /// Why none can be taken.
    pub last_backup_refusal: Option<Refusal>,
    pub refusal: Option<Refusal>,
    #[serde(rename = "_links")]
    pub links: Links,
}

/// Of a project: `GET /projects/{p}/removal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectRemoval {
    pub project: ProjectId,
    pub environments: Vec<EnvironmentName>,
    pub deleted: Vec<String>,
    pub backup_count: u64,
    pub refusal: Option<Refusal>,
    #[serde(rename = "_links")]
    pub links: Links,
}

impl From<RemovalPage> for Removal {
    fn from(page: RemovalPage) -> Self {
        let (project, name) = (&page.project.id, &page.environment.name);
        let open = page.offer.is_open().then(|| href(&path::environment(project, name)));
        Self {
            links: Links::to_self(href(&path::removal(project, name))).with_if(open, "#delete"),
            last_backup: !page.deleted.is_empty() && page.last.is_open(),
            project: page.project.id,
            environment: page.environment.name,
            weight: page.weight,
            hosts: page.hosts,
            deleted: page.deleted,
            stays: page.stays.into_iter().map(|part| part.name).collect(),
            backup_count: page.snapshots,
            cancelled_count: page.waiting,
            last_backup_refusal: page.last.refusal,
            refusal: page.offer.refusal,
        }
    }
}

impl From<ProjectRemovalPage> for ProjectRemoval {
    fn from(page: ProjectRemovalPage) -> Self {
        let project = page.project.id;
        let open = page.offer.is_open().then(|| href(&path::project(&project)));
        Self {
            links: Links::to_self(href(&path::project_removal(&project))).with_if(open, "#delete"),
            project,
            environments: page.environments,
            deleted: page.deleted,
            backup_count: page.snapshots,
            refusal: page.offer.refusal,
        }
    }
}
