//! The very texts of plans, by their hash, and which of them are offered beside the built-in ones.

use sha2::{Digest as _, Sha256};

use super::row::{Columns as _, to_json};
use super::{Db, Error};
use crate::domain::Timestamp;
use crate::domain::policy::Plan;

/// Stores its text, and gives the hash that names it for ever.
///
/// # Errors
/// When the database fails.
pub(super) async fn put(db: &mut Db, plan: &Plan, now: Timestamp) -> Result<String, Error> {
    let body = to_json(plan);
    let hash = hex::encode(Sha256::digest(&body));
    sqlx::query(
        "INSERT INTO plans (hash, id, body, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (hash) DO UPDATE SET body = excluded.body",
    )
    .bind(&hash)
    .bind(plan.id.as_str())
    .bind(body)
    .bind(now.as_micros())
    .execute(db)
    .await?;
    Ok(hash)
}

/// Offers it from now on. Projects that are under an earlier text of it stay under that.
///
/// # Errors
/// When the database fails.
pub async fn offer(db: &mut Db, plan: &Plan, now: Timestamp) -> Result<(), Error> {
    let hash = put(db, plan, now).await?;
    sqlx::query(
        "INSERT INTO offered_plans (id, hash) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET hash = excluded.hash",
    )
    .bind(plan.id.as_str())
    .bind(hash)
    .execute(db)
    .await?;
    Ok(())
}

/// Those that a project can be put under: the built-in ones, then those from a file.
///
/// # Errors
/// When the database fails.
pub async fn offered(db: &mut Db) -> Result<Vec<Plan>, Error> {
    let rows = sqlx::query("SELECT p.body FROM offered_plans o JOIN plans p ON p.hash = o.hash ORDER BY o.id")
        .fetch_all(db)
        .await?;
    let declared: Vec<Plan> = rows.iter().map(|row| row.json("body")).collect::<Result<_, _>>()?;
    Ok(Plan::built_in().into_iter().chain(declared).collect())
}

/// Texts that an earlier version wrote in another form become those of the built-in plans of the same name. Others are
/// left alone: reading one says that it can't be read.
///
/// # Errors
/// When the database fails.
pub(super) async fn renew(db: &mut Db) -> Result<(), Error> {
    let rows = sqlx::query(
        "SELECT DISTINCT p.hash, p.id, p.body, p.created_at FROM plans p JOIN projects j ON j.plan_hash = p.hash",
    )
    .fetch_all(&mut *db)
    .await?;
    for row in rows {
        if row.json::<Plan>("body").is_ok() {
            continue;
        }
        let (old, id) = (row.text("hash")?, row.text("id")?);
        let Some(plan) = Plan::built_in().into_iter().find(|plan| plan.id.as_str() == id) else { continue };
        let hash = put(db, &plan, row.time("created_at")?).await?;
        sqlx::query("UPDATE projects SET plan_hash = $1 WHERE plan_hash = $2")
            .bind(hash)
            .bind(old)
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}
