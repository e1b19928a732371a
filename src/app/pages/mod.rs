//! A file a page.

pub mod account;
pub mod accounts;
pub mod activity;
pub mod audit;
pub mod environment;
pub mod join;
pub mod login;
pub mod members;
pub mod new_snapshot;
pub mod notices;
pub mod project;
pub mod projects;
pub mod reset;
pub mod restore;
pub mod schedules;
pub mod setup;
pub mod snapshot;
pub mod tokens;
