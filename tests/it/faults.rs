//! Faults of the database servers in the middle of a snapshot or a restore of everything: the feed names the culprit,
//! visitors go on, nothing is left, and the next try succeeds.

mod killed;
mod passwords;
pub mod session;
mod space;
mod versions;

use std::sync::Arc;

use rustix::process::Signal;

use self::session::Session;
use crate::everything::shop::{Kind, Shop};
use crate::process::{Asked, Installation, Process, Site, Tmpfs, until};
use crate::support::server::programs;

const STOP: &str = "STILLPOINT_STOP_AT";

/// `main` has a service of every kind, with some numbers in each, and a table `ledger` that no visitor uses.
struct Faulty {
    shop: Arc<Shop>,
    at: Installation,
}

impl Faulty {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let site = Site::new(&directory.path().join("site"));
        let shop = Arc::new(Shop::new(&site.home));
        let declaration = shop.declaration(shop.serve(), "");
        let mut at = Installation::bare(directory, site);
        at.add_operator();
        let new = Self { shop, at };
        let ledger = "CREATE TABLE ledger (n bigint PRIMARY KEY, text text); INSERT INTO ledger VALUES (1, 'one')";
        // Who may log in as anybody is asked for a password by this role alone.
        new.postgres(&format!("CREATE ROLE with_password; GRANT with_password TO shop; SET ROLE shop; {ledger}"));
        new.mariadb(ledger);
        new.shop.write(&Kind::ALL);
        let (applied, told) = new.at.apply(&declaration);
        assert!(applied, "{told}");
        new
    }

    /// As the administrator.
    fn postgres(&self, sql: &str) {
        self.postgres_session().ask(sql);
    }

    fn postgres_session(&self) -> Session {
        self.session_at("main")
    }

    fn session_at(&self, database: &str) -> Session {
        Session::postgres(&programs().join("psql"), self.shop.postgres.socket(), self.shop.postgres.port, database)
    }

    fn mariadb(&self, sql: &str) {
        self.mariadb_session().ask(sql);
    }

    fn mariadb_session(&self) -> Session {
        let mut client = self.shop.mariadb.client();
        client.arg("--database=main");
        Session::mariadb(client)
    }

    fn visited(&self) {
        let answer = until("a visitor is answered", || self.at.visit());
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// It failed for that reason, and has done nothing else.
    #[track_caller]
    fn failed(&self, asked: &Asked, words: &[&str]) {
        let before = self.at.backups().len();
        let reason = self.at.failed(asked);
        for word in words {
            assert!(reason.contains(word), "{word:?} is not in: {reason}");
        }
        assert!(!reason.contains("not-for-everybody"), "{reason}");
        self.visited();
        self.shop.one_instant(&self.shop.main);
        assert_eq!(self.at.backups().len(), before, "nothing was stored");
        self.assert_nothing_left();
    }

    #[track_caller]
    fn assert_nothing_left(&self) {
        // The servers first: what could not be asked of one that was away is asked again after some seconds.
        self.shop.assert_nothing_beside();
        self.at.assert_no_leftovers();
    }

    /// A snapshot and a restore of it, by a server that stops nowhere.
    #[track_caller]
    fn works_again(&self) {
        let server = self.at.start();
        let name = self.at.snapshot();
        let held = self.shop.numbers(&self.shop.main);
        self.visited();
        self.at.restore(&name);
        assert_eq!(self.shop.numbers(&self.shop.main), held);
        self.visited();
        self.assert_nothing_left();
        self.at.assert_repository_whole();
        server.terminate();
    }

    /// Asks for a snapshot and does that when it is at the step where the server stops.
    fn snapshot_with(&self, server: &Process, meanwhile: impl FnOnce()) -> Asked {
        let asked = self.at.ask_snapshot();
        server.stopped();
        meanwhile();
        server.go_on();
        asked
    }
}

#[test]
fn a_password_that_changed_since_the_connection_test_is_named_with_what_to_do() {
    let faulty = Faulty::new();
    let server = faulty.at.start_with(&[(STOP, "snapshot: indexed")]);
    let let_in = |password: &str| {
        faulty.postgres(&format!("ALTER ROLE shop PASSWORD '{password}'"));
    };
    let told = ["does not let `shop` in", "correct user and password in the declaration and apply it"];
    let asked = faulty.snapshot_with(&server, || let_in("another"));
    faulty.at.over(&asked);
    let_in("not-for-everybody");
    faulty.failed(&asked, &[&["ervice records"], &told[..]].concat());

    let let_in = |password: &str| {
        faulty.mariadb(&format!("SET PASSWORD FOR shop@'127.0.0.1' = PASSWORD('{password}')"));
    };
    let asked = faulty.snapshot_with(&server, || let_in("another"));
    faulty.at.over(&asked);
    let_in("not-for-everybody");
    faulty.failed(&asked, &[&["ervice orders"], &told[..]].concat());

    let let_in = |password: &str| {
        faulty.shop.redis().ask::<()>(0, &format!("ACL SETUSER shop resetpass >{password}"));
    };
    let asked = faulty.snapshot_with(&server, || let_in("another"));
    faulty.at.over(&asked);
    let_in("not-for-everybody");
    faulty.failed(&asked, &[&["ervice cache"], &told[..]].concat());
    server.terminate();
    faulty.works_again();
}

#[test]
fn a_table_that_somebody_keeps_locked_fails_the_snapshot_after_a_second_try_and_names_them() {
    let faulty = Faulty::new();
    let server = faulty.at.start();
    let mut foreign = faulty.postgres_session();
    foreign.ask("BEGIN; LOCK TABLE ledger");
    let asked = faulty.at.ask_snapshot();
    faulty.failed(&asked, &["ervice records", "of postgres keeps `public.ledger` locked", "then try again"]);
    assert!(faulty.at.log_of(&asked).contains("trying once more"));
    drop(foreign);
    let mut foreign = faulty.mariadb_session();
    foreign.ask("LOCK TABLES ledger WRITE");
    let asked = faulty.at.ask_snapshot();
    faulty.failed(&asked, &["ervice orders", "of root", "with tables locked", "then try again"]);
    drop(foreign);
    server.terminate();
    faulty.works_again();
}

#[test]
fn who_truncates_or_alters_a_table_between_hold_and_dump_waits_or_is_named() {
    let faulty = Faulty::new();
    let server = faulty.at.start_with(&[(STOP, "snapshot: released")]);
    for statement in ["TRUNCATE ledger", "ALTER TABLE ledger ADD COLUMN more int"] {
        // MariaDB's view reads on, and the other one waits for it.
        let mut foreign = faulty.mariadb_session();
        let asked = faulty.snapshot_with(&server, || foreign.begin(statement));
        faulty.at.succeeded(&asked);
        foreign.ended();

        // Of PostgreSQL's no program may read what somebody else waits for: that one is told of.
        let mut foreign = faulty.postgres_session();
        let asked = faulty.snapshot_with(&server, || {
            foreign.begin(statement);
            let mut admin = faulty.postgres_session();
            until("it waits", || (admin.ask("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1").then_some(()));
        });
        faulty.failed(&asked, &["ervice records", "of postgres keeps `public.ledger` locked", "then try again"]);
        foreign.ended();
    }
    server.terminate();
    faulty.works_again();
}

#[test]
fn who_truncates_or_alters_a_table_once_the_dump_runs_waits_for_it() {
    let faulty = Faulty::new();
    let server = faulty.at.start_with(&[(STOP, "snapshot: views open")]);
    // A view's locks stand: definitions stay as they are until the dump is done.
    let (mut one, mut other) = (faulty.postgres_session(), faulty.mariadb_session());
    one.ask("SET statement_timeout = '200ms'");
    other.ask("SET SESSION lock_wait_timeout = 1");
    let asked = faulty.snapshot_with(&server, || {
        one.ask("TRUNCATE ledger");
        other.ask("ALTER TABLE ledger ADD COLUMN more int");
    });
    faulty.at.succeeded(&asked);
    assert_eq!(one.ask("SELECT count(*) FROM ledger"), "1", "it gave up");
    assert_eq!(other.ask("SELECT * FROM ledger"), "1\tone", "it gave up");
    drop((one, other));
    server.terminate();
    faulty.works_again();
}

#[test]
fn a_server_that_dies_after_the_hold_fails_the_snapshot_and_is_read_again_once_it_is_back() {
    let faulty = Faulty::new();
    let server = faulty.at.start_with(&[(STOP, "snapshot: released")]);
    let asked = faulty.snapshot_with(&server, || faulty.shop.postgres.kill());
    faulty.at.over(&asked);
    faulty.shop.postgres.again();
    faulty.shop.forget_connections();
    faulty.failed(&asked, &["ervice records", "no PostgreSQL server answers at 127.0.0.1:", "start it"]);

    let asked = faulty.snapshot_with(&server, || faulty.shop.mariadb.kill());
    faulty.at.over(&asked);
    faulty.shop.mariadb.again();
    faulty.shop.forget_connections();
    faulty.failed(
        &asked,
        &["ervice orders", "the connection to the server at 127.0.0.1:", "see that it runs, then try again"],
    );
    server.terminate();
    faulty.works_again();
}

#[test]
fn a_postgresql_server_whose_disk_is_full_while_it_loads_fails_the_restore_and_serves_on() {
    let faulty = Faulty::new();
    let place = faulty.at.directory().join("small");
    let Some(_small) = Tmpfs::needed(&place, 32 * 1024) else { return };
    let mut chown = std::process::Command::new("sh");
    chown.args(["-ec", "chmod go+x \"$1\"; chown postgres \"$0\""]).arg(&place).arg(faulty.at.directory());
    assert!(chown.status().expect("a shell").success());
    let mut admin = faulty.postgres_session();
    admin.ask(&format!(
        "CREATE TABLESPACE small LOCATION '{}'; GRANT CREATE ON TABLESPACE small TO shop",
        place.display()
    ));
    drop(admin);
    faulty.shop.forget_connections();
    let mut outside = faulty.session_at("postgres");
    until("nobody is in it, and it moves", || {
        outside.ask("ALTER DATABASE main SET TABLESPACE small");
        let there =
            "SELECT t.spcname FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE datname = 'main'";
        (outside.ask(there) == "small").then_some(())
    });
    let server = faulty.at.start();
    let name = faulty.at.snapshot();
    let ballast = place.join("ballast");
    let mut zeros = std::fs::File::create(&ballast).expect("a file");
    let filled = std::io::copy(&mut std::io::repeat(0), &mut zeros).expect_err("the disk is full");
    assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
    // The site itself needs some: the check is that it goes on.
    zeros.set_len(zeros.metadata().expect("its size").len() - (1 << 20)).expect("cut");
    drop(zeros);
    faulty.failed(&faulty.at.ask_restore(&name), &["ervice records", "no space left", "free some and try again"]);
    std::fs::remove_file(ballast).expect("removed");
    server.terminate();
    faulty.works_again();
}

#[test]
fn a_redis_server_that_cuts_its_replica_off_in_the_hold_is_named_and_one_that_hangs_after_it_does_no_harm() {
    let faulty = Faulty::new();
    let server = faulty.at.start_with(&[(STOP, "snapshot: released")]);
    // The view needs the live server no more.
    let asked = faulty.snapshot_with(&server, || faulty.shop.redis().signal(Signal::STOP));
    faulty.at.succeeded(&asked);
    faulty.shop.redis().signal(Signal::CONT);
    server.terminate();
    let server = faulty.at.start_with(&[(STOP, "snapshot: held")]);
    let asked = faulty.snapshot_with(&server, || {
        faulty.shop.redis().ask::<()>(0, "ACL SETUSER shop -psync");
        faulty.shop.redis().ask::<()>(0, "CLIENT KILL TYPE replica");
    });
    faulty.at.over(&asked);
    faulty.shop.redis().ask::<()>(0, "ACL SETUSER shop +psync");
    faulty.failed(&asked, &["ervice cache", "may not attach a replica", "ACL SETUSER shop", "+psync"]);
    server.terminate();
    faulty.works_again();
}

#[test]
fn sessions_that_can_not_be_ended_in_the_swap_take_the_restore_back_everywhere() {
    let faulty = Faulty::new();
    let server = faulty.at.start_with(&[(STOP, "restore: prepared")]);
    let name = faulty.at.snapshot();
    faulty.visited();
    let asked = faulty.at.ask_restore(&name);
    server.stopped();
    // Of one that was there before, the restore would have told without trying.
    let mut foreign = faulty.postgres_session();
    foreign.ask("SELECT 1");
    server.go_on();
    faulty.failed(&asked, &["taken back", "ervice records", "can't be ended", "of postgres", "end them, or GRANT"]);
    drop(foreign);

    faulty.mariadb("REVOKE CONNECTION ADMIN ON *.* FROM shop@'127.0.0.1'");
    let asked = faulty.at.ask_restore(&name);
    server.stopped();
    let mut foreign = faulty.mariadb_session();
    foreign.ask("LOCK TABLES ledger READ");
    server.go_on();
    faulty.failed(&asked, &["taken back", "ervice orders", "could not be exchanged", "of root", "then try again"]);
    drop(foreign);
    faulty.mariadb("GRANT CONNECTION ADMIN ON *.* TO shop@'127.0.0.1'");
    server.terminate();
    faulty.works_again();
}

#[test]
fn programs_that_are_missing_or_too_old_are_named_with_their_package_and_found_once_they_are_there() {
    let faulty = Faulty::new();
    let (empty, old) = (faulty.at.directory().join("empty"), faulty.at.directory().join("old"));
    std::fs::create_dir_all(&empty).expect("a directory");
    session::program(&old.join("13/bin/pg_dump"), "echo 'pg_dump (PostgreSQL) 13.9'");
    let (server_program, client) = ("$(readlink -f /usr/bin/redis-server)", "$(readlink -f /usr/bin/mariadb)");
    let hide = format!(
        "mount --bind {} /usr/lib/postgresql; mount --bind /dev/null {server_program}; mount --bind /dev/null {client}",
        empty.display()
    );
    let Some(server) = faulty.at.start_with_mounts(&hide, &[]) else { return };
    let fails = |words: &[&str]| faulty.failed(&faulty.at.ask_snapshot(), words);
    fails(&["ervice records", "`pg_dump` is not installed on the worker's machine", "install the package postgresql-"]);
    server.mounts(&format!("umount /usr/lib/postgresql; mount --bind {} /usr/lib/postgresql", old.display()));
    fails(&["ervice records", "the newest `pg_dump`", "is of version 13", "install the package postgresql-client-"]);
    server.mounts("umount /usr/lib/postgresql");
    fails(&["ervice orders", "`mariadb` is not installed", "install the package mariadb-client"]);
    server.mounts(&format!("umount {client}"));
    fails(&["ervice cache", "`redis-server` is not installed", "install the package redis-server"]);
    server.mounts(&format!("umount {server_program}"));
    // Without a restart.
    let name = faulty.at.snapshot();
    faulty.at.restore(&name);
    server.mounts(&format!("mount --bind {} /usr/lib/postgresql", empty.display()));
    faulty.failed(&faulty.at.ask_restore(&name), &["ervice records", "is not installed"]);
    server.terminate();
    faulty.works_again();
}

#[test]
fn a_snapshot_of_a_newer_server_is_refused_by_an_older_one_with_both_versions() {
    let faulty = Faulty::new();
    let place = faulty.at.directory().join("newer");
    let real = faulty.at.directory().join("real");
    std::fs::create_dir_all(&real).expect("a directory");
    let programs = programs();
    let series = programs.parent().and_then(|path| path.file_name()).expect("its series").to_owned();
    let series = series.to_str().expect("UTF-8");
    let at = |tool: &str| place.join(series).join("bin").join(tool);
    let real_tool = |tool: &str| real.join(series).join("bin").join(tool).display().to_string();
    // The next series' archives differ in the number of their format, of which this one's program says that it is too new.
    session::program(
        &at("pg_dump"),
        &format!(
            "[ \"$1\" = --version ] && exec {0} --version\n\
             {0} \"$@\" | {{ head -c 5; head -c 2 > /dev/null; printf '\\001\\143'; cat; }}",
            real_tool("pg_dump")
        ),
    );
    session::program(&at("pg_restore"), &format!("exec {} \"$@\"", real_tool("pg_restore")));
    let mounts = format!(
        "mount --bind /usr/lib/postgresql {}; mount --bind {} /usr/lib/postgresql",
        real.display(),
        place.display()
    );
    let Some(server) = faulty.at.start_with_mounts(&mounts, &[]) else { return };
    let name = faulty.at.snapshot();
    let database = rusqlite::Connection::open(faulty.at.database()).expect("the server's database");
    database.busy_timeout(std::time::Duration::from_secs(10)).expect("a time");
    let told = "json_set(manifest, '$.services[0].version', '99.3')";
    let changed = database.execute(&format!("UPDATE snapshots SET manifest = {told} WHERE name = ?1"), [&name]);
    assert_eq!(changed.expect("changed"), 1);
    faulty.visited();
    faulty.failed(
        &faulty.at.ask_restore(&name),
        &["ervice records", "of version 99.3", "upgrade the server", "nothing was replaced", "unsupported version"],
    );
    server.terminate();
}
