//! The audit (R5, item by item): who did what, when and from where, whether it was done or refused.

use serde::{Deserialize, Serialize};

use super::environment::words;
use super::ids::{ActivityId, EnvironmentName, ProjectId, UserId};
use super::time::Timestamp;

/// What is recorded beside activities, which have kinds of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditKind {
    MemberAdded,
    MemberChanged,
    MemberRemoved,
    InvitationMade,
    InvitationRevoked,
    /// Of a project by a declaration: plan, members.
    Declared,
    /// An act on an environment or a project that somebody may see and not do.
    Refused,
    AccountMade,
    AccountClosed,
    AccountOpened,
    /// Who runs the installation, or works tickets.
    AccountChanged,
    LoggedIn,
    SessionsEnded,
    PasswordChanged,
    ResetLinkMade,
    TokenMade,
    TokenRevoked,
    ChannelMade,
    ChannelChanged,
    ChannelRemoved,
    /// Somebody took the audit itself out.
    Exported,
    /// Somebody cancelled an activity.
    Cancelled,
    /// An operator had a project removed, had it again, or purged it.
    ProjectRemoved,
    /// What an operator did to the installation itself: regions, plans, keys, a repository that was taken over.
    Installation,
}

impl AuditKind {
    pub const ALL: [Self; 24] = [
        Self::MemberAdded,
        Self::MemberChanged,
        Self::MemberRemoved,
        Self::InvitationMade,
        Self::InvitationRevoked,
        Self::Declared,
        Self::Refused,
        Self::AccountMade,
        Self::AccountClosed,
        Self::AccountOpened,
        Self::AccountChanged,
        Self::LoggedIn,
        Self::SessionsEnded,
        Self::PasswordChanged,
        Self::ResetLinkMade,
        Self::TokenMade,
        Self::TokenRevoked,
        Self::ChannelMade,
        Self::ChannelChanged,
        Self::ChannelRemoved,
        Self::Exported,
        Self::Cancelled,
        Self::ProjectRemoved,
        Self::Installation,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::MemberAdded => "project.member.create",
            Self::MemberChanged => "project.member.update",
            Self::MemberRemoved => "project.member.delete",
            Self::InvitationMade => "project.invitation.create",
            Self::InvitationRevoked => "project.invitation.delete",
            Self::Declared => "project.apply",
            Self::Refused => "refused",
            Self::AccountMade => "user.create",
            Self::AccountClosed => "user.close",
            Self::AccountOpened => "user.open",
            Self::AccountChanged => "user.update",
            Self::LoggedIn => "user.login",
            Self::SessionsEnded => "user.sessions.end",
            Self::PasswordChanged => "user.password",
            Self::ResetLinkMade => "user.password.link",
            Self::TokenMade => "user.token.create",
            Self::TokenRevoked => "user.token.delete",
            Self::ChannelMade => "project.notices.create",
            Self::ChannelChanged => "project.notices.update",
            Self::ChannelRemoved => "project.notices.delete",
            Self::Exported => "audit.export",
            Self::Cancelled => "environment.activity.cancel",
            Self::ProjectRemoved => "project.removal",
            Self::Installation => "installation",
        }
    }
}

words!(AuditKind, "what an audit records");

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Grows; shared with the feed.
    pub seq: i64,
    pub at: Timestamp,
    /// `None`: of the installation.
    pub project: Option<ProjectId>,
    pub environment: Option<EnvironmentName>,
    /// An activity's type, or a word of [`AuditKind`].
    pub kind: String,
    pub user: Option<UserId>,
    pub name: String,
    /// `session`, `token:<name>`, `terminal` (the operator's own command line), `none`.
    pub authority: String,
    pub address: Option<String>,
    /// `pending`, `in_progress`, `success`, `failure`, `cancelled`, `refused`.
    pub outcome: String,
    /// Why it failed or was refused.
    pub reason: Option<String>,
    /// In words: "invited ada@example.org as production:viewer".
    pub about: String,
    pub activity: Option<ActivityId>,
}

impl AuditEntry {
    pub const COLUMNS: [&'static str; 12] = [
        "at",
        "project",
        "environment",
        "type",
        "user",
        "authority",
        "address",
        "outcome",
        "about",
        "reason",
        "activity",
        "number",
    ];

    /// In the order of [`AuditEntry::COLUMNS`].
    pub fn cells(&self) -> [String; 12] {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        [
            self.at.rfc3339(),
            text(self.project.as_ref().map(ProjectId::as_str)),
            text(self.environment.as_ref().map(EnvironmentName::as_str)),
            self.kind.clone(),
            self.name.clone(),
            self.authority.clone(),
            text(self.address.as_deref()),
            self.outcome.clone(),
            self.about.clone(),
            text(self.reason.as_deref()),
            text(self.activity.as_ref().map(ActivityId::as_str)),
            self.seq.to_string(),
        ]
    }

    /// A line of CSV (RFC 4180). A cell that a spreadsheet would take for a formula begins with an apostrophe.
    pub fn csv(cells: &[impl AsRef<str>]) -> String {
        let quoted = cells.iter().map(|cell| {
            let cell = cell.as_ref();
            let guard = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
            match cell.contains([',', '"', '\n', '\r']) {
                true => format!("\"{guard}{}\"", cell.replace('"', "\"\"")),
                false => format!("{guard}{cell}"),
            }
        });
        quoted.collect::<Vec<_>>().join(",") + "\r\n"
    }
}

/// Which of them; the default is all, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// Kinds, or their beginnings: `environment`, `project.member`.
    pub kinds: Vec<String>,
    /// E-mail address.
    pub name: Option<String>,
    /// In the installation's audit.
    pub project: Option<ProjectId>,
    pub outcome: Option<String>,
    pub environment: Option<EnvironmentName>,
    /// At or after.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Below this number.
    pub before: Option<i64>,
    pub count: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_spreadsheet_takes_them_for_formulas() {
        let line = AuditEntry::csv(&["plain", "a,b", "say \"no\"", "=1+1", "@x,y", ""]);
        assert_eq!(line, "plain,\"a,b\",\"say \"\"no\"\"\",'=1+1,\"'@x,y\",\r\n");
    }

    #[test]
    fn every_kind_has_a_word_of_its_own() {
        for kind in AuditKind::ALL {
            assert_eq!(kind.as_str().parse::<AuditKind>().as_ref(), Ok(&kind));
        }
    }
}
