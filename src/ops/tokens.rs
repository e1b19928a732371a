//! API tokens (R4): belong to a user, shown once, stored hashed, narrowed, expiring, revocable.

use std::collections::HashMap;

use super::accounts::digest;
use super::{App, Error, audit, projects};
use crate::authz::{self, Actor, Authority};
use crate::domain::audit::AuditKind;
use crate::domain::environment::EnvironmentKind;
use crate::domain::policy::{Act, Grants, Refusal};
use crate::domain::time::DAY;
use crate::domain::view::{NewToken, TokenEntry, TokenPlace, TokensPage};
use crate::domain::{Secret, TokenId};
use crate::store::{self, Db, tokens};

#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// What it is for; 1 to 100 characters.
    pub name: String,
    pub grants: Grants,
    /// `None`: it does not expire.
    pub expires_in_days: Option<u32>,
}

/// What a person wants a token to be for; the default narrows nothing.
#[derive(Debug, Clone, Default)]
pub struct Narrowing {
    /// A project's id, or that and one of its environments' ids: `shop/0a1b…`. Empty: everything that one may see.
    pub place: String,
    pub types: Vec<EnvironmentKind>,
    /// Beside reading; none: all that one may do.
    pub acts: Vec<Act>,
    pub read_only: bool,
}

/// # Errors
/// [`Error::Forbidden`] for an actor that is a token itself.
pub async fn list(app: &App, actor: &Actor) -> Result<Vec<TokenEntry>, Error> {
    person(actor)?;
    let mut db = app.store().read().await?;
    let mut entries = Vec::new();
    for token in tokens::by_user(&mut db, actor.user()).await? {
        entries.push(entry(&mut db, token).await?);
    }
    Ok(entries)
}

/// # Errors
/// [`Error::Forbidden`] for an actor that is a token itself.
pub async fn page(app: &App, actor: &Actor) -> Result<TokensPage, Error> {
    let tokens = list(app, actor).await?;
    let mut db = app.store().read().await?;
    let mut places = Vec::new();
    for project in store::projects::all(&mut db).await?.into_iter().filter(|project| project.removed_at.is_none()) {
        let standing = authz::standing(&mut db, actor, &project).await?;
        if standing.may_in(Act::ViewProject, &project.id).is_ok() {
            let environments = projects::visible(&mut db, &project, &standing).await?;
            places.push(TokenPlace { project, environments });
        }
    }
    Ok(TokensPage { tokens, places })
}

/// What the token is to be bound to.
///
/// # Errors
/// [`Error::Invalid`] for a place that one does not see, and for what contradicts itself.
pub async fn narrowed(app: &App, actor: &Actor, wish: Narrowing) -> Result<Grants, Error> {
    let Narrowing { place, types, acts, read_only } = wish;
    let mut grants = Grants { types, acts, read_only, ..Grants::default() };
    if grants.read_only && !grants.acts.is_empty() {
        return Err(Error::Invalid {
            message: "A token that may only read is made for nothing beside that.".to_owned(),
            hint: Some("Take the tick from \u{201c}Read only\u{201d}, or from what it may do.".to_owned()),
        });
    }
    let place = place.trim();
    if place.is_empty() {
        return Ok(grants);
    }
    let (project, environment) = place.split_once('/').map_or((place, None), |(project, id)| (project, Some(id)));
    let gone = || Error::invalid("There is no such project or environment that you may see: load the page again.");
    let found = page(app, actor).await?.places.into_iter().find(|place| place.project.id.as_str() == project);
    let found = found.ok_or_else(gone)?;
    if let Some(id) = environment {
        let mut environments = found.environments.into_iter();
        let environment = environments.find(|environment| environment.id.as_str() == id).ok_or_else(gone)?;
        if !grants.types.is_empty() && !grants.types.contains(&environment.kind) {
            let (name, kind) = (&environment.name, environment.kind);
            return Err(Error::Invalid {
                message: format!("The environment {name} is of the type {kind}, which is not ticked."),
                hint: Some(format!("Tick {kind}, or no type.")),
            });
        }
        grants.environments.push(environment.id);
    }
    grants.projects.push(found.project.id);
    Ok(grants)
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
    let entry = entry(&mut tx, token).await?;
    let until = entry.expires_at.map(|at| format!("until {} UTC", at.table()));
    let bounds: String = entry.narrowed.iter().chain(&until).map(|bound| format!("; {bound}")).collect();
    let about = format!("made the token \u{201c}{}\u{201d}{bounds}", entry.name);
    audit::note(&mut tx, app, (actor.initiator(), None), AuditKind::TokenMade, about).await?;
    app.store().commit(tx).await?;
    Ok(NewToken { entry, text })
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

async fn entry(db: &mut Db, token: tokens::Token) -> Result<TokenEntry, Error> {
    let mut names = HashMap::new();
    for id in &token.grants.environments {
        let name = match store::environments::by_id(db, id).await? {
            Some(environment) => format!("the environment {} of {}", environment.name, environment.project),
            None => "an environment that is not there any more".to_owned(),
        };
        names.insert(id.clone(), name);
    }
    Ok(TokenEntry {
        id: token.id,
        name: token.name,
        narrowed: token.grants.in_words(|id| names.get(id).cloned().unwrap_or_default()),
        grants: token.grants,
        created_at: token.created_at,
        expires_at: token.expires_at,
        last_used_at: token.last_used_at,
    })
}
