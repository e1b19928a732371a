//! What would be left after a year of a rule.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Ended, Item, thinning};
use crate::domain::bytes::Bytes;
use crate::domain::ids::SnapshotName;
use crate::domain::policy::plans::Keep;
use crate::domain::snapshot::Origin;
use crate::domain::time::{DAY, Timestamp};

/// What a year leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulation {
    /// How many were taken in that year.
    pub taken: u64,
    /// When those were taken that are left, newest first.
    pub left: Vec<Timestamp>,
    /// The same by age, youngest first.
    pub bands: Vec<Band>,
}

/// Snapshots of an age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Band {
    pub title: String,
    pub left: u64,
}

const YEAR: Duration = DAY.saturating_mul(365);

/// A year of snapshots, one every so often, the newest at `now`. What goes by a number counts as confirmed.
///
/// Thinning daily leaves the same as thinning once at the end, which is what is done here: see the property tests.
pub fn simulate(keep: &Keep, every: Duration, now: Timestamp) -> Simulation {
    let every = every.max(Duration::from_secs(60 * 60));
    let count = u32::try_from(YEAR.as_secs() / every.as_secs()).unwrap_or(u32::MAX);
    let items: Vec<Item> = (0..count)
        .rev()
        .map(|number| Item {
            name: SnapshotName::parse(format!("{number:020x}")).expect("20 hexadecimal digits"),
            origin: Origin::Automatic,
            taken_at: now.minus(every * number),
            added: Bytes(0),
            has_failed: false,
            is_proven: false,
            schedules: Default::default(),
            holds: Default::default(),
        })
        .collect();
    let refs: Vec<&Item> = items.iter().collect();
    let dues = thinning::dues(keep, Origin::Automatic, (&refs, &Ended::new()), now);
    let stays = |item: &&Item| dues[&item.name].goes_at.is_none_or(|at| at > now);
    let left: Vec<Timestamp> = items.iter().rev().filter(stays).map(|item| item.taken_at).collect();
    Simulation { taken: u64::from(count), bands: bands(&left, now), left }
}

fn bands(left: &[Timestamp], now: Timestamp) -> Vec<Band> {
    let titles = [
        (3, "Up to 3 days old"),
        (7, "4 to 7 days"),
        (42, "2 to 6 weeks"),
        (84, "7 to 12 weeks"),
        (154, "13 to 22 weeks"),
        (366, "23 weeks to a year"),
    ];
    let mut from = Duration::ZERO;
    let mut bands = Vec::new();
    for (until, title) in titles {
        let until = DAY * until;
        let within = left.iter().filter(|at| (from..until).contains(&now.since(**at))).count();
        bands.push(Band { title: title.to_owned(), left: within as u64 });
        from = until;
    }
    bands
}
