//! What visitors read when a site cannot answer: small, self-contained, polite, and telling nothing of what is inside.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use super::body::ReplyBody;
use crate::domain::policy::maintenance::about;

/// Why a request gets a page of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Malformed,
    UnknownHost,
    /// Held, and as many wait as may.
    Full,
    /// Shut until a recovery is done (R23), or for maintenance of which so much is left.
    Shut {
        left: Option<Duration>,
    },
    /// The upstream cannot be reached, or broke off.
    Unreachable,
    Late,
}

impl Fault {
    fn words(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (
                StatusCode::BAD_REQUEST,
                "This request could not be understood",
                "It does not say which site it is for. Please check the address.",
            ),
            Self::UnknownHost => (
                StatusCode::NOT_FOUND,
                "There is no site at this address",
                "Please check the address for a typing error.",
            ),
            Self::Full => (
                StatusCode::SERVICE_UNAVAILABLE,
                "One moment, please",
                "Many visitors are here right now. Please try again in a few seconds.",
            ),
            Self::Shut { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Back in a moment",
                "This site is being maintained and will be back shortly. Please try again in a few seconds.",
            ),
            Self::Unreachable => (
                StatusCode::BAD_GATEWAY,
                "The site does not answer",
                "It may be starting. Please try again in a minute.",
            ),
            Self::Late => (
                StatusCode::GATEWAY_TIMEOUT,
                "The site takes too long to answer",
                "It may still be working on your request. Please check before you send it again.",
            ),
        }
    }

    fn left(self) -> Option<Duration> {
        match self {
            Self::Shut { left } => left,
            _ => None,
        }
    }

    /// What is said instead where it is known when the site is back.
    fn until(self) -> Option<String> {
        let left = about(self.left()?.max(Duration::from_secs(1)));
        Some(format!("This site is being maintained and will be back in about {left}. Please try again then."))
    }

    /// HTML for who asks for it, as browsers do; else plain text. `retry_after` in seconds, where it is not known better.
    pub fn page(self, asked: &HeaderMap, retry_after: u64) -> Response<ReplyBody> {
        let (status, title, text) = self.words();
        let retry_after = self.left().map_or(retry_after, |left| retry_after.max(left.as_secs_f64().ceil() as u64));
        let until = self.until();
        let text = until.as_deref().unwrap_or(text);
        let accept = asked.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (kind, body) = if accept.contains("text/html") {
            ("text/html; charset=utf-8", html(title, text))
        } else {
            ("text/plain; charset=utf-8", format!("{title}. {text}\n"))
        };
        let mut response = Response::new(ReplyBody::Page(Full::new(Bytes::from(body))));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let policy = "default-src 'none'; style-src 'unsafe-inline'";
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from(retry_after));
        }
        response
    }
}

fn html(title: &str, text: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title>\
         <style>:root{{color-scheme:light dark}}body{{font:1.125rem/1.5 system-ui,sans-serif;margin:0;min-height:100vh;\
         display:grid;place-content:center}}main{{padding:2rem;max-width:34rem}}h1{{font-size:1.6rem;line-height:1.2;\
         margin:0 0 .5rem}}p{{margin:0}}</style></head><body><main><h1>{title}</h1><p>{text}</p></main></body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_when_the_site_is_back_where_that_is_known() {
        for (left, seconds, said) in [
            (None, "5", "in a few seconds"),
            (Some(Duration::from_millis(1_200)), "5", "back in about 5 seconds"),
            (Some(Duration::from_millis(299_500)), "300", "back in about 5 minutes"),
        ] {
            let (status, _, text) = Fault::Shut { left }.words();
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            let page = Fault::Shut { left }.page(&HeaderMap::new(), 5);
            assert_eq!(page.headers()[RETRY_AFTER], seconds, "{left:?}");
            let text = Fault::Shut { left }.until().unwrap_or_else(|| text.to_owned());
            assert!(text.contains(said), "{text}");
        }
    }
}
