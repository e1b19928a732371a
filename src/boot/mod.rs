//! Starting: configuration, keys, telemetry, and the roles that a process can take on.

mod accounts;
mod admin;
pub mod assets;
mod banner;
pub mod config;
pub mod console;
pub mod demo;
mod gate;
mod housekeeping;
mod key;
mod lock;
mod origin;
mod rotate;
mod samples;
mod sessions;
mod start;

pub use config::Command;
pub use start::run;
