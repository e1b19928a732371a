//! What every door answers when something did not work.

use serde::{Deserialize, Serialize};

/// An error as people and scripts get it: what failed and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}{}", hint.as_ref().map(|text| format!(" {text}")).unwrap_or_default())]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// A word for scripts: `not_found`, `forbidden`, `conflict`, …
    pub code: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Capital letter and full stop, as texts for people have them; errors are written without.
pub fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    let stop = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{stop}", letters.as_str())
}

/// An error and all its causes in one line. What a text already ends with is not said again: transparent errors repeat
/// themselves, and some say their cause.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string);
    causes.fold(error.to_string(), |text, cause| if text.ends_with(&cause) { text } else { format!("{text}: {cause}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Broken {
        #[error("the disk is full")]
        Disk,
        #[error(transparent)]
        Same(Box<Broken>),
        #[error("the file could not be written")]
        File(#[source] Box<Broken>),
        #[error("the database failed: {0}")]
        Database(#[source] Box<Broken>),
    }

    #[test]
    fn a_chain_says_each_cause_once() {
        let disk = || Box::new(Broken::Disk);
        assert_eq!(chain(&Broken::Disk), "the disk is full");
        assert_eq!(chain(&Broken::File(disk())), "the file could not be written: the disk is full");
        assert_eq!(chain(&Broken::Database(disk())), "the database failed: the disk is full");
        let nested = Broken::Database(Box::new(Broken::Same(Box::new(Broken::File(disk())))));
        assert_eq!(chain(&nested), "the database failed: the file could not be written: the disk is full");
    }
}
