//! Drills: a snapshot that was really restored beside the live data, checked, timed and dropped again (R29).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{ActivityId, EnvironmentId, SnapshotName};
use super::scope::PartName;
use super::time::{Timestamp, span};

/// The report of one that was begun, whatever came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    pub activity: ActivityId,
    pub environment: EnvironmentId,
    pub snapshot: SnapshotName,
    /// The instant that the snapshot shows.
    pub taken_at: Timestamp,
    pub finished_at: Timestamp,
    /// From the first byte that was read to the last check, microseconds.
    pub took_us: u64,
    pub parts: Vec<Drilled>,
    /// What could not be tried where the environment stands: no alarm, but nothing is known of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unproven: Vec<Unproven>,
    /// It failed: nothing is proven, and how long it took is until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Why a drill failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What could not be loaded; `None`: it had not come to any.
    pub part: Option<PartName>,
    /// A sentence, as in the activity.
    pub reason: String,
}

/// A part of which a drill can prove nothing as things are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unproven {
    pub part: PartName,
    pub kind: String,
    /// Why, and what to do; sentences.
    pub why: String,
}

/// What came of a drill that did not prove all: in the activity itself, so that feed, condition and notices need not read its
/// report. That it failed, the activity's own result says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All but these.
    ProvenBut(Vec<PartName>),
    /// Nothing could be tried where the environment stands.
    Unprovable,
    /// It was refused before it tried anything: that says nothing of the snapshot.
    NotBegun,
    /// Of a report alone.
    Failed,
}

/// What was proven of one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drilled {
    pub part: PartName,
    /// `sqlite`, `mount`, …
    pub kind: String,
    /// What was loaded and is as the snapshot recorded it: "3,041 rows in 6 tables".
    pub proven: String,
    /// Microseconds.
    pub took_us: u64,
}

impl Drill {
    /// How long a restore of all of it takes, without the swap.
    pub fn took(&self) -> Duration {
        Duration::from_micros(self.took_us)
    }

    /// For the log and the feed.
    pub fn sentence(&self) -> String {
        let (name, took) = (&self.snapshot, span(self.took()));
        match self.outcome() {
            None => format!("Proven: {name} was loaded and checked in {took}, and dropped again."),
            Some(Outcome::ProvenBut(parts)) => {
                let but = named(&parts);
                format!("Proven but for {but}: the rest of {name} was loaded and checked in {took}, and dropped again.")
            }
            Some(Outcome::Failed) => format!("{name} could not be restored when that was tried; the report says why."),
            Some(_) => format!("Nothing of {name} can be proven here; the report says why, and what to do."),
        }
    }

    /// `None`: all of it was proven.
    pub fn outcome(&self) -> Option<Outcome> {
        if self.failure.is_some() {
            return Some(Outcome::Failed);
        }
        match (self.parts.as_slice(), self.unproven.as_slice()) {
            (_, []) => None,
            ([], _) => Some(Outcome::Unprovable),
            (_, some) => Some(Outcome::ProvenBut(some.iter().map(|it| it.part.clone()).collect())),
        }
    }

    /// Whether anything was proven.
    pub fn is_proof(&self) -> bool {
        matches!(self.outcome(), None | Some(Outcome::ProvenBut(_)))
    }
}

/// "the service database, the mount uploads".
pub fn named(parts: &[PartName]) -> String {
    let parts: Vec<String> = parts.iter().map(|part| format!("the {}", part.in_words())).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drill(proven: &[&str], unproven: &[&str]) -> Drill {
        let part = |name: &&str| name.parse::<PartName>().expect("a part");
        let drilled =
            |name: &&str| Drilled { part: part(name), kind: String::new(), proven: String::new(), took_us: 1 };
        let left = |name: &&str| Unproven { part: part(name), kind: String::new(), why: "Why.".to_owned() };
        Drill {
            activity: ActivityId::parse("0".repeat(20)).expect("an id"),
            environment: EnvironmentId::parse("0".repeat(20)).expect("an id"),
            snapshot: SnapshotName::parse("2ca4d90639f706283fee").expect("a name"),
            taken_at: Timestamp::from_micros(0),
            finished_at: Timestamp::from_micros(0),
            took_us: 2_000_000,
            parts: proven.iter().map(drilled).collect(),
            unproven: unproven.iter().map(left).collect(),
            failure: None,
        }
    }

    #[test]
    fn what_failed_proves_nothing_whatever_was_loaded_by_then() {
        let failure = Failure { part: None, reason: "The disk is full.".to_owned() };
        for parts in [&[][..], &["mount:uploads"]] {
            let failed = Drill { failure: Some(failure.clone()), ..drill(parts, &[]) };
            assert_eq!((failed.outcome(), failed.is_proof()), (Some(Outcome::Failed), false));
            assert!(failed.sentence().contains("could not be restored"), "{}", failed.sentence());
        }
    }

    #[test]
    fn what_can_not_be_proven_is_told_apart_from_what_is() {
        let shop = || PartName::Service("shop".parse().expect("a name"));
        let table = [
            (drill(&["mount:uploads", "service:shop"], &[]), None, true, "Proven: 2ca4d90639f706283fee was"),
            (
                drill(&["mount:uploads"], &["service:shop"]),
                Some(Outcome::ProvenBut(vec![shop()])),
                true,
                "Proven but for the service shop: the rest",
            ),
            (drill(&[], &["service:shop"]), Some(Outcome::Unprovable), false, "Nothing of 2ca4d90639f706283fee"),
        ];
        for (drill, outcome, is_proof, begins) in table {
            assert_eq!((drill.outcome(), drill.is_proof()), (outcome, is_proof));
            assert!(drill.sentence().starts_with(begins), "{}", drill.sentence());
        }
    }

    #[test]
    fn a_report_from_before_there_was_anything_unproven_is_read() {
        let mut old = serde_json::to_value(drill(&["mount:uploads"], &[])).expect("JSON");
        assert!(old.as_object_mut().is_some_and(|old| old.remove("unproven").is_none()), "it is left out where empty");
        assert_eq!(serde_json::from_value::<Drill>(old).expect("a report").outcome(), None);
    }
}
