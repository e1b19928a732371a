//! Loads the role, asks the rule, mints the proof.

use super::actor::{Actor, Authority};
use super::proof::{Authorized, OnEnvironment, OnProject, OnTicket, Operator, Permission, ViewProject};
use crate::domain::environment::{Environment, Project};
use crate::domain::ids::{ActivityId, EnvironmentName, ProjectId, TicketId};
use crate::domain::policy::acts::{Access, Subject, may_begin};
use crate::domain::policy::{Act, Grants, Refusal, Standing};
use crate::store::users::User;
use crate::store::{self, Db, activities, environments, members, projects, tickets, users};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// It does not exist, or the actor must not know that it does: the same answer.
    #[error("there is no such {0}, or it is not visible to you")]
    Invisible(&'static str),
    #[error(transparent)]
    Forbidden(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// # Errors
/// [`Denied::Invisible`] for unknown and foreign projects alike.
pub async fn on_project<A: Permission<On = OnProject>>(
    db: &mut Db,
    actor: &Actor,
    project: &ProjectId,
) -> Result<Authorized<A>, Denied> {
    let (project, standing) = seen(db, actor, project).await?;
    let subject = Subject { project: &project.id, environment: None };
    ask::<A>(&standing, &subject, "project")?;
    if !matches!(A::ACT, Act::ViewProject | Act::ViewAudit | Act::PurgeProject) {
        is_there(&project)?;
    }
    Ok(Authorized::mint(actor, standing, OnProject { project }))
}

/// # Errors
/// [`Denied::Invisible`] for unknown and foreign environments alike.
pub async fn on_environment<A: Permission<On = OnEnvironment>>(
    db: &mut Db,
    actor: &Actor,
    project: &ProjectId,
    name: &EnvironmentName,
) -> Result<Authorized<A>, Denied> {
    let (project, standing) = seen(db, actor, project).await?;
    let there = environments::by_name(db, &project.id, name).await?;
    // One that was removed is reached by the name that it had, or by its id.
    let found = match there {
        None => environments::removed_by_name(db, &project.id, name).await?,
        there => there,
    };
    let environment = found.ok_or(Denied::Invisible("environment"))?;
    mint(actor, standing, OnEnvironment { project, environment }, "environment")
}

/// The proof for the environment that an activity belongs to.
///
/// # Errors
/// [`Denied::Invisible`] for unknown and foreign activities alike.
pub async fn on_activity<A: Permission<On = OnEnvironment>>(
    db: &mut Db,
    actor: &Actor,
    project: &ProjectId,
    activity: &ActivityId,
) -> Result<Authorized<A>, Denied> {
    let (project, standing) = seen(db, actor, project).await?;
    let activity = activities::by_id(db, activity).await?.filter(|activity| activity.project == project.id);
    let activity = activity.ok_or(Denied::Invisible("activity"))?;
    let environment = environments::by_id(db, &activity.environment).await?.ok_or(Denied::Invisible("activity"))?;
    mint(actor, standing, OnEnvironment { project, environment }, "activity")
}

/// The proof that the actor runs the installation. A token does it only when it is narrowed to nothing; one that only
/// reads may look.
///
/// # Errors
/// [`Denied::Forbidden`] with the reason.
pub fn on_installation(actor: &Actor, need: Need) -> Result<Operator, Denied> {
    if !actor.operator {
        let refusal = Refusal::new("Only operators of this installation may do this.");
        return Err(refusal.instead("Ask one of them; `stillpointd admin user add --operator` makes one.").into());
    }
    let grants = actor.grants().cloned().unwrap_or_default();
    if grants != (Grants { read_only: grants.read_only, ..Grants::default() }) {
        return Err(Refusal::new("This token is narrowed; it may not do what concerns the whole installation.").into());
    }
    if grants.read_only && need == Need::Change {
        return Err(Refusal::new("This token may only read.").instead("Use another one, or the console.").into());
    }
    Ok(Operator::mint(actor))
}

/// What an operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Look,
    Change,
}

/// The proof for a ticket: the act is asked of both environments that it is about.
///
/// # Errors
/// [`Denied::Invisible`] for unknown and foreign tickets alike.
pub async fn on_ticket<A: Permission<On = OnTicket>>(
    db: &mut Db,
    actor: &Actor,
    project: &ProjectId,
    ticket: &TicketId,
) -> Result<Authorized<A>, Denied> {
    let (project, standing) = seen(db, actor, project).await?;
    let ticket = tickets::by_id(db, ticket).await?.filter(|ticket| ticket.project == project.id);
    let ticket = ticket.filter(|ticket| ticket.is_visible(&standing)).ok_or(Denied::Invisible("ticket"))?;
    for subject in &ticket.subjects() {
        ask::<A>(&standing, subject, "ticket")?;
    }
    Ok(Authorized::mint(actor, standing, OnTicket { project, ticket }))
}

/// Whoever filed the ticket, with the role that they have now, for looking at what they ask for and running it (R28);
/// what is done so, whoever holds the proof has done. `None`: the account is closed.
///
/// # Errors
/// When the store can't be read.
pub async fn requester<A: Permission<On = OnTicket>>(
    db: &mut Db,
    proof: &Authorized<A>,
) -> Result<Option<Actor>, store::Error> {
    let ticket = &proof.on().ticket;
    let user = users::open_by_id(db, &ticket.requester.user).await?;
    let authority = Authority::Ticket { id: ticket.id.clone(), staff: proof.actor().initiator() };
    // Neither running the installation nor support gives a role in the project.
    Ok(user.map(|user| Actor {
        user: user.id,
        email: user.email,
        operator: false,
        support: false,
        authority,
        address: proof.actor().address,
    }))
}

/// The project and what the actor is in it. Asked before anything in it is looked for, so that no answer tells a foreign
/// project from one that does not exist.
async fn seen(db: &mut Db, actor: &Actor, project: &ProjectId) -> Result<(Project, Standing), Denied> {
    let project = projects::by_id(db, project).await?;
    // One that was removed is there for operators alone.
    let project = project.filter(|project| project.removed_at.is_none() || actor.operator);
    let project = project.ok_or(Denied::Invisible("project"))?;
    let standing = standing(db, actor, &project).await?;
    ask::<ViewProject>(&standing, &Subject { project: &project.id, environment: None }, "project")?;
    Ok((project, standing))
}

fn mint<A: Permission<On = OnEnvironment>>(
    actor: &Actor,
    standing: Standing,
    on: OnEnvironment,
    what: &'static str,
) -> Result<Authorized<A>, Denied> {
    let (project, environment) = (&on.project, &on.environment);
    let subject = Subject { project: &project.id, environment: Some((&environment.id, environment.kind)) };
    ask::<A>(&standing, &subject, what)?;
    may_begin(A::ACT, environment)?;
    Ok(Authorized::mint(actor, standing, on))
}

fn ask<A: Permission>(standing: &Standing, subject: &Subject<'_>, what: &'static str) -> Result<(), Denied> {
    match standing.decide(A::ACT, subject) {
        Access::Granted => Ok(()),
        Access::Forbidden(refusal) => Err(Denied::Forbidden(refusal)),
        Access::Invisible => Err(Denied::Invisible(what)),
    }
}

/// Whether the project was not removed.
///
/// # Errors
/// The refusal to show.
pub fn is_there(project: &Project) -> Result<(), Refusal> {
    let Some(at) = project.removed_at else { return Ok(()) };
    Err(Refusal::new(format!("The project {} was removed on {}.", project.id, &at.table()[..10]))
        .instead("To have it again, apply its declaration with --reinstate."))
}

/// What is offered on an environment: nothing that changes it in a project that was removed.
///
/// # Errors
/// The refusal to show.
pub fn may(project: &Project, standing: &Standing, act: Act, environment: &Environment) -> Result<(), Refusal> {
    is_there(project)?;
    standing.may(act, environment)
}

/// What the actor is in the project at this moment.
///
/// # Errors
/// When the store can't be read.
pub async fn standing(db: &mut Db, actor: &Actor, project: &Project) -> Result<Standing, store::Error> {
    let roles = members::roles(db, &project.id, &actor.user).await?;
    let grants = actor.grants().cloned();
    Ok(Standing { support: actor.support, operator: actor.operator, role: roles.project, types: roles.types, grants })
}

/// What a person is in the project at this moment, whoever asks: for jobs, which act for whoever asked for them (R1).
///
/// # Errors
/// When the store can't be read.
pub async fn standing_of(db: &mut Db, user: &User, project: &Project) -> Result<Standing, store::Error> {
    let roles = members::roles(db, &project.id, &user.id).await?;
    let (role, types) = (roles.project, roles.types);
    Ok(Standing { support: user.support, operator: user.operator, role, types, grants: None })
}
