//! Every address refuses who is not logged in, and a new one can't come without its refusal being tested.

use std::collections::BTreeSet;
use std::path::Path;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, header};
use clap::Parser as _;
use stillpoint::boot::config::Command;
use stillpoint::boot::console;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::support::{PASSWORD, TestApp};

/// Addresses that are for everybody, and why.
const OPEN: &[&str] = &[
    // How one gets in.
    "/login",
    "/setup",
    "log-in",
    "set-up",
    // Prove themselves by the secret of their link.
    "/join",
    "/reset",
    "join",
    "reset-password",
    // Nothing to protect: ends a session, changes a colour.
    "log-out",
    "theme",
    // Proves itself by the API token in its form.
    "/oauth2/token",
];

async fn console(test: &TestApp) -> Router {
    console_with(test, &[]).await
}

async fn console_with(test: &TestApp, flags: &[&str]) -> Router {
    test.operator("admin@example.org").await;
    let options = Command::parse_from(["stillpointd"].iter().chain(flags)).options;
    console::router(&test.app, test.store.clone(), &options, CancellationToken::new())
}

async fn send(router: &Router, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost:4180");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::from(body.to_owned())).expect("a valid request");
    let here: std::net::SocketAddr = "127.0.0.1:50000".parse().expect("an address");
    request.extensions_mut().insert(axum::extract::ConnectInfo(here));
    router.clone().oneshot(request).await.expect("the router answers")
}

fn source(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between `before` and `after`, wherever it occurs.
fn all_between(text: &str, before: &str, after: &str) -> BTreeSet<String> {
    text.split(before).skip(1).filter_map(|rest| rest.split(after).next()).map(str::to_owned).collect()
}

/// Segments that stand for something get a value of its form.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| match part.trim_matches([':', '{', '}']) {
        "activity" | "snapshot" | "backup" | "user" | "invitation" | "channel" | "schedule" | "ticket" | "account"
            if part.starts_with([':', '{']) =>
        {
            "0123456789abcdef0123"
        }
        "project" if part.starts_with([':', '{']) => "shop",
        "environment" if part.starts_with([':', '{']) => "main",
        "service" if part.starts_with([':', '{']) => "database",
        "change" if part.starts_with([':', '{']) => "close",
        "act" if part.starts_with([':', '{']) => "claim",
        _ => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

fn to_login(response: &Response<Body>) -> bool {
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    response.status().is_redirection() && location.is_some_and(|location| location.starts_with("/login"))
}

#[tokio::test]
async fn every_page_leads_to_the_login() {
    let test = TestApp::new().await;
    let router = console(&test).await;
    let pages = all_between(&source("app/shell.rs"), "path!(\"", "\")");
    assert!(pages.len() >= 10, "{pages:?}");
    for page in pages.iter().filter(|page| !OPEN.contains(&page.as_str())) {
        let response = send(&router, "GET", &filled(page), &[("accept", "text/html")], "").await;
        assert!(to_login(&response), "{page}: {} {:?}", response.status(), response.headers());
    }
}

#[tokio::test]
async fn every_stream_refuses() {
    let test = TestApp::new().await;
    let router = console(&test).await;
    let routes = all_between(&source("app/server.rs"), ".route(\"", "\"");
    let streams: Vec<&String> = routes.iter().filter(|route| route.ends_with("/events")).collect();
    assert_eq!(streams.len(), 2, "{routes:?}");
    for stream in streams {
        let response = send(&router, "GET", &filled(stream), &[], "").await;
        assert!(response.status() == 401 || to_login(&response), "{stream}: {}", response.status());
    }
}

#[tokio::test]
async fn every_download_refuses() {
    let test = TestApp::new().await;
    let router = console(&test).await;
    let routes = all_between(&source("app/server.rs").replace([' ', '\n'], ""), ".route(\"", "\"");
    let downloads: Vec<&String> =
        routes.iter().filter(|route| !["/events", ".json", "/{name}"].iter().any(|end| route.ends_with(end))).collect();
    assert_eq!(downloads.len(), 5, "{routes:?}");
    for download in downloads {
        let page = send(&router, "GET", &filled(download), &[("accept", "text/html")], "").await;
        assert!(to_login(&page), "{download}: {}", page.status());
        let plain = send(&router, "GET", &filled(download), &[], "").await;
        assert_eq!(plain.status(), 401, "{download}");
    }
}

#[tokio::test]
async fn every_export_refuses() {
    let test = TestApp::new().await;
    let router = console(&test).await;
    let routes = all_between(&source("app/server.rs"), ".route(\"", "\"");
    let exports: Vec<&String> = routes.iter().filter(|route| route.ends_with(".json")).collect();
    assert_eq!(exports.len(), 1, "{routes:?}");
    for export in exports {
        let response = send(&router, "GET", &filled(export), &[("accept", "text/html")], "").await;
        assert_eq!(response.status(), 401, "{export}");
    }
}

#[tokio::test]
async fn every_action_refuses() {
    let test = TestApp::new().await;
    let router = console(&test).await;
    let text = source("app/actions.rs")
        + &source("app/actions/people.rs")
        + &source("app/actions/notices.rs")
        + &source("app/actions/relocation.rs")
        + &source("app/actions/removal.rs");
    let actions = all_between(&text, "#[server(prefix = \"/actions\", endpoint = \"", "\"");
    let form = "project=shop&environment=main&snapshot=0123456789abcdef0123&activity=0123456789abcdef0123&name=x&\
                token=0123456789abcdef0123&to=pro&hash=x&mode=consistent&plan[hash]=x&plan[into]=main&plan[parts]=&form=1&\
                expires_in_days=&email=x&project_role=viewer&user=0123456789abcdef0123&invitation=0123456789abcdef0123&\
                present=x&password=x&repeated=x&channel=0123456789abcdef0123&way=mail&address=x&\
                schedule=0123456789abcdef0123&time_zone=UTC&ticket=0123456789abcdef0123&act=ticket.claim&reason=x&shown=command&part=mount:uploads&size=1&typed=x&change=close";
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("accept", "text/html"),
        ("sec-fetch-site", "same-origin"),
    ];
    assert!(actions.len() >= 18, "{actions:?}");
    for action in actions.iter().filter(|action| !OPEN.contains(&action.as_str())) {
        let address = format!("/actions/{action}");
        let response = send(&router, "POST", &address, &headers, form).await;
        assert!(to_login(&response), "{address}: {} {:?}", response.status(), response.headers());
        for accept in ["application/json", "*/*"] {
            let [kind, _, origin] = headers;
            let response = send(&router, "POST", &address, &[kind, ("accept", accept), origin], form).await;
            assert_eq!(response.status(), 401, "{address} for {accept}");
            assert!(!response.headers().contains_key(header::LOCATION), "{address} for {accept}");
        }
    }
}

#[tokio::test]
async fn a_program_that_does_not_ask_for_pages_is_led_on_by_status_too() {
    let test = TestApp::new().await;
    let router = console(&test).await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let body = format!("email=admin%40example.org&password={}&next=%2Ftokens", PASSWORD.replace(' ', "+"));
    for accept in ["application/json", "*/*"] {
        let headers = [form, ("accept", accept), ("sec-fetch-site", "same-origin")];
        let response = send(&router, "POST", "/actions/log-in", &headers, &body).await;
        assert_eq!(response.status(), 303, "{accept}");
        assert_eq!(response.headers()[header::LOCATION], "/tokens");
        assert!(response.headers().contains_key(header::SET_COOKIE));
        let page = send(&router, "GET", "/tokens", &[("accept", accept)], "").await;
        assert!(to_login(&page), "{accept}: {}", page.status());
        assert_eq!(page.status(), 303, "{accept}");
    }
}

#[tokio::test]
async fn every_route_of_the_api_refuses() {
    let test = TestApp::new().await;
    let router = console(&test).await;
    let text = source("api/mod.rs").replace(['\n', ' '], "");
    let mut asked = 0;
    for route in text.split(".route(\"").skip(1) {
        let (path, rest) = route.split_once('"').expect("a path");
        if OPEN.contains(&path) {
            continue;
        }
        let handlers = rest.split(".route(").next().unwrap_or(rest);
        for (method, mark) in [("GET", "get("), ("POST", "post("), ("DELETE", "delete("), ("PATCH", "patch(")] {
            if handlers.contains(mark) {
                let response = send(&router, method, &format!("/api{}", filled(path)), &[], "").await;
                assert_eq!(response.status(), 401, "{method} {path}");
                asked += 1;
            }
        }
    }
    assert!(asked >= 28, "only {asked} routes were found");
}

#[tokio::test]
async fn a_form_from_another_site_is_refused_even_with_a_session() {
    let test = TestApp::new().await;
    let router = console(&test).await;
    let body = format!("email=admin%40example.org&password={}&next=%2F", PASSWORD.replace(' ', "+"));
    let form = ("content-type", "application/x-www-form-urlencoded");
    let html = ("accept", "text/html");
    let own = send(&router, "POST", "/actions/log-in", &[form, html, ("sec-fetch-site", "same-origin")], &body).await;
    let cookie = own.headers().get_all(header::SET_COOKIE).iter().find_map(|value| {
        let text = value.to_str().ok()?;
        text.starts_with("stillpoint=").then(|| text.to_owned())
    });
    let cookie = cookie.expect("a session");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let session = cookie.split(';').next().expect("a value").to_owned();

    let page = send(&router, "GET", "/tokens", &[html, ("cookie", &session)], "").await;
    assert_eq!(page.status(), 200, "the session works");
    for foreign in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        let headers = [form, html, ("cookie", session.as_str()), foreign];
        let response = send(&router, "POST", "/actions/make-token", &headers, "name=x").await;
        assert_eq!(response.status(), 403, "{foreign:?}");
    }
    let headers = [form, html, ("cookie", session.as_str()), ("sec-fetch-site", "same-origin")];
    let out = send(&router, "POST", "/actions/log-out", &headers, "").await;
    assert!(out.status().is_redirection());
    let after = send(&router, "GET", "/tokens", &[html, ("cookie", &session)], "").await;
    assert!(to_login(&after), "the session has ended");
}

/// After how many attempts from there the door stays shut; each is at another account, so that only the place counts.
/// A place gets another attempt every two seconds.
async fn attempts(router: &Router, most: usize, forwarded: impl Fn(usize) -> String) -> Option<usize> {
    for attempt in 0..most {
        let forwarded = forwarded(attempt);
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("sec-fetch-site", "same-origin"),
            ("x-forwarded-for", forwarded.as_str()),
        ];
        let body = format!("email=user{attempt}%40example.org&password=a+guess+that+fails");
        match send(router, "POST", "/actions/log-in", &headers, &body).await.status().as_u16() {
            401 => {}
            429 => return Some(attempt),
            other => panic!("{other}"),
        }
    }
    None
}

#[tokio::test]
async fn guesses_count_by_where_they_come_from_behind_a_trusted_proxy() {
    let test = TestApp::new().await;
    let router = console_with(&test, &["--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "127.0.0.1"]).await;
    let stopped = attempts(&router, 120, |_| "203.0.113.5, 10.1.2.3".to_owned()).await;
    assert!(stopped.is_some(), "one place can't go on guessing");
    let spoofed = attempts(&router, 30, |attempt| format!("198.51.100.{attempt}, 203.0.113.5")).await;
    assert!(spoofed.is_some(), "what the client wrote itself changes nothing");
    assert_eq!(attempts(&router, 5, |attempt| format!("203.0.113.{}", 100 + attempt)).await, None, "others go on");
}

#[tokio::test]
async fn nobody_else_is_believed_where_they_come_from() {
    let test = TestApp::new().await;
    let router = console_with(&test, &["--trusted-proxy", "10.0.0.0/8"]).await;
    let stopped = attempts(&router, 120, |attempt| format!("203.0.113.{attempt}")).await;
    assert!(stopped.is_some(), "the connection's other end is no proxy of ours");
}

#[tokio::test]
async fn cookies_are_secure_where_a_trusted_proxy_says_that_it_speaks_tls() {
    let test = TestApp::new().await;
    let router = console_with(&test, &["--trusted-proxy", "127.0.0.1"]).await;
    let body = format!("email=admin%40example.org&password={}&next=%2F", PASSWORD.replace(' ', "+"));
    for (proto, secure) in [("https", true), ("http", false), ("https, http", false)] {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("sec-fetch-site", "same-origin"),
            ("x-forwarded-proto", proto),
        ];
        let response = send(&router, "POST", "/actions/log-in", &headers, &body).await;
        let cookie = response.headers()[header::SET_COOKIE].to_str().expect("ASCII").to_owned();
        assert_eq!(cookie.matches("Secure").count(), usize::from(secure), "{proto}: {cookie}");
    }
}
