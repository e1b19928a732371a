//! Disks that are full: the worker's scratch, and the one that Stillpoint's own database lies on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::process::{Installation, Process, Site, Tmpfs, until};

use super::{Faulty, STOP};

/// All that is left but so many bytes; removed when dropped.
struct Ballast(PathBuf);

impl Ballast {
    fn fill(disk: &Path, but: u64) -> Self {
        let path = disk.join("ballast");
        let mut zeros = File::create(&path).expect("a file");
        let filled = std::io::copy(&mut std::io::repeat(0), &mut zeros).expect_err("the disk is full");
        assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
        zeros.set_len(zeros.metadata().expect("its size").len() - but).expect("cut");
        Self(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_disk_that_is_full_while_the_redis_view_is_written_fails_the_snapshot_and_leaves_nothing() {
    let faulty = Faulty::new();
    let Some(small) = Tmpfs::needed(&faulty.at.state().join("work"), 4 * 1024) else { return };
    let noise = (0..800_000_u64).map(|n| n.wrapping_mul(6_364_136_223_846_793_005).to_le_bytes());
    let noise: Vec<u8> = noise.flatten().collect();
    let mut open = faulty.shop.redis().open("", "").expect("Redis");
    ::redis::cmd("SET").arg("noise").arg(noise).exec(&mut open).expect("6 MiB");
    let server = faulty.at.start();
    faulty.failed(&faulty.at.ask_snapshot(), &["ervice cache", "space"]);
    small.resize(64 * 1024);
    server.terminate();
    faulty.works_again();
}

/// Whatever is written to it now needs new space.
fn without_reserve(database: &Path, server: &Process) {
    until("its log is empty", || {
        let own = rusqlite::Connection::open(database).expect("the server's database");
        own.busy_timeout(Duration::from_secs(2)).expect("a time");
        let is_busy: bool =
            own.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).expect("a checkpoint");
        if is_busy {
            // Stopped in the middle of reading.
            server.go_on();
            server.freeze();
            return None;
        }
        Some(())
    });
}

/// Stillpoint's own disk is full at this step of a restore, for as long as it takes to try.
fn its_own_disk_is_full(step: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = directory.path().join("data/state");
    let Some(_small) = Tmpfs::needed(&state, 24 * 1024) else { return };
    let site = Site::new(&directory.path().join("site"));
    let at = Installation::around(directory, site);
    let server = at.start_with(&[(STOP, step)]);
    let name = at.snapshot();
    at.site.write(2);
    let asked = at.ask_restore(&name);
    server.stopped();
    without_reserve(&at.database(), &server);
    let ballast = Ballast::fill(&state, 0);
    let visitor = at.visitor();
    server.go_on();
    until("the worker can't write it down", || server.log().contains("the database failed").then_some(()));
    drop(ballast);
    // A later try comes to the same step, and stops there too.
    let ended = thread::scope(|scope| {
        let over = scope.spawn(|| at.over(&asked));
        while !over.is_finished() {
            server.go_on();
            thread::yield_now();
        }
        over.join().expect("no panic")
    });
    until("the site is served", || at.visit().filter(|answer| answer.status == 200));
    // Fails when somebody saw it mixed.
    visitor.leave();
    // A failure after the exchange says what is served; what was replaced then stands aside until it is stored.
    let stands_aside = ended["failure_reason"].as_str().is_some_and(|why| why.contains("the site serves it"));
    let version = if stands_aside || ended["result"] == "success" { 1 } else { 2 };
    assert_eq!(at.site.version(), version, "{step}: {ended:#}");
    server.terminate();
    let server = at.start();
    at.restore(&name);
    assert_eq!(at.site.version(), 1, "{step}");
    if !stands_aside {
        at.assert_no_leftovers();
    }
    at.assert_repository_whole();
    server.terminate();
}

#[test]
fn a_journal_that_can_not_be_written_in_the_swap_leaves_nothing_mixed() {
    its_own_disk_is_full("restore: a mount exchanged");
}

#[test]
fn a_disk_of_its_own_that_is_full_once_a_restore_is_done_hides_nothing() {
    its_own_disk_is_full("restore: swapped");
}
