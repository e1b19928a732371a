//! The safety snapshot: what a restore replaced, as a snapshot like any other (R22), so that Undo is a restore like any
//! other (R24).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::context::Context;
use super::journal::{Body, Journal};
use super::parts::Parts;
use super::progress::completed;
use super::restore::connected;
use super::snapshot::{newest, stored_before, subject};
use super::{Error, aside, crash_point, stream, swap};
use crate::domain::activity::Payload;
use crate::domain::environment::{Environment, Project};
use crate::domain::manifest::{Manifest, MountEntry, ServiceEntry};
use crate::domain::snapshot::{Consistency, Origin, Proof, Snapshot};
use crate::domain::{ActivityId, MountPath, SnapshotName, Timestamp};
use crate::engine::{self, Archived, Entry, FinalTree, Repository, SourceTree, Stream};
use crate::queue::Lease;
use crate::store::swaps::{self, Stage};
use crate::store::work::End;
use crate::store::{Tx, activities, clock, leases, projects, snapshots};

pub(super) struct Keeping<'a> {
    pub context: &'a Context,
    pub job: &'a engine::Job,
    pub project: &'a Project,
    pub environment: &'a Environment,
    pub journal: &'a Journal<'a>,
    /// Whether an earlier try may have stored it.
    pub is_again: bool,
}

/// How long what could not be kept stands aside before that is tried again.
const AGAIN: Duration = Duration::from_secs(5 * 60);

impl Keeping<'_> {
    /// Steps 6 to 8 of a restore.
    ///
    /// # Errors
    /// [`Error::NoSafety`]: the restored data is served, and what it replaced stays beside.
    pub(super) async fn keep(
        &self,
        lease: &Lease,
        parts: &Parts,
        body: &Body,
        name: &SnapshotName,
        proof: Proof,
    ) -> Result<(), Error> {
        let body = &aside::note(self.journal, Some(lease), parts, body).await;
        lease.log("Storing what was replaced as a safety snapshot").await?;
        let manifest = self.manifest(name, proof);
        let stored = completed(lease, self.job, self.stored(parts, body, manifest)).await;
        let (manifest, archived) = match stored {
            Ok(stored) => stored,
            Err(error) => return Err(Error::NoSafety(Box::new(error))),
        };
        crash_point("restore: safety stored");
        lease.log(&format!("What was replaced is the snapshot {name}, kept for 7 days: restore it to undo")).await?;

        // Together: a try that comes after this one must neither restore again nor store again.
        let mut tx = self.context.store().write().await?;
        let now = lease.finish(&mut tx, &End::Success).await?;
        self.catalogue(tx, now, body, archived, &manifest).await?;
        crash_point("restore: ended");
        self.drop_aside(parts, body).await;
        Ok(())
    }

    /// For a restore that has ended, with all but this done.
    async fn keep_late(&self, parts: &Parts, body: &Body, name: &SnapshotName) -> Result<(), Error> {
        let body = &aside::note(self.journal, None, parts, body).await;
        let (manifest, archived) = self.stored(parts, body, self.manifest(name, Proof::default())).await?;
        let mut tx = self.context.store().write().await?;
        let now = clock::now(&mut tx, self.context.store().dialect()).await?;
        self.catalogue(tx, now, body, archived, &manifest).await?;
        self.drop_aside(parts, body).await;
        Ok(())
    }

    async fn catalogue(
        &self,
        mut tx: Tx,
        now: Timestamp,
        body: &Body,
        archived: Archived,
        manifest: &Manifest,
    ) -> Result<(), Error> {
        self.journal.write_with(&mut tx, Stage::Kept, body).await?;
        let plan = projects::plan(&mut tx, &self.project.id).await?;
        let snapshot = Snapshot {
            name: manifest.snapshot.clone(),
            project: self.project.id.clone(),
            environment: self.environment.id.clone(),
            activity: Some(self.journal.activity.clone()),
            origin: Origin::Safety,
            consistency: manifest.consistency,
            note: manifest.note.clone(),
            repository_id: archived.id,
            taken_at: manifest.taken_at,
            created_at: now,
            expires_at: plan.expires_at(self.environment.kind, Origin::Safety, manifest.taken_at),
            size: archived.size,
            added: archived.added,
            proof: manifest.proof.clone(),
            protection: None,
            drill_failed_at: None,
        };
        snapshots::insert(&mut tx, &snapshot, manifest).await?;
        Ok(self.context.store().commit(tx).await?)
    }

    /// Nobody waits for this: large trees take seconds to go. What fails here is tried again now and then.
    async fn drop_aside(&self, parts: &Parts, body: &Body) {
        let removed = async {
            swap::discard(self.journal, parts, body).await?;
            self.journal.write(Stage::Done, &Body::default()).await
        };
        if let Err(error) = removed.await {
            let error = error.for_people();
            tracing::warn!(activity.id = %self.journal.activity, %error, "what was replaced stays aside");
        }
    }

    /// What an earlier try stored, or stored now.
    async fn stored(&self, parts: &Parts, body: &Body, manifest: Manifest) -> Result<(Manifest, Archived), Error> {
        if self.is_again {
            let repository = self.context.repository(&self.project.id).await?;
            if let Some(stored) = stored_before(&repository, &manifest.snapshot).await? {
                return Ok(stored);
            }
        }
        self.store(parts, body, manifest).await
    }

    async fn store(&self, parts: &Parts, body: &Body, manifest: Manifest) -> Result<(Manifest, Archived), Error> {
        let repository = self.context.repository(&self.project.id).await?;
        let parent = newest(self.context, self.environment).await?;
        let host = format!("{}-{}", self.project.id, self.environment.name);
        let storing =
            Storing { repository, job: self.job.clone(), parts: parts.clone(), body: body.clone(), parent, host };
        tokio::task::spawn_blocking(move || storing.run(manifest)).await?
    }

    fn manifest(&self, name: &SnapshotName, proof: Proof) -> Manifest {
        Manifest {
            version: Manifest::VERSION,
            snapshot: name.clone(),
            project: self.project.id.clone(),
            project_title: self.project.title.clone(),
            environment_id: self.environment.id.clone(),
            environment: self.environment.name.clone(),
            environment_title: self.environment.title.clone(),
            environment_type: self.environment.kind,
            taken_at: Timestamp::now(),
            origin: Origin::Safety,
            // The gate was closed, but whether somebody wrote round it is not compared in a swap.
            consistency: Consistency::EachService,
            note: Some("What a restore replaced".to_owned()),
            proof: Some(proof),
            services: Vec::new(),
            mounts: Vec::new(),
        }
    }
}

/// Stores what a restore replaced and could not keep at its end, when the last try is some minutes ago and nobody else
/// is at it.
///
/// # Errors
/// Whatever keeps it from being stored: it goes on standing aside.
pub(super) async fn keep_again(context: &Context, activity: &ActivityId) -> Result<(), Error> {
    let store = context.store();
    let mut db = store.read().await?;
    let Some(restore) = activities::by_id(&mut db, activity).await? else { return Ok(()) };
    let Payload::RestoreSnapshot(request) = restore.payload.clone() else { return Ok(()) };
    drop(db);
    let holder = format!("keep-{activity}");
    let mut tx = store.write().await?;
    let now = clock::now(&mut tx, store.dialect()).await?;
    let is_free = !leases::is_held(&mut tx, &holder, now).await?;
    if !is_free || !swaps::begin_again(&mut tx, activity, now, AGAIN).await? {
        return Ok(());
    }
    store.commit(tx).await?;

    let (project, environment) = subject(context, &restore).await?;
    let journal = Journal { context, activity: activity.clone(), environment: environment.id.clone() };
    let Some((Stage::Swapped, body)) = journal.read().await? else { return Ok(()) };
    let lease = Arc::new(context.share_repository(&project.id, &holder).await?);
    let job = {
        let (lease, runtime) = (Arc::clone(&lease), Handle::current());
        engine::Job::new(move || runtime.block_on(async { lease.confirm().await.is_ok() }))
    };
    let parts = connected(context, &environment).await?;
    let keeping =
        Keeping { context, job: &job, project: &project, environment: &environment, journal: &journal, is_again: true };
    keeping.keep_late(&parts, &body, &request.safety).await
}

struct Storing {
    repository: Repository,
    job: engine::Job,
    parts: Parts,
    body: Body,
    parent: Option<String>,
    host: String,
}

impl Storing {
    /// Blocks.
    fn run(self, mut manifest: Manifest) -> Result<(Manifest, Archived), Error> {
        let mut trees = Vec::new();
        let mut finals = Vec::new();
        for swap in &self.body.mounts {
            let root = swap.beside.old_tree();
            let mount = swap::mount(&self.parts, swap.name.as_str())?;
            let index = mount.driver.index_aside(&swap.beside).map_err(Error::part(mount.label()))?;
            trees.push(SourceTree { name: swap.name.clone(), root: root.clone(), index: Arc::new(index) });
            finals.push(FinalTree { name: swap.name.clone(), root, changes: Default::default() });
        }
        let mut streams = Vec::new();
        for swap in &self.body.services {
            let service = swap::service(&self.parts, swap.name.as_str())?.clone();
            let Some(aside) = swap.aside.clone() else { continue };
            let failed = || Error::part(service.label());
            let facts = service.driver.aside_facts(&aside).map_err(failed())?;
            // The live service may be busy with its visitors: what stands aside is kept all the same.
            let tested = service.driver.test().ok();
            manifest.services.push(ServiceEntry {
                name: swap.name.clone(),
                kind: service.driver.kind().to_owned(),
                version: tested.as_ref().map(|tested| tested.version.clone()).unwrap_or_default(),
                position: "replaced by a restore".to_owned(),
                facts,
                limits: tested.map(|tested| tested.limits).unwrap_or_default(),
            });
            let reader = stream::reading_from(move |out| service.driver.dump_aside(&aside, out))
                .map_err(Error::io("a pipe could not be made"))?;
            streams.push(Stream { name: swap.name.clone(), reader: Box::new(reader) });
        }
        let mut replaced = BTreeMap::new();
        for swap in &self.body.mounts {
            let paths = swap.beside.paths().map(str::parse).collect::<Result<Vec<MountPath>, _>>();
            replaced.insert(swap.name.clone(), paths.expect("the paths of a swap came from such ones"));
        }
        let baseline = self.repository.pre_copy(&self.job, &trees, self.parent.as_deref())?;
        let entry = Entry { name: manifest.snapshot.clone(), time: manifest.taken_at, host: self.host };
        let mut whole = None;
        let archived = self.repository.archive(&self.job, &entry, Some(&baseline), finals, streams, |contents| {
            manifest.mounts = contents
                .iter()
                .map(|(name, held)| MountEntry {
                    name: name.clone(),
                    files: held.files,
                    bytes: held.bytes,
                    exclude: Vec::new(),
                    limits: limits_of(&replaced[name]),
                    paths: replaced[name].clone(),
                    databases: Vec::new(),
                })
                .collect();
            let text = serde_json::to_vec_pretty(&manifest).expect("a manifest has string keys");
            whole = Some(manifest);
            text
        })?;
        Ok((whole.expect("an entry that was stored has its manifest"), archived))
    }
}

fn limits_of(paths: &[MountPath]) -> Vec<String> {
    if paths.is_empty() {
        return Vec::new();
    }
    let paths: Vec<String> = paths.iter().map(|path| format!("`{path}`")).collect();
    vec![format!("Of this mount it holds only what a restore of single paths replaced: {}.", paths.join(", "))]
}
