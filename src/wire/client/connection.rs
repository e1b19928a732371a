//! How the client speaks: the address, the token that is exchanged, what is tried again, and what is no answer of ours.
//!
//! **Invariant:** nothing but a `GET` is ever sent twice after a broken connection: an operation that may have been
//! stored is not asked for again.

use std::cell::RefCell;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use super::super::token::{TokenReply, TokenRequest};
use super::super::{BASE, Problem, VERSION, VERSION_HEADER};
use super::Error;
use crate::domain::Secret;

const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence of a server that answers a request.
const READ: Duration = Duration::from_secs(60);
/// Longest silence of a log that is followed; then the connection is made anew.
const LOG_READ: Duration = Duration::from_secs(600);
/// Pauses before a `GET` is tried again.
pub(super) const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];
/// No reply is larger, bytes.
const LARGEST: u64 = 64 << 20;

pub(super) type Pairs = Vec<(&'static str, String)>;

#[derive(Debug)]
pub(super) struct Connection {
    agent: Agent,
    base: String,
    token: Secret,
    /// What the token was exchanged for.
    access: RefCell<Option<Secret>>,
}

impl Connection {
    /// To the API of the console at `address`; nothing is sent yet.
    pub(super) fn to(address: &str, token: Secret) -> Result<Self, Error> {
        let base = base(address).ok_or_else(|| Error::Address(address.to_owned()))?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(READ))
            .user_agent(concat!("stillpoint/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.into(), base, token, access: RefCell::new(None) })
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str, pairs: &[(&'static str, String)]) -> Result<T, Error> {
        let url = self.url(path);
        let reply = self.retrying(|| self.send_get(&url, pairs, READ))?;
        read(&url, reply)
    }

    /// A reply as it is.
    pub(super) fn text(&self, path: &str, pairs: &[(&'static str, String)]) -> Result<String, Error> {
        let url = self.url(path);
        let mut reply = self.retrying(|| self.send_get(&url, pairs, READ))?;
        text(&url, &mut reply)
    }

    /// A reply that may take hours to come to its end.
    pub(super) fn stream(&self, path: &str, pairs: &[(&'static str, String)]) -> Result<Response<Body>, Error> {
        let url = self.url(path);
        self.retrying(|| self.send_get(&url, pairs, LOG_READ))
    }

    /// As [`Connection::stream`], but asked for once: each time something is read for it.
    pub(super) fn download(&self, path: &str, pairs: &[(&'static str, String)]) -> Result<Response<Body>, Error> {
        self.send_get(&self.url(path), pairs, LOG_READ)
    }

    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        let url = self.url(path);
        let reply = self.authenticated(|bearer| {
            self.agent.post(&url).header("authorization", bearer).header(VERSION_HEADER, VERSION).send_json(body)
        })?;
        read(&url, reply)
    }

    pub(super) fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        let url = self.url(path);
        let reply = self.authenticated(|bearer| {
            self.agent.patch(&url).header("authorization", bearer).header(VERSION_HEADER, VERSION).send_json(body)
        })?;
        read(&url, reply)
    }

    /// What answers with something.
    pub(super) fn delete_and_read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let url = self.url(path);
        let reply = self.authenticated(|bearer| {
            self.agent.delete(&url).header("authorization", bearer).header(VERSION_HEADER, VERSION).call()
        })?;
        read(&url, reply)
    }

    /// What answers with nothing.
    pub(super) fn delete(&self, path: &str) -> Result<(), Error> {
        let url = self.url(path);
        let reply = self.authenticated(|bearer| {
            self.agent.delete(&url).header("authorization", bearer).header(VERSION_HEADER, VERSION).call()
        });
        reply.map(drop)
    }

    /// A part of a reply.
    pub(super) fn parse<T: DeserializeOwned>(&self, path: &str, text: &str) -> Result<T, Error> {
        serde_json::from_str(text).map_err(|_| self.unexpected(path, 200))
    }

    pub(super) fn unexpected(&self, path: &str, status: u16) -> Error {
        Error::Unexpected { url: self.url(path), status }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn send_get(
        &self,
        url: &str,
        pairs: &[(&'static str, String)],
        silence: Duration,
    ) -> Result<Response<Body>, Error> {
        self.authenticated(|bearer| {
            let request = self.agent.get(url).header("authorization", bearer).header(VERSION_HEADER, VERSION);
            let request = request.query_pairs(pairs.iter().map(|(key, value)| (*key, value.as_str())));
            request.config().timeout_per_read(Some(silence)).build().call()
        })
    }

    fn retrying<T>(&self, send: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        for pause in PAUSES {
            match send() {
                Err(Error::Connection { .. }) => thread::sleep(pause),
                answer => return answer,
            }
        }
        send()
    }

    /// Sends with the access token; when it has run out, exchanges anew and sends once more: a 401 has done nothing.
    fn authenticated(
        &self,
        send: impl Fn(&str) -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, Error> {
        let kept = self.access.borrow().clone();
        if let Some(access) = kept {
            let reply = send(&bearer(&access)).map_err(|error| self.unreachable(error))?;
            if reply.status().as_u16() != 401 {
                return checked(&self.base, reply);
            }
        }
        let access = self.exchange()?;
        let reply = send(&bearer(&access)).map_err(|error| self.unreachable(error))?;
        self.access.replace(Some(access));
        checked(&self.base, reply)
    }

    fn exchange(&self) -> Result<Secret, Error> {
        let url = self.url("/oauth2/token");
        let form = [("grant_type", TokenRequest::GRANT), ("api_token", self.token.reveal())];
        let reply = self.agent.post(&url).header(VERSION_HEADER, VERSION).send_form(form);
        let reply = checked(&url, reply.map_err(|error| self.unreachable(error))?)?;
        Ok(read::<TokenReply>(&url, reply)?.access_token)
    }

    fn unreachable(&self, error: ureq::Error) -> Error {
        Error::Connection { base: self.base.clone(), source: Box::new(error) }
    }
}

fn bearer(access: &Secret) -> String {
    format!("Bearer {}", access.reveal())
}

/// A refusal becomes the [`Problem`] that it carries.
fn checked(url: &str, mut reply: Response<Body>) -> Result<Response<Body>, Error> {
    if reply.status().is_success() {
        return Ok(reply);
    }
    let status = reply.status().as_u16();
    let problem = serde_json::from_str::<Problem>(&text(url, &mut reply)?);
    Err(problem.map_or_else(|_| Error::Unexpected { url: url.to_owned(), status }, Error::Problem))
}

fn read<T: DeserializeOwned>(url: &str, mut reply: Response<Body>) -> Result<T, Error> {
    let status = reply.status().as_u16();
    let text = text(url, &mut reply)?;
    serde_json::from_str(&text).map_err(|_| Error::Unexpected { url: url.to_owned(), status })
}

fn text(url: &str, reply: &mut Response<Body>) -> Result<String, Error> {
    let read = reply.body_mut().with_config().limit(LARGEST).read_to_string();
    read.map_err(|source| Error::Connection { base: url.to_owned(), source: Box::new(source) })
}

/// The API's address for what a person gave.
fn base(address: &str) -> Option<String> {
    let address = address.trim().trim_end_matches('/');
    let host = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://"))?;
    let usable = !host.is_empty() && !host.contains(['?', '#', ' ']) && address.parse::<Uri>().is_ok();
    let base = if address.ends_with(BASE) { address.to_owned() } else { format!("{address}{BASE}") };
    usable.then_some(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_may_be_the_consoles_or_the_apis() {
        for address in [
            "http://127.0.0.1:4180",
            "http://127.0.0.1:4180/",
            "http://127.0.0.1:4180/api",
            " http://127.0.0.1:4180/api/ ",
        ] {
            assert_eq!(base(address).as_deref(), Some("http://127.0.0.1:4180/api"), "{address}");
        }
        for address in ["", "127.0.0.1:4180", "ftp://example.org", "http://", "http://a b", "http://a?b"] {
            assert_eq!(base(address), None, "{address}");
        }
    }
}
