//! The driver on a real server, where `SOLR_HOME` names one; elsewhere each test says that it was not run.

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use self::server::Server;
use super::{Address, Solr};
use crate::domain::Secret;
use crate::domain::manifest::Facts;
use crate::drivers::{Aside, Beside, Error, Service};

/// Shared with the integration tests.
#[path = "../../../tests/it/support/solr.rs"]
mod server;

mod cloud;

const WITHIN: Duration = Duration::from_secs(5);

/// A core with its driver, and a scratch directory.
struct Site<'a> {
    server: &'a Server,
    core: &'static str,
    service: Solr,
    scratch: TempDir,
}

impl<'a> Site<'a> {
    fn new(server: &'a Server, core: &'static str) -> Self {
        server.core(core);
        let scratch = tempfile::tempdir().expect("a temporary directory");
        Self { server, core, service: driver(server, core), scratch }
    }

    fn dump(&self) -> (Vec<u8>, Facts) {
        dump(&self.service)
    }

    fn restore(&self, dump: &[u8], facts: &Facts) -> (Beside, Aside) {
        let beside = self.load(dump).expect("loaded");
        self.service.check(&beside, facts).expect("as recorded");
        let aside = self.service.prepare(&beside).expect("prepared");
        self.service.commit(&beside, &aside).expect("committed");
        (beside, aside)
    }

    fn load(&self, dump: &[u8]) -> Result<Beside, Error> {
        self.service.load_beside(self.scratch.path(), &mut Cursor::new(dump))
    }

    fn found(&self) -> u64 {
        self.server.found(self.core)
    }

    /// Cores and directories that are this test's.
    fn left(&self) -> (Vec<String>, usize) {
        let cores = self.server.names().into_iter().filter(|name| name.starts_with(self.core)).collect();
        let entries = std::fs::read_dir(self.server.cores()).expect("the directory of the cores").flatten();
        (cores, entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(self.core)).count())
    }

    fn kept(&self) -> usize {
        let listed = self.server.ok(&format!("admin/cores?action=LISTSNAPSHOTS&core={}", self.core));
        listed["snapshots"].as_object().expect("names").len()
    }
}

fn dump(service: &Solr) -> (Vec<u8>, Facts) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    service.get_ready(scratch.path(), &|| false).expect("ready");
    let mut view = service.open_view(WITHIN).expect("a view");
    read(&mut *view, scratch.path())
}

fn read(view: &mut dyn crate::drivers::View, scratch: &Path) -> (Vec<u8>, Facts) {
    view.settle(scratch, &|| false).expect("settled");
    let facts = view.facts().expect("facts");
    let mut bytes = Vec::new();
    let written = view.dump(scratch, &mut bytes, &|| false).expect("a dump");
    assert_eq!(written, bytes.len() as u64);
    (bytes, facts)
}

fn address(url: &str, core: &str, path: Option<&Path>) -> Address {
    let (url, core) = (url.to_owned(), core.to_owned());
    Address { url, user: String::new(), password: Secret::new(""), core, path: path.map(Path::to_owned) }
}

fn driver(server: &Server, core: &str) -> Solr {
    Solr::connect(address(&server.url(), core, Some(&server.cores()))).expect("a complete address")
}

fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "not within a minute");
        std::thread::yield_now();
    }
}

#[test]
fn what_cannot_be_meant_is_refused_at_once() {
    let connect = |url, core, path: Option<&str>| Solr::connect(address(url, core, path.map(Path::new)));
    connect("http://127.0.0.1:8983", "shop", None).expect("a usable address");
    assert!(matches!(connect("127.0.0.1:8983", "shop", None), Err(Error::SolrAddress { .. })));
    assert!(matches!(connect("http://127.0.0.1:8983", "../shop", None), Err(Error::SolrName { .. })));
    assert!(matches!(connect("http://127.0.0.1:8983", "shop", Some("data")), Err(Error::NotAbsolute { .. })));
}

#[test]
fn nobody_there_is_told_with_the_address() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let url = format!("http://127.0.0.1:{}", port.expect("a free port").port());
    let error = Solr::connect(address(&url, "shop", None)).expect("usable").test().expect_err("nobody");
    assert!(matches!(&error, Error::SolrUnreachable { at, .. } if at.starts_with(&url)), "{error}");
}

#[test]
fn a_core_comes_back_and_can_be_undone() {
    let Some(server) = server::shared() else { return };
    let site = Site::new(server, "round");
    server.add("round", 0..300);
    server.delete("round", "id:7");
    let tested = site.service.test().expect("usable");
    assert_eq!(tested.limits, Vec::<String>::new());
    // Three more that no commit holds: the view's own does.
    server.add_pending("round", 1_000..1_003);
    let (bytes, facts) = site.dump();
    assert_eq!(facts.rows.values().sum::<u64>(), 302, "counted from the index's own files: {:?}", facts.rows);
    until(|| site.kept() == 0);

    server.delete("round", "*:*");
    server.add("round", 5_000..5_005);
    let (beside, aside) = site.restore(&bytes, &facts);
    assert_eq!(site.found(), 302);
    let safety = site.service.aside_facts(&aside).expect("what was replaced");
    assert_eq!(safety.rows.values().sum::<u64>(), 5);
    let mut replaced = Vec::new();
    site.service.dump_aside(&aside, &mut replaced).expect("what was replaced");
    site.service.discard(&beside, Some(&aside)).expect("removed");
    assert_eq!(site.left(), (vec!["round".to_owned()], 1), "the old core and its directory are gone");
    assert_eq!((site.found(), site.kept()), (302, 0));

    // What is live now is never loaded over.
    assert!(matches!(site.load(&replaced), Err(Error::CannotRestore { .. })));
    assert_eq!(site.found(), 302);

    // Undo, and take documents again.
    let site = Site { scratch: tempfile::tempdir().expect("a temporary directory"), ..site };
    let (beside, aside) = site.restore(&replaced, &safety);
    assert_eq!(site.found(), 5);
    server.add("round", 9_000..9_001);
    assert_eq!(site.found(), 6);
    site.service.discard(&beside, Some(&aside)).expect("removed");
    let (_, facts) = site.dump();
    assert_eq!(facts.rows.values().sum::<u64>(), 6);
}

#[test]
fn a_view_stays_as_it_was_while_others_write_and_merge() {
    let Some(server) = server::shared() else { return };
    let site = Site::new(server, "still");
    server.add("still", 0..50);
    let scratch = tempfile::tempdir().expect("a temporary directory");
    site.service.get_ready(scratch.path(), &|| false).expect("ready");
    let mut view = site.service.open_view(WITHIN).expect("a view");
    let before = site.service.position().expect("a position");
    server.add("still", 100..200);
    server.delete("still", "id:1*");
    server.ok("still/update?optimize=true");
    assert_ne!(site.service.position().expect("a position"), before);
    let (bytes, facts) = read(&mut *view, scratch.path());
    drop(view);
    assert_eq!(facts.rows.values().sum::<u64>(), 50);
    until(|| site.kept() == 0);
    let beside = site.load(&bytes).expect("loaded");
    site.service.check(&beside, &facts).expect("as recorded");
    site.service.discard(&beside, None).expect("removed");
    assert_eq!(site.left(), (vec!["still".to_owned()], 1));
}

#[test]
fn a_position_moves_with_changes_and_not_with_commits() {
    let Some(server) = server::shared() else { return };
    let site = Site::new(server, "moves");
    let position = || site.service.position().expect("a position");
    let mut last = position();
    let mut moved = |is_moved: bool, what: &str| {
        let now = position();
        assert_eq!(now != last, is_moved, "{what}: {last} and {now}");
        last = now;
    };
    moved(false, "nothing");
    server.add_pending("moves", 0..1);
    moved(true, "a document");
    server.ok("moves/update?commit=true");
    moved(false, "a commit");
    server.ok("moves/update?optimize=true");
    moved(false, "a merge");
    server.add("moves", 0..1);
    moved(true, "the same document");
    server.delete("moves", "*:*");
    moved(true, "all deleted");
    server.found("moves");
    moved(false, "a search");
}

#[test]
fn a_swap_is_taken_back_and_each_step_may_be_repeated() {
    let Some(server) = server::shared() else { return };
    let site = Site::new(server, "twice");
    server.add("twice", 0..10);
    let (bytes, _) = site.dump();
    server.add("twice", 10..30);
    server.add_pending("twice", 30..31);
    let beside = site.load(&bytes).expect("loaded");
    assert_eq!(site.service.beside(site.scratch.path()).expect("named"), beside);
    assert_eq!(site.load(&bytes).expect("loaded again"), beside);
    site.service.prepare(&beside).expect("prepared");
    let aside = site.service.prepare(&beside).expect("prepared anew");
    site.service.roll_back(&beside, &aside).expect("nothing to do");
    for _ in 0..2 {
        site.service.commit(&beside, &aside).expect("committed");
        assert_eq!(site.found(), 10);
    }
    assert_eq!(site.service.prepare(&beside).expect("what was fixed"), aside);
    site.service.discard(&beside, None).expect("what is live stays");
    assert_eq!(site.found(), 10);
    for _ in 0..2 {
        site.service.roll_back(&beside, &aside).expect("taken back");
        assert_eq!(site.found(), 30, "the pending one is not searched yet");
    }
    assert!(matches!(site.service.aside_facts(&aside), Err(Error::NotPrepared { .. })));
    for _ in 0..2 {
        site.service.discard(&beside, Some(&aside)).expect("removed");
    }
    assert_eq!((site.left(), site.kept()), ((vec!["twice".to_owned()], 1), 0));
    assert!(matches!(site.service.prepare(&beside), Err(Error::NotPrepared { .. })));
    assert_eq!(site.dump().1.rows.values().sum::<u64>(), 31, "the pending one was kept");
}

#[test]
fn names_outlast_a_power_cut() {
    let Some(mut server) = Server::start() else { return };
    server.core("shop");
    server.add("shop", 0..10);
    let service = driver(&server, "shop");
    let (bytes, facts) = dump(&service);
    server.add("shop", 10..30);
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let beside = service.load_beside(scratch.path(), &mut Cursor::new(&bytes)).expect("loaded");
    service.check(&beside, &facts).expect("as recorded");
    let aside = service.prepare(&beside).expect("prepared");
    service.commit(&beside, &aside).expect("committed");
    server.kill();
    assert!(matches!(service.roll_back(&beside, &aside), Err(Error::SolrUnreachable { .. })));
    server.again();
    assert_eq!(server.found("shop"), 10);
    service.roll_back(&beside, &aside).expect("taken back");
    server.kill();
    server.again();
    assert_eq!(server.found("shop"), 30);
    service.commit(&beside, &aside).expect("committed");
    assert_eq!(service.aside_facts(&aside).expect("still there").rows.values().sum::<u64>(), 30);
    service.discard(&beside, Some(&aside)).expect("removed");
    assert_eq!((server.names(), server.found("shop")), (vec!["shop".to_owned()], 10));
}

/// As docs/recovery.md says.
#[test]
fn a_dump_goes_back_with_tar_and_solr_alone() {
    let Some(server) = server::shared() else { return };
    let site = Site::new(server, "hand");
    server.add("hand", 0..40);
    let (bytes, _) = site.dump();
    server.delete("hand", "*:*");
    let directory = server.cores().join("hand_back");
    std::fs::create_dir(&directory).expect("a directory");
    let archive = site.scratch.path().join("hand.tar");
    std::fs::write(&archive, bytes).expect("written");
    let unpacked = std::process::Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&directory).status();
    assert!(unpacked.expect("tar is there").success());
    server.ok("admin/cores?action=CREATE&name=hand_back&instanceDir=hand_back");
    assert_eq!((server.found("hand_back"), site.found()), (40, 0));
    server.ok("admin/cores?action=SWAP&core=hand&other=hand_back");
    assert_eq!(site.found(), 40);
}

#[test]
fn a_new_core_is_made_empty_filled_and_taken_away() {
    let Some(server) = server::shared() else { return };
    let site = Site::new(server, "parent");
    server.add("parent", 0..20);
    let (bytes, facts) = site.dump();
    let child = driver(server, "child");
    assert!(matches!(child.test(), Err(Error::SolrNoIndex { .. })));
    child.remove().expect("nothing to do");
    child.provision().expect("made");
    assert!(matches!(child.provision(), Err(Error::DatabaseExists { .. })));
    assert_eq!(child.contents(WITHIN).expect("empty").rows.values().sum::<u64>(), 0);
    let beside = child.load_beside(site.scratch.path(), &mut Cursor::new(&bytes)).expect("loaded");
    child.check(&beside, &facts).expect("as recorded");
    let aside = child.prepare(&beside).expect("prepared");
    child.commit(&beside, &aside).expect("committed");
    child.discard(&beside, Some(&aside)).expect("removed");
    assert_eq!((server.found("child"), server.found("parent")), (20, 20));
    child.remove().expect("taken away");
    assert!(!server.names().contains(&"child".to_owned()));
    let entries = std::fs::read_dir(server.cores()).expect("the cores").flatten();
    assert!(!entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("child")));
}

#[test]
fn a_collection_is_read_from_the_leaders_of_its_shards() {
    let Some(server) = server::shared_cloud() else { return };
    server.ok("admin/collections?action=CREATE&name=shop_v1&numShards=2&maxShardsPerNode=2");
    server.ok("admin/collections?action=CREATEALIAS&name=shop&collections=shop_v1");
    server.add("shop", 0..100);
    server.add_pending("shop", 100..110);
    let service = driver(server, "shop");
    let before = service.position().expect("a position");
    let (bytes, facts) = dump(&service);
    assert_eq!(service.position().expect("a position"), before, "commits are no changes");
    assert_eq!(facts.rows.keys().map(String::as_str).collect::<Vec<_>>(), ["shard1", "shard2"]);
    assert_eq!(facts.rows.values().sum::<u64>(), 110, "{:?}", facts.rows);
    server.add_pending("shop", 200..201);
    assert_ne!(service.position().expect("a position"), before);

    let unpacked = tempfile::tempdir().expect("a temporary directory");
    let contents = super::archive::unpack(unpacked.path(), &mut bytes.as_slice()).expect("whole, by every checksum");
    assert_eq!(contents.facts(), facts);
    for there in ["conf/solrconfig.xml", "shards/shard1/data/index", "shards/shard2/data/index"] {
        assert!(unpacked.path().join(there).exists(), "{there}");
    }
}

#[test]
fn what_stands_in_the_way_of_a_restore_is_found_before() {
    let Some(server) = server::shared() else { return };
    let site = Site::new(server, "refuses");
    server.add("refuses", 0..3);
    let (bytes, facts) = site.dump();
    let without = Solr::connect(address(&server.url(), "refuses", None)).expect("an address");
    let limits = without.test().expect("snapshots work").limits;
    assert!(limits.len() == 1 && limits[0].contains("`path`"), "{limits:?}");
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let wrong = Solr::connect(address(&server.url(), "refuses", Some(elsewhere.path()))).expect("an address");
    assert!(wrong.test().expect("snapshots work").limits[0].contains("declare the directory of the server's cores"));
    for service in [&without, &wrong] {
        let refused = service.load_beside(site.scratch.path(), &mut Cursor::new(&bytes));
        assert!(matches!(refused, Err(Error::CannotRestore { .. })), "{refused:?}");
    }
    for broken in [&bytes[..bytes.len() / 2], b"no dump".as_slice()] {
        site.load(broken).expect_err("not whole");
        assert_eq!(site.left(), (vec!["refuses".to_owned()], 1), "nothing is left of it");
    }
    let beside = site.load(&bytes).expect("loaded");
    let mut other = facts.clone();
    other.rows.values_mut().for_each(|rows| *rows += 1);
    assert!(matches!(site.service.check(&beside, &other), Err(Error::Mismatch { .. })));
    let other = Facts { schema: "0".to_owned(), ..facts };
    assert!(matches!(site.service.check(&beside, &other), Err(Error::Mismatch { .. })));
    site.service.discard(&beside, None).expect("removed");
    assert_eq!(site.found(), 3);
}
