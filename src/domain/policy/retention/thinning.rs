//! What one rule says of snapshots of one origin. Periods lie at fixed dates in UTC and within each other, so that what
//! survives a period survives the shorter ones within it too (R11).

use std::collections::BTreeMap;

use super::{Ended, Item};
use crate::domain::ids::{ScheduleId, SnapshotName};
use crate::domain::policy::plans::{Keep, Tier};
use crate::domain::snapshot::Origin;
use crate::domain::time::{DAY, Timestamp};

/// What the rule says of one snapshot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Due {
    /// `None`: its time has no end.
    pub goes_at: Option<Timestamp>,
    pub reason: String,
}

/// `items`: of one origin, oldest first.
pub(super) fn dues(
    keep: &Keep,
    origin: Origin,
    (items, ended): (&[&Item], &Ended),
    now: Timestamp,
) -> BTreeMap<SnapshotName, Due> {
    let named = |due: &dyn Fn(usize, &Item) -> Due| {
        items.iter().enumerate().map(|(at, item)| (item.name.clone(), due(at, item))).collect()
    };
    match keep {
        Keep::Days(days) => named(&|_, item| {
            let goes_at = item.taken_at.plus(DAY * *days);
            let days = age_in_words(*days);
            let reason = match (goes_at <= now, origin) {
                (true, _) => format!("It is older than {days}."),
                (false, Origin::Safety) => format!("What a restore replaced is kept for {days}."),
                (false, _) => format!("It is kept for {days}."),
            };
            Due { goes_at: Some(goes_at), reason }
        }),
        Keep::Newest(number) => {
            let ranks = ranks(*number, items, ended);
            named(&|at, _| newest(*number, origin, ranks[at], now))
        }
        Keep::AtLeast { days, newest } => {
            let ranks = ranks(*newest, items, ended);
            named(&|at, item| at_least((*days, *newest), ranks[at], item, now))
        }
        Keep::Tiers(tiers) => {
            let firsts: Vec<Vec<bool>> = tiers.iter().map(|tier| firsts(tier.every_days, items)).collect();
            named(&|at, item| thinned(tiers, &firsts, at, item, now))
        }
        Keep::Budget { at_least_days, at_most_days } => named(&|_, item| {
            let goes_at = item.taken_at.plus(DAY * *at_most_days);
            let reason = if goes_at <= now {
                format!("It is older than {}.", age_in_words(*at_most_days))
            } else if item.taken_at.plus(DAY * *at_least_days) > now {
                format!("Every one is kept for {}.", age_in_words(*at_least_days))
            } else {
                format!("It is kept for {}: the project has no storage budget.", age_in_words(*at_most_days))
            };
            Due { goes_at: Some(goes_at), reason }
        }),
    }
}

/// Whether one is among so many of the newest of a series, from worst to best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Beyond,
    /// By then the schedule that took it, which was removed, would have taken so many newer ones.
    Until(Timestamp),
    /// Until there are so many newer ones.
    Within,
}

/// The best rank that each has in a series that it belongs to: of a schedule, or of all that none is known of.
fn ranks<'a>(number: u32, items: &[&'a Item], ended: &Ended) -> Vec<Rank> {
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    let mut counted: BTreeMap<Option<&ScheduleId>, usize> = BTreeMap::new();
    let mut ranks = vec![Rank::Beyond; items.len()];
    for (at, item) in items.iter().enumerate().rev() {
        let mut next = |series: Option<&'a ScheduleId>| {
            let newer = counted.entry(series).or_default();
            // How many more have to come before it is one too many.
            let room = number.checked_sub(*newer + 1);
            *newer += 1;
            let runs = series.and_then(|series| ended.get(series));
            match (room, runs) {
                (None, _) => Rank::Beyond,
                (Some(room), Some(runs)) => runs.get(room).map_or(Rank::Within, |run| Rank::Until(*run)),
                (Some(_), None) => Rank::Within,
            }
        };
        let best = item.schedules.iter().map(|schedule| next(Some(schedule))).max();
        ranks[at] = best.unwrap_or_else(|| next(None));
    }
    ranks
}

fn at_least((days, number): (u32, u32), rank: Rank, item: &Item, now: Timestamp) -> Due {
    let over_at = item.taken_at.plus(DAY * days);
    let days = age_in_words(days);
    let goes_at = match rank {
        Rank::Beyond => Some(over_at),
        Rank::Until(run) => Some(over_at.max(run)),
        Rank::Within => None,
    };
    let reason = match (rank, goes_at) {
        _ if over_at > now => format!("It is kept for {days}."),
        (Rank::Within, _) => format!("It is one of the newest {number}."),
        (Rank::Until(_), Some(at)) if at > now => of_removed(number),
        (Rank::Until(_), _) => format!("It is older than {days}. {}", displaced(number)),
        (Rank::Beyond, _) => format!("It is older than {days}, and there are {number} newer ones."),
    };
    Due { goes_at, reason }
}

fn newest(number: u32, origin: Origin, rank: Rank, now: Timestamp) -> Due {
    match (rank, origin) {
        (Rank::Within, _) => Due { goes_at: None, reason: format!("It is one of the newest {number}.") },
        // Nobody who took it by hand loses it without being asked.
        (_, Origin::Manual) => Due {
            goes_at: None,
            reason: format!(
                "There are {number} newer ones: it goes when another one is asked for, and only after asking."
            ),
        },
        (Rank::Until(run), _) => {
            Due { goes_at: Some(run), reason: if run > now { of_removed(number) } else { displaced(number) } }
        }
        (Rank::Beyond, _) => Due { goes_at: Some(now), reason: format!("There are {number} newer ones.") },
    }
}

fn of_removed(number: u32) -> String {
    format!(
        "It is one of the newest {number} of a schedule that was removed: it goes when it would have, had that run on."
    )
}

fn displaced(number: u32) -> String {
    format!("The schedule that took it was removed, and would have taken {number} newer ones by now.")
}

/// R12: it stays in a tier when it is the first of its period there.
fn thinned(tiers: &[Tier], firsts: &[Vec<bool>], at: usize, item: &Item, now: Timestamp) -> Due {
    let mut since_days = 0;
    for (tier, firsts) in tiers.iter().zip(firsts) {
        if !firsts[at] {
            let goes_at = item.taken_at.plus(DAY * since_days);
            let (age, period) = (age_in_words(since_days), period_in_words(tier.every_days));
            let from = period_start(item.taken_at, tier.every_days);
            if goes_at <= now {
                let reason = format!(
                    "After {age} only the first of each {period} is kept, and it is not the first of the {period} from \
                     {from} on."
                );
                return Due { goes_at: Some(goes_at), reason };
            }
            return Due { goes_at: Some(goes_at), reason: staying(tiers, item, now) };
        }
        since_days = tier.until_days;
    }
    let goes_at = item.taken_at.plus(DAY * since_days);
    let reason = match goes_at <= now {
        true => format!("It is older than {}.", age_in_words(since_days)),
        false => staying(tiers, item, now),
    };
    Due { goes_at: Some(goes_at), reason }
}

/// Why it is still there, by the tier that it is in.
fn staying(tiers: &[Tier], item: &Item, now: Timestamp) -> String {
    let age = now.since(item.taken_at);
    match tiers.iter().find(|tier| age < DAY * tier.until_days) {
        Some(tier) if tier.every_days > 0 => format!(
            "It is the first of its {}, from {} on.",
            period_in_words(tier.every_days),
            period_start(item.taken_at, tier.every_days)
        ),
        Some(tier) => format!("Every one is kept for {}.", age_in_words(tier.until_days)),
        None => "Its time is over.".to_owned(),
    }
}

/// Which are the first of their period. `items`: oldest first.
fn firsts(every_days: u32, items: &[&Item]) -> Vec<bool> {
    if every_days == 0 {
        return vec![true; items.len()];
    }
    let mut last = None;
    let is_first = |item: &&Item| {
        let period = period(item.taken_at, every_days);
        last.replace(period) != Some(period)
    };
    items.iter().map(is_first).collect()
}

/// Monday, 5 January 1970: the day where every period begins or has begun a whole number of times before.
const ANCHOR: i64 = 4;

fn day(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(i64::try_from(DAY.as_micros()).unwrap_or(i64::MAX))
}

fn period(at: Timestamp, every_days: u32) -> i64 {
    (day(at) - ANCHOR).div_euclid(i64::from(every_days))
}

/// `2026-11-16`, in UTC.
fn period_start(at: Timestamp, every_days: u32) -> String {
    let day = period(at, every_days) * i64::from(every_days) + ANCHOR;
    let micros = day.saturating_mul(i64::try_from(DAY.as_micros()).unwrap_or(i64::MAX));
    Timestamp::from_micros(micros).table().chars().take(10).collect()
}

/// "first of each week", "first of its week".
fn period_in_words(days: u32) -> String {
    match days {
        1 => "day".to_owned(),
        7 => "week".to_owned(),
        days if days.is_multiple_of(7) => format!("{} weeks", days / 7),
        days => format!("{days} days"),
    }
}

/// `3 days`, `6 weeks`: weeks where people count in them.
pub(super) fn age_in_words(days: u32) -> String {
    match days {
        1 => "1 day".to_owned(),
        days if days > 14 && days.is_multiple_of(7) => format!("{} weeks", days / 7),
        days => format!("{days} days"),
    }
}

pub(super) fn tiers_in_words(tiers: &[Tier]) -> String {
    let words = tiers.iter().map(|tier| {
        let until = age_in_words(tier.until_days);
        match tier.every_days {
            0 => format!("every one up to {until}"),
            1 => format!("one a day up to {until}"),
            7 => format!("one a week up to {until}"),
            days => format!("one every {} up to {until}", period_in_words(days)),
        }
    });
    words.collect::<Vec<_>>().join(", ")
}
