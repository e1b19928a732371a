//! `cargo xtask test`: everything, the browser too.

use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::build::{Profile, build};
use crate::packages;
use crate::workspace::{Workspace, step};

#[derive(Args)]
pub struct Arguments {
    /// Leave the browser out
    #[arg(long)]
    no_browser: bool,
    /// Only tests whose name contains this; the browser's too, by their titles
    filter: Option<String>,
}

/// Modules of the suite that start servers of their own, with a database of their own in any case: once is enough.
const PROCESSES: [&str; 18] = [
    "bad_luck::",
    "crash::",
    "everything::",
    "faults::",
    "gates::",
    "label::",
    "mixed::",
    "mounted::",
    "mysql::",
    "nested::",
    "openldap::",
    "paths::",
    "postgresql::",
    "recipes::",
    "recovery::",
    "redis::",
    "roles::",
    "rotation::",
];

const WITHOUT_MOUNTS: &str = "LEFT OUT: tests of mount points. They mount file systems, which is not permitted here. Run this \
                              as root, in a container with CAP_SYS_ADMIN, to run them too.";

pub fn test(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    packages::install_missing()?;
    let filter = arguments.filter.as_deref();

    let may_mount = packages::may_mount();
    if !may_mount {
        println!("{WITHOUT_MOUNTS}");
    }
    let cargo = |arguments: &[&str]| {
        let mut command = workspace.cargo(arguments);
        if !may_mount {
            command.env("STILLPOINT_TEST_WITHOUT_MOUNTS", "1");
        }
        command
    };

    // One package at a time: together, cargo would unite their features and build every dependency once more.
    step("tests, on SQLite", cargo(&["test", "--package", "stillpoint"]).args(filter))?;
    let mut on_postgres = cargo(&["test", "--package", "stillpoint", "--test", "it"]);
    on_postgres.args(filter).arg("--").args(PROCESSES.iter().flat_map(|module| ["--skip", module]));
    step("tests, on PostgreSQL", on_postgres.env("STILLPOINT_TEST_DATABASE", "postgres"))?;
    step("tests of xtask", workspace.cargo(&["test", "--package", "xtask"]).args(filter))?;

    if !arguments.no_browser {
        browser(workspace, filter)?;
    }
    if !may_mount {
        println!("{WITHOUT_MOUNTS}");
    }
    Ok(())
}

fn browser(workspace: &Workspace, filter: Option<&str>) -> Result<()> {
    let built = build(workspace, Profile::Dev)?;
    let chromium = packages::chromium().context("no Chromium found; set CHROMIUM to its path")?;
    let folder = workspace.root.join("end2end");

    // The browser is the system's: the packages come without one.
    let mut install = Command::new("npm");
    install.args(["ci", "--no-audit", "--no-fund"]).env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
    step("install Playwright", install.current_dir(&folder))?;

    let mut play = Command::new("npx");
    play.args(["--no-install", "playwright", "test"]).current_dir(&folder);
    if let Some(filter) = filter {
        play.args(["--grep", filter, "--pass-with-no-tests"]);
    }
    play.env("STILLPOINT_SERVER", &built.server).env("STILLPOINT_CLI", &built.command_line).env("CHROMIUM", chromium);
    step("tests in the browser", &mut play)
}
