//! Instants.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant: microseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC on every wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// Spans used by rules.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The present. Not for `domain` itself, which has no clock: for the rooms that have one.
    #[cfg(not(target_family = "wasm"))]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// Time from `earlier` to `self`; zero when `earlier` is the later one.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// `2015-06-19 17:11:42`, in UTC: the form of S4's table (R30).
    pub fn table(self) -> String {
        self.rfc3339().chars().take(19).map(|c| if c == 'T' { ' ' } else { c }).collect()
    }

    /// `2015-06-19T17:11:42.000000Z`
    pub fn rfc3339(self) -> String {
        let instant = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        format!("{instant:.6}")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = jiff::Error;

    /// RFC 3339.
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        Ok(Self(text.parse::<jiff::Timestamp>()?.as_microsecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.rfc3339())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A span as a person reads it: `420 µs`, `38 ms`, `1.2 s`, `18 s`, `3 min 5 s`, `2 h 4 min`, `3 days`.
pub fn span(duration: Duration) -> String {
    let micros = duration.as_micros();
    let seconds = duration.as_secs();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{} ms", (micros + 500) / 1_000),
        1_000_000..10_000_000 => format!("{:.1} s", duration.as_secs_f64()),
        _ if seconds < 60 => format!("{seconds} s"),
        _ if seconds < 3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ if seconds < 172_800 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_survives_its_wire_form() {
        let instant = Timestamp::from_micros(1_434_733_902_000_001);
        assert_eq!(instant.rfc3339(), "2015-06-19T17:11:42.000001Z");
        assert_eq!(instant.table(), "2015-06-19 17:11:42");
        let json = serde_json::to_string(&instant).expect("a string");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("the same"), instant);
    }

    #[test]
    fn spans_read_as_people_say_them() {
        let table = [
            (420, "420 µs"),
            (38_400, "38 ms"),
            (1_234_000, "1.2 s"),
            (18_040_000, "18 s"),
            (185_000_000, "3 min 5 s"),
        ];
        for (micros, text) in table {
            assert_eq!(span(Duration::from_micros(micros)), text);
        }
        assert_eq!(span(DAY * 3), "3 days");
    }
}
