//! What repositories need now and then, besides what anybody asks for: letting go, forgetting, taking freed space out.
//!
//! 1. Ask for retention where something goes (`retention.rs`).   At most once at a time for each environment.
//! 2. Forget the entries of what was deleted and can't be         Forgetting twice does no harm; the row is marked after
//!    taken back any more (R14).                                  the entry is gone.
//! 3. Prune, one bounded step a project, under the exclusive      Marked packs stay; a step that dies leaves more index
//!    lease. Who uses the repository goes first: a step that      files than are needed, which the next one tidies up.
//!    can't have it at once is left for the next time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{Context, Error, crash_point, retention};
use crate::domain::ids::RegionId;
use crate::domain::time::{DAY, Timestamp};
use crate::domain::{Bytes, ProjectId};
use crate::engine::{self, Limits, Pruned};
use crate::store::{self, clock, projects, relocations, snapshots};

/// How long packs that nothing uses stay in the repository. Longer than any job may go on reading by an older index: one
/// that lost its lease and doesn't know it yet, or another restic program.
const KEEP: Duration = DAY.saturating_mul(2);

/// What one step writes anew at most; some seconds of work, during which nobody else has the repository.
const REPACK: Bytes = Bytes(256 * 1024 * 1024);

/// After a prune that left nothing to do: what snapshots leave that failed is found then.
const ANYWAY: Duration = DAY.saturating_mul(7);

/// What is done this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// What was asked for and is due.
    Short,
    /// Also looks through every project for what goes.
    Whole,
}

/// Whose repositories, and how.
#[derive(Debug, Clone)]
pub struct Upkeep {
    pub region: RegionId,
    /// How long packs that nothing uses stay.
    pub keep: Duration,
}

impl Upkeep {
    pub fn of(region: RegionId) -> Self {
        Self { region, keep: KEEP }
    }

    /// What fails in one project keeps no other from its turn, and is tried again.
    pub async fn round(&self, context: &Context, round: Round, stop: &CancellationToken) {
        if let Err(error) = tried(context, self, round, stop).await {
            tracing::warn!(error = %error.for_people(), "the repositories could not be looked after; it is tried again");
        }
    }
}

async fn tried(context: &Context, upkeep: &Upkeep, round: Round, stop: &CancellationToken) -> Result<(), Error> {
    let Upkeep { region, keep } = upkeep;
    if round == Round::Whole {
        for project in projects::all(&mut *context.store().read().await?).await? {
            if project.region != *region || stop.is_cancelled() {
                continue;
            }
            if let Err(error) = retention::enqueue(context, &project).await {
                warn(&project.id, &error, "what goes by its plan could not be told");
            }
        }
    }
    forget(context, region).await?;
    let mut tx = context.store().write().await?;
    relocations::strays(&mut tx).await?;
    context.store().commit(tx).await?;
    let now = now(context).await?;
    if round == Round::Whole {
        let mut tx = context.store().write().await?;
        projects::prune_some_day(&mut tx, now.plus(ANYWAY)).await?;
        context.store().commit(tx).await?;
    }
    for project in projects::to_prune(&mut *context.store().read().await?, region, now).await? {
        if stop.is_cancelled() {
            break;
        }
        match prune(context, &project, *keep, stop).await {
            Ok(_) => {}
            // Somebody uses it; the next round comes soon.
            Err(Error::RepositoryBusy) => tracing::debug!(%project, "its repository is in use; pruning waits"),
            Err(error) => warn(&project, &error, "its repository could not be pruned"),
        }
    }
    Ok(())
}

fn warn(project: &ProjectId, error: &Error, what: &'static str) {
    tracing::warn!(%project, error = %error.for_people(), "{what}");
}

async fn now(context: &Context) -> Result<Timestamp, store::Error> {
    let mut db = context.store().read().await?;
    clock::now(&mut db, context.store().dialect()).await
}

async fn forget(context: &Context, region: &RegionId) -> Result<(), Error> {
    let due = now(context).await?;
    let mut of: BTreeMap<ProjectId, Vec<snapshots::Leaving>> = BTreeMap::new();
    for leaving in snapshots::leaving(&mut *context.store().read().await?, due).await? {
        of.entry(leaving.project.clone()).or_default().push(leaving);
    }
    for (id, leaving) in of {
        let project = projects::by_id(&mut *context.store().read().await?, &id).await?;
        if project.is_none_or(|project| project.region != *region) {
            continue;
        }
        if let Err(error) = forget_of(context, &id, leaving).await {
            warn(&id, &error, "deleted snapshots could not be taken out of its repository");
        }
    }
    Ok(())
}

async fn forget_of(context: &Context, project: &ProjectId, leaving: Vec<snapshots::Leaving>) -> Result<(), Error> {
    let store = context.store();
    let lease = context.share_repository(project, &format!("forget-{}", store::random_id())).await?;
    let repository = context.repository(project).await?;
    for snapshots::Leaving { name, repository_id, .. } in leaving {
        lease.confirm().await?;
        let repository = repository.clone();
        tokio::task::spawn_blocking(move || repository.forget(&repository_id)).await??;
        crash_point("retention: forgotten");
        let mut tx = store.write().await?;
        let now = clock::now(&mut tx, store.dialect()).await?;
        snapshots::left(&mut tx, &name).await?;
        projects::set_prune_at(&mut tx, project, Some(now)).await?;
        store.commit(tx).await?;
        tracing::info!(snapshot.name = %name, %project, "a deleted snapshot left its repository");
    }
    Ok(())
}

/// One step, and when the next one is due. `keep`: how long marked packs stay.
///
/// # Errors
/// [`Error::RepositoryBusy`] while anybody uses the repository, else as [`engine::Repository::prune`].
pub async fn prune(
    context: &Context,
    project: &ProjectId,
    keep: Duration,
    stop: &CancellationToken,
) -> Result<Pruned, Error> {
    let store = context.store();
    let lease = Arc::new(context.reserve_repository(project, &format!("prune-{}", store::random_id())).await?);
    let expected = snapshots::entries(&mut *store.read().await?, project).await?;
    let repository = context.repository(project).await?;
    let job = {
        let (lease, runtime) = (Arc::clone(&lease), Handle::current());
        let asked = AtomicUsize::new(0);
        engine::Job::new(move || {
            crash_point(match asked.fetch_add(1, Ordering::Relaxed) {
                0 => "prune: written",
                _ => "prune: index removed",
            });
            runtime.block_on(async { lease.confirm().await.is_ok() })
        })
    };
    let pruned = {
        let limits = Limits { keep, repack: REPACK };
        let mut working = {
            let job = job.clone();
            tokio::task::spawn_blocking(move || repository.prune(&job, &limits, &expected))
        };
        tokio::select! {
            done = &mut working => done??,
            () = stop.cancelled() => {
                // It ends at its next write, with nothing lost.
                job.cancel();
                working.await??
            }
        }
    };
    let mut tx = store.write().await?;
    let now = clock::now(&mut tx, store.dialect()).await?;
    let next = match pruned {
        Pruned { is_partial: true, .. } => now,
        Pruned { marked: Bytes(0), .. } => now.plus(ANYWAY),
        Pruned { .. } => now.plus(keep),
    };
    projects::set_prune_at(&mut tx, project, Some(next)).await?;
    store.commit(tx).await?;
    if pruned != Pruned::default() {
        let Pruned { freed, marked, repacked, .. } = pruned;
        tracing::info!(%project, %freed, %marked, %repacked, "a repository was pruned");
    }
    Ok(pruned)
}
