//! Members and invitations.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{self, Caller, InProject, OfInvitation, OfMember, Place};
use super::fault::Fault;
use crate::authz::{Actor, ManageMembers, ViewProject};
use crate::domain::policy::Roles;
use crate::domain::problem::sentence;
use crate::domain::{ProjectId, UserId};
use crate::ops::{self, App, Error};
use crate::wire::member::{AccessRequest, Invitation, InvitationRequest, Member, Permission};

pub async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
) -> Result<Json<Vec<Member>>, Fault> {
    let proof = app.authorize_project::<ViewProject>(&actor, &at.project).await?;
    let page = ops::members::page(&app, &proof).await?;
    Ok(Json(page.members.into_iter().map(Member::from).collect()))
}

pub async fn get(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfMember>,
) -> Result<Json<Member>, Fault> {
    Ok(Json(one(&app, &actor, &at.project, &at.user).await?))
}

pub async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfMember>,
    extract::Json(request): extract::Json<AccessRequest>,
) -> Result<Json<Member>, Fault> {
    let proof = app.authorize_project::<ManageMembers>(&actor, &at.project).await?;
    let words: Vec<String> = request.permissions.iter().map(Permission::word).collect();
    ops::members::set(&app, &proof, &at.user, &roles(&words)?).await?;
    Ok(Json(one(&app, &actor, &at.project, &at.user).await?))
}

pub async fn remove(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfMember>,
) -> Result<StatusCode, Fault> {
    let proof = app.authorize_project::<ManageMembers>(&actor, &at.project).await?;
    ops::members::remove(&app, &proof, &at.user).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn invitations(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
) -> Result<Json<Vec<Invitation>>, Fault> {
    let proof = app.authorize_project::<ManageMembers>(&actor, &at.project).await?;
    let open = ops::invitations::list(&app, &proof).await?;
    Ok(Json(open.into_iter().map(Invitation::from).collect()))
}

pub async fn invite(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
    extract::Json(request): extract::Json<InvitationRequest>,
) -> Result<(StatusCode, Json<Invitation>), Fault> {
    let proof = app.authorize_project::<ManageMembers>(&actor, &at.project).await?;
    let made = ops::invitations::create(&app, &proof, &request.email, roles(&request.words())?).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

pub async fn revoke(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfInvitation>,
) -> Result<StatusCode, Fault> {
    let proof = app.authorize_project::<ManageMembers>(&actor, &at.project).await?;
    ops::invitations::revoke(&app, &proof, &at.invitation).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn one(app: &App, actor: &Actor, project: &ProjectId, user: &UserId) -> Result<Member, Error> {
    let proof = app.authorize_project::<ViewProject>(actor, project).await?;
    let mut members = ops::members::page(app, &proof).await?.members.into_iter();
    Ok(members.find(|member| member.user == *user).ok_or(Error::NotFound("member"))?.into())
}

fn roles(words: &[String]) -> Result<Roles, Error> {
    Roles::parse(words.iter().map(String::as_str)).map_err(|error| Error::invalid(sentence(&error.to_string())))
}
