//! An environment with PostgreSQL, MariaDB, Redis, SQLite and files, whose server is killed at every step of a snapshot and
//! of a restore, and between any two of the exchanges: whatever stood half-way, visitors and the next start see all of it at
//! one instant (R23).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::everything::installed;
use crate::everything::shop::{Kind, Place, Shop};
use crate::process::{Asked, Installation, Process, until};
use crate::redis::own_servers;

const STOP: &str = "STILLPOINT_STOP_AT";

/// What the next start does with what the dead one left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Serves at once, and restores anew.
    Anew,
    /// Serves nobody until everything is the old data again, and restores anew.
    TakenBack,
    /// Serves the restored data at once, and restores nothing.
    Kept,
}

/// A step, how often it is reached before the kill, how many of the five kinds are exchanged then, and what follows.
type Death = (&'static str, usize, usize, Then);

const BEFORE: [Death; 5] = [
    ("restore: a mount loaded", 1, 0, Then::Anew),
    ("restore: a service loaded", 1, 0, Then::Anew),
    ("restore: a service loaded", 4, 0, Then::Anew),
    ("restore: held", 1, 0, Then::Anew),
    ("restore: prepared", 1, 0, Then::Anew),
];
const BETWEEN: [Death; 6] = [
    ("restore: swapping", 1, 0, Then::TakenBack),
    ("restore: a service exchanged", 1, 1, Then::TakenBack),
    ("restore: a service exchanged", 2, 2, Then::TakenBack),
    ("restore: a service exchanged", 3, 3, Then::TakenBack),
    ("restore: a service exchanged", 4, 4, Then::TakenBack),
    ("restore: a mount exchanged", 1, 5, Then::TakenBack),
];
const AFTER: [Death; 3] = [
    ("restore: swapped", 1, 5, Then::Kept),
    ("restore: safety stored", 1, 5, Then::Kept),
    ("restore: ended", 1, 5, Then::Kept),
];

/// Kills it when it has reached its step so often.
fn killed(mut server: Process, times: usize) {
    for time in 1..=times {
        server.stopped();
        if time < times {
            server.go_on();
        }
    }
    server.kill();
}

/// How many kinds hold exactly these numbers.
fn kinds_at(shop: &Shop, place: &Place, numbers: &BTreeSet<u64>) -> usize {
    shop.numbers(place).values().filter(|held| *held == numbers).count()
}

fn safety_of(at: &Installation, asked: &Asked) -> String {
    at.succeeded(asked)["payload"]["safety_backup_name"].as_str().expect("a name").to_owned()
}

#[track_caller]
fn assert_nothing_left(shop: &Shop, at: &Installation) {
    at.assert_no_leftovers();
    shop.assert_nothing_beside();
    until("no server of the worker's runs", || (own_servers(at) == 0).then_some(()));
}

fn restores_survive(deaths: &[Death]) {
    let (shop, at) = installed();
    shop.write(&Kind::ALL);
    for &(step, times, exchanged, then) in deaths {
        eprintln!("{step}, {times}");
        let server = at.start_with(&[(STOP, step)]);
        let name = at.snapshot();
        let kept = shop.one_instant(&shop.main);
        let later = shop.write(&Kind::ALL);
        let old = shop.one_instant(&shop.main);
        let asked = at.ask_restore(&name);
        killed(server, times);
        assert_eq!(kinds_at(&shop, &shop.main, &kept), exchanged, "{step}: what is exchanged");
        assert_eq!(kinds_at(&shop, &shop.main, &old), 5 - exchanged, "{step}: what is not");
        // Nobody else would write now: the gate is dead.
        let written = (then == Then::Kept).then(|| shop.write(&Kind::ALL));

        let server = at.start();
        let visitor = at.visitor();
        until("visitors come", || (visitor.so_far().served + visitor.so_far().asked_to_return > 0).then_some(()));
        let meanwhile = visitor.so_far();
        let safety = safety_of(&at, &asked);
        until("they are served", || (visitor.so_far().served > meanwhile.served).then_some(()));
        let visits = visitor.leave();
        assert_eq!(meanwhile.asked_to_return > 0, then == Then::TakenBack, "{step}: {meanwhile:?}");
        assert_eq!(visits.asked_to_return > 0, then == Then::TakenBack, "{step}: {visits:?}");
        let now = shop.one_instant(&shop.main);
        assert!(now.iter().filter(|number| **number <= later).eq(kept.iter()), "{step}: {now:?}");
        assert!(written.is_none_or(|written| now.contains(&written)), "{step}: {now:?}");
        assert_nothing_left(&shop, &at);

        at.restore(&safety);
        let undone = shop.one_instant(&shop.main);
        assert!(undone.contains(&later), "{step}: Undo brings back what the restore replaced: {undone:?}");
        assert_eq!(at.visit().expect("the gateway").status, 200);
        shop.one_instant(&shop.main);
        assert_nothing_left(&shop, &at);
        server.terminate();
    }
    let server = at.start();
    at.assert_repository_whole();
    server.terminate();
}

#[test]
fn a_restore_that_is_killed_before_the_swap_leaves_all_services_as_they_were() {
    restores_survive(&BEFORE);
}

#[test]
fn a_restore_that_is_killed_between_two_services_is_taken_back_in_all_of_them() {
    restores_survive(&BETWEEN);
}

#[test]
fn a_restore_that_is_killed_after_the_swap_is_kept_in_all_services() {
    restores_survive(&AFTER);
}

#[test]
fn a_restore_whose_server_is_killed_between_services_again_and_again_ends_with_the_old_data_in_all() {
    let (shop, at) = installed();
    shop.write(&Kind::ALL);
    let mut server = at.start_with(&[(STOP, "restore: a service exchanged")]);
    let name = at.snapshot();
    let kept = shop.one_instant(&shop.main);
    shop.write(&Kind::ALL);
    let old = shop.one_instant(&shop.main);
    let asked = at.ask_restore(&name);
    for times in [3, 1, 2] {
        killed(server, times);
        assert_eq!((kinds_at(&shop, &shop.main, &kept), kinds_at(&shop, &shop.main, &old)), (times, 5 - times));
        // The last one reaches that step no more.
        server = at.start_role("all", &[(STOP, "restore: a service exchanged")]);
    }
    at.ready(&server);
    let reason = at.failed(&asked);
    assert!(reason.contains("died 3 times"), "{reason}");
    assert_eq!(shop.one_instant(&shop.main), old);
    assert_eq!(at.visit().expect("the gateway").status, 200);
    assert_nothing_left(&shop, &at);
    server.terminate();
    let server = at.start();
    at.restore(&name);
    assert_eq!(shop.one_instant(&shop.main), kept);
    assert_nothing_left(&shop, &at);
    server.terminate();
}

/// As [`installed`]; what is restored into `copy` goes through a program that fails while the file is there.
fn with_after_restore() -> (Arc<Shop>, Installation, PathBuf) {
    let (shop, at) = installed();
    let (program, broken) = (at.directory().join("own-data"), at.directory().join("broken"));
    let script = format!("#!/bin/sh\nif [ -e {broken:?} ]; then echo 'mend it first' >&2; exit 1; fi\n");
    fs::write(&program, script).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let declared = fs::read_to_string(at.directory().join("declaration.toml")).expect("it was applied");
    // `copy` stands last.
    let more = format!("{declared}\n[project.environment.commands]\nafter_restore = [{program:?}]\n");
    let (applied, told) = at.apply(&more);
    assert!(applied, "{told}");
    (shop, at, broken)
}

#[test]
fn a_restore_that_is_killed_after_its_own_command_ran_is_taken_back_and_done() {
    let (shop, at, _) = with_after_restore();
    shop.write(&Kind::ALL);
    let server = at.start_with(&[(STOP, "restore: after_restore ran")]);
    let name = at.snapshot();
    let kept = shop.one_instant(&shop.main);
    let asked = at.ask_restore_into(&name, "copy");
    killed(server, 1);
    assert_eq!(kinds_at(&shop, &shop.copy, &kept), 5, "everything is exchanged, and the journal does not say so");
    let server = at.start();
    let safety = safety_of(&at, &asked);
    assert!(at.log_of(&asked).contains("taking it back"), "{}", at.log_of(&asked));
    assert_eq!(shop.one_instant(&shop.copy), kept);
    assert_eq!(shop.one_instant(&shop.main), kept);
    assert!(at.backup_of("copy", &safety)["id"].is_string());
    assert_nothing_left(&shop, &at);
    server.terminate();
}

#[test]
fn a_restore_that_is_killed_while_it_is_taken_back_is_taken_back_in_all_services() {
    let (shop, at, broken) = with_after_restore();
    fs::write(&broken, "").expect("a file");
    let old = shop.one_instant(&shop.copy);
    shop.write(&Kind::ALL);
    let server = at.start_with(&[(STOP, "restore: rolling back")]);
    let name = at.snapshot();
    let kept = shop.one_instant(&shop.main);
    let asked = at.ask_restore_into(&name, "copy");
    killed(server, 1);
    assert_eq!(kinds_at(&shop, &shop.copy, &kept), 5, "nothing is taken back yet");
    // Its own second try comes to the same end.
    let server = at.start();
    let reason = at.failed(&asked);
    assert!(reason.contains("taken back") && reason.contains("mend it first"), "{reason}");
    assert_eq!(shop.one_instant(&shop.copy), old);
    assert_nothing_left(&shop, &at);
    fs::remove_file(&broken).expect("it is there");
    at.restore_into(&name, "copy");
    assert_eq!(shop.one_instant(&shop.copy), kept);
    assert_nothing_left(&shop, &at);
    server.terminate();
}

/// The number that a database of SQLite holds.
fn number_in(path: &Path) -> i64 {
    let rows = rusqlite::Connection::open(path).expect("the database");
    rows.query_row("SELECT max(n) FROM numbers", [], |row| row.get(0)).expect("a number")
}

#[test]
fn two_sqlite_services_of_one_environment_are_restored_together_or_not_at_all() {
    let at = Installation::new();
    let second = at.site.home.join("second.db");
    let set = |number: u32| {
        at.site.write(number);
        let rows = rusqlite::Connection::open(&second).expect("a database");
        rows.execute_batch("CREATE TABLE IF NOT EXISTS numbers (n)").expect("a table");
        rows.execute("INSERT INTO numbers VALUES (?1)", [number]).expect("a number");
    };
    let of_first = || {
        let rows = at.site.connect();
        rows.query_row("SELECT max(version) FROM items", [], |row| row.get::<_, i64>(0)).expect("a version")
    };
    set(1);
    let more = format!("\n[[project.environment.service]]\nname = \"second\"\ntype = \"sqlite\"\npath = {second:?}\n");
    let (applied, told) = at.apply(&at.site.declaration(&more));
    assert!(applied, "{told}");
    for times in [1, 2] {
        let server = at.start_with(&[(STOP, "restore: a service exchanged")]);
        let name = at.snapshot();
        let (new, old) = (number_in(&second), number_in(&second) + 1);
        set(u32::try_from(old).expect("a small number"));
        let asked = at.ask_restore(&name);
        killed(server, times);
        let exchanged = [of_first(), number_in(&second)].into_iter().filter(|number| *number == new).count();
        assert_eq!(exchanged, times, "of the two");
        let server = at.start();
        let safety = safety_of(&at, &asked);
        assert_eq!((i64::from(at.site.version()), number_in(&second)), (new, new));
        at.restore(&safety);
        assert_eq!((i64::from(at.site.version()), number_in(&second)), (old, old));
        at.assert_no_leftovers();
        server.terminate();
    }
    let server = at.start();
    at.assert_repository_whole();
    server.terminate();
}

#[test]
fn a_snapshot_that_is_killed_at_any_step_is_taken_at_one_instant_of_all_services() {
    let (shop, at) = installed();
    for step in [
        "snapshot: indexed",
        "snapshot: copied",
        "snapshot: held",
        "snapshot: views open",
        "snapshot: released",
        "snapshot: stored",
    ] {
        eprintln!("{step}");
        let before = shop.write(&Kind::ALL);
        let server = at.start_with(&[(STOP, step)]);
        let listed = at.backups().len();
        let asked = at.ask_snapshot();
        killed(server, 1);
        until("no server of the worker's runs", || (own_servers(&at) == 0).then_some(()));

        let server = at.start();
        let visitor = at.visitor();
        until("visitors come", || (visitor.so_far().served > 0).then_some(()));
        at.succeeded(&asked);
        let visits = visitor.leave();
        assert_eq!(visits.asked_to_return, 0, "{step}: a snapshot hold fails open: {visits:?}");
        assert_eq!(at.backups().len(), listed + 1, "{step}");
        assert_eq!(at.backup(&asked.snapshot)["attributes"]["consistency"], "consistent", "{step}");
        at.restore_into(&asked.snapshot, "copy");
        let held = shop.one_instant(&shop.copy);
        assert!(held.contains(&before), "{step}: {held:?}");
        assert!(held.is_subset(&shop.one_instant(&shop.main)), "{step}: {held:?}");
        assert_nothing_left(&shop, &at);
        server.terminate();
    }
    at.assert_repository_sound();
}
