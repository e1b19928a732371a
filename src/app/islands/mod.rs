//! What lives in the browser: the server draws everything first, and it works, without living, where there is no
//! JavaScript.
//!
//! **Invariant:** what a browser loads draws no rows and knows no model: the server sends what changed as HTML.

mod copy;
mod live;
#[cfg(feature = "hydrate")]
mod place;
#[cfg(feature = "hydrate")]
mod stream;
mod theme;

pub use copy::CopyButton;
pub use live::Live;
#[cfg(feature = "hydrate")]
pub use place::localise;
pub use theme::{Theme, ThemeSwitch};
