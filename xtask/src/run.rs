//! `cargo xtask run`: a development build, started with the demo project.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::build::{Profile, build};
use crate::workspace::Workspace;

#[derive(Args)]
pub struct Arguments {
    /// Optimised, as it would be installed
    #[arg(long)]
    release: bool,
    /// Passed on to `stillpointd all --demo`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let built = build(workspace, if arguments.release { Profile::Release } else { Profile::Dev })?;
    let mut server = Command::new(&built.server);
    server.args(["all", "--demo"]);
    let placed = arguments.rest.iter().any(|argument| argument.to_string_lossy().starts_with("--data"));
    if !placed && std::env::var_os("STILLPOINT_DATA").is_none() {
        server.args(["--data", ".stillpoint"]);
    }
    start(server.args(&arguments.rest))
}

/// The server takes this process's place, so that Ctrl-C and signals reach it and nothing else.
#[cfg(unix)]
fn start(server: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt;

    let error = server.exec();
    Err(error).with_context(|| format!("could not start {}", server.get_program().to_string_lossy()))
}

#[cfg(not(unix))]
fn start(server: &mut Command) -> Result<()> {
    let program = server.get_program().to_string_lossy().into_owned();
    let status = server.status().with_context(|| format!("could not start {program}"))?;
    std::process::exit(status.code().unwrap_or(1));
}
