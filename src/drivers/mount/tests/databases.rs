use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};

use rusqlite::Connection;

use super::super::{Index, Scan, Settled};
use super::*;
use crate::domain::tree::{Override, TreeIndex};
use crate::drivers::sqlite::program::Program;

impl Site {
    fn database(&self, name: &str, journal: &str) -> Program {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("below the mount")).expect("directories");
        Program::create(&path, journal)
    }

    fn scratch(&self) -> PathBuf {
        let path = self.home.path().join("databases");
        fs::create_dir_all(&path).expect("a directory");
        path
    }

    fn hold(&self, index: &Index) -> Scan {
        fs::remove_dir_all(self.staging()).and_then(|()| fs::create_dir(self.staging())).expect("ours");
        index.changes(&self.staging(), LIMITS).expect("a scan")
    }

    fn settled(&self, scan: &mut Scan) -> Settled {
        scan.settle(&self.scratch(), &|| false).expect("copies")
    }
}

fn names(index: &Index, directory: &str) -> BTreeSet<String> {
    index.entries(Path::new(directory)).map(|(name, _)| name.to_string_lossy().into_owned()).collect()
}

fn named<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// Texts of all rows in the copy, which must be whole by itself.
fn copied(scan: &Scan, name: &str) -> Vec<String> {
    let Override { meta, staged } = &scan.changes.overrides[Path::new(name)];
    let staged = staged.as_ref().expect("a file");
    assert_eq!(fs::metadata(staged).expect("it was copied").len(), meta.size);
    let alone = TempDir::new().expect("a directory");
    fs::copy(staged, alone.path().join("copy")).expect("a copy");
    let db = Connection::open(alone.path().join("copy")).expect("a database");
    let sound: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("an answer");
    assert_eq!(sound, "ok");
    let mut query = db.prepare("SELECT text FROM rows ORDER BY id").expect("a table");
    let rows = query.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("texts")
}

#[test]
fn a_database_that_is_in_use_is_one_whole_file_in_the_snapshot() {
    let site = Site::new();
    site.file("picture.jpg", "x");
    let mut shop = site.database("data/shop.db", "wal");
    let mut plain = site.database("data/plain.sqlite3", "delete");
    shop.insert("one");
    plain.insert("a");
    let path = site.path().join("data/shop.db");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("ours");
    site.settle();
    let index = site.mount().follow().expect("an index");
    assert_eq!(index.scanned_because(), None);
    assert_eq!(names(&index, "data"), named(["plain.sqlite3"]), "pass 1 reads none that may be in use");
    assert_eq!(index.contents().files, 2);
    shop.insert("two");
    plain.insert("b");

    let mut scan = site.hold(&index);
    assert!(index.moved_since(&scan).expect("a second look").is_empty(), "{scan:?}");
    shop.insert("after the hold");
    assert!(index.unseen(&scan).expect("a third look").is_empty(), "the shared memory is SQLite's own business");
    let settled = site.settled(&mut scan);
    plain.insert("after the copy");
    assert_eq!(copied(&scan, "data/shop.db"), ["one", "two"]);
    assert_eq!(copied(&scan, "data/plain.sqlite3"), ["a", "b"]);
    let meta = &scan.changes.overrides[Path::new("data/shop.db")].meta;
    let live = fs::metadata(&path).expect("it is there");
    assert_eq!((meta.mode, meta.uid, meta.inode, meta.links), (0o640, live.uid(), live.ino(), 1));
    let beside = scan.changes.overrides.keys().filter(|path| path.to_string_lossy().contains('-'));
    assert_eq!(beside.count(), 0, "{scan:?}");

    let mut entries = settled.entries.clone();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(entries.iter().map(|entry| &*entry.path).collect::<Vec<_>>(), ["data/plain.sqlite3", "data/shop.db"]);
    assert_eq!(entries[1].facts.rows["rows"], 2);
    assert_eq!(shop.rows(), ["one", "two", "after the hold"], "nobody was disturbed");
}

#[test]
fn a_database_at_rest_is_the_file_that_it_is() {
    for journal in [true, false] {
        let site = Site::new();
        for mode in ["wal", "delete"] {
            site.database(&format!("{mode}.db"), mode).insert("one");
        }
        site.settle();
        let index = if journal { site.mount().follow() } else { without_journal(&site) }.expect("an index");
        assert_eq!(names(&index, ""), named(["delete.db", "wal.db"]));
        let mut scan = site.hold(&index);
        let settled = site.settled(&mut scan);
        assert!(settled.entries.is_empty() && scan.changes.overrides.is_empty(), "{scan:?}");
        assert!(index.moved_since(&scan).expect("a look").is_empty());
        assert_eq!(fs::read_dir(site.path()).expect("a directory").count(), 2, "nothing came to lie beside them");
    }
}

#[test]
fn a_write_between_the_views_is_told_whether_there_is_a_journal_or_not() {
    let site = Site::new();
    let mut shop = site.database("shop.db", "wal");
    shop.insert("one");
    site.settle();
    for journal in [true, false] {
        let index = if journal { site.mount().follow() } else { without_journal(&site) }.expect("an index");
        let quiet = site.hold(&index);
        assert!(index.moved_since(&quiet).expect("a look").is_empty(), "{journal}");
        let busy = site.hold(&index);
        shop.insert("round the gate");
        assert_eq!(index.moved_since(&busy).expect("a look"), [Path::new("shop.db")], "{journal}");
    }
}

/// As on a file system that does not tell of changes.
fn without_journal(site: &Site) -> Result<Index, Error> {
    Index::take(&site.path(), &[], Err(super::super::NoJournal::FileSystem), super::super::index::Databases::Recognised)
}

#[test]
fn a_database_that_comes_after_the_index_is_recognised_in_the_hold() {
    for journal in [true, false] {
        let site = Site::new();
        site.file("grows.db", "");
        site.file("quiet", "x");
        // No ending says what it is, and nobody has it open.
        drop(site.database("unnamed", "wal"));
        site.settle();
        let index = if journal { site.mount().follow() } else { without_journal(&site) }.expect("an index");
        assert_eq!(names(&index, ""), named(["grows.db", "quiet", "unnamed"]));
        let mut grows = site.database("grows.db", "wal");
        grows.insert("one");
        let mut fresh = site.database("new/fresh.db", "wal");
        fresh.insert("two");
        let mut unnamed = Program::open(&site.path().join("unnamed"));
        unnamed.insert("three");
        let mut scan = site.hold(&index);
        assert!(index.moved_since(&scan).expect("a look").is_empty(), "{scan:?}");
        let busy = site.hold(&index);
        fresh.insert("round the gate");
        assert_eq!(index.moved_since(&busy).expect("a look"), [Path::new("new/fresh.db")]);
        let _kept = site.settled(&mut scan);
        assert_eq!(copied(&scan, "grows.db"), ["one"]);
        assert_eq!(copied(&scan, "new/fresh.db"), ["two"]);
        assert_eq!(copied(&scan, "unnamed"), ["three"]);
        let kept: Vec<_> = scan.changes.overrides.keys().filter(|path| path.to_string_lossy().contains('-')).collect();
        assert!(kept.is_empty(), "{kept:?}");
    }
}

#[test]
fn a_database_that_was_moved_or_removed_after_the_index_stands_where_it_is_in_the_hold() {
    let site = Site::new();
    let mut moved = site.database("old/moved.db", "delete");
    moved.insert("one");
    drop(site.database("gone.db", "wal"));
    site.settle();
    let index = site.mount().follow().expect("an index");
    fs::rename(site.path().join("old"), site.path().join("new")).expect("ours");
    for name in ["gone.db", "gone.db-wal", "gone.db-shm"] {
        fs::remove_file(site.path().join(name)).ok();
    }
    let mut scan = site.hold(&index);
    let _kept = site.settled(&mut scan);
    assert_eq!(copied(&scan, "new/moved.db"), ["one"]);
    let paths: Vec<_> = scan.changes.overrides.keys().collect();
    assert_eq!(paths, [Path::new(""), Path::new("new"), Path::new("new/moved.db")]);
}

#[test]
fn what_sqlite_refuses_is_a_file_and_the_snapshot_says_so() {
    let site = Site::new();
    site.file("damaged.db", [&b"SQLite format 3\0"[..], &[7; 1000]].concat());
    site.file("damaged.db-wal", "x");
    site.file("encrypted.db", [9; 4096]);
    let mut exclusive = site.database("exclusive.db", "wal");
    exclusive.insert("one");
    exclusive.ask("PRAGMA locking_mode=EXCLUSIVE;");
    exclusive.insert("two");
    let mut later = site.database("later.db", "persist");
    later.insert("a");
    let _named = site.database("named.db", "wal");
    fs::hard_link(site.path().join("named.db"), site.home.path().join("second")).expect("a second name");
    symlink("later.db", site.path().join("link.db")).expect("a link");
    site.settle();
    let index = site.mount().follow().expect("an index");
    let databases = ["damaged.db", "damaged.db-wal", "exclusive.db", "exclusive.db-wal", "named.db", "named.db-wal"];
    let files = databases.into_iter().chain(["encrypted.db", "link.db"]).map(str::to_owned).collect();
    let there: BTreeSet<String> = names(&index, "").into_iter().filter(|name| !name.ends_with("-shm")).collect();
    assert_eq!(there, files);
    let limits = index.limits().join("\n");
    for (name, why) in [("damaged.db", "SQLite"), ("exclusive.db", "locked"), ("named.db", "several names")] {
        let said =
            limits.lines().any(|line| line.contains(name) && line.contains("ordinary file") && line.contains(why));
        assert!(said, "{name}: {limits}");
    }
    assert!(!limits.contains("later.db") && !limits.contains("encrypted.db"), "{limits}");

    // It was opened before; now somebody keeps it locked.
    later.ask("BEGIN EXCLUSIVE;");
    let mut scan = site.hold(&index);
    assert!(index.moved_since(&scan).expect("a look").is_empty(), "{scan:?}");
    later.ask("ROLLBACK;");
    later.insert("b");
    assert!(index.moved_since(&scan).expect("a look").contains(&PathBuf::from("later.db")));
    let settled = site.settled(&mut scan);
    assert!(scan.changes.overrides[Path::new("later.db")].staged.is_some());
    assert_eq!(settled.limits.len(), 1, "{:?}", settled.limits);
    assert!(settled.limits[0].contains("later.db") && settled.limits[0].contains("locked"), "{:?}", settled.limits);
    assert!(settled.entries.is_empty());
}

#[test]
fn an_interrupted_transaction_is_left_to_the_sites_own_programs() {
    let site = Site::new();
    let mut shop = site.database("shop.db", "delete");
    shop.insert("kept");
    shop.ask("PRAGMA cache_size=1; BEGIN;");
    shop.ask(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) \
              INSERT INTO rows(text) SELECT hex(randomblob(200)) FROM n;",
    );
    shop.kill();
    assert!(site.path().join("shop.db-journal").exists());
    site.settle();
    let index = site.mount().follow().expect("an index");
    assert_eq!(names(&index, ""), named(["shop.db", "shop.db-journal"]), "together they are whole");
    assert!(index.limits().concat().contains("interrupted"), "{:?}", index.limits());
}

#[test]
fn looking_for_databases_among_many_files_costs_little() {
    let site = Site::new();
    for directory in 0..100 {
        for file in 0..200 {
            site.file(format!("{directory}/picture-{file}.jpg"), "x");
        }
    }
    for number in 0..20 {
        drop(site.database(&format!("{number}/shop.db"), "wal"));
    }
    let time = |index: &dyn Fn() -> Index| {
        let times = (0..5).map(|_| {
            let started = std::time::Instant::now();
            index();
            started.elapsed()
        });
        times.min().expect("five")
    };
    let without = time(&|| site.mount().index().expect("an index"));
    let with = time(&|| without_journal(&site).expect("an index"));
    println!("20,000 files and 20 databases: {without:?} without, {with:?} with recognition");
    assert!(with < without * 2 + Duration::from_millis(50), "{with:?} against {without:?}");
}
