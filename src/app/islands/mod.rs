//! What lives in the browser: each island is drawn by the server first and works, without living, where there is no
//! JavaScript.

mod copy;
mod live_activity;
mod live_environment;
mod local_time;
#[cfg(feature = "hydrate")]
mod stream;
mod theme;

use leptos::prelude::*;

pub use copy::CopyButton;
pub use live_activity::{Cancel, LiveActivity};
pub use live_environment::LiveEnvironment;
pub use local_time::LocalTime;
pub use theme::{Theme, ThemeSwitch};

use super::views::icon;

/// How the live stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "hydrate"), expect(dead_code, reason = "only a browser opens streams"))]
pub(crate) enum Link {
    /// Not opened: no JavaScript yet, or nothing more will come.
    Off,
    Live,
    Reconnecting,
}

/// Quiet: a word beside the heading.
pub(crate) fn link_state(link: RwSignal<Link>) -> impl IntoView {
    move || match link.get() {
        Link::Off => None,
        Link::Live => Some(view! { <span class="link live">{icon("dot")}"Live"</span> }),
        Link::Reconnecting => Some(view! { <span class="link">{icon("turning")}"Reconnecting…"</span> }),
    }
}
