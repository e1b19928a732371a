//! Restores.

use super::activities::Viewer;
use super::environments::parts;
use super::{App, Error, projects};
use crate::authz::{Actor, Authorized, RestoreSnapshot};
use crate::domain::activity::{self, ActivityKind, ActivityResult, ActivityState, Payload};
use crate::domain::bytes::counted;
use crate::domain::environment::{Composition, Environment, EnvironmentStatus};
use crate::domain::ids::EnvironmentName;
use crate::domain::manifest::Manifest;
use crate::domain::policy::restore::parts_of;
use crate::domain::policy::{Act, Refusal, RestorePlan, Verdict};
use crate::domain::problem::sentence;
use crate::domain::snapshot::Snapshot;
use crate::domain::time::span;
use crate::domain::view::{ActivityEntry, Change, Offer, Part, Preflight};
use crate::domain::{Bytes, EnvironmentId, PartName, ProjectId, Scope, SnapshotName, Timestamp};
use crate::jobs::Parts;
use crate::queue::{self, NewActivity};
use crate::store::{self, Db, activities, environments, snapshots};

#[derive(Debug, Clone)]
pub struct RestoreRequest {
    pub snapshot: SnapshotName,
    /// Which parts of it (R26).
    pub scope: Scope,
    /// Of the preflight that was confirmed (R25): in another state of things the restore is refused.
    pub plan_hash: Option<String>,
}

/// From where into where; the proofs say that both may be (R2).
#[derive(Debug)]
pub struct Way {
    from: Authorized<RestoreSnapshot>,
    /// `None`: into the snapshot's own environment.
    into: Option<Authorized<RestoreSnapshot>>,
}

/// Where a restore is wanted, as it was typed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    /// Another environment; none, or the snapshot's own: in place.
    pub target: Option<&'a str>,
    /// Parent of a target that is to be created (S4).
    pub branch_from: Option<&'a str>,
}

impl Way {
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Forbidden`] for either environment, [`Error::Invalid`] for what is no name, and
    /// [`Error::Conflict`] for a target that would have to be created.
    pub async fn authorize(
        app: &App,
        actor: &Actor,
        project: &ProjectId,
        from: &EnvironmentName,
        wish: Wish<'_>,
    ) -> Result<Self, Error> {
        let source = app.authorize_environment::<RestoreSnapshot>(actor, project, from).await?;
        let target = match (wish.target, wish.branch_from) {
            (None, None) => None,
            (None, Some(_)) => return Err(not_created(from)),
            (Some(target), _) if target == from.as_str() => None,
            (Some(target), parent) => {
                let name = EnvironmentName::parse(target)?;
                let target = app.authorize_environment::<RestoreSnapshot>(actor, project, &name).await;
                match (target, parent) {
                    (Ok(target), None) => Some(target),
                    (Ok(_), Some(_)) => {
                        let refusal = Refusal::new(format!("The environment {name} exists already."));
                        let instead = "Leave out the branch to start from (--branch-from) to overwrite it.";
                        return Err(Error::Conflict(refusal.instead(instead)));
                    }
                    (Err(Error::NotFound(_)), Some(_)) => return Err(not_created(from)),
                    (Err(error), _) => return Err(error),
                }
            }
        };
        Ok(Self { from: source, into: target })
    }

    fn source(&self) -> &Environment {
        &self.from.on().environment
    }

    fn target(&self) -> &Authorized<RestoreSnapshot> {
        self.into.as_ref().unwrap_or(&self.from)
    }
}

impl From<Authorized<RestoreSnapshot>> for Way {
    fn from(from: Authorized<RestoreSnapshot>) -> Self {
        Self { from, into: None }
    }
}

/// What a restore would do, tried out as far as that is possible without doing it (R25).
///
/// # Errors
/// [`Error::NotFound`] when the source has no such snapshot.
pub async fn preflight(app: &App, way: &Way, snapshot: &SnapshotName, scope: &Scope) -> Result<Preflight, Error> {
    let on = way.target().on();
    let mut db = app.store().read().await?;
    let (snapshot, manifest, composition) = load(app, &mut db, way, snapshot).await?;
    let now = store::clock::now(&mut db, app.store().dialect()).await?;
    let targets = targets(&mut db, way).await?;
    let mut expectations = expectations(&mut db, &on.environment.id, &snapshot, now).await?;
    drop(db);
    if way.into.is_some() {
        let (source, target) = (&way.source().name, &on.environment.name);
        expectations[0] = format!(
            "Everything in these parts of {target} is replaced by what {source} held {} ago.",
            span(now.since(snapshot.taken_at))
        );
        expectations.push(format!(
            "Addresses, passwords and settings that {source} keeps in its data come along: check what {target} sends \
             and to whom before you use it."
        ));
    }

    let mut obstacles = Vec::new();
    obstacles.extend(is_active(&on.environment).err().map(|refusal| refusal.to_string()));
    let planned = RestorePlan::new(&on.environment.id, &manifest, &composition, scope);
    let (untouched, hash) = match &planned {
        Ok(plan) => (plan.untouched.clone(), plan.hash()),
        Err(refusal) => {
            obstacles.push(refusal.to_string());
            (Vec::new(), String::new())
        }
    };
    expectations.extend(notices(&composition, scope, &manifest).await);
    let present = present(&composition, scope).await;
    let mut changes = Vec::new();
    for (name, part, replaces) in present {
        let Some(becomes) = recorded(&manifest, &name) else { continue };
        match replaces {
            Ok(replaces) => changes.push(Change { part, becomes, replaces }),
            Err(obstacle) => obstacles.push(sentence(&obstacle)),
        }
    }
    let offer = match obstacles.first() {
        None => Offer::from(Ok(())),
        Some(first) => Offer::from(Err(Refusal::new(first.clone()))),
    };
    let choices = parts_of(&manifest).into_iter().map(|part| (part.clone(), scope.has(&part))).collect();
    Ok(Preflight {
        project: on.project.clone(),
        environment: on.environment.clone(),
        source: way.source().name.clone(),
        snapshot,
        choices,
        targets,
        changes,
        untouched,
        expectations,
        obstacles,
        hash,
        offer,
    })
}

/// The environments that both the actor may restore into: the snapshot's own first.
async fn targets(db: &mut Db, way: &Way) -> Result<Vec<EnvironmentName>, Error> {
    let project = &way.from.on().project;
    let own = &way.source().name;
    let others = projects::visible(db, project, way.from.standing()).await?;
    let others = others.into_iter().filter(|other| {
        other.name != *own && way.from.standing().may(Act::RestoreSnapshot, other).is_ok() && is_active(other).is_ok()
    });
    Ok(std::iter::once(own.clone()).chain(others.map(|other| other.name)).collect())
}

/// Queues a restore.
///
/// # Errors
/// [`Error::NotFound`] when the source has no such snapshot, [`Error::Conflict`] when what was confirmed is not what
/// would happen now.
pub async fn create(app: &App, way: Way, request: RestoreRequest) -> Result<ActivityEntry, Error> {
    let target = way.target();
    let on = target.on();
    let mut tx = app.store().write().await?;
    let (_, manifest, composition) = load(app, &mut tx, &way, &request.snapshot).await?;
    is_active(&on.environment).map_err(Error::Conflict)?;
    let plan =
        RestorePlan::new(&on.environment.id, &manifest, &composition, &request.scope).map_err(Error::Conflict)?;
    if request.plan_hash.as_ref().is_some_and(|confirmed| *confirmed != plan.hash()) {
        return Err(Error::Conflict(
            Refusal::new("The environment has changed since you looked.")
                .instead("Look at what would be replaced now, and confirm again."),
        ));
    }
    let source = way.source();
    let all = parts_of(&manifest).iter().all(|part| request.scope.has(part));
    let restore = activity::RestoreSnapshot {
        snapshot: request.snapshot,
        safety: SnapshotName::parse(store::random_id())?,
        plan_hash: Some(plan.hash()),
        from: way.into.as_ref().map(|_| activity::Source {
            id: source.id.clone(),
            name: source.name.clone(),
            kind: source.kind,
        }),
        scope: if all { Scope::default() } else { request.scope },
    };
    let new = NewActivity {
        project: on.project.id.clone(),
        environment: on.environment.id.clone(),
        region: on.project.region.clone(),
        kind: ActivityKind::Restore,
        initiator: target.actor().initiator(),
        payload: Payload::RestoreSnapshot(restore),
    };
    let activity = queue::enqueue(&mut tx, app.store(), new).await?;
    app.store().commit(tx).await?;
    Viewer::of(target).one(app, &activity.id).await
}

/// R21 knows targets that are made for it; this version makes none.
fn not_created(source: &EnvironmentName) -> Error {
    let refusal = Refusal::new("Restoring into a new environment is not available in this version yet.");
    Error::Conflict(refusal.instead(format!(
        "Name an environment that exists (--target), or leave out the target and the branch to start from \
         (--branch-from) to restore into {source}, where the snapshot was taken; what is there now is kept as a safety \
         snapshot."
    )))
}

fn is_active(environment: &Environment) -> Verdict {
    match environment.status {
        EnvironmentStatus::Active => Ok(()),
        EnvironmentStatus::Inactive => {
            Err(Refusal::new("The environment is not active.").instead("Activate it first."))
        }
    }
}

/// Only a complete snapshot, only one that was taken of the source (R21); and what the target consists of.
async fn load(
    app: &App,
    db: &mut Db,
    way: &Way,
    name: &SnapshotName,
) -> Result<(Snapshot, Manifest, Composition), Error> {
    let snapshot = snapshots::by_name(db, name).await?;
    let snapshot = snapshot.filter(|snapshot| snapshot.environment == way.source().id);
    let snapshot = snapshot.ok_or(Error::NotFound("snapshot"))?;
    let manifest = snapshots::manifest(db, name).await?.ok_or(Error::NotFound("snapshot"))?;
    let composition = environments::composition(db, app.store().sealer(), &way.target().on().environment.id).await?;
    Ok((snapshot, manifest, composition))
}

/// What the snapshot recorded of a part.
fn recorded(manifest: &Manifest, part: &PartName) -> Option<String> {
    match part {
        PartName::Mount(name) => {
            let entry = manifest.mounts.iter().find(|entry| entry.name == *name)?;
            Some(files(entry.files, Bytes(entry.bytes)))
        }
        PartName::Service(name) => {
            let entry = manifest.services.iter().find(|entry| entry.name == *name)?;
            Some(entry.facts.in_words(&entry.kind))
        }
    }
}

type Present = (PartName, Part, Result<String, String>);

/// What is there now of the chosen parts, or why it can't be replaced.
async fn present(composition: &Composition, scope: &Scope) -> Vec<Present> {
    let chosen = composition.only(scope);
    let looked = tokio::task::spawn_blocking(move || {
        let services = chosen.services.iter().map(|service| PartName::Service(service.name.clone()));
        let names = services.chain(chosen.mounts.iter().map(|mount| PartName::Mount(mount.name.clone())));
        let all = names.zip(parts(&chosen));
        let connected = match Parts::connect(&chosen) {
            Ok(connected) => connected,
            Err(error) => return all.map(|(name, part)| (name, part, Err(error.for_people()))).collect(),
        };
        let services = connected.services.iter().map(|service| {
            let facts = service.driver.contents(LOOK);
            facts
                .map(|facts| facts.in_words(service.driver.kind()))
                .map_err(|error| format!("service {}: {error}", service.name()))
        });
        let mounts = connected.mounts.iter().map(|mount| {
            let contents = mount.driver.index().map(|index| index.contents());
            contents
                .map(|contents| files(contents.files, contents.bytes))
                .map_err(|error| format!("mount {}: {error}", mount.name()))
        });
        all.zip(services.chain(mounts)).map(|((name, part), found)| (name, part, found)).collect()
    });
    looked.await.unwrap_or_default()
}

/// What the parts say of the swap itself, as things are now.
async fn notices(composition: &Composition, scope: &Scope, manifest: &Manifest) -> Vec<String> {
    let (chosen, mounts) = (composition.only(scope), manifest.mounts.clone());
    let asked = tokio::task::spawn_blocking(move || {
        let Ok(connected) = Parts::connect(&chosen) else { return Vec::new() };
        let services = connected.services.iter().filter_map(|service| service.driver.notice());
        let found = connected.mounts.iter().flat_map(|mount| {
            let entry = mounts.iter().find(|entry| entry.name == *mount.name());
            entry.map(|entry| mount.driver.notices(&entry.databases)).unwrap_or_default()
        });
        services.chain(found).collect()
    });
    asked.await.unwrap_or_default()
}

const LOOK: std::time::Duration = std::time::Duration::from_secs(2);

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
