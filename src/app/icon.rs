//! The icons that pages and islands share.

use leptos::prelude::*;

/// An icon of the sprite that every page begins with; it always stands beside a word.
pub fn icon(name: &'static str) -> impl IntoView {
    view! { <svg class="icon" aria-hidden="true" focusable="false"><use_ href=format!("#i-{name}")></use_></svg> }
}
