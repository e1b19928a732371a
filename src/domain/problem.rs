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
