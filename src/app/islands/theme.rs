//! Light, dark, or as the system says: kept in a cookie, so that the server sends the right one and nothing flashes.

use leptos::prelude::*;
use serde::{Deserialize, Serialize};

use crate::app::icon::icon;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    pub const COOKIE: &str = "stillpoint_theme";
    pub const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    pub fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// What `<html data-theme>` says; nothing: the system decides.
    pub fn attribute(self) -> Option<&'static str> {
        (self != Self::System).then(|| self.word())
    }

    /// A year: browsers keep no cookie much longer.
    pub fn cookie(self) -> String {
        format!("{}={}; Path=/; Max-Age=31536000; SameSite=Lax", Self::COOKIE, self.word())
    }
}

/// A form; with JavaScript it acts at once, without loading the page again.
#[island]
pub fn ThemeSwitch(theme: Theme) -> impl IntoView {
    let current = RwSignal::new(theme);
    let choice = move |theme: Theme| {
        let (glyph, label) = match theme {
            Theme::System => ("screen", "As the system"),
            Theme::Light => ("sun", "Light"),
            Theme::Dark => ("moon", "Dark"),
        };
        view! {
            <button
                class="choice"
                name="theme"
                value=theme.word()
                aria-pressed=move || (current.get() == theme).to_string()
                on:click=move |event| {
                    event.prevent_default();
                    current.set(theme);
                    apply(theme);
                }
            >
                {icon(glyph)}
                <span class="unseen">{label}</span>
            </button>
        }
    };
    view! {
        <form method="post" action="/actions/theme">
            <div class="choices" role="group" aria-label="Colours">{Theme::ALL.map(choice)}</div>
        </form>
    }
}

#[cfg(feature = "hydrate")]
fn apply(theme: Theme) {
    use wasm_bindgen::JsCast;

    if let Some(root) = document().document_element() {
        let _set = match theme.attribute() {
            Some(word) => root.set_attribute("data-theme", word),
            None => root.remove_attribute("data-theme"),
        };
    }
    let page: web_sys::HtmlDocument = document().unchecked_into();
    let _stored = page.set_cookie(&theme.cookie());
}

#[cfg(not(feature = "hydrate"))]
fn apply(_: Theme) {}
