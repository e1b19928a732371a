//! What is kept and what goes: the preview, protection, deletion and taking it back.

use std::collections::{BTreeSet, HashMap};

use super::activities::Viewer;
use super::{App, Error};
use crate::authz::{Authorized, DeleteSnapshot, OnEnvironment, Permission, ProtectSnapshot, ViewHistory};
use crate::domain::activity::{self, ActivityKind, KeepSnapshot, Keeping, Payload};
use crate::domain::environment::{Environment, store_is_live};
use crate::domain::policy::plans::Keep;
use crate::domain::policy::retention::{self, Eviction, Hold, RetentionPlan};
use crate::domain::policy::{Act, Plan, Refusal, Standing};
use crate::domain::snapshot::{Protection, TAKE_BACK};
use crate::domain::view::{ActivityEntry, Care, DeletedEntry, Offer, RetentionPage};
use crate::domain::{EnvironmentId, ProjectId, SnapshotName, Timestamp};
use crate::queue::{self, NewActivity};
use crate::store::{self, Db, activities, clock, projects, snapshots};

const LONGEST_NOTE: usize = 500;

/// Which go, when and why: of one environment, by the plan that the next run obeys (R11).
///
/// # Errors
/// When the store fails.
pub async fn preview(app: &App, proof: &Authorized<ViewHistory>) -> Result<RetentionPage, Error> {
    let on = proof.on();
    let mut db = app.store().read().await?;
    let plan = projects::plan(&mut db, &on.project.id).await?;
    let (mut whole, now) = planned(app, &mut db, &on.project.id, &plan).await?;
    whole.decisions.retain(|decision| decision.environment == on.environment.id);
    let deleted = snapshots::deleted(&mut db, &on.environment.id, now).await?;
    let all = store::environments::by_project(&mut db, &on.project.id).await?;
    let undelete = Offer::from(proof.standing().may(Act::DeleteSnapshot, &on.environment));
    Ok(RetentionPage {
        project: on.project.clone(),
        environment: on.environment.clone(),
        plan_title: plan.title.clone(),
        told: plan.told(on.environment.kind, store_is_live(&all)),
        plan: whole,
        deleted: deleted
            .into_iter()
            .map(|(snapshot, deletion)| DeletedEntry { snapshot, deletion, undelete: undelete.clone() })
            .collect(),
    })
}

/// What `plan` says of everything that is kept in the project now.
pub(super) async fn planned(
    app: &App,
    db: &mut Db,
    project: &ProjectId,
    plan: &Plan,
) -> Result<(RetentionPlan, Timestamp), Error> {
    let facts = store::retention::facts(db, project).await?;
    let now = clock::now(db, app.store().dialect()).await?;
    Ok((retention::plan(plan, &facts, now), now))
}

/// What another manual snapshot would push out, in each of a project's environments. Nothing is counted where the plan keeps no
/// number.
pub(super) async fn evictions(
    db: &mut Db,
    plan: &Plan,
    environments: &[Environment],
) -> Result<HashMap<EnvironmentId, Eviction>, Error> {
    let counts = |it: &&Environment| matches!(plan.rules(it.kind).keep, Keep::Newest(_));
    let counted: Vec<&Environment> = environments.iter().filter(counts).collect();
    let Some(first) = counted.first() else { return Ok(HashMap::new()) };
    let facts = store::retention::facts(db, &first.project).await?;
    let waiting = store::retention::waiting(db, &first.project).await?;
    let none = (0, BTreeSet::new());
    let mut evictions = HashMap::new();
    for environment in counted {
        let Some(shelf) = facts.environments.iter().find(|shelf| shelf.id == environment.id) else { continue };
        let (waiting, given_up) = waiting.get(&environment.id).unwrap_or(&none);
        let keep = &plan.rules(environment.kind).keep;
        evictions.insert(environment.id.clone(), retention::evictions(keep, shelf, *waiting, given_up));
    }
    Ok(evictions)
}

/// What the one who looks may do to a snapshot that is held so.
pub(super) fn care(standing: &Standing, environment: &Environment, holds: &BTreeSet<Hold>) -> Care {
    let delete = standing.may(Act::DeleteSnapshot, environment).and_then(|()| retention::may_delete(holds));
    Care { protect: standing.may(Act::ProtectSnapshot, environment).into(), delete: delete.into() }
}

/// Pins a snapshot: from now on only taking the pin off lets it go (R13). A second time changes the note.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`] for a note that is too long.
pub async fn protect(
    app: &App,
    proof: Authorized<ProtectSnapshot>,
    name: &SnapshotName,
    note: Option<String>,
) -> Result<ActivityEntry, Error> {
    let note = note.map(|note| note.trim().to_owned()).filter(|note| !note.is_empty());
    if note.as_ref().is_some_and(|note| note.chars().count() > LONGEST_NOTE) {
        return Err(Error::invalid(format!("A note has at most {LONGEST_NOTE} characters.")));
    }
    pin(app, proof, name, Some(Protection { note }), Keeping::Protected).await
}

/// Takes the pin off: the plan decides again.
///
/// # Errors
/// [`Error::NotFound`]
pub async fn unprotect(
    app: &App,
    proof: Authorized<ProtectSnapshot>,
    name: &SnapshotName,
) -> Result<ActivityEntry, Error> {
    pin(app, proof, name, None, Keeping::Unprotected).await
}

async fn pin(
    app: &App,
    proof: Authorized<ProtectSnapshot>,
    name: &SnapshotName,
    protection: Option<Protection>,
    how: Keeping,
) -> Result<ActivityEntry, Error> {
    let mut tx = app.store().write().await?;
    activities::hold_off(&mut tx).await?;
    super::snapshots::taken_of(&mut tx, &proof.on().environment.id, name).await?;
    snapshots::protect(&mut tx, name, protection.as_ref()).await?;
    let payload = Payload::KeepSnapshot(KeepSnapshot { snapshot: name.clone(), how });
    let new = activity(&proof, ActivityKind::BackupKeep, payload);
    let done = queue::record_done(&mut tx, app.store(), new).await?;
    app.store().commit(tx).await?;
    Viewer::of(&proof).one(app, &done.id).await
}

/// Deletes a snapshot. For three days it can be taken back; then its data goes (R14).
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Conflict`] while it is protected, in use or on a ticket (recorded in the feed, R5).
pub async fn delete(app: &App, proof: Authorized<DeleteSnapshot>, name: &SnapshotName) -> Result<ActivityEntry, Error> {
    let on = proof.on();
    let mut tx = app.store().write().await?;
    activities::hold_off(&mut tx).await?;
    super::snapshots::taken_of(&mut tx, &on.environment.id, name).await?;
    let now = clock::now(&mut tx, app.store().dialect()).await?;
    let until = now.plus(TAKE_BACK);
    let payload = Payload::DeleteSnapshot(activity::DeleteSnapshot { snapshot: name.clone(), until });
    let new = activity(&proof, ActivityKind::BackupDelete, payload);
    if let Err(refusal) = may_delete(&mut tx, &on.project.id, name).await? {
        queue::record_refused(&mut tx, app.store(), new, &refusal.to_string()).await?;
        app.store().commit(tx).await?;
        return Err(Error::Conflict(refusal));
    }
    snapshots::delete(&mut tx, name, &proof.actor().initiator().name, now, until).await?;
    let done = queue::record_done(&mut tx, app.store(), new).await?;
    app.store().commit(tx).await?;
    Viewer::of(&proof).one(app, &done.id).await
}

async fn may_delete(db: &mut Db, project: &ProjectId, name: &SnapshotName) -> Result<Result<(), Refusal>, Error> {
    let facts = store::retention::facts(db, project).await?;
    let item = facts.environments.iter().flat_map(|shelf| &shelf.items).find(|item| item.name == *name);
    Ok(item.map_or(Ok(()), |item| retention::may_delete(&item.holds)))
}

/// Puts a deleted snapshot back into the catalogue.
///
/// # Errors
/// [`Error::NotFound`] when the environment has no such deleted snapshot, or when its time is over.
pub async fn undelete(
    app: &App,
    proof: Authorized<DeleteSnapshot>,
    name: &SnapshotName,
) -> Result<ActivityEntry, Error> {
    let on = proof.on();
    let mut tx = app.store().write().await?;
    let now = clock::now(&mut tx, app.store().dialect()).await?;
    let deleted = snapshots::deleted(&mut tx, &on.environment.id, now).await?;
    if !deleted.iter().any(|(snapshot, _)| snapshot.name == *name) || !snapshots::undelete(&mut tx, name, now).await? {
        return Err(Error::NotFound("deleted snapshot that could be taken back"));
    }
    let payload = Payload::KeepSnapshot(KeepSnapshot { snapshot: name.clone(), how: Keeping::TakenBack });
    let new = activity(&proof, ActivityKind::BackupKeep, payload);
    let done = queue::record_done(&mut tx, app.store(), new).await?;
    app.store().commit(tx).await?;
    Viewer::of(&proof).one(app, &done.id).await
}

fn activity<A: Permission<On = OnEnvironment>>(
    proof: &Authorized<A>,
    kind: ActivityKind,
    payload: Payload,
) -> NewActivity {
    let on = proof.on();
    NewActivity {
        project: on.project.id.clone(),
        environment: on.environment.id.clone(),
        region: on.project.region.clone(),
        kind,
        initiator: proof.actor().initiator(),
        payload,
    }
}
