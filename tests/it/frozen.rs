//! Servers that say nothing in the middle of a hold (R17): visitors go on long before the hold's ceiling, the feed names the
//! server, and the next snapshot succeeds once it answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::everything::shop::{Kind, Shop};
use crate::process::{Installation, Site, Turns, serve};

/// A gate opens by itself after 10 s; with a second for each thing that is asked of a server, and some to spare.
const SOON: Duration = Duration::from_secs(6);

/// An environment with everything, whose visitors need nothing of it to be answered.
fn installed() -> (Arc<Shop>, Installation) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let site = Site::new(&directory.path().join("site"));
    let shop = Arc::new(Shop::new(&site.home));
    let port = serve(Turns::All, || Ok("here".to_owned()));
    let mut at = Installation::bare(directory, site);
    at.add_operator();
    let (applied, told) = at.apply(&shop.declaration(port, ""));
    assert!(applied, "{told}");
    (shop, at)
}

#[test]
fn a_server_that_is_silent_in_the_hold_keeps_visitors_for_a_moment_alone_and_is_named() {
    let (shop, at) = installed();
    shop.write(&Kind::ALL);
    let server = at.start_with(&[("STILLPOINT_STOP_AT", "snapshot: held")]);
    let signal = |kind: Kind, signal: Signal| match kind {
        Kind::Postgres => shop.postgres.signal(signal),
        Kind::Mariadb => shop.mariadb.signal(signal),
        _ => shop.redis().signal(signal),
    };
    for (kind, named) in [(Kind::Postgres, "records"), (Kind::Mariadb, "orders"), (Kind::Redis, "cache")] {
        let asked = at.ask_snapshot();
        server.stopped();
        signal(kind, Signal::STOP);
        let begin = Instant::now();
        server.go_on();
        let answer = at.visit().expect("an answer");
        let waited = begin.elapsed();
        // Also the job ends, though nothing has answered yet.
        let reason = at.failed(&asked);
        signal(kind, Signal::CONT);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(waited < SOON, "{named}: a visitor waited {waited:?}");
        assert!(reason.contains(&format!("ervice {named}")), "{reason}");
        assert!(at.backups().is_empty(), "nothing was stored");
    }
    server.terminate();
    let server = at.start();
    let name = at.snapshot();
    assert_eq!(at.backup(&name)["attributes"]["consistency"], "consistent");
    server.terminate();
}
