//! `schedule:list`, `schedule:add`, `schedule:update`, `schedule:delete`

use super::arguments::{ScheduleAdd, ScheduleDelete, ScheduleList, ScheduleUpdate};
use super::confirm::{Stake, confirm};
use super::error::Error;
use super::flags::AnswerFlags;
use super::session::Session;
use super::table::{self, Column, Format};
use super::talk::Talk;
use crate::domain::schedule::{Errand, REMOVED, ScheduleState};
use crate::wire::{Schedule, ScheduleRequest};

pub fn list(command: &ScheduleList, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let (project, environment) = (&place.project, &place.environment);
    let schedules = session.ask(project, |client| client.schedules(project, environment))?;
    if !schedules.is_empty() || command.list.format == Format::Json {
        table::write(&schedules, COLUMNS, &["id", "what", "cron", "time_zone", "state", "next"], &command.list, talk)?;
    }
    for (late, schedule) in schedules.iter().filter_map(|schedule| Some((schedule.overdue_since?, schedule))) {
        let (since, what) = (late.table(), schedule.what.to_string());
        talk.say(&format!("Overdue: a {what} has been due since {since} UTC, and is not there"));
    }
    match schedules.is_empty() {
        true => Err(Error::Empty(format!("The environment {environment} has no schedule"))),
        false => Ok(()),
    }
}

pub fn add(command: &ScheduleAdd, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let (project, environment) = (&place.project, &place.environment);
    let (cron, time_zone) = (Some(command.cron.clone()), Some(command.time_zone.clone()));
    let what = command.drill.then_some(Errand::Drill);
    let request = ScheduleRequest { what, cron, time_zone, state: None };
    let made = session.ask(project, |client| client.add_schedule(project, environment, &request))?;
    said(&made, talk);
    talk.answer(&format!("Schedule: {}", made.id))
}

pub fn update(command: &ScheduleUpdate, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let (project, environment) = (&place.project, &place.environment);
    let state = match (command.pause, command.resume) {
        (true, _) => Some(ScheduleState::Paused),
        (_, true) => Some(ScheduleState::Active),
        _ => None,
    };
    let (cron, time_zone) = (command.cron.clone(), command.time_zone.clone());
    let request = ScheduleRequest { what: None, cron, time_zone, state };
    let changed = session.ask(project, |client| client.edit_schedule(project, environment, &command.id, &request))?;
    said(&changed, talk);
    Ok(())
}

pub fn delete(
    command: &ScheduleDelete,
    answer: &AnswerFlags,
    session: &Session,
    talk: &mut Talk<'_>,
) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let (project, environment) = (&place.project, &place.environment);
    let question = format!("Remove the schedule {} of {environment}? {REMOVED}", command.id);
    confirm(&question, Stake::Harmless, answer, talk)?;
    session.ask(project, |client| client.remove_schedule(project, environment, &command.id))?;
    talk.say("The schedule is removed.");
    Ok(())
}

/// When it runs, and what to think of.
fn said(schedule: &Schedule, talk: &mut Talk<'_>) {
    let does = match schedule.what.is(&Errand::Drill) {
        true => "Restores are tried",
        false => "Snapshots are taken",
    };
    talk.say(&format!("{does} {} ({})", schedule.when, schedule.time_zone));
    match schedule.next_runs.first() {
        Some(next) => talk.say(&format!("The next one begins {}", next.local)),
        None => talk.say(&format!("It is {}: nothing is done", schedule.state)),
    }
    if let Some(kept) = &schedule.kept {
        talk.say(&format!("Kept: {kept}"));
    }
    if let Some(advice) = &schedule.advice {
        talk.say(advice);
    }
}

const COLUMNS: &[Column<Schedule>] = &[
    Column { key: "id", header: "ID", value: |schedule, _| schedule.id.as_str().into() },
    Column { key: "what", header: "What", value: |schedule, _| schedule.what.to_string().into() },
    Column { key: "cron", header: "Cron", value: |schedule, _| schedule.cron.clone().into() },
    Column { key: "time_zone", header: "Time zone", value: |schedule, _| schedule.time_zone.clone().into() },
    Column { key: "when", header: "When", value: |schedule, _| schedule.when.clone().into() },
    Column { key: "state", header: "State", value: |schedule, _| schedule.state.to_string().into() },
    Column {
        key: "next",
        header: "Next run",
        value: |schedule, look| schedule.next_runs.first().map(|run| look.dates.write(run.at)).into(),
    },
    Column {
        key: "next_local",
        header: "Next run there",
        value: |schedule, _| schedule.next_runs.first().map(|run| run.local.clone()).into(),
    },
    Column { key: "kept", header: "Kept", value: |schedule, _| schedule.kept.clone().into() },
    Column { key: "source", header: "Source", value: |schedule, _| schedule.source.to_string().into() },
    Column { key: "owner", header: "Owner", value: |schedule, _| schedule.owner.clone().into() },
    Column {
        key: "overdue_since",
        header: "Overdue since",
        value: |schedule, look| schedule.overdue_since.map(|at| look.dates.write(at)).into(),
    },
];
