//! Declared storage: the snapshot first, then the operator's command, then the new size; never less than is used (R10).

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use stillpoint::authz::{ChangeStorage, ViewHistory};
use stillpoint::domain::activity::{Activity, ActivityResult};
use stillpoint::domain::policy::TypeRole;
use stillpoint::domain::policy::advice::Wish;
use stillpoint::domain::{Bytes, PartName};
use stillpoint::ops::installation::Applied;
use stillpoint::ops::storage::{self, StorageRequest};
use stillpoint::ops::{Error, activities};

use crate::doors::through::Doors;
use crate::support::{Shop, TestApp};

const GIB: u64 = 1 << 30;

fn part(text: &str) -> PartName {
    text.parse().expect("a part")
}

async fn ask(shop: &Shop, of: &str, size: u64, snapshot: Wish) -> Result<Activity, Error> {
    let proof = shop.test.proof::<ChangeStorage>(&shop.admin).await.expect("an admin");
    let request = StorageRequest { part: part(of), size: Bytes(size), snapshot, evict: Vec::new() };
    let entry = storage::change(&shop.test.app, proof, request).await?;
    Ok(shop.test.settle(&entry.activity.id).await)
}

async fn declared(shop: &Shop, of: &str) -> Option<Bytes> {
    let page = storage::page(&shop.test.app, &shop.history().await).await.expect("a page");
    let found = page.parts.into_iter().find(|it| it.part == part(of)).expect("the part is there");
    assert!(found.used.is_some(), "it is measured");
    found.declared
}

async fn snapshots(shop: &Shop) -> usize {
    stillpoint::ops::snapshots::list(&shop.test.app, &shop.history().await).await.expect("a list").len()
}

/// With a program that notes its words, and fails when it is told to.
async fn with_command() -> (Shop, PathBuf) {
    let shop = TestApp::with_shop().await;
    let home = shop.test.directory.path().join("commands");
    std::fs::create_dir(&home).expect("a fresh directory");
    let program = home.join("resize");
    let text = "#!/bin/sh\nhere=$(dirname \"$0\")\necho \"$*\" >> \"$here/calls\"\n\
                if [ -e \"$here/broken\" ]; then echo 'no space on the volume group' >&2; exit 5; fi\necho grown\n";
    std::fs::write(&program, text).expect("a script");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let main = shop.site.declaration("shop", "main", "production", "self-hosted");
    shop.test.declare(&format!("{main}[project.commands]\nresize = [{program:?}]\n")).await;
    (shop, home)
}

#[tokio::test]
async fn a_snapshot_comes_first_then_the_command_and_then_the_size_is_declared() {
    let (shop, home) = with_command().await;
    assert_eq!(declared(&shop, "mount:uploads").await, None);
    let done = ask(&shop, "mount:uploads", 20 * GIB, Wish::Advised).await.expect("it is queued");
    assert_eq!((done.result, &done.failure), (Some(ActivityResult::Success), &None));
    assert_eq!(declared(&shop, "mount:uploads").await, Some(Bytes(20 * GIB)));
    assert_eq!(snapshots(&shop).await, 1);
    let calls = std::fs::read_to_string(home.join("calls")).expect("it was called");
    assert_eq!(calls, format!("resize main mount uploads {}\n", 20 * GIB));
    let proof = shop.test.proof::<ViewHistory>(&shop.admin).await.expect("an admin");
    let feed = activities::feed(&shop.test.app, &proof, activities::Filter::default()).await.expect("a feed");
    let told: Vec<String> = feed.entries.into_iter().map(|entry| entry.description).collect();
    assert_eq!(
        told,
        ["changed the declared storage of the mount uploads of main to 20.0 GiB", "created a snapshot of main"]
    );

    std::fs::write(home.join("broken"), "").expect("a file");
    let failed = ask(&shop, "mount:uploads", 30 * GIB, Wish::Nothing).await.expect("it is queued");
    let reason = failed.failure.expect("the command failed");
    assert!(reason.contains("exit status: 5") && reason.contains("no space on the volume group"), "{reason}");
    assert_eq!(
        declared(&shop, "mount:uploads").await,
        Some(Bytes(20 * GIB)),
        "it is not so, and so it is not declared"
    );
    assert_eq!(snapshots(&shop).await, 1, "none was asked for");
}

#[tokio::test]
async fn a_snapshot_that_fails_stops_the_change() {
    let (shop, home) = with_command().await;
    let proof = shop.test.proof::<ChangeStorage>(&shop.admin).await.expect("an admin");
    let request =
        StorageRequest { part: part("service:database"), size: Bytes(GIB), snapshot: Wish::Advised, evict: Vec::new() };
    let entry = storage::change(&shop.test.app, proof, request).await.expect("it is queued");
    let away = shop.site.uploads.with_file_name("away");
    std::fs::rename(&shop.site.uploads, &away).expect("it is ours");
    let failed = shop.test.settle(&entry.activity.id).await;
    let reason = failed.failure.expect("it failed");
    assert!(reason.starts_with("The snapshot that was to be taken first is missing (it failed: "), "{reason}");
    assert!(!home.join("calls").exists(), "nothing was done");
    std::fs::rename(&away, &shop.site.uploads).expect("it is ours");
    assert_eq!(declared(&shop, "service:database").await, None);
}

#[tokio::test]
async fn less_than_is_used_is_refused_and_stands_in_the_feed() {
    let shop = TestApp::with_shop().await;
    std::fs::write(shop.site.uploads.join("large"), vec![7_u8; 3 << 20]).expect("a file");
    let Err(Error::Conflict(refused)) = ask(&shop, "mount:uploads", 2 << 20, Wish::Nothing).await else {
        panic!("it does not fit")
    };
    assert!(refused.to_string().starts_with("The mount uploads uses 3.0 MiB, which does not fit into 2.0 MiB."));
    let proof = shop.test.proof::<ViewHistory>(&shop.admin).await.expect("an admin");
    let feed = activities::feed(&shop.test.app, &proof, activities::Filter::default()).await.expect("a feed");
    assert_eq!(feed.entries[0].activity.failure, Some(refused.to_string()));
    // What was asked for while it fitted is asked again when it runs.
    let proof = shop.test.proof::<ChangeStorage>(&shop.admin).await.expect("an admin");
    let request = StorageRequest {
        part: part("mount:uploads"),
        size: Bytes(4 << 20),
        snapshot: Wish::Nothing,
        evict: Vec::new(),
    };
    let entry = storage::change(&shop.test.app, proof, request).await.expect("it fits");
    std::fs::write(shop.site.uploads.join("larger"), vec![7_u8; 2 << 20]).expect("a file");
    let failed = shop.test.settle(&entry.activity.id).await;
    assert!(failed.failure.expect("it does not fit any more").contains("does not fit into 4.0 MiB"));
    assert_eq!(declared(&shop, "mount:uploads").await, None);
    let unknown = ask(&shop, "mount:nowhere", GIB, Wish::Nothing).await;
    assert!(matches!(unknown, Err(Error::NotFound(_))), "{unknown:?}");
}

#[tokio::test]
async fn the_operators_file_declares_it_advises_a_snapshot_where_it_grows_and_keeps_what_it_does_not_name() {
    let shop = TestApp::with_shop().await;
    let main = shop.site.declaration("shop", "main", "production", "self-hosted");
    let with = |storage: &str| format!("{main}[project.environment.storage]\n{storage}\n");
    let Applied::Done { notes, .. } = shop.test.apply(&with("mounts = { uploads = \"10 GiB\" }")).await else {
        panic!("it can be declared")
    };
    assert!(notes.is_empty(), "nothing grows that was not declared: {notes:?}");
    let Applied::Done { notes, .. } = shop.test.apply(&with("mounts = { uploads = \"20 GiB\" }")).await else {
        panic!("it may grow")
    };
    let [note] = &notes[..] else { panic!("one note: {notes:?}") };
    assert!(note.message.contains("of the mount uploads of shop/main grows from 10.0 GiB to 20.0 GiB"), "{note}");
    assert!(note.message.ends_with("`stillpoint snapshot:create -p shop -e main`"), "{note}");
    ask(&shop, "service:database", GIB, Wish::Nothing).await.expect("it is queued");
    shop.test.declare(&main).await;
    assert_eq!(declared(&shop, "mount:uploads").await, Some(Bytes(20 * GIB)));
    assert_eq!(declared(&shop, "service:database").await, Some(Bytes(GIB)));

    std::fs::write(shop.site.uploads.join("large"), vec![7_u8; 3 << 20]).expect("a file");
    for (storage, why) in [
        ("mounts = { uploads = \"2 MiB\" }", "which does not fit into 2.0 MiB"),
        ("mounts = { uploads = \"much\" }", "a size is a number with a unit"),
        ("services = { search = \"1 GiB\" }", "there is no service search in this environment"),
    ] {
        let Applied::Refused(troubles) = shop.test.apply(&with(storage)).await else { panic!("{storage}") };
        assert!(troubles.iter().any(|trouble| trouble.message.contains(why)), "{troubles:?}");
    }
    assert_eq!(declared(&shop, "mount:uploads").await, Some(Bytes(20 * GIB)));
}

#[tokio::test]
async fn every_door_shows_it_and_only_admins_change_it() {
    let doors = Doors::of(TestApp::with_shop().await).await;
    let admin = doors.person(&doors.shop.admin).await;
    let viewer = doors.shop.test.member("viewer@example.org", TypeRole::Viewer).await;
    let viewer = doors.person(&viewer).await;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let set = |size| words(&["storage:set", "mount:uploads", size, "-p", "shop", "-e", "main", "--yes"]);

    let done = doors.command(&admin, set("20 GiB")).await;
    let told = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{told}");
    assert!(told.contains("Creating a snapshot of the environment main first"), "{told}");
    assert!(String::from_utf8_lossy(&done.stdout).starts_with("Backup name: "));
    let storage = doors.get(&admin, "/projects/shop/environments/main/storage").await;
    assert_eq!(storage["parts"][1]["part"], "mount:uploads");
    assert_eq!(storage["parts"][1]["declared"], 20 * GIB);
    assert_eq!(storage["snapshot"]["advised"], true);

    let page = "/projects/shop/environments/main/storage";
    let (status, html) = doors.page(&admin, page).await;
    assert!(status == 200 && html.contains("Take a snapshot of main before the change"), "{html}");
    let fields =
        [("project", "shop"), ("environment", "main"), ("part", "mount:uploads"), ("size", "30 GiB"), ("form", "1")];
    let (next, _) = doors.form(&admin, page, "/actions/storage", &fields).await;
    assert!(next.starts_with("/projects/shop/activities/"), "{next}");

    let refused = doors.command(&viewer, set("40 GiB")).await;
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("Changing declared storage needs the admin role on production environments"), "{told}");
    let (status, html) = doors.page(&viewer, page).await;
    assert!(
        status == 200 && html.contains("Changing declared storage needs the admin role"),
        "shown, with the reason (R7)"
    );
    let body = serde_json::json!({ "part": "mount:uploads", "size": "40 GiB" });
    let (status, _) = doors.ask(&viewer, http::Method::POST, page, body).await;
    assert_eq!(status, 403);
    let (status, body) = doors.ask(&admin, http::Method::POST, page, serde_json::json!({})).await;
    assert_eq!(status, 400, "{body}");
    doors.close().await;
}

#[test]
fn a_worker_that_dies_after_the_command_runs_it_again_and_declares_the_size_once() {
    let at = crate::process::Installation::new();
    let home = at.directory().join("commands");
    std::fs::create_dir(&home).expect("a fresh directory");
    let program = home.join("resize");
    std::fs::write(&program, "#!/bin/sh\necho \"$*\" >> \"$(dirname \"$0\")/calls\"\n").expect("a script");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let commands = format!("\n[project.commands]\nresize = [{program:?}]\n");
    let (applied, told) = at.apply(&at.site.declaration(&commands));
    assert!(applied, "{told}");
    let path = "/projects/shop/environments/main/storage";
    let declared = |at: &crate::process::Installation| {
        let (_, body) = at.ask("GET", path, None).expect("the server answers");
        let parts = body["parts"].as_array().expect("a list").clone();
        parts.into_iter().find(|it| it["part"] == "mount:uploads").expect("it is there")["declared"].clone()
    };
    let dying = at.start_with(&[("STILLPOINT_CRASH_AT", "storage: ran")]);
    let body = serde_json::json!({ "part": "mount:uploads", "size": "20 GiB", "snapshot": false });
    let (status, reply) = at.ask("POST", path, Some(body)).expect("the server answers");
    assert_eq!(status, 202, "{reply}");
    let activity = reply["_embedded"]["activities"][0]["id"].as_str().expect("an id").to_owned();
    dying.died();
    let line = format!("resize main mount uploads {}\n", 20 * GIB);
    assert_eq!(std::fs::read_to_string(home.join("calls")).expect("it ran"), line);

    let server = at.start();
    at.succeeded(&crate::process::Asked { activity, snapshot: String::new() });
    assert_eq!(std::fs::read_to_string(home.join("calls")).expect("it ran"), line.repeat(2), "its own affair");
    assert_eq!(declared(&at), 20 * GIB);
    server.terminate();
}
