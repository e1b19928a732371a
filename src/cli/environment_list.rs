//! `environment:list`

use super::arguments::EnvironmentList;
use super::error::Error;
use super::removed;
use super::session::Session;
use super::table::{self, Column, Format};
use super::talk::Talk;
use crate::domain::ids::EnvironmentName;
use crate::wire::Environment;

pub fn run(command: &EnvironmentList, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    if command.removed {
        return removed::environments(command, session, talk);
    }
    let project = session.project(command.project.as_ref())?;
    let environments = session.ask(&project, |client| client.environments(&project))?;
    if !environments.is_empty() || command.list.format == Format::Json {
        table::write(&environments, COLUMNS, &["id", "title", "type", "status"], &command.list, talk)?;
    }
    match environments.is_empty() {
        true => Err(Error::Empty(format!("The project {project} has no environment that you may see"))),
        false => Ok(()),
    }
}

const COLUMNS: &[Column<Environment>] = &[
    Column { key: "id", header: "ID", value: |environment, _| environment.id.as_str().into() },
    Column { key: "title", header: "Title", value: |environment, _| environment.title.clone().into() },
    Column { key: "type", header: "Type", value: |environment, _| environment.kind.to_string().into() },
    Column { key: "status", header: "Status", value: |environment, _| environment.status.to_string().into() },
    Column {
        key: "parent",
        header: "Parent",
        value: |environment, _| environment.parent.as_ref().map(EnvironmentName::as_str).into(),
    },
    Column {
        key: "last_backup_at",
        header: "Last snapshot",
        value: |environment, look| environment.last_backup_at.map(|at| look.dates.write(at)).into(),
    },
    Column {
        key: "created_at",
        header: "Created",
        value: |environment, look| look.dates.write(environment.created_at).into(),
    },
];
