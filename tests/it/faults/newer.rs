//! A snapshot of a newer MariaDB or Redis server than the one that it is restored into: both versions are told.
//!
//! The newer server is the packaged one, whose dump reaches the load as a newer one's would: with what this one does not know.

use super::{Faulty, session};

/// What the worker's programs are replaced with, and a shell that does it.
fn replaced(faulty: &Faulty) -> String {
    let place = faulty.at.directory().join("replaced");
    let real = |name: &str| place.join("real").join(name).display().to_string();
    // A collation of a later series.
    let client = format!(
        "[ \"$1\" = --version ] && exec {0} --version\nsed 's/utf8mb4_general_ci/utf8mb4_uca9900_ai_ci/' | {0} \"$@\"",
        real("mariadb")
    );
    session::program(&place.join("mariadb"), &client);
    // The number of a later format, in a file that it is to load.
    let server = format!(
        "if [ -s dump.rdb ]; then printf 'REDIS0099' | dd of=dump.rdb conv=notrunc 2> /dev/null; fi\nexec {} \"$@\"",
        real("redis-server")
    );
    session::program(&place.join("redis-server"), &server);
    let mut shell = format!("mkdir -p {}", place.join("real").display());
    for name in ["mariadb", "redis-server"] {
        let (program, own) = (format!("$(readlink -f /usr/bin/{name})"), place.join(name));
        shell += &format!("; cp {program} {}; mount --bind {} {program}", real(name), own.display());
    }
    shell
}

#[test]
fn a_snapshot_of_a_newer_mariadb_or_redis_server_is_refused_by_an_older_one_with_both_versions() {
    let faulty = Faulty::new();
    let name = {
        let server = faulty.at.start();
        let name = faulty.at.snapshot();
        server.terminate();
        name
    };
    let Some(server) = faulty.at.start_with_mounts(&replaced(&faulty), &[]) else { return };
    let database = rusqlite::Connection::open(faulty.at.database()).expect("the server's database");
    database.busy_timeout(std::time::Duration::from_secs(10)).expect("a time");
    let manifest: String = database
        .query_row("SELECT manifest FROM snapshots WHERE name = ?1", [&name], |row| row.get(0))
        .expect("its manifest");
    for (service, words) in [("cache", "RDB format version 99"), ("orders", "uca9900")] {
        let mut newer: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
        let services = newer["services"].as_array_mut().expect("its services");
        let entry = services.iter_mut().find(|entry| entry["name"] == service).expect("it is there");
        let version = entry["version"].as_str().expect("a version").to_owned();
        let digits = version.find(|letter: char| letter.is_ascii_digit()).expect("a number");
        let rest = version[digits..].trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        entry["version"] = format!("{}99.3{rest}", &version[..digits]).into();
        let changed =
            database.execute("UPDATE snapshots SET manifest = ?1 WHERE name = ?2", [&newer.to_string(), &name]);
        assert_eq!(changed.expect("changed"), 1);
        let asked = faulty.at.ask_restore_of(&name, &[&format!("service:{service}")]);
        let part = format!("ervice {service}");
        faulty.failed(&asked, &[&part, "99.3", "upgrade the server", "nothing was replaced", words]);
    }
    server.terminate();
}
