//! An environment with a Solr core, a SQLite database and a mount, whose application writes one number to all three in each
//! request. Where `SOLR_HOME` names no Solr it says that it was not run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::process::{Counting, Installation, Site, Turns, serve};
use crate::support::solr::Server;

const CORE: &str = "orders";

struct Shop {
    server: Server,
    database: PathBuf,
    files: PathBuf,
}

impl Shop {
    fn new(server: Server, home: &Path) -> Self {
        let shop = Self { server, database: home.join("numbers.db"), files: home.join("files") };
        fs::create_dir_all(&shop.files).expect("a directory");
        shop.server.core(CORE);
        shop.open().execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE numbers (n)").expect("a new database");
        shop
    }

    fn open(&self) -> Connection {
        let open = Connection::open(&self.database).expect("the database");
        open.busy_timeout(Duration::from_secs(10)).expect("a time");
        open
    }

    fn newest(&self) -> u32 {
        let (newest, all): (u32, u32) = self
            .open()
            .query_row("SELECT coalesce(max(n), 0), count(*) FROM numbers", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("a number");
        assert_eq!(newest, all, "none is missing");
        newest
    }

    fn serve(self: &Arc<Self>) -> u16 {
        let shop = Arc::clone(self);
        serve(Turns::One, move || {
            // What the database says counts: it may have been restored since.
            let number = shop.newest() + 1;
            shop.open().execute("INSERT INTO numbers VALUES (?1)", [number]).map_err(|error| error.to_string())?;
            shop.server.add(CORE, number..number + 1);
            fs::write(shop.files.join("number"), number.to_string()).map_err(|error| error.to_string())?;
            Ok(number.to_string())
        })
    }

    fn declaration(&self, port: u16) -> String {
        let (url, path) = (self.server.url(), self.server.cores());
        format!(
            "[[project]]\nid = \"shop\"\n\n[[project.environment]]\nname = \"main\"\ntype = \"production\"\n\n\
             [[project.environment.service]]\nname = \"database\"\ntype = \"sqlite\"\npath = {:?}\n\n\
             [[project.environment.service]]\nname = \"search\"\ntype = \"solr\"\ncore = {CORE:?}\nurl = {url:?}\n\
             path = {path:?}\n\n\
             [[project.environment.mount]]\nname = \"uploads\"\npath = {:?}\n\n\
             [[project.environment.route]]\nhost = \"main.shop.test\"\nupstream = \"http://127.0.0.1:{port}\"\n",
            self.database, self.files
        )
    }
}

impl Counting for Shop {
    fn numbers(&self) -> (i64, i64) {
        let newest = self.newest();
        assert_eq!(self.server.found(CORE), u64::from(newest), "each has its document");
        let in_file = fs::read_to_string(self.files.join("number")).expect("a number").parse().expect("a number");
        (newest.into(), in_file)
    }

    fn left_beside(&self) -> usize {
        self.server.names().iter().filter(|name| *name != CORE).count()
    }
}

fn installed(server: Server) -> (Arc<Shop>, Installation) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let site = Site::new(&directory.path().join("site"));
    let shop = Arc::new(Shop::new(server, &site.home));
    let declaration = shop.declaration(shop.serve());
    let mut at = Installation::bare(directory, site);
    at.add_operator();
    let (applied, told) = at.apply(&declaration);
    assert!(applied, "{told}");
    (shop, at)
}

#[test]
fn an_environment_with_a_solr_core_is_snapshot_restored_and_undone() {
    let Some(server) = Server::start() else { return };
    let (shop, at) = installed(server);
    // Of its two services one is exchanged: the next worker takes it back, and does it again.
    at.restore_dies("restore: a service exchanged", 1, &*shop);

    let server = at.start();
    let kept = at.there_and_back("no secret of it", &*shop);

    let (_, manifest) = at.by_restic(&kept);
    assert!(manifest.contains("\"solr\"") && manifest.contains("\"search\""), "{manifest}");
    at.assert_repository_whole();
    server.terminate();
}
