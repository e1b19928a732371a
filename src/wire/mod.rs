//! What the API says: requests, replies and [`Problem`] shared by every door, in the shapes that existing clients of
//! the hosted product know (`U`), and the client that speaks it.
//!
//! **Invariant:** whether something may be done is never decided here: an operation's link (`#backup`, `#restore`,
//! `#cancel`, …) is there exactly when the domain's [`Offer`](crate::domain::view::Offer) is open.

pub mod account;
pub mod activity;
pub mod audit;
pub mod backup;
#[cfg(feature = "cli")]
pub mod client;
pub mod drill;
pub mod environment;
pub mod links;
pub mod log;
pub mod member;
pub mod merge;
pub mod notice;
pub mod operation;
pub mod preflight;
pub mod project;
pub mod relocation;
pub mod removal;
pub mod removed;
pub mod retention;
pub mod schedule;
pub mod service;
pub mod storage;
pub mod ticket;
pub mod token;
pub mod word;

pub use crate::domain::Problem;
pub use activity::Activity;
pub use backup::{Backup, BackupRequest, RestoreRequest};
pub use drill::{Drill, DrillRequest, DrilledPart, UnprovenPart};
pub use environment::Environment;
pub use links::Links;
pub use log::LogItem;
pub use merge::{Merge, MergeRequest};
pub use operation::Operation;
pub use preflight::Preflight;
pub use project::Project;
pub use relocation::{Move, MoveRequest};
pub use removal::{ProjectRemoval, Removal};
pub use retention::{Fated, Plan, PlanChange, PlanRequest, Retention};
pub use schedule::{Schedule, ScheduleRequest};
pub use service::Service;
pub use storage::{Storage, StorageRequest};
pub use ticket::{Ticket, TicketRequest, TicketText};
pub use word::Word;

/// Where the API lives under the console's address.
pub const BASE: &str = "/api";

/// Names the version of these shapes, in requests (optional) and in every reply.
pub const VERSION_HEADER: &str = "stillpoint-version";

/// The version that this build speaks.
pub const VERSION: &str = "1";

#[cfg(test)]
mod tests;
