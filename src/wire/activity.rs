//! Activities on the wire.

use serde::{Deserialize, Serialize};

use super::links::{Links, href, path};
use super::word::Word;
use crate::domain::activity::{self, ActivityKind, ActivityResult, ActivityState, SnapshotMode};
use crate::domain::ids::{
    ActivityId, EnvironmentName, ProjectId, ScheduleId, ServiceName, SnapshotName, TicketId, UserId,
};
use crate::domain::time::Timestamp;
use crate::domain::view::{ActivityEntry, ActivityPage};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    pub id: ActivityId,
    #[serde(rename = "type")]
    pub kind: Word<ActivityKind>,
    pub parameters: Parameters,
    pub project: ProjectId,
    pub integration: Option<String>,
    pub environments: Vec<EnvironmentName>,
    pub state: Word<ActivityState>,
    pub result: Option<Word<ActivityResult>>,
    /// Why it failed or was refused, and what to do next.
    pub failure_reason: Option<String>,
    pub created_at: Option<Timestamp>,
    pub updated_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
    pub cancelled_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    /// Whole percent, rounded down.
    pub completion_percent: u16,
    pub timings: serde_json::Map<String, serde_json::Value>,
    /// The log as one text; empty in lists.
    pub log: String,
    pub payload: Payload,
    /// HTML.
    pub description: String,
    pub text: String,
    pub commands: Vec<serde_json::Value>,
    #[serde(rename = "_links")]
    pub links: Links,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Parameters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safe: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What it is about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Payload {
    /// The snapshot that is made or restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_name: Option<SnapshotName>,
    /// Of a restore: what it replaces is kept under this name (R22).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety_backup_name: Option<SnapshotName>,
    /// Of a dump: which service was read; `backup_name` is there when it was in a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// Of a change of a schedule: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleId>,
    /// Of a step of a restore ticket, and of a restore that was run for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<TicketId>,
    /// Of a change that a snapshot comes before (R10): that snapshot's activity; `backup_name` is its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ActivityId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PayloadEnvironment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<PayloadUser>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadEnvironment {
    pub id: EnvironmentName,
    pub name: EnvironmentName,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadUser {
    pub id: Option<UserId>,
    pub display_name: String,
}

impl Activity {
    /// Whether nothing more will happen. A state that only a newer server knows counts as not over.
    pub fn is_over(&self) -> bool {
        matches!(&self.state, Word::Known(state) if state.is_over())
    }

    pub fn succeeded(&self) -> bool {
        self.result.as_ref().is_some_and(|result| result.is(&ActivityResult::Success))
    }

    /// From start to end, or to now while it runs; `None` before it started.
    pub fn duration(&self, now: Timestamp) -> Option<std::time::Duration> {
        let end = self.completed_at.or(self.cancelled_at).unwrap_or(now);
        self.started_at.map(|start| end.since(start))
    }
}

impl From<ActivityEntry> for Activity {
    fn from(entry: ActivityEntry) -> Self {
        let links = links(&entry);
        let ActivityEntry { activity, environment, description, .. } = entry;
        let percent = activity.percent();
        let name = &activity.initiator.name;
        let user_id = activity.initiator.user.as_ref().map(UserId::as_str).unwrap_or_default();
        let text = format!("{name} {description}");
        let description = format!(
            "<user data-id=\"{user_id}\" data-name=\"{0}\">{0}</user> {1}",
            escaped(name),
            escaped(&description)
        );
        let over_at = |state| if activity.state == state { activity.completed_at } else { None };
        let (completed_at, cancelled_at) = (over_at(ActivityState::Complete), over_at(ActivityState::Cancelled));
        let (parameters, payload) = details(&activity, &environment);
        Self {
            id: activity.id,
            kind: activity.kind.into(),
            parameters,
            project: activity.project,
            integration: None,
            environments: vec![environment],
            state: activity.state.into(),
            result: activity.result.map(Into::into),
            failure_reason: activity.failure,
            created_at: Some(activity.created_at),
            updated_at: Some(activity.updated_at),
            started_at: activity.started_at,
            completed_at,
            cancelled_at,
            expires_at: None,
            completion_percent: percent,
            timings: serde_json::Map::new(),
            log: String::new(),
            payload,
            description,
            text,
            commands: Vec::new(),
            links,
        }
    }
}

impl From<ActivityPage> for Activity {
    fn from(page: ActivityPage) -> Self {
        let log = page.log.iter().map(|line| format!("{}\n", line.message)).collect();
        Self { log, ..Self::from(page.entry) }
    }
}

/// S4's "restore link" stands on the activity that made the snapshot; Undo is ours (R24).
fn links(entry: &ActivityEntry) -> Links {
    let (project, environment) = (&entry.activity.project, &entry.environment);
    let id = &entry.activity.id;
    let restore_of = |snapshot: &Option<SnapshotName>| {
        let snapshot = snapshot.as_ref().filter(|_| entry.restore.is_open())?;
        Some(href(&path::restore(project, environment, snapshot)))
    };
    let made = if entry.activity.kind == ActivityKind::Backup { restore_of(&entry.snapshot) } else { None };
    Links::to_self(href(&path::activity(project, id)))
        .with("log", href(&path::log(project, id)))
        .with_if(made, "#restore")
        .with_if(restore_of(&entry.undo), "#undo")
        .with_if(entry.cancel.is_open().then(|| href(&path::cancel(project, id))), "#cancel")
}

fn details(activity: &activity::Activity, environment: &EnvironmentName) -> (Parameters, Payload) {
    let mut parameters = Parameters::default();
    let user = PayloadUser { id: activity.initiator.user.clone(), display_name: activity.initiator.name.clone() };
    let environment = PayloadEnvironment { id: environment.clone(), name: environment.clone() };
    let mut payload = Payload { environment: Some(environment), user: Some(user), ..Payload::default() };
    match &activity.payload {
        activity::Payload::TakeSnapshot(take) => {
            parameters.safe = Some(take.mode == SnapshotMode::Consistent);
            parameters.note.clone_from(&take.note);
            payload.backup_name = Some(take.snapshot.clone());
        }
        activity::Payload::BranchEnvironment(branch) => payload.backup_name = Some(branch.snapshot.clone()),
        activity::Payload::RestoreSnapshot(restore) if restore.branch.is_some() => {
            payload.ticket.clone_from(&restore.ticket);
            payload.backup_name = Some(restore.snapshot.clone());
        }
        activity::Payload::RestoreSnapshot(restore) => {
            payload.ticket.clone_from(&restore.ticket);
            payload.backup_name = Some(restore.snapshot.clone());
            payload.safety_backup_name = Some(restore.safety.clone());
        }
        activity::Payload::RunDrill(run) => payload.backup_name.clone_from(&run.snapshot),
        activity::Payload::ReadDump(read) => {
            payload.backup_name.clone_from(&read.snapshot);
            payload.service = Some(read.service.clone());
        }
        activity::Payload::ChangeSchedule(entry) => payload.schedule = Some(entry.schedule.clone()),
        activity::Payload::Ticket(step) => {
            payload.backup_name = Some(step.snapshot.clone());
            payload.ticket = Some(step.ticket.clone());
        }
        activity::Payload::DeleteSnapshot(delete) => payload.backup_name = Some(delete.snapshot.clone()),
        activity::Payload::KeepSnapshot(keep) => payload.backup_name = Some(keep.snapshot.clone()),
        activity::Payload::MergeEnvironment(merge) => {
            payload.after = merge.first.activity().cloned();
            payload.backup_name = merge.first.snapshot().cloned();
        }
        activity::Payload::ChangeStorage(change) => {
            payload.after = change.first.activity().cloned();
            payload.backup_name = change.first.snapshot().cloned();
        }
        activity::Payload::RemoveEnvironment(remove) => payload.backup_name.clone_from(&remove.after),
        activity::Payload::Retain | activity::Payload::ChangePlan(_) => {}
        activity::Payload::MoveProject(_) | activity::Payload::RemoveProject(_) => {}
    }
    (parameters, payload)
}

fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(letter),
        }
    }
    html
}
