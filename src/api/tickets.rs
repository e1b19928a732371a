//! Restore tickets: the queue, filing, and what is done with one.

use std::str::FromStr;

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;

use super::backups::restore_request;
use super::extract::{Asked, Caller, InProject, Json, OfBackup, OfTicket, OfTicketAct, Place};
use super::fault::Fault;
use crate::authz::{ViewProject, ViewTicket};
use crate::domain::problem::sentence;
use crate::domain::ticket::{TicketAct, TicketState};
use crate::domain::view::Evidence;
use crate::ops::restores::{Way, Wish};
use crate::ops::tickets::{self, Filter, Whose};
use crate::ops::{App, Error};
use crate::wire::{Ticket, TicketRequest, TicketText};

type Tickets = Result<Reply<Vec<Ticket>>, Fault>;

/// Of every project that one may see.
pub async fn all(State(app): State<App>, Caller(actor): Caller, asked: Asked) -> Tickets {
    let queue = tickets::list(&app, &actor, filter(&asked)?).await?;
    Ok(Reply(queue.entries.into_iter().map(Ticket::from).collect()))
}

pub async fn of_project(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
    asked: Asked,
) -> Tickets {
    app.authorize_project::<ViewProject>(&actor, &at.project).await?;
    let queue = tickets::list(&app, &actor, Filter { project: Some(at.project), ..filter(&asked)? }).await?;
    Ok(Reply(queue.entries.into_iter().map(Ticket::from).collect()))
}

pub async fn file(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfBackup>,
    Json(body): Json<TicketRequest>,
) -> Result<(StatusCode, Reply<Ticket>), Fault> {
    let restore = &body.restore;
    let wish = Wish { target: restore.environment_name.as_deref(), branch_from: restore.branch_from.as_deref() };
    let way = Way::authorize(&app, &actor, &at.project, &at.environment, wish).await?;
    let restore = restore_request(at.backup, body.restore)?;
    let entry = tickets::file(&app, way, tickets::TicketRequest { restore, reason: body.reason }).await?;
    Ok((StatusCode::CREATED, Reply(entry.into())))
}

pub async fn get(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfTicket>,
) -> Result<Reply<Ticket>, Fault> {
    let proof = app.authorize_ticket::<ViewTicket>(&actor, &at.project, &at.ticket).await?;
    Ok(Reply(tickets::page(&app, &proof).await?.into()))
}

pub async fn evidence(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfTicket>,
) -> Result<Reply<Evidence>, Fault> {
    let proof = app.authorize_ticket::<ViewTicket>(&actor, &at.project, &at.ticket).await?;
    Ok(Reply(tickets::evidence(&app, &proof).await?))
}

pub async fn act(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfTicketAct>,
    Json(body): Json<TicketText>,
) -> Result<Reply<Ticket>, Fault> {
    let act = TicketAct::from_str(&format!("ticket.{}", at.act)).map_err(|_| Error::NotFound("page"))?;
    Ok(Reply(tickets::act(&app, &actor, (&at.project, &at.ticket), act, body.text).await?.into()))
}

fn filter(asked: &Asked) -> Result<Filter, Fault> {
    let states: Result<Vec<TicketState>, _> = asked.all("state").map(str::parse).collect();
    let states = states.map_err(|error| Fault::bad_request(sentence(&error.to_string())))?;
    let whose = match asked.last("mine") {
        Some("1" | "true") => Whose::Mine,
        _ => Whose::Anybodys,
    };
    let id = asked.last("id").map(str::parse).transpose().map_err(Error::from)?;
    let project = asked.last("project").map(str::parse).transpose().map_err(Error::from)?;
    let region = asked.last("region").map(str::parse).transpose().map_err(Error::from)?;
    Ok(Filter { id, states, project, region, whose })
}
