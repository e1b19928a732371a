//! The manifest: what stands in every snapshot's repository entry as `manifest.json`, so that the catalogue can be
//! rebuilt without our database (R34).
//!
//! **Invariant:** version 1 is never changed, only added to: whatever was once written is readable for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bytes::counted;
use super::environment::EnvironmentKind;
use super::ids::{EnvironmentId, EnvironmentName, MountName, ProjectId, ServiceName, SnapshotName};
use super::scope::MountPath;
use super::snapshot::{Consistency, Origin, Proof};
use super::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub version: u32,
    pub snapshot: SnapshotName,
    pub project: ProjectId,
    pub project_title: String,
    pub environment_id: EnvironmentId,
    pub environment: EnvironmentName,
    pub environment_title: String,
    pub environment_type: EnvironmentKind,
    /// The instant that the snapshot shows: the middle of its hold.
    pub taken_at: Timestamp,
    pub origin: Origin,
    pub consistency: Consistency,
    pub note: Option<String>,
    pub proof: Option<Proof>,
    pub services: Vec<ServiceEntry>,
    pub mounts: Vec<MountEntry>,
}

impl Manifest {
    pub const VERSION: u32 = 1;
}

/// One service in the snapshot; its dump lies under `services/<name>/` in numbered segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEntry {
    pub name: ServiceName,
    /// `sqlite`, …
    pub kind: String,
    /// Version of the server that was read, as it says of itself.
    pub version: String,
    /// The point that the view stands at, in the service's own terms (R18).
    pub position: String,
    pub facts: Facts,
    /// What is not in the dump or not promised of it, for the snapshot's page (R15).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
}

/// One mount in the snapshot; its files lie under `mounts/<name>/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountEntry {
    pub name: MountName,
    pub files: u64,
    /// Sum of the file sizes, in bytes.
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// When there are any, only they are held: a restore of paths replaced them. One that is not in the tree did not
    /// exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<MountPath>,
    /// SQLite databases that were found among the files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<DatabaseEntry>,
}

/// A SQLite database in a mount: in the mount's tree it stands at its own path as one complete file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseEntry {
    /// Below the mount's root.
    pub path: String,
    /// The point that its view stands at (R18).
    pub position: String,
    pub facts: Facts,
}

/// What a load is checked against (R22), recorded from the view itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// Rows by table.
    pub rows: BTreeMap<String, u64>,
    /// SHA-256 of the schema's text in a fixed order, hexadecimal.
    pub schema: String,
}

impl Facts {
    /// "3,041 rows in 6 tables", in the words of that kind of service.
    pub fn in_words(&self, kind: &str) -> String {
        let (what, place) = nouns(kind);
        format!("{} in {}", counted(self.rows.values().sum(), what), counted(self.rows.len() as u64, place))
    }
}

/// What is counted in a kind of service, and by what.
pub fn nouns(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "redis" => ("key", "database"),
        "solr" => ("document", "core"),
        "command" => ("item", "set"),
        _ => ("row", "table"),
    }
}
