//! Taking a snapshot: one complete entry, or none at all (R15).
//!
//! 1. Ask again whether the initiator may (R1).                 Nothing to undo.
//! 2. Share the repository (R14).                                Given back when dropped; expires.
//! 3. Connect and test every service and mount.                  Nothing to undo.
//! 4. Index the mounts, then upload them without a hold.         Unreferenced data goes at the next prune.
//! 5. In the snapshot hold: open every view at one instant.      The hold opens when dropped, or by its dead-man.
//!    What goes round the gate is paused for it (`hooks.rs`).    It goes on again; that it must is stored.
//! 6. Make the views independent, count rows.                    Scratch files go when dropped.
//! 7. Store the one entry, if the leases still stand.            Until then there is no snapshot.
//! 8. Catalogue it and end the activity, in one transaction.     A later try finds the entry by its name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::context::{Context, Scratch};
use super::hooks::{self, Hooks};
use super::instant::{self, Captured, Indexed};
use super::parts::{Parts, ServicePart, Sizes};
use super::progress::watched;
use super::{ATTEMPTS, Error, crash_point, recovery, retention, stream};
use crate::authz;
use crate::domain::activity::{Activity, Payload, SnapshotMode, TakeSnapshot};
use crate::domain::bytes::counted;
use crate::domain::environment::{Environment, Project};
use crate::domain::ids::{MountName, ServiceName};
use crate::domain::manifest::{Manifest, MountEntry, ServiceEntry};
use crate::domain::policy::Refusal;
use crate::domain::policy::acts::{Act, may_begin};
use crate::domain::snapshot::{Origin, Snapshot};
use crate::domain::time::span;
use crate::domain::{Bytes, Scope, SnapshotName, TicketId, Timestamp, UserId};
use crate::drivers::View;
use crate::drivers::mount::{Scan, Settled};
use crate::engine::{self, Archived, Contents, Entry, FinalTree, Repository, SourceTree, Stream};
use crate::queue::{Lease, Work};
use crate::store::users::User;
use crate::store::work::End;
use crate::store::{Db, activities, environments, logs, projects, regions, snapshots, tickets, users};

pub(super) async fn run(context: &Context, work: &Work, take: TakeSnapshot) -> Result<(), Error> {
    // First of all, so that what a try that died left goes whatever becomes of this one.
    let scratch = context.scratch(&work.activity.id)?;
    if work.attempt > ATTEMPTS {
        return Err(Error::TooManyAttempts(ATTEMPTS));
    }
    let (project, environment) = subject(context, &work.activity).await?;
    may_still(context, &work.activity, &project, &environment, Act::CreateSnapshot).await?;
    recovery::take_back_others(context, &environment.id).await?;
    hooks::resume_left(context, &environment.id).await?;
    let lease = &work.lease;
    let hooks = Hooks::load(context, lease, &work.activity, &environment).await?;
    let repository_lease = Arc::new(context.share_repository(&project.id, work.activity.id.as_str()).await?);
    let repository = context.repository(&project.id).await?;
    if work.attempt > 1
        && let Some((manifest, archived)) = stored_before(&repository, &take.snapshot).await?
    {
        lease.log("An earlier try had stored the snapshot already").await?;
        return complete(context, work, &environment, &project, &take, manifest, archived).await;
    }

    let (parts, sizes) = context.parts(&environment.id, &Scope::default()).await?;
    let job = {
        let (lease, repository_lease, runtime) = (lease.clone(), Arc::clone(&repository_lease), Handle::current());
        engine::Job::new(move || {
            // The lease learns of a wish to cancel when it is confirmed.
            runtime.block_on(async {
                lease.confirm().await.is_ok() && !lease.is_cancelled() && repository_lease.confirm().await.is_ok()
            })
        })
    };
    let (project, environment) = (&project, &environment);
    let taking = Taking { context, lease, job: &job, hooks: &hooks, project, environment, take: &take };
    let (manifest, archived) = watched(lease, &job, taking.entry(&repository, (&parts, sizes), &scratch)).await?;
    crash_point("snapshot: stored");
    complete(context, work, environment, project, &take, manifest, archived).await
}

/// Until whoever was in the way may have finished.
const AGAIN: Duration = Duration::from_secs(2);

struct Taking<'a> {
    context: &'a Context,
    lease: &'a Lease,
    job: &'a engine::Job,
    hooks: &'a Hooks<'a>,
    project: &'a Project,
    environment: &'a Environment,
    take: &'a TakeSnapshot,
}

impl Taking<'_> {
    /// Steps 4 to 7.
    async fn entry(
        &self,
        repository: &Repository,
        (parts, sizes): (&Parts, Sizes),
        scratch: &Scratch,
    ) -> Result<(Manifest, Archived), Error> {
        let mounts = Arc::new(index(parts).await?);
        let files: u64 = mounts.iter().map(|mount| mount.index.contents().files).sum();
        let services = counted(parts.services.len() as u64, "service");
        self.lease.log(&format!("Reading {services} and {}", counted(files, "file"))).await?;
        let expected: u64 = mounts.iter().map(|mount| mount.index.contents().bytes.0).sum();
        self.job.expect_bytes(expected + sizes.services.0);
        crash_point("snapshot: indexed");

        let parent = newest(self.context, self.environment).await?;
        let baseline = {
            let (repository, job, mounts) = (repository.clone(), self.job.clone(), Arc::clone(&mounts));
            let pre_copy = move || {
                let trees = mounts.iter().map(source_tree).collect::<Result<Vec<_>, _>>()?;
                Ok::<_, Error>(repository.pre_copy(&job, &trees, parent.as_deref())?)
            };
            tokio::task::spawn_blocking(pre_copy).await??
        };
        crash_point("snapshot: copied");

        let mut dumps = scratch.directory("dumps")?;
        let ahead = scratch.directory("ahead")?;
        let captured = match self.capture(parts, &mounts, (&dumps, &ahead, &scratch.directory("staging")?)).await {
            Err(error) if error.may_pass() => {
                self.lease.log(&format!("{} The site goes on; trying once more", error.for_people())).await?;
                tokio::time::sleep(AGAIN).await;
                dumps = scratch.directory("dumps-again")?;
                self.capture(parts, &mounts, (&dumps, &ahead, &scratch.directory("staging-again")?)).await?
            }
            other => other?,
        };
        let line = self.line(&captured);
        self.lease.log(&line).await?;
        let held = self.take.mode == SnapshotMode::Consistent;
        for mount in mounts.iter().filter(|_| held) {
            if let Some(why) = mount.index.scanned_because() {
                let label = mount.part.label();
                self.lease.log(&format!("In the hold the {label} was scanned whole, because {why}")).await?;
            }
        }
        let entry = Entry {
            name: self.take.snapshot.clone(),
            time: captured.taken_at,
            host: format!("{}-{}", self.project.id, self.environment.name),
        };
        let manifest = self.manifest(&captured);
        let (repository, job) = (repository.clone(), self.job.clone());
        let (services, files) = (parts.services.clone(), scratch.directory("databases")?);
        let store = move || {
            let mut manifest = manifest;
            let (entries, streams) = dump(&services, captured.views, &dumps, &job)?;
            manifest.services = entries;
            let mut scans = captured.scans;
            let settled = settle(&mut scans, &files, &job)?;
            let trees = final_trees(&mounts, scans, &job)?;
            let mut whole = None;
            let archived = repository.archive(&job, &entry, Some(&baseline), trees, streams, |contents| {
                manifest.mounts = mount_entries(&mounts, contents, &settled);
                let text = serde_json::to_vec_pretty(&manifest).expect("a manifest has string keys");
                whole = Some(manifest);
                text
            })?;
            Ok::<_, Error>((whole.expect("an entry that was stored has its manifest"), archived))
        };
        tokio::task::spawn_blocking(store).await?
    }

    /// Step 5, which may be tried again: whatever was opened is closed, and nobody waits, when it fails (R17).
    async fn capture(
        &self,
        parts: &Parts,
        mounts: &Arc<Vec<Indexed>>,
        (dumps, ahead, staging): (&Path, &Path, &Path),
    ) -> Result<Captured, Error> {
        let own = {
            let dumps = dumps.to_owned();
            move |service: &ServiceName| dumps.join(service.as_str())
        };
        instant::get_ready(parts.services.clone(), own, self.job.clone()).await?;
        let (context, environment, mode) = (self.context, &self.environment.id, self.take.mode);
        let capture = instant::capture(context, environment, mode, parts, Arc::clone(mounts), staging);
        if mode == SnapshotMode::Live {
            return capture.await;
        }
        let ahead = instant::record_ahead(Arc::clone(mounts), ahead.to_owned());
        self.hooks
            .paused(async {
                ahead.await?;
                capture.await
            })
            .await
    }

    fn line(&self, captured: &Captured) -> String {
        match self.take.mode {
            SnapshotMode::Live => "Views are open; taken live, without a hold".to_owned(),
            SnapshotMode::Consistent => {
                format!("{} The snapshot is {}", captured.proof.sentence(), captured.consistency.label())
            }
        }
    }

    fn manifest(&self, captured: &Captured) -> Manifest {
        let (project, environment) = (self.project, self.environment);
        Manifest {
            version: Manifest::VERSION,
            snapshot: self.take.snapshot.clone(),
            project: project.id.clone(),
            project_title: project.title.clone(),
            environment_id: environment.id.clone(),
            environment: environment.name.clone(),
            environment_title: environment.title.clone(),
            environment_type: environment.kind,
            taken_at: captured.taken_at,
            origin: self.take.origin,
            consistency: captured.consistency,
            note: self.take.note.clone(),
            proof: Some(captured.proof.clone()),
            services: Vec::new(),
            mounts: Vec::new(),
        }
    }
}

async fn index(parts: &Parts) -> Result<Vec<Indexed>, Error> {
    let mounts = parts.mounts.clone();
    tokio::task::spawn_blocking(move || {
        let indexed = mounts.into_iter().map(|part| {
            let index = part.driver.follow().map_err(Error::part(part.label()))?;
            Ok(Indexed { part, index: Arc::new(index) })
        });
        indexed.collect()
    })
    .await?
}

fn source_tree(mount: &Indexed) -> Result<SourceTree, Error> {
    let root = mount.part.driver.root().map_err(Error::part(mount.part.label()))?;
    Ok(SourceTree { name: mount.part.name().clone(), root, index: mount.index.clone() })
}

fn final_trees(mounts: &[Indexed], scans: Vec<(MountName, Scan)>, job: &engine::Job) -> Result<Vec<FinalTree>, Error> {
    let trees = mounts.iter().zip(scans).map(|(mount, (name, scan))| {
        let staged = scan.changes.overrides.values().filter(|change| change.staged.is_some());
        job.expect_bytes(staged.map(|change| change.meta.size).sum());
        let root = mount.part.driver.root().map_err(Error::part(mount.part.label()))?;
        Ok(FinalTree { name, root, changes: scan.changes })
    });
    trees.collect()
}

/// Copies the databases that were found in mounts, as [`dump`] does with those that are services.
fn settle(scans: &mut [(MountName, Scan)], scratch: &Path, job: &engine::Job) -> Result<Vec<Settled>, Error> {
    let settled = scans.iter_mut().map(|(name, scan)| {
        let own = scratch.join(name.as_str());
        std::fs::create_dir(&own).map_err(Error::io(format!("{} could not be made", own.display())))?;
        scan.settle(&own, &|| job.is_bad()).map_err(Error::part(format!("mount {name}")))
    });
    settled.collect()
}

fn mount_entries(mounts: &[Indexed], contents: &BTreeMap<MountName, Contents>, settled: &[Settled]) -> Vec<MountEntry> {
    let entries = mounts.iter().zip(settled).map(|(mount, settled)| {
        let name = mount.part.name().clone();
        let held = contents.get(&name);
        let mut limits = mount.index.limits();
        limits.extend(settled.limits.iter().cloned());
        MountEntry {
            files: held.map_or(0, |held| held.files),
            bytes: held.map_or(0, |held| held.bytes),
            exclude: mount.part.driver.spec().exclude.clone(),
            limits,
            paths: Vec::new(),
            databases: settled.entries.clone(),
            name,
        }
    });
    entries.collect()
}

/// Makes every view independent of its live service, records what a load will be checked against, and gives the
/// streams to be stored. Blocks.
fn dump(
    services: &[Arc<ServicePart>],
    views: Vec<(ServiceName, Box<dyn View>)>,
    scratch: &Path,
    job: &engine::Job,
) -> Result<(Vec<ServiceEntry>, Vec<Stream>), Error> {
    let mut entries = Vec::new();
    let mut streams = Vec::new();
    for (service, (name, mut view)) in services.iter().zip(views) {
        let failed = || Error::part(service.label());
        let own = scratch.join(name.as_str());
        let cancelled = {
            let job = job.clone();
            move || job.is_bad()
        };
        view.settle(&own, &cancelled).map_err(failed())?;
        entries.push(ServiceEntry {
            name: name.clone(),
            kind: service.driver.kind().to_owned(),
            version: view.version().to_owned(),
            position: view.position().to_string(),
            facts: view.facts().map_err(failed())?,
            limits: view.limits(),
        });
        let reader = stream::reading_from(move |out| view.dump(&own, out, &cancelled).map(drop))
            .map_err(Error::io("a pipe could not be made"))?;
        streams.push(Stream { name, reader: Box::new(reader) });
    }
    Ok((entries, streams))
}

/// The newest snapshot's entry in the repository: what has not changed since is not read again.
pub(super) async fn newest(context: &Context, environment: &Environment) -> Result<Option<String>, Error> {
    let mut db = context.store().read().await?;
    let mut newest = snapshots::by_environment(&mut db, &environment.id, 1).await?.pop();
    // Of one that holds a few paths only, nearly nothing is unchanged.
    if let Some(snapshot) = &newest
        && let Some(manifest) = snapshots::manifest(&mut db, &snapshot.name).await?
        && manifest.mounts.iter().any(|entry| !entry.paths.is_empty())
    {
        newest = snapshots::newest_wanted(&mut db, &environment.id).await?;
    }
    Ok(newest.map(|snapshot| snapshot.repository_id))
}

/// The entry that an earlier try stored under that name before it died.
pub(super) async fn stored_before(
    repository: &Repository,
    name: &SnapshotName,
) -> Result<Option<(Manifest, Archived)>, Error> {
    let (repository, name) = (repository.clone(), name.clone());
    tokio::task::spawn_blocking(move || {
        let listing = repository.list()?;
        let Some(stored) = listing.snapshots.into_iter().find(|stored| stored.name.as_ref() == Some(&name)) else {
            return Ok(None);
        };
        let Ok(manifest) = serde_json::from_slice(&repository.manifest(&stored.id)?) else { return Ok(None) };
        let archived = Archived { id: stored.id, size: manifest_size(&manifest), added: Bytes(0), files: 0 };
        Ok(Some((manifest, archived)))
    })
    .await?
}

fn manifest_size(manifest: &Manifest) -> Bytes {
    Bytes(manifest.mounts.iter().map(|mount| mount.bytes).sum())
}

async fn complete(
    context: &Context,
    work: &Work,
    environment: &Environment,
    project: &Project,
    take: &TakeSnapshot,
    manifest: Manifest,
    archived: Archived,
) -> Result<(), Error> {
    let files = counted(archived.files, "file");
    let line = format!("Stored {}, {files} and the dumps; it added {}", archived.size, archived.added);
    work.lease.log(&line).await?;
    let mut tx = context.store().write().await?;
    if !take.evict.is_empty() {
        activities::hold_off(&mut tx).await?;
    }
    let now = work.lease.finish(&mut tx, &End::Success).await?;
    let plan = projects::plan(&mut tx, &project.id).await?;
    let snapshot = Snapshot {
        name: take.snapshot.clone(),
        project: project.id.clone(),
        environment: environment.id.clone(),
        activity: Some(work.activity.id.clone()),
        origin: take.origin,
        consistency: manifest.consistency,
        note: take.note.clone(),
        repository_id: archived.id,
        taken_at: manifest.taken_at,
        created_at: now,
        expires_at: plan.expires_at(environment.kind, take.origin, manifest.taken_at),
        size: archived.size,
        added: archived.added,
        proof: manifest.proof.clone(),
        protection: None,
        drill_failed_at: None,
    };
    snapshots::insert(&mut tx, &snapshot, &manifest).await?;
    // Only now that there is the new one; what somebody pinned or needs meanwhile stays.
    for line in retention::evict(&mut tx, project, &take.evict, &work.activity.initiator.name, now).await? {
        logs::append(&mut tx, &work.activity.id, now, &line).await?;
    }
    context.store().commit(tx).await?;
    tracing::info!(snapshot.name = %take.snapshot, duration = %span(now.since(started(work, now))), "snapshot taken");
    Ok(())
}

fn started(work: &Work, now: Timestamp) -> Timestamp {
    work.activity.started_at.unwrap_or(now)
}

pub(super) async fn subject(context: &Context, activity: &Activity) -> Result<(Project, Environment), Error> {
    let mut db = context.store().read().await?;
    let gone = || Refusal::new("The environment does not exist any more.");
    let project = projects::by_id(&mut db, &activity.project).await?.ok_or_else(gone)?;
    let environment = environments::by_id(&mut db, &activity.environment).await?.ok_or_else(gone)?;
    Ok((project, environment))
}

/// Role and plan are asked again when a job starts (R1): they may have changed while it waited.
pub(super) async fn may_still(
    context: &Context,
    activity: &Activity,
    project: &Project,
    environment: &Environment,
    act: Act,
) -> Result<(), Error> {
    may_begin(act, environment)?;
    let mut db = context.store().read().await?;
    let automatic = matches!(&activity.payload, Payload::TakeSnapshot(take) if take.origin == Origin::Automatic);
    let Some(user) = &activity.initiator.user else {
        return match automatic {
            true => Ok(projects::terms(&mut db, &project.id).await?.plan.takes_automatic(environment.kind)?),
            false => Ok(()),
        };
    };
    let user = account(&mut db, user, &activity.initiator.name).await?;
    if let Payload::RestoreSnapshot(restore) = &activity.payload {
        let region = regions::by_id(&mut db, &project.region).await?;
        if let Some(ticket) = &restore.ticket {
            region.may_run_ticket()?;
            return for_ticket((&mut db, activity, &user), ticket, (project, environment), act).await;
        }
        if restore.from.is_some() || restore.branch.is_some() {
            region.may_restore_elsewhere("stillpoint ticket:create")?;
        }
    }
    let standing = authz::standing_of(&mut db, &user, project).await?;
    let verdict = match &activity.payload {
        Payload::TakeSnapshot(take) if take.origin == Origin::Manual => {
            projects::terms(&mut db, &project.id).await?.may_create(&standing, environment)
        }
        _ if automatic => projects::terms(&mut db, &project.id).await?.may_schedule(&standing, environment),
        _ => standing.may(act, environment),
    };
    Ok(verdict?)
}

async fn account(db: &mut Db, user: &UserId, name: &str) -> Result<User, Error> {
    let user = users::open_by_id(db, user).await?;
    let gone = || Refusal::new(format!("The account of {name} is closed."));
    Ok(user.ok_or_else(gone)?)
}

/// Support staff runs a ticket with the role of whoever filed it (R28).
async fn for_ticket(
    (db, activity, staff): (&mut Db, &Activity, &User),
    ticket: &TicketId,
    (project, environment): (&Project, &Environment),
    act: Act,
) -> Result<(), Error> {
    if !staff.support {
        return Err(Refusal::new(format!("The account {} is not support staff any more.", staff.email)).into());
    }
    let ticket = tickets::by_id(db, ticket).await?;
    let ticket = ticket.filter(|ticket| ticket.run.as_ref() == Some(&activity.id) && !ticket.state.is_over());
    let ticket = ticket.ok_or_else(|| Refusal::new("The ticket is not in progress any more."))?;
    let name = &ticket.requester.name;
    let requester = account(db, &ticket.requester.user, name).await?;
    let standing = authz::standing_of(db, &requester, project).await?;
    standing.may(act, environment).map_err(|_| {
        let kind = environment.kind;
        let reason = format!("The one who filed the ticket, {name}, is no admin of {kind} environments any more.");
        Refusal::new(reason).instead("Give them the role again, or decline the ticket.").into()
    })
}
