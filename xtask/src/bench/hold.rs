//! How long the gate is closed, on the demo shop under steady load, writes among it; and the same with ten times the
//! data.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::Agent;

use super::server::{Server, sqlite};
use super::statistics::{median, quantile};
use super::{Bed, Figures};

const HOLDS: usize = 200;
/// Requests in a second, over so many connections.
const RATE: u32 = 200;
const CONNECTIONS: u32 = 8;
/// One request in so many writes.
const WRITES: u32 = 4;
const PRODUCTS: u32 = 48;
/// A visitor's patience.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn measure(bed: &Bed) -> Result<Figures> {
    let directory = bed.directory()?;
    let server = Server::start(&bed.server, directory.path(), &["--demo"])?;
    server.log_in("admin@demo.localhost")?;
    let now = run(&server).context("with the demo's data")?;
    grow(&server)?;
    let grown = run(&server).context("with ten times the data")?;
    Ok(vec![
        ("hold.p50_ms", median(&now.closed)),
        ("hold.p99_ms", quantile(&now.closed, 0.99)),
        ("hold.growth_10x", quantile(&grown.closed, 0.99) / quantile(&now.closed, 0.99)),
        ("hold.lost", (now.lost + grown.lost) as f64),
    ])
}

struct Outcome {
    /// From closing the gate to opening it, drain included, as each snapshot's proof says. Milliseconds.
    closed: Vec<f64>,
    /// Requests that were not answered well, and writes that were acknowledged and are not there.
    lost: u64,
}

fn run(server: &Server) -> Result<Outcome> {
    let shop = Shop { gateway: server.gateway.clone() };
    let before = shop.newest()?;
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let (closed, visits) = thread::scope(|scope| {
        let (shop, stopped) = (&shop, &stop);
        let visitors: Vec<_> =
            (0..CONNECTIONS).map(|number| scope.spawn(move || shop.visit(number, start, stopped))).collect();
        let closed = (0..HOLDS).map(|_| hold(server)).collect::<Result<Vec<_>>>();
        stop.store(true, Ordering::Relaxed);
        let visits: Vec<Visits> = visitors.into_iter().map(join).collect();
        (closed, visits)
    });
    let seconds = start.elapsed().as_secs_f64();
    let closed = closed?;
    let after = shop.newest()?;
    let sum = |count: fn(&Visits) -> u64| visits.iter().map(count).sum::<u64>();
    let (sent, failed, written) = (sum(|some| some.sent), sum(|some| some.failed), sum(|some| some.written));
    let longest = visits.iter().map(|some| some.longest).max().unwrap_or_default();
    eprintln!(
        "   {HOLDS} holds under {:.0} requests/s: median {:.1} ms, p99 {:.1} ms, longest {:.1} ms; {sent} requests, \
         {failed} failed, longest answer {:.0} ms",
        sent as f64 / seconds,
        median(&closed),
        quantile(&closed, 0.99),
        quantile(&closed, 1.0),
        longest.as_secs_f64() * 1000.0,
    );
    if sent == 0 || written == 0 {
        bail!("the demo shop answered no request");
    }
    // Every number was given once, so as many are there as were acknowledged.
    let missing = written.saturating_sub(after.saturating_sub(before));
    Ok(Outcome { closed, lost: failed + missing })
}

fn hold(server: &Server) -> Result<f64> {
    let done = server.snapshot(("demo", "main"))?;
    let backup = server.get(&format!("/projects/demo/environments/main/backups/{}", done.backup))?;
    let attributes = &backup["attributes"];
    if attributes["consistency"] != "consistent" {
        bail!("the snapshot is {}: {}", attributes["consistency"], attributes["proof"]["points"]);
    }
    let closed = attributes["proof"]["closed_us"].as_f64().context("a snapshot has its proof")?;
    Ok(closed / 1000.0)
}

fn join(visitor: ScopedJoinHandle<'_, Visits>) -> Visits {
    visitor.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

struct Shop {
    gateway: String,
}

#[derive(Default)]
struct Visits {
    sent: u64,
    failed: u64,
    written: u64,
    longest: Duration,
}

impl Shop {
    /// Sends its share of the requests, each at its time, late ones at once.
    fn visit(&self, number: u32, start: Instant, stop: &AtomicBool) -> Visits {
        let agent = agent();
        let every = Duration::from_secs(1) * CONNECTIONS / RATE;
        let mut due = start + every * number / CONNECTIONS;
        let mut visits = Visits::default();
        for turn in number.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due += every;
            let begin = Instant::now();
            let answered = self.request(&agent, turn);
            visits.longest = visits.longest.max(begin.elapsed());
            visits.sent += 1;
            match answered {
                Ok(Asked::Read) => {}
                Ok(Asked::Written) => visits.written += 1,
                Err(error) => {
                    visits.failed += 1;
                    eprintln!("   a request failed: {error:#}");
                }
            }
        }
        visits
    }

    fn request(&self, agent: &Agent, turn: u32) -> Result<Asked> {
        let product = turn / WRITES % PRODUCTS + 1;
        let path = match turn % WRITES {
            0 => {
                self.read(agent.post(format!("{}/load", self.gateway)).header("host", HOST).send_empty()?)?;
                return Ok(Asked::Written);
            }
            1 => "/".to_owned(),
            2 => format!("/products/{product}"),
            _ => format!("/pictures/product-{product:02}.jpg"),
        };
        self.read(agent.get(format!("{}{path}", self.gateway)).header("host", HOST).call()?)?;
        Ok(Asked::Read)
    }

    fn read(&self, mut answer: ureq::http::Response<ureq::Body>) -> Result<Vec<u8>> {
        let status = answer.status();
        let body = answer.body_mut().read_to_vec()?;
        if !status.is_success() {
            bail!("answered {status}");
        }
        Ok(body)
    }

    /// The newest number that was written, the same in the database and in the file.
    fn newest(&self) -> Result<u64> {
        let answer = agent().get(format!("{}/load", self.gateway)).header("host", HOST).call()?;
        let load: Value = serde_json::from_slice(&self.read(answer)?)?;
        if load["database"] != load["file"] {
            bail!("the shop's database and its files differ: {load}");
        }
        load["database"].as_u64().context("a number")
    }
}

enum Asked {
    Read,
    Written,
}

const HOST: &str = "main.demo.localhost";

fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into()
}

/// Nine more of each row that visitors leave and of each file.
fn grow(server: &Server) -> Result<()> {
    let shop = server.data.join("demo/main");
    let copies = "(SELECT 1 AS k UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION \
                  SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    let statements = format!(
        "BEGIN IMMEDIATE;
         INSERT INTO customers (id, name, email) SELECT id + k * 1000000, name, k || email FROM customers, {copies};
         INSERT INTO order_lines (order_id, product_id, quantity, price_cents)
           SELECT order_id + k * 1000000, product_id, quantity, price_cents FROM order_lines, {copies};
         INSERT INTO orders (id, customer_id, placed_at, total_cents)
           SELECT id + k * 1000000, customer_id + k * 1000000, placed_at, total_cents FROM orders, {copies};
         INSERT INTO reviews (id, product_id, author, stars, body, written_at)
           SELECT id + k * 1000000, product_id, author, stars, body, written_at FROM reviews, {copies};
         COMMIT;"
    );
    sqlite(&shop.join("shop.db"), &statements)?;
    let uploads = shop.join("uploads");
    let files = fs::read_dir(&uploads)?.collect::<Result<Vec<_>, _>>()?;
    for file in files.iter().filter(|file| file.path().extension().is_some_and(|kind| kind == "jpg")) {
        for copy in 1..=9 {
            fs::copy(file.path(), uploads.join(format!("{copy}-{}", file.file_name().to_string_lossy())))?;
        }
    }
    Ok(())
}
