//! The driver on real servers. Each test has its own, since a service is a whole server.

mod faults;
mod losses;
mod position;
mod swap;
mod view;

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use self::server::Server;
use super::{Address, Redis};
use crate::domain::Secret;
use crate::domain::manifest::Facts;
use crate::drivers::{Aside, Beside, Error, Service};

/// Shared with the integration tests.
#[path = "../../../tests/it/support/redis.rs"]
mod server;

const WITHIN: Duration = Duration::from_secs(2);
const PASSWORD: &str = "it's \\ secret";

/// A server with its driver, whose account may just do what it needs, and a scratch directory.
struct Site {
    server: Server,
    service: Redis,
    scratch: TempDir,
}

impl Site {
    fn new() -> Self {
        Self::on(Server::start())
    }

    fn on(server: Server) -> Self {
        let mut admin = server.open("", "").expect("the server answers");
        let mut account = ::redis::cmd("ACL");
        account.arg("SETUSER").arg("app").arg("on").arg(format!(">{PASSWORD}"));
        account.exec(&mut admin).expect("an account");
        let mut rights = ::redis::cmd("ACL");
        for word in super::survey::grant("app").split_whitespace().skip(1) {
            rights.arg(word);
        }
        rights.exec(&mut admin).expect("its rights, as the documentation says");
        let service = driver(&server, "app", PASSWORD);
        Self { server, service, scratch: tempfile::tempdir().expect("a temporary directory") }
    }

    fn fill(&self, keys: u32) {
        self.server.ask::<()>(
            0,
            &format!("EVAL for\u{a0}i=1,{keys}\u{a0}do\u{a0}redis.call('SET','k'..i,i)\u{a0}end 0")
                .replace('\u{a0}', "\n"),
        );
    }

    /// A snapshot: bytes and facts.
    fn dump(&self) -> (Vec<u8>, Facts) {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        self.service.get_ready(scratch.path(), &|| false).expect("ready");
        let mut view = self.service.open_view(WITHIN).expect("a view");
        view.settle(scratch.path(), &|| false).expect("settled");
        let facts = view.facts().expect("facts");
        let mut bytes = Vec::new();
        let written = view.dump(scratch.path(), &mut bytes, &|| false).expect("a dump");
        assert_eq!(written, bytes.len() as u64);
        (bytes, facts)
    }

    fn load(&self, dump: &[u8]) -> Result<Beside, Error> {
        self.service.load_beside(self.scratch.path(), &mut Cursor::new(dump))
    }

    fn restore(&self, dump: &[u8], facts: &Facts) -> (Beside, Aside) {
        let beside = self.load(dump).expect("loaded");
        self.service.check(&beside, facts).expect("as recorded");
        let aside = self.service.prepare(&beside).expect("prepared");
        self.service.commit(&beside, &aside).expect("committed");
        (beside, aside)
    }

    /// Keys in all databases: nothing is left beside.
    fn databases(&self) -> String {
        let text: String = self.server.ask(0, "INFO keyspace");
        text.lines().filter_map(|line| line.split_once(",")).map(|(keys, _)| keys).collect::<Vec<_>>().join(" ")
    }
}

fn driver(server: &Server, user: &str, password: &str) -> Redis {
    let (host, user, password) = ("127.0.0.1".to_owned(), user.to_owned(), Secret::new(password));
    Redis::connect(Address { host, port: server.port, user, password }).expect("a complete address")
}

/// Servers that run in a directory, as the kernel tells it.
fn running_in(directory: &Path) -> usize {
    let directory = directory.canonicalize().expect("it is there");
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    let at = processes.filter_map(|process| std::fs::read_link(process.path().join("cwd")).ok());
    at.filter(|cwd| cwd.starts_with(&directory)).count()
}
