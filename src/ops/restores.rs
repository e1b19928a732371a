//! Restores.

use super::activities::Viewer;
use super::environments::parts;
use super::{App, Error};
use crate::authz::{Authorized, RestoreSnapshot};
use crate::domain::activity::{self, ActivityKind, ActivityResult, ActivityState, Payload};
use crate::domain::bytes::counted;
use crate::domain::environment::{Composition, Environment, EnvironmentStatus};
use crate::domain::manifest::{Facts, Manifest};
use crate::domain::policy::{Refusal, RestorePlan, Verdict};
use crate::domain::problem::sentence;
use crate::domain::snapshot::Snapshot;
use crate::domain::time::span;
use crate::domain::view::{ActivityEntry, Change, Offer, Part, Preflight};
use crate::domain::{Bytes, EnvironmentId, SnapshotName, Timestamp};
use crate::jobs::Parts;
use crate::queue::{self, NewActivity};
use crate::store::{self, Db, activities, environments, snapshots};

#[derive(Debug, Clone)]
pub struct RestoreRequest {
    pub snapshot: SnapshotName,
    /// Of the preflight that was confirmed (R25): in another state of things the restore is refused.
    pub plan_hash: Option<String>,
}

/// What a restore would do, tried out as far as that is possible without doing it (R25).
///
/// # Errors
/// [`Error::NotFound`] when the environment has no such snapshot.
pub async fn preflight(
    app: &App,
    proof: &Authorized<RestoreSnapshot>,
    snapshot: &SnapshotName,
) -> Result<Preflight, Error> {
    let on = proof.on();
    let mut db = app.store().read().await?;
    let (snapshot, manifest, composition) = load(app, &mut db, &on.environment.id, snapshot).await?;
    let now = store::clock::now(&mut db, app.store().dialect()).await?;
    let expectations = expectations(&mut db, &on.environment.id, &snapshot, now).await?;
    drop(db);

    let mut obstacles = Vec::new();
    obstacles.extend(is_active(&on.environment).err().map(|refusal| refusal.to_string()));
    let planned = RestorePlan::new(&on.environment.id, &manifest, &composition);
    let (untouched, hash) = match &planned {
        Ok(plan) => (plan.untouched.clone(), plan.hash()),
        Err(refusal) => {
            obstacles.push(refusal.to_string());
            (Vec::new(), String::new())
        }
    };
    let present = present(&composition).await;
    let mut changes = Vec::new();
    for part in parts(&composition) {
        let Some(becomes) = recorded(&manifest, &part) else { continue };
        let replaces = present.iter().find(|(name, _)| *name == part).map(|(_, text)| text.clone());
        match replaces {
            Some(Ok(replaces)) => changes.push(Change { part, becomes, replaces }),
            Some(Err(obstacle)) => obstacles.push(sentence(&obstacle)),
            None => {}
        }
    }
    let offer = match obstacles.first() {
        None => Offer::from(Ok(())),
        Some(first) => Offer::from(Err(Refusal::new(first.clone()))),
    };
    Ok(Preflight {
        project: on.project.clone(),
        environment: on.environment.clone(),
        snapshot,
        changes,
        untouched,
        expectations,
        obstacles,
        hash,
        offer,
    })
}

/// Queues a restore into the snapshot's own environment.
///
/// # Errors
/// [`Error::NotFound`] when the environment has no such snapshot, [`Error::Conflict`] when what was confirmed is not
/// what would happen now.
pub async fn create(
    app: &App,
    proof: Authorized<RestoreSnapshot>,
    request: RestoreRequest,
) -> Result<ActivityEntry, Error> {
    let on = proof.on();
    let mut tx = app.store().write().await?;
    let (_, manifest, composition) = load(app, &mut tx, &on.environment.id, &request.snapshot).await?;
    is_active(&on.environment).map_err(Error::Conflict)?;
    let plan = RestorePlan::new(&on.environment.id, &manifest, &composition).map_err(Error::Conflict)?;
    if request.plan_hash.as_ref().is_some_and(|confirmed| *confirmed != plan.hash()) {
        return Err(Error::Conflict(
            Refusal::new("The environment has changed since you looked.")
                .instead("Look at what would be replaced now, and confirm again."),
        ));
    }
    let restore = activity::RestoreSnapshot {
        snapshot: request.snapshot,
        safety: SnapshotName::parse(store::random_id())?,
        plan_hash: Some(plan.hash()),
    };
    let new = NewActivity {
        project: on.project.id.clone(),
        environment: on.environment.id.clone(),
        region: on.project.region.clone(),
        kind: ActivityKind::Restore,
        initiator: proof.actor().initiator(),
        payload: Payload::RestoreSnapshot(restore),
    };
    let activity = queue::enqueue(&mut tx, app.store(), new).await?;
    app.store().commit(tx).await?;
    Viewer::of(&proof).one(app, &activity.id).await
}

fn is_active(environment: &Environment) -> Verdict {
    match environment.status {
        EnvironmentStatus::Active => Ok(()),
        EnvironmentStatus::Inactive => {
            Err(Refusal::new("The environment is not active.").instead("Activate it first."))
        }
    }
}

/// Only a complete snapshot, only one that was taken of this environment (R21).
async fn load(
    app: &App,
    db: &mut Db,
    environment: &EnvironmentId,
    name: &SnapshotName,
) -> Result<(Snapshot, Manifest, Composition), Error> {
    let snapshot = snapshots::by_name(db, name).await?;
    let snapshot = snapshot.filter(|snapshot| snapshot.environment == *environment);
    let snapshot = snapshot.ok_or(Error::NotFound("snapshot"))?;
    let manifest = snapshots::manifest(db, name).await?.ok_or(Error::NotFound("snapshot"))?;
    let composition = environments::composition(db, app.store().sealer(), environment).await?;
    Ok((snapshot, manifest, composition))
}

/// What the snapshot recorded of a part.
fn recorded(manifest: &Manifest, part: &Part) -> Option<String> {
    if part.kind == "mount" {
        let entry = manifest.mounts.iter().find(|entry| entry.name.as_str() == part.name)?;
        return Some(files(entry.files, Bytes(entry.bytes)));
    }
    let entry = manifest.services.iter().find(|entry| entry.name.as_str() == part.name)?;
    Some(rows(&entry.facts))
}

/// What is there now, or why it can't be replaced.
async fn present(composition: &Composition) -> Vec<(Part, Result<String, String>)> {
    let composition = composition.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let all = parts(&composition);
        let connected = match Parts::connect(&composition) {
            Ok(connected) => connected,
            Err(error) => return all.into_iter().map(|part| (part, Err(error.for_people()))).collect(),
        };
        let services = connected.services.iter().map(|service| {
            let facts = service.driver.contents(LOOK);
            facts.map(|facts| rows(&facts)).map_err(|error| format!("service {}: {error}", service.name()))
        });
        let mounts = connected.mounts.iter().map(|mount| {
            let contents = mount.driver.index().map(|index| index.contents());
            contents
                .map(|contents| files(contents.files, contents.bytes))
                .map_err(|error| format!("mount {}: {error}", mount.name()))
        });
        all.into_iter().zip(services.chain(mounts)).collect()
    });
    looked.await.unwrap_or_default()
}

const LOOK: std::time::Duration = std::time::Duration::from_secs(2);

fn rows(facts: &Facts) -> String {
    let rows: u64 = facts.rows.values().sum();
    format!("{} in {}", counted(rows, "row"), counted(facts.rows.len() as u64, "table"))
}

fn files(files: u64, bytes: Bytes) -> String {
    format!("{}, {bytes}", counted(files, "file"))
}

/// From past runs, where there are any: nothing is promised that was not measured.
async fn expectations(
    db: &mut Db,
    environment: &EnvironmentId,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<Vec<String>, Error> {
    let age = span(now.since(snapshot.taken_at));
    let mut sentences = vec![format!("Everything that was written since then, in the last {age}, is replaced.")];
    let done = activities::Filter {
        kinds: vec![ActivityKind::Restore],
        states: vec![ActivityState::Complete],
        result: Some(ActivityResult::Success),
        ..activities::Filter::default()
    };
    if let Some(last) = activities::newest(db, environment, &done).await?
        && let (Some(started), Some(completed)) = (last.started_at, last.completed_at)
    {
        let took = span(completed.since(started));
        let safety = snapshots::by_activity(db, &last.id).await?.and_then(|safety| safety.proof);
        let waited = safety.map(|proof| std::time::Duration::from_micros(proof.closed_us));
        sentences.push(match waited {
            Some(waited) => format!("The last restore took {took}; visitors waited {} for the swap.", span(waited)),
            None => format!("The last restore took {took}."),
        });
    }
    sentences.push(
        "Your site goes on serving until the swap; then requests wait for a moment, and none is lost.".to_owned(),
    );
    sentences.push("What is replaced is kept for 7 days as a safety snapshot, so that you can undo this.".to_owned());
    Ok(sentences)
}
