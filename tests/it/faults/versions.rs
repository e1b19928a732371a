//! A snapshot of a newer MariaDB or Redis server than the one that it is restored into: both versions are told. One of older
//! servers is restored as any other.
//!
//! The other server is the packaged one, whose dump reaches the load as the other's would: with what this one does not know,
//! or in the form that the older one wrote.

use std::time::Duration;

use rusqlite::Connection;

use super::{Faulty, session};
use crate::everything::shop::Kind;

/// Stands for `redis-server`: that number of the format, and no checksum, in a file that it is to load.
fn of_format(number: &str) -> String {
    format!(
        "if [ -s dump.rdb ]; then\n\
         printf 'REDIS{number}' | dd of=dump.rdb conv=notrunc 2> /dev/null\n\
         head -c 8 /dev/zero | dd of=dump.rdb bs=1 seek=$(($(stat -c %s dump.rdb) - 8)) conv=notrunc 2> /dev/null\n\
         fi\nexec $REAL \"$@\""
    )
}

/// A shell that puts these scripts in the place of the worker's programs, whose own ones are `$REAL` in them.
fn replaced(faulty: &Faulty, programs: &[(&str, &str)]) -> String {
    let place = faulty.at.directory().join("replaced");
    let mut shell = format!("mkdir -p {}", place.join("real").display());
    for (name, script) in programs {
        let (real, own) = (place.join("real").join(name), place.join(name));
        session::program(&own, &format!("REAL={}\n{script}", real.display()));
        let program = format!("$(readlink -f /usr/bin/{name})");
        shell += &format!("; cp {program} {}; mount --bind {} {program}", real.display(), own.display());
    }
    shell
}

/// What the catalogue says of a snapshot.
struct Catalogue {
    database: Connection,
    manifest: serde_json::Value,
    name: String,
}

impl Catalogue {
    fn open(faulty: &Faulty, name: &str) -> Self {
        let database = Connection::open(faulty.at.database()).expect("the server's database");
        database.busy_timeout(Duration::from_secs(10)).expect("a time");
        let manifest: String = database
            .query_row("SELECT manifest FROM snapshots WHERE name = ?1", [name], |row| row.get(0))
            .expect("its manifest");
        let manifest = serde_json::from_str(&manifest).expect("JSON");
        Self { database, manifest, name: name.to_owned() }
    }

    /// That these services alone were of that version.
    fn tell(&self, services: &[&str], number: &str) {
        let mut told = self.manifest.clone();
        for entry in told["services"].as_array_mut().expect("its services") {
            if !services.contains(&entry["name"].as_str().expect("a name")) {
                continue;
            }
            let version = entry["version"].as_str().expect("a version").to_owned();
            let digits = version.find(|letter: char| letter.is_ascii_digit()).expect("a number");
            let rest = version[digits..].trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
            entry["version"] = format!("{}{number}{rest}", &version[..digits]).into();
        }
        let changed = self
            .database
            .execute("UPDATE snapshots SET manifest = ?1 WHERE name = ?2", [&told.to_string(), &self.name]);
        assert_eq!(changed.expect("changed"), 1);
    }
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
    // A collation of a later series, and the number of a later format.
    let client = "[ \"$1\" = --version ] && exec $REAL --version\n\
                  sed 's/utf8mb4_general_ci/utf8mb4_uca9900_ai_ci/' | $REAL \"$@\"";
    let replaced = replaced(&faulty, &[("mariadb", client), ("redis-server", &of_format("0099"))]);
    let Some(server) = faulty.at.start_with_mounts(&replaced, &[]) else { return };
    let catalogue = Catalogue::open(&faulty, &name);
    for (service, words) in [("cache", "RDB format version 99"), ("orders", "uca9900")] {
        catalogue.tell(&[service], "99.3");
        let asked = faulty.at.ask_restore_of(&name, &[&format!("service:{service}")]);
        let part = format!("ervice {service}");
        faulty.failed(&asked, &[&part, "99.3", "upgrade the server", "nothing was replaced", words]);
    }
    server.terminate();
}

#[test]
fn a_snapshot_of_older_servers_is_restored_into_newer_ones_as_any_other_and_undone() {
    let faulty = Faulty::new();
    // The format of Redis 5 and 6; PostgreSQL's and MariaDB's texts say nothing of it.
    let replaced = replaced(&faulty, &[("redis-server", &of_format("0009"))]);
    let Some(server) = faulty.at.start_with_mounts(&replaced, &[]) else { return };
    let name = faulty.at.snapshot();
    let held = faulty.shop.numbers(&faulty.shop.main);
    let catalogue = Catalogue::open(&faulty, &name);
    // Of an earlier series of each.
    catalogue.tell(&["cache", "local", "orders", "records"], "3.6");
    let later = faulty.shop.write(&Kind::ALL);
    let preflight = faulty.at.preflight(&name);
    let versions = preflight["versions"].as_array().expect("each service's").clone();
    assert_eq!(versions.len(), 4, "{preflight:#}");
    for both in &versions {
        assert!(both["snapshot"].as_str().is_some_and(|version| version.contains("3.6")), "{both}");
        assert_eq!((&both["older"], &both["other"]), (&false.into(), &false.into()), "{both}");
    }
    assert_eq!(preflight["warnings"], serde_json::json!([]), "nothing is to be minded");

    let restored = faulty.at.succeeded(&faulty.at.ask_as_shown(&name, &preflight));
    assert_eq!(faulty.shop.numbers(&faulty.shop.main), held);
    faulty.visited();
    let safety = restored["payload"]["safety_backup_name"].as_str().expect("a name");
    faulty.at.restore(safety);
    assert!(faulty.shop.one_instant(&faulty.shop.main).contains(&later));
    faulty.assert_nothing_left();
    server.terminate();
}
