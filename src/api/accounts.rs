//! Accounts, for operators.

use axum::Json;
use axum::extract::State;

use super::extract::{Caller, OfAccount, OfAccountChange, Place};
use super::fault::Fault;
use crate::authz::Need;
use crate::domain::policy::AccountChange;
use crate::ops::{App, Error, people};
use crate::wire::account::Account;

pub async fn list(State(app): State<App>, Caller(actor): Caller) -> Result<Json<Vec<Account>>, Fault> {
    let proof = app.authorize_operator(&actor, Need::Look).await?;
    Ok(Json(people::list(&app, &proof).await?.into_iter().map(Account::from).collect()))
}

pub async fn get(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfAccount>,
) -> Result<Json<Account>, Fault> {
    let proof = app.authorize_operator(&actor, Need::Look).await?;
    Ok(Json(people::one(&app, &proof, &at.account).await?.into()))
}

pub async fn change(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfAccountChange>,
) -> Result<Json<Account>, Fault> {
    let proof = app.authorize_operator(&actor, Need::Change).await?;
    let change: AccountChange = at.change.parse().map_err(|_| Error::NotFound("page"))?;
    let changed = people::change(&app, &proof, &at.account, change).await?;
    Ok(Json(Account { warnings: changed.warnings, ..changed.entry.into() }))
}
