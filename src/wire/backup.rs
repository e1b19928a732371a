//! Snapshots on the wire, where U calls them backups.

use serde::{Deserialize, Serialize};

use super::links::{Links, href, path};
use super::word::Word;
use crate::domain::PartName;
use crate::domain::bytes::Bytes;
use crate::domain::environment::Environment;
use crate::domain::ids::{ActivityId, EnvironmentName, ProjectId, SnapshotName};
use crate::domain::policy::Refusal;
use crate::domain::snapshot::{Consistency, Deletion, Origin, Proof};
use crate::domain::time::Timestamp;
use crate::domain::view::{Care, DeletedEntry, Offer, SnapshotEntry, SnapshotPage};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// The snapshot's name.
    pub id: SnapshotName,
    pub created_at: Option<Timestamp>,
    pub updated_at: Option<Timestamp>,
    /// What Stillpoint knows beyond U's fields.
    pub attributes: Attributes,
    /// `CREATED` (complete) or `DELETING`.
    pub status: String,
    pub expires_at: Option<Timestamp>,
    pub index: Option<u64>,
    pub commit_id: Option<String>,
    pub environment: EnvironmentName,
    /// Taken under the snapshot hold; `false`: live (R16).
    pub safe: bool,
    pub size_of_volumes: Option<Bytes>,
    /// Size of everything in it, in bytes.
    pub size_used: Option<Bytes>,
    pub deployment: Option<String>,
    /// `false`: it is deleted, or its last drill could not load it.
    pub restorable: bool,
    /// Not asked for by a person.
    pub automated: bool,
    #[serde(rename = "_links")]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attributes {
    pub project: ProjectId,
    pub origin: Word<Origin>,
    pub consistency: Word<Consistency>,
    pub note: Option<String>,
    /// The instant that the snapshot shows.
    pub taken_at: Timestamp,
    /// What it added to the repository, in bytes.
    pub size_added: Bytes,
    pub activity: Option<ActivityId>,
    pub proof: Option<Proof>,
    /// Nothing deletes it but somebody who takes this off first (R13).
    #[serde(default)]
    pub protected: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection_note: Option<String>,
    /// Of one that is `DELETING`: by whom, and until when that can be taken back (R14).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Deletion>,
}

impl Backup {
    pub fn new(entry: SnapshotEntry, environment: &Environment) -> Self {
        let SnapshotEntry { snapshot, restore, care } = entry;
        let (project, name) = (&snapshot.project, &environment.name);
        let open = restore.is_open().then(|| href(&path::restore(project, name, &snapshot.name)));
        let links = Links::to_self(href(&path::backup(project, name, &snapshot.name)))
            .with("services", href(&path::backup_services(project, name, &snapshot.name)))
            .with_if(open, "#restore");
        let protect = if snapshot.protection.is_some() {
            ("#unprotect", href(&path::unprotect(project, name, &snapshot.name)))
        } else {
            ("#protect", href(&path::protect(project, name, &snapshot.name)))
        };
        let links = links
            .with_if(care.delete.is_open().then(|| href(&path::backup(project, name, &snapshot.name))), "#delete")
            .with_if(care.protect.is_open().then_some(protect.1), protect.0);
        Self {
            created_at: Some(snapshot.created_at),
            updated_at: Some(snapshot.created_at),
            status: "CREATED".to_owned(),
            expires_at: snapshot.expires_at,
            index: None,
            commit_id: None,
            environment: environment.name.clone(),
            safe: snapshot.consistency != Consistency::Live,
            size_of_volumes: None,
            size_used: Some(snapshot.size),
            deployment: None,
            restorable: snapshot.drill_failed_at.is_none(),
            automated: snapshot.origin != Origin::Manual,
            links,
            attributes: Attributes {
                project: snapshot.project,
                origin: snapshot.origin.into(),
                consistency: snapshot.consistency.into(),
                note: snapshot.note,
                taken_at: snapshot.taken_at,
                size_added: snapshot.added,
                activity: snapshot.activity,
                proof: snapshot.proof,
                protected: snapshot.protection.is_some(),
                protection_note: snapshot.protection.and_then(|protection| protection.note),
                deleted: None,
            },
            id: snapshot.name,
        }
    }
}

impl From<SnapshotPage> for Backup {
    fn from(page: SnapshotPage) -> Self {
        let entry = SnapshotEntry { snapshot: page.snapshot, restore: page.restore, care: page.care };
        Self::new(entry, &page.environment)
    }
}

impl Backup {
    /// One that can be taken back, and nothing else.
    pub fn deleting(entry: DeletedEntry, environment: &Environment) -> Self {
        let DeletedEntry { snapshot, deletion, undelete } = entry;
        let no = Offer { refusal: Some(Refusal::new("It is deleted.")) };
        let address = path::undelete(&snapshot.project, &environment.name, &snapshot.name);
        let care = Care { protect: no.clone(), delete: no.clone() };
        let mut backup = Self::new(SnapshotEntry { snapshot, restore: no, care }, environment);
        backup.status = "DELETING".to_owned();
        backup.restorable = false;
        backup.updated_at = Some(deletion.at);
        backup.expires_at = Some(deletion.until);
        backup.links = Links::default().with_if(undelete.is_open().then(|| href(&address)), "#undelete");
        backup.attributes.deleted = Some(deletion);
        backup
    }
}

/// One name, or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Names {
    One(SnapshotName),
    Several(Vec<SnapshotName>),
}

impl From<Names> for Vec<SnapshotName> {
    fn from(names: Names) -> Self {
        match names {
            Names::One(name) => vec![name],
            Names::Several(names) => names,
        }
    }
}

/// Body of `POST …/backup`; all of it may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupRequest {
    /// With the snapshot hold, the default; `false`: live (R16).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safe: Option<bool>,
    /// Ours: a remark that stays with the snapshot (R19).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Ours: what the plan has no room for beside it; without it, such a request is refused and names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evict: Option<Names>,
}

/// Body of `POST …/restore`; all of it may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RestoreRequest {
    /// The target as it was typed; left out: the environment that the snapshot was taken of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment_name: Option<String>,
    /// The parent of a target that is to be created, as it was typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch_from: Option<String>,
    /// Ours: of the preflight that was confirmed, so that exactly that is run (R25).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_hash: Option<String>,
    /// Ours: `service:NAME` and `mount:NAME`; left out: everything that the snapshot holds (R26).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<PartName>>,
}
