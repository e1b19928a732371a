//! A new key for the installation: everything opens with it alone, and a rotation that breaks off harms nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use sqlx::Row as _;
use stillpoint::domain::ids::ChannelId;
use stillpoint::domain::notice::{Channel, Way};
use stillpoint::domain::{ActivityId, EnvironmentId, Secret};
use stillpoint::ops::{App, installation};
use stillpoint::store::swaps::{self, Entry, Stage};
use stillpoint::store::{Sealer, Store, clock, environments, notices, projects, reseal};

use crate::process::{Installation, said};
use crate::support::{TestApp, project};

const ROTATE: [&str; 3] = ["admin", "key", "rotate"];

fn key(at: &Installation) -> String {
    fs::read_to_string(at.state().join("key")).expect("a key")
}

fn old_keys(at: &Installation) -> Vec<std::path::PathBuf> {
    let names = fs::read_dir(at.state()).expect("a directory").flatten().map(|entry| entry.path());
    let is_old = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("key.old-"));
    names.filter(|path| is_old(path)).collect()
}

/// Starts it, logs in, restores the snapshot, takes another one, and stops it.
#[track_caller]
fn assert_works(at: &Installation, variables: &[(&str, &str)], snapshot: &str) {
    let server = at.start_with(variables);
    assert!(at.log_in(), "the operator logs in");
    at.site.write(2);
    at.restore(snapshot);
    assert_eq!(at.site.version(), 1);
    at.snapshot();
    if variables.is_empty() {
        at.assert_repository_whole();
    }
    server.terminate();
}

#[test]
fn after_a_rotation_all_goes_on_without_the_old_key() {
    let at = Installation::new();
    let server = at.start();
    let snapshot = at.snapshot();
    server.terminate();
    let (before, recovery) = (key(&at), at.recovery_key());
    at.succeed(&ROTATE, "");
    let [old] = &old_keys(&at)[..] else { panic!("one old key: {:?}", old_keys(&at)) };
    assert_eq!(fs::read_to_string(old).expect("readable"), before, "for copies of the database");
    fs::remove_file(old).expect("removed");
    assert_ne!(key(&at), before);
    assert!(!at.state().join("key.next").exists());
    assert_eq!(at.recovery_key(), recovery, "it opens the repositories, which are as they were");
    let server = at.start();
    let (status, audit) = at.ask("GET", "/audit?type=installation", None).expect("the server answers");
    assert!(status == 200 && audit.to_string().contains("anew with a new key"), "{status} {audit}");
    server.terminate();
    assert_works(&at, &[], &snapshot);
}

#[test]
fn no_key_is_rotated_under_a_server_that_runs() {
    let at = Installation::new();
    let server = at.start();
    let before = key(&at);
    let refused = at.run(&ROTATE, "");
    assert!(!refused.status.success());
    assert!(said(&refused).contains("stop `stillpointd`, all of its roles"), "{}", said(&refused));
    assert_eq!(key(&at), before);
    assert!(!at.state().join("key.next").exists());
    at.snapshot();
    server.terminate();
}

#[test]
fn a_rotation_that_dies_anywhere_leaves_what_opens_and_is_finished_by_the_next() {
    let at = Installation::new();
    // A plan that keeps as many as this takes.
    let declaration = at.site.declaration("").replacen("id = \"shop\"\n", "id = \"shop\"\nplan = \"starter\"\n", 1);
    let (applied, told) = at.apply(&declaration);
    assert!(applied, "{told}");
    let server = at.start();
    let snapshot = at.snapshot();
    server.terminate();
    for step in ["rotate: made", "rotate: sealed", "rotate: kept"] {
        let before = key(&at);
        let died = at.run_with(&[("STILLPOINT_CRASH_AT", step)], &ROTATE, "");
        assert!(died.status.signal().is_some(), "{step}: {}", said(&died));
        assert_eq!(key(&at), before, "{step}: the next key takes its place at the end");
        assert_works(&at, &[], &snapshot);
        let next = fs::read_to_string(at.state().join("key.next")).expect("the next key waits");
        at.succeed(&ROTATE, "");
        assert_eq!(key(&at), next, "{step}: a second one would have lost what the first one sealed");
        for old in old_keys(&at) {
            fs::remove_file(old).expect("removed");
        }
        at.recovery_key();
    }
    assert_works(&at, &[], &snapshot);
}

#[test]
fn a_key_from_a_variable_is_rotated_with_both_given() {
    let at = Installation::new();
    let server = at.start();
    let snapshot = at.snapshot();
    server.terminate();
    let (old, new) = (key(&at), "5a".repeat(32));
    fs::remove_file(at.state().join("key")).expect("removed");
    let one = [("STILLPOINT_KEY", old.as_str())];
    let refused = at.run_with(&one, &ROTATE, "");
    assert!(!refused.status.success());
    assert!(said(&refused).contains("STILLPOINT_PREVIOUS_KEY"), "{}", said(&refused));
    let both = [("STILLPOINT_KEY", new.as_str()), ("STILLPOINT_PREVIOUS_KEY", old.as_str())];
    let done = at.run_with(&both, &ROTATE, "");
    assert!(done.status.success(), "{}", said(&done));
    assert_works(&at, &[("STILLPOINT_KEY", &new)], &snapshot);
    let wrong = at.run_with(&one, &["admin", "recovery-key"], "");
    assert!(!wrong.status.success(), "the old key opens nothing any more");
}

/// Every sealed value, by table, column and row.
async fn sealed(store: &Store, columns: &BTreeSet<(String, String)>) -> BTreeMap<String, String> {
    let mut db = store.read().await.expect("a connection");
    let mut values = BTreeMap::new();
    for (table, column) in columns {
        let sql = if table == "installation" {
            format!("SELECT name AS id, value FROM {table} WHERE name LIKE 'sealed%'")
        } else {
            let id = if table == "swaps" { "activity_id" } else { "id" };
            format!("SELECT {id} AS id, {column} AS value FROM {table}")
        };
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut *db).await.expect("rows");
        assert!(!rows.is_empty(), "nothing is sealed in {table}: this test would prove nothing");
        for row in rows {
            let id: String = row.get("id");
            values.insert(format!("{table} {column} {id}"), row.get("value"));
        }
    }
    values
}

/// The columns that a migration calls sealed, and the one that holds what is called so by its row's name.
fn sealed_columns() -> BTreeSet<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut columns = BTreeSet::from([("installation".to_owned(), "value".to_owned())]);
    for entry in fs::read_dir(directory).expect("migrations").flatten() {
        let text = fs::read_to_string(entry.path()).expect("readable");
        let mut table = String::new();
        for line in text.lines() {
            let mut words = line.split([' ', '(']).filter(|word| !word.is_empty());
            let first = words.next().unwrap_or_default();
            if line.starts_with("CREATE TABLE") {
                table = words.nth(1).expect("a table's name").to_owned();
            }
            if first.starts_with("sealed_") {
                columns.insert((table.clone(), first.to_owned()));
            }
        }
    }
    columns
}

#[tokio::test]
async fn everything_that_is_sealed_opens_with_the_new_key_alone() {
    let shop = TestApp::with_shop().await;
    let activity = shop.ask_for_snapshot().await.activity.id;
    let (test, url) = (&shop.test, shop.test.url.clone());
    let recovery = installation::recovery_key(&test.app).await.expect("a key");
    let mut tx = test.store.write().await.expect("a transaction");
    let now = clock::now(&mut tx, test.store.dialect()).await.expect("an instant");
    let main = environments::by_project(&mut tx, &project()).await.expect("environments").remove(0).id;
    let (environment, body) = (main.clone(), "a journal".to_owned());
    let entry = Entry { activity: activity.clone(), environment, stage: Stage::Done, body };
    swaps::put(&mut tx, test.store.sealer(), &entry, now).await.expect("an entry");
    let channel = Channel {
        id: ChannelId::parse("0123456789abcdef0123").expect("20 hexadecimal digits"),
        project: project(),
        way: Way::Mail,
        address: "team@example.org".to_owned(),
        notices: Vec::new(),
        created_at: now,
    };
    let signs = Secret::new("signs");
    notices::insert_channel(&mut tx, test.store.sealer(), &channel, &signs).await.expect("a channel");
    test.store.commit(tx).await.expect("a commit");
    let columns = sealed_columns();
    assert!(columns.len() >= 4, "{columns:?}");
    let before = sealed(&test.store, &columns).await;
    let settings = test.app.settings().clone();
    let composition = open(&test.store, &main, &activity).await;
    test.store.close().await;

    let both = Store::open(&url, Sealer::new(&[8; 32], &[[7; 32]])).await.expect("the database");
    let mut tx = both.write().await.expect("a transaction");
    let count = reseal::all(&mut tx, both.sealer(), now).await.expect("it opens with the old key");
    both.commit(tx).await.expect("a commit");
    let after = sealed(&both, &columns).await;
    both.close().await;
    assert_eq!((count, after.len()), (before.len(), before.len()));
    for (place, value) in &after {
        assert_ne!(before.get(place), Some(value), "{place} is still sealed with the old key");
    }

    let new = Store::open(&url, Sealer::new(&[8; 32], &[])).await.expect("the database");
    assert_eq!(open(&new, &main, &activity).await, composition);
    let app = App::new(new.clone(), settings);
    let same = installation::recovery_key(&app).await.expect("it opens");
    assert_eq!(same.reveal(), recovery.reveal());
    new.close().await;
}

async fn open(store: &Store, main: &EnvironmentId, activity: &ActivityId) -> (String, String, String) {
    let mut db = store.read().await.expect("a connection");
    let composition = environments::composition(&mut db, store.sealer(), main).await.expect("it opens");
    let access = projects::repository(&mut db, store.sealer(), &project()).await.expect("it opens");
    let entry = swaps::by_activity::<String>(&mut db, store.sealer(), activity).await.expect("it opens");
    (format!("{composition:?}"), access.key.reveal().to_owned(), entry.expect("it is there").body)
}
