//! Operations: every read and write that a person can ask for passes here. A file per noun.
//!
//! **Invariant:** an operation on a project or an environment takes an [`Authorized`] proof and works on what the proof
//! names; verdicts on further acts are put into the read models here, so that doors decide nothing.

pub mod account;
pub mod accounts;
pub mod activities;
pub mod audit;
pub mod drills;
pub mod dumps;
pub mod environments;
mod error;
mod first;
pub mod installation;
pub mod invitations;
pub mod members;
pub mod merges;
pub mod notices;
pub mod people;
pub mod plans;
pub mod projects;
pub mod relocation;
pub mod removal;
pub mod removed;
pub mod restores;
pub mod retention;
pub mod schedules;
pub mod snapshots;
pub mod storage;
pub mod tickets;
pub mod tokens;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::Error;

use crate::authz::{self, Actor, Authorized, Need, OnEnvironment, OnProject, OnTicket, Operator, Permission};
use crate::domain::Timestamp;
use crate::domain::ids::{ActivityId, EnvironmentName, ProjectId, TicketId};
use crate::queue::Timing;
use crate::store::{Store, clock};

/// What operations work with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    settings: Settings,
    throttle: accounts::Throttle,
    readings: dumps::Readings,
}

/// What the operator configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Everything of ours lies here.
    pub data: PathBuf,
    /// Mounts and database files must lie within these, and outside `data` (R6).
    pub roots: Vec<PathBuf>,
    /// Port of the gateway, for showing sites' addresses; `None`: as the ingress in front of it has it.
    pub gateway_port: Option<u16>,
}

impl App {
    pub fn new(store: Store, settings: Settings) -> Self {
        Self::with(store, settings, Timing::default())
    }

    /// `timing`: of the leases that readings hold on their activities.
    pub fn with(store: Store, settings: Settings, timing: Timing) -> Self {
        let readings = dumps::Readings::new(store.clone(), timing);
        Self(Arc::new(Inner { store, settings, throttle: accounts::Throttle::default(), readings }))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub fn data(&self) -> &Path {
        &self.0.settings.data
    }

    /// The proof that the actor may do `A` on the project.
    ///
    /// # Errors
    /// [`Error::NotFound`] for what does not exist or must not be seen, [`Error::Forbidden`] with the reason.
    pub async fn authorize_project<A: Permission<On = OnProject>>(
        &self,
        actor: &Actor,
        project: &ProjectId,
    ) -> Result<Authorized<A>, Error> {
        let asked = authz::on_project(&mut *self.store().read().await?, actor, project).await;
        match asked {
            Err(authz::Denied::Forbidden(refusal)) => {
                Err(audit::refused(self, actor, (project, None), A::ACT, refusal).await?)
            }
            asked => Ok(asked?),
        }
    }

    /// The proof that the actor may do `A` on the environment.
    ///
    /// # Errors
    /// [`Error::NotFound`] for what does not exist or must not be seen, [`Error::Forbidden`] with the reason.
    pub async fn authorize_environment<A: Permission<On = OnEnvironment>>(
        &self,
        actor: &Actor,
        project: &ProjectId,
        environment: &EnvironmentName,
    ) -> Result<Authorized<A>, Error> {
        match self.ask_environment(actor, project, environment).await {
            Err(Error::Forbidden(refusal)) => {
                Err(audit::refused(self, actor, (project, Some(environment)), A::ACT, refusal).await?)
            }
            asked => asked,
        }
    }

    /// The same for who records a refusal in another way.
    async fn ask_environment<A: Permission<On = OnEnvironment>>(
        &self,
        actor: &Actor,
        project: &ProjectId,
        environment: &EnvironmentName,
    ) -> Result<Authorized<A>, Error> {
        Ok(authz::on_environment(&mut *self.store().read().await?, actor, project, environment).await?)
    }

    /// The proof that the actor runs the installation.
    ///
    /// # Errors
    /// [`Error::Forbidden`] with the reason.
    pub async fn authorize_operator(&self, actor: &Actor, need: Need) -> Result<Operator, Error> {
        match authz::on_installation(actor, need) {
            Err(authz::Denied::Forbidden(refusal)) => Err(audit::refused_operator(self, actor, need, refusal).await?),
            asked => Ok(asked?),
        }
    }

    /// The proof that the actor may do `A` on the environment that the activity belongs to.
    ///
    /// # Errors
    /// [`Error::NotFound`] for what does not exist or must not be seen, [`Error::Forbidden`] with the reason.
    pub async fn authorize_activity<A: Permission<On = OnEnvironment>>(
        &self,
        actor: &Actor,
        project: &ProjectId,
        activity: &ActivityId,
    ) -> Result<Authorized<A>, Error> {
        let asked = authz::on_activity(&mut *self.store().read().await?, actor, project, activity).await;
        match asked {
            Err(authz::Denied::Forbidden(refusal)) => {
                // Whoever is refused sees the activity: otherwise it would not have been found.
                let mut db = self.store().read().await?;
                let seen = authz::on_activity::<authz::ViewHistory>(&mut db, actor, project, activity).await?;
                drop(db);
                let name = &seen.on().environment.name;
                Err(audit::refused(self, actor, (project, Some(name)), A::ACT, refusal).await?)
            }
            asked => Ok(asked?),
        }
    }

    /// The proof that the actor may do `A` on the ticket.
    ///
    /// # Errors
    /// [`Error::NotFound`] for what does not exist or must not be seen, [`Error::Forbidden`] with the reason.
    pub async fn authorize_ticket<A: Permission<On = OnTicket>>(
        &self,
        actor: &Actor,
        project: &ProjectId,
        ticket: &TicketId,
    ) -> Result<Authorized<A>, Error> {
        let asked = authz::on_ticket(&mut *self.store().read().await?, actor, project, ticket).await;
        match asked {
            Err(authz::Denied::Forbidden(refusal)) => {
                Err(audit::refused(self, actor, (project, None), A::ACT, refusal).await?)
            }
            asked => Ok(asked?),
        }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ready(&self) -> Result<(), Error> {
        self.now().await.map(drop)
    }

    pub(crate) async fn now(&self) -> Result<Timestamp, Error> {
        let mut db = self.store().read().await?;
        Ok(clock::now(&mut db, self.store().dialect()).await?)
    }
}
