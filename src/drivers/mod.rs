//! Drivers: a file per kind of service, and mounts. How each is looked at, read at one point, loaded and swapped.
//!
//! **Invariant:** this room knows no job, no repository and no hold: it is told when, and says what it found. It never
//! follows a symbolic link below a mount's root, and never opens a live SQLite file except through SQLite: closing any
//! other descriptor of it would drop every lock that this process holds on it.

mod client;
pub mod command;
pub mod error;
pub mod mount;
pub mod mysql;
pub mod postgres;
mod program;
pub mod redis;
pub mod service;
pub mod solr;
pub mod sqlite;

pub use error::{Error, StagingLimit};
pub use mount::Mount;
pub(crate) use program::widen;
pub use service::{Aside, Beside, Position, SPARE, Service, Tested, View, connect};
