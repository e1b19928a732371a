//! How long the gate is closed with PostgreSQL, MariaDB, Redis, SQLite and many files, under steady writing to all of them;
//! and the same with ten times the data. The suite's own application is what is visited (`tests/it/everything.rs`).

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::statistics::{median, quantile};
use super::{Bed, Figures};

/// Of each amount of data; `STILLPOINT_BENCH_HOLDS` says another number.
const HOLDS: u64 = 200;
/// Rows in each of the four, and files.
const SMALL: (u64, u64) = (20_000, 10_000);
const LARGE: (u64, u64) = (200_000, 100_000);

pub fn measure(bed: &Bed) -> Result<Figures> {
    let small = run(bed, SMALL).context("with a tenth of the data")?;
    let large = run(bed, LARGE)?;
    Ok(vec![
        ("hold5.p50_ms", median(&large.closed)),
        ("hold5.p99_ms", quantile(&large.closed, 0.99)),
        ("hold5.growth_10x", quantile(&large.closed, 0.99) / quantile(&small.closed, 0.99)),
        ("hold5.lost", (small.lost + large.lost) as f64),
        ("restore.wait_ms", large.swap),
    ])
}

struct Outcome {
    /// From closing the gate to opening it, as each snapshot's proof says. Milliseconds.
    closed: Vec<f64>,
    /// Requests that were not answered well.
    lost: u64,
    /// The same of a restore's swap.
    swap: f64,
}

fn run(bed: &Bed, (rows, files): (u64, u64)) -> Result<Outcome> {
    let holds = std::env::var("STILLPOINT_BENCH_HOLDS").ok().and_then(|text| text.parse().ok()).unwrap_or(HOLDS);
    let name = "everything::holds_of_everything";
    let mut test = bed.workspace.cargo(&["test", "--test", "it", "--", "--ignored", "--exact", name, "--nocapture"]);
    test.env("STILLPOINT_SERVER", &bed.server);
    test.env("HOLDS", holds.to_string()).env("ROWS", rows.to_string()).env("FILES", files.to_string());
    let output = test.stderr(Stdio::inherit()).output().context("cargo could not be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("the run did not succeed:\n{text}");
    }
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line.trim()).ok()).collect();
    let taken: Vec<&Value> = lines.iter().filter(|line| line["proof"].is_object()).collect();
    let inconsistent = taken.iter().filter(|line| line["consistency"] != "consistent").count();
    let milliseconds = |proof: &Value| proof["closed_us"].as_f64().map(|micros| micros / 1000.0);
    let closed = taken.iter().map(|line| milliseconds(&line["proof"])).collect::<Option<Vec<f64>>>();
    let closed = closed.filter(|closed| !closed.is_empty()).context("no hold was told")?;
    let end = lines.iter().find(|line| line["served"].is_u64()).context("the end was not told")?;
    let swap = lines.iter().find_map(|line| milliseconds(&line["swap"])).context("the swap was not told")?;
    eprintln!(
        "   {rows} rows in each, {files} files, {} holds: median {:.1} ms, p99 {:.1} ms, longest {:.1} ms; {inconsistent} \
         not consistent; {} requests, {} lost, longest answer {:.0} ms; swap {swap:.0} ms",
        closed.len(),
        median(&closed),
        quantile(&closed, 0.99),
        quantile(&closed, 1.0),
        end["served"],
        end["lost"],
        end["longest_us"].as_f64().unwrap_or_default() / 1000.0,
    );
    for (name, times) in phases(&taken) {
        eprintln!("      {name:<24} median {:>6.1} ms, p99 {:>6.1} ms", median(&times), quantile(&times, 0.99));
    }
    Ok(Outcome { closed, lost: end["lost"].as_u64().unwrap_or(u64::MAX), swap })
}

/// Milliseconds of each phase, in the order of the first hold.
fn phases(taken: &[&Value]) -> Vec<(String, Vec<f64>)> {
    let mut all: Vec<(String, Vec<f64>)> = Vec::new();
    for phase in taken.iter().filter_map(|line| line["proof"]["phases"].as_array()).flatten() {
        let (Some(name), Some(micros)) = (phase["name"].as_str(), phase["micros"].as_f64()) else { continue };
        match all.iter_mut().find(|(known, _)| known == name) {
            Some((_, times)) => times.push(micros / 1000.0),
            None => all.push((name.to_owned(), vec![micros / 1000.0])),
        }
    }
    all
}
