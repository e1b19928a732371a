//! What every answer and every unsafe request must satisfy, whatever page it is: headers, and the refusal of requests
//! that other sites make in a visitor's name.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    AUTHORIZATION, CONTENT_SECURITY_POLICY, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{Method, StatusCode};

use crate::domain::Problem;

/// Refuses what another site sends: the session's cookie is `SameSite=Lax` already, this is the second lock.
pub async fn same_origin(request: Request, next: Next) -> Response {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if is_safe || is_our_own(request.headers()) {
        return next.run(request).await;
    }
    let problem = Problem {
        status: 403,
        code: "cross_site".to_owned(),
        message: "This request came from another site and was refused.".to_owned(),
        hint: Some("Open the page itself and send the form from there.".to_owned()),
    };
    (StatusCode::FORBIDDEN, axum::Json(problem)).into_response()
}

/// Whether a request that changes something comes from our own pages, or from a program with a token and no cookie,
/// which no browser sends on its own.
fn is_our_own(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let has_bearer = text(AUTHORIZATION).is_some_and(|value| value.starts_with("Bearer "));
    if has_bearer && !headers.contains_key(COOKIE) {
        return true;
    }
    match headers.get("sec-fetch-site") {
        Some(site) => site == "same-origin" || site == "none",
        None => match (text(ORIGIN), text(HOST)) {
            (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, authority)| authority == host),
            _ => false,
        },
    }
}

/// Headers of every answer; a page has set its own content policy, with its nonce, before.
pub async fn headers(request: Request, next: Next) -> Response {
    const ALWAYS: [(HeaderName, &str); 6] = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        // Not `no-referrer`: a form's answer finds the form's page by it.
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=()"),
    ];
    let mut response = next.run(request).await;
    let answer = response.headers_mut();
    for (name, value) in ALWAYS {
        answer.insert(name, HeaderValue::from_static(value));
    }
    answer
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'"));
    response
}

/// A page's content policy: its own scripts by nonce, our module and sheets, nothing from elsewhere.
pub fn content_policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_our_own_pages_and_programs_with_a_token_may_change_things() {
        let table = [
            (headers(&[("sec-fetch-site", "same-origin")]), true),
            (headers(&[("sec-fetch-site", "none")]), true),
            (headers(&[("sec-fetch-site", "same-site")]), false),
            (headers(&[("sec-fetch-site", "cross-site"), ("origin", "http://a"), ("host", "a")]), false),
            (headers(&[("origin", "http://a:4180"), ("host", "a:4180")]), true),
            (headers(&[("origin", "http://evil"), ("host", "a:4180")]), false),
            (headers(&[("origin", "null"), ("host", "a:4180")]), false),
            (headers(&[("host", "a:4180")]), false),
            (headers(&[("authorization", "Bearer x")]), true),
            (headers(&[("authorization", "Bearer x"), ("cookie", "id=1")]), false),
            (headers(&[("authorization", "Basic x")]), false),
        ];
        for (given, expected) in table {
            assert_eq!(is_our_own(&given), expected, "{given:?}");
        }
    }

    #[test]
    fn a_page_runs_only_scripts_with_its_nonce_or_from_here() {
        let policy = content_policy("abc");
        assert!(policy.contains("script-src 'self' 'nonce-abc' 'wasm-unsafe-eval';"), "{policy}");
        assert!(!policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    }
}
