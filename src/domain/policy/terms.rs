//! What a project allows beside the role: its plan, and the state of its store.

use super::acts::Act;
use super::{Plan, Standing, Verdict};
use crate::domain::environment::Environment;

/// The plan that a project is under, and whether its store is live: of one moment.
#[derive(Debug, Clone)]
pub struct Terms {
    pub plan: Plan,
    pub store_is_live: bool,
}

impl Terms {
    /// Role, plan and state (R1, R2, R7): one question for the page, the API's link, the operation and the worker.
    ///
    /// # Errors
    /// The refusal to show.
    pub fn may_create(&self, standing: &Standing, environment: &Environment) -> Verdict {
        standing.may(Act::CreateSnapshot, environment)?;
        self.plan.allows_manual(environment.kind, self.store_is_live)
    }
}
