//! One installation with all three doors open: the console's forms, the API, and the real `stillpoint` command.
//!
//! **Invariant:** [`Doors::everywhere`] answers only when all doors led to the same.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, Response, header};
use axum::middleware::{Next, from_fn_with_state};
use clap::Parser as _;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use stillpoint::authz::Actor;
use stillpoint::boot::{config, console};
use stillpoint::domain::activity::{Activity, SnapshotMode};
use stillpoint::domain::policy::Grants;
use stillpoint::domain::{EnvironmentId, Problem, SnapshotName};
use stillpoint::ops::tokens::{self, TokenRequest};
use stillpoint::queue::Timing;
use stillpoint::store::activities::{self, Scope};
use stillpoint::store::environments;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::support::{PASSWORD, Shop, environment, project};

const HOST: &str = "localhost:4180";
/// Where a project may come from a variable, it is worth saying which was meant, and how to see others.
const TERMINAL_ONLY: &str = "You asked for `shop`; `project:list` shows those that you may see.";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Browser,
    Api,
    Terminal,
}

impl Door {
    const ALL: [Self; 3] = [Self::Browser, Self::Api, Self::Terminal];

    fn authority(self) -> &'static str {
        match self {
            Self::Browser => "session",
            Self::Api | Self::Terminal => "token:doors",
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub enum Wish {
    Snapshot {
        environment: &'static str,
        mode: SnapshotMode,
        note: Option<String>,
    },
    Restore {
        environment: &'static str,
        snapshot: SnapshotName,
        into: &'static str,
        parts: &'static str,
    },
    Schedule {
        environment: &'static str,
        cron: &'static str,
        time_zone: &'static str,
    },
    /// Into the parent; `first`: whether a snapshot of that comes first.
    Merge {
        environment: &'static str,
        first: bool,
    },
}

impl Wish {
    pub fn snapshot() -> Self {
        Self::Snapshot { environment: "main", mode: SnapshotMode::Consistent, note: None }
    }

    pub fn restore(snapshot: &SnapshotName) -> Self {
        Self::restore_parts(snapshot, "main", "")
    }

    pub fn restore_parts(snapshot: &SnapshotName, into: &'static str, parts: &'static str) -> Self {
        Self::Restore { environment: "main", snapshot: snapshot.clone(), into, parts }
    }

    /// The page that the form stands on, and its action.
    fn page(&self) -> (String, &'static str) {
        match self {
            Self::Snapshot { environment, .. } => {
                (format!("/projects/shop/environments/{environment}/snapshots/new"), "/actions/snapshot")
            }
            Self::Restore { environment, snapshot, into, parts } => {
                let parts: String =
                    parts.split(',').filter(|part| !part.is_empty()).map(|it| format!("&part={it}")).collect();
                let page = format!(
                    "/projects/shop/environments/{environment}/snapshots/{snapshot}/restore?into={into}{parts}"
                );
                (page, "/actions/restore")
            }
            Self::Schedule { environment, .. } => {
                (format!("/projects/shop/environments/{environment}/schedules"), "/actions/add-schedule")
            }
            Self::Merge { environment, .. } => {
                (format!("/projects/shop/environments/{environment}/merge"), "/actions/merge")
            }
        }
    }

    fn resource(&self) -> String {
        match self {
            Self::Snapshot { environment, .. } => format!("/api/projects/shop/environments/{environment}/backup"),
            Self::Restore { environment, snapshot, .. } => {
                format!("/api/projects/shop/environments/{environment}/backups/{snapshot}/restore")
            }
            Self::Schedule { environment, .. } => format!("/api/projects/shop/environments/{environment}/schedules"),
            Self::Merge { environment, .. } => format!("/api/projects/shop/environments/{environment}/merge"),
        }
    }

    fn words(&self) -> Vec<String> {
        let words: Vec<&str> = match self {
            Self::Snapshot { environment, mode, note } => {
                let live = (*mode == SnapshotMode::Live).then_some("--live");
                let note = note.iter().flat_map(|note| ["--note", note]);
                ["snapshot:create", "-e", environment].into_iter().chain(live).chain(note).collect()
            }
            Self::Restore { environment, snapshot, into, parts } => {
                let only = (!parts.is_empty()).then_some(["--only", parts]);
                let words = ["snapshot:restore", "-e", environment, "--target", into, snapshot.as_str()];
                words.into_iter().chain(only.into_iter().flatten()).collect()
            }
            Self::Schedule { environment, cron, time_zone } => {
                vec!["schedule:add", "-e", environment, "--time-zone", time_zone, cron]
            }
            Self::Merge { environment, first } => {
                vec!["environment:merge", "-e", environment, if *first { "--snapshot" } else { "--no-snapshot" }]
            }
        };
        words.into_iter().chain(["-p", "shop", "--yes"]).map(str::to_owned).collect()
    }
}

/// What a wish led to, without what differs each time: ids, names that were given, instants.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The sentences that the person read, if it was refused.
    pub refused: Option<String>,
    /// What stands in the feed since.
    pub left: Vec<Value>,
}

/// Somebody with a session in the browser and a token for the other doors.
pub struct Person {
    session: String,
    token: String,
}

/// What happens while somebody reads what a restore would replace.
#[derive(Default)]
struct Meanwhile {
    /// How often the environment got another mount then; `None`: it is left alone.
    mounts: std::sync::Mutex<Option<u32>>,
}

pub struct Doors {
    pub shop: Arc<Shop>,
    router: Router,
    address: SocketAddr,
    meanwhile: Arc<Meanwhile>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Doors {
    /// Around the shop, with a worker that takes what is queued.
    pub async fn of(shop: Shop) -> Self {
        let (shop, stop) = (Arc::new(shop), CancellationToken::new());
        let options = config::Command::parse_from(["stillpointd"]).options;
        let meanwhile = Arc::new(Meanwhile::default());
        let router = console::router(&shop.test.app, shop.test.store.clone(), &options, stop.clone())
            .layer(from_fn_with_state((Arc::clone(&shop), Arc::clone(&meanwhile)), change_meanwhile));
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let worker = shop.test.worker(Timing::default()).run(stop.clone());
        let (serving, stopping) = (router.clone(), stop.clone());
        let tasks = vec![
            tokio::spawn(worker),
            tokio::spawn(async move { console::serve(serving, listener, stopping).await.expect("it serves") }),
        ];
        Self { shop, router, address, meanwhile, stop, tasks }
    }

    pub async fn close(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.expect("nothing panicked");
        }
    }

    /// Logs in as a browser does, and makes a token.
    pub async fn person(&self, actor: &Actor) -> Person {
        let email = actor.me().email;
        let form = [("email", email.as_str()), ("password", PASSWORD)];
        let reply = self.send(browser(Method::POST, "/actions/log-in", "/login", "", &form)).await;
        let session = cookie(&reply, "stillpoint").expect("a session");
        let request = TokenRequest { name: "doors".to_owned(), grants: Grants::default(), expires_in_days: None };
        let token = tokens::create(&self.shop.test.app, actor, request).await.expect("a token");
        Person { session, token: token.text.reveal().to_owned() }
    }

    /// From now on, the environment changes whenever somebody has read what a restore would replace.
    pub fn change_after_each_look(&self) {
        *self.meanwhile.mounts.lock().expect("nobody panicked") = Some(0);
    }

    /// Does it through every door, and answers what all of them led to. `status` is the API's.
    pub async fn everywhere(&self, person: &Person, wish: &Wish, status: u16) -> Outcome {
        let mut outcomes = Vec::new();
        for door in Door::ALL {
            let before = self.feed().await.len();
            let refused = match door {
                Door::Browser => self.by_form(person, wish).await,
                Door::Api => self.by_api(person, wish, status).await,
                Door::Terminal => self.by_command(person, wish, status).await,
            };
            let mut left = Vec::new();
            for activity in self.feed().await.into_iter().skip(before) {
                let over = self.shop.test.wait_for(&activity.id, |activity| activity.state.is_over()).await;
                assert_eq!(over.initiator.authority, door.authority());
                left.push(plain(over));
            }
            outcomes.push((door, Outcome { refused, left }));
        }
        let (_, first) = outcomes.first().expect("there are doors").clone();
        for (door, outcome) in outcomes {
            assert_eq!(outcome, first, "{door:?} and the browser differ on {wish:?}");
        }
        first
    }

    /// Of every environment, oldest first.
    async fn feed(&self) -> Vec<Activity> {
        let mut db = self.shop.test.store.read().await.expect("a connection");
        let all = environments::by_project(&mut db, &project()).await.expect("environments");
        let scope = Scope::Project(project(), all.into_iter().map(|environment| environment.id).collect());
        let newest_first = activities::list(&mut db, &scope, &activities::Filter::default(), 100).await;
        let mut activities = newest_first.expect("activities");
        activities.reverse();
        activities
    }

    async fn by_form(&self, person: &Person, wish: &Wish) -> Option<String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (page, action) = wish.page();
        let html = text(self.send(browser(Method::GET, &page, &page, &person.session, &[])).await).await;
        let plan_hash = between(&html, "name=\"plan[hash]\" value=\"", "\"").unwrap_or_default();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
        let mut fields = vec![("project", "shop"), ("form", &number)];
        match wish {
            Wish::Snapshot { environment, mode, note } => {
                let mode = if *mode == SnapshotMode::Live { "live" } else { "consistent" };
                fields.extend([("environment", *environment), ("mode", mode)]);
                fields.push(("note", note.as_deref().unwrap_or_default()));
            }
            Wish::Restore { environment, snapshot, into, parts } => {
                fields.extend([("environment", *environment), ("snapshot", snapshot.as_str())]);
                fields.extend([("plan[into]", *into), ("plan[parts]", *parts), ("plan[hash]", plan_hash)]);
            }
            Wish::Schedule { environment, cron, time_zone } => {
                fields.extend([("environment", *environment), ("cron", *cron), ("time_zone", *time_zone)]);
            }
            Wish::Merge { environment, first } => {
                let shown = between(&html, "name=\"shown\" value=\"", "\"").unwrap_or("announcement");
                fields.extend([("environment", *environment), ("shown", shown)]);
                fields.extend(first.then_some(("first", "1")));
            }
        }
        let reply = self.send(browser(Method::POST, action, &page, &person.session, &fields)).await;
        assert_eq!(reply.status(), 303, "a form leads somewhere");
        let next = reply.headers()[header::LOCATION].to_str().expect("an address").to_owned();
        let is_done = next.starts_with("/projects/shop/activities/") || cookie(&reply, "stillpoint_flash").is_none();
        if is_done {
            return None;
        }
        let flash = cookie(&reply, "stillpoint_flash").unwrap_or_default();
        let cookies = format!("{}; {flash}", person.session);
        let after = text(self.send(browser(Method::GET, &next, &page, &cookies, &[])).await).await;
        let said = between(&after, "<p class=\"problem-what\">", "</div>")
            .or_else(|| between(&after, "<p class=\"lead\">", "<p><a "))
            .unwrap_or_else(|| panic!("the page does not say why: {after}"));
        let said = words_of(said);
        // Whoever sees the form saw the reason beside its button already.
        if let Some(beforehand) = between(&html, "<p class=\"reason\"", "</p>") {
            assert_eq!(words_of(&format!("<p{beforehand}")), said, "before and after pressing the button");
        }
        Some(said)
    }

    async fn by_api(&self, person: &Person, wish: &Wish, status: u16) -> Option<String> {
        let bearer = format!("Bearer {}", person.token);
        let request = |method: &str, query: &str, body: Value| {
            let request = Request::builder().method(method).uri(format!("{}{query}", wish.resource()));
            request.header(header::AUTHORIZATION, &bearer).body(Body::from(body.to_string())).expect("a request")
        };
        let body = match wish {
            Wish::Schedule { cron, time_zone, .. } => json!({ "cron": cron, "time_zone": time_zone }),
            Wish::Merge { first, .. } => json!({ "snapshot": first }),
            Wish::Snapshot { mode, note, .. } => json!({ "safe": *mode == SnapshotMode::Consistent, "note": note }),
            Wish::Restore { into, parts, .. } => {
                let query = format!("?environment_name={into}&parts={}", parts.replace(',', "&parts="));
                let looked = self.send(request("GET", &query, json!({}))).await;
                let plan: Value = serde_json::from_str(&text(looked).await).expect("JSON");
                let parts: Vec<&str> = parts.split(',').filter(|part| !part.is_empty()).collect();
                json!({
                    "environment_name": into,
                    "parts": (!parts.is_empty()).then_some(parts),
                    "plan_hash": plan["plan_hash"].as_str().filter(|hash| !hash.is_empty()),
                })
            }
        };
        let reply = self.send(request("POST", "", body)).await;
        assert_eq!(reply.status(), status, "{wish:?}");
        if status < 300 {
            return None;
        }
        let problem: Problem = serde_json::from_str(&text(reply).await).expect("a problem");
        Some(problem.to_string())
    }

    /// What the API answers at a path below its base.
    pub async fn get(&self, person: &Person, path: &str) -> Value {
        let request = Request::get(format!("/api{path}"));
        let request = request.header(header::AUTHORIZATION, format!("Bearer {}", person.token));
        let reply = self.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!(reply.status(), 200, "{path}");
        serde_json::from_str(&text(reply).await).expect("JSON")
    }

    /// What the API answers to anything.
    pub async fn ask(&self, person: &Person, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(format!("/api{path}"));
        let request = request.header(header::AUTHORIZATION, format!("Bearer {}", person.token));
        let reply = self.send(request.body(Body::from(body.to_string())).expect("a request")).await;
        let status = reply.status().as_u16();
        (status, serde_json::from_str(&text(reply).await).expect("JSON"))
    }

    /// A page of the console, and its status.
    pub async fn page(&self, person: &Person, path: &str) -> (u16, String) {
        let reply = self.send(browser(Method::GET, path, path, &person.session, &[])).await;
        (reply.status().as_u16(), text(reply).await)
    }

    /// Sends a form of a page; where it leads, and the page there.
    pub async fn form(&self, person: &Person, page: &str, action: &str, fields: &[(&str, &str)]) -> (String, String) {
        let reply = self.send(browser(Method::POST, action, page, &person.session, fields)).await;
        assert_eq!(reply.status(), 303, "a form leads somewhere: {}", text(reply).await);
        let next = reply.headers()[header::LOCATION].to_str().expect("an address").to_owned();
        let flash = cookie(&reply, "stillpoint_flash").unwrap_or_default();
        let cookies = format!("{}; {flash}", person.session);
        let after = text(self.send(browser(Method::GET, &next, page, &cookies, &[])).await).await;
        (next, after)
    }

    /// The last that the command says is why.
    async fn by_command(&self, person: &Person, wish: &Wish, status: u16) -> Option<String> {
        let output = self.command(person, wish.words()).await;
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        let expected = match status {
            201 | 202 => 0,
            403 => 6,
            404 if said.contains(TERMINAL_ONLY) => 9,
            _ => 1,
        };
        assert_eq!(output.status.code(), Some(expected), "{said}");
        // Told before it was refused: what would be replaced.
        let refusal: Vec<&str> = said.lines().skip_while(|line| is_told_before(line)).collect();
        (status >= 300).then(|| refusal.join(" ").replace(TERMINAL_ONLY, "").trim().to_owned())
    }

    pub async fn command(&self, person: &Person, words: Vec<String>) -> Output {
        let program: PathBuf = std::env::var_os("CARGO_BIN_EXE_stillpoint")
            .map_or_else(|| env!("CARGO_BIN_EXE_stillpoint").into(), Into::into);
        let mut command = Command::new(program);
        command.env_clear().env("STILLPOINT_URL", format!("http://{}", self.address));
        command.env("STILLPOINT_TOKEN", &person.token).args(words).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic");
        output.expect("the command line's program")
    }

    async fn send(&self, mut request: Request) -> Response<Body> {
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000))));
        self.router.clone().oneshot(request).await.expect("the router answers")
    }

    pub async fn main(&self) -> EnvironmentId {
        let mut db = self.shop.test.store.read().await.expect("a connection");
        let found = environments::by_name(&mut db, &project(), &environment("main")).await.expect("readable");
        found.expect("the shop has it").id
    }
}

/// A command shows what a restore replaces, indented below one line, before it sends anything.
fn is_told_before(line: &str) -> bool {
    line.starts_with("Restoring ") && line.contains(" into ") || line.starts_with("  ")
}

async fn change_meanwhile(
    State((shop, meanwhile)): State<(Arc<Shop>, Arc<Meanwhile>)>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let is_look = request.method() == Method::GET && request.uri().path().ends_with("/restore");
    let reply = next.run(request).await;
    let number = {
        let mut mounts = meanwhile.mounts.lock().expect("nobody panicked");
        let number = mounts.as_mut().filter(|_| is_look && reply.status() == 200);
        number.map(|number| {
            *number += 1;
            *number
        })
    };
    if let Some(number) = number {
        let directory = shop.site.uploads.with_file_name(format!("more-{number}"));
        std::fs::create_dir(&directory).expect("a new directory");
        let mount = format!("[[project.environment.mount]]\nname = \"more-{number}\"\npath = {directory:?}\n");
        let declaration = shop.site.declaration("shop", "main", "production", "self-hosted");
        shop.test.declare(&format!("{declaration}{mount}")).await;
    }
    reply
}

fn browser(method: Method, path: &str, page: &str, cookies: &str, form: &[(&str, &str)]) -> Request {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, HOST)
        .header(header::ACCEPT, "text/html,application/xhtml+xml")
        .header(header::REFERER, format!("http://{HOST}{page}"))
        .header(header::COOKIE, cookies)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .body(Body::from(body))
        .expect("a valid request")
}

async fn text(reply: Response<Body>) -> String {
    let body = reply.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(body.to_vec()).expect("UTF-8")
}

/// `name=value`, as the browser sends it back.
fn cookie(reply: &Response<Body>, name: &str) -> Option<String> {
    let all = reply.headers().get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.filter_map(|text| text.split(';').next());
    pairs.find(|pair| pair.split('=').next() == Some(name)).map(str::to_owned)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(inner, _)| inner)
}

/// What a person reads of it.
fn words_of(html: &str) -> String {
    let mut text = String::new();
    let mut is_tag = false;
    for letter in html.chars() {
        match letter {
            '<' => is_tag = true,
            '>' => {
                is_tag = false;
                text.push(' ');
            }
            letter if !is_tag => text.push(letter),
            _ => {}
        }
    }
    let plain = text.replace("&#x27;", "'").replace("&#39;", "'").replace("&quot;", "\"").replace("&amp;", "&");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn plain(activity: Activity) -> Value {
    let mut value = serde_json::to_value(activity).expect("an activity has string keys");
    for field in ["id", "seq", "created_at", "updated_at", "started_at", "completed_at"] {
        value[field] = Value::Null;
    }
    value["initiator"]["authority"] = Value::Null;
    let given = if value["kind"] == "environment.backup" { "snapshot" } else { "safety" };
    value["payload"][given] = Value::Null;
    if value["kind"] == "environment.schedule" {
        value["payload"]["schedule"] = Value::Null;
    }
    if value["payload"]["first"]["snapshot"].is_object() {
        value["payload"]["first"] = "snapshot".into();
    }
    value
}
