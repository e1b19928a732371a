//! The API's client: blocking, for the command line.

mod connection;

use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::thread;

use serde::Serialize;

use self::connection::{Connection, PAUSES, Pairs};
use super::account::Account;
use super::audit::AuditEntry;
use super::links::path;
use super::member::{AccessRequest, Invitation, InvitationRequest, Member, Permission};
use super::notice::{Channel, ChannelEdit, ChannelRequest, Delivery};
use super::removed::{Purge, RemovedEnvironment, RemovedProject};
use super::{
    Activity, Backup, BackupRequest, Drill, DrillRequest, Environment, LogItem, Merge, MergeRequest, Move, MoveRequest,
    Operation, Plan, PlanChange, PlanRequest, Preflight, Problem, Project, ProjectRemoval, Removal, RestoreRequest,
    Retention, Schedule, ScheduleRequest, Service, Storage, StorageRequest, Ticket, TicketRequest, TicketText, ticket,
};
use crate::domain::Secret;
use crate::domain::activity::{ActivityResult, ActivityState};
use crate::domain::dump::Compression;
use crate::domain::ids::{
    ActivityId, ChannelId, EnvironmentName, InvitationId, ProjectId, RegionId, ScheduleId, ServiceName, SnapshotName,
    TicketId, UserId,
};
use crate::domain::policy::AccountChange;
use crate::domain::ticket::{TicketAct, TicketState};
use crate::domain::time::Timestamp;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{0}` is not an http or https address")]
    Address(String),
    #[error("the server at {base} can't be reached")]
    Connection {
        base: String,
        #[source]
        source: Box<ureq::Error>,
    },
    /// The server's own refusal.
    #[error(transparent)]
    Problem(Problem),
    /// Something answers there, and it is not this API.
    #[error("{url} answered {status}, and not as Stillpoint's API does")]
    Unexpected { url: String, status: u16 },
}

#[derive(Debug)]
pub struct Client {
    connection: Connection,
}

/// Which activities; all by default.
#[derive(Debug, Clone, Default)]
pub struct Query {
    pub kinds: Vec<String>,
    pub states: Vec<ActivityState>,
    pub result: Option<ActivityResult>,
    /// Created at or before.
    pub starts_at: Option<Timestamp>,
    pub count: Option<u32>,
}

/// How an environment is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemovalWish {
    /// Agrees to the removal of what visitors use.
    pub even_live: bool,
    /// Whether a last snapshot is taken; `None`: where data is deleted.
    pub backup: Option<bool>,
}

/// Which tickets; all by default.
#[derive(Debug, Clone, Default)]
pub struct TicketQuery {
    pub id: Option<TicketId>,
    pub states: Vec<TicketState>,
    pub region: Option<RegionId>,
    /// Filed or worked on by the one who asks.
    pub mine: bool,
}

/// Which dump.
#[derive(Debug, Clone, Copy)]
pub struct DumpOf<'a> {
    pub service: &'a ServiceName,
    /// `None`: of the live environment.
    pub snapshot: Option<&'a SnapshotName>,
    pub compression: Compression,
}

/// A dump on its way.
pub struct Download {
    /// As the server would call it.
    pub file_name: Option<String>,
    /// Ends with an error when it broke off.
    pub body: Box<dyn Read + Send>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").field("file_name", &self.file_name).finish_non_exhaustive()
    }
}

impl Client {
    /// `address` is the console's, with or without `/api`.
    ///
    /// # Errors
    /// [`Error::Address`]
    pub fn new(address: &str, token: Secret) -> Result<Self, Error> {
        Ok(Self { connection: Connection::to(address, token)? })
    }

    /// Address of the API.
    pub fn base(&self) -> &str {
        self.connection.base()
    }

    pub fn projects(&self) -> Result<Vec<Project>, Error> {
        self.connection.get(&path::projects(), &[])
    }

    pub fn project(&self, project: &ProjectId) -> Result<Project, Error> {
        self.connection.get(&path::project(project), &[])
    }

    pub fn environments(&self, project: &ProjectId) -> Result<Vec<Environment>, Error> {
        self.connection.get(&path::environments(project), &[])
    }

    pub fn removed_environments(&self, project: &ProjectId) -> Result<Vec<RemovedEnvironment>, Error> {
        self.connection.get(&path::removed(Some(project)), &[])
    }

    pub fn removed_projects(&self) -> Result<Vec<RemovedProject>, Error> {
        self.connection.get(&path::removed(None), &[])
    }

    pub fn purge(&self, project: &ProjectId) -> Result<Purge, Error> {
        self.connection.post(&path::purge(project), &serde_json::json!({}))
    }

    pub fn unpurge(&self, project: &ProjectId) -> Result<Purge, Error> {
        self.connection.post(&path::unpurge(project), &serde_json::json!({}))
    }

    pub fn removal(&self, project: &ProjectId, environment: &EnvironmentName) -> Result<Removal, Error> {
        self.connection.get(&path::removal(project, environment), &[])
    }

    pub fn delete_environment(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        wish: RemovalWish,
    ) -> Result<Activity, Error> {
        let backup = wish.backup.map(|backup| format!("&backup={backup}")).unwrap_or_default();
        let path = format!("{}?even_live={}{backup}", path::environment(project, environment), wish.even_live);
        let operation: Operation = self.connection.delete_and_read(&path)?;
        operation.activity().ok_or_else(|| self.connection.unexpected(&path, Operation::STATUS))
    }

    pub fn project_removal(&self, project: &ProjectId) -> Result<ProjectRemoval, Error> {
        self.connection.get(&path::project_removal(project), &[])
    }

    /// The activity that does it; `None`: it is done.
    pub fn delete_project(&self, project: &ProjectId) -> Result<Option<ActivityId>, Error> {
        let activity: Vec<ActivityId> = self.connection.delete_and_read(&path::project(project))?;
        Ok(activity.into_iter().next())
    }

    pub fn relocation(&self, project: &ProjectId, to: &RegionId) -> Result<Move, Error> {
        self.connection.get(&path::relocation(project), &[("region", to.to_string())])
    }

    pub fn relocate(&self, project: &ProjectId, request: &MoveRequest) -> Result<Activity, Error> {
        let path = path::relocation(project);
        let operation: Operation = self.connection.post(&path, request)?;
        operation.activity().ok_or_else(|| self.connection.unexpected(&path, Operation::STATUS))
    }

    pub fn environment(&self, project: &ProjectId, environment: &EnvironmentName) -> Result<Environment, Error> {
        self.connection.get(&path::environment(project, environment), &[])
    }

    pub fn backups(&self, project: &ProjectId, environment: &EnvironmentName) -> Result<Vec<Backup>, Error> {
        self.connection.get(&path::backups(project, environment), &[])
    }

    /// Those that can be taken back (R14).
    pub fn deleted_backups(&self, project: &ProjectId, environment: &EnvironmentName) -> Result<Vec<Backup>, Error> {
        self.connection.get(&path::backups(project, environment), &[("status", "DELETING".to_owned())])
    }

    pub fn backup(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        name: &SnapshotName,
    ) -> Result<Backup, Error> {
        self.connection.get(&path::backup(project, environment, name), &[])
    }

    pub fn take_backup(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        request: &BackupRequest,
    ) -> Result<Activity, Error> {
        self.operate(&path::take_backup(project, environment), request)
    }

    pub fn preflight(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        name: &SnapshotName,
        request: &RestoreRequest,
    ) -> Result<Preflight, Error> {
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(request.environment_name.clone().map(|target| ("environment_name", target)));
        query.extend(request.branch_from.clone().map(|parent| ("branch_from", parent)));
        query.extend(request.parts.iter().flatten().map(|part| ("parts", part.to_string())));
        self.connection.get(&path::restore(project, environment, name), &query)
    }

    pub fn restore(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        name: &SnapshotName,
        request: &RestoreRequest,
    ) -> Result<Activity, Error> {
        self.operate(&path::restore(project, environment, name), request)
    }

    /// What a merge into the parent would do.
    pub fn merge_preview(&self, project: &ProjectId, environment: &EnvironmentName) -> Result<Merge, Error> {
        self.connection.get(&path::merge(project, environment), &[])
    }

    pub fn merge(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        request: &MergeRequest,
    ) -> Result<Activity, Error> {
        self.operate(&path::merge(project, environment), request)
    }

    /// What is declared for services and mounts, and what they use.
    pub fn storage(&self, project: &ProjectId, environment: &EnvironmentName) -> Result<Storage, Error> {
        self.connection.get(&path::storage(project, environment), &[])
    }

    pub fn change_storage(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        request: &StorageRequest,
    ) -> Result<Activity, Error> {
        self.operate(&path::storage(project, environment), request)
    }

    /// Newest first.
    pub fn drills(&self, project: &ProjectId, environment: &EnvironmentName) -> Result<Vec<Drill>, Error> {
        self.connection.get(&path::drills(project, environment), &[])
    }

    pub fn drill(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        activity: &ActivityId,
    ) -> Result<Drill, Error> {
        self.connection.get(&path::drill(project, environment, activity), &[])
    }

    pub fn run_drill(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        request: &DrillRequest,
    ) -> Result<Activity, Error> {
        self.operate(&path::drills(project, environment), request)
    }

    /// Oldest first; of one project, or of all that one may see.
    pub fn tickets(&self, project: Option<&ProjectId>, query: &TicketQuery) -> Result<Vec<Ticket>, Error> {
        let mut pairs: Pairs = query.states.iter().map(|state| ("state", state.to_string())).collect();
        pairs.extend(query.id.iter().map(|id| ("id", id.to_string())));
        pairs.extend(query.region.iter().map(|region| ("region", region.to_string())));
        pairs.extend(query.mine.then(|| ("mine", "1".to_owned())));
        self.connection.get(&path::tickets(project), &pairs)
    }

    pub fn ticket(&self, project: &ProjectId, ticket: &TicketId) -> Result<Ticket, Error> {
        self.connection.get(&path::ticket(project, ticket), &[])
    }

    pub fn ticket_evidence(&self, project: &ProjectId, ticket: &TicketId) -> Result<serde_json::Value, Error> {
        self.connection.get(&format!("{}/evidence", path::ticket(project, ticket)), &[])
    }

    pub fn file_ticket(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        name: &SnapshotName,
        request: &TicketRequest,
    ) -> Result<Ticket, Error> {
        self.connection.post(&path::backup_tickets(project, environment, name), request)
    }

    pub fn act_on_ticket(
        &self,
        project: &ProjectId,
        id: &TicketId,
        act: TicketAct,
        text: Option<&str>,
    ) -> Result<Ticket, Error> {
        let body = TicketText { text: text.map(str::to_owned) };
        self.connection.post(&format!("{}/{}", path::ticket(project, id), ticket::word(act)), &body)
    }

    pub fn delete_backup(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        name: &SnapshotName,
    ) -> Result<Activity, Error> {
        let path = path::backup(project, environment, name);
        let operation: Operation = self.connection.delete_and_read(&path)?;
        operation.activity().ok_or_else(|| self.connection.unexpected(&path, Operation::STATUS))
    }

    pub fn undelete_backup(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        name: &SnapshotName,
    ) -> Result<Activity, Error> {
        self.operate(&path::undelete(project, environment, name), &serde_json::json!({}))
    }

    pub fn protect_backup(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        name: &SnapshotName,
        note: Option<&str>,
    ) -> Result<Activity, Error> {
        self.operate(&path::protect(project, environment, name), &serde_json::json!({ "note": note }))
    }

    pub fn unprotect_backup(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        name: &SnapshotName,
    ) -> Result<Activity, Error> {
        self.operate(&path::unprotect(project, environment, name), &serde_json::json!({}))
    }

    /// Which snapshots go, when and why.
    pub fn retention(&self, project: &ProjectId, environment: &EnvironmentName) -> Result<Retention, Error> {
        self.connection.get(&path::retention(project, environment), &[])
    }

    /// What a project's plan says, and whether its text has changed since.
    pub fn plan(&self, project: &ProjectId) -> Result<Plan, Error> {
        self.connection.get(&path::plan(project), &[])
    }

    /// What another plan changes: only told without the change's hash, done with it.
    pub fn change_plan(&self, project: &ProjectId, request: &PlanRequest) -> Result<PlanChange, Error> {
        self.connection.post(&path::plan(project), request)
    }

    /// Newest first; of one environment, or of all that one may see.
    pub fn activities(
        &self,
        project: &ProjectId,
        environment: Option<&EnvironmentName>,
        query: &Query,
    ) -> Result<Vec<Activity>, Error> {
        let path = match environment {
            Some(environment) => path::activities(project, environment),
            None => path::project_activities(project),
        };
        self.connection.get(&path, &query.pairs())
    }

    pub fn activity(&self, project: &ProjectId, activity: &ActivityId) -> Result<Activity, Error> {
        self.connection.get(&path::activity(project, activity), &[])
    }

    pub fn cancel(&self, project: &ProjectId, activity: &ActivityId) -> Result<Activity, Error> {
        self.operate(&path::cancel(project, activity), &serde_json::json!({}))
    }

    /// What of the log is there after line `after` (0: from the start).
    pub fn log(&self, project: &ProjectId, activity: &ActivityId, after: i64) -> Result<Vec<LogItem>, Error> {
        let pairs = [("follow", "0".to_owned()), ("after", after.to_string())];
        let path = path::log(project, activity);
        let text = self.connection.text(&path, &pairs)?;
        text.lines().map(|line| self.connection.parse(&path, line)).collect()
    }

    /// Hands over every item as it comes, until the seal or until `each` breaks. A connection that breaks on the way is
    /// made anew where it broke.
    ///
    /// # Errors
    /// When the server refuses, or can't be reached three times running.
    pub fn follow_log(
        &self,
        project: &ProjectId,
        activity: &ActivityId,
        mut each: impl FnMut(&LogItem) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let path = path::log(project, activity);
        let mut after = 0_i64;
        loop {
            let pairs = [("after", after.to_string())];
            let reply = self.connection.stream(&path, &pairs)?;
            let lines = BufReader::new(reply.into_body().into_with_config().limit(u64::MAX).reader()).lines();
            for line in lines.map_while(Result::ok).filter(|line| !line.trim().is_empty()) {
                let item: LogItem = self.connection.parse(&path, &line)?;
                if item.seal {
                    return Ok(());
                }
                after = item.id.parse().unwrap_or(after);
                if each(&item).is_break() {
                    return Ok(());
                }
            }
            thread::sleep(PAUSES[0]);
        }
    }

    /// Services whose dumps there are, in the live environment or in a snapshot.
    pub fn services(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Vec<Service>, Error> {
        self.connection.get(&services(project, environment, snapshot), &[])
    }

    /// A service's dump, as it comes.
    pub fn dump(&self, project: &ProjectId, environment: &EnvironmentName, of: &DumpOf<'_>) -> Result<Download, Error> {
        let path = path::dump(&services(project, environment, of.snapshot), of.service);
        let reply = self.connection.download(&path, &[("compress", of.compression.to_string())])?;
        let disposition = reply.headers().get("content-disposition").and_then(|value| value.to_str().ok());
        let named = disposition.and_then(|text| text.split_once("filename=\"")?.1.split_once('"'));
        let file_name = named.map(|(name, _)| name.to_owned());
        let body = reply.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Download { file_name, body: Box::new(body) })
    }

    pub fn accounts(&self) -> Result<Vec<Account>, Error> {
        self.connection.get(&path::accounts(), &[])
    }

    pub fn change_account(&self, user: &UserId, change: AccountChange) -> Result<Account, Error> {
        self.connection.post(&path::change_account(user, change), &serde_json::json!({}))
    }

    pub fn members(&self, project: &ProjectId) -> Result<Vec<Member>, Error> {
        self.connection.get(&path::members(project), &[])
    }

    pub fn set_member(&self, project: &ProjectId, user: &UserId, roles: &[String]) -> Result<Member, Error> {
        let permissions = roles.iter().cloned().map(Permission::Word).collect();
        self.connection.patch(&path::member(project, user), &AccessRequest { permissions })
    }

    pub fn remove_member(&self, project: &ProjectId, user: &UserId) -> Result<(), Error> {
        self.connection.delete(&path::member(project, user))
    }

    pub fn invitations(&self, project: &ProjectId) -> Result<Vec<Invitation>, Error> {
        self.connection.get(&path::invitations(project), &[])
    }

    pub fn invite(&self, project: &ProjectId, email: &str, roles: &[String]) -> Result<Invitation, Error> {
        let permissions = roles.iter().cloned().map(Permission::Word).collect();
        let request = InvitationRequest { email: email.to_owned(), role: None, permissions };
        self.connection.post(&path::invitations(project), &request)
    }

    pub fn revoke_invitation(&self, project: &ProjectId, invitation: &InvitationId) -> Result<(), Error> {
        self.connection.delete(&path::invitation(project, invitation))
    }

    /// Newest first, at most 500; of a project, or of the installation.
    pub fn audit(
        &self,
        project: Option<&ProjectId>,
        query: &[(&'static str, String)],
    ) -> Result<Vec<AuditEntry>, Error> {
        self.connection.get(&path::audit(project), query)
    }

    pub fn channels(&self, project: &ProjectId) -> Result<Vec<Channel>, Error> {
        self.connection.get(&path::channels(project), &[])
    }

    /// The answer has a webhook's secret, this once.
    pub fn add_channel(&self, project: &ProjectId, request: &ChannelRequest) -> Result<Channel, Error> {
        self.connection.post(&path::channels(project), request)
    }

    /// The answer has the secret if a new one was made, this once.
    pub fn edit_channel(
        &self,
        project: &ProjectId,
        channel: &ChannelId,
        request: &ChannelEdit,
    ) -> Result<Channel, Error> {
        self.connection.patch(&path::channel(project, channel), request)
    }

    pub fn remove_channel(&self, project: &ProjectId, channel: &ChannelId) -> Result<(), Error> {
        self.connection.delete(&path::channel(project, channel))
    }

    /// Has a test message sent.
    pub fn try_channel(&self, project: &ProjectId, channel: &ChannelId) -> Result<Delivery, Error> {
        self.connection.post(&format!("{}/test", path::channel(project, channel)), &())
    }

    pub fn deliveries(&self, project: &ProjectId) -> Result<Vec<Delivery>, Error> {
        self.connection.get(&path::deliveries(project), &[])
    }

    pub fn schedules(&self, project: &ProjectId, environment: &EnvironmentName) -> Result<Vec<Schedule>, Error> {
        self.connection.get(&path::schedules(project, environment), &[])
    }

    pub fn add_schedule(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        request: &ScheduleRequest,
    ) -> Result<Schedule, Error> {
        self.connection.post(&path::schedules(project, environment), request)
    }

    pub fn edit_schedule(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        id: &ScheduleId,
        request: &ScheduleRequest,
    ) -> Result<Schedule, Error> {
        self.connection.patch(&path::schedule(project, environment, id), request)
    }

    pub fn remove_schedule(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        id: &ScheduleId,
    ) -> Result<(), Error> {
        self.connection.delete(&path::schedule(project, environment, id))
    }

    fn operate(&self, path: &str, body: &impl Serialize) -> Result<Activity, Error> {
        let operation: Operation = self.connection.post(path, body)?;
        operation.activity().ok_or_else(|| self.connection.unexpected(path, Operation::STATUS))
    }
}

fn services(project: &ProjectId, environment: &EnvironmentName, snapshot: Option<&SnapshotName>) -> String {
    match snapshot {
        Some(name) => path::backup_services(project, environment, name),
        None => path::services(project, environment),
    }
}

impl Query {
    fn pairs(&self) -> Pairs {
        let mut pairs: Pairs = self.kinds.iter().map(|kind| ("type", kind.clone())).collect();
        pairs.extend(self.states.iter().map(|state| ("state", state.to_string())));
        pairs.extend(self.result.map(|result| ("result", result.to_string())));
        pairs.extend(self.starts_at.map(|at| ("starts_at", at.rfc3339())));
        pairs.extend(self.count.map(|count| ("count", count.to_string())));
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_each_type_and_state() {
        let query = Query {
            kinds: vec!["environment.backup".to_owned(), "environment.restore".to_owned()],
            states: vec![ActivityState::Pending],
            result: Some(ActivityResult::Failure),
            starts_at: Some(Timestamp::from_micros(0)),
            count: Some(3),
        };
        let text: Vec<String> = query.pairs().iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            text.join("&"),
            "type=environment.backup&type=environment.restore&state=pending&result=failure\
             &starts_at=1970-01-01T00:00:00.000000Z&count=3"
        );
    }

    #[test]
    fn a_server_that_is_not_there_is_a_connection_error_that_names_it() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = format!("http://{}", port.expect("a free port"));
        let client = Client::new(&address, Secret::new("t")).expect("a valid address");
        let error = client.projects().expect_err("nobody listens there");
        assert!(matches!(&error, Error::Connection { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("the server at {address}/api can't be reached"));
    }
}
