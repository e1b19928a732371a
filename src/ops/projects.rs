//! Projects.

use super::{App, Error, activities, environments, tickets};
use crate::authz::{self, Actor, Authorized, ViewProject};
use crate::domain::environment::{Environment, EnvironmentStatus, Project};
use crate::domain::ids::EnvironmentName;
use crate::domain::policy::Standing;
use crate::domain::policy::acts::{Access, Act, Subject};
use crate::domain::view::{Health, ProjectCard, ProjectPage, Tone};
use crate::store::{Db, projects};

/// Those that the actor may see, by id.
///
/// # Errors
/// When the store fails.
pub async fn list(app: &App, actor: &Actor) -> Result<Vec<ProjectCard>, Error> {
    let mut db = app.store().read().await?;
    let mut cards = Vec::new();
    for project in projects::all(&mut db).await? {
        if project.removed_at.is_some() {
            continue;
        }
        let standing = authz::standing(&mut db, actor, &project).await?;
        let subject = Subject { project: &project.id, environment: None };
        if standing.decide(Act::ViewProject, &subject) == Access::Granted {
            let visible = visible(&mut db, &project, &standing).await?;
            let healths = environments::healths(app, &mut db, visible).await?;
            cards.push(card(&mut db, project, &healths).await?);
        }
    }
    Ok(cards)
}

/// # Errors
/// When the store fails.
pub async fn page(app: &App, proof: Authorized<ViewProject>) -> Result<ProjectPage, Error> {
    let (project, standing) = (&proof.on().project, proof.standing());
    let activities = activities::project_feed(app, &proof, activities::Filter::default()).await?.entries;
    let tickets = tickets::unfinished(app, &proof).await?;
    let mut db = app.store().read().await?;
    let ever = ever_visible(&mut db, project, standing).await?;
    let has_removed = ever.iter().any(|environment| environment.status == EnvironmentStatus::Removed);
    let (environments, removed) = environments::split(environments::cards(app, &mut db, standing, ever).await?);
    let healths: Vec<_> =
        environments.iter().map(|card| (card.environment.name.clone(), card.health.clone())).collect();
    Ok(ProjectPage {
        card: card(&mut db, project.clone(), &healths).await?,
        audit: standing.may_in(Act::ViewAudit, &project.id).into(),
        notices: standing.may_in(Act::ManageNotices, &project.id).into(),
        remove: standing.may_in(Act::RemoveProject, &project.id).into(),
        environments,
        activities,
        tickets,
        has_removed,
        removed,
    })
}

/// `environments`: those that one may see, and how they stand.
async fn card(db: &mut Db, project: Project, environments: &[(EnvironmentName, Health)]) -> Result<ProjectCard, Error> {
    let plan = projects::plan(db, &project.id).await?;
    let mut worst = Health { tone: Tone::Good, sentence: "Everything is backed up.".to_owned() };
    for (name, health) in environments {
        if health.tone > worst.tone {
            let sentence = format!("{name}: {}", health.sentence);
            worst = Health { tone: health.tone, sentence };
        }
    }
    if let Some(at) = project.removed_at {
        let sentence = format!("It was removed on {}. Only operators see it.", &at.table()[..10]);
        worst = Health { tone: Tone::Attention, sentence };
    } else if environments.is_empty() {
        worst = Health { tone: Tone::Attention, sentence: "There is no environment yet.".to_owned() };
    }
    let environments = environments.len() as u64;
    Ok(ProjectCard { plan_title: plan.title, environments, health: worst, project })
}

/// The project's environments that one may see (R2: members without a role for a type do not see its environments).
pub(super) async fn visible(db: &mut Db, project: &Project, standing: &Standing) -> Result<Vec<Environment>, Error> {
    let mut visible = ever_visible(db, project, standing).await?;
    visible.retain(|environment| environment.status != EnvironmentStatus::Removed);
    Ok(visible)
}

/// Also those that were removed, which come last.
pub(super) async fn ever_visible(
    db: &mut Db,
    project: &Project,
    standing: &Standing,
) -> Result<Vec<Environment>, Error> {
    let all = crate::store::environments::ever_in_project(db, &project.id).await?;
    let may_see = |environment: &Environment| {
        let subject = Subject { project: &project.id, environment: Some((&environment.id, environment.kind)) };
        standing.decide(Act::ViewHistory, &subject) == Access::Granted
    };
    Ok(all.into_iter().filter(may_see).collect())
}
