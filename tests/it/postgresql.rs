//! An environment with a PostgreSQL database and a mount, whose application writes one number to both in each request.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::runtime::Runtime;

use crate::process::{Installation, Site, said, until};
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

    fn number(&self) -> (i64, i64) {
        let in_database = self.ask("SELECT coalesce(max(n), 0) FROM orders").expect("an answer").expect("a row");
        let count = self.ask("SELECT count(*) FROM orders").expect("an answer").expect("a row");
        assert_eq!(in_database, count, "none is missing");
        let in_file = fs::read_to_string(self.files.join("number")).expect("a number").parse().expect("a number");
        (in_database, in_file)
    }

    fn serve(self: &Arc<Self>) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shop = Arc::clone(self);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who has gone meanwhile gets no answer.
                let _ = shop.answer(stream);
            }
        });
        port
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? > 0 {
            head.push(byte[0]);
        }
        let insert = "INSERT INTO orders SELECT coalesce(max(n), 0) + 1, repeat('x', 100) FROM orders RETURNING n";
        let (status, text) = match self.ask(insert) {
            Ok(Some(number)) => {
                fs::write(self.files.join("number"), number.to_string())?;
                ("200 OK", number.to_string())
            }
            other => ("500 Broken", format!("{other:?}")),
        };
        let length = text.len();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}")
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

    fn left_beside(&self) -> Option<i64> {
        self.as_admin("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE '%stillpoint%'")
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
        let dying = at.start_with(&[("STILLPOINT_CRASH_AT", step)]);
        assert_eq!(at.visit().expect("the gateway").body, "1");
        let first = at.snapshot();
        assert_eq!(at.visit().expect("the gateway").body, "2");
        let asked = at.ask_restore(&first);
        dying.died();
        assert_eq!(shop.left_beside(), Some(1), "{step}");

        let server = at.start();
        let activity = at.succeeded(&asked);
        assert_eq!(shop.number(), (1, 1), "{step}");
        let safety = activity["payload"]["safety_backup_name"].as_str().expect("a name");
        at.restore(safety);
        assert_eq!(shop.number(), (2, 2), "{step}");
        at.assert_no_leftovers();
        until("nothing is left beside", || (shop.left_beside() == Some(0)).then_some(()));
        server.terminate();
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
    let visitor = at.visitor();
    until("visitors come", || (visitor.so_far().served > 20).then_some(()));
    let first = at.snapshot();
    let taken = at.backup(&first);
    until("more orders", || (visitor.so_far().served > 60).then_some(()));
    let visits = visitor.leave();
    assert_eq!((visits.broken, visits.asked_to_return), (0, 0), "a snapshot turns nobody away");
    assert!(!taken.to_string().contains(PASSWORD));
    let before = shop.number();
    assert_eq!(before.0, before.1);

    let visitor = at.visitor();
    let asked = at.ask_restore(&first);
    let activity = at.succeeded(&asked);
    let visits = visitor.leave();
    assert_eq!((visits.broken, visits.asked_to_return), (0, 0), "nor does a restore");
    assert_eq!(shop.as_admin("shop", "SELECT count(*) FROM newest"), Some(1));
    let restored = shop.number();
    assert_eq!(restored.0, restored.1, "one instant");
    let safety = activity["payload"]["safety_backup_name"].as_str().expect("a name").to_owned();
    at.restore(&first);
    let restored = shop.number();
    assert_eq!(restored.0, restored.1, "one instant");
    assert!(restored.0 < before.0, "{restored:?} {before:?}");

    // Undo of the first restore.
    at.restore(&safety);
    let undone = shop.number();
    assert_eq!(undone.0, undone.1, "one instant");
    assert!(undone.0 >= before.0, "{undone:?} {before:?}");
    at.assert_no_leftovers();
    until("nothing is left beside", || (shop.left_beside() == Some(0)).then_some(()));

    // Stock restic and pg_restore alone, as docs/recovery.md says.
    let back = at.directory().join("back");
    let key = at.recovery_key();
    let by_restic = at.restic(&key, &["restore", "latest", "--tag", &first, "--target", back.to_str().expect("UTF-8")]);
    assert!(by_restic.status.success(), "{}", said(&by_restic));
    let by_hand = by_hand(&back, shop.server.port);
    assert!(by_hand.status.success(), "{}", said(&by_hand));
    let in_file = fs::read_to_string(back.join("mounts/uploads/number")).expect("a number");
    assert_eq!(said(&by_hand).trim(), in_file);
    assert_eq!(restored.0.to_string(), in_file);
    let manifest = fs::read_to_string(back.join("manifest.json")).expect("a manifest");
    assert!(manifest.contains("\"postgresql\"") && manifest.contains("\"public.orders\""), "{manifest}");
    assert!(!manifest.contains(PASSWORD), "{manifest}");
    assert!(manifest.contains("\"consistency\": \"consistent\""), "{manifest}");
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
