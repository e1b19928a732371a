//! HAL links: what a thing leads to, and what may be done with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::BASE;
use crate::domain::ids::{
    ActivityId, ChannelId, EnvironmentName, InvitationId, ProjectId, ScheduleId, ServiceName, SnapshotName, TicketId,
    UserId,
};

/// `_links`: relation to address. Relations that begin with `#` are operations, and their absence is a refusal:
/// existing clients ask for nothing else before they act.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Links(BTreeMap<String, Link>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Absolute path, without scheme and host, so that it holds behind every proxy.
    pub href: String,
}

impl Links {
    pub fn to_self(href: String) -> Self {
        Self::default().with("self", href)
    }

    #[must_use]
    pub fn with(mut self, relation: &str, href: String) -> Self {
        self.0.insert(relation.to_owned(), Link { href });
        self
    }

    #[must_use]
    pub fn with_if(self, open: Option<String>, relation: &str) -> Self {
        match open {
            Some(href) => self.with(relation, href),
            None => self,
        }
    }

    pub fn get(&self, relation: &str) -> Option<&str> {
        self.0.get(relation).map(|link| link.href.as_str())
    }

    /// Whether the operation is open to the one who asked.
    pub fn offers(&self, operation: &str) -> bool {
        self.0.contains_key(&format!("#{operation}"))
    }
}

/// Paths of the API below [`BASE`], for links and for the client.
pub mod path {
    use super::{
        ActivityId, ChannelId, EnvironmentName, InvitationId, ProjectId, ScheduleId, ServiceName, SnapshotName,
        TicketId, UserId,
    };
    use crate::domain::policy::AccountChange;

    pub fn accounts() -> String {
        "/accounts".to_owned()
    }

    pub fn account(user: &UserId) -> String {
        format!("/accounts/{user}")
    }

    pub fn change_account(user: &UserId, change: AccountChange) -> String {
        format!("{}/{change}", account(user))
    }

    pub fn projects() -> String {
        "/projects".to_owned()
    }

    pub fn project(project: &ProjectId) -> String {
        format!("/projects/{project}")
    }

    pub fn members(project: &ProjectId) -> String {
        format!("/projects/{project}/user-access")
    }

    pub fn member(project: &ProjectId, user: &UserId) -> String {
        format!("{}/{user}", members(project))
    }

    pub fn invitations(project: &ProjectId) -> String {
        format!("/projects/{project}/invitations")
    }

    pub fn invitation(project: &ProjectId, invitation: &InvitationId) -> String {
        format!("{}/{invitation}", invitations(project))
    }

    /// Of a project, or (`None`) the installation.
    pub fn audit(project: Option<&ProjectId>) -> String {
        project.map_or_else(|| "/audit".to_owned(), |project| format!("/projects/{project}/audit"))
    }

    pub fn environments(project: &ProjectId) -> String {
        format!("/projects/{project}/environments")
    }

    pub fn environment(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("/projects/{project}/environments/{environment}")
    }

    pub fn removal(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("{}/removal", self::environment(project, environment))
    }

    pub fn project_removal(project: &ProjectId) -> String {
        format!("{}/removal", self::project(project))
    }

    /// `GET` answers the preflight, `POST` starts the move.
    /// What was removed: environments of a project, or projects.
    pub fn removed(project: Option<&ProjectId>) -> String {
        project.map_or_else(|| "/removed".to_owned(), |project| format!("{}/removed", self::project(project)))
    }

    pub fn purge(project: &ProjectId) -> String {
        format!("{}/purge", self::project(project))
    }

    pub fn unpurge(project: &ProjectId) -> String {
        format!("{}/unpurge", self::project(project))
    }

    pub fn relocation(project: &ProjectId) -> String {
        format!("{}/move", self::project(project))
    }

    pub fn services(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("{}/services", self::environment(project, environment))
    }

    pub fn backup_services(project: &ProjectId, environment: &EnvironmentName, name: &SnapshotName) -> String {
        format!("{}/services", backup(project, environment, name))
    }

    /// `services`: one of the two above.
    pub fn dump(services: &str, service: &ServiceName) -> String {
        format!("{services}/{service}/dump")
    }

    pub fn take_backup(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("{}/backup", self::environment(project, environment))
    }

    pub fn storage(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("{}/storage", self::environment(project, environment))
    }

    pub fn merge(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("{}/merge", self::environment(project, environment))
    }

    pub fn backups(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("{}/backups", self::environment(project, environment))
    }

    pub fn backup(project: &ProjectId, environment: &EnvironmentName, name: &SnapshotName) -> String {
        format!("{}/{name}", backups(project, environment))
    }

    pub fn drills(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("{}/drills", self::environment(project, environment))
    }

    pub fn drill(project: &ProjectId, environment: &EnvironmentName, activity: &ActivityId) -> String {
        format!("{}/{activity}", drills(project, environment))
    }

    pub fn channels(project: &ProjectId) -> String {
        format!("/projects/{project}/notices/channels")
    }

    pub fn channel(project: &ProjectId, channel: &ChannelId) -> String {
        format!("{}/{channel}", channels(project))
    }

    pub fn deliveries(project: &ProjectId) -> String {
        format!("/projects/{project}/notices/deliveries")
    }

    pub fn schedules(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("{}/schedules", self::environment(project, environment))
    }

    pub fn schedule(project: &ProjectId, environment: &EnvironmentName, id: &ScheduleId) -> String {
        format!("{}/{id}", schedules(project, environment))
    }

    /// `GET` answers the preflight, `POST` starts the restore.
    pub fn restore(project: &ProjectId, environment: &EnvironmentName, name: &SnapshotName) -> String {
        format!("{}/restore", backup(project, environment, name))
    }

    /// `POST` files one.
    pub fn backup_tickets(project: &ProjectId, environment: &EnvironmentName, name: &SnapshotName) -> String {
        format!("{}/tickets", backup(project, environment, name))
    }

    /// Of one project, or of all.
    pub fn tickets(project: Option<&ProjectId>) -> String {
        project.map_or_else(|| "/tickets".to_owned(), |project| format!("/projects/{project}/tickets"))
    }

    pub fn ticket(project: &ProjectId, ticket: &TicketId) -> String {
        format!("/projects/{project}/tickets/{ticket}")
    }

    /// Whether what is below may be done stands in the backup's links.
    pub fn undelete(project: &ProjectId, environment: &EnvironmentName, name: &SnapshotName) -> String {
        format!("{}/undelete", backup(project, environment, name))
    }

    pub fn protect(project: &ProjectId, environment: &EnvironmentName, name: &SnapshotName) -> String {
        format!("{}/protect", backup(project, environment, name))
    }

    pub fn unprotect(project: &ProjectId, environment: &EnvironmentName, name: &SnapshotName) -> String {
        format!("{}/unprotect", backup(project, environment, name))
    }

    pub fn retention(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("{}/retention", self::environment(project, environment))
    }

    pub fn plan(project: &ProjectId) -> String {
        format!("/projects/{project}/plan")
    }

    pub fn project_activities(project: &ProjectId) -> String {
        format!("/projects/{project}/activities")
    }

    pub fn activities(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("{}/activities", self::environment(project, environment))
    }

    pub fn activity(project: &ProjectId, activity: &ActivityId) -> String {
        format!("/projects/{project}/activities/{activity}")
    }

    pub fn cancel(project: &ProjectId, activity: &ActivityId) -> String {
        format!("{}/cancel", self::activity(project, activity))
    }

    pub fn log(project: &ProjectId, activity: &ActivityId) -> String {
        format!("{}/log", self::activity(project, activity))
    }
}

/// A path as it stands in a link.
pub(super) fn href(path: &str) -> String {
    format!("{BASE}{path}")
}
