//! The console as browsers, programs and the command meet it: cookies kept, forms sent, redirects followed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, Response, header};
use clap::Parser as _;
use http_body_util::BodyExt as _;
use serde_json::Value;
use stillpoint::boot::{config, console};
use stillpoint::domain::policy::Grants;
use stillpoint::ops::accounts;
use stillpoint::ops::tokens::{self, TokenRequest};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::support::{PASSWORD, Shop};

const HOST: &str = "localhost:4180";
const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 50_000);

/// The shop's console, open for visits.
pub struct House {
    pub shop: Arc<Shop>,
    router: Router,
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

/// A browser, perhaps logged in, and a token of the same person.
pub struct Visitor<'a> {
    house: &'a House,
    cookies: BTreeMap<String, String>,
    token: String,
}

/// What a browser shows after all redirects.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub address: String,
    /// Where the first answer led.
    pub location: String,
    pub text: String,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub json: Value,
}

impl Reply {
    pub fn list(&self) -> &[Value] {
        self.json.as_array().unwrap_or_else(|| panic!("not a list: {}", self.json))
    }

    pub fn find(&self, key: &str, value: &str) -> &Value {
        let found = self.list().iter().find(|entry| entry[key] == value);
        found.unwrap_or_else(|| panic!("no {value} in {}", self.json))
    }
}

/// What stands between.
pub fn field<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).map(|(_, rest)| rest).unwrap_or_default();
    rest.split_once(after).map_or(rest, |(found, _)| found)
}

impl House {
    pub async fn of(shop: Shop) -> Self {
        let (shop, stop) = (Arc::new(shop), CancellationToken::new());
        let options = config::Command::parse_from(["stillpointd"]).options;
        let router = console::router(&shop.test.app, shop.test.store.clone(), &options, stop.clone());
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (served, stopping) = (router.clone(), stop.clone());
        let serving = tokio::spawn(async move { console::serve(served, listener, stopping).await.expect("it serves") });
        Self { shop, router, address, stop, serving }
    }

    pub async fn close(self) {
        self.stop.cancel();
        self.serving.await.expect("nothing panicked");
    }

    pub fn stranger(&self) -> Visitor<'_> {
        Visitor { house: self, cookies: BTreeMap::new(), token: String::new() }
    }

    pub async fn logged_in(&self, email: &str) -> Visitor<'_> {
        let mut visitor = self.stranger();
        let page = visitor.submit("/login", "log-in", &[("email", email), ("password", PASSWORD)]).await;
        assert_eq!((page.status, page.address.as_str()), (200, "/"), "{}", page.text);
        let actor = accounts::unchecked_actor(&self.shop.test.app, email).await.expect("an account");
        let request = TokenRequest { name: "visitor".to_owned(), grants: Grants::default(), expires_in_days: None };
        let made = tokens::create(&self.shop.test.app, &actor, request).await.expect("a token");
        visitor.token = made.text.reveal().to_owned();
        visitor
    }

    pub async fn api(&self, who: &Visitor<'_>, method: &str, path: &str, body: Value) -> Reply {
        self.api_with(&who.token, method, path, body).await
    }

    pub async fn api_with(&self, token: &str, method: &str, path: &str, body: Value) -> Reply {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).uri(format!("/api{path}"));
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}")).body(body).expect("a request");
        let (status, _, text) = self.send(request).await;
        Reply { status, json: serde_json::from_str(&text).unwrap_or(Value::Null) }
    }

    /// Asks until the answer is as it should be.
    pub async fn until(&self, who: &Visitor<'_>, path: &str, wanted: impl Fn(&Reply) -> bool) -> Reply {
        let asking = async {
            loop {
                let mut mark = self.shop.test.store.mark();
                let reply = self.api(who, "GET", path, Value::Null).await;
                if wanted(&reply) {
                    return reply;
                }
                self.shop.test.store.changed(&mut mark).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), asking)
            .await
            .expect("it comes to that within a minute")
    }

    /// Runs the command; gives exit code, answer and messages.
    pub async fn command(&self, who: &Visitor<'_>, words: &str) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stillpoint"));
        command.env_clear().env("STILLPOINT_URL", format!("http://{}", self.address));
        command.env("STILLPOINT_TOKEN", &who.token).args(words.split(' ')).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic");
        let output = output.expect("the command line's program");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    async fn send(&self, mut request: Request<Body>) -> (u16, HeaderMap, String) {
        request.extensions_mut().insert(ConnectInfo(HERE));
        let response: Response<Body> = self.router.clone().oneshot(request).await.expect("the router answers");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        (parts.status.as_u16(), parts.headers, String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Visitor<'_> {
    pub async fn get(&mut self, address: &str) -> Page {
        let (mut address, mut location) = (address.to_owned(), String::new());
        for _ in 0..5 {
            let (status, headers, text) = self.ask("GET", &address, "", "").await;
            let Some(next) = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()) else {
                // What stands above is the same on every page.
                let text = text.find("<header class=\"top\"").map_or(text.clone(), |start| text[start..].to_owned());
                return Page { status, address, location, text };
            };
            address = next.to_owned();
            if location.is_empty() {
                location.clone_from(&address);
            }
        }
        panic!("redirected for ever, at last to {address}")
    }

    /// Sends a form that stands on `page`, and follows.
    pub async fn submit(&mut self, page: &str, action: &str, fields: &[(&str, &str)]) -> Page {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.append_pair("form", &NUMBER.fetch_add(1, Ordering::Relaxed).to_string());
        body.extend_pairs(fields);
        let (status, headers, text) = self.ask("POST", &format!("/actions/{action}"), page, &body.finish()).await;
        assert_eq!(status, 303, "{action}: {text}");
        let location = headers[header::LOCATION].to_str().expect("an address").to_owned();
        Page { location: location.clone(), ..self.get(&location).await }
    }

    async fn ask(&mut self, method: &str, path: &str, from: &str, body: &str) -> (u16, HeaderMap, String) {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, HOST)
            .header(header::ACCEPT, "text/html")
            .header(header::ORIGIN, format!("http://{HOST}"))
            .header(header::REFERER, format!("http://{HOST}{from}"))
            .header("sec-fetch-site", "same-origin")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::COOKIE, cookies.join("; "));
        let answer = self.house.send(request.body(Body::from(body.to_owned())).expect("a request")).await;
        for value in answer.1.get_all(header::SET_COOKIE) {
            let pair = value.to_str().expect("ASCII").split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').expect("a pair");
            match value.is_empty() {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        answer
    }
}
