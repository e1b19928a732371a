//! `activity:list`: the feed, newest first.

use serde_json::Value;

use super::arguments::ActivityList;
use super::error::Error;
use super::session::{Place, Session};
use super::table::{self, Column, Format, Look};
use super::talk::Talk;
use crate::domain::activity::ActivityState;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::domain::time::Timestamp;
use crate::wire::Activity;
use crate::wire::client::Query;

/// The server gives at most so many at once.
const PAGE: usize = 100;

pub fn run(command: &ActivityList, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let (project, environment) = if command.all {
        (session.project(command.place.project.as_ref())?, None)
    } else {
        let Place { project, environment } = session.place(&command.place)?;
        (project, Some(environment))
    };
    let of = match &environment {
        Some(environment) => format!("the environment {environment}"),
        None => format!("the project {project}"),
    };
    talk.say(&format!("Finding activities for {of}"));
    let found = find(command, session, &project, environment.as_ref())?;
    if !found.is_empty() || command.list.format == Format::Json {
        table::write(&found, COLUMNS, DEFAULTS, &command.list, talk)?;
    }
    if found.is_empty() { Err(Error::Empty(format!("There are no such activities in {of}"))) } else { Ok(()) }
}

/// Page by page, from instant to instant; those of the same instant may come twice.
fn find(
    command: &ActivityList,
    session: &Session,
    project: &ProjectId,
    environment: Option<&EnvironmentName>,
) -> Result<Vec<Activity>, Error> {
    let mut query = query(command)?;
    let (mut found, mut seen) = (Vec::new(), std::collections::HashSet::new());
    loop {
        let page = session.ask(project, |client| client.activities(project, environment, &query))?;
        let full = page.len() >= PAGE;
        let last = page.last().and_then(|activity| activity.created_at);
        let before = seen.len();
        for activity in page.into_iter().filter(|activity| seen.insert(activity.id.clone())) {
            if !command.exclude.contains(&activity.kind.to_string()) && found.len() < command.limit {
                found.push(activity);
            }
        }
        if found.len() >= command.limit || !full || seen.len() == before {
            return Ok(found);
        }
        query.starts_at = last;
    }
}

fn query(command: &ActivityList) -> Result<Query, Error> {
    let unfinished = [ActivityState::Pending, ActivityState::InProgress];
    let states = if command.incomplete { unfinished.to_vec() } else { command.state.clone() };
    Ok(Query {
        kinds: command.kinds.clone(),
        states,
        result: command.result,
        starts_at: command.start.as_deref().map(instant).transpose()?,
        count: u32::try_from(PAGE).ok(),
    })
}

/// A full instant, or a date or date and time in UTC.
pub(super) fn instant(text: &str) -> Result<Timestamp, Error> {
    let text = text.trim().replace(' ', "T");
    let attempts = [text.clone(), format!("{text}Z"), format!("{text}:00Z"), format!("{text}T00:00:00Z")];
    let mut parsed = attempts.iter().filter_map(|text| text.parse::<jiff::Timestamp>().ok());
    let instant = parsed.next().ok_or_else(|| {
        Error::Usage(format!("`{text}` is not an instant; write 2015-06-19, or 2015-06-19T17:11:42Z"))
    })?;
    Ok(Timestamp::from_micros(instant.as_microsecond()))
}

fn date(instant: Option<Timestamp>, look: &Look) -> Value {
    instant.map(|instant| look.dates.write(instant)).into()
}

const DEFAULTS: &[&str] = &["id", "created", "description", "progress", "state", "result"];

const COLUMNS: &[Column<Activity>] = &[
    Column { key: "id", header: "ID", value: |activity, _| activity.id.as_str().into() },
    Column { key: "created", header: "Created", value: |activity, look| date(activity.created_at, look) },
    Column { key: "description", header: "Description", value: |activity, _| activity.text.clone().into() },
    Column {
        key: "progress",
        header: "Progress",
        value: |activity, _| format!("{}%", activity.completion_percent).into(),
    },
    Column { key: "state", header: "State", value: |activity, _| activity.state.to_string().into() },
    Column {
        key: "result",
        header: "Result",
        value: |activity, _| activity.result.as_ref().map(ToString::to_string).into(),
    },
    Column { key: "completed", header: "Completed", value: |activity, look| date(activity.completed_at, look) },
    Column {
        key: "environments",
        header: "Environments",
        value: |activity, _| {
            let names: Vec<&str> = activity.environments.iter().map(EnvironmentName::as_str).collect();
            names.join(", ").into()
        },
    },
    Column { key: "started", header: "Started", value: |activity, look| date(activity.started_at, look) },
    Column { key: "type", header: "Type", value: |activity, _| activity.kind.to_string().into() },
];

#[cfg(test)]
mod tests {
    #[test]
    fn a_start_may_be_a_date_or_an_instant() {
        let table = [
            ("2015-06-19", "2015-06-19 00:00:00"),
            ("2015-06-19 17:11", "2015-06-19 17:11:00"),
            ("2015-06-19 17:11:42", "2015-06-19 17:11:42"),
            ("2015-06-19T19:11:42+02:00", "2015-06-19 17:11:42"),
        ];
        for (text, instant) in table {
            assert_eq!(super::instant(text).expect("an instant").table(), instant, "{text}");
        }
        assert_eq!(super::instant("yesterday").expect_err("not one").code(), 2);
    }
}
