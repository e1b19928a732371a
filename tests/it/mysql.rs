//! An environment with a MariaDB database and a mount, whose application writes one number to both in each request.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::runtime::Runtime;

use crate::process::{Installation, Site, said, until};
use crate::support::mariadb::Server;

const PASSWORD: &str = "not for everybody";

/// Serves one request after the other: takes the next number, writes it to the database, then to a file.
struct Shop {
    server: Server,
    runtime: Runtime,
    files: PathBuf,
    open: Mutex<Option<MySqlConnection>>,
}

impl Shop {
    fn new(files: PathBuf) -> Self {
        let server = Server::start(&[]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let shop = Self { server, runtime: runtime.expect("a runtime"), files, open: Mutex::default() };
        fs::create_dir_all(&shop.files).expect("a directory");
        shop.server.admin(&format!(
            "CREATE DATABASE shop; CREATE USER shop@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';
             GRANT ALL ON shop.* TO shop@'127.0.0.1'; GRANT ALL ON `shop\\_stillpoint\\_%`.* TO shop@'127.0.0.1';
             GRANT PROCESS, CONNECTION ADMIN ON *.* TO shop@'127.0.0.1'"
        ));
        for command in [
            "CREATE TABLE orders (n bigint PRIMARY KEY, text text)",
            "CREATE TABLE log (n bigint, FOREIGN KEY (n) REFERENCES orders (n))",
            "CREATE VIEW newest AS SELECT max(n) AS n FROM orders",
            "CREATE TRIGGER logged AFTER INSERT ON orders FOR EACH ROW INSERT INTO log VALUES (NEW.n)",
        ] {
            shop.ask(command).expect("a new schema");
        }
        shop
    }

    /// As an application does: on a connection that is kept, and opened anew when it was ended.
    fn ask(&self, sql: &str) -> Result<(), sqlx::Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tries = 0;
        loop {
            let asked = self.runtime.block_on(async {
                if open.is_none() {
                    let options = MySqlConnectOptions::new().host("127.0.0.1").port(self.server.port);
                    let options = options.username("shop").password(PASSWORD).database("shop");
                    *open = Some(options.disable_statement_logging().connect().await?);
                }
                let connection = open.as_mut().expect("it was just opened");
                sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await
            });
            if asked.is_ok() || tries == 20 {
                return asked.map(drop);
            }
            tries += 1;
            *open = None;
        }
    }

    fn number(&self) -> (i64, i64) {
        let told =
            self.server.admin("SELECT coalesce(max(n), 0), count(*), (SELECT count(*) FROM shop.log) FROM shop.orders");
        let told: Vec<i64> = told.split('\t').map(|text| text.parse().expect("a number")).collect();
        assert!(told[0] == told[1] && told[1] == told[2], "none is missing: {told:?}");
        let in_file = fs::read_to_string(self.files.join("number")).expect("a number").parse().expect("a number");
        (told[0], in_file)
    }

    fn serve(self: &Arc<Self>) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shop = Arc::clone(self);
        std::thread::spawn(move || {
            let mut number = 0;
            for stream in listener.incoming().flatten() {
                // Who has gone meanwhile gets no answer.
                let _ = shop.answer(stream, &mut number);
            }
        });
        port
    }

    fn answer(&self, mut stream: TcpStream, number: &mut i64) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? > 0 {
            head.push(byte[0]);
        }
        // What the database says counts: it may have been restored since.
        let insert = "INSERT INTO orders SELECT coalesce(max(n), 0) + 1, repeat('x', 100) FROM orders";
        let (status, text) = match self.ask(insert).map(|()| self.newest()) {
            Ok(newest) => {
                *number = newest;
                fs::write(self.files.join("number"), number.to_string())?;
                ("200 OK", number.to_string())
            }
            other => ("500 Broken", format!("{other:?}")),
        };
        let length = text.len();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}")
    }

    fn newest(&self) -> i64 {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = open.as_mut().expect("it was just used");
        let asked = self.runtime.block_on(sqlx::query_scalar("SELECT n FROM newest").fetch_one(connection));
        asked.expect("an answer")
    }

    fn declaration(&self, port: u16) -> String {
        format!(
            "[[project]]\nid = \"shop\"\n\n[[project.environment]]\nname = \"main\"\ntype = \"production\"\n\n\
             [[project.environment.service]]\nname = \"database\"\ntype = \"mariadb\"\nport = {}\nuser = \"shop\"\n\
             password = {PASSWORD:?}\ndatabase = \"shop\"\n\n\
             [[project.environment.mount]]\nname = \"uploads\"\npath = {:?}\n\n\
             [[project.environment.route]]\nhost = \"main.shop.test\"\nupstream = \"http://127.0.0.1:{port}\"\n",
            self.server.port, self.files
        )
    }

    fn left_beside(&self) -> String {
        self.server.admin("SELECT count(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE '%stillpoint%'")
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
fn a_restore_of_mariadb_whose_worker_dies_is_taken_back_or_finished() {
    for step in ["restore: a service loaded", "restore: a service exchanged", "restore: swapped"] {
        let (shop, at, declaration) = installed();
        let (applied, told) = at.apply(&declaration);
        assert!(applied, "{told}");
        let dying = at.start_with(&[("STILLPOINT_CRASH_AT", step)]);
        assert_eq!(at.visit().expect("the gateway").body, "1");
        let first = at.snapshot();
        assert_eq!(at.visit().expect("the gateway").body, "2");
        let asked = at.ask_restore(&first);
        dying.died();
        assert_eq!(shop.left_beside(), "2", "{step}");

        let server = at.start();
        let activity = at.succeeded(&asked);
        assert_eq!(shop.number(), (1, 1), "{step}");
        let safety = activity["payload"]["safety_backup_name"].as_str().expect("a name");
        at.restore(safety);
        assert_eq!(shop.number(), (2, 2), "{step}");
        at.assert_no_leftovers();
        until("nothing is left beside", || (shop.left_beside() == "0").then_some(()));
        server.terminate();
    }
}

#[test]
fn an_environment_on_mariadb_is_snapshot_restored_undone_and_got_back_by_hand() {
    let (shop, at, declaration) = installed();
    let (applied, told) = at.apply(&declaration.replace(PASSWORD, "wrong"));
    assert!(
        !applied && told.contains(":8: Service database: the server at") && told.contains("let `shop` in"),
        "{told}"
    );
    let (applied, told) = at.apply(&declaration.replace("\"mariadb\"", "\"mysql\""));
    assert!(applied, "either word will do: {told}");
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
    until("nothing is left beside", || (shop.left_beside() == "0").then_some(()));

    // Stock restic and the server's client alone, as docs/recovery.md says.
    let back = at.directory().join("back");
    let key = at.recovery_key();
    let by_restic = at.restic(&key, &["restore", "latest", "--tag", &first, "--target", back.to_str().expect("UTF-8")]);
    assert!(by_restic.status.success(), "{}", said(&by_restic));
    let by_hand = by_hand(&back, &shop.server);
    assert!(by_hand.status.success(), "{}", said(&by_hand));
    let in_file = fs::read_to_string(back.join("mounts/uploads/number")).expect("a number");
    assert_eq!(said(&by_hand).trim(), format!("-- Stillpoint: the dump is complete\nmax(n)\n{in_file}"));
    assert_eq!(restored.0.to_string(), in_file);
    let manifest = fs::read_to_string(back.join("manifest.json")).expect("a manifest");
    assert!(manifest.contains("\"mysql\"") && manifest.contains("\"orders\""), "{manifest}");
    assert!(!manifest.contains(PASSWORD), "{manifest}");
    assert!(manifest.contains("\"consistency\": \"consistent\""), "{manifest}");
    at.assert_repository_whole();

    shop.server.kill();
    let reason = at.failed(&at.ask_snapshot());
    assert!(reason.contains("no MySQL or MariaDB server answers at 127.0.0.1"), "{reason}");
    assert_eq!(at.backups().len(), 4);
    server.terminate();
}

/// The commands of docs/recovery.md, by an administrator whose own settings say where the server is.
fn by_hand(back: &std::path::Path, server: &Server) -> Output {
    let commands = "cat back/services/database/* > shop.sql
        tail -n 1 shop.sql
        mariadb -e 'CREATE DATABASE shop_back CHARACTER SET utf8mb4'
        mariadb --binary-mode --comments --default-character-set=utf8mb4 shop_back < shop.sql > loaded
        mariadb -e 'SELECT max(n) FROM orders' shop_back";
    let home = back.parent().expect("a directory");
    let settings = format!("[client]\nuser=root\nsocket={}\n", server.socket().display());
    fs::write(home.join(".my.cnf"), settings).expect("a file");
    // The view runs as the account that made it.
    server.admin("GRANT ALL ON shop_back.* TO shop@'127.0.0.1'");
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", commands]).current_dir(home).env("HOME", home);
    shell.output().expect("a shell")
}
