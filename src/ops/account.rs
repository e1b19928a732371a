//! One's own account: password and sessions; and the way back in when the password is lost.

use std::net::IpAddr;
use std::time::Duration;

use super::accounts::{self, digest, verify};
use super::{App, Error, audit};
use crate::authz::{Actor, Authority, Operator};
use crate::domain::activity::Initiator;
use crate::domain::audit::AuditKind;
use crate::domain::policy::Refusal;
use crate::domain::time::DAY;
use crate::domain::view::{AccountPage, SessionEntry};
use crate::domain::{Secret, UserId};
use crate::store::users::User;
use crate::store::{clock, members, projects, resets, sessions, tokens, users};

/// How long a link that sets a password works.
const LIFE: Duration = DAY;

/// `session`: the id of the one that asks.
///
/// # Errors
/// [`Error::Forbidden`] for an actor that is a token.
pub async fn page(app: &App, actor: &Actor, session: &str) -> Result<AccountPage, Error> {
    person(actor)?;
    let mut db = app.store().read().await?;
    let now = clock::now(&mut db, app.store().dialect()).await?;
    let user = users::by_id(&mut db, actor.user()).await?.ok_or(Error::NotLoggedIn)?;
    let mut joined = Vec::new();
    for project in projects::all(&mut db).await? {
        let roles = members::roles(&mut db, &project.id, actor.user()).await?;
        if !roles.words().is_empty() {
            joined.push((project, roles));
        }
    }
    let open = sessions::by_user(&mut db, actor.user(), now).await?.into_iter();
    let open =
        open.map(|(id, owner)| SessionEntry { since: owner.since, address: owner.address, is_this: id == session });
    Ok(AccountPage {
        me: actor.me(),
        created_at: user.created_at,
        sessions: open.collect(),
        tokens: tokens::by_user(&mut db, actor.user()).await?.len() as u64,
        projects: joined,
    })
}

/// Sets another password, for who knows the present one. All other sessions end; tokens stay, they have lives of their
/// own.
///
/// # Errors
/// [`Error::Invalid`] when the present one is wrong or the new one can't be used, [`Error::TooMany`] after several
/// attempts.
pub async fn change_password(
    app: &App,
    actor: &Actor,
    session: &str,
    (present, new): (&Secret, &Secret),
) -> Result<(), Error> {
    person(actor)?;
    accounts::slow_down(app, here(actor), &actor.email)?;
    let user = users::open_by_id(&mut *app.store().read().await?, actor.user()).await?.ok_or(Error::NotLoggedIn)?;
    if !verify(present.clone(), user.password_hash).await {
        let reason = "The present password was wrong.".to_owned();
        let about = "set a new password".to_owned();
        audit::note_refused(app, (actor.initiator(), None, None), AuditKind::PasswordChanged, about, reason).await?;
        return Err(Error::Invalid {
            message: "The present password is not right.".to_owned(),
            hint: Some("If it is lost, an operator can make a link that sets a new one.".to_owned()),
        });
    }
    if present == new {
        return Err(Error::invalid("The new password is the present one."));
    }
    let hash = accounts::new_hash(new).await?;
    let mut tx = app.store().write().await?;
    users::set_password(&mut tx, actor.user(), &hash).await?;
    resets::forget(&mut tx, actor.user()).await?;
    let ended = sessions::end_others(&mut tx, actor.user(), session).await?;
    let about = format!("set a new password; other sessions that ended: {ended}");
    audit::note(&mut tx, app, (actor.initiator(), None), AuditKind::PasswordChanged, about).await?;
    Ok(app.store().commit(tx).await?)
}

/// Ends all other sessions; gives how many.
///
/// # Errors
/// [`Error::Forbidden`] for an actor that is a token.
pub async fn end_other_sessions(app: &App, actor: &Actor, session: &str) -> Result<u64, Error> {
    person(actor)?;
    let mut tx = app.store().write().await?;
    let ended = sessions::end_others(&mut tx, actor.user(), session).await?;
    let about = format!("ended all other sessions: {ended}");
    audit::note(&mut tx, app, (actor.initiator(), None), AuditKind::SessionsEnded, about).await?;
    app.store().commit(tx).await?;
    Ok(ended)
}

/// Makes a link that sets an account's password once, within a day. Gives address and secret; a former link ends.
///
/// # Errors
/// [`Error::NotFound`] when there is no such account, [`Error::Conflict`] when it is closed.
pub async fn reset_link(app: &App, proof: &Operator, user: &UserId) -> Result<(String, Secret), Error> {
    let user = users::by_id(&mut *app.store().read().await?, user).await?.ok_or(Error::NotFound("account"))?;
    make_link(app, proof.actor().initiator(), user).await
}

/// The same for the operator's own command line, which needs no proof because it reads the data directory.
///
/// # Errors
/// [`Error::NotFound`] when there is no such account, [`Error::Conflict`] when it is closed.
pub async fn unchecked_reset_link(app: &App, email: &str) -> Result<(String, Secret), Error> {
    let user = users::by_email(&mut *app.store().read().await?, &accounts::normal(email)).await?;
    make_link(app, audit::terminal(), user.ok_or(Error::NotFound("account"))?).await
}

async fn make_link(app: &App, by: Initiator, user: User) -> Result<(String, Secret), Error> {
    if user.closed_at.is_some() {
        return Err(Error::Conflict(accounts::closed(&user.email)));
    }
    let code = Secret::new(format!("str_{}", hex::encode(rand::random::<[u8; 32]>())));
    let mut tx = app.store().write().await?;
    let now = clock::now(&mut tx, app.store().dialect()).await?;
    resets::put(&mut tx, &user.id, &digest(code.reveal()), now.plus(LIFE)).await?;
    let about = format!("made a link that sets the password of {}", user.email);
    audit::note(&mut tx, app, (by, None), AuditKind::ResetLinkMade, about).await?;
    app.store().commit(tx).await?;
    Ok((user.email, code))
}

/// Whose password a link sets.
///
/// # Errors
/// [`Error::Conflict`] when it leads nowhere.
pub async fn look(app: &App, code: &Secret) -> Result<String, Error> {
    Ok(owner(app, code).await?.email)
}

/// Sets the password by the link, which has done its work then. All the account's sessions end.
///
/// # Errors
/// [`Error::Conflict`] when the link leads nowhere, [`Error::Invalid`] for a password that can't be used.
pub async fn reset(app: &App, from: IpAddr, code: &Secret, new: &Secret) -> Result<(), Error> {
    let user = owner(app, code).await?;
    accounts::slow_down(app, from, &user.email)?;
    let hash = accounts::new_hash(new).await?;
    let mut tx = app.store().write().await?;
    if !resets::take(&mut tx, &digest(code.reveal().trim())).await? {
        return Err(leads_nowhere());
    }
    users::set_password(&mut tx, &user.id, &hash).await?;
    let ended = sessions::end_others(&mut tx, &user.id, "").await?;
    let by = accounts::actor(user, Authority::Session).at(Some(from)).initiator();
    let by = Initiator { authority: "link".to_owned(), ..by };
    let about = format!("set a new password by a link; sessions that ended: {ended}");
    audit::note(&mut tx, app, (by, None), AuditKind::PasswordChanged, about).await?;
    Ok(app.store().commit(tx).await?)
}

async fn owner(app: &App, code: &Secret) -> Result<User, Error> {
    let mut db = app.store().read().await?;
    let now = clock::now(&mut db, app.store().dialect()).await?;
    let id = resets::user(&mut db, &digest(code.reveal().trim()), now).await?.ok_or_else(leads_nowhere)?;
    users::open_by_id(&mut db, &id).await?.ok_or_else(leads_nowhere)
}

fn leads_nowhere() -> Error {
    let refusal = Refusal::new("This link is not valid: it works once, for a day, and until a newer one is made.");
    Error::Conflict(refusal.instead("Ask an operator of this installation for a new one."))
}

fn here(actor: &Actor) -> IpAddr {
    actor.address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}

/// A token must not be able to lock its owner out.
fn person(actor: &Actor) -> Result<(), Error> {
    match actor.authority {
        Authority::Session => Ok(()),
        // Never that of somebody who asks here: it lends a requester's role to the run of a ticket.
        Authority::Ticket { .. } | Authority::Token { .. } => {
            let refusal = Refusal::new("A token can't manage its owner's account.");
            Err(Error::Forbidden(refusal.instead("Log in to the console and use the account page.")))
        }
    }
}
