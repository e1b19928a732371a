//! Taking an environment, or a whole project, out of the console.
//!
//! 0. Take back what an earlier restore left half done.
//! 1. Ask again whether the initiator may, and whether anything stands against it (R1).
//! 2. Look for the last snapshot, where one was asked for.     Without it nothing is removed.
//! 3. Only where a restore made it: close it to visitors.      It stays closed when step 4 fails, and can be removed again.
//! 4. Take away what was made for it, the last thing first.    Each is noted when it is gone; taking away twice does no harm.
//! 5. In one transaction: no name, no schedules, no routes,
//!    no addresses; what waited for it is cancelled; the end
//!    of the activity.
//!
//! **Invariant:** nothing that was there before us is deleted: files and databases that an operator declared stay where they
//! are. Snapshots go by the plan alone.

use std::path::{Path, PathBuf};

use super::branch::remove;
use super::context::Context;
use super::load::blocking;
use super::provisioner::About;
use super::snapshot::{may_still, subject};
use super::{ATTEMPTS, Error, crash_point, hooks, recovery};
use crate::authz;
use crate::domain::activity::{Made, Payload, Provisioned, RemoveEnvironment};
use crate::domain::environment::{Composition, Environment, EnvironmentStatus, Project, ServiceSpec};
use crate::domain::policy::acts::Act;
use crate::domain::policy::removal::Removal;
use crate::domain::policy::{Provision, Refusal};
use crate::domain::{EnvironmentId, Timestamp};
use crate::drivers::mount::{mount_point_in, remove_directory};
use crate::queue::Work;
use crate::store::work::{self, End};
use crate::store::{Db, activities, environments, projects, snapshots, swaps, users};

pub(super) async fn run(context: &Context, work: &Work, request: &RemoveEnvironment) -> Result<(), Error> {
    let (project, environment) = subject(context, &work.activity).await?;
    if work.attempt > ATTEMPTS {
        return Err(Error::TooManyAttempts(ATTEMPTS));
    }
    may_still(context, &work.activity, &project, &environment, Act::RemoveEnvironment).await?;
    settled(context, &environment).await?;
    let removal = removal(&mut *context.store().read().await?, &environment).await?;
    removal.may()?;
    removal.is_agreed(request.weighty)?;
    if let Some(name) = &request.after
        && snapshots::by_name(&mut *context.store().read().await?, name).await?.is_none()
    {
        let reason = format!("The last snapshot, {name}, was not taken, so nothing was removed.");
        let instead = "Its own entry says why. Ask again, with or without a last snapshot.";
        return Err(Refusal::new(reason).instead(instead).into());
    }
    closed_and_empty(context, work, &project, &environment).await?;

    let store = context.store();
    let mut tx = store.write().await?;
    activities::hold_off(&mut tx).await?;
    let now = work.lease.finish(&mut tx, &End::Success).await?;
    gone(context, &mut tx, &environment, now).await?;
    Ok(store.commit(tx).await?)
}

/// All environments of the project, one after the other; then the project itself.
pub(super) async fn run_project(context: &Context, work: &Work) -> Result<(), Error> {
    let (project, _) = subject(context, &work.activity).await?;
    if work.attempt > ATTEMPTS {
        return Err(Error::TooManyAttempts(ATTEMPTS));
    }
    let store = context.store();
    let mut db = store.read().await?;
    if let Some(user) = &work.activity.initiator.user {
        let user = users::open_by_id(&mut db, user).await?;
        let gone = || Refusal::new("The account of whoever asked for it is closed.");
        let standing = authz::standing_of(&mut db, &user.ok_or_else(gone)?, &project).await?;
        standing.may_in(Act::RemoveProject, &project.id)?;
    }
    drop(db);
    loop {
        let all = environments::by_project(&mut *store.read().await?, &project.id).await?;
        one_by_one(context, work, &project, &all).await?;
        let mut tx = store.write().await?;
        activities::hold_off(&mut tx).await?;
        // One that a restore made or that was declared meanwhile goes too.
        if environments::by_project(&mut tx, &project.id).await?.is_empty() {
            let now = work.lease.finish(&mut tx, &End::Success).await?;
            projects::set_removed(&mut tx, &project.id, Some(now)).await?;
            return Ok(store.commit(tx).await?);
        }
    }
}

async fn one_by_one(context: &Context, work: &Work, project: &Project, all: &[Environment]) -> Result<(), Error> {
    let store = context.store();
    for environment in all {
        settled(context, environment).await?;
        // That all of them go answers who was branched from whom.
        let mut removal = removal(&mut *store.read().await?, environment).await?;
        removal.all.retain(|other| other.id == environment.id);
        removal.unfinished.retain(|(_, payload)| !matches!(payload, Payload::RemoveProject(_)));
        removal.may()?;
    }
    for environment in all {
        work.lease.log(&format!("Removing {}", environment.name)).await?;
        closed_and_empty(context, work, project, environment).await?;
        let mut tx = store.write().await?;
        activities::hold_off(&mut tx).await?;
        work.lease.confirm_in(&mut tx).await?;
        let now = crate::store::clock::now(&mut tx, store.dialect()).await?;
        gone(context, &mut tx, environment, now).await?;
        store.commit(tx).await?;
        crash_point("removal: an environment of several");
    }
    Ok(())
}

/// What stands against it, as it is now.
pub(super) async fn removal(db: &mut Db, environment: &Environment) -> Result<Removal, Error> {
    let all = environments::by_project(db, &environment.project).await?;
    let unfinished = activities::unfinished(db, &environment.project).await?;
    Ok(Removal { environment: environment.clone(), all, unfinished })
}

/// Steps 0: nothing of an earlier restore is left that would still be needed.
async fn settled(context: &Context, environment: &Environment) -> Result<(), Error> {
    recovery::take_back_others(context, &environment.id).await?;
    hooks::resume_left(context, &environment.id).await?;
    let left = swaps::unfinished(&mut *context.store().read().await?).await?;
    if left.iter().any(|(_, of, _)| *of == environment.id) {
        let reason = format!("What a restore replaced still stands beside the data of {}.", environment.name);
        let instead = "It is stored and removed within minutes; its entry says if it can't be. Try again then.";
        return Err(Refusal::new(reason).instead(instead).into());
    }
    Ok(())
}

/// Steps 3 and 4.
async fn closed_and_empty(
    context: &Context,
    work: &Work,
    project: &Project,
    environment: &Environment,
) -> Result<(), Error> {
    let store = context.store();
    let mut db = store.read().await?;
    let Some(provisioned) = environments::provisioned(&mut db, &environment.id).await? else { return Ok(()) };
    let composition = environments::composition(&mut db, store.sealer(), &environment.id).await?;
    let contract = projects::provision(&mut db, &project.id).await?;
    spares_others(&mut db, context, &environment.id, &provisioned).await?;
    drop(db);
    if environment.status == EnvironmentStatus::Active {
        let mut tx = store.write().await?;
        work.lease.confirm_in(&mut tx).await?;
        let now = crate::store::clock::now(&mut tx, store.dialect()).await?;
        environments::set_status(&mut tx, environment, EnvironmentStatus::Inactive, now).await?;
        store.commit(tx).await?;
    }
    crash_point("removal: closed");
    let mut taking = Taking { context, work, project, environment, composition, contract, left: provisioned };
    match taking.all().await {
        Err(Error::Queue(lost)) => Err(Error::Queue(lost)),
        done => done.map_err(|error| Error::NotTakenAway(Box::new(error))),
    }
}

/// Another environment may have been declared on data that was made for this one, by another path or host: that stays.
async fn spares_others(
    db: &mut Db,
    context: &Context,
    environment: &EnvironmentId,
    provisioned: &Provisioned,
) -> Result<(), Error> {
    let all = environments::compositions_kept(db, context.store().sealer()).await?;
    for made in &provisioned.made {
        for (_, other) in all.iter().filter(|(id, _)| id != environment) {
            let used = match made {
                Made::Directory(path) => {
                    let mounts = other.mounts.iter().map(|it| PathBuf::from(&it.path));
                    let used = other.databases().into_iter().chain(mounts).find(|used| lies_in(used, Path::new(path)));
                    used.map(|used| used.display().to_string())
                }
                Made::Database { place, .. } => {
                    let same = |spec: &ServiceSpec| spec.connection.may_be(place);
                    other.services.iter().any(same).then(|| place.clone())
                }
                Made::ByProgram => None,
            };
            if let Some(used) = used {
                let reason = format!("Another environment uses {used}, which was made for this one, or seems to.");
                let instead = "Have that one declared elsewhere first, or remove it first.";
                return Err(Refusal::new(reason).instead(instead).into());
            }
        }
        if let Made::Directory(path) = made
            && let Some(point) = mount_point_in(Path::new(path))
        {
            let reason =
                format!("Another file system is mounted at {}: it is not deleted with what was made.", point.display());
            return Err(Refusal::new(reason).instead("Unmount it, then remove the environment again.").into());
        }
    }
    Ok(())
}

/// Whether a path leads into a directory, links resolved.
fn lies_in(path: &Path, directory: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    path.starts_with(directory) || real(path).starts_with(real(directory))
}

struct Taking<'a> {
    context: &'a Context,
    work: &'a Work,
    project: &'a Project,
    environment: &'a Environment,
    composition: Composition,
    contract: Option<Provision>,
    left: Provisioned,
}

impl Taking<'_> {
    /// In the order opposite to its making; what is gone is noted, for the next try.
    async fn all(&mut self) -> Result<(), Error> {
        while let Some(made) = self.left.made.last().cloned() {
            self.work.lease.confirm().await?;
            self.work.lease.log(&format!("Taking away {}", made.in_words())).await?;
            self.one(made).await?;
            crash_point("removal: taken away");
            self.left.made.pop();
            let store = self.context.store();
            let mut tx = store.write().await?;
            self.work.lease.confirm_in(&mut tx).await?;
            environments::set_provisioned(&mut tx, &self.environment.id, Some(&self.left)).await?;
            store.commit(tx).await?;
        }
        Ok(())
    }

    async fn one(&self, made: Made) -> Result<(), Error> {
        match made {
            Made::ByProgram => {
                let program = self.contract.as_ref().and_then(|contract| contract.program.as_ref());
                let program = program.ok_or_else(|| {
                    Refusal::new("The program that made it is not laid down any more.")
                        .instead("Lay it down again in the project's [project.provision].")
                })?;
                let Environment { name, kind, .. } = self.environment;
                let (parent, host) = (self.left.parent.clone(), self.left.host.clone());
                let mut about = About::new((self.project.id.clone(), name.clone(), *kind), parent, host);
                about.of(&self.composition);
                about.remove(program).await
            }
            Made::Database { name, place } => {
                let mut services = self.composition.services.iter();
                let spec = services.find(|spec| spec.name == name && spec.connection.place() == place);
                let spec = spec.cloned().ok_or_else(|| {
                    let reason = format!("{place} was made for it, and the declaration leads elsewhere now.");
                    Refusal::new(reason).instead("Declare it again as it was, or remove the database by hand.")
                })?;
                let beside = self.context.swap_directory(&self.work.activity.id).join(name.as_str());
                let label = format!("service {name}");
                blocking(move || remove(&spec.connection, &beside).map_err(Error::part(label))).await
            }
            Made::Directory(path) => {
                let label = format!("the directory {path}");
                blocking(move || remove_directory(Path::new(&path)).map_err(Error::part(label))).await
            }
        }
    }
}

/// Step 5, in the caller's transaction.
async fn gone(context: &Context, db: &mut Db, environment: &Environment, now: Timestamp) -> Result<(), Error> {
    for waiting in work::pending(db, &environment.id).await? {
        work::cancel_pending(db, &waiting, now).await?;
    }
    environments::set_provisioned(db, &environment.id, None).await?;
    Ok(environments::remove(db, context.store().sealer(), environment, now).await?)
}
