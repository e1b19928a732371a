//! Sizes and counts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number of bytes. Displays with binary units, as restic does: `1.5 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

/// Text that is no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a size is a number with a unit, like `50 GiB`")]
pub struct NoSize;

impl std::str::FromStr for Bytes {
    type Err = NoSize;

    /// `50 GiB`, `1 TiB`, `1048576`.
    fn from_str(text: &str) -> Result<Self, NoSize> {
        let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim() {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return Err(NoSize),
        };
        let number: u64 = number.parse().map_err(|_| NoSize)?;
        number.checked_mul(1 << shift).map(Self).ok_or(NoSize)
    }
}

/// `12,345`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// `1 row`, `3,041 rows`, `2 activities`
pub fn counted(number: u64, noun: &str) -> String {
    let number_of = grouped(number);
    let stem = noun.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match (number, stem) {
        (1, _) => format!("{number_of} {noun}"),
        (_, Some(stem)) => format!("{number_of} {stem}ies"),
        (_, None) => format!("{number_of} {noun}s"),
    }
}

impl std::ops::Add for Bytes {
    type Output = Bytes;
    fn add(self, other: Bytes) -> Bytes {
        Bytes(self.0.saturating_add(other.0))
    }
}

impl std::iter::Sum for Bytes {
    fn sum<I: Iterator<Item = Bytes>>(sizes: I) -> Bytes {
        sizes.fold(Bytes(0), |a, b| a + b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_with_its_unit() {
        let table = [("0", Some(0)), ("512 B", Some(512)), ("50 GiB", Some(50 << 30)), ("1TiB", Some(1 << 40))];
        for (text, size) in table.into_iter().chain([("", None), ("GiB", None), ("5 GB", None), ("-1", None)]) {
            assert_eq!(text.parse().ok(), size.map(Bytes), "{text}");
        }
        assert!("99999999 TiB".parse::<Bytes>().is_err());
    }

    #[test]
    fn numbers_are_grouped_and_nouns_agree() {
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(3_041, "row"), "3,041 rows");
        assert_eq!(counted(0, "row"), "0 rows");
        assert_eq!((counted(2, "activity"), counted(2, "day")), ("2 activities".to_owned(), "2 days".to_owned()));
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn sizes_read_with_binary_units() {
        let table = [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_572_864, "1.5 MiB"), (1 << 40, "1.0 TiB")];
        for (bytes, text) in table {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
