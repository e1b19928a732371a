use rusqlite::Connection;

use super::super::points::Way;
use super::super::{Contents, MountBeside};
use super::entries::dies_at;
use super::*;
use crate::domain::ActivityId;
use crate::domain::manifest::{DatabaseEntry, Facts};
use crate::drivers::sqlite::OpenFiles;
use crate::drivers::sqlite::program::Program;

impl Site {
    fn new_with_live(journal: &str, rows: &[&str]) -> (Self, Program) {
        let site = Self::new();
        let mut program = Program::create(&site.path().join("shop.db"), journal);
        rows.iter().for_each(|row| program.insert(row));
        (site, program)
    }

    fn beside(&self) -> (Mount, MountBeside) {
        let mount = self.mount();
        let activity = ActivityId::parse("0123456789abcdef0123").expect("20 hexadecimal digits");
        let beside = mount.beside_dir(&activity).expect("a directory");
        (mount, beside)
    }

    /// As of a mount point.
    fn beside_by_entries(&self) -> (Mount, MountBeside) {
        let mount = self.mount();
        let activity = ActivityId::parse("0123456789abcdef0123").expect("20 hexadecimal digits");
        let root = mount.root().expect("a directory");
        let beside = mount.beside_by(Way::Entries, root, &activity, Vec::new()).expect("a directory");
        (mount, beside)
    }

    /// Texts of all rows, as somebody sees them who opens it now.
    fn rows(&self, name: &str) -> Vec<String> {
        rows(&self.path().join(name))
    }
}

fn rows(path: &Path) -> Vec<String> {
    let db = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).expect("it is there");
    let mut query = db.prepare("SELECT text FROM rows ORDER BY id").expect("a table");
    let rows = query.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("texts")
}

/// A whole database, as a snapshot holds it.
fn recorded(path: &Path, texts: &[&str]) {
    let mut program = Program::create(path, "wal");
    texts.iter().for_each(|text| program.insert(text));
    drop(program);
    assert!(!path.with_file_name("shop.db-wal").exists());
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).expect("it is there").ino()
}

#[test]
fn a_database_in_both_trees_keeps_its_file_and_what_is_written_later() {
    for journal in ["wal", "delete"] {
        let (site, mut program) = Site::new_with_live(journal, &["old"]);
        let (mount, beside) = site.beside();
        recorded(&beside.tree().join("shop.db"), &["new", "newer"]);
        let size = fs::metadata(beside.tree().join("shop.db")).expect("it is there").len();
        mount.check(&beside, Contents { files: 1, bytes: Bytes(size) }).expect("all is there");
        mount.load_databases(&beside, &[]).expect("taken");
        let live = inode(&site.path().join("shop.db"));
        program.insert("written during the load");
        let aside = mount.prepare(&beside).expect("prepared");
        assert_eq!(site.rows("shop.db"), ["old", "written during the load"]);
        for _ in 0..2 {
            for _ in 0..2 {
                mount.commit(&beside, &aside, &|_| ()).expect("swapped");
                assert_eq!(program.rows(), ["new", "newer"], "{journal}");
                assert_eq!((site.rows("shop.db"), inode(&site.path().join("shop.db"))), (program.rows(), live));
                assert_eq!(rows(&beside.tree().join("shop.db")), ["old", "written during the load"]);
            }
            assert_eq!(mount.prepare(&beside).expect("what was noted"), aside);
            for _ in 0..2 {
                mount.roll_back(&beside, &aside, &|_| ()).expect("back");
                assert_eq!(program.rows(), ["old", "written during the load"]);
                assert_eq!((site.rows("shop.db"), inode(&site.path().join("shop.db"))), (program.rows(), live));
            }
        }
        mount.commit(&beside, &aside, &|_| ()).expect("swapped");
        program.insert("after the restore");
        assert_eq!(site.rows("shop.db"), ["new", "newer", "after the restore"]);
        assert!(aside.kept().is_empty());
        mount.discard(&beside, Some(&aside)).expect("removed");
        program.insert("and later");
        drop(program);
        assert_eq!(site.rows("shop.db"), ["new", "newer", "after the restore", "and later"]);
        assert_eq!(fs::read_dir(site.home.path().join("site")).expect("a directory").count(), 1, "nothing is left");
    }
}

#[test]
fn a_database_in_a_mount_point_keeps_its_file_wherever_the_swap_dies() {
    let (old, new) = (["old", "written during the load"], ["new", "newer"]);
    for died_at in 0.. {
        let (site, mut program) = Site::new_with_live("wal", &old[..1]);
        fs::write(site.path().join("page"), "old").expect("written");
        let (mount, beside) = site.beside_by_entries();
        recorded(&beside.tree().join("shop.db"), &new);
        fs::write(beside.tree().join("page"), "new").expect("written");
        mount.load_databases(&beside, &[]).expect("taken");
        let live = inode(&site.path().join("shop.db"));
        program.insert(old[1]);
        let aside = mount.prepare(&beside).expect("prepared");
        let died = dies_at(died_at, &|| (), |at| mount.commit(&beside, &aside, at));
        for _ in 0..2 {
            for _ in 0..2 {
                mount.roll_back(&beside, &aside, &|_| ()).expect("back");
                assert_eq!(
                    (program.rows(), inode(&site.path().join("shop.db"))),
                    (old.map(str::to_owned).into(), live)
                );
                assert_eq!(fs::read_to_string(site.path().join("page")).expect("it is there"), "old");
            }
            for _ in 0..2 {
                mount.commit(&beside, &aside, &|_| ()).expect("swapped");
                assert_eq!(
                    (program.rows(), inode(&site.path().join("shop.db"))),
                    (new.map(str::to_owned).into(), live)
                );
                assert_eq!(rows(&beside.old_tree().join("shop.db")), old, "for the safety snapshot");
            }
            dies_at(died_at, &|| (), |at| mount.roll_back(&beside, &aside, at));
            mount.commit(&beside, &aside, &|_| ()).expect("swapped");
        }
        program.insert("after the restore");
        mount.discard(&beside, Some(&aside)).expect("removed");
        assert_eq!(site.rows("shop.db"), ["new", "newer", "after the restore"], "{died_at}");
        if !died {
            assert!(died_at > 4, "it could die in between");
            break;
        }
    }
}

#[test]
fn a_large_database_that_nobody_has_open_is_exchanged_in_its_mount() {
    let (site, mut program) = Site::new_with_live("wal", &["old"]);
    program.ask("CREATE TABLE filling(bytes); INSERT INTO filling VALUES (zeroblob(60 << 20));");
    drop(program);
    let (mount, beside) = site.beside();
    recorded(&beside.tree().join("shop.db"), &["new"]);
    mount.load_databases(&beside, &[]).expect("taken");
    let live = inode(&site.path().join("shop.db"));
    let aside = mount.prepare(&beside).expect("prepared");
    for _ in 0..2 {
        for _ in 0..2 {
            mount.commit(&beside, &aside, &|_| ()).expect("swapped");
            assert_eq!(site.rows("shop.db"), ["new"]);
            assert_eq!(inode(&site.path().join("shop.db")) != live, OpenFiles::look().is_ok());
            assert_eq!(rows(&beside.tree().join("shop.db")), ["old"]);
        }
        for _ in 0..2 {
            mount.roll_back(&beside, &aside, &|_| ()).expect("back");
            assert_eq!((site.rows("shop.db"), inode(&site.path().join("shop.db"))), (vec!["old".to_owned()], live));
        }
    }
    mount.commit(&beside, &aside, &|_| ()).expect("swapped");
    // Who opens the new one keeps it open through a roll back.
    let mut program = Program::open(&site.path().join("shop.db"));
    for _ in 0..2 {
        mount.roll_back(&beside, &aside, &|_| ()).expect("back");
        assert_eq!(program.rows(), ["old"]);
    }
    program.insert("later");
    assert_eq!(site.rows("shop.db"), ["old", "later"]);
}

#[test]
fn a_database_only_in_the_snapshot_meets_no_old_log() {
    let (site, mut program) = Site::new_with_live("wal", &["of another database"]);
    program.insert("in the log");
    program.kill();
    fs::remove_file(site.path().join("shop.db")).expect("ours");
    assert!(site.path().join("shop.db-wal").exists());
    let (mount, beside) = site.beside();
    recorded(&beside.tree().join("shop.db"), &["new"]);
    mount.load_databases(&beside, &[]).expect("taken");
    let aside = mount.prepare(&beside).expect("prepared");
    mount.commit(&beside, &aside, &|_| ()).expect("swapped");
    assert!(!site.path().join("shop.db-wal").exists());
    assert_eq!(site.rows("shop.db"), ["new"]);
}

#[test]
fn a_database_that_goes_while_the_snapshot_is_loaded_comes_with_the_snapshot() {
    let (site, program) = Site::new_with_live("wal", &["old"]);
    drop(program);
    let (mount, beside) = site.beside();
    recorded(&beside.tree().join("shop.db"), &["new"]);
    mount.load_databases(&beside, &[]).expect("taken");
    fs::remove_file(site.path().join("shop.db")).expect("ours");
    let aside = mount.prepare(&beside).expect("prepared");
    mount.commit(&beside, &aside, &|_| ()).expect("swapped");
    assert_eq!(site.rows("shop.db"), ["new"]);
    mount.roll_back(&beside, &aside, &|_| ()).expect("back");
    assert!(!site.path().join("shop.db").exists());
}

#[test]
fn a_database_only_in_the_live_tree_stays_while_somebody_has_it_open_and_that_is_said() {
    let (site, mut program) = Site::new_with_live("delete", &["old"]);
    let closed = site.path().join("data/closed.db");
    fs::create_dir(site.path().join("data")).expect("ours");
    recorded(&closed, &["closed"]);
    let (mount, beside) = site.beside();
    fs::write(beside.tree().join("page"), "new").expect("a file");
    mount.load_databases(&beside, &[]).expect("none");
    // Nobody looks for it before the hold.
    let mut late = Program::create(&site.path().join("late.db"), "wal");
    let aside = mount.prepare(&beside).expect("prepared");
    mount.commit(&beside, &aside, &|_| ()).expect("swapped");
    for (name, program) in [("shop.db", &mut program), ("late.db", &mut late)] {
        if name == "shop.db" || OpenFiles::look().is_ok() {
            program.insert("after the restore");
            assert_eq!(site.rows(name).last().map(String::as_str), Some("after the restore"), "{name}");
            let said = aside.kept().iter().any(|kept| kept.contains(name) && kept.contains("not in the snapshot"));
            assert!(said, "{:?}", aside.kept());
        }
    }
    assert_eq!(closed.exists(), OpenFiles::look().is_err(), "nobody uses it");
    mount.roll_back(&beside, &aside, &|_| ()).expect("back");
    program.insert("after the roll back");
    assert_eq!(site.rows("shop.db"), ["old", "after the restore", "after the roll back"]);
    assert_eq!(rows(&closed), ["closed"]);
}

#[test]
fn a_database_that_is_opened_in_the_swap_takes_it_back() {
    let (site, program) = Site::new_with_live("wal", &["old"]);
    drop(program);
    let (mount, beside) = site.beside();
    mount.load_databases(&beside, &[]).expect("none");
    let aside = mount.prepare(&beside).expect("prepared");
    let mut program = Program::open(&site.path().join("shop.db"));
    let swapped = mount.commit(&beside, &aside, &|_| ());
    assert_eq!(swapped.is_err(), OpenFiles::look().is_ok(), "{swapped:?}");
    mount.roll_back(&beside, &aside, &|_| ()).expect("back");
    program.insert("later");
    assert_eq!(site.rows("shop.db"), ["old", "later"]);
}

#[test]
fn a_database_in_use_where_the_snapshot_holds_something_else_refuses_the_swap() {
    let (site, program) = Site::new_with_live("wal", &["old"]);
    let (mount, beside) = site.beside();
    fs::write(beside.tree().join("shop.db"), "no database").expect("a file");
    mount.load_databases(&beside, &[]).expect("nothing to take");
    let refused = mount.prepare(&beside);
    assert!(matches!(&refused, Err(Error::CannotSwap { why, .. }) if why.contains("shop.db")), "{refused:?}");
    assert_eq!(site.rows("shop.db"), ["old"]);
    drop(program);
    if OpenFiles::look().is_ok() {
        let aside = mount.prepare(&beside).expect("nobody has it open");
        mount.commit(&beside, &aside, &|_| ()).expect("swapped");
        assert_eq!(fs::read(site.path().join("shop.db")).expect("a file"), b"no database");
    }
}

#[test]
fn a_database_that_is_restored_as_it_is_keeps_its_file_and_its_bytes() {
    let (site, mut program) = Site::new_with_live("delete", &["old"]);
    let (mount, beside) = site.beside();
    let live = site.path().join("shop.db");
    let bytes = || fs::read(&live).expect("it is there");
    let (before, was) = (bytes(), inode(&live));
    fs::copy(&live, beside.tree().join("shop.db")).expect("copied");
    mount.load_databases(&beside, &[]).expect("the same");
    let aside = mount.prepare(&beside).expect("prepared");
    for _ in 0..2 {
        mount.commit(&beside, &aside, &|_| ()).expect("swapped");
        assert!(bytes() == before && inode(&live) == was);
        assert_eq!(rows(&beside.tree().join("shop.db")), ["old"], "for the safety snapshot");
        mount.roll_back(&beside, &aside, &|_| ()).expect("back");
        assert!(bytes() == before && inode(&live) == was);
    }
    mount.commit(&beside, &aside, &|_| ()).expect("swapped");
    program.insert("after the restore");
    assert_eq!(site.rows("shop.db"), ["old", "after the restore"]);
}

#[test]
fn a_database_that_was_the_same_and_is_written_to_meanwhile_is_restored() {
    let (site, mut program) = Site::new_with_live("delete", &["old"]);
    let (mount, beside) = site.beside();
    fs::copy(site.path().join("shop.db"), beside.tree().join("shop.db")).expect("copied");
    mount.load_databases(&beside, &[]).expect("the same");
    program.insert("written during the load");
    for _ in 0..2 {
        mount.prepare(&beside).expect("prepared");
    }
    let aside = mount.prepare(&beside).expect("prepared");
    mount.commit(&beside, &aside, &|_| ()).expect("swapped");
    assert_eq!(program.rows(), ["old"]);
    assert_eq!(rows(&beside.tree().join("shop.db")), ["old", "written during the load"]);
    mount.roll_back(&beside, &aside, &|_| ()).expect("back");
    assert_eq!(program.rows(), ["old", "written during the load"]);
}

#[test]
fn what_was_loaded_is_compared_with_what_was_recorded() {
    let site = Site::new();
    let (mount, beside) = site.beside();
    recorded(&beside.tree().join("shop.db"), &["one", "two"]);
    let entry = |path: &str, rows: u64| DatabaseEntry {
        path: path.to_owned(),
        position: String::new(),
        facts: Facts { rows: [("rows".to_owned(), rows)].into(), schema: String::new() },
    };
    for (entry, what) in [(entry("shop.db", 3), "rows"), (entry("other.db", 2), "other.db"), (entry("../x", 2), "../x")]
    {
        let refused = mount.load_databases(&beside, &[entry]);
        assert!(matches!(&refused, Err(Error::Mismatch { what: found, .. }) if found.contains(what)), "{refused:?}");
    }
    let names = || fs::read_dir(beside.tree()).expect("a directory").count();
    assert_eq!(names(), 1, "looking at it leaves nothing beside it");
}

#[test]
fn what_is_no_database_for_sqlite_is_restored_as_the_file_that_it_is() {
    let site = Site::new();
    let damaged = |fill: u8| [&b"SQLite format 3\0"[..], &[fill; 1000]].concat();
    for name in ["a.db", "b.db"] {
        site.file(name, damaged(7));
    }
    drop(Program::create(&site.path().join("c.db"), "wal"));
    let (mount, beside) = site.beside();
    for name in ["a.db", "b.db", "shop.db"] {
        fs::write(beside.tree().join(name), damaged(8)).expect("a file");
    }
    recorded(&beside.tree().join("c.db"), &["new"]);
    mount.load_databases(&beside, &[]).expect("taken");
    let aside = mount.prepare(&beside).expect("prepared");
    mount.commit(&beside, &aside, &|_| ()).expect("swapped");
    for name in ["a.db", "b.db", "shop.db"] {
        assert_eq!(fs::read(site.path().join(name)).expect("a file"), damaged(8), "{name}");
    }
    assert_eq!(site.rows("c.db"), ["new"]);
    assert!(aside.kept().is_empty());
}
