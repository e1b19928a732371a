//! The suite: one binary, on real services. `STILLPOINT_TEST_DATABASE=postgres` runs it on PostgreSQL.

mod accounts;
mod api_door;
mod declaration;
mod policy_matrix;
mod queue;
mod rooms;
mod snapshots;
mod support;
mod unauthorized;
