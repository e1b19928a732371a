//! A drill: a snapshot is really restored beside the live data, checked, timed, and dropped again (R29).
//!
//! 0. Remove what an earlier try left beside.
//! 1. Ask again whether the initiator may (R1). What is refused up to here is written down as not begun: it says nothing
//!    of the snapshot.
//! 2. Share the repository (R14).                        Given back when dropped; expires.
//! 3. Leave out, by name and with the reason, what can   Nothing to undo.
//!    only be restored in place: nothing of it can be
//!    proven without replacing it.
//! 4. Load the rest beside the live data; check it.      What was loaded is removed.
//! 5. Remove it, whatever came of it.                    The next try, or `recovery`, does it.
//! 6. Write down what could not be proven, or what       The next try writes it anew.
//!    failed; store the report and end the activity, in
//!    one transaction. A snapshot that could not be
//!    loaded is not the one that retention must leave (R13).
//!
//! **Invariant:** nothing is swapped: the site neither waits nor changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Context;
use super::journal::{Body, Journal};
use super::load::blocking;
use super::parts::Parts;
use super::progress::watched;
use super::restore::{Loading, connected};
use super::snapshot::{may_still, subject};
use super::{ATTEMPTS, Error, crash_point, recovery, swap};
use crate::domain::activity::{Payload, RunDrill};
use crate::domain::bytes::counted;
use crate::domain::drill::{Drill, Drilled, Failure, Outcome, Unproven};
use crate::domain::environment::{Environment, EnvironmentStatus};
use crate::domain::manifest::Manifest;
use crate::domain::policy::acts::Act;
use crate::domain::policy::{Refusal, RestorePlan};
use crate::domain::problem::sentence;
use crate::domain::snapshot::Snapshot;
use crate::domain::{Bytes, PartName, Scope};
use crate::engine;
use crate::queue::Work;
use crate::store::snapshots::Tried;
use crate::store::swaps::Stage;
use crate::store::work::End;
use crate::store::{drills, environments, snapshots};

pub(super) async fn run(context: &Context, work: &Work, request: RunDrill) -> Result<(), Error> {
    let mut trial = Trial::default();
    match tried(context, work, &request, &mut trial).await {
        Err(error @ Error::Refused(_)) => {
            let outcome = Some(Outcome::NotBegun);
            work.lease.note(&Payload::RunDrill(RunDrill { outcome, ..request })).await?;
            Err(error)
        }
        // Cancelled, or somebody else has it now: that says nothing of the snapshot.
        Err(error) if work.lease.is_cancelled() || matches!(error, Error::Queue(_)) => Err(error),
        Err(error) => failed(context, work, &request, (trial, error)).await,
        Ok(()) => Ok(()),
    }
}

/// How far it came.
#[derive(Default)]
struct Trial {
    snapshot: Option<Snapshot>,
    /// Since it began to load.
    begun: Option<Instant>,
    /// What it loaded last.
    part: Option<PartName>,
}

/// Ends the activity as failed, with a report; as a failure alone where nothing is known of its snapshot.
async fn failed(
    context: &Context,
    work: &Work,
    request: &RunDrill,
    (trial, error): (Trial, Error),
) -> Result<(), Error> {
    let (store, lease) = (context.store(), &work.lease);
    let snapshot = match (trial.snapshot, &request.snapshot) {
        (None, Some(name)) => snapshots::by_name(&mut *store.read().await?, name).await?,
        (known, _) => known,
    };
    let Some(snapshot) = snapshot else { return Err(error) };
    let reason = error.for_people();
    lease.log(&reason).await?;
    // Of what stands around it, as a store that is away, nobody can tell whether it could be loaded.
    let is_of_snapshot = matches!(error, Error::Part { .. } | Error::NewerServer { .. } | Error::Engine(_));
    let mut tx = store.write().await?;
    let finished_at = lease.finish(&mut tx, &End::Failure(reason.clone())).await?;
    if is_of_snapshot && trial.begun.is_some() {
        snapshots::drilled(&mut tx, &snapshot.name, Tried::Failed(finished_at)).await?;
    }
    let drill = Drill {
        activity: work.activity.id.clone(),
        environment: snapshot.environment,
        snapshot: snapshot.name,
        taken_at: snapshot.taken_at,
        finished_at,
        took_us: trial.begun.map_or(0, |begun| micros(begun.elapsed())),
        parts: Vec::new(),
        unproven: Vec::new(),
        failure: Some(Failure { part: trial.part, reason }),
    };
    drills::insert(&mut tx, &drill).await?;
    Ok(store.commit(tx).await?)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

async fn tried(context: &Context, work: &Work, request: &RunDrill, trial: &mut Trial) -> Result<(), Error> {
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
    let Planned { snapshot, manifest, mut plan, mut unproven } = planned(context, &environment, request).await?;
    trial.snapshot = Some(snapshot.clone());
    let (parts, _) = context.parts(&environment.id, &Scope::default()).await?;
    unproven.extend(only_in_place(&parts, &mut plan).await?);
    for left in &unproven {
        lease.log(&format!("Not proven: the {}. {}", left.part.in_words(), left.why)).await?;
    }
    let job = engine::Job::reading();
    let repository = context.repository(&project.id).await?;
    let is_empty = plan.services.is_empty() && plan.mounts.is_empty();
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
    trial.begun = Some(begun);
    let loaded = match is_empty {
        true => Ok(Vec::new()),
        false => watched(lease, &job, loading.load(&parts, &mut body)).await,
    };
    let took = begun.elapsed();
    trial.part = loaded.as_ref().err().and_then(|error| tried_last(error, &body));
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
    let parts = loaded.into_iter().map(|(part, took)| drilled(&manifest, part, micros(took))).collect();
    let mut drill = Drill {
        activity,
        environment: environment.id,
        snapshot: snapshot.name.clone(),
        taken_at: snapshot.taken_at,
        finished_at: snapshot.taken_at,
        took_us: micros(took),
        parts,
        unproven,
        failure: None,
    };
    lease.log(&drill.sentence()).await?;
    let outcome = drill.outcome();
    lease.note(&Payload::RunDrill(RunDrill { snapshot: Some(snapshot.name), outcome })).await?;
    let mut tx = context.store().write().await?;
    drill.finished_at = lease.finish(&mut tx, &End::Success).await?;
    if drill.is_proof() {
        snapshots::drilled(&mut tx, &drill.snapshot, Tried::Proven(drill.finished_at)).await?;
    }
    drills::insert(&mut tx, &drill).await?;
    Ok(context.store().commit(tx).await?)
}

/// The part that an error is of: the one that it names, else the one that was announced last.
fn tried_last(error: &Error, body: &Body) -> Option<PartName> {
    let services = body.services.iter().map(|service| PartName::Service(service.name.clone()));
    let mounts = body.mounts.iter().map(|mount| PartName::Mount(mount.name.clone()));
    // Services come after all mounts.
    let begun: Vec<PartName> = mounts.chain(services).collect();
    let named = match error {
        Error::Part { part, .. } | Error::NewerServer { part, .. } => begun.iter().find(|it| it.in_words() == *part),
        _ => None,
    };
    named.or(begun.last()).cloned()
}

struct Planned {
    snapshot: Snapshot,
    /// All that the snapshot holds.
    manifest: Manifest,
    plan: RestorePlan,
    unproven: Vec<Unproven>,
}

/// Takes out of the plan what can't be loaded beside the live data, for want of a right that a restore does not need.
async fn only_in_place(parts: &Parts, plan: &mut RestorePlan) -> Result<Vec<Unproven>, Error> {
    let mut found = Vec::new();
    for entry in &plan.services {
        let service = Arc::clone(swap::service(parts, entry.name.as_str())?);
        let asked = blocking(move || service.driver.in_place().map_err(Error::part(service.label()))).await?;
        if let Some(in_place) = asked {
            let why = sentence(&format!(
                "it could be restored, in place and as maintenance, but not beside the live data, which is what a drill \
                 does, because {}",
                in_place.why
            ));
            found.push(Unproven { part: PartName::Service(entry.name.clone()), kind: entry.kind.clone(), why });
        }
    }
    let is_found = |name: &PartName| found.iter().any(|unproven| unproven.part == *name);
    plan.services.retain(|entry| !is_found(&PartName::Service(entry.name.clone())));
    Ok(found)
}

async fn planned(context: &Context, environment: &Environment, request: &RunDrill) -> Result<Planned, Error> {
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
    // What was taken out of the environment since can't be tried there.
    let mut there = manifest.clone();
    there.services.retain(|entry| {
        let mut declared = composition.services.iter();
        declared.any(|service| service.name == entry.name && service.connection.kind() == entry.kind)
    });
    there.mounts.retain(|entry| composition.mounts.iter().any(|mount| mount.name == entry.name));
    let why = || "The snapshot holds it, and the environment has none of that name and kind any more.".to_owned();
    let services = manifest.services.iter().filter(|entry| !there.services.contains(entry));
    let mounts = manifest.mounts.iter().filter(|entry| !there.mounts.contains(entry));
    let unproven = mounts
        .map(|entry| Unproven { part: PartName::Mount(entry.name.clone()), kind: "mount".to_owned(), why: why() })
        .chain(services.map(|entry| Unproven {
            part: PartName::Service(entry.name.clone()),
            kind: entry.kind.clone(),
            why: why(),
        }))
        .collect();
    let plan = RestorePlan::new(&environment.id, &there, &composition, &Scope::default())?;
    Ok(Planned { snapshot, manifest, plan, unproven })
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
