//! One run of the engine, shared by those who do it, those who watch it and those who may end it.
//!
//! **Invariant:** once a job is bad it stays bad, the first reason is the one that is told, and nothing more is written
//! to the repository for it: the library only warns about what it cannot read and would store the entry all the same.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};
use rustic_core::{Progress, ProgressBars, ProgressType, RusticProgress};

use super::error::{Cause, Error};

/// Cheap to clone; all clones are the same job.
#[derive(Clone)]
pub struct Job(Arc<Shared>);

struct Shared {
    bad: AtomicBool,
    reason: Mutex<Option<Error>>,
    total: AtomicU64,
    done: AtomicU64,
    may_commit: Box<dyn Fn() -> bool + Send + Sync>,
    pool: OnceLock<ThreadPool>,
}

impl Job {
    /// `may_commit` is asked right before the snapshot's file is written: `false` when the lease was lost (R14).
    pub fn new(may_commit: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            bad: AtomicBool::new(false),
            reason: Mutex::new(None),
            total: AtomicU64::new(0),
            done: AtomicU64::new(0),
            may_commit: Box::new(may_commit),
            pool: OnceLock::new(),
        }))
    }

    /// For what stores nothing: restores, reading.
    pub fn reading() -> Self {
        Self::new(|| false)
    }

    /// The run ends at its next step. A read that blocks isn't woken: end the process that feeds it too.
    pub fn cancel(&self) {
        self.fail_with(Error::Cancelled);
    }

    /// As [`Job::cancel`], with a reason for people, e.g. that a dumping process failed.
    pub fn fail(&self, reason: impl Into<String>) {
        self.fail_with(Error::Stopped(reason.into()));
    }

    /// Whether it was cancelled or has failed.
    pub fn is_bad(&self) -> bool {
        self.0.bad.load(Ordering::Acquire)
    }

    /// Announces bytes of work. The engine announces nothing itself: before [`pre_copy`](super::Repository::pre_copy)
    /// the sizes of all files, before [`archive`](super::Repository::archive) those of the staged copies and of the
    /// streams, before a restore the sizes of what is restored.
    pub fn expect_bytes(&self, bytes: u64) {
        self.0.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes announced.
    pub fn bytes_total(&self) -> u64 {
        self.0.total.load(Ordering::Relaxed)
    }

    /// Bytes worked through; may pass the total when files grow.
    pub fn bytes_done(&self) -> u64 {
        self.0.done.load(Ordering::Relaxed)
    }

    pub(super) fn did(&self, bytes: u64) {
        self.0.done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn may_commit(&self) -> bool {
        (self.0.may_commit)()
    }

    pub(super) fn fail_with(&self, reason: Error) {
        let mut first = self.0.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.0.bad.swap(true, Ordering::AcqRel) {
            *first = Some(reason);
        }
    }

    /// Ends what a public call does: an error is told as the job's first reason, if it has one.
    pub(super) fn end<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| {
            let mut first = self.0.reason.lock().unwrap_or_else(PoisonError::into_inner);
            match first.take() {
                Some(reason) => reason,
                None if self.is_bad() => Error::Stopped("the job had ended before".to_owned()),
                None => error,
            }
        })
    }

    /// For use on the way; [`Job::end`] puts the reason in.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.is_bad() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// The library uses rayon's pool, and waiting inside a shared one would stall other jobs. Two threads at least:
    /// with one, it waits for itself.
    pub(super) fn pool(&self) -> Result<&ThreadPool, Error> {
        if let Some(pool) = self.0.pool.get() {
            return Ok(pool);
        }
        let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
        let pool =
            ThreadPoolBuilder::new().num_threads(threads).thread_name(|n| format!("repository-{n}")).build().map_err(
                |error| Error::internal("no threads for the repository", Cause::from(std::io::Error::other(error))),
            )?;
        Ok(self.0.pool.get_or_init(|| pool))
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("bad", &self.is_bad())
            .field("bytes_done", &self.bytes_done())
            .field("bytes_total", &self.bytes_total())
            .finish_non_exhaustive()
    }
}

/// Counts the bytes that the library says it has worked through.
#[derive(Debug)]
pub(super) struct Counting(pub Job);

impl ProgressBars for Counting {
    fn progress(&self, kind: ProgressType, _prefix: &str) -> Progress {
        match kind {
            ProgressType::Bytes => Progress::new(Bytes(self.0.clone())),
            ProgressType::Spinner | ProgressType::Counter => Progress::hidden(),
        }
    }
}

#[derive(Debug)]
struct Bytes(Job);

impl RusticProgress for Bytes {
    fn is_hidden(&self) -> bool {
        false
    }
    fn set_length(&self, _length: u64) {}
    fn set_title(&self, _title: &str) {}
    fn inc(&self, bytes: u64) {
        self.0.did(bytes);
    }
    fn finish(&self) {}
}
