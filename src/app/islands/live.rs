//! A part of a page that lives: the server draws it, and sends what changes in it.

use leptos::prelude::*;

/// `stream`: address of its events (`app::events`); `after`: number of the last one that the page shows already. How
/// the connection stands is shown by the element `link` (`views::link`), if there is one.
#[island]
pub fn Live(stream: String, after: i64, children: Children) -> impl IntoView {
    connect(stream, after);
    children()
}

#[cfg(feature = "hydrate")]
fn connect(stream: String, after: i64) {
    super::stream::Stream::new(stream, after).open();
}

#[cfg(not(feature = "hydrate"))]
fn connect(_: String, _: i64) {}
