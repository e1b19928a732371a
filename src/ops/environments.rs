//! Environments.

use super::{App, Error, activities, projects, snapshots};
use crate::authz::{Authorized, ViewHistory, ViewProject};
use crate::domain::activity::{Activity, ActivityKind, ActivityResult, ActivityState};
use crate::domain::environment::{Composition, Environment, Project, store_is_live};
use crate::domain::policy::acts::{Access, Act, Subject};
use crate::domain::policy::{Refusal, Standing, Verdict};
use crate::domain::time::span;
use crate::domain::view::{EnvironmentCard, EnvironmentPage, Health, Offer, Part, Tone};
use crate::store::activities::Filter;
use crate::store::{self, Db, swaps};

/// # Errors
/// When the store fails.
pub async fn list(app: &App, proof: Authorized<ViewProject>) -> Result<Vec<EnvironmentCard>, Error> {
    let mut db = app.store().read().await?;
    let mut cards = Vec::new();
    for environment in projects::visible(&mut db, &proof.on().project, proof.standing()).await? {
        cards.push(make_card(app, &mut db, environment).await?);
    }
    Ok(cards)
}

/// # Errors
/// When the store fails.
pub async fn card(app: &App, proof: Authorized<ViewHistory>) -> Result<EnvironmentCard, Error> {
    make_card(app, &mut *app.store().read().await?, proof.on().environment.clone()).await
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
    Ok(EnvironmentPage {
        plan_title: store::projects::plan(&mut db, &project.id).await?.title,
        siblings: siblings.into_iter().map(|sibling| (sibling.name, sibling.title)).collect(),
        parts: parts(&composition),
        urls: urls(app, &composition),
        create_snapshot: may_create(&mut db, proof.standing(), project, environment).await?.into(),
        restore: role_allows(proof.standing(), Act::RestoreSnapshot, project, environment).into(),
        card: make_card(app, &mut db, environment.clone()).await?,
        project: project.clone(),
        activities,
        snapshots,
    })
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

/// Whether the role allows it (R1, R2).
pub(super) fn role_allows(standing: &Standing, act: Act, project: &Project, environment: &Environment) -> Verdict {
    let subject = Subject { project: &project.id, environment: Some((&environment.id, environment.kind)) };
    match standing.decide(act, &subject) {
        Access::Granted => Ok(()),
        Access::Forbidden(refusal) => Err(refusal),
        Access::Invisible => Err(Refusal::new("This environment is not visible to you.")),
    }
}

/// Role, plan and state: the same question for the page, the operation and the worker (R1, R6, R7).
pub(crate) async fn may_create(
    db: &mut Db,
    standing: &Standing,
    project: &Project,
    environment: &Environment,
) -> Result<Verdict, store::Error> {
    if let Err(refusal) = role_allows(standing, Act::CreateSnapshot, project, environment) {
        return Ok(Err(refusal));
    }
    let plan = store::projects::plan(db, &project.id).await?;
    let all = store::environments::by_project(db, &project.id).await?;
    Ok(plan.allows_manual(environment.kind, store_is_live(&all)))
}

async fn make_card(app: &App, db: &mut Db, environment: Environment) -> Result<EnvironmentCard, Error> {
    Ok(EnvironmentCard {
        snapshots: store::snapshots::count(db, &environment.id).await?,
        newest_snapshot: store::snapshots::newest_wanted(db, &environment.id).await?,
        health: health(app, db, &environment).await?,
        environment,
    })
}

/// The worst state that the environment is in, in a sentence.
pub(super) async fn health(app: &App, db: &mut Db, environment: &Environment) -> Result<Health, Error> {
    let running = Filter { states: vec![ActivityState::InProgress], ..Filter::default() };
    let running = store::activities::newest(db, &environment.id, &running).await?;
    if running.is_none() && swaps::mixed(db).await?.contains(&environment.id) {
        let sentence = "A restore was interrupted. Visitors are asked to come back while it is taken back.".to_owned();
        return Ok(Health { tone: Tone::Bad, sentence });
    }
    if let Some(activity) = running {
        return Ok(Health { tone: Tone::Busy, sentence: running_sentence(&activity).to_owned() });
    }
    let over = Filter { states: vec![ActivityState::Complete], ..Filter::default() };
    let last = store::activities::newest(db, &environment.id, &over).await?;
    let now = store::clock::now(db, app.store().dialect()).await?;
    if let Some(failed) = last.filter(|activity| activity.result == Some(ActivityResult::Failure)) {
        let what = match failed.kind {
            ActivityKind::Restore => "The last restore failed",
            ActivityKind::Backup | ActivityKind::BackupDelete => "The last snapshot failed",
        };
        let ago = span(now.since(failed.completed_at.unwrap_or(failed.updated_at)));
        return Ok(Health { tone: Tone::Attention, sentence: format!("{what}, {ago} ago. Its entry says why.") });
    }
    Ok(match store::snapshots::newest_wanted(db, &environment.id).await? {
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
    }
}

/// A verdict for a button.
pub(super) fn offer(standing: &Standing, act: Act, project: &Project, environment: &Environment) -> Offer {
    role_allows(standing, act, project, environment).into()
}
