use std::fs;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tempfile::TempDir;

use super::program::Program;
use super::proof::OpenFiles;
use crate::domain::environment::ServiceConnection;
use crate::domain::manifest::Facts;
use crate::drivers::mount::tests::Small;
use crate::drivers::{Aside, Beside, Error, Service, connect};

const WITHIN: Duration = Duration::from_secs(1);

/// A database with its driver and a scratch directory.
struct Site {
    home: TempDir,
    service: Box<dyn Service>,
}

impl Site {
    fn new(settings: &str) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let path = home.path().join("shop.db");
        let db = Connection::open(&path).expect("a new database");
        db.execute_batch(settings).expect("valid settings");
        db.execute_batch(
            "CREATE TABLE orders(id INTEGER PRIMARY KEY, text TEXT); CREATE INDEX by_text ON orders(text);",
        )
        .expect("a schema");
        drop(db);
        let site = Self { home, service: driver(&path) };
        fs::create_dir(site.scratch()).expect("a scratch directory");
        site.insert(100);
        site
    }

    fn wal() -> Self {
        Self::new("PRAGMA journal_mode=WAL")
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("shop.db")
    }

    fn scratch(&self) -> PathBuf {
        self.home.path().join("scratch")
    }

    fn open(&self) -> Connection {
        Connection::open(self.path()).expect("the database opens")
    }

    fn insert(&self, rows: usize) {
        insert(&self.open(), rows);
    }

    fn count(&self) -> i64 {
        count(&self.open())
    }

    /// A snapshot: bytes and facts.
    fn dump(&self) -> (Vec<u8>, Facts) {
        let mut view = self.service.open_view(WITHIN).expect("a view");
        let mut bytes = Vec::new();
        let written = view.dump(&self.scratch(), &mut bytes, &|| false).expect("a dump");
        assert_eq!(written, bytes.len() as u64);
        (bytes, view.facts().expect("facts"))
    }

    fn load(&self, bytes: &[u8]) -> Beside {
        self.service.load_beside(&self.scratch(), &mut Cursor::new(bytes)).expect("a load")
    }
}

fn driver(path: &Path) -> Box<dyn Service> {
    let path = path.to_str().expect("a temporary path is UTF-8").to_owned();
    connect(&ServiceConnection::Sqlite { path }).expect("an absolute path")
}

fn insert(db: &Connection, rows: usize) {
    let db = db.unchecked_transaction().expect("a transaction");
    for row in 0..rows {
        db.execute("INSERT INTO orders(text) VALUES (?1)", [format!("order {row} {}", "x".repeat(200))])
            .expect("a row");
    }
    db.commit().expect("a commit");
}

fn count(db: &Connection) -> i64 {
    db.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).expect("a count")
}

fn open_bytes(bytes: &[u8]) -> (TempDir, Connection) {
    let home = TempDir::new().expect("a temporary directory");
    fs::write(home.path().join("dump.db"), bytes).expect("a file");
    let db = Connection::open(home.path().join("dump.db")).expect("a database");
    (home, db)
}

#[test]
fn a_dump_holds_exactly_the_view_while_others_write() {
    let site = Site::wal();
    site.insert(20_000);
    let mut view = site.service.open_view(WITHIN).expect("a view");
    let stop = AtomicBool::new(false);
    let wrote = AtomicBool::new(false);
    let bytes = std::thread::scope(|scope| {
        scope.spawn(|| {
            let db = site.open();
            db.busy_timeout(WITHIN).expect("a time-out");
            while !stop.load(Ordering::Relaxed) {
                insert(&db, 50);
                db.execute("DELETE FROM orders WHERE id % 7 = 0", []).expect("rows go too");
                db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).expect("a checkpoint");
                wrote.store(true, Ordering::Relaxed);
            }
        });
        while !wrote.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let mut bytes = Vec::new();
        view.dump(&site.scratch(), &mut bytes, &|| false).expect("a dump");
        stop.store(true, Ordering::Relaxed);
        bytes
    });
    let facts = view.facts().expect("facts");
    assert_eq!(facts.rows["orders"], 20_100);
    let (_home, db) = open_bytes(&bytes);
    assert_eq!(count(&db), 20_100);
    let integrity: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(integrity, "ok");
    assert_ne!(site.count(), 20_100, "others really wrote meanwhile");
}

#[test]
fn looking_at_the_position_does_not_take_the_locks_from_a_view() {
    let site = Site::new("PRAGMA journal_mode=DELETE");
    let view = site.service.open_view(WITHIN).expect("a view");
    site.service.position().expect("a position");
    site.service.test().expect("a test");
    // Only another process sees POSIX locks fall: /proc/locks lists them.
    use std::os::unix::fs::MetadataExt;
    let inode = format!(":{} ", fs::metadata(site.path()).expect("metadata").ino());
    let locks = fs::read_to_string("/proc/locks").expect("the kernel's list");
    let read_lock = locks.lines().any(|line| line.contains(&inode) && line.contains("READ"));
    assert!(read_lock, "the view's lock is gone:\n{locks}");
    drop(view);
}

#[test]
fn the_position_moves_with_every_commit_and_only_then() {
    for mode in ["WAL", "DELETE", "TRUNCATE", "PERSIST", "MEMORY"] {
        let site = Site::new(&format!("PRAGMA journal_mode={mode}"));
        let writer = site.open();
        writer.query_row(&format!("PRAGMA journal_mode={mode}"), [], |_| Ok(())).expect("a mode");
        let mut last = site.service.position().expect("a position");
        for _ in 0..20 {
            assert_eq!(site.service.position().expect("a position"), last, "{mode}");
            insert(&writer, 1);
            let next = site.service.position().expect("a position");
            assert_ne!(next, last, "{mode}");
            last = next;
        }
        let open = writer.unchecked_transaction().expect("a transaction");
        open.execute("UPDATE orders SET text = 'b' WHERE id = 1", []).expect("an update");
        open.rollback().expect("a rollback");
        assert_eq!(site.service.position().expect("a position"), last, "{mode}: nothing was committed");
    }
}

#[test]
fn a_position_takes_less_than_a_millisecond() {
    let site = Site::wal();
    site.insert(50_000);
    site.service.position().expect("the first opens the connection");
    let began = Instant::now();
    for _ in 0..200 {
        site.service.position().expect("a position");
    }
    let each = began.elapsed() / 200;
    let began = Instant::now();
    let view = site.service.open_view(WITHIN).expect("a view");
    println!("position: {each:?}, open view: {:?}", began.elapsed());
    assert!(each < Duration::from_millis(1), "{each:?}");
    drop(view);
}

#[test]
fn another_file_under_the_same_name_is_another_position() {
    let site = Site::wal();
    let before = site.service.position().expect("a position");
    fs::copy(site.path(), site.home.path().join("copy.db")).expect("a copy");
    fs::rename(site.home.path().join("copy.db"), site.path()).expect("a rename");
    assert_ne!(site.service.position().expect("a position"), before);
}

#[test]
fn a_view_says_where_it_stands() {
    let site = Site::wal();
    let view = site.service.open_view(WITHIN).expect("a view");
    assert_eq!(*view.position(), site.service.position().expect("a position"));
    site.insert(1);
    assert_ne!(*view.position(), site.service.position().expect("a position"));
    assert!(view.limits().is_empty());
    assert!(view.size().0 > 20_000);
}

#[test]
fn without_wal_writers_go_on_once_the_view_is_settled() {
    let site = Site::new("PRAGMA journal_mode=DELETE");
    let mut view = site.service.open_view(WITHIN).expect("a view");
    assert_eq!(view.limits().len(), 1);
    let writer = site.open();
    writer.busy_timeout(Duration::ZERO).expect("a time-out");
    assert!(writer.execute("DELETE FROM orders", []).is_err(), "the view holds its lock");
    view.settle(&site.scratch(), &|| false).expect("a copy");
    writer.execute("DELETE FROM orders", []).expect("nothing holds it any more");
    assert_eq!(view.facts().expect("facts").rows["orders"], 100);
}

#[test]
fn a_dump_can_be_cancelled_and_leaves_no_scratch() {
    let site = Site::wal();
    let mut view = site.service.open_view(WITHIN).expect("a view");
    let cancelled = view.dump(&site.scratch(), &mut Vec::new(), &|| true);
    assert!(matches!(cancelled, Err(Error::Cancelled)), "{cancelled:?}");
    assert_eq!(fs::read_dir(site.scratch()).expect("a directory").count(), 0);
    view.dump(&site.scratch(), &mut Vec::new(), &|| false).expect("the view is still there");
    drop(view);
    assert_eq!(fs::read_dir(site.scratch()).expect("a directory").count(), 0);
}

#[test]
fn a_full_disk_stops_a_dump() {
    let site = Site::wal();
    let mut view = site.service.open_view(WITHIN).expect("a view");
    let mut full = fs::OpenOptions::new().write(true).open("/dev/full").expect("every Linux has it");
    let stopped = view.dump(&site.scratch(), &mut full, &|| false);
    assert!(matches!(&stopped, Err(Error::Output(cause)) if cause.kind() == io::ErrorKind::StorageFull), "{stopped:?}");
}

#[test]
fn a_full_disk_stops_a_load_and_a_prepare_and_leaves_the_live_data() {
    let site = Site::wal();
    site.insert(2_000);
    let (bytes, _) = site.dump();
    if let Some(small) = Small::new(c"size=128k") {
        let load = site.service.load_beside(small.path(), &mut Cursor::new(&bytes));
        let tiny = Site::wal();
        let beside = site.service.load_beside(small.path(), &mut Cursor::new(tiny.dump().0)).expect("that fits");
        let prepare = site.service.prepare(&beside);
        let view = site.service.open_view(WITHIN).expect("a view").settle(small.path(), &|| false);
        assert!(matches!(load, Err(Error::Full { .. })), "{load:?}");
        assert!(matches!(prepare, Err(Error::Full { .. })), "{prepare:?}");
        assert!(matches!(view, Err(Error::Full { .. })), "{view:?}");
    }
    assert_eq!(site.count(), 2_100);
}

#[test]
fn a_dump_that_breaks_off_while_it_is_read_is_named() {
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("a pack is missing"))
        }
    }
    let site = Site::wal();
    let (bytes, _) = site.dump();
    let mut dump = io::Read::chain(Cursor::new(&bytes[..bytes.len() / 2]), Broken);
    let refused = site.service.load_beside(&site.scratch(), &mut dump);
    assert!(matches!(&refused, Err(Error::Input(cause)) if cause.to_string() == "a pack is missing"), "{refused:?}");
}

#[test]
fn facts_count_rows_and_notice_the_schema() {
    let site = Site::wal();
    let db = site.open();
    db.execute_batch(
        "CREATE TABLE \"odd \"\" name\"(a); INSERT INTO \"odd \"\" name\" VALUES (1), (2);
         CREATE TABLE words(w PRIMARY KEY) WITHOUT ROWID;
         CREATE TABLE counted(id INTEGER PRIMARY KEY AUTOINCREMENT);
         CREATE VIRTUAL TABLE found USING fts5(text); INSERT INTO found VALUES ('hello world');
         CREATE VIEW seen AS SELECT * FROM orders; ANALYZE;",
    )
    .expect("a schema");
    let (_, facts) = site.dump();
    assert_eq!(facts.rows["odd \" name"], 2);
    assert_eq!(facts.rows["words"], 0);
    assert!(facts.rows.contains_key("found_content"), "what a virtual table holds is in its shadow tables");
    assert!(!facts.rows.keys().any(|table| table == "found" || table == "seen" || table.starts_with("sqlite_")));
    db.execute_batch("ALTER TABLE words ADD COLUMN x").expect("a change");
    let (_, other) = site.dump();
    assert_eq!(facts.rows, other.rows);
    assert_ne!(facts.schema, other.schema);
}

#[test]
fn a_restore_replaces_what_open_connections_see() {
    for mode in ["WAL", "DELETE"] {
        let site = Site::new(&format!("PRAGMA journal_mode={mode}"));
        let (bytes, facts) = site.dump();
        let app = site.open();
        let mut statement = app.prepare("SELECT count(*) FROM orders").expect("a statement");
        insert(&app, 11);
        app.execute_batch("CREATE TABLE later(x)").expect("a table");

        let beside = site.load(&bytes);
        site.service.check(&beside, &facts).expect("all is as recorded");
        let aside = site.service.prepare(&beside).expect("fixed");
        assert_eq!(site.count(), 111, "{mode}: nothing happened to the live data");
        site.service.commit(&beside, &aside).expect("swapped");

        let seen: i64 = statement.query_row([], |row| row.get(0)).expect("the statement goes on");
        assert_eq!(seen, 100, "{mode}");
        assert!(app.prepare("SELECT * FROM later").is_err(), "{mode}: newer tables are gone");
        insert(&app, 1);
        assert_eq!(site.count(), 101, "{mode}: the application writes on");
        let now: String = site.open().query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("a mode");
        assert_eq!(now.to_uppercase(), mode, "the journal mode stays");

        let mut old = Vec::new();
        site.service.dump_aside(&aside, &mut old).expect("a dump of what was swapped out");
        let old_facts = site.service.aside_facts(&aside).expect("facts");
        assert_eq!(old_facts.rows["orders"], 111);
        assert_eq!(count(&open_bytes(&old).1), 111);
        site.service.discard(&beside, Some(&aside)).expect("removed");
        site.service.discard(&beside, Some(&aside)).expect("and again");
        assert_eq!(fs::read_dir(site.scratch()).expect("a directory").count(), 0);
    }
}

#[test]
fn every_step_of_a_swap_may_be_repeated_in_any_order() {
    let site = Site::wal();
    let (bytes, _) = site.dump();
    site.insert(11);
    let service = &site.service;
    let beside = site.load(&bytes);

    let aside = service.prepare(&beside).expect("fixed");
    service.roll_back(&beside, &aside).expect("nothing to do");
    assert_eq!(site.count(), 111);

    // The site went on in between: what is set aside must be the present state.
    site.insert(1);
    assert_eq!(service.prepare(&beside).expect("fixed anew"), aside);
    service.commit(&beside, &aside).expect("swapped");
    service.commit(&beside, &aside).expect("is");
    assert_eq!(service.prepare(&beside).expect("what was fixed"), aside);
    assert_eq!(site.count(), 100);
    assert!(matches!(service.load_beside(&site.scratch(), &mut io::empty()), Err(Error::CannotSwap { .. })));

    service.roll_back(&beside, &aside).expect("back");
    assert_eq!(site.count(), 112);
    site.insert(1);
    service.roll_back(&beside, &aside).expect("is");
    assert_eq!(site.count(), 113, "a second roll back does not take away what was written since");

    let aside = service.prepare(&beside).expect("fixed");
    service.commit(&beside, &aside).expect("swapped");
    assert_eq!(site.count(), 100);
    assert_eq!(service.aside_facts(&aside).expect("facts").rows["orders"], 113);
}

#[test]
fn a_worker_that_died_inside_a_commit_can_go_either_way() {
    for forward in [true, false] {
        let site = Site::wal();
        let (bytes, _) = site.dump();
        site.insert(11);
        let beside = site.load(&bytes);
        let aside = site.service.prepare(&beside).expect("fixed");
        // Died after the mark, before SQLite's transaction ended.
        fs::write(site.scratch().join("commit.begun"), "").expect("a mark");
        if forward {
            site.service.commit(&beside, &aside).expect("forward");
            assert_eq!(site.count(), 100);
        } else {
            site.service.roll_back(&beside, &aside).expect("back");
            assert_eq!(site.count(), 111);
        }
    }
}

#[test]
fn a_commit_without_prepare_is_refused() {
    let site = Site::wal();
    let (bytes, _) = site.dump();
    let beside = site.load(&bytes);
    let aside = site.service.prepare(&beside).expect("fixed");
    fs::remove_file(site.scratch().join("aside.db")).expect("it is there");
    assert!(matches!(site.service.commit(&beside, &aside), Err(Error::NotPrepared { .. })));
    assert_eq!(site.count(), 100);
}

#[test]
fn what_goes_to_the_journal_comes_back_from_it() {
    let site = Site::wal();
    let (bytes, _) = site.dump();
    let beside = site.load(&bytes);
    let aside = site.service.prepare(&beside).expect("fixed");
    let json = serde_json::to_string(&(&beside, &aside)).expect("plain data");
    assert_eq!(serde_json::from_str::<(Beside, Aside)>(&json).expect("the same"), (beside, aside));
}

#[test]
fn another_page_size_is_converted_while_loading() {
    for (mode, from, to) in [("WAL", 4096, 8192), ("WAL", 8192, 1024), ("DELETE", 1024, 4096)] {
        let source = Site::new(&format!("PRAGMA page_size={from}; PRAGMA journal_mode=WAL"));
        let target = Site::new(&format!("PRAGMA page_size={to}; PRAGMA journal_mode={mode}"));
        let app = target.open();
        insert(&app, 50);
        let (bytes, facts) = source.dump();
        let beside = target.load(&bytes);
        target.service.check(&beside, &facts).expect("all is as recorded");
        let aside = target.service.prepare(&beside).expect("fixed");
        target.service.commit(&beside, &aside).expect("swapped");
        assert_eq!(count(&app), 100, "{mode} {from} {to}");
        target.service.roll_back(&beside, &aside).expect("back");
        assert_eq!(count(&app), 150, "{mode} {from} {to}");
    }
}

#[test]
fn a_page_size_that_changed_since_the_load_is_refused_before_anything_happens() {
    let source = Site::wal();
    let target = Site::new("PRAGMA page_size=8192; PRAGMA journal_mode=DELETE");
    let beside = target.load(&source.dump().0);
    target.open().query_row("PRAGMA journal_mode=WAL", [], |_| Ok(())).expect("now in WAL mode");
    let refused = target.service.prepare(&beside);
    assert!(matches!(refused, Err(Error::PageSize { live: 8192, loaded: 4096, .. })), "{refused:?}");
}

#[test]
fn a_load_that_is_not_what_was_recorded_is_refused() {
    let site = Site::wal();
    let (bytes, mut facts) = site.dump();
    let beside = site.load(&bytes);
    facts.rows.insert("orders".to_owned(), 101);
    let refused = site.service.check(&beside, &facts).expect_err("a row is missing");
    assert_eq!(
        refused.to_string(),
        "what was loaded is not what the snapshot recorded: the table `orders` is 100 rows, recorded is 101 rows; \
         nothing was swapped"
    );
    facts.rows.insert("orders".to_owned(), 100);
    facts.schema = "another".to_owned();
    assert!(matches!(site.service.check(&beside, &facts), Err(Error::Mismatch { .. })));
}

#[test]
fn a_damaged_dump_is_refused() {
    let site = Site::wal();
    site.insert(2_000);
    let (mut bytes, facts) = site.dump();
    let refused = site.service.load_beside(&site.scratch(), &mut Cursor::new(b"not a database at all"));
    assert!(matches!(refused, Err(Error::NotADatabase { .. })), "{refused:?}");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0xaa);
    let beside = site.load(&bytes);
    let refused = site.service.check(&beside, &facts);
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    // A stream that broke off.
    bytes.truncate(middle);
    let refused = site
        .service
        .load_beside(&site.scratch(), &mut Cursor::new(&bytes))
        .and_then(|beside| site.service.check(&beside, &facts));
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
}

#[test]
fn a_locked_database_is_named_within_bounds() {
    let site = Site::new("PRAGMA journal_mode=DELETE");
    let (bytes, _) = site.dump();
    let beside = site.load(&bytes);
    let aside = site.service.prepare(&beside).expect("fixed");
    let app = site.open();
    app.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    let view = site.service.open_view(Duration::from_millis(50)).map(|_| ());
    assert!(matches!(view, Err(Error::Locked { .. })), "{view:?}");
    let commit = site.service.commit(&beside, &aside).expect_err("somebody holds it");
    assert!(commit.to_string().contains("end the transaction"), "{commit}");
    app.execute_batch("ROLLBACK").expect("the lock goes");
    site.service.commit(&beside, &aside).expect("now it can");
}

#[test]
fn each_thing_that_is_no_database_is_told_apart() {
    let home = TempDir::new().expect("a temporary directory");
    let at = |name: &str| home.path().join(name);
    assert!(matches!(driver(&at("absent.db")).test(), Err(Error::Missing { .. })));
    assert!(!at("absent.db").exists(), "looking makes nothing");
    assert!(matches!(driver(home.path()).test(), Err(Error::NotAFile { .. })));
    fs::write(at("text"), "a".repeat(5000)).expect("a file");
    assert!(matches!(driver(&at("text")).test(), Err(Error::NotADatabase { .. })));
    fs::write(at("empty"), "").expect("a file");
    driver(&at("empty")).test().expect("an empty file is an empty database");
    let relative = connect(&ServiceConnection::Sqlite { path: "shop.db".to_owned() });
    assert!(matches!(relative, Err(Error::NotAbsolute { .. })));

    let site = Site::new("PRAGMA journal_mode=DELETE");
    site.insert(2_000);
    let mut bytes = fs::read(site.path()).expect("bytes");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0xaa);
    fs::write(at("damaged.db"), &bytes).expect("a file");
    assert!(matches!(driver(&at("damaged.db")).test(), Err(Error::Corrupt { .. })));
    let tested = site.service.test().expect("a sound one");
    assert_eq!((tested.limits.len(), tested.size.0), (1, bytes.len() as u64));
}

#[test]
fn a_hot_journal_is_rolled_back_before_anything_is_read() {
    let site = Site::new("PRAGMA journal_mode=DELETE");
    let crashed = TempDir::new().expect("a temporary directory");
    site.insert(2_000);
    let whole = fs::read(site.path()).expect("bytes");
    let writer = site.open();
    writer.execute_batch("PRAGMA cache_size=1; PRAGMA cache_spill=1; BEGIN").expect("a transaction");
    writer.execute("UPDATE orders SET text = hex(randomblob(150))", []).expect("an update");
    assert_ne!(fs::read(site.path()).expect("bytes"), whole, "more than fits into memory was written over");
    // What a power cut leaves: a half-written file with its journal.
    for name in ["shop.db", "shop.db-journal"] {
        fs::copy(site.home.path().join(name), crashed.path().join(name)).expect("a copy");
    }
    let service = driver(&crashed.path().join("shop.db"));
    let mut view = service.open_view(WITHIN).expect("a view");
    assert_eq!(view.facts().expect("facts").rows["orders"], 2_100);
    let mut bytes = Vec::new();
    view.dump(crashed.path(), &mut bytes, &|| false).expect("a dump");
    let (_home, db) = open_bytes(&bytes);
    let updated: i64 = db
        .query_row("SELECT count(*) FROM orders WHERE text NOT LIKE 'order %'", [], |row| row.get(0))
        .expect("a count");
    assert_eq!(updated, 0);
}

#[test]
fn provisioning_makes_an_empty_one_and_touches_no_existing_one() {
    let home = TempDir::new().expect("a temporary directory");
    let path = home.path().join("new.db");
    driver(&path).provision().expect("a new one");
    let tested = driver(&path).test().expect("a database");
    assert!(tested.limits.is_empty(), "in WAL mode");
    assert!(matches!(driver(&path).provision(), Err(Error::Exists { .. })));

    // What a restore elsewhere does next.
    let source = Site::wal();
    let (bytes, facts) = source.dump();
    let service = driver(&path);
    let beside = service.load_beside(&source.scratch(), &mut Cursor::new(bytes)).expect("a load");
    service.check(&beside, &facts).expect("all is as recorded");
    let aside = service.prepare(&beside).expect("fixed");
    service.commit(&beside, &aside).expect("swapped");
    assert_eq!(count(&Connection::open(&path).expect("a database")), 100);
}

/// A database that is too large to be copied in a hold, and a small one to replace it with.
fn large(settings: &str) -> (Site, Beside) {
    let site = Site::new(settings);
    let (small, _) = site.dump();
    let filled = "CREATE TABLE filling(bytes); INSERT INTO filling VALUES (zeroblob(70 << 20))";
    site.open().execute_batch(filled).expect("it is filled");
    site.insert(5);
    let beside = site.load(&small);
    (site, beside)
}

fn inode(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).expect("it is there").ino()
}

fn journal_mode(path: &Path) -> String {
    let db = Connection::open(path).expect("it opens");
    db.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("an answer")
}

/// Here and now it can be proven that a file is closed.
fn proven() -> bool {
    OpenFiles::look().is_ok()
}

#[test]
fn a_large_database_that_nobody_has_open_changes_places_and_may_do_so_again_and_again() {
    use std::os::unix::fs::PermissionsExt;
    for mode in ["wal", "delete"] {
        let (site, beside) = large(&format!("PRAGMA journal_mode={mode}"));
        let path = site.path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("ours");
        let old = inode(&path);
        let aside = site.service.prepare(&beside).expect("prepared");
        assert_eq!((inode(&path), site.count()), (old, 105));
        site.service.roll_back(&beside, &aside).expect("nothing to do");
        for _ in 0..2 {
            for _ in 0..2 {
                site.service.commit(&beside, &aside).expect("exchanged");
                assert_eq!(site.count(), 100);
                assert_eq!(inode(&path) != old, proven(), "it is the other file");
                assert_eq!(journal_mode(&path), mode);
                assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o640);
            }
            assert_eq!(site.service.prepare(&beside).expect("what was noted"), aside);
            let mut kept = Vec::new();
            site.service.dump_aside(&aside, &mut kept).expect("the old one");
            assert_eq!(count(&open_bytes(&kept).1), 105);
            for _ in 0..2 {
                site.service.roll_back(&beside, &aside).expect("back");
                assert_eq!((inode(&path), site.count()), (old, 105));
                assert_eq!(journal_mode(&path), mode);
            }
        }
        site.service.commit(&beside, &aside).expect("exchanged");
        site.service.discard(&beside, Some(&aside)).expect("removed");
        assert_eq!(fs::read_dir(site.scratch()).expect("a directory").count(), 0);
        assert_eq!(site.count(), 100);
    }
}

#[test]
fn a_large_database_that_somebody_has_open_is_overwritten() {
    for mode in ["wal", "delete"] {
        let (site, beside) = large(&format!("PRAGMA journal_mode={mode}"));
        let mut program = Program::open(&site.path());
        let old = inode(&site.path());
        let aside = site.service.prepare(&beside).expect("prepared");
        site.service.commit(&beside, &aside).expect("copied over");
        assert_eq!(inode(&site.path()), old);
        assert_eq!(program.ask("SELECT count(*) FROM orders;"), "100");
        program.ask("INSERT INTO orders(text) VALUES ('a later one');");
        assert_eq!(site.count(), 101, "its later writes are there");
        site.service.roll_back(&beside, &aside).expect("copied back");
        assert_eq!(program.ask("SELECT count(*) FROM orders;"), "105");
    }
}

#[test]
fn who_opens_a_large_database_right_before_it_is_exchanged_keeps_it() {
    let (site, beside) = large("PRAGMA journal_mode=wal");
    let aside = site.service.prepare(&beside).expect("prepared");
    let mut program = Program::open(&site.path());
    let refused = site.service.commit(&beside, &aside);
    assert_eq!(matches!(refused, Err(Error::CannotSwap { .. })), proven(), "{refused:?}");
    site.service.roll_back(&beside, &aside).expect("back");
    program.ask("INSERT INTO orders(text) VALUES ('a later one');");
    assert_eq!((site.count(), journal_mode(&site.path())), (106, "wal".to_owned()));
    // Idle outside WAL mode it holds no lock at all: the open file gives it away.
    drop(program);
    let (site, beside) = large("PRAGMA journal_mode=delete");
    let aside = site.service.prepare(&beside).expect("prepared");
    let mut program = Program::open(&site.path());
    let refused = site.service.commit(&beside, &aside);
    assert_eq!(matches!(refused, Err(Error::CannotSwap { .. })), proven(), "{refused:?}");
    site.service.roll_back(&beside, &aside).expect("back");
    program.ask("INSERT INTO orders(text) VALUES ('a later one');");
    assert_eq!(site.count(), 106);
}

#[test]
fn who_opened_the_new_file_sees_the_old_data_after_a_roll_back() {
    let (site, beside) = large("PRAGMA journal_mode=wal");
    let aside = site.service.prepare(&beside).expect("prepared");
    site.service.commit(&beside, &aside).expect("exchanged");
    let mut program = Program::open(&site.path());
    assert_eq!(program.ask("SELECT count(*) FROM orders;"), "100");
    site.service.roll_back(&beside, &aside).expect("copied back");
    assert_eq!(program.ask("SELECT count(*) FROM orders;"), "105");
    program.ask("INSERT INTO orders(text) VALUES ('a later one');");
    assert_eq!(site.count(), 106);
    site.service.roll_back(&beside, &aside).expect("nothing to do");
    assert_eq!(site.count(), 106);
}
