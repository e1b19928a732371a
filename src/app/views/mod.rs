//! What pages are put together from, and what live streams send of them: one drawing for both, on the server.

mod activity;
mod download;
mod drill;
mod entry;
mod environment;
mod kept;
mod lines;
mod ticket;
mod time;
mod ways;

use leptos::either::Either;
use leptos::prelude::*;

pub use activity::{activity, activity_parts, end, line};
pub use download::{download, downloads, downloads_reason};
pub use entry::{entry, progress_bar, stage_word};
pub use environment::{environment, environment_parts};
pub use kept::kept_table;
pub use lines::lines;
pub use ticket::{Must, Of, fields, text_area, ticket_state, ticket_table, tone};
pub use time::{Clock, date, is_said, time};
pub use ways::{Way, closed, way};

pub use super::icon::icon;
use super::islands::Live;
use super::model::{Condition, Door, Tone};

/// Colour, icon and word together, so that none of them has to speak alone.
pub fn badge(tone: Tone, glyph: &'static str, word: impl Into<String>) -> impl IntoView {
    let word: String = word.into();
    view! { <span class=format!("badge tone-{}", tone.class())>{icon(glyph)}{word}</span> }
}

/// One sentence on how things stand.
pub fn condition(condition: Condition) -> impl IntoView {
    let Condition { tone, sentence } = condition;
    view! {
        <p class=format!("condition-text tone-{}", tone.class())>
            {icon(tone.glyph())}
            <span>{sentence}</span>
        </p>
    }
}

/// How a door looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    Main,
    Small,
}

impl Weight {
    fn class(self) -> &'static str {
        match self {
            Self::Main => "button button-main",
            Self::Small => "button button-small",
        }
    }
}

/// A link that looks like a button; if it is refused, a disabled button whose reason stands in the element `reason`
/// (R7: shown, disabled, with the reason).
pub fn door(
    door: Door,
    weight: Weight,
    glyph: &'static str,
    word: &'static str,
    about: Option<String>,
    reason: String,
) -> impl IntoView {
    let label = about.map(|about| view! { <span class="unseen">{format!(" {about}")}</span> });
    if door.refusal.is_some() {
        let disabled = view! {
            <button type="button" class=weight.class() disabled aria-describedby=reason>
                {icon(glyph)} <span>{word}{label}</span>
            </button>
        };
        return Either::Left(disabled);
    }
    Either::Right(view! { <a class=weight.class() href=door.href>{icon(glyph)} <span>{word}{label}</span></a> })
}

/// Why something can't be used, as text that everybody sees.
pub fn reason(id: String, text: String) -> impl IntoView {
    view! { <p class="reason" id=id>{icon("info")}<span>{text}</span></p> }
}

/// Makes `content` live where there is a stream: its address, and the number of the last event that the page shows.
fn live(stream: Option<(String, i64)>, content: AnyView) -> AnyView {
    match stream {
        Some((stream, after)) => view! { <Live stream=stream after=after>{content}</Live> }.into_any(),
        None => content,
    }
}

/// How the live stream stands: shown once there is one, beside a heading.
fn link() -> impl IntoView {
    view! {
        <span class="link" id="link">
            <span class="link-live">{icon("dot")}"Live"</span>
            <span class="link-lost">{icon("turning")}"Reconnecting…"</span>
        </span>
    }
}
