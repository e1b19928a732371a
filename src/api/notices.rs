//! Notices: where they go, a trial, and what became of them.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{Caller, InProject, Json, OfChannel, Place};
use super::fault::Fault;
use crate::authz::ManageNotices;
use crate::domain::notice::{Notice, Way};
use crate::ops::notices::NewSecret;
use crate::ops::{App, notices};
use crate::wire::notice::{Channel, ChannelEdit, ChannelRequest, Delivery};

pub async fn channels(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
) -> Result<Reply<Vec<Channel>>, Fault> {
    let proof = app.authorize_project::<ManageNotices>(&actor, &at.project).await?;
    let page = notices::page(&app, &proof).await?;
    Ok(Reply(page.channels.into_iter().map(|entry| entry.channel.into()).collect()))
}

pub async fn add(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
    Json(body): Json<ChannelRequest>,
) -> Result<(StatusCode, Reply<Channel>), Fault> {
    let proof = app.authorize_project::<ManageNotices>(&actor, &at.project).await?;
    let request = notices::ChannelRequest {
        way: body.way.unwrap_or(Way::Webhook),
        address: body.address,
        notices: body.notices.unwrap_or_else(|| Notice::ALL.to_vec()),
    };
    let made = notices::add(&app, &proof, request).await?;
    let secret = made.secret.map(|secret| secret.reveal().to_owned());
    Ok((StatusCode::CREATED, Reply(Channel { secret, ..made.channel.into() })))
}

pub async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfChannel>,
    Json(body): Json<ChannelEdit>,
) -> Result<Reply<Channel>, Fault> {
    let proof = app.authorize_project::<ManageNotices>(&actor, &at.project).await?;
    let made = body.renew_secret.then_some(NewSecret::Made);
    let secret = body.secret.map(NewSecret::Given).or(made);
    let edit = notices::ChannelEdit { address: body.address, notices: body.notices, secret };
    let changed = notices::update(&app, &proof, &at.channel, edit).await?;
    let secret = changed.secret.map(|secret| secret.reveal().to_owned());
    Ok(Reply(Channel { secret, ..changed.channel.into() }))
}

pub async fn remove(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfChannel>,
) -> Result<StatusCode, Fault> {
    let proof = app.authorize_project::<ManageNotices>(&actor, &at.project).await?;
    notices::remove(&app, &proof, &at.channel).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn try_out(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfChannel>,
) -> Result<(StatusCode, Reply<Option<Delivery>>), Fault> {
    let proof = app.authorize_project::<ManageNotices>(&actor, &at.project).await?;
    let delivery = notices::try_out(&app, &proof, &at.channel).await?;
    Ok((StatusCode::ACCEPTED, Reply(Delivery::of_channel(delivery))))
}

pub async fn deliveries(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
) -> Result<Reply<Vec<Delivery>>, Fault> {
    let proof = app.authorize_project::<ManageNotices>(&actor, &at.project).await?;
    Ok(Reply(notices::deliveries(&app, &proof).await?.into_iter().filter_map(Delivery::of_channel).collect()))
}
