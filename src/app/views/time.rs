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
