use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::server::Server;
use super::{PASSWORD, Site, WITHIN, driver, running_in};
use crate::drivers::redis::census::Census;
use crate::drivers::redis::private::Private;
use crate::drivers::redis::{session, survey};
use crate::drivers::{Error, Service as _};

/// One key of each type, and more.
pub(super) fn every_type(site: &Site) {
    for (database, command) in [
        (0, "SET text value"),
        (0, "SETBIT bits 70000 1"),
        (0, "RPUSH list a b c"),
        (0, "SADD set a b 3"),
        (0, "SADD numbers 1 2 3"),
        (0, "ZADD sorted 1 a 2.5 b"),
        (0, "HSET hash field value other 2"),
        (0, "PFADD counted a b c"),
        (0, "GEOADD places 13.361389 38.115556 Palermo"),
        (2, "XADD stream 1-1 field value"),
        (2, "XADD stream 2-1 field value"),
        (2, "XGROUP CREATE stream group 0"),
        (2, "XREADGROUP GROUP group reader COUNT 1 STREAMS stream >"),
        (2, "SET later value EX 3600"),
        (5, "SET elsewhere value"),
    ] {
        site.server.ask::<::redis::Value>(database, command);
    }
}

#[test]
fn a_view_stays_as_it_is_while_others_write() {
    let site = Site::new();
    every_type(&site);
    site.service.get_ready(site.scratch.path(), &|| false).expect("ready");
    let mut view = site.service.open_view(WITHIN).expect("a view");
    site.server.ask::<()>(0, "SET text changed");
    site.server.ask::<()>(7, "SET new value");
    site.server.ask::<()>(2, "DEL stream");
    view.settle(site.scratch.path(), &|| false).expect("settled");
    assert_eq!(running_in(site.scratch.path()), 0, "its server has ended");
    let facts = view.facts().expect("facts");
    let rows: Vec<_> = facts.rows.iter().map(|(name, rows)| (name.as_str(), *rows)).collect();
    let expected = [("database 0", 9), ("database 2", 1), ("database 2, keys that expire", 1), ("database 5", 1)];
    assert_eq!(rows, expected);
    assert_eq!(view.version(), "7.0.15");
    let mut dump = Vec::new();
    view.dump(site.scratch.path(), &mut dump, &|| false).expect("a dump");
    let mut again = Vec::new();
    view.dump(site.scratch.path(), &mut again, &|| false).expect("a second dump");
    assert!(dump == again && dump.starts_with(b"REDIS"));
    drop(view);
    assert_eq!(std::fs::read_dir(site.scratch.path()).expect("it is there").count(), 0, "nothing is left");

    // Loaded by a stock server, as by hand.
    let other = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(other.path().join("dump.rdb"), &dump).expect("a file");
    let back = Server::with(&["--dir", other.path().to_str().expect("UTF-8")]);
    assert_eq!(back.ask::<String>(0, "GET text"), "value");
    assert_eq!(back.ask::<u64>(2, "XLEN stream"), 2);
    assert_eq!(back.keys(7), Vec::<String>::new());
}

#[test]
fn what_a_writer_did_before_the_view_is_in_it() {
    let site = Site::new();
    site.service.get_ready(site.scratch.path(), &|| false).expect("ready");
    let mut writer = site.server.open("", "").expect("a writer");
    for number in 1..=20_000 {
        let mut pipe = ::redis::pipe();
        pipe.cmd("SET").arg(number).arg("x".repeat(100)).ignore();
        pipe.exec(&mut writer).expect("written");
    }
    let mut view = site.service.open_view(WITHIN).expect("a view");
    assert_eq!(view.facts().expect("facts").rows["database 0"], 20_000);
}

#[test]
fn a_view_opens_at_once_however_recently_the_replica_was_attached() {
    let site = Site::new();
    site.service.get_ready(site.scratch.path(), &|| false).expect("ready");
    site.server.ask::<()>(0, "SET last value");
    let started = Instant::now();
    let mut view = site.service.open_view(WITHIN).expect("a view");
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    assert_eq!(view.facts().expect("facts").rows["database 0"], 1);
}

#[test]
fn a_view_needs_no_getting_ready_and_leaves_nothing() {
    let site = Site::new();
    site.fill(10);
    let mut view = site.service.open_view(WITHIN).expect("a view");
    assert_eq!(view.facts().expect("facts").rows["database 0"], 10);
    assert_eq!(site.service.contents(WITHIN).expect("counted").rows["database 0"], 10);
}

#[test]
fn a_replica_ends_with_its_view_and_with_the_driver() {
    let site = Site::new();
    site.service.get_ready(site.scratch.path(), &|| false).expect("ready");
    assert!(running_in(site.scratch.path()) >= 2, "a server and its watcher");
    let view = site.service.open_view(WITHIN).expect("a view");
    drop(view);
    assert_eq!(running_in(site.scratch.path()), 0);
    let service = driver(&site.server, "app", PASSWORD);
    service.get_ready(site.scratch.path(), &|| false).expect("ready");
    drop(service);
    assert_eq!(running_in(site.scratch.path()), 0);
}

#[test]
fn a_private_server_ends_when_its_watchers_input_does() {
    // What is left of a worker that was killed is a closed pipe; the integration tests kill one.
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let mut watcher = Command::new("sh");
    watcher.args([
        "-c",
        crate::drivers::redis::private::WATCHER,
        "watcher",
        "redis-server",
        "--port",
        "0",
        "--save",
        "",
    ]);
    let mut child =
        watcher.current_dir(scratch.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh");
    let mut line = String::new();
    let mut said = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut said, &mut line).expect("it runs");
    assert!(running_in(scratch.path()) >= 2, "{line}");
    let mut lifeline = child.stdin.take().expect("a pipe");
    lifeline.flush().expect("open");
    drop(lifeline);
    child.wait().expect("it ends");
    // Its output ends when the server has.
    std::io::copy(&mut said, &mut std::io::sink()).expect("read to its end");
    assert_eq!(running_in(scratch.path()), 0);
}

#[test]
fn a_key_whose_time_passes_stays_in_the_view_and_fails_no_check() {
    let site = Site::new();
    site.fill(3);
    site.service.get_ready(site.scratch.path(), &|| false).expect("ready");
    site.server.ask::<()>(0, "SET soon value PX 500");
    let mut view = site.service.open_view(WITHIN).expect("a view");
    while site.server.ask::<u64>(0, "EXISTS soon") == 1 {}
    let facts = view.facts().expect("facts");
    assert_eq!(facts.rows["database 0, keys that expire"], 1);
    let mut dump = Vec::new();
    view.dump(site.scratch.path(), &mut dump, &|| false).expect("a dump");
    let (beside, aside) = site.restore(&dump, &facts);
    assert_eq!(site.server.keys(0), ["k1", "k2", "k3"]);
    site.service.discard(&beside, Some(&aside)).expect("discarded");
}

#[test]
fn a_socket_is_enough_to_reach_it_and_a_long_scratch_is_none_too_long() {
    let site = Site::new();
    site.fill(4);
    let mut address = site.service.address.clone();
    address.host = site.server.socket().to_str().expect("UTF-8").to_owned();
    let service = crate::drivers::redis::Redis::connect(address).expect("a complete address");
    let scratch = site.scratch.path().join("a".repeat(120)).join("b".repeat(120));
    std::fs::create_dir_all(&scratch).expect("made");
    service.get_ready(&scratch, &|| false).expect("ready");
    let mut view = service.open_view(WITHIN).expect("a view");
    assert_eq!(view.facts().expect("facts").rows["database 0"], 4);
}

#[test]
fn a_cancelled_attachment_ends() {
    let site = Site::new();
    let error = site.service.get_ready(site.scratch.path(), &|| true).expect_err("cancelled");
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(running_in(site.scratch.path()), 0);
}

#[test]
fn a_count_depends_on_nothing_but_keys_and_types() {
    let (one, other) = (Site::new(), Site::new());
    for number in 0..3_000 {
        one.server.ask::<()>(1, &format!("SET {number} x"));
        other.server.ask::<()>(1, &format!("SET {} other", 2_999 - number));
    }
    let schema = |site: &Site| site.dump().1;
    assert_eq!(schema(&one), schema(&other));
    other.server.ask::<()>(1, "DEL 7");
    other.server.ask::<()>(1, "RPUSH 7 x");
    assert_ne!(schema(&one).schema, schema(&other).schema);
    assert_eq!(schema(&one).rows, schema(&other).rows);
    let library = "#!lua\u{a0}name=lib\nredis.register_function('f',\u{a0}function()\u{a0}return\u{a0}1\u{a0}end)";
    let mut admin = one.server.open("", "").expect("open");
    ::redis::cmd("FUNCTION").arg("LOAD").arg(library.replace('\u{a0}', " ")).exec(&mut admin).expect("loaded");
    let mut live = one.service.address.open(Some(session::ANSWER)).expect("open");
    let tool = survey::look(&mut live, &one.service.tools).expect("looked at").tool;
    let mut private = Private::start(&tool, one.scratch.path(), 16).expect("started");
    let empty = Census::take(&mut private.session).expect("counted").facts();
    assert!(empty.rows.is_empty());
    assert_ne!(one.dump().1.schema, schema(&other).schema);
}
