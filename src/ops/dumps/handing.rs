//! One reading from its beginning to its end: who reads, who is read, and how both part.
//!
//! 1. Share the repository (R14), or make a scratch directory.    Given back, removed, when the reading has ended.
//! 2. Read and pack on a thread.                                  It ends when nobody takes what it hands on.
//! 3. Hand on what comes, for as long as somebody takes it.
//! 4. End the activity; only then tell whoever reads that it was all.
//!
//! **Invariant:** [`Part::Whole`] is said only after the service was read to its end and the activity says so.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes as Chunk;
use flate2::write::GzEncoder;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::App;
use crate::authz::Actor;
use crate::domain::dump::Compression;
use crate::domain::environment::Composition;
use crate::domain::ids::ServiceName;
use crate::domain::{Bytes, EnvironmentId, ProjectId};
use crate::drivers::mount::Rules;
use crate::engine::{self, Repository};
use crate::jobs::{self, Error, Parts, RepositoryLease, Scratch, crash_point};
use crate::ops::accounts;
use crate::queue::{self, Lease};
use crate::store::work::End;

/// Bytes of a chunk at least; drivers hand on what is larger, up to a mebibyte, as it is.
const CHUNK: usize = 64 * 1024;
/// Chunks between the thread and the connection.
const AHEAD: usize = 4;
/// How long a view may take to open: nobody is held meanwhile.
const VIEW: Duration = Duration::from_secs(10);
/// Whoever takes nothing for so long has gone; until then a database or a repository waits for them.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often the feed learns how far it is.
const TELL: Duration = Duration::from_secs(1);

/// What whoever reads gets.
pub(super) enum Part {
    Chunk(Chunk),
    /// There is no more, and nothing is missing.
    Whole,
    /// Why it is not whole.
    Failed(String),
}

/// What is read.
pub(super) enum Source {
    /// One service of an environment, as declared.
    Live { of: EnvironmentId, only: Composition },
    /// Of the entry with this id of the repository; about how many bytes.
    Stored { id: String, bytes: u64 },
}

pub(super) struct Handing {
    pub app: App,
    pub reader: Actor,
    pub project: ProjectId,
    pub lease: Lease,
    pub service: ServiceName,
    pub compression: Compression,
    pub source: Source,
}

/// How it ended.
enum Outcome {
    /// Bytes handed out.
    Whole(u64),
    Failed(String),
    /// Whoever read went away, or somebody cancelled it; after so many bytes.
    Left(&'static str, u64),
}

/// Bytes read from the service, and known to be there.
#[derive(Default)]
struct Meter {
    done: AtomicU64,
    total: AtomicU64,
}

impl Handing {
    pub async fn run(self, to: mpsc::Sender<Part>) {
        let lease = self.lease.clone();
        let app = self.app.clone();
        let ended = lease.kept(async {
            let outcome = self.hand_over(&to).await;
            (finish(&app, &lease, &outcome).await, outcome)
        });
        let last = match ended.await {
            (Ok(()), Outcome::Whole(_)) => Part::Whole,
            (Ok(()), Outcome::Failed(reason)) => Part::Failed(reason),
            (Ok(()), Outcome::Left(why, _)) => Part::Failed(why.to_owned()),
            (Err(error), _) => {
                tracing::warn!(activity.id = %lease.activity(), %error, "the end of a reading was not recorded");
                Part::Failed("the end of the reading could not be recorded".to_owned())
            }
        };
        // Nobody may be there any more.
        let _ = timeout(PATIENCE, to.send(last)).await;
    }

    async fn hand_over(self, to: &mpsc::Sender<Part>) -> Outcome {
        let Self { app, reader, project, lease, service, compression, source } = self;
        let meter = Arc::new(Meter::default());
        let job = engine::Job::reading();
        let reading = match Reading::new(&app, &project, &lease, service, source, &meter).await {
            Ok(reading) => reading,
            Err(error) => return Outcome::Failed(error.for_people()),
        };
        let (sender, mut chunks) = mpsc::channel(AHEAD);
        let thread = {
            let (job, meter) = (job.clone(), Arc::clone(&meter));
            // The reading's lease and its files go when it has ended.
            tokio::task::spawn_blocking(move || copy(&reading, compression, &job, &meter, Sending(Some(sender))))
        };
        let mut handed = 0;
        let mut tick = interval(TELL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut told = 0;
        let left = loop {
            tokio::select! {
                () = lease.cancelled() => break Some("it was cancelled"),
                () = to.closed() => break Some("whoever read it went away"),
                _ = tick.tick() => {
                    if matches!(accounts::still_open(&app, &reader).await, Err(crate::ops::Error::NotLoggedIn)) {
                        break Some("the account of whoever read it was closed");
                    }
                    let now = meter.per_mille();
                    // A feed that lags does no harm.
                    if now > told && lease.progress(now).await.is_ok() {
                        told = now;
                    }
                }
                chunk = chunks.recv() => {
                    let Some(chunk) = chunk else { break None };
                    let bytes = chunk.len() as u64;
                    tokio::select! {
                        () = lease.cancelled() => break Some("it was cancelled"),
                        sent = timeout(PATIENCE, to.send(Part::Chunk(chunk))) => match sent {
                            Ok(Ok(())) => handed += bytes,
                            Ok(Err(_)) => break Some("whoever read it went away"),
                            Err(_) => break Some("whoever read it took nothing for ten minutes"),
                        },
                    }
                }
            }
        };
        if left.is_some() {
            job.cancel();
        }
        // Whatever it still wants to send ends it.
        drop(chunks);
        let read = thread.await.unwrap_or_else(|panicked| Err(panicked.into()));
        crash_point("dump: read");
        match (left, read) {
            (Some(why), _) => Outcome::Left(why, handed),
            (None, Ok(())) => Outcome::Whole(handed),
            (None, Err(error)) => Outcome::Failed(error.for_people()),
        }
    }
}

async fn finish(app: &App, lease: &Lease, outcome: &Outcome) -> Result<(), queue::Error> {
    let (line, end) = match outcome {
        Outcome::Whole(bytes) => (format!("Handed out {}", Bytes(*bytes)), End::Success),
        Outcome::Failed(reason) => (reason.clone(), End::Failure(reason.clone())),
        Outcome::Left(why, bytes) => (format!("Ended after {}: {why}", Bytes(*bytes)), End::Cancelled),
    };
    lease.log(&line).await?;
    let mut tx = app.store().write().await?;
    lease.finish(&mut tx, &end).await?;
    app.store().commit(tx).await?;
    Ok(())
}

impl Meter {
    /// 1000 is left to the activity's end.
    fn per_mille(&self) -> u16 {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        let share = done.min(total).saturating_mul(1000).checked_div(total).unwrap_or(0);
        u16::try_from(share).unwrap_or(999).min(999)
    }
}

/// What the thread works with.
enum Reading {
    Live { composition: Composition, rules: Rules, scratch: Scratch },
    Stored { repository: Repository, id: String, service: ServiceName, _shared: RepositoryLease },
}

impl Reading {
    async fn new(
        app: &App,
        project: &ProjectId,
        lease: &Lease,
        service: ServiceName,
        source: Source,
        meter: &Meter,
    ) -> Result<Self, Error> {
        match source {
            Source::Live { of, only } => {
                let settings = app.settings();
                let rules = jobs::rules(app.store(), (&settings.roots, &settings.data), &of).await?;
                let scratch = Scratch::make(app.data(), lease.activity())?;
                Ok(Self::Live { composition: only, rules, scratch })
            }
            Source::Stored { id, bytes } => {
                let repositories = &app.0.readings.repositories;
                let shared = repositories.share(project, lease.activity().as_str()).await?;
                let repository = repositories.open(project).await?;
                meter.total.store(bytes, Ordering::Relaxed);
                Ok(Self::Stored { repository, id, service, _shared: shared })
            }
        }
    }

    /// Writes the service's whole stream. Blocks.
    fn write(&self, out: &mut dyn Write, job: &engine::Job, meter: &Meter) -> Result<(), Error> {
        match self {
            Self::Stored { repository, id, service, .. } => {
                Ok(repository.read_stream(job, id, service, out).map(drop)?)
            }
            Self::Live { composition, rules, scratch } => {
                let parts = Parts::connect(composition)?;
                parts.test(rules)?;
                let cancelled = || job.is_bad();
                for service in &parts.services {
                    let failed = |source| Error::Part { part: format!("service {}", service.name()), source };
                    let own = scratch.directory(service.name().as_str())?;
                    service.driver.get_ready(&own, &cancelled).map_err(failed)?;
                    let mut view = service.driver.open_view(VIEW).map_err(failed)?;
                    meter.total.store(view.size().0, Ordering::Relaxed);
                    view.settle(&own, &cancelled).map_err(failed)?;
                    view.dump(&own, out, &cancelled).map_err(failed)?;
                }
                Ok(())
            }
        }
    }
}

/// Reads and packs. Blocks.
fn copy(
    reading: &Reading,
    compression: Compression,
    job: &engine::Job,
    meter: &Meter,
    sending: Sending,
) -> Result<(), Error> {
    let mut out = Counted { packing: Packing::new(compression, sending), meter };
    match reading.write(&mut out, job, meter) {
        Ok(()) => {
            let failed = |source| Error::Io { doing: "the dump could not be handed on".to_owned(), source };
            out.packing.finish().map_err(failed)
        }
        Err(error) => {
            out.packing.give_up();
            Err(error)
        }
    }
}

/// Counts what the service gives.
struct Counted<'a> {
    packing: Packing,
    meter: &'a Meter,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.packing {
            Packing::None(out) => out.write(bytes)?,
            Packing::Gzip(encoder) => encoder.write(bytes)?,
        };
        self.meter.done.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    /// Whole chunks go on by themselves, the last one when all is packed.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands chunks to the connection; waits where it is slow. `None`: nothing more is to be handed on.
struct Sending(Option<mpsc::Sender<Chunk>>);

impl Write for Sending {
    /// Not `blocking_send`: drivers write while they wait for their servers inside of a runtime, where that is forbidden.
    /// Only this thread waits, and it has nothing else to do.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let to = self.0.as_ref().ok_or_else(gone)?;
        // Nor bounded as the runtime's own tasks are: the runtime would never get to give it more turns.
        let send = tokio::task::unconstrained(to.send(Chunk::copy_from_slice(bytes)));
        futures::executor::block_on(send).map_err(|_| gone())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Packing {
    None(BufWriter<Sending>),
    Gzip(Box<GzEncoder<BufWriter<Sending>>>),
}

impl Packing {
    fn new(compression: Compression, sending: Sending) -> Self {
        let out = BufWriter::with_capacity(CHUNK, sending);
        match compression {
            Compression::None => Self::None(out),
            Compression::Gzip => Self::Gzip(Box::new(GzEncoder::new(out, flate2::Compression::default()))),
        }
    }

    /// What is dropped would write what it still has, and its end, and what was packed would look whole.
    fn give_up(self) {
        match self {
            Self::None(mut out) => out.get_mut().0 = None,
            Self::Gzip(mut encoder) => encoder.get_mut().get_mut().0 = None,
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::None(mut out) => out.flush(),
            Self::Gzip(encoder) => encoder.finish()?.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// What a reader gets of a packed dump that broke off, or did not.
    fn packed(end: impl FnOnce(Packing)) -> Vec<u8> {
        let (sender, mut chunks) = mpsc::channel(64);
        let meter = Meter::default();
        let packing = Packing::new(Compression::Gzip, Sending(Some(sender)));
        let mut out = Counted { packing, meter: &meter };
        out.write_all(b"a dump").expect("somebody takes it");
        assert_eq!(meter.done.load(Ordering::Relaxed), 6);
        end(out.packing);
        std::iter::from_fn(|| chunks.blocking_recv()).flatten().collect()
    }

    #[test]
    fn what_was_packed_is_closed_only_when_it_is_whole() {
        let unpack = |bytes: &[u8]| {
            let mut text = String::new();
            flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).map(|_| text)
        };
        let whole = packed(|packing| packing.finish().expect("somebody takes it"));
        assert_eq!(unpack(&whole).expect("a whole file"), "a dump");
        assert!(unpack(&packed(Packing::give_up)).is_err());
    }

    #[test]
    fn progress_is_a_share_of_what_is_known_and_never_complete_by_itself() {
        let meter = Meter::default();
        assert_eq!(meter.per_mille(), 0);
        meter.done.store(7, Ordering::Relaxed);
        assert_eq!(meter.per_mille(), 0, "nothing is known");
        meter.total.store(21, Ordering::Relaxed);
        assert_eq!(meter.per_mille(), 333);
        meter.done.store(50, Ordering::Relaxed);
        assert_eq!(meter.per_mille(), 999);
    }
}
