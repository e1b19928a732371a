//! The driver against a real server: MariaDB, as Debian packages it.

mod connection;
mod faults;
mod figures;
mod position;
mod round_trip;
mod swap;
mod view;

use std::io::Cursor;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use self::server::Server;
use super::session::{Session, ident, literal};
use super::{Address, CONNECT, Mysql};
use crate::domain::Secret;
use crate::domain::manifest::Facts;
use crate::drivers::{Aside, Beside, Service};

/// Shared with the integration tests.
#[path = "../../../tests/it/support/mariadb.rs"]
mod server;

static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start(&[]));

const WITHIN: Duration = Duration::from_secs(2);
const PASSWORD: &str = "it's \\ secret";

/// Names are an enemy's: quotes, letters that are no letters elsewhere, a pattern's signs.
fn schema_name(number: u32) -> String {
    format!("Ge`sch_äft {number}")
}

/// A database with its driver, whose account may just do what it needs, and a scratch directory.
struct Site<'a> {
    server: &'a Server,
    service: Mysql,
    scratch: TempDir,
}

impl Site<'static> {
    fn new() -> Self {
        Self::on(&SERVER)
    }
}

impl<'a> Site<'a> {
    fn on(server: &'a Server) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (database, user) = (schema_name(number), format!("app{number}"));
        let site = Self {
            server,
            service: Mysql::connect(Address {
                host: "127.0.0.1".to_owned(),
                port: server.port,
                user: user.clone(),
                password: Secret::new(PASSWORD),
                database: database.clone(),
            })
            .expect("a complete address"),
            scratch: tempfile::tempdir().expect("a temporary directory"),
        };
        let pattern = ident(&format!("{}\\_stillpoint\\_%", database.replace('_', "\\_")));
        let (user, password) = (literal(&user), literal(PASSWORD));
        server.admin(&format!(
            "CREATE DATABASE {0}; CREATE USER {user}@'127.0.0.1' IDENTIFIED BY {password};
             GRANT ALL ON {1}.* TO {user}@'127.0.0.1'; GRANT ALL ON {pattern}.* TO {user}@'127.0.0.1'",
            ident(&database),
            ident(&database.replace('_', "\\_"))
        ));
        site.sql("CREATE TABLE orders (id int AUTO_INCREMENT PRIMARY KEY, text varchar(400))");
        site.insert(100);
        site
    }

    fn address(&self) -> &Address {
        &self.service.address
    }

    fn open(&self) -> Session {
        self.address().open(CONNECT).expect("the database opens")
    }

    fn sql(&self, sql: &str) {
        self.open().command("change", sql).expect("a valid command");
    }

    /// As an administrator, in the database.
    fn admin(&self, sql: &str) -> String {
        self.server.admin(&format!("USE {}; {sql}", ident(&self.address().database)))
    }

    fn insert(&self, rows: usize) {
        self.sql(&insert(rows));
    }

    fn text(&self, sql: &str) -> String {
        text(&mut self.open(), sql)
    }

    fn count(&self) -> String {
        self.text("SELECT count(*) FROM orders")
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

    /// Replaces the live data by a dump.
    fn restore(&self, bytes: &[u8], facts: &Facts) -> (Beside, Aside) {
        let beside = self.load(bytes);
        self.service.check(&beside, facts).expect("all is as recorded");
        let aside = self.service.prepare(&beside).expect("fixed");
        self.service.commit(&beside, &aside).expect("swapped");
        (beside, aside)
    }

    /// Schemas of this site that the server has.
    fn databases(&self) -> usize {
        let name = literal(&self.address().database);
        let list = format!(
            "SELECT count(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {name}
               OR left(SCHEMA_NAME, char_length({name}) + 11) = CONCAT({name}, '_stillpoint')"
        );
        self.server.admin(&list).parse().expect("a number")
    }
}

fn insert(rows: usize) -> String {
    format!("INSERT INTO orders (text) SELECT CONCAT('order ', seq, repeat('x', 200)) FROM seq_1_to_{rows}")
}

fn text(session: &mut Session, sql: &str) -> String {
    session.one("read", sql).expect("readable").unwrap_or_default()
}
