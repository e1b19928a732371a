//! Restoring into an environment that is made for it: whole, with its application answering, or not there at all (R21).
//!
//! 0. Take away what an earlier try made.
//! 1. Ask again whether the initiator may, and whether the confirmed plan still fits (R1, R25).
//! 2. Share the repository (R14).                          Given back when dropped; expires.
//! 3. Make every service and mount, empty.                 Each is noted before it is begun, and taken away.
//! 4. Load each, check it, put it in place.                Goes with the service or mount.
//! 5. Start the application; wait until it answers.        The program is told to remove it.
//! 6. In one transaction: the environment, the first line of its feed, the end of the activity.
//!
//! Until step 6 there is no environment, so nobody visits it: no hold is needed, and nothing is kept of what the snapshot
//! replaces.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;

use super::context::Context;
use super::load::{Reading, blocking};
use super::parts::{Parts, ServicePart};
use super::progress::watched;
use super::provisioner::{About, Started};
use super::snapshot::{may_still, subject};
use super::{ATTEMPTS, Error, crash_point, swap};
use crate::domain::Timestamp;
use crate::domain::activity::{
    ActivityKind, BranchEnvironment, Made, NewEnvironment, Payload, Provisioned, RestoreSnapshot, Source,
};
use crate::domain::environment::{Composition, Environment, EnvironmentStatus, Project, RouteSpec};
use crate::domain::ids::ServiceName;
use crate::domain::manifest::Manifest;
use crate::domain::policy::acts::Act;
use crate::domain::policy::{Blueprint, Provision, Refusal, RestorePlan};
use crate::domain::snapshot::Snapshot;
use crate::drivers::mount::{make_directory, remove_directory};
use crate::drivers::{self, Error as DriverError};
use crate::engine;
use crate::queue::{self, Lease, NewActivity, Work};
use crate::store::work::End;
use crate::store::{Db, environments, projects, snapshots};

pub(super) async fn run(
    context: &Context,
    work: &Work,
    request: RestoreSnapshot,
    new: NewEnvironment,
) -> Result<(), Error> {
    let (project, source) = subject(context, &work.activity).await?;
    let planned = laid_down(context, &project, &new).await.and_then(|(contract, parent)| {
        let blueprint = contract.blueprint(&new.name, &parent)?;
        Ok((contract, parent, blueprint))
    });
    let (contract, parent, blueprint) = match planned {
        // It says how to take away what an earlier try made.
        Err(Error::Refused(refusal)) if !new.made.is_empty() => {
            return Err(Error::LeftBehind { why: refusal.to_string(), left: Box::new(refusal.into()) });
        }
        planned => planned?,
    };
    let about =
        About::new((project.id.clone(), new.name.clone(), new.kind), new.parent.clone(), blueprint.host.clone());
    let mut making = Making { context, work, project, source, request, new, contract, parent, blueprint, about };
    // An earlier try may have got anywhere, and its end is not known.
    making.take_away().await?;
    let made = match work.attempt > ATTEMPTS {
        true => Err(Error::TooManyAttempts(ATTEMPTS)),
        false => making.make().await,
    };
    match made {
        Ok(()) => Ok(()),
        // Somebody else works on it now, and begins with this.
        Err(Error::Queue(error)) => Err(Error::Queue(error)),
        Err(error) => match making.take_away().await {
            Ok(()) => Err(error),
            Err(Error::Queue(lost)) => Err(Error::Queue(lost)),
            Err(left) => Err(Error::LeftBehind { why: error.for_people(), left: Box::new(left) }),
        },
    }
}

struct Making<'a> {
    context: &'a Context,
    work: &'a Work,
    project: Project,
    /// Where the snapshot was taken.
    source: Environment,
    request: RestoreSnapshot,
    new: NewEnvironment,
    contract: Provision,
    /// What the environment consists of that the new one is made after.
    parent: Composition,
    blueprint: Blueprint,
    about: About,
}

/// The contract and the parent, as they are now.
async fn laid_down(
    context: &Context,
    project: &Project,
    new: &NewEnvironment,
) -> Result<(Provision, Composition), Error> {
    let mut db = context.store().read().await?;
    let contract = projects::provision(&mut db, &project.id).await?;
    let contract =
        contract.ok_or_else(|| Refusal::new("New environments are not provided for in this project any more."))?;
    let parent = environments::by_name(&mut db, &project.id, &new.parent).await?;
    let parent =
        parent.ok_or_else(|| Refusal::new(format!("The environment {} does not exist any more.", new.parent)))?;
    Ok((contract, environments::composition(&mut db, context.store().sealer(), &parent.id).await?))
}

impl Making<'_> {
    fn lease(&self) -> &Lease {
        &self.work.lease
    }

    /// Steps 1 to 6.
    async fn make(&mut self) -> Result<(), Error> {
        let (context, lease) = (self.context, self.work.lease.clone());
        let environment = self.environment(Timestamp::now());
        may_still(context, &self.work.activity, &self.project, &self.source, Act::RestoreSnapshot).await?;
        may_still(context, &self.work.activity, &self.project, &environment, Act::CreateEnvironment).await?;
        self.is_free(&mut *context.store().read().await?).await?;
        let (snapshot, manifest) = self.snapshot().await?;
        let plan = self.planned(&manifest)?;
        let repository_lease = Arc::new(context.share_repository(&self.project.id, lease.activity().as_str()).await?);
        let job = {
            let (lease, shared, runtime) = (lease.clone(), Arc::clone(&repository_lease), Handle::current());
            engine::Job::new(move || {
                runtime.block_on(async {
                    lease.confirm().await.is_ok() && !lease.is_cancelled() && shared.confirm().await.is_ok()
                })
            })
        };
        job.expect_bytes(snapshot.size.0);
        let repository = context.repository(&self.project.id).await?;
        let reading = Reading { repository, job: job.clone(), id: snapshot.repository_id };

        lease.log(&format!("Making {} with the services and mounts of {}", self.new.name, self.new.parent)).await?;
        let composition = self.empty().await?;
        crash_point("branch: made");
        lease.log(&format!("Loading {} of {}", snapshot.size, snapshot.name)).await?;
        watched(&lease, &job, self.load(&reading, &composition, plan)).await?;
        lease.log("Everything is loaded and checked").await?;
        crash_point("branch: loaded");
        let started = self.start(&composition).await?;
        crash_point("branch: started");
        if lease.is_cancelled() {
            return Err(Error::Cancelled);
        }
        self.complete(composition, started).await
    }

    async fn snapshot(&self) -> Result<(Snapshot, Manifest), Error> {
        let name = &self.request.snapshot;
        let gone = || Refusal::new(format!("The snapshot {name} does not exist any more."));
        let mut db = self.context.store().read().await?;
        let snapshot = snapshots::by_name(&mut db, name).await?;
        let snapshot = snapshot.filter(|snapshot| snapshot.environment == self.source.id).ok_or_else(gone)?;
        let manifest = snapshots::manifest(&mut db, name).await?.ok_or_else(gone)?;
        Ok((snapshot, manifest))
    }

    /// Only names and kinds matter to it, so that it is the same before anything is made.
    fn planned(&self, manifest: &Manifest) -> Result<RestorePlan, Error> {
        let (id, composition) = (NewEnvironment::planned_id(), self.blueprint.planned(&self.parent));
        let plan = RestorePlan::new(&id, manifest, &composition, &self.request.scope)?.into_new()?;
        if self.request.plan_hash.as_ref().is_some_and(|confirmed| *confirmed != plan.hash()) {
            return Err(Refusal::new(format!(
                "The environment {} has changed since this was confirmed.",
                self.new.parent
            ))
            .instead("Look at what would be made now, and confirm again.")
            .into());
        }
        Ok(plan)
    }

    /// Step 3. Gives what there is now, all of it empty.
    async fn empty(&mut self) -> Result<Composition, Error> {
        let mut composition = self.blueprint.composition.clone();
        if let (Some(program), false) = (self.contract.program.clone(), self.blueprint.asked.is_empty()) {
            self.note(Made::ByProgram).await?;
            self.about.of(&composition);
            let asked = self.blueprint.asked.clone();
            composition.services.extend(self.about.make(&program, self.lease(), &asked).await?);
        }
        if let Some(directory) = self.blueprint.directory.clone() {
            let path = PathBuf::from(&directory);
            if path.symlink_metadata().is_ok() {
                return Err(Error::part(DIRECTORY)(DriverError::Exists { path }));
            }
            self.provision(Made::Directory(directory), DIRECTORY, move || make_directory(&path)).await?;
        }
        let parts = Parts::connect(&composition)?;
        for service in parts.services.iter().cloned() {
            let label = service.label();
            let is_in_directory = service.spec.connection.file().is_some();
            let is_asked = self.blueprint.asked.iter().any(|(name, _)| name == service.name());
            if is_in_directory || is_asked {
                // Goes with the directory, or with what the program made.
                blocking(move || service.driver.provision().map_err(Error::part(label))).await?;
                continue;
            }
            let made = Made::Database { name: service.name().clone(), place: service.spec.connection.place() };
            if !self.new.made.contains(&made) {
                let absent = Arc::clone(&service);
                blocking(move || is_absent(&absent).map_err(Error::part(absent.label()))).await?;
            }
            self.provision(made, &label, move || service.driver.provision()).await?;
        }
        for mount in parts.outermost_first() {
            let like = self.parent.mounts.iter().find(|like| like.name == *mount.name());
            let like = PathBuf::from(like.map(|like| like.path.clone()).unwrap_or_default());
            let label = mount.label();
            blocking(move || mount.driver.provision(&like).map_err(Error::part(label))).await?;
        }
        let rules = self.context.rules(&self.new.id).await?;
        blocking(move || parts.test(&rules)).await?;
        Ok(composition)
    }

    /// Makes one thing, noted before: but what stood there already is not ours to take away.
    async fn provision(
        &mut self,
        made: Made,
        label: &str,
        work: impl FnOnce() -> Result<(), DriverError> + Send + 'static,
    ) -> Result<(), Error> {
        self.note(made.clone()).await?;
        let done = tokio::task::spawn_blocking(work).await?;
        if matches!(done, Err(DriverError::Exists { .. } | DriverError::DatabaseExists { .. })) {
            self.new.made.retain(|other| *other != made);
            self.write_down().await?;
        }
        done.map_err(Error::part(label))
    }

    async fn note(&mut self, made: Made) -> Result<(), Error> {
        if self.new.made.contains(&made) {
            return Ok(());
        }
        self.new.made.push(made);
        self.write_down().await
    }

    async fn write_down(&self) -> Result<(), Error> {
        let request = RestoreSnapshot { branch: Some(self.new.clone()), ..self.request.clone() };
        Ok(self.lease().note(&Payload::RestoreSnapshot(request)).await?)
    }

    /// Step 4.
    async fn load(&self, reading: &Reading, composition: &Composition, plan: RestorePlan) -> Result<(), Error> {
        let parts = Parts::connect(composition)?;
        for entry in plan.mounts {
            let mount = Arc::clone(swap::mount(&parts, entry.name.as_str())?);
            let (reading, activity) = (reading.clone(), self.work.activity.id.clone());
            let limits = blocking(move || {
                let failed = || Error::part(mount.label());
                let beside = mount.driver.beside_dir(&activity).map_err(failed())?;
                let limits = reading.mount(&mount, &beside, &entry, &[])?;
                let aside = mount.driver.prepare(&beside).map_err(failed())?;
                mount.driver.commit(&beside, &aside, &crash_point).map_err(failed())?;
                mount.driver.discard(&beside, Some(&aside)).map_err(failed())?;
                Ok(limits)
            });
            for limit in limits.await? {
                self.lease().log(&limit).await?;
            }
        }
        for entry in plan.services {
            let service = Arc::clone(swap::service(&parts, entry.name.as_str())?);
            let (reading, directory) = (reading.clone(), self.scratch(&entry.name));
            let loading = blocking(move || {
                let failed = || Error::part(service.label());
                let beside = reading.service(&service, &directory, &entry)?;
                let aside = service.driver.prepare(&beside).map_err(failed())?;
                service.driver.commit(&beside, &aside).map_err(failed())?;
                service.driver.discard(&beside, Some(&aside)).map_err(failed())
            });
            loading.await?;
            crash_point("branch: a service loaded");
        }
        Ok(())
    }

    /// Names what is loaded beside a service, also for the next try.
    fn scratch(&self, service: &ServiceName) -> PathBuf {
        self.context.swap_directory(&self.work.activity.id).join(service.as_str())
    }

    /// Step 5.
    async fn start(&mut self, composition: &Composition) -> Result<Option<Started>, Error> {
        let Some(program) = self.contract.program.clone() else { return Ok(None) };
        // Last, also where the program has made services before: an application ends before its data goes.
        self.new.made.retain(|made| *made != Made::ByProgram);
        self.note(Made::ByProgram).await?;
        self.about.of(composition);
        let started = self.about.start(&program, self.lease()).await?;
        self.lease()
            .log(&format!("The application is started; waiting for {}{}", started.upstream, started.health))
            .await?;
        started.answers(self.blueprint.host.as_deref(), self.lease()).await?;
        Ok(Some(started))
    }

    fn environment(&self, now: Timestamp) -> Environment {
        Environment {
            id: self.new.id.clone(),
            project: self.project.id.clone(),
            name: self.new.name.clone(),
            title: self.new.name.to_string(),
            parent: Some(self.new.parent.clone()),
            kind: self.new.kind,
            status: EnvironmentStatus::Active,
            live: false,
            created_at: now,
            updated_at: now,
        }
    }

    /// Step 6.
    async fn complete(&self, mut composition: Composition, started: Option<Started>) -> Result<(), Error> {
        let upstream = started.map(|started| started.upstream);
        let route = self.blueprint.host.clone().zip(upstream).map(|(host, upstream)| RouteSpec { host, upstream });
        match &route {
            Some(route) => self.lease().log(&format!("{} answers as {}", self.new.name, route.host)).await?,
            None => self.lease().log(&format!("{} has its data and no route", self.new.name)).await?,
        }
        composition.routes.extend(route);
        let store = self.context.store();
        let mut tx = store.write().await?;
        self.is_free(&mut tx).await?;
        let now = self.lease().finish(&mut tx, &End::Success).await?;
        let environment = self.environment(now);
        environments::put(&mut tx, store.sealer(), &environment, &composition).await?;
        let (parent, host) = (self.new.parent.clone(), self.blueprint.host.clone());
        let provisioned = Provisioned { parent, host, made: self.new.made.clone() };
        environments::set_provisioned(&mut tx, &environment.id, Some(&provisioned)).await?;
        let source = Source { id: self.source.id.clone(), name: self.source.name.clone(), kind: self.source.kind };
        let branch =
            BranchEnvironment { snapshot: self.request.snapshot.clone(), source, parent: self.new.parent.clone() };
        let new = NewActivity {
            project: self.project.id.clone(),
            environment: environment.id,
            region: self.project.region.clone(),
            kind: ActivityKind::Branch,
            initiator: self.work.activity.initiator.clone(),
            payload: Payload::BranchEnvironment(branch),
        };
        queue::record_done(&mut tx, store, new).await?;
        Ok(store.commit(tx).await?)
    }

    /// Name and host may have been taken by a declaration meanwhile.
    async fn is_free(&self, db: &mut Db) -> Result<(), Error> {
        let name = &self.new.name;
        let project = projects::by_id(db, &self.project.id).await?;
        if project.is_none_or(|project| project.removed_at.is_some()) {
            return Err(Refusal::new("The project was removed meanwhile.").into());
        }
        if environments::by_name(db, &self.project.id, &self.new.parent).await?.is_none() {
            let reason = format!("The environment {}, which it is made after, was removed meanwhile.", self.new.parent);
            return Err(Refusal::new(reason).into());
        }
        if environments::by_name(db, &self.project.id, name).await?.is_some() {
            return Err(Refusal::new(format!("The environment {name} exists by now.")).into());
        }
        if let Some(host) = &self.blueprint.host
            && environments::has_host(db, self.context.store().sealer(), host).await?
        {
            return Err(Refusal::new(format!("The host {host} leads to another environment.")).into());
        }
        Ok(())
    }

    /// Everything that is noted, in the order opposite to its making; afterwards nothing is.
    async fn take_away(&mut self) -> Result<(), Error> {
        let scratch = self.context.swap_directory(&self.work.activity.id);
        while let Some(made) = self.new.made.last().cloned() {
            // Whoever has the activity now is making it anew.
            self.lease().confirm().await?;
            match made {
                Made::ByProgram => {
                    let program = self.contract.program.as_ref().ok_or_else(|| {
                        Refusal::new("The program that made it is not laid down any more.")
                            .instead("Lay it down again in the project's [project.provision].")
                    })?;
                    self.about.of(&self.blueprint.composition);
                    self.about.remove(program).await?;
                }
                Made::Database { name, place } => {
                    let services = &self.blueprint.composition.services;
                    let spec = services.iter().find(|spec| spec.name == name && spec.connection.place() == place);
                    let spec = spec.cloned().ok_or_else(|| {
                        let reason =
                            format!("The database {place} was made for it, and the declaration leads elsewhere now.");
                        Refusal::new(reason).instead("Remove it by hand.")
                    })?;
                    let beside = scratch.join(name.as_str());
                    let removing =
                        move || remove(&spec.connection, &beside).map_err(Error::part(format!("service {name}")));
                    blocking(removing).await?;
                }
                Made::Directory(path) => {
                    blocking(move || remove_directory(Path::new(&path)).map_err(Error::part(DIRECTORY))).await?;
                }
            }
            self.new.made.pop();
            self.write_down().await?;
        }
        self.lease().confirm().await?;
        blocking(move || remove_directory(&scratch).map_err(Error::part("what was loaded"))).await
    }
}

const DIRECTORY: &str = "the environment's directory";

/// What stands there already is not ours, neither to fill nor to take away.
fn is_absent(service: &ServicePart) -> Result<(), DriverError> {
    match service.driver.test() {
        Err(DriverError::NoDatabase { .. }) => Ok(()),
        Ok(_) => {
            let (at, database) = (service.spec.connection.place(), service.name().to_string());
            Err(DriverError::DatabaseExists { at, database })
        }
        Err(error) => Err(error),
    }
}

/// A database with what a load may have left beside it.
pub(super) fn remove(
    connection: &crate::domain::environment::ServiceConnection,
    directory: &Path,
) -> Result<(), DriverError> {
    let driver = drivers::connect(connection)?;
    driver.discard(&driver.beside(directory)?, None)?;
    driver.remove()
}
