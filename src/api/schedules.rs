//! Schedules.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{Caller, InEnvironment, Json, OfSchedule, Place};
use super::fault::Fault;
use crate::authz::{ManageSchedules, ViewHistory};
use crate::domain::schedule::ScheduleState;
use crate::ops::schedules::{ScheduleEdit, Wish};
use crate::ops::{self, App};
use crate::wire::{Schedule, ScheduleRequest};

pub async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InEnvironment>,
) -> Result<Reply<Vec<Schedule>>, Fault> {
    let proof = app.authorize_environment::<ViewHistory>(&actor, &at.project, &at.environment).await?;
    let page = ops::schedules::page(&app, &proof).await?;
    let all = page.schedules.into_iter().chain(page.drills);
    Ok(Reply(all.map(|entry| Schedule::new(entry, &page.environment)).collect()))
}

pub async fn get(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfSchedule>,
) -> Result<Reply<Schedule>, Fault> {
    let proof = app.authorize_environment::<ViewHistory>(&actor, &at.project, &at.environment).await?;
    let entry = ops::schedules::one(&app, &proof, &at.schedule).await?;
    Ok(Reply(Schedule::new(entry, &proof.on().environment)))
}

pub async fn add(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InEnvironment>,
    Json(body): Json<ScheduleRequest>,
) -> Result<(StatusCode, Reply<Schedule>), Fault> {
    let proof = app.authorize_environment::<ManageSchedules>(&actor, &at.project, &at.environment).await?;
    let cron = body.cron.ok_or_else(|| Fault::bad_request("Give `cron`, e.g. {\"cron\": \"0 3 * * *\"}."))?;
    let time_zone = body.time_zone.unwrap_or_else(|| "UTC".to_owned());
    let request = ops::schedules::ScheduleRequest { what: body.what.unwrap_or_default(), cron, time_zone };
    let entry = ops::schedules::add(&app, &proof, &request).await?;
    Ok((StatusCode::CREATED, Reply(Schedule::new(entry, &proof.on().environment))))
}

pub async fn edit(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfSchedule>,
    Json(body): Json<ScheduleRequest>,
) -> Result<Reply<Schedule>, Fault> {
    let proof = app.authorize_environment::<ManageSchedules>(&actor, &at.project, &at.environment).await?;
    let edit = ScheduleEdit { cron: body.cron, time_zone: body.time_zone, wish: body.state.map(wish).transpose()? };
    let entry = ops::schedules::edit(&app, &proof, &at.schedule, &edit).await?;
    Ok(Reply(Schedule::new(entry, &proof.on().environment)))
}

pub async fn remove(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfSchedule>,
) -> Result<StatusCode, Fault> {
    let proof = app.authorize_environment::<ManageSchedules>(&actor, &at.project, &at.environment).await?;
    ops::schedules::remove(&app, &proof, &at.schedule).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn wish(state: ScheduleState) -> Result<Wish, Fault> {
    match state {
        ScheduleState::Active => Ok(Wish::Resume),
        ScheduleState::Paused => Ok(Wish::Pause),
        ScheduleState::Stopped => Err(Fault::bad_request("A schedule can be made `paused` or `active`.")),
    }
}
