//! `idle_mb`: what all roles in one process hold when nobody asks for anything.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::server::Server;
use super::{Bed, Figures};

/// Settled: this long without a change of more than 1 %.
const STILL: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(120);

pub fn measure(bed: &Bed) -> Result<Figures> {
    let directory = bed.directory()?;
    // The first start draws the demo's pictures; what is asked for is a server that starts as it will from then on.
    let first = settled(&Server::start(&bed.server, directory.path(), &["--demo"])?)?;
    let later = settled(&Server::start(&bed.server, directory.path(), &["--demo"])?)?;
    eprintln!("   resident after the first start {first:.1} MB, after a later one {later:.1} MB");
    Ok(vec![("idle_mb", first.max(later))])
}

fn settled(server: &Server) -> Result<f64> {
    let begin = Instant::now();
    let (mut since, mut level) = (Instant::now(), server.resident()?);
    while since.elapsed() < STILL {
        thread::sleep(Duration::from_millis(250));
        let now = server.resident()?;
        if (now - level).abs() > level * 0.01 {
            (since, level) = (Instant::now(), now);
        }
        if begin.elapsed() > PATIENCE {
            bail!("the server's memory does not come to rest: {now:.1} MB");
        }
    }
    server.resident()
}
