//! `cargo xtask check`: what is decided without running anything.

use anyhow::Result;

use crate::workspace::{Workspace, on_path, step};

const ISLANDS: [&str; 5] = ["--target", "wasm32-unknown-unknown", "--no-default-features", "--features", "hydrate"];

pub fn check(workspace: &Workspace) -> Result<()> {
    crate::bundle::ensure_target(workspace)?;
    step("format", &mut workspace.cargo(&["fmt", "--all", "--check"]))?;

    // One package at a time: together, cargo would unite their features and build every dependency once more.
    for package in ["stillpoint", "xtask"] {
        let arguments = ["clippy", "--package", package, "--all-targets", "--", "--deny", "warnings"];
        step(&format!("lints of {package}"), &mut workspace.cargo(&arguments))?;
    }
    let mut islands = workspace.cargo(&["clippy", "--package", "stillpoint", "--lib"]);
    step("lints of the islands", islands.args(ISLANDS).args(["--", "--deny", "warnings"]))?;

    let mut docs =
        workspace.cargo(&["doc", "--package", "stillpoint", "--lib", "--no-deps", "--document-private-items"]);
    step("documentation", docs.env("RUSTDOCFLAGS", "--deny warnings"))?;

    if on_path("cargo-deny").is_some() {
        step("licences, advisories and bans", &mut workspace.cargo(&["deny", "--all-features", "check"]))
    } else {
        eprintln!("── licences, advisories and bans: NOT checked, cargo-deny is not installed");
        eprintln!("   install it with `cargo install --locked cargo-deny`, it takes some minutes");
        Ok(())
    }
}
