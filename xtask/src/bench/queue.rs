//! `queue.…`: how soon a job begins, and how many can be taken, on SQLite and PostgreSQL (`benches/queue.rs`).

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Bed, Figures};

pub const FIGURES: [&str; 4] =
    ["queue.start_ms", "queue.start_ms_postgresql", "queue.claims_per_s", "queue.claims_per_s_postgresql"];

pub fn measure(bed: &Bed) -> Result<Figures> {
    let directory = bed.directory()?;
    let mut bench = bed.workspace.cargo(&["bench", "--bench", "queue"]);
    bench.stderr(Stdio::inherit());
    // The disk of the build: where databases are kept, not where temporary files are.
    bench.env("STILLPOINT_BENCH_DIRECTORY", directory.path());
    let output = bench.output().context("cargo could not be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("the run did not succeed:\n{text}");
    }
    let told =
        text.lines().find_map(|line| serde_json::from_str::<Value>(line.trim()).ok()).context("nothing was told")?;
    let read = |name| Ok((name, told[name].as_f64().with_context(|| format!("{name} was not told"))?));
    FIGURES.into_iter().map(read).collect()
}
