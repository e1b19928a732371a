//! Instants as a person wants them: `--date-fmt`.

use super::error::Error;
use crate::domain::time::Timestamp;

/// A format for instants, always in UTC.
#[derive(Debug, Clone, Default)]
pub struct DateFormat(Option<String>);

impl DateFormat {
    /// `%Y-%m-%d` as in strftime, or the letters of PHP's `date`, as existing scripts give them (`c`, `Y-m-d`).
    ///
    /// # Errors
    /// [`Error::Usage`] for a format that can't be written.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let pattern = if text.contains('%') { text.to_owned() } else { text.chars().map(php).collect() };
        let format = Self(Some(pattern));
        match format.try_write(Timestamp::from_micros(0)) {
            Some(_) => Ok(format),
            None => Err(Error::Usage(format!("`{text}` is not a date format; try `%Y-%m-%d %H:%M`, or `c`"))),
        }
    }

    pub fn write(&self, instant: Timestamp) -> String {
        self.try_write(instant).unwrap_or_else(|| instant.table())
    }

    fn try_write(&self, instant: Timestamp) -> Option<String> {
        let Some(pattern) = &self.0 else { return Some(instant.table()) };
        let zoned = jiff::Timestamp::from_microsecond(instant.as_micros()).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
        jiff::fmt::strtime::format(pattern, &zoned).ok()
    }
}

fn php(letter: char) -> String {
    let pattern = match letter {
        'd' => "%d",
        'j' => "%-d",
        'D' => "%a",
        'l' => "%A",
        'N' => "%u",
        'z' => "%j",
        'm' => "%m",
        'n' => "%-m",
        'M' => "%b",
        'F' => "%B",
        'Y' => "%Y",
        'y' => "%y",
        'H' => "%H",
        'G' => "%-H",
        'h' => "%I",
        'g' => "%-I",
        'A' => "%p",
        'a' => "%P",
        'i' => "%M",
        's' => "%S",
        'u' => "%6f",
        'U' => "%s",
        'e' | 'T' => "UTC",
        'P' => "+00:00",
        'O' => "+0000",
        'c' => "%Y-%m-%dT%H:%M:%S+00:00",
        'r' => "%a, %d %b %Y %H:%M:%S +0000",
        other => return other.to_string(),
    };
    pattern.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_in_either_notation() {
        let instant = Timestamp::from_micros(1_434_733_902_000_000);
        let table = [
            ("%Y-%m-%d", "2015-06-19"),
            ("c", "2015-06-19T17:11:42+00:00"),
            ("Y-m-d H:i:s", "2015-06-19 17:11:42"),
            ("j.n.Y", "19.6.2015"),
            ("U", "1434733902"),
        ];
        for (format, text) in table {
            assert_eq!(DateFormat::parse(format).expect("a format").write(instant), text, "{format}");
        }
        assert_eq!(DateFormat::default().write(instant), "2015-06-19 17:11:42");
        assert_eq!(DateFormat::parse("%!").expect_err("not a format").code(), 2);
    }
}
