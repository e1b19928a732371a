//! The API's client: blocking, for the command line.
//!
//! **Invariant:** nothing but a `GET` is ever sent twice after a broken connection: an operation that may have been
//! stored is not asked for again.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use super::links::path;
use super::token::{TokenReply, TokenRequest};
use super::{
    Activity, BASE, Backup, BackupRequest, Environment, LogItem, Operation, Preflight, Problem, Project,
    RestoreRequest, VERSION, VERSION_HEADER,
};
use crate::domain::Secret;
use crate::domain::activity::{ActivityResult, ActivityState};
use crate::domain::ids::{ActivityId, EnvironmentName, ProjectId, SnapshotName};
use crate::domain::time::Timestamp;

const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence of a server that answers a request.
const READ: Duration = Duration::from_secs(60);
/// Longest silence of a log that is followed; then the connection is made anew.
const LOG_READ: Duration = Duration::from_secs(600);
/// Pauses before a `GET` is tried again.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];
/// No reply is larger, bytes.
const LARGEST: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{0}` is not an http or https address")]
    Address(String),
    #[error("the server at {base} can't be reached")]
    Connection {
        base: String,
        #[source]
        source: Box<ureq::Error>,
    },
    /// The server's own refusal.
    #[error(transparent)]
    Problem(Problem),
    /// Something answers there, and it is not this API.
    #[error("{url} answered {status}, and not as Stillpoint's API does")]
    Unexpected { url: String, status: u16 },
}

#[derive(Debug)]
pub struct Client {
    agent: Agent,
    base: String,
    token: Secret,
    /// What the token was exchanged for.
    access: RefCell<Option<Secret>>,
}

/// Which activities; all by default.
#[derive(Debug, Clone, Default)]
pub struct Query {
    pub kinds: Vec<String>,
    pub states: Vec<ActivityState>,
    pub result: Option<ActivityResult>,
    /// Created at or before.
    pub starts_at: Option<Timestamp>,
    pub count: Option<u32>,
}

type Pairs = Vec<(&'static str, String)>;

impl Client {
    /// `address` is the console's, with or without `/api`.
    ///
    /// # Errors
    /// [`Error::Address`]
    pub fn new(address: &str, token: Secret) -> Result<Self, Error> {
        let base = base(address).ok_or_else(|| Error::Address(address.to_owned()))?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(READ))
            .user_agent(concat!("stillpoint/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.into(), base, token, access: RefCell::new(None) })
    }

    /// Address of the API.
    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn projects(&self) -> Result<Vec<Project>, Error> {
        self.get(&path::projects(), &[])
    }

    pub fn project(&self, project: &ProjectId) -> Result<Project, Error> {
        self.get(&path::project(project), &[])
    }

    pub fn environments(&self, project: &ProjectId) -> Result<Vec<Environment>, Error> {
        self.get(&path::environments(project), &[])
    }

    pub fn environment(&self, project: &ProjectId, environment: &EnvironmentName) -> Result<Environment, Error> {
        self.get(&path::environment(project, environment), &[])
    }

    pub fn backups(&self, project: &ProjectId, environment: &EnvironmentName) -> Result<Vec<Backup>, Error> {
        self.get(&path::backups(project, environment), &[])
    }

    pub fn backup(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        name: &SnapshotName,
    ) -> Result<Backup, Error> {
        self.get(&path::backup(project, environment, name), &[])
    }

    pub fn take_backup(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        request: &BackupRequest,
    ) -> Result<Activity, Error> {
        self.operate(&path::take_backup(project, environment), request)
    }

    pub fn preflight(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        name: &SnapshotName,
    ) -> Result<Preflight, Error> {
        self.get(&path::restore(project, environment, name), &[])
    }

    pub fn restore(
        &self,
        project: &ProjectId,
        environment: &EnvironmentName,
        name: &SnapshotName,
        request: &RestoreRequest,
    ) -> Result<Activity, Error> {
        self.operate(&path::restore(project, environment, name), request)
    }

    /// Newest first; of one environment, or of all that one may see.
    pub fn activities(
        &self,
        project: &ProjectId,
        environment: Option<&EnvironmentName>,
        query: &Query,
    ) -> Result<Vec<Activity>, Error> {
        let path = match environment {
            Some(environment) => path::activities(project, environment),
            None => path::project_activities(project),
        };
        self.get(&path, &query.pairs())
    }

    pub fn activity(&self, project: &ProjectId, activity: &ActivityId) -> Result<Activity, Error> {
        self.get(&path::activity(project, activity), &[])
    }

    pub fn cancel(&self, project: &ProjectId, activity: &ActivityId) -> Result<Activity, Error> {
        self.operate(&path::cancel(project, activity), &serde_json::json!({}))
    }

    /// What of the log is there after line `after` (0: from the start).
    pub fn log(&self, project: &ProjectId, activity: &ActivityId, after: i64) -> Result<Vec<LogItem>, Error> {
        let pairs = [("follow", "0".to_owned()), ("after", after.to_string())];
        let url = self.url(&path::log(project, activity));
        let mut reply = self.retrying(|| self.send_get(&url, &pairs, READ))?;
        let text = text(&url, &mut reply)?;
        text.lines().map(|line| parse(&url, 200, line)).collect()
    }

    /// Hands over every item as it comes, until the seal or until `each` breaks. A connection that breaks on the way is
    /// made anew where it broke.
    ///
    /// # Errors
    /// When the server refuses, or can't be reached three times running.
    pub fn follow_log(
        &self,
        project: &ProjectId,
        activity: &ActivityId,
        mut each: impl FnMut(&LogItem) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let url = self.url(&path::log(project, activity));
        let mut after = 0_i64;
        loop {
            let pairs = [("after", after.to_string())];
            let reply = self.retrying(|| self.send_get(&url, &pairs, LOG_READ))?;
            let lines = BufReader::new(reply.into_body().into_with_config().limit(u64::MAX).reader()).lines();
            for line in lines.map_while(Result::ok).filter(|line| !line.trim().is_empty()) {
                let item: LogItem = parse(&url, 200, &line)?;
                if item.seal {
                    return Ok(());
                }
                after = item.id.parse().unwrap_or(after);
                if each(&item).is_break() {
                    return Ok(());
                }
            }
            thread::sleep(PAUSES[0]);
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn get<T: DeserializeOwned>(&self, path: &str, pairs: &[(&'static str, String)]) -> Result<T, Error> {
        let url = self.url(path);
        let mut reply = self.retrying(|| self.send_get(&url, pairs, READ))?;
        let text = text(&url, &mut reply)?;
        parse(&url, reply.status().as_u16(), &text)
    }

    fn operate(&self, path: &str, body: &impl serde::Serialize) -> Result<Activity, Error> {
        let url = self.url(path);
        let mut reply = self.authenticated(|bearer| {
            self.agent.post(&url).header("authorization", bearer).header(VERSION_HEADER, VERSION).send_json(body)
        })?;
        let text = text(&url, &mut reply)?;
        let status = reply.status().as_u16();
        parse::<Operation>(&url, status, &text)?.activity().ok_or(Error::Unexpected { url, status })
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
        let mut reply = checked(&url, reply.map_err(|error| self.unreachable(error))?)?;
        let status = reply.status().as_u16();
        Ok(parse::<TokenReply>(&url, status, &text(&url, &mut reply)?)?.access_token)
    }

    fn unreachable(&self, error: ureq::Error) -> Error {
        Error::Connection { base: self.base.clone(), source: Box::new(error) }
    }
}

impl Query {
    fn pairs(&self) -> Pairs {
        let mut pairs: Pairs = self.kinds.iter().map(|kind| ("type", kind.clone())).collect();
        pairs.extend(self.states.iter().map(|state| ("state", state.to_string())));
        pairs.extend(self.result.map(|result| ("result", result.to_string())));
        pairs.extend(self.starts_at.map(|at| ("starts_at", at.rfc3339())));
        pairs.extend(self.count.map(|count| ("count", count.to_string())));
        pairs
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

fn text(url: &str, reply: &mut Response<Body>) -> Result<String, Error> {
    let read = reply.body_mut().with_config().limit(LARGEST).read_to_string();
    read.map_err(|source| Error::Connection { base: url.to_owned(), source: Box::new(source) })
}

fn parse<T: DeserializeOwned>(url: &str, status: u16, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|_| Error::Unexpected { url: url.to_owned(), status })
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

    #[test]
    fn a_query_names_each_type_and_state() {
        let query = Query {
            kinds: vec!["environment.backup".to_owned(), "environment.restore".to_owned()],
            states: vec![ActivityState::Pending],
            result: Some(ActivityResult::Failure),
            starts_at: Some(Timestamp::from_micros(0)),
            count: Some(3),
        };
        let text: Vec<String> = query.pairs().iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            text.join("&"),
            "type=environment.backup&type=environment.restore&state=pending&result=failure\
             &starts_at=1970-01-01T00:00:00.000000Z&count=3"
        );
    }

    #[test]
    fn a_server_that_is_not_there_is_a_connection_error_that_names_it() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = format!("http://{}", port.expect("a free port"));
        let client = Client::new(&address, Secret::new("t")).expect("a valid address");
        let error = client.projects().expect_err("nobody listens there");
        assert!(matches!(&error, Error::Connection { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("the server at {address}/api can't be reached"));
    }
}
