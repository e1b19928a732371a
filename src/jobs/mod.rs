//! Jobs: what the worker does with an activity. A file per job: its story, its steps and what undoes each.
//!
//! **Invariant:** a job is safe to run twice and safe to die at any line; it holds a lease, never a database transaction;
//! whatever it ends with, no site is left on hold.

mod abreast;
mod aside;
mod branch;
mod context;
mod drill;
mod error;
mod first;
mod hooks;
mod instant;
mod journal;
mod load;
mod merge;
mod parts;
mod paths;
pub mod postman;
mod progress;
mod provisioner;
mod recovery;
mod relocation;
mod removal;
mod repositories;
mod restore;
mod retention;
mod safety;
mod scheduler;
mod snapshot;
mod storage;
mod stream;
mod swap;
mod upkeep;

use std::future::Future;
use std::pin::Pin;

pub use aside::standing as standing_aside;
pub use context::{Context, Gateways};
pub(crate) use context::{Scratch, rules};
pub use error::Error;
pub use parts::Parts;
pub use paths::{Held, held};
pub use recovery::recover;
pub use relocation::free;
pub use repositories::Repositories;
pub(crate) use repositories::RepositoryLease;
pub use scheduler::{begin_due, schedule, tell_late};
pub use storage::used;
pub use upkeep::{Round, Upkeep, prune};

use crate::domain::activity::Payload;
use crate::queue::{Failure, Handler, Work};

/// How often an activity is tried when its workers die on it.
const ATTEMPTS: i64 = 3;

/// Dispatches activities to their jobs.
#[derive(Debug)]
pub struct Jobs(pub Context);

impl Handler for Jobs {
    fn run(&self, work: Work) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>> {
        Box::pin(async move {
            let lease = work.lease.clone();
            let done = match work.activity.payload.clone() {
                Payload::TakeSnapshot(take) => snapshot::run(&self.0, &work, take).await,
                Payload::RestoreSnapshot(mut request) => match request.branch.take() {
                    Some(new) => branch::run(&self.0, &work, request, new).await,
                    None => restore::run(&self.0, &work, request).await,
                },
                Payload::RunDrill(request) => drill::run(&self.0, &work, request).await,
                Payload::MergeEnvironment(merge) => merge::run(&self.0, &work, merge).await,
                Payload::ChangeStorage(change) => storage::run(&self.0, &work, change).await,
                Payload::Retain => retention::run(&self.0, &work).await,
                Payload::RemoveEnvironment(request) => removal::run(&self.0, &work, &request).await,
                Payload::RemoveProject(_) => removal::run_project(&self.0, &work).await,
                Payload::MoveProject(request) => relocation::run(&self.0, &work, &request).await,
                Payload::BranchEnvironment(_)
                | Payload::ChangePlan(_)
                | Payload::ChangeSchedule(_)
                | Payload::DeleteSnapshot(_)
                | Payload::KeepSnapshot(_)
                | Payload::Ticket(_) => Err(Error::NotWork),
                // Whoever read it held its lease: nobody but a worker that finds it left gets here (`ops::dumps`).
                Payload::ReadDump(_) => self.0.scratch(&work.activity.id).and(Err(Error::ReaderDied)),
            };
            let failure = match done {
                Ok(()) => return Ok(()),
                Err(Error::Queue(error)) => return Err(Failure::Queue(error)),
                // Put back into the queue, or cancelled, unless something is no longer what it was: that must be told.
                Err(_) if lease.is_stopping() => return Err(Failure::Cancelled),
                Err(error) if lease.is_cancelled() && !error.must_be_told() => return Err(Failure::Cancelled),
                Err(error) => error.for_people(),
            };
            // The failure must be told, though its line may not fit on the same full disk.
            if let Err(error) = lease.log(&failure).await {
                tracing::warn!(activity.id = %lease.activity(), %error, "a line could not be logged");
            }
            Err(Failure::Failed(failure))
        })
    }
}

/// Ends the process at a step that a test names, as `kill -9` would, or stops it there until the test lets it go on.
/// Not in release builds.
pub(crate) fn crash_point(step: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    let named = |variable: &str| std::env::var(variable).is_ok_and(|wanted| wanted == step);
    if named("STILLPOINT_CRASH_AT") {
        std::process::abort();
    }
    if named("STILLPOINT_STOP_AT") {
        let sent = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
        sent.expect("a process may stop itself");
        // Another thread may take the signal: this one must not go on meanwhile. In short naps, because one that began
        // before the stop is over after it, and the test may stop the process a second time.
        for _ in 0..20 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
