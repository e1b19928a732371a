//! Who is looking: from the request that is being answered to an [`Actor`], or a refusal.
//!
//! **Invariant:** pages, server functions and event streams get the application only through a [`Visit`], so that none
//! of them answers somebody who is not logged in.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use http::HeaderName;
use http::header::{HOST, ORIGIN};
use http::request::Parts;
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
use tower_sessions::Session;

use crate::authz::Actor;
use crate::domain::{Client, Timestamp, UserId};
use crate::ops::{self, Error};

/// What stands in a session's data.
pub mod keys {
    /// Id of the user who logged in.
    pub const USER: &str = "user";
    /// When they did, microseconds.
    pub const SINCE: &str = "since";
    /// From where.
    pub const FROM: &str = "from";
}

use keys::{FROM, SINCE, USER};

/// A logged-in request.
#[derive(Debug, Clone)]
pub struct Visit {
    pub app: ops::App,
    pub actor: Actor,
    /// The session's id: tells which is this one among a person's sessions.
    pub session: String,
}

impl Visit {
    /// Of the request that leptos is answering.
    ///
    /// # Errors
    /// [`Error::NotLoggedIn`]
    pub async fn here() -> Result<Self, Error> {
        Self::of(application()?, &session().await?, remote_address()).await
    }

    /// # Errors
    /// [`Error::NotLoggedIn`]
    pub async fn of(app: ops::App, session: &Session, from: Option<IpAddr>) -> Result<Self, Error> {
        let user: Option<UserId> = session.get(USER).await.map_err(session_failed)?;
        let user = user.ok_or(Error::NotLoggedIn)?;
        let actor = ops::accounts::actor_of_session(&app, &user).await?.at(from);
        let session = session.id().map(|id| id.to_string()).unwrap_or_default();
        Ok(Self { app, actor, session })
    }

    /// Remembers who logged in, under a new session id, so that an id that was planted before is worth nothing.
    ///
    /// # Errors
    /// When the session can't be stored.
    pub async fn begin(actor: &Actor) -> Result<(), Error> {
        let session = session().await?;
        session.cycle_id().await.map_err(session_failed)?;
        session.insert(SINCE, Timestamp::now().as_micros()).await.map_err(session_failed)?;
        if let Some(from) = remote_address() {
            session.insert(FROM, from.to_string()).await.map_err(session_failed)?;
        }
        session.insert(USER, actor.user()).await.map_err(session_failed)
    }

    /// Forgets the session, here and in the store.
    ///
    /// # Errors
    /// When the session can't be deleted.
    pub async fn end() -> Result<(), Error> {
        session().await?.flush().await.map_err(session_failed)
    }
}

/// The application, for the few things that somebody may do who is not logged in: set up, log in.
///
/// # Errors
/// Only when the router did not provide it, which is a fault of ours.
pub fn application() -> Result<ops::App, Error> {
    use_context::<ops::App>().ok_or_else(|| unexpected("the router provided no application", "no context"))
}

async fn session() -> Result<Session, Error> {
    leptos_axum::extract::<Session>().await.map_err(|error| unexpected("the request has no session", error.to_string()))
}

/// Where a request comes from, proxies left out: put into it before it gets here.
pub fn remote_address() -> Option<IpAddr> {
    let client = use_context::<Parts>().and_then(|parts| parts.extensions.get::<Client>().copied());
    client.map(|Client(address)| address)
}

/// The same for slowing down guesses, where there must be one.
pub fn place() -> IpAddr {
    remote_address().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// Address under which the browser reaches the console, for links that are handed on: by its own word, which
/// `security::same_origin` has compared with the host.
pub fn origin() -> String {
    let parts = use_context::<Parts>();
    let header = |name: HeaderName| {
        parts.as_ref().and_then(|parts| parts.headers.get(&name)).and_then(|value| value.to_str().ok())
    };
    let host = header(HOST).unwrap_or("localhost");
    // Behind a proxy that names another host, the browser's own word on whose page it shows is what counts.
    let is_ours = header(HeaderName::from_static("sec-fetch-site")) == Some("same-origin");
    let of_host = |origin: &&str| is_ours || origin.split_once("://").is_some_and(|(_, authority)| authority == host);
    header(ORIGIN).filter(of_host).map_or_else(|| format!("http://{host}"), str::to_owned)
}

/// A parameter of the page's address; what can't be such an id can't exist either.
///
/// # Errors
/// [`Error::NotFound`]
pub fn param<T: FromStr>(name: &'static str) -> Result<T, Error> {
    let text = use_params_map().read_untracked().get(name);
    text.and_then(|text| text.parse().ok()).ok_or(Error::NotFound("page"))
}

/// A value of the page's query.
pub fn query(name: &str) -> Option<String> {
    queries(name).into_iter().next()
}

/// All values that a name has in the page's query.
pub fn queries(name: &str) -> Vec<String> {
    let parts = use_context::<Parts>();
    let query = parts.as_ref().and_then(|parts| parts.uri.query()).unwrap_or_default();
    let pairs = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    pairs.map(|(_, value)| value.into_owned()).collect()
}

/// Path and query of the request.
pub fn here() -> String {
    use_context::<Parts>()
        .and_then(|parts| parts.uri.path_and_query().map(|path| path.as_str().to_owned()))
        .unwrap_or_else(|| "/".to_owned())
}

fn session_failed(error: tower_sessions::session::Error) -> Error {
    unexpected("the session store failed", error)
}

fn unexpected(what: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Io { what: what.to_owned(), source: std::io::Error::other(source) }
}
