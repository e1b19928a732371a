use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::server::Server;
use super::{Site, WITHIN};
use crate::drivers::{Position, Service as _};

fn position(site: &Site) -> Position {
    site.service.position().expect("a position")
}

#[test]
fn it_moves_with_every_kind_of_write_and_not_with_reading() {
    let site = Site::new();
    site.server.ask::<()>(0, "RPUSH list a b c d");
    site.server.ask::<()>(0, "XADD stream 1-1 f v");
    site.server.ask::<()>(0, "XGROUP CREATE stream g 0");
    site.service.get_ready(site.scratch.path(), &|| false).expect("ready");
    let mut before = position(&site);
    for command in ["GET nothing", "LRANGE list 0 -1", "INFO", "KEYS *", "DEL nothing", "EXPIRE nothing 10"] {
        site.server.ask::<::redis::Value>(0, command);
        assert_eq!(position(&site), before, "{command}");
    }
    for command in [
        "SET a 1",
        "SET a 1",
        "INCR a",
        "EXPIRE a 1000",
        "PERSIST a",
        "LPOP list",
        "BLPOP list 1",
        "RENAME a b",
        "XREADGROUP GROUP g reader STREAMS stream >",
        "XACK stream g 1-1",
        "EVAL return\u{a0}redis.call('INCR','c') 0",
        "SWAPDB 3 4",
        "MOVE b 6",
        "FUNCTION FLUSH",
        "FLUSHDB",
        "FLUSHALL",
    ] {
        site.server.ask::<::redis::Value>(0, &command.replace('\u{a0}', "\t"));
        let after = position(&site);
        assert_ne!(after, before, "{command}");
        assert_eq!(position(&site), after, "it stays");
        before = after;
    }
}

#[test]
fn it_does_not_move_by_itself() {
    let site = Site::on(Server::with(&["--repl-ping-replica-period", "1"]));
    site.fill(10);
    for number in 0..20 {
        site.server.ask::<()>(number % 3, &format!("SET e{number} value PX {}", 200 + 100 * number));
    }
    site.service.get_ready(site.scratch.path(), &|| false).expect("ready");
    let before = position(&site);
    let offset = || site.server.ask::<String>(0, "INFO replication");
    let first = offset();
    // Pings go out each second, and keys expire: the server's own offset shows both.
    while site.server.ask::<u64>(0, "DBSIZE") > 10 {
        assert_eq!(position(&site), before);
    }
    assert_ne!(offset(), first);
    site.server.ask::<()>(0, "CONFIG SET repl-ping-replica-period 1000");
    assert_eq!(position(&site), before);
    site.server.ask::<()>(0, "SAVE");
    assert_eq!(position(&site), before);
    site.server.ask::<()>(0, "SET a 1");
    assert_ne!(position(&site), before);
}

#[test]
fn a_writer_round_the_gate_is_seen_while_the_view_opens() {
    let site = Site::new();
    site.service.get_ready(site.scratch.path(), &|| false).expect("ready");
    let before = position(&site);
    let view = site.service.open_view(WITHIN).expect("a view");
    assert_eq!((view.position(), position(&site)), (&before, before.clone()), "the cut moves nothing");
    site.server.ask::<()>(0, "SET a 1");
    assert_ne!(position(&site), before);
}

#[test]
fn it_moves_when_the_server_was_another_one_meanwhile() {
    let mut site = Site::new();
    site.service.get_ready(site.scratch.path(), &|| false).expect("ready");
    let before = position(&site);
    site.server.kill();
    site.server.again(&["--user", "app", "on", "nopass", "~*", "+@all"]);
    assert_ne!(position(&site), before);
}

#[test]
fn a_server_that_does_not_answer_holds_nobody_up_for_long() {
    let site = Site::new();
    site.service.get_ready(site.scratch.path(), &|| false).expect("ready");
    site.server.signal(Signal::STOP);
    let started = Instant::now();
    site.service.position().expect_err("no answer");
    site.service.open_view(Duration::from_millis(200)).map(drop).expect_err("no answer");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    site.server.signal(Signal::CONT);
}
