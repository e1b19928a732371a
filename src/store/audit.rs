//! The audit: what is recorded beside the activities, and both together, newest first.

use super::row::Columns as _;
use super::sql::Sql;
use super::{Db, Error, events, random_id};
use crate::domain::activity::{Initiator, Payload};
use crate::domain::audit::{AuditEntry, AuditKind};
use crate::domain::{EnvironmentId, ProjectId, Timestamp};

/// What is to be recorded.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// `None`: of the installation.
    pub project: Option<ProjectId>,
    pub environment: Option<EnvironmentId>,
    pub kind: AuditKind,
    pub initiator: Initiator,
    /// In words, for people.
    pub about: String,
    /// Why it was refused; `None`: it was done.
    pub refused: Option<String>,
}

impl NewEvent {
    fn outcome(&self) -> &'static str {
        if self.refused.is_some() { "refused" } else { "success" }
    }
}

/// # Errors
/// When the database fails.
pub async fn insert(db: &mut Db, event: &NewEvent, now: Timestamp) -> Result<(), Error> {
    let seq = events::next(db, "activity").await?;
    sqlx::query(
        "INSERT INTO audit_events
           (seq, id, project_id, environment_id, kind, at, user_id, name, authority, address, outcome, reason, about)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(seq)
    .bind(random_id())
    .bind(event.project.as_ref().map(ProjectId::as_str))
    .bind(event.environment.as_ref().map(EnvironmentId::as_str))
    .bind(event.kind.as_str())
    .bind(now.as_micros())
    .bind(event.initiator.user.as_ref().map(|user| user.as_str().to_owned()))
    .bind(&event.initiator.name)
    .bind(&event.initiator.authority)
    .bind(event.initiator.address.map(|address| address.to_string()))
    .bind(event.outcome())
    .bind(event.refused.as_deref())
    .bind(&event.about)
    .execute(db)
    .await?;
    Ok(())
}

/// Whether the very same stands there since then.
///
/// # Errors
/// When the database fails.
pub async fn stands_since(db: &mut Db, event: &NewEvent, since: Timestamp) -> Result<bool, Error> {
    let mut query = Sql::new("SELECT id FROM audit_events WHERE kind = ");
    query.text(event.kind.as_str()).push(" AND at > ").number(since.as_micros());
    query.push(" AND name = ").text(&event.initiator.name).push(" AND authority = ").text(&event.initiator.authority);
    query.push(" AND about = ").text(&event.about).push(" AND outcome = ").text(event.outcome());
    for (column, value) in [
        (" AND project_id", event.project.as_ref().map(ProjectId::as_str)),
        (" AND environment_id", event.environment.as_ref().map(EnvironmentId::as_str)),
    ] {
        match value {
            Some(value) => query.push(column).push(" = ").text(value),
            None => query.push(column).push(" IS NULL"),
        };
    }
    if let Some(reason) = &event.refused {
        query.push(" AND reason = ").text(reason);
    }
    if let Some(address) = event.initiator.address {
        query.push(" AND address = ").text(address.to_string());
    }
    query.push(" LIMIT 1");
    Ok(!query.fetch_all(db).await?.is_empty())
}

/// Which of them.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// `None`: of the whole installation.
    pub project: Option<ProjectId>,
    pub environment: Option<EnvironmentId>,
    /// Kinds, or their beginnings up to a dot.
    pub kinds: Vec<String>,
    pub name: Option<String>,
    pub outcome: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub before: Option<i64>,
}

/// A line as it is kept: the environment by its id, and what an activity was about not yet in words.
#[derive(Debug, Clone)]
pub struct Line {
    pub entry: AuditEntry,
    pub environment: Option<EnvironmentId>,
    pub payload: Option<Payload>,
}

/// Newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(db: &mut Db, filter: &Filter, count: u32) -> Result<Vec<Line>, Error> {
    let mut query = Sql::new("SELECT * FROM audit WHERE seq < ");
    query.number(filter.before.unwrap_or(i64::MAX));
    if let Some(project) = &filter.project {
        query.push(" AND project_id = ").text(project.as_str());
    }
    if let Some(environment) = &filter.environment {
        query.push(" AND environment_id = ").text(environment.as_str());
    }
    for (number, kind) in filter.kinds.iter().enumerate() {
        query.push(if number == 0 { " AND (kind = " } else { " OR kind = " }).text(kind);
        // Words of a kind are letters, so that nothing in the pattern means anything else once these are taken out.
        let beginning: String = kind.chars().filter(|letter| !matches!(letter, '%' | '_' | '\\')).collect();
        query.push(" OR kind LIKE ").text(format!("{beginning}.%"));
    }
    if !filter.kinds.is_empty() {
        query.push(")");
    }
    if let Some(name) = &filter.name {
        query.push(" AND name = ").text(name);
    }
    if let Some(outcome) = &filter.outcome {
        query.push(" AND outcome = ").text(outcome);
    }
    if let Some(since) = filter.since {
        query.push(" AND at >= ").number(since.as_micros());
    }
    if let Some(until) = filter.until {
        query.push(" AND at < ").number(until.as_micros());
    }
    query.push(" ORDER BY seq DESC LIMIT ").number(i64::from(count));
    query.fetch_all(db).await?.iter().map(read).collect()
}

fn read(row: &sqlx::any::AnyRow) -> Result<Line, Error> {
    let is_activity = row.flag("is_activity")?;
    let entry = AuditEntry {
        seq: row.number("seq")?,
        at: row.time("at")?,
        project: row.optional_word("project_id")?,
        environment: None,
        kind: row.text("kind")?,
        user: row.optional_word("user_id")?,
        name: row.text("name")?,
        authority: row.text("authority")?,
        address: row.optional_text("address")?,
        outcome: row.text("outcome")?,
        reason: row.optional_text("reason")?,
        about: if is_activity { String::new() } else { row.text("about")? },
        activity: if is_activity { Some(row.word("id")?) } else { None },
    };
    let payload = if is_activity { Some(row.json("about")?) } else { None };
    Ok(Line { entry, environment: row.optional_word("environment_id")?, payload })
}
