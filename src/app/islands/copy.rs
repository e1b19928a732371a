//! Puts a text on the clipboard.

use leptos::prelude::*;

use crate::app::icon::icon;

/// Shown only where it works: with JavaScript, in a secure context.
#[island]
pub fn CopyButton(text: String) -> impl IntoView {
    let able = RwSignal::new(false);
    let copied = RwSignal::new(false);
    Effect::new(move || able.set(clipboard_is_there()));
    view! {
        <button type="button" class="button" hidden=move || !able.get() on:click=move |_| copy(&text, copied)>
            {move || icon(if copied.get() { "check" } else { "copy" })}
            <span role="status">{move || if copied.get() { "Copied" } else { "Copy" }}</span>
        </button>
    }
}

#[cfg(feature = "hydrate")]
fn clipboard_is_there() -> bool {
    js_sys::Reflect::get(&window().navigator(), &"clipboard".into()).is_ok_and(|clipboard| !clipboard.is_undefined())
}

#[cfg(not(feature = "hydrate"))]
fn clipboard_is_there() -> bool {
    false
}

#[cfg(feature = "hydrate")]
fn copy(text: &str, copied: RwSignal<bool>) {
    let _written = window().navigator().clipboard().write_text(text);
    copied.set(true);
    set_timeout(move || copied.set(false), std::time::Duration::from_secs(3));
}

#[cfg(not(feature = "hydrate"))]
fn copy(_: &str, _: RwSignal<bool>) {}
