//! Who may, what a plan allows, and why not: asked by the page that greys out a button, by the operation that refuses,
//! and again by the worker when the job starts (R1, R7).

pub mod accounts;
pub mod acts;
pub mod advice;
#[cfg(feature = "ssr")]
pub mod drills;
#[cfg(feature = "ssr")]
pub mod maintenance;
pub mod members;
pub mod plans;
#[cfg(feature = "ssr")]
pub mod provision;
pub mod region;
pub mod removal;
#[cfg(feature = "ssr")]
pub mod restore;
pub mod retention;
#[cfg(feature = "ssr")]
pub mod schedule;
pub mod storage;
pub mod terms;
mod tickets;
#[cfg(feature = "ssr")]
pub mod versions;

use serde::{Deserialize, Serialize};

pub use accounts::AccountChange;
pub use acts::{Act, Grants, ProjectRole, Standing, TypeRole};
pub use advice::Advice;
pub use members::{MemberSource, Roles};
pub use plans::Plan;
#[cfg(feature = "ssr")]
pub use provision::{Blueprint, Provision};
pub use region::{Region, RestoreElsewhere};
#[cfg(feature = "ssr")]
pub use restore::RestorePlan;
#[cfg(feature = "ssr")]
pub use schedule::Rhythm;
pub use terms::Terms;

/// A rule's answer.
pub type Verdict = Result<(), Refusal>;

/// Why something is not available, and what is instead (R7). Both are sentences for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}{}", instead.as_ref().map(|text| format!(" {text}")).unwrap_or_default())]
pub struct Refusal {
    pub reason: String,
    pub instead: Option<String>,
}

impl Refusal {
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), instead: None }
    }

    #[must_use]
    pub fn instead(mut self, text: impl Into<String>) -> Self {
        self.instead = Some(text.into());
        self
    }
}
