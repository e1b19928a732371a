//! The shop's state: one SQLite database and one folder of pictures, opened anew for every request.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::Error;
use crate::domain::Timestamp;

pub const SCHEMA: &str = "
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, about TEXT NOT NULL, price_cents INTEGER NOT NULL);
CREATE TABLE pictures (
  id INTEGER PRIMARY KEY, product_id INTEGER NOT NULL, file TEXT NOT NULL UNIQUE, added_at INTEGER NOT NULL
);
CREATE INDEX pictures_by_product ON pictures (product_id);
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE);
CREATE TABLE orders (
  id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL, placed_at INTEGER NOT NULL, total_cents INTEGER NOT NULL
);
CREATE TABLE order_lines (
  order_id INTEGER NOT NULL, product_id INTEGER NOT NULL, quantity INTEGER NOT NULL, price_cents INTEGER NOT NULL
);
CREATE INDEX order_lines_by_order ON order_lines (order_id);
CREATE TABLE reviews (
  id INTEGER PRIMARY KEY, product_id INTEGER NOT NULL, author TEXT NOT NULL, stars INTEGER NOT NULL,
  body TEXT NOT NULL, written_at INTEGER NOT NULL
);
CREATE INDEX reviews_by_product ON reviews (product_id);
CREATE TABLE load (number INTEGER PRIMARY KEY);
";

/// The file beside the pictures that `/load` appends its numbers to, a line each.
const LOAD_FILE: &str = "load.txt";

#[derive(Debug)]
pub struct Shop {
    pub name: String,
    pub database: PathBuf,
    pub uploads: PathBuf,
    /// One writer at a time: they would else poll SQLite's lock, and wait longer than each other's work takes.
    writer: Mutex<()>,
    /// Open and idle. The last connection that closes folds the log (WAL) into the database, which takes longer than
    /// the request it belonged to.
    _idle: Mutex<Connection>,
}

#[derive(Debug)]
pub struct Product {
    pub id: i64,
    pub name: String,
    pub about: String,
    pub price_cents: i64,
    /// Its newest picture's file name.
    pub picture: Option<String>,
}

/// All that a product's page shows, pictures and reviews newest first.
#[derive(Debug)]
pub struct Shelf {
    pub product: Product,
    /// File names.
    pub pictures: Vec<String>,
    pub reviews: Vec<Review>,
    pub counts: Counts,
}

#[derive(Debug)]
pub struct Review {
    pub author: String,
    pub stars: i64,
    pub body: String,
    pub written_at: Timestamp,
}

/// How much there is, for every page's foot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub orders: i64,
    pub reviews: i64,
    pub pictures: i64,
}

/// The newest number that `/load` wrote, in both places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Load {
    pub database: i64,
    pub file: i64,
}

impl Shop {
    /// The database and the folder `uploads` are in `folder`.
    pub fn open(name: &str, folder: &Path, database: &str) -> Result<Self, Error> {
        let database = folder.join(database);
        let idle = connect(&database)?;
        Ok(Self {
            name: name.to_owned(),
            uploads: folder.join("uploads"),
            writer: Mutex::new(()),
            _idle: Mutex::new(idle),
            database,
        })
    }

    /// A connection of this request's own: nothing of it is left when the request ends.
    fn read(&self) -> Result<Connection, Error> {
        connect(&self.database)
    }

    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let _turn: MutexGuard<'_, ()> = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = connect(&self.database)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    pub fn counts(&self) -> Result<Counts, Error> {
        counts(&self.read()?)
    }

    pub fn front(&self) -> Result<(Vec<Product>, Counts), Error> {
        let connection = self.read()?;
        let mut query = connection.prepare(&format!("{PRODUCTS} ORDER BY id"))?;
        let products = query.query_map([], product)?.collect::<Result<_, _>>()?;
        Ok((products, counts(&connection)?))
    }

    pub fn shelf(&self, id: i64) -> Result<Option<Shelf>, Error> {
        let connection = self.read()?;
        let product = connection.query_row(&format!("{PRODUCTS} WHERE id = $1"), [id], product).optional()?;
        let Some(product) = product else { return Ok(None) };
        let mut pictures = connection.prepare("SELECT file FROM pictures WHERE product_id = $1 ORDER BY id DESC")?;
        let pictures = pictures.query_map([id], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut reviews = connection.prepare(
            "SELECT author, stars, body, written_at FROM reviews WHERE product_id = $1 ORDER BY written_at DESC, id DESC",
        )?;
        let review = |row: &Row<'_>| {
            let written_at = Timestamp::from_micros(row.get(3)?);
            Ok(Review { author: row.get(0)?, stars: row.get(1)?, body: row.get(2)?, written_at })
        };
        let reviews = reviews.query_map([id], review)?.collect::<Result<_, _>>()?;
        Ok(Some(Shelf { product, pictures, reviews, counts: counts(&connection)? }))
    }

    pub fn review(&self, product: i64, author: &str, stars: i64, body: &str) -> Result<(), Error> {
        self.write(|all| {
            all.execute(
                "INSERT INTO reviews (product_id, author, stars, body, written_at) VALUES ($1, $2, $3, $4, $5)",
                params![product, author, stars, body, Timestamp::now().as_micros()],
            )?;
            Ok(())
        })
    }

    /// Orders one piece for the house's own account; the order's number, or none if the product is gone.
    pub fn order(&self, product: i64) -> Result<Option<i64>, Error> {
        self.write(|all| {
            let price = all.query_row("SELECT price_cents FROM products WHERE id = $1", [product], |row| row.get(0));
            let Some(price) = price.optional()? else { return Ok(None) };
            let price: i64 = price;
            all.execute(
                "INSERT INTO customers (name, email) VALUES ('Walk-in', 'walk-in@example.org') ON CONFLICT DO NOTHING",
                [],
            )?;
            all.execute(
                "INSERT INTO orders (customer_id, placed_at, total_cents)
                 SELECT id, $1, $2 FROM customers WHERE email = 'walk-in@example.org'",
                params![Timestamp::now().as_micros(), price],
            )?;
            let order = all.last_insert_rowid();
            all.execute(
                "INSERT INTO order_lines (order_id, product_id, quantity, price_cents) VALUES ($1, $2, 1, $3)",
                params![order, product, price],
            )?;
            Ok(Some(order))
        })
    }

    /// Adds a picture: the file first, so that no row ever names a file that isn't there.
    pub fn add_picture(&self, product: i64, jpeg: &[u8]) -> Result<(), Error> {
        self.write(|all| {
            let added_at = Timestamp::now().as_micros();
            let file = format!("product-{product:02}-{added_at}.jpg");
            let path = self.uploads.join(&file);
            fs::write(&path, jpeg).map_err(|source| Error::Io { path, source })?;
            all.execute(
                "INSERT INTO pictures (product_id, file, added_at) VALUES ($1, $2, $3)",
                params![product, file, added_at],
            )?;
            Ok(())
        })
    }

    /// A picture's content, if the folder has it; the caller has checked that the name is a plain one.
    pub fn picture(&self, file: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.uploads.join(file);
        match fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    /// Deletes every product with its reviews and pictures. The orders stay: they have been paid.
    pub fn empty(&self) -> Result<(), Error> {
        let files: Vec<String> = self.write(|all| {
            let mut pictures = all.prepare("SELECT file FROM pictures")?;
            let files = pictures.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            all.execute_batch("DELETE FROM pictures; DELETE FROM reviews; DELETE FROM products;")?;
            Ok(files)
        })?;
        for path in files.iter().map(|file| self.uploads.join(file)) {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(Error::Io { path, source }),
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes the next number to the database and to the file. Between two requests both hold the same.
    pub fn load(&self) -> Result<Load, Error> {
        self.write(|all| {
            let number: i64 = all.query_row("SELECT coalesce(max(number), 0) + 1 FROM load", [], |row| row.get(0))?;
            all.execute("INSERT INTO load (number) VALUES ($1)", [number])?;
            let path = self.uploads.join(LOAD_FILE);
            let append = || {
                OpenOptions::new().create(true).append(true).open(&path)?.write_all(format!("{number}\n").as_bytes())
            };
            append().map_err(|source| Error::Io { path: path.clone(), source })?;
            Ok(Load { database: number, file: number })
        })
    }

    pub fn newest_load(&self) -> Result<Load, Error> {
        let database = self.read()?.query_row("SELECT coalesce(max(number), 0) FROM load", [], |row| row.get(0))?;
        let path = self.uploads.join(LOAD_FILE);
        let file = match fs::read_to_string(&path) {
            Ok(text) => text.lines().next_back().and_then(|line| line.parse().ok()).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(source) => return Err(Error::Io { path, source }),
        };
        Ok(Load { database, file })
    }
}

fn counts(connection: &Connection) -> Result<Counts, Error> {
    let sql = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM reviews), (SELECT count(*) FROM pictures)";
    let counts = |row: &Row<'_>| Ok(Counts { orders: row.get(0)?, reviews: row.get(1)?, pictures: row.get(2)? });
    Ok(connection.query_row(sql, [], counts)?)
}

const PRODUCTS: &str = "SELECT id, name, about, price_cents,
  (SELECT file FROM pictures WHERE product_id = products.id ORDER BY pictures.id DESC LIMIT 1) FROM products";

fn product(row: &Row<'_>) -> rusqlite::Result<Product> {
    Ok(Product {
        id: row.get(0)?,
        name: row.get(1)?,
        about: row.get(2)?,
        price_cents: row.get(3)?,
        picture: row.get(4)?,
    })
}

/// Waits out a restore that is writing the database; in WAL, everything else never keeps a reader waiting.
fn connect(database: &Path) -> Result<Connection, Error> {
    let connection = Connection::open(database)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    // `query_row` reads the page that says WAL, so that an idle connection counts as one of the log's users.
    connection.query_row("PRAGMA journal_mode = wal", [], |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "normal")?;
    Ok(connection)
}
