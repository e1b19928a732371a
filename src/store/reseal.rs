//! Everything that is sealed, sealed anew with the current key: the last step but one of a rotation.
//!
//! **Invariant:** knows every column named `sealed_*`; a test compares.

use serde_json::Value;

use super::row::Columns as _;
use super::{Db, Error, Sealer, environments, notices, projects, settings, swaps};
use crate::domain::ids::ChannelId;
use crate::domain::{ActivityId, EnvironmentId, ProjectId, Timestamp};

/// Gives how many values there were.
///
/// # Errors
/// When the database fails, or a value opens with none of the sealer's keys: then nothing may be committed.
pub async fn all(db: &mut Db, sealer: &Sealer, now: Timestamp) -> Result<usize, Error> {
    let mut count = 0;
    for id in ids(db, "SELECT id FROM projects").await? {
        projects::reseal(db, sealer, &ProjectId::parse(id).map_err(Error::corrupt("project"))?).await?;
        count += 1;
    }
    for id in ids(db, "SELECT id FROM environments").await? {
        environments::reseal(db, sealer, &EnvironmentId::parse(id).map_err(Error::corrupt("environment"))?).await?;
        count += 1;
    }
    for id in ids(db, "SELECT activity_id AS id FROM swaps").await? {
        let activity = ActivityId::parse(id).map_err(Error::corrupt("swap"))?;
        if let Some(entry) = swaps::by_activity::<Value>(db, sealer, &activity).await? {
            swaps::put(db, sealer, &entry, now).await?;
            count += 1;
        }
    }
    for id in ids(db, "SELECT id FROM channels").await? {
        notices::reseal(db, sealer, &ChannelId::parse(id).map_err(Error::corrupt("channel"))?).await?;
        count += 2;
    }
    // There the name is the context.
    for name in ids(db, "SELECT name AS id FROM installation WHERE name LIKE 'sealed%'").await? {
        if let Some(sealed) = settings::get(db, &name).await? {
            settings::set(db, &name, &sealer.reseal(&name, &sealed)?).await?;
            count += 1;
        }
    }
    Ok(count)
}

async fn ids(db: &mut Db, sql: &'static str) -> Result<Vec<String>, Error> {
    let rows = sqlx::query(sql).fetch_all(db).await?;
    rows.iter().map(|row| row.text("id")).collect()
}
