//! The words of the system and its rules, as values and pure functions.
//!
//! **Invariant:** no async, no I/O, no clock, and no other room: `now` and the facts come in, a verdict with a reason
//! that a person can read comes out. Builds for wasm too.

pub mod activity;
pub mod audit;
pub mod bytes;
pub mod command;
pub mod drill;
pub mod dump;
pub mod environment;
pub mod ids;
pub mod manifest;
pub mod notice;
pub mod policy;
pub mod problem;
#[cfg(feature = "ssr")]
pub mod proxies;
pub mod schedule;
pub mod scope;
pub mod secret;
pub mod snapshot;
pub mod telling;
pub mod ticket;
pub mod time;
pub mod tree;
pub mod view;

pub use bytes::Bytes;
pub use ids::{
    ActivityId, EnvironmentId, InvitationId, ProjectId, ScheduleId, SnapshotName, TicketId, TokenId, UserId,
};
pub use problem::Problem;
#[cfg(feature = "ssr")]
pub use proxies::{Client, Proxies};
pub use scope::{MountPath, PartName, Scope};
pub use secret::Secret;
pub use time::Timestamp;
