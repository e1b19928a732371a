//! Whether a plan makes sense, and if not, in which field: asked of plans that come from a file.

use super::{Keep, Plan, Rules, Tier};
use crate::domain::environment::EnvironmentKind;
use crate::domain::policy::Rhythm;

/// A field that does not fit, by the keys that lead to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}`: {message}", path.join("."))]
pub struct Unsound {
    pub path: Vec<String>,
    pub message: String,
}

impl Unsound {
    fn new(message: impl Into<String>) -> Self {
        Self { path: Vec::new(), message: message.into() }
    }

    fn within(mut self, key: impl Into<String>) -> Self {
        self.path.insert(0, key.into());
        self
    }
}

impl Plan {
    /// # Errors
    /// The first field that does not fit.
    pub fn check(&self) -> Result<(), Unsound> {
        for kind in EnvironmentKind::ALL {
            self.rules(kind).check().map_err(|unsound| unsound.within(kind.as_str()))?;
        }
        Ok(())
    }
}

impl Rules {
    fn check(&self) -> Result<(), Unsound> {
        self.keep.check().map_err(|unsound| unsound.within("keep"))?;
        if let Some(scheduled) = &self.scheduled {
            scheduled.check().map_err(|unsound| unsound.within("scheduled"))?;
        }
        let Some(automatic) = &self.automatic else { return Ok(()) };
        five_fields(&automatic.cron)
            .map_err(|unsound| unsound.within("cron"))
            .and_then(|()| automatic.keep.check().map_err(|unsound| unsound.within("keep")))
            .map_err(|unsound| unsound.within("automatic"))
    }
}

/// Without a run nothing would ever be taken (R8). No names as `@daily`: what is said of a plan reads its fields.
fn five_fields(cron: &str) -> Result<(), Unsound> {
    let fields = cron.split_whitespace().count();
    if fields != 5 {
        return Err(Unsound::new(format!("a schedule has five fields, like `0 3 * * *`; this one has {fields}")));
    }
    match Rhythm::parse(cron, "UTC") {
        Ok(rhythm) if rhythm.text() == cron => Ok(()),
        Ok(rhythm) => Err(Unsound::new(format!("write it with one space between the fields: `{}`", rhythm.text()))),
        Err(refusal) => Err(Unsound::new(refusal.to_string())),
    }
}

impl Keep {
    fn check(&self) -> Result<(), Unsound> {
        match self {
            Self::Days(0) => Err(Unsound::new("keep at least 1 day").within("days")),
            Self::Newest(0) => Err(Unsound::new("keep at least the newest 1").within("newest")),
            Self::AtLeast { days: 0, .. } | Self::AtLeast { newest: 0, .. } => {
                Err(Unsound::new("keep at least 1 day, and the newest 1").within("at_least"))
            }
            Self::Budget { at_least_days, at_most_days } if at_most_days < at_least_days || *at_most_days == 0 => {
                Err(Unsound::new("must not be less than `at_least_days`, and at least 1").within("at_most_days"))
                    .map_err(|unsound| unsound.within("budget"))
            }
            Self::Tiers(tiers) => tiers_fit(tiers).map_err(|unsound| unsound.within("tiers")),
            Self::Days(_) | Self::Newest(_) | Self::AtLeast { .. } | Self::Budget { .. } => Ok(()),
        }
    }
}

/// Ascending without a gap, each period a whole number of the one before, so that survivors stay survivors (R11); and no
/// tier shorter than its period, or the first of a period might be gone before the others come to be thinned.
fn tiers_fit(tiers: &[Tier]) -> Result<(), Unsound> {
    if tiers.is_empty() {
        return Err(Unsound::new("there must be at least one tier"));
    }
    let (mut since, mut period) = (0, 0);
    for (number, tier) in tiers.iter().enumerate() {
        let wrong = |key: &str, message: String| Err(Unsound::new(message).within(key).within(number.to_string()));
        if tier.until_days <= since {
            return wrong("until_days", format!("tiers ascend: this one must reach beyond {since} days"));
        }
        let is_nested = if period == 0 { true } else { tier.every_days > 0 && tier.every_days.is_multiple_of(period) };
        if !is_nested {
            return wrong("every_days", format!("must be a multiple of {period}, the period of the tier before"));
        }
        if tier.every_days > tier.until_days - since {
            let length = tier.until_days - since;
            return wrong("every_days", format!("this tier is {length} days long: its period must not be longer"));
        }
        (since, period) = (tier.until_days, tier.every_days);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(tiers: &[(u32, u32)]) -> Result<(), Unsound> {
        let mut plan = Plan::built_in().swap_remove(0);
        let tiers =
            tiers.iter().map(|(until_days, every_days)| Tier { until_days: *until_days, every_days: *every_days });
        plan.staging.keep = Keep::Tiers(tiers.collect());
        plan.check()
    }

    #[test]
    fn the_built_in_plans_are_sound() {
        for plan in Plan::built_in() {
            assert_eq!(plan.check(), Ok(()), "{}", plan.id);
        }
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_field() {
        let table: [(&[(u32, u32)], &str); 5] = [
            (&[], "`staging.keep.tiers`: there must be at least one tier"),
            (&[(3, 0), (3, 1)], "`staging.keep.tiers.1.until_days`: tiers ascend: this one must reach beyond 3 days"),
            (
                &[(7, 1), (40, 7), (80, 10)],
                "`staging.keep.tiers.2.every_days`: must be a multiple of 7, the period of the tier before",
            ),
            (
                &[(7, 1), (40, 0)],
                "`staging.keep.tiers.1.every_days`: must be a multiple of 1, the period of the tier before",
            ),
            (
                &[(3, 0), (7, 7)],
                "`staging.keep.tiers.1.every_days`: this tier is 4 days long: its period must not be longer",
            ),
        ];
        for (tiers, message) in table {
            assert_eq!(with(tiers).map_err(|unsound| unsound.to_string()), Err(message.to_owned()));
        }
        assert_eq!(with(&[(3, 0), (7, 1), (42, 7)]), Ok(()));
    }

    #[test]
    fn nothing_is_kept_for_no_time_at_all() {
        let none = Keep::AtLeast { days: 7, newest: 0 };
        for keep in [Keep::Days(0), Keep::Newest(0), none, Keep::Budget { at_least_days: 8, at_most_days: 7 }] {
            let mut plan = Plan::built_in().swap_remove(0);
            plan.production.keep = keep;
            assert_eq!(plan.check().map_err(|unsound| unsound.path[..2].join(".")), Err("production.keep".to_owned()));
        }
    }

    #[test]
    fn a_schedule_that_never_runs_is_no_schedule() {
        let table = [
            ("every day", "a schedule has five fields"),
            ("0 25 * * *", "“25” can't be the hour: that takes 0 to 23."),
            ("0 3 30 2 *", "“0 3 30 2 *” never comes"),
            ("0  3 * * *", "write it with one space between the fields: `0 3 * * *`"),
        ];
        for (cron, message) in table {
            let mut plan = Plan::built_in().swap_remove(0);
            let automatic = plan.production.automatic.as_mut().expect("Pro has one");
            automatic.cron = cron.to_owned();
            let unsound = plan.check().expect_err(cron);
            assert_eq!(unsound.path, ["production", "automatic", "cron"]);
            assert!(unsound.message.contains(message), "{unsound}");
        }
    }
}
