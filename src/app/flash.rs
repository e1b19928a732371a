//! What a form's answer says on the page that follows: carried in a cookie that lives for one page, so that a form
//! works without JavaScript, a reload sends nothing again, and nobody can put words on a page through its address.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderValue, header};
use leptos::prelude::*;
use leptos_axum::ResponseOptions;
use serde::{Deserialize, Serialize};

use crate::domain::Problem;

const COOKIE: &str = "stillpoint_flash";
/// Longer than any redirect takes; the page that shows it deletes it at once.
const LIFETIME: Duration = Duration::from_secs(60);
/// Browsers drop cookies above 4096 bytes, name and attributes included.
const MAX_BYTES: usize = 3_600;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flash {
    /// The action did not work; shown beside its form, which keeps what was typed in, except secrets.
    Refused { action: String, problem: Problem, kept: Vec<(String, String)> },
    /// A new API token's text, shown this once (R4).
    Token { name: String, text: String },
    /// A link that works once, shown this once: what it is, and for whom.
    Link { what: String, url: String },
    /// What signs a new webhook's posts, shown this once.
    Signing { secret: String },
    /// The action worked, and there is something to say about it.
    Done { text: String },
}

impl Flash {
    /// The value of `Set-Cookie`; `None` if it is too long for a cookie even without what was typed in.
    pub fn set_cookie(&self, secure: Transport) -> Option<HeaderValue> {
        let short = match self {
            Self::Refused { action, problem, .. } => {
                Self::Refused { action: action.clone(), problem: problem.clone(), kept: Vec::new() }
            }
            Self::Token { .. } | Self::Signing { .. } | Self::Link { .. } | Self::Done { .. } => self.clone(),
        };
        let text = [self, &short].into_iter().filter_map(Self::encode).find(|text| text.len() <= MAX_BYTES)?;
        let secure = match secure {
            Transport::Tls => "; Secure",
            Transport::Plain => "",
        };
        let seconds = LIFETIME.as_secs();
        let cookie = format!("{COOKIE}={text}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::from_str(&cookie).ok()
    }

    fn encode(&self) -> Option<String> {
        serde_json::to_vec(self).ok().map(|json| URL_SAFE_NO_PAD.encode(json))
    }

    fn decode(text: &str) -> Option<Self> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    }

    /// Takes what the last form said out of the request, and the cookie out of the browser; the page finds it again with
    /// [`Flash::here`].
    pub fn take() {
        let Some(parts) = use_context::<Parts>() else { return };
        let Some(text) = cookie(&parts, COOKIE) else { return };
        if let Some(response) = use_context::<ResponseOptions>() {
            let gone = HeaderValue::from_static("stillpoint_flash=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
            response.append_header(header::SET_COOKIE, gone);
        }
        if let Some(flash) = Self::decode(&text) {
            provide_context(flash);
        }
    }

    pub fn here() -> Option<Self> {
        use_context::<Self>()
    }

    /// Why the action did not work, if it is the one that was tried last.
    pub fn problem_of(wanted: &str) -> Option<Problem> {
        match Self::here()? {
            Self::Refused { action, problem, .. } if action == wanted => Some(problem),
            _ => None,
        }
    }

    /// What was typed into a field of that action's form.
    pub fn kept(wanted: &str, field: &str) -> Option<String> {
        match Self::here()? {
            Self::Refused { action, kept, .. } if action == wanted => {
                kept.into_iter().find(|(name, _)| name == field).map(|(_, value)| value)
            }
            _ => None,
        }
    }
}

/// What the browser talks through; behind a proxy that ends TLS too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tls,
    Plain,
}

/// A cookie of the request.
pub fn cookie(parts: &Parts, name: &str) -> Option<String> {
    let headers = parts.headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = headers.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kept: String) -> Flash {
        let problem = Problem { status: 409, code: "conflict".into(), message: "No — not now.".into(), hint: None };
        Flash::Refused { action: "snapshot".into(), problem, kept: vec![("note".into(), kept)] }
    }

    fn read_back(header: &HeaderValue) -> Option<Flash> {
        let pair = header.to_str().ok()?.split(';').next()?;
        Flash::decode(pair.strip_prefix("stillpoint_flash=")?)
    }

    #[test]
    fn what_is_said_survives_its_cookie() {
        let flash = refused("before the big import; ü".into());
        let header = flash.set_cookie(Transport::Plain).expect("short enough");
        assert_eq!(read_back(&header), Some(flash));
        assert!(!header.to_str().expect("ASCII").contains("Secure"));
    }

    #[test]
    fn too_much_typed_text_is_dropped_rather_than_the_reason() {
        let header = refused("x".repeat(10_000)).set_cookie(Transport::Tls).expect("short enough without it");
        let Some(Flash::Refused { problem, kept, .. }) = read_back(&header) else { panic!("no reason came through") };
        assert_eq!((problem.status, kept.len()), (409, 0));
        assert!(header.to_str().expect("ASCII").ends_with("; Secure"));
    }

    #[test]
    fn a_damaged_cookie_says_nothing() {
        assert_eq!(Flash::decode("!!"), None);
        assert_eq!(Flash::decode("bm90IGpzb24"), None);
    }
}
