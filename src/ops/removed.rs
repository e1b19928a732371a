//! What was removed: who did it, what stays of it and until when; and letting it go before its time.

use super::audit::Attempt;
use super::{App, Error, projects as project_ops, retention};
use crate::authz::{self, Authorized, Operator, PurgeProject, ViewProject};
use crate::domain::activity::{self, Activity, ActivityKind, KeepSnapshot, Keeping, Payload};
use crate::domain::audit::AuditKind;
use crate::domain::bytes::counted;
use crate::domain::environment::{Environment, EnvironmentStatus, Project};
use crate::domain::policy::removal::{is_named, may_purge};
use crate::domain::policy::retention::{Decision, may_delete};
use crate::domain::policy::{Act, Refusal, Standing};
use crate::domain::snapshot::{Deletion, Snapshot, TAKE_BACK};
use crate::domain::view::{Purge, RemovedEnvironment, RemovedPage, RemovedProject, RemovedSnapshot, Until};
use crate::domain::{EnvironmentId, Timestamp};
use crate::queue::{self, NewActivity};
use crate::store::activities::{self, Filter, Scope};
use crate::store::audit::{Filter as AuditFilter, NewEvent};
use crate::store::{self, Db, clock, environments, projects, snapshots};

/// Of a project's removals, so many are looked through for who asked.
const REMOVALS: u32 = 1_000;

/// The project's removed environments, as far as one may see their type.
///
/// # Errors
/// When the store fails.
pub async fn page(app: &App, proof: &Authorized<ViewProject>) -> Result<RemovedPage, Error> {
    let (project, standing) = (&proof.on().project, proof.standing());
    let mut db = app.store().read().await?;
    let mut visible = project_ops::ever_visible(&mut db, project, standing).await?;
    let plan = projects::plan(&mut db, &project.id).await?;
    let (planned, now) = retention::planned(app, &mut db, &project.id, &plan).await?;
    let removals = removals(&mut db, project).await?;
    let seen: Vec<EnvironmentId> = visible.iter().map(|environment| environment.id.clone()).collect();
    visible.retain(|environment| environment.status == EnvironmentStatus::Removed);
    visible.sort_by_key(|environment| std::cmp::Reverse(environment.updated_at));
    let deleted = match project.removed_at {
        Some(_) => purged(&mut db, project, now).await?.len() as u64,
        None => 0,
    };
    let entry = |environment: Environment| {
        let remover = remover(&removals, &environment);
        let own = planned.decisions.iter().filter(|decision| decision.environment == environment.id);
        RemovedEnvironment {
            by: remover.map(|activity| activity.initiator.name.clone()),
            activity: remover.filter(|it| seen.contains(&it.environment)).map(|activity| activity.id.clone()),
            snapshots: own.map(|decision| snapshot(standing, project, &environment, decision)).collect(),
            environment,
        }
    };
    Ok(RemovedPage {
        environments: visible.into_iter().map(entry).collect(),
        plan_title: plan.title,
        deleted,
        purge: project.removed_at.map(|_| standing.may_in(Act::PurgeProject, &project.id).into()),
        project: project.clone(),
    })
}

/// In a removed project there is no environment to restore into.
fn snapshot(standing: &Standing, project: &Project, of: &Environment, decision: &Decision) -> RemovedSnapshot {
    let restore = authz::may(project, standing, Act::RestoreSnapshot, of);
    RemovedSnapshot { decision: decision.clone(), restore: restore.into() }
}

async fn removals(db: &mut Db, project: &Project) -> Result<Vec<Activity>, Error> {
    let all = environments::ever_in_project(db, &project.id).await?;
    let scope = Scope::Project(project.id.clone(), all.into_iter().map(|environment| environment.id).collect());
    let kinds = vec![ActivityKind::Remove, ActivityKind::RemoveProject];
    Ok(activities::list(db, &scope, &Filter { kinds, ..Filter::default() }, REMOVALS).await?)
}

/// The activity during which it was removed: its own, or that of the whole project, which may have failed after that.
fn remover<'a>(removals: &'a [Activity], environment: &Environment) -> Option<&'a Activity> {
    let at = environment.updated_at;
    removals.iter().find(|activity| {
        let is_of_it = activity.kind == ActivityKind::RemoveProject || activity.environment == environment.id;
        is_of_it && activity.created_at <= at && activity.completed_at.is_none_or(|end| at <= end)
    })
}

/// Removed projects, the newest removal first.
///
/// # Errors
/// When the store fails.
pub async fn projects(app: &App, _operator: &Operator) -> Result<Vec<RemovedProject>, Error> {
    let mut db = app.store().read().await?;
    let mut removed = Vec::new();
    for project in projects::all(&mut db).await? {
        let Some(at) = project.removed_at else { continue };
        let plan = projects::plan(&mut db, &project.id).await?;
        let (planned, _) = retention::planned(app, &mut db, &project.id, &plan).await?;
        removed.push(RemovedProject {
            by: asked_by(&mut db, &project, at).await?,
            snapshots: planned.decisions.len() as u64,
            until: Until::of(&planned.decisions),
            project,
            at,
        });
    }
    removed.sort_by_key(|entry| std::cmp::Reverse(entry.at));
    Ok(removed)
}

/// Asking for it is in the audit, also where there was no environment to have a feed.
async fn asked_by(db: &mut Db, project: &Project, removed_at: Timestamp) -> Result<Option<String>, Error> {
    let filter = AuditFilter {
        project: Some(project.id.clone()),
        kinds: vec![AuditKind::ProjectRemoved.as_str().to_owned()],
        outcome: Some("success".to_owned()),
        until: Some(Timestamp::from_micros(removed_at.as_micros() + 1)),
        ..AuditFilter::default()
    };
    Ok(store::audit::list(db, &filter, 1).await?.pop().map(|line| line.entry.name))
}

/// Deletes every snapshot of a removed project that nothing holds. For three days that can be taken back; then the data goes
/// (R14). `typed`: what somebody typed to confirm it.
///
/// # Errors
/// [`Error::Conflict`] when the project is there, or what was typed is not its id.
pub async fn purge(app: &App, proof: Authorized<PurgeProject>, typed: Option<&str>) -> Result<Purge, Error> {
    Attempt::of(&proof).recorded(app, delete_all(app, &proof, typed).await).await
}

async fn delete_all(app: &App, proof: &Authorized<PurgeProject>, typed: Option<&str>) -> Result<Purge, Error> {
    let store = app.store();
    if let Some(typed) = typed {
        is_named(typed, proof.on().project.id.as_str()).map_err(Error::Conflict)?;
    }
    let mut tx = store.write().await?;
    let project = still_removed(&mut tx, &proof.on().project).await?;
    let now = clock::now(&mut tx, store.dialect()).await?;
    let mut done = Purge { deleted: 0, until: now.plus(TAKE_BACK), held: Vec::new() };
    let initiator = proof.actor().initiator();
    for shelf in store::retention::facts(&mut tx, &project.id).await?.environments {
        for item in shelf.items {
            if let Err(refusal) = may_delete(&item.holds) {
                done.held.push((item.name, refusal));
                continue;
            }
            snapshots::delete(&mut tx, &item.name, &initiator.name, now, done.until).await?;
            let payload = activity::DeleteSnapshot { snapshot: item.name, until: done.until };
            let new = activity(proof, &project, &shelf.id, Payload::DeleteSnapshot(payload));
            queue::record_done(&mut tx, store, new).await?;
            done.deleted += 1;
        }
    }
    let about = format!("purged the removed project {}: {}", project.title, counted(done.deleted, "snapshot"));
    note(&mut tx, proof, about, now).await?;
    store.commit(tx).await?;
    Ok(done)
}

/// Puts back what the newest purge of the project deleted, as far as that can be taken back; how many. What a person deleted
/// by itself stays deleted.
///
/// # Errors
/// [`Error::Conflict`] when the project is there; [`Error::NotFound`] when there is nothing that could be taken back.
pub async fn take_back(app: &App, proof: Authorized<PurgeProject>) -> Result<u64, Error> {
    Attempt::of(&proof).recorded(app, put_back(app, &proof).await).await
}

async fn put_back(app: &App, proof: &Authorized<PurgeProject>) -> Result<u64, Error> {
    let store = app.store();
    let mut tx = store.write().await?;
    let project = still_removed(&mut tx, &proof.on().project).await?;
    let now = clock::now(&mut tx, store.dialect()).await?;
    let mut taken_back = 0;
    for snapshot in purged(&mut tx, &project, now).await? {
        if snapshots::undelete(&mut tx, &snapshot.name, now).await? {
            let payload = KeepSnapshot { snapshot: snapshot.name, how: Keeping::TakenBack };
            let new = activity(proof, &project, &snapshot.environment, Payload::KeepSnapshot(payload));
            queue::record_done(&mut tx, store, new).await?;
            taken_back += 1;
        }
    }
    if taken_back == 0 {
        return Err(Error::NotFound("deleted snapshot that could be taken back"));
    }
    let about =
        format!("took back the purge of the removed project {}: {}", project.title, counted(taken_back, "snapshot"));
    note(&mut tx, proof, about, now).await?;
    store.commit(tx).await?;
    Ok(taken_back)
}

/// The project as it stays until the transaction ends: nobody has it again meanwhile, and nothing begins to use a snapshot.
async fn still_removed(tx: &mut Db, project: &Project) -> Result<Project, Error> {
    let is_held = projects::hold_removed(tx, &project.id).await?;
    activities::hold_off(tx).await?;
    let project = projects::by_id(tx, &project.id).await?.ok_or(Error::NotFound("project"))?;
    may_purge(&project).map_err(Error::Conflict)?;
    if !is_held {
        // Its removal ended between the two.
        return Err(Error::Conflict(Refusal::new("The project was removed just now.").instead("Try again.")));
    }
    Ok(project)
}

/// What the newest purge deleted of which anything can be taken back. A purge deletes at one instant, that of its line in the
/// audit: this tells its snapshots from those that a person deleted.
async fn purged(db: &mut Db, project: &Project, now: Timestamp) -> Result<Vec<Snapshot>, Error> {
    let mut deleted = Vec::new();
    for environment in environments::ever_in_project(db, &project.id).await? {
        deleted.extend(snapshots::deleted(db, &environment.id, now).await?);
    }
    let filter = AuditFilter {
        project: Some(project.id.clone()),
        kinds: vec![AuditKind::ProjectRemoved.as_str().to_owned()],
        outcome: Some("success".to_owned()),
        since: Some(now.minus(TAKE_BACK)),
        ..AuditFilter::default()
    };
    for line in store::audit::list(db, &filter, REMOVALS).await? {
        let is_of_it = |deletion: &Deletion| deletion.at == line.entry.at && deletion.by == line.entry.name;
        if deleted.iter().any(|(_, deletion)| is_of_it(deletion)) {
            deleted.retain(|(_, deletion)| is_of_it(deletion));
            return Ok(deleted.into_iter().map(|(snapshot, _)| snapshot).collect());
        }
    }
    Ok(Vec::new())
}

/// Records it with the very instant of what was done.
async fn note(db: &mut Db, proof: &Authorized<PurgeProject>, about: String, now: Timestamp) -> Result<(), Error> {
    let event = NewEvent {
        project: Some(proof.on().project.id.clone()),
        environment: None,
        kind: AuditKind::ProjectRemoved,
        initiator: proof.actor().initiator(),
        about,
        refused: None,
    };
    Ok(store::audit::insert(db, &event, now).await?)
}

fn activity(
    proof: &Authorized<PurgeProject>,
    project: &Project,
    environment: &EnvironmentId,
    payload: Payload,
) -> NewActivity {
    let kind = match payload {
        Payload::DeleteSnapshot(_) => ActivityKind::BackupDelete,
        _ => ActivityKind::BackupKeep,
    };
    NewActivity {
        project: project.id.clone(),
        environment: environment.clone(),
        region: project.region.clone(),
        kind,
        initiator: proof.actor().initiator(),
        payload,
    }
}
