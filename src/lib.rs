//! Stillpoint: consistent, encrypted snapshots and safe restores of web environments.
//!
//! This file is the map, and the only place where features gate rooms. A room uses only what stands before it:
//! `domain ← wire ← (api | app | cli)`; `domain ← store ← queue ← jobs ← ops ← (api | app) ← boot`;
//! `domain ← engine, drivers, gateway ← jobs`; `domain, store ← authz ← (ops, api, app)`.
//!
//! **Invariant:** doors (`api`, `app`, `cli`) never name `store`; `domain` names nothing; `cli` knows only `wire` and
//! `domain`. `tests/it/rooms.rs` reads the paths and fails on a breach.

// A page's view is one deeply nested type.
#![recursion_limit = "256"]

pub mod domain;
pub mod wire;

#[cfg(feature = "ssr")]
pub mod store;

#[cfg(feature = "ssr")]
pub mod queue;

#[cfg(feature = "ssr")]
pub mod engine;

#[cfg(feature = "ssr")]
pub mod drivers;

#[cfg(feature = "ssr")]
pub mod gateway;

#[cfg(feature = "ssr")]
pub mod jobs;

#[cfg(feature = "ssr")]
pub mod authz;

#[cfg(feature = "ssr")]
pub mod ops;

#[cfg(feature = "ssr")]
pub mod api;

#[cfg(any(feature = "ssr", feature = "hydrate"))]
pub mod app;

#[cfg(feature = "cli")]
pub mod cli;

#[cfg(feature = "ssr")]
pub mod boot;
