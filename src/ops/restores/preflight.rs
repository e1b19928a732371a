//! What a restore would do, before it does.

use super::branch;
use super::present::{parts_made, present, recorded};
use super::way::Way;
use super::{asked, held_paths, is_active, load, paths_of};
use crate::domain::activity::{ActivityKind, ActivityResult, ActivityState};
use crate::domain::ids::EnvironmentName;
use crate::domain::policy::maintenance::Maintenance;
use crate::domain::policy::restore::parts_of;
use crate::domain::policy::{Act, Refusal, RestorePlan};
use crate::domain::problem::sentence;
use crate::domain::snapshot::Snapshot;
use crate::domain::time::span;
use crate::domain::view::{Change, Offer, Preflight, Versions};
use crate::domain::{EnvironmentId, PartName, Scope, SnapshotName, Timestamp};
use crate::ops::{App, Error, projects};
use crate::store::{self, Db, activities, regions, snapshots};

const SERVING: &str = "Your site goes on serving until the swap; then requests wait for a moment, and none is lost.";

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
