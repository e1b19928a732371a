//! Restores of single paths (R26): nothing else is touched, and Undo brings back exactly what was there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{Asked, Installation};

const CRASH: &str = "STILLPOINT_CRASH_AT";

fn put(at: &Installation, path: &str, text: &str) {
    let path = at.site.uploads().join(path);
    fs::create_dir_all(path.parent().expect("below")).expect("directories");
    fs::write(path, text).expect("written");
}

/// Every file and directory of the mount.
fn state(at: &Installation) -> BTreeMap<PathBuf, Option<String>> {
    let uploads = at.site.uploads();
    let entries = walkdir::WalkDir::new(&uploads).into_iter().map(|entry| entry.expect("readable"));
    let own = |path: &Path| path.starts_with(uploads.join(".stillpoint"));
    let entries = entries.filter(|entry| !own(entry.path()));
    let read = |path: &Path| path.is_file().then(|| fs::read_to_string(path).expect("text"));
    entries.map(|entry| (entry.path().to_owned(), read(entry.path()))).collect()
}

/// What a snapshot is taken of, and what has become of it since.
fn changed(at: &Installation) -> String {
    for (path, text) in [("2024/photos/one", "1\n"), ("2024/photos/deep/two", "1\n"), ("2023/x/lost", "1\n")] {
        put(at, path, text);
    }
    let name = at.snapshot();
    at.site.connect().execute_batch("UPDATE items SET version = 2").expect("changed");
    for (path, text) in [("2024/photos/one", "2\n"), ("2024/photos/three", "2\n"), ("2024/other", "2\n")] {
        put(at, path, text);
    }
    fs::remove_dir_all(at.site.uploads().join("2024/photos/deep")).expect("removed");
    fs::remove_dir_all(at.site.uploads().join("2023")).expect("removed");
    name
}

fn safety_of(at: &Installation, asked: &Asked) -> String {
    at.succeeded(asked)["payload"]["safety_backup_name"].as_str().expect("a name").to_owned()
}

#[track_caller]
fn is_restored(at: &Installation, before: &BTreeMap<PathBuf, Option<String>>) {
    let uploads = at.site.uploads();
    let mut expected = before.clone();
    expected.remove(&uploads.join("2024/photos/three"));
    for path in ["2024/photos/one", "2024/photos/deep/two", "2023/x/lost"] {
        expected.insert(uploads.join(path), Some("1\n".to_owned()));
    }
    for path in ["2024/photos/deep", "2023", "2023/x"] {
        expected.insert(uploads.join(path), None);
    }
    assert_eq!(state(at), expected);
}

const PARTS: [&str; 2] = ["mount:uploads/2024/photos", "mount:uploads/2023/x/lost"];

fn restored_and_undone(at: &Installation) {
    let name = changed(at);
    let before = state(at);
    let asked = at.ask_restore_of(&name, &PARTS);
    let safety = safety_of(at, &asked);
    is_restored(at, &before);
    at.assert_no_leftovers();
    let versions =
        at.site.connect().query_row("SELECT group_concat(DISTINCT version) FROM items", [], |row| row.get(0));
    assert_eq!(versions, Ok("2".to_owned()), "no other part is touched");
    let feed = at.activity(&asked).to_string();
    assert!(feed.contains("path 2024/photos in the mount uploads"), "{feed}");

    let undone = at.ask_restore(&safety);
    let redo = safety_of(at, &undone);
    assert_eq!(state(at), before, "what was not there is gone again");
    at.restore(&redo);
    is_restored(at, &before);
    at.restore(&safety);

    // Later snapshots and whole restores go on as ever.
    let whole = at.snapshot();
    put(at, "2024/photos/one", "3\n");
    at.restore(&whole);
    assert_eq!(state(at), before);
    at.assert_no_leftovers();
    at.assert_repository_whole();
}

#[test]
fn paths_are_restored_alone_and_undone() {
    let at = Installation::new();
    let server = at.start();
    restored_and_undone(&at);
    server.terminate();
}

#[test]
fn paths_of_a_mount_point_are_restored_alone_and_undone() {
    let Some((at, _mounted)) = Installation::on_a_mount_point() else { return };
    let server = at.start();
    restored_and_undone(&at);
    server.terminate();
}

#[test]
fn a_path_that_the_snapshot_does_not_hold_is_refused_before_anything_is_done() {
    let at = Installation::new();
    let server = at.start();
    let name = changed(&at);
    let (refused, preflight) = at.refused_restore_of(&name, "mount:uploads/2022");
    assert!(refused.contains("holds nothing at 2022 in the mount uploads"), "{refused}");
    assert!(preflight["obstacles"].to_string().contains("holds nothing at 2022"), "{preflight:#}");

    let preflight = at.preflight_of(&name, "mount:uploads/2024/photos");
    let change = &preflight["changes"][0];
    assert_eq!(change["part"]["name"], "uploads/2024/photos", "{preflight:#}");
    assert!(change["becomes"].as_str().is_some_and(|text| text.starts_with("2 files")), "{preflight:#}");
    assert!(change["replaces"].as_str().is_some_and(|text| text.starts_with("2 files")), "{preflight:#}");
    assert_eq!(preflight["obstacles"].as_array().map(Vec::len), Some(0), "{preflight:#}");
    assert!(preflight["expectations"].to_string().contains("Everything else in the mount uploads stays"));
    server.terminate();
}

#[test]
fn a_restore_of_paths_that_dies_is_done_and_can_be_undone() {
    for step in ["restore: a mount loaded", "mount: an entry is out", "mount: turned", "mount: an entry is in"] {
        let at = Installation::new();
        let dying = at.start_with(&[(CRASH, step)]);
        let name = changed(&at);
        let before = state(&at);
        let asked = at.ask_restore_of(&name, &PARTS);
        dying.died();
        let server = at.start();
        let safety = safety_of(&at, &asked);
        is_restored(&at, &before);
        at.restore(&safety);
        assert_eq!(state(&at), before, "{step}");
        at.assert_no_leftovers();
        at.assert_repository_whole();
        server.terminate();
    }
}

#[test]
fn a_single_database_file_never_meets_a_log_that_was_left_beside_it() {
    let at = Installation::new();
    let server = at.start();
    put(&at, "notes.db", "a file of any kind");
    let name = at.snapshot();
    fs::remove_file(at.site.uploads().join("notes.db")).expect("removed");
    put(&at, "notes.db-wal", "the log of a database that is gone");
    let before = state(&at);
    let asked = at.restore_part_into(&name, "main", "mount:uploads/notes.db");
    let uploads = at.site.uploads();
    assert_eq!(fs::read_to_string(uploads.join("notes.db")).expect("it is there"), "a file of any kind");
    assert!(!uploads.join("notes.db-wal").exists(), "the log went with what was replaced");
    let safety = safety_of(&at, &asked);
    at.restore(&safety);
    assert_eq!(state(&at), before, "undone");
    server.terminate();
}
