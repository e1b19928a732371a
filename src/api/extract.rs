//! What handlers take out of a request.

use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::fault::Fault;
use crate::authz::Actor;
use crate::domain::ids::{
    ActivityId, ChannelId, EnvironmentName, InvitationId, ProjectId, ScheduleId, ServiceName, SnapshotName, TicketId,
    UserId,
};
use crate::domain::{Client, Secret};
use crate::ops::{self, App, Error};

/// The one who asks, by bearer token. Stands first in every handler: nobody learns anything before.
pub struct Caller(pub Actor);

impl FromRequestParts<App> for Caller {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Fault> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(bearer).ok_or(Error::NotLoggedIn)?;
        let address = parts.extensions.get::<Client>().map(|Client(address)| *address);
        Ok(Self(ops::accounts::actor_of_bearer(app, &token).await?.at(address)))
    }
}

fn bearer(header: &str) -> Option<Secret> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Secret::new(token))
}

/// The ids in the path. One that can't exist is answered as one that does not.
pub struct Place<T>(pub T);

#[derive(Debug, Deserialize)]
pub struct InProject {
    pub project: ProjectId,
}

#[derive(Debug, Deserialize)]
pub struct InEnvironment {
    pub project: ProjectId,
    pub environment: EnvironmentName,
}

#[derive(Debug, Deserialize)]
pub struct OfBackup {
    pub project: ProjectId,
    pub environment: EnvironmentName,
    pub backup: SnapshotName,
}

#[derive(Debug, Deserialize)]
pub struct OfService {
    pub project: ProjectId,
    pub environment: EnvironmentName,
    /// `None` in addresses of the live environment.
    pub backup: Option<SnapshotName>,
    pub service: ServiceName,
}

#[derive(Debug, Deserialize)]
pub struct OfMember {
    pub project: ProjectId,
    pub user: UserId,
}

#[derive(Debug, Deserialize)]
pub struct OfAccount {
    pub account: UserId,
}

#[derive(Debug, Deserialize)]
pub struct OfAccountChange {
    pub account: UserId,
    pub change: String,
}

#[derive(Debug, Deserialize)]
pub struct OfInvitation {
    pub project: ProjectId,
    pub invitation: InvitationId,
}

#[derive(Debug, Deserialize)]
pub struct OfChannel {
    pub project: ProjectId,
    pub channel: ChannelId,
}

#[derive(Debug, Deserialize)]
pub struct OfSchedule {
    pub project: ProjectId,
    pub environment: EnvironmentName,
    pub schedule: ScheduleId,
}

#[derive(Debug, Deserialize)]
pub struct OfActivity {
    pub project: ProjectId,
    pub activity: ActivityId,
}

#[derive(Debug, Deserialize)]
pub struct OfTicket {
    pub project: ProjectId,
    pub ticket: TicketId,
}

#[derive(Debug, Deserialize)]
pub struct OfTicketAct {
    pub project: ProjectId,
    pub ticket: TicketId,
    pub act: String,
}

#[derive(Debug, Deserialize)]
pub struct OfEnvironmentActivity {
    pub project: ProjectId,
    pub environment: EnvironmentName,
    pub activity: ActivityId,
}

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Place<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Fault> {
        match Path::<T>::from_request_parts(parts, app).await {
            Ok(Path(place)) => Ok(Self(place)),
            Err(rejection) => {
                let raw = RawPathParams::from_request_parts(parts, app).await;
                Err(Error::NotFound(noun(&rejection, raw.ok().as_ref())).into())
            }
        }
    }
}

/// What the unusable part of the path would have named.
fn noun(rejection: &PathRejection, raw: Option<&RawPathParams>) -> &'static str {
    let not_text = match rejection {
        PathRejection::FailedToDeserializePathParams(failed) => match failed.kind() {
            ErrorKind::InvalidUtf8InPathParam { key } => Some(key.as_str()),
            _ => None,
        },
        _ => None,
    };
    let invalid = || raw?.iter().find(|(key, value)| !is_valid(key, value)).map(|(key, _)| key);
    match not_text.or_else(invalid) {
        Some("project") => "project",
        Some("environment") => "environment",
        Some("backup") => "snapshot",
        Some("service") => "service",
        Some("activity") => "activity",
        Some("user") => "member",
        Some("account") => "account",
        Some("invitation") => "invitation",
        Some("channel") => "channel",
        Some("schedule") => "schedule",
        Some("ticket") => "ticket",
        _ => "page",
    }
}

fn is_valid(key: &str, value: &str) -> bool {
    match key {
        "project" => ProjectId::parse(value).is_ok(),
        "environment" => EnvironmentName::parse(value).is_ok(),
        "backup" => SnapshotName::parse(value).is_ok(),
        "service" => ServiceName::parse(value).is_ok(),
        "activity" => ActivityId::parse(value).is_ok(),
        "user" | "account" => UserId::parse(value).is_ok(),
        "invitation" => InvitationId::parse(value).is_ok(),
        "channel" => ChannelId::parse(value).is_ok(),
        "schedule" => ScheduleId::parse(value).is_ok(),
        "ticket" => TicketId::parse(value).is_ok(),
        _ => true,
    }
}

/// A JSON body. Existing clients send none where all fields may be left out, and not always a content type.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + Default + Send> FromRequest<App> for Json<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, app: &App) -> Result<Self, Fault> {
        let body = body(request, app).await?;
        if body.trim_ascii().is_empty() {
            return Ok(Self(T::default()));
        }
        let parsed = serde_json::from_slice(&body);
        parsed
            .map(Self)
            .map_err(|error| Fault::bad_request(format!("The body is not the JSON that is expected: {error}.")))
    }
}

/// The body as it is, within the limit.
pub async fn body(request: Request, app: &App) -> Result<Bytes, Fault> {
    Bytes::from_request(request, app).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("The body is larger than {} KiB.", super::LARGEST_BODY / 1024);
            Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message, None)
        }
        _ => Fault::bad_request("The body could not be read."),
    })
}

/// The query, where keys may repeat; `type[]` and `type[0]`, as PHP clients write, count as `type`.
#[derive(Debug)]
pub struct Asked(Vec<(String, String)>);

impl Asked {
    pub fn parse(query: &str) -> Self {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let plain = |key: &str| key.split('[').next().unwrap_or_default().to_owned();
        Self(pairs.map(|(key, value)| (plain(&key), value.into_owned())).collect())
    }

    pub fn all(&self, key: &'static str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(k, value)| k == key && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub fn last(&self, key: &'static str) -> Option<&str> {
        self.all(key).last()
    }
}

impl FromRequestParts<App> for Asked {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Fault> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_taken_whatever_the_case_of_the_scheme() {
        assert_eq!(bearer("Bearer abc").map(|token| token.reveal().to_owned()).as_deref(), Some("abc"));
        assert_eq!(bearer("bearer  abc ").map(|token| token.reveal().to_owned()).as_deref(), Some("abc"));
        for header in ["", "Bearer", "Bearer ", "Basic abc", "abc"] {
            assert_eq!(bearer(header), None, "{header:?}");
        }
    }

    #[test]
    fn keys_of_a_query_may_repeat_in_either_style() {
        let asked = Asked::parse("type=a&type%5B%5D=b&type[1]=c%20d&count=3&state=");
        assert_eq!(asked.all("type").collect::<Vec<_>>(), ["a", "b", "c d"]);
        assert_eq!(asked.last("count"), Some("3"));
        assert_eq!(asked.last("state"), None);
    }
}
