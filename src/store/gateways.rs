//! Gateways that run as processes of their own, with a lease each.

use std::time::Duration;

use super::row::Columns as _;
use super::{Db, Error};
use crate::domain::Timestamp;
use crate::domain::ids::RegionId;

#[derive(Debug, Clone)]
pub struct GatewayEntry {
    pub id: String,
    /// Changes at each start: a gateway that restarted has forgotten its holds.
    pub epoch: String,
    pub control_url: String,
}

/// Registers the gateway, or renews its lease. One that took orders at the same address before is gone.
///
/// # Errors
/// When the database fails.
pub async fn put(
    db: &mut Db,
    region: &RegionId,
    gateway: &GatewayEntry,
    now: Timestamp,
    time: Duration,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM gateways WHERE control_url = $1 AND id <> $2")
        .bind(&gateway.control_url)
        .bind(&gateway.id)
        .execute(&mut *db)
        .await?;
    sqlx::query(
        "INSERT INTO gateways (id, region_id, epoch, control_url, expires_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (id) DO UPDATE SET
           epoch = excluded.epoch, control_url = excluded.control_url, expires_at = excluded.expires_at",
    )
    .bind(&gateway.id)
    .bind(region.as_str())
    .bind(&gateway.epoch)
    .bind(&gateway.control_url)
    .bind(now.plus(time).as_micros())
    .execute(db)
    .await?;
    Ok(())
}

/// Those whose lease has not expired.
///
/// # Errors
/// When the database fails.
pub async fn live(db: &mut Db, region: &RegionId, now: Timestamp) -> Result<Vec<GatewayEntry>, Error> {
    let rows = sqlx::query("SELECT * FROM gateways WHERE region_id = $1 AND expires_at > $2 ORDER BY id")
        .bind(region.as_str())
        .bind(now.as_micros())
        .fetch_all(db)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(GatewayEntry { id: row.text("id")?, epoch: row.text("epoch")?, control_url: row.text("control_url")? })
        })
        .collect()
}

/// # Errors
/// When the database fails.
pub async fn remove(db: &mut Db, id: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM gateways WHERE id = $1").bind(id).execute(db).await?;
    Ok(())
}
