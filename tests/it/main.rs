//! The suite: one binary, on real services. `STILLPOINT_TEST_DATABASE=postgres` runs it on PostgreSQL.

mod accounts;
mod api_door;
mod bad_luck;
mod branching;
mod commands;
mod crash;
mod declaration;
mod doors;
mod elsewhere;
mod everything;
mod label;
mod mysql;
mod openldap;
mod policy_matrix;
mod postgresql;
mod process;
mod queue;
mod redis;
mod roles;
mod rooms;
mod rotation;
mod snapshots;
mod support;
mod unauthorized;
