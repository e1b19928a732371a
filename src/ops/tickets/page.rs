//! A ticket with everything that one needs to decide on it, and the evidence of what was done.

use std::collections::BTreeMap;

use super::entry;
use crate::authz::{self, Authorized, OnTicket, Permission, ViewTicket};
use crate::domain::activity::{Activity, ActivityResult, Payload};
use crate::domain::policy::{Refusal, RestorePlan};
use crate::domain::ticket::{Ticket, Wanted};
use crate::domain::view::{Evidence, Offer, Preflight, Run, Step, TicketPage};
use crate::ops::restores::{self, Way, Wish};
use crate::ops::{App, Error};
use crate::store::{Db, clock, environments, logs, regions, snapshots, tickets};

/// # Errors
/// When the store fails.
pub async fn page(app: &App, proof: &Authorized<ViewTicket>) -> Result<TicketPage, Error> {
    let (project, actor) = (&proof.on().project, proof.actor());
    let mut db = app.store().read().await?;
    let ticket = super::current(&mut db, proof).await?;
    let filed = tickets::filed(&mut db, &ticket.id).await?;
    let steps = steps(&mut db, &ticket).await?;
    let now = clock::now(&mut db, app.store().dialect()).await?;
    drop(db);
    let looked =
        if ticket.state.is_over() { Looked::default() } else { look(app, proof, &ticket, &filed.plan).await? };
    let when_filed: BTreeMap<String, String> =
        filed.changes.into_iter().map(|change| (change.part.name, change.replaces)).collect();
    Ok(TicketPage {
        is_staff: proof.standing().support,
        is_own: ticket.requester.user == *actor.user(),
        entry: entry(ticket, project, (actor, proof.standing()), now),
        project: project.clone(),
        preflight: looked.preflight,
        when_filed,
        changed: looked.changed,
        obstacles: looked.obstacles,
        steps,
    })
}

/// Who, what, when, what came of it, and the proof of each swap, with the restores' logs.
///
/// # Errors
/// When the store fails.
pub async fn evidence(app: &App, proof: &Authorized<ViewTicket>) -> Result<Evidence, Error> {
    let project = &proof.on().project;
    let mut db = app.store().read().await?;
    let ticket = super::current(&mut db, proof).await?;
    let mut steps = steps(&mut db, &ticket).await?;
    for step in &mut steps {
        if let Some(run) = &mut step.run {
            run.log = logs::after(&mut db, &step.activity, 0).await?;
        }
    }
    Ok(Evidence {
        version: 1,
        exported_at: clock::now(&mut db, app.store().dialect()).await?,
        exported_by: proof.actor().me().email,
        region: project.region.clone(),
        project_title: project.title.clone(),
        ticket,
        steps,
    })
}

async fn steps(db: &mut Db, ticket: &Ticket) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    for activity in tickets::steps(db, &ticket.id).await? {
        let (act, what, text, run) = match &activity.payload {
            Payload::Ticket(step) => (Some(step.act), step.act.done().to_owned(), step.text.clone(), None),
            _ => (None, ran(&activity).to_owned(), None, Some(run_of(db, &activity).await?)),
        };
        steps.push(Step {
            at: activity.created_at,
            who: activity.initiator,
            failure: activity.failure,
            activity: activity.id,
            act,
            what,
            text,
            run,
        });
    }
    Ok(steps)
}

fn ran(activity: &Activity) -> &'static str {
    match (activity.state.is_over(), activity.result) {
        (false, _) => "started the restore, which is under way",
        (true, Some(ActivityResult::Success)) => "restored it",
        (true, Some(ActivityResult::Failure)) => "started the restore, which failed",
        (true, None) => "started the restore, which was cancelled",
    }
}

async fn run_of(db: &mut Db, activity: &Activity) -> Result<Run, Error> {
    let safety = snapshots::by_activity(db, &activity.id).await?;
    Ok(Run {
        state: activity.state,
        result: activity.result,
        started_at: activity.started_at,
        completed_at: activity.completed_at,
        proof: safety.as_ref().and_then(|safety| safety.proof.clone()),
        safety: safety.map(|safety| safety.name),
        log: Vec::new(),
    })
}

/// What a run would do now.
#[derive(Default)]
struct Looked {
    preflight: Option<Preflight>,
    changed: Vec<String>,
    obstacles: Vec<String>,
}

async fn look(
    app: &App,
    proof: &Authorized<ViewTicket>,
    ticket: &Ticket,
    filed: &RestorePlan,
) -> Result<Looked, Error> {
    let mut looked = Looked::default();
    let region = regions::by_id(&mut *app.store().read().await?, &proof.on().project.region).await?;
    looked.obstacles.extend(region.may_run_ticket().err().map(|refusal| refusal.to_string()));
    let way = match way(app, proof, ticket).await? {
        Ok(way) => way,
        Err(refusal) => {
            looked.obstacles.push(refusal.to_string());
            return Ok(looked);
        }
    };
    let Wanted { snapshot, scope, .. } = &ticket.wanted;
    let mut preflight = match restores::preflight(app, &way, snapshot, scope).await {
        Ok(preflight) => preflight,
        Err(Error::NotFound(_)) => {
            looked.obstacles.push(format!("The snapshot {snapshot} does not exist any more."));
            return Ok(looked);
        }
        Err(error) => return Err(error),
    };
    match planned(app, &way, ticket).await?.and_then(|plan| plan.still(filed)) {
        Ok(changed) => looked.changed = changed,
        Err(refusal) => looked.obstacles.push(refusal.to_string()),
    }
    for obstacle in &preflight.obstacles {
        if !looked.obstacles.contains(obstacle) {
            looked.obstacles.push(obstacle.clone());
        }
    }
    // It is run through the ticket, as it was filed.
    preflight.offer = Offer::from(Err(Refusal::new("It is restored by running the ticket.")));
    preflight.ticket = None;
    preflight.targets.clear();
    looked.preflight = Some(preflight);
    Ok(looked)
}

/// The way of whoever filed it, and the plan's hash as it is now: refused when they may not any more, when something has
/// gone, or when something else would be replaced than when it was filed.
pub(super) async fn plan<A: Permission<On = OnTicket>>(
    app: &App,
    proof: &Authorized<A>,
    ticket: &Ticket,
) -> Result<Result<(Way, String), Refusal>, Error> {
    let mut db = app.store().read().await?;
    let region = regions::by_id(&mut db, &proof.on().project.region).await?;
    let filed = tickets::filed(&mut db, &ticket.id).await?;
    drop(db);
    if let Err(refusal) = region.may_run_ticket() {
        return Ok(Err(refusal));
    }
    let way = match way(app, proof, ticket).await? {
        Ok(way) => way,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let plan = planned(app, &way, ticket).await?;
    Ok(plan.and_then(|plan| plan.still(&filed.plan).map(|_| plan.hash())).map(|hash| (way, hash)))
}

async fn planned(app: &App, way: &Way, ticket: &Ticket) -> Result<Result<RestorePlan, Refusal>, Error> {
    let Wanted { snapshot, scope, .. } = &ticket.wanted;
    match restores::load(app, &mut *app.store().read().await?, way, snapshot).await {
        Ok((_, manifest, composition)) => Ok(way.plan(&manifest, &composition, scope)),
        Err(Error::NotFound(_)) => Ok(Err(Refusal::new(format!("The snapshot {snapshot} does not exist any more.")))),
        Err(error) => Err(error),
    }
}

/// As whoever filed the ticket may go it now (R28).
async fn way<A: Permission<On = OnTicket>>(
    app: &App,
    proof: &Authorized<A>,
    ticket: &Ticket,
) -> Result<Result<Way, Refusal>, Error> {
    let Wanted { source, target, .. } = &ticket.wanted;
    let decline =
        |reason: String| Ok(Err(Refusal::new(reason).instead("Decline the ticket; what is wanted now is a new one.")));
    let mut db = app.store().read().await?;
    let mut needed = vec![(&source.id, &source.name)];
    if target.branch_from.is_none() {
        needed.push((&target.id, &target.name));
    }
    for (id, name) in needed {
        let there = environments::by_name(&mut db, &ticket.project, name).await?;
        if there.is_none_or(|environment| environment.id != *id) {
            return decline(format!("The environment {name} does not exist any more."));
        }
    }
    let name = &ticket.requester.name;
    let Some(requester) = authz::requester(&mut db, proof).await? else {
        return decline(format!("The account of {name}, who filed the ticket, does not exist any more."));
    };
    drop(db);
    let wish = Wish {
        target: Some(target.name.as_str()),
        branch_from: target.branch_from.as_ref().map(|parent| parent.as_str()),
    };
    match Way::authorize(app, &requester, &ticket.project, &source.name, wish).await {
        Ok(way) => Ok(Ok(way)),
        Err(Error::Conflict(refusal)) => Ok(Err(refusal)),
        Err(Error::Forbidden(_) | Error::NotFound(_)) => Ok(Err(Refusal::new(format!(
            "{name}, who filed the ticket, may not restore {} into {} any more.",
            source.name, target.name
        ))
        .instead("A project admin can give them the role again; else decline the ticket."))),
        Err(Error::Absent { hint, .. }) => {
            let parent = target.branch_from.as_ref().map(ToString::to_string).unwrap_or_default();
            Ok(Err(Refusal::new(format!("The environment {parent} does not exist any more.")).instead(hint)))
        }
        Err(error) => Err(error),
    }
}
