//! `scheduler.core_percent_10k`: what ten thousand environments cost that are scheduled hourly, while none of them is due.

use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::server::{Server, sqlite};
use super::{Bed, Figures};

const PROJECTS: usize = 10;
const ENVIRONMENTS: usize = 1_000;
/// What a start costs is over by then.
const SETTLED: Duration = Duration::from_secs(20);
const MEASURED: Duration = Duration::from_secs(60);

pub fn measure(bed: &Bed) -> Result<Figures> {
    let directory = bed.directory()?;
    let mut declaration = String::new();
    for project in 0..PROJECTS {
        // Every environment of production is taken hourly by the plan.
        writeln!(declaration, "[[project]]\nid = \"p{project}\"\nplan = \"pro\"")?;
        for environment in 0..ENVIRONMENTS {
            writeln!(declaration, "[[project.environment]]\nname = \"e{environment}\"\ntype = \"production\"")?;
        }
    }
    let file = directory.path().join("declaration.toml");
    fs::write(&file, declaration)?;
    let file = file.to_str().context("cargo's target directory is UTF-8")?;
    let data = directory.path().join("data");
    let server = Server::start(&bed.server, &data, &[])?;
    server.admin(&["apply", file], "")?;
    drop(server);
    // Between runs, a week on, which is longer than the way to the next drill: none comes while it is measured, whatever the time is now. The order that they have is kept.
    let later = "UPDATE schedules SET due_at = due_at + 604800000000, next_at = next_at + 604800000000";
    sqlite(&data.join("state/stillpoint.db"), later)?;

    let server = Server::start(&bed.server, &data, &[])?;
    thread::sleep(SETTLED);
    let (begin, before) = (Instant::now(), server.processor_seconds()?);
    thread::sleep(MEASURED);
    let used = server.processor_seconds()? - before;
    eprintln!("   {:.2} s of a core in {:.1} s", used, begin.elapsed().as_secs_f64());
    Ok(vec![("scheduler.core_percent_10k", 100.0 * used / begin.elapsed().as_secs_f64())])
}
