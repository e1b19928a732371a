//! `project:list --removed`, `environment:list --removed`, and `project:purge`.

use clap::Args;

use super::arguments::{EnvironmentList, ProjectList};
use super::confirm::{Stake, confirm};
use super::error::Error;
use super::flags::AnswerFlags;
use super::session::Session;
use super::table::{self, Column, Format};
use super::talk::Talk;
use crate::domain::bytes::counted;
use crate::domain::ids::ProjectId;
use crate::domain::time::Timestamp;
use crate::wire::removed::{RemovedEnvironment, RemovedProject};

#[derive(Debug, Args)]
pub struct ProjectPurge {
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
    /// Take back what was deleted, as far as that can be
    #[arg(long)]
    pub undo: bool,
}

pub fn projects(command: &ProjectList, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let removed = session.client.removed_projects()?;
    if !removed.is_empty() || command.list.format == Format::Json {
        let defaults = ["id", "title", "removed_at", "removed_by", "snapshots", "kept_until"];
        table::write(&removed, PROJECTS, &defaults, &command.list, talk)?;
    }
    if removed.is_empty() { Err(Error::Empty("No project was removed".to_owned())) } else { Ok(()) }
}

pub fn environments(command: &EnvironmentList, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    let removed = session.ask(&project, |client| client.removed_environments(&project))?;
    if !removed.is_empty() || command.list.format == Format::Json {
        let defaults = ["id", "title", "type", "removed_at", "removed_by", "snapshots", "kept_until"];
        table::write(&removed, ENVIRONMENTS, &defaults, &command.list, talk)?;
    }
    match removed.is_empty() {
        true => Err(Error::Empty(format!("No environment of {project} was removed that you may see"))),
        false => Ok(()),
    }
}

pub fn purge(
    command: &ProjectPurge,
    answer: &AnswerFlags,
    session: &Session,
    talk: &mut Talk<'_>,
) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    if command.undo {
        let done = session.ask(&project, |client| client.unpurge(&project))?;
        talk.say(&format!("Kept again: {} of {project}.", counted(done.backup_count, "snapshot")));
        return Ok(());
    }
    let removed = session.ask(&project, |client| client.removed_environments(&project))?;
    let count = removed.iter().map(|environment| environment.backup_count).sum();
    let question = format!("Delete all {} of the removed project {project}?", counted(count, "snapshot"));
    confirm(&question, Stake::Destructive, answer, talk)?;
    let done = session.ask(&project, |client| client.purge(&project))?;
    talk.say(&format!(
        "Deleted: {}. For 3 days `{} project:purge -p {project} --undo` takes that back; then the data goes.",
        counted(done.backup_count, "snapshot"),
        talk.program
    ));
    for held in &done.held {
        talk.say(&format!("  {} stays: {}", held.backup, held.reason));
    }
    Ok(())
}

/// Words for people where a machine reads null.
fn until(count: u64, until: Option<Timestamp>, look: &table::Look) -> String {
    match until {
        Some(at) => look.dates.write(at),
        None if count == 0 => String::new(),
        None => "no end".to_owned(),
    }
}

const PROJECTS: &[Column<RemovedProject>] = &[
    Column { key: "id", header: "ID", value: |it, _| it.id.as_str().into() },
    Column { key: "title", header: "Title", value: |it, _| it.title.clone().into() },
    Column { key: "removed_at", header: "Removed", value: |it, look| look.dates.write(it.removed_at).into() },
    Column { key: "removed_by", header: "By", value: |it, _| it.removed_by.clone().into() },
    Column { key: "snapshots", header: "Snapshots", value: |it, _| it.backup_count.into() },
    Column {
        key: "kept_until",
        header: "Kept until",
        value: |it, look| until(it.backup_count, it.kept_until, look).into(),
    },
];

const ENVIRONMENTS: &[Column<RemovedEnvironment>] = &[
    Column { key: "id", header: "ID", value: |it, _| it.id.as_str().into() },
    Column { key: "title", header: "Title", value: |it, _| it.title.clone().into() },
    Column { key: "type", header: "Type", value: |it, _| it.kind.to_string().into() },
    Column { key: "removed_at", header: "Removed", value: |it, look| look.dates.write(it.removed_at).into() },
    Column { key: "removed_by", header: "By", value: |it, _| it.removed_by.clone().into() },
    Column { key: "snapshots", header: "Snapshots", value: |it, _| it.backup_count.into() },
    Column {
        key: "kept_until",
        header: "Kept until",
        value: |it, look| until(it.backup_count, it.kept_until, look).into(),
    },
    Column { key: "size_added", header: "Size", value: |it, _| it.size_added.to_string().into() },
];
