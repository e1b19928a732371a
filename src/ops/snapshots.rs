//! Snapshots.

use std::collections::{BTreeSet, HashMap};

use super::activities::Viewer;
use super::audit::Attempt;
use super::{App, Error, environments, retention};
use crate::authz::{Authorized, CreateSnapshot, OnEnvironment, Permission, ViewHistory};
use crate::domain::activity::{Activity, ActivityKind, Payload, SnapshotMode, TakeSnapshot};
use crate::domain::manifest::Manifest;
use crate::domain::policy::retention::{Eviction, Hold};
use crate::domain::policy::{Act, Refusal};
use crate::domain::snapshot::{Origin, Snapshot};
use crate::domain::view::{ActivityEntry, Offer, SnapshotEntry, SnapshotPage};
use crate::domain::{EnvironmentId, SnapshotName};
use crate::queue::{self, NewActivity};
use crate::store::{self, Db, activities, projects, snapshots};

const LONGEST_NOTE: usize = 500;
/// More than a plan keeps; older ones are found by name.
const LISTED: u32 = 200;

#[derive(Debug, Clone, Default)]
pub struct SnapshotRequest {
    pub mode: SnapshotMode,
    pub note: Option<String>,
    /// What its plan has no room for beside it, by name: all of it must be named, so that nothing goes unasked.
    pub evict: Vec<SnapshotName>,
}

/// Queues a snapshot. Its name is given now and stands in the entry's payload (R19).
///
/// # Errors
/// [`Error::Forbidden`] when the plan does not allow it (recorded in the feed, R5), [`Error::Conflict`] when what goes for
/// it was not agreed to, [`Error::Invalid`] for a note that is too long.
pub async fn create(
    app: &App,
    proof: Authorized<CreateSnapshot>,
    request: SnapshotRequest,
) -> Result<ActivityEntry, Error> {
    let asked = async {
        let mut tx = app.store().write().await?;
        let asked = ask(app, &mut tx, &proof, request).await?;
        app.store().commit(tx).await?;
        Ok(asked)
    };
    let asked = Attempt::of(&proof).recorded(app, asked.await).await?;
    let activity = asked.map_err(Error::Forbidden)?;
    Viewer::of(&proof).one(app, &activity.id).await
}

/// Queues a snapshot inside the caller's transaction; a refusal by the plan is recorded there, to be committed too.
///
/// # Errors
/// As [`create`].
pub(super) async fn ask<A: Permission<On = OnEnvironment>>(
    app: &App,
    tx: &mut Db,
    proof: &Authorized<A>,
    request: SnapshotRequest,
) -> Result<Result<Activity, Refusal>, Error> {
    let note = request.note.map(|note| note.trim().to_owned()).filter(|note| !note.is_empty());
    if note.as_ref().is_some_and(|note| note.chars().count() > LONGEST_NOTE) {
        return Err(Error::invalid(format!("A note has at most {LONGEST_NOTE} characters.")));
    }
    let on = proof.on();
    let take = TakeSnapshot {
        snapshot: SnapshotName::parse(store::random_id())?,
        mode: request.mode,
        origin: Origin::Manual,
        note,
        evict: request.evict,
    };
    let agreed = take.evict.clone();
    let new = NewActivity {
        project: on.project.id.clone(),
        environment: on.environment.id.clone(),
        region: on.project.region.clone(),
        kind: ActivityKind::Backup,
        initiator: proof.actor().initiator(),
        payload: Payload::TakeSnapshot(take),
    };
    let terms = projects::terms(tx, &on.project.id).await?;
    if let Err(refusal) = terms.may_create(proof.standing(), &on.environment) {
        queue::record_refused(tx, app.store(), new, &refusal.to_string()).await?;
        return Ok(Err(refusal));
    }
    let eviction = environments::evictions(tx, &on.environment, &terms).await?;
    let is_agreed =
        eviction.snapshots.iter().all(|name| agreed.contains(name)) && agreed.len() <= eviction.snapshots.len();
    if !is_agreed {
        return Err(Error::Conflict(unasked(&terms.plan.title, &eviction)));
    }
    // A token that may only make snapshots must not make others go (R4).
    if !eviction.snapshots.is_empty()
        && let Err(refusal) = proof.standing().may(Act::DeleteSnapshot, &on.environment)
    {
        queue::record_refused(tx, app.store(), new, &refusal.to_string()).await?;
        return Ok(Err(refusal));
    }
    Ok(Ok(queue::enqueue(tx, app.store(), new).await?))
}

/// What would go, and how to agree to it.
fn unasked(plan: &str, eviction: &Eviction) -> Refusal {
    let names: Vec<String> = eviction.snapshots.iter().map(ToString::to_string).collect();
    match names.as_slice() {
        [] => Refusal::new("Nothing has to go for another snapshot.").instead("Ask again without naming one."),
        [name] => Refusal::new(format!(
            "The {plan} plan keeps the newest {} manual snapshots: {name} would go for another one.",
            eviction.keeps
        ))
        .instead(format!("Agree to that (`evict`: {name}), or protect it: protected ones don't count.")),
        names => Refusal::new(format!(
            "The {plan} plan keeps the newest {} manual snapshots: {} would go for another one.",
            eviction.keeps,
            names.join(", ")
        ))
        .instead("Agree to that (`evict`: all of these names), or protect some: protected ones don't count."),
    }
}

/// Complete ones, newest first.
///
/// # Errors
/// When the store fails.
pub async fn list(app: &App, proof: &Authorized<ViewHistory>) -> Result<Vec<SnapshotEntry>, Error> {
    let on = proof.on();
    let mut db = app.store().read().await?;
    let snapshots = snapshots::by_environment(&mut db, &on.environment.id, LISTED).await?;
    let facts = store::retention::facts(&mut db, &on.project.id).await?;
    let restore = Offer::from(proof.may(Act::RestoreSnapshot));
    let holds: HashMap<&SnapshotName, &BTreeSet<Hold>> =
        facts.environments.iter().flat_map(|shelf| &shelf.items).map(|item| (&item.name, &item.holds)).collect();
    let entries = snapshots.into_iter().map(|snapshot| SnapshotEntry {
        restore: restore.clone(),
        care: retention::care(proof.standing(), &on.environment, holds.get(&snapshot.name).copied().unwrap_or(&NONE)),
        snapshot,
    });
    Ok(entries.collect())
}

static NONE: BTreeSet<Hold> = BTreeSet::new();

/// A complete snapshot that was taken of the environment (R21), with what it recorded.
///
/// # Errors
/// [`Error::NotFound`] when the environment has no such snapshot.
pub(super) async fn taken_of(
    db: &mut Db,
    environment: &EnvironmentId,
    name: &SnapshotName,
) -> Result<(Snapshot, Manifest), Error> {
    let snapshot = snapshots::by_name(db, name).await?;
    let snapshot = snapshot.filter(|snapshot| snapshot.environment == *environment);
    let snapshot = snapshot.ok_or(Error::NotFound("snapshot"))?;
    let manifest = snapshots::manifest(db, name).await?.ok_or(Error::NotFound("snapshot"))?;
    Ok((snapshot, manifest))
}

/// # Errors
/// [`Error::NotFound`] when the environment has no such snapshot.
pub async fn page(app: &App, proof: &Authorized<ViewHistory>, name: &SnapshotName) -> Result<SnapshotPage, Error> {
    let on = proof.on();
    let mut db = app.store().read().await?;
    let (snapshot, manifest) = taken_of(&mut db, &on.environment.id, name).await?;
    let activity = match &snapshot.activity {
        Some(id) => activities::by_id(&mut db, id).await?,
        None => None,
    };
    let plan = projects::plan(&mut db, &on.project.id).await?;
    let (planned, _) = retention::planned(app, &mut db, &on.project.id, &plan).await?;
    let decision = planned.of(name).cloned();
    let holds = decision.as_ref().map_or(&NONE, |decision| &decision.holds);
    Ok(SnapshotPage {
        care: retention::care(proof.standing(), &on.environment, holds),
        project: on.project.clone(),
        environment: on.environment.clone(),
        taken_by: activity.map(|activity| (activity.id, activity.initiator.name)),
        restore: proof.may(Act::RestoreSnapshot).into(),
        dump: proof.standing().may(Act::ReadContents, &on.environment).into(),
        snapshot,
        manifest,
        decision,
    })
}
