//! The audit on the wire.

use serde::{Deserialize, Serialize};

use crate::domain::audit;
use crate::domain::ids::{ActivityId, EnvironmentName, ProjectId};
use crate::domain::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Give the last one's as `before` for the next page.
    pub number: i64,
    pub at: Timestamp,
    /// `null`: of the installation.
    pub project: Option<ProjectId>,
    pub environment: Option<EnvironmentName>,
    #[serde(rename = "type")]
    pub kind: String,
    pub user: String,
    pub authority: String,
    pub address: Option<String>,
    pub outcome: String,
    pub about: String,
    pub reason: Option<String>,
    pub activity: Option<ActivityId>,
}

impl From<audit::AuditEntry> for AuditEntry {
    fn from(entry: audit::AuditEntry) -> Self {
        Self {
            number: entry.seq,
            at: entry.at,
            project: entry.project,
            environment: entry.environment,
            kind: entry.kind,
            user: entry.name,
            authority: entry.authority,
            address: entry.address,
            outcome: entry.outcome,
            about: entry.about,
            reason: entry.reason,
            activity: entry.activity,
        }
    }
}
