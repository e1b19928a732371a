//! Plans: what is automatic, what is allowed, how long it is kept. Data, not code: the five of DOMAIN's table are
//! built in, and a project stores the very text that it was put under, with its hash.

use serde::{Deserialize, Serialize};

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
    /// When automatic snapshots are taken, in words; `None`: never by the plan.
    pub automatic: Option<String>,
    /// How long a manual snapshot is kept, in days; `None`: not removed by age.
    pub manual_days: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manual {
    No,
    /// Only while the project's store is not live (S0).
    WhileNotLive,
    Yes,
}

/// How long the safety snapshot of a restore is kept (R22).
const SAFETY_DAYS: u32 = 7;

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
            ))),
            Manual::No => {
                let refusal = Refusal::new(format!(
                    "On the {title} plan, manual snapshots of {kind} environments are not available."
                ));
                Err(match &rules.automatic {
                    Some(when) => refusal.instead(format!("Automatic ones are taken {when}.")),
                    None => refusal,
                })
            }
        }
    }

    /// When a snapshot may be removed for its age; `None`: not by age.
    pub fn expires_at(&self, kind: EnvironmentKind, origin: Origin, created_at: Timestamp) -> Option<Timestamp> {
        let days = match origin {
            Origin::Manual => self.rules(kind).manual_days,
            Origin::Safety => Some(SAFETY_DAYS),
            Origin::Automatic => None,
        };
        days.map(|days| created_at.plus(DAY * days))
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
