//! What a browser loads beside the pages: embedded, precompressed, and named by content where it can be.
//!
//! `cargo xtask` bundles `<target>/site` and names it in `STILLPOINT_SITE`. A release build embeds it; a development
//! build reads it from that folder. Without a bundle (plain `cargo test`) everything here answers 404.
//!
//! **Invariant:** only files that the bundle's `site.json` lists are ever sent.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY,
};
use http::{StatusCode, Uri};
use rust_embed::RustEmbed;
use serde::Deserialize;

/// The bundle's hash at the time of a release build; naming it here makes cargo build again when the bundle changes,
/// which it can't see otherwise.
const _: (Option<&str>, Option<&str>) = (option_env!("STILLPOINT_SITE"), option_env!("STILLPOINT_SITE_HASH"));

#[derive(RustEmbed)]
#[folder = "$STILLPOINT_SITE"]
#[allow_missing = true]
struct Embedded;

/// The bundle's table of contents, `site.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Site {
    /// Over all files; changes when any of them does.
    pub hash: String,
    /// Leptos' `output_name`: script and module lie at `/pkg/{output_name}.js` and `/pkg/{output_name}_bg.wasm`.
    pub output_name: String,
    /// By logical name: `stillpoint.css`, `stillpoint.js`, `stillpoint.wasm`, and public files by their path.
    pub files: BTreeMap<String, SiteFile>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct SiteFile {
    /// Below the site's root, without a leading slash.
    pub path: String,
    /// For the attribute `integrity`: `sha384-…`.
    pub integrity: String,
    hash: String,
    /// Variants beside it, the best one first: `br`, `gzip`.
    encodings: Vec<String>,
}

impl Site {
    /// Where a browser finds a file, by its logical name; `None` if the bundle lacks it.
    pub fn href(&self, name: &str) -> Option<String> {
        self.files.get(name).map(|file| format!("/{}", file.path))
    }
}

/// The bundle of this program; an empty one with the plain output name if it was built without.
pub fn site() -> &'static Site {
    static SITE: LazyLock<Site> =
        LazyLock::new(|| {
            Embedded::get("site.json").and_then(|file| serde_json::from_slice(&file.data).ok()).unwrap_or_else(|| {
                Site { hash: String::new(), output_name: "stillpoint".into(), files: BTreeMap::new() }
            })
        });
    &SITE
}

/// Serves `/pkg/*`, and each public file at its own path.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let hashed = get(async |Path(path): Path<String>, headers: HeaderMap| answer(&format!("pkg/{path}"), &headers));
    let public = async |uri: Uri, headers: HeaderMap| answer(uri.path().trim_start_matches('/'), &headers);
    let paths = site().files.values().filter(|file| !file.path.starts_with("pkg/"));
    paths.fold(Router::new().route("/pkg/{*path}", hashed), |router, file| {
        router.route(&format!("/{}", file.path), get(public))
    })
}

fn answer(path: &str, headers: &HeaderMap) -> Response {
    let Some(file) = site().files.values().find(|file| file.path == path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let encoding = file.encodings.iter().find(|encoding| accepts(headers, encoding)).map(String::as_str);
    let tag = match encoding {
        Some(encoding) => format!("\"{}-{encoding}\"", file.hash),
        None => format!("\"{}\"", file.hash),
    };
    // A name that carries its content's hash never means anything else: browsers need not ask again for a year.
    let cache = if path.starts_with("pkg/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut answer = HeaderMap::new();
    answer.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    answer.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answer.insert(ETAG, tag);
    }
    if known_already(headers, &tag) {
        return (StatusCode::NOT_MODIFIED, answer).into_response();
    }

    let extension = match encoding {
        Some("br") => ".br",
        Some("gzip") => ".gz",
        _ => "",
    };
    let Some(content) = Embedded::get(&format!("{path}{extension}")) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if let Some(encoding) = encoding.and_then(|encoding| HeaderValue::from_str(encoding).ok()) {
        answer.insert(CONTENT_ENCODING, encoding);
    }
    if let Ok(content_type) = HeaderValue::from_str(&content_type(path)) {
        answer.insert(CONTENT_TYPE, content_type);
    }
    let body = match content.data {
        Cow::Borrowed(data) => Bytes::from_static(data),
        Cow::Owned(data) => Bytes::from(data),
    };
    (answer, body).into_response()
}

fn content_type(path: &str) -> String {
    let mime = mime_guess::from_path(path).first_or_octet_stream();
    let is_text = mime.type_() == "text" || mime.subtype() == "javascript" || mime.subtype() == "json";
    if is_text { format!("{mime}; charset=utf-8") } else { mime.to_string() }
}

/// Whether `Accept-Encoding` names the coding, itself or by `*`, with a weight above zero (RFC 9110, 12.5.3).
fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut any = false;
    for item in values.flat_map(|value| value.split(',')) {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0));
        if name.trim().eq_ignore_ascii_case(coding) {
            return weight > 0.0;
        }
        any |= name.trim() == "*" && weight > 0.0;
    }
    any
}

/// Whether `If-None-Match` names this content (RFC 9110, 13.1.2: compared weakly).
fn known_already(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|known| known.trim()).any(|known| {
        let known = known.strip_prefix("W/").unwrap_or(known);
        known == "*" || known == tag
    })
}

#[cfg(test)]
mod tests {
    use http::Request;
    use tower::ServiceExt;

    use super::*;

    fn headers(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn an_encoding_is_sent_only_to_who_takes_it() {
        let cases = [
            ("gzip, deflate, br, zstd", "br", true),
            ("gzip;q=0.5, br;q=0", "br", false),
            ("*", "br", true),
            ("br;q=0, *", "br", false),
            ("brx", "br", false),
            ("identity", "gzip", false),
        ];
        for (value, coding, expected) in cases {
            assert_eq!(accepts(&headers(ACCEPT_ENCODING, value), coding), expected, "{value} for {coding}");
        }
        assert!(!accepts(&HeaderMap::new(), "br"));
    }

    #[test]
    fn a_known_tag_is_found_in_a_list_and_when_weak() {
        assert!(known_already(&headers(IF_NONE_MATCH, "\"a\", W/\"b-br\""), "\"b-br\""));
        assert!(!known_already(&headers(IF_NONE_MATCH, "\"b\""), "\"b-br\""));
    }

    #[test]
    fn scripts_modules_and_sheets_have_the_types_that_browsers_insist_on() {
        assert_eq!(content_type("pkg/a.js"), "text/javascript; charset=utf-8");
        assert_eq!(content_type("pkg/a_bg.wasm"), "application/wasm");
        assert_eq!(content_type("pkg/a.css"), "text/css; charset=utf-8");
    }

    #[tokio::test]
    async fn what_the_bundle_does_not_list_is_not_found() {
        for path in ["/pkg/none.js", "/pkg/../site.json", "/site.json"] {
            let request = Request::get(path).body(axum::body::Body::empty()).expect("a valid request");
            let answer = router::<()>().oneshot(request).await.expect("never fails");
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[tokio::test]
    async fn every_listed_file_is_served_whole_and_cached_by_its_name() {
        for file in site().files.values() {
            let request = Request::get(format!("/{}", file.path)).header(ACCEPT_ENCODING, "br, gzip");
            let request = request.body(axum::body::Body::empty()).expect("a valid request");
            let answer = router::<()>().oneshot(request).await.expect("never fails");
            assert_eq!(answer.status(), StatusCode::OK, "{}", file.path);
            let sent = answer.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes().to_vec());
            assert_eq!(sent, file.encodings.first().map(|encoding| encoding.clone().into_bytes()), "{}", file.path);
            let immutable = answer.headers()[CACHE_CONTROL].as_bytes().ends_with(b"immutable");
            assert_eq!(immutable, file.path.starts_with("pkg/"), "{}", file.path);
        }
    }
}
