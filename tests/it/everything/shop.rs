//! An application that writes each request's number to a database of every kind and to a file, in two environments: the
//! one that is visited, and a copy to restore into.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection as Sqlite;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::runtime::Runtime;

use crate::process::{Turns, serve, until};
use crate::support::{mariadb, redis, server};

const PASSWORD: &str = "not-for-everybody";
/// As docs/declaration.md says.
pub const RIGHTS: &str = "ACL SETUSER shop on >not-for-everybody ~* +@all -@dangerous +info +psync +replconf +swapdb \
                      +restore +flushdb +keys";
const TABLE: &str = "CREATE TABLE numbers (n bigint PRIMARY KEY, text text)";

/// One environment's data.
pub struct Place {
    /// That of its databases, and of a declared environment.
    name: &'static str,
    pub redis: Arc<redis::Server>,
    pub sqlite: PathBuf,
    pub files: PathBuf,
}

pub struct Shop {
    pub postgres: server::Server,
    pub mariadb: mariadb::Server,
    runtime: Runtime,
    pub main: Place,
    pub copy: Place,
    next: AtomicU64,
    /// Connections to `main` that nobody uses right now.
    idle: Mutex<Vec<Clients>>,
}

/// What one request needs.
struct Clients {
    postgres: PgConnection,
    mariadb: MySqlConnection,
    redis: ::redis::Connection,
    sqlite: Sqlite,
}

/// One of the places that a number is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Postgres,
    Mariadb,
    Redis,
    Sqlite,
    Files,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Postgres, Self::Mariadb, Self::Redis, Self::Sqlite, Self::Files];
}

impl Place {
    fn new(name: &'static str, home: &Path) -> Self {
        let directory = home.join(name);
        fs::create_dir_all(directory.join("files")).expect("a directory");
        let redis = redis::Server::start();
        redis.ask::<()>(0, RIGHTS);
        let (sqlite, files) = (directory.join("numbers.db"), directory.join("files"));
        let made = Sqlite::open(&sqlite).expect("a new database");
        made.execute_batch(&format!("PRAGMA journal_mode = WAL; {TABLE}")).expect("a new schema");
        Self { name, redis: Arc::new(redis), sqlite, files }
    }

    fn environment(&self, kind: &str, postgres: u16, mariadb: u16) -> String {
        let (name, redis) = (self.name, self.redis.port);
        let (database, files) = (&self.sqlite, &self.files);
        let login = format!("user = \"shop\"\npassword = {PASSWORD:?}\n");
        format!(
            "[[project.environment]]\nname = {name:?}\ntype = {kind:?}\n\n\
             [[project.environment.service]]\nname = \"records\"\ntype = \"postgresql\"\nport = {postgres}\n{login}\
             database = {name:?}\n\n\
             [[project.environment.service]]\nname = \"orders\"\ntype = \"mariadb\"\nport = {mariadb}\n{login}\
             database = {name:?}\n\n\
             [[project.environment.service]]\nname = \"cache\"\ntype = \"redis\"\nport = {redis}\n{login}\n\
             [[project.environment.service]]\nname = \"local\"\ntype = \"sqlite\"\npath = {database:?}\n\n\
             [[project.environment.mount]]\nname = \"uploads\"\npath = {files:?}\n\n"
        )
    }

    fn sqlite(&self) -> Sqlite {
        let sqlite = Sqlite::open(&self.sqlite).expect("the database");
        sqlite.busy_timeout(Duration::from_secs(10)).expect("a time");
        sqlite
    }
}

impl Shop {
    pub fn new(home: &Path) -> Self {
        let (postgres, mariadb) = (server::Server::start(), mariadb::Server::start(&[]));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let (main, copy) = (Place::new("main", home), Place::new("copy", home));
        let runtime = runtime.expect("a runtime");
        let shop = Self { postgres, mariadb, runtime, main, copy, next: AtomicU64::new(1), idle: Mutex::default() };
        shop.make_databases();
        shop
    }

    /// That of `main`.
    pub fn redis(&self) -> &redis::Server {
        &self.main.redis
    }

    /// As an application does whose server was started again.
    pub fn forget_connections(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn make_databases(&self) {
        let admin = |database: &str, sql: String| {
            let socket = self.postgres.socket().to_str().expect("UTF-8");
            let options = PgConnectOptions::new_without_pgpass().host(socket).port(self.postgres.port);
            let options = options.username("postgres").database(database);
            self.runtime
                .block_on(async { sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut options.connect().await?).await })
                .expect("an administrator may");
        };
        admin("postgres", format!("CREATE ROLE shop LOGIN CREATEDB PASSWORD '{PASSWORD}'"));
        // Its transactions count as somebody's writing (docs/declaration.md).
        admin("postgres", "ALTER SYSTEM SET autovacuum = off".to_owned());
        admin("postgres", "SELECT pg_reload_conf()".to_owned());
        self.mariadb.admin(&format!("CREATE USER shop@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'"));
        self.mariadb.admin("GRANT PROCESS, CONNECTION ADMIN ON *.* TO shop@'127.0.0.1'");
        for name in [self.main.name, self.copy.name] {
            admin("postgres", format!("CREATE DATABASE {name} OWNER shop"));
            admin(name, format!("SET ROLE shop; {TABLE}"));
            self.mariadb.admin(&format!(
                "CREATE DATABASE {name}; GRANT ALL ON {name}.* TO shop@'127.0.0.1';
                 GRANT ALL ON `{name}\\_stillpoint\\_%`.* TO shop@'127.0.0.1'; USE {name}; {TABLE}"
            ));
        }
    }

    pub fn declaration(&self, port: u16, more: &str) -> String {
        let (postgres, mariadb) = (self.postgres.port, self.mariadb.port);
        let main = self.main.environment("production", postgres, mariadb);
        let copy = self.copy.environment("staging", postgres, mariadb);
        format!(
            "[[project]]\nid = \"shop\"\nplan = \"starter\"\n\n{more}{main}[[project.environment.route]]\nhost = \"main.shop.test\"\n\
             upstream = \"http://127.0.0.1:{port}\"\n\n{copy}"
        )
    }

    /// Of an environment that was made after `main` in this directory, with a Redis server that was empty.
    pub fn made(&self, directory: &Path) -> Place {
        let (sqlite, files) = (directory.join("local.db"), directory.join("uploads"));
        Place { name: "main_made", redis: Arc::clone(&self.copy.redis), sqlite, files }
    }

    /// How environments are made after `main`: their Redis server is that of `copy`.
    pub fn provision(&self, home: &Path, port: u16) -> String {
        let (directory, program) = (home.join("environments"), home.join("provision"));
        fs::create_dir(&directory).expect("a fresh directory");
        self.mariadb.admin("GRANT ALL ON `main\\_%`.* TO shop@'127.0.0.1'");
        let redis = self.copy.redis.port;
        let script = format!(
            "#!/bin/sh\ncase $1 in\n\
             services) echo '{{\"services\": {{\"cache\": {{\"type\": \"redis\", \"host\": \"127.0.0.1\", \
             \"port\": {redis}, \"user\": \"shop\", \"password\": \"{PASSWORD}\"}}}}}}';;\n\
             start) echo '{{\"upstream\": \"http://127.0.0.1:{port}\"}}';;\n\
             remove) exec redis-cli -p {redis} flushall;;\n*) exit 64;;\nesac\n"
        );
        fs::write(&program, script).expect("a writable directory");
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("our own file");
        format!(
            "[project.provision]\ndirectory = {directory:?}\nhost = \"{{name}}.shop.test\"\n\
             program = [{program:?}]\n\n"
        )
    }

    fn clients(&self, place: &Place) -> Clients {
        self.runtime.block_on(async {
            let postgres = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(self.postgres.port);
            let postgres = postgres.username("shop").password(PASSWORD).database(place.name);
            let mariadb = MySqlConnectOptions::new().host("127.0.0.1").port(self.mariadb.port);
            let mariadb = mariadb.username("shop").password(PASSWORD).database(place.name);
            Clients {
                postgres: postgres.disable_statement_logging().connect().await.expect("PostgreSQL"),
                mariadb: mariadb.disable_statement_logging().connect().await.expect("MariaDB"),
                redis: place.redis.open("shop", PASSWORD).expect("Redis"),
                sqlite: place.sqlite(),
            }
        })
    }

    /// Writes the next number to these places of `main`, one after the other: on connections that are kept, and opened anew
    /// when a restore ended them.
    pub fn write(&self, kinds: &[Kind]) -> u64 {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut clients = idle.unwrap_or_else(|| self.clients(&self.main));
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let insert = format!("INSERT INTO numbers VALUES ({number}, '{}')", "x".repeat(200));
        for kind in kinds {
            let statement = || AssertSqlSafe(insert.clone());
            match kind {
                Kind::Postgres => {
                    let done = sqlx::query(statement()).execute(&mut clients.postgres);
                    if self.runtime.block_on(done).is_err() {
                        clients = self.clients(&self.main);
                        let again = sqlx::query(statement()).execute(&mut clients.postgres);
                        self.runtime.block_on(again).expect("PostgreSQL");
                    }
                }
                Kind::Mariadb => {
                    let done = sqlx::query(statement()).execute(&mut clients.mariadb);
                    if self.runtime.block_on(done).is_err() {
                        clients = self.clients(&self.main);
                        let again = sqlx::query(statement()).execute(&mut clients.mariadb);
                        self.runtime.block_on(again).expect("MariaDB");
                    }
                }
                Kind::Redis => {
                    ::redis::cmd("SADD").arg("numbers").arg(number).exec(&mut clients.redis).expect("Redis");
                }
                Kind::Sqlite => {
                    clients.sqlite.execute(&insert, []).expect("SQLite");
                }
                Kind::Files => {
                    let directory = self.main.files.join((number % 50).to_string());
                    fs::create_dir_all(&directory).expect("a directory");
                    fs::write(directory.join(number.to_string()), "x".repeat(200)).expect("a file");
                }
            }
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(clients);
        number
    }

    /// As many rows of 200 bytes in each database of `main`, and as many files of 1,300 bytes.
    pub fn fill(&self, rows: u64, files: u64) {
        let mut clients = self.clients(&self.main);
        let text = "repeat('y', 200)";
        let postgres = format!("INSERT INTO numbers SELECT -n, {text} FROM generate_series(1, {rows}) AS n");
        let mariadb = format!("INSERT INTO numbers SELECT -seq, {text} FROM seq_1_to_{rows}");
        self.runtime.block_on(async {
            sqlx::query(AssertSqlSafe(postgres)).execute(&mut clients.postgres).await.expect("PostgreSQL");
            sqlx::query(AssertSqlSafe(mariadb)).execute(&mut clients.mariadb).await.expect("MariaDB");
        });
        let sqlite = format!(
            "WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < {rows})
             INSERT INTO numbers SELECT -n, replace(hex(zeroblob(100)), '0', 'y') FROM count"
        );
        clients.sqlite.execute(&sqlite, []).expect("SQLite");
        let value = "y".repeat(200);
        for start in (0..rows).step_by(1_000) {
            let mut pipe = ::redis::pipe();
            for n in start..rows.min(start + 1_000) {
                pipe.cmd("SET").arg(format!("filler:{n}")).arg(&value).ignore();
            }
            pipe.exec(&mut clients.redis).expect("Redis");
        }
        for n in 0..files {
            let directory = self.main.files.join(format!("filler/{}", n / 100));
            if n % 100 == 0 {
                fs::create_dir_all(&directory).expect("a directory");
            }
            fs::write(directory.join(n.to_string()), "y".repeat(1_300)).expect("a file");
        }
    }

    /// Names of all databases of both servers: once, where they are the same on each.
    pub fn databases(&self) -> Vec<String> {
        let mut clients = self.clients(&self.main);
        let postgres =
            "SELECT datname::text FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY 1";
        let mariadb = "SELECT CAST(SCHEMA_NAME AS CHAR) FROM information_schema.SCHEMATA
                       WHERE SCHEMA_NAME RLIKE '^(main|copy)' ORDER BY 1";
        let postgres =
            self.runtime.block_on(sqlx::query_scalar::<_, String>(postgres).fetch_all(&mut clients.postgres));
        let mariadb = self.runtime.block_on(sqlx::query_scalar::<_, String>(mariadb).fetch_all(&mut clients.mariadb));
        let (postgres, mariadb) = (postgres.expect("names"), mariadb.expect("names"));
        if postgres == mariadb { postgres } else { [postgres, mariadb].concat() }
    }

    /// The numbers that each place of an environment holds.
    pub fn numbers(&self, place: &Place) -> BTreeMap<Kind, BTreeSet<u64>> {
        let mut clients = self.clients(place);
        let all = "SELECT n FROM numbers";
        let postgres = self.runtime.block_on(sqlx::query_scalar::<_, i64>(all).fetch_all(&mut clients.postgres));
        let mariadb = self.runtime.block_on(sqlx::query_scalar::<_, i64>(all).fetch_all(&mut clients.mariadb));
        let redis: Vec<u64> = ::redis::cmd("SMEMBERS").arg("numbers").query(&mut clients.redis).expect("Redis");
        let mut rows = clients.sqlite.prepare(all).expect("the table");
        let sqlite = rows.query_map([], |row| row.get::<_, i64>(0)).expect("rows").map(|n| n.expect("a number"));
        let files = walkdir::WalkDir::new(&place.files).into_iter().flatten();
        let files = files.filter(|entry| entry.file_type().is_file());
        let files = files.map(|entry| entry.file_name().to_str().expect("UTF-8").parse().expect("a number"));
        let whole = |n: i64| u64::try_from(n).expect("a number");
        BTreeMap::from([
            (Kind::Postgres, postgres.expect("rows").into_iter().map(whole).collect()),
            (Kind::Mariadb, mariadb.expect("rows").into_iter().map(whole).collect()),
            (Kind::Redis, redis.into_iter().collect()),
            (Kind::Sqlite, sqlite.map(whole).collect()),
            (Kind::Files, files.collect()),
        ])
    }

    /// The numbers of a place, which are the same in all it has.
    #[track_caller]
    pub fn one_instant(&self, place: &Place) -> BTreeSet<u64> {
        let mut numbers = self.numbers(place);
        let one = numbers.remove(&Kind::Files).expect("every kind is there");
        for (kind, held) in &numbers {
            let differ: BTreeSet<_> = held.symmetric_difference(&one).collect();
            assert!(differ.is_empty(), "{kind:?} and the files of {} differ by {differ:?}", place.name);
        }
        one
    }

    /// Nothing of a restore stands on a server or beside the files any more.
    #[track_caller]
    pub fn assert_nothing_beside(&self) {
        until("no database stands beside", || (self.databases() == ["copy", "main"]).then_some(()));
        for place in [&self.main, &self.copy] {
            let marked = || (0..16).any(|number| place.redis.ask::<u64>(number, "EXISTS stillpoint:beside") == 1);
            until("nothing stands beside in Redis", || (!marked()).then_some(()));
            let hidden = place.files.with_file_name(".stillpoint");
            until("nothing lies beside the files", || {
                fs::read_dir(&hidden).map_or(true, |mut listing| listing.next().is_none()).then_some(())
            });
        }
    }

    /// Answers requests, each on a thread of its own, at the port that is given.
    pub fn serve(self: &Arc<Self>) -> u16 {
        let shop = Arc::clone(self);
        serve(Turns::All, move || Ok(shop.write(&Kind::ALL).to_string()))
    }
}
