use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Site, WITHIN, insert};
use crate::drivers::Service;

fn with_tables(count: usize) -> Site<'static> {
    let site = Site::new();
    let tables: Vec<String> = (1..=count)
        .map(|n| format!("CREATE TABLE t{n} (n int PRIMARY KEY, o int, FOREIGN KEY (o) REFERENCES orders (id)); INSERT INTO t{n} VALUES (1, 1)"))
        .collect();
    site.sql(&tables.join(";"));
    site
}

#[test]
fn opening_a_view_is_quick_while_others_write() {
    let site = with_tables(100);
    let stop = AtomicBool::new(false);
    let (mut taken, mut asked) = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut session = site.open();
                while !stop.load(Ordering::Relaxed) {
                    session.command("write", &insert(5)).expect("rows");
                }
            });
        }
        let timed = || {
            site.service.get_ready(site.scratch.path(), &|| false).expect("ready");
            let started = Instant::now();
            site.service.position().expect("a position");
            let asked = started.elapsed();
            let started = Instant::now();
            let view = site.service.open_view(WITHIN).expect("a view");
            let taken = started.elapsed();
            drop(view);
            (taken, asked)
        };
        let taken: (Vec<Duration>, Vec<Duration>) = (0..30).map(|_| timed()).unzip();
        stop.store(true, Ordering::Relaxed);
        taken
    });
    taken.sort();
    asked.sort();
    println!("open view of 101 tables under load: p50 {:?}, max {:?}", taken[15], taken[29]);
    println!("position under load: p50 {:?}, max {:?}", asked[15], asked[29]);
    assert!(taken[15] < Duration::from_millis(500), "{taken:?}");
    assert!(asked[15] < Duration::from_millis(50), "{asked:?}");
}

#[test]
fn a_swap_of_many_tables_is_short() {
    let site = with_tables(100);
    let (bytes, facts) = site.dump();
    let beside = site.load(&bytes);
    site.service.check(&beside, &facts).expect("all is as recorded");
    let started = Instant::now();
    let aside = site.service.prepare(&beside).expect("fixed");
    let prepared = started.elapsed();
    site.service.commit(&beside, &aside).expect("swapped");
    println!("swap of 101 tables: prepare {prepared:?}, all {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(site.count(), "100");
}

#[test]
fn a_dump_and_a_load_beside_the_servers_own_tools() {
    let site = Site::new();
    site.insert(200_000);
    let started = Instant::now();
    let (bytes, _) = site.dump();
    let ours = started.elapsed();
    let started = Instant::now();
    site.load(&bytes);
    let loaded = started.elapsed();
    let socket = format!("--socket={}", site.server.socket().to_str().expect("UTF-8"));
    let mut native = std::process::Command::new("mariadb-dump");
    native.args([
        "--no-defaults",
        "--user=root",
        &socket,
        "--single-transaction",
        "--hex-blob",
        &site.address().database,
    ]);
    let started = Instant::now();
    let output = native.stderr(Stdio::inherit()).output().expect("the tool is there");
    let theirs = started.elapsed();
    assert!(output.status.success());
    println!("{} MB: dump {ours:?}, mariadb-dump {theirs:?}; load {loaded:?}", bytes.len() / 1_000_000);
    assert_eq!(output.stdout.is_empty(), bytes.is_empty());
}
