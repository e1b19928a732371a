//! What retention is decided on: everything that is kept in a project, and what holds it (R13).

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Db, Error, activities, environments, projects, schedules, snapshots, tickets};
use crate::domain::activity::Payload;
use crate::domain::environment::EnvironmentStatus;
use crate::domain::policy::retention::{Facts, Hold, Item, Shelf};
use crate::domain::snapshot::Origin;
use crate::domain::{EnvironmentId, ProjectId, SnapshotName};

/// As it is in this transaction.
///
/// # Errors
/// When the database fails.
pub async fn facts(db: &mut Db, project: &ProjectId) -> Result<Facts, Error> {
    let unfinished = activities::unfinished(db, project).await?;
    let used: HashSet<&SnapshotName> = unfinished.iter().filter_map(|(_, payload)| payload.reads()).collect();
    let on_tickets = tickets::holding(db, project).await?;
    let shelves = environments::ever_in_project(db, project).await?.into_iter().map(|environment| Shelf {
        id: environment.id,
        name: environment.name,
        kind: environment.kind,
        is_active: environment.status == EnvironmentStatus::Active,
        items: Vec::new(),
    });
    let mut shelves: Vec<Shelf> = shelves.collect();
    let mut taken_for = schedules::of_snapshots(db, project).await?;
    let proven = snapshots::proven(db, project).await?;
    for snapshot in snapshots::by_project(db, project).await? {
        let Some(shelf) = shelves.iter_mut().find(|shelf| shelf.id == snapshot.environment) else { continue };
        let mut holds = BTreeSet::new();
        holds.extend(snapshot.protection.map(|protection| Hold::Protected(protection.note)));
        holds.extend(used.contains(&snapshot.name).then_some(Hold::InUse));
        holds.extend(on_tickets.contains(&snapshot.name).then_some(Hold::OnTicket));
        shelf.items.push(Item {
            is_proven: proven.contains(&snapshot.name),
            name: snapshot.name,
            origin: snapshot.origin,
            taken_at: snapshot.taken_at,
            added: snapshot.added,
            has_failed: snapshot.drill_failed_at.is_some(),
            schedules: snapshot.activity.and_then(|activity| taken_for.remove(&activity)).unwrap_or_default(),
            holds,
        });
    }
    let (ended, budget) = (schedules::ended(db, project).await?, projects::storage_budget(db, project).await?);
    Ok(Facts { environments: shelves, ended: ended.into_iter().collect(), budget })
}

/// Manual snapshots that are asked for and not there yet, by environment: how many, and what goes for them.
///
/// # Errors
/// When the database fails.
pub async fn waiting(
    db: &mut Db,
    project: &ProjectId,
) -> Result<HashMap<EnvironmentId, (usize, BTreeSet<SnapshotName>)>, Error> {
    let mut waiting: HashMap<EnvironmentId, (usize, BTreeSet<SnapshotName>)> = HashMap::new();
    for (of, payload) in activities::unfinished(db, project).await? {
        if let Payload::TakeSnapshot(take) = payload
            && take.origin == Origin::Manual
        {
            let (count, given_up) = waiting.entry(of).or_default();
            *count += 1;
            given_up.extend(take.evict);
        }
    }
    Ok(waiting)
}
