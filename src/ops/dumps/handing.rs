//! One reading from its beginning to its end: who reads, who is read, and how both part.
//!
//! 1. Share the repository (R14), or make a scratch directory.    Given back, removed, when the reading has ended.
//! 2. Read on a thread, into a pipe; pack from the pipe.          Whoever fails first ends the other.
//! 3. Hand on what comes, for as long as somebody takes it.
//! 4. End the activity; only then tell whoever reads that it was all.
//!
//! **Invariant:** [`Part::Whole`] is said only after the service was read to its end and the activity says so.

use std::io::{self, PipeWriter, Read as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes as Chunk;
use flate2::write::GzEncoder;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::App;
use crate::domain::dump::Compression;
use crate::domain::environment::Composition;
use crate::domain::ids::ServiceName;
use crate::domain::{Bytes, ProjectId};
use crate::drivers::mount::Rules;
use crate::engine::{self, Repository};
use crate::jobs::{Error, Parts, RepositoryLease, Scratch, crash_point};
use crate::queue::{self, Lease};
use crate::store::work::End;

/// Bytes of a chunk: what a pipe holds.
const CHUNK: usize = 64 * 1024;
/// Chunks between the thread and the connection.
const AHEAD: usize = 8;
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
    /// One service, as declared.
    Live(Composition),
    /// Of the entry with this id of the repository; about how many bytes.
    Stored { id: String, bytes: u64 },
}

pub(super) struct Handing {
    pub app: App,
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
        let Self { app, project, lease, service, compression, source } = self;
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
            Source::Live(composition) => {
                let settings = app.settings();
                let rules =
                    Rules { roots: settings.roots.clone(), data: Some(settings.data.clone()), ..Rules::default() };
                let scratch = Scratch::make(app.data(), lease.activity())?;
                Ok(Self::Live { composition, rules, scratch })
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
    fn write(&self, out: &mut PipeWriter, job: &engine::Job, meter: &Meter) -> Result<(), Error> {
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

/// Reads on a thread of its own, packs on this one. Blocks until both have ended, whatever ended them.
fn copy(
    reading: &Reading,
    compression: Compression,
    job: &engine::Job,
    meter: &Meter,
    sending: Sending,
) -> Result<(), Error> {
    let failed = |source| Error::Io { doing: "the dump could not be handed on".to_owned(), source };
    let (mut reader, mut writer) = io::pipe().map_err(failed)?;
    let mut packing = Packing::new(compression, sending);
    std::thread::scope(|scope| {
        // Not where it is packed: drivers wait for their servers inside of a runtime, where nothing else may wait.
        let writing = scope.spawn(move || reading.write(&mut writer, job, meter));
        let mut buffer = vec![0; CHUNK];
        let packed = loop {
            match reader.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(read) => {
                    meter.done.fetch_add(read as u64, Ordering::Relaxed);
                    if let Err(error) = packing.put(&buffer[..read]) {
                        break Err(error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        // Nobody reads on: the other one ends.
        drop(reader);
        let written =
            writing.join().unwrap_or_else(|_| Err(failed(io::Error::other("the thread that reads panicked"))));
        // A pipe that ends says nothing of why: what is packed is closed only when it is whole.
        match packed.map_err(failed).and(written) {
            Ok(()) => packing.finish().map_err(failed),
            Err(error) => {
                packing.give_up();
                Err(error)
            }
        }
    })
}

/// Hands chunks to the connection; waits where it is slow. `None`: nothing more is to be handed on.
struct Sending(Option<mpsc::Sender<Chunk>>);

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.as_ref().and_then(|to| to.blocking_send(Chunk::copy_from_slice(bytes)).ok());
        sent.map(|()| bytes.len()).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Packing {
    None(Sending),
    Gzip(Box<GzEncoder<Sending>>),
}

impl Packing {
    fn new(compression: Compression, sending: Sending) -> Self {
        match compression {
            Compression::None => Self::None(sending),
            Compression::Gzip => Self::Gzip(Box::new(GzEncoder::new(sending, flate2::Compression::default()))),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::None(sending) => sending.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
        }
    }

    /// An encoder that is dropped would write its end, and what was packed would look whole.
    fn give_up(self) {
        if let Self::Gzip(mut encoder) = self {
            encoder.get_mut().0 = None;
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::None(mut sending) => sending.flush(),
            Self::Gzip(encoder) => encoder.finish().map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader gets of a packed dump that broke off, or did not.
    fn packed(end: impl FnOnce(Packing)) -> Vec<u8> {
        let (sender, mut chunks) = mpsc::channel(64);
        let mut packing = Packing::new(Compression::Gzip, Sending(Some(sender)));
        packing.put(b"a dump").expect("somebody takes it");
        end(packing);
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
