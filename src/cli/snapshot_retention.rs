//! `snapshot:retention`: which snapshots go, when and why.

use super::arguments::SnapshotRetention;
use super::error::Error;
use super::session::{Session, no_snapshots};
use super::table::{self, Column, Format};
use super::talk::Talk;
use crate::wire::Fated;

pub fn run(command: &SnapshotRetention, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let (project, environment) = (&place.project, &place.environment);
    let mut page = session.ask(project, |client| client.retention(project, environment))?;
    page.backups.retain(|backup| backup.goes || !command.going);
    talk.say(&format!("What becomes of the snapshots of {environment} under the {} plan", page.plan));
    if !page.backups.is_empty() || command.list.format == Format::Json {
        table::write(&page.backups, COLUMNS, &["taken_at", "id", "goes_at", "reason"], &command.list, talk)?;
    }
    match page.backups.is_empty() {
        true if command.going => Err(Error::Empty("Nothing goes".to_owned())),
        true => Err(no_snapshots(&place)),
        false => Ok(()),
    }
}

const COLUMNS: &[Column<Fated>] = &[
    Column { key: "taken_at", header: "Taken", value: |backup, look| look.dates.write(backup.taken_at).into() },
    Column { key: "id", header: "Snapshot name", value: |backup, _| backup.id.as_str().into() },
    Column {
        key: "goes_at",
        header: "Goes",
        value: |backup, look| match (backup.goes, backup.held.is_empty(), backup.goes_at) {
            (true, ..) => "now".into(),
            (false, true, Some(at)) => look.dates.write(at).into(),
            (false, true, None) => "stays".into(),
            (false, false, _) => "held".into(),
        },
    },
    Column {
        key: "reason",
        header: "Why",
        value: |backup, _| match backup.held.is_empty() {
            true => backup.reason.clone().into(),
            false => backup.held.join(" ").into(),
        },
    },
    Column { key: "rule", header: "By the plan", value: |backup, _| backup.reason.clone().into() },
    Column { key: "held", header: "Held", value: |backup, _| backup.held.join(" ").into() },
    Column { key: "origin", header: "Origin", value: |backup, _| backup.origin.to_string().into() },
    Column { key: "size_added", header: "Added", value: |backup, _| backup.size_added.0.into() },
];
