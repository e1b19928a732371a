//! Activities: the feed's reading side, and the rows that the queue moves.

use std::collections::HashMap;

use super::row::{Columns as _, to_json};
use super::sql::Sql;
use super::{Db, Error, events};
use crate::domain::activity::{Activity, ActivityKind, ActivityResult, ActivityState, Initiator, Payload};
use crate::domain::ids::RegionId;
use crate::domain::{ActivityId, EnvironmentId, ProjectId, Timestamp};

/// Until the transaction ends nobody else enqueues or records anything: what is asked now of unfinished activities stays so
/// (R13). To be called first of all: whoever changes an activity before may wait for whoever waits for this.
///
/// # Errors
/// When the database fails.
pub async fn hold_off(db: &mut Db) -> Result<(), Error> {
    sqlx::query("UPDATE counters SET value = value WHERE name = 'activity'").execute(db).await?;
    Ok(())
}

/// Adds it, with what it locks, and announces it. Gives it its place in the feed.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    db: &mut Db,
    activity: &mut Activity,
    region: &RegionId,
    targets: &[EnvironmentId],
) -> Result<(), Error> {
    activity.seq = events::next(db, "activity").await?;
    sqlx::query(
        "INSERT INTO activities
           (id, seq, project_id, environment_id, region_id, kind, state, result, failure, initiator_user,
            initiator_name, authority, progress, payload_version, payload, created_at, updated_at, completed_at,
            address)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
    )
    .bind(activity.id.as_str())
    .bind(activity.seq)
    .bind(activity.project.as_str())
    .bind(activity.environment.as_str())
    .bind(region.as_str())
    .bind(activity.kind.as_str())
    .bind(activity.state.as_str())
    .bind(activity.result.map(ActivityResult::as_str))
    .bind(activity.failure.as_deref())
    .bind(activity.initiator.user.as_ref().map(|user| user.as_str().to_owned()))
    .bind(&activity.initiator.name)
    .bind(&activity.initiator.authority)
    .bind(i64::from(activity.progress))
    .bind(Payload::VERSION)
    .bind(to_json(&activity.payload))
    .bind(activity.created_at.as_micros())
    .bind(activity.updated_at.as_micros())
    .bind(activity.completed_at.map(Timestamp::as_micros))
    .bind(activity.initiator.address.map(|address| address.to_string()))
    .execute(&mut *db)
    .await?;
    for target in targets {
        sqlx::query(
            "INSERT INTO activity_targets (activity_id, environment_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        )
        .bind(activity.id.as_str())
        .bind(target.as_str())
        .execute(&mut *db)
        .await?;
    }
    events::announce(db, activity).await
}

/// # Errors
/// When the database fails.
pub async fn by_id(db: &mut Db, id: &ActivityId) -> Result<Option<Activity>, Error> {
    let row = sqlx::query("SELECT * FROM activities WHERE id = $1").bind(id.as_str()).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

/// Whose activities.
#[derive(Debug, Clone)]
pub enum Scope {
    Environment(EnvironmentId),
    /// Of a project only those of these environments: the ones that may be seen.
    Project(ProjectId, Vec<EnvironmentId>),
}

/// Which of them; the default is all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub kinds: Vec<ActivityKind>,
    pub states: Vec<ActivityState>,
    pub result: Option<ActivityResult>,
    /// Older than this place in the feed.
    pub before: Option<i64>,
    /// Created then or earlier.
    pub starts_at: Option<Timestamp>,
}

/// Newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(db: &mut Db, scope: &Scope, filter: &Filter, count: u32) -> Result<Vec<Activity>, Error> {
    let mut query = Sql::new("SELECT * FROM activities WHERE ");
    match scope {
        Scope::Environment(id) => query.push("environment_id = ").text(id.as_str()),
        Scope::Project(id, visible) => query
            .push("project_id = ")
            .text(id.as_str())
            .push(" AND ")
            .one_of("environment_id", visible.iter().map(EnvironmentId::as_str)),
    };
    if !filter.kinds.is_empty() {
        query.push(" AND ").one_of("kind", filter.kinds.iter().map(|kind| kind.as_str()));
    }
    if !filter.states.is_empty() {
        query.push(" AND ").one_of("state", filter.states.iter().map(|state| state.as_str()));
    }
    if let Some(result) = filter.result {
        query.push(" AND result = ").text(result.as_str());
    }
    if let Some(before) = filter.before {
        query.push(" AND seq < ").number(before);
    }
    if let Some(starts_at) = filter.starts_at {
        query.push(" AND created_at <= ").number(starts_at.as_micros());
    }
    query.push(" ORDER BY seq DESC LIMIT ").number(i64::from(count));
    query.fetch_all(db).await?.iter().map(read).collect()
}

/// The newest of these kinds and states in each of several environments.
///
/// # Errors
/// When the database fails.
pub async fn newest_of(
    db: &mut Db,
    environments: &[EnvironmentId],
    filter: &Filter,
) -> Result<HashMap<EnvironmentId, Activity>, Error> {
    let mut query = Sql::new(
        "SELECT * FROM activities WHERE id IN (SELECT (SELECT a.id FROM activities a WHERE a.environment_id = e.id AND ",
    );
    query.one_of("a.kind", filter.kinds.iter().map(|kind| kind.as_str())).push(" AND ");
    query.one_of("a.state", filter.states.iter().map(|state| state.as_str()));
    query.push(" ORDER BY a.seq DESC LIMIT 1) FROM environments e WHERE ");
    query.one_of("e.id", environments.iter().map(EnvironmentId::as_str)).push(")");
    by_environment(&query.fetch_all(db).await?)
}

pub(super) fn by_environment(rows: &[sqlx::any::AnyRow]) -> Result<HashMap<EnvironmentId, Activity>, Error> {
    rows.iter().map(|row| read(row).map(|activity| (activity.environment.clone(), activity))).collect()
}

/// The newest activity of each kind of end: what the health sentence is made from.
///
/// # Errors
/// When the database fails.
pub async fn newest(db: &mut Db, environment: &EnvironmentId, filter: &Filter) -> Result<Option<Activity>, Error> {
    Ok(list(db, &Scope::Environment(environment.clone()), filter, 1).await?.pop())
}

/// What the project's activities work from that are queued or running.
///
/// # Errors
/// When the database fails.
pub async fn unfinished(db: &mut Db, project: &ProjectId) -> Result<Vec<(EnvironmentId, Payload)>, Error> {
    let rows = sqlx::query(
        "SELECT environment_id, payload FROM activities WHERE state IN ('pending', 'in_progress') AND project_id = $1",
    )
    .bind(project.as_str())
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| Ok((row.word("environment_id")?, row.json("payload")?))).collect()
}

pub(super) fn read(row: &sqlx::any::AnyRow) -> Result<Activity, Error> {
    Ok(Activity {
        id: row.word("id")?,
        project: row.word::<ProjectId>("project_id")?,
        environment: row.word("environment_id")?,
        kind: row.word("kind")?,
        state: row.word("state")?,
        result: row.optional_word("result")?,
        failure: row.optional_text("failure")?,
        initiator: Initiator {
            user: row.optional_word("initiator_user")?,
            name: row.text("initiator_name")?,
            authority: row.text("authority")?,
            address: row.optional_word("address")?,
        },
        progress: u16::try_from(row.number("progress")?).map_err(Error::corrupt("progress"))?,
        payload: row.json("payload")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        started_at: row.optional_time("started_at")?,
        completed_at: row.optional_time("completed_at")?,
        seq: row.number("seq")?,
    })
}
