//! Channels and deliveries: an outbox that is filled in the transaction of what it tells of.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::any::AnyRow;

use super::row::{Columns as _, to_json};
use super::{Db, Dialect, Error, Sealer, random_id, tickets, users};
use crate::domain::activity::{Activity, Payload, RestoreSnapshot};
use crate::domain::ids::{ChannelId, DeliveryId, ProjectId};
use crate::domain::notice::{self, Audience, Channel, Delivery, DeliveryState, Destination, Notice};
use crate::domain::{ActivityId, Bytes, Secret, Timestamp, UserId};

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

/// Its address and what it carries; what signs its posts only if there is another (`secret`).
///
/// # Errors
/// When the database fails.
pub async fn update_channel(
    db: &mut Db,
    sealer: &Sealer,
    channel: &Channel,
    secret: Option<&Secret>,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE channels SET sealed_address = $1, notices = $2, sealed_secret = COALESCE($3, sealed_secret) WHERE id = $4",
    )
    .bind(sealer.seal(&address_context(&channel.id), &channel.address))
    .bind(to_json(&channel.notices))
    .bind(secret.map(|secret| sealer.seal(&secret_context(&channel.id), secret)))
    .bind(channel.id.as_str())
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

/// Puts what an activity that is over tells into the outbox: once for each channel that carries it, and for whoever waits
/// for a ticket.
///
/// # Errors
/// When the database fails.
pub(super) async fn tell(db: &mut Db, activity: &Activity) -> Result<(), Error> {
    let notices = Notice::of(activity);
    if notices.is_empty() {
        return Ok(());
    }
    let at = activity.completed_at.unwrap_or(activity.updated_at);
    let told = Told { project: &activity.project, activity: Some(&activity.id), about: None, at };
    for (channel, notice) in carrying(db, &activity.project, &notices).await? {
        put(db, &Destination::Channel(channel), &told, notice).await?;
    }
    if notices.contains(&Notice::TicketChanged) {
        for person in waiting_for_ticket(db, activity).await? {
            put(db, &Destination::Person(person), &told, Notice::TicketChanged).await?;
        }
    }
    Ok(())
}

/// The same for what is not the end of an activity.
///
/// # Errors
/// When the database fails.
pub async fn announce(db: &mut Db, told: &Told<'_>, notice: Notice) -> Result<(), Error> {
    for (channel, notice) in carrying(db, told.project, &[notice]).await? {
        put(db, &Destination::Channel(channel), told, notice).await?;
    }
    Ok(())
}

/// What a delivery is about.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    pub project: &'a ProjectId,
    /// `None`: a trial, or what no activity tells.
    pub activity: Option<&'a ActivityId>,
    /// What is told, where the activity does not say it; a sentence.
    pub about: Option<&'a str>,
    pub at: Timestamp,
}

/// The project's channels, each with the first of these that it carries.
async fn carrying(db: &mut Db, project: &ProjectId, notices: &[Notice]) -> Result<Vec<(ChannelId, Notice)>, Error> {
    let rows = sqlx::query("SELECT id, notices FROM channels WHERE project_id = $1")
        .bind(project.as_str())
        .fetch_all(db)
        .await?;
    let mut found = Vec::new();
    for row in rows {
        let carried: Vec<Notice> = row.json("notices")?;
        if let Some(notice) = notices.iter().find(|notice| carried.contains(notice)) {
            found.push((row.word("id")?, *notice));
        }
    }
    Ok(found)
}

/// Whoever is to be told of a ticket besides the project's channels; never whoever did it (R28).
async fn waiting_for_ticket(db: &mut Db, activity: &Activity) -> Result<BTreeSet<UserId>, Error> {
    let (ticket, audience, by) = match (&activity.payload, activity.result) {
        (Payload::Ticket(step), _) => (&step.ticket, Audience::of(step.act), activity.initiator.user.as_ref()),
        (Payload::RestoreSnapshot(RestoreSnapshot { ticket: Some(ticket), .. }), Some(result)) => {
            (ticket, Audience::of_run(result), None)
        }
        _ => return Ok(BTreeSet::new()),
    };
    let Some(ticket) = tickets::by_id(db, ticket).await? else { return Ok(BTreeSet::new()) };
    let mut people = BTreeSet::new();
    people.extend(audience.requester.then_some(ticket.requester.user));
    people.extend(ticket.claimer.filter(|_| audience.claimer).map(|person| person.user));
    if audience.support {
        people.extend(users::support(db).await?);
    }
    if let Some(by) = by {
        people.remove(by);
    }
    Ok(people)
}

/// To be sent at once.
///
/// # Errors
/// When the database fails.
pub async fn put(db: &mut Db, to: &Destination, told: &Told<'_>, notice: Notice) -> Result<DeliveryId, Error> {
    let id = DeliveryId::parse(random_id()).map_err(Error::corrupt("id"))?;
    let (channel, user) = match to {
        Destination::Channel(channel) => (Some(channel.as_str().to_owned()), None),
        Destination::Person(user) => (None, Some(user.as_str().to_owned())),
    };
    sqlx::query(
        "INSERT INTO deliveries
           (id, destination, channel_id, user_id, project_id, activity_id, notice, about, state, next_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'waiting', $9, $10)",
    )
    .bind(id.as_str())
    .bind(to.to_string())
    .bind(channel)
    .bind(user)
    .bind(told.project.as_str())
    .bind(told.activity.map(|id| id.as_str().to_owned()))
    .bind(notice.as_str())
    .bind(told.about)
    .bind(told.at.as_micros())
    .bind(told.at.as_micros())
    .execute(db)
    .await?;
    Ok(id)
}

/// Looks at what a project's snapshots take of its storage budget, and tells of a level that was reached. In the transaction
/// that changes it.
///
/// # Errors
/// When the database fails.
pub(super) async fn look_at_storage(db: &mut Db, project: &ProjectId, now: Timestamp) -> Result<(), Error> {
    let row = sqlx::query("SELECT storage_budget, storage_told FROM projects WHERE id = $1")
        .bind(project.as_str())
        .fetch_optional(&mut *db)
        .await?;
    let Some(row) = row else { return Ok(()) };
    let Some(budget) = row.optional_number("storage_budget")? else { return Ok(()) };
    let told = u32::try_from(row.number("storage_told")?).map_err(Error::corrupt("storage_told"))?;
    let sum = sqlx::query(
        "SELECT CAST(COALESCE(SUM(added), 0) AS BIGINT) AS taken FROM snapshots
         WHERE project_id = $1 AND deleted_at IS NULL",
    )
    .bind(project.as_str())
    .fetch_one(&mut *db)
    .await?;
    let (taken, budget) = (sum.bytes("taken")?, Bytes(u64::try_from(budget).unwrap_or(0)));
    let level = notice::storage_level(told, taken, budget);
    if level == told {
        return Ok(());
    }
    let done = sqlx::query("UPDATE projects SET storage_told = $1 WHERE id = $2 AND storage_told = $3")
        .bind(i64::from(level))
        .bind(project.as_str())
        .bind(i64::from(told))
        .execute(&mut *db)
        .await?;
    if level > told && done.rows_affected() == 1 {
        let about = notice::storage_in_words(taken, budget);
        let told = Told { project, activity: None, about: Some(&about), at: now };
        announce(db, &told, Notice::StorageNear).await?;
    }
    Ok(())
}

/// Takes the delivery that is due longest; nobody else takes it within `time`. To one destination one is sent after the
/// other, the oldest first: one that failed is waited for, unless it failed too often ([`notice::HOLDS_UP`]).
///
/// # Errors
/// When the database fails.
pub async fn take(db: &mut Db, dialect: Dialect, now: Timestamp, time: Duration) -> Result<Option<Delivery>, Error> {
    let sql = format!(
        "UPDATE deliveries SET attempts = attempts + 1, taken_until = $1
         WHERE id = (
           SELECT a.id FROM deliveries a
           WHERE a.state = 'waiting' AND a.next_at <= $2 AND a.taken_until <= $3
             AND NOT EXISTS (
               SELECT 1 FROM deliveries b
               WHERE b.destination = a.destination AND b.state = 'waiting' AND b.id <> a.id
                 AND (b.taken_until > $4
                      OR (b.attempts < $5 AND (b.created_at, b.id) < (a.created_at, a.id))))
           ORDER BY a.next_at, a.created_at LIMIT 1{})
         RETURNING *",
        dialect.skip_locked()
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(now.plus(time).as_micros())
        .bind(now.as_micros())
        .bind(now.as_micros())
        .bind(now.as_micros())
        .bind(i64::from(notice::HOLDS_UP))
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
    sqlx::query(
        "UPDATE deliveries SET state = $1, error = $2, next_at = $3, done_at = $4, taken_until = 0 WHERE id = $5",
    )
    .bind(state.as_str())
    .bind(error)
    .bind(next_at.as_micros())
    .bind((state != DeliveryState::Waiting).then(|| now.as_micros()))
    .bind(id.as_str())
    .execute(db)
    .await?;
    Ok(())
}

/// The log of a project's channels, newest first. What single people were told is theirs.
///
/// # Errors
/// When the database fails.
pub async fn deliveries(db: &mut Db, project: &ProjectId, most: u32) -> Result<Vec<Delivery>, Error> {
    let rows = sqlx::query(
        "SELECT * FROM deliveries WHERE project_id = $1 AND channel_id IS NOT NULL ORDER BY created_at DESC, id LIMIT $2",
    )
        .bind(project.as_str())
        .bind(i64::from(most))
        .fetch_all(db)
        .await?;
    rows.iter().map(read_delivery).collect()
}

/// What went to single persons, and to which address as it is now; the newest first.
///
/// # Errors
/// When the database fails.
pub async fn to_people(db: &mut Db, project: &ProjectId, most: u32) -> Result<Vec<(String, Delivery)>, Error> {
    let rows = sqlx::query(
        "SELECT d.*, u.email AS email FROM deliveries d JOIN users u ON u.id = d.user_id
         WHERE d.project_id = $1 AND d.channel_id IS NULL ORDER BY d.created_at DESC, d.id LIMIT $2",
    )
    .bind(project.as_str())
    .bind(i64::from(most))
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| Ok((row.text("email")?, read_delivery(row)?))).collect()
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
        to: match (row.optional_word("channel_id")?, row.optional_word("user_id")?) {
            (Some(channel), _) => Destination::Channel(channel),
            (None, Some(user)) => Destination::Person(user),
            (None, None) => return Err(Error::corrupt("destination")("it is neither a channel nor a person")),
        },
        project: row.word("project_id")?,
        activity: row.optional_word("activity_id")?,
        notice: row.word("notice")?,
        about: row.optional_text("about")?,
        state: row.word("state")?,
        attempts: u32::try_from(row.number("attempts")?).unwrap_or(u32::MAX),
        next_at: row.time("next_at")?,
        error: row.optional_text("error")?,
        created_at: row.time("created_at")?,
        done_at: row.optional_time("done_at")?,
    })
}
