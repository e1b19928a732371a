use std::io::{self, Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::AssertSqlSafe;
use tempfile::TempDir;

use self::server::Server;
use super::session::Session;
use super::{Address, CONNECT, Postgres, Tools};
use crate::domain::Secret;
use crate::domain::manifest::Facts;
use crate::drivers::{Aside, Beside, Error, Service};

/// Shared with the integration tests.
#[path = "../../../tests/it/support/server.rs"]
mod server;

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let server = Server::start();
    admin(&server, "postgres").command("prepare", "CREATE ROLE with_password".to_owned()).expect("a role");
    server
});

mod place;

const WITHIN: Duration = Duration::from_secs(2);
const PASSWORD: &str = "it's \\ secret";

fn admin(server: &Server, database: &str) -> Session {
    let address = Address {
        host: server.socket().to_str().expect("UTF-8").to_owned(),
        port: server.port,
        user: "postgres".to_owned(),
        password: Secret::new(""),
        database: database.to_owned(),
    };
    address.open(CONNECT).expect("the server answers")
}

/// A database with its driver, whose account may just do what it needs, and a scratch directory.
struct Site {
    service: Postgres,
    scratch: TempDir,
}

impl Site {
    fn new() -> Self {
        Self::on(&SERVER)
    }

    fn on(server: &Server) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (database, user) = (format!("Shop {number}"), format!("app{number}"));
        let mut admin = admin(server, "postgres");
        let password = super::session::literal(PASSWORD);
        for command in [
            format!("CREATE ROLE {user} LOGIN CREATEDB PASSWORD{password}"),
            format!("GRANT with_password TO {user}"),
            format!("CREATE DATABASE \"{database}\" OWNER {user}"),
        ] {
            admin.command("make", command).expect("made");
        }
        let host = "127.0.0.1".to_owned();
        let address = Address { host, port: server.port, user, password: Secret::new(PASSWORD), database };
        let service = Postgres::connect(address).expect("a complete address");
        let site = Self { service, scratch: tempfile::tempdir().expect("a temporary directory") };
        site.sql("CREATE TABLE orders (id serial PRIMARY KEY, text varchar(400))");
        site.insert(100);
        site
    }

    fn address(&self) -> &Address {
        &self.service.address
    }

    fn open(&self) -> Session {
        self.address().open(CONNECT).expect("the database opens")
    }

    fn admin(&self) -> Session {
        admin(&SERVER, &self.address().database)
    }

    fn sql(&self, sql: &str) {
        let mut session = self.open();
        session.command("set", "SET search_path = public".to_owned()).expect("set");
        session.command("change", sql.to_owned()).expect("a valid command");
    }

    fn insert(&self, rows: usize) {
        self.sql(&insert(rows));
    }

    fn text(&self, sql: &str) -> String {
        text(&mut self.open(), sql)
    }

    fn count(&self) -> String {
        self.text("SELECT count(*)::text FROM public.orders")
    }

    /// A snapshot: bytes and facts.
    fn dump(&self) -> (Vec<u8>, Facts) {
        let mut view = self.service.open_view(WITHIN).expect("a view");
        view.settle(self.scratch.path(), &|| false).expect("settled");
        let facts = view.facts().expect("facts");
        let mut bytes = Vec::new();
        let written = view.dump(self.scratch.path(), &mut bytes, &|| false).expect("a dump");
        assert_eq!(written, bytes.len() as u64);
        (bytes, facts)
    }

    fn load(&self, bytes: &[u8]) -> Beside {
        self.service.load_beside(self.scratch.path(), &mut Cursor::new(bytes)).expect("a load")
    }

    /// Databases of this site that the server has.
    fn databases(&self) -> Vec<String> {
        let like = format!("{}%", self.address().database);
        let list =
            "SELECT datname::text FROM pg_database WHERE datname = $1 OR datname LIKE $1 || '_stillpoint%' ORDER BY 1";
        let name = like.trim_end_matches('%').to_owned();
        let mut session = admin(&SERVER, "postgres");
        session.run("list", async |db| sqlx::query_scalar(list).bind(name).fetch_all(db).await).expect("a list")
    }
}

fn insert(rows: usize) -> String {
    format!(
        "INSERT INTO public.orders (text) SELECT 'order ' || n || repeat('x', 200) FROM generate_series(1, {rows}) n"
    )
}

fn text(session: &mut Session, sql: &str) -> String {
    let sql = sql.to_owned();
    session
        .run("read", async |db| sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_one(db).await)
        .expect("a readable text")
}

/// Everything that is easily lost or changed on the way.
const ODD: &str = r#"
CREATE SCHEMA "Odd "" schema";
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s fine');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE "Odd "" schema"."Tab'le" (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, m mood DEFAULT 'ok', p positive, c pair, t text, v varchar(20)
    CHECK (v IN ('one', 'two')), b bytea, n numeric, f float8, ts timestamptz, d date, iv interval, j json, jb jsonb,
  u uuid, ip inet, r int4range, ar text[][], bits bit varying(9), ch char(7), doubled int GENERATED ALWAYS AS (id * 2) STORED
);
INSERT INTO "Odd "" schema"."Tab'le" (p, c, t, v, b, n, f, ts, d, iv, j, jb, u, ip, r, ar, bits, ch) VALUES
  (1, '(1,"a, b")', E'tab\tnew\nline\\ \\. \\N quote'' end', 'one', '\x00ff5c0a', 'NaN', '-Infinity', 'infinity', '-infinity',
   '1 mon -3 days 00:00:00.000001', '{"b":  1, "a":1}', '{"b": 1.10}', '00000000-0000-0000-0000-00000000000f', '::1/64',
   '[1,5)', '{{a,NULL},{"",c}}', '101', 'ab'),
  (2, NULL, '', 'two', '', 123456789012345678901234567890.123456789, 0.1, '1883-11-18 12:03:57.999999+00', '4713-01-01 BC',
   NULL, 'null', '"ü\u00e4"', NULL, NULL, 'empty', '{}', '', '');
INSERT INTO "Odd "" schema"."Tab'le" (b, t) VALUES (decode(repeat('00ff10', 7000000), 'hex'), repeat('ü', 3000000));
CREATE TABLE parent (a int, late text); CREATE TABLE child (own int) INHERITS (parent);
ALTER TABLE parent ADD COLUMN later int; INSERT INTO child VALUES (1, 'l', 2, 2);
CREATE TABLE parts (at date, n int) PARTITION BY RANGE (at);
CREATE TABLE parts_2025 PARTITION OF parts FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
CREATE INDEX parts_at ON parts (at DESC, (n + 1)) WHERE n > 0;
INSERT INTO parts SELECT date '2025-12-20' + n, n FROM generate_series(1, 30) n;
CREATE UNLOGGED TABLE cache (k text PRIMARY KEY); INSERT INTO cache VALUES ('kept');
CREATE SEQUENCE tickets START 7 INCREMENT 3 CACHE 2; SELECT nextval('tickets');
CREATE VIEW totals AS SELECT at, sum(n) FROM parts GROUP BY at; CREATE MATERIALIZED VIEW frozen AS SELECT * FROM totals;
CREATE TABLE audit (what text, at timestamptz DEFAULT now());
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.audit VALUES (TG_OP); RETURN NEW; END$$;
CREATE TRIGGER noted AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION note();
CREATE RULE never AS ON DELETE TO audit DO INSTEAD NOTHING;
ALTER TABLE audit ENABLE ROW LEVEL SECURITY; CREATE POLICY all_of_it ON audit USING (true);
COMMENT ON TABLE orders IS 'it''s ours';
SELECT lo_from_bytea(0, '\x00010203');
CREATE EXTENSION hstore; CREATE TABLE stored (h hstore); INSERT INTO stored VALUES ('a=>1, b=>NULL');
"#;

/// Every table's rows as text, with what else holds data.
fn contents(session: &mut Session) -> String {
    session
        .command("set", "SET extra_float_digits = 3; SET bytea_output = hex; SET TimeZone = 'UTC'".to_owned())
        .expect("set");
    let tables = text(
        session,
        "SELECT string_agg(format('SELECT %L || coalesce(string_agg(whole::text, E''\\n'' ORDER BY whole::text COLLATE \"C\"), '''')
           FROM ONLY %I.%I whole', c.relname, n.nspname, c.relname), ' UNION ALL ' ORDER BY c.oid::regclass::text)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'm') AND n.nspname IN ('public', 'Odd \" schema')",
    );
    let all = format!(
        "SELECT (SELECT string_agg(rows, E'\\n' ORDER BY rows COLLATE \"C\") FROM ({tables}) AS all_of_them(rows))
           || (SELECT string_agg(md5(lo_get(oid)), ',') FROM pg_largeobject_metadata)
           || (SELECT last_value::text || is_called FROM public.tickets)
           || (SELECT string_agg(objoid::regclass || description, ',') FROM pg_description WHERE objoid = 'public.orders'::regclass)
           || (SELECT nspacl::text FROM pg_namespace WHERE nspname = 'public')"
    );
    text(session, &all)
}

#[test]
fn everything_comes_back_byte_for_byte() {
    let site = Site::new();
    site.sql(ODD);
    site.insert(2_000);
    let before = contents(&mut site.open());
    assert!(before.len() > 40_000_000, "the large row is in it: {}", before.len());
    let (bytes, facts) = site.dump();
    assert_eq!((facts.rows["public.orders"], facts.rows["\"Odd \"\" schema\".\"Tab'le\""]), (2_100, 3));
    assert_eq!((facts.rows["public.parts_2025"], facts.rows["large objects"]), (11, 1));
    assert!(!facts.rows.contains_key("public.parts"), "its rows are counted in its partitions");

    site.sql("DROP TABLE stored; DROP SCHEMA \"Odd \"\" schema\" CASCADE; TRUNCATE orders; SELECT nextval('tickets')");
    let beside = site.load(&bytes);
    site.service.check(&beside, &facts).expect("all is as recorded");
    let aside = site.service.prepare(&beside).expect("fixed");
    site.service.commit(&beside, &aside).expect("swapped");
    let now = contents(&mut site.open());
    // Megabytes are no message.
    let differs = now.lines().zip(before.lines()).find(|(now, before)| now != before);
    let differs = differs.map(|(now, before)| [now, before].map(|line| line.chars().take(500).collect::<String>()));
    assert!(now == before, "{differs:#?}");
    let mut after = site.service.open_view(WITHIN).expect("a view");
    assert_eq!(after.facts().expect("facts"), facts);
    site.sql("INSERT INTO orders (text) VALUES ('new'); DELETE FROM audit");
    assert_eq!(site.text("SELECT count(*)::text FROM public.audit"), "2001", "trigger, rule and sequence work");
    let limits = after.limits().join(" ");
    assert!(limits.contains("public.cache") && !limits.contains("can't be restored"), "{limits}");
    drop(after);

    // And once more: what a restore made is as good as what it replaced.
    let (again, facts) = site.dump();
    let first = (beside, aside);
    site.service.discard(&first.0, Some(&first.1)).expect("removed");
    let beside = site.load(&again);
    site.service.check(&beside, &facts).expect("all is as recorded");
    let aside = site.service.prepare(&beside).expect("fixed");
    site.service.commit(&beside, &aside).expect("swapped");
    assert_eq!(site.count(), "2101");
}

#[test]
fn a_view_stays_as_it_is_while_others_write() {
    let site = Site::new();
    site.insert(20_000);
    let mut view = site.service.open_view(WITHIN).expect("a view");
    let (stop, wrote) = (AtomicBool::new(false), AtomicBool::new(false));
    let bytes = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut session = site.open();
            while !stop.load(Ordering::Relaxed) {
                session.command("write", insert(50)).expect("rows");
                session.command("write", "DELETE FROM public.orders WHERE id % 7 = 0".to_owned()).expect("rows go too");
                session
                    .command("write", "CREATE TABLE IF NOT EXISTS public.newer (n int)".to_owned())
                    .expect("a table");
                wrote.store(true, Ordering::Relaxed);
            }
        });
        while !wrote.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        view.settle(site.scratch.path(), &|| false).expect("settled");
        let mut bytes = Vec::new();
        view.dump(site.scratch.path(), &mut bytes, &|| false).expect("a dump");
        stop.store(true, Ordering::Relaxed);
        bytes
    });
    let facts = view.facts().expect("facts");
    assert_eq!(facts.rows.into_iter().collect::<Vec<_>>(), [("public.orders".to_owned(), 20_100)]);
    drop(view);
    let beside = site.load(&bytes);
    let aside = site.service.prepare(&beside).expect("fixed");
    site.service.commit(&beside, &aside).expect("swapped");
    assert_eq!(site.count(), "20100");
}

#[test]
fn what_no_snapshot_hides_waits_for_the_view_and_the_dump_never_waits_for_it() {
    let site = Site::new();
    let mut view = site.service.open_view(WITHIN).expect("a view");
    for command in ["TRUNCATE public.orders", "ALTER TABLE public.orders ALTER COLUMN text TYPE text USING text || '!'"]
    {
        let refused = site.open().command("change", format!("SET lock_timeout = 50; {command}")).expect_err("locked");
        assert!(super::session::is_code(&refused, "55P03"), "{refused:?}");
    }
    view.settle(site.scratch.path(), &|| false).expect("the dump has its locks");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| site.open().command("change", "TRUNCATE public.orders".to_owned()));
        let queued = "SELECT count(*)::text FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted
                      AND relation = 'public.orders'::regclass";
        let mut session = site.open();
        while text(&mut session, queued) != "1" {
            std::thread::yield_now();
        }
        let mut bytes = Vec::new();
        view.dump(site.scratch.path(), &mut bytes, &|| false).expect("nothing stands in its way");
        assert_eq!(view.facts().expect("facts").rows["public.orders"], 100);
        drop(view);
        waiting.join().expect("no panic").expect("now it is done");
    });
    assert_eq!(site.count(), "0");
}

#[test]
fn who_keeps_a_view_from_opening_is_named() {
    let site = Site::new();
    let mut holder = site.open();
    let pid = text(&mut holder, "SELECT pg_backend_pid()::text");
    holder.command("lock", "BEGIN; ALTER TABLE public.orders ADD COLUMN more int".to_owned()).expect("a lock");
    site.service.position().expect("ready before the hold");
    let started = Instant::now();
    let refused = site.service.open_view(Duration::from_millis(200)).map(drop).expect_err("it is locked");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let said = refused.to_string();
    assert!(said.contains(&format!("process {pid} of {}", site.address().user)), "{said}");
    assert!(said.contains("`public.orders`") && said.contains("ADD COLUMN more"), "{said}");
    holder.command("let go", "ROLLBACK".to_owned()).expect("rolled back");
    site.service.open_view(WITHIN).map(drop).expect("now it opens");
}

#[test]
fn the_position_moves_with_every_commit_that_writes_and_with_no_reading() {
    // A server of its own: others' transactions would move it, too.
    let server = Server::start();
    admin(&server, "postgres").command("prepare", "CREATE ROLE with_password".to_owned()).expect("a role");
    let site = Site::on(&server);
    let mut writer = site.open();
    writer.command("set", "SET synchronous_commit = off".to_owned()).expect("set");
    let position = || site.service.position().expect("a position");
    let mut last = position();
    for n in 0..20 {
        assert_eq!(position(), last);
        text(&mut writer, "SELECT count(*)::text FROM public.orders");
        let view = site.service.open_view(WITHIN).expect("a view");
        assert_eq!(*view.position(), last, "opening a view writes nothing");
        assert_eq!(position(), last);
        let commands = [
            insert(1),
            "UPDATE public.orders SET text = 'b' WHERE id = 1".to_owned(),
            "DELETE FROM public.orders WHERE id = (SELECT max(id) FROM public.orders)".to_owned(),
            format!("CREATE UNLOGGED TABLE public.t{n} (n int)"),
        ];
        writer.command("write", commands[n % 4].clone()).expect("a commit");
        let next = position();
        assert_ne!(next, last, "{n}");
        assert_ne!(*view.position(), next, "{n}: the view stands where it was opened");
        last = next;
    }
    // One that had begun before, and another that ended meanwhile.
    writer.command("begin", format!("BEGIN; {}", insert(1))).expect("not committed");
    assert_eq!(position(), last, "nothing was committed");
    site.insert(1);
    let between = position();
    assert_ne!(between, last);
    writer.command("end", "COMMIT".to_owned()).expect("a commit");
    assert_ne!(position(), between);
    // The connection that it kept is ended: opened anew, it stands where it stood.
    let before = position();
    let end = "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE datname LIKE 'Shop%'";
    text(&mut admin(&server, "postgres"), end);
    assert_eq!(position(), before);
}

#[test]
fn a_position_takes_less_than_a_millisecond() {
    let site = Site::new();
    site.service.position().expect("open");
    let mut taken: Vec<Duration> = (0..300)
        .map(|_| {
            let started = Instant::now();
            site.service.position().expect("a position");
            started.elapsed()
        })
        .collect();
    taken.sort();
    println!("position: p50 {:?}, p99 {:?}", taken[150], taken[296]);
    assert!(taken[150] < Duration::from_millis(1), "{:?}", taken[150]);
}

#[test]
fn every_step_of_a_swap_may_be_repeated_in_any_order() {
    let site = Site::new();
    let (bytes, _) = site.dump();
    site.insert(11);
    let service = &site.service;
    let name = site.address().database.clone();
    let beside = site.load(&bytes);
    assert_eq!(site.databases().len(), 2);

    let aside = service.prepare(&beside).expect("fixed");
    service.roll_back(&beside, &aside).expect("nothing to do");
    assert_eq!(site.count(), "111");
    site.insert(1);
    assert_eq!(service.prepare(&beside).expect("fixed anew"), aside);
    let started = Instant::now();
    service.commit(&beside, &aside).expect("swapped");
    println!("commit when it is quiet: {:?}", started.elapsed());
    service.commit(&beside, &aside).expect("is");
    assert_eq!(service.prepare(&beside).expect("what was fixed"), aside);
    assert_eq!(site.count(), "100");

    service.roll_back(&beside, &aside).expect("back");
    assert_eq!(site.count(), "112");
    site.insert(1);
    service.roll_back(&beside, &aside).expect("is");
    assert_eq!(site.count(), "113", "a second roll back does not take away what was written since");

    let aside = service.prepare(&beside).expect("fixed");
    service.commit(&beside, &aside).expect("swapped");
    assert_eq!(site.count(), "100");
    let mut old = Vec::new();
    service.dump_aside(&aside, &mut old).expect("a dump of what was swapped out");
    let facts = service.aside_facts(&aside).expect("facts");
    assert_eq!(facts.rows["public.orders"], 113);
    service.discard(&beside, Some(&aside)).expect("removed");
    service.discard(&beside, Some(&aside)).expect("and again");
    assert_eq!(site.databases(), std::slice::from_ref(&name));
    assert_eq!(site.count(), "100", "what is live is never discarded");

    // Undo: what was swapped out, as a restore like any other.
    let beside = site.load(&old);
    service.check(&beside, &facts).expect("all is as recorded");
    let aside = service.prepare(&beside).expect("fixed");
    service.commit(&beside, &aside).expect("swapped");
    assert_eq!(site.count(), "113");
    service.roll_back(&beside, &aside).expect("back");
    service.discard(&beside, Some(&aside)).expect("the loaded one goes");
    assert_eq!(site.databases(), [name]);
    assert_eq!(site.count(), "100");
}

#[test]
fn a_worker_that_died_inside_a_commit_can_go_either_way() {
    for forward in [true, false] {
        let site = Site::new();
        let (bytes, _) = site.dump();
        site.insert(11);
        let beside = site.load(&bytes);
        let aside = site.service.prepare(&beside).expect("fixed");
        // Died after nobody was let in any more, before the names changed.
        let shut = format!("ALTER DATABASE \"{}\" WITH ALLOW_CONNECTIONS false", site.address().database);
        admin(&SERVER, "postgres").command("shut", shut).expect("shut");
        if forward {
            site.service.commit(&beside, &aside).expect("forward");
            // Shut was what it found; what was fixed before is what counts.
            assert_eq!(site.count(), "100");
        } else {
            site.service.roll_back(&beside, &aside).expect("back");
            assert_eq!(site.count(), "111");
        }
        site.service.roll_back(&beside, &aside).expect("back");
        assert_eq!(site.count(), "111");
        site.service.discard(&beside, Some(&aside)).expect("removed");
        assert_eq!(site.databases().len(), 1);
    }
}

#[test]
fn an_exchange_that_was_given_up_is_over_before_it_is_taken_back() {
    let site = Site::new();
    let (bytes, _) = site.dump();
    site.insert(11);
    let beside = site.load(&bytes);
    let aside = site.service.prepare(&beside).expect("fixed");
    let (Beside::Postgres(super::Beside::Exchange(new)), Aside::Postgres(super::Aside::Exchange(old))) =
        (&beside, &aside)
    else {
        panic!("of this kind")
    };
    std::thread::scope(|scope| {
        let late = scope.spawn(|| super::swap::commit_slowly(&site.service, new, old));
        let mut admin = admin(&SERVER, "postgres");
        let at_work = format!(
            "SELECT count(*)::text FROM pg_stat_activity
             WHERE usename = '{}' AND state = 'active' AND query LIKE 'SELECT pg_sleep%'",
            site.address().user
        );
        while text(&mut admin, &at_work) == "0" {
            assert!(!late.is_finished(), "{:?}", late.join());
            std::thread::yield_now();
        }
        site.service.roll_back(&beside, &aside).expect("taken back");
        late.join().expect("no panic").expect("the server has done it");
    });
    assert_eq!(site.count(), "111", "and it was taken back after that");

    let mut silent = super::swap::commit_without_end(&site.service, new, old).expect("begun");
    site.service.roll_back(&beside, &aside).expect("taken back");
    assert_eq!(site.count(), "111");
    silent.command("exchange", "COMMIT".to_owned()).expect_err("it was ended");
    site.service.discard(&beside, Some(&aside)).expect("removed");
    assert_eq!(site.databases().len(), 1);
}

#[test]
fn a_load_that_died_is_known_by_its_announced_name() {
    let site = Site::new();
    let (bytes, facts) = site.dump();
    let announced = site.service.beside(site.scratch.path()).expect("a name");
    let Beside::Postgres(named) = &announced else { panic!("of another kind") };
    let json = serde_json::to_value(named).expect("plain data");
    let name = json["name"].as_str().expect("a name").to_owned();
    assert!(name.len() <= 63 && name.starts_with("Shop "), "{name}");
    site.service.discard(&announced, None).expect("nothing is there");
    // Died in the middle.
    site.sql(&format!("CREATE DATABASE \"{name}\""));
    site.service.discard(&announced, None).expect("it goes");
    assert_eq!(site.databases().len(), 1);
    site.open().command("make", format!("CREATE DATABASE \"{name}\"")).expect("made");
    let beside = site.load(&bytes);
    site.service.check(&beside, &facts).expect("all is as recorded");
    // Not journaled any more: the announced name is enough.
    site.service.discard(&announced, None).expect("it goes");
    assert_eq!(site.databases().len(), 1);
    // Somebody else's is not touched.
    site.open().command("make", format!("CREATE DATABASE \"{name}\"")).expect("made");
    site.open().command("mark", format!("COMMENT ON DATABASE \"{name}\" IS 'mine'")).expect("marked");
    let refused = site.service.load_beside(site.scratch.path(), &mut Cursor::new(&bytes));
    assert!(matches!(refused, Err(Error::DatabaseExists { .. })), "{refused:?}");
    assert!(matches!(site.service.discard(&announced, None), Err(Error::DatabaseExists { .. })));
}

#[test]
fn sessions_that_come_back_at_once_do_not_stop_a_swap() {
    let site = Site::new();
    let (bytes, _) = site.dump();
    site.insert(11);
    let beside = site.load(&bytes);
    let aside = site.service.prepare(&beside).expect("fixed");
    let stop = AtomicBool::new(false);
    let reconnected = AtomicU32::new(0);
    let held = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let Ok(mut session) = site.address().open(CONNECT) else { continue };
                    reconnected.fetch_add(1, Ordering::Relaxed);
                    while session.command("work", "SELECT count(*) FROM public.orders".to_owned()).is_ok()
                        && !stop.load(Ordering::Relaxed)
                    {}
                }
            });
        }
        while reconnected.load(Ordering::Relaxed) < 4 {
            std::thread::yield_now();
        }
        let mut held = Vec::new();
        for _ in 0..5 {
            let started = Instant::now();
            site.service.commit(&beside, &aside).expect("swapped");
            held.push(started.elapsed());
            assert_eq!(site.count(), "100");
            site.service.roll_back(&beside, &aside).expect("back");
            assert_eq!(site.count(), "111");
        }
        stop.store(true, Ordering::Relaxed);
        held
    });
    println!("commit with sessions that come back: {held:?}");
    assert!(reconnected.load(Ordering::Relaxed) > 4, "they were sent away and came back");
}

#[test]
fn settings_grants_and_comment_go_along() {
    let site = Site::new();
    let (bytes, _) = site.dump();
    let (name, user) = (site.address().database.clone(), site.address().user.clone());
    let mut admin = admin(&SERVER, "postgres");
    for command in [
        format!("CREATE ROLE reader_{user}"),
        format!("ALTER DATABASE \"{name}\" SET search_path = public, \"$user\", \"Odd\"\" one\""),
        format!("ALTER DATABASE \"{name}\" SET work_mem = '7MB'"),
        format!("ALTER DATABASE \"{name}\" SET application_name = 'it''s \\ ours'"),
        format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = off"),
        format!("ALTER ROLE {user} IN DATABASE \"{name}\" SET statement_timeout = '90s'"),
        format!("REVOKE CONNECT ON DATABASE \"{name}\" FROM PUBLIC"),
        format!("GRANT CONNECT ON DATABASE \"{name}\" TO reader_{user}"),
        format!("COMMENT ON DATABASE \"{name}\" IS 'the shop''s'"),
        format!("ALTER DATABASE \"{name}\" CONNECTION LIMIT 17"),
    ] {
        admin.command("set", command).expect("set");
    }
    let all = format!(
        "SELECT concat_ws('|', shobj_description(d.oid, 'pg_database'), d.datconnlimit, d.datcollate, d.datctype, d.encoding,
           pg_get_userbyid(d.datdba), (SELECT string_agg(a.*::text, ',' ORDER BY a.*::text) FROM aclexplode(d.datacl) a),
           (SELECT string_agg(s.setrole || s.setconfig::text, ',' ORDER BY s.setrole) FROM pg_db_role_setting s WHERE s.setdatabase = d.oid))
         FROM pg_database d WHERE d.datname = '{name}'"
    );
    let before = text(&mut admin, &all);
    assert!(before.contains("work_mem=7MB") && before.contains("the shop's|17|"), "{before}");
    let beside = site.load(&bytes);
    let aside = site.service.prepare(&beside).expect("fixed");
    site.service.commit(&beside, &aside).expect("swapped");
    assert_eq!(text(&mut admin, &all), before);
    site.service.roll_back(&beside, &aside).expect("back");
    assert_eq!(text(&mut admin, &all), before);
    site.service.discard(&beside, Some(&aside)).expect("removed");

    // What only a superuser may set can't be copied: said before the load.
    admin.command("set", format!("ALTER DATABASE \"{name}\" SET log_statement = 'all'")).expect("set");
    let refused = site.service.load_beside(site.scratch.path(), &mut Cursor::new(&bytes)).expect_err("refused");
    assert!(refused.to_string().contains("\"log_statement\""), "{refused}");
    assert_eq!(site.databases().len(), 1);
}

#[test]
fn each_thing_that_is_wrong_with_a_connection_is_told_apart() {
    let site = Site::new();
    let test = |change: &dyn Fn(&mut Address)| {
        let mut address = site.address().clone();
        change(&mut address);
        let error = Postgres::connect(address).expect("a complete address").test().expect_err("it can't be used");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        error
    };
    let wrong = test(&|address| address.password = Secret::new("wrong secret"));
    assert!(matches!(wrong, Error::LoginRefused { .. }), "{wrong:?}");
    let nobody = test(&|address| address.user = "nobody_here".to_owned());
    assert!(matches!(nobody, Error::LoginRefused { .. }), "{nobody:?}");
    let nowhere = test(&|address| address.host = "nowhere.invalid".to_owned());
    assert!(matches!(nowhere, Error::Unreachable { .. }), "{nowhere:?}");
    let closed = test(&|address| address.port = 1);
    assert!(matches!(closed, Error::Unreachable { .. }), "{closed:?}");
    let missing = test(&|address| address.database = "missing".to_owned());
    assert!(matches!(missing, Error::NoDatabase { .. }), "{missing:?}");
    let relative = Address { host: "run/postgresql".to_owned(), ..site.address().clone() };
    assert!(matches!(Postgres::connect(relative), Err(Error::NotAbsolute { .. })));
    site.admin().command("hide", "CREATE TABLE public.hidden (n int)".to_owned()).expect("a table");
    let unreadable = test(&|_| {});
    assert!(unreadable.to_string().contains("read all of `public.hidden`"), "{unreadable}");
    assert!(unreadable.to_string().contains("GRANT SELECT ON ALL TABLES"), "{unreadable}");
    site.admin().command("drop", "DROP TABLE public.hidden".to_owned()).expect("dropped");
    let tested = site.service.test().expect("a sound one");
    assert!(tested.size.0 > 1_000_000 && tested.version.starts_with(|digit: char| digit.is_ascii_digit()));

    // A socket's directory does as well.
    let host = SERVER.socket().to_str().expect("UTF-8").to_owned();
    let socket = Address { host, ..site.address().clone() };
    Postgres::connect(socket).expect("an absolute path").test().expect("it answers");
}

#[test]
fn an_account_that_may_not_restore_is_told_before_anything_happens() {
    let site = Site::new();
    let (bytes, _) = site.dump();
    let user = site.address().user.clone();
    let mut admin = admin(&SERVER, "postgres");
    admin.command("forbid", format!("ALTER ROLE {user} NOCREATEDB")).expect("forbidden");
    let limits = site.service.test().expect("a snapshot can be taken").limits.join(" ");
    assert!(limits.contains(&format!("ALTER ROLE \"{user}\" CREATEDB")), "{limits}");
    assert!(limits.contains("replaces it in place") && limits.contains("503"), "{limits}");
    admin.command("allow", format!("ALTER ROLE {user} CREATEDB")).expect("allowed");

    // A session that it may not end, of a superuser.
    let _foreign = site.admin();
    let refused = site.service.load_beside(site.scratch.path(), &mut Cursor::new(&bytes)).expect_err("refused");
    assert!(refused.to_string().contains("may not end the sessions of postgres"), "{refused}");
    assert_eq!(site.databases().len(), 1);
}

#[test]
fn a_session_that_came_since_and_stays_leaves_the_old_data_serving() {
    let site = Site::new();
    let (bytes, _) = site.dump();
    site.insert(1);
    let beside = site.load(&bytes);
    let aside = site.service.prepare(&beside).expect("fixed");
    let foreign = site.admin();
    let refused = site.service.commit(&beside, &aside).expect_err("a superuser's");
    assert!(matches!(refused, Error::SessionsStay { .. }), "{refused:?}");
    assert_eq!(site.count(), "101", "it takes connections again");
    drop(foreign);
    let settled = Instant::now() + Duration::from_secs(10);
    while let Err(error) = site.service.commit(&beside, &aside) {
        assert!(Instant::now() < settled, "{error}");
    }
    assert_eq!(site.count(), "100");
}

#[test]
fn prepared_transactions_stop_a_restore_before_anything_happens() {
    let site = Site::new();
    let (bytes, _) = site.dump();
    let beside = site.load(&bytes);
    site.sql(&format!("BEGIN; {}; PREPARE TRANSACTION 'left {}'", insert(1), site.address().database));
    let refused = site.service.prepare(&beside).expect_err("it would be lost");
    assert!(refused.to_string().contains("1 prepared transactions"), "{refused}");
    site.sql(&format!("COMMIT PREPARED 'left {}'", site.address().database));
    site.service.prepare(&beside).expect("now it can");
}

#[test]
fn a_tool_that_is_missing_or_too_old_is_named_with_its_package() {
    let mut site = Site::new();
    let home = tempfile::tempdir().expect("a temporary directory");
    site.service.tools = Tools { places: vec![home.path().to_owned()] };
    let missing = site.service.test().expect_err("nothing is there").to_string();
    assert!(missing.contains("`pg_dump` is not installed") && missing.contains("postgresql-client-"), "{missing}");
    tool(home.path(), "echo 'pg_dump (PostgreSQL) 9.6.24'");
    let old = site.service.test().expect_err("too old").to_string();
    assert!(old.contains("of version 9, the server of"), "{old}");
    // One that fails half-way: half a dump is no dump.
    tool(
        home.path(),
        "case \"$1\" in --version) echo 'pg_dump (PostgreSQL) 99.1';; *) echo half; echo 'no luck' >&2; exit 3;; esac",
    );
    let mut view = site.service.open_view(WITHIN).expect("a view");
    let failed = view.dump(home.path(), &mut io::sink(), &|| false).expect_err("it failed").to_string();
    assert!(failed.contains("no luck"), "{failed}");
}

fn tool(directory: &Path, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = directory.join("pg_dump");
    let staged = directory.join("staged");
    let mut file = std::fs::File::create(&staged).expect("a file");
    write!(file, "#!/bin/sh\n{script}\n").expect("written");
    drop(file);
    std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(0o755)).expect("executable");
    std::fs::rename(&staged, &path).expect("renamed");
    path
}

#[test]
fn a_dump_can_be_cancelled_and_a_full_pipe_ends_it() {
    let site = Site::new();
    site.insert(50_000);
    let mut view = site.service.open_view(WITHIN).expect("a view");
    let cancelled = view.dump(site.scratch.path(), &mut io::sink(), &|| true);
    assert!(matches!(cancelled, Err(Error::Cancelled)), "{cancelled:?}");
    struct Broken;
    impl io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let refused = view.dump(site.scratch.path(), &mut Broken, &|| false);
    assert!(matches!(refused, Err(Error::Output(_))), "{refused:?}");
    // The programs are gone, and the view is still good.
    let gone = "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'pg_dump' AND datname = current_database()";
    let mut session = site.open();
    let deadline = Instant::now() + Duration::from_secs(10);
    while text(&mut session, gone) != "0" {
        assert!(Instant::now() < deadline, "pg_dump goes on");
    }
    assert_eq!(view.facts().expect("facts").rows["public.orders"], 50_100);
}

#[test]
fn a_server_that_dies_in_the_middle_fails_the_dump() {
    let server = Server::start();
    admin(&server, "postgres").command("prepare", "CREATE ROLE with_password".to_owned()).expect("a role");
    let site = Site::on(&server);
    site.insert(200_000);
    let mut view = site.service.open_view(WITHIN).expect("a view");
    struct Killing<'a>(&'a Server, u64);
    impl io::Write for Killing<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1 == 0 {
                self.0.kill();
            }
            self.1 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut out = Killing(&server, 0);
    // The postmaster's children notice, and end: at the latest when pg_dump asks for the next table.
    let failed = view.dump(site.scratch.path(), &mut out, &|| false).and_then(|_| view.facts().map(drop));
    assert!(
        matches!(
            failed,
            Err(Error::ToolFailed { .. }
                | Error::Unreachable { .. }
                | Error::ConnectionLost { .. }
                | Error::Postgres { .. })
        ),
        "{failed:?}"
    );
    drop(view);
    let deadline = Instant::now() + Duration::from_secs(10);
    while site.service.position().is_ok() {
        assert!(Instant::now() < deadline, "a dead server has no position");
    }
    let gone = site.service.test().expect_err("nobody answers");
    assert!(matches!(gone, Error::Unreachable { .. }), "{gone:?}");
}

#[test]
fn a_password_that_changed_is_told_and_harms_nothing() {
    let site = Site::new();
    site.service.position().expect("connections are kept");
    let mut admin = admin(&SERVER, "postgres");
    admin.command("change", format!("ALTER ROLE {} PASSWORD 'another'", site.address().user)).expect("changed");
    let mut view = site.service.open_view(WITHIN).expect("a kept connection stays");
    let failed = view.dump(site.scratch.path(), &mut io::sink(), &|| false).expect_err("pg_dump logs in anew");
    assert!(failed.to_string().contains("password authentication failed"), "{failed}");
    assert!(!failed.to_string().contains(PASSWORD), "{failed}");
    assert!(matches!(site.service.test(), Err(Error::LoginRefused { .. })));
}

#[test]
fn a_damaged_or_foreign_dump_is_refused_and_leaves_nothing() {
    let site = Site::new();
    site.insert(20_000);
    let (bytes, mut facts) = site.dump();
    for broken in [b"not a dump at all".to_vec(), bytes[..bytes.len() / 2].to_vec()] {
        let refused = site.service.load_beside(site.scratch.path(), &mut Cursor::new(broken));
        assert!(matches!(refused, Err(Error::ToolFailed { tool: "pg_restore", .. })), "{refused:?}");
        assert_eq!(site.databases().len(), 1);
    }
    struct BreaksOff;
    impl io::Read for BreaksOff {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the repository is gone"))
        }
    }
    let refused =
        site.service.load_beside(site.scratch.path(), &mut io::Read::chain(Cursor::new(&bytes[..5_000]), BreaksOff));
    assert!(matches!(refused, Err(Error::Input(_))), "{refused:?}");
    assert_eq!(site.databases().len(), 1);

    let beside = site.load(&bytes);
    facts.rows.insert("public.orders".to_owned(), 7);
    let refused = site.service.check(&beside, &facts).expect_err("rows differ");
    assert!(refused.to_string().contains("`public.orders` is 20100 rows, recorded is 7 rows"), "{refused}");
    facts.rows.insert("public.orders".to_owned(), 20_100);
    facts.schema = "another".to_owned();
    assert!(matches!(site.service.check(&beside, &facts), Err(Error::Mismatch { .. })));
}

#[test]
fn facts_notice_the_schema() {
    let site = Site::new();
    let facts = || site.service.open_view(WITHIN).and_then(|mut view| view.facts()).expect("facts");
    let mut seen = vec![facts().schema];
    for change in [
        "ALTER TABLE orders ADD COLUMN more int",
        "ALTER TABLE orders ALTER COLUMN more SET NOT NULL, ALTER COLUMN more SET DEFAULT 1",
        "CREATE INDEX by_text ON orders (text)",
        "CREATE VIEW seen AS SELECT 1 AS one",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'",
        "ALTER TABLE orders ADD CONSTRAINT c CHECK (id > 0)",
        "CREATE SEQUENCE s",
        "CREATE EXTENSION pg_trgm",
    ] {
        // A view of before would keep the table's lock.
        site.sql(&format!("DELETE FROM orders; {change}"));
        let now = facts().schema;
        assert!(!seen.contains(&now), "{change}");
        seen.push(now);
    }
    site.insert(5);
    assert_eq!(Some(&facts().schema), seen.last(), "rows are no schema");
}

#[test]
fn what_goes_to_the_journal_comes_back_from_it() {
    let site = Site::new();
    let (bytes, _) = site.dump();
    let beside = site.load(&bytes);
    let aside = site.service.prepare(&beside).expect("fixed");
    let json = serde_json::to_string(&(&beside, &aside)).expect("plain data");
    assert!(!json.contains("secret"), "{json}");
    assert_eq!(serde_json::from_str::<(Beside, Aside)>(&json).expect("the same"), (beside, aside));
}

#[test]
fn provisioning_makes_an_empty_one_and_touches_no_existing_one() {
    let site = Site::new();
    assert!(matches!(site.service.provision(), Err(Error::DatabaseExists { .. })));
    let database = format!("{} new", site.address().database);
    let new = Postgres::connect(Address { database, ..site.address().clone() }).expect("a complete address");
    new.provision().expect("a new one");
    let (bytes, facts) = site.dump();
    let beside = new.load_beside(site.scratch.path(), &mut Cursor::new(bytes)).expect("a load");
    new.check(&beside, &facts).expect("all is as recorded");
    let aside = new.prepare(&beside).expect("fixed");
    new.commit(&beside, &aside).expect("swapped");
    assert_eq!(
        text(&mut new.address.open(CONNECT).expect("it opens"), "SELECT count(*)::text FROM public.orders"),
        "100"
    );
}

#[test]
fn opening_a_view_is_quick_while_others_write() {
    let site = Site::new();
    site.sql("DO $$BEGIN FOR n IN 1..100 LOOP EXECUTE format('CREATE TABLE public.t%s (n int)', n); END LOOP; END$$");
    let stop = AtomicBool::new(false);
    let mut taken = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut session = site.open();
                while !stop.load(Ordering::Relaxed) {
                    session.command("write", insert(5)).expect("rows");
                }
            });
        }
        let taken: Vec<Duration> = (0..30)
            .map(|_| {
                site.service.let_go();
                site.service.position().expect("ready");
                let started = Instant::now();
                let view = site.service.open_view(WITHIN).expect("a view");
                let taken = started.elapsed();
                drop(view);
                taken
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        taken
    });
    taken.sort();
    println!("open view of 101 tables under load: p50 {:?}, max {:?}", taken[15], taken[29]);
    assert!(taken[15] < Duration::from_millis(500), "{taken:?}");
}
