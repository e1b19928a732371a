//! A project's plan: what it says, what another one would change, and changing it.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::audit::Attempt;
use super::{App, Error, retention};
use crate::authz::{Authorized, ChangePlan, ViewProject};
use crate::domain::activity::{self, ActivityKind, Payload};
use crate::domain::environment::{Environment, EnvironmentKind, Project, store_is_live};
use crate::domain::ids::{EnvironmentId, PlanId};
use crate::domain::policy::acts::{Access, Act, Subject};
use crate::domain::policy::retention::simulate;
use crate::domain::policy::{Plan, Refusal};
use crate::domain::snapshot::Origin;
use crate::domain::view::{PlanChange, PlanPage, SimulationPage};
use crate::queue::{self, NewActivity};
use crate::store::{self, Db, environments, projects};

/// # Errors
/// When the store fails.
pub async fn page(app: &App, proof: &Authorized<ViewProject>) -> Result<PlanPage, Error> {
    let project = &proof.on().project;
    let mut db = app.store().read().await?;
    let plan = projects::plan(&mut db, &project.id).await?;
    let (planned, _) = retention::planned(app, &mut db, &project.id, &plan).await?;
    let live = store_is_live(&environments::by_project(&mut db, &project.id).await?);
    let offered = store::plans::offered(&mut db).await?;
    let newer = match offered.iter().find(|offered| offered.id == plan.id && **offered != plan) {
        Some(newer) => Some(newer_text(app, &mut db, proof, newer.clone()).await?),
        None => None,
    };
    let subject = Subject { project: &project.id, environment: None };
    let change = match proof.standing().decide(Act::ChangePlan, &subject) {
        Access::Granted => Ok(()),
        Access::Forbidden(refusal) => Err(refusal),
        Access::Invisible => Err(Refusal::new("You have no role in this project.")),
    };
    Ok(PlanPage {
        project: project.clone(),
        told: EnvironmentKind::ALL.into_iter().map(|kind| (kind, plan.told(kind, live))).collect(),
        newer,
        plan: plan.id,
        plan_title: plan.title,
        offered: offered.into_iter().map(|plan| (plan.id, plan.title)).collect(),
        taken: planned.taken,
        budget: planned.budget,
        change: change.into(),
    })
}

/// What the text of the project's own plan that is offered by now would change, with the snapshots that one may see.
async fn newer_text(app: &App, db: &mut Db, proof: &Authorized<ViewProject>, newer: Plan) -> Result<PlanChange, Error> {
    let project = &proof.on().project;
    let all = environments::ever_in_project(db, &project.id).await?;
    let (mut change, ..) = difference(app, db, project, newer).await?;
    let sees = |id: &EnvironmentId| {
        let environment = all.iter().find(|environment| environment.id == *id);
        environment.is_some_and(|environment| proof.standing().may(Act::ViewHistory, environment).is_ok())
    };
    change.going.retain(|decision| sees(&decision.environment));
    Ok(change)
}

/// What would be different under another plan, before it is (R7, R11).
///
/// # Errors
/// [`Error::Invalid`] when there is no such plan.
pub async fn change(app: &App, proof: &Authorized<ChangePlan>, to: &PlanId) -> Result<PlanChange, Error> {
    let mut db = app.store().read().await?;
    let (change, ..) = changed(app, &mut db, proof, to).await?;
    Ok(change)
}

/// Puts the project under another plan. What that lets go goes at the next run, as the change said. `confirmed`: the hash
/// of the change that was looked at.
///
/// # Errors
/// [`Error::Invalid`] when there is no such plan, [`Error::Conflict`] when something else would go by now.
pub async fn set(
    app: &App,
    proof: Authorized<ChangePlan>,
    to: &PlanId,
    confirmed: Option<&str>,
) -> Result<PlanChange, Error> {
    Attempt::of(&proof).recorded(app, put_under(app, &proof, to, confirmed).await).await
}

async fn put_under(
    app: &App,
    proof: &Authorized<ChangePlan>,
    to: &PlanId,
    confirmed: Option<&str>,
) -> Result<PlanChange, Error> {
    let project = &proof.on().project;
    let mut tx = app.store().write().await?;
    let (change, plan, all) = changed(app, &mut tx, proof, to).await?;
    if confirmed.is_some_and(|confirmed| confirmed != change.hash) {
        return Err(Error::Conflict(
            Refusal::new("What the change would do is not what it was when you looked.")
                .instead("Look at it again, and confirm again."),
        ));
    }
    let now = store::clock::now(&mut tx, app.store().dialect()).await?;
    projects::update(&mut tx, &project.id, &project.title, &plan, now).await?;
    // In the feed of the environment that matters most.
    let feed = all.iter().min_by_key(|environment| (environment.kind, environment.created_at));
    if let Some(environment) = feed {
        let payload = activity::ChangePlan { from: change.from_title.clone(), to: change.to_title.clone() };
        let new = NewActivity {
            project: project.id.clone(),
            environment: environment.id.clone(),
            region: project.region.clone(),
            kind: ActivityKind::Plan,
            initiator: proof.actor().initiator(),
            payload: Payload::ChangePlan(payload),
        };
        queue::record_done(&mut tx, app.store(), new).await?;
    }
    app.store().commit(tx).await?;
    Ok(change)
}

async fn changed(
    app: &App,
    db: &mut Db,
    proof: &Authorized<ChangePlan>,
    to: &PlanId,
) -> Result<(PlanChange, Plan, Vec<Environment>), Error> {
    let new = offered(db, to).await?;
    difference(app, db, &proof.on().project, new).await
}

/// The change, the plan that it leads to, and the environments that are there.
async fn difference(
    app: &App,
    db: &mut Db,
    project: &Project,
    new: Plan,
) -> Result<(PlanChange, Plan, Vec<Environment>), Error> {
    let old = projects::plan(db, &project.id).await?;
    let all = environments::by_project(db, &project.id).await?;
    let live = store_is_live(&all);
    let (before, _) = retention::planned(app, db, &project.id, &old).await?;
    let (after, _) = retention::planned(app, db, &project.id, &new).await?;
    let going: Vec<_> = after.goes_beside(&before).cloned().collect();
    let mut told = Vec::new();
    for kind in EnvironmentKind::ALL {
        let (was, becomes) = (old.told(kind, live), new.told(kind, live));
        let lines = was.into_iter().zip(becomes).filter(|(was, becomes)| was != becomes);
        told.extend(lines.map(|(was, becomes)| (kind, was, becomes)));
    }
    let text = serde_json::to_vec(&(&old, &new, going.iter().map(|it| &it.snapshot).collect::<Vec<_>>()));
    let hash = hex::encode(Sha256::digest(text.expect("plans and names have string keys")));
    let change = PlanChange {
        project: project.clone(),
        from_title: old.title,
        to: new.id.clone(),
        to_title: new.title.clone(),
        told,
        going,
        hash,
    };
    Ok((change, new, all))
}

async fn offered(db: &mut Db, id: &PlanId) -> Result<Plan, Error> {
    let offered = store::plans::offered(db).await?;
    let known: Vec<String> = offered.iter().map(|plan| plan.id.to_string()).collect();
    let found = offered.into_iter().find(|plan| plan.id == *id);
    found.ok_or_else(|| Error::Invalid {
        message: format!("There is no plan `{id}`."),
        hint: Some(format!("There are: {}.", known.join(", "))),
    })
}

/// What a year under a plan would leave.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// The project's own if not given.
    pub plan: Option<PlanId>,
    pub kind: Option<EnvironmentKind>,
    /// How often one is taken, in hours; as the plan takes them if not given.
    pub every_hours: Option<u32>,
}

/// # Errors
/// [`Error::Invalid`] when there is no such plan.
pub async fn simulation(app: &App, proof: &Authorized<ViewProject>, wish: Wish) -> Result<SimulationPage, Error> {
    let project = &proof.on().project;
    let mut db = app.store().read().await?;
    let plan = match &wish.plan {
        Some(id) => offered(&mut db, id).await?,
        None => projects::plan(&mut db, &project.id).await?,
    };
    let kind = wish.kind.unwrap_or(EnvironmentKind::Production);
    let rules = plan.rules(kind);
    let every_hours = wish.every_hours.unwrap_or_else(|| rules.every_hours()).clamp(1, 24 * 28);
    let keep = rules.keep_of(Origin::Automatic);
    let now = app.now().await?;
    Ok(SimulationPage {
        project: project.clone(),
        plan: plan.id.clone(),
        kind,
        every_hours,
        kept: keep.in_words(Origin::Automatic),
        simulation: simulate(keep, Duration::from_secs(60 * 60) * every_hours, now),
        now,
        offered: store::plans::offered(&mut db).await?.into_iter().map(|plan| (plan.id, plan.title)).collect(),
    })
}
