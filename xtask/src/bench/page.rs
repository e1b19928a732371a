//! `web.environment_page_ms`: the page that people open most, over a long history.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::server::{Server, sqlite};
use super::statistics::{listed, median, quantile};
use super::{Bed, Figures};

const ACTIVITIES: u32 = 100_000;
/// Of the newest of them the snapshot is still kept: as many as daily ones of a month.
const SNAPSHOTS: u32 = 30;
const REQUESTS: usize = 50;
const WARM_UP: usize = 5;

pub fn measure(bed: &Bed) -> Result<Figures> {
    let directory = bed.directory()?;
    let server = Server::start(&bed.server, directory.path(), &["--demo"])?;
    // One real snapshot, of which the others are copies.
    server.log_in("admin@demo.localhost")?;
    server.snapshot(("demo", "main"))?;
    sqlite(&directory.path().join("state/stillpoint.db"), &history())?;

    let login = std::fs::read(directory.path().join("demo/login.json"))?;
    let login: Value = serde_json::from_slice(&login)?;
    let text = |name: &str| login[name].as_str().with_context(|| format!("the demo's login has its {name}"));
    let cookie = server.session(text("admin")?, text("password")?)?;
    let mut samples = Vec::new();
    for _ in 0..WARM_UP + REQUESTS {
        let start = Instant::now();
        let page = server.page("/projects/demo/environments/main", &cookie)?;
        samples.push(start.elapsed().as_secs_f64() * 1000.0);
        if !page.contains("?before=") {
            bail!("the page does not show the history that was written");
        }
    }
    let samples = &samples[WARM_UP..];
    eprintln!(
        "   environment page: median {:.1} ms, 95 % within {:.1} ms, slowest {:.1} ms",
        median(samples),
        quantile(samples, 0.95),
        quantile(samples, 1.0)
    );
    eprintln!("   first ones: {}", listed(&samples[..5]));
    Ok(vec![("web.environment_page_ms", median(samples))])
}

/// Copies the environment's one snapshot and its activity, one a minute into the past, as the queue would have left
/// them: with targets, events and two lines of log.
fn history() -> String {
    format!(
        "BEGIN IMMEDIATE;
         CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ACTIVITIES})
           SELECT i FROM n;
         CREATE TEMP TABLE a AS SELECT * FROM activities WHERE kind = 'environment.backup' AND result = 'success' LIMIT 1;
         CREATE TEMP TABLE s AS SELECT * FROM snapshots LIMIT 1;
         CREATE TEMP TABLE c AS SELECT name, value FROM counters;
         INSERT INTO activities (id, seq, project_id, environment_id, region_id, kind, state, result, initiator_user,
             initiator_name, authority, progress, payload_version, payload, created_at, updated_at, started_at,
             completed_at, attempts)
           SELECT printf('%020x', i), i + (SELECT value FROM c WHERE name = 'activity'), project_id, environment_id,
             region_id, kind, state, result, initiator_user, initiator_name, authority, progress, payload_version,
             json_set(payload, '$.snapshot', printf('%020x', i)), created_at - ({ACTIVITIES} - i) * 60000000,
             updated_at - ({ACTIVITIES} - i) * 60000000, started_at - ({ACTIVITIES} - i) * 60000000,
             completed_at - ({ACTIVITIES} - i) * 60000000, attempts
           FROM n, a;
         INSERT INTO activity_targets (activity_id, environment_id)
           SELECT printf('%020x', i), environment_id FROM n, a;
         INSERT INTO events (seq, project_id, environment_id, activity_id, at)
           SELECT i + (SELECT value FROM c WHERE name = 'event'), project_id, environment_id, printf('%020x', i),
             completed_at - ({ACTIVITIES} - i) * 60000000
           FROM n, a;
         INSERT INTO activity_log (activity_id, seq, at, message)
           SELECT printf('%020x', i), line.seq, line.at, line.message
           FROM n, (SELECT seq, at, message FROM activity_log WHERE activity_id = (SELECT id FROM a) LIMIT 2) AS line;
         UPDATE counters SET value = value + {ACTIVITIES};
         INSERT INTO snapshots (name, project_id, environment_id, activity_id, origin, consistency, note, repository_id,
             manifest, taken_at, created_at, expires_at, protected, deleted_at, size, added, proof)
           SELECT printf('%020x', i), project_id, environment_id, printf('%020x', i), origin, consistency, note,
             repository_id, manifest, taken_at - ({ACTIVITIES} - i) * 60000000,
             created_at - ({ACTIVITIES} - i) * 60000000, expires_at, protected, deleted_at, size, added, proof
           FROM n, s WHERE i > {ACTIVITIES} - {SNAPSHOTS};
         COMMIT;"
    )
}
