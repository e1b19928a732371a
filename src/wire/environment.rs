//! Environments on the wire.

use serde::{Deserialize, Serialize};

use super::links::{Links, href, path};
use super::word::Word;
use crate::domain::environment::{EnvironmentKind, EnvironmentStatus};
use crate::domain::ids::{EnvironmentId, EnvironmentName, ProjectId, SnapshotName};
use crate::domain::time::Timestamp;
use crate::domain::view::{Aside, EnvironmentCard};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// What stands in addresses: the name, as in U.
    pub id: EnvironmentName,
    pub name: EnvironmentName,
    pub machine_name: EnvironmentId,
    pub title: String,
    pub project: ProjectId,
    #[serde(rename = "type")]
    pub kind: Word<EnvironmentKind>,
    pub parent: Option<EnvironmentName>,
    pub status: Word<EnvironmentStatus>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// The production environment: `-e .` on the command line.
    pub is_main: bool,
    /// An activity is pending or running.
    pub is_dirty: bool,
    /// Code is not in a snapshot, and not known here (R15).
    pub has_code: bool,
    pub head_commit: Option<String>,
    pub last_backup_at: Option<Timestamp>,
    pub deployment_state: Option<serde_json::Value>,
    /// What restores replaced and still stands aside, with its size and place. Our own addition to U.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aside: Vec<Aside>,
    /// Ours: what the plan has no room for beside another manual snapshot; to be sent back as `evict`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evicts: Vec<SnapshotName>,
    #[serde(rename = "_links")]
    pub links: Links,
}

impl From<EnvironmentCard> for Environment {
    fn from(card: EnvironmentCard) -> Self {
        let EnvironmentCard { environment, newest_snapshot, health, create_snapshot, aside, eviction, merge, .. } =
            card;
        let (project, name) = (&environment.project, &environment.name);
        let take = create_snapshot.is_open().then(|| href(&path::take_backup(project, name)));
        let links = Links::to_self(href(&path::environment(project, name)))
            .with("backups", href(&path::backups(project, name)))
            .with("activities", href(&path::activities(project, name)))
            .with("services", href(&path::services(project, name)))
            .with("storage", href(&path::storage(project, name)))
            .with("schedules", href(&path::schedules(project, name)))
            .with("removal", href(&path::removal(project, name)))
            .with_if(take, "#backup")
            .with_if(merge.is_open().then(|| href(&path::merge(project, name))), "#merge");
        Self {
            is_main: environment.kind == EnvironmentKind::Production,
            is_dirty: health.tone == crate::domain::view::Tone::Busy,
            id: environment.name.clone(),
            name: environment.name,
            machine_name: environment.id,
            title: environment.title,
            project: environment.project,
            kind: environment.kind.into(),
            parent: environment.parent,
            status: environment.status.into(),
            created_at: environment.created_at,
            updated_at: environment.updated_at,
            has_code: false,
            head_commit: None,
            last_backup_at: newest_snapshot.map(|snapshot| snapshot.created_at),
            deployment_state: None,
            aside,
            evicts: eviction.snapshots,
            links,
        }
    }
}
