//! Restoring into another environment, and only some parts (R2, R21, R25, R26).

use std::collections::BTreeMap;

use stillpoint::authz::{Actor, ViewHistory};
use stillpoint::domain::activity::{Activity, ActivityResult, Payload};
use stillpoint::domain::environment::EnvironmentKind;
use stillpoint::domain::policy::TypeRole;
use stillpoint::domain::view::{ActivityEntry, Preflight};
use stillpoint::domain::{Scope, SnapshotName};
use stillpoint::ops::restores::{self, RestoreRequest, Way, Wish};
use stillpoint::ops::{Error, activities, snapshots};

use crate::support::{Shop, TestApp, environment, project};

async fn way(shop: &Shop, actor: &Actor, from: &str, into: &str) -> Result<Way, Error> {
    let wish = Wish { target: Some(into), branch_from: None };
    Way::authorize(&shop.test.app, actor, &project(), &environment(from), wish).await
}

async fn look(shop: &Shop, snapshot: &SnapshotName, into: &str, scope: &str) -> Preflight {
    let way = way(shop, &shop.admin, "main", into).await.expect("an admin of both");
    let scope: Scope = scope.parse().expect("a scope");
    restores::preflight(&shop.test.app, &way, snapshot, &scope).await.expect("the snapshot is there")
}

async fn ask(shop: &Shop, way: Way, snapshot: &SnapshotName, scope: &str) -> Result<ActivityEntry, Error> {
    let scope = scope.parse().expect("a scope");
    restores::create(&shop.test.app, way, RestoreRequest { snapshot: snapshot.clone(), scope, plan_hash: None }).await
}

async fn restore(shop: &Shop, snapshot: &SnapshotName, (from, into): (&str, &str), scope: &str) -> Activity {
    let way = way(shop, &shop.admin, from, into).await.expect("an admin of both");
    let entry = ask(shop, way, snapshot, scope).await.expect("it is queued");
    let done = shop.test.settle(&entry.activity.id).await;
    assert_eq!(done.failure, None);
    done
}

fn safety(done: &Activity) -> SnapshotName {
    let Payload::RestoreSnapshot(restore) = &done.payload else { panic!("a restore") };
    restore.safety.clone()
}

/// What one reads in an environment's feed, newest first.
async fn feed(shop: &Shop, actor: &Actor, name: &str) -> Vec<(String, bool)> {
    let proof = shop.test.app.authorize_environment::<ViewHistory>(actor, &project(), &environment(name)).await;
    let feed = activities::feed(&shop.test.app, &proof.expect("it is visible"), activities::Filter::default()).await;
    let entries = feed.expect("a feed").entries;
    entries.into_iter().map(|entry| (entry.description, entry.snapshot.is_some())).collect()
}

#[tokio::test]
async fn another_environment_gets_what_this_one_held_and_can_go_back() {
    let shop = TestApp::with_shop().await;
    let staging = shop.add_staging().await;
    let name = shop.snapshot().await;
    shop.site.order("sofa");

    let preflight = look(&shop, &name, "staging", "").await;
    assert!(preflight.offer.is_open(), "{:?}", preflight.obstacles);
    assert_eq!((preflight.environment.name, preflight.source), (environment("staging"), environment("main")));
    assert_eq!(preflight.targets, [environment("main"), environment("staging")]);
    assert_eq!(preflight.changes[0].replaces, "1 row in 1 table");
    assert!(preflight.expectations[0].contains("of staging is replaced by what main held"));

    let done = restore(&shop, &name, ("main", "staging"), "").await;
    assert_eq!(staging.orders(), ["chair", "table", "lamp"]);
    assert_eq!(std::fs::read(staging.uploads.join("pictures/chair.jpg")).expect("it is there"), b"a chair");
    assert_eq!(shop.site.orders(), ["chair", "table", "lamp", "sofa"], "the source is not touched");
    let told = format!("restored {name} of main into staging");
    assert_eq!(feed(&shop, &shop.admin, "staging").await, [(told, true)]);
    assert_eq!(feed(&shop, &shop.admin, "main").await.len(), 1, "the snapshot alone");

    // What was there is staging's own snapshot.
    restore(&shop, &safety(&done), ("staging", "staging"), "").await;
    assert_eq!(staging.orders(), ["lamp"]);
    assert_eq!(std::fs::read(staging.uploads.join("pictures/chair.jpg")).expect("it is there"), b"a staging chair");
}

#[tokio::test]
async fn a_target_that_has_a_command_for_it_says_beforehand_that_it_runs() {
    let shop = TestApp::with_shop().await;
    let staging = shop.add_staging().await;
    let name = shop.snapshot().await;
    let told = look(&shop, &name, "staging", "").await.expectations.join(" ");
    assert!(told.contains("check what staging sends"), "{told}");
    let main = shop.site.declaration("shop", "main", "production", "self-hosted");
    let commands = "[project.environment.commands]\nafter_restore = [\"/bin/true\"]\n";
    shop.test.declare(&format!("{main}{}{commands}", staging.environment("staging", "staging"))).await;
    let told = look(&shop, &name, "staging", "").await.expectations.join(" ");
    assert!(told.contains("a command of staging makes them its own before visitors are let in"), "{told}");
    restore(&shop, &name, ("main", "staging"), "").await;
    assert_eq!(staging.orders(), ["chair", "table", "lamp"]);
}

#[tokio::test]
async fn only_the_parts_that_were_chosen_are_replaced_and_only_they_come_back() {
    let shop = TestApp::with_shop().await;
    let name = shop.snapshot().await;
    shop.site.order("sofa");
    let picture = shop.site.uploads.join("pictures/chair.jpg");
    std::fs::write(&picture, b"a worse chair").expect("a writable directory");

    let preflight = look(&shop, &name, "main", "mount:uploads").await;
    assert_eq!(preflight.changes.iter().map(|change| &change.part.name).collect::<Vec<_>>(), ["uploads"]);
    assert_eq!(preflight.untouched.iter().map(ToString::to_string).collect::<Vec<_>>(), ["service:database"]);
    assert_ne!(preflight.hash, look(&shop, &name, "main", "").await.hash);

    let done = restore(&shop, &name, ("main", "main"), "mount:uploads").await;
    assert_eq!(std::fs::read(&picture).expect("it is there"), b"a chair");
    assert_eq!(shop.site.orders().len(), 4, "the database was not chosen");
    let page = snapshots::page(&shop.test.app, &shop.history().await, &safety(&done)).await.expect("it is kept");
    assert_eq!((page.manifest.services.len(), page.manifest.mounts.len()), (0, 1));
    assert_eq!(feed(&shop, &shop.admin, "main").await[0].0, format!("restored mount uploads of {name} into main"));

    shop.site.order("bed");
    restore(&shop, &safety(&done), ("main", "main"), "").await;
    assert_eq!(std::fs::read(&picture).expect("it is there"), b"a worse chair");
    assert_eq!(shop.site.orders().len(), 5, "what was never replaced is not taken back");
}

#[tokio::test]
async fn it_needs_admin_on_both_types_when_it_is_asked_for_and_when_it_starts() {
    let shop = TestApp::with_shop().await;
    shop.add_staging().await;
    let name = shop.snapshot().await;
    let person = shop.test.outsider("person@example.org").await;
    let (production, staging) = (EnvironmentKind::Production, EnvironmentKind::Staging);
    let roles = |on_production, on_staging| BTreeMap::from([(production, on_production), (staging, on_staging)]);
    let tables = [(TypeRole::Admin, TypeRole::Viewer), (TypeRole::Viewer, TypeRole::Admin)];
    for (on_production, on_staging) in tables {
        shop.test.set_roles(&person, None, roles(on_production, on_staging)).await;
        let refused = way(&shop, &person, "main", "staging").await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    }
    shop.test.set_roles(&person, None, BTreeMap::from([(production, TypeRole::Admin)])).await;
    let refused = way(&shop, &person, "main", "staging").await;
    assert!(matches!(refused, Err(Error::Absent { what: "environment", .. })), "{refused:?}");

    shop.test.set_roles(&person, None, roles(TypeRole::Admin, TypeRole::Admin)).await;
    let both = way(&shop, &person, "main", "staging").await.expect("an admin of both");
    let entry = ask(&shop, both, &name, "").await.expect("it is queued");
    shop.test.set_roles(&person, None, roles(TypeRole::Viewer, TypeRole::Admin)).await;
    let done = shop.test.settle(&entry.activity.id).await;
    assert_eq!(done.result, Some(ActivityResult::Failure));
    assert!(done.failure.expect("a reason").contains("production"));
}

#[tokio::test]
async fn who_may_not_see_the_source_does_not_learn_of_it() {
    let shop = TestApp::with_shop().await;
    shop.add_staging().await;
    let name = shop.snapshot().await;
    restore(&shop, &name, ("main", "staging"), "").await;
    let person = shop.test.outsider("person@example.org").await;
    shop.test.set_roles(&person, None, BTreeMap::from([(EnvironmentKind::Staging, TypeRole::Admin)])).await;
    let told = "restored a snapshot of another environment into staging".to_owned();
    assert_eq!(feed(&shop, &person, "staging").await, [(told, false)]);
}

#[tokio::test]
async fn what_the_target_lacks_is_refused_unless_it_is_left_out() {
    let shop = TestApp::with_shop().await;
    let staging = shop.add_staging().await;
    let name = shop.snapshot().await;
    let main = shop.site.declaration("shop", "main", "production", "self-hosted");
    let renamed = staging.environment("staging", "staging").replace("\"uploads\"", "\"pictures\"");
    shop.test.declare(&format!("{main}{renamed}")).await;

    let preflight = look(&shop, &name, "staging", "").await;
    assert!(preflight.obstacles[0].contains("the mount uploads"), "{:?}", preflight.obstacles);
    let both = way(&shop, &shop.admin, "main", "staging").await.expect("an admin of both");
    assert!(matches!(ask(&shop, both, &name, "").await, Err(Error::Conflict(_))));
    restore(&shop, &name, ("main", "staging"), "service:database").await;
    assert_eq!(staging.orders(), ["chair", "table", "lamp"]);
}

#[tokio::test]
async fn a_target_that_would_have_to_be_made_is_refused_with_what_works() {
    let shop = TestApp::with_shop().await;
    shop.add_staging().await;
    let table = [
        (None, Some("main"), "not provided for"),
        (Some("new"), Some("main"), "[project.provision]"),
        (Some("staging"), Some("main"), "exists already"),
        (Some("new"), None, "no such environment"),
        (Some("new"), None, "--branch-from main"),
        (Some("-rf"), None, "not a valid environment name"),
        (Some("Feature/Cart"), Some("main"), "only lower-case letters, digits and hyphens are allowed"),
        (Some("Feature/Cart"), Some("main"), "Try feature-cart."),
        (None, Some("nowhere"), "nowhere was to give the new environment its services and mounts"),
        (None, Some("a b"), "not a valid environment name"),
        (None, None, ""),
    ];
    for (target, branch_from, said) in table {
        let wish = Wish { target, branch_from };
        let refused = Way::authorize(&shop.test.app, &shop.admin, &project(), &environment("main"), wish).await;
        if said.is_empty() {
            refused.expect("in place nothing has to be made");
            continue;
        }
        let refused = refused.expect_err("it can't be made").problem();
        let words = format!("{} {}", refused.message, refused.hint.unwrap_or_default());
        assert!(words.contains(said), "{target:?} {branch_from:?}: {words}");
    }
}

#[tokio::test]
async fn acting_on_another_environment_than_the_snapshots_own_is_refused_with_the_command_that_works() {
    let shop = TestApp::with_shop().await;
    shop.add_staging().await;
    let name = shop.snapshot().await;
    let table = [
        (None, "", format!("-e main --target staging {name}")),
        (Some("staging"), "mount:uploads", format!("-e main --target staging {name}")),
        (Some("main"), "", format!("-e main {name}")),
    ];
    for (target, scope, command) in table {
        let wish = Wish { target, branch_from: None };
        let way = Way::authorize(&shop.test.app, &shop.admin, &project(), &environment("staging"), wish).await;
        let way = way.expect("an admin of both");
        let scope: Scope = scope.parse().expect("a scope");
        let looked = restores::preflight(&shop.test.app, &way, &name, &scope).await.expect_err("taken elsewhere");
        let asked = ask(&shop, way, &name, "").await.expect_err("taken elsewhere");
        for refused in [looked.problem(), asked.problem()] {
            assert_eq!(refused.status, 409);
            assert_eq!(refused.message, format!("The snapshot {name} was taken of main, not of staging."));
            let hint = refused.hint.expect("what works");
            assert!(hint.ends_with(&format!("stillpoint snapshot:restore -p shop {command}")), "{hint}");
        }
    }
    // Who may not see where it was taken does not learn that it exists.
    let person = shop.test.outsider("person@example.org").await;
    shop.test.set_roles(&person, None, BTreeMap::from([(EnvironmentKind::Staging, TypeRole::Admin)])).await;
    let way = Way::authorize(&shop.test.app, &person, &project(), &environment("staging"), Wish::default()).await;
    let refused = ask(&shop, way.expect("an admin of staging"), &name, "").await;
    assert!(matches!(refused, Err(Error::NotFound("snapshot"))), "{refused:?}");
}
