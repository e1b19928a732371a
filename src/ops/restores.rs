//! Restores.

mod asked;
mod branch;

use std::collections::BTreeMap;

use self::branch::Branch;
use super::activities::Viewer;
use super::environments::parts;
use super::snapshots::taken_of;
use super::{App, Error, projects};
use crate::authz::{Actor, Authorized, RestoreSnapshot, ViewHistory};
use crate::domain::activity::{self, ActivityKind, ActivityResult, ActivityState, Payload};
use crate::domain::bytes::counted;
use crate::domain::environment::{Composition, Environment, EnvironmentStatus};
use crate::domain::ids::{ActivityId, EnvironmentName, InvalidId, MountName};
use crate::domain::manifest::Manifest;
use crate::domain::policy::maintenance::Maintenance;
use crate::domain::policy::provision::nearest;
use crate::domain::policy::restore::parts_of;
use crate::domain::policy::{Act, Refusal, Region, RestorePlan, Verdict};
use crate::domain::problem::sentence;
use crate::domain::snapshot::Snapshot;
use crate::domain::ticket::Ticket;
use crate::domain::time::span;
use crate::domain::view::{ActivityEntry, Change, Offer, Part, Preflight, Versions};
use crate::domain::{Bytes, EnvironmentId, MountPath, PartName, ProjectId, Scope, SnapshotName, Timestamp};
use crate::drivers::Mount;
use crate::engine::{self, Location, Repository};
use crate::jobs::{self, Held, Parts};
use crate::queue::{self, NewActivity};
use crate::store::{self, Db, activities, environments, regions, snapshots, tickets};

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
    into: Target,
}

#[derive(Debug)]
enum Target {
    /// The snapshot's own environment.
    Own,
    Other(Box<Authorized<RestoreSnapshot>>),
    New(Box<Branch>),
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
        let into = match (wish.target, wish.branch_from) {
            (None, None) => Target::Own,
            (Some(target), None) if target == from.as_str() => Target::Own,
            (Some(target), None) => {
                let name = EnvironmentName::parse(target)?;
                let target = app.authorize_environment::<RestoreSnapshot>(actor, project, &name).await;
                let hint = format!("To have {name} made for it, say what it is made after: --branch-from {from}.");
                Target::Other(Box::new(target.map_err(|error| absent(error, hint))?))
            }
            (target, Some(parent)) => {
                let parent = EnvironmentName::parse(parent)?;
                let name = target.map(|text| EnvironmentName::parse(text).map_err(|error| unusable(&error, text)));
                let name = name.transpose()?;
                let seen = app.authorize_environment::<ViewHistory>(actor, project, &parent).await;
                let hint = format!(
                    "{parent} was to give the new environment its services and mounts: name one that is there \
                     (--branch-from)."
                );
                Target::New(Box::new(Branch::plan(app, &seen.map_err(|error| absent(error, hint))?, name).await?))
            }
        };
        Ok(Self { from: source, into })
    }

    pub(super) fn from(&self) -> &Authorized<RestoreSnapshot> {
        &self.from
    }

    pub(super) fn source(&self) -> &Environment {
        &self.from.on().environment
    }

    /// What is overwritten or made.
    pub(super) fn target(&self) -> &Environment {
        match &self.into {
            Target::Own => self.source(),
            Target::Other(target) => &target.on().environment,
            Target::New(new) => &new.environment,
        }
    }

    pub(super) fn is_elsewhere(&self) -> bool {
        !matches!(self.into, Target::Own)
    }

    /// What a new environment is made after.
    pub(super) fn branch_from(&self) -> Option<&EnvironmentName> {
        self.branch().map(|new| &new.parent)
    }

    /// Whether the one whose way it is may file a ticket for it.
    ///
    /// # Errors
    /// The refusal to show.
    pub(super) fn may_file_ticket(&self) -> Verdict {
        self.from.standing().may(Act::FileTicket, self.source())?;
        self.from.standing().may(Act::FileTicket, self.target())
    }

    /// A command line that does the same from another environment, or by another command.
    fn command(&self, verb: &str, from: &EnvironmentName, snapshot: &SnapshotName, scope: &Scope) -> String {
        let mut command = format!("stillpoint {verb} -p {} -e {from}", self.from.on().project.id);
        if self.target().name != *from {
            command += &format!(" --target {}", self.target().name);
        }
        if let Some(parent) = self.branch_from() {
            command += &format!(" --branch-from {parent}");
        }
        if !scope.is_everything() {
            command += &format!(" --only {}", quoted(&scope.to_string()));
        }
        format!("{command} {snapshot}")
    }

    /// What the region says to it (R27).
    fn region_allows(&self, region: &Region, snapshot: &SnapshotName, scope: &Scope) -> Verdict {
        if !self.is_elsewhere() {
            return Ok(());
        }
        let command = self.command("ticket:create --reason '…'", &self.source().name, snapshot, scope);
        region.may_restore_elsewhere(&command)
    }

    pub(super) fn plan(
        &self,
        manifest: &Manifest,
        composition: &Composition,
        scope: &Scope,
    ) -> Result<RestorePlan, Refusal> {
        let plan = RestorePlan::new(&self.target().id, manifest, composition, scope)?;
        if self.branch().is_some() { plan.into_new() } else { Ok(plan) }
    }

    fn branch(&self) -> Option<&Branch> {
        match &self.into {
            Target::New(new) => Some(new),
            _ => None,
        }
    }
}

impl From<Authorized<RestoreSnapshot>> for Way {
    fn from(from: Authorized<RestoreSnapshot>) -> Self {
        Self { from, into: Target::Own }
    }
}

/// What a restore would do, tried out as far as that is possible without doing it (R25).
///
/// # Errors
/// [`Error::NotFound`] when the source has no such snapshot.
pub async fn preflight(app: &App, way: &Way, snapshot: &SnapshotName, scope: &Scope) -> Result<Preflight, Error> {
    let (project, target) = (&way.from.on().project, way.target());
    let mut db = app.store().read().await?;
    let (snapshot, manifest, composition) = load(app, &mut db, way, snapshot).await?;
    let now = store::clock::now(&mut db, app.store().dialect()).await?;
    let targets = targets(&mut db, way).await?;
    let region = regions::by_id(&mut db, &project.region).await?;
    let allowed = way.region_allows(&region, &snapshot.name, scope);
    let branch = branch::offer(&mut db, &way.from).await?;
    let ago = span(now.since(snapshot.taken_at));
    let mut expectations = match way.branch() {
        Some(new) => new.expectations(&way.source().name, &ago),
        None => expectations(&mut db, &target.id, &snapshot, now).await?,
    };
    drop(db);
    if way.is_elsewhere() {
        let (source, target) = (&way.source().name, &target.name);
        if way.branch().is_none() {
            expectations[0] =
                format!("Everything in these parts of {target} is replaced by what {source} held {ago} ago.");
        }
        expectations.push(match composition.commands.after_restore {
            Some(_) => format!(
                "Addresses, passwords and settings that {source} keeps in its data come along; a command of {target} makes \
                 them its own before visitors are let in, who are asked to come back until then."
            ),
            None => format!(
                "Addresses, passwords and settings that {source} keeps in its data come along: check what {target} sends \
                 and to whom before you use it."
            ),
        });
    }

    let mut obstacles = Vec::new();
    obstacles.extend(is_active(target).err().map(|refusal| refusal.to_string()));
    if let Some(new) = way.branch() {
        obstacles.extend(new.obstacles(app).await?);
    }
    let asked = match way.branch() {
        Some(_) => asked::Asked::default(),
        None => asked::ask(&composition, scope, &manifest).await,
    };
    let maintenance = asked.maintenance(&mut *app.store().read().await?, &target.id, &snapshot, &manifest).await?;
    if maintenance.is_some() {
        expectations.iter_mut().filter(|sentence| *sentence == SERVING).for_each(|sentence| {
            *sentence =
                "Your site goes on serving while everything is fetched and checked; then it is maintenance until all \
                         is new, or all is as it was."
                    .to_owned();
        });
    }
    let mut warnings: Vec<String> = maintenance.iter().map(Maintenance::announcement).collect();
    warnings.extend(asked.versions.iter().filter_map(Versions::warning));
    let planned = way
        .plan(&manifest, &composition, scope)
        .map(|plan| RestorePlan { in_place: asked.in_place.iter().map(|(name, _)| name.clone()).collect(), ..plan });
    let (untouched, hash) = match &planned {
        Ok(plan) => (plan.untouched.clone(), plan.hash()),
        Err(refusal) => {
            obstacles.push(refusal.to_string());
            (Vec::new(), String::new())
        }
    };
    let held = match &planned {
        Ok(plan) => held_paths(app, &project.id, (&snapshot, &manifest), plan).await?,
        Err(_) => Ok(Vec::new()),
    };
    let held = held.unwrap_or_else(|refusal| {
        obstacles.push(refusal.to_string());
        Vec::new()
    });
    let paths = planned.map(|plan| paths_of(&plan)).unwrap_or_default();
    for mount in paths.keys() {
        expectations.push(format!("Everything else in the mount {mount} stays as it is."));
    }
    let present = match way.branch() {
        Some(_) => parts_made(&composition, scope),
        None => {
            expectations.extend(asked.notices);
            present(&composition, scope, paths).await
        }
    };
    let mut changes = Vec::new();
    for (name, part, replaces) in present {
        let Some(becomes) = recorded(&manifest, &held, &name) else { continue };
        match replaces {
            Ok(replaces) => changes.push(Change { part, becomes, replaces }),
            Err(obstacle) => obstacles.push(sentence(&obstacle)),
        }
    }
    let unhindered = || obstacles.first().map_or(Ok(()), |first| Err(Refusal::new(first.clone())));
    let offer = Offer::from(unhindered().and(allowed));
    let is_by_ticket = way.is_elsewhere() && region.may_file_ticket().is_ok();
    let ticket = is_by_ticket.then(|| Offer::from(way.may_file_ticket().and(unhindered())));
    let mut choices = parts_of(&manifest);
    choices.extend(scope.named().filter(|part| matches!(part, PartName::Path(..))).cloned());
    let choices = choices.into_iter().map(|part| (part.clone(), scope.has(&part))).collect();
    Ok(Preflight {
        project: project.clone(),
        environment: target.clone(),
        source: way.source().name.clone(),
        branch_from: way.branch().map(|new| new.parent.clone()),
        snapshot,
        choices,
        targets,
        branch,
        changes,
        untouched,
        expectations,
        warnings,
        versions: asked.versions,
        obstacles,
        hash,
        offer,
        ticket,
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
    let activity = enqueue(app, &way, request, None).await?;
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

/// Tells what could be done about an environment that is not there.
fn absent(error: Error, hint: String) -> Error {
    match error {
        Error::NotFound(what) => Error::Absent { what, hint },
        other => other,
    }
}

/// A name that no environment can have, with one that it could.
fn unusable(error: &InvalidId, text: &str) -> Error {
    let hint = nearest(text).map(|name| format!("Try {name}."));
    Error::Invalid { message: sentence(&error.to_string()), hint }
}

/// For a shell.
fn quoted(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:,".contains(letter);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
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

/// What the snapshot recorded of a part.
fn recorded(manifest: &Manifest, held: &[Held], part: &PartName) -> Option<String> {
    match part {
        PartName::Path(mount, path) => {
            let held = held.iter().find(|held| held.mount == *mount && held.path == *path);
            Some(match held.map(|held| held.contents) {
                Some(Some(contents)) => files(contents.files, Bytes(contents.bytes)),
                Some(None) => "nothing: it did not exist".to_owned(),
                None => "what the snapshot holds there".to_owned(),
            })
        }
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

/// The chosen parts of an environment that does not exist yet.
fn parts_made(composition: &Composition, scope: &Scope) -> Vec<Present> {
    let chosen = composition.only(scope);
    let all = names(&chosen).zip(parts(&chosen));
    all.map(|(name, part)| (name, part, Ok("nothing: it is made".to_owned()))).collect()
}

fn names(composition: &Composition) -> impl Iterator<Item = PartName> {
    let services = composition.services.iter().map(|service| PartName::Service(service.name.clone()));
    services.chain(composition.mounts.iter().map(|mount| PartName::Mount(mount.name.clone())))
}

/// What is there now of the chosen parts, or why it can't be replaced.
async fn present(composition: &Composition, scope: &Scope, paths: BTreeMap<MountName, Vec<MountPath>>) -> Vec<Present> {
    let chosen = composition.only(scope);
    let looked = tokio::task::spawn_blocking(move || {
        let all = names(&chosen).zip(parts(&chosen));
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
            if paths.contains_key(mount.name()) {
                return Ok(String::new());
            }
            let contents = mount.driver.index().map(|index| index.contents());
            contents
                .map(|contents| files(contents.files, contents.bytes))
                .map_err(|error| format!("mount {}: {error}", mount.name()))
        });
        let whole = all.zip(services.chain(mounts)).map(|((name, part), found)| (name, part, found));
        let whole = whole.filter(|(name, ..)| !matches!(name, PartName::Mount(name) if paths.contains_key(name)));
        let single = connected.mounts.iter().flat_map(|mount| {
            let wanted = paths.get(mount.name()).map(Vec::as_slice).unwrap_or_default();
            present_at(mount.name(), &mount.driver, wanted)
        });
        whole.chain(single).collect()
    });
    looked.await.unwrap_or_default()
}

/// What is there now at single paths.
fn present_at(mount: &MountName, driver: &Mount, paths: &[MountPath]) -> Vec<Present> {
    if paths.is_empty() {
        return Vec::new();
    }
    let index = driver.index().map_err(|error| format!("mount {mount}: {error}"));
    let at = |path: &MountPath| {
        let found = index.as_ref().map_err(Clone::clone)?.contents_at(path);
        Ok(found.map_or_else(|| "nothing".to_owned(), |contents| files(contents.files, contents.bytes)))
    };
    let part = |path: &MountPath| Part { name: format!("{mount}/{path}"), kind: "mount".to_owned() };
    paths.iter().map(|path| (PartName::Path(mount.clone(), path.clone()), part(path), at(path))).collect()
}

const SERVING: &str = "Your site goes on serving until the swap; then requests wait for a moment, and none is lost.";

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
    sentences.push(SERVING.to_owned());
    sentences.push("What is replaced is kept for 7 days as a safety snapshot, so that you can undo this.".to_owned());
    Ok(sentences)
}
