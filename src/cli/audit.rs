//! `project:audit`: who did what, from where, and what was refused.

use super::activity_list::instant;
use super::arguments::Audit;
use super::error::Error;
use super::session::Session;
use super::table::{self, Column, Format};
use super::talk::Talk;
use crate::domain::ids::{ActivityId, EnvironmentName, ProjectId};
use crate::wire::audit::AuditEntry;

/// The server gives at most so many at once.
const PAGE: usize = 500;

pub fn run(command: &Audit, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let project = match command.installation {
        true => None,
        false => Some(session.project(command.project.as_ref())?),
    };
    let found = find(command, session, project.as_ref())?;
    if !found.is_empty() || command.list.format == Format::Json {
        table::write(&found, COLUMNS, &["at", "user", "about", "outcome", "address"], &command.list, talk)?;
    }
    if found.is_empty() { Err(Error::Empty("Nothing in the audit matches".to_owned())) } else { Ok(()) }
}

fn find(command: &Audit, session: &Session, project: Option<&ProjectId>) -> Result<Vec<AuditEntry>, Error> {
    let wanted = if command.limit == 0 { usize::MAX } else { command.limit };
    let mut pairs: Vec<(&'static str, String)> = command.kinds.iter().map(|kind| ("type", kind.clone())).collect();
    let environment = command.environment.as_ref().map(ToString::to_string);
    let given = [("user", command.user.clone()), ("outcome", command.outcome.clone()), ("environment", environment)];
    pairs.extend(given.into_iter().filter_map(|(key, value)| Some((key, value?))));
    for (key, text) in [("since", &command.since), ("until", &command.until)] {
        if let Some(text) = text {
            pairs.push((key, instant(text)?.rfc3339()));
        }
    }
    let mut found: Vec<AuditEntry> = Vec::new();
    loop {
        let count = PAGE.min(wanted - found.len());
        let mut query = pairs.clone();
        query.push(("count", count.to_string()));
        query.extend(found.last().map(|last| ("before", last.number.to_string())));
        let page = match project {
            Some(project) => session.ask(project, |client| client.audit(Some(project), &query))?,
            None => session.client.audit(None, &query)?,
        };
        let is_last = page.len() < count;
        found.extend(page);
        if is_last || found.len() >= wanted {
            return Ok(found);
        }
    }
}

const COLUMNS: &[Column<AuditEntry>] = &[
    Column { key: "at", header: "When", value: |entry, look| look.dates.write(entry.at).into() },
    Column { key: "user", header: "Who", value: |entry, _| entry.user.clone().into() },
    Column { key: "about", header: "What", value: |entry, _| entry.about.clone().into() },
    Column { key: "outcome", header: "Outcome", value: |entry, _| entry.outcome.clone().into() },
    Column { key: "address", header: "Address", value: |entry, _| entry.address.clone().into() },
    Column { key: "authority", header: "Authority", value: |entry, _| entry.authority.clone().into() },
    Column { key: "type", header: "Type", value: |entry, _| entry.kind.clone().into() },
    Column { key: "reason", header: "Reason", value: |entry, _| entry.reason.clone().into() },
    Column {
        key: "project",
        header: "Project",
        value: |entry, _| entry.project.as_ref().map(ProjectId::as_str).into(),
    },
    Column {
        key: "environment",
        header: "Environment",
        value: |entry, _| entry.environment.as_ref().map(EnvironmentName::as_str).into(),
    },
    Column {
        key: "activity",
        header: "Activity",
        value: |entry, _| entry.activity.as_ref().map(ActivityId::as_str).into(),
    },
    Column { key: "number", header: "Number", value: |entry, _| entry.number.into() },
];
