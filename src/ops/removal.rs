//! Taking environments and projects out of the console: what that would do, and asking for it.

use super::activities::Viewer;
use super::audit::Attempt;
use super::environments::parts;
use super::{App, Error, audit};
use crate::authz::{self, Authorized, RemoveEnvironment, RemoveProject, ViewHistory, ViewProject};
use crate::domain::activity::{self, ActivityKind, Payload, SnapshotMode, TakeSnapshot, Weighty};
use crate::domain::audit::AuditKind;
use crate::domain::environment::{Environment, Project};
use crate::domain::policy::removal::{Removal, is_named};
use crate::domain::policy::{Act, Refusal};
use crate::domain::snapshot::Origin;
use crate::domain::view::{ActivityEntry, ProjectRemovalPage, RemovalPage};
use crate::domain::{ActivityId, SnapshotName};
use crate::queue::{self, NewActivity};
use crate::store::{self, Db, activities, environments, projects, snapshots, work};

/// Whether a last snapshot is taken before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LastSnapshot {
    /// Where data is deleted with the environment, and it may be taken.
    #[default]
    WhereDataGoes,
    Taken,
    Left,
}

/// How an environment is to be removed.
#[derive(Debug, Clone, Default)]
pub struct RemovalRequest {
    /// What somebody typed to confirm it: must be its name. `None`: the door confirmed it in another way.
    pub typed: Option<String>,
    pub weighty: Weighty,
    pub last: LastSnapshot,
}

/// # Errors
/// When the store fails.
pub async fn page(app: &App, proof: &Authorized<ViewHistory>) -> Result<RemovalPage, Error> {
    let on = proof.on();
    let mut db = app.store().read().await?;
    let environment = &on.environment;
    let removal = facts(&mut db, environment).await?;
    let asked_for = || if removal.is_asked_for() { Err(already(environment)) } else { Ok(()) };
    let offer = proof.standing().may(Act::RemoveEnvironment, environment).and_then(|()| asked_for());
    let offer = offer.and_then(|()| removal.may());
    let composition = environments::composition(&mut db, app.store().sealer(), &environment.id).await?;
    let provisioned = environments::provisioned(&mut db, &environment.id).await?;
    let deleted: Vec<String> = provisioned.iter().flat_map(|it| &it.made).map(activity::Made::in_words).collect();
    let terms = projects::terms(&mut db, &on.project.id).await?;
    Ok(RemovalPage {
        offer: offer.into(),
        weight: removal.weight(),
        hosts: composition.routes.iter().map(|route| route.host.clone()).collect(),
        stays: if provisioned.is_some() { Vec::new() } else { parts(&composition) },
        deleted,
        snapshots: snapshots::count(&mut db, &environment.id).await?,
        waiting: work::pending(&mut db, &environment.id).await?.len() as u64,
        last: terms.may_create(proof.standing(), environment).into(),
        project: on.project.clone(),
        environment: environment.clone(),
    })
}

/// Queues the removal, after what runs there now; what only waits is cancelled.
///
/// # Errors
/// [`Error::Conflict`] when something stands against it, or what it takes was not agreed to (recorded in the feed, R5).
pub async fn remove(
    app: &App,
    proof: Authorized<RemoveEnvironment>,
    request: RemovalRequest,
) -> Result<ActivityEntry, Error> {
    let on = proof.on();
    let store = app.store();
    if let Some(typed) = &request.typed {
        let is_named = is_named(typed, on.environment.name.as_str()).map_err(Error::Conflict);
        Attempt::of(&proof).recorded(app, is_named).await?;
    }
    let mut tx = store.write().await?;
    activities::hold_off(&mut tx).await?;
    let environment = environments::by_id(&mut tx, &on.environment.id).await?.ok_or(Error::NotFound("environment"))?;
    let removal = facts(&mut tx, &environment).await?;
    let provisioned = environments::provisioned(&mut tx, &environment.id).await?;
    let terms = projects::terms(&mut tx, &on.project.id).await?;
    let may_snapshot = terms.may_create(proof.standing(), &environment);
    let has_data = provisioned.is_some_and(|it| !it.made.is_empty());
    let after = match request.last {
        LastSnapshot::Taken => true,
        LastSnapshot::WhereDataGoes => has_data && may_snapshot.is_ok(),
        LastSnapshot::Left => false,
    };
    let name = SnapshotName::parse(store::random_id())?;
    let remove = activity::RemoveEnvironment { after: after.then(|| name.clone()), weighty: request.weighty };
    let new = |kind, payload| NewActivity {
        project: on.project.id.clone(),
        environment: environment.id.clone(),
        region: on.project.region.clone(),
        kind,
        initiator: proof.actor().initiator(),
        payload,
    };
    let verdict = proof.standing().may(Act::RemoveEnvironment, &environment);
    // No line of a feed that is about to end: whoever asks again and again would fill it.
    if verdict.is_ok() && removal.is_asked_for() {
        drop(tx);
        return Attempt::of(&proof).recorded(app, Err(Error::Conflict(already(&environment)))).await;
    }
    let verdict = verdict.and_then(|()| removal.may()).and_then(|()| removal.is_agreed(request.weighty));
    let verdict = verdict.and(if after { may_snapshot } else { Ok(()) });
    let new_removal = new(ActivityKind::Remove, Payload::RemoveEnvironment(remove));
    if let Err(refusal) = verdict {
        queue::record_refused(&mut tx, store, new_removal, &refusal.to_string()).await?;
        store.commit(tx).await?;
        return Err(Error::Conflict(refusal));
    }
    let now = store::clock::now(&mut tx, store.dialect()).await?;
    for waiting in work::pending(&mut tx, &environment.id).await? {
        work::cancel_pending(&mut tx, &waiting, now).await?;
    }
    if after {
        let (mode, origin) = (SnapshotMode::default(), Origin::Manual);
        let note = Some(format!("the last one of {}", environment.name));
        let take = TakeSnapshot { snapshot: name, mode, origin, note, evict: Vec::new() };
        queue::enqueue(&mut tx, store, new(ActivityKind::Backup, Payload::TakeSnapshot(take))).await?;
    }
    let activity = queue::enqueue(&mut tx, store, new_removal).await?;
    store.commit(tx).await?;
    Viewer::of(&proof).one(app, &activity.id).await
}

async fn facts(db: &mut Db, environment: &Environment) -> Result<Removal, Error> {
    let all = environments::by_project(db, &environment.project).await?;
    let unfinished = activities::unfinished(db, &environment.project).await?;
    Ok(Removal { environment: environment.clone(), all, unfinished })
}

fn already(environment: &Environment) -> Refusal {
    Refusal::new(format!("The environment {} is being removed already.", environment.name))
        .instead("Its feed shows how far that is.")
}

/// # Errors
/// When the store fails.
pub async fn project_page(app: &App, proof: &Authorized<ViewProject>) -> Result<ProjectRemovalPage, Error> {
    let project = &proof.on().project;
    let mut db = app.store().read().await?;
    let may = proof.standing().may_in(Act::RemoveProject, &project.id);
    let all = environments::by_project(&mut db, &project.id).await?;
    let mut deleted = Vec::new();
    for environment in &all {
        let provisioned = environments::provisioned(&mut db, &environment.id).await?;
        let words = provisioned.iter().flat_map(|it| &it.made).map(activity::Made::in_words);
        deleted.extend(words.map(|what| format!("{}: {what}", environment.name)));
    }
    Ok(ProjectRemovalPage {
        offer: may.and_then(|()| is_there(project)).into(),
        environments: all.into_iter().map(|environment| environment.name).collect(),
        deleted,
        snapshots: snapshots::by_project(&mut db, &project.id).await?.len() as u64,
        project: project.clone(),
    })
}

/// Queues the removal of the project with all its environments, after what runs in them now; what only waits is cancelled.
/// `None`: there was no environment, and it is removed already.
///
/// # Errors
/// [`Error::Conflict`] when what was typed is not its id, or it is being removed already.
pub async fn remove_project(
    app: &App,
    proof: Authorized<RemoveProject>,
    typed: Option<&str>,
) -> Result<Option<ActivityId>, Error> {
    Attempt::of(&proof).recorded(app, enqueue_project(app, &proof, typed).await).await
}

async fn enqueue_project(
    app: &App,
    proof: &Authorized<RemoveProject>,
    typed: Option<&str>,
) -> Result<Option<ActivityId>, Error> {
    let (store, project) = (app.store(), &proof.on().project);
    if let Some(typed) = typed {
        is_named(typed, project.id.as_str()).map_err(Error::Conflict)?;
    }
    let mut tx = store.write().await?;
    activities::hold_off(&mut tx).await?;
    let ever = environments::ever_in_project(&mut tx, &project.id).await?;
    let unfinished = activities::unfinished(&mut tx, &project.id).await?;
    if unfinished.iter().any(|(_, payload)| matches!(payload, Payload::RemoveProject(_))) {
        let refusal = Refusal::new("The project is being removed already.");
        return Err(Error::Conflict(refusal.instead("Its feed shows how far that is.")));
    }
    let now = store::clock::now(&mut tx, store.dialect()).await?;
    let by = (proof.actor().initiator(), Some(&project.id));
    let about = format!("asked to remove the project {}", project.title);
    audit::note(&mut tx, app, by, AuditKind::ProjectRemoved, about).await?;
    let targets: Vec<_> = environments::by_project(&mut tx, &project.id).await?.into_iter().map(|it| it.id).collect();
    let Some(feed) = ever.first() else {
        projects::set_removed(&mut tx, &project.id, Some(now)).await?;
        store.commit(tx).await?;
        return Ok(None);
    };
    for environment in &targets {
        for waiting in work::pending(&mut tx, environment).await? {
            work::cancel_pending(&mut tx, &waiting, now).await?;
        }
    }
    let new = NewActivity {
        project: project.id.clone(),
        environment: feed.id.clone(),
        region: project.region.clone(),
        kind: ActivityKind::RemoveProject,
        initiator: proof.actor().initiator(),
        payload: Payload::RemoveProject(activity::RemoveProject { title: project.title.clone() }),
    };
    let activity = queue::enqueue_for(&mut tx, store, new, &targets).await?;
    store.commit(tx).await?;
    Ok(Some(activity.id))
}

fn is_there(project: &Project) -> Result<(), Refusal> {
    authz::is_there(project)
}
