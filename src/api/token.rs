//! `POST /oauth2/token`: an API token for an access token.

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::extract::body;
use super::fault::Fault;
use crate::domain::Secret;
use crate::ops::{self, App};
use crate::wire::token::{TokenProblem, TokenReply, TokenRequest};

pub async fn exchange(State(app): State<App>, request: Request) -> Response {
    let headers = request.headers().clone();
    let token = match body(request, &app).await.map(|body| api_token(&headers, &body)) {
        Ok(Ok(token)) => token,
        Ok(Err((error, message))) => return refuse(error, Fault::bad_request(message)),
        Err(fault) => return refuse("invalid_request", fault),
    };
    match ops::accounts::exchange(&app, &token).await {
        Ok(access) => axum::Json(TokenReply::bearer(access.text, access.expires_in_s)).into_response(),
        Err(error) => refuse("invalid_grant", error.into()),
    }
}

/// OAuth's word beside our [`Problem`](crate::domain::Problem), with the same status and headers.
fn refuse(error: &str, fault: Fault) -> Response {
    let problem = fault.problem();
    let (mut parts, _) = Fault::from(problem.clone()).into_response().into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = serde_json::to_vec(&TokenProblem::new(error, problem)).expect("strings and a number always serialise");
    Response::from_parts(parts, body.into())
}

/// A form as OAuth has it; JSON, as the npm client sends it.
fn api_token(headers: &HeaderMap, body: &Bytes) -> Result<Secret, (&'static str, &'static str)> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let request = if kind.starts_with("application/json") {
        serde_json::from_slice(body).ok()
    } else {
        let pairs: Vec<_> = url::form_urlencoded::parse(body).collect();
        let field = |name| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.to_string());
        field("grant_type")
            .map(|grant_type| TokenRequest { grant_type, api_token: field("api_token").map(Secret::new) })
    };
    let request = request.ok_or(("invalid_request", "Send grant_type=api_token and api_token=… as a form."))?;
    if request.grant_type != TokenRequest::GRANT {
        return Err(("unsupported_grant_type", "Only grant_type=api_token is supported."));
    }
    request.api_token.ok_or(("invalid_request", "The form has no api_token."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: &'static str, body: &'static str) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, kind.parse().expect("a header value"));
        let token = api_token(&headers, &Bytes::from_static(body.as_bytes()));
        token.map(|token| token.reveal().to_owned()).map_err(|(error, _)| error)
    }

    #[test]
    fn the_form_and_the_json_of_existing_clients_are_both_read() {
        let form = "application/x-www-form-urlencoded";
        assert_eq!(parse(form, "grant_type=api_token&api_token=a%2Bb").as_deref(), Ok("a+b"));
        let json = r#"{"grant_type":"api_token","api_token":"ab"}"#;
        assert_eq!(parse("application/json; charset=utf-8", json).as_deref(), Ok("ab"));
        assert_eq!(parse(form, "grant_type=password&username=x"), Err("unsupported_grant_type"));
        assert_eq!(parse(form, "grant_type=api_token"), Err("invalid_request"));
        assert_eq!(parse(form, ""), Err("invalid_request"));
        assert_eq!(parse("application/json", "{"), Err("invalid_request"));
    }
}
