//! Instants: the server writes UTC, a browser puts them in its own zone (`islands::localise`), with UTC in the title.

use leptos::prelude::*;

use crate::app::model::Moment;

/// How much of an instant is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    Date,
    /// The day alone; the title has the rest.
    Day,
    Seconds,
}

impl Clock {
    fn word(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::Day => "day",
            Self::Seconds => "seconds",
        }
    }
}

pub fn time(moment: Moment, clock: Clock) -> impl IntoView {
    let Moment { iso, text } = moment;
    let text = match clock {
        Clock::Day => text.split(',').next().unwrap_or_default().to_owned(),
        Clock::Date | Clock::Seconds => text,
    };
    let title = iso.clone();
    view! { <time datetime=iso title=title data-clock=clock.word()>{text}</time> }
}

/// Day and minute.
pub fn date(moment: Moment) -> impl IntoView {
    time(moment, Clock::Date)
}

/// Whether a schedule's own clock shows nothing that the instant in UTC does not say: "Mon 23 Nov 2026, 03:00 GMT".
pub fn is_said(moment: &Moment, local: &str) -> bool {
    let without_zone = |text: &str| text.rsplit_once(' ').map(|(rest, _)| rest.to_owned());
    let of_day = local.split_once(' ').and_then(|(_, rest)| without_zone(rest));
    of_day.is_some() && of_day == without_zone(&moment.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    #[test]
    fn a_clock_that_shows_the_same_as_utc_is_not_shown_beside_it() {
        let moment = crate::app::present::moment(Timestamp::from_micros(1_434_733_902_000_001));
        for (local, said) in [
            ("Fri 19 Jun 2015, 17:11 UTC", true),
            ("Fri 19 Jun 2015, 17:11 GMT", true),
            ("Fri 19 Jun 2015, 19:11 CEST", false),
            ("Sat 20 Jun 2015, 05:11 NZST", false),
            ("17:11", false),
            ("", false),
        ] {
            assert_eq!(is_said(&moment, local), said, "{local}");
        }
    }
}
