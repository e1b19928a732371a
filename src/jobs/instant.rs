//! One instant: the views of all services and the changed files of all mounts, opened inside one snapshot hold (R16).
//!
//! **Invariant:** the hold is released before anything is read at length, and on every failure at once (R17).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Context;
use super::parts::{MountPart, Parts, ServicePart};
use super::{Error, crash_point};
use crate::domain::activity::SnapshotMode;
use crate::domain::ids::{MountName, ServiceName};
use crate::domain::snapshot::{Consistency, Phase, Point, Proof};
use crate::domain::{EnvironmentId, Timestamp};
use crate::drivers::mount::{Index, Scan, StagingLimits};
use crate::drivers::{Position, View};
use crate::engine;
use crate::gateway::{self, HoldKind};

/// Everything as it stood at one instant; reading it takes as long as it takes.
pub(super) struct Captured {
    pub views: Vec<(ServiceName, Box<dyn View>)>,
    pub scans: Vec<(MountName, Scan)>,
    pub consistency: Consistency,
    pub proof: Proof,
    pub taken_at: Timestamp,
}

/// A mount and what pass 1 was told of it.
#[derive(Debug)]
pub(super) struct Indexed {
    pub part: Arc<MountPart>,
    pub index: Arc<Index>,
}

/// How long one view may take to open.
const VIEW: Duration = Duration::from_secs(1);

/// Opens everything at one instant, after [`get_ready`]. `staging` receives copies of the files that changed since their
/// index was taken.
pub(super) async fn capture(
    context: &Context,
    environment: &EnvironmentId,
    mode: SnapshotMode,
    parts: &Parts,
    mounts: Arc<Vec<Indexed>>,
    staging: &Path,
) -> Result<Captured, Error> {
    let services = parts.services.clone();
    let opening = {
        let (staging, limits, mounts) = (staging.to_owned(), context.staging_limits(), Arc::clone(&mounts));
        move || open_all(&services, &mounts, &staging, limits)
    };
    if mode == SnapshotMode::Live {
        let opened = tokio::task::spawn_blocking(opening).await??;
        return Ok(opened.captured(Consistency::Live, Proof::default()));
    }
    let gates = context.gates().await?;
    let held = gateway::hold(&gates, environment, HoldKind::Snapshot, context.limits()).await?;
    crash_point("snapshot: held");
    let opened = tokio::task::spawn_blocking(opening).await??;
    held.confirm().await?;
    // One that was started meanwhile took requests, whatever those that are held say.
    held.covers(&context.gates().await?)?;
    let report = held.release().await?;
    crash_point("snapshot: released");
    let opened = tokio::task::spawn_blocking(move || opened.look_again(&mounts)).await??;
    let consistency = if opened.moved.is_empty() { Consistency::Consistent } else { Consistency::EachService };
    Ok(opened.captured(consistency, report.proof()))
}

/// What is done before the hold, all services side by side. `scratch` is each service's own directory.
pub(super) async fn get_ready(
    services: Vec<Arc<ServicePart>>,
    scratch: impl Fn(&ServiceName) -> PathBuf + Send + Sync + 'static,
    job: engine::Job,
) -> Result<(), Error> {
    tokio::task::spawn_blocking(move || {
        let cancelled = || job.is_bad();
        std::thread::scope(|scope| {
            let threads: Vec<_> = services
                .iter()
                .map(|service| {
                    let scratch = scratch(service.name());
                    let cancelled = &cancelled;
                    scope.spawn(move || {
                        std::fs::create_dir(&scratch)
                            .map_err(Error::io(format!("{} could not be made", scratch.display())))?;
                        service.driver.get_ready(&scratch, cancelled).map_err(Error::part(service.label()))
                    })
                })
                .collect();
            threads.into_iter().try_for_each(join)
        })
    })
    .await?
}

/// Rounds of recording what changed ahead of the hold; each is shorter than the one before.
const ROUNDS: usize = 4;
/// So few are recorded in the hold as well.
const FEW: usize = 20;

/// Records what changed in the mounts since they were read, so that the hold has little to do. `staging` is each mount's
/// own directory.
pub(super) async fn record_ahead(mounts: Arc<Vec<Indexed>>, staging: PathBuf) -> Result<(), Error> {
    tokio::task::spawn_blocking(move || {
        for mount in mounts.iter() {
            let staging = staging.join(mount.part.name().as_str());
            std::fs::create_dir_all(&staging).map_err(Error::io(format!("{} could not be made", staging.display())))?;
            for _ in 0..ROUNDS {
                if mount.index.record_ahead(&staging).map_err(Error::part(mount.part.label()))? <= FEW {
                    break;
                }
            }
        }
        Ok(())
    })
    .await?
}

struct Opened {
    views: Vec<(ServiceName, Box<dyn View>)>,
    scans: Vec<(MountName, Scan)>,
    points: Vec<Point>,
    phases: Vec<Phase>,
    /// Parts that somebody wrote to meanwhile, round the gate.
    moved: Vec<String>,
    taken_at: Timestamp,
}

impl Opened {
    /// After the hold: what no journal told of takes the label away as well.
    fn look_again(mut self, mounts: &[Indexed]) -> Result<Self, Error> {
        if !self.moved.is_empty() {
            return Ok(self);
        }
        let unseen = mounts.iter().zip(&self.scans).map(|(mount, (_, scan))| mount.index.unseen(scan));
        let unseen: Vec<_> = unseen.collect();
        for (mount, unseen) in mounts.iter().zip(unseen) {
            let unseen = unseen.map_err(Error::part(mount.part.label()))?;
            self.mount_moved(mount, &unseen, "written to through a memory map");
        }
        Ok(self)
    }

    fn mount_moved(&mut self, mount: &Indexed, paths: &[PathBuf], how: &str) {
        let Some(first) = paths.first() else { return };
        let label = mount.part.label();
        let count = if paths.len() == 1 { "1 path was".to_owned() } else { format!("{} paths were", paths.len()) };
        let after_views = format!("{count} {how}, {} among them", first.display());
        self.points.push(Point { of: label.clone(), after_drain: "scanned".to_owned(), after_views });
        self.moved.push(label);
    }

    fn captured(self, consistency: Consistency, proof: Proof) -> Captured {
        let proof = Proof { points: self.points, phases: self.phases, ..proof };
        Captured { views: self.views, scans: self.scans, consistency, proof, taken_at: self.taken_at }
    }
}

/// Positions, then all views and scans side by side, then positions again. Blocks.
fn open_all(
    services: &[Arc<ServicePart>],
    mounts: &[Indexed],
    staging: &Path,
    limits: StagingLimits,
) -> Result<Opened, Error> {
    let started = Instant::now();
    let before = positions(services)?;
    let mut phases = vec![phase("positions", started)];
    let taken_at = Timestamp::now();
    let (views, scans) = std::thread::scope(|scope| {
        let views: Vec<_> = services
            .iter()
            .map(|service| {
                scope.spawn(move || {
                    let started = Instant::now();
                    let view = service.driver.open_view(VIEW).map_err(Error::part(service.label()))?;
                    Ok((service.name().clone(), view, phase(&service.label(), started)))
                })
            })
            .collect();
        let scans: Vec<_> = mounts
            .iter()
            .map(|mount| {
                scope.spawn(move || {
                    let started = Instant::now();
                    let staging = staging.join(mount.part.name().as_str());
                    std::fs::create_dir(&staging)
                        .map_err(Error::io(format!("{} could not be made", staging.display())))?;
                    let scan = mount.index.changes(&staging, limits).map_err(Error::part(mount.part.label()))?;
                    let how = if scan.by_journal() { "" } else { ", scanned" };
                    let phase = phase(&format!("{}{how}", mount.part.label()), started);
                    Ok((mount.part.name().clone(), scan, phase))
                })
            })
            .collect();
        let views: Vec<_> = views.into_iter().map(join).collect();
        let scans: Vec<_> = scans.into_iter().map(join).collect();
        (views, scans)
    });
    let views = split(views, &mut phases)?;
    let scans = split(scans, &mut phases)?;

    crash_point("snapshot: views open");
    let checked = Instant::now();
    let after = positions(services)?;
    let mut points = Vec::new();
    let mut moved = Vec::new();
    for (((service, before), after), (_, view)) in services.iter().zip(before).zip(after).zip(&views) {
        if before != after {
            moved.push(service.label());
        }
        let before = before.to_string();
        let after_views = if before == after.to_string() { view.position().to_string() } else { after.to_string() };
        points.push(Point { of: service.label(), after_drain: before, after_views });
    }
    let mut opened = Opened { views, scans: Vec::new(), points, phases, moved, taken_at };
    for (mount, (_, scan)) in mounts.iter().zip(&scans) {
        let paths = mount.index.moved_since(scan).map_err(Error::part(mount.part.label()))?;
        opened.mount_moved(mount, &paths, "written to");
    }
    opened.scans = scans;
    opened.phases.push(phase("positions again", checked));
    Ok(opened)
}

fn positions(services: &[Arc<ServicePart>]) -> Result<Vec<Position>, Error> {
    services.iter().map(|service| service.driver.position().map_err(Error::part(service.label()))).collect()
}

fn phase(name: &str, since: Instant) -> Phase {
    Phase { name: name.to_owned(), micros: u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX) }
}

type Timed<N, T> = Result<(N, T, Phase), Error>;

fn split<N, T>(results: Vec<Timed<N, T>>, phases: &mut Vec<Phase>) -> Result<Vec<(N, T)>, Error> {
    let mut parts = Vec::new();
    for result in results {
        let (name, value, phase) = result?;
        phases.push(phase);
        parts.push((name, value));
    }
    Ok(parts)
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T, Error>>) -> Result<T, Error> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
