//! `project:list`

use super::arguments::ProjectList;
use super::error::Error;
use super::removed;
use super::session::Session;
use super::table::{self, Column, Format};
use super::talk::Talk;
use crate::wire::Project;

pub fn run(command: &ProjectList, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    if command.removed {
        return removed::projects(command, session, talk);
    }
    let projects = session.client.projects()?;
    if !projects.is_empty() || command.list.format == Format::Json {
        table::write(&projects, COLUMNS, &["id", "title", "region", "plan"], &command.list, talk)?;
    }
    if projects.is_empty() { Err(Error::Empty("You have no project yet".to_owned())) } else { Ok(()) }
}

const COLUMNS: &[Column<Project>] = &[
    Column { key: "id", header: "ID", value: |project, _| project.id.as_str().into() },
    Column { key: "title", header: "Title", value: |project, _| project.title.clone().into() },
    Column { key: "region", header: "Region", value: |project, _| project.region.as_str().into() },
    Column { key: "plan", header: "Plan", value: |project, _| project.plan.as_str().into() },
    Column { key: "environments", header: "Environments", value: |project, _| project.environment_count.into() },
    Column { key: "created_at", header: "Created", value: |project, look| look.dates.write(project.created_at).into() },
];
