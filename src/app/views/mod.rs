//! What pages and islands are put together from; drawn alike on the server and in the browser.
//!
//! **Invariant:** no `AnyView` here or in `islands`: each erased type costs a browser some five kilobytes.

mod entry;
mod kept;
mod time;

use leptos::either::Either;
use leptos::prelude::*;

pub use entry::{entry, progress_bar, stage_word};
pub use kept::{kept_head, kept_row};
pub use time::{Clock, Zone, time, use_zone};

use super::model::{Condition, Door, Tone};

/// An icon of the sprite that every page begins with; it always stands beside a word.
pub fn icon(name: &'static str) -> impl IntoView {
    view! { <svg class="icon" aria-hidden="true" focusable="false"><use_ href=format!("#i-{name}")></use_></svg> }
}

/// Colour, icon and word together, so that none of them has to speak alone.
pub fn badge(tone: Tone, glyph: &'static str, word: impl Into<String>) -> impl IntoView {
    let word: String = word.into();
    view! { <span class=format!("badge tone-{}", tone.class())>{icon(glyph)}{word}</span> }
}

/// One sentence on how things stand; read out when it changes.
pub fn condition(condition: Condition) -> impl IntoView {
    let Condition { tone, sentence } = condition;
    view! {
        <p class=format!("condition-text tone-{}", tone.class()) role="status">
            {icon(tone.glyph())}
            <span>{sentence}</span>
        </p>
    }
}

/// How a door looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    Main,
    Side,
    Small,
}

impl Weight {
    fn class(self) -> &'static str {
        match self {
            Self::Main => "button button-main",
            Self::Side => "button",
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
