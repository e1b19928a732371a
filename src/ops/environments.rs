//! Environments.

use std::collections::HashMap;

use super::{App, Error, activities, merges, projects, retention, schedules, snapshots};
use crate::authz::{Authorized, ViewHistory, ViewProject};
use crate::domain::activity::{Activity, ActivityKind, ActivityResult, ActivityState, Payload};
use crate::domain::drill::Outcome;
use crate::domain::environment::{Composition, Environment, EnvironmentStatus};
use crate::domain::ids::EnvironmentName;
use crate::domain::policy::retention::Eviction;
use crate::domain::policy::{Act, Refusal, Standing, Terms, Verdict};
use crate::domain::snapshot::Snapshot;
use crate::domain::time::span;
use crate::domain::view::{EnvironmentCard, EnvironmentPage, Health, Part, Tone};
use crate::domain::{EnvironmentId, Timestamp};
use crate::jobs;
use crate::store::activities::Filter;
use crate::store::{self, Db, swaps};

/// # Errors
/// When the store fails.
pub async fn list(app: &App, proof: Authorized<ViewProject>) -> Result<Vec<EnvironmentCard>, Error> {
    let mut db = app.store().read().await?;
    let visible = projects::visible(&mut db, &proof.on().project, proof.standing()).await?;
    cards(app, &mut db, proof.standing(), visible).await
}

/// Those that were removed and of which there still are snapshots, the newest removal first.
///
/// # Errors
/// When the store fails.
pub async fn removed(app: &App, proof: &Authorized<ViewProject>) -> Result<Vec<EnvironmentCard>, Error> {
    let mut db = app.store().read().await?;
    let ever = projects::ever_visible(&mut db, &proof.on().project, proof.standing()).await?;
    Ok(split(cards(app, &mut db, proof.standing(), ever).await?).1)
}

/// Those that are there, and those that were removed and of which there still are snapshots, the newest removal first.
pub(super) fn split(ever: Vec<EnvironmentCard>) -> (Vec<EnvironmentCard>, Vec<EnvironmentCard>) {
    let is_there = |card: &EnvironmentCard| card.environment.status != EnvironmentStatus::Removed;
    let (there, mut removed): (Vec<_>, Vec<_>) = ever.into_iter().partition(is_there);
    removed.retain(|card| card.snapshots > 0);
    removed.sort_by_key(|card| std::cmp::Reverse(card.environment.updated_at));
    (there, removed)
}

/// # Errors
/// When the store fails.
pub async fn card(app: &App, proof: Authorized<ViewHistory>) -> Result<EnvironmentCard, Error> {
    let mut db = app.store().read().await?;
    one(app, &mut db, proof.standing(), &proof.on().environment).await
}

/// # Errors
/// When the store fails.
pub async fn page(app: &App, proof: Authorized<ViewHistory>) -> Result<EnvironmentPage, Error> {
    let activities = activities::feed(app, &proof, activities::Filter::default()).await?;
    let snapshots = snapshots::list(app, &proof).await?;
    let (project, environment) = (&proof.on().project, &proof.on().environment);
    let mut db = app.store().read().await?;
    let siblings = projects::visible(&mut db, project, proof.standing()).await?;
    let composition = store::environments::composition(&mut db, app.store().sealer(), &environment.id).await?;
    let terms = store::projects::terms(&mut db, &project.id).await?;
    let newest = store::drills::by_environment(&mut db, &environment.id, 1).await?.pop();
    Ok(EnvironmentPage {
        card: one(app, &mut db, proof.standing(), environment).await?,
        restore: proof.may(Act::RestoreSnapshot).into(),
        dump: proof.standing().may(Act::ReadContents, environment).into(),
        proven: store::drills::newest_proof(&mut db, &environment.id).await?,
        unprovable: newest.filter(|drill| !drill.is_proof()),
        next_drill: schedules::next_drill(&mut db, environment).await?,
        remove: proof.standing().may(Act::RemoveEnvironment, environment).into(),
        drill: may_drill(proof.standing(), environment, !snapshots.is_empty()).into(),
        plan_title: terms.plan.title,
        siblings: siblings.into_iter().map(|sibling| (sibling.name, sibling.title)).collect(),
        parts: parts(&composition),
        urls: urls(app, &composition),
        project: project.clone(),
        activities,
        snapshots,
    })
}

fn may_drill(standing: &Standing, environment: &Environment, has_snapshots: bool) -> Verdict {
    standing.may(Act::RunDrill, environment)?;
    if has_snapshots { Ok(()) } else { Err(Refusal::new("There is no snapshot to try.").instead("Take one first.")) }
}

/// Services first, then mounts, as declared.
pub(super) fn parts(composition: &Composition) -> Vec<Part> {
    let services = composition
        .services
        .iter()
        .map(|service| Part { name: service.name.to_string(), kind: service.connection.kind().to_owned() });
    let mounts = composition.mounts.iter().map(|mount| Part { name: mount.name.to_string(), kind: "mount".to_owned() });
    services.chain(mounts).collect()
}

fn urls(app: &App, composition: &Composition) -> Vec<String> {
    let port = app.settings().gateway_port.filter(|port| *port != 80).map(|port| format!(":{port}"));
    let port = port.unwrap_or_default();
    composition.routes.iter().map(|route| format!("http://{}{port}/", route.host)).collect()
}

async fn one(app: &App, db: &mut Db, standing: &Standing, environment: &Environment) -> Result<EnvironmentCard, Error> {
    let mut cards = cards(app, db, standing, vec![environment.clone()]).await?;
    Ok(cards.pop().expect("a card is made for each environment"))
}

/// Cards of environments of one project, in their order: by as many queries for all of them as for one.
pub(super) async fn cards(
    app: &App,
    db: &mut Db,
    standing: &Standing,
    environments: Vec<Environment>,
) -> Result<Vec<EnvironmentCard>, Error> {
    let Some(first) = environments.first() else { return Ok(Vec::new()) };
    let terms = store::projects::terms(db, &first.project).await?;
    let there = store::environments::by_project(db, &first.project).await?;
    let ids: Vec<EnvironmentId> = environments.iter().map(|environment| environment.id.clone()).collect();
    let mut known = Known::read(app, db, &ids).await?;
    let mut counts = store::snapshots::counts(db, &ids).await?;
    let mut aside = jobs::standing_aside(db, app.store().sealer(), &ids).await?;
    let mut evictions = retention::evictions(db, &terms.plan, &environments).await?;
    let card = |environment: Environment| {
        let id = &environment.id;
        EnvironmentCard {
            snapshots: counts.remove(id).unwrap_or_default(),
            health: known.health(&environment),
            newest_snapshot: known.newest.remove(id),
            aside: aside.remove(id).unwrap_or_default(),
            create_snapshot: terms.may_create(standing, &environment).into(),
            eviction: evictions.remove(id).unwrap_or_default(),
            merge: merges::offer(standing, &environment, &there),
            environment,
        }
    };
    Ok(environments.into_iter().map(card).collect())
}

/// How environments stand, with nothing else of their cards.
pub(super) async fn healths(
    app: &App,
    db: &mut Db,
    environments: Vec<Environment>,
) -> Result<Vec<(EnvironmentName, Health)>, Error> {
    let ids: Vec<EnvironmentId> = environments.iter().map(|environment| environment.id.clone()).collect();
    let known = Known::read(app, db, &ids).await?;
    let told = |environment: Environment| (environment.name.clone(), known.health(&environment));
    Ok(environments.into_iter().map(told).collect())
}

/// What another manual snapshot of it would push out.
pub(super) async fn evictions(db: &mut Db, environment: &Environment, terms: &Terms) -> Result<Eviction, Error> {
    let mut evictions = retention::evictions(db, &terms.plan, std::slice::from_ref(environment)).await?;
    Ok(evictions.remove(&environment.id).unwrap_or_default())
}

/// What tells how several environments stand, read together.
struct Known {
    now: Timestamp,
    /// The newest snapshot that somebody wanted kept.
    newest: HashMap<EnvironmentId, Snapshot>,
    running: HashMap<EnvironmentId, Activity>,
    /// The last snapshot or restore that is over.
    over: HashMap<EnvironmentId, Activity>,
    /// The last drill that ended.
    tried: HashMap<EnvironmentId, Activity>,
    mixed: Vec<EnvironmentId>,
    overdue: schedules::Overdue,
}

impl Known {
    async fn read(app: &App, db: &mut Db, environments: &[EnvironmentId]) -> Result<Self, Error> {
        let over = vec![ActivityKind::Backup, ActivityKind::Restore];
        let more = [ActivityKind::Drill, ActivityKind::Merge, ActivityKind::Storage];
        let running = over.iter().copied().chain(more).collect();
        let running = Filter { kinds: running, states: vec![ActivityState::InProgress], ..Filter::default() };
        let over = Filter { kinds: over, states: vec![ActivityState::Complete], ..Filter::default() };
        Ok(Self {
            now: store::clock::now(db, app.store().dialect()).await?,
            newest: store::snapshots::newest_wanted_of(db, environments).await?,
            running: store::activities::newest_of(db, environments, &running).await?,
            over: store::activities::newest_of(db, environments, &over).await?,
            tried: store::drills::last_ended_of(db, environments).await?,
            mixed: swaps::mixed(db).await?,
            overdue: schedules::Overdue::read(db, environments).await?,
        })
    }

    /// The worst state that the environment is in, in a sentence: who reads what, or makes what of it, does not change it.
    fn health(&self, environment: &Environment) -> Health {
        let (id, now) = (&environment.id, self.now);
        if environment.status == EnvironmentStatus::Removed {
            let day = environment.updated_at.table();
            let sentence =
                format!("It was removed on {}. Its snapshots stay as long as the plan keeps them.", &day[..10]);
            return Health { tone: Tone::Attention, sentence };
        }
        if let Some(activity) = self.running.get(id) {
            return Health { tone: Tone::Busy, sentence: running_sentence(activity).to_owned() };
        }
        if self.mixed.contains(id) {
            let sentence =
                "A restore was interrupted. Visitors are asked to come back while it is taken back.".to_owned();
            return Health { tone: Tone::Bad, sentence };
        }
        let failed = |activity: &&Activity| activity.result == Some(ActivityResult::Failure);
        let tried = self.tried.get(id);
        if let Some(failed) = tried.filter(failed) {
            return drill_failed(failed, now);
        }
        let newest = self.newest.get(id);
        if let Some(sentence) = self.overdue.of(environment, tried, newest.is_some(), now) {
            return Health { tone: Tone::Attention, sentence };
        }
        if let Some(failed) = self.over.get(id).filter(failed) {
            let what = match failed.kind {
                ActivityKind::Restore => "The last restore failed",
                _ => "The last snapshot failed",
            };
            let ago = span(now.since(failed.completed_at.unwrap_or(failed.updated_at)));
            return Health { tone: Tone::Attention, sentence: format!("{what}, {ago} ago. Its entry says why.") };
        }
        match newest {
            None => Health { tone: Tone::Attention, sentence: "There is no snapshot yet.".to_owned() },
            Some(newest) => {
                let ago = span(now.since(newest.taken_at));
                let label = newest.consistency.label();
                Health {
                    tone: Tone::Good,
                    sentence: format!("Everything is backed up. The newest snapshot is {ago} old and {label}."),
                }
            }
        }
    }
}

fn drill_failed(failed: &Activity, now: Timestamp) -> Health {
    let ago = span(now.since(failed.updated_at));
    match &failed.payload {
        Payload::RunDrill(run) if run.outcome == Some(Outcome::NotBegun) => {
            let why = failed.failure.as_deref().unwrap_or_default();
            let sentence = format!("A restore was to be tried {ago} ago, and was not. {why}");
            Health { tone: Tone::Attention, sentence }
        }
        _ => {
            let sentence =
                format!("A snapshot could not be restored when that was tried, {ago} ago. The entry says why.");
            Health { tone: Tone::Bad, sentence }
        }
    }
}

fn running_sentence(activity: &Activity) -> &'static str {
    match activity.kind {
        ActivityKind::Backup => "A snapshot is being taken.",
        ActivityKind::Restore => "A restore is running.",
        ActivityKind::BackupDelete => "A snapshot is being deleted.",
        ActivityKind::Branch => "A new environment is being made from it.",
        ActivityKind::Dump => "A dump is being handed out.",
        ActivityKind::Ticket(_) => "A ticket is being worked on.",
        ActivityKind::Drill => "A restore is being tried beside the live data.",
        ActivityKind::Schedule => "A schedule is being changed.",
        ActivityKind::Storage => "Declared storage is being changed.",
        ActivityKind::Merge => "Another environment is being merged into it.",
        ActivityKind::BackupKeep | ActivityKind::Retention | ActivityKind::Plan => "What is kept is being changed.",
        ActivityKind::Remove => "It is being removed.",
        ActivityKind::Move => "The project is being moved to another region.",
        ActivityKind::RemoveProject => "The project is being removed.",
    }
}
