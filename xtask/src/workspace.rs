//! Where things lie, and how other programs are called.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

pub struct Workspace {
    pub root: PathBuf,
    /// Cargo's target directory, wherever the environment or a configuration file put it.
    pub target: PathBuf,
    cargo: PathBuf,
}

impl Workspace {
    pub fn find() -> Result<Self> {
        let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace's root")?;
        let output = Command::new(&cargo)
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .current_dir(root)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("could not start {}", cargo.display()))?;
        if !output.status.success() {
            bail!("cargo metadata failed; what it wrote stands above");
        }
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let target = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
        Ok(Self { root: root.to_path_buf(), target: PathBuf::from(target), cargo })
    }

    /// The folder that the server embeds.
    pub fn site(&self) -> PathBuf {
        self.target.join("site")
    }

    /// Cargo, as if it were called from a shell.
    ///
    /// `cargo run` hands this process the variables of the package `xtask`; passed on, they make build scripts that
    /// watch them (ring's) run again, and everything above them build again, at each change of caller.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.cargo);
        for (name, _) in std::env::vars_os() {
            let Some(text) = name.to_str() else { continue };
            let of_xtask = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|start| text.starts_with(start));
            if of_xtask || ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"].contains(&text) {
                command.env_remove(&name);
            }
        }
        command.args(arguments).current_dir(&self.root).env("STILLPOINT_SITE", self.site());
        // Compiled into leptos, it would change the names that a page asks for (see `bundle`).
        command.env_remove("LEPTOS_OUTPUT_NAME");
        command
    }
}

/// Runs one step to its end, and says how long it took.
pub fn step(title: &str, command: &mut Command) -> Result<()> {
    eprintln!("── {title}");
    let start = Instant::now();
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("{title}: could not start {program}"))?;
    if !status.success() {
        bail!("{title} failed ({status}); the reason stands above");
    }
    eprintln!("   {title}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Whether a program is on the search path.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
