//! What can go wrong with an operation, and the one place where it becomes a [`Problem`].

use crate::authz::Denied;
use crate::domain::policy::Refusal;
use crate::domain::problem::{chain, sentence};
use crate::domain::{Problem, ids::InvalidId};
use crate::{drivers, engine, queue, store};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("you are not logged in")]
    NotLoggedIn,
    #[error("the e-mail address or the password is wrong")]
    WrongCredentials,
    /// Also for what exists and must not be known to (STYLE: invisible is 404).
    #[error("there is no such {0}, or it is not visible to you")]
    NotFound(&'static str),
    /// The same, where there is something to say on how it could be there.
    #[error("there is no such {what}, or it is not visible to you")]
    Absent { what: &'static str, hint: String },
    #[error(transparent)]
    Forbidden(Refusal),
    #[error("{message}")]
    Invalid { message: String, hint: Option<String> },
    /// What was asked for no longer fits the state of things.
    #[error(transparent)]
    Conflict(Refusal),
    #[error("too many attempts")]
    TooMany { retry_after_s: u64 },
    #[error("the store failed")]
    Store(#[from] store::Error),
    #[error("the queue failed")]
    Queue(#[from] queue::Error),
    #[error("the repository failed")]
    Engine(#[from] engine::Error),
    #[error("a service or mount failed")]
    Driver(#[from] drivers::Error),
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), hint: None }
    }

    /// What doors answer. An unknown cause is a 500 with an id; the whole chain stands in the log under that id.
    pub fn problem(&self) -> Problem {
        let (status, code, hint) = match self {
            Self::NotLoggedIn => (401, "not_logged_in", Some("Log in, or give a valid API token.".to_owned())),
            Self::WrongCredentials => (401, "wrong_credentials", Some("Check both and try again.".to_owned())),
            Self::NotFound(_) => (404, "not_found", None),
            Self::Absent { hint, .. } => (404, "not_found", Some(hint.clone())),
            Self::Forbidden(refusal) => return from_refusal(403, "forbidden", refusal),
            Self::Conflict(refusal) => return from_refusal(409, "conflict", refusal),
            Self::Invalid { hint, .. } => (400, "invalid", hint.clone()),
            Self::TooMany { retry_after_s } => {
                (429, "too_many_attempts", Some(format!("Try again in {retry_after_s} seconds.")))
            }
            Self::Store(_) | Self::Queue(_) | Self::Engine(_) | Self::Driver(_) | Self::Io { .. } => {
                return self.unexpected();
            }
        };
        let text = self.to_string();
        Problem { status, code: code.to_owned(), message: sentence(&text), hint }
    }

    fn unexpected(&self) -> Problem {
        let id = format!("{:08x}", rand::random::<u32>());
        tracing::error!(error.id = %id, error = %chain(self), "an operation failed unexpectedly");
        Problem {
            status: 500,
            code: "internal".to_owned(),
            message: "Something went wrong on the server.".to_owned(),
            hint: Some(format!("Try again; if it stays so, ask the operator to look for {id} in the server's log.")),
        }
    }
}

fn from_refusal(status: u16, code: &str, refusal: &Refusal) -> Problem {
    Problem { status, code: code.to_owned(), message: refusal.reason.clone(), hint: refusal.instead.clone() }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Invisible(what) => Self::NotFound(what),
            Denied::Forbidden(refusal) => Self::Forbidden(refusal),
            Denied::Store(error) => Self::Store(error),
        }
    }
}

impl From<InvalidId> for Error {
    fn from(invalid: InvalidId) -> Self {
        Self::invalid(invalid.to_string())
    }
}
