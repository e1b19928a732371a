//! The end of each page that removes something: its name is typed before.

use leptos::prelude::*;

use crate::app::views::{icon, reason};

/// `label`: what is to be typed, which is `word`. `refusal`: why it can't be removed.
pub fn by_name(label: &'static str, word: &str, back: String, refusal: Option<String>) -> AnyView {
    let closed = refusal.is_some();
    view! {
        {typed(label, word)}
        <div class="buttons">
            <button class="button button-danger" disabled=closed aria-describedby=closed.then_some("why-not")>
                {icon("trash")}<span>{format!("Remove {word}")}</span>
            </button>
            <a class="button" href=back>"Back"</a>
        </div>
        {refusal.map(|text| reason("why-not".to_owned(), text))}
    }
    .into_any()
}

/// Where `word` is typed to confirm.
pub fn typed(label: &'static str, word: &str) -> impl IntoView {
    view! {
        <div class="field">
            <label for="typed">{label}</label>
            <input
                id="typed"
                name="typed"
                required
                autocomplete="off"
                autocapitalize="none"
                spellcheck="false"
                aria-describedby="typed-hint"
            />
            <p class="help" id="typed-hint">{format!("Type {word} to confirm.")}</p>
        </div>
    }
}
