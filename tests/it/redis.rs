//! An environment with a Redis server and a mount, whose application writes one number to both in each request.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ::redis::{Connection, RedisResult};

use crate::process::{Counting, Installation, Site, Turns, serve, until};
use crate::support::redis::Server;

const PASSWORD: &str = "not-for-everybody";

/// As docs/declaration.md says.
const RIGHTS: &str = "ACL SETUSER shop on >not-for-everybody ~* +ping +info +select +exists +psync +replconf +watch \
                      +unwatch +multi +exec +discard +swapdb +dbsize +restore +move +hset +hgetall +scan +type +pttl \
                      +flushdb +function";

/// Serves one request after the other: takes the next number, writes it to two databases, then to a file.
struct Shop {
    server: Mutex<Server>,
    files: PathBuf,
    open: Mutex<Option<Connection>>,
}

impl Shop {
    fn new(files: PathBuf) -> Self {
        let server = Server::start();
        server.ask::<()>(0, RIGHTS);
        fs::create_dir_all(&files).expect("a directory");
        Self { server: Mutex::new(server), files, open: Mutex::default() }
    }

    fn server(&self) -> std::sync::MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As an application does: on a connection that is kept.
    fn next(&self) -> RedisResult<u64> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            *open = Some(self.server().open("", "")?);
        }
        let connection = open.as_mut().expect("it was just opened");
        let mut pipe = ::redis::pipe();
        pipe.atomic().cmd("SELECT").arg(0).ignore().cmd("INCR").arg("orders");
        pipe.cmd("SELECT").arg(1).ignore().cmd("RPUSH").arg("list").arg("x".repeat(100)).ignore();
        pipe.cmd("SET").arg("cached").arg(1).arg("PX").arg(5).ignore();
        let (number,): (u64,) = pipe.query(connection)?;
        Ok(number)
    }

    fn serve(self: &Arc<Self>) -> u16 {
        let shop = Arc::clone(self);
        serve(Turns::One, move || {
            let number = shop.next().map_err(|error| error.to_string())?.to_string();
            fs::write(shop.files.join("number"), &number).map_err(|error| error.to_string())?;
            Ok(number)
        })
    }

    fn declaration(&self, port: u16) -> String {
        format!(
            "[[project]]\nid = \"shop\"\n\n[[project.environment]]\nname = \"main\"\ntype = \"production\"\n\n\
             [[project.environment.service]]\nname = \"orders\"\ntype = \"redis\"\nport = {}\nuser = \"shop\"\n\
             password = {PASSWORD:?}\n\n\
             [[project.environment.mount]]\nname = \"uploads\"\npath = {:?}\n\n\
             [[project.environment.route]]\nhost = \"main.shop.test\"\nupstream = \"http://127.0.0.1:{port}\"\n",
            self.server().port,
            self.files
        )
    }
}

impl Counting for Shop {
    fn numbers(&self) -> (i64, i64) {
        let server = self.server();
        let in_server: Option<i64> = server.ask(0, "GET orders");
        assert_eq!(in_server.unwrap_or(0), server.ask::<i64>(1, "LLEN list"), "none is missing");
        let in_file = fs::read_to_string(self.files.join("number")).expect("a number").parse().expect("a number");
        (in_server.unwrap_or(0), in_file)
    }

    fn left_beside(&self) -> usize {
        let server = self.server();
        (0..16).filter(|number| server.ask::<u64>(*number, "EXISTS stillpoint:beside") == 1).count()
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

/// Servers of the worker's own that still run.
pub fn own_servers(at: &Installation) -> usize {
    let data = at.data.canonicalize().expect("it is there");
    let processes = fs::read_dir("/proc").expect("Linux").flatten();
    let at = processes.filter_map(|process| fs::read_link(process.path().join("cwd")).ok());
    at.filter(|cwd| cwd.starts_with(data.join("state"))).count()
}

#[test]
fn a_worker_that_is_killed_takes_its_own_redis_server_along() {
    for step in ["snapshot: held", "snapshot: views open", "snapshot: released"] {
        let (shop, at, declaration) = installed();
        assert!(at.apply(&declaration).0);
        let dying = at.start_with(&[("STILLPOINT_CRASH_AT", step)]);
        assert_eq!(at.visit().expect("the gateway").body, "1");
        let asked = at.ask_snapshot();
        dying.died();
        until("no server of the worker's runs", || (own_servers(&at) == 0).then_some(()));
        let server = at.start();
        at.succeeded(&asked);
        assert_eq!(at.visit().expect("the gateway").body, "2");
        at.restore(&asked.snapshot);
        assert_eq!(shop.numbers(), (1, 1), "{step}");
        server.terminate();
    }
}

#[test]
fn a_restore_of_redis_whose_worker_dies_is_taken_back_or_finished() {
    for step in
        ["restore: a service loaded", "restore: a service exchanged", "restore: swapped", "restore: safety stored"]
    {
        let (shop, at, declaration) = installed();
        assert!(at.apply(&declaration).0);
        at.restore_dies(step, 2, &*shop);
        until("no server of the worker's runs", || (own_servers(&at) == 0).then_some(()));
    }
}

#[test]
fn an_environment_on_redis_is_snapshot_restored_and_undone() {
    let (shop, at, declaration) = installed();
    let (applied, told) = at.apply(&declaration.replace(PASSWORD, "wrong"));
    assert!(!applied && told.contains(":8: Service orders: the server at") && told.contains("let `shop` in"), "{told}");
    let (applied, told) = at.apply(&declaration.replace("\"redis\"", "\"valkey\""));
    assert!(applied, "{told}");

    let server = at.start();
    let kept = at.there_and_back(PASSWORD, &*shop);
    until("no server of the worker's runs", || (own_servers(&at) == 0).then_some(()));

    let (_, manifest) = at.by_restic(&kept);
    assert!(manifest.contains("\"redis\"") && manifest.contains("\"database 1\""), "{manifest}");
    assert!(manifest.contains("keeps no log"), "{manifest}");
    assert!(!manifest.contains(PASSWORD), "{manifest}");
    at.assert_repository_whole();

    shop.server().kill();
    let reason = at.failed(&at.ask_snapshot());
    assert!(reason.contains("no Redis or Valkey server answers at 127.0.0.1"), "{reason}");
    assert_eq!(at.backups().len(), 4);
    server.terminate();
}
