//! A site whose database and files all carry one version number, the program that serves it, and its visitors.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::application::{Turns, serve};

pub const HOST: &str = "main.shop.test";

/// Its data lies in `<home>/shop.db` and `<home>/uploads`.
#[derive(Debug, Clone)]
pub struct Site {
    pub home: PathBuf,
    /// Where it serves.
    port: u16,
}

impl Site {
    /// Version 1, served until the test program ends.
    pub fn new(home: &Path) -> Self {
        fs::create_dir_all(home.join("uploads/deep")).expect("a directory");
        let mut site = Self { home: home.to_owned(), port: 0 };
        site.connect()
            .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE items (n INTEGER PRIMARY KEY, version, body)")
            .expect("a new database");
        site.write(1);
        let serving = site.clone();
        site.port = serve(Turns::All, move || serving.versions().map(|versions| format!("{versions:?}")));
        site
    }

    pub fn database(&self) -> PathBuf {
        self.home.join("shop.db")
    }

    pub fn uploads(&self) -> PathBuf {
        self.home.join("uploads")
    }

    /// Where a restore keeps what it needs beside the mount.
    pub fn hidden(&self) -> PathBuf {
        self.home.join(".stillpoint")
    }

    /// `more` is added to the environment.
    pub fn declaration(&self, more: &str) -> String {
        let (database, uploads, port) = (self.database(), self.uploads(), self.port);
        format!(
            "[[project]]\nid = \"shop\"\n\n[[project.environment]]\nname = \"main\"\ntype = \"production\"\n\n\
             [[project.environment.service]]\nname = \"database\"\ntype = \"sqlite\"\npath = {database:?}\n\n\
             [[project.environment.mount]]\nname = \"uploads\"\npath = {uploads:?}\n\n\
             [[project.environment.route]]\nhost = \"{HOST}\"\nupstream = \"http://127.0.0.1:{port}\"\n{more}"
        )
    }

    pub fn connect(&self) -> Connection {
        let connection = Connection::open(self.database()).expect("a database");
        connection.busy_timeout(Duration::from_secs(10)).expect("a time");
        connection
    }

    /// Makes everything this version. Only while nobody visits.
    pub fn write(&self, version: u32) {
        let mut connection = self.connect();
        let rows = connection.transaction().expect("a transaction");
        rows.execute("DELETE FROM items", []).expect("deleted");
        for n in 0..400 {
            let body = format!("{n} of {version} ").repeat(20);
            rows.execute("INSERT INTO items VALUES ($1, $2, $3)", (n, version, body)).expect("inserted");
        }
        rows.commit().expect("committed");
        for entry in fs::read_dir(self.uploads()).expect("a directory").flatten() {
            if entry.path().is_file() {
                fs::remove_file(entry.path()).expect("removed");
            }
        }
        let mut noise = u64::from(version) + 1;
        let mut text = format!("{version}\n");
        for _ in 0..20_000 {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Writing to a String never fails.
            let _ = write!(text, "{noise:016x}");
        }
        for (name, text) in
            [("version.txt", format!("{version}\n")), ("deep/version.txt", format!("{version}\n")), ("noise.bin", text)]
        {
            fs::write(self.uploads().join(name), text).expect("written");
        }
        fs::write(self.uploads().join(format!("only-{version}.txt")), format!("{version}\n")).expect("written");
    }

    /// Every version that something in it has.
    fn versions(&self) -> Result<BTreeSet<u32>, String> {
        let in_words = |error: rusqlite::Error| format!("database: {error}");
        let connection = Connection::open(self.database()).map_err(in_words)?;
        connection.busy_timeout(Duration::from_secs(10)).map_err(in_words)?;
        let mut query = connection.prepare("SELECT DISTINCT version FROM items").map_err(in_words)?;
        let mut versions: BTreeSet<u32> = query
            .query_map([], |row| row.get(0))
            .and_then(Iterator::collect::<rusqlite::Result<_>>)
            .map_err(in_words)?;
        let mut directories = vec![self.uploads()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))? {
                let path = entry.map_err(|error| error.to_string())?.path();
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                let version = text.lines().next().and_then(|line| line.parse().ok());
                versions.insert(version.ok_or_else(|| format!("{}: no version", path.display()))?);
            }
        }
        Ok(versions)
    }

    /// The one version of everything.
    #[track_caller]
    pub fn version(&self) -> u32 {
        let versions = self.versions().expect("readable data");
        assert_eq!(versions.len(), 1, "the site is mixed: {versions:?}");
        versions.into_iter().next().expect("one")
    }
}

/// What a visitor got.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// One request through the gateway; `None` when that is not there.
pub fn visit(gateway: u16, host: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, gateway)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    write!(stream, "GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_lowercase(), body: body.to_owned() })
}

/// What all visits came to.
#[derive(Debug, Clone, Default)]
pub struct Visits {
    pub served: usize,
    /// 503 with Retry-After.
    pub asked_to_return: usize,
    /// Nobody answered, or not wholly.
    pub broken: usize,
    /// What no visitor may ever see.
    pub wrong: Vec<String>,
}

/// Visits the site again and again.
pub struct Visitor {
    stop: Arc<AtomicBool>,
    visits: Arc<Mutex<Visits>>,
    threads: Vec<JoinHandle<()>>,
}

impl Visitor {
    pub(super) fn start(gateway: u16) -> Self {
        let (stop, visits) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Visits::default())));
        let threads = (0..2).map(|_| {
            let (stop, visits) = (Arc::clone(&stop), Arc::clone(&visits));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    let answer = visit(gateway, HOST);
                    visits.lock().expect("no visitor panics").note(answer);
                    std::thread::sleep(Duration::from_millis(10));
                }
            })
        });
        let threads = threads.collect();
        Self { stop, visits, threads }
    }

    pub fn so_far(&self) -> Visits {
        self.visits.lock().expect("no visitor panics").clone()
    }

    /// Ends the visits; fails if a visitor ever saw what none may see.
    #[track_caller]
    pub fn leave(mut self) -> Visits {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.join().expect("no visitor panics");
        }
        let visits = self.so_far();
        assert!(visits.wrong.is_empty(), "visitors saw {:?}", visits.wrong);
        visits
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

impl Visits {
    fn note(&mut self, answer: Option<Answer>) {
        match answer {
            None => self.broken += 1,
            // A set of one: nothing old beside something new.
            Some(answer) if answer.status == 200 && !answer.body.contains(',') => self.served += 1,
            Some(answer) if answer.status == 503 && answer.head.contains("retry-after:") => self.asked_to_return += 1,
            Some(answer) => self.wrong.push(format!("{} {}", answer.status, answer.body)),
        }
    }
}
