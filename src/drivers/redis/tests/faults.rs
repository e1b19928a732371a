use super::server::Server;
use super::{PASSWORD, Site, WITHIN, driver, running_in};
use crate::drivers::redis::Redis;
use crate::drivers::redis::tools::Tools;
use crate::drivers::{Error, Service as _};

fn refused(service: &Redis) -> String {
    let error = service.test().expect_err("refused");
    let text = error.to_string();
    assert!(!text.contains(PASSWORD) && !format!("{error:?}").contains(PASSWORD), "{text}");
    text
}

#[test]
fn the_connection_test_names_what_is_wrong() {
    let site = Site::new();
    let tested = site.service.test().expect("all is well");
    assert_eq!(tested.version, "7.0.15");
    assert!(tested.limits.iter().any(|limit| limit.contains("keeps no log")), "{:?}", tested.limits);
    let limits = driver(&site.server, "", "").test().expect("all is well").limits;
    assert!(limits.iter().any(|limit| limit.contains("writes nothing to disk")), "{limits:?}");
    assert!(!tested.limits.iter().any(|limit| limit.contains("can't be restored")), "{:?}", tested.limits);

    assert!(refused(&driver(&site.server, "app", "wrong")).contains("does not let `app` in"));
    assert!(refused(&driver(&site.server, "nobody", PASSWORD)).contains("does not let `nobody` in"));
    site.server.ask::<()>(0, "ACL SETUSER reader on nopass ~* +ping +info +select +replconf +exists");
    let text = refused(&driver(&site.server, "reader", "any"));
    assert!(
        text.contains("attach a replica") && text.contains("ACL SETUSER reader") && text.contains("+psync"),
        "{text}"
    );
    site.server.ask::<()>(0, "ACL SETUSER reader +psync");
    let limits = driver(&site.server, "reader", "any").test().expect("enough for a snapshot").limits;
    assert!(limits.iter().any(|limit| limit.contains("can't be restored") && limit.contains("+swapdb")), "{limits:?}");
    site.server.ask::<()>(0, "CONFIG SET requirepass secret");
    assert!(refused(&driver(&site.server, "", "")).contains("does not let `default` in"));
    driver(&site.server, "", "secret").test().expect("the default user with its password");

    let mut missing = Site::new();
    missing.service.tools = Tools { places: Vec::new() };
    assert!(refused(&missing.service).contains("install the package redis-server"));
    missing.server.kill();
    assert!(refused(&missing.service).contains("no Redis or Valkey server answers at 127.0.0.1:"));
}

#[test]
fn servers_that_can_not_be_restored_into_are_refused() {
    let primary = Server::start();
    let replica = Server::with(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    let text = refused(&driver(&replica, "", ""));
    assert!(text.contains("is a replica") && text.contains(&format!("127.0.0.1:{}", primary.port)), "{text}");
    let cluster = Server::with(&["--cluster-enabled", "yes"]);
    assert!(refused(&driver(&cluster, "", "")).contains("cluster mode"));
}

#[test]
fn a_program_that_is_older_than_the_server_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut site = Site::new();
    let place = tempfile::tempdir().expect("a temporary directory");
    let program = place.path().join("redis-server");
    let script = |version: &str| {
        std::fs::write(&program, format!("#!/bin/sh\necho 'Redis server v={version} sha=0'\n")).expect("a script");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
    };
    site.service.tools = Tools { places: vec![place.path().to_owned()] };
    script("6.2.14");
    let text = refused(&site.service);
    assert!(
        text.contains("reads what the server, Redis 7.0, writes") && text.contains("in version 7.0 or later"),
        "{text}"
    );
    script("7.2.5");
    let limits = site.service.test().expect("new enough to read").limits;
    assert!(limits.iter().any(|limit| limit.contains("does not understand")), "{limits:?}");
}

#[test]
fn a_server_that_dies_in_the_middle_of_the_transfer_is_named() {
    let mut site = Site::on(Server::with(&["--rdb-key-save-delay", "2000"]));
    site.fill(100_000);
    let (server, service, scratch) = (&mut site.server, &site.service, site.scratch.path());
    let asked = std::sync::atomic::AtomicU32::new(0);
    let (at_it, begun) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let attaching = scope.spawn(|| {
            service.get_ready(scratch, &|| {
                // Some looks later the transfer has begun: it takes minutes.
                if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 150 {
                    at_it.send(()).expect("somebody waits");
                }
                false
            })
        });
        begun.recv().expect("it is at it");
        server.kill();
        let error = attaching.join().expect("no panic").expect_err("the server died");
        assert!(error.to_string().contains("no Redis or Valkey server answers"), "{error}");
    });
    assert_eq!(running_in(site.scratch.path()), 0);
}

#[test]
fn too_few_databases_are_said_before_anything_is_touched() {
    let site = Site::on(Server::with(&["--databases", "3"]));
    site.fill(2);
    site.server.ask::<()>(1, "SET a 1");
    let (dump, _) = site.dump();
    let limits = site.service.test().expect("a snapshot is possible").limits;
    assert!(limits.iter().any(|limit| limit.contains("set `databases 16`")), "{limits:?}");
    let error = site.load(&dump).expect_err("no place");
    assert!(error.to_string().contains("set `databases 16` or more"), "{error}");
    assert_eq!(site.databases(), "db0:keys=2 db1:keys=1");
}

#[test]
fn a_load_never_makes_the_server_evict_what_is_live() {
    let site = Site::new();
    let value = "x".repeat(100_000);
    for number in 0..80 {
        site.server.ask::<()>(0, &format!("SET {number} {value}"));
    }
    let (dump, facts) = site.dump();
    site.server.ask::<()>(0, "CONFIG SET maxmemory 14mb");
    site.server.ask::<()>(0, "CONFIG SET maxmemory-policy allkeys-lru");
    let limits = site.service.test().expect("a snapshot is possible").limits;
    assert!(limits.iter().any(|limit| limit.contains("maxmemory")), "{limits:?}");
    let error = site.load(&dump).expect_err("no place");
    assert!(error.to_string().contains("raise its `maxmemory`"), "{error}");
    assert_eq!(site.databases(), "db0:keys=80", "nothing was evicted");
    site.server.ask::<()>(0, "CONFIG SET maxmemory 64mb");
    let (beside, aside) = site.restore(&dump, &facts);
    site.service.discard(&beside, Some(&aside)).expect("discarded");
    assert_eq!(site.databases(), "db0:keys=80");
}

#[test]
fn a_dump_that_is_cut_or_something_else_is_refused_and_leaves_nothing() {
    let site = Site::new();
    site.fill(1_000);
    let (dump, facts) = site.dump();
    let cut = site.load(&dump[..dump.len() / 2]).expect_err("cut");
    assert!(matches!(cut, Error::ToolFailed { .. }), "{cut}");
    let mut damaged = dump.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    site.load(&damaged).expect_err("damaged");
    let other = site.load(b"SQLite format 3\0").expect_err("something else");
    assert!(other.to_string().contains("not a dump of Redis"), "{other}");
    assert_eq!(site.databases(), "db0:keys=1000");
    assert_eq!(running_in(site.scratch.path()), 0);

    let beside = site.load(&dump).expect("loaded");
    let mut more = facts.clone();
    more.rows.insert("database 0".to_owned(), 1_001);
    assert!(matches!(site.service.check(&beside, &more), Err(Error::Mismatch { .. })));
    site.server.ask::<()>(15, "DEL k7");
    let error = site.service.check(&beside, &facts).expect_err("one is missing");
    assert!(error.to_string().contains("999"), "{error}");
    site.server.ask::<()>(15, "SET k1000000 1");
    let error = site.service.check(&beside, &facts).expect_err("another one");
    assert!(error.to_string().contains("not the same"), "{error}");
    site.service.discard(&beside, None).expect("discarded");
    assert_eq!(site.databases(), "db0:keys=1000");
}

#[test]
fn a_replica_that_lags_behind_is_named_within_the_limit() {
    let site = Site::new();
    site.service.get_ready(site.scratch.path(), &|| false).expect("ready");
    // Before its connection is cut: else it may be back at once.
    site.server.ask::<()>(0, "ACL SETUSER app -psync");
    site.server.ask::<()>(0, "CLIENT KILL TYPE replica");
    let started = std::time::Instant::now();
    let error = site.service.open_view(WITHIN / 4).map(drop).expect_err("it can't be attached");
    assert!(error.to_string().contains("lost its connection"), "{error}");
    assert!(started.elapsed() < WITHIN);
}
