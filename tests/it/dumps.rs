//! Dumps of single services: of snapshots and of live environments, at every door, and what becomes of those that break.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use axum::body::Body;
use axum::http::{Request, Response, header};
use clap::Parser as _;
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use stillpoint::authz::Actor;
use stillpoint::boot::{config, console};
use stillpoint::domain::activity::{Activity, ActivityKind, ActivityResult, ActivityState};
use stillpoint::domain::dump::Compression;
use stillpoint::domain::ids::ServiceName;
use stillpoint::domain::policy::{Grants, TypeRole};
use stillpoint::domain::{ActivityId, SnapshotName};
use stillpoint::ops::dumps::{self, Dump, DumpRequest};
use stillpoint::ops::tokens::{self, TokenRequest};
use stillpoint::ops::{Error, accounts, activities};
use stillpoint::queue::Timing;
use stillpoint::store::logs;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::everything::installed;
use crate::everything::shop::{Kind, Shop as Everything};
use crate::process::{Installation, said, until};
use crate::retention;
use crate::support::server::programs;
use crate::support::{PASSWORD, Shop, TestApp, environment, project};

/// What every SQLite database begins with.
const SQLITE: &[u8] = b"SQLite format 3\0";

fn of(snapshot: Option<&SnapshotName>) -> DumpRequest {
    let service = ServiceName::parse("database").expect("a name");
    DumpRequest { service, snapshot: snapshot.cloned(), compression: Compression::None }
}

async fn ask(shop: &Shop, actor: &Actor, request: &DumpRequest) -> Result<Dump, Error> {
    let app = &shop.test.app;
    let proof = dumps::authorize(app, actor, &project(), &environment("main"), request).await?;
    dumps::open(app, proof, request.clone()).await
}

async fn whole(dump: Dump) -> Vec<u8> {
    let chunks: Vec<_> = dump.body.collect().await;
    chunks.into_iter().flat_map(|chunk| chunk.expect("nothing breaks")).collect()
}

/// Dumps in the feed, newest first.
async fn readings(shop: &Shop) -> Vec<Activity> {
    let filter = activities::Filter { kinds: vec![ActivityKind::Dump], ..Default::default() };
    let feed = activities::feed(&shop.test.app, &shop.history().await, filter).await.expect("a feed");
    feed.entries.into_iter().map(|entry| entry.activity).collect()
}

async fn ended(shop: &Shop, id: &ActivityId) -> Activity {
    shop.test.wait_for(id, |activity| activity.state.is_over()).await
}

async fn log(shop: &Shop, id: &ActivityId) -> String {
    let mut db = shop.test.store.read().await.expect("a connection");
    let lines = logs::after(&mut db, id, 0).await.expect("a log");
    lines.into_iter().map(|line| line.message).collect::<Vec<_>>().join("\n")
}

fn orders_in(bytes: &[u8]) -> i64 {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), bytes).expect("a writable file");
    let open = rusqlite::Connection::open(file.path()).expect("a database");
    open.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).expect("the table")
}

/// Rows that no compression makes small.
fn grow(shop: &Shop) {
    shop.site.open().execute_batch("CREATE TABLE noise AS SELECT randomblob(12000000) AS bytes").expect("writable");
}

#[tokio::test]
async fn what_was_read_stands_in_the_feed_with_the_name_of_whoever_read_it() {
    let shop = TestApp::with_shop().await;
    let name = shop.snapshot().await;
    shop.site.order("sofa");

    let stored = ask(&shop, &shop.admin, &of(Some(&name))).await.expect("an admin");
    assert_eq!(stored.file_name, format!("main--database--{name}.db"));
    let stored = whole(stored).await;
    assert_eq!((&stored[..16], orders_in(&stored)), (SQLITE, 3));
    let live = ask(&shop, &shop.admin, &of(None)).await.expect("an admin");
    assert!(live.file_name.starts_with("main--database--20") && live.file_name.ends_with("Z.db"), "{live:?}");
    assert_eq!(orders_in(&whole(live).await), 4);

    let all = readings(&shop).await;
    assert_eq!(all.len(), 2);
    for activity in &all {
        assert_eq!((activity.result, &*activity.initiator.name), (Some(ActivityResult::Success), "admin@example.org"));
        assert!(activity.started_at.is_some() && activity.completed_at.is_some() && activity.progress == 1000);
        assert!(log(&shop, &activity.id).await.starts_with("Handed out "), "{}", log(&shop, &activity.id).await);
    }
    let feed = activities::feed(&shop.test.app, &shop.history().await, Default::default()).await.expect("a feed");
    assert_eq!(feed.entries[0].description, "downloaded a dump of database in main");
    assert_eq!(feed.entries[1].description, format!("downloaded a dump of database in the snapshot {name} of main"));
    let leftovers = fs::read_dir(shop.test.app.data().join("work")).expect("a directory").count();
    assert_eq!(leftovers, 0, "scratch copies are gone");
}

#[tokio::test]
async fn who_is_no_admin_takes_nothing_out_and_the_try_is_recorded_once() {
    let shop = TestApp::with_shop().await;
    let name = shop.snapshot().await;
    for role in [TypeRole::Viewer, TypeRole::Contributor] {
        let someone = shop.test.member(&format!("{role}@example.org"), role).await;
        for request in [of(None), of(None), of(Some(&name))] {
            let refused = ask(&shop, &someone, &request).await.expect_err("no admin");
            assert!(matches!(&refused, Error::Forbidden(_)), "{refused:?}");
            assert!(refused.to_string().contains("needs the admin role on production environments"), "{refused}");
        }
    }
    let refused = readings(&shop).await;
    assert_eq!(refused.len(), 4, "asking again adds nothing: {refused:#?}");
    assert!(refused.iter().all(|it| it.result == Some(ActivityResult::Failure) && it.failure.is_some()));
    assert_eq!(refused[3].initiator.name, "viewer@example.org");

    let stranger = shop.test.outsider("stranger@example.org").await;
    for request in [of(None), of(Some(&name))] {
        assert!(matches!(ask(&shop, &stranger, &request).await, Err(Error::NotFound(_))));
    }
    assert_eq!(readings(&shop).await.len(), 4, "a stranger leaves no trace in a project that is not theirs");

    let unknown = SnapshotName::parse("0123456789abcdef0123").expect("a name");
    assert!(matches!(ask(&shop, &shop.admin, &of(Some(&unknown))).await, Err(Error::NotFound("snapshot"))));
    let other = DumpRequest { service: ServiceName::parse("search").expect("a name"), ..of(None) };
    assert!(matches!(ask(&shop, &shop.admin, &other).await, Err(Error::NotFound("service"))));
}

#[tokio::test]
async fn a_read_only_token_takes_nothing_out() {
    let shop = TestApp::with_shop().await;
    let grants = Grants { read_only: true, ..Grants::default() };
    let request = TokenRequest { name: "look".to_owned(), grants, expires_in_days: None };
    let token = tokens::create(&shop.test.app, &shop.admin, request).await.expect("a token");
    let actor = accounts::actor_of_bearer(&shop.test.app, &token.text).await.expect("a valid token");
    let refused = ask(&shop, &actor, &of(None)).await.expect_err("it may only look");
    assert!(refused.to_string().starts_with("This token may only read;"), "{refused}");
}

#[tokio::test]
async fn a_download_keeps_its_snapshot_until_it_is_over() {
    let shop = TestApp::with_shop().await;
    shop.test.declare("[[project]]\nid = \"shop\"\nplan = \"starter\"\n").await;
    grow(&shop);
    let old = shop.snapshot().await;
    shop.snapshot().await;
    retention::age(&shop, &old, 30).await;
    // Nobody takes anything of it yet: it runs.
    let dump = ask(&shop, &shop.admin, &of(Some(&old))).await.expect("an admin");
    let reading = readings(&shop).await.remove(0);
    assert_eq!(reading.state, ActivityState::InProgress);
    assert!(retention::run(&shop).await.is_empty(), "nothing goes");
    let refused = retention::delete(&shop, &old).await.expect_err("it is in use").problem();
    assert_eq!((refused.status, refused.message.contains("download")), (409, true), "{refused}");

    assert!(whole(dump).await.starts_with(SQLITE));
    assert_eq!(ended(&shop, &reading.id).await.result, Some(ActivityResult::Success));
    retention::run(&shop).await;
    assert!(!retention::kept(&shop).await.contains(&old), "nothing holds it any more");
}

#[tokio::test]
async fn a_slow_reader_keeps_no_snapshot_waiting() {
    let shop = TestApp::with_shop().await;
    grow(&shop);
    let mut slow = ask(&shop, &shop.admin, &of(None)).await.expect("an admin");
    let first = slow.body.next().await.expect("a chunk").expect("nothing breaks");
    let running = readings(&shop).await.remove(0);
    assert_eq!(running.state, ActivityState::InProgress);
    shop.snapshot().await;
    assert_eq!(shop.test.activity(&running.id).await.state, ActivityState::InProgress, "it goes on");
    assert_eq!(&first[..16], SQLITE);
    assert!(first.len() + whole(slow).await.len() > 12_000_000);
    assert_eq!(ended(&shop, &running.id).await.result, Some(ActivityResult::Success));
}

#[tokio::test]
async fn who_goes_away_ends_the_reading() {
    let shop = TestApp::with_shop().await;
    grow(&shop);
    let dump = ask(&shop, &shop.admin, &of(None)).await.expect("an admin");
    let running = readings(&shop).await.remove(0);
    drop(dump);
    assert_eq!(ended(&shop, &running.id).await.state, ActivityState::Cancelled);
    let told = log(&shop, &running.id).await;
    assert!(told.starts_with("Ended after ") && told.ends_with("whoever read it went away"), "{told}");
}

#[tokio::test]
async fn a_reading_that_is_cancelled_breaks_what_is_downloaded() {
    let mut shop = TestApp::with_shop().await;
    let timing = Timing { heartbeat: std::time::Duration::from_millis(20), ..Timing::default() };
    shop.test.app = stillpoint::ops::App::with(shop.test.store.clone(), shop.test.app.settings().clone(), timing);
    grow(&shop);
    let mut dump = ask(&shop, &shop.admin, &of(None)).await.expect("an admin");
    let running = readings(&shop).await.remove(0);
    let proof = shop.test.proof(&shop.admin).await.expect("an admin");
    activities::cancel(&shop.test.app, proof, &running.id).await.expect("it runs");
    assert_eq!(ended(&shop, &running.id).await.state, ActivityState::Cancelled);
    let mut last = None;
    while let Some(chunk) = dump.body.next().await {
        last = Some(chunk);
    }
    let error = last.expect("chunks came").expect_err("half a dump must not look whole");
    assert!(error.to_string().contains("cancelled"), "{error}");
}

#[tokio::test]
async fn a_dump_that_breaks_in_the_middle_ends_with_an_error_and_a_failed_activity() {
    let shop = TestApp::with_shop().await;
    grow(&shop);
    let name = shop.snapshot().await;
    for compression in [Compression::None, Compression::Gzip] {
        let packs = shop.test.app.data().join("repositories/shop/data");
        let away = packs.with_file_name("away");
        let request = DumpRequest { compression, ..of(Some(&name)) };
        let mut dump = ask(&shop, &shop.admin, &request).await.expect("its beginning is there");
        let mut came = dump.body.next().await.expect("a chunk").expect("nothing breaks").to_vec();
        fs::rename(&packs, &away).expect("the repository's own directory");
        let mut broken = None;
        while let Some(chunk) = dump.body.next().await {
            match chunk {
                Ok(chunk) => came.extend_from_slice(&chunk),
                Err(error) => broken = Some(error),
            }
        }
        fs::rename(&away, &packs).expect("back again");
        assert!(broken.is_some() && came.len() < 12_000_000, "{} bytes came", came.len());
        if compression == Compression::Gzip {
            let read = flate2::read::GzDecoder::new(&came[..]).read_to_end(&mut Vec::new());
            assert!(read.is_err(), "what came does not unpack to its end");
        }
        let failed = readings(&shop).await.remove(0);
        assert_eq!(ended(&shop, &failed.id).await.result, Some(ActivityResult::Failure));
    }
}

#[tokio::test]
async fn what_can_not_be_read_at_all_is_refused_with_the_reason() {
    let shop = TestApp::with_shop().await;
    fs::remove_file(&shop.site.database).expect("the test's own");
    let refused = ask(&shop, &shop.admin, &of(None)).await.expect_err("there is no database");
    assert_eq!(refused.problem().status, 409);
    assert!(refused.to_string().contains("does not exist"), "{refused}");
    let failed = readings(&shop).await.remove(0);
    assert_eq!((failed.result, failed.failure), (Some(ActivityResult::Failure), Some(refused.to_string())));
}

/// The console as browsers reach it.
struct Browser {
    router: axum::Router,
    session: String,
}

impl Browser {
    async fn of(shop: &Shop, actor: &Actor) -> Self {
        let options = config::Command::parse_from(["stillpointd"]).options;
        let router = console::router(&shop.test.app, shop.test.store.clone(), &options, CancellationToken::new());
        let mut new = Self { router, session: String::new() };
        let email = actor.me().email.replace('@', "%40");
        let form = format!("email={email}&password={}&next=%2F", PASSWORD.replace(' ', "+"));
        let request =
            Request::post("/actions/log-in").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.header("sec-fetch-site", "same-origin").body(Body::from(form));
        let reply = new.send(request.expect("a request")).await;
        new.session = cookie(&reply, "stillpoint=").expect("a session");
        new
    }

    async fn send(&self, mut request: Request<Body>) -> Response<Body> {
        let here: std::net::SocketAddr = "127.0.0.1:50000".parse().expect("an address");
        request.extensions_mut().insert(axum::extract::ConnectInfo(here));
        request.headers_mut().insert(header::HOST, "localhost:4180".parse().expect("a host"));
        self.router.clone().oneshot(request).await.expect("the router answers")
    }

    async fn get(&self, path: &str, more: &[(&str, &str)]) -> Response<Body> {
        let cookies = more.iter().find(|(name, _)| *name == "cookie").map_or("", |(_, value)| value);
        let mut request = Request::get(path).header(header::ACCEPT, "text/html");
        request = request.header(header::COOKIE, format!("{}; {cookies}", self.session));
        for (name, value) in more.iter().filter(|(name, _)| *name != "cookie") {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).expect("a request")).await
    }
}

fn cookie(reply: &Response<Body>, name: &str) -> Option<String> {
    let all = reply.headers().get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.filter_map(|text| text.split(';').next());
    pairs.find(|pair| pair.starts_with(name)).map(str::to_owned)
}

async fn bytes(reply: Response<Body>) -> Vec<u8> {
    reply.into_body().collect().await.expect("a whole body").to_bytes().to_vec()
}

#[tokio::test]
async fn a_page_links_to_the_dumps_of_its_services() {
    let shop = TestApp::with_shop().await;
    let name = shop.snapshot().await;
    let browser = Browser::of(&shop, &shop.admin).await;
    let main = "/projects/shop/environments/main";
    for page in [main.to_owned(), format!("{main}/snapshots/{name}")] {
        let html = String::from_utf8(bytes(browser.get(&page, &[]).await).await).expect("UTF-8");
        let link = format!("{page}/services/database/dump");
        for link in [format!("href=\"{link}\""), format!("href=\"{link}?compress=gzip\"")] {
            assert!(html.contains(&link), "{page} has no {link}");
        }
        let reply = browser.get(&link, &[]).await;
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()[header::CACHE_CONTROL]),
            (200, &"no-store".parse().expect("a value"))
        );
        let disposition = reply.headers()[header::CONTENT_DISPOSITION].to_str().expect("ASCII").to_owned();
        assert!(disposition.starts_with("attachment; filename=\"main--database--"), "{disposition}");
        assert_eq!(orders_in(&bytes(reply).await), 3);
        let packed = bytes(browser.get(&format!("{link}?compress=gzip"), &[]).await).await;
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut plain).expect("a whole file");
        assert_eq!(orders_in(&plain), 3);

        let before = readings(&shop).await.len();
        let head = Request::head(&link).header(header::COOKIE, &browser.session).body(Body::empty());
        let head = browser.send(head.expect("a request")).await;
        assert_eq!(
            (head.status().as_u16(), head.headers()[header::CONTENT_TYPE].to_str().ok()),
            (200, Some("application/vnd.sqlite3"))
        );
        assert_eq!(browser.get(&link, &[("sec-fetch-site", "cross-site")]).await.status(), 303);
        assert_eq!(readings(&shop).await.len(), before, "neither reads anything");
    }
}

#[tokio::test]
async fn a_viewers_page_says_why_there_is_no_download_before_and_after() {
    let shop = TestApp::with_shop().await;
    let name = shop.snapshot().await;
    let viewer = shop.test.member("viewer@example.org", TypeRole::Viewer).await;
    let browser = Browser::of(&shop, &viewer).await;
    let main = "/projects/shop/environments/main";
    for page in [main.to_owned(), format!("{main}/snapshots/{name}")] {
        let text = async |reply| String::from_utf8(bytes(reply).await).expect("UTF-8");
        let html = text(browser.get(&page, &[]).await).await;
        let link = format!("{page}/services/database/dump");
        assert!(!html.contains(&link) && html.contains("Taking data out of an environment needs the admin role"));
        let refused = browser.get(&link, &[]).await;
        assert_eq!((refused.status().as_u16(), refused.headers()[header::LOCATION].to_str().ok()), (303, Some(&*page)));
        let said = cookie(&refused, "stillpoint_flash=").expect("what is said on the page");
        let after = text(browser.get(&page, &[("cookie", &said)]).await).await;
        assert!(after.contains("role=\"alert\"") && after.matches("Taking data out").count() > 1, "{after}");
    }
}

/// The command line as a process; `STILLPOINT_CLI`: another build, to measure it.
fn command(at: &Installation, words: &[&str]) -> Command {
    let program = ["STILLPOINT_CLI", "CARGO_BIN_EXE_stillpoint"].into_iter().find_map(std::env::var_os);
    let program: PathBuf = program.map_or_else(|| env!("CARGO_BIN_EXE_stillpoint").into(), Into::into);
    let mut command = Command::new(program);
    command.env_clear().env("STILLPOINT_URL", at.console()).env("STILLPOINT_TOKEN", &at.token);
    command.args(["db:dump", "-p", "shop", "-e", "main"]).args(words).stdin(Stdio::null());
    command
}

fn run(at: &Installation, words: &[&str]) -> Output {
    command(at, words).output().expect("the command line's program")
}

/// The file that it wrote.
#[track_caller]
fn saved(at: &Installation, words: &[&str]) -> PathBuf {
    let output = run(at, words);
    assert!(output.status.success(), "{words:?}: {}", said(&output));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("To load it: "), "{told}");
    PathBuf::from(String::from_utf8(output.stdout).expect("UTF-8").trim())
}

fn succeeded(command: &mut Command) -> String {
    let output = command.output().expect("the tool is there");
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

/// How many numbers a plain dump holds, once its database's own tool has loaded it.
fn loaded(shop: &Everything, service: &str, file: &Path, database: &str) -> String {
    let count = "SELECT count(*) FROM numbers";
    match service {
        "local" => succeeded(Command::new("sqlite3").arg(file).arg(count)),
        "records" => {
            let tool = |name: &str| {
                let mut tool = Command::new(programs().join(name));
                tool.env("PGHOST", "127.0.0.1").env("PGPORT", shop.postgres.port.to_string()).env("PGUSER", "postgres");
                tool
            };
            succeeded(tool("createdb").args(["--template=template0", database]));
            succeeded(tool("pg_restore").arg("--exit-on-error").arg(format!("--dbname={database}")).arg(file));
            succeeded(tool("psql").args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", count, database]))
        }
        "orders" => {
            shop.mariadb.admin(&format!("CREATE DATABASE {database} CHARACTER SET utf8mb4"));
            let mut client = shop.mariadb.client();
            client.args(["--binary-mode", "--comments", "--default-character-set=utf8mb4", database]);
            succeeded(client.stdin(fs::File::open(file).expect("the dump")));
            shop.mariadb.admin(&format!("USE {database}; {count}"))
        }
        _ => {
            let directory = tempfile::tempdir().expect("a temporary directory");
            fs::copy(file, directory.path().join("dump.rdb")).expect("the dump");
            let socket = directory.path().join("redis.sock");
            let mut server = Command::new("redis-server");
            server.current_dir(directory.path()).args(["--port", "0", "--unixsocket", "redis.sock", "--save", ""]);
            let mut server = server.stdout(Stdio::null()).spawn().expect("Redis is installed");
            let ask = || {
                let asked =
                    Command::new("redis-cli").arg("-s").arg(&socket).args(["SCARD", "numbers"]).output().ok()?;
                let said = String::from_utf8(asked.stdout).ok()?.trim().to_owned();
                said.parse::<u64>().is_ok().then_some(said)
            };
            let count = until("Redis has loaded the dump", ask);
            server.kill().expect("it runs");
            server.wait().expect("it is ours");
            count
        }
    }
}

#[test]
fn a_dump_of_every_kind_loads_with_the_databases_own_tools() {
    let (shop, at) = installed();
    let server = at.start();
    for _ in 0..3 {
        shop.write(&Kind::ALL);
    }
    let name = at.snapshot();
    shop.write(&Kind::ALL);
    let out = at.directory().join("dumps");
    fs::create_dir(&out).expect("a fresh directory");
    let directory = out.to_str().expect("UTF-8");

    let extensions = [("local", "db"), ("records", "dump"), ("orders", "sql"), ("cache", "rdb")];
    for (service, extension) in extensions {
        let stored = saved(&at, &["--service", service, "--snapshot", &name, "-d", directory]);
        assert_eq!(stored, out.join(format!("main--{service}--{name}.{extension}")));
        assert_eq!(loaded(&shop, service, &stored, "stored"), "3", "{service} in the snapshot");

        let live = saved(&at, &["--service", service, "--gzip", "-d", directory]);
        assert!(live.to_string_lossy().ends_with(&format!("Z.{extension}.gz")), "{live:?}");
        succeeded(Command::new("gunzip").arg(&live));
        assert_eq!(loaded(&shop, service, &live.with_extension(""), "live"), "4", "{service} as it is now");
    }

    // On stdout the same bytes, and nothing else.
    let stored = out.join(format!("main--local--{name}.db"));
    let printed = run(&at, &["--service", "local", "--snapshot", &name, "--stdout"]);
    assert!(printed.status.success() && printed.stdout == fs::read(&stored).expect("the file"), "{}", said(&printed));
    let named = saved(&at, &["--service", "local", "-d", directory, "-f", "a.b.db", "-t"]);
    let named = named.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    assert!(named.starts_with("a--20") && named.ends_with("Z.b.db"), "{named}");

    // What is not clear, not to be overwritten or not to be had is refused, and said why.
    let several = run(&at, &["--stdout"]);
    assert_eq!(several.status.code(), Some(4), "{}", said(&several));
    assert!(said(&several).contains("Give --service NAME. There are: records (postgresql), orders (mysql)"));
    let before = fs::metadata(&stored).and_then(|it| it.modified()).expect("a file");
    let again = run(&at, &["--service", "local", "--snapshot", &name, "-d", directory]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    assert_eq!(fs::metadata(&stored).and_then(|it| it.modified()).expect("a file"), before);
    saved(&at, &["--service", "local", "--snapshot", &name, "-d", directory, "--yes"]);
    let table = run(&at, &["--service", "local", "--table", "numbers"]);
    assert_eq!(table.status.code(), Some(2));
    assert!(said(&table).contains("--table is not available: a dump holds a whole service"), "{}", said(&table));
    let none = run(&at, &["--service", "search"]);
    assert!(!none.status.success() && said(&none).contains("There is no service search"), "{}", said(&none));
    at.assert_no_leftovers();
    server.terminate();
}

/// Prints one line of JSON for each run: what `cargo xtask bench dump` makes its figures of. Ours and theirs take turns,
/// and write to the same disk: no compression on either side, no second copy.
#[test]
#[ignore = "measures; `cargo xtask bench dump load` runs it"]
fn dumps_and_loads_beside_the_databases_own_tools() {
    let number = |name: &str, or: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or);
    let (runs, rows) = (number("RUNS", 2), number("ROWS", 5_000));
    let (shop, at) = installed();
    shop.fill(rows, 0);
    let server = at.start();
    let file = |name: &str| at.directory().join(name);
    let into = |name: &str| Stdio::from(fs::File::create(file(name)).expect("a writable directory"));
    let tell = |what: &str, service: &str, whose: &str, run: u64, took: std::time::Duration| {
        let bytes = fs::metadata(file(&format!("{whose}.{service}"))).map_or(0, |it| it.len());
        let line = serde_json::json!({ "what": what, "service": service, "whose": whose, "run": run,
            "seconds": took.as_secs_f64(), "bytes": bytes });
        println!("{line}");
    };
    let postgres = |name: &str| {
        let mut tool = Command::new(programs().join(name));
        tool.env("PGHOST", "127.0.0.1").env("PGPORT", shop.postgres.port.to_string()).env("PGUSER", "postgres");
        tool
    };
    let mariadb = |program: &str| {
        let mut client = Command::new(program);
        client.args(["--no-defaults", "--user=root", "--socket"]).arg(shop.mariadb.socket());
        client
    };
    let timed = |command: &mut Command| {
        let begin = std::time::Instant::now();
        let status = command.status().expect("the program is there");
        assert!(status.success(), "{command:?}");
        begin.elapsed()
    };
    for run in 0..runs {
        for service in ["records", "orders"] {
            let mut ours = command(&at, &["--service", service, "--stdout"]);
            tell("dump", service, "ours", run, timed(ours.stdout(into(&format!("ours.{service}")))));
            let mut theirs = match service {
                "records" => postgres("pg_dump"),
                _ => mariadb("mariadb-dump"),
            };
            theirs.args(match service {
                "records" => ["--format=custom", "--compress=0", "main"].as_slice(),
                _ => ["--single-transaction", "--routines", "--triggers", "--events", "main"].as_slice(),
            });
            tell("dump", service, "theirs", run, timed(theirs.stdout(into(&format!("theirs.{service}")))));
        }
    }
    let name = at.snapshot();
    for run in 0..runs {
        for service in ["records", "orders"] {
            let part = format!("service:{service}");
            let restored = at.restore_part_into(&name, "copy", &part);
            tell("load", service, "ours", run, at.between(&restored, "Loading ", "Everything is loaded"));
            let database = format!("native_{run}");
            let dump = file(&format!("theirs.{service}"));
            // By hand, a new database is made too, and its statistics are, as both manuals say: without them it is slow.
            let took = match service {
                "records" => {
                    let made = timed(postgres("createdb").args(["--template=template0", &database]));
                    let mut restore = postgres("pg_restore");
                    restore.args(["--jobs=2", "--exit-on-error"]).arg(format!("--dbname={database}")).arg(&dump);
                    let mut analyse = postgres("psql");
                    analyse.args(["--quiet", "--command=ANALYZE", &database]);
                    made + timed(&mut restore) + timed(&mut analyse)
                }
                _ => {
                    let mut analyse = mariadb("mariadb");
                    analyse.arg(&database).args(["--execute", "ANALYZE TABLE numbers"]).stdout(Stdio::null());
                    let begin = std::time::Instant::now();
                    shop.mariadb.admin(&format!("CREATE DATABASE {database} CHARACTER SET utf8mb4"));
                    let made = begin.elapsed();
                    let loaded =
                        timed(mariadb("mariadb").arg(&database).stdin(fs::File::open(&dump).expect("the dump")));
                    made + loaded + timed(&mut analyse)
                }
            };
            tell("load", service, "theirs", run, took);
            match service {
                "records" => drop(timed(postgres("dropdb").arg(&database))),
                _ => drop(shop.mariadb.admin(&format!("DROP DATABASE {database}"))),
            }
        }
    }
    server.terminate();
}

/// Whose activity it is, and how it ended.
fn newest_reading(at: &Installation) -> serde_json::Value {
    let path = "/projects/shop/environments/main/activities?type=environment.dump&count=1";
    let (status, body) = at.ask("GET", path, None).expect("the server answers");
    assert_eq!(status, 200);
    body[0].clone()
}

#[test]
fn a_server_that_dies_leaves_no_file_and_no_activity_that_runs_for_ever() {
    let at = Installation::new();
    // More than is kept back on the way: the client has its head, and some of it, when the server dies.
    at.site.connect().execute_batch("CREATE TABLE noise AS SELECT randomblob(12000000) AS bytes").expect("writable");
    let dying = at.start_with(&[("STILLPOINT_CRASH_AT", "dump: read")]);
    let out = at.directory().join("dumps");
    fs::create_dir(&out).expect("a fresh directory");
    let output = run(&at, &["-d", out.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("broke off after"), "{}", said(&output));
    assert_eq!(fs::read_dir(&out).expect("a directory").count(), 0, "nothing is left of it");
    dying.died();

    let server = at.start();
    // Nothing waits for it.
    at.snapshot();
    let ended = until("it is ended", || Some(newest_reading(&at)).filter(|activity| activity["state"] == "complete"));
    assert_eq!((&ended["result"], &ended["payload"]["service"]), (&"failure".into(), &"database".into()), "{ended:#}");
    let reason = ended["failure_reason"].as_str().expect("a reason");
    assert!(reason.contains("what arrived is not a whole dump"), "{reason}");
    at.assert_no_leftovers();
    server.terminate();
}

#[test]
fn the_api_links_to_what_is_allowed_alone() {
    let at = Installation::new();
    let server = at.start();
    let name = at.snapshot();
    let viewer = at.add_member("viewer@example.org");
    let (applied, told) = at
        .apply(&at.site.declaration(
            "\n[[project.member]]\nemail = \"viewer@example.org\"\ntypes = { production = \"viewer\" }\n",
        ));
    assert!(applied, "{told}");
    let main = "/projects/shop/environments/main";
    for services in [format!("{main}/services"), format!("{main}/backups/{name}/services")] {
        let dump = format!("{services}/database/dump");
        let (_, mine) = at.ask("GET", &services, None).expect("the server answers");
        let href = format!("/api{dump}");
        assert_eq!((&mine[0]["name"], &mine[0]["type"]), (&"database".into(), &"sqlite".into()));
        assert_eq!(mine[0]["_links"]["#dump"]["href"], *href);
        let (status, theirs) = at.ask_as(&viewer, "GET", &services, None).expect("the server answers");
        assert_eq!((status, &theirs[0]["_links"]), (200, &serde_json::json!({})));
        let (status, problem) = at.ask_as(&viewer, "GET", &dump, None).expect("the server answers");
        assert_eq!((status, &problem["code"]), (403, &"forbidden".into()), "{problem}");
        let (status, _) = at.ask("GET", &format!("{dump}?compress=zip"), None).expect("the server answers");
        assert_eq!(status, 400);
    }
    let mut refused = command(&at, &["--stdout"]);
    let refused = refused.env("STILLPOINT_TOKEN", &viewer).output().expect("the command line's program");
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(6), 0), "{}", said(&refused));
    server.terminate();
}
