//! `drill:run`, `drill:list` and `drill:get`: whether a restore works, and how long it takes (R29).

use super::arguments::{DrillGet, DrillList, DrillRun};
use super::error::Error;
use super::properties;
use super::session::Session;
use super::table::{self, Column, Format};
use super::talk::Talk;
use super::wait;
use crate::wire::{Drill, DrillRequest};

/// Nothing is overwritten: it asks nothing.
pub fn run(command: &DrillRun, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let (project, environment) = (&place.project, &place.environment);
    let wait = wait::is_wanted(command.wait, session, talk);
    let request = DrillRequest { backup: command.id.clone() };
    let activity = session.ask(project, |client| client.run_drill(project, environment, &request))?;
    talk.say(&format!("Trying a restore of the environment {environment}, beside its live data"));
    if !wait {
        wait::goes_on(&activity, &place, talk);
        return Ok(());
    }
    let activity = wait::until_over(activity, &place, session, talk)?;
    let drill = session.ask(project, |client| client.drill(project, environment, &activity.id))?;
    for left in &drill.unproven {
        talk.say(&format!("Not proven: {}. {}", left.part, left.reason));
    }
    if drill.parts.is_empty() && !drill.unproven.is_empty() {
        return Err(Error::ActivityFailed(format!("Nothing of {} can be proven there", drill.backup)));
    }
    table::write(&drill.parts, PARTS, &["part", "proven", "seconds"], &command.list, talk)
}

pub fn list(command: &DrillList, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let (project, environment) = (&place.project, &place.environment);
    let drills = session.ask(project, |client| client.drills(project, environment))?;
    if drills.is_empty() && command.list.format != Format::Json {
        return Err(Error::Empty(format!("No restore of {environment} has been tried yet")));
    }
    table::write(&drills, COLUMNS, &["finished", "result", "backup", "seconds", "id"], &command.list, talk)
}

pub fn get(command: &DrillGet, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let (project, environment) = (&place.project, &place.environment);
    let id = match &command.id {
        Some(id) => id.clone(),
        None => {
            let drills = session.ask(project, |client| client.drills(project, environment))?;
            let none = || Error::Empty(format!("No restore of {environment} has been tried yet"));
            drills.into_iter().next().ok_or_else(none)?.id
        }
    };
    let drill = session.ask(project, |client| client.drill(project, environment, &id))?;
    properties::show(serde_json::to_value(drill).map_err(std::io::Error::from)?, &command.property, talk)
}

const COLUMNS: &[Column<Drill>] = &[
    Column { key: "finished", header: "Tried", value: |drill, look| look.dates.write(drill.finished_at).into() },
    Column { key: "result", header: "Result", value: |drill, _| drill.result.as_str().into() },
    Column { key: "backup", header: "Snapshot name", value: |drill, _| drill.backup.as_str().into() },
    Column { key: "taken_at", header: "Shows", value: |drill, look| look.dates.write(drill.taken_at).into() },
    Column { key: "seconds", header: "Seconds", value: |drill, _| drill.seconds.into() },
    Column {
        key: "unproven",
        header: "Not proven",
        value: |drill, _| drill.unproven.iter().map(|left| left.part.as_str()).collect::<Vec<_>>().join(", ").into(),
    },
    Column {
        key: "failure",
        header: "Failure",
        value: |drill, _| drill.failure.as_ref().map(|failure| failure.reason.clone()).into(),
    },
    Column { key: "id", header: "Activity", value: |drill, _| drill.id.as_str().into() },
];

const PARTS: &[Column<crate::wire::DrilledPart>] = &[
    Column { key: "part", header: "Part", value: |part, _| part.part.clone().into() },
    Column { key: "type", header: "Type", value: |part, _| part.kind.clone().into() },
    Column { key: "proven", header: "Proven", value: |part, _| part.proven.clone().into() },
    Column { key: "seconds", header: "Seconds", value: |part, _| part.seconds.into() },
];
