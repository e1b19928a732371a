//! `snapshots`: those that can be restored, and those that are being taken, newest first (R30).

use serde_json::Value;

use super::arguments::Snapshots;
use super::error::Error;
use super::session::{Place, Session, no_snapshots};
use super::table::{self, Column, Format, Look};
use super::talk::Talk;
use crate::domain::activity::{ActivityKind, ActivityState};
use crate::domain::ids::SnapshotName;
use crate::domain::time::Timestamp;
use crate::wire::client::Query;
use crate::wire::{Activity, Backup};

pub fn run(command: &Snapshots, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let (project, environment) = (&place.project, &place.environment);
    if command.deleted {
        return deleted(command, &place, session, talk);
    }
    talk.say(&format!("Finding snapshots for the environment {environment}"));
    let query = Query {
        kinds: vec![ActivityKind::Backup.to_string()],
        states: vec![ActivityState::Pending, ActivityState::InProgress],
        count: Some(100),
        ..Query::default()
    };
    // In this order: one that is completed in between stands in both lists, never in none.
    let running = session.ask(project, |client| client.activities(project, Some(environment), &query))?;
    let complete = session.ask(project, |client| client.backups(project, environment))?;
    let mut rows = rows(complete, running);
    rows.truncate(command.limit.unwrap_or(usize::MAX));
    if !rows.is_empty() || command.list.format == Format::Json {
        table::write(&rows, COLUMNS, &["created_at", "progress", "id"], &command.list, talk)?;
    }
    if rows.is_empty() { Err(no_snapshots(&place)) } else { Ok(()) }
}

/// What can be taken back, the newest deletion first (R14).
fn deleted(command: &Snapshots, place: &Place, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let (project, environment) = (&place.project, &place.environment);
    talk.say(&format!("Finding deleted snapshots of the environment {environment}"));
    let found = session.ask(project, |client| client.deleted_backups(project, environment))?;
    let mut rows: Vec<Row> = found.into_iter().map(Row::Complete).collect();
    rows.truncate(command.limit.unwrap_or(usize::MAX));
    if rows.is_empty() && command.list.format != Format::Json {
        return Err(Error::Empty(format!("No deletion of a snapshot of {environment} can be taken back")));
    }
    table::write(&rows, COLUMNS, &["id", "deleted_at", "deleted_by", "expires_at"], &command.list, talk)
}

#[allow(clippy::large_enum_variant, reason = "a list of some hundred, made once")]
enum Row {
    Complete(Backup),
    Running(Activity, SnapshotName),
}

/// Newest first; what is complete hides the activity that made it.
fn rows(complete: Vec<Backup>, running: Vec<Activity>) -> Vec<Row> {
    let mut rows: Vec<Row> = running
        .into_iter()
        .filter_map(|activity| activity.payload.backup_name.clone().map(|name| Row::Running(activity, name)))
        .filter(|row| !complete.iter().any(|backup| backup.id == *row.name()))
        .collect();
    rows.extend(complete.into_iter().map(Row::Complete));
    rows.sort_by_key(|row| std::cmp::Reverse(row.created()));
    rows
}

impl Row {
    fn name(&self) -> &SnapshotName {
        match self {
            Self::Complete(backup) => &backup.id,
            Self::Running(_, name) => name,
        }
    }

    fn created(&self) -> Option<Timestamp> {
        match self {
            Self::Complete(backup) => backup.created_at,
            Self::Running(activity, _) => activity.created_at,
        }
    }

    /// Of a complete one; nothing is known of the others yet.
    fn known(&self, value: impl FnOnce(&Backup) -> Value) -> Value {
        match self {
            Self::Complete(backup) => value(backup),
            Self::Running(..) => Value::Null,
        }
    }
}

fn date(instant: Option<Timestamp>, look: &Look) -> Value {
    instant.map(|instant| look.dates.write(instant)).into()
}

const COLUMNS: &[Column<Row>] = &[
    Column { key: "created_at", header: "Created", value: |row, look| date(row.created(), look) },
    Column {
        key: "progress",
        header: "% Complete",
        value: |row, _| match row {
            Row::Complete(_) => 100.into(),
            Row::Running(activity, _) => activity.completion_percent.into(),
        },
    },
    Column { key: "id", header: "Snapshot name", value: |row, _| row.name().as_str().into() },
    Column { key: "added", header: "Added", value: |row, _| row.known(|b| b.attributes.size_added.to_string().into()) },
    Column { key: "automated", header: "Automated", value: |row, _| row.known(|b| b.automated.into()) },
    Column { key: "commit_id", header: "Commit", value: |row, _| row.known(|b| b.commit_id.clone().into()) },
    Column {
        key: "consistency",
        header: "Consistency",
        value: |row, _| row.known(|b| b.attributes.consistency.to_string().into()),
    },
    Column {
        key: "deleted_at",
        header: "Deleted",
        value: |row, look| row.known(|b| date(b.attributes.deleted.as_ref().map(|deletion| deletion.at), look)),
    },
    Column {
        key: "deleted_by",
        header: "Deleted by",
        value: |row, _| row.known(|b| b.attributes.deleted.as_ref().map(|deletion| deletion.by.clone()).into()),
    },
    Column { key: "environment", header: "Environment", value: |row, _| row.known(|b| b.environment.as_str().into()) },
    Column { key: "expires_at", header: "Expires", value: |row, look| row.known(|b| date(b.expires_at, look)) },
    Column { key: "index", header: "Index", value: |row, _| row.known(|b| b.index.into()) },
    Column { key: "live", header: "Live", value: |row, _| row.known(|b| (!b.safe).into()) },
    Column { key: "note", header: "Note", value: |row, _| row.known(|b| b.attributes.note.clone().into()) },
    Column {
        key: "restorable",
        header: "Restorable",
        value: |row, _| matches!(row, Row::Complete(backup) if backup.restorable).into(),
    },
    Column {
        key: "size",
        header: "Size",
        value: |row, _| row.known(|b| b.size_used.map(|size| size.to_string()).into()),
    },
    Column {
        key: "status",
        header: "Status",
        value: |row, _| match row {
            Row::Complete(backup) => backup.status.clone().into(),
            Row::Running(activity, _) => activity.state.to_string().into(),
        },
    },
    Column {
        key: "taken_at",
        header: "Shows",
        value: |row, look| row.known(|b| date(Some(b.attributes.taken_at), look)),
    },
    Column { key: "updated_at", header: "Updated", value: |row, look| row.known(|b| date(b.updated_at, look)) },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flags::ListFlags;
    use crate::cli::talk::Terminal;

    fn backup(name: &str, created: &str) -> Backup {
        let json = serde_json::json!({
            "id": name, "created_at": created, "updated_at": created, "status": "CREATED", "expires_at": null,
            "index": null, "commit_id": null, "environment": "main", "safe": true, "size_of_volumes": null,
            "size_used": 4096, "deployment": null, "restorable": true, "automated": false, "_links": {},
            "attributes": {
                "project": "demo", "origin": "manual", "consistency": "consistent", "note": null, "taken_at": created,
                "size_added": 512, "activity": null, "proof": null
            }
        });
        serde_json::from_value(json).expect("a backup")
    }

    fn running(name: &str, created: &str, percent: u16) -> Activity {
        let json = serde_json::json!({
            "id": "bbbbbbbbbbbbbbbbbbbb", "type": "environment.backup", "parameters": {}, "project": "demo",
            "integration": null, "environments": ["main"], "state": "in_progress", "result": null,
            "failure_reason": null, "created_at": created, "updated_at": created, "started_at": created,
            "completed_at": null, "cancelled_at": null, "expires_at": null, "completion_percent": percent,
            "timings": {}, "log": "", "payload": {"backup_name": name}, "description": "", "text": "",
            "commands": [], "_links": {}
        });
        serde_json::from_value(json).expect("an activity")
    }

    fn table(rows: &[Row]) -> String {
        let (mut out, mut err, mut input) = (Vec::new(), Vec::new(), std::io::empty());
        let mut talk = Talk::new(&mut out, &mut err, &mut input, Terminal::default());
        table::write(rows, COLUMNS, &["created_at", "progress", "id"], &ListFlags::default(), &mut talk)
            .expect("written");
        String::from_utf8(out).expect("UTF-8")
    }

    /// R30: the table of S4.
    #[test]
    fn the_table_is_the_documents() {
        let complete = vec![
            backup("1a1fbcb9943849706ee6", "2015-05-28T15:05:42Z"),
            backup("2ca4d90639f706283fee", "2015-06-19T17:11:42Z"),
            backup("7dbdcdb16f41f9e1c061", "2015-05-21T14:38:40Z"),
        ];
        let expected = "\
| Created             | % Complete | Snapshot name        |
| 2015-06-19 17:11:42 | 100        | 2ca4d90639f706283fee |
| 2015-05-28 15:05:42 | 100        | 1a1fbcb9943849706ee6 |
| 2015-05-21 14:38:40 | 100        | 7dbdcdb16f41f9e1c061 |
";
        assert_eq!(table(&rows(complete, Vec::new())), expected);
    }

    #[test]
    fn a_running_one_shows_its_percentage_and_a_complete_one_stands_there_once() {
        let complete = vec![backup("2ca4d90639f706283fee", "2015-06-19T17:11:42Z")];
        let both = vec![
            running("2ca4d90639f706283fee", "2015-06-19T17:11:40Z", 99),
            running("4997900d2804d5b2fc39", "2015-06-19T17:12:00Z", 42),
        ];
        let expected = "\
| Created             | % Complete | Snapshot name        |
| 2015-06-19 17:12:00 | 42         | 4997900d2804d5b2fc39 |
| 2015-06-19 17:11:42 | 100        | 2ca4d90639f706283fee |
";
        assert_eq!(table(&rows(complete, both)), expected);
    }
}
