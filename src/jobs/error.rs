//! Why a job did not succeed.

use std::time::Duration;

use crate::domain::policy::Refusal;
use crate::domain::problem::{chain, sentence};
use crate::domain::time::span;
use crate::gateway::HoldError;
use crate::{drivers, engine, queue, store};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{part}")]
    Part {
        /// `service database`, `mount uploads`.
        part: String,
        #[source]
        source: drivers::Error,
    },
    #[error(
        "{part}: the snapshot is of a server of version {snapshot}, which writes what this one, of version {server}, may not \
         understand: upgrade the server, or restore into an environment with one that is as new; nothing was replaced"
    )]
    NewerServer {
        part: String,
        snapshot: String,
        server: String,
        #[source]
        source: Box<drivers::Error>,
    },
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error("the site could not be held: {0}")]
    Hold(#[from] HoldError),
    #[error("the site could not be held for as long as it takes: the {longest} took {took} of it")]
    Lapsed {
        /// A part, or a step.
        longest: String,
        took: String,
        #[source]
        source: HoldError,
    },
    #[error(
        "{part} was not done after {} while the site was held, so the site was let go first: see that it answers and is not \
         overloaded, then try again", span(*.limit)
    )]
    Late { part: String, limit: Duration },
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Queue(#[from] queue::Error),
    #[error("{doing}")]
    Io {
        doing: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the repository is being cleaned up by another activity; try again when it is done")]
    RepositoryBusy,
    #[error("its lease on the repository was lost")]
    RepositoryLeaseLost,
    #[error(
        "what goes round the gateway could not be paused, so nothing was done: mend the environment's `pause` command, then \
         try again"
    )]
    NotPaused(#[source] drivers::Error),
    #[error("the environment's `after_restore` command did not succeed: mend it, then restore again")]
    AfterRestore(#[source] drivers::Error),
    #[error(
        "the snapshot that was to be taken first is missing ({0}), so nothing was done: see to that, then ask again, or ask \
         without a snapshot"
    )]
    NoSnapshotFirst(String),
    #[error("the command for `{word}` did not succeed: look at what it did, mend it, then ask again")]
    Command {
        word: &'static str,
        #[source]
        source: Box<drivers::Error>,
    },
    #[error(
        "it was cancelled while the command for `{0}` ran, which was killed, with all that it had started: look at what it \
         had done by then"
    )]
    CommandStopped(&'static str),
    #[error("it was cancelled")]
    Cancelled,
    #[error("the workers that tried it died {0} times; look into the server's log")]
    TooManyAttempts(i64),
    #[error(
        "the server that handed it out ended before it was complete: what arrived is not a whole dump; download it again"
    )]
    ReaderDied,
    #[error("a part of the work ended unexpectedly")]
    Panicked(#[from] tokio::task::JoinError),
    #[error("the restore did not succeed and was taken back; the site serves what it served before")]
    TakenBack(#[source] Box<Error>),
    #[error(
        "the restore did not succeed, and taking it back failed too; visitors are asked to come back until that is done, \
         which is tried again every few seconds"
    )]
    Mixed(#[source] Box<Error>),
    #[error(
        "the restore is done and the site serves it, but what it replaced could not be stored as a snapshot; it is kept \
         beside the live data, and storing it is tried again every few minutes"
    )]
    NoSafety(#[source] Box<Error>),
    #[error("{why} What was made could not be taken away again; remove it by hand")]
    LeftBehind {
        why: String,
        #[source]
        left: Box<Error>,
    },
    #[error(
        "it is closed to visitors, but what was made for it could not be taken away: mend that, then remove it again; its \
         snapshots are untouched"
    )]
    NotTakenAway(#[source] Box<Error>),
    #[error("there is nothing to do for it: it is a line of the feed")]
    NotWork,
}

impl Error {
    pub(super) fn part(part: impl Into<String>) -> impl FnOnce(drivers::Error) -> Self {
        move |source| Self::Part { part: part.into(), source }
    }

    /// Of a run of a project's command. One that is killed in the middle of its work is no cancellation like others; when
    /// its worker stops, another one runs it again.
    pub(super) fn command(word: &'static str, lease: &queue::Lease) -> impl FnOnce(drivers::Error) -> Self {
        let is_stopping = lease.is_stopping();
        move |source| match source {
            drivers::Error::Cancelled if is_stopping => Self::Cancelled,
            drivers::Error::Cancelled => Self::CommandStopped(word),
            source => Self::Command { word, source: Box::new(source) },
        }
    }

    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing: doing.into(), source }
    }

    /// Somebody was in the way who may be gone in a moment: worth a second try.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Part { source, .. } => source.may_pass(),
            Self::Lapsed { .. } | Self::Late { .. } => true,
            Self::Hold(error) => matches!(error, HoldError::Lapsed | HoldError::Joined { .. }),
            _ => false,
        }
    }

    pub(super) fn must_be_told(&self) -> bool {
        matches!(
            self,
            Self::TakenBack(_)
                | Self::Mixed(_)
                | Self::NoSafety(_)
                | Self::LeftBehind { .. }
                | Self::NotTakenAway(_)
                | Self::Command { .. }
                | Self::CommandStopped(_)
        )
    }

    /// The whole chain as a sentence for the feed.
    pub fn for_people(&self) -> String {
        sentence(&chain(self))
    }
}
