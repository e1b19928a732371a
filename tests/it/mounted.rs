//! An application keeps a SQLite database among its uploads, and has it open through snapshots and restores.

use std::path::Path;
use std::process::Command;

use crate::process::{Installation, Program, until};

fn sqlite(path: &Path, text: &str) -> String {
    let output = Command::new("sqlite3").arg(path).arg(text).output().expect("sqlite3 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

const ROWS: &str = "SELECT text FROM rows ORDER BY id";

/// Whether the restore's server dies at a step or not, the application's database is one and loses nothing.
fn it_survives_a_restore(journal: &str, step: Option<&str>) {
    let at = Installation::new();
    let path = at.site.uploads().join("data/cms.db");
    std::fs::create_dir(at.site.uploads().join("data")).expect("own directory");
    let mut cms = Program::create(&path, journal);
    cms.insert("one");
    let variables = step.map(|step| ("STILLPOINT_CRASH_AT", step));
    let server = at.start_with(variables.as_slice());
    let first = at.snapshot();
    let backup = at.backup(&first);
    assert_eq!(backup["attributes"]["consistency"], "consistent", "{backup:#}");
    cms.insert("two");
    let mut since = Program::create(&at.site.uploads().join("data/since.db"), journal);
    since.insert("a");

    let asked = at.ask_restore(&first);
    let server = match step {
        None => server,
        Some(_) => {
            server.died();
            cms.rows();
            at.start()
        }
    };
    let activity = at.succeeded(&asked);
    assert_eq!(cms.rows(), ["one"], "what has it open sees what was restored");
    cms.insert("three");
    assert_eq!(sqlite(&path, ROWS), "one\nthree", "and writes to what everybody sees");
    since.insert("b");
    assert_eq!(sqlite(&at.site.uploads().join("data/since.db"), ROWS), "a\nb", "nothing that is in use goes away");
    if step.is_none() {
        let log = at.log_of(&asked);
        assert!(log.contains("data/since.db") && log.contains("not in the snapshot"), "{log}");
    }

    let safety = activity["payload"]["safety_backup_name"].as_str().expect("a name").to_owned();
    at.restore(&safety);
    assert_eq!(cms.rows(), ["one", "two"], "undone");
    cms.insert("four");
    drop(cms);
    assert_eq!(sqlite(&path, ROWS), "one\ntwo\nfour");
    assert_eq!(sqlite(&path, "PRAGMA integrity_check"), "ok");
    until("nothing is left beside", || at.site.hidden().iter().all(|hidden| !hidden.exists()).then_some(()));
    at.assert_no_leftovers();
    at.assert_repository_whole();
    server.terminate();
}

#[test]
fn a_database_among_the_uploads_keeps_every_later_write_through_a_restore() {
    it_survives_a_restore("wal", None);
    it_survives_a_restore("delete", None);
}

#[test]
fn it_does_when_the_server_dies_before_the_exchange() {
    it_survives_a_restore("wal", Some("restore: swapping"));
}

#[test]
fn it_does_when_the_server_dies_after_the_mount_was_exchanged() {
    it_survives_a_restore("wal", Some("restore: a mount exchanged"));
}

#[test]
fn it_does_when_the_server_dies_with_everything_exchanged() {
    it_survives_a_restore("delete", Some("restore: swapped"));
}

#[test]
fn stock_restic_gives_the_database_back_whole_and_a_write_round_the_gate_takes_the_label_away() {
    let at = Installation::new();
    let path = at.site.uploads().join("cms.db");
    let mut cms = Program::create(&path, "wal");
    cms.ask(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
             INSERT INTO rows(text) SELECT hex(randomblob(100)) FROM n;",
    );
    let server = at.start_with(&[("STILLPOINT_STOP_AT", "snapshot: copied")]);
    let asked = at.ask_snapshot();
    server.stopped();
    // Pass 1 is over: had it read the file, this would not be in it, or half of it would.
    cms.ask("UPDATE rows SET text = 'new'; PRAGMA wal_checkpoint(TRUNCATE);");
    cms.insert("last");
    server.go_on();
    at.succeeded(&asked);
    server.terminate();
    let server = at.start_with(&[("STILLPOINT_STOP_AT", "snapshot: views open")]);
    assert_eq!(at.backup(&asked.snapshot)["attributes"]["consistency"], "consistent");

    let back = at.directory().join("back");
    let to = back.to_str().expect("UTF-8");
    let done = at.restic(&at.recovery_key(), &["restore", "latest", "--tag", &asked.snapshot, "--target", to]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let uploads = back.join("mounts/uploads");
    let beside = ["cms.db-wal", "cms.db-shm"].map(|name| uploads.join(name).exists());
    assert_eq!(beside, [false, false]);
    let restored = uploads.join("cms.db");
    assert_eq!(sqlite(&restored, "PRAGMA integrity_check"), "ok");
    assert_eq!(sqlite(&restored, "SELECT count(*), sum(text = 'new'), max(id) FROM rows"), "20001|20000|20001");
    let manifest = std::fs::read_to_string(back.join("manifest.json")).expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    let database = &manifest["mounts"][0]["databases"][0];
    assert_eq!((&database["path"], &database["facts"]["rows"]["rows"]), (&"cms.db".into(), &20_001.into()));

    // Nobody but the gate's visitors may write while the views are opened.
    let asked = at.ask_snapshot();
    server.stopped();
    cms.insert("round the gate");
    server.go_on();
    at.succeeded(&asked);
    let proof = at.backup(&asked.snapshot);
    assert_eq!(proof["attributes"]["consistency"], "each_service");
    assert!(proof["attributes"]["proof"].to_string().contains("cms.db"), "{proof:#}");
    server.terminate();
}
