//! Accounts of the installation, for its operators (ours).

use serde::{Deserialize, Serialize};

use super::links::{Links, href, path};
use crate::domain::ids::{ProjectId, UserId};
use crate::domain::time::Timestamp;
use crate::domain::view::AccountEntry;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub id: UserId,
    pub email: String,
    /// Runs the installation.
    pub operator: bool,
    /// Works restore tickets.
    pub support: bool,
    pub created_at: Timestamp,
    pub last_seen_at: Option<Timestamp>,
    /// `null`: it is open.
    pub closed_at: Option<Timestamp>,
    /// Projects that have no other admin.
    pub only_admin_of: Vec<ProjectId>,
    /// How many schedules run in its name.
    pub schedules: u64,
    /// What closing it leaves, or has left, behind that somebody should see to, sentences.
    pub warnings: Vec<String>,
    #[serde(rename = "_links")]
    pub links: Links,
}

impl From<AccountEntry> for Account {
    fn from(entry: AccountEntry) -> Self {
        let here = path::account(&entry.id);
        let mut links = Links::to_self(href(&here));
        for (change, _) in entry.changes.iter().filter(|(_, offer)| offer.is_open()) {
            links = links.with(&format!("#{change}"), href(&path::change_account(&entry.id, *change)));
        }
        Self {
            links,
            warnings: entry.left_behind(),
            id: entry.id,
            email: entry.email,
            operator: entry.operator,
            support: entry.support,
            created_at: entry.created_at,
            last_seen_at: entry.last_seen_at,
            closed_at: entry.closed_at,
            only_admin_of: entry.only_admin_of,
            schedules: entry.schedules,
        }
    }
}
