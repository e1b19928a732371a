//! API tokens (R4): belong to a user, shown once, stored hashed, narrowed, expiring, revocable.

use super::accounts::digest;
use super::{App, Error, audit};
use crate::authz::{Actor, Authority};
use crate::domain::audit::AuditKind;
use crate::domain::policy::{Grants, Refusal};
use crate::domain::time::DAY;
use crate::domain::view::{NewToken, TokenEntry};
use crate::domain::{Secret, TokenId};
use crate::store::{self, tokens};

#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// What it is for; 1 to 100 characters.
    pub name: String,
    pub grants: Grants,
    /// `None`: it does not expire.
    pub expires_in_days: Option<u32>,
}

/// # Errors
/// [`Error::Forbidden`] for an actor that is a token itself.
pub async fn list(app: &App, actor: &Actor) -> Result<Vec<TokenEntry>, Error> {
    person(actor)?;
    let tokens = tokens::by_user(&mut *app.store().read().await?, actor.user()).await?;
    Ok(tokens.into_iter().map(entry).collect())
}

/// # Errors
/// [`Error::Invalid`] for an unusable name; [`Error::Forbidden`] for an actor that is a token itself.
pub async fn create(app: &App, actor: &Actor, request: TokenRequest) -> Result<NewToken, Error> {
    person(actor)?;
    let name = request.name.trim().to_owned();
    if name.is_empty() || name.chars().count() > 100 {
        return Err(Error::Invalid {
            message: "A token needs a name of 1 to 100 characters.".to_owned(),
            hint: Some("Say where it will be used, for example \u{201c}nightly backup on web-1\u{201d}.".to_owned()),
        });
    }
    if request.expires_in_days.is_some_and(|days| days == 0 || days > 3650) {
        return Err(Error::invalid("A token can expire after 1 to 3650 days, or never."));
    }
    let now = app.now().await?;
    let text = Secret::new(format!("stp_{}", hex::encode(rand::random::<[u8; 32]>())));
    let token = tokens::Token {
        id: TokenId::parse(store::random_id())?,
        user: actor.user().clone(),
        name,
        hash: digest(text.reveal()),
        grants: request.grants,
        created_at: now,
        expires_at: request.expires_in_days.map(|days| now.plus(DAY * days)),
        last_used_at: None,
    };
    let mut tx = app.store().write().await?;
    tokens::insert(&mut tx, &token).await?;
    let bounds = if token.grants.read_only { ", read only" } else { "" };
    let about = format!("made the token \u{201c}{}\u{201d}{bounds}", token.name);
    audit::note(&mut tx, app, (actor.initiator(), None), AuditKind::TokenMade, about).await?;
    app.store().commit(tx).await?;
    Ok(NewToken { entry: entry(token), text })
}

/// Ends a token at once, with everything that it was exchanged for.
///
/// # Errors
/// [`Error::NotFound`] when the actor has no such token.
pub async fn revoke(app: &App, actor: &Actor, token: &TokenId) -> Result<(), Error> {
    person(actor)?;
    let now = app.now().await?;
    let mut tx = app.store().write().await?;
    let mine = tokens::by_user(&mut tx, actor.user()).await?;
    let name = mine.into_iter().find(|mine| mine.id == *token).map(|mine| mine.name).ok_or(Error::NotFound("token"))?;
    tokens::revoke(&mut tx, token, actor.user(), now).await?;
    let about = format!("revoked the token \u{201c}{name}\u{201d}");
    audit::note(&mut tx, app, (actor.initiator(), None), AuditKind::TokenRevoked, about).await?;
    Ok(app.store().commit(tx).await?)
}

/// A stolen token must not be able to make itself a successor.
fn person(actor: &Actor) -> Result<(), Error> {
    match actor.authority {
        Authority::Session => Ok(()),
        Authority::Token { .. } | Authority::Ticket { .. } => Err(Error::Forbidden(
            Refusal::new("A token can't manage tokens.").instead("Log in to the console and use the tokens page."),
        )),
    }
}

fn entry(token: tokens::Token) -> TokenEntry {
    TokenEntry {
        id: token.id,
        name: token.name,
        grants: token.grants,
        created_at: token.created_at,
        expires_at: token.expires_at,
        last_used_at: token.last_used_at,
    }
}
