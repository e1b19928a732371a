//! The proof: a value without which an operation can't be called.

use super::actor::Actor;
use super::gatekeeper;
use crate::domain::environment::{Environment, Project};
use crate::domain::policy::{Act, Standing, Verdict};
use crate::domain::ticket::Ticket;

/// `actor` may do the act `A` on `on`. Private fields: only this room can make one.
#[derive(Debug, Clone)]
pub struct Authorized<A: Permission> {
    actor: Actor,
    standing: Standing,
    on: A::On,
}

/// An act as a type, and what it is done on.
pub trait Permission {
    const ACT: Act;
    type On: std::fmt::Debug + Clone;
}

#[derive(Debug, Clone)]
pub struct OnProject {
    pub project: Project,
}

#[derive(Debug, Clone)]
pub struct OnEnvironment {
    pub project: Project,
    pub environment: Environment,
}

#[derive(Debug, Clone)]
pub struct OnTicket {
    pub project: Project,
    /// As it was then: what is changed is read again.
    pub ticket: Ticket,
}

/// Seeing a ticket is seeing the history of both its environments.
#[derive(Debug, Clone)]
pub struct ViewTicket;

impl Permission for ViewTicket {
    const ACT: Act = Act::ViewHistory;
    type On = OnTicket;
}

macro_rules! permissions {
    ($($name:ident on $on:ty),+ $(,)?) => {$(
        #[derive(Debug, Clone)]
        pub struct $name;
        impl Permission for $name {
            const ACT: Act = Act::$name;
            type On = $on;
        }
    )+};
}

permissions!(
    ViewProject on OnProject,
    ViewHistory on OnEnvironment,
    CreateSnapshot on OnEnvironment,
    RestoreSnapshot on OnEnvironment,
    CancelActivity on OnEnvironment,
    ReadContents on OnEnvironment,
    RunDrill on OnEnvironment,
    ManageMembers on OnProject,
    ManageNotices on OnProject,
    ViewAudit on OnProject,
    ManageSchedules on OnEnvironment,
    FileTicket on OnTicket,
    CommentTicket on OnTicket,
    WorkTicket on OnTicket,
    DeleteSnapshot on OnEnvironment,
    ProtectSnapshot on OnEnvironment,
    MergeEnvironment on OnEnvironment,
    ChangeStorage on OnEnvironment,
    ChangePlan on OnProject,
    RemoveEnvironment on OnEnvironment,
    MoveProject on OnProject,
    RemoveProject on OnProject,
    PurgeProject on OnProject,
);

/// The actor runs the installation. Private fields, as above.
#[derive(Debug, Clone)]
pub struct Operator {
    actor: Actor,
}

impl Operator {
    pub(super) fn mint(actor: &Actor) -> Self {
        Self { actor: actor.clone() }
    }

    pub fn actor(&self) -> &Actor {
        &self.actor
    }
}

impl<A: Permission> Authorized<A> {
    pub(super) fn mint(actor: &Actor, standing: Standing, on: A::On) -> Self {
        Self { actor: actor.clone(), standing, on }
    }

    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// What the actor is in this project, for offering further acts.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    pub fn on(&self) -> &A::On {
        &self.on
    }
}

impl<A: Permission<On = OnEnvironment>> Authorized<A> {
    /// Whether they may do that to the environment too, for offering it.
    ///
    /// # Errors
    /// The refusal to show.
    pub fn may(&self, act: Act) -> Verdict {
        gatekeeper::may(&self.on.project, &self.standing, act, &self.on.environment)
    }
}
