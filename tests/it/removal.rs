//! Taking environments and projects out of the console: what goes, what stays, and what is kept.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;
use stillpoint::authz::{Actor, RemoveEnvironment, RemoveProject, RestoreSnapshot, ViewHistory, ViewProject};
use stillpoint::domain::activity::{Activity, ActivityKind, ActivityResult, ActivityState, Payload, Weighty};
use stillpoint::domain::environment::{EnvironmentKind, EnvironmentStatus};
use stillpoint::domain::policy::TypeRole;
use stillpoint::domain::{EnvironmentId, Scope, SnapshotName};
use stillpoint::ops::installation::{self, Applied, Consent};
use stillpoint::ops::removal::{self, LastSnapshot, RemovalRequest};
use stillpoint::ops::restores::{self, RestoreRequest, Way, Wish};
use stillpoint::ops::{Error, activities, environments, projects, retention as ops_retention, snapshots};
use stillpoint::store;

use crate::doors::through::Doors;
use crate::process::{Asked, Installation};
use crate::support::{Shop, Site, TestApp, environment, project};

async fn ask(shop: &Shop, actor: &Actor, name: &str, request: RemovalRequest) -> Result<Activity, Error> {
    let app = &shop.test.app;
    let proof = app.authorize_environment::<RemoveEnvironment>(actor, &project(), &environment(name)).await?;
    Ok(removal::remove(app, proof, request).await?.activity)
}

async fn remove(shop: &Shop, name: &str) -> Activity {
    let asked = ask(shop, &shop.admin, name, RemovalRequest::default()).await.expect("nothing stands against it");
    let done = shop.test.settle(&asked.id).await;
    assert_eq!((done.failure.as_deref(), done.result), (None, Some(ActivityResult::Success)));
    done
}

async fn snapshot_of(shop: &Shop, name: &str) -> SnapshotName {
    let app = &shop.test.app;
    let proof = app.authorize_environment(&shop.admin, &project(), &environment(name)).await.expect("an admin");
    let entry = snapshots::create(app, proof, Default::default()).await.expect("it is queued");
    let done = shop.test.settle(&entry.activity.id).await;
    assert_eq!(done.failure, None);
    let Payload::TakeSnapshot(take) = done.payload else { panic!("no snapshot") };
    take.snapshot
}

async fn listed(shop: &Shop) -> Vec<String> {
    let proof = shop.test.app.authorize_project::<ViewProject>(&shop.admin, &project()).await.expect("an admin");
    let cards = environments::list(&shop.test.app, proof).await.expect("a list");
    cards.into_iter().map(|card| card.environment.name.to_string()).collect()
}

/// Names of the removed ones, as they are reached.
async fn removed(shop: &Shop) -> Vec<String> {
    let proof = shop.test.app.authorize_project::<ViewProject>(&shop.admin, &project()).await.expect("an admin");
    let cards = environments::removed(&shop.test.app, &proof).await.expect("a list");
    cards.into_iter().map(|card| card.environment.name.to_string()).collect()
}

async fn restore(shop: &Shop, from: &str, wish: Wish<'_>, snapshot: &SnapshotName) -> Result<Activity, Error> {
    let app = &shop.test.app;
    let way = Way::authorize(app, &shop.admin, &project(), &environment(from), wish).await?;
    let request = RestoreRequest { snapshot: snapshot.clone(), scope: Scope::default(), plan_hash: None };
    let entry = restores::create(app, way, request).await?;
    Ok(shop.test.settle(&entry.activity.id).await)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome.expect_err("it is refused") {
        Error::Conflict(refusal) | Error::Forbidden(refusal) => refusal.to_string(),
        other => panic!("{other}"),
    }
}

async fn declared(shop: &Shop, declaration: &str, again: &[&str]) -> Vec<String> {
    let file = shop.test.directory.path().join("again.toml");
    std::fs::write(&file, declaration).expect("a writable directory");
    let again: Vec<String> = again.iter().map(|&key| key.to_owned()).collect();
    match installation::apply_with(&shop.test.app, &file, Consent::Yes, &again).await.expect("a readable file") {
        Applied::Done { notes, .. } => notes.into_iter().map(|note| note.message).collect(),
        refused => panic!("{refused:?}"),
    }
}

#[tokio::test]
async fn a_removed_environment_is_gone_and_its_snapshots_are_restored_elsewhere() {
    let shop = TestApp::with_shop().await;
    let staging = shop.add_staging().await;
    let name = snapshot_of(&shop, "staging").await;
    let before = snapshots::list(&shop.test.app, &history(&shop, "staging").await).await.expect("a list");
    let done = remove(&shop, "staging").await;

    assert_eq!(listed(&shop).await, ["main"]);
    assert_eq!(removed(&shop).await, ["staging"]);
    assert_eq!(staging.orders(), ["lamp"], "what was declared is untouched");
    let mut db = shop.test.store.read().await.expect("a connection");
    let served = store::environments::compositions(&mut db, shop.test.store.sealer()).await.expect("readable");
    assert_eq!(served.len(), 1, "no gateway serves it");
    let id = done.environment.clone();
    let schedules = store::schedules::by_environment(&mut db, &id).await.expect("readable");
    assert!(schedules.iter().all(|schedule| schedule.slot.is_none()), "{schedules:?}");
    drop(db);

    // Its page, its feed and what links to it.
    let proof = history(&shop, "staging").await;
    assert_eq!(proof.on().environment.status, EnvironmentStatus::Removed);
    let page = environments::page(&shop.test.app, proof.clone()).await.expect("a page");
    assert!(page.card.health.sentence.starts_with("It was removed on "), "{}", page.card.health.sentence);
    assert!(!page.card.create_snapshot.is_open() && !page.drill.is_open() && page.restore.is_open());
    assert_eq!(page.snapshots.len(), before.len());
    let newest = &page.activities.entries[0];
    assert_eq!(
        (newest.description.as_str(), newest.activity.kind),
        ("removed the environment staging", ActivityKind::Remove)
    );
    let linked = shop.test.app.authorize_activity::<ViewHistory>(&shop.admin, &project(), &done.id).await;
    activities::page(&shop.test.app, &linked.expect("it is found"), &done.id).await.expect("a page");

    let again = shop
        .test
        .app
        .authorize_environment::<stillpoint::authz::CreateSnapshot>(&shop.admin, &project(), &environment("staging"))
        .await;
    let told = refused(again);
    assert!(told.starts_with("The environment staging was removed on "), "{told}");
    let told = refused(restore(&shop, "staging", Wish::default(), &name).await);
    assert!(told.starts_with("The environment staging was removed."), "{told}");
    let after = Wish { target: Some("new"), branch_from: Some("staging") };
    let told = refused(restore(&shop, "staging", after, &name).await);
    assert!(told.contains("nothing can be made after it"), "{told}");

    shop.site.order("sofa");
    let into = Wish { target: Some("main"), branch_from: None };
    let restored = restore(&shop, "staging", into, &name).await.expect("an admin of both types");
    assert_eq!(restored.failure, None);
    assert_eq!(shop.site.orders(), ["lamp"]);
}

async fn history(shop: &Shop, name: &str) -> stillpoint::authz::Authorized<ViewHistory> {
    let proof = shop.test.app.authorize_environment::<ViewHistory>(&shop.admin, &project(), &environment(name)).await;
    proof.expect("it is visible")
}

#[tokio::test]
async fn a_declaration_leaves_out_what_was_removed_until_it_is_wanted_again() {
    let shop = TestApp::with_shop().await;
    let staging = shop.add_staging().await;
    let name = snapshot_of(&shop, "staging").await;
    let id = remove(&shop, "staging").await.environment;
    let file = format!(
        "{}{}",
        shop.site.declaration("shop", "main", "production", "self-hosted"),
        staging.environment("staging", "staging")
    );

    let notes = declared(&shop, &file, &[]).await;
    assert!(notes[0].starts_with("shop/staging was removed on "), "{notes:?}");
    assert!(notes[0].contains("--reinstate shop/staging"), "{notes:?}");
    assert_eq!(listed(&shop).await, ["main"]);

    assert_eq!(declared(&shop, &file, &["shop/staging"]).await, Vec::<String>::new());
    assert_eq!(listed(&shop).await, ["main", "staging"]);
    assert_eq!(removed(&shop).await, Vec::<String>::new());
    let proof = history(&shop, "staging").await;
    assert_eq!(proof.on().environment.id, id, "the same, with its history");
    staging.order("bed");
    assert_eq!(restore(&shop, "staging", Wish::default(), &name).await.expect("it is there").failure, None);
    assert_eq!(staging.orders(), ["lamp"]);

    // What the file does not name any more stays.
    declared(&shop, &shop.site.declaration("shop", "main", "production", "self-hosted"), &[]).await;
    assert_eq!(listed(&shop).await, ["main", "staging"]);
}

/// A shop whose project lays down where new environments are made.
async fn with_provision() -> (Shop, PathBuf) {
    let test = TestApp::new().await;
    let admin = test.operator("admin@example.org").await;
    let site = Site::new(&test.directory.path().join("site"));
    let directory = test.directory.path().join("environments");
    std::fs::create_dir(&directory).expect("a fresh directory");
    let contract = format!("[project.provision]\ndirectory = {directory:?}\n\n[[project.environment]]");
    let all = site.declaration("shop", "main", "production", "self-hosted");
    test.declare(&all.replacen("[[project.environment]]", &contract, 1)).await;
    (Shop { test, site, admin }, directory)
}

async fn make(shop: &Shop, snapshot: &SnapshotName, name: &str) -> EnvironmentId {
    let done = restore(shop, "main", Wish { target: Some(name), branch_from: Some("main") }, snapshot).await;
    assert_eq!(done.expect("it may be made").failure, None);
    history(shop, name).await.on().environment.id.clone()
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).expect("it is there").next().is_none()
}

#[tokio::test]
async fn what_a_restore_made_goes_with_it_after_a_last_snapshot() {
    let (shop, directory) = with_provision().await;
    let name = shop.snapshot().await;
    make(&shop, &name, "copy").await;
    let copy = Site { database: directory.join("copy/database.db"), uploads: directory.join("copy/uploads") };
    copy.order("bench");
    let page = removal::page(&shop.test.app, &history(&shop, "copy").await).await.expect("a page");
    assert_eq!(page.deleted, ["its directory, with the files and databases in it"]);
    assert_eq!((page.stays.len(), page.weight, page.last.is_open(), page.offer.is_open()), (0, None, true, true));

    let done = remove(&shop, "copy").await;
    assert!(is_empty(&directory), "all of it is gone");
    assert_eq!(listed(&shop).await, ["main"]);
    let Payload::RemoveEnvironment(request) = &done.payload else { panic!("a removal") };
    let last = request.after.clone().expect("a last snapshot");
    let into = Wish { target: Some("main"), branch_from: None };
    assert_eq!(restore(&shop, "copy", into, &last).await.expect("it is kept").failure, None);
    assert_eq!(shop.site.orders(), ["chair", "table", "lamp", "bench"]);

    // Its name is free. The first one is known by its id from then on.
    let second = make(&shop, &name, "copy").await;
    assert_ne!(second, done.environment);
    assert_eq!(removed(&shop).await, [done.environment.to_string()]);
    let old = history(&shop, done.environment.as_str()).await;
    assert_eq!((&old.on().environment.id, old.on().environment.title.as_str()), (&done.environment, "copy"));
    assert_eq!(restore(&shop, done.environment.as_str(), into, &last).await.expect("by its id").failure, None);
    let left = RemovalRequest { last: LastSnapshot::Left, ..RemovalRequest::default() };
    let asked = ask(&shop, &shop.admin, "copy", left).await.expect("it may go");
    assert_eq!(shop.test.settle(&asked.id).await.failure, None);
    assert_eq!(history(&shop, "copy").await.on().environment.id, second, "the newest removal has the name");
    assert_eq!(removed(&shop).await, [done.environment.to_string()], "the second has no snapshots");
}

#[tokio::test]
async fn without_its_last_snapshot_nothing_is_removed() {
    let (shop, directory) = with_provision().await;
    let name = shop.snapshot().await;
    make(&shop, &name, "copy").await;
    let asked = ask(&shop, &shop.admin, "copy", RemovalRequest::default()).await.expect("it may go");
    // The snapshot can't be taken.
    let uploads = directory.join("copy/uploads");
    std::fs::rename(&uploads, directory.join("copy/elsewhere")).expect("a movable directory");
    let done = shop.test.settle(&asked.id).await;
    let failure = done.failure.expect("it failed");
    assert!(failure.contains("was not taken, so nothing was removed."), "{failure}");
    assert!(directory.join("copy/database.db").exists());
    assert_eq!(listed(&shop).await, ["main", "copy"]);
}

#[tokio::test]
async fn data_that_another_environment_uses_by_now_is_not_deleted() {
    let (shop, directory) = with_provision().await;
    let name = shop.snapshot().await;
    make(&shop, &name, "copy").await;
    let database = directory.join("copy/other.db");
    let open = rusqlite::Connection::open(&database).expect("a database");
    open.execute_batch("CREATE TABLE t (x INTEGER)").expect("a table");
    let other = format!(
        "[[project]]\nid = \"other\"\n\n[[project.environment]]\nname = \"main\"\ntype = \"production\"\n\n\
         [[project.environment.service]]\nname = \"database\"\ntype = \"sqlite\"\npath = {database:?}\n"
    );
    shop.test.declare(&other).await;
    let left = RemovalRequest { last: LastSnapshot::Left, ..RemovalRequest::default() };
    let asked = ask(&shop, &shop.admin, "copy", left).await.expect("it is queued");
    let failure = shop.test.settle(&asked.id).await.failure.expect("it failed");
    assert!(failure.starts_with("Another environment uses "), "{failure}");
    assert!(directory.join("copy/database.db").exists());
    assert_eq!(listed(&shop).await, ["main", "copy"]);
}

#[tokio::test]
async fn it_needs_admin_on_the_type_its_name_and_an_agreement_where_visitors_use_it() {
    let shop = TestApp::with_shop().await;
    let staging = shop.add_staging().await;
    let contributor = shop.test.member("contributor@example.org", TypeRole::Contributor).await;
    let told = refused(ask(&shop, &contributor, "staging", RemovalRequest::default()).await);
    assert!(told.starts_with("Removing an environment needs the admin role on staging environments"), "{told}");
    let outsider = shop.test.outsider("outsider@example.org").await;
    let unseen = ask(&shop, &outsider, "staging", RemovalRequest::default()).await;
    assert!(matches!(unseen, Err(Error::NotFound(_))));

    let typed = |typed: &str| RemovalRequest { typed: Some(typed.to_owned()), ..RemovalRequest::default() };
    let told = refused(ask(&shop, &shop.admin, "staging", typed("main")).await);
    assert_eq!(
        told,
        "Nothing was removed: what was typed is not “staging”. Type the name exactly as it stands there, then try again."
    );
    let told = refused(ask(&shop, &shop.admin, "main", typed("main")).await);
    assert!(told.starts_with("main is the project's only production environment."), "{told}");

    let main = shop.site.declaration("shop", "main", "production", "self-hosted");
    let child = staging
        .environment("staging", "staging")
        .replace("type = \"staging\"", "type = \"staging\"\nparent = \"main\"");
    shop.test.declare(&format!("{main}{child}")).await;
    let agreed = || RemovalRequest { weighty: Weighty::Agreed, ..typed("main") };
    let told = refused(ask(&shop, &shop.admin, "main", agreed()).await);
    assert!(told.starts_with("The environment staging was branched from main."), "{told}");
    remove(&shop, "staging").await;
    let asked = ask(&shop, &shop.admin, "main", agreed()).await.expect("agreed");
    assert_eq!(shop.test.settle(&asked.id).await.failure, None);
    assert_eq!(listed(&shop).await, Vec::<String>::new());
    assert_eq!(shop.site.orders().len(), 3);
}

#[tokio::test]
async fn what_waits_is_cancelled_and_what_was_asked_meanwhile_does_nothing() {
    let shop = TestApp::with_shop().await;
    shop.add_staging().await;
    let app = &shop.test.app;
    let (shop_id, on) = (project(), environment("staging"));
    let on_staging = || app.authorize_environment(&shop.admin, &shop_id, &on);
    let waiting = snapshots::create(app, on_staging().await.expect("an admin"), Default::default()).await;
    let waiting = waiting.expect("it is queued").activity.id;
    let late_proof = on_staging().await.expect("an admin");
    let asked = ask(&shop, &shop.admin, "staging", RemovalRequest::default()).await.expect("it is queued");
    assert_eq!(shop.test.activity(&waiting).await.state, ActivityState::Cancelled);
    let told = refused(ask(&shop, &shop.admin, "staging", RemovalRequest::default()).await);
    assert!(told.starts_with("The environment staging is being removed already."), "{told}");

    // After it in the queue: it is cancelled in the transaction of the removal.
    let late = snapshots::create(app, late_proof.clone(), Default::default()).await.expect("it is queued").activity.id;
    assert_eq!(shop.test.settle(&asked.id).await.failure, None);
    assert_eq!(shop.test.activity(&late).await.state, ActivityState::Cancelled);

    // With a proof from before: it ends as soon as it begins.
    let later = snapshots::create(app, late_proof, Default::default()).await.expect("it is queued").activity.id;
    let failure = shop.test.settle(&later).await.failure.expect("it is refused");
    assert!(failure.starts_with("The environment staging was removed on "), "{failure}");
}

#[tokio::test]
async fn the_role_is_asked_again_when_it_begins() {
    let shop = TestApp::with_shop().await;
    shop.add_staging().await;
    let admin = shop.test.member("staging@example.org", TypeRole::Admin).await;
    let asked = ask(&shop, &admin, "staging", RemovalRequest::default()).await.expect("an admin");
    shop.test.set_roles(&admin, None, Default::default()).await;
    let failure = shop.test.settle(&asked.id).await.failure.expect("it is refused");
    assert!(failure.contains("no role here any more"), "{failure}");
    assert_eq!(listed(&shop).await, ["main", "staging"]);
}

#[tokio::test]
async fn a_project_goes_with_its_environments_and_operators_still_read_its_history() {
    let shop = TestApp::with_shop().await;
    let staging = shop.add_staging().await;
    let name = shop.snapshot().await;
    let member = shop.test.member("member@example.org", TypeRole::Admin).await;
    let app = &shop.test.app;
    let denied = app.authorize_project::<RemoveProject>(&member, &project()).await;
    assert!(refused(denied.map(|_| ())).starts_with("Removing a project is for the operators"));

    let id = project();
    let proof = || app.authorize_project::<RemoveProject>(&shop.admin, &id);
    let told = refused(removal::remove_project(app, proof().await.expect("an operator"), Some("store")).await);
    assert!(told.starts_with("Nothing was removed"), "{told}");
    let asked = removal::remove_project(app, proof().await.expect("an operator"), Some("shop")).await;
    let asked = asked.expect("it is queued").expect("an activity");
    let done = shop.test.settle(&asked).await;
    assert_eq!(done.failure, None);

    for actor in [&member, &shop.admin] {
        assert_eq!(projects::list(app, actor).await.expect("a list").len(), 0);
    }
    assert!(matches!(app.authorize_project::<ViewProject>(&member, &project()).await, Err(Error::NotFound(_))));
    let seen = app.authorize_activity::<ViewHistory>(&shop.admin, &project(), &asked).await.expect("an operator");
    activities::page(app, &seen, &asked).await.expect("a page");
    let told = refused(proof().await.map(|_| ()));
    assert!(told.starts_with("The project shop was removed on "), "{told}");
    assert_eq!((shop.site.orders().len(), staging.orders().len()), (3, 1), "the sites are untouched");

    let file = shop.site.declaration("shop", "main", "production", "self-hosted");
    let notes = declared(&shop, &file, &[]).await;
    assert!(notes[0].starts_with("shop was removed on "), "{notes:?}");
    assert_eq!(projects::list(app, &shop.admin).await.expect("a list").len(), 0);
    declared(&shop, &file, &["shop"]).await;
    assert_eq!(listed(&shop).await, ["main"]);
    shop.site.order("sofa");
    let proof = shop.test.proof::<RestoreSnapshot>(&shop.admin).await.expect("an admin again");
    let request = RestoreRequest { snapshot: name, scope: Scope::default(), plan_hash: None };
    let entry = restores::create(app, proof.into(), request).await.expect("its snapshots were kept");
    assert_eq!(shop.test.settle(&entry.activity.id).await.failure, None);
    assert_eq!(shop.site.orders(), ["chair", "table", "lamp"]);
}

#[tokio::test]
async fn what_was_removed_is_listed_with_who_did_it_and_until_when_it_is_kept() {
    let shop = TestApp::with_shop().await;
    shop.add_staging().await;
    let name = snapshot_of(&shop, "staging").await;
    let member = shop.test.member("staging-admin@example.org", TypeRole::Admin).await;
    let asked = ask(&shop, &member, "staging", RemovalRequest::default()).await.expect("an admin");
    assert_eq!(shop.test.settle(&asked.id).await.failure, None);
    let viewer = shop.test.outsider("viewer@example.org").await;
    shop.test.set_roles(&viewer, None, [(EnvironmentKind::Production, TypeRole::Viewer)].into()).await;
    let doors = Doors::of(shop).await;
    let admin = doors.person(&doors.shop.admin).await;
    let (member, viewer) = (doors.person(&member).await, doors.person(&viewer).await);
    let page = "/projects/shop/removed";

    let (_, html) = doors.page(&member, "/projects/shop").await;
    assert!(html.contains("href=\"/projects/shop/removed\""), "{html}");
    let (status, html) = doors.page(&member, page).await;
    assert!(status == 200 && html.contains("staging-admin@example.org"), "{html}");
    assert!(html.contains(&format!("href=\"/projects/shop/activities/{}\"", asked.id)), "{html}");
    // The plan keeps manual ones by number: those of an environment that takes no more have no end.
    assert!(html.contains("kept until somebody deletes") && html.contains("when somebody deletes it"), "{html}");
    let restore = format!("/projects/shop/environments/staging/snapshots/{name}/restore");
    assert!(html.contains(&format!("href=\"{restore}\"")), "{html}");
    assert!(!html.contains("Delete all its snapshots now"), "the project is there: {html}");
    assert_eq!(doors.page(&member, &restore).await.0, 200);
    // Who sees no staging environments does not see those that were.
    let (status, html) = doors.page(&viewer, page).await;
    assert!(status == 200 && html.contains("No environment was removed that you may see."), "{html}");
    let listed = doors.get(&viewer, page).await;
    assert_eq!(listed, json!([]));

    let listed = doors.get(&member, page).await;
    let entry = &listed[0];
    assert_eq!((&entry["id"], &entry["removed_by"]), (&json!("staging"), &json!("staging-admin@example.org")));
    assert_eq!((&entry["backup_count"], &entry["kept_until"]), (&json!(1), &json!(null)));
    assert_eq!(entry["backups"][0]["id"], name.as_str());
    let words = [
        "environment:list",
        "--removed",
        "-p",
        "shop",
        "--format",
        "csv",
        "--columns",
        "id,removed_by,snapshots,kept_until",
    ];
    let listed = doors.command(&member, words.map(str::to_owned).to_vec()).await;
    let text = String::from_utf8_lossy(&listed.stdout);
    assert_eq!(text, "ID,By,Snapshots,Kept until\nstaging,staging-admin@example.org,1,no end\n", "{listed:?}");

    // Under a plan that keeps them for some days it says until when.
    doors.shop.test.declare(&doors.shop.site.declaration("shop", "main", "production", "starter")).await;
    let (_, html) = doors.page(&member, page).await;
    assert!(html.contains(", the last goes ") && !html.contains("when somebody deletes it"), "{html}");
    assert!(doors.get(&member, page).await[0]["kept_until"].is_string());

    let none = doors.command(&admin, ["project:list", "--removed"].map(str::to_owned).to_vec()).await;
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    for person in [&member, &viewer] {
        assert_eq!(doors.page(person, "/removed").await.0, 403);
        assert_eq!(doors.ask(person, http::Method::GET, "/removed", json!({})).await.0, 403);
    }
    let (_, html) = doors.page(&member, "/").await;
    assert!(!html.contains("href=\"/removed\""), "{html}");
    doors.close().await;
}

#[tokio::test]
async fn a_removed_project_is_listed_and_purged_and_that_can_be_taken_back() {
    let shop = TestApp::with_shop().await;
    shop.add_staging().await;
    let first = shop.snapshot().await;
    let unwanted = shop.snapshot().await;
    let second = snapshot_of(&shop, "staging").await;
    let member = shop.test.member("member@example.org", TypeRole::Admin).await;
    let doors = Doors::of(shop).await;
    let shop = &doors.shop;
    let (admin, member) = (doors.person(&shop.admin).await, doors.person(&member).await);
    let app = &shop.test.app;
    let page = "/projects/shop/removed";
    let purge = |typed: &'static str, form: &'static str| [("project", "shop"), ("typed", typed), ("form", form)];

    // One that is there is not purged.
    let (status, body) = doors.ask(&admin, http::Method::POST, "/projects/shop/purge", json!({})).await;
    assert_eq!((status, body["code"].is_string()), (409, true), "{body}");
    assert!(body.to_string().contains("only what was removed is purged"), "{body}");
    let (status, _) = doors.ask(&member, http::Method::POST, "/projects/shop/purge", json!({})).await;
    assert_eq!(status, 403);

    let (status, body) = doors.ask(&admin, http::Method::POST, "/projects/shop/unpurge", json!({})).await;
    assert!(status == 409 && body.to_string().contains("only what was removed is purged"), "{body}");
    let audit = doors.get(&admin, "/audit").await.to_string();
    assert!(audit.contains("only what was removed is purged"), "a refusal is recorded: {audit}");
    let main = doors.main().await;

    let proof = shop.test.proof(&shop.admin).await.expect("an admin");
    ops_retention::protect(app, proof, &first, Some("for the audit".to_owned())).await.expect("it is there");
    let proof = shop.test.proof(&shop.admin).await.expect("an admin");
    ops_retention::delete(app, proof, &unwanted).await.expect("nothing holds it");
    let proof = app.authorize_project::<RemoveProject>(&shop.admin, &project()).await.expect("an operator");
    let asked = removal::remove_project(app, proof, Some("shop")).await.expect("it is queued").expect("an activity");
    let done = shop.test.wait_for(&asked, |activity| activity.state.is_over()).await;
    assert_eq!(done.failure, None);
    // What a person deleted by itself is none of the purge's.
    let undo = ["project:purge", "-p", "shop", "--undo"].map(str::to_owned).to_vec();
    assert_eq!(doors.command(&admin, undo.clone()).await.status.code(), Some(1), "nothing was purged yet");

    let (_, html) = doors.page(&admin, "/").await;
    assert!(html.contains("href=\"/removed\""), "{html}");
    let (status, html) = doors.page(&admin, "/removed").await;
    assert!(status == 200 && html.contains("by admin@example.org") && html.contains("2 snapshots"), "{html}");
    let listed = doors.get(&admin, "/removed").await;
    assert_eq!((&listed[0]["id"], &listed[0]["backup_count"]), (&json!("shop"), &json!(2)));
    let words = ["project:list", "--removed", "--format", "csv", "--columns", "id,removed_by,snapshots,kept_until"];
    let listed = doors.command(&admin, words.map(str::to_owned).to_vec()).await;
    let text = String::from_utf8_lossy(&listed.stdout);
    assert_eq!(text, "ID,By,Snapshots,Kept until\nshop,admin@example.org,2,no end\n", "{listed:?}");
    let (status, html) = doors.page(&admin, page).await;
    assert!(status == 200 && html.contains("Delete all its snapshots now"), "{html}");
    assert!(html.contains("admin@example.org") && html.contains("The project shop was removed on"), "{html}");
    let (status, html) = doors.page(&admin, "/projects/shop").await;
    assert!(status == 200 && html.contains("Only operators see it."), "{html}");
    assert_eq!(doors.page(&member, page).await.0, 404);

    let (next, html) = doors.form(&admin, page, "/actions/purge-project", &purge("store", "1")).await;
    assert!(next == page && html.contains("what was typed is not “shop”"), "{html}");
    let (_, html) = doors.form(&admin, page, "/actions/purge-project", &purge("shop", "2")).await;
    assert!(
        html.contains("Deleted: 1 snapshot. For 3 days that can be taken back. Held, and so still there: 1 snapshot"),
        "{html}"
    );
    assert!(html.contains("for the audit") && html.contains("Take the deletion back"), "{html}");
    assert_eq!(doors.get(&admin, page).await.as_array().map(Vec::len), Some(2));
    let names = |listed: &serde_json::Value| -> Vec<String> {
        let all = listed.as_array().expect("a list").iter().flat_map(|it| it["backups"].as_array().expect("a list"));
        all.map(|it| it["id"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&doors.get(&admin, page).await), [first.to_string()]);
    let audit = doors.get(&admin, "/audit").await;
    assert!(audit.to_string().contains("purged the removed project Shop: 1 snapshot"), "{audit}");

    let told = doors.command(&admin, undo.clone()).await;
    assert!(crate::process::said(&told).contains("Kept again: 1 snapshot of shop."), "{told:?}");
    let audit = doors.get(&admin, "/audit").await.to_string();
    assert!(audit.contains("took back the purge of the removed project Shop: 1 snapshot"), "{audit}");
    let mut db = shop.test.store.read().await.expect("a connection");
    let now = store::clock::now(&mut db, shop.test.store.dialect()).await.expect("readable");
    let still = store::snapshots::deleted(&mut db, &main, now).await.expect("readable");
    assert_eq!(still.into_iter().map(|(it, _)| it.name).collect::<Vec<_>>(), std::slice::from_ref(&unwanted));
    drop(db);
    assert_eq!(names(&doors.get(&admin, page).await).len(), 2);
    assert_eq!(doors.command(&admin, undo).await.status.code(), Some(1), "there is nothing more");
    let again = ["project:purge", "-p", "shop", "--yes"].map(str::to_owned).to_vec();
    let told = doors.command(&admin, again).await;
    let told = crate::process::said(&told);
    assert!(
        told.contains("Deleted: 1 snapshot.") && told.contains(&format!("{first} stays: This snapshot is")),
        "{told}"
    );

    // In three days its data goes as that of any other.
    let mut db = shop.test.store.read().await.expect("a connection");
    let later = store::clock::now(&mut db, shop.test.store.dialect()).await.expect("readable");
    let later = later.plus(std::time::Duration::from_secs(3 * 24 * 60 * 60 + 1));
    let leaving = store::snapshots::leaving(&mut db, later).await.expect("readable");
    let leaving: BTreeSet<_> = leaving.into_iter().map(|it| it.name).collect();
    assert_eq!(leaving, BTreeSet::from([second, unwanted]));
    drop(db);
    doors.close().await;
}

fn a_removal_survives(step: &str) {
    let at = Installation::new();
    let directory = at.directory().join("environments");
    std::fs::create_dir(&directory).expect("a fresh directory");
    let contract = format!("[project.provision]\ndirectory = {directory:?}\n\n[[project.environment]]");
    let (ok, said) = at.apply(&at.site.declaration("").replacen("[[project.environment]]", &contract, 1));
    assert!(ok, "{said}");
    let dying = at.start_with(&[("STILLPOINT_CRASH_AT", step)]);
    let first = at.snapshot();
    let made = at.ask_new(&first, "copy");
    at.succeeded(&made);
    let (status, body) = at.ask("DELETE", "/projects/shop/environments/copy", None).expect("the server answers");
    assert_eq!(status, 202, "{body}");
    let activity = &body["_embedded"]["activities"][0];
    let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
    let asked = Asked { activity: text(&activity["id"]), snapshot: text(&activity["payload"]["backup_name"]) };
    dying.died();

    let server = at.start();
    at.succeeded(&asked);
    assert!(is_empty(&directory), "all of it is gone");
    let (_, list) = at.ask("GET", "/projects/shop/environments", None).expect("the server answers");
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    let (_, list) = at.ask("GET", "/projects/shop/environments?status=removed", None).expect("the server answers");
    assert_eq!((&list[0]["id"], &list[0]["status"]), (&json!("copy"), &json!("removed")));
    assert_eq!(at.backup_of("copy", &asked.snapshot)["environment"], "copy");
    at.assert_repository_sound();
    server.terminate();
}

#[test]
fn a_removal_that_dies_closed_is_done() {
    a_removal_survives("removal: closed");
}

#[test]
fn a_removal_that_dies_with_something_taken_away_is_done() {
    a_removal_survives("removal: taken away");
}
