//! Restores.

mod asked;
mod branch;
mod preflight;
mod present;
mod way;

use std::collections::BTreeMap;

use self::branch::Branch;
pub use self::preflight::preflight;
use self::way::Target;
pub use self::way::{Way, Wish};
use super::activities::Viewer;
use super::audit::Attempt;
use super::snapshots::taken_of;
use super::{App, Error};
use crate::domain::activity::{self, ActivityKind, Payload};
use crate::domain::environment::{Composition, Environment, EnvironmentStatus};
use crate::domain::ids::{ActivityId, MountName};
use crate::domain::manifest::Manifest;
use crate::domain::policy::restore::parts_of;
use crate::domain::policy::{Act, Refusal, RestorePlan, Verdict};
use crate::domain::snapshot::Snapshot;
use crate::domain::ticket::Ticket;
use crate::domain::view::ActivityEntry;
use crate::domain::{MountPath, PartName, ProjectId, Scope, SnapshotName};
use crate::engine::{self, Location, Repository};
use crate::jobs::{self, Held};
use crate::queue::{self, NewActivity};
use crate::store::{self, Db, environments, regions, snapshots, tickets};

#[derive(Debug, Clone)]
pub struct RestoreRequest {
    pub snapshot: SnapshotName,
    /// Which parts of it (R26).
    pub scope: Scope,
    /// Of the preflight that was confirmed (R25): in another state of things the restore is refused.
    pub plan_hash: Option<String>,
}

/// Queues a restore.
///
/// # Errors
/// [`Error::NotFound`] when the source has no such snapshot, [`Error::Conflict`] when what was confirmed is not what
/// would happen now (recorded in the audit, R5).
pub async fn create(app: &App, way: Way, request: RestoreRequest) -> Result<ActivityEntry, Error> {
    let queued = enqueue(app, &way, request, None).await;
    let activity = Attempt::of(&way.from).recorded(app, queued).await?;
    let proof = match &way.into {
        Target::Other(target) => target,
        _ => &way.from,
    };
    Viewer::of(proof).one(app, &activity).await
}

/// Queues a restore, of one's own or for a ticket, of which it then is the run.
pub(super) async fn enqueue(
    app: &App,
    way: &Way,
    request: RestoreRequest,
    ticket: Option<&Ticket>,
) -> Result<ActivityId, Error> {
    let target = way.target();
    let project = &way.from.on().project;
    if request.scope.named().any(|part| matches!(part, PartName::Path(..))) {
        let (snapshot, manifest, composition) =
            load(app, &mut *app.store().read().await?, way, &request.snapshot).await?;
        let plan = way.plan(&manifest, &composition, &request.scope).map_err(Error::Conflict)?;
        held_paths(app, &project.id, (&snapshot, &manifest), &plan).await?.map_err(Error::Conflict)?;
    }
    let mut tx = app.store().write().await?;
    let (_, manifest, composition) = load(app, &mut tx, way, &request.snapshot).await?;
    is_active(target).map_err(Error::Conflict)?;
    let plan = way.plan(&manifest, &composition, &request.scope).map_err(Error::Conflict)?;
    if request.plan_hash.as_ref().is_some_and(|confirmed| !plan.replaces(confirmed)) {
        return Err(Error::Conflict(
            Refusal::new("The environment has changed since you looked.")
                .instead("Look at what would be replaced now, and confirm again."),
        ));
    }
    let source = way.source();
    let region = regions::by_id(&mut tx, &project.region).await?;
    let allowed = match ticket {
        Some(_) => region.may_run_ticket(),
        None => way.region_allows(&region, &request.snapshot, &request.scope),
    };
    let all = parts_of(&manifest).iter().all(|part| request.scope.has(part));
    let restore = activity::RestoreSnapshot {
        snapshot: request.snapshot,
        safety: SnapshotName::parse(store::random_id())?,
        // As it was confirmed: whether maintenance was announced stands in it, which the worker asks for.
        plan_hash: request.plan_hash.or_else(|| Some(plan.hash())),
        from: matches!(way.into, Target::Other(_)).then(|| activity::Source {
            id: source.id.clone(),
            name: source.name.clone(),
            kind: source.kind,
        }),
        scope: if all { Scope::default() } else { request.scope },
        branch: way.branch().map(Branch::wanted),
        ticket: ticket.map(|ticket| ticket.id.clone()),
    };
    // What is made stands in the feed of the snapshot's environment, which goes on meanwhile.
    let (environment, kind) = match &way.into {
        Target::New(_) => (source, ActivityKind::Branch),
        _ => (target, ActivityKind::Restore),
    };
    let new = NewActivity {
        project: project.id.clone(),
        environment: environment.id.clone(),
        region: project.region.clone(),
        kind,
        initiator: way.from.actor().initiator(),
        payload: Payload::RestoreSnapshot(restore),
    };
    if let Err(refusal) = allowed {
        queue::record_refused(&mut tx, app.store(), new, &refusal.to_string()).await?;
        app.store().commit(tx).await?;
        return Err(Error::Forbidden(refusal));
    }
    let activity = match way.branch() {
        Some(branch) => {
            branch.is_free(app, &mut tx, &project.id).await?;
            queue::enqueue_beside(&mut tx, app.store(), new).await?
        }
        None => queue::enqueue(&mut tx, app.store(), new).await?,
    };
    if let Some(ticket) = ticket {
        let run = Ticket { run: Some(activity.id.clone()), ..ticket.clone() };
        if !tickets::change(&mut tx, &run, activity.created_at).await? {
            let refusal = Refusal::new("Somebody else changed this ticket in the same moment.");
            return Err(Error::Conflict(refusal.instead("Look at it again.")));
        }
        tickets::add_step(&mut tx, &ticket.id, &activity.id).await?;
    }
    app.store().commit(tx).await?;
    Ok(activity.id)
}

fn is_active(environment: &Environment) -> Verdict {
    match environment.status {
        EnvironmentStatus::Active => Ok(()),
        EnvironmentStatus::Inactive => {
            Err(Refusal::new("The environment is not active.").instead("Activate it first."))
        }
        EnvironmentStatus::Removed => Err(Refusal::new(format!("The environment {} was removed.", environment.name))
            .instead("Choose another environment to restore into (--target), or make one (--branch-from).")),
    }
}

/// Only a complete snapshot, only one that was taken of the source (R21); and what the target consists of.
pub(super) async fn load(
    app: &App,
    db: &mut Db,
    way: &Way,
    name: &SnapshotName,
) -> Result<(Snapshot, Manifest, Composition), Error> {
    let taken = match taken_of(db, &way.source().id, name).await {
        Err(Error::NotFound(what)) => Err(taken_elsewhere(db, way, name).await?.unwrap_or(Error::NotFound(what))),
        taken => taken,
    };
    let (snapshot, manifest) = taken?;
    let composition = match way.branch() {
        Some(new) => new.composition(),
        None => environments::composition(db, app.store().sealer(), &way.target().id).await?,
    };
    Ok((snapshot, manifest, composition))
}

/// R21: one acts on the environment where the snapshot was taken; the command that works, if that one may be known.
async fn taken_elsewhere(db: &mut Db, way: &Way, name: &SnapshotName) -> Result<Option<Error>, Error> {
    let Some(snapshot) = snapshots::by_name(db, name).await? else { return Ok(None) };
    let Some(taken_of) = environments::by_id(db, &snapshot.environment).await? else { return Ok(None) };
    let is_known =
        taken_of.project == way.source().project && way.from.standing().may(Act::ViewHistory, &taken_of).is_ok();
    let refusal = || {
        let command = way.command("snapshot:restore", &taken_of.name, name, &Scope::default());
        Refusal::new(format!("The snapshot {name} was taken of {}, not of {}.", taken_of.name, way.source().name))
            .instead(format!("Act on the environment where it was taken: {command}"))
    };
    Ok(is_known.then(|| Error::Conflict(refusal())))
}

fn paths_of(plan: &RestorePlan) -> BTreeMap<MountName, Vec<MountPath>> {
    let partial = plan.mounts.iter().filter(|entry| !entry.paths.is_empty());
    partial.map(|entry| (entry.name.clone(), entry.paths.clone())).collect()
}

/// What the snapshot holds at the paths of a plan; refused when it holds nothing at one of them. None of them where the
/// repository can't be reached from here: the worker looks again.
async fn held_paths(
    app: &App,
    project: &ProjectId,
    (snapshot, manifest): (&Snapshot, &Manifest),
    plan: &RestorePlan,
) -> Result<Result<Vec<Held>, Refusal>, Error> {
    if paths_of(plan).is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let access = store::projects::repository(&mut *app.store().read().await?, app.store().sealer(), project).await?;
    let (id, plan, all) = (snapshot.repository_id.clone(), plan.clone(), manifest.mounts.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let repository = Repository::open(&Location::Local(access.location.into()), &access.key)?;
        jobs::held((&repository, &engine::Job::reading(), &id), &plan, &all)
    });
    match looked.await {
        Ok(Ok(held)) => Ok(Ok(held)),
        Ok(Err(jobs::Error::Refused(refusal))) => Ok(Err(refusal)),
        Ok(Err(error)) => {
            tracing::warn!(project.id = %project, error = %error.for_people(), "the paths could not be looked up");
            Ok(Ok(Vec::new()))
        }
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
