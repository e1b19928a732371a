//! Moving a project and its repository to another region (R27). A worker of that region does it: it must reach both places.
//!
//! 1. Ask again; try every environment's services and           Nothing to undo.
//!    mounts from here.
//! 2. Share the repository (R14); copy all of it, read it       What is copied stays: the next try reads it back instead of
//!    back, check every snapshot of the catalogue.              copying. Snapshots go on being taken.
//! 3. Once nobody uses it: have it alone, copy what came        As above. Who wants the repository waits.
//!    since, check that.
//! 4. In one transaction: the project's region and              From here on the old repository is not used any more. It is
//!    repository, what waits, the end of the activity.          never removed by us.
//!
//! **Invariant:** until step 4 the project is where it was, whatever happens; no snapshot is in the catalogue that was not
//! checked at the new place.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::context::Context;
use super::progress::watched;
use super::repositories::RepositoryLease;
use super::snapshot::subject;
use super::{ATTEMPTS, Error, crash_point};
use crate::authz;
use crate::domain::activity::MoveProject;
use crate::domain::environment::{EnvironmentStatus, Project};
use crate::domain::policy::Refusal;
use crate::domain::policy::acts::Act;
use crate::domain::policy::region::{self, Region};
use crate::domain::{ActivityId, Bytes, Scope};
use crate::engine::{self, Copied, Copy, Location, Repository};
use crate::queue::Work;
use crate::store::work::End;
use crate::store::{activities, clock, environments, leases, projects, regions, relocations, snapshots, swaps, users};

/// How long a moment is waited for in which nobody uses the repository.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

pub(super) async fn run(context: &Context, work: &Work, request: &MoveProject) -> Result<(), Error> {
    if work.attempt > ATTEMPTS {
        return Err(Error::TooManyAttempts(ATTEMPTS));
    }
    let (project, _) = subject(context, &work.activity).await?;
    let moving = Moving::begin(context, work, project, request).await?;
    moving.take_over().await?;
    moving.reach_everything().await?;
    let copy = moving.copy()?;
    let shared = Arc::new(context.share_repository(&moving.project.id, work.lease.activity().as_str()).await?);
    moving.has_room(&copy)?;
    work.lease.log(&format!("Copying {} to the region {}", copy.size()?, request.to)).await?;
    let (copy, _) = moving.round(copy, Arc::clone(&shared)).await?;
    crash_point("move: copied");
    let known = moving.entries().await?;
    moving.check(known.clone(), &shared).await?;
    work.lease.log(&format!("Everything is copied and read back; {}", checked(known.len()))).await?;
    drop(shared);

    let alone = Arc::new(moving.alone().await?);
    work.lease.log("Nobody uses the repository: what came since is copied").await?;
    moving.is_alone().await?;
    let (_, copied) = moving.round(copy, Arc::clone(&alone)).await?;
    let all = moving.entries().await?;
    // What was checked stays so as long as nothing left.
    let new = all.iter().filter(|id| copied.removed > 0 || !known.contains(id)).cloned().collect();
    moving.check(new, &alone).await?;
    moving.is_alone().await?;
    crash_point("move: checked");
    moving.switch(&all, &copied).await
}

fn checked(number: usize) -> String {
    match number {
        1 => "1 snapshot is checked at the new place".to_owned(),
        more => format!("{more} snapshots are checked at the new place"),
    }
}

struct Moving<'a> {
    context: &'a Context,
    work: &'a Work,
    project: Project,
    to: Region,
    access: projects::RepositoryAccess,
    place: PathBuf,
}

impl<'a> Moving<'a> {
    async fn begin(
        context: &'a Context,
        work: &'a Work,
        project: Project,
        request: &MoveProject,
    ) -> Result<Self, Error> {
        let mut db = context.store().read().await?;
        if let Some(user) = &work.activity.initiator.user {
            let user = users::open_by_id(&mut db, user).await?;
            let gone = || Refusal::new("The account of whoever asked for it is closed.");
            let standing = authz::standing_of(&mut db, &user.ok_or_else(gone)?, &project).await?;
            standing.may_in(Act::MoveProject, &project.id)?;
        }
        let to = regions::find(&mut db, &request.to).await?;
        let to = to.ok_or_else(|| Refusal::new(format!("There is no region {} any more.", request.to)))?;
        region::may_move(&project.region, &to)?;
        let place = region::place(&to, &project.id, context.data())?;
        let access = projects::repository(&mut db, context.store().sealer(), &project.id).await?;
        Ok(Self { context, work, project, to, access, place })
    }

    /// A try that died may have had the repository for itself. It has lost the activity too, so it finishes nothing.
    async fn take_over(&self) -> Result<(), Error> {
        let store = self.context.store();
        let mut tx = store.write().await?;
        self.work.lease.confirm_in(&mut tx).await?;
        for attempt in 1..self.work.attempt {
            leases::give_back(&mut tx, &alone(&self.work.activity.id, attempt)).await?;
        }
        Ok(store.commit(tx).await?)
    }

    /// Step 1: a region whose workers don't reach the sites is none that a project can be in.
    async fn reach_everything(&self) -> Result<(), Error> {
        let all = environments::by_project(&mut *self.context.store().read().await?, &self.project.id).await?;
        for environment in all.iter().filter(|environment| environment.status == EnvironmentStatus::Active) {
            if let Err(error) = self.context.parts(&environment.id, &Scope::default()).await {
                let reason = format!(
                    "The environment {} does not work from the region {}: {}",
                    environment.name,
                    self.to.id,
                    error.for_people()
                );
                let instead = "Nothing was changed. Let that region's workers reach it, then move the project again.";
                return Err(Refusal::new(reason).instead(instead).into());
            }
        }
        Ok(())
    }

    fn location(&self) -> Location {
        Location::Local(self.place.clone())
    }

    fn copy(&self) -> Result<Copy, Error> {
        Ok(Copy::new(&Location::Local(self.access.location.clone().into()), &self.location())?)
    }

    fn has_room(&self, copy: &Copy) -> Result<(), Error> {
        let needed = copy.missing()?;
        let free = free(&self.place).map_err(Error::io(format!("{} can't be looked at", self.place.display())))?;
        Ok(region::has_room(&self.to, needed, free)?)
    }

    async fn entries(&self) -> Result<Vec<String>, Error> {
        Ok(snapshots::entries(&mut *self.context.store().read().await?, &self.project.id).await?)
    }

    /// Goes on while both leases stand.
    fn job(&self, lease: &Arc<RepositoryLease>) -> engine::Job {
        let (own, lease, runtime) = (self.work.lease.clone(), Arc::clone(lease), Handle::current());
        engine::Job::new(move || {
            runtime.block_on(async { own.confirm().await.is_ok() && lease.confirm().await.is_ok() })
        })
    }

    async fn round(&self, mut copy: Copy, lease: Arc<RepositoryLease>) -> Result<(Copy, Copied), Error> {
        let job = self.job(&lease);
        let working = {
            let job = job.clone();
            tokio::task::spawn_blocking(move || {
                let copied = copy.round(&job, &|| crash_point("move: a file copied"))?;
                Ok::<_, Error>((copy, copied))
            })
        };
        watched(&self.work.lease, &job, working).await?
    }

    async fn check(&self, entries: Vec<String>, lease: &Arc<RepositoryLease>) -> Result<(), Error> {
        let (job, location, key) = (self.job(lease), self.location(), self.access.key.clone());
        let working = {
            let job = job.clone();
            tokio::task::spawn_blocking(move || Ok(Repository::open(&location, &key)?.check(&job, &entries)?))
        };
        watched(&self.work.lease, &job, working).await?
    }

    /// Step 3.
    async fn alone(&self) -> Result<RepositoryLease, Error> {
        let (store, since) = (self.context.store(), tokio::time::Instant::now());
        let id = self.alone_id();
        loop {
            let mut mark = store.mark();
            match self.context.reserve_repository(&self.project.id, &id).await {
                Err(Error::RepositoryBusy) if self.work.lease.is_cancelled() => return Err(Error::Cancelled),
                Err(Error::RepositoryBusy) if since.elapsed() < PATIENCE => store.changed(&mut mark).await,
                Err(Error::RepositoryBusy) => {
                    let reason = "The repository was in use all the time for an hour, so nothing was changed.";
                    let instead = "Move the project again when less goes on; what is copied is not copied again.";
                    return Err(Refusal::new(reason).instead(instead).into());
                }
                taken => return taken,
            }
        }
    }

    fn alone_id(&self) -> String {
        alone(&self.work.activity.id, self.work.attempt)
    }

    /// Locks that other restic programs left are honoured (R14): what they are writing would stay behind.
    async fn is_alone(&self) -> Result<(), Error> {
        let repository = self.context.repository(&self.project.id).await?;
        Ok(tokio::task::spawn_blocking(move || repository.heed_every_lock()).await??)
    }

    /// Step 4. `checked`: every entry that is at the new place.
    async fn switch(&self, checked: &[String], copied: &Copied) -> Result<(), Error> {
        let store = self.context.store();
        let location = self.place.to_str().map(str::to_owned);
        let location = location.ok_or_else(|| engine::Error::BadLocation { path: self.place.clone() })?;
        self.work
            .lease
            .log(&format!(
                "{} in {} files are in the region {}; the old repository stays where it is, until an operator removes it",
                copied.size, copied.files, self.to.id
            ))
            .await?;
        let mut tx = store.write().await?;
        activities::hold_off(&mut tx).await?;
        let now = clock::now(&mut tx, store.dialect()).await?;
        let is_alone = leases::is_held(&mut tx, &self.alone_id(), now).await?;
        let entries = snapshots::entries(&mut tx, &self.project.id).await?;
        if !is_alone || entries.iter().any(|entry| !checked.contains(entry)) {
            let reason = "The repository was used by somebody else meanwhile, so nothing was changed.";
            let instead = "Move the project again; what is copied is not copied again.";
            return Err(Refusal::new(reason).instead(instead).into());
        }
        let left = swaps::unfinished(&mut tx).await?;
        let all = environments::by_project(&mut tx, &self.project.id).await?;
        if let Some(environment) = all.iter().find(|it| left.iter().any(|(_, of, _)| *of == it.id)) {
            let reason = format!("What a restore of {} replaced is still being put away.", environment.name);
            let instead =
                "Nothing was changed. Move the project again in some minutes; what is copied is not copied again.";
            return Err(Refusal::new(reason).instead(instead).into());
        }
        let now = self.work.lease.finish(&mut tx, &End::Success).await?;
        relocations::switch(&mut tx, &self.project.id, (&self.to.id, &location), now).await?;
        Ok(store.commit(tx).await?)
    }
}

/// Name of the exclusive lease: each try has its own, so that one that was given up gives nothing back.
fn alone(activity: &ActivityId, attempt: i64) -> String {
    format!("move-{activity}-{attempt}")
}

/// Bytes that the file system of a path, or of what it will be made in, has left.
pub fn free(path: &std::path::Path) -> std::io::Result<Bytes> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(path);
    let told = rustix::fs::statvfs(there)?;
    Ok(Bytes(told.f_bavail.saturating_mul(told.f_frsize)))
}
