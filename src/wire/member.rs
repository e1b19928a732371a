//! Members and invitations on the wire: U's `user-access` and `invitations`.

use serde::{Deserialize, Serialize};

use super::links::{Links, href, path};
use super::word::Word;
use crate::domain::ids::{InvitationId, ProjectId, UserId};
use crate::domain::policy::MemberSource;
use crate::domain::time::Timestamp;
use crate::domain::view::{InvitationEntry, MemberEntry, NewInvitation, Offer};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub user_id: UserId,
    pub project_id: ProjectId,
    pub email: String,
    /// `admin`, `viewer`, `production:viewer`, …
    pub permissions: Vec<String>,
    /// Ours: `console`, or `file` when the operator's declaration manages it.
    pub source: Word<MemberSource>,
    pub granted_at: Option<Timestamp>,
    /// Only for those who manage members.
    pub last_seen_at: Option<Timestamp>,
    /// The account is closed: nobody gets in by it.
    #[serde(default)]
    pub closed: bool,
    #[serde(rename = "_links")]
    pub links: Links,
}

impl From<MemberEntry> for Member {
    fn from(entry: MemberEntry) -> Self {
        let at = href(&path::member(&entry.project, &entry.user));
        let open = |offer: &Offer| offer.is_open().then(|| at.clone());
        Self {
            links: Links::to_self(at.clone())
                .with_if(open(&entry.change), "#update")
                .with_if(open(&entry.remove), "#delete"),
            permissions: entry.roles.words(),
            user_id: entry.user,
            project_id: entry.project,
            email: entry.email,
            source: entry.source.into(),
            granted_at: entry.since,
            last_seen_at: entry.last_seen_at,
            closed: entry.is_closed,
        }
    }
}

/// Exactly these roles.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AccessRequest {
    pub permissions: Vec<Permission>,
}

/// A role as a word, or as U's older clients send it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Permission {
    Word(String),
    OnType {
        #[serde(rename = "type")]
        kind: String,
        role: String,
    },
}

impl Permission {
    pub fn word(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::OnType { kind, role } => format!("{kind}:{role}"),
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct InvitationRequest {
    pub email: String,
    /// In the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(default)]
    pub permissions: Vec<Permission>,
}

impl InvitationRequest {
    pub fn words(&self) -> Vec<String> {
        self.role.iter().cloned().chain(self.permissions.iter().map(Permission::word)).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    pub id: InvitationId,
    pub project_id: ProjectId,
    pub email: String,
    pub permissions: Vec<String>,
    /// `pending`: others are not shown.
    pub state: String,
    pub invited_by: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// The link's path on the console: in the answer to the invitation, and never again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(rename = "_links")]
    pub links: Links,
}

impl From<InvitationEntry> for Invitation {
    fn from(entry: InvitationEntry) -> Self {
        let at = href(&path::invitation(&entry.project, &entry.id));
        Self {
            links: Links::to_self(at.clone()).with("#delete", at),
            permissions: entry.roles.words(),
            id: entry.id,
            project_id: entry.project,
            email: entry.email,
            state: "pending".to_owned(),
            invited_by: entry.invited_by,
            created_at: entry.created_at,
            expires_at: entry.expires_at,
            url: None,
        }
    }
}

impl From<NewInvitation> for Invitation {
    fn from(made: NewInvitation) -> Self {
        Self { url: Some(format!("/join?code={}", made.code.reveal())), ..made.entry.into() }
    }
}
