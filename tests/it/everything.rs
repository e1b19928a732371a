//! The invariant: whatever was written to several services by one request is in a snapshot wholly or not at all.
//!
//! It is tried three times, and with somebody who writes round the gate once for each of two services.
//! `STILLPOINT_TRIES=30 cargo xtask test --no-browser everything::` tries thirty times, and ten.

pub mod shop;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use stillpoint::domain::Timestamp;

use self::shop::{Kind, Shop};
use crate::process::{Installation, Site, until};

/// Ends what goes on in other threads, also when a test fails.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A server with one environment of every kind of service.
pub fn installed() -> (Arc<Shop>, Installation) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let site = Site::new(&directory.path().join("site"));
    let shop = Arc::new(Shop::new(&site.home));
    let port = shop.serve();
    let declaration = shop.declaration(port, &shop.provision(directory.path(), port));
    let mut at = Installation::bare(directory, site);
    at.add_operator();
    let (applied, told) = at.apply(&declaration);
    assert!(applied, "{told}");
    (shop, at)
}

/// 3, or as often as `STILLPOINT_TRIES` says.
fn tries() -> usize {
    std::env::var("STILLPOINT_TRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

#[test]
fn all_services_and_files_of_a_snapshot_agree_and_no_request_is_lost() {
    let (shop, at) = installed();
    let server = at.start();
    let (served, lost) = (AtomicU64::new(0), AtomicU64::new(0));
    let directory = at.directory().join("environments/made");
    let mut before = 0;
    for round in 0..tries() {
        let stop = AtomicBool::new(false);
        let name = std::thread::scope(|scope| {
            let _until = Until(&stop);
            for _ in 0..8 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Acquire) {
                        let answered = at.visit().is_some_and(|answer| answer.status == 200);
                        let count = if answered { &served } else { &lost };
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            at.snapshot()
        });
        let backup = at.backup(&name);
        assert_eq!(backup["attributes"]["consistency"], "consistent", "{backup:#}");
        at.succeeded(&at.ask_new(&name, "made"));
        let one = shop.one_instant(&shop.made(&directory));
        assert!(one.len() > before, "visitors went on writing: {} in round {round}", one.len());
        before = one.len();
        at.remove("made");
        assert!(!directory.exists(), "its directory is gone");
        assert_eq!(shop.databases(), ["copy", "main"]);
    }
    assert_eq!(lost.into_inner(), 0, "of {} requests", served.into_inner());
    at.assert_repository_sound();
    server.terminate();
}

#[test]
fn an_environment_that_is_made_holds_the_instant_whenever_its_worker_died() {
    let (shop, at) = installed();
    for _ in 0..10 {
        shop.write(&Kind::ALL);
    }
    let server = at.start();
    let name = at.snapshot();
    let held = shop.numbers(&shop.main);
    server.terminate();
    let directory = at.directory().join("environments/made");
    let steps = ["branch: made", "branch: a service loaded", "branch: loaded", "branch: started"];
    let mut dying = at.start_with(&[("STILLPOINT_CRASH_AT", steps[0])]);
    let asked = at.ask_new(&name, "made");
    dying.died();
    // Two deaths more are one too many: everything is gone.
    for step in &steps[1..3] {
        dying = at.start_with(&[("STILLPOINT_CRASH_AT", step)]);
        dying.died();
    }
    let server = at.start();
    let reason = at.failed(&asked);
    assert!(reason.contains("died 3 times"), "{reason}");
    assert!(!directory.exists(), "its directory is gone");
    assert_eq!(shop.databases(), ["copy", "main"]);
    server.terminate();

    let dying = at.start_with(&[("STILLPOINT_CRASH_AT", steps[3])]);
    let asked = at.ask_new(&name, "made");
    dying.died();
    let server = at.start();
    at.succeeded(&asked);
    assert_eq!(shop.numbers(&shop.made(&directory)), held);
    assert_eq!(shop.databases(), ["copy", "main", "main_made"]);
    until("the gateway follows", || at.visit_as("made.shop.test").filter(|answer| answer.status == 200));
    server.terminate();
}

/// Prints one line of JSON for each hold: what `cargo xtask bench hold5` makes its figures of. The server's program may be
/// another build (`CARGO_BIN_EXE_stillpointd`).
#[test]
#[ignore = "measures; `cargo xtask bench hold5` runs it"]
fn holds_of_everything() {
    let number = |name: &str, or: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or);
    let (holds, rows, files) = (number("HOLDS", 5), number("ROWS", 1_000), number("FILES", 1_000));
    let (shop, at) = installed();
    shop.fill(rows, files);
    let server = at.start();
    let (stop, served, lost, longest) =
        (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _until = Until(&stop);
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    let begin = Instant::now();
                    let answered = at.visit().is_some_and(|answer| answer.status == 200);
                    let took = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
                    longest.fetch_max(took, Ordering::Relaxed);
                    let count = if answered { &served } else { &lost };
                    count.fetch_add(1, Ordering::Relaxed);
                    // A steady load, not as much as the machine can bear.
                    std::thread::sleep(Duration::from_millis(40).saturating_sub(begin.elapsed()));
                }
            });
        }
        for _ in 0..holds {
            let name = at.snapshot();
            let attributes = at.backup(&name)["attributes"].clone();
            println!(
                "{}",
                serde_json::json!({ "consistency": attributes["consistency"], "proof": attributes["proof"] })
            );
        }
        let restored = at.restore_into(&at.snapshot(), "copy");
        let safety = restored["payload"]["safety_backup_name"].as_str().expect("a name");
        let swap = at.backup_of("copy", safety)["attributes"]["proof"].clone();
        println!("{}", serde_json::json!({ "swap": swap }));
    });
    let (served, lost, longest) = (served.into_inner(), lost.into_inner(), longest.into_inner());
    println!("{}", serde_json::json!({ "served": served, "lost": lost, "longest_us": longest }));
    server.terminate();
}

/// When writes round the gate began and ended.
type Writes = Mutex<Vec<(Timestamp, Timestamp)>>;

/// Does it while somebody writes to this one kind all the time, round the gate: hundreds of times in a second, which leaves
/// few enough rows and files behind.
fn while_written(shop: &Shop, kind: Kind, work: impl FnOnce(&Writes)) {
    let (stop, writes) = (AtomicBool::new(false), Writes::default());
    std::thread::scope(|scope| {
        let _until = Until(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                let begin = Timestamp::now();
                shop.write(&[kind]);
                let write = (begin, Timestamp::now());
                writes.lock().unwrap_or_else(PoisonError::into_inner).push(write);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        work(&writes);
    });
}

fn written(writes: &Writes, within: impl Fn(Timestamp, Timestamp) -> bool) -> usize {
    let writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
    writes.iter().filter(|(began, ended)| within(*began, *ended)).count()
}

/// From when all positions had been read to when the last view was open, at least: what began and ended in between takes
/// the label away.
fn opening(attributes: &Value) -> (Timestamp, Timestamp) {
    let begin: Timestamp = serde_json::from_value(attributes["taken_at"].clone()).expect("an instant");
    let phases = attributes["proof"]["phases"].as_array().expect("phases");
    let services =
        phases.iter().filter(|phase| phase["name"].as_str().is_some_and(|name| name.starts_with("service ")));
    let longest = services.filter_map(|phase| phase["micros"].as_u64()).max().expect("views were opened");
    (begin, begin.plus(Duration::from_micros(longest)))
}

#[test]
fn a_snapshot_is_never_called_consistent_while_a_service_is_written_to_round_the_gate() {
    let (shop, at) = installed();
    let server = at.start();
    // Whose writes are over within the milliseconds that count.
    for kind in [Kind::Postgres, Kind::Redis] {
        while_written(&shop, kind, |writes| {
            for _ in 0..tries().div_ceil(3) {
                // Where the machine let nobody write in those few milliseconds the label may stand, and nothing was tried.
                until("somebody wrote while the views were opened", || {
                    let attributes = at.backup(&at.snapshot())["attributes"].clone();
                    let (begin, end) = opening(&attributes);
                    let within = written(writes, |began, ended| begin <= began && ended <= end);
                    let label = &attributes["consistency"];
                    assert!(within == 0 || label == "each_service", "{kind:?}, {within} writes: {attributes:#}");
                    (within > 0).then_some(())
                });
            }
        });
    }
    server.terminate();
}

#[test]
fn a_snapshot_is_not_called_consistent_when_somebody_wrote_round_the_gate() {
    let (shop, at) = installed();
    let server = at.start_with(&[("STILLPOINT_STOP_AT", "snapshot: views open")]);
    shop.write(&Kind::ALL);
    for kind in Kind::ALL {
        while_written(&shop, kind, |writes| {
            let asked = at.ask_snapshot();
            server.stopped();
            let stopped = Timestamp::now();
            until("somebody writes meanwhile", || (written(writes, |began, _| began >= stopped) > 0).then_some(()));
            server.go_on();
            at.succeeded(&asked);
            let backup = at.backup(&asked.snapshot);
            assert_eq!(backup["attributes"]["consistency"], "each_service", "{kind:?} {backup:#}");
        });
    }
    let asked = at.ask_snapshot();
    server.stopped();
    server.go_on();
    at.succeeded(&asked);
    let backup = at.backup(&asked.snapshot);
    assert_eq!(backup["attributes"]["consistency"], "consistent", "{backup:#}");
    server.terminate();
}
