//! The main job on real data: snapshot, change, restore, undo; and who may (R15, R18, R19, R22, R24).

use stillpoint::authz::{CreateSnapshot, RestoreSnapshot, ViewHistory};
use stillpoint::domain::activity::{ActivityResult, ActivityState, Payload, SnapshotMode};
use stillpoint::domain::policy::TypeRole;
use stillpoint::domain::snapshot::{Consistency, Origin};
use stillpoint::domain::{ProjectId, Scope};
use stillpoint::ops::snapshots::SnapshotRequest;
use stillpoint::ops::{Error, activities, environments, restores, snapshots};

use crate::support::{Site, TestApp, environment, project, tree};

#[tokio::test]
async fn a_snapshot_is_taken_and_shows_its_proof() {
    let shop = TestApp::with_shop().await;
    let name = shop.snapshot().await;
    let page = snapshots::page(&shop.test.app, &shop.history().await, &name).await.expect("it is in the catalogue");
    assert_eq!(page.snapshot.consistency, Consistency::Consistent);
    assert_eq!(page.snapshot.origin, Origin::Manual);
    let proof = page.snapshot.proof.expect("a consistent snapshot has a proof");
    assert!(proof.closed_us > 0);
    assert_eq!(proof.lost, 0);
    assert_eq!(proof.points.len(), 1);
    let [service] = page.manifest.services.as_slice() else { panic!("one service") };
    assert_eq!(service.facts.rows.get("orders"), Some(&3));
    let [mount] = page.manifest.mounts.as_slice() else { panic!("one mount") };
    assert_eq!((mount.files, mount.bytes), (1, 7));
}

#[tokio::test]
async fn a_restore_brings_the_old_state_back_and_can_be_undone() {
    let shop = TestApp::with_shop().await;
    let before = tree(&shop.site.uploads);
    let name = shop.snapshot().await;
    shop.site.order("sofa");
    std::fs::write(shop.site.uploads.join("pictures/sofa.jpg"), b"a sofa").expect("a writable directory");
    std::fs::remove_file(shop.site.uploads.join("pictures/chair.jpg")).expect("the file is there");
    let changed = tree(&shop.site.uploads);

    let restored = shop.restore(&name).await;
    assert_eq!(restored.failure, None);
    assert_eq!(shop.site.orders(), ["chair", "table", "lamp"]);
    assert_eq!(tree(&shop.site.uploads), before);

    let Payload::RestoreSnapshot(payload) = restored.payload else { panic!("a restore") };
    let page = snapshots::page(&shop.test.app, &shop.history().await, &payload.safety).await.expect("it is kept");
    assert_eq!(page.snapshot.origin, Origin::Safety);
    assert!(page.snapshot.expires_at.is_some());
    // What was replaced is no backup of what is there now.
    let card = environments::card(&shop.test.app, shop.history().await).await.expect("the environment");
    assert_eq!(card.newest_snapshot.map(|newest| newest.name), Some(name));
    let undone = shop.restore(&payload.safety).await;
    assert_eq!(undone.failure, None);
    assert_eq!(shop.site.orders(), ["chair", "table", "lamp", "sofa"]);
    assert_eq!(tree(&shop.site.uploads), changed);
    assert!(!shop.site.uploads.with_file_name(".stillpoint").exists(), "nothing is left beside the mount");
}

#[tokio::test]
async fn a_live_snapshot_is_labelled_live() {
    let shop = TestApp::with_shop().await;
    let proof = shop.test.proof::<CreateSnapshot>(&shop.admin).await.expect("an admin");
    let request = SnapshotRequest {
        mode: SnapshotMode::Live,
        note: Some("  before the sale  ".to_owned()),
        ..Default::default()
    };
    let entry = snapshots::create(&shop.test.app, proof, request).await.expect("it is queued");
    let done = shop.test.settle(&entry.activity.id).await;
    assert_eq!(done.failure, None);
    let [made] = &snapshots::list(&shop.test.app, &shop.history().await).await.expect("a list")[..] else {
        panic!("one snapshot")
    };
    assert_eq!(made.snapshot.consistency, Consistency::Live);
    assert_eq!(made.snapshot.note.as_deref(), Some("before the sale"));
}

#[tokio::test]
async fn the_preflight_says_what_is_replaced_and_what_was_confirmed_is_what_runs() {
    let shop = TestApp::with_shop().await;
    let name = shop.snapshot().await;
    shop.site.order("sofa");
    let app = &shop.test.app;
    let proof = async || shop.test.proof::<RestoreSnapshot>(&shop.admin).await.expect("an admin");
    let preflight =
        restores::preflight(app, &proof().await.into(), &name, &Scope::default()).await.expect("the snapshot is there");
    assert!(preflight.offer.is_open());
    let changes: Vec<(&str, &str, &str)> = preflight
        .changes
        .iter()
        .map(|change| (change.part.name.as_str(), change.becomes.as_str(), change.replaces.as_str()))
        .collect();
    assert_eq!(
        changes,
        [("database", "3 rows in 1 table", "4 rows in 1 table"), ("uploads", "1 file, 7 B", "1 file, 7 B")]
    );

    // The environment gets another service: what was confirmed is no longer what would happen.
    let other = Site::new(&shop.test.directory.path().join("other"));
    let more = format!(
        "{}[[project.environment.service]]\nname = \"more\"\ntype = \"sqlite\"\npath = {:?}\n",
        shop.site.declaration("shop", "main", "production", "self-hosted"),
        other.database
    );
    shop.test.declare(&more).await;
    let request = restores::RestoreRequest { snapshot: name, scope: Scope::default(), plan_hash: Some(preflight.hash) };
    let refused = restores::create(app, proof().await.into(), request).await;
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
}

#[tokio::test]
async fn a_viewer_sees_the_history_and_can_start_nothing_and_the_page_says_why() {
    let shop = TestApp::with_shop().await;
    let name = shop.snapshot().await;
    let viewer = shop.test.member("viewer@example.org", TypeRole::Viewer).await;
    let proof = shop.test.proof::<ViewHistory>(&viewer).await.expect("a viewer sees the history");
    let page = environments::page(&shop.test.app, proof.clone()).await.expect("the page");
    assert_eq!(page.snapshots.len(), 1);
    for offer in [page.card.create_snapshot.clone(), page.restore, page.snapshots[0].restore.clone()] {
        let refusal = offer.refusal.expect("a viewer is refused");
        assert!(refusal.reason.contains("needs the admin role"), "{refusal}");
    }
    assert!(snapshots::page(&shop.test.app, &proof, &name).await.is_ok());
    let create = shop.test.proof::<CreateSnapshot>(&viewer).await;
    assert!(matches!(create, Err(Error::Forbidden(_))), "{create:?}");
    let restore = shop.test.proof::<RestoreSnapshot>(&viewer).await;
    assert!(matches!(restore, Err(Error::Forbidden(_))), "{restore:?}");
}

#[tokio::test]
async fn what_is_foreign_looks_as_if_it_did_not_exist() {
    let shop = TestApp::with_shop().await;
    let outsider = shop.test.outsider("outsider@example.org").await;
    let foreign = shop.test.proof::<ViewHistory>(&outsider).await.expect_err("no member");
    assert_eq!(foreign.problem().status, 404);
    let nowhere = ProjectId::parse("nowhere").expect("a valid id");
    for (project, name) in [(project(), "nowhere"), (nowhere, "main")] {
        let asked = shop.test.app.authorize_environment::<ViewHistory>(&outsider, &project, &environment(name)).await;
        let unknown = asked.expect_err("there is none");
        assert_eq!(foreign.problem(), unknown.problem(), "{project} {name}");
    }
}

#[tokio::test]
async fn what_a_plan_refuses_stands_in_the_feed_with_the_reason() {
    let test = TestApp::new().await;
    let admin = test.operator("admin@example.org").await;
    let site = Site::new(&test.directory.path().join("site"));
    test.declare(&site.declaration("shop", "main", "production", "pro")).await;
    let proof = test.proof::<CreateSnapshot>(&admin).await.expect("an admin");
    let refused = snapshots::create(&test.app, proof, SnapshotRequest::default()).await;
    let Err(Error::Forbidden(refusal)) = refused else { panic!("Pro has no manual snapshots of production") };
    let proof = test.proof::<ViewHistory>(&admin).await.expect("an admin");
    let feed = activities::feed(&test.app, &proof, Default::default()).await.expect("a feed");
    let [entry] = feed.entries.as_slice() else { panic!("the refusal is in the feed") };
    assert_eq!(entry.activity.state, ActivityState::Complete);
    assert_eq!(entry.activity.result, Some(ActivityResult::Failure));
    assert_eq!(entry.activity.failure.as_deref(), Some(refusal.to_string().as_str()));
}

#[tokio::test]
async fn who_lost_the_role_while_it_was_queued_is_refused_when_it_starts() {
    let shop = TestApp::with_shop().await;
    let entry = shop.ask_for_snapshot().await;
    shop.test.set_roles(&shop.admin, None, [].into()).await;
    let done = shop.test.settle(&entry.activity.id).await;
    assert_eq!(done.result, Some(ActivityResult::Failure));
    let failure = done.failure.expect("a reason");
    assert!(failure.contains("needs the admin role"), "{failure}");
}

#[tokio::test]
async fn a_second_snapshot_of_unchanged_data_adds_next_to_nothing() {
    let shop = TestApp::with_shop().await;
    let big: Vec<u8> = (0..2_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    std::fs::write(shop.site.uploads.join("film"), &big).expect("a writable directory");
    shop.snapshot().await;
    shop.snapshot().await;
    let list = snapshots::list(&shop.test.app, &shop.history().await).await.expect("a list");
    let [second, first] = list.as_slice() else { panic!("two snapshots") };
    assert!(first.snapshot.added.0 > 1_000_000);
    assert!(second.snapshot.added.0 < 50_000, "{}", second.snapshot.added);
}
