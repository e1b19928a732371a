//! Environments.

use super::{App, Error, activities, merges, projects, retention, schedules, snapshots};
use crate::authz::{Authorized, ViewHistory, ViewProject};
use crate::domain::activity::{Activity, ActivityKind, ActivityResult, ActivityState, Payload};
use crate::domain::drill::Outcome;
use crate::domain::environment::{Composition, Environment, EnvironmentStatus};
use crate::domain::policy::plans::Keep;
use crate::domain::policy::retention::Eviction;
use crate::domain::policy::{Act, Refusal, Standing, Terms, Verdict};
use crate::domain::snapshot::Snapshot;
use crate::domain::time::span;
use crate::domain::view::{EnvironmentCard, EnvironmentPage, Health, Part, Tone};
use crate::jobs;
use crate::store::activities::Filter;
use crate::store::{self, Db, swaps};

/// # Errors
/// When the store fails.
pub async fn list(app: &App, proof: Authorized<ViewProject>) -> Result<Vec<EnvironmentCard>, Error> {
    let mut db = app.store().read().await?;
    let terms = store::projects::terms(&mut db, &proof.on().project.id).await?;
    let mut cards = Vec::new();
    for environment in projects::visible(&mut db, &proof.on().project, proof.standing()).await? {
        cards.push(make_card(app, &mut db, environment, proof.standing(), &terms).await?);
    }
    Ok(cards)
}

/// Those that were removed and of which there still are snapshots, the newest removal first.
///
/// # Errors
/// When the store fails.
pub async fn removed(app: &App, proof: &Authorized<ViewProject>) -> Result<Vec<EnvironmentCard>, Error> {
    let mut db = app.store().read().await?;
    let terms = store::projects::terms(&mut db, &proof.on().project.id).await?;
    let mut removed = projects::ever_visible(&mut db, &proof.on().project, proof.standing()).await?;
    removed.retain(|environment| environment.status == EnvironmentStatus::Removed);
    removed.sort_by_key(|environment| std::cmp::Reverse(environment.updated_at));
    let mut cards = Vec::new();
    for environment in removed {
        if store::snapshots::count(&mut db, &environment.id).await? > 0 {
            cards.push(make_card(app, &mut db, environment, proof.standing(), &terms).await?);
        }
    }
    Ok(cards)
}

/// # Errors
/// When the store fails.
pub async fn card(app: &App, proof: Authorized<ViewHistory>) -> Result<EnvironmentCard, Error> {
    let mut db = app.store().read().await?;
    let terms = store::projects::terms(&mut db, &proof.on().project.id).await?;
    make_card(app, &mut db, proof.on().environment.clone(), proof.standing(), &terms).await
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
        card: make_card(app, &mut db, environment.clone(), proof.standing(), &terms).await?,
        restore: proof.standing().may(Act::RestoreSnapshot, environment).into(),
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

async fn make_card(
    app: &App,
    db: &mut Db,
    environment: Environment,
    standing: &Standing,
    terms: &Terms,
) -> Result<EnvironmentCard, Error> {
    let newest = store::snapshots::newest_wanted(db, &environment.id).await?;
    Ok(EnvironmentCard {
        snapshots: store::snapshots::count(db, &environment.id).await?,
        health: health(app, db, &environment, newest.as_ref()).await?,
        newest_snapshot: newest,
        aside: jobs::standing_aside(db, app.store().sealer(), &environment.id).await?,
        create_snapshot: terms.may_create(standing, &environment).into(),
        eviction: evictions(db, &environment, terms).await?,
        merge: merges::offer(db, standing, &environment).await?,
        environment,
    })
}

/// Nothing is counted where the plan keeps no number.
pub(super) async fn evictions(db: &mut Db, environment: &Environment, terms: &Terms) -> Result<Eviction, Error> {
    match &terms.plan.rules(environment.kind).keep {
        keep @ Keep::Newest(_) => retention::evictions(db, environment, keep).await,
        _ => Ok(Eviction::default()),
    }
}

/// The worst state that the environment is in, in a sentence: who reads what, or makes what of it, does not change it.
/// `newest` is the newest snapshot that somebody wanted kept.
pub(super) async fn health(
    app: &App,
    db: &mut Db,
    environment: &Environment,
    newest: Option<&Snapshot>,
) -> Result<Health, Error> {
    if environment.status == EnvironmentStatus::Removed {
        let day = environment.updated_at.table();
        let sentence = format!(
            "It was removed on {}. Its snapshots can be restored into another environment as long as the plan keeps them.",
            &day[..10]
        );
        return Ok(Health { tone: Tone::Attention, sentence });
    }
    let kinds = vec![ActivityKind::Backup, ActivityKind::Restore];
    let running =
        kinds.iter().copied().chain([ActivityKind::Drill, ActivityKind::Merge, ActivityKind::Storage]).collect();
    let running = Filter { kinds: running, states: vec![ActivityState::InProgress], ..Filter::default() };
    let running = store::activities::newest(db, &environment.id, &running).await?;
    if running.is_none() && swaps::mixed(db).await?.contains(&environment.id) {
        let sentence = "A restore was interrupted. Visitors are asked to come back while it is taken back.".to_owned();
        return Ok(Health { tone: Tone::Bad, sentence });
    }
    if let Some(activity) = running {
        return Ok(Health { tone: Tone::Busy, sentence: running_sentence(&activity).to_owned() });
    }
    let tried = store::drills::last_ended(db, &environment.id).await?;
    if let Some(failed) = tried.filter(|activity| activity.result == Some(ActivityResult::Failure)) {
        let ago = span(store::clock::now(db, app.store().dialect()).await?.since(failed.updated_at));
        return Ok(match &failed.payload {
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
        });
    }
    let over = Filter { kinds, states: vec![ActivityState::Complete], ..Filter::default() };
    let last = store::activities::newest(db, &environment.id, &over).await?;
    let now = store::clock::now(db, app.store().dialect()).await?;
    if let Some(sentence) = schedules::overdue(db, environment, now).await? {
        return Ok(Health { tone: Tone::Attention, sentence });
    }
    if let Some(failed) = last.filter(|activity| activity.result == Some(ActivityResult::Failure)) {
        let what = match failed.kind {
            ActivityKind::Restore => "The last restore failed",
            _ => "The last snapshot failed",
        };
        let ago = span(now.since(failed.completed_at.unwrap_or(failed.updated_at)));
        return Ok(Health { tone: Tone::Attention, sentence: format!("{what}, {ago} ago. Its entry says why.") });
    }
    Ok(match newest {
        None => Health { tone: Tone::Attention, sentence: "There is no snapshot yet.".to_owned() },
        Some(newest) => {
            let ago = span(now.since(newest.taken_at));
            let label = newest.consistency.label();
            Health {
                tone: Tone::Good,
                sentence: format!("Everything is backed up. The newest snapshot is {ago} old and {label}."),
            }
        }
    })
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
