//! Speaking to a Solr server: its HTTP interface, with answers in JSON.
//!
//! **Invariant:** a request that changes something is sent once. Whoever sent it looks afterwards at what stands.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::said;
use crate::domain::Secret;
use crate::drivers::Error;

const CONNECT: Duration = Duration::from_secs(5);
/// For an answer that only needs to be looked up.
pub(super) const ANSWER: Duration = Duration::from_secs(15);
/// For one that has files written, moved or removed for it.
pub(super) const WORK: Duration = Duration::from_secs(300);
/// Longest silence within a file.
const SILENCE: Duration = Duration::from_secs(60);
/// No answer is larger, bytes; files are streams.
const LARGEST: u64 = 64 << 20;

/// Where an index is, and who reads it.
#[derive(Debug, Clone)]
pub struct Address {
    /// `http://search:8983/solr`
    pub url: String,
    /// Empty: none is sent.
    pub user: String,
    pub password: Secret,
    /// A core, or in SolrCloud a collection or an alias.
    pub core: String,
    /// The directory of the server's cores as the worker sees it: what a restore needs.
    pub path: Option<PathBuf>,
}

impl Address {
    /// For people.
    pub fn index(&self) -> String {
        format!("{} at {}", self.core, self.url)
    }
}

/// What the server said, or what is wrong with the way to it.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error(transparent)]
    Http(Box<ureq::Error>),
    #[error(transparent)]
    Io(io::Error),
    #[error("{0}")]
    Said(String),
}

/// One node. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Client {
    agent: Agent,
    base: String,
    user: String,
    authorization: Option<Secret>,
}

/// A name in a request, and its value.
pub(super) type Pairs<'a> = &'a [(&'a str, &'a str)];

impl Client {
    pub fn new(address: &Address) -> Result<Self, Error> {
        let authorization = (!address.user.is_empty()).then(|| {
            Secret::new(format!("Basic {}", STANDARD.encode(format!("{}:{}", address.user, address.password.reveal()))))
        });
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("stillpoint/", env!("CARGO_PKG_VERSION")))
            .build();
        let base = base(&address.url).ok_or_else(|| Error::SolrAddress { url: address.url.clone() })?;
        Ok(Self { agent: config.into(), base, user: address.user.clone(), authorization })
    }

    /// Another node of the same cluster, at the address that it has itself entered there.
    pub fn node(&self, base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), ..self.clone() }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// # Errors
    /// [`Error::SolrUnreachable`], [`Error::SolrRefused`], [`Error::Solr`].
    pub fn get<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        path: &str,
        pairs: Pairs<'_>,
        within: Duration,
    ) -> Result<T, Error> {
        let text = self.text(self.send(doing, path, pairs, Some(within))?, doing)?;
        said::reply(&text).map_err(|why| self.said(doing, why))
    }

    /// A hard commit of all that was sent so far; the searcher stays as it is, so that nothing becomes visible by it.
    pub fn commit(&self, index: &str, within: Duration) -> Result<(), Error> {
        let doing = "commit what is pending in";
        let url = self.url(&format!("{index}/update"));
        let request = self.authorized(self.agent.post(&url)).header("content-type", "application/json");
        let request = request.query("wt", "json").config();
        let request = request.timeout_global(Some(within)).timeout_per_read(Some(within)).build();
        let sent = request.send(r#"{"commit":{"openSearcher":false,"softCommit":false}}"#);
        let text = self.text(self.checked(doing, sent)?, doing)?;
        said::reply::<said::Done>(&text).map(drop).map_err(|why| self.said(doing, why))
    }

    /// A file of the configuration, as it is.
    pub fn file(&self, core: &str, name: &str, largest: u64) -> Result<Vec<u8>, Error> {
        let doing = "read the configuration of";
        let mut reply = self.send(doing, &format!("{core}/admin/file"), &[("file", name)], Some(WORK))?;
        let read = reply.body_mut().with_config().limit(largest).read_to_vec();
        read.map_err(|error| self.http(doing, error))
    }

    /// An answer that may take hours to come to its end.
    pub fn stream(&self, doing: &'static str, path: &str, pairs: Pairs<'_>) -> Result<Response<Body>, Error> {
        self.send(doing, path, pairs, None)
    }

    fn send(
        &self,
        doing: &'static str,
        path: &str,
        pairs: Pairs<'_>,
        within: Option<Duration>,
    ) -> Result<Response<Body>, Error> {
        let request = self.authorized(self.agent.get(self.url(path)));
        // Lists of named values come as JSON's own maps, not as a row of names and values.
        let request = request.query("json.nl", "map").query_pairs(pairs.iter().copied());
        let request = if pairs.iter().any(|(name, _)| *name == "wt") { request } else { request.query("wt", "json") };
        // Who writes, moves or removes files says nothing until it is done.
        let request = request.config().timeout_global(within).timeout_per_read(within.or(Some(SILENCE))).build();
        self.checked(doing, request.call())
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization.reveal()),
            None => request,
        }
    }

    fn checked(&self, doing: &'static str, sent: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, Error> {
        let reply = sent.map_err(|error| self.http(doing, error))?;
        let status = reply.status().as_u16();
        match status {
            200..=299 => Ok(reply),
            401 | 403 => {
                let user = if self.user.is_empty() { "nobody".to_owned() } else { self.user.clone() };
                Err(Error::SolrRefused { at: self.base.clone(), doing, user })
            }
            _ => {
                let text = self.text(reply, doing)?;
                Err(self.said(doing, said::refusal(&text, status)))
            }
        }
    }

    fn text(&self, mut reply: Response<Body>, doing: &'static str) -> Result<String, Error> {
        let read = reply.body_mut().with_config().limit(LARGEST).lossy_utf8(true).read_to_string();
        read.map_err(|error| self.http(doing, error))
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    fn http(&self, doing: &'static str, error: ureq::Error) -> Error {
        let at = self.base.clone();
        match error {
            ureq::Error::ConnectionFailed | ureq::Error::HostNotFound | ureq::Error::Io(_) => {
                Error::SolrUnreachable { at, source: Cause::Http(Box::new(error)) }
            }
            error => Error::Solr { doing, at, source: Cause::Http(Box::new(error)) },
        }
    }

    pub fn said(&self, doing: &'static str, words: String) -> Error {
        Error::Solr { doing, at: self.base.clone(), source: Cause::Said(words) }
    }
}

/// What stood still for longer than it may.
pub(super) fn is_too_slow(error: &Error) -> bool {
    matches!(error, Error::Solr { source: Cause::Http(error), .. } if matches!(**error, ureq::Error::Timeout(_)))
}

/// The address of Solr's own paths for what a person wrote: `/solr` is where it has them unless another is named.
fn base(address: &str) -> Option<String> {
    let url = url::Url::parse(address.trim()).ok()?;
    let usable = matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none();
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let path = url.path().trim_end_matches('/');
    let path = if path.is_empty() { "/solr" } else { path };
    (usable && plain).then(|| format!("{}{path}", url.origin().ascii_serialization()))
}

/// Whether Solr takes this for a core's or a collection's name.
pub(super) fn is_name(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    !text.is_empty() && !text.starts_with(['-', '.']) && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_ends_where_solrs_paths_begin() {
        for (written, meant) in [
            ("http://127.0.0.1:8983", Some("http://127.0.0.1:8983/solr")),
            ("http://search:8983/solr/", Some("http://search:8983/solr")),
            ("https://example.org/search", Some("https://example.org/search")),
            ("search:8983", None),
            ("ftp://search/solr", None),
            ("http://ada:secret@search:8983/solr", None),
            ("http://search:8983/solr?x=1", None),
        ] {
            assert_eq!(base(written).as_deref(), meant, "{written}");
        }
    }

    #[test]
    fn a_name_can_be_no_path() {
        for name in ["shop", "shop_v1.2-a"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "..", ".hidden", "-x", "a/b", "a b", "a?b", "\u{e4}"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
