//! A Redis server from the packages that are installed, in a temporary directory on a free port.
#![allow(dead_code, reason = "the driver's tests and the suite each use a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::redis::{Client, Connection, ConnectionAddr, FromRedisValue, IntoConnectionInfo as _, RedisConnectionInfo, cmd};
use rustix::process::{Pid, Signal};

/// Its default user needs no password; ends with the process, or when it is killed or dropped.
pub struct Server {
    pub port: u16,
    directory: tempfile::TempDir,
    server: Mutex<Child>,
}

impl Server {
    pub fn start() -> Self {
        Self::with(&[])
    }

    pub fn with(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = port.expect("a free port").port();
        let server = start(directory.path(), port, settings);
        let new = Self { port, directory, server: Mutex::new(server) };
        new.ready();
        new
    }

    /// On the same port and directory, after it was killed.
    pub fn again(&mut self, settings: &[&str]) {
        self.revived(settings);
    }

    /// As [`Server::again`], of one that several share, after it was sent a deadly signal.
    pub fn revived(&self, settings: &[&str]) {
        let mut server = self.child();
        server.wait().expect("it is ours");
        *server = start(self.directory.path(), self.port, settings);
        drop(server);
        self.ready();
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let ready = self.open("", "").and_then(|mut open| cmd("DBSIZE").query::<u64>(&mut open));
            match ready {
                Ok(_) => return,
                Err(error) => assert!(Instant::now() < deadline, "Redis did not come up within a minute: {error}"),
            }
            std::thread::yield_now();
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    pub fn open(&self, user: &str, password: &str) -> redis::RedisResult<Connection> {
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        if !user.is_empty() {
            settings = settings.set_username(user).set_password(password);
        }
        let place = ConnectionAddr::Tcp("127.0.0.1".to_owned(), self.port).into_connection_info()?;
        Client::open(place.set_redis_settings(settings))?.get_connection()
    }

    /// What the administrator asks, words apart by spaces.
    pub fn ask<T: FromRedisValue>(&self, database: u32, words: &str) -> T {
        let mut open = self.open("", "").expect("the server answers");
        cmd("SELECT").arg(database).exec(&mut open).expect("a database");
        let mut words = words.split(' ');
        let mut command = cmd(words.next().expect("a command"));
        for word in words {
            command.arg(word);
        }
        command.query(&mut open).expect("a valid command")
    }

    pub fn keys(&self, database: u32) -> Vec<String> {
        let mut keys: Vec<String> = self.ask(database, "KEYS *");
        keys.sort();
        keys
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child()), signal).expect("it runs");
    }

    /// As a power cut would.
    pub fn kill(&mut self) {
        let mut server = self.child();
        server.kill().expect("it runs");
        server.wait().expect("it is ours");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut server = self.child();
        let _ = server.kill();
        let _ = server.wait();
    }
}

fn start(directory: &Path, port: u16, settings: &[&str]) -> Child {
    // The kernel ends it with the thread that started it, which is the test's own.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "redis-server", "--port", &port.to_string(), "--bind", "127.0.0.1"]);
    command.arg("--dir").arg(directory).args(["--unixsocket", "redis.sock", "--repl-diskless-sync-delay", "0"]);
    if !settings.contains(&"--save") {
        command.args(["--save", ""]);
    }
    command.args(settings).current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("Redis is installed: `cargo xtask test` does it on Debian and Ubuntu")
}
