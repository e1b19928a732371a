//! What can go wrong with a repository, said so that a person knows what to do next.

use std::io;
use std::path::PathBuf;

use rustic_core::RusticError;

use crate::domain::ids::{MountName, ServiceName};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "the key does not open the repository at {location}: give the key it was created with, or its recovery key"
    )]
    WrongKey { location: String },
    #[error("there is no repository at {location}: check the path, and that its storage is mounted")]
    Missing { location: String },
    #[error("there is a repository at {location} already: open that one, or choose an empty place")]
    Exists { location: String },
    #[error("the path of the repository, {}, is not UTF-8: choose another one", path.display())]
    BadLocation { path: PathBuf },
    #[error(
        "the repository at {location} cannot be {action}: check that its storage can be reached, is writable and has room, \
         then try again"
    )]
    Storage { location: String, action: &'static str, source: Cause },
    #[error(
        "the repository is damaged: {what} cannot be read or is not what was stored; run `restic check --read-data` on it \
         and take another snapshot"
    )]
    Damaged { what: String, source: Option<Cause> },
    #[error(
        "another program works on the repository at {location} ({by}): try again when it has ended; if none is running, \
         `restic unlock` removes what it left"
    )]
    Locked { location: String, by: String },
    #[error(
        "another program rewrote the index of the repository at {location} meanwhile, so nothing was stored: take the \
         snapshot again"
    )]
    Rewritten { location: String },
    #[error("the repository has no snapshot with the id {id}: it was deleted, or belongs to another repository")]
    UnknownSnapshot { id: String },
    #[error("the snapshot has no mount called {mount}")]
    UnknownMount { mount: MountName },
    #[error("the snapshot has no service called {service}")]
    UnknownService { service: ServiceName },
    #[error("the snapshot has no manifest: it was not made by Stillpoint; restore it with restic")]
    NoManifest,
    #[error("cannot {action} {}: check that it exists, that Stillpoint may read it, and that its disk is sound", path.display())]
    Source { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} changed while it was read and was not caught in the hold: take the snapshot again", path.display())]
    Changed { path: PathBuf },
    #[error("the dump of {service} broke off")]
    Stream { service: ServiceName, source: io::Error },
    #[error("the dump of {service} cannot be written out")]
    Output { service: ServiceName, source: io::Error },
    #[error("cannot {action} {}: check that the disk has room and that Stillpoint may write there", path.display())]
    Destination { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not empty: restore into a new, empty directory", path.display())]
    NotEmpty { path: PathBuf },
    #[error("the job was cancelled")]
    Cancelled,
    #[error("the lease on the repository was lost, so nothing was stored: take the snapshot again")]
    LeaseLost,
    /// Said by whoever watches the job from outside: [`Job::fail`](super::Job::fail).
    #[error("{0}")]
    Stopped(String),
    #[error("{what}: this is a mistake in Stillpoint, please report it")]
    Internal { what: String, source: Option<Cause> },
}

/// A cause in one line. The library's own display runs over many and advises things that don't apply here.
#[derive(Debug)]
pub struct Cause(String);

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

impl From<&RusticError> for Cause {
    fn from(error: &RusticError) -> Self {
        let line: Vec<String> = error.display_log().split_whitespace().map(str::to_owned).collect();
        Self(line.join(" ").trim_start_matches("Error: ").to_owned())
    }
}

impl From<Box<RusticError>> for Cause {
    fn from(error: Box<RusticError>) -> Self {
        Self::from(&*error)
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<serde_json::Error> for Cause {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

impl Error {
    pub(super) fn damaged(what: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Damaged { what: what.into(), source: Some(source.into()) }
    }

    /// What was read is well formed, but not what was stored.
    pub(super) fn wrong(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), source: None }
    }

    pub(super) fn internal(what: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Internal { what: what.into(), source: Some(source.into()) }
    }
}
