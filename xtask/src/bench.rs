//! `cargo xtask bench [NAME…] [--json FILE]`: figures, as one flat object.
//!
//! Everything is measured at the release build, as whole processes that are driven as people drive them: over HTTP and
//! by the programs' own commands. `docs/figures.md` says how each figure is measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::build::{self, Profile};
use crate::bundle;
use crate::workspace::Workspace;

mod dump;
mod hold;
mod hold5;
mod idle;
mod page;
mod queue;
mod scheduler;
mod server;
mod statistics;
mod tree;

#[derive(Args)]
pub struct Arguments {
    /// Which figures: whole names, or the part before the dot; all when none is given
    names: Vec<String>,
    /// Also write the figures to this file, as one flat JSON object
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measure this `stillpointd` instead of building one: to compare two builds
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
}

/// A figure's name and its value; the unit ends the name (`_kb`, `_ms`, `_mb`), ratios and counts have none.
type Figures = Vec<(&'static str, f64)>;

/// One measurement, which may give several figures.
struct Bench {
    figures: &'static [&'static str],
    measure: fn(&Bed) -> Result<Figures>,
}

const BENCHES: &[Bench] = &[
    Bench { figures: &["web.first_load_kb"], measure: first_load },
    Bench { figures: &["idle_mb"], measure: idle::measure },
    Bench { figures: &["web.environment_page_ms"], measure: page::measure },
    Bench {
        figures: &[
            "snapshot.first_vs_restic",
            "snapshot.unchanged_vs_restic",
            "snapshot.changed_vs_restic",
            "restore.vs_restic",
            "snapshot.peak_mb",
            "restore.peak_mb",
        ],
        measure: tree::measure,
    },
    Bench { figures: &["hold.p50_ms", "hold.p99_ms", "hold.growth_10x", "hold.lost"], measure: hold::measure },
    Bench {
        figures: &["hold5.p50_ms", "hold5.p99_ms", "hold5.growth_10x", "hold5.lost", "restore.wait_ms"],
        measure: hold5::measure,
    },
    Bench { figures: &["dump.vs_native", "load.vs_native"], measure: dump::measure },
    Bench { figures: &queue::FIGURES, measure: queue::measure },
    Bench { figures: &["scheduler.core_percent_10k"], measure: scheduler::measure },
];

/// What measurements work with.
struct Bed<'a> {
    workspace: &'a Workspace,
    /// `stillpointd`.
    server: PathBuf,
}

impl Bed<'_> {
    /// A fresh directory on the disk that the build lies on; a directory for temporary files may be kept in memory.
    fn directory(&self) -> Result<tempfile::TempDir> {
        let place = self.workspace.target.join("bench");
        fs::create_dir_all(&place)?;
        Ok(tempfile::tempdir_in(place)?)
    }
}

pub fn bench(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let known = || BENCHES.iter().flat_map(|bench| bench.figures);
    for name in &arguments.names {
        if !known().any(|figure| matches(figure, name)) {
            let names: Vec<&str> = known().copied().collect();
            bail!("there is no figure `{name}`; there are: {}", names.join(", "));
        }
    }
    let asked = |figure: &str| arguments.names.is_empty() || arguments.names.iter().any(|name| matches(figure, name));

    let server = match &arguments.server {
        Some(file) => file.canonicalize().with_context(|| format!("{} can't be used", file.display()))?,
        None => build::build(workspace, Profile::Release)?.server,
    };
    let bed = Bed { workspace, server };
    let mut all = BTreeMap::new();
    for bench in BENCHES.iter().filter(|bench| bench.figures.iter().any(|figure| asked(figure))) {
        let figures = (bench.measure)(&bed).with_context(|| format!("measuring {}", bench.figures.join(", ")))?;
        for (name, value) in figures.into_iter().filter(|(name, _)| asked(name)) {
            println!("{name:<32} {value:>10.2}");
            all.insert(name, value);
        }
    }
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&all)?;
        fs::write(file, text + "\n").with_context(|| format!("could not write {}", file.display()))?;
    }
    Ok(())
}

fn matches(figure: &str, name: &str) -> bool {
    figure == name || figure.split_once('.').is_some_and(|(group, _)| group == name)
}

/// All that a browser loads the first time, beside the page: JavaScript, WebAssembly and style, as brotli. In kB (1000).
fn first_load(bed: &Bed) -> Result<Figures> {
    let bundle = bundle::bundle(bed.workspace)?;
    let bytes: usize = bundle.first_load_bytes;
    Ok(vec![("web.first_load_kb", bytes as f64 / 1000.0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_whole_or_a_group() {
        assert!(matches("web.first_load_kb", "web"));
        assert!(matches("idle_mb", "idle_mb"));
        assert!(!matches("web.first_load_kb", "we"));
    }
}
