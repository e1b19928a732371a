//! The advice to take a snapshot first (R10): before an environment is merged into a live one, and whenever declared
//! storage changes. Offered with the tick set, never forced.

use serde::{Deserialize, Serialize};

use super::acts::Act;
use super::{Refusal, Standing, Terms, Verdict};
use crate::domain::environment::{Environment, EnvironmentKind, EnvironmentStatus};
use crate::domain::time::{Timestamp, span};
use crate::domain::view::Offer;

/// Before what a snapshot is advised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// Something is merged into the environment.
    Merge,
    /// Declared storage changes.
    Storage,
}

/// What is advised for one environment, for whoever looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// Whether the tick is set at first.
    pub is_ticked: bool,
    /// What role and token say to a snapshot.
    pub role: Offer,
    /// What the plan says to it.
    pub plan: Offer,
    /// What there is to go back to as it is, as a sentence.
    pub newest: String,
}

/// A person's wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// As is advised: nobody said anything.
    #[default]
    Advised,
    Snapshot,
    Nothing,
}

impl From<Option<bool>> for Wish {
    fn from(asked: Option<bool>) -> Self {
        match asked {
            None => Self::Advised,
            Some(true) => Self::Snapshot,
            Some(false) => Self::Nothing,
        }
    }
}

/// What is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A snapshot comes first.
    Snapshot,
    /// None does, and why.
    Nothing { because: String },
}

impl Advice {
    /// `newest`: when the newest snapshot that somebody wanted was taken.
    pub fn new(
        occasion: Occasion,
        environment: &Environment,
        terms: &Terms,
        standing: &Standing,
        (newest, now): (Option<Timestamp>, Timestamp),
    ) -> Self {
        let is_ticked = match occasion {
            Occasion::Storage => true,
            Occasion::Merge => environment.live || environment.kind == EnvironmentKind::Production,
        };
        let name = &environment.name;
        Self {
            is_ticked,
            role: standing.may(Act::CreateSnapshot, environment).into(),
            plan: terms.plan.allows_manual(environment.kind, terms.store_is_live).into(),
            newest: match newest {
                Some(taken) => format!("The newest snapshot of {name} is {} old.", span(now.since(taken))),
                None => format!("There is no snapshot of {name} yet."),
            },
        }
    }

    /// Whether a snapshot can be taken; else why not, and what there is instead (R7).
    pub fn offer(&self) -> Offer {
        let refusal = self.role.refusal.clone().or_else(|| self.plan.refusal.clone());
        let told = |refusal: Refusal| {
            let instead = refusal.instead.iter().chain([&self.newest]).cloned().collect::<Vec<_>>().join(" ");
            Refusal { instead: Some(instead), ..refusal }
        };
        Offer { refusal: refusal.map(told) }
    }

    /// What is done, by a wish. A plan that has no such snapshots is no obstacle for who wished nothing in particular: it
    /// has others. A token that may not take one is: whoever made it may not have thought of that.
    ///
    /// # Errors
    /// The refusal to show.
    pub fn follow(&self, wish: Wish) -> Result<Step, Refusal> {
        let offer = self.offer();
        match (wish, &offer.refusal) {
            (Wish::Nothing, _) => Ok(Step::Nothing { because: "As was asked.".to_owned() }),
            (Wish::Advised, _) if !self.is_ticked => {
                Ok(Step::Nothing { because: "The environment is not live, and none was asked for.".to_owned() })
            }
            (_, None) => Ok(Step::Snapshot),
            (Wish::Advised, Some(refusal)) if self.role.is_open() => Ok(Step::Nothing { because: refusal.to_string() }),
            (_, Some(refusal)) => {
                let instead = refusal.instead.clone().unwrap_or_default();
                let instead = format!("{instead} To go on without one: `--no-snapshot`.");
                Err(Refusal { reason: refusal.reason.clone(), instead: Some(instead.trim().to_owned()) })
            }
        }
    }
}

/// Whether somebody may merge an environment into its parent; `parent`: when it is there.
///
/// # Errors
/// The refusal to show.
pub fn may_merge(standing: &Standing, from: &Environment, parent: Option<&Environment>) -> Verdict {
    let Some(name) = &from.parent else {
        let reason = format!("The environment {} has no parent that it could be merged into.", from.name);
        return Err(Refusal::new(reason).instead("The operator names one in the declaration: `parent`."));
    };
    standing.may(Act::MergeEnvironment, from)?;
    let absent = || {
        Refusal::new(format!("Its parent {name} is not there, or not visible to you.")).instead("Ask a project admin.")
    };
    let parent = parent.ok_or_else(absent)?;
    standing.may(Act::ViewHistory, parent).map_err(|_| absent())?;
    standing.may(Act::MergeEnvironment, parent)?;
    match [from, parent].into_iter().find(|it| it.status != EnvironmentStatus::Active) {
        Some(idle) => {
            Err(Refusal::new(format!("The environment {} is not active.", idle.name)).instead("Activate it first."))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::{Grants, Plan, ProjectRole, TypeRole};

    const NOW: Timestamp = Timestamp::from_micros(1_434_733_902_000_000);

    fn environment(name: &str, kind: EnvironmentKind) -> Environment {
        let id = if kind == EnvironmentKind::Production { 'a' } else { 'b' };
        serde_json::from_value(serde_json::json!({
            "id": id.to_string().repeat(20), "project": "shop", "name": name, "title": name, "kind": kind,
            "parent": (kind != EnvironmentKind::Production).then_some("main"), "status": "active", "live": false,
            "created_at": NOW, "updated_at": NOW,
        }))
        .expect("an environment")
    }

    fn main() -> Environment {
        environment("main", EnvironmentKind::Production)
    }

    fn staging() -> Environment {
        environment("staging", EnvironmentKind::Staging)
    }

    fn terms(plan: &str) -> Terms {
        let plan = Plan::built_in().into_iter().find(|it| it.id.as_str() == plan).expect("a built-in plan");
        Terms { plan, store_is_live: true }
    }

    fn admin() -> Standing {
        Standing { role: Some(ProjectRole::Admin), ..Standing::default() }
    }

    fn advice(plan: &str, into: &Environment, standing: &Standing) -> Advice {
        let newest = Some(Timestamp::from_micros(NOW.as_micros() - 35 * 60 * 1_000_000));
        Advice::new(Occasion::Merge, into, &terms(plan), standing, (newest, NOW))
    }

    #[test]
    fn a_snapshot_is_taken_before_a_live_environment_is_merged_into_unless_it_is_declined() {
        let advice = advice("self-hosted", &main(), &admin());
        assert!(advice.is_ticked && advice.offer().is_open());
        assert_eq!(advice.follow(Wish::Advised), Ok(Step::Snapshot));
        assert_eq!(advice.follow(Wish::Snapshot), Ok(Step::Snapshot));
        assert_eq!(advice.follow(Wish::Nothing), Ok(Step::Nothing { because: "As was asked.".to_owned() }));
    }

    #[test]
    fn elsewhere_it_is_offered_without_the_tick() {
        let advice = advice("self-hosted", &staging(), &admin());
        assert!(!advice.is_ticked && advice.offer().is_open());
        assert!(matches!(advice.follow(Wish::Advised), Ok(Step::Nothing { .. })));
        assert_eq!(advice.follow(Wish::Snapshot), Ok(Step::Snapshot));
        let live = Environment { live: true, ..staging() };
        let advice = Advice::new(Occasion::Merge, &live, &terms("self-hosted"), &admin(), (None, NOW));
        assert!(advice.is_ticked, "real visitors use it");
        assert_eq!(advice.newest, "There is no snapshot of staging yet.");
    }

    #[test]
    fn a_plan_without_manual_snapshots_says_what_there_is_instead_and_hinders_nobody_who_did_not_insist() {
        let advice = advice("pro", &main(), &admin());
        let told = "On the Pro plan, manual snapshots of production environments are not available. Automatic ones are \
                    taken every hour, launched or not. The newest snapshot of main is 35 min old.";
        let refusal = advice.offer().refusal.expect("the plan has none").to_string();
        assert!(refusal.starts_with("On the Pro plan, manual snapshots of production"), "{refusal} / {told}");
        assert!(refusal.contains("Automatic ones are taken") && refusal.contains("The newest snapshot of main is 35"));
        assert_eq!(advice.follow(Wish::Advised), Ok(Step::Nothing { because: refusal.clone() }));
        let insisted = advice.follow(Wish::Snapshot).expect_err("there are none").to_string();
        assert_eq!(insisted, format!("{refusal} To go on without one: `--no-snapshot`."));
    }

    #[test]
    fn a_token_that_may_not_take_the_snapshot_does_not_merge_without_one_unasked() {
        let grants = Grants { acts: vec![Act::MergeEnvironment], ..Grants::default() };
        let token = Standing { grants: Some(grants), ..admin() };
        let advice = advice("self-hosted", &main(), &token);
        let refused = advice.follow(Wish::Advised).expect_err("it may not").to_string();
        assert!(refused.starts_with("This token was not made for creating a snapshot."), "{refused}");
        assert!(refused.ends_with("To go on without one: `--no-snapshot`."), "{refused}");
        assert!(matches!(advice.follow(Wish::Nothing), Ok(Step::Nothing { .. })));
    }

    #[test]
    fn merging_needs_a_parent_that_is_active_and_the_admin_role_on_both() {
        let (main, staging) = (main(), staging());
        assert_eq!(may_merge(&admin(), &staging, Some(&main)), Ok(()));
        let said = |standing: &Standing, from: &Environment, parent: Option<&Environment>| {
            may_merge(standing, from, parent).expect_err("it is refused").to_string()
        };
        assert!(
            said(&admin(), &main, None).starts_with("The environment main has no parent that it could be merged into.")
        );
        assert!(said(&admin(), &staging, None).starts_with("Its parent main is not there"));
        let on = |types: &[(EnvironmentKind, TypeRole)]| Standing {
            types: types.iter().copied().collect(),
            ..Standing::default()
        };
        let one = on(&[(EnvironmentKind::Staging, TypeRole::Admin)]);
        assert!(said(&one, &staging, Some(&main)).starts_with("Its parent main is not there"), "it must not be known");
        let viewing =
            on(&[(EnvironmentKind::Staging, TypeRole::Admin), (EnvironmentKind::Production, TypeRole::Viewer)]);
        assert!(said(&viewing, &staging, Some(&main)).contains("admin role on production environments"));
        let idle = Environment { status: EnvironmentStatus::Inactive, ..main.clone() };
        assert_eq!(said(&admin(), &staging, Some(&idle)), "The environment main is not active. Activate it first.");
    }
}
