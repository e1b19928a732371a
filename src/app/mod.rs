//! The browser door: a server-rendered console with islands where something is live; all of it works without JavaScript.
//!
//! **Invariant:** names only `domain`, `authz` and `ops`. A page is parse, proof, operation, view; what a browser loads
//! (`islands`) holds no rule and draws no rows: only the server does.

mod icon;
pub mod islands;

#[cfg(feature = "ssr")]
mod actions;
#[cfg(feature = "ssr")]
mod asked;
#[cfg(feature = "ssr")]
mod downloads;
#[cfg(feature = "ssr")]
mod events;
#[cfg(feature = "ssr")]
mod evidence;
#[cfg(feature = "ssr")]
mod flash;
#[cfg(feature = "ssr")]
mod forms;
#[cfg(feature = "ssr")]
mod local;
#[cfg(feature = "ssr")]
mod model;
#[cfg(feature = "ssr")]
mod once;
#[cfg(feature = "ssr")]
mod page;
#[cfg(feature = "ssr")]
mod pages;
#[cfg(feature = "ssr")]
mod present;
#[cfg(feature = "ssr")]
mod security;
#[cfg(feature = "ssr")]
mod server;
#[cfg(feature = "ssr")]
mod shell;
#[cfg(feature = "ssr")]
mod views;
#[cfg(feature = "ssr")]
mod visit;

#[cfg(feature = "ssr")]
pub use server::router;
#[cfg(feature = "ssr")]
pub use shell::Assets;
#[cfg(feature = "ssr")]
pub use visit::keys as visit_keys;

/// Wakes the page that the browser has loaded: its islands, and its instants in the browser's own zone.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    leptos::mount::hydrate_islands();
    islands::localise();
}
