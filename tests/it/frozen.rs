//! Servers that say nothing in the middle of a hold. In that of a snapshot (R17) visitors go on long before its ceiling, the
//! feed names the server, and the next one succeeds once it answers. In that of a restore (R23) everything is taken back;
//! while that can't be asked of the server, visitors are asked to come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::everything::shop::{Kind, Shop};
use crate::faults::session::Session;
use crate::process::{Installation, Site, Turns, serve, until};

/// A gate opens by itself after 10 s; with a second for each thing that is asked of a server, and some to spare.
const SOON: Duration = Duration::from_secs(6);
/// Beyond what a server is given in a swap, for the journal and a busy machine.
const SPARE: Duration = Duration::from_secs(12);

fn signal(shop: &Shop, kind: Kind, signal: Signal) {
    match kind {
        Kind::Postgres => shop.postgres.signal(signal),
        Kind::Mariadb => shop.mariadb.signal(signal),
        _ => shop.redis().signal(signal),
    }
}

/// An environment with everything, whose visitors need nothing of it to be answered.
fn installed() -> (Arc<Shop>, Installation) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let site = Site::new(&directory.path().join("site"));
    let shop = Arc::new(Shop::new(&site.home));
    let port = serve(Turns::All, || Ok("here".to_owned()));
    let mut at = Installation::bare(directory, site);
    at.add_operator();
    let (applied, told) = at.apply(&shop.declaration(port, ""));
    assert!(applied, "{told}");
    (shop, at)
}

#[test]
fn a_server_that_is_silent_in_the_hold_keeps_visitors_for_a_moment_alone_and_is_named() {
    let (shop, at) = installed();
    shop.write(&Kind::ALL);
    let server = at.start_with(&[("STILLPOINT_STOP_AT", "snapshot: held")]);
    for (kind, named) in [(Kind::Postgres, "records"), (Kind::Mariadb, "orders"), (Kind::Redis, "cache")] {
        let asked = at.ask_snapshot();
        server.stopped();
        signal(&shop, kind, Signal::STOP);
        let begin = Instant::now();
        server.go_on();
        let answer = at.visit().expect("an answer");
        let waited = begin.elapsed();
        // Also the job ends, though nothing has answered yet.
        let reason = at.failed(&asked);
        signal(&shop, kind, Signal::CONT);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(waited < SOON, "{named}: a visitor waited {waited:?}");
        assert!(reason.contains(&format!("ervice {named}")), "{reason}");
        assert!(at.backups().is_empty(), "nothing was stored");
    }
    server.terminate();
    let server = at.start();
    let name = at.snapshot();
    assert_eq!(at.backup(&name)["attributes"]["consistency"], "consistent");
    server.terminate();
}

#[test]
fn a_server_that_is_silent_before_anything_is_exchanged_lets_visitors_go_on() {
    let (shop, at) = installed();
    shop.write(&Kind::ALL);
    let server = at.start_with(&[("STILLPOINT_STOP_AT", "restore: held")]);
    let name = at.snapshot();
    shop.write(&Kind::ALL);
    let old = shop.one_instant(&shop.main);
    let asked = at.ask_restore(&name);
    server.stopped();
    signal(&shop, Kind::Postgres, Signal::STOP);
    let begin = Instant::now();
    server.go_on();
    let reason = at.failed(&asked);
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    assert_eq!(at.visit().expect("an answer").status, 200);
    signal(&shop, Kind::Postgres, Signal::CONT);
    assert!(reason.contains("ervice records") && !reason.contains("taken back"), "{reason}");
    assert_eq!(shop.one_instant(&shop.main), old);
    settled(&shop, &at);
    server.terminate();
}

/// What the gate says at once, and when the server answers again; then everything is the old data.
fn silent_until(shop: &Shop, at: &Installation, kind: Kind, (named, reason): (&str, &str)) {
    assert!(reason.contains("taking it back failed too"), "{reason}");
    assert!(reason.contains(&format!("ervice {named}")), "{reason}");
    let answer = at.visit().expect("the gateway");
    assert_eq!(answer.status, 503, "{named}: nobody knows whether it is mixed");
    assert!(answer.head.contains("retry-after:"), "{}", answer.head);
    signal(shop, kind, Signal::CONT);
    until("the site is served again", || at.visit().filter(|answer| answer.status == 200));
}

/// Once what could not be asked of a silent server was asked again.
fn settled(shop: &Shop, at: &Installation) {
    shop.assert_nothing_beside();
    at.assert_no_leftovers();
}

#[test]
fn a_server_that_is_silent_in_the_swap_keeps_the_gate_shut_until_it_answers_and_everything_is_taken_back() {
    let (shop, at) = installed();
    shop.write(&Kind::ALL);
    let server = at.start_with(&[("STILLPOINT_STOP_AT", "restore: swapping")]);
    let name = at.snapshot();
    shop.write(&Kind::ALL);
    let old = shop.one_instant(&shop.main);
    let asked = at.ask_restore(&name);
    server.stopped();
    signal(&shop, Kind::Postgres, Signal::STOP);
    let begin = Instant::now();
    server.go_on();
    let reason = at.failed(&asked);
    // Asked twice: to exchange, and to take it back.
    assert!(begin.elapsed() < 2 * Duration::from_secs(8) + SPARE, "{:?}", begin.elapsed());
    silent_until(&shop, &at, Kind::Postgres, ("records", &reason));
    assert_eq!(shop.one_instant(&shop.main), old, "records");
    settled(&shop, &at);

    // In the middle of a command that waits for somebody, who goes away while the server stands still.
    shop.mariadb.admin("REVOKE CONNECTION ADMIN ON *.* FROM shop@'127.0.0.1'");
    let asked = at.ask_restore(&name);
    server.stopped();
    let mut client = shop.mariadb.client();
    client.arg("--database=main");
    let mut foreign = Session::mariadb(client);
    foreign.ask("LOCK TABLES numbers READ");
    server.go_on();
    let waits = "SELECT count(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'RENAME TABLE%'";
    until("the exchange is asked for", || (shop.mariadb.admin(waits) != "0").then_some(()));
    signal(&shop, Kind::Mariadb, Signal::STOP);
    drop(foreign);
    let reason = at.failed(&asked);
    silent_until(&shop, &at, Kind::Mariadb, ("orders", &reason));
    assert_eq!(shop.one_instant(&shop.main), old, "orders");
    settled(&shop, &at);
    shop.mariadb.admin("GRANT CONNECTION ADMIN ON *.* TO shop@'127.0.0.1'");
    server.terminate();

    let server = at.start();
    at.restore(&name);
    assert!(shop.one_instant(&shop.main).is_subset(&old));
    settled(&shop, &at);
    server.terminate();
}
