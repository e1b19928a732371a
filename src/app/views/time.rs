//! Instants: the server writes UTC, the browser puts them in its own zone, with UTC in the title.

use leptos::prelude::*;

use crate::app::model::Moment;

/// In which zone instants are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    Utc,
    /// The browser's.
    Local,
}

/// How much of an instant is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    Date,
    /// The day alone; the title has the rest.
    Day,
    Seconds,
}

pub fn time(moment: Moment, zone: Zone, clock: Clock) -> impl IntoView {
    let Moment { iso, text } = moment;
    let text = match zone {
        Zone::Utc if clock == Clock::Day => text.split(',').next().unwrap_or_default().to_owned(),
        Zone::Utc => text,
        Zone::Local => local(&iso, clock).unwrap_or(text),
    };
    let title = iso.clone();
    view! { <time datetime=iso title=title>{text}</time> }
}

/// UTC while the page is as the server made it, then the browser's zone.
pub fn use_zone() -> RwSignal<Zone> {
    let zone = RwSignal::new(Zone::Utc);
    Effect::new(move || zone.set(Zone::Local));
    zone
}

#[cfg(feature = "hydrate")]
fn local(iso: &str, clock: Clock) -> Option<String> {
    use js_sys::{Date, Object, Reflect};

    let date = Date::new(&iso.into());
    let options = Object::new();
    let day = [("day", "numeric"), ("month", "short"), ("year", "numeric")];
    let minute = [("hour", "2-digit"), ("minute", "2-digit")];
    let parts = match clock {
        Clock::Date => [&day[..], &minute].concat(),
        Clock::Day => day.to_vec(),
        Clock::Seconds => [&minute[..], &[("second", "2-digit")]].concat(),
    };
    for (key, value) in parts {
        Reflect::set(&options, &key.into(), &value.into()).ok()?;
    }
    // A day ends at 00:00, not at 24:00.
    Reflect::set(&options, &"hourCycle".into(), &"h23".into()).ok()?;
    Some(date.to_locale_string("en-GB", &options).into())
}

#[cfg(not(feature = "hydrate"))]
fn local(_: &str, _: Clock) -> Option<String> {
    None
}
