//! An environment with a MariaDB database and a mount, whose application writes one number to both in each request.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::runtime::Runtime;

use crate::process::{Counting, Installation, Site, Turns, serve};
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

    fn serve(self: &Arc<Self>) -> u16 {
        let shop = Arc::clone(self);
        serve(Turns::One, move || {
            // What the database says counts: it may have been restored since.
            let insert = "INSERT INTO orders SELECT coalesce(max(n), 0) + 1, repeat('x', 100) FROM orders";
            shop.ask(insert).map_err(|error| error.to_string())?;
            let number = shop.newest().to_string();
            fs::write(shop.files.join("number"), &number).map_err(|error| error.to_string())?;
            Ok(number)
        })
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
}

impl Counting for Shop {
    fn numbers(&self) -> (i64, i64) {
        let told =
            self.server.admin("SELECT coalesce(max(n), 0), count(*), (SELECT count(*) FROM shop.log) FROM shop.orders");
        let told: Vec<i64> = told.split('\t').map(|text| text.parse().expect("a number")).collect();
        assert!(told[0] == told[1] && told[1] == told[2], "none is missing: {told:?}");
        let in_file = fs::read_to_string(self.files.join("number")).expect("a number").parse().expect("a number");
        (told[0], in_file)
    }

    fn left_beside(&self) -> usize {
        let schemas = "SELECT count(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE '%stillpoint%'";
        self.server.admin(schemas).parse().expect("a number")
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
        at.restore_dies(step, 2, &*shop);
    }
}

#[test]
fn an_environment_on_mariadb_is_snapshot_restored_and_undone() {
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
    let kept = at.there_and_back(PASSWORD, &*shop);

    let (_, manifest) = at.by_restic(&kept);
    assert!(manifest.contains("\"mysql\"") && manifest.contains("\"orders\""), "{manifest}");
    assert!(!manifest.contains(PASSWORD), "{manifest}");
    at.assert_repository_whole();

    shop.server.kill();
    let reason = at.failed(&at.ask_snapshot());
    assert!(reason.contains("no MySQL or MariaDB server answers at 127.0.0.1"), "{reason}");
    assert_eq!(at.backups().len(), 4);
    server.terminate();
}
