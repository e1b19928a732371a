//! A restore's target that is made for it (R21).

use std::path::Path;

use crate::authz::{Authorized, RestoreSnapshot, ViewHistory};
use crate::domain::activity::{ActivityKind, ActivityState, NewEnvironment, Payload};
use crate::domain::environment::{Composition, Environment, EnvironmentKind, EnvironmentStatus};
use crate::domain::ids::EnvironmentName;
use crate::domain::policy::provision::made_up;
use crate::domain::policy::{Act, Blueprint, Refusal, Verdict};
use crate::domain::problem::sentence;
use crate::domain::view::Offer;
use crate::domain::{EnvironmentId, ProjectId, Timestamp};
use crate::drivers;
use crate::ops::{App, Error, audit};
use crate::store::activities::{Filter, Scope};
use crate::store::{self, Db, activities, environments, projects};

/// A new environment, planned.
#[derive(Debug)]
pub(super) struct Branch {
    /// As it will be, but for its id.
    pub environment: Environment,
    pub parent: EnvironmentName,
    blueprint: Blueprint,
    planned: Composition,
}

impl Branch {
    /// `parent`'s services and mounts under a new name, made up when none is given.
    pub(super) async fn plan(
        app: &App,
        parent: &Authorized<ViewHistory>,
        name: Option<EnvironmentName>,
    ) -> Result<Self, Error> {
        let on = parent.on();
        if on.environment.status == EnvironmentStatus::Removed {
            let reason = format!("The environment {} was removed: nothing can be made after it.", on.environment.name);
            return Err(Error::Conflict(Refusal::new(reason).instead("Name another one (--branch-from).")));
        }
        let mut db = app.store().read().await?;
        let taken = environments::by_project(&mut db, &on.project.id).await?;
        let is_taken = |name: &EnvironmentName| taken.iter().any(|environment| environment.name == *name);
        let name = match name {
            Some(name) if is_taken(&name) => {
                let refusal = Refusal::new(format!("The environment {name} exists already."));
                let instead = "Leave out the branch to start from (--branch-from) to overwrite it.";
                return Err(Error::Conflict(refusal.instead(instead)));
            }
            Some(name) => name,
            None => made_up(&on.environment.name, is_taken),
        };
        let contract = projects::provision(&mut db, &on.project.id).await?;
        let contract = contract.ok_or_else(|| Error::Conflict(not_provided()))?;
        let environment = prospective(on.project.id.clone(), name, on.environment.name.clone(), contract.kind);
        if let Err(refusal) = parent.standing().may(Act::CreateEnvironment, &environment) {
            let on = (&on.project.id, Some(&on.environment.name));
            drop(db);
            return Err(audit::refused(app, parent.actor(), on, Act::CreateEnvironment, refusal).await?);
        }
        let parent = environments::composition(&mut db, app.store().sealer(), &on.environment.id).await?;
        let blueprint = contract.blueprint(&environment.name, &parent).map_err(Error::Conflict)?;
        let planned = blueprint.planned(&parent);
        Ok(Self { environment, parent: on.environment.name.clone(), blueprint, planned })
    }

    pub(super) fn composition(&self) -> Composition {
        self.planned.clone()
    }

    pub(super) fn wanted(&self) -> NewEnvironment {
        NewEnvironment {
            id: EnvironmentId::parse(store::random_id()).expect("20 hexadecimal digits"),
            name: self.environment.name.clone(),
            kind: self.environment.kind,
            parent: self.parent.clone(),
            made: Vec::new(),
        }
    }

    pub(super) fn expectations(&self, source: &EnvironmentName, ago: &str) -> Vec<String> {
        let Self { environment, parent, blueprint, .. } = self;
        let name = &environment.name;
        let route = match (&blueprint.host, blueprint.is_started) {
            (Some(host), true) => format!("Its application is started, and answers as {host}."),
            (_, true) => "Its application is started; it gets no route, since no host name is laid down.".to_owned(),
            (_, false) => {
                "It gets its data and no route: the project's provisioning names no program that starts an application."
                    .to_owned()
            }
        };
        vec![
            format!("{name} is made with the services and mounts of {parent}, and gets what {source} held {ago} ago."),
            route,
            format!("{source} goes on as it is. If anything fails, everything that was made is taken away."),
        ]
    }

    /// What stands already where the new environment's parts would be, or can't be reached.
    pub(super) async fn obstacles(&self, app: &App) -> Result<Vec<String>, Error> {
        let mut obstacles = Vec::new();
        obstacles.extend(self.taken_host(app, &mut *app.store().read().await?).await?.map(|it| it.to_string()));
        let blueprint = self.blueprint.clone();
        let looked = tokio::task::spawn_blocking(move || in_the_way(&blueprint)).await;
        obstacles.extend(looked.unwrap_or_default());
        Ok(obstacles)
    }

    async fn taken_host(&self, app: &App, db: &mut Db) -> Result<Option<Refusal>, Error> {
        let Some(host) = &self.blueprint.host else { return Ok(None) };
        let is_taken = environments::has_host(db, app.store().sealer(), host).await?;
        let refusal = || Refusal::new(format!("The host {host} leads to another environment.")).instead(ANOTHER_NAME);
        Ok(is_taken.then(refusal))
    }

    /// Whether name and host are free, and nobody is making one of this name.
    pub(super) async fn is_free(&self, app: &App, db: &mut Db, project: &ProjectId) -> Result<(), Error> {
        let name = &self.environment.name;
        if environments::by_name(db, project, name).await?.is_some() {
            return Err(Error::Conflict(Refusal::new(format!("The environment {name} exists already."))));
        }
        if let Some(refusal) = self.taken_host(app, db).await? {
            return Err(Error::Conflict(refusal));
        }
        let visible = environments::by_project(db, project).await?.into_iter().map(|environment| environment.id);
        let filter = Filter {
            kinds: vec![ActivityKind::Branch],
            states: vec![ActivityState::Pending, ActivityState::InProgress],
            ..Filter::default()
        };
        let scope = Scope::Project(project.clone(), visible.collect());
        let running = activities::list(db, &scope, &filter, u32::from(u16::MAX)).await?;
        let is_made = running.iter().any(|activity| {
            matches!(&activity.payload, Payload::RestoreSnapshot(restore)
                if restore.branch.as_ref().is_some_and(|new| new.name == *name))
        });
        if is_made {
            let refusal = Refusal::new(format!("An environment {name} is being made right now."));
            return Err(Error::Conflict(refusal.instead("Choose another name, or wait until it is there.")));
        }
        Ok(())
    }
}

const ANOTHER_NAME: &str = "Choose another name.";

/// What stands in the way of its parts. Blocks.
fn in_the_way(blueprint: &Blueprint) -> Vec<String> {
    let mut obstacles = Vec::new();
    if let Some(directory) = blueprint.directory.as_deref().filter(|directory| Path::new(directory).exists()) {
        obstacles.push(format!("{directory} exists already: choose another name, or have it removed."));
    }
    let services = blueprint.composition.services.iter().filter(|service| service.connection.file().is_none());
    for service in services {
        let tried = drivers::connect(&service.connection).and_then(|driver| driver.test());
        match tried {
            Err(drivers::Error::NoDatabase { .. }) => {}
            Ok(_) => obstacles.push(format!(
                "{} exists already: choose another name, or have it removed.",
                service.connection.place()
            )),
            Err(error) => obstacles.push(sentence(&format!("service {}: {error}", service.name))),
        }
    }
    obstacles
}

/// Whether a new environment may be made of snapshots of this one.
pub(super) async fn offer(db: &mut Db, from: &Authorized<RestoreSnapshot>) -> Result<Offer, Error> {
    let on = from.on();
    let verdict: Verdict = match projects::provision(db, &on.project.id).await? {
        None => Err(not_provided()),
        Some(contract) => {
            let name = on.environment.name.clone();
            let new = prospective(on.project.id.clone(), name.clone(), name, contract.kind);
            from.standing().may(Act::CreateEnvironment, &new)
        }
    };
    Ok(verdict.into())
}

fn not_provided() -> Refusal {
    Refusal::new("New environments are not provided for in this project.").instead(
        "Ask the operator to lay down how they are made ([project.provision] in the declaration), or restore into an \
         environment that exists (--target).",
    )
}

/// Its id is that of a plan: made up when it is asked for.
fn prospective(
    project: ProjectId,
    name: EnvironmentName,
    parent: EnvironmentName,
    kind: EnvironmentKind,
) -> Environment {
    Environment {
        id: NewEnvironment::planned_id(),
        project,
        title: name.to_string(),
        name,
        parent: Some(parent),
        kind,
        status: EnvironmentStatus::Active,
        live: false,
        created_at: Timestamp::from_micros(0),
        updated_at: Timestamp::from_micros(0),
    }
}
