//! Restore tickets, their history, and the snapshots that they hold (R13, R28).

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};

use super::row::{Columns as _, to_json};
use super::sql::Sql;
use super::{Db, Error, activities};
use crate::domain::activity::Activity;
use crate::domain::ids::RegionId;
use crate::domain::policy::RestorePlan;
use crate::domain::ticket::{Person, Ticket, TicketState, Wanted};
use crate::domain::view::Change;
use crate::domain::{ActivityId, ProjectId, SnapshotName, TicketId, Timestamp, UserId};

/// What a ticket would replace, and what was there when it was filed.
#[derive(Debug, Clone, PartialEq)]
pub struct Filed {
    pub plan: RestorePlan,
    pub changes: Vec<Change>,
}

/// # Errors
/// [`Error::Taken`] when an unfinished ticket asks for the same.
pub async fn insert(db: &mut Db, ticket: &Ticket, filed: &Filed) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO tickets
           (id, project_id, snapshot, wanted, plan, changes, requester, requester_name, state, version, created_at,
            updated_at, wants)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(ticket.id.as_str())
    .bind(ticket.project.as_str())
    .bind(ticket.wanted.snapshot.as_str())
    .bind(to_json(&ticket.wanted))
    .bind(to_json(&filed.plan))
    .bind(to_json(&filed.changes))
    .bind(ticket.requester.user.as_str())
    .bind(&ticket.requester.name)
    .bind(ticket.state.as_str())
    .bind(ticket.version)
    .bind(ticket.created_at.as_micros())
    .bind(ticket.updated_at.as_micros())
    .bind(wants(&ticket.wanted))
    .execute(db)
    .await?;
    Ok(())
}

/// Tells tickets apart that ask for different things. A digest, since an index takes no text of any length.
fn wants(wanted: &Wanted) -> String {
    hex::encode(Sha256::digest(format!("{} into {}: {}", wanted.snapshot, wanted.target.name, wanted.scope)))
}

/// # Errors
/// When the database fails.
pub async fn by_id(db: &mut Db, id: &TicketId) -> Result<Option<Ticket>, Error> {
    let row = sqlx::query("SELECT * FROM tickets WHERE id = $1").bind(id.as_str()).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

/// # Errors
/// When the database fails.
pub async fn filed(db: &mut Db, id: &TicketId) -> Result<Filed, Error> {
    let row = sqlx::query("SELECT plan, changes FROM tickets WHERE id = $1").bind(id.as_str()).fetch_one(db).await?;
    Ok(Filed { plan: row.json("plan")?, changes: row.json("changes")? })
}

/// Writes state, claimer and run, if nobody changed the ticket since it was read; `false`: somebody did.
///
/// # Errors
/// [`Error::Taken`] when it is to be unfinished again, and another one asks for the same.
pub async fn change(db: &mut Db, ticket: &Ticket, now: Timestamp) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE tickets SET state = $1, claimer = $2, claimer_name = $3, run_id = $4, updated_at = $5,
           version = version + 1
         WHERE id = $6 AND version = $7",
    )
    .bind(ticket.state.as_str())
    .bind(ticket.claimer.as_ref().map(|person| person.user.as_str().to_owned()))
    .bind(ticket.claimer.as_ref().map(|person| person.name.clone()))
    .bind(ticket.run.as_ref().map(|run| run.as_str().to_owned()))
    .bind(now.as_micros())
    .bind(ticket.id.as_str())
    .bind(ticket.version)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// In the transaction in which an activity ends: the ticket that it was run for is restored, or goes back to whoever
/// works on it.
///
/// # Errors
/// When the database fails.
pub(super) async fn run_ended(db: &mut Db, run: &ActivityId, is_restored: bool, now: Timestamp) -> Result<(), Error> {
    let sql = match is_restored {
        true => {
            "UPDATE tickets SET state = 'restored', updated_at = $1, version = version + 1
                 WHERE run_id = $2 AND state = 'in_progress'"
        }
        false => {
            "UPDATE tickets SET run_id = NULL, updated_at = $1, version = version + 1
                  WHERE run_id = $2 AND state = 'in_progress'"
        }
    };
    sqlx::query(sql).bind(now.as_micros()).bind(run.as_str()).execute(db).await?;
    Ok(())
}

/// # Errors
/// When the database fails.
pub async fn add_step(db: &mut Db, ticket: &TicketId, activity: &ActivityId) -> Result<(), Error> {
    sqlx::query("INSERT INTO ticket_steps (ticket_id, activity_id) VALUES ($1, $2)")
        .bind(ticket.as_str())
        .bind(activity.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// Its history, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn steps(db: &mut Db, ticket: &TicketId) -> Result<Vec<Activity>, Error> {
    let rows = sqlx::query(
        "SELECT a.* FROM activities a JOIN ticket_steps s ON s.activity_id = a.id WHERE s.ticket_id = $1 ORDER BY a.seq",
    )
    .bind(ticket.as_str())
    .fetch_all(db)
    .await?;
    rows.iter().map(activities::read).collect()
}

/// Which tickets; the default is all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub id: Option<TicketId>,
    pub states: Vec<TicketState>,
    pub projects: Option<Vec<ProjectId>>,
    pub region: Option<RegionId>,
    /// Who filed them or works on them.
    pub of: Option<UserId>,
}

/// Oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list(db: &mut Db, filter: &Filter, count: u32) -> Result<Vec<Ticket>, Error> {
    let mut query = Sql::new("SELECT t.* FROM tickets t JOIN projects p ON p.id = t.project_id WHERE 1 = 1");
    if let Some(id) = &filter.id {
        query.push(" AND t.id = ").text(id.as_str());
    }
    if !filter.states.is_empty() {
        query.push(" AND ").one_of("t.state", filter.states.iter().map(|state| state.as_str()));
    }
    if let Some(projects) = &filter.projects {
        query.push(" AND ").one_of("t.project_id", projects.iter().map(ProjectId::as_str));
    }
    if let Some(region) = &filter.region {
        query.push(" AND p.region_id = ").text(region.as_str());
    }
    if let Some(user) = &filter.of {
        query.push(" AND (t.claimer = ").text(user.as_str());
        query.push(" OR t.requester = ").text(user.as_str()).push(")");
    }
    query.push(" ORDER BY t.created_at, t.id LIMIT ").number(i64::from(count));
    query.fetch_all(db).await?.iter().map(read).collect()
}

/// Projects that have tickets, by id: the others need not be asked for any.
///
/// # Errors
/// When the database fails.
pub async fn projects(db: &mut Db) -> Result<Vec<ProjectId>, Error> {
    let rows = sqlx::query("SELECT DISTINCT project_id FROM tickets ORDER BY project_id").fetch_all(db).await?;
    rows.iter().map(|row| row.word("project_id")).collect()
}

/// Snapshots that unfinished tickets of the project are about: retention keeps them (R13).
///
/// # Errors
/// When the database fails.
pub async fn holding(db: &mut Db, project: &ProjectId) -> Result<HashSet<SnapshotName>, Error> {
    let rows =
        sqlx::query("SELECT DISTINCT snapshot FROM tickets WHERE project_id = $1 AND state IN ('open', 'in_progress')")
            .bind(project.as_str())
            .fetch_all(db)
            .await?;
    rows.iter().map(|row| row.word("snapshot")).collect()
}

fn read(row: &sqlx::any::AnyRow) -> Result<Ticket, Error> {
    let claimer = row.optional_word("claimer")?.zip(row.optional_text("claimer_name")?);
    Ok(Ticket {
        id: row.word("id")?,
        project: row.word("project_id")?,
        wanted: row.json("wanted")?,
        requester: Person { user: row.word("requester")?, name: row.text("requester_name")? },
        state: row.word("state")?,
        claimer: claimer.map(|(user, name)| Person { user, name }),
        run: row.optional_word("run_id")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        version: row.number("version")?,
    })
}
