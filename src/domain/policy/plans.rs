//! Plans: what is automatic, what is allowed, how long it is kept. Data, not code: the five of DOMAIN's table are
//! built in, and a project stores the very text that it was put under, with its hash.

#[cfg(feature = "ssr")]
mod check;

use serde::{Deserialize, Serialize};

#[cfg(feature = "ssr")]
pub use check::Unsound;

use super::retention::SAFETY_DAYS;
use super::{Refusal, Verdict};
use crate::domain::environment::EnvironmentKind;
use crate::domain::ids::PlanId;
use crate::domain::snapshot::Origin;
use crate::domain::time::{DAY, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub id: PlanId,
    pub title: String,
    pub production: Rules,
    pub staging: Rules,
    pub development: Rules,
}

/// What a plan says of one type of environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    pub manual: Manual,
    /// How long snapshots are kept that a person took.
    pub keep: Keep,
    /// The same of those that a person's schedule took, where the plan takes none by itself; as `keep` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Keep>,
    /// Whether people may make schedules of their own (R9).
    pub schedules: Schedules,
    /// What the plan takes by itself; `None`: nothing.
    pub automatic: Option<Automatic>,
}

/// Snapshots that are taken without being asked for (R8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Automatic {
    /// Five fields, in UTC.
    pub cron: String,
    /// The same in words, as in "Automatic ones are taken …".
    pub when: String,
    /// Whether people may change or stop it.
    pub editable: bool,
    pub keep: Keep,
}

/// How long snapshots are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Keep {
    /// So many days each.
    Days(u32),
    /// So many of the newest, of each schedule; of manual ones nothing goes without saying which, and asking.
    Newest(u32),
    /// So many days each, and beyond them as long as it is one of so many of the newest, of each schedule: whatever runs
    /// seldom has a history too.
    AtLeast { days: u32, newest: u32 },
    /// Thinned out with age (R12), youngest tier first.
    Tiers(Vec<Tier>),
    /// All for a while, then while the project's storage budget lasts, oldest first to go.
    Budget { at_least_days: u32, at_most_days: u32 },
}

/// How densely snapshots of an age are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Up to that age.
    pub until_days: u32,
    /// The first of each period of so many days is kept; 0: every one.
    pub every_days: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedules {
    No,
    Yes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manual {
    No,
    /// Only while the project's store is not live (S0).
    WhileNotLive,
    Yes,
}

impl Plan {
    /// The plans of DOMAIN's table.
    pub fn built_in() -> Vec<Plan> {
        serde_json::from_str(include_str!("plans.json")).expect("the built-in plans are tested to parse")
    }

    pub fn rules(&self, kind: EnvironmentKind) -> &Rules {
        match kind {
            EnvironmentKind::Production => &self.production,
            EnvironmentKind::Staging => &self.staging,
            EnvironmentKind::Development => &self.development,
        }
    }

    /// Whether a person may take a snapshot (R7: if not, why, and what there is instead). `store_live`: the project's
    /// production environment is marked live.
    ///
    /// # Errors
    /// The [`Refusal`] to show.
    pub fn allows_manual(&self, kind: EnvironmentKind, store_live: bool) -> Verdict {
        let rules = self.rules(kind);
        let title = &self.title;
        match rules.manual {
            Manual::Yes => Ok(()),
            Manual::WhileNotLive if !store_live => Ok(()),
            Manual::WhileNotLive => Err(Refusal::new(format!(
                "On the {title} plan, manual snapshots of {kind} environments are available only while the store is \
                 not live."
            ))
            .instead(self.elsewhere(kind))),
            Manual::No => {
                let refusal = Refusal::new(format!(
                    "On the {title} plan, manual snapshots of {kind} environments are not available."
                ));
                Err(match &rules.automatic {
                    Some(automatic) => refusal.instead(format!("Automatic ones are taken {}.", automatic.when)),
                    None if rules.schedules == Schedules::Yes => {
                        refusal.instead("A schedule of your own takes them (schedule:add).")
                    }
                    None => refusal.instead(self.elsewhere(kind)),
                })
            }
        }
    }

    /// What there is instead where nothing of that type takes any (R7).
    pub(super) fn elsewhere(&self, kind: EnvironmentKind) -> String {
        let others = EnvironmentKind::ALL.into_iter().filter(|other| *other != kind);
        let mut taken = others.filter_map(|other| Some((other, self.rules(other).automatic.as_ref()?)));
        let operator = "Ask the operator for another plan if that is not enough.";
        match taken.next() {
            Some((other, automatic)) => format!("Those of {other} are taken {}. {operator}", automatic.when),
            None => "Ask the operator for a plan that has them.".to_owned(),
        }
    }

    /// When a snapshot is removed for its age alone, at the latest; `None`: not by age alone.
    pub fn expires_at(&self, kind: EnvironmentKind, origin: Origin, taken_at: Timestamp) -> Option<Timestamp> {
        let days = match origin {
            Origin::Safety => Some(SAFETY_DAYS),
            other => self.rules(kind).keep_of(other).longest_days(),
        };
        days.map(|days| taken_at.plus(DAY * days))
    }
}

/// One line of what a plan says of a type of environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub title: String,
    /// What there is; or, with `is_available` not set, why not and what is instead (R7).
    pub text: String,
    pub is_available: bool,
}

impl Plan {
    /// What it says of a type of environment: always the same lines in the same order.
    pub fn told(&self, kind: EnvironmentKind, store_live: bool) -> Vec<Line> {
        let rules = self.rules(kind);
        let there = |title: &str, text: String| Line { title: title.to_owned(), text, is_available: true };
        let not = |title: &str, text: String| Line { title: title.to_owned(), text, is_available: false };
        let manual = self.allows_manual(kind, store_live);
        let automatic = match &rules.automatic {
            Some(automatic) => there(
                "Automatic snapshots",
                format!(
                    "Taken {}{}. Kept: {}.",
                    automatic.when,
                    if automatic.editable { "; the schedule can be changed" } else { "" },
                    automatic.keep.in_words(Origin::Automatic)
                ),
            ),
            None => not(
                "Automatic snapshots",
                match (rules.schedules, &manual) {
                    (Schedules::Yes, _) => "None by the plan. Make a schedule of your own instead.".to_owned(),
                    (Schedules::No, Ok(())) => "None. Take them by hand, or by a cron job of your own.".to_owned(),
                    (Schedules::No, Err(_)) => "None.".to_owned(),
                },
            ),
        };
        let by_hand = match manual {
            Ok(()) => there("Manual snapshots", format!("Kept: {}.", rules.keep.in_words(Origin::Manual))),
            Err(refusal) => not("Manual snapshots", refusal.to_string()),
        };
        let schedules = match (rules.schedules, &rules.automatic) {
            (Schedules::Yes, _) => {
                let kept = rules.keep_of(Origin::Automatic).in_words(Origin::Automatic);
                there("Schedules of your own", format!("As many as you like. Kept: {kept}."))
            }
            (Schedules::No, Some(_)) => {
                not("Schedules of your own", "Not in this plan: the automatic ones are there instead.".to_owned())
            }
            (Schedules::No, None) => not(
                "Schedules of your own",
                "Not in this plan. A cron job of yours that runs `stillpoint snapshot:create` does the same."
                    .to_owned(),
            ),
        };
        let safety = there(
            "What a restore replaces",
            format!("Kept as a safety snapshot for {SAFETY_DAYS} days, whatever the plan."),
        );
        vec![automatic, by_hand, schedules, safety]
    }
}

impl Rules {
    /// How often the plan takes one by itself, in hours, as far as its schedule is a plain one; else once a day.
    pub fn every_hours(&self) -> u32 {
        let fields: Vec<&str> = self.automatic.iter().flat_map(|automatic| automatic.cron.split(' ')).collect();
        match fields.as_slice() {
            [_, "*", "*", "*", "*"] => 1,
            [_, hours, "*", "*", "*"] => hours.strip_prefix("*/").and_then(|text| text.parse().ok()).unwrap_or(24),
            [_, _, "*", "*", _] => 24 * 7,
            _ => 24,
        }
    }

    /// What holds for snapshots of that origin. Automatic ones that the plan would not take any more (it was changed) are kept
    /// as a person's.
    pub fn keep_of(&self, origin: Origin) -> &Keep {
        match (origin, &self.automatic) {
            (Origin::Automatic, Some(automatic)) => &automatic.keep,
            (Origin::Automatic, None) => self.scheduled.as_ref().unwrap_or(&self.keep),
            _ => &self.keep,
        }
    }
}

impl Keep {
    /// No snapshot stays longer; `None`: some may stay for ever.
    pub fn longest_days(&self) -> Option<u32> {
        match self {
            Self::Days(days) | Self::Budget { at_most_days: days, .. } => Some(*days),
            Self::Tiers(tiers) => tiers.last().map(|tier| tier.until_days),
            Self::Newest(_) | Self::AtLeast { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EnvironmentKind::{Development, Production, Staging};

    fn plan(id: &str) -> Plan {
        Plan::built_in().into_iter().find(|plan| plan.id.as_str() == id).expect("a built-in plan")
    }

    #[test]
    fn manual_snapshots_follow_the_published_table() {
        // (plan, type, allowed while not live, allowed while live)
        let table = [
            ("pro", Production, false, false),
            ("pro", Staging, false, false),
            ("pro", Development, true, false),
            ("pro-legacy", Development, true, false),
            ("starter", Production, true, true),
            ("starter", Development, true, true),
            ("professional", Staging, true, true),
            ("self-hosted", Production, true, true),
        ];
        for (id, kind, before, live) in table {
            assert_eq!(plan(id).allows_manual(kind, false).is_ok(), before, "{id} {kind}, not live");
            assert_eq!(plan(id).allows_manual(kind, true).is_ok(), live, "{id} {kind}, live");
        }
    }

    #[test]
    fn a_refusal_says_what_is_available_instead() {
        let refusal = plan("pro").allows_manual(Production, true).expect_err("Pro refuses");
        assert_eq!(
            refusal.to_string(),
            "On the Pro plan, manual snapshots of production environments are not available. Automatic ones are taken \
             every hour, whether or not the site is launched."
        );
    }

    #[test]
    fn manual_snapshots_are_kept_as_published_and_safety_ones_seven_days() {
        let now = Timestamp::from_micros(0);
        assert_eq!(plan("starter").expires_at(Staging, Origin::Manual, now), Some(now.plus(DAY * 7)));
        assert_eq!(plan("self-hosted").expires_at(Staging, Origin::Manual, now), None);
        assert_eq!(plan("pro").expires_at(Production, Origin::Safety, now), Some(now.plus(DAY * 7)));
    }
}
