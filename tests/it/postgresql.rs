//! An environment with a PostgreSQL database and a mount, whose application writes one number to both in each request.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::runtime::Runtime;

use crate::process::{Counting, Installation, Site, Turns, said, serve, until};
use crate::support::server::Server;

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

    /// Takes the right to make databases away, as with many accounts that are rented.
    fn rent(&self) {
        self.as_admin("postgres", "ALTER ROLE shop NOCREATEDB");
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
fn a_restore_in_place_whose_worker_dies_is_taken_back_or_finished() {
    for step in [
        "restore: a service loaded",
        "restore: held",
        "restore: prepared",
        "restore: swapping",
        "restore: a service exchanged",
        "restore: swapped",
        "restore: safety stored",
        "restore: ended",
    ] {
        let (shop, at, declaration) = installed();
        shop.rent();
        assert!(at.apply(&declaration).0);
        at.restore_dies(step, 0, &*shop);
    }
}

#[test]
fn a_worker_that_is_killed_in_the_transaction_leaves_what_was() {
    let (shop, at, declaration) = installed();
    shop.rent();
    assert!(at.apply(&declaration).0);
    let mut server = at.start();
    assert_eq!(at.visit().expect("the gateway").body, "1");
    let first = at.snapshot();
    assert_eq!(at.visit().expect("the gateway").body, "2");

    // Who reads keeps the old table from being dropped.
    let mut reader = shop.runtime.block_on(shop.options("postgres", "shop").connect()).expect("an administrator may");
    let reading = "BEGIN; LOCK TABLE orders IN ACCESS SHARE MODE";
    shop.runtime.block_on(sqlx::raw_sql(reading).execute(&mut reader)).expect("a lock");
    let asked = at.ask_confirmed(&first);
    let waits = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted";
    until("the transaction waits", || (shop.as_admin("shop", waits) == Some(1)).then_some(()));
    server.kill();
    drop(reader);

    let server = at.start();
    at.succeeded(&asked);
    assert_eq!(shop.numbers(), (1, 1));
    at.assert_no_leftovers();
    server.terminate();
}

#[test]
fn where_the_account_may_not_make_databases_a_restore_is_announced_maintenance() {
    let (shop, at, declaration) = installed();
    shop.rent();
    let (applied, told) = at.apply(&declaration);
    assert!(applied, "{told}");
    assert!(told.contains("note: ") && told.contains("Service database: A restore replaces it in place"), "{told}");
    let server = at.start();
    assert_eq!(at.visit().expect("the gateway").body, "1");
    let first = at.snapshot();
    assert_eq!(at.visit().expect("the gateway").body, "2");

    // Nobody is told, nothing is done.
    let reason = at.failed(&at.ask_restore(&first));
    assert!(reason.contains("only be restored in place") && reason.contains("not announced"), "{reason}");
    assert_eq!(shop.numbers(), (2, 2));
    let preflight = at.preflight(&first);
    let warning = preflight["warnings"][0].as_str().expect("a warning");
    for part in ["503", "about 5 seconds", "none was measured here yet", "ALTER ROLE \"shop\" CREATEDB"] {
        assert!(warning.contains(part), "{part} is missing: {warning}");
    }
    assert_eq!(preflight["versions"][0]["service"], "database");
    assert_eq!(preflight["versions"][0]["older"], false);
    assert!(!preflight["expectations"].to_string().contains("none is lost"), "{preflight}");

    let visitor = at.visitor();
    until("visitors come", || (visitor.so_far().served > 20).then_some(()));
    let asked = at.ask_confirmed(&first);
    let activity = at.succeeded(&asked);
    let visits = visitor.leave();
    assert_eq!((visits.broken, visits.wrong), (0, Vec::new()));
    assert!(visits.asked_to_return > 0, "as announced");
    let (in_database, in_file) = shop.numbers();
    assert_eq!(in_database, in_file);

    let log = at.log_of(&asked);
    assert!(log.contains("stands aside and takes") && log.contains("(in Stillpoint's data directory)"), "{log}");
    assert!(log.contains("(beside the mount)"), "{log}");

    // Undo is the same way, and its length is measured now.
    let safety = activity["payload"]["safety_backup_name"].as_str().expect("a name");
    let warning = at.preflight(safety)["warnings"][0].to_string();
    assert!(warning.contains("the last restore in place took"), "{warning}");
    at.succeeded(&at.ask_confirmed(safety));
    let (in_database, in_file) = shop.numbers();
    assert!(in_database == in_file && in_database > 20, "{in_database}");
    assert_eq!(shop.left_beside(), 0);
    at.assert_no_leftovers();

    // A right that was given since is used, and one that was taken since is told of before anything happens.
    shop.as_admin("postgres", "ALTER ROLE shop CREATEDB");
    let quiet = at.preflight(&first);
    assert_eq!(quiet["warnings"], serde_json::json!([]));
    shop.rent();
    let reason = at.failed(&at.ask_as_shown(&first, &quiet));
    assert!(reason.contains("was not announced"), "{reason}");
    server.terminate();
}

#[test]
fn what_a_drill_can_not_prove_beside_the_live_data_is_named_and_no_alarm() {
    let (shop, at, declaration) = installed();
    shop.rent();
    assert!(at.apply(&declaration).0);
    let server = at.start();
    assert_eq!(at.visit().expect("the gateway").body, "1");
    let first = at.snapshot();
    let reports = || at.ask("GET", "/projects/shop/environments/main/drills", None).expect("the server answers").1;
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stillpoint"));
        command.env_clear().env("STILLPOINT_URL", at.console()).env("STILLPOINT_TOKEN", &at.token);
        command.args(["drill:run", "-p", "shop", "-e", "main"]).output().expect("the command line's program")
    };

    let partly = run();
    assert!(partly.status.success(), "{}", said(&partly));
    assert!(
        said(&partly).contains("Not proven: service:database. It could be restored, in place"),
        "{}",
        said(&partly)
    );
    let report = reports()[0].clone();
    assert_eq!(report["parts"].as_array().expect("parts").len(), 1);
    assert_eq!(report["parts"][0]["part"], "mount:uploads");
    assert_eq!(report["unproven"][0]["part"], "service:database");
    let reason = report["unproven"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("ALTER ROLE \"shop\" CREATEDB"), "{reason}");
    let feed = || {
        let feed = at.ask("GET", "/projects/shop/environments/main/activities", None).expect("the server answers").1;
        feed[0]["text"].as_str().expect("a text").to_owned()
    };
    assert!(feed().ends_with(" of main, but for the service database"), "{}", feed());

    // Nothing at all: an outcome of its own, which is neither a proof nor an alarm.
    let alone = declaration.split("[[project.environment.mount]]").next().expect("its service");
    let (applied, told) = at.apply(&format!(
        "{alone}[[project.environment.route]]{}",
        declaration.split("[[project.environment.route]]").nth(1).expect("its route")
    ));
    assert!(applied, "{told}");
    let nothing = run();
    assert_eq!(nothing.status.code(), Some(1), "{}", said(&nothing));
    assert!(said(&nothing).contains(&format!("Nothing of {first} can be proven there")), "{}", said(&nothing));
    assert!(said(&nothing).contains("has none of that name and kind any more"), "{}", said(&nothing));
    assert!(feed().contains("could prove nothing of a restore of"), "{}", feed());
    assert_eq!(reports().as_array().expect("reports").len(), 2);
    assert_eq!(reports()[0]["parts"], serde_json::json!([]));

    // The right is given: all is proven.
    shop.as_admin("postgres", "ALTER ROLE shop CREATEDB");
    assert!(at.apply(&declaration).0);
    let all = run();
    assert!(all.status.success() && !said(&all).contains("Not proven"), "{}", said(&all));
    assert_eq!(reports()[0]["unproven"], serde_json::json!([]));
    assert_eq!(shop.left_beside(), 0);
    at.assert_no_leftovers();
    server.terminate();
}

#[test]
fn an_environment_on_postgresql_is_snapshot_restored_and_undone() {
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

    let (_, manifest) = at.by_restic(&kept);
    assert!(manifest.contains("\"postgresql\"") && manifest.contains("\"public.orders\""), "{manifest}");
    assert!(!manifest.contains(PASSWORD), "{manifest}");
    at.assert_repository_whole();

    shop.server.kill();
    let reason = at.failed(&at.ask_snapshot());
    assert!(reason.contains("no PostgreSQL server answers at 127.0.0.1"), "{reason}");
    assert_eq!(at.backups().len(), 4);
    server.terminate();
}
