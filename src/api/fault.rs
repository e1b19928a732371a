//! Refusals as this door answers them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::domain::Problem;
use crate::ops::Error;

/// A [`Problem`] on its way out.
#[derive(Debug)]
pub struct Fault {
    problem: Problem,
    retry_after_s: Option<u64>,
}

impl Fault {
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>, hint: Option<&str>) -> Self {
        let (code, hint) = (code.to_owned(), hint.map(str::to_owned));
        Problem { status: status.as_u16(), code, message: message.into(), hint }.into()
    }

    /// What was sent can't be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message, None)
    }

    pub fn no_route() -> Self {
        let hint = "The API's addresses begin with /api/projects; check the client's base address.";
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this address.", Some(hint))
    }

    pub fn method_not_allowed() -> Self {
        let message = "This can't be done at this address.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message, None)
    }

    pub fn problem(self) -> Problem {
        self.problem
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self { problem, retry_after_s: None }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let retry_after_s = if let Error::TooMany { retry_after_s } = &error { Some(*retry_after_s) } else { None };
        Self { problem: error.problem(), retry_after_s }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.problem).expect("strings and a number always serialise");
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut reply = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(seconds) = self.retry_after_s {
            reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"Stillpoint\"");
            reply.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::Refusal;

    #[test]
    fn every_refusal_has_its_status_and_the_headers_that_belong_to_it() {
        let table = [
            (Error::NotLoggedIn, 401),
            (Error::NotFound("project"), 404),
            (Error::Forbidden(Refusal::new("No.")), 403),
            (Error::Conflict(Refusal::new("No.")), 409),
            (Error::invalid("no"), 400),
            (Error::TooMany { retry_after_s: 7 }, 429),
        ];
        for (error, status) in table {
            let reply = Fault::from(error).into_response();
            assert_eq!(reply.status().as_u16(), status);
            assert_eq!(reply.headers()[header::CONTENT_TYPE], "application/problem+json");
            assert_eq!(reply.headers().contains_key(header::WWW_AUTHENTICATE), status == 401);
            assert_eq!(reply.headers().get(header::RETRY_AFTER).is_some_and(|value| value == "7"), status == 429);
        }
    }
}
