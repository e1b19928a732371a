//! A file a page.

pub mod account;
pub mod accounts;
pub mod activity;
pub mod audit;
pub mod environment;
pub mod evidence;
pub mod join;
pub mod login;
pub mod members;
pub mod new_snapshot;
pub mod new_ticket;
pub mod notices;
pub mod plan;
pub mod project;
pub mod projects;
pub mod reset;
pub mod restore;
pub mod retention;
pub mod schedules;
pub mod setup;
pub mod simulation;
pub mod snapshot;
pub mod ticket;
pub mod tickets;
pub mod tokens;
