//! A Redis server that is killed in the middle of a snapshot or of a restore of everything, and started again.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use crate::everything::shop::Kind;
use crate::process::{Asked, Process, until};

use super::{Faulty, STOP};

/// As a power cut would, of a server that has just saved what it holds.
fn kill(faulty: &Faulty) {
    faulty.shop.redis().ask::<()>(0, "SAVE");
    faulty.shop.redis().signal(Signal::KILL);
}

/// With the account that its settings would bring along.
fn again(faulty: &Faulty) {
    faulty.shop.redis().revived(&[]);
    faulty.shop.redis().ask::<()>(0, crate::everything::shop::RIGHTS);
    faulty.shop.forget_connections();
}

/// Its end, wherever the server stops meanwhile.
fn over(faulty: &Faulty, server: &Process, asked: &Asked) -> serde_json::Value {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until("it ends", || {
                server.go_on();
                ended.load(Ordering::Acquire).then_some(())
            });
        });
        let activity = faulty.at.over(asked);
        ended.store(true, Ordering::Release);
        activity
    })
}

#[test]
fn a_redis_server_that_is_killed_in_the_hold_fails_the_snapshot_and_is_named() {
    let faulty = Faulty::new();
    let server = faulty.at.start_with(&[(STOP, "snapshot: held")]);
    let asked = faulty.snapshot_with(&server, || kill(&faulty));
    // A second try stops there again.
    let ended = over(&faulty, &server, &asked);
    assert_eq!(ended["result"], "failure", "{ended:#}");
    again(&faulty);
    faulty.failed(&asked, &["ervice cache", "no Redis or Valkey server answers at 127.0.0.1:", "start it"]);
    server.terminate();
    faulty.works_again();
}

#[test]
fn a_redis_server_that_is_killed_in_the_swap_keeps_the_gate_shut_until_it_is_back_and_everything_is_taken_back() {
    let faulty = Faulty::new();
    let server = faulty.at.start_with(&[(STOP, "restore: a service exchanged")]);
    let name = faulty.at.snapshot();
    faulty.shop.write(&Kind::ALL);
    let old = faulty.shop.one_instant(&faulty.shop.main);
    let asked = faulty.at.ask_restore(&name);
    let services = 4;
    for exchanged in 1..=services {
        server.stopped();
        if exchanged == services {
            // What can't be exchanged any more: the swap has to be taken back.
            std::fs::rename(&faulty.shop.main.files, faulty.shop.main.files.with_file_name("away")).expect("ours");
            kill(&faulty);
        }
        server.go_on();
    }
    let ended = over(&faulty, &server, &asked);
    let reason = ended["failure_reason"].as_str().expect("a reason");
    assert!(reason.contains("taking it back failed too") && reason.contains("service cache"), "{reason}");
    assert_eq!(faulty.at.visit().expect("the gateway").status, 503);
    std::fs::rename(faulty.shop.main.files.with_file_name("away"), &faulty.shop.main.files).expect("ours");
    again(&faulty);
    until("the site is served again", || faulty.at.visit().filter(|answer| answer.status == 200));
    let now = faulty.shop.one_instant(&faulty.shop.main);
    assert!(now.is_superset(&old), "everything is the old data: {now:?}");
    faulty.assert_nothing_left();
    server.terminate();
    faulty.works_again();
}
