//! A file a page.

pub mod activity;
pub mod environment;
pub mod login;
pub mod new_snapshot;
pub mod project;
pub mod projects;
pub mod restore;
pub mod setup;
pub mod snapshot;
pub mod tokens;
