//! Reports of drills that were begun and ended by themselves.

use std::collections::HashMap;

use super::activities::Filter;
use super::row::{Columns as _, to_json};
use super::sql::Sql;
use super::{Db, Error, activities};
use crate::domain::activity::{Activity, ActivityKind, ActivityState};
use crate::domain::drill::Drill;
use crate::domain::{ActivityId, EnvironmentId, Timestamp};

/// In the transaction that ends the activity.
///
/// # Errors
/// When the database fails.
pub async fn insert(db: &mut Db, drill: &Drill) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO drills (activity_id, environment_id, finished_at, report, proven) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(drill.activity.as_str())
    .bind(drill.environment.as_str())
    .bind(drill.finished_at.as_micros())
    .bind(to_json(drill))
    .bind(i64::from(drill.is_proof()))
    .execute(db)
    .await?;
    Ok(())
}

/// The newest in each environment that ended by itself, well or not. In words of the index that serves it: kind and result are
/// no parameters.
///
/// # Errors
/// When the database fails.
pub async fn last_ended_of(
    db: &mut Db,
    environments: &[EnvironmentId],
) -> Result<HashMap<EnvironmentId, Activity>, Error> {
    let mut query = Sql::new(
        "SELECT * FROM activities WHERE id IN (SELECT (SELECT a.id FROM activities a
           WHERE a.environment_id = e.id AND a.kind = 'environment.drill' AND a.result IS NOT NULL
           ORDER BY a.seq DESC LIMIT 1)
         FROM environments e WHERE ",
    );
    query.one_of("e.id", environments.iter().map(EnvironmentId::as_str)).push(")");
    activities::by_environment(&query.fetch_all(db).await?)
}

/// The newest that is asked for and not over, whoever asked, and when that was.
///
/// # Errors
/// When the database fails.
pub async fn unfinished(db: &mut Db, environment: &EnvironmentId) -> Result<Option<(ActivityId, Timestamp)>, Error> {
    let states = vec![ActivityState::Pending, ActivityState::InProgress];
    let filter = Filter { kinds: vec![ActivityKind::Drill], states, ..Filter::default() };
    let found = activities::newest(db, environment, &filter).await?;
    Ok(found.map(|activity| (activity.id, activity.created_at)))
}

/// The newest that proved something.
///
/// # Errors
/// When the database fails.
pub async fn newest_proof(db: &mut Db, environment: &EnvironmentId) -> Result<Option<Drill>, Error> {
    let row = sqlx::query(
        "SELECT report FROM drills WHERE environment_id = $1 AND proven = 1 ORDER BY finished_at DESC LIMIT 1",
    )
    .bind(environment.as_str())
    .fetch_optional(db)
    .await?;
    row.map(|row| row.json("report")).transpose()
}

/// Newest first.
///
/// # Errors
/// When the database fails.
pub async fn by_environment(db: &mut Db, environment: &EnvironmentId, most: u32) -> Result<Vec<Drill>, Error> {
    let rows = sqlx::query("SELECT report FROM drills WHERE environment_id = $1 ORDER BY finished_at DESC LIMIT $2")
        .bind(environment.as_str())
        .bind(i64::from(most))
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| row.json("report")).collect()
}

/// # Errors
/// When the database fails.
pub async fn by_activity(db: &mut Db, activity: &ActivityId) -> Result<Option<Drill>, Error> {
    let row = sqlx::query("SELECT report FROM drills WHERE activity_id = $1")
        .bind(activity.as_str())
        .fetch_optional(db)
        .await?;
    row.map(|row| row.json("report")).transpose()
}
