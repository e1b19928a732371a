//! An environment with a Redis server and a mount, whose application writes one number to both in each request.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::redis::{Connection, RedisResult};

use crate::process::{Installation, Site, said, until};
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

    fn number(&self) -> (u64, u64) {
        let server = self.server();
        let in_server: Option<u64> = server.ask(0, "GET orders");
        assert_eq!(in_server.unwrap_or(0), server.ask::<u64>(1, "LLEN list"), "none is missing");
        let in_file = fs::read_to_string(self.files.join("number")).expect("a number").parse().expect("a number");
        (in_server.unwrap_or(0), in_file)
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
        let (status, text) = match self.next() {
            Ok(number) => {
                fs::write(self.files.join("number"), number.to_string())?;
                ("200 OK", number.to_string())
            }
            Err(error) => ("500 Broken", error.to_string()),
        };
        let length = text.len();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}")
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

    /// How many databases a restore left, or uses.
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
fn own_servers(at: &Installation) -> usize {
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
        assert_eq!(shop.number(), (1, 1), "{step}");
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
        let dying = at.start_with(&[("STILLPOINT_CRASH_AT", step)]);
        assert_eq!(at.visit().expect("the gateway").body, "1");
        let first = at.snapshot();
        assert_eq!(at.visit().expect("the gateway").body, "2");
        let asked = at.ask_restore(&first);
        dying.died();
        assert_eq!(shop.left_beside(), 2, "{step}");
        until("no server of the worker's runs", || (own_servers(&at) == 0).then_some(()));

        let server = at.start();
        let activity = at.succeeded(&asked);
        assert_eq!(shop.number(), (1, 1), "{step}");
        let safety = activity["payload"]["safety_backup_name"].as_str().expect("a name");
        at.restore(safety);
        assert_eq!(shop.number(), (2, 2), "{step}");
        at.assert_no_leftovers();
        until("nothing is left beside", || (shop.left_beside() == 0).then_some(()));
        server.terminate();
    }
}

#[test]
fn a_writer_round_the_gate_takes_the_label_away() {
    let (shop, at, declaration) = installed();
    assert!(at.apply(&declaration).0);
    let server = at.start();
    assert_eq!(at.visit().expect("the gateway").body, "1");
    let quiet = at.snapshot();
    assert_eq!(at.backup(&quiet)["attributes"]["consistency"], "consistent");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (stop, mut open) = (Arc::clone(&stop), shop.server().open("", "").expect("a writer"));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                ::redis::cmd("INCR").arg("round the gate").exec(&mut open).expect("written");
            }
        })
    };
    let disturbed = at.snapshot();
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("it wrote");
    assert_eq!(at.backup(&disturbed)["attributes"]["consistency"], "each_service");
    server.terminate();
}

#[test]
fn an_environment_on_redis_is_snapshot_restored_undone_and_got_back_by_hand() {
    let (shop, at, declaration) = installed();
    let (applied, told) = at.apply(&declaration.replace(PASSWORD, "wrong"));
    assert!(!applied && told.contains(":8: Service orders: the server at") && told.contains("let `shop` in"), "{told}");
    let (applied, told) = at.apply(&declaration.replace("\"redis\"", "\"valkey\""));
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
    let activity = at.succeeded(&at.ask_restore(&first));
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
    until("nothing is left beside", || (shop.left_beside() == 0).then_some(()));
    until("no server of the worker's runs", || (own_servers(&at) == 0).then_some(()));

    // Stock restic and redis-server alone, as docs/recovery.md says.
    let back = at.directory().join("back");
    let key = at.recovery_key();
    let by_restic = at.restic(&key, &["restore", "latest", "--tag", &first, "--target", back.to_str().expect("UTF-8")]);
    assert!(by_restic.status.success(), "{}", said(&by_restic));
    let by_hand = by_hand(&back);
    assert!(by_hand.status.success(), "{}", said(&by_hand));
    let in_file = fs::read_to_string(back.join("mounts/uploads/number")).expect("a number");
    assert_eq!(String::from_utf8_lossy(&by_hand.stdout).lines().last(), Some(in_file.as_str()));
    assert_eq!(restored.0.to_string(), in_file);
    let manifest = fs::read_to_string(back.join("manifest.json")).expect("a manifest");
    assert!(manifest.contains("\"redis\"") && manifest.contains("\"database 1\""), "{manifest}");
    assert!(manifest.contains("keeps no log"), "{manifest}");
    assert!(!manifest.contains(PASSWORD), "{manifest}");
    assert!(manifest.contains("\"consistency\": \"consistent\""), "{manifest}");
    at.assert_repository_whole();

    shop.server().kill();
    let reason = at.failed(&at.ask_snapshot());
    assert!(reason.contains("no Redis or Valkey server answers at 127.0.0.1"), "{reason}");
    assert_eq!(at.backups().len(), 4);
    server.terminate();
}

/// The commands of docs/recovery.md.
fn by_hand(back: &Path) -> Output {
    let commands = "mkdir redis-back
        cat back/services/orders/* > redis-back/dump.rdb
        redis-server --dir \"$PWD/redis-back\" --port 0 --unixsocket \"$PWD/redis-back/redis.sock\" --save '' --daemonize yes
        until redis-cli -s redis-back/redis.sock PING | grep -q PONG; do :; done
        redis-cli -s redis-back/redis.sock INFO keyspace
        redis-cli -s redis-back/redis.sock GET orders
        redis-cli -s redis-back/redis.sock SHUTDOWN NOSAVE";
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", commands]).current_dir(back.parent().expect("a directory"));
    shell.output().expect("a shell")
}
