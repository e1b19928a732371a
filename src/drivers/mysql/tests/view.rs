use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Site, WITHIN, insert, text};
use crate::drivers::mysql::session::{is_number, number};
use crate::drivers::{Error, Service};

#[test]
fn a_view_stays_as_it_is_while_others_write() {
    let site = Site::new();
    site.insert(20_000);
    site.sql("CREATE TABLE isam (n int) ENGINE=MyISAM; INSERT INTO isam VALUES (1)");
    let mut view = site.service.open_view(WITHIN).expect("a view");
    let (stop, wrote) = (AtomicBool::new(false), AtomicBool::new(false));
    let bytes = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut session = site.open();
            while !stop.load(Ordering::Relaxed) {
                session.command("write", &insert(50)).expect("rows");
                session
                    .command("write", "DELETE FROM orders WHERE id % 7 = 0; INSERT INTO isam VALUES (2)")
                    .expect("rows go");
                session.command("write", "CREATE TABLE IF NOT EXISTS newer (n int)").expect("a table");
                wrote.store(true, Ordering::Relaxed);
            }
        });
        while !wrote.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        view.settle(site.scratch.path(), &|| false).expect("settled");
        let mut bytes = Vec::new();
        view.dump(site.scratch.path(), &mut bytes, &|| false).expect("a dump");
        stop.store(true, Ordering::Relaxed);
        bytes
    });
    let facts = view.facts().expect("facts");
    let rows: Vec<_> = facts.rows.iter().map(|(name, rows)| (name.as_str(), *rows)).collect();
    assert_eq!(rows, [("isam", 1), ("orders", 20_100)]);
    drop(view);
    site.restore(&bytes, &facts);
    assert_eq!((site.count().as_str(), site.text("SELECT count(*) FROM isam").as_str()), ("20100", "1"));
}

#[test]
fn a_large_table_without_transactions_is_read_after_the_hold_and_said_to_be() {
    let site = Site::new();
    site.sql("CREATE TABLE isam (t text) ENGINE=MyISAM; INSERT INTO isam SELECT repeat('x', 10000) FROM seq_1_to_600");
    let mut view = site.service.open_view(WITHIN).expect("a view");
    assert!(view.limits().join(" ").contains("not at the snapshot's instant"), "{:?}", view.limits());
    site.sql("INSERT INTO isam VALUES ('late')");
    view.settle(site.scratch.path(), &|| false).expect("settled");
    site.sql("INSERT INTO isam VALUES ('too late')");
    let facts = view.facts().expect("facts");
    assert_eq!(facts.rows["isam"], 601);
    let mut bytes = Vec::new();
    view.dump(site.scratch.path(), &mut bytes, &|| false).expect("a dump");
    drop(view);
    site.restore(&bytes, &facts);
    assert_eq!(site.text("SELECT count(*) FROM isam"), "601");
}

#[test]
fn definitions_wait_for_the_view_and_other_databases_for_nothing() {
    let site = Site::new();
    let view = site.service.open_view(WITHIN).expect("a view");
    for command in [
        "TRUNCATE orders",
        "ALTER TABLE orders ADD more int",
        "DROP TABLE orders",
        "CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW SET NEW.text = 'x'",
    ] {
        let refused =
            site.open().command("change", &format!("SET lock_wait_timeout = 0; {command}")).expect_err("locked");
        assert!(is_number(&refused, number::LOCK_WAIT), "{command}: {refused:?}");
    }
    site.insert(1);
    site.server.admin(
        "CREATE DATABASE IF NOT EXISTS busy; CREATE OR REPLACE TABLE busy.t (n int); INSERT INTO busy.t VALUES (1)",
    );
    drop(view);
    let deadline = Instant::now() + Duration::from_secs(10);
    while site.open().command("change", "SET lock_wait_timeout = 1; TRUNCATE orders").is_err() {
        assert!(Instant::now() < deadline, "a view that is dropped lets go");
    }
}

#[test]
fn long_questions_and_open_transactions_do_not_delay_a_view() {
    let site = Site::new();
    let mut idle = site.open();
    idle.command("begin", "BEGIN; INSERT INTO orders (text) VALUES ('uncommitted')").expect("a transaction");
    let mut slow = site.open();
    std::thread::scope(|scope| {
        let asked = scope.spawn(move || {
            slow.command_within("ask", Duration::from_secs(20), "SELECT count(*), sleep(3) FROM orders")
        });
        let seen = "SELECT count(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT count(*), sleep(3)%'";
        while site.server.admin(seen) != "1" {
            std::thread::yield_now();
        }
        site.service.get_ready(site.scratch.path(), &|| false).expect("ready");
        let started = Instant::now();
        let mut view = site.service.open_view(WITHIN).expect("a view");
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        assert_eq!(view.facts().expect("facts").rows["orders"], 100);
        asked.join().expect("no panic").expect("it goes on");
    });
}

#[test]
fn who_keeps_a_view_from_opening_is_named() {
    let site = Site::new();
    let mut holder = site.open();
    holder.command("lock", "LOCK TABLES orders WRITE").expect("a lock");
    site.service.position().expect("ready before the hold");
    let started = Instant::now();
    let refused = site.service.open_view(Duration::from_millis(200)).map(drop).expect_err("it is locked");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let said = refused.to_string();
    assert!(matches!(refused, Error::Blocked { .. }), "{refused:?}");
    assert!(said.contains(&format!("process {} of {}", holder.id, site.address().user)), "{said}");
    assert!(said.contains("is silent, with tables locked"), "{said}");
    holder.command("let go", "UNLOCK TABLES").expect("let go");
    site.service.open_view(WITHIN).map(drop).expect("now it opens");
    let waiting = "SELECT count(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table%' AND DB = ";
    assert_eq!(
        text(&mut holder, &format!("{waiting}{}", super::literal(&site.address().database))),
        "0",
        "nothing is left"
    );
}

#[test]
fn an_alter_that_waits_stops_a_view_and_whom_it_waits_for_is_named() {
    let site = Site::new();
    let user = super::literal(&site.address().user);
    site.server.admin(&format!("GRANT PROCESS ON *.* TO {user}@'127.0.0.1'"));
    let mut idle = site.open();
    idle.rows("read", "BEGIN; SELECT count(*) FROM orders").expect("a transaction");
    let mut altering = site.open();
    std::thread::scope(|scope| {
        let altered = scope.spawn(move || altering.command("alter", "ALTER TABLE orders ADD more int"));
        let seen = "SELECT count(*) FROM information_schema.PROCESSLIST WHERE INFO = 'ALTER TABLE orders ADD more int'
                    AND STATE LIKE 'Waiting for table%'";
        while site.server.admin(seen) == "0" {
            std::thread::yield_now();
        }
        let refused = site.service.open_view(Duration::from_millis(100)).map(drop).expect_err("it waits behind");
        assert!(refused.to_string().contains(&format!("process {} of", idle.id)), "{refused}");
        idle.command("end", "COMMIT").expect("ended");
        altered.join().expect("no panic").expect("altered");
    });
}
