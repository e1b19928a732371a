//! `cargo xtask bench [NAME…] [--json FILE]`: figures, as one flat object.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::bundle;
use crate::workspace::Workspace;

#[derive(Args)]
pub struct Arguments {
    /// Which figures: whole names, or the part before the dot; all when none is given
    names: Vec<String>,
    /// Also write the figures to this file, as one flat JSON object
    #[arg(long)]
    json: Option<PathBuf>,
}

/// A figure's name and its value; the unit ends the name (`_kb`, `_ms`, `_mb`), ratios have none.
type Figures = Vec<(&'static str, f64)>;

/// One measurement, which may give several figures.
struct Bench {
    figures: &'static [&'static str],
    measure: fn(&Workspace) -> Result<Figures>,
}

const BENCHES: &[Bench] = &[Bench { figures: &["web.first_load_kb"], measure: first_load }];

pub fn bench(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let known = || BENCHES.iter().flat_map(|bench| bench.figures);
    for name in &arguments.names {
        if !known().any(|figure| matches(figure, name)) {
            let names: Vec<&str> = known().copied().collect();
            bail!("there is no figure `{name}`; there are: {}", names.join(", "));
        }
    }
    let asked = |figure: &str| arguments.names.is_empty() || arguments.names.iter().any(|name| matches(figure, name));

    let mut all = BTreeMap::new();
    for bench in BENCHES.iter().filter(|bench| bench.figures.iter().any(|figure| asked(figure))) {
        let figures = (bench.measure)(workspace).with_context(|| format!("measuring {}", bench.figures.join(", ")))?;
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
fn first_load(workspace: &Workspace) -> Result<Figures> {
    let bundle = bundle::bundle(workspace)?;
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
