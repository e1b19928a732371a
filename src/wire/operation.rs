//! What every operation answers: that it was accepted, and the one activity that carries it out.

use serde::{Deserialize, Serialize};

use super::activity::Activity;
use crate::domain::view::ActivityEntry;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    pub status: String,
    pub code: u16,
    #[serde(rename = "_embedded")]
    pub embedded: Embedded,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embedded {
    /// Exactly one.
    pub activities: Vec<Activity>,
}

impl Operation {
    /// HTTP status of the reply.
    pub const STATUS: u16 = 202;

    pub fn activity(self) -> Option<Activity> {
        self.embedded.activities.into_iter().next()
    }
}

impl From<ActivityEntry> for Operation {
    fn from(entry: ActivityEntry) -> Self {
        let embedded = Embedded { activities: vec![Activity::from(entry)] };
        Self { status: "Accepted".to_owned(), code: Self::STATUS, embedded }
    }
}
