//! How a form is answered: its server function runs, and a browser without JavaScript is led to the page that follows
//! or back to the form with the reason beside it. A program is led on by the same 303, and gets a refusal as JSON with
//! its status.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, ORIGIN, REFERER, SET_COOKIE,
};
use http::{StatusCode, request};
use leptos::prelude::provide_context;

use super::flash::{Flash, Transport};
use super::local::LocalPath;
use super::server::Console;
use crate::domain::Problem;

/// Forms hold a few short fields.
const MAX_BODY: usize = 64 * 1024;
/// Fields that are given back after a refusal: what a person typed, never a secret.
const KEPT: &[&str] = &[
    "email",
    "typed",
    "last",
    "even_live",
    "note",
    "mode",
    "name",
    "expires_in_days",
    "read_only",
    "place",
    "types[production]",
    "types[staging]",
    "types[development]",
    "next",
    "project_role",
    "production",
    "staging",
    "development",
    "way",
    "address",
    "channel",
    "new_secret",
    "when[snapshot_failed]",
    "when[snapshot_missed]",
    "when[restore_failed]",
    "when[restored]",
    "when[drill_failed]",
    "when[drill_missed]",
    "when[ticket_changed]",
    "when[storage_near]",
    "when[snapshot_deleted]",
    "preset",
    "cron",
    "time_zone",
    "text",
    "reason",
    "first",
    "part",
    "size",
];

/// Where a server function leaves what is to be said on the next page.
#[derive(Debug, Clone, Default)]
pub struct Slot(Arc<Mutex<Option<Flash>>>);

impl Slot {
    pub fn put(&self, flash: Flash) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(flash);
    }

    fn take(&self) -> Option<Flash> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

pub async fn answer(State(console): State<Console>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "The form is larger than any form here can be.").into_response();
    };
    let sent = Sent::of(&parts, &body);
    // The function answers as it would a program; leading a browser on is this file's part.
    parts.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let slot = Slot::default();
    let context = {
        let slot = slot.clone();
        move || {
            console.provide();
            provide_context(slot.clone());
        }
    };
    let request = Request::from_parts(parts, Body::from(body));
    let response = leptos_axum::handle_server_fns_with_context(context, request).await.into_response();
    sent.answer(response, slot.take()).await
}

/// What a form's sending says about how to answer it.
struct Sent {
    wants_page: bool,
    action: String,
    page: LocalPath,
    transport: Transport,
    kept: Vec<(String, String)>,
}

impl Sent {
    fn of(parts: &request::Parts, body: &[u8]) -> Self {
        let text = |name| text(&parts.headers, name);
        let page = text(REFERER).zip(text(HOST)).and_then(|(referer, host)| LocalPath::of_referer(referer, host));
        let fields = url::form_urlencoded::parse(body);
        Self {
            wants_page: text(ACCEPT).is_some_and(|accepted| accepted.contains("text/html")),
            action: parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned(),
            page: page.unwrap_or(LocalPath::root()),
            transport: match text(ORIGIN) {
                Some(origin) if origin.starts_with("https://") => Transport::Tls,
                _ => Transport::Plain,
            },
            kept: fields
                .into_owned()
                .filter(|(name, _)| KEPT.contains(&name.as_str()) || name.starts_with("acts["))
                .collect(),
        }
    }

    async fn answer(self, response: Response, said: Option<Flash>) -> Response {
        if let Some(location) = response.headers().get(LOCATION).cloned() {
            return self.lead(response, location, said);
        }
        if response.status().is_success() {
            return if self.wants_page { self.lead_back(response) } else { response };
        }
        let (mut parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, MAX_BODY).await.unwrap_or_default();
        let problem = serde_json::from_slice(&body).unwrap_or_else(|_| Problem {
            status: 404,
            code: "not_found".to_owned(),
            message: "There is no such action.".to_owned(),
            hint: None,
        });
        if !self.wants_page {
            parts.status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            parts.headers.remove(CONTENT_LENGTH);
            return (parts.status, parts.headers, axum::Json(problem)).into_response();
        }
        let (location, said) = if problem.code == "not_logged_in" {
            (self.page.after_login(), None)
        } else {
            let (action, kept) = (self.action.clone(), self.kept.clone());
            (self.page.to_string(), Some(Flash::Refused { action, problem, kept }))
        };
        let location = HeaderValue::from_str(&location).unwrap_or(HeaderValue::from_static("/"));
        self.lead(Response::from_parts(parts, Body::empty()), location, said)
    }

    fn lead_back(&self, response: Response) -> Response {
        let location = HeaderValue::from_str(self.page.as_str()).unwrap_or(HeaderValue::from_static("/"));
        self.lead(response, location, None)
    }

    /// 303, with the cookies that the function set (a session begins with one).
    fn lead(&self, response: Response, location: HeaderValue, said: Option<Flash>) -> Response {
        let cookies = response.headers().get_all(SET_COOKIE).iter().cloned();
        let said = said.and_then(|flash| flash.set_cookie(self.transport));
        let mut headers: HeaderMap = cookies.chain(said).map(|cookie| (SET_COOKIE, cookie)).collect();
        headers.insert(LOCATION, location);
        (StatusCode::SEE_OTHER, headers).into_response()
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(accept: &'static str) -> Sent {
        let (parts, ()) = http::Request::post("/actions/log-in")
            .header(ACCEPT, accept)
            .header(HOST, "localhost:4180")
            .header(REFERER, "http://localhost:4180/login?next=%2Ftokens")
            .body(())
            .expect("a valid request")
            .into_parts();
        Sent::of(&parts, b"email=a%40b.example&password=secret&repeated=secret&code=1")
    }

    fn refusal() -> Response {
        let problem = Problem {
            status: 401,
            code: "wrong_credentials".into(),
            message: "Wrong.".into(),
            hint: Some("Try.".into()),
        };
        (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(problem)).into_response()
    }

    #[tokio::test]
    async fn a_browser_is_led_back_to_the_form_with_the_reason_and_never_a_secret() {
        let form = sent("text/html,application/xhtml+xml");
        assert_eq!(form.kept, [("email".to_owned(), "a@b.example".to_owned())]);
        let answer = form.answer(refusal(), None).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        assert_eq!(answer.headers()[LOCATION], "/login?next=%2Ftokens");
        assert!(answer.headers().contains_key(SET_COOKIE));
    }

    #[tokio::test]
    async fn a_program_is_led_on_as_a_browser_is() {
        for accept in ["application/json", "*/*", "text/html"] {
            let done = (StatusCode::OK, [(LOCATION, "/tokens"), (SET_COOKIE, "stillpoint=1")], "null").into_response();
            let answer = sent(accept).answer(done, None).await;
            assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{accept}");
            assert_eq!(answer.headers()[LOCATION], "/tokens");
            assert_eq!(answer.headers()[SET_COOKIE], "stillpoint=1");
        }
    }

    #[tokio::test]
    async fn a_program_gets_the_problem_and_its_status() {
        let answer = sent("application/json").answer(refusal(), None).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let body = axum::body::to_bytes(answer.into_body(), MAX_BODY).await.expect("a body");
        let problem: Problem = serde_json::from_slice(&body).expect("a problem");
        assert_eq!(problem.code, "wrong_credentials");
    }
}
