//! When restores are tried by themselves (R29): weekly for production, each environment at a quiet hour of its own.

use sha2::{Digest as _, Sha256};

use super::{Act, Standing, Verdict};
use crate::domain::environment::{Environment, EnvironmentKind};
use crate::domain::ids::ScheduleId;

/// What a form offers beside an expression of one's own.
pub const PRESETS: [(&str, &str); 2] =
    [("@weekly", "once a week, at a quiet hour of its own"), ("@monthly", "once a month, at a quiet hour of its own")];

/// Whether a restore of such environments is tried without anybody asking for it.
pub fn by_default(kind: EnvironmentKind) -> bool {
    kind == EnvironmentKind::Production
}

/// The expression of a schedule of drills: `@weekly` and `@monthly` get a day, an hour before six and a minute that are
/// always the same for a schedule, and spread all of them; `None`: anything else is as it was written.
pub fn spread(id: &ScheduleId, cron: &str) -> Option<String> {
    let digest = Sha256::digest(format!("drill:{id}"));
    let (minute, hour, day) = (u32::from(digest[0]) * 60 / 256, u32::from(digest[1]) * 6 / 256, u32::from(digest[2]));
    match cron.trim().to_ascii_lowercase().as_str() {
        "@weekly" => Some(format!("{minute} {hour} * * {}", day * 7 / 256)),
        // Days that every month has.
        "@monthly" => Some(format!("{minute} {hour} {} * *", day * 28 / 256 + 1)),
        _ => None,
    }
}

/// The one that comes with an environment.
pub fn usual(id: &ScheduleId) -> String {
    spread(id, "@weekly").expect("a name that it knows")
}

/// Role alone: a plan says nothing of drills. One question for the page, the operation and the scheduler.
///
/// # Errors
/// The refusal to show.
pub fn may_schedule(standing: &Standing, environment: &Environment) -> Verdict {
    standing.may(Act::ManageSchedules, environment)?;
    standing.may(Act::RunDrill, environment)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::policy::Rhythm;

    fn id(number: u64) -> ScheduleId {
        ScheduleId::parse(format!("{number:020x}")).expect("20 hexadecimal digits")
    }

    #[test]
    fn drills_of_many_environments_are_spread_over_the_nights_of_a_week() {
        let mut hours: BTreeMap<(String, String), u32> = BTreeMap::new();
        for number in 0..10_000 {
            let cron = usual(&id(number));
            assert!(Rhythm::parse(&cron, "UTC").is_ok(), "{cron}");
            let fields: Vec<&str> = cron.split(' ').collect();
            *hours.entry((fields[4].to_owned(), fields[1].to_owned())).or_default() += 1;
        }
        assert_eq!(hours.len(), 7 * 6, "every night, six hours");
        assert!(hours.values().all(|count| (150..350).contains(count)), "{hours:?}");
    }

    #[test]
    fn names_get_a_time_of_their_own_and_expressions_stay() {
        for name in ["@weekly", " @Monthly "] {
            let cron = spread(&id(7), name).expect("a name");
            assert_eq!(spread(&id(7), name).as_ref(), Some(&cron), "always the same");
            assert_ne!(spread(&id(8), name), Some(cron));
        }
        assert_eq!(spread(&id(7), "0 3 * * 0"), None);
        for number in 0..1_000 {
            let cron = spread(&id(number), "@monthly").expect("a name");
            let day: u32 = cron.split(' ').nth(2).and_then(|day| day.parse().ok()).expect("a day");
            assert!((1..=28).contains(&day), "{cron}");
        }
    }

    #[test]
    fn only_production_is_tried_without_asking() {
        let tried: Vec<_> = EnvironmentKind::ALL.into_iter().filter(|kind| by_default(*kind)).collect();
        assert_eq!(tried, [EnvironmentKind::Production]);
    }
}
