//! Restoring: all of a snapshot or nothing of it, and what it replaced is kept as a snapshot of its own (R22-R25).
//!
//! 0. Deal with what an earlier try left: take a half-done swap back, finish a whole one.
//! 1. Ask again whether the initiator may, and whether the confirmed plan still fits (R1, R25).
//! 2. Share the repository (R14).                        Given back when dropped; expires.
//! 3. Load everything beside the live data; check it.    What was loaded is removed.
//!    What can only be loaded in place is fetched and looked at.
//! 4. In the swap hold: fix the present data, exchange.  The journal rolls back; the gate stays shut until then.
//! 5. Open the gate. The site serves what was restored.  What was paused for it goes on; that it must is stored.
//! 6. Store what was replaced as the safety snapshot.    It stays beside until that is complete.
//! 7. Catalogue it and end the activity, in one transaction.
//! 8. Remove what stood beside.                          The next start does it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::context::Context;
use super::hooks::{self, Hooks};
use super::journal::{Body, Journal, MountSwap, ServiceSwap};
use super::load::{Reading, blocking, expected};
use super::parts::Parts;
use super::paths::{self, Held};
use super::progress::watched;
use super::snapshot::{may_still, subject};
use super::{ATTEMPTS, Error, crash_point, recovery, safety, swap};
use crate::domain::activity::RestoreSnapshot;
use crate::domain::environment::{Environment, EnvironmentStatus};
use crate::domain::ids::ServiceName;
use crate::domain::manifest::MountEntry;
use crate::domain::policy::acts::Act;
use crate::domain::policy::{Refusal, RestorePlan};
use crate::domain::snapshot::{Proof, Snapshot};
use crate::domain::{Bytes, PartName};
use crate::engine::{self, Repository};
use crate::queue::{self, Lease, Work};
use crate::store::swaps::Stage;
use crate::store::{environments, snapshots};

pub(super) async fn run(context: &Context, work: &Work, request: RestoreSnapshot) -> Result<(), Error> {
    let Err(error) = steps(context, work, request).await else { return Ok(()) };
    let is_told = matches!(error, Error::NoSafety(_) | Error::Queue(queue::Error::LeaseLost(_)));
    if is_told || !is_swapped(context, work).await {
        return Err(error);
    }
    // Whatever it was, the site serves what was restored: who reads only of a failure restores once more.
    Err(Error::NoSafety(Box::new(error)))
}

/// What can't be written any more, on a full disk, can still be read.
async fn is_swapped(context: &Context, work: &Work) -> bool {
    let (activity, environment) = (work.activity.id.clone(), work.activity.environment.clone());
    let journal = Journal { context, activity, environment };
    matches!(journal.read().await, Ok(Some((Stage::Swapped, _))))
}

async fn steps(context: &Context, work: &Work, request: RestoreSnapshot) -> Result<(), Error> {
    let (project, environment) = subject(context, &work.activity).await?;
    let activity = work.activity.id.clone();
    let journal = Journal { context, activity: activity.clone(), environment: environment.id.clone() };
    let lease = &work.lease;
    let repository_lease = Arc::new(context.share_repository(&project.id, activity.as_str()).await?);
    let job = {
        let (lease, repository_lease, runtime) = (lease.clone(), Arc::clone(&repository_lease), Handle::current());
        engine::Job::new(move || {
            runtime.block_on(async { lease.confirm().await.is_ok() && repository_lease.confirm().await.is_ok() })
        })
    };
    let keeping = safety::Keeping {
        context,
        job: &job,
        project: &project,
        environment: &environment,
        journal: &journal,
        is_again: work.attempt > 1,
    };

    recovery::take_back_others(context, &environment.id).await?;
    if let Some((stage, body)) = journal.read().await? {
        let parts = connected(context, &environment).await?;
        match stage {
            Stage::Swapped => {
                lease.log("Going on after an interruption: the swap was complete").await?;
                swap::open(context, &environment.id).await;
                hooks::resume_left(context, &environment.id).await?;
                return keeping.keep(lease, &parts, &body, &request.safety, Proof::default()).await;
            }
            Stage::Swapping | Stage::RollingBack => {
                lease.log("An earlier try was interrupted in the middle of the swap: taking it back").await?;
                swap::recover(context, &journal, &parts, &body).await?;
                swap::discard(&journal, &parts, &body).await?;
            }
            Stage::Loading | Stage::Kept => {
                // Nothing is half exchanged, but a gate may have shut itself when the earlier try died in its hold.
                swap::open(context, &environment.id).await;
                swap::discard(&journal, &parts, &body).await?;
            }
            Stage::Done => {}
        }
        journal.write(Stage::Done, &Body::default()).await?;
    }
    hooks::resume_left(context, &environment.id).await?;
    if work.attempt > ATTEMPTS {
        return Err(Error::TooManyAttempts(ATTEMPTS));
    }

    may_still(context, &work.activity, &project, &environment, Act::RestoreSnapshot).await?;
    if let Some(source) = &request.from {
        let mut db = context.store().read().await?;
        let source = environments::by_id(&mut db, &source.id).await?;
        drop(db);
        let source = source.ok_or_else(|| Refusal::new("The snapshot's environment does not exist any more."))?;
        may_still(context, &work.activity, &project, &source, Act::RestoreSnapshot).await?;
    }
    let (snapshot, all_mounts, mut plan) = planned(context, &environment, &request).await?;
    let hooks = Hooks::load(context, lease, &work.activity, &environment).await?;
    // Only what is replaced has to work.
    let (parts, _) = context.parts(&environment.id, &request.scope).await?;
    plan.in_place = in_place(&parts, &plan).await?;
    plan.announced(request.plan_hash.as_deref())?;
    let repository = context.repository(&project.id).await?;
    let loading = Loading { context, lease, job: &job, journal: &journal, repository, snapshot, all_mounts, plan };
    let mut body = Body::default();
    let loaded = watched(lease, &job, loading.load(&parts, &mut body)).await;
    let swapped = match loaded {
        Ok(_) if lease.is_cancelled() => Err(Error::Cancelled),
        Ok(_) => hooks.paused(swap::swap(context, &journal, &hooks, lease, &parts, &mut body)).await,
        Err(error) => Err(error),
    };
    let report = match swapped {
        Ok(report) => report,
        Err(error @ (Error::Mixed(_) | Error::Queue(_))) => return Err(error),
        Err(error) => {
            // Whoever has the activity now has its journal too.
            if let Err(lost @ queue::Error::LeaseLost(_)) = lease.confirm().await {
                return Err(lost.into());
            }
            let removed = async {
                // One that may say "swapping", its answer lost, must not outlive what it speaks of.
                journal.write(Stage::Loading, &body).await?;
                swap::discard(&journal, &parts, &body).await?;
                journal.write(Stage::Done, &Body::default()).await
            };
            // Not the reason, though it may have the same cause; tried again now and then.
            if let Err(left) = removed.await {
                tracing::warn!(activity.id = %activity, error = %left.for_people(), "what was loaded stays beside");
            }
            return Err(error);
        }
    };
    let proof = Proof { in_place: body.in_place(), ..report.proof() };
    lease.log(&format!("Restored. {}", proof.sentence())).await?;
    for kept in body.mounts.iter().filter_map(|swap| swap.aside.as_ref()).flat_map(|aside| aside.kept()) {
        lease.log(&kept).await?;
    }
    keeping.keep(lease, &parts, &body, &request.safety, proof).await
}

/// The parts as declared, not tested: in the middle of a swap a test may fail.
pub(super) async fn connected(context: &Context, environment: &Environment) -> Result<Parts, Error> {
    let mut db = context.store().read().await?;
    Parts::connect(&environments::composition(&mut db, context.store().sealer(), &environment.id).await?)
}

/// The services that can only be loaded in the hold.
async fn in_place(parts: &Parts, plan: &RestorePlan) -> Result<Vec<ServiceName>, Error> {
    let mut found = Vec::new();
    for entry in &plan.services {
        let service = Arc::clone(swap::service(parts, entry.name.as_str())?);
        let asked = blocking(move || service.driver.in_place().map_err(Error::part(service.label()))).await?;
        found.extend(asked.map(|_| entry.name.clone()));
    }
    Ok(found)
}

async fn planned(
    context: &Context,
    environment: &Environment,
    request: &RestoreSnapshot,
) -> Result<(Snapshot, Vec<MountEntry>, RestorePlan), Error> {
    if environment.status != EnvironmentStatus::Active {
        return Err(Refusal::new("The environment is not active.").instead("Activate it, then restore.").into());
    }
    let mut db = context.store().read().await?;
    let snapshot = snapshots::by_name(&mut db, &request.snapshot).await?;
    let source = request.from.as_ref().map_or(&environment.id, |source| &source.id);
    let snapshot = snapshot.filter(|snapshot| snapshot.environment == *source);
    let gone = || Refusal::new(format!("The snapshot {} does not exist any more.", request.snapshot));
    let snapshot = snapshot.ok_or_else(gone)?;
    let manifest = snapshots::manifest(&mut db, &request.snapshot).await?.ok_or_else(gone)?;
    let composition = environments::composition(&mut db, context.store().sealer(), &environment.id).await?;
    let plan = RestorePlan::new(&environment.id, &manifest, &composition, &request.scope)?;
    if request.plan_hash.as_ref().is_some_and(|confirmed| !plan.replaces(confirmed)) {
        return Err(Refusal::new("The environment has changed since the restore was confirmed.")
            .instead("Look at what would be replaced now, and confirm again.")
            .into());
    }
    Ok((snapshot, manifest.mounts, plan))
}

pub(super) struct Loading<'a> {
    pub context: &'a Context,
    pub lease: &'a Lease,
    pub job: &'a engine::Job,
    pub journal: &'a Journal<'a>,
    pub repository: Repository,
    pub snapshot: Snapshot,
    /// That the snapshot holds.
    pub all_mounts: Vec<MountEntry>,
    pub plan: RestorePlan,
}

impl Loading<'_> {
    /// What is going to be read. Sizes of single services are not recorded: of several, all count.
    fn size(&self, held: &[Held]) -> Bytes {
        let all: Bytes = self.all_mounts.iter().map(|mount| Bytes(mount.bytes)).sum();
        let services = Bytes(self.snapshot.size.0.saturating_sub(all.0));
        let mounts = self.plan.mounts.iter().map(|mount| expected(mount, held).bytes).sum::<Bytes>();
        mounts + if self.plan.services.is_empty() { Bytes(0) } else { services }
    }

    fn reading(&self) -> Reading {
        Reading { repository: self.repository.clone(), job: self.job.clone(), id: self.snapshot.repository_id.clone() }
    }

    /// Step 3. What was loaded stands in `body`, and in the journal, before it is loaded. Gives how long each part took.
    pub async fn load(&self, parts: &Parts, body: &mut Body) -> Result<Vec<(PartName, Duration)>, Error> {
        let mut took = Vec::new();
        let name = &self.snapshot.name;
        let held = {
            let (reading, plan, all) = (self.reading(), self.plan.clone(), self.all_mounts.clone());
            blocking(move || paths::held((&reading.repository, &reading.job, &reading.id), &plan, &all)).await?
        };
        let bytes = self.size(&held);
        self.lease.log(&format!("Loading {bytes} of {name} beside the live data")).await?;
        self.job.expect_bytes(bytes.0);
        let order = parts.outermost_first();
        let place = |entry: &&MountEntry| order.iter().position(|mount| *mount.name() == entry.name);
        let mut entries: Vec<&MountEntry> = self.plan.mounts.iter().collect();
        entries.sort_by_key(place);
        for entry in entries {
            let begun = Instant::now();
            let mount = Arc::clone(swap::mount(parts, entry.name.as_str())?);
            let activity = self.journal.activity.clone();
            let beside = {
                let (mount, paths) = (Arc::clone(&mount), entry.paths.clone());
                blocking(move || {
                    let beside = match paths.as_slice() {
                        [] => mount.driver.beside_dir(&activity),
                        paths => mount.driver.beside_paths(&activity, paths),
                    };
                    beside.map_err(Error::part(mount.label()))
                })
                .await?
            };
            body.mounts.push(MountSwap { name: entry.name.clone(), beside: beside.clone(), aside: None });
            self.journal.write(Stage::Loading, body).await?;
            let name = entry.name.clone();
            let (reading, entry, held) = (self.reading(), entry.clone(), held.clone());
            let limits = blocking(move || reading.mount(&mount, &beside, &entry, &held)).await?;
            for limit in limits {
                self.lease.log(&limit).await?;
            }
            took.push((PartName::Mount(name), begun.elapsed()));
            crash_point("restore: a mount loaded");
        }
        for entry in &self.plan.services {
            let begun = Instant::now();
            let service = Arc::clone(swap::service(parts, entry.name.as_str())?);
            let directory = self.context.swap_directory(&self.journal.activity).join(entry.name.as_str());
            let beside = service.driver.beside(&directory).map_err(Error::part(service.label()))?;
            body.services.push(ServiceSwap { name: entry.name.clone(), beside, aside: None });
            self.journal.write(Stage::Loading, body).await?;
            let (reading, entry, name) = (self.reading(), entry.clone(), entry.name.clone());
            let beside = blocking(move || reading.service(&service, &directory, &entry)).await?;
            let was_announced = self.plan.in_place.contains(&name) || beside.in_place().is_none();
            if let Some(announced) = body.services.last_mut() {
                announced.beside = beside;
            }
            self.journal.write(Stage::Loading, body).await?;
            took.push((PartName::Service(name.clone()), begun.elapsed()));
            if !was_announced {
                // Its rights were taken since.
                let plan = RestorePlan { in_place: vec![name], ..self.plan.clone() };
                plan.announced(None)?;
            }
            crash_point("restore: a service loaded");
        }
        match self.plan.in_place.as_slice() {
            [] => self.lease.log("Everything is loaded and checked").await?,
            _ => self.lease.log("All that can be done beforehand is done; visitors are asked to come back").await?,
        }
        Ok(took)
    }
}
