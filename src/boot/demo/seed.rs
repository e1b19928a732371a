//! The shop's first data: made once, always the same.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;
use rusqlite::{Connection, params};

use super::shop::SCHEMA;
use super::{Error, catalog, picture};

/// How much an environment begins with.
#[derive(Clone, Copy)]
pub struct Stock {
    pub name: &'static str,
    products: usize,
    customers: i64,
    orders: i64,
    reviews: i64,
}

impl Stock {
    /// Staging is a copy of main from some weeks ago; develop has enough to work with.
    pub const ALL: [Self; 3] = [
        Self { name: "main", products: 48, customers: 200, orders: 3_000, reviews: 420 },
        Self { name: "staging", products: 42, customers: 160, orders: 2_200, reviews: 300 },
        Self { name: "develop", products: 12, customers: 20, orders: 60, reviews: 24 },
    ];
}

/// 2026-01-05T08:00:00Z, the first order, in microseconds; one follows every 65 minutes.
const OPENING: i64 = 1_767_600_000_000_000;
const BETWEEN_ORDERS: i64 = 65 * 60 * 1_000_000;

/// Makes the folder with all it holds, unless it is there.
///
/// Made aside and put in place whole, so that a start that was cut off leaves nothing half made.
pub fn create(folder: &Path, stock: &Stock) -> Result<(), Error> {
    let io_error = |source: io::Error| Error::Io { path: folder.to_path_buf(), source };
    if folder.exists() {
        return Ok(());
    }
    let aside = folder.with_extension("new");
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(error)),
        _ => fs::create_dir_all(aside.join("uploads")).map_err(io_error)?,
    }
    let products: Vec<_> = catalog::products().into_iter().take(stock.products).collect();
    for (product, picture) in products.iter().zip(PICTURES.iter()) {
        let file = aside.join("uploads").join(first_picture(product.id));
        fs::write(file, picture.as_deref().map_err(|reason| Error::Picture(reason.clone()))?).map_err(io_error)?;
    }
    let mut database = Connection::open(aside.join("shop.db"))?;
    database.pragma_update(None, "journal_mode", "wal")?;
    database.execute_batch(SCHEMA)?;
    fill(&mut database, stock, &products)?;
    database.close().map_err(|(_, error)| error)?;
    fs::rename(&aside, folder).map_err(io_error)
}

/// Every product's picture, drawn once a process, and only in one that makes the data.
static PICTURES: LazyLock<Vec<Result<Vec<u8>, Arc<image::ImageError>>>> = LazyLock::new(|| {
    let draw = |product: &catalog::Product| picture::draw(product.shape, product.glaze).map_err(Arc::new);
    catalog::products().par_iter().map(draw).collect()
});

fn first_picture(product: i64) -> String {
    format!("product-{product:02}.jpg")
}

fn fill(database: &mut Connection, stock: &Stock, products: &[catalog::Product]) -> Result<(), Error> {
    // The same in every environment: what they share is equal, and a repository stores it once.
    let mut chance = StdRng::seed_from_u64(4180);
    let all = database.transaction()?;
    for product in products {
        all.execute(
            "INSERT INTO products (id, name, about, price_cents) VALUES ($1, $2, $3, $4)",
            params![product.id, product.name, product.about, product.price_cents],
        )?;
        all.execute(
            "INSERT INTO pictures (product_id, file, added_at) VALUES ($1, $2, $3)",
            params![product.id, first_picture(product.id), OPENING],
        )?;
    }
    for id in 1..=stock.customers {
        let name = full_name(&mut chance);
        let email = format!("{}.{id}@example.org", name.to_lowercase().replace(' ', "."));
        all.execute("INSERT INTO customers (id, name, email) VALUES ($1, $2, $3)", params![id, name, email])?;
    }
    let mut order =
        all.prepare("INSERT INTO orders (id, customer_id, placed_at, total_cents) VALUES ($1, $2, $3, $4)")?;
    let mut line =
        all.prepare("INSERT INTO order_lines (order_id, product_id, quantity, price_cents) VALUES ($1, $2, $3, $4)")?;
    for id in 1..=stock.orders {
        let mut total = 0;
        let placed_at = OPENING + id * BETWEEN_ORDERS + chance.random_range(0..BETWEEN_ORDERS);
        order.execute(params![id, chance.random_range(1..=stock.customers), placed_at, 0])?;
        for _ in 0..chance.random_range(1..=3) {
            let Some(product) = products.choose(&mut chance) else { continue };
            let quantity = chance.random_range(1..=4);
            line.execute(params![id, product.id, quantity, product.price_cents])?;
            total += quantity * product.price_cents;
        }
        all.execute("UPDATE orders SET total_cents = $2 WHERE id = $1", params![id, total])?;
    }
    for id in 1..=stock.reviews {
        let Some(product) = products.choose(&mut chance) else { continue };
        let (stars, body) = PRAISE[chance.random_range(0..PRAISE.len())];
        let written_at = OPENING + id * BETWEEN_ORDERS * 7;
        all.execute(
            "INSERT INTO reviews (product_id, author, stars, body, written_at) VALUES ($1, $2, $3, $4, $5)",
            params![product.id, full_name(&mut chance), stars, body, written_at],
        )?;
    }
    drop((order, line));
    Ok(all.commit()?)
}

fn full_name(chance: &mut StdRng) -> String {
    let first = FIRST_NAMES[chance.random_range(0..FIRST_NAMES.len())];
    let last = LAST_NAMES[chance.random_range(0..LAST_NAMES.len())];
    format!("{first} {last}")
}

const FIRST_NAMES: [&str; 20] = [
    "Ada", "Bruno", "Clara", "Dimitri", "Elif", "Farah", "Goran", "Hanna", "Ines", "Jonas", "Kofi", "Lena", "Mateo",
    "Noor", "Oskar", "Priya", "Quentin", "Rosa", "Sami", "Tove",
];

const LAST_NAMES: [&str; 20] = [
    "Albers",
    "Baptiste",
    "Costa",
    "Dahl",
    "Ekström",
    "Fofana",
    "Grieg",
    "Haddad",
    "Ito",
    "Jansen",
    "Keller",
    "Lindqvist",
    "Moreau",
    "Novak",
    "Okafor",
    "Petrov",
    "Quist",
    "Rossi",
    "Sato",
    "Tamm",
];

const PRAISE: [(i64, &str); 14] = [
    (5, "Lighter than it looks, and it keeps the tea warm."),
    (5, "Bought one, came back for five."),
    (4, "The glaze is darker than in the picture. I like it better."),
    (5, "My grandmother had one like it. Now so do I."),
    (3, "Lovely, but mine wobbles a little."),
    (4, "Arrived in straw, not a crack anywhere."),
    (5, "It makes a plain table look set."),
    (2, "Smaller than I thought. Do read the measures."),
    (5, "You can feel the potter's fingers on the inside."),
    (4, "Survived the dishwasher for a year now."),
    (5, "A present for a friend, who won't let anybody else use it."),
    (3, "Took three weeks. Worth the wait."),
    (4, "A calm colour. It goes with all the rest."),
    (5, "Exactly what I was looking for."),
];
