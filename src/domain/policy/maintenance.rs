//! A restore in place: what is said of its length beforehand, and from what that is derived (R25).

use std::time::Duration;

use crate::domain::Bytes;
use crate::domain::ids::ServiceName;
use crate::domain::snapshot::{Proof, Snapshot};
use crate::domain::time::span;

/// Bytes a second that are kept and loaded where it was never measured: what a small rented server does.
const USUAL: u64 = 8 << 20;
/// Sessions are ended, locks are waited for, and rows are counted however little there is.
const LEAST: Duration = Duration::from_secs(5);

/// What is to be announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    /// The services, each with why it can't be loaded beside.
    pub services: Vec<(ServiceName, String)>,
    /// What is kept and what is loaded, while visitors are asked to come back.
    pub work: Bytes,
    /// The last one that this environment had.
    pub past: Option<Past>,
}

/// A restore in place that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    pub work: Bytes,
    pub closed: Duration,
}

impl Past {
    /// The newest among what restores replaced; `snapshots` come newest first.
    pub fn newest<'a>(snapshots: impl IntoIterator<Item = &'a Snapshot>) -> Option<Self> {
        snapshots.into_iter().filter_map(|snapshot| snapshot.proof.as_ref()).find_map(Self::of)
    }

    fn of(proof: &Proof) -> Option<Self> {
        let closed = Duration::from_micros(proof.closed_us);
        proof.in_place.filter(|work| work.0 > 0 && !closed.is_zero()).map(|work| Self { work, closed })
    }

    fn rate(self) -> u64 {
        u64::try_from(u128::from(self.work.0) * 1_000_000 / self.closed.as_micros().max(1)).unwrap_or(u64::MAX).max(1)
    }
}

/// How long keeping and loading so much takes, as it is announced.
pub fn length(work: Bytes, past: Option<Past>) -> Duration {
    let rate = past.map_or(USUAL, Past::rate);
    Duration::from_secs(work.0.div_ceil(rate)).max(LEAST)
}

impl Maintenance {
    pub fn length(&self) -> Duration {
        length(self.work, self.past)
    }

    pub fn announcement(&self) -> String {
        let services: Vec<&str> = self.services.iter().map(|(name, _)| name.as_str()).collect();
        let (noun, is) = if services.len() == 1 { ("service", "is") } else { ("services", "are") };
        let why: Vec<String> = self.services.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        let from = match self.past {
            Some(past) => format!(
                "the last restore in place took {} for {}, and this one has to keep and to load {}",
                span(past.closed),
                past.work,
                self.work
            ),
            None => format!(
                "none was measured here yet; {} have to be kept and loaded, at {} a second",
                self.work,
                Bytes(USUAL)
            ),
        };
        format!(
            "This is maintenance: visitors are asked to come back (503) for about {}, because the {noun} {} {is} restored in \
             place, all or nothing. That is an estimate: {from}. Without these obstacles there would be no such wait: {}.",
            about(self.length()),
            services.join(", "),
            why.join("; ")
        )
    }
}

/// No more exact than it is known.
pub fn about(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..=90 => format!("{} seconds", seconds.div_ceil(5) * 5),
        91..=5_400 => format!("{} minutes", seconds.div_ceil(60)),
        _ => format!("{} hours", seconds.div_ceil(3_600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maintenance(work: u64, past: Option<(u64, u64)>) -> Maintenance {
        let past = past.map(|(work, seconds)| Past { work: Bytes(work), closed: Duration::from_secs(seconds) });
        let why = "the account may not create databases: ALTER ROLE \"shop\" CREATEDB".to_owned();
        Maintenance { services: vec![("database".parse().expect("a name"), why)], work: Bytes(work), past }
    }

    #[test]
    fn its_length_comes_from_the_last_one_or_from_what_is_usual() {
        let megabyte = 1 << 20;
        for (work, past, length) in [
            (0, None, "5 seconds"),
            (800 * megabyte, None, "2 minutes"),
            (8_000 * megabyte, None, "17 minutes"),
            (800 * megabyte, Some((100 * megabyte, 10)), "80 seconds"),
            (800 * megabyte, Some((100 * megabyte, 1)), "10 seconds"),
            (u64::MAX, Some((u64::MAX, 1)), "5 seconds"),
            (400_000 * megabyte, None, "14 hours"),
        ] {
            let said = about(maintenance(work, past).length());

            assert_eq!(said, length, "{work} after {past:?}");
        }
    }

    #[test]
    fn it_says_how_long_from_what_and_why() {
        let said = maintenance(100 << 20, Some((50 << 20, 20))).announcement();
        for part in
            ["503", "about 40 seconds", "the last restore in place took 20 s for", "ALTER ROLE \"shop\" CREATEDB"]
        {
            assert!(said.contains(part), "{part} is missing: {said}");
        }
        assert!(maintenance(1, None).announcement().contains("none was measured here yet"));
    }
}
