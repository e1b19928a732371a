//! Channels and deliveries: an outbox that is filled in the transaction of what it tells of.

use std::time::Duration;

use sqlx::any::AnyRow;

use super::row::{Columns as _, to_json};
use super::{Db, Dialect, Error, Sealer, random_id};
use crate::domain::activity::Activity;
use crate::domain::ids::{ChannelId, DeliveryId, ProjectId};
use crate::domain::notice::{Channel, Delivery, DeliveryState, Notice};
use crate::domain::{ActivityId, Secret, Timestamp};

/// # Errors
/// When the database fails.
pub async fn insert_channel(db: &mut Db, sealer: &Sealer, channel: &Channel, secret: &Secret) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO channels (id, project_id, way, sealed_address, notices, sealed_secret, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(channel.id.as_str())
    .bind(channel.project.as_str())
    .bind(channel.way.as_str())
    .bind(sealer.seal(&address_context(&channel.id), &channel.address))
    .bind(to_json(&channel.notices))
    .bind(sealer.seal(&secret_context(&channel.id), secret))
    .bind(channel.created_at.as_micros())
    .execute(db)
    .await?;
    Ok(())
}

/// `false`: the project has no such channel.
///
/// # Errors
/// When the database fails.
pub async fn delete_channel(db: &mut Db, project: &ProjectId, id: &ChannelId) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM channels WHERE id = $1 AND project_id = $2")
        .bind(id.as_str())
        .bind(project.as_str())
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Oldest first.
///
/// # Errors
/// When the database fails.
pub async fn channels(db: &mut Db, sealer: &Sealer, project: &ProjectId) -> Result<Vec<Channel>, Error> {
    let rows = sqlx::query("SELECT * FROM channels WHERE project_id = $1 ORDER BY created_at, id")
        .bind(project.as_str())
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| read_channel(row, sealer)).collect()
}

/// With what signs its posts.
///
/// # Errors
/// When the database fails.
pub async fn channel(db: &mut Db, sealer: &Sealer, id: &ChannelId) -> Result<Option<(Channel, Secret)>, Error> {
    let row = sqlx::query("SELECT * FROM channels WHERE id = $1").bind(id.as_str()).fetch_optional(db).await?;
    let Some(row) = row else { return Ok(None) };
    let secret = sealer.open(&secret_context(id), &row.text("sealed_secret")?)?;
    Ok(Some((read_channel(&row, sealer)?, secret)))
}

/// Seals both with the sealer's current key.
///
/// # Errors
/// When the database fails, or a value can't be unsealed.
pub async fn reseal(db: &mut Db, sealer: &Sealer, id: &ChannelId) -> Result<(), Error> {
    let row = sqlx::query("SELECT sealed_address, sealed_secret FROM channels WHERE id = $1")
        .bind(id.as_str())
        .fetch_one(&mut *db)
        .await?;
    sqlx::query("UPDATE channels SET sealed_address = $1, sealed_secret = $2 WHERE id = $3")
        .bind(sealer.reseal(&address_context(id), &row.text("sealed_address")?)?)
        .bind(sealer.reseal(&secret_context(id), &row.text("sealed_secret")?)?)
        .bind(id.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// Puts what an activity that is over tells into the outbox, once for each channel that carries it.
///
/// # Errors
/// When the database fails.
pub(super) async fn tell(db: &mut Db, activity: &Activity) -> Result<(), Error> {
    let Some(notice) = Notice::of(activity) else { return Ok(()) };
    let rows = sqlx::query("SELECT id, notices FROM channels WHERE project_id = $1")
        .bind(activity.project.as_str())
        .fetch_all(&mut *db)
        .await?;
    for row in rows {
        if row.json::<Vec<Notice>>("notices")?.contains(&notice) {
            let channel = row.word("id")?;
            let at = activity.completed_at.unwrap_or(activity.updated_at);
            put(db, &channel, &activity.project, Some(&activity.id), notice, at).await?;
        }
    }
    Ok(())
}

/// To be sent at once.
///
/// # Errors
/// When the database fails.
pub async fn put(
    db: &mut Db,
    channel: &ChannelId,
    project: &ProjectId,
    activity: Option<&ActivityId>,
    notice: Notice,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO deliveries (id, channel_id, project_id, activity_id, notice, state, next_at, created_at)
         VALUES ($1, $2, $3, $4, $5, 'waiting', $6, $7)",
    )
    .bind(random_id())
    .bind(channel.as_str())
    .bind(project.as_str())
    .bind(activity.map(|id| id.as_str().to_owned()))
    .bind(notice.as_str())
    .bind(now.as_micros())
    .bind(now.as_micros())
    .execute(db)
    .await?;
    Ok(())
}

/// Takes the delivery that is due longest; nobody else takes it within `time`.
///
/// # Errors
/// When the database fails.
pub async fn take(db: &mut Db, dialect: Dialect, now: Timestamp, time: Duration) -> Result<Option<Delivery>, Error> {
    let sql = format!(
        "UPDATE deliveries SET attempts = attempts + 1, next_at = $1
         WHERE id = (SELECT a.id FROM deliveries a WHERE a.state = 'waiting' AND a.next_at <= $2 ORDER BY a.next_at LIMIT 1{})
         RETURNING *",
        dialect.skip_locked()
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(now.plus(time).as_micros())
        .bind(now.as_micros())
        .fetch_optional(db)
        .await?;
    row.map(|row| read_delivery(&row)).transpose()
}

/// What came of a try.
///
/// # Errors
/// When the database fails.
pub async fn tried(
    db: &mut Db,
    id: &DeliveryId,
    state: DeliveryState,
    error: Option<&str>,
    (now, next_at): (Timestamp, Timestamp),
) -> Result<(), Error> {
    sqlx::query("UPDATE deliveries SET state = $1, error = $2, next_at = $3, done_at = $4 WHERE id = $5")
        .bind(state.as_str())
        .bind(error)
        .bind(next_at.as_micros())
        .bind((state != DeliveryState::Waiting).then(|| now.as_micros()))
        .bind(id.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// The log, newest first.
///
/// # Errors
/// When the database fails.
pub async fn deliveries(db: &mut Db, project: &ProjectId, most: u32) -> Result<Vec<Delivery>, Error> {
    let rows = sqlx::query("SELECT * FROM deliveries WHERE project_id = $1 ORDER BY created_at DESC, id LIMIT $2")
        .bind(project.as_str())
        .bind(i64::from(most))
        .fetch_all(db)
        .await?;
    rows.iter().map(read_delivery).collect()
}

/// # Errors
/// When the database fails.
pub async fn delete_older(db: &mut Db, before: Timestamp) -> Result<(), Error> {
    sqlx::query("DELETE FROM deliveries WHERE state <> 'waiting' AND created_at < $1")
        .bind(before.as_micros())
        .execute(db)
        .await?;
    Ok(())
}

fn address_context(id: &ChannelId) -> String {
    format!("channel-address:{id}")
}

fn secret_context(id: &ChannelId) -> String {
    format!("channel-secret:{id}")
}

fn read_channel(row: &AnyRow, sealer: &Sealer) -> Result<Channel, Error> {
    let id = row.word("id")?;
    Ok(Channel {
        project: row.word("project_id")?,
        way: row.word("way")?,
        address: sealer.open(&address_context(&id), &row.text("sealed_address")?)?,
        notices: row.json("notices")?,
        created_at: row.time("created_at")?,
        id,
    })
}

fn read_delivery(row: &AnyRow) -> Result<Delivery, Error> {
    Ok(Delivery {
        id: row.word("id")?,
        channel: row.word("channel_id")?,
        project: row.word("project_id")?,
        activity: row.optional_word("activity_id")?,
        notice: row.word("notice")?,
        state: row.word("state")?,
        attempts: u32::try_from(row.number("attempts")?).unwrap_or(u32::MAX),
        next_at: row.time("next_at")?,
        error: row.optional_text("error")?,
        created_at: row.time("created_at")?,
        done_at: row.optional_time("done_at")?,
    })
}
