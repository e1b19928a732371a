//! The JSON door, in the shapes that existing clients of the hosted product know (`U`).
//!
//! **Invariant:** thin handlers: parse, obtain the proof, call `ops`. Names only `domain`, `wire`, `authz` and `ops`.
//! Every refusal is a [`Problem`](crate::domain::Problem), and what is invisible or malformed in a path looks the same
//! as what does not exist.

mod accounts;
mod activities;
mod audit;
mod backups;
mod drills;
mod dumps;
mod environments;
mod extract;
mod fault;
mod log;
mod members;
mod merges;
mod notices;
mod projects;
mod relocation;
mod removal;
mod removed;
mod retention;
mod schedules;
mod storage;
mod tickets;
mod token;
mod version;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::routing::{delete, get, post};

use crate::ops::App;
use fault::Fault;

/// Nothing that this door takes is larger, bytes.
const LARGEST_BODY: usize = 64 * 1024;

/// To be nested under [`crate::wire::BASE`].
pub fn router(app: App) -> Router {
    Router::new()
        .route("/oauth2/token", post(token::exchange))
        .route("/projects", get(projects::list))
        .route("/projects/{project}", get(projects::get).delete(removal::delete_project))
        .route("/projects/{project}/removal", get(removal::preview_project))
        .route("/projects/{project}/move", get(relocation::preflight).post(relocation::begin))
        .route("/projects/{project}/removed", get(removed::of_project))
        .route("/projects/{project}/purge", post(removed::purge))
        .route("/projects/{project}/unpurge", post(removed::unpurge))
        .route("/removed", get(removed::projects))
        .route("/projects/{project}/activities", get(activities::of_project))
        .route("/projects/{project}/activities/{activity}", get(activities::get))
        .route("/projects/{project}/activities/{activity}/cancel", post(activities::cancel))
        .route("/projects/{project}/activities/{activity}/log", get(log::read))
        .route("/projects/{project}/environments", get(environments::list))
        .route("/projects/{project}/environments/{environment}", get(environments::get).delete(removal::delete))
        .route("/projects/{project}/environments/{environment}/removal", get(removal::preview))
        .route("/projects/{project}/environments/{environment}/activities", get(activities::of_environment))
        .route(
            "/projects/{project}/environments/{environment}/activities/{activity}",
            get(activities::get_of_environment),
        )
        .route("/projects/{project}/environments/{environment}/backup", post(backups::create))
        .route("/projects/{project}/environments/{environment}/backups", get(backups::list))
        .route(
            "/projects/{project}/environments/{environment}/backups/{backup}",
            get(backups::get).delete(retention::delete),
        )
        .route("/projects/{project}/environments/{environment}/backups/{backup}/undelete", post(retention::undelete))
        .route("/projects/{project}/environments/{environment}/backups/{backup}/protect", post(retention::protect))
        .route("/projects/{project}/environments/{environment}/backups/{backup}/unprotect", post(retention::unprotect))
        .route("/projects/{project}/environments/{environment}/retention", get(retention::preview))
        .route("/projects/{project}/plan", get(retention::plan).post(retention::change_plan))
        .route(
            "/projects/{project}/environments/{environment}/backups/{backup}/restore",
            get(backups::preflight).post(backups::restore),
        )
        .route("/projects/{project}/environments/{environment}/merge", get(merges::preview).post(merges::merge))
        .route("/projects/{project}/environments/{environment}/storage", get(storage::get).post(storage::change))
        .route("/projects/{project}/environments/{environment}/drills", get(drills::list).post(drills::run))
        .route("/projects/{project}/environments/{environment}/drills/{activity}", get(drills::get))
        .route("/projects/{project}/environments/{environment}/schedules", get(schedules::list).post(schedules::add))
        .route(
            "/projects/{project}/environments/{environment}/schedules/{schedule}",
            get(schedules::get).patch(schedules::edit).delete(schedules::remove),
        )
        .route("/projects/{project}/environments/{environment}/backups/{backup}/tickets", post(tickets::file))
        .route("/tickets", get(tickets::all))
        .route("/projects/{project}/tickets", get(tickets::of_project))
        .route("/projects/{project}/tickets/{ticket}", get(tickets::get))
        .route("/projects/{project}/tickets/{ticket}/evidence", get(tickets::evidence))
        .route("/projects/{project}/tickets/{ticket}/{act}", post(tickets::act))
        .route("/projects/{project}/environments/{environment}/services", get(dumps::services))
        .route("/projects/{project}/environments/{environment}/services/{service}/dump", get(dumps::dump))
        .route("/projects/{project}/environments/{environment}/backups/{backup}/services", get(dumps::backup_services))
        .route(
            "/projects/{project}/environments/{environment}/backups/{backup}/services/{service}/dump",
            get(dumps::dump),
        )
        .route("/projects/{project}/user-access", get(members::list))
        .route(
            "/projects/{project}/user-access/{user}",
            get(members::get).patch(members::update).delete(members::remove),
        )
        .route("/projects/{project}/invitations", get(members::invitations).post(members::invite))
        .route("/projects/{project}/invitations/{invitation}", delete(members::revoke))
        .route("/projects/{project}/notices/channels", get(notices::channels).post(notices::add))
        .route("/projects/{project}/notices/channels/{channel}", delete(notices::remove).patch(notices::update))
        .route("/projects/{project}/notices/channels/{channel}/test", post(notices::try_out))
        .route("/projects/{project}/notices/deliveries", get(notices::deliveries))
        .route("/accounts", get(accounts::list))
        .route("/accounts/{account}", get(accounts::get))
        .route("/accounts/{account}/{change}", post(accounts::change))
        .route("/projects/{project}/audit", get(audit::of_project))
        .route("/projects/{project}/audit/export", get(audit::export_project))
        .route("/audit", get(audit::of_installation))
        .route("/audit/export", get(audit::export_installation))
        .method_not_allowed_fallback(|| async { Fault::method_not_allowed() })
        .fallback(|| async { Fault::no_route() })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn(version::speak))
        .with_state(app)
}
