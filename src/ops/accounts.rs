//! People, and how they prove who they are.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::{App, Error, audit};
use crate::authz::{Actor, Authority};
use crate::domain::activity::Initiator;
use crate::domain::audit::AuditKind;
use crate::domain::policy::Refusal;
use crate::domain::{Secret, Timestamp, TokenId, UserId};
use crate::store::users::User;
use crate::store::{self, settings, tokens, users};

const SETUP_CODE: &str = "setup_code";
const SHORTEST_PASSWORD: usize = 12;
const LONGEST_PASSWORD: usize = 1024;
/// Of what an API token is exchanged for.
const ACCESS_TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);
/// A token's "last used" is this exact, so that not every request writes.
const LAST_USED_STEP: Duration = Duration::from_secs(60);
/// The same for a person's "last seen".
const LAST_SEEN_STEP: Duration = Duration::from_secs(5 * 60);

/// No account exists yet: every page leads to the first-run set-up.
///
/// # Errors
/// When the store fails.
pub async fn needs_setup(app: &App) -> Result<bool, Error> {
    Ok(users::count(&mut *app.store().read().await?).await? == 0)
}

/// The code that whoever sets up the first account must know: only the terminal shows it. `None` once there is one.
///
/// # Errors
/// When the store fails.
pub async fn setup_code(app: &App) -> Result<Option<String>, Error> {
    let mut tx = app.store().write().await?;
    if users::count(&mut tx).await? > 0 {
        return Ok(None);
    }
    if let Some(code) = settings::get(&mut tx, SETUP_CODE).await? {
        return Ok(Some(code));
    }
    let code = store::random_id();
    settings::set(&mut tx, SETUP_CODE, &code).await?;
    app.store().commit(tx).await?;
    Ok(Some(code))
}

/// Creates the first account: an operator, so that there is somebody to run the installation.
///
/// # Errors
/// [`Error::Conflict`] when there is an account, [`Error::Invalid`] for a wrong code, address or password.
pub async fn set_up(app: &App, code: &str, email: &str, password: &Secret) -> Result<Actor, Error> {
    let expected = settings::get(&mut *app.store().read().await?, SETUP_CODE).await?;
    if expected.is_none_or(|expected| digest(&expected) != digest(code.trim())) {
        return Err(Error::Invalid {
            message: "This set-up link is not valid.".to_owned(),
            hint: Some("Use the link that the server printed when it started.".to_owned()),
        });
    }
    let user = new_user(app, email, password, Kind::Operator).await?;
    let mut tx = app.store().write().await?;
    if users::count(&mut tx).await? > 0 {
        return Err(Error::Conflict(Refusal::new("The installation is already set up.")));
    }
    users::insert(&mut tx, &user).await?;
    settings::remove(&mut tx, SETUP_CODE).await?;
    let about = format!("set up the installation and the account {}", user.email);
    let actor = actor(user, Authority::Session);
    audit::note(&mut tx, app, (actor.initiator(), None), AuditKind::AccountMade, about).await?;
    app.store().commit(tx).await?;
    Ok(actor)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Runs the installation.
    Operator,
    /// Works restore tickets (R3).
    Support,
    Member,
}

/// Adds an account: for the operator's own command line, which needs no proof because it reads the data directory.
///
/// # Errors
/// [`Error::Invalid`] for an unusable address or password, [`Error::Conflict`] when the address has an account.
pub async fn unchecked_add(app: &App, email: &str, password: &Secret, kind: Kind) -> Result<UserId, Error> {
    let user = new_user(app, email, password, kind).await?;
    let mut tx = app.store().write().await?;
    users::insert(&mut tx, &user).await.map_err(|error| match error {
        store::Error::Taken(_) => {
            Error::Conflict(Refusal::new(format!("There is already an account for {}.", user.email)))
        }
        other => other.into(),
    })?;
    settings::remove(&mut tx, SETUP_CODE).await?;
    let about = format!("made the account {}", user.email);
    audit::note(&mut tx, app, (audit::terminal(), None), AuditKind::AccountMade, about).await?;
    app.store().commit(tx).await?;
    Ok(user.id)
}

/// The account of an address, for the operator's own command line.
///
/// # Errors
/// [`Error::NotFound`] when there is none, [`Error::Conflict`] when it is closed.
pub async fn unchecked_actor(app: &App, email: &str) -> Result<Actor, Error> {
    let user = users::by_email(&mut *app.store().read().await?, &normal(email)).await?;
    let user = user.ok_or(Error::NotFound("account"))?;
    match user.closed_at {
        None => Ok(actor(user, Authority::Session)),
        Some(_) => Err(Error::Conflict(closed(&user.email))),
    }
}

/// Why nothing is made for an account.
pub(super) fn closed(email: &str) -> Refusal {
    Refusal::new(format!("The account {email} is closed.")).instead("An operator can open it again.")
}

/// Whether the account of whoever asked some time ago is still open: for what goes on for long.
///
/// # Errors
/// [`Error::NotLoggedIn`] when it is not.
pub async fn still_open(app: &App, actor: &Actor) -> Result<(), Error> {
    let user = users::open_by_id(&mut *app.store().read().await?, actor.user()).await?;
    user.map(drop).ok_or(Error::NotLoggedIn)
}

/// An address in the form in which it is kept.
///
/// # Errors
/// [`Error::Invalid`]
pub(super) fn address(email: &str) -> Result<String, Error> {
    let email = normal(email);
    let (name, host) = email.split_once('@').unwrap_or_default();
    if name.is_empty() || host.is_empty() || email.len() > 254 || email.contains(char::is_whitespace) {
        return Err(Error::invalid("This is not an e-mail address."));
    }
    Ok(email)
}

/// The hash of a password that can be used.
///
/// # Errors
/// [`Error::Invalid`]
pub(super) async fn new_hash(password: &Secret) -> Result<String, Error> {
    let length = password.reveal().chars().count();
    if length < SHORTEST_PASSWORD || password.reveal().len() > LONGEST_PASSWORD {
        return Err(Error::Invalid {
            message: format!("The password must have at least {SHORTEST_PASSWORD} characters."),
            hint: Some("Four random words are easy to remember and hard to guess.".to_owned()),
        });
    }
    Ok(hash(password.clone()).await)
}

pub(super) async fn new_user(app: &App, email: &str, password: &Secret, kind: Kind) -> Result<User, Error> {
    let email = address(email)?;
    Ok(User {
        id: UserId::parse(store::random_id())?,
        email,
        password_hash: new_hash(password).await?,
        operator: kind == Kind::Operator,
        support: kind == Kind::Support,
        created_at: app.now().await?,
        last_seen_at: None,
        closed_at: None,
    })
}

/// Logs a person in. Takes as long for an address without an account, and says the same. That an account is closed is told
/// to who knows its password.
///
/// # Errors
/// [`Error::WrongCredentials`], [`Error::Forbidden`] for a closed account, or [`Error::TooMany`] after several attempts from one place or at one account.
pub async fn log_in(app: &App, from: IpAddr, email: &str, password: &Secret) -> Result<Actor, Error> {
    let email = normal(email);
    slow_down(app, from, &email)?;
    let user = users::by_email(&mut *app.store().read().await?, &email).await?;
    let stored = user.as_ref().map_or_else(|| NO_ACCOUNT.clone(), |user| user.password_hash.clone());
    let matches = verify(password.clone(), stored).await;
    match user {
        Some(user) if matches && user.closed_at.is_some() => {
            let refusal = Refusal::new("This account is closed.").instead("Ask an operator of this installation.");
            refused_login(app, from, Some(user), refusal.reason.clone());
            Err(Error::Forbidden(refusal))
        }
        Some(user) if matches => {
            let actor = actor(user, Authority::Session).at(Some(from));
            let mut tx = app.store().write().await?;
            users::touch(&mut tx, actor.user(), app.now().await?).await?;
            audit::note(&mut tx, app, (actor.initiator(), None), AuditKind::LoggedIn, "logged in".to_owned()).await?;
            app.store().commit(tx).await?;
            Ok(actor)
        }
        user => {
            refused_login(app, from, user, "The e-mail address or the password was wrong.".to_owned());
            Err(Error::WrongCredentials)
        }
    }
}

/// Records it beside the answer, whose time must not tell whether the account exists. What was typed in place of an
/// address may be a password: it is not kept.
fn refused_login(app: &App, from: IpAddr, user: Option<User>, reason: String) {
    let app = app.clone();
    let name = user.map_or_else(|| "unknown account".to_owned(), |user| user.email);
    let initiator = Initiator { user: None, name, authority: "none".to_owned(), address: Some(from) };
    tokio::spawn(async move {
        let noted =
            audit::note_refused(&app, (initiator, None, None), AuditKind::LoggedIn, "log in".to_owned(), reason);
        if let Err(error) = noted.await {
            tracing::warn!(%error, "a refused login could not be recorded");
        }
    });
}

/// # Errors
/// [`Error::TooMany`] after several attempts from one place or at one account.
pub(super) fn slow_down(app: &App, from: IpAddr, email: &str) -> Result<(), Error> {
    app.0.throttle.check(from, email)
}

/// The actor of a session.
///
/// # Errors
/// [`Error::NotLoggedIn`] when the account is gone or closed.
pub async fn actor_of_session(app: &App, user: &UserId) -> Result<Actor, Error> {
    let user = users::open_by_id(&mut *app.store().read().await?, user).await?.ok_or(Error::NotLoggedIn)?;
    let now = app.now().await?;
    if user.last_seen_at.is_none_or(|seen| now.since(seen) >= LAST_SEEN_STEP) {
        let mut tx = app.store().write().await?;
        users::touch(&mut tx, &user.id, now).await?;
        tx.commit().await.map_err(store::Error::from)?;
    }
    Ok(actor(user, Authority::Session))
}

/// The actor of an API token, or of an access token that one was exchanged for.
///
/// # Errors
/// [`Error::NotLoggedIn`] for unknown, expired and revoked ones alike.
pub async fn actor_of_bearer(app: &App, text: &Secret) -> Result<Actor, Error> {
    let now = app.now().await?;
    let mut db = app.store().read().await?;
    let token = match text.reveal().strip_prefix(ACCESS_PREFIX) {
        Some(sealed) => {
            let access: Access = app.store().sealer().open(ACCESS_CONTEXT, sealed).map_err(|_| Error::NotLoggedIn)?;
            if access.expires_at <= now {
                return Err(Error::NotLoggedIn);
            }
            tokens::by_id(&mut db, &access.token, now).await?
        }
        None => tokens::by_hash(&mut db, &digest(text.reveal()), now).await?,
    };
    let token = token.ok_or(Error::NotLoggedIn)?;
    let user = users::open_by_id(&mut db, &token.user).await?.ok_or(Error::NotLoggedIn)?;
    drop(db);
    if token.last_used_at.is_none_or(|used| now.since(used) >= LAST_USED_STEP) {
        let mut tx = app.store().write().await?;
        tokens::touch(&mut tx, &token.id, now).await?;
        users::touch(&mut tx, &user.id, now).await?;
        tx.commit().await.map_err(store::Error::from)?;
    }
    Ok(actor(user, Authority::Token { id: token.id, name: token.name, grants: token.grants }))
}

/// What an API token is exchanged for, as clients of U do.
#[derive(Debug)]
pub struct AccessToken {
    pub text: Secret,
    pub expires_in_s: u64,
}

#[derive(Serialize, Deserialize)]
struct Access {
    token: TokenId,
    expires_at: Timestamp,
}

const ACCESS_PREFIX: &str = "sta_";
const ACCESS_CONTEXT: &str = "access-token";

/// # Errors
/// [`Error::NotLoggedIn`] when the API token is not valid.
pub async fn exchange(app: &App, text: &Secret) -> Result<AccessToken, Error> {
    let actor = actor_of_bearer(app, text).await?;
    let Authority::Token { id, .. } = actor.authority else { return Err(Error::NotLoggedIn) };
    let access = Access { token: id, expires_at: app.now().await?.plus(ACCESS_TOKEN_LIFE) };
    let sealed = app.store().sealer().seal(ACCESS_CONTEXT, &access);
    Ok(AccessToken { text: Secret::new(format!("{ACCESS_PREFIX}{sealed}")), expires_in_s: ACCESS_TOKEN_LIFE.as_secs() })
}

pub(super) fn actor(user: User, authority: Authority) -> Actor {
    Actor { user: user.id, email: user.email, operator: user.operator, support: user.support, authority, address: None }
}

pub(super) fn normal(email: &str) -> String {
    email.trim().to_lowercase()
}

/// SHA-256, hexadecimal: for random texts of full length, and for comparing without telling by time.
pub(super) fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// Argon2id takes 19 MiB each time: at most two at once, so that logins can't fill the memory.
static HASHING: Semaphore = Semaphore::const_new(2);

/// A hash that no password has, for addresses without an account.
static NO_ACCOUNT: LazyLock<String> = LazyLock::new(|| hash_now(store::random_id().as_bytes()));

fn hash_now(password: &[u8]) -> String {
    let salt = SaltString::generate(&mut OsRng);
    Argon2::default().hash_password(password, &salt).expect("the default parameters are valid").to_string()
}

async fn hash(password: Secret) -> String {
    let _permit = HASHING.acquire().await.expect("the semaphore is never closed");
    tokio::task::spawn_blocking(move || hash_now(password.reveal().as_bytes())).await.expect("hashing does not panic")
}

pub(super) async fn verify(password: Secret, stored: String) -> bool {
    if password.reveal().len() > LONGEST_PASSWORD {
        return false;
    }
    let _permit = HASHING.acquire().await.expect("the semaphore is never closed");
    let verified = tokio::task::spawn_blocking(move || {
        PasswordHash::new(&stored)
            .is_ok_and(|stored| Argon2::default().verify_password(password.reveal().as_bytes(), &stored).is_ok())
    });
    verified.await.unwrap_or(false)
}

/// Slows guessing down, from one place and at one account.
pub(super) struct Throttle {
    places: DefaultKeyedRateLimiter<IpAddr>,
    accounts: DefaultKeyedRateLimiter<String>,
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Throttle")
    }
}

const fn per_minute(attempts: u32) -> Quota {
    match NonZeroU32::new(attempts) {
        Some(attempts) => Quota::per_minute(attempts),
        None => panic!("at least one attempt"),
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self { places: RateLimiter::keyed(per_minute(30)), accounts: RateLimiter::keyed(per_minute(10)) }
    }
}

impl Throttle {
    fn check(&self, from: IpAddr, email: &str) -> Result<(), Error> {
        const MANY: usize = 10_000;
        if self.places.len() + self.accounts.len() > MANY {
            self.places.retain_recent();
            self.accounts.retain_recent();
        }
        let too_many = || Error::TooMany { retry_after_s: 60 };
        self.places.check_key(&from).map_err(|_| too_many())?;
        self.accounts.check_key(&digest(email)).map_err(|_| too_many())
    }
}
