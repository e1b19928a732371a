//! What can end a command, and the exit code that scripts get for it.

use std::io;

use crate::domain::ids::ProjectId;
use crate::domain::problem::sentence;
use crate::wire::client;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument that clap let pass.
    #[error("{0}")]
    Usage(String),
    /// Something must be set before the command can run.
    #[error("{message}")]
    Configuration { message: String, hint: String },
    #[error(transparent)]
    Api(#[from] client::Error),
    #[error("there is no such project, or it is not visible to you")]
    NoProject(ProjectId),
    #[error("{0}")]
    Empty(String),
    /// The answer was no, or nobody was there to be asked (R33).
    #[error("{message}")]
    Declined { message: String, hint: Option<String> },
    /// It can't be done as things are.
    #[error("{message}")]
    Refused { message: String, hint: Option<String> },
    #[error("{0}")]
    ActivityFailed(String),
    /// Ctrl-C while waiting; what to do is said already.
    #[error("stopped waiting")]
    Interrupted,
    #[error("the output could not be written")]
    Output(#[from] io::Error),
}

impl Error {
    /// The exit codes of U, and 2 for usage, 130 for Ctrl-C.
    pub fn code(&self) -> u8 {
        match self {
            Self::Empty(_)
            | Self::Declined { .. }
            | Self::Refused { .. }
            | Self::ActivityFailed(_)
            | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Configuration { .. } | Self::Api(client::Error::Address(_)) => 4,
            Self::Api(client::Error::Connection { .. } | client::Error::Unexpected { .. }) => 5,
            Self::Api(client::Error::Problem(problem)) => match problem.status {
                401 => 3,
                403 => 6,
                _ => 1,
            },
            Self::NoProject(_) => 9,
            Self::Interrupted => 130,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Configuration { hint, .. } => Some(hint.clone()),
            Self::Declined { hint, .. } | Self::Refused { hint, .. } => hint.clone(),
            Self::Api(client::Error::Address(_)) => Some("Set STILLPOINT_URL to the console's address.".to_owned()),
            Self::Api(client::Error::Connection { .. }) => {
                Some("Check STILLPOINT_URL, and that the server runs.".to_owned())
            }
            Self::Api(client::Error::Unexpected { .. }) => {
                Some("Check that STILLPOINT_URL is the address of a Stillpoint console.".to_owned())
            }
            Self::Api(client::Error::Problem(problem)) if problem.status == 401 => {
                Some("Set STILLPOINT_TOKEN to an API token made on the console's tokens page.".to_owned())
            }
            Self::Api(client::Error::Problem(problem)) => problem.hint.clone(),
            Self::NoProject(project) => {
                Some(format!("You asked for `{project}`; `project:list` shows those that you may see."))
            }
            Self::Usage(_) | Self::Empty(_) | Self::ActivityFailed(_) | Self::Interrupted | Self::Output(_) => None,
        }
    }

    /// The message without its hint, as a sentence.
    pub fn message(&self) -> String {
        sentence(&match self {
            Self::Api(client::Error::Problem(problem)) => problem.message.clone(),
            Self::Api(error @ client::Error::Connection { source, .. }) => format!("{error}: {source}"),
            other => other.to_string(),
        })
    }

    /// Whoever read our output has gone (`… | head`).
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Problem;

    fn problem(status: u16) -> Error {
        let (code, message) = ("code".to_owned(), "It did not work.".to_owned());
        client::Error::Problem(Problem { status, code, message, hint: None }).into()
    }

    #[test]
    fn exit_codes_are_those_that_scripts_know() {
        let project = ProjectId::parse("demo").expect("a valid id");
        let base = "http://127.0.0.1:1/api".to_owned();
        let source = Box::new(ureq::Error::ConnectionFailed);
        let table = [
            (Error::ActivityFailed("it failed".to_owned()), 1),
            (Error::Declined { message: String::new(), hint: None }, 1),
            (Error::Empty(String::new()), 1),
            (problem(404), 1),
            (problem(409), 1),
            (problem(500), 1),
            (Error::Usage(String::new()), 2),
            (problem(401), 3),
            (Error::Configuration { message: String::new(), hint: String::new() }, 4),
            (client::Error::Address("x".to_owned()).into(), 4),
            (client::Error::Connection { base, source }.into(), 5),
            (client::Error::Unexpected { url: String::new(), status: 200 }.into(), 5),
            (problem(403), 6),
            (Error::NoProject(project), 9),
            (Error::Interrupted, 130),
        ];
        for (error, code) in table {
            assert_eq!(error.code(), code, "{error:?}");
        }
    }
}
