//! One instant: the views of all services and the changed files of all mounts, opened inside one snapshot hold (R16).
//!
//! **Invariant:** the hold is released before anything is read at length, and on every failure at once (R17).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::abreast::{self, Piece, Stopped};
use super::context::Context;
use super::parts::{MountPart, Parts, ServicePart};
use super::{Error, crash_point};
use crate::domain::activity::SnapshotMode;
use crate::domain::ids::{MountName, ServiceName};
use crate::domain::snapshot::{Consistency, Phase, Point, Proof};
use crate::domain::time::{self, DAY};
use crate::domain::{EnvironmentId, Timestamp};
use crate::drivers::mount::{Index, Scan, StagingLimits};
use crate::drivers::{Position, SPARE, View};
use crate::engine;
use crate::gateway::{self, HoldError, HoldKind};

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

/// How long a service may take to open its view, and to say where it stands.
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
    let opening = Opening {
        services: parts.services.clone(),
        mounts: Arc::clone(&mounts),
        staging: staging.to_owned(),
        limits: context.staging_limits(),
        patience: match mode {
            SnapshotMode::Live => Patience { service: DAY, mount: DAY },
            // The hold ends by itself at its ceiling: better late by name than that.
            SnapshotMode::Consistent => {
                Patience { service: VIEW + SPARE, mount: context.limits().ceiling.mul_f64(0.8) }
            }
        },
    };
    if mode == SnapshotMode::Live {
        return match opening.open().await {
            Ok(opened) => Ok(opened.captured(Consistency::Live, Proof::default())),
            Err(stopped) => Err(stopped.reason().await),
        };
    }
    let gates = context.gates().await?;
    let held = gateway::hold(&gates, environment, HoldKind::Snapshot, context.limits()).await?;
    crash_point("snapshot: held");
    let opened = match opening.open().await {
        Ok(opened) => opened,
        Err(stopped) => {
            // The site first, then the reason (R17).
            drop(held);
            return Err(stopped.reason().await);
        }
    };
    let ended = async {
        held.confirm().await?;
        // One that was started meanwhile took requests, whatever those that are held say.
        held.covers(&context.gates().await?)?;
        Ok(held.release().await?)
    };
    let report = match ended.await {
        Ok(report) => report,
        Err(error) => {
            let error = opened.blamed(error);
            abreast::dropped(opened).await;
            return Err(error);
        }
    };
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
    fn compare(&mut self, services: &[Arc<ServicePart>], before: Vec<Position>, after: Vec<Position>) {
        for (((service, before), after), (_, view)) in services.iter().zip(before).zip(after).zip(&self.views) {
            if before != after {
                self.moved.push(service.label());
            }
            let before = before.to_string();
            let after_views = if before == after.to_string() { view.position().to_string() } else { after.to_string() };
            self.points.push(Point { of: service.label(), after_drain: before, after_views });
        }
    }

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

    /// What took longest, when that was longer than the hold could stand.
    fn blamed(&self, error: Error) -> Error {
        match (error, self.phases.iter().max_by_key(|phase| phase.micros)) {
            (Error::Hold(source @ HoldError::Lapsed), Some(longest)) => {
                let took = time::span(Duration::from_micros(longest.micros));
                Error::Lapsed { longest: longest.name.clone(), took, source }
            }
            (error, _) => error,
        }
    }

    fn captured(self, consistency: Consistency, proof: Proof) -> Captured {
        let proof = Proof { points: self.points, phases: self.phases, ..proof };
        Captured { views: self.views, scans: self.scans, consistency, proof, taken_at: self.taken_at }
    }
}

/// Positions, then all views and scans, then positions again; in each of the three all parts side by side.
struct Opening {
    services: Vec<Arc<ServicePart>>,
    mounts: Arc<Vec<Indexed>>,
    staging: PathBuf,
    limits: StagingLimits,
    patience: Patience,
}

/// How long each part may take for one of the three.
#[derive(Clone, Copy)]
struct Patience {
    service: Duration,
    mount: Duration,
}

/// What a part gave, and how long that took.
enum Part {
    View(ServiceName, Box<dyn View>, Phase),
    Scan(MountName, Scan, Phase),
}

impl Opening {
    async fn open(&self) -> Result<Opened, Stopped> {
        let started = Instant::now();
        let before = abreast::all(self.positions()).await?;
        let mut phases = vec![phase("positions", started)];
        let taken_at = Timestamp::now();
        let (mut views, mut scans) = (Vec::new(), Vec::new());
        for part in abreast::all(self.views_and_scans()).await? {
            match part {
                Part::View(name, view, phase) => {
                    phases.push(phase);
                    views.push((name, view));
                }
                Part::Scan(name, scan, phase) => {
                    phases.push(phase);
                    scans.push((name, scan));
                }
            }
        }
        crash_point("snapshot: views open");
        let checked = Instant::now();
        let after = match abreast::all(self.positions()).await {
            Ok(after) => after,
            Err(stopped) => return Err(stopped.and_drop((views, scans))),
        };
        let mut opened = Opened { views, scans: Vec::new(), points: Vec::new(), phases, moved: Vec::new(), taken_at };
        opened.compare(&self.services, before, after);
        // Each takes its scan along and gives it back.
        let looked = match abreast::all(self.moved_since(scans)).await {
            Ok(looked) => looked,
            Err(stopped) => return Err(stopped.and_drop(opened)),
        };
        for (mount, (name, scan, paths)) in self.mounts.iter().zip(looked) {
            opened.mount_moved(mount, &paths, "written to");
            opened.scans.push((name, scan));
        }
        opened.phases.push(phase("positions again", checked));
        Ok(opened)
    }

    fn positions(&self) -> Vec<Piece<Position>> {
        let piece = |service: &Arc<ServicePart>| {
            let service = Arc::clone(service);
            let label = service.label();
            Piece::start(label, self.patience.service, move || {
                service.driver.position().map_err(Error::part(service.label()))
            })
        };
        self.services.iter().map(piece).collect()
    }

    fn views_and_scans(&self) -> Vec<Piece<Part>> {
        let view = |service: &Arc<ServicePart>| {
            let service = Arc::clone(service);
            Piece::start(service.label(), self.patience.service, move || {
                let started = Instant::now();
                let view = service.driver.open_view(VIEW).map_err(Error::part(service.label()))?;
                Ok(Part::View(service.name().clone(), view, phase(&service.label(), started)))
            })
        };
        let scan = |number: usize| {
            let (mounts, staging, limits) = (Arc::clone(&self.mounts), self.staging.clone(), self.limits);
            Piece::start(self.mounts[number].part.label(), self.patience.mount, move || {
                let started = Instant::now();
                let Indexed { part, index } = &mounts[number];
                let staging = staging.join(part.name().as_str());
                std::fs::create_dir(&staging).map_err(Error::io(format!("{} could not be made", staging.display())))?;
                let scan = index.changes(&staging, limits).map_err(Error::part(part.label()))?;
                let how = if scan.by_journal() { "" } else { ", scanned" };
                let phase = phase(&format!("{}{how}", part.label()), started);
                Ok(Part::Scan(part.name().clone(), scan, phase))
            })
        };
        self.services.iter().map(view).chain((0..self.mounts.len()).map(scan)).collect()
    }

    fn moved_since(&self, scans: Vec<(MountName, Scan)>) -> Vec<Piece<(MountName, Scan, Vec<PathBuf>)>> {
        let piece = |(number, (name, scan)): (usize, (MountName, Scan))| {
            let mounts = Arc::clone(&self.mounts);
            Piece::start(self.mounts[number].part.label(), self.patience.mount, move || {
                let Indexed { part, index } = &mounts[number];
                let paths = index.moved_since(&scan).map_err(Error::part(part.label()))?;
                Ok((name, scan, paths))
            })
        };
        scans.into_iter().enumerate().map(piece).collect()
    }
}

fn phase(name: &str, since: Instant) -> Phase {
    Phase { name: name.to_owned(), micros: u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX) }
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T, Error>>) -> Result<T, Error> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
