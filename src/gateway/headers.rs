//! Which headers pass, and what is told about the client.
//!
//! **Invariant:** what a client says about where it comes from reaches a site only from an address that the operator
//! named as trusted.

use std::net::{IpAddr, SocketAddr};

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Version};

use crate::domain::Proxies;

/// RFC 9110, 7.6.1, and what browsers and proxies made of it.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Whether the body is coded in a way that the gateway can pass on: chunked or not, nothing else.
pub(super) fn is_readable(headers: &HeaderMap) -> bool {
    listed(headers, &TRANSFER_ENCODING).all(|coding| coding.eq_ignore_ascii_case("chunked"))
}

/// The host that is asked for, as the client wrote it; `None` when the request names none, or more than one, or
/// something that is none.
pub(super) fn host<B>(request: &Request<B>) -> Option<String> {
    let host = written_host(request)?;
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    host.rsplit_once(':').is_none_or(|(_, port)| port.ends_with(']') || is_port(port)).then_some(host)
}

fn written_host<B>(request: &Request<B>) -> Option<String> {
    // RFC 9112, 3.2.2: in absolute form the Host header is not looked at.
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str().to_owned());
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().map(str::to_owned),
        _ => None,
    }
}

/// Without port and trailing dot, in lower case: how routes are looked up.
pub(super) fn host_name(host: &str) -> String {
    let name = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The protocol that the client asks to switch to. Not `h2c`, with which requests would pass round the gate.
pub(super) fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = listed(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(UPGRADE).filter(|_| asked)?;
    let text = protocol.to_str().ok()?;
    text.split(',').all(|name| !name.trim().to_ascii_lowercase().starts_with("h2")).then(|| protocol.clone())
}

/// Takes the headers away that concern this connection only, those named by `Connection` among them.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        listed(headers, &CONNECTION).filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok()).collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        // Named in `Connection` or not, these belong to the message.
        if *name != HOST && *name != CONTENT_LENGTH {
            headers.remove(name);
        }
    }
}

fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// Makes a client's request one of our own: same host, same content, honest origin.
pub(super) fn prepare<B: hyper::body::Body>(request: &mut Request<B>, host: &str, peer: SocketAddr, trusted: &Proxies) {
    let upgrade = upgrade_of(request.headers());
    let has_unknown_length = request.body().size_hint().exact().is_none();
    let accepts_trailers = listed(request.headers(), &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    strip(headers);
    // Answered by the gateway itself, as soon as it reads the body.
    headers.remove(EXPECT);
    if is_chunked || has_unknown_length {
        headers.remove(CONTENT_LENGTH);
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if accepts_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    if let Ok(value) = HeaderValue::from_str(host) {
        headers.insert(HOST, value);
    }
    forward(headers, host, peer.ip().to_canonical(), trusted);
}

fn forward(headers: &mut HeaderMap, host: &str, peer: IpAddr, trusted: &Proxies) {
    let node = match peer {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let here = format!("for={node};host=\"{}\";proto=http", host.replace(['"', '\\'], ""));
    if trusted.trust(peer) {
        let before = listed(headers, &X_FORWARDED_FOR).collect::<Vec<_>>().join(", ");
        let chain = if before.is_empty() { peer.to_string() } else { format!("{before}, {peer}") };
        set(headers, X_FORWARDED_FOR, &chain);
        let before = headers.get_all(FORWARDED).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(", ");
        set(headers, FORWARDED, &if before.is_empty() { here } else { format!("{before}, {here}") });
        headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
        if !headers.contains_key(X_FORWARDED_HOST) {
            set(headers, X_FORWARDED_HOST, host);
        }
        return;
    }
    let said: Vec<HeaderName> = headers.keys().filter(|name| is_about_origin(name)).cloned().collect();
    for name in said {
        headers.remove(name);
    }
    set(headers, X_FORWARDED_FOR, &peer.to_string());
    set(headers, X_REAL_IP, &peer.to_string());
    set(headers, X_FORWARDED_HOST, host);
    set(headers, X_FORWARDED_PROTO, "http");
    set(headers, FORWARDED, &here);
}

/// Many interfaces to applications take `_` in a name for `-`.
fn is_about_origin(name: &HeaderName) -> bool {
    let name = name.as_str().replace('_', "-");
    name.starts_with("x-forwarded-") || name == X_REAL_IP.as_str() || name == FORWARDED.as_str()
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_) => drop(headers.remove(name)),
    }
}

/// Safe to send a second time when the first may or may not have arrived (RFC 9110, 9.2.1).
pub(super) fn is_repeatable(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Empty;

    use super::*;
    use crate::domain::proxies::Proxy;

    fn request(headers: &[(&str, &str)]) -> Request<Empty<Bytes>> {
        let mut request = Request::get("/").body(Empty::new()).expect("a plain request");
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            request.headers_mut().append(name, HeaderValue::from_str(value).expect("a header value"));
        }
        request
    }

    fn prepared(headers: &[(&str, &str)], trusted: &[&str]) -> HeaderMap {
        let mut request = request(headers);
        let trusted = trusted.iter().map(|text| text.parse::<Proxy>().expect("a network")).collect();
        prepare(&mut request, "shop.test", "192.0.2.7:4000".parse().expect("an address"), &trusted);
        request.headers().clone()
    }

    #[test]
    fn a_clients_word_about_its_origin_is_replaced() {
        let said = [("x-forwarded-for", "10.0.0.1"), ("x-real-ip", "10.0.0.1"), ("forwarded", "for=10.0.0.1")];
        let headers = prepared(&said, &[]);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-real-ip"], "192.0.2.7");
        assert_eq!(headers["forwarded"], "for=192.0.2.7;host=\"shop.test\";proto=http");
        assert_eq!(headers["x-forwarded-host"], "shop.test");
        let headers = prepared(&[("x_forwarded_for", "10.0.0.1"), ("x-forwarded-prefix", "/admin")], &[]);
        assert!(!headers.contains_key("x_forwarded_for") && !headers.contains_key("x-forwarded-prefix"));
    }

    #[test]
    fn a_trusted_proxys_word_is_kept_and_extended() {
        let said = [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-proto", "https")];
        for trusted in ["192.0.2.7", "192.0.2.0/24"] {
            let headers = prepared(&said, &[trusted]);
            assert_eq!(headers["x-forwarded-for"], "198.51.100.1, 192.0.2.7");
            assert_eq!(headers["x-forwarded-proto"], "https");
        }
    }

    #[test]
    fn headers_of_one_connection_are_stripped() {
        let said =
            [("connection", "x-secret, keep-alive, host"), ("x-secret", "1"), ("keep-alive", "5"), ("te", "gzip")];
        let headers = prepared(&said, &[]);
        for name in ["connection", "x-secret", "keep-alive", "te"] {
            assert!(!headers.contains_key(name), "{name}");
        }
        assert_eq!(headers["host"], "shop.test");
    }

    #[test]
    fn a_websocket_may_be_asked_for_and_h2c_may_not() {
        let headers = prepared(&[("connection", "Upgrade"), ("upgrade", "websocket")], &[]);
        assert_eq!(headers["upgrade"], "websocket");
        assert_eq!(headers["connection"], "upgrade");
        assert!(!prepared(&[("connection", "Upgrade"), ("upgrade", "h2c")], &[]).contains_key("upgrade"));
    }

    #[test]
    fn a_host_is_looked_up_without_port_dot_and_case() {
        for text in ["Shop.Test", "shop.test:8080", "shop.test.", "shop.test.:80"] {
            assert_eq!(host_name(text), "shop.test", "{text}");
        }
        assert_eq!(host_name("[::1]:80"), "[::1]");
        assert_eq!(host_name("[::1]"), "[::1]");
        assert_eq!(host(&request(&[("host", "a"), ("host", "b")])), None);
        assert_eq!(host(&request(&[])), None);
        assert_eq!(host(&request(&[("host", "shop.test:80, evil.test")])), None);
        assert_eq!(host(&request(&[("host", "[::1]")])).as_deref(), Some("[::1]"));
    }
}
