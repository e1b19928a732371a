//! Our dumps and loads of PostgreSQL and MariaDB beside those of the databases' own tools, over the same data in the same
//! run. The suite's own environment is what is dumped and loaded (`tests/it/dumps.rs`).

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::statistics::{listed, median};
use super::{Bed, Figures};

/// Ours and theirs each, in turns.
const RUNS: u64 = 5;
/// Of 200 bytes and a number, in each database; `STILLPOINT_BENCH_ROWS` says another number.
const ROWS: u64 = 1_000_000;

/// Each figure is the worse one of the two databases.
pub fn measure(bed: &Bed) -> Result<Figures> {
    let rows = std::env::var("STILLPOINT_BENCH_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROWS);
    let name = "dumps::dumps_and_loads_beside_the_databases_own_tools";
    let mut test = bed.workspace.cargo(&["test", "--test", "it", "--", "--ignored", "--exact", name, "--nocapture"]);
    test.env("STILLPOINT_SERVER", &bed.server);
    test.env("STILLPOINT_CLI", bed.server.with_file_name("stillpoint"));
    test.env("RUNS", RUNS.to_string()).env("ROWS", rows.to_string());
    let output = test.stderr(Stdio::inherit()).output().context("cargo could not be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("the run did not succeed:\n{text}");
    }
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line.trim()).ok()).collect();
    let worst = |what: &str| -> Result<f64> {
        let postgres = ratio(&lines, what, "records", "PostgreSQL")?;
        Ok(postgres.max(ratio(&lines, what, "orders", "MariaDB")?))
    };
    Ok(vec![("dump.vs_native", worst("dump")?), ("load.vs_native", worst("load")?)])
}

fn ratio(lines: &[Value], what: &str, service: &str, database: &str) -> Result<f64> {
    let of = |whose: &str| -> Vec<f64> {
        let mine = |line: &&Value| line["what"] == what && line["service"] == service && line["whose"] == whose;
        lines.iter().filter(mine).filter_map(|line| line["seconds"].as_f64()).collect()
    };
    let (ours, theirs) = (of("ours"), of("theirs"));
    if ours.is_empty() || ours.len() != theirs.len() {
        bail!("the runs of a {what} of {database} were not told");
    }
    let ratio = median(&ours) / median(&theirs);
    eprintln!("   {what} of {database}: {ratio:.2}; ours {} s, theirs {} s", listed(&ours), listed(&theirs));
    Ok(ratio)
}
