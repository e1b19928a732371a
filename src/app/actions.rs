//! What a person can do in the console: server functions, each a form's target with or without JavaScript.
//!
//! **Invariant:** thin: parse, proof, operation. Every one goes through [`act`], which refuses whoever is not logged in,
//! except those that come before logging in, end it, or keep a choice of colours.

#![allow(clippy::too_many_arguments, reason = "an action takes the fields of its form")]

mod notices;
mod people;
mod relocation;
mod removal;

use std::collections::BTreeMap;
use std::future::Future;

use http::HeaderValue;
use http::header::SET_COOKIE;
use leptos::prelude::*;
use leptos::server_fn::codec::JsonEncoding;
use leptos::server_fn::error::{FromServerFnError, ServerFnErrorErr};
use leptos_axum::ResponseOptions;
use serde::{Deserialize, Serialize};

use super::flash::Flash;
use super::forms::Slot;
use super::islands::Theme;
use super::local::LocalPath;
use super::once::{Once, Outcome};
use super::present::at;
use super::visit::{self, Visit};
use crate::authz;
use crate::domain::activity::{MergeHow, SnapshotMode};
use crate::domain::environment::EnvironmentKind;
use crate::domain::ids::{ActivityId, EnvironmentName, PlanId, ProjectId};
use crate::domain::policy::Act;
use crate::domain::problem::sentence;
use crate::domain::schedule::Errand;
use crate::domain::scope::InvalidPart;
use crate::domain::ticket::TicketAct;
use crate::domain::{PartName, Problem, ScheduleId, Secret, SnapshotName, TicketId, TokenId};
use crate::ops::merges::{Merge, MergeRequest};
use crate::ops::restores::{self, RestoreRequest, Way};
use crate::ops::schedules::{ScheduleEdit, ScheduleRequest, Wish};
use crate::ops::storage::StorageRequest;
use crate::ops::{self, Error};

/// Queues a snapshot and leads to its activity.
#[server(prefix = "/actions", endpoint = "snapshot")]
pub async fn create_snapshot(
    project: ProjectId,
    environment: EnvironmentName,
    mode: SnapshotMode,
    note: Option<String>,
    evict: Option<String>,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_environment::<authz::CreateSnapshot>(&actor, &project, &environment).await?;
        let request = ops::snapshots::SnapshotRequest { mode, note: filled(note), evict: evicted(evict)? };
        let entry = ops::snapshots::create(&app, proof, request).await?;
        Ok(Outcome::at(at::activity(&project, &entry.activity.id)))
    })
    .await
}

/// What the preflight showed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShownPlan {
    into: EnvironmentName,
    /// Filled: `into` is made, after this one.
    branch_from: Option<String>,
    parts: String,
    hash: String,
}

impl ShownPlan {
    fn wish(&self) -> restores::Wish<'_> {
        let parent = self.branch_from.as_deref().map(str::trim).filter(|parent| !parent.is_empty());
        restores::Wish { target: Some(self.into.as_str()), branch_from: parent }
    }

    fn request(self, snapshot: SnapshotName) -> Result<RestoreRequest, Error> {
        let scope = self.parts.parse().map_err(|error: InvalidPart| Error::invalid(sentence(&error.to_string())))?;
        Ok(RestoreRequest { snapshot, scope, plan_hash: Some(self.hash) })
    }
}

/// Asks support staff for a restore, and leads to the ticket.
#[server(prefix = "/actions", endpoint = "file-ticket")]
pub async fn file_ticket(
    project: ProjectId,
    environment: EnvironmentName,
    snapshot: SnapshotName,
    plan: ShownPlan,
    reason: String,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let way = Way::authorize(&app, &actor, &project, &environment, plan.wish()).await?;
        let request = ops::tickets::TicketRequest { restore: plan.request(snapshot)?, reason };
        let entry = ops::tickets::file(&app, way, request).await?;
        Ok(Outcome::at(at::ticket(&project, &entry.ticket.id)))
    })
    .await
}

/// Merges the environment into its parent as the page said, and leads to the activity. `shown`: who was to merge.
#[server(prefix = "/actions", endpoint = "merge")]
pub async fn merge_environment(
    project: ProjectId,
    environment: EnvironmentName,
    shown: MergeHow,
    first: Option<String>,
    evict: Option<String>,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let merge = Merge::authorize(&app, &actor, &project, &environment).await?;
        let (wish, evict) = (Some(first.is_some()).into(), evicted(evict)?);
        let request = MergeRequest { snapshot: wish, evict, shown: Some(shown) };
        let entry = ops::merges::create(&app, merge, request).await?;
        Ok(Outcome::at(at::activity(&project, &entry.activity.id)))
    })
    .await
}

/// Declares another size for a service or mount, and leads to the activity.
#[server(prefix = "/actions", endpoint = "storage")]
pub async fn change_storage(
    project: ProjectId,
    environment: EnvironmentName,
    part: PartName,
    size: String,
    first: Option<String>,
    evict: Option<String>,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_environment::<authz::ChangeStorage>(&actor, &project, &environment).await?;
        let (snapshot, evict) = (Some(first.is_some()).into(), evicted(evict)?);
        let request = StorageRequest { part, size: ops::storage::size(&size)?, snapshot, evict };
        let entry = ops::storage::change(&app, proof, request).await?;
        Ok(Outcome::at(at::activity(&project, &entry.activity.id)))
    })
    .await
}

/// Does one thing with a ticket, and leads to it.
#[server(prefix = "/actions", endpoint = "ticket")]
pub async fn act_on_ticket(
    project: ProjectId,
    ticket: TicketId,
    act: TicketAct,
    text: Option<String>,
    form: String,
) -> Result<(), Problem> {
    self::act(&form, |Visit { app, actor, .. }| async move {
        ops::tickets::act(&app, &actor, (&project, &ticket), act, filled(text)).await?;
        Ok(Outcome::at(at::ticket(&project, &ticket)))
    })
    .await
}

/// Queues a restore of what the preflight said, and leads to its activity.
#[server(prefix = "/actions", endpoint = "restore")]
pub async fn restore_snapshot(
    project: ProjectId,
    environment: EnvironmentName,
    snapshot: SnapshotName,
    plan: ShownPlan,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let way = Way::authorize(&app, &actor, &project, &environment, plan.wish()).await?;
        let entry = restores::create(&app, way, plan.request(snapshot)?).await?;
        Ok(Outcome::at(at::activity(&project, &entry.activity.id)))
    })
    .await
}

/// Queues a drill of the newest snapshot, and leads to its activity (R29).
#[server(prefix = "/actions", endpoint = "drill")]
pub async fn run_drill(project: ProjectId, environment: EnvironmentName, form: String) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_environment::<authz::RunDrill>(&actor, &project, &environment).await?;
        let entry = ops::drills::run(&app, proof, None).await?;
        Ok(Outcome::at(at::activity(&project, &entry.activity.id)))
    })
    .await
}

/// Deletes a snapshot, for which a box must be ticked; for three days it can be taken back.
#[server(prefix = "/actions", endpoint = "delete-snapshot")]
pub async fn delete_snapshot(
    project: ProjectId,
    environment: EnvironmentName,
    snapshot: SnapshotName,
    confirmed: Option<String>,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_environment::<authz::DeleteSnapshot>(&actor, &project, &environment).await?;
        if confirmed.as_deref() != Some(snapshot.as_str()) {
            return Err(Error::invalid("Nothing was deleted: tick the box that says so, then try again."));
        }
        ops::retention::delete(&app, proof, &snapshot).await?;
        Ok(Outcome::at(at::retention(&project, &environment)))
    })
    .await
}

#[server(prefix = "/actions", endpoint = "undelete-snapshot")]
pub async fn undelete_snapshot(
    project: ProjectId,
    environment: EnvironmentName,
    snapshot: SnapshotName,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_environment::<authz::DeleteSnapshot>(&actor, &project, &environment).await?;
        ops::retention::undelete(&app, proof, &snapshot).await?;
        Ok(Outcome::at(at::snapshot(&project, &environment, &snapshot)))
    })
    .await
}

/// Pins a snapshot.
#[server(prefix = "/actions", endpoint = "protect-snapshot")]
pub async fn protect_snapshot(
    project: ProjectId,
    environment: EnvironmentName,
    snapshot: SnapshotName,
    note: Option<String>,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_environment::<authz::ProtectSnapshot>(&actor, &project, &environment).await?;
        ops::retention::protect(&app, proof, &snapshot, filled(note)).await?;
        Ok(Outcome::at(at::snapshot(&project, &environment, &snapshot)))
    })
    .await
}

#[server(prefix = "/actions", endpoint = "unprotect-snapshot")]
pub async fn unprotect_snapshot(
    project: ProjectId,
    environment: EnvironmentName,
    snapshot: SnapshotName,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_environment::<authz::ProtectSnapshot>(&actor, &project, &environment).await?;
        ops::retention::unprotect(&app, proof, &snapshot).await?;
        Ok(Outcome::at(at::snapshot(&project, &environment, &snapshot)))
    })
    .await
}

/// Puts the project under another plan: exactly the change that was shown.
#[server(prefix = "/actions", endpoint = "set-plan")]
pub async fn set_plan(project: ProjectId, to: PlanId, hash: String, form: String) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_project::<authz::ChangePlan>(&actor, &project).await?;
        ops::plans::set(&app, proof, &to, Some(&hash)).await?;
        Ok(Outcome::at(at::plan(&project)))
    })
    .await
}

/// Cancels an activity, if it can still be.
#[server(prefix = "/actions", endpoint = "cancel")]
pub async fn cancel_activity(project: ProjectId, activity: ActivityId, form: String) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_activity::<authz::CancelActivity>(&actor, &project, &activity).await?;
        let entry = ops::activities::cancel(&app, proof, &activity).await?;
        Ok(Outcome::at(at::activity(&project, &entry.activity.id)))
    })
    .await
}

/// Adds a schedule, of snapshots or of drills: a preset, or the expression that was written instead.
#[server(prefix = "/actions", endpoint = "add-schedule")]
pub async fn add_schedule(
    project: ProjectId,
    environment: EnvironmentName,
    what: Option<Errand>,
    preset: Option<String>,
    cron: Option<String>,
    time_zone: String,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_environment::<authz::ManageSchedules>(&actor, &project, &environment).await?;
        let cron = filled(cron).or(filled(preset)).unwrap_or_default();
        let request = ScheduleRequest { what: what.unwrap_or_default(), cron, time_zone };
        ops::schedules::add(&app, &proof, &request).await?;
        Ok(Outcome::at(at::schedules(&project, &environment)))
    })
    .await
}

/// Changes when a schedule runs (a preset, or the expression), pauses it (`wish`: `pause`) or resumes it (`resume`).
#[server(prefix = "/actions", endpoint = "change-schedule")]
pub async fn change_schedule(
    project: ProjectId,
    environment: EnvironmentName,
    schedule: ScheduleId,
    preset: Option<String>,
    cron: Option<String>,
    time_zone: Option<String>,
    wish: Option<String>,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_environment::<authz::ManageSchedules>(&actor, &project, &environment).await?;
        let cron = filled(preset).or(cron);
        let wish = filled(wish).map(|wish| if wish == "pause" { Wish::Pause } else { Wish::Resume });
        ops::schedules::edit(&app, &proof, &schedule, &ScheduleEdit { cron, time_zone, wish }).await?;
        Ok(Outcome::at(at::schedules(&project, &environment)))
    })
    .await
}

#[server(prefix = "/actions", endpoint = "remove-schedule")]
pub async fn remove_schedule(
    project: ProjectId,
    environment: EnvironmentName,
    schedule: ScheduleId,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_environment::<authz::ManageSchedules>(&actor, &project, &environment).await?;
        ops::schedules::remove(&app, &proof, &schedule).await?;
        Ok(Outcome::at(at::schedules(&project, &environment)))
    })
    .await
}

/// Makes an API token and shows its text once (R4). `place`, `types` and `acts`: what it is narrowed to; the latter two are
/// what was ticked.
#[server(prefix = "/actions", endpoint = "make-token")]
pub async fn make_token(
    name: String,
    expires_in_days: Option<u32>,
    place: Option<String>,
    types: Option<BTreeMap<String, String>>,
    acts: Option<BTreeMap<String, String>>,
    read_only: Option<String>,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let (types, acts) = (types.unwrap_or_default(), acts.unwrap_or_default());
        let wish = ops::tokens::Narrowing {
            place: place.unwrap_or_default(),
            types: EnvironmentKind::ALL.into_iter().filter(|kind| types.contains_key(kind.as_str())).collect(),
            acts: Act::ALL.into_iter().filter(|act| acts.contains_key(&act.word())).collect(),
            read_only: read_only.is_some(),
        };
        // A word that is not understood would be a bound that is missing.
        if (wish.types.len(), wish.acts.len()) != (types.len(), acts.len()) {
            return Err(Error::invalid("The page is of another version: load it again, then choose again."));
        }
        let grants = ops::tokens::narrowed(&app, &actor, wish).await?;
        let request = ops::tokens::TokenRequest { name, grants, expires_in_days };
        let made = ops::tokens::create(&app, &actor, request).await?;
        let flash = Flash::Token { name: made.entry.name, text: made.text.reveal().to_owned() };
        Ok(Outcome { location: "/tokens".to_owned(), flash: Some(flash) })
    })
    .await
}

#[server(prefix = "/actions", endpoint = "revoke-token")]
pub async fn revoke_token(token: TokenId, form: String) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        ops::tokens::revoke(&app, &actor, &token).await?;
        Ok(Outcome::at("/tokens"))
    })
    .await
}

#[server(prefix = "/actions", endpoint = "log-in")]
pub async fn log_in(email: String, password: Secret, next: Option<String>) -> Result<(), Problem> {
    answer(async {
        let app = visit::application()?;
        let actor = ops::accounts::log_in(&app, visit::place(), email.trim(), &password).await?;
        Visit::begin(&actor).await?;
        let wanted = next.as_deref().and_then(LocalPath::parse).filter(|next| *next != LocalPath::root());
        // Support staff work where they are waited for.
        let home = if actor.me().support { "/support/tickets" } else { "/" };
        Ok(Outcome::at(wanted.as_ref().map_or(home, LocalPath::as_str)))
    })
    .await
}

#[server(prefix = "/actions", endpoint = "log-out")]
pub async fn log_out() -> Result<(), Problem> {
    answer(async {
        Visit::end().await?;
        Ok(Outcome::at("/login"))
    })
    .await
}

/// Keeps the choice of colours; leads back to the page it was made on.
#[server(prefix = "/actions", endpoint = "theme")]
pub async fn set_theme(theme: Theme) -> Result<(), Problem> {
    let cookie = HeaderValue::from_str(&theme.cookie()).ok();
    if let (Some(response), Some(cookie)) = (use_context::<ResponseOptions>(), cookie) {
        response.append_header(SET_COOKIE, cookie);
    }
    Ok(())
}

/// Creates the first admin, with the code that the server printed at its start.
#[server(prefix = "/actions", endpoint = "set-up")]
pub async fn set_up(code: Secret, email: String, password: Secret, repeated: Secret) -> Result<(), Problem> {
    answer(async {
        if password != repeated {
            return Err(Error::invalid("the two passwords are not the same"));
        }
        let app = visit::application()?;
        let actor = ops::accounts::set_up(&app, code.reveal().trim(), email.trim(), &password).await?;
        Visit::begin(&actor).await?;
        Ok(Outcome::at("/"))
    })
    .await
}

/// Does something for whoever is logged in, once for each sending of a form.
async fn act<Work>(form: &str, work: impl FnOnce(Visit) -> Work) -> Result<(), Problem>
where
    Work: Future<Output = Result<Outcome, Error>>,
{
    answer(async {
        let visit = Visit::here().await?;
        let user = visit.actor.user().clone();
        let once = use_context::<Once>().unwrap_or_default();
        once.run(&user, form, work(visit)).await
    })
    .await
}

/// Sends the browser on, or says why not.
async fn answer(work: impl Future<Output = Result<Outcome, Error>>) -> Result<(), Problem> {
    let outcome = work.await.map_err(|error| error.problem())?;
    if let (Some(flash), Some(slot)) = (outcome.flash, use_context::<Slot>()) {
        slot.put(flash);
    }
    leptos_axum::redirect(&outcome.location);
    Ok(())
}

/// Names with commas between.
fn evicted(names: Option<String>) -> Result<Vec<SnapshotName>, Error> {
    Ok(filled(names).iter().flat_map(|names| names.split(',')).map(SnapshotName::parse).collect::<Result<_, _>>()?)
}

fn filled(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

impl FromServerFnError for Problem {
    type Encoder = JsonEncoding;

    fn from_server_fn_error(error: ServerFnErrorErr) -> Self {
        let message = match error {
            ServerFnErrorErr::Args(why) | ServerFnErrorErr::MissingArg(why) => {
                format!("The form can't be read: {why}.")
            }
            other => format!("The form could not be answered: {other}."),
        };
        let hint = Some("Load the page again and send it once more.".to_owned());
        Problem { status: 400, code: "invalid".to_owned(), message, hint }
    }
}
