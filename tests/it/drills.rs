//! Drills: a restore is really tried beside the live data, and what came of it stands everywhere (R29).

use std::process::Command;

use serde_json::{Value, json};
use stillpoint::authz::RunDrill;
use stillpoint::domain::policy::TypeRole;
use stillpoint::domain::policy::retention::Hold;
use stillpoint::domain::view::Tone;
use stillpoint::ops::{Error, drills, environments, retention, snapshots};
use stillpoint::wire;

use crate::everything::installed;
use crate::everything::shop::Kind;
use crate::process::{Installation, said};
use crate::support::{TestApp, tree};

const DRILLS: &str = "/projects/shop/environments/main/drills";

fn reports(at: &Installation) -> Vec<Value> {
    let (status, body) = at.ask("GET", DRILLS, None).expect("the server answers");
    assert_eq!(status, 200, "{body}");
    body.as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_drill_proves_the_newest_snapshot_and_changes_nothing() {
    let shop = TestApp::with_shop().await;
    let app = &shop.test.app;
    let proof = shop.test.proof::<RunDrill>(&shop.admin).await.expect("an admin");
    let none = drills::run(app, proof.clone(), None).await;
    assert!(matches!(none, Err(Error::Conflict(_))), "{none:?}");
    shop.snapshot().await;
    let newest = shop.snapshot().await;
    shop.site.order("sofa");
    let before = tree(&shop.site.uploads);

    let entry = drills::run(app, proof, None).await.expect("it is queued");
    let done = shop.test.settle(&entry.activity.id).await;
    assert_eq!(done.failure, None);
    assert_eq!((shop.site.orders().len(), tree(&shop.site.uploads)), (4, before));
    assert!(!shop.site.uploads.with_file_name(".stillpoint").exists(), "nothing is left beside the mount");

    let page = environments::page(app, shop.history().await).await.expect("the environment");
    let proven = page.proven.expect("a drill");
    assert_eq!((&proven.snapshot, &proven.activity), (&newest, &done.id));
    assert!(proven.took_us > 0 && proven.finished_at >= proven.taken_at, "{proven:?}");
    let parts: Vec<_> = proven.parts.iter().map(|it| (it.part.to_string(), it.proven.clone())).collect();
    assert_eq!(
        parts,
        [
            ("mount:uploads".to_owned(), "1 file, 7 B".to_owned()),
            ("service:database".to_owned(), "3 rows in 1 table".to_owned())
        ]
    );
    assert_eq!(page.card.health.tone, Tone::Good, "{:?}", page.card.health);
    assert_eq!(page.activities.entries[0].description, format!("proved a restore of {newest} of main"));
    let planned = retention::preview(app, &shop.history().await).await.expect("a preview").plan;
    assert!(planned.of(&newest).expect("it is in the plan").holds.contains(&Hold::Proven), "{planned:?}");
}

#[tokio::test]
async fn a_snapshot_that_can_not_be_restored_is_an_alarm_until_another_can() {
    let shop = TestApp::with_shop().await;
    let broken = shop.snapshot().await;
    // What a disk may do.
    let mut packs: Vec<_> = walkdir::WalkDir::new(shop.test.directory.path().join("state/repositories"))
        .into_iter()
        .map(|entry| entry.expect("a readable tree").into_path())
        .filter(|path| path.is_file() && path.components().any(|part| part.as_os_str() == "data"))
        .collect();
    packs.sort();
    assert!(!packs.is_empty());
    let kept: Vec<Vec<u8>> = packs.iter().map(|path| std::fs::read(path).expect("a pack")).collect();
    for path in &packs {
        let mut permissions = std::fs::metadata(path).expect("a pack").permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        std::fs::set_permissions(path, permissions).expect("ours");
        let length = std::fs::metadata(path).expect("a pack").len();
        std::fs::write(path, vec![0; usize::try_from(length).expect("small")]).expect("writable");
    }
    let app = &shop.test.app;
    let try_it = async || {
        let proof = shop.test.proof::<RunDrill>(&shop.admin).await.expect("an admin");
        let entry = drills::run(app, proof, Some(broken.clone())).await.expect("it is queued");
        shop.test.settle(&entry.activity.id).await
    };
    let failed = try_it().await;
    assert!(failed.failure.is_some(), "{failed:?}");
    let page = environments::page(app, shop.history().await).await.expect("the environment");
    assert_eq!((page.proven, page.card.health.tone), (None, Tone::Bad));
    assert!(page.card.health.sentence.contains("could not be restored"), "{:?}", page.card.health);
    // It has a report, and is no snapshot to rely on.
    let [report] = &drills::list(app, &shop.history().await).await.expect("reports")[..] else { panic!("one report") };
    assert_eq!((&report.snapshot, report.activity.clone()), (&broken, failed.id.clone()));
    let said = report.failure.clone().expect("it failed");
    assert_eq!(
        (said.part.map(|part| part.to_string()), Some(said.reason)),
        (Some("mount:uploads".to_owned()), failed.failure)
    );
    assert_eq!(page.unprovable.as_ref(), Some(report), "the page does not say that none was tried");
    assert_eq!(
        drills::report(app, &shop.history().await, &failed.id).await.expect("it is exported").failure,
        report.failure
    );
    let restorable = async || {
        let found = snapshots::page(app, &shop.history().await, &broken).await.expect("it is there");
        wire::Backup::from(found).restorable
    };
    assert!(!restorable().await);

    for (path, bytes) in packs.iter().zip(kept) {
        std::fs::write(path, bytes).expect("writable");
    }
    assert_eq!(try_it().await.failure, None);
    let page = environments::page(app, shop.history().await).await.expect("the environment");
    assert_eq!((page.proven.is_some(), page.card.health.tone), (true, Tone::Good));
    assert!(restorable().await);
}

#[tokio::test]
async fn who_may_only_look_reads_reports_and_starts_none() {
    let shop = TestApp::with_shop().await;
    for role in [TypeRole::Viewer, TypeRole::Contributor] {
        let member = shop.test.member(&format!("{role}@example.org"), role).await;
        let refused = shop.test.proof::<RunDrill>(&member).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    }
}

#[test]
fn a_drill_tries_every_kind_of_service_and_leaves_nothing() {
    let (shop, at) = installed();
    let server = at.start();
    shop.write(&Kind::ALL);
    let name = at.snapshot();
    shop.write(&Kind::ALL);
    let asked = at.ask_drill(&name);
    at.succeeded(&asked);
    let report = reports(&at).remove(0);
    assert_eq!((&report["id"], &report["backup"]), (&json!(asked.activity), &json!(name)));
    let parts = report["parts"].as_array().expect("parts");
    let kinds: Vec<&str> = parts.iter().filter_map(|part| part["type"].as_str()).collect();
    for kind in ["postgresql", "mysql", "redis", "sqlite", "mount"] {
        assert!(kinds.contains(&kind), "{kind}: {report:#}");
    }
    at.assert_no_leftovers();
    // What the drill made beside does not stand in the way of the next, nor of a restore.
    at.succeeded(&at.ask_drill(&name));
    at.restore(&name);
    assert_eq!(reports(&at).len(), 2);
    server.terminate();
}

#[test]
fn a_drill_that_dies_leaves_nothing_and_is_tried_again() {
    for step in ["restore: a mount loaded", "restore: a service loaded", "drill: loaded"] {
        let at = Installation::new();
        let dying = at.start_with(&[("STILLPOINT_CRASH_AT", step)]);
        let name = at.snapshot();
        let asked = at.ask_drill(&name);
        dying.died();
        assert_eq!(at.site.version(), 1);
        let server = at.start();
        let visitor = at.visitor();
        at.succeeded(&asked);
        assert_eq!(visitor.leave().asked_to_return, 0, "{step}");
        assert_eq!(reports(&at).len(), 1, "{step}");
        at.assert_no_leftovers();
        server.terminate();
    }
}

#[test]
fn the_command_line_tries_a_restore_and_prints_what_it_proved() {
    let at = Installation::new();
    let server = at.start();
    let ask = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stillpoint"));
        command.env_clear().env("STILLPOINT_URL", at.console()).env("STILLPOINT_TOKEN", &at.token);
        command.args(words).args(["-p", "shop", "-e", "main"]).output().expect("the command line's program")
    };
    let none = ask(&["drill:run"]);
    assert!(said(&none).contains("There is no snapshot to try"), "{}", said(&none));
    assert_eq!(ask(&["drill:list"]).status.code(), Some(1));
    let name = at.snapshot();
    let tried = ask(&["drill:run", "--format", "csv", "--columns", "part,proven"]);
    assert!(tried.status.success(), "{}", said(&tried));
    let table = String::from_utf8(tried.stdout).expect("UTF-8");
    assert!(table.contains("service:database,400 rows in 1 table"), "{table}");
    let listed = ask(&["drill:list", "--format", "json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(listed[0]["backup"], json!(name));
    let got = ask(&["drill:get", "-P", "backup"]);
    assert_eq!(String::from_utf8(got.stdout).expect("UTF-8").trim(), name);
    server.terminate();
}
