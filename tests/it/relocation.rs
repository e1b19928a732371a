//! A project moves to another region, with its repository (R27).

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use stillpoint::authz::{Actor, MoveProject, RestoreSnapshot};
use stillpoint::domain::activity::{Activity, ActivityResult};
use stillpoint::domain::ids::RegionId;
use stillpoint::domain::policy::TypeRole;
use stillpoint::domain::{ActivityId, Scope, SnapshotName};
use stillpoint::jobs::{Round, Upkeep};
use stillpoint::ops::installation::{self, Applied};
use stillpoint::ops::restores::{self, RestoreRequest, Way, Wish};
use stillpoint::ops::{Error, relocation};
use stillpoint::queue::Timing;
use stillpoint::store::projects;
use tokio_util::sync::CancellationToken;

use crate::doors::through::Doors;
use crate::process::{Asked, Installation, said};
use crate::support::{Shop, TestApp, environment, project};

fn region(id: &str) -> RegionId {
    RegionId::parse(id).expect("a valid id")
}

/// With a region `eu` beside `local`, and where its repositories lie.
async fn with_eu() -> (Shop, PathBuf) {
    let shop = TestApp::with_shop().await;
    let place = shop.test.directory.path().join("eu");
    std::fs::create_dir(&place).expect("a fresh directory");
    shop.test
        .declare(&format!("[[region]]\nid = \"eu\"\nrepositories = {place:?}\nrestore_elsewhere = \"by_ticket\"\n"))
        .await;
    (shop, place)
}

async fn ask(shop: &Shop, actor: &Actor, to: &str) -> Result<ActivityId, Error> {
    let proof = shop.test.app.authorize_project::<MoveProject>(actor, &project()).await?;
    Ok(relocation::begin(&shop.test.app, proof, &region(to)).await?.activity.id)
}

/// Works as a worker of that region does.
async fn settle_in(shop: &Shop, id: &str, activity: &ActivityId) -> Activity {
    let stop = CancellationToken::new();
    let mut worker = shop.test.worker(Timing::default());
    worker.region = region(id);
    let working = tokio::spawn(worker.run(stop.clone()));
    let over = shop.test.wait_for(activity, |activity| activity.state.is_over()).await;
    stop.cancel();
    working.await.expect("the worker does not panic");
    over
}

async fn moved(shop: &Shop, to: &str) {
    let asked = ask(shop, &shop.admin, to).await.expect("an operator");
    let done = settle_in(shop, to, &asked).await;
    assert_eq!((done.failure, done.result), (None, Some(ActivityResult::Success)));
}

/// The project's region, and where its repository lies.
async fn place(shop: &Shop) -> (String, String) {
    let mut db = shop.test.store.read().await.expect("a connection");
    let found = projects::by_id(&mut db, &project()).await.expect("readable").expect("it is there");
    let access = projects::repository(&mut db, shop.test.store.sealer(), &project()).await.expect("readable");
    (found.region.to_string(), access.location)
}

async fn restic(shop: &Shop, repository: &Path, arguments: &[&str]) -> String {
    let key = installation::recovery_key(&shop.test.app).await.expect("a key");
    let mut command = Command::new("restic");
    command.env("RESTIC_PASSWORD", key.reveal()).args(["--no-cache", "-r"]).arg(repository).args(arguments);
    let output = command.output().expect("restic is installed");
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

async fn snapshot_in(shop: &Shop, id: &str) -> SnapshotName {
    let entry = shop.ask_for_snapshot().await;
    let done = settle_in(shop, id, &entry.activity.id).await;
    assert_eq!(done.failure, None);
    let stillpoint::domain::activity::Payload::TakeSnapshot(take) = done.payload else { panic!("no snapshot") };
    take.snapshot
}

async fn restore_in(shop: &Shop, id: &str, snapshot: &SnapshotName) {
    let proof = shop.test.proof::<RestoreSnapshot>(&shop.admin).await.expect("an admin");
    let request = RestoreRequest { snapshot: snapshot.clone(), scope: Scope::default(), plan_hash: None };
    let entry = restores::create(&shop.test.app, Way::from(proof), request).await.expect("it is queued");
    assert_eq!(settle_in(shop, id, &entry.activity.id).await.failure, None);
}

#[tokio::test]
async fn a_project_moves_with_all_its_snapshots_and_restic_finds_them_under_the_same_ids() {
    let (shop, eu) = with_eu().await;
    shop.add_staging().await;
    let first = shop.snapshot().await;
    shop.site.order("sofa");
    let (_, old) = place(&shop).await;
    let ids = restic(&shop, Path::new(&old), &["snapshots", "--json"]).await;

    let proof = shop.test.app.authorize_project::<MoveProject>(&shop.admin, &project()).await.expect("an operator");
    let told = relocation::preflight(&shop.test.app, &proof, &region("eu")).await.expect("a region");
    assert_eq!((told.obstacles.len(), told.snapshots), (0, 1), "{told:?}");
    assert_eq!(told.changes, ["Restores into other environments are done by support staff, on a ticket."]);
    assert!(told.size.is_some_and(|size| size.0 > 0), "{told:?}");
    moved(&shop, "eu").await;

    let new = eu.join("shop");
    assert_eq!(place(&shop).await, ("eu".to_owned(), new.display().to_string()));
    assert_eq!(restic(&shop, &new, &["snapshots", "--json"]).await, ids);
    restic(&shop, &new, &["check", "--read-data"]).await;

    // What is asked for now is done by that region's workers, in the new repository.
    restore_in(&shop, "eu", &first).await;
    assert_eq!(shop.site.orders(), ["chair", "table", "lamp"]);
    let second = snapshot_in(&shop, "eu").await;
    assert!(restic(&shop, &new, &["snapshots"]).await.contains(second.as_str()));
    assert!(
        !restic(&shop, Path::new(&old), &["snapshots"]).await.contains(second.as_str()),
        "the old one is kept as it was"
    );

    // Its region decides what is offered.
    let wish = Wish { target: Some("staging"), branch_from: None };
    let way = Way::authorize(&shop.test.app, &shop.admin, &project(), &environment("main"), wish).await;
    let request = RestoreRequest { snapshot: second, scope: Scope::default(), plan_hash: None };
    let refused = restores::create(&shop.test.app, way.expect("an admin of both"), request).await;
    let Err(Error::Forbidden(refusal)) = refused else { panic!("{refused:?}") };
    assert!(refusal.to_string().starts_with("In the region eu support staff restores"), "{refusal}");
}

#[tokio::test]
async fn it_comes_back_and_the_repository_that_it_left_stays() {
    let (shop, eu) = with_eu().await;
    let first = shop.snapshot().await;
    let (_, old) = place(&shop).await;
    moved(&shop, "eu").await;
    let second = snapshot_in(&shop, "eu").await;
    moved(&shop, "local").await;
    assert_eq!(place(&shop).await, ("local".to_owned(), old.clone()));
    restic(&shop, Path::new(&old), &["check", "--read-data"]).await;
    for name in [&first, &second] {
        shop.site.order("sofa");
        assert_eq!(shop.restore(name).await.failure, None);
        assert_eq!(shop.site.orders(), ["chair", "table", "lamp"]);
    }

    // Nothing of ours ever removes what was left.
    let (context, stop) = (shop.test.context(), CancellationToken::new());
    Upkeep::of(region("eu")).round(&context, Round::Whole, &stop).await;
    restic(&shop, &eu.join("shop"), &["check", "--read-data"]).await;
}

#[tokio::test]
async fn a_place_that_is_the_same_by_another_name_is_refused() {
    let (shop, eu) = with_eu().await;
    shop.snapshot().await;
    let (_, present) = place(&shop).await;
    std::fs::remove_dir(&eu).ok();
    std::os::unix::fs::symlink(Path::new(&present).parent().expect("a directory"), &eu).expect("a link");
    let activity = ask(&shop, &shop.admin, "eu").await.expect("nobody sees it yet");
    let done = settle_in(&shop, "eu", &activity).await;
    assert!(done.failure.is_some_and(|why| why.contains("already")), "it is refused");
    assert_eq!(place(&shop).await, ("local".to_owned(), present.clone()));
    restic(&shop, Path::new(&present), &["check", "--read-data"]).await;
}

#[tokio::test]
async fn operators_alone_move_it_and_only_where_there_is_a_place() {
    let (shop, eu) = with_eu().await;
    shop.snapshot().await;
    let admin = shop.test.member("admin-of-shop@example.org", TypeRole::Admin).await;
    let Err(Error::Forbidden(refusal)) = ask(&shop, &admin, "eu").await else { panic!("it was not refused") };
    assert!(refusal.to_string().starts_with("Moving a project to another region is for the operators"), "{refusal}");
    assert!(matches!(ask(&shop, &shop.admin, "moon").await, Err(Error::Invalid { .. })));
    for (to, first_words) in
        [("local", "The project is in the region local already."), ("us", "The region us has no place")]
    {
        shop.test.declare("[[region]]\nid = \"us\"\n").await;
        let Err(Error::Conflict(refusal)) = ask(&shop, &shop.admin, to).await else { panic!("{to} was not refused") };
        assert!(refusal.to_string().starts_with(first_words), "{refusal}");
    }

    // Another repository stands there.
    let other = eu.join("shop");
    std::fs::create_dir(&other).expect("a fresh directory");
    std::fs::write(other.join("config"), b"of somebody else").expect("a writable directory");
    let asked = ask(&shop, &shop.admin, "eu").await.expect("it is queued");
    let Err(Error::Conflict(refusal)) = ask(&shop, &shop.admin, "eu").await else { panic!("it was not refused") };
    assert!(refusal.to_string().starts_with("The project is being moved to the region eu already."), "{refusal}");
    let failure = settle_in(&shop, "eu", &asked).await.failure.expect("it failed");
    assert!(failure.starts_with("There is a repository at"), "{failure}");

    // A service that its workers can't reach.
    std::fs::remove_dir_all(&other).expect("a removable directory");
    let away = shop.site.uploads.with_file_name("away");
    std::fs::rename(&shop.site.uploads, &away).expect("a movable directory");
    let asked = ask(&shop, &shop.admin, "eu").await.expect("it is queued");
    let failure = settle_in(&shop, "eu", &asked).await.failure.expect("it failed");
    assert!(failure.starts_with("The environment main does not work from the region eu: "), "{failure}");
    assert_eq!(place(&shop).await.0, "local");
    std::fs::rename(&away, &shop.site.uploads).expect("a movable directory");
    shop.snapshot().await;
}

#[tokio::test]
async fn a_new_project_is_declared_in_a_region_and_a_known_one_is_not_moved_by_a_file() {
    let (shop, eu) = with_eu().await;
    let site = crate::support::Site::new(&shop.test.directory.path().join("second"));
    let second = site.declaration("second", "main", "production", "self-hosted");
    shop.test.declare(&second.replacen("title", "region = \"eu\"\ntitle", 1)).await;
    assert!(eu.join("second/config").exists());
    let file = shop.site.declaration("shop", "main", "production", "self-hosted");
    let Applied::Refused(troubles) = shop.test.apply(&file.replacen("title", "region = \"eu\"\ntitle", 1)).await else {
        panic!("it was applied")
    };
    assert!(troubles[0].message.contains("`stillpoint project:move --region eu -p shop` moves it"), "{troubles:?}");
    for (more, expected) in [
        ("[[project]]\nid = \"third\"\nregion = \"moon\"\n", "there is no region moon"),
        ("[[region]]\nid = \"us\"\n\n[[project]]\nid = \"third\"\nregion = \"us\"\n", "has no place for repositories"),
        ("[[region]]\nid = \"us\"\nrepositories = \"relative\"\n", "is not the absolute path of a directory"),
    ] {
        let Applied::Refused(troubles) = shop.test.apply(more).await else { panic!("{more} was applied") };
        assert!(troubles[0].message.contains(expected), "{troubles:?}");
    }
}

#[tokio::test]
async fn the_console_says_what_a_move_does_then_moves_it_and_says_what_stays_behind() {
    let (shop, eu) = with_eu().await;
    shop.snapshot().await;
    let (_, old) = place(&shop).await;
    let doors = Doors::of(shop).await;
    let shop = &doors.shop;
    let admin = shop.test.member("admin-of-shop@example.org", TypeRole::Admin).await;
    let (operator, admin) = (doors.person(&shop.admin).await, doors.person(&admin).await);
    let page = "/projects/shop/region";

    // A project's admin sees where it lies, and why they can't move it (R7).
    let (status, html) = doors.page(&admin, page).await;
    assert!(status == 200 && html.contains("Region local") && html.contains("The project was never moved."), "{html}");
    assert!(html.contains("Moving a project to another region is for the operators"), "{html}");
    assert_eq!(doors.page(&admin, "/projects/shop/region?to=eu").await.0, 403);
    let fields = [("project", "shop"), ("to", "eu"), ("form", "1")];
    let (next, _) = doors.form(&admin, page, "/actions/move-project", &fields).await;
    assert_eq!(next, page, "it leads back");

    let (_, html) = doors.page(&operator, page).await;
    assert!(html.contains("eu: Restores into other environments are done by support staff"), "{html}");
    assert!(!html.contains("aria-describedby=\"why-not\""), "{html}");
    assert_eq!(doors.page(&operator, "/projects/shop/region?to=moon").await.0, 400);
    let (_, html) = doors.page(&operator, "/projects/shop/region?to=local").await;
    assert!(html.contains("The project is in the region local already."), "{html}");
    let asked = "/projects/shop/region?to=eu";
    let (status, html) = doors.page(&operator, asked).await;
    assert!(
        status == 200 && html.contains("with 1 snapshot, is copied to the region eu and read back there."),
        "{html}"
    );
    assert!(html.contains("The repository in local stays as it is then") && html.contains("are free there."), "{html}");
    let command = ["project:move", "--region", "local", "-p", "shop"].map(str::to_owned).to_vec();
    let told = doors.command(&operator, command).await;
    assert!(said(&told).contains("The repository in local stays as it is then"), "the same sentences: {}", said(&told));

    let fields = [("project", "shop"), ("to", "eu"), ("form", "2")];
    let (next, html) = doors.form(&operator, asked, "/actions/move-project", &fields).await;
    assert!(html.contains("Waiting for a worker of the region that it goes to."), "{html}");
    let (_, html) = doors.page(&operator, asked).await;
    assert!(html.contains("The project is being moved to the region eu already."), "{html}");
    assert!(html.contains(&format!("href=\"{next}\"")), "the feed shows how far it is: {html}");

    let activity = next.rsplit('/').next().and_then(|id| ActivityId::parse(id).ok()).expect("an id");
    let done = settle_in(shop, "eu", &activity).await;
    assert_eq!((done.failure, done.result), (None, Some(ActivityResult::Success)));
    let (_, html) = doors.page(&operator, &next).await;
    assert!(html.contains("The old repository stays where it is"), "{html}");
    let (_, html) = doors.page(&operator, page).await;
    assert!(html.contains("Region eu") && html.contains("The repository in the region local, left on"), "{html}");
    assert!(html.contains(&old), "an operator reads where that is: {html}");
    let (_, html) = doors.page(&admin, page).await;
    assert!(html.contains("The repository in the region local, left on") && !html.contains(&old), "{html}");

    // An operator removes it; then nothing is left there. What the project came back to is left no more.
    std::fs::remove_dir_all(&old).expect("a removable directory");
    let (_, html) = doors.page(&operator, page).await;
    assert!(!html.contains("What moves left behind"), "{html}");
    moved(shop, "local").await;
    let (_, html) = doors.page(&operator, page).await;
    assert!(html.contains("The repository in the region eu, left on"), "{html}");
    assert!(
        html.contains(&eu.join("shop").display().to_string()) && !html.contains("in the region local, left"),
        "{html}"
    );
    doors.close().await;
}

#[tokio::test]
async fn where_there_is_one_region_the_button_is_shown_with_the_reason() {
    let doors = Doors::of(TestApp::with_shop().await).await;
    let operator = doors.person(&doors.shop.admin).await;
    let (status, html) = doors.page(&operator, "/projects/shop/region").await;
    assert!(status == 200 && html.contains("There is no other region in this installation."), "{html}");
    doors.close().await;
}

fn a_move_survives(step: &str) {
    let at = Installation::new();
    let place = at.directory().join("eu");
    std::fs::create_dir(&place).expect("a fresh directory");
    let (ok, told) = at.apply(&format!("[[region]]\nid = \"eu\"\nrepositories = {place:?}\n"));
    assert!(ok, "{told}");
    let server = at.start();
    let first = at.snapshot();
    at.site.write(2);
    let (status, body) =
        at.ask("POST", "/projects/shop/move", Some(json!({ "region": "eu" }))).expect("the server answers");
    assert_eq!(status, 202, "{body}");
    let activity = body["_embedded"]["activities"][0]["id"].as_str().expect("an id").to_owned();
    let asked = Asked { activity, snapshot: String::new() };
    at.start_role("work", &[("STILLPOINT_REGION", "eu"), ("STILLPOINT_CRASH_AT", step)]).died();

    // The project is where it was, and goes on being used.
    let (_, told) = at.ask("GET", "/projects/shop", None).expect("the server answers");
    assert_eq!(told["region"], "local");
    at.assert_repository_sound();
    let second = at.snapshot();
    let work = at.start_role("work", &[("STILLPOINT_REGION", "eu")]);
    at.succeeded(&asked);
    work.terminate();
    server.terminate();
    let key = at.recovery_key();
    let restic = |arguments: &[&str]| {
        let mut command = Command::new("restic");
        command.env("RESTIC_PASSWORD", &key).args(["--no-cache", "-r"]).arg(place.join("shop")).args(arguments);
        let output = command.output().expect("restic is installed");
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        output.stdout
    };
    restic(&["check", "--read-data"]);
    let stored: Value = serde_json::from_slice(&restic(&["snapshots", "--json"])).expect("JSON");
    assert_eq!(stored.as_array().map(Vec::len), Some(2));

    let server = at.start_with(&[("STILLPOINT_REGION", "eu")]);
    let (_, told) = at.ask("GET", "/projects/shop", None).expect("the server answers");
    assert_eq!(told["region"], "eu");
    at.restore(&first);
    assert_eq!(at.site.version(), 1);
    at.restore(&second);
    assert_eq!(at.site.version(), 2);
    at.snapshot();
    server.terminate();
}

#[test]
fn a_move_that_dies_with_a_file_copied_is_done() {
    a_move_survives("move: a file copied");
}

#[test]
fn a_move_that_dies_with_all_copied_is_done() {
    a_move_survives("move: copied");
}

#[test]
fn a_move_that_dies_before_the_switch_is_done() {
    a_move_survives("move: checked");
}
