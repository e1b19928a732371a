//! An environment with a PostgreSQL database and a mount, whose application writes one number to both in each request.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::runtime::Runtime;

use crate::process::{Counting, Installation, Site, Turns, said, serve};
use crate::support::server::{Server, programs};

const PASSWORD: &str = "not for everybody";

/// Serves one request after the other: takes the next number, writes it to the database, then to a file.
struct Shop {
    server: Server,
    runtime: Runtime,
    files: PathBuf,
    open: Mutex<Option<PgConnection>>,
}

impl Shop {
    fn new(files: PathBuf) -> Self {
        let server = Server::start();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let shop = Self { server, runtime: runtime.expect("a runtime"), files, open: Mutex::default() };
        fs::create_dir_all(&shop.files).expect("a directory");
        shop.as_admin("postgres", "CREATE ROLE with_password");
        shop.as_admin(
            "postgres",
            &format!("CREATE ROLE shop LOGIN CREATEDB PASSWORD '{PASSWORD}' IN ROLE with_password"),
        );
        shop.as_admin("postgres", "CREATE DATABASE shop OWNER shop");
        for command in
            ["CREATE TABLE orders (n bigint PRIMARY KEY, text text)", "CREATE VIEW newest AS SELECT max(n) FROM orders"]
        {
            shop.ask(command).expect("a new schema");
        }
        shop
    }

    fn options(&self, user: &str, database: &str) -> PgConnectOptions {
        // The administrator's way in is the socket.
        let socket = self.server.socket().to_str().expect("UTF-8");
        let host = if user == "postgres" { socket } else { "127.0.0.1" };
        let options = PgConnectOptions::new_without_pgpass().host(host).port(self.server.port);
        options.username(user).password(PASSWORD).database(database).disable_statement_logging()
    }

    fn as_admin(&self, database: &str, sql: &str) -> Option<i64> {
        let sql = sql.to_owned();
        self.runtime
            .block_on(async {
                let mut admin = self.options("postgres", database).connect().await?;
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_optional(&mut admin).await
            })
            .expect("an administrator may")
    }

    /// As an application does: on a connection that is kept, and opened anew when it was ended.
    fn ask(&self, sql: &str) -> Result<Option<i64>, sqlx::Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tries = 0;
        loop {
            let asked = self.runtime.block_on(async {
                if open.is_none() {
                    *open = Some(self.options("shop", "shop").connect().await?);
                }
                let connection = open.as_mut().expect("it was just opened");
                sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_optional(connection).await
            });
            if asked.is_ok() || tries == 20 {
                return asked;
            }
            tries += 1;
            *open = None;
        }
    }

    fn serve(self: &Arc<Self>) -> u16 {
        let shop = Arc::clone(self);
        serve(Turns::One, move || {
            let insert = "INSERT INTO orders SELECT coalesce(max(n), 0) + 1, repeat('x', 100) FROM orders RETURNING n";
            let asked = shop.ask(insert).map_err(|error| error.to_string())?;
            let number = asked.expect("a row was inserted").to_string();
            fs::write(shop.files.join("number"), &number).map_err(|error| error.to_string())?;
            Ok(number)
        })
    }

    fn declaration(&self, port: u16) -> String {
        format!(
            "[[project]]\nid = \"shop\"\n\n[[project.environment]]\nname = \"main\"\ntype = \"production\"\n\n\
             [[project.environment.service]]\nname = \"database\"\ntype = \"postgresql\"\nport = {}\nuser = \"shop\"\n\
             password = {PASSWORD:?}\ndatabase = \"shop\"\n\n\
             [[project.environment.mount]]\nname = \"uploads\"\npath = {:?}\n\n\
             [[project.environment.route]]\nhost = \"main.shop.test\"\nupstream = \"http://127.0.0.1:{port}\"\n",
            self.server.port, self.files
        )
    }
}

impl Counting for Shop {
    fn numbers(&self) -> (i64, i64) {
        let in_database = self.ask("SELECT coalesce(max(n), 0) FROM orders").expect("an answer").expect("a row");
        let count = self.ask("SELECT count(*) FROM orders").expect("an answer").expect("a row");
        assert_eq!(in_database, count, "none is missing");
        let in_file = fs::read_to_string(self.files.join("number")).expect("a number").parse().expect("a number");
        (in_database, in_file)
    }

    fn left_beside(&self) -> usize {
        let left = self.as_admin("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE '%stillpoint%'");
        left.and_then(|left| usize::try_from(left).ok()).expect("a number")
    }
}

fn installed() -> (Arc<Shop>, Installation, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let site = Site::new(&directory.path().join("site"));
    let shop = Arc::new(Shop::new(site.home.join("files")));
    let declaration = shop.declaration(shop.serve());
    let mut at = Installation::bare(directory, site);
    at.add_operator();
    (shop, at, declaration)
}

#[test]
fn a_restore_of_postgresql_whose_worker_dies_is_taken_back_or_finished() {
    for step in ["restore: a service loaded", "restore: a service exchanged", "restore: swapped"] {
        let (shop, at, declaration) = installed();
        assert!(at.apply(&declaration).0);
        at.restore_dies(step, 1, &*shop);
    }
}

#[test]
fn an_environment_on_postgresql_is_snapshot_restored_undone_and_got_back_by_hand() {
    let (shop, at, declaration) = installed();
    let twice = format!(
        "{declaration}{}",
        declaration[declaration.find("[[project.environment]]").expect("one")..]
            .split("[[project.environment.mount]]")
            .next()
            .expect("its service")
            .replace("\"main\"", "\"other\"")
    );
    let (applied, told) = at.apply(&twice);
    assert!(!applied && told.contains("belongs to another environment"), "{told}");
    let (applied, told) = at.apply(&declaration.replace(PASSWORD, "wrong"));
    assert!(
        !applied && told.contains(":8: Service database: the server at") && told.contains("let `shop` in"),
        "{told}"
    );
    let (applied, told) = at.apply(&declaration);
    assert!(applied, "{told}");

    let server = at.start();
    let kept = at.there_and_back(PASSWORD, &*shop);
    assert_eq!(shop.as_admin("shop", "SELECT count(*) FROM newest"), Some(1));

    // Stock restic and pg_restore alone, as docs/recovery.md says.
    let (back, manifest) = at.by_restic(&kept);
    let by_hand = by_hand(&back, shop.server.port);
    assert!(by_hand.status.success(), "{}", said(&by_hand));
    assert_eq!(said(&by_hand).trim(), kept.number.to_string());
    assert!(manifest.contains("\"postgresql\"") && manifest.contains("\"public.orders\""), "{manifest}");
    assert!(!manifest.contains(PASSWORD), "{manifest}");
    at.assert_repository_whole();

    shop.server.kill();
    let reason = at.failed(&at.ask_snapshot());
    assert!(reason.contains("no PostgreSQL server answers at 127.0.0.1"), "{reason}");
    assert_eq!(at.backups().len(), 4);
    server.terminate();
}

/// The commands of docs/recovery.md.
fn by_hand(back: &std::path::Path, port: u16) -> Output {
    let commands = "cat back/services/database/* > shop.dump
        createdb --template=template0 shop_back
        pg_restore --exit-on-error --dbname=shop_back shop.dump
        psql --no-psqlrc --tuples-only --no-align --command 'SELECT max(n) FROM orders' shop_back";
    let mut path = programs().into_os_string();
    path.push(":/usr/bin:/bin");
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", commands]).current_dir(back.parent().expect("a directory"));
    shell.env("PATH", path).env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string()).env("PGUSER", "postgres");
    shell.output().expect("a shell")
}
