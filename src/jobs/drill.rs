//! A drill: the newest snapshot is really restored beside the live data, checked, timed, and dropped again (R29).
//!
//! 0. Remove what an earlier try left beside.
//! 1. Ask again whether the initiator may (R1).
//! 2. Share the repository (R14).                        Given back when dropped; expires.
//! 3. Load everything beside the live data; check it.    What was loaded is removed.
//! 4. Remove it, whatever came of it.                    The next try, or `recovery`, does it.
//! 5. Store the report and end the activity, in one transaction.
//!
//! **Invariant:** nothing is swapped: the site neither waits nor changes.

use std::time::Instant;

use super::context::Context;
use super::journal::{Body, Journal};
use super::progress::watched;
use super::restore::{Loading, connected};
use super::snapshot::{may_still, subject};
use super::{ATTEMPTS, Error, crash_point, recovery, swap};
use crate::domain::activity::RunDrill;
use crate::domain::bytes::counted;
use crate::domain::drill::{Drill, Drilled};
use crate::domain::environment::{Environment, EnvironmentStatus};
use crate::domain::manifest::Manifest;
use crate::domain::policy::acts::Act;
use crate::domain::policy::{Refusal, RestorePlan};
use crate::domain::snapshot::Snapshot;
use crate::domain::{Bytes, PartName, Scope};
use crate::engine;
use crate::queue::Work;
use crate::store::swaps::Stage;
use crate::store::work::End;
use crate::store::{drills, environments, snapshots};

pub(super) async fn run(context: &Context, work: &Work, request: RunDrill) -> Result<(), Error> {
    let (project, environment) = subject(context, &work.activity).await?;
    let (lease, activity) = (&work.lease, work.activity.id.clone());
    let journal = Journal { context, activity: activity.clone(), environment: environment.id.clone() };
    let _shared = context.share_repository(&project.id, activity.as_str()).await?;
    recovery::take_back_others(context, &environment.id).await?;
    if let Some((_, body)) = journal.read().await? {
        swap::discard(&journal, &connected(context, &environment).await?, &body).await?;
        journal.write(Stage::Done, &Body::default()).await?;
    }
    if work.attempt > ATTEMPTS {
        return Err(Error::TooManyAttempts(ATTEMPTS));
    }
    may_still(context, &work.activity, &project, &environment, Act::RunDrill).await?;
    let (snapshot, manifest, plan) = planned(context, &environment, &request).await?;
    let (parts, _) = context.parts(&environment.id, &Scope::default()).await?;
    let job = engine::Job::reading();
    let repository = context.repository(&project.id).await?;
    let loading = Loading {
        context,
        lease,
        job: &job,
        journal: &journal,
        repository,
        snapshot: snapshot.clone(),
        all_mounts: manifest.mounts.clone(),
        plan,
    };
    let (begun, mut body) = (Instant::now(), Body::default());
    let loaded = watched(lease, &job, loading.load(&parts, &mut body)).await;
    let took = begun.elapsed();
    crash_point("drill: loaded");
    if let Err(error @ Error::Queue(_)) = loaded {
        // Whoever took it up removes what stands there.
        return Err(error);
    }
    swap::discard(&journal, &parts, &body).await?;
    journal.write(Stage::Done, &Body::default()).await?;
    let loaded = loaded?;
    if lease.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let parts = loaded.into_iter().map(|(part, took)| drilled(&manifest, part, micros(took))).collect();
    let mut drill = Drill {
        activity,
        environment: environment.id,
        snapshot: snapshot.name,
        taken_at: snapshot.taken_at,
        finished_at: snapshot.taken_at,
        took_us: micros(took),
        parts,
    };
    lease.log(&drill.sentence()).await?;
    let mut tx = context.store().write().await?;
    drill.finished_at = lease.finish(&mut tx, &End::Success).await?;
    drills::insert(&mut tx, &drill).await?;
    Ok(context.store().commit(tx).await?)
}

async fn planned(
    context: &Context,
    environment: &Environment,
    request: &RunDrill,
) -> Result<(Snapshot, Manifest, RestorePlan), Error> {
    if environment.status != EnvironmentStatus::Active {
        return Err(Refusal::new("The environment is not active.").into());
    }
    let mut db = context.store().read().await?;
    let snapshot = match &request.snapshot {
        Some(name) => snapshots::by_name(&mut db, name).await?.filter(|it| it.environment == environment.id),
        None => snapshots::newest_wanted(&mut db, &environment.id).await?,
    };
    let none = || Refusal::new("There is no snapshot to try.").instead("Take one first.");
    let snapshot = snapshot.ok_or_else(none)?;
    let manifest = snapshots::manifest(&mut db, &snapshot.name).await?.ok_or_else(none)?;
    let composition = environments::composition(&mut db, context.store().sealer(), &environment.id).await?;
    let plan = RestorePlan::new(&environment.id, &manifest, &composition, &Scope::default())?;
    Ok((snapshot, manifest, plan))
}

/// A load is checked against what the snapshot recorded: that is what was proven.
fn drilled(manifest: &Manifest, part: PartName, took_us: u64) -> Drilled {
    let service = manifest.services.iter().find(|it| PartName::Service(it.name.clone()) == part);
    let mount = manifest.mounts.iter().find(|it| PartName::Mount(it.name.clone()) == part);
    let (kind, proven) = match (service, mount) {
        (Some(entry), _) => (entry.kind.clone(), entry.facts.in_words(&entry.kind)),
        (_, Some(entry)) => ("mount".to_owned(), format!("{}, {}", counted(entry.files, "file"), Bytes(entry.bytes))),
        _ => (String::new(), String::new()),
    };
    Drilled { part, kind, proven, took_us }
}
