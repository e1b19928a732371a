//! What was removed (ours): `GET /removed`, `GET /projects/{p}/removed`, `POST /projects/{p}/purge` and `…/unpurge`.

use serde::{Deserialize, Serialize};

use super::links::{Links, href, path};
use super::retention::Fated;
use super::word::Word;
use crate::domain::bytes::Bytes;
use crate::domain::environment::EnvironmentKind;
use crate::domain::ids::{ActivityId, EnvironmentName, ProjectId, SnapshotName};
use crate::domain::time::Timestamp;
use crate::domain::view;

/// A project that was removed; for operators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemovedProject {
    pub id: ProjectId,
    pub title: String,
    pub removed_at: Timestamp,
    /// Who asked for it.
    pub removed_by: Option<String>,
    pub backup_count: u64,
    /// When the last of them goes by the plan, as things are now; null: there is none, or one has no end.
    pub kept_until: Option<Timestamp>,
    #[serde(rename = "_links")]
    pub links: Links,
}

/// An environment that was removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemovedEnvironment {
    /// What it is reached by: its name, or its id once another one has that.
    pub id: EnvironmentName,
    pub title: String,
    #[serde(rename = "type")]
    pub kind: Word<EnvironmentKind>,
    pub removed_at: Timestamp,
    pub removed_by: Option<String>,
    /// What removed it.
    pub activity: Option<ActivityId>,
    pub backup_count: u64,
    /// As of a [`RemovedProject`].
    pub kept_until: Option<Timestamp>,
    /// What its snapshots added to the project's storage, in bytes.
    pub size_added: Bytes,
    /// Newest first.
    pub backups: Vec<Fated>,
    #[serde(rename = "_links")]
    pub links: Links,
}

/// What a purge deleted, or what of it was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    pub backup_count: u64,
    /// Until then `…/unpurge` takes it back.
    pub until: Option<Timestamp>,
    /// What stays.
    pub held: Vec<Held>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub backup: SnapshotName,
    /// Why, and what to do.
    pub reason: String,
}

impl From<view::RemovedProject> for RemovedProject {
    fn from(entry: view::RemovedProject) -> Self {
        let id = entry.project.id;
        Self {
            links: Links::to_self(href(&path::project(&id)))
                .with("removed", href(&path::removed(Some(&id))))
                .with("activities", href(&path::project_activities(&id))),
            id,
            title: entry.project.title,
            removed_at: entry.at,
            removed_by: entry.by,
            backup_count: entry.snapshots,
            kept_until: entry.until.at(),
        }
    }
}

impl From<view::RemovedEnvironment> for RemovedEnvironment {
    fn from(entry: view::RemovedEnvironment) -> Self {
        let kept_until = entry.until().at();
        let (project, id) = (&entry.environment.project, entry.environment.name.clone());
        Self {
            links: Links::to_self(href(&path::environment(project, &id)))
                .with("backups", href(&path::backups(project, &id)))
                .with("activities", href(&path::activities(project, &id)))
                .with("retention", href(&path::retention(project, &id))),
            id,
            title: entry.environment.title,
            kind: entry.environment.kind.into(),
            removed_at: entry.environment.updated_at,
            removed_by: entry.by,
            activity: entry.activity,
            backup_count: entry.snapshots.len() as u64,
            kept_until,
            size_added: entry.snapshots.iter().map(|snapshot| snapshot.decision.added).sum(),
            backups: entry.snapshots.into_iter().map(|snapshot| snapshot.decision.into()).collect(),
        }
    }
}

impl From<view::Purge> for Purge {
    fn from(done: view::Purge) -> Self {
        let held = |(backup, refusal): (SnapshotName, crate::domain::policy::Refusal)| Held {
            backup,
            reason: refusal.to_string(),
        };
        Self { backup_count: done.deleted, until: Some(done.until), held: done.held.into_iter().map(held).collect() }
    }
}
