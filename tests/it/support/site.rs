//! A site's data: a SQLite database in WAL mode and a directory of files.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub struct Site {
    pub database: PathBuf,
    pub uploads: PathBuf,
}

impl Site {
    pub fn new(directory: &Path) -> Self {
        let uploads = directory.join("uploads");
        std::fs::create_dir_all(uploads.join("pictures")).expect("a fresh directory");
        std::fs::write(uploads.join("pictures/chair.jpg"), b"a chair").expect("a writable directory");
        let site = Self { database: directory.join("shop.db"), uploads };
        let open = site.open();
        open.execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT NOT NULL);
             INSERT INTO orders (what) VALUES ('chair'), ('table'), ('lamp');",
        )
        .expect("a new database");
        site
    }

    pub fn open(&self) -> Connection {
        Connection::open(&self.database).expect("a database")
    }

    /// Rows of `orders`, in order.
    pub fn orders(&self) -> Vec<String> {
        let open = self.open();
        let mut query = open.prepare("SELECT what FROM orders ORDER BY id").expect("the table is there");
        let rows = query.query_map([], |row| row.get(0)).expect("readable rows");
        rows.collect::<Result<_, _>>().expect("texts")
    }

    pub fn order(&self, what: &str) {
        self.open().execute("INSERT INTO orders (what) VALUES (?1)", [what]).expect("a writable database");
    }

    pub fn declaration(&self, project: &str, name: &str, kind: &str, plan: &str) -> String {
        format!("[[project]]\nid = {project:?}\ntitle = \"Shop\"\nplan = {plan:?}\n\n{}", self.environment(name, kind))
    }

    pub fn environment(&self, name: &str, kind: &str) -> String {
        format!(
            "[[project.environment]]\nname = {name:?}\ntype = {kind:?}\n\n\
             [[project.environment.service]]\nname = \"database\"\ntype = \"sqlite\"\npath = {:?}\n\n\
             [[project.environment.mount]]\nname = \"uploads\"\npath = {:?}\n\n",
            self.database, self.uploads
        )
    }
}
