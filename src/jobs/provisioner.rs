//! The program of a project's provisioning contract (R21): it makes the services that no driver makes, starts the
//! application of a new environment, and takes both away. docs/provisioning.md describes what goes in and out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::domain::environment::{CommandLine, Composition, EnvironmentKind, ServiceConnection, ServiceSpec};
use crate::domain::ids::{EnvironmentName, ProjectId, ServiceName};
use crate::domain::policy::Refusal;
use crate::drivers::command::{self, Call};
use crate::queue::Lease;

/// Until the program has ended.
const CALL: Duration = Duration::from_secs(10 * 60);
/// Until the application answers.
const ANSWER: Duration = Duration::from_secs(2 * 60);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What the program is told, on its standard input.
#[derive(Debug, Clone, Serialize)]
pub(super) struct About {
    pub project: ProjectId,
    pub environment: EnvironmentName,
    #[serde(rename = "type")]
    pub kind: EnvironmentKind,
    pub parent: EnvironmentName,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Passwords among them: the application needs them.
    services: BTreeMap<ServiceName, ServiceConnection>,
    /// Paths.
    mounts: BTreeMap<String, String>,
    /// Services that are to be made, and their kinds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    asked: BTreeMap<ServiceName, &'static str>,
}

/// Where the application listens, from the program's standard output.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Started {
    /// `http://127.0.0.1:9005`
    pub upstream: String,
    /// Path that answers below 500 when the application is ready.
    #[serde(default = "root")]
    pub health: String,
}

fn root() -> String {
    "/".to_owned()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    services: BTreeMap<ServiceName, ServiceConnection>,
}

impl About {
    pub fn new(
        (project, environment, kind): (ProjectId, EnvironmentName, EnvironmentKind),
        parent: EnvironmentName,
        host: Option<String>,
    ) -> Self {
        let (services, mounts, asked) = Default::default();
        Self { project, environment, kind, parent, host, services, mounts, asked }
    }

    pub fn of(&mut self, composition: &Composition) {
        let services = composition.services.iter();
        self.services = services.map(|service| (service.name.clone(), service.connection.clone())).collect();
        let mounts = composition.mounts.iter();
        self.mounts = mounts.map(|mount| (mount.name.to_string(), mount.path.clone())).collect();
    }

    /// Has the services made that no driver makes.
    pub async fn make(
        &self,
        program: &CommandLine,
        lease: &Lease,
        asked: &[(ServiceName, &'static str)],
    ) -> Result<Vec<ServiceSpec>, Error> {
        let about = Self { asked: asked.iter().cloned().collect(), ..self.clone() };
        let made: Made = about.call(program, lease, "services").await?;
        let services = asked.iter().map(|(name, kind)| match made.services.get(name) {
            Some(connection) if connection.kind() == *kind => {
                Ok(ServiceSpec { name: name.clone(), connection: connection.clone() })
            }
            Some(other) => Err(broken(program, &format!("made {name} a {} service, not a {kind} one", other.kind()))),
            None => Err(broken(program, &format!("did not say where the {kind} service {name} is"))),
        });
        services.collect()
    }

    pub async fn start(&self, program: &CommandLine, lease: &Lease) -> Result<Started, Error> {
        let started: Started = self.call(program, lease, "start").await?;
        let uri = started.upstream.parse::<Uri>().ok();
        let is_address = uri.is_some_and(|uri| uri.scheme_str() == Some("http") && uri.authority().is_some());
        if !is_address || !started.health.starts_with('/') {
            let what = "gave no `upstream` like http://127.0.0.1:9005, or a `health` that is no path";
            return Err(broken(program, what));
        }
        Ok(started)
    }

    pub async fn remove(&self, program: &CommandLine) -> Result<(), Error> {
        self.run(program, "remove", || false).await.map(drop)
    }

    async fn call<T: for<'a> Deserialize<'a>>(
        &self,
        program: &CommandLine,
        lease: &Lease,
        word: &'static str,
    ) -> Result<T, Error> {
        let lease = lease.clone();
        let said = self.run(program, word, move || lease.is_cancelled()).await?;
        // Its own text would quote what was given, passwords among it.
        serde_json::from_slice(&said).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let what =
                format!("gave something else than the expected JSON for `{word}`, at line {line}, column {column}");
            broken(program, &what)
        })
    }

    async fn run(
        &self,
        program: &CommandLine,
        word: &'static str,
        cancelled: impl Fn() -> bool + Send + 'static,
    ) -> Result<Vec<u8>, Error> {
        let input = serde_json::to_vec(self).expect("names and texts");
        let program = program.clone();
        let running = move || command::run(&program, Call { word, input: &input, within: CALL, cancelled: &cancelled });
        tokio::task::spawn_blocking(running).await?.map_err(Error::part("the provisioning"))
    }
}

impl Started {
    /// Waits until the application answers.
    pub async fn answers(&self, host: Option<&str>, lease: &Lease) -> Result<(), Error> {
        let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let address = format!("{}{}", self.upstream.trim_end_matches('/'), self.health);
        let until = Instant::now() + ANSWER;
        loop {
            let mut request = http::Request::get(&address);
            if let Some(host) = host {
                request = request.header(http::header::HOST, host);
            }
            let request = request.body(Empty::new()).map_err(|_| not_ready(&address, "it is no address"))?;
            let answer = tokio::time::timeout(Duration::from_secs(10), client.request(request)).await;
            let said = match answer {
                Ok(Ok(reply)) if reply.status() < StatusCode::INTERNAL_SERVER_ERROR => return Ok(()),
                Ok(Ok(reply)) => format!("it answered {}", reply.status()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it did not answer within 10 seconds".to_owned(),
            };
            if lease.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if Instant::now() > until {
                return Err(not_ready(&address, &said));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

fn not_ready(address: &str, said: &str) -> Error {
    let reason = format!("The application of the new environment does not answer at {address}: {said}.");
    Refusal::new(reason).instead("Look at the program that starts it, and at its log.").into()
}

fn broken(program: &CommandLine, what: &str) -> Error {
    let reason = format!("The program {program} {what}.");
    Refusal::new(reason).instead("docs/provisioning.md says what it is asked and what it answers.").into()
}
