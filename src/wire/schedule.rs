//! Schedules on the wire.

use serde::{Deserialize, Serialize};

use super::links::{Links, href, path};
use super::word::Word;
use crate::domain::environment::Environment;
use crate::domain::ids::{EnvironmentName, ScheduleId};
use crate::domain::schedule::{Errand, ScheduleSource, ScheduleState};
use crate::domain::time::Timestamp;
use crate::domain::view::ScheduleEntry;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub id: ScheduleId,
    pub environment: EnvironmentName,
    /// `snapshot` or `drill`.
    pub what: Word<Errand>,
    pub source: Word<ScheduleSource>,
    pub cron: String,
    pub time_zone: String,
    /// The same in words.
    pub when: String,
    pub state: Word<ScheduleState>,
    pub stopped_because: Option<String>,
    /// In whose name it runs; `null` for the plan's.
    pub owner: Option<String>,
    pub next_runs: Vec<NextRun>,
    pub overdue_since: Option<Timestamp>,
    /// Of snapshots: how long they are kept, and how many that makes.
    #[serde(default)]
    pub kept: Option<String>,
    /// What to think of, as it runs more often than once a day.
    pub advice: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(rename = "_links")]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRun {
    pub at: Timestamp,
    /// By the clock of the schedule's zone, for people.
    pub local: String,
}

/// To add a schedule (`cron`, and `time_zone` unless UTC), or to change what is there of one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleRequest {
    /// `snapshot` if left out, or `drill`; only of a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<Errand>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// `paused` or `active`; only of one that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ScheduleState>,
}

impl Schedule {
    pub fn new(entry: ScheduleEntry, environment: &Environment) -> Self {
        let ScheduleEntry { schedule, when, runs, overdue_since, kept, advice, change, remove } = entry;
        let here = href(&path::schedule(&environment.project, &environment.name, &schedule.id));
        let links = Links::to_self(here.clone())
            .with_if(change.is_open().then(|| here.clone()), "#edit")
            .with_if(remove.is_open().then_some(here), "#delete");
        Self {
            id: schedule.id,
            environment: environment.name.clone(),
            what: schedule.what.into(),
            source: schedule.source.into(),
            cron: schedule.cron,
            time_zone: schedule.time_zone,
            when,
            state: schedule.state.into(),
            stopped_because: schedule.stopped_because,
            owner: schedule.owner.map(|owner| owner.email),
            next_runs: runs.into_iter().map(|run| NextRun { at: run.at, local: run.local }).collect(),
            overdue_since,
            kept,
            advice,
            created_at: schedule.created_at,
            updated_at: schedule.updated_at,
            links,
        }
    }
}
