//! Where a console's request comes from, whatever stands in front: for slowing down guesses at passwords, and for cookies.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::{Client, Proxies};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Tells the pages who the client is; what it came to by TLS gets cookies that it sends by TLS only. A header counts from
/// a trusted proxy alone.
pub async fn find(State(proxies): State<Proxies>, mut request: Request, next: Next) -> Response {
    let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() else {
        return next.run(request).await;
    };
    let headers = request.headers();
    let forwarded = texts(headers, &X_FORWARDED_FOR);
    let client = proxies.client(peer.ip(), forwarded.iter().copied());
    let proto = texts(headers, &X_FORWARDED_PROTO);
    let by_tls = proxies.trust(peer.ip()) && proto.last().is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
    request.extensions_mut().insert(Client(client));
    let mut response = next.run(request).await;
    if by_tls {
        secure(response.headers_mut());
    }
    response
}

fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).collect()
}

fn secure(headers: &mut HeaderMap) {
    let cookies: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    headers.remove(SET_COOKIE);
    for cookie in cookies {
        let text = cookie.to_str().ok().filter(|text| !text.contains("; Secure"));
        let secured = text.and_then(|text| HeaderValue::from_str(&format!("{text}; Secure")).ok());
        headers.append(SET_COOKIE, secured.unwrap_or(cookie));
    }
}
