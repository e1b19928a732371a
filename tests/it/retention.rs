//! What goes, when and why, through the operations; deleting and taking back; pruning, and dying at it (R11, R12, R13,
//! R14).

use std::time::Duration;

use serde_json::{Value, json};
use stillpoint::authz::{
    Actor, ChangePlan, CreateSnapshot, DeleteSnapshot, ManageSchedules, ProtectSnapshot, RestoreSnapshot, ViewHistory,
};
use stillpoint::domain::activity::{ActivityKind, ActivityResult, Payload};
use stillpoint::domain::environment::EnvironmentKind;
use stillpoint::domain::ids::{PlanId, RegionId};
use stillpoint::domain::notice::Notice;
use stillpoint::domain::policy::plans::Keep;
use stillpoint::domain::policy::retention::{Fate, Hold};
use stillpoint::domain::policy::{Act, Grants, ProjectRole, TypeRole};
use stillpoint::domain::schedule::Errand;
use stillpoint::domain::snapshot::Protection;
use stillpoint::domain::view::RetentionPage;
use stillpoint::domain::{ActivityId, Scope, SnapshotName, Timestamp};
use stillpoint::engine::{Location, Repository};
use stillpoint::jobs::{Round, Upkeep};
use stillpoint::ops::installation::{Applied, Consent};
use stillpoint::ops::schedules::ScheduleRequest;
use stillpoint::ops::snapshots::SnapshotRequest;
use stillpoint::ops::tokens::{self, TokenRequest};
use stillpoint::ops::{Error, accounts, activities, environments, plans, restores, retention, schedules, snapshots};
use stillpoint::store::{Sealer, Store, logs, projects, schedules as stored_schedules};
use tokio_util::sync::CancellationToken;

use crate::members::visitor::House;
use crate::process::{Installation, until};
use crate::support::{Shop, TestApp, project};
use crate::watch;

const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// The shop under that plan.
async fn shop_under(plan: &str) -> Shop {
    let shop = TestApp::with_shop().await;
    shop.test.declare(&shop.site.declaration("shop", "main", "production", plan)).await;
    shop
}

/// As if it had been taken so many days earlier.
pub async fn age(shop: &Shop, name: &SnapshotName, days: i64) {
    change(shop, "UPDATE snapshots SET taken_at = taken_at - $1 WHERE name = $2", days * DAY, name).await;
}

async fn change(shop: &Shop, sql: &'static str, number: i64, name: &SnapshotName) {
    let mut tx = shop.test.store.write().await.expect("a transaction");
    sqlx::query(sql).bind(number).bind(name.as_str()).execute(&mut *tx).await.expect("a row");
    shop.test.store.commit(tx).await.expect("a commit");
}

async fn upkeep(shop: &Shop, round: Round) {
    let upkeep = Upkeep::of(RegionId::parse("local").expect("a valid id"));
    upkeep.round(&shop.test.context(), round, &CancellationToken::new()).await;
}

async fn preview(shop: &Shop) -> RetentionPage {
    retention::preview(&shop.test.app, &shop.history().await).await.expect("a preview")
}

/// Names in the catalogue, newest first.
pub async fn kept(shop: &Shop) -> Vec<SnapshotName> {
    let list = snapshots::list(&shop.test.app, &shop.history().await).await.expect("a list");
    list.into_iter().map(|entry| entry.snapshot.name).collect()
}

/// Of the unfinished retention.
async fn waiting_run(shop: &Shop) -> Vec<ActivityId> {
    let filter = activities::Filter { kinds: vec![ActivityKind::Retention], ..Default::default() };
    let feed = activities::feed(&shop.test.app, &shop.history().await, filter).await.expect("a feed");
    let unfinished = feed.entries.into_iter().filter(|entry| !entry.activity.state.is_over());
    unfinished.map(|entry| entry.activity.id).collect()
}

/// Looks through everything, and lets go what goes.
pub async fn run(shop: &Shop) -> Vec<String> {
    upkeep(shop, Round::Whole).await;
    let mut said = Vec::new();
    for activity in waiting_run(shop).await {
        let done = shop.test.settle(&activity).await;
        assert_eq!(done.failure, None);
        said.extend(log(shop, &activity).await);
    }
    said
}

async fn log(shop: &Shop, activity: &ActivityId) -> Vec<String> {
    let mut db = shop.test.store.read().await.expect("a connection");
    let lines = logs::after(&mut db, activity, 0).await.expect("a log");
    lines.into_iter().map(|line| line.message).collect()
}

/// Names in the repository.
async fn stored(shop: &Shop) -> Vec<SnapshotName> {
    let mut db = shop.test.store.read().await.expect("a connection");
    let access = projects::repository(&mut db, shop.test.store.sealer(), &project()).await.expect("a repository");
    let listing = tokio::task::spawn_blocking(move || {
        let repository = Repository::open(&Location::Local(access.location.into()), &access.key).expect("a repository");
        repository.list().expect("a listing")
    });
    listing.await.expect("no panic").snapshots.into_iter().filter_map(|entry| entry.name).collect()
}

async fn protect(shop: &Shop, name: &SnapshotName, note: &str) {
    let proof = shop.test.proof::<ProtectSnapshot>(&shop.admin).await.expect("an admin");
    retention::protect(&shop.test.app, proof, name, Some(note.to_owned())).await.expect("it is protected");
}

pub async fn delete(shop: &Shop, name: &SnapshotName) -> Result<(), Error> {
    let proof = shop.test.proof::<DeleteSnapshot>(&shop.admin).await.expect("an admin");
    retention::delete(&shop.test.app, proof, name).await.map(drop)
}

async fn undelete(shop: &Shop, name: &SnapshotName) -> Result<(), Error> {
    let proof = shop.test.proof::<DeleteSnapshot>(&shop.admin).await.expect("an admin");
    retention::undelete(&shop.test.app, proof, name).await.map(drop)
}

#[tokio::test]
async fn what_the_preview_says_goes_and_its_data_leaves_the_repository() {
    let shop = shop_under("starter").await;
    let old = shop.snapshot().await;
    let new = shop.snapshot().await;
    assert!(run(&shop).await.is_empty(), "nothing goes yet, and no activity says so every hour");
    age(&shop, &old, 8).await;
    let page = preview(&shop).await;
    let decision = page.plan.of(&old).expect("it is in the plan");
    assert_eq!((decision.fate, decision.reason.as_str()), (Fate::Goes, "It is older than 7 days."));
    assert_eq!(page.plan.going().count(), 1);

    let said = run(&shop).await;
    assert!(
        said.iter().any(|line| line.contains(old.as_str()) && line.ends_with("It is older than 7 days.")),
        "{said:?}"
    );
    assert_eq!(kept(&shop).await, std::slice::from_ref(&new));
    assert!(preview(&shop).await.deleted.is_empty(), "nobody deleted it, nobody takes it back");
    upkeep(&shop, Round::Short).await;
    assert_eq!(stored(&shop).await, [new]);
}

#[tokio::test]
async fn a_protected_one_stays_with_its_note_until_the_protection_is_taken_off() {
    let shop = shop_under("starter").await;
    let old = shop.snapshot().await;
    shop.snapshot().await;
    age(&shop, &old, 30).await;
    protect(&shop, &old, "  the audit  ").await;
    assert!(run(&shop).await.is_empty());
    let page = snapshots::page(&shop.test.app, &shop.history().await, &old).await.expect("it is there");
    assert_eq!(page.snapshot.protection, Some(Protection { note: Some("the audit".to_owned()) }));
    let decision = page.decision.expect("it has a fate");
    assert_eq!(decision.fate, Fate::Stays);
    assert!(decision.holds.contains(&Hold::Protected(Some("the audit".to_owned()))));
    assert!(page.care.delete.refusal.expect("the button says why").reason.contains("protected"));
    assert!(matches!(delete(&shop, &old).await, Err(Error::Conflict(_))));

    let proof = shop.test.proof::<ProtectSnapshot>(&shop.admin).await.expect("an admin");
    retention::unprotect(&shop.test.app, proof, &old).await.expect("it is taken off");
    run(&shop).await;
    assert!(!kept(&shop).await.contains(&old));
}

#[tokio::test]
async fn what_is_protected_between_plan_and_deletion_stays() {
    let shop = shop_under("starter").await;
    let old = shop.snapshot().await;
    shop.snapshot().await;
    age(&shop, &old, 30).await;
    upkeep(&shop, Round::Whole).await;
    let [run] = &waiting_run(&shop).await[..] else { panic!("one run") };
    upkeep(&shop, Round::Whole).await;
    assert_eq!(waiting_run(&shop).await.len(), 1, "one at a time");
    protect(&shop, &old, "just in time").await;
    let done = shop.test.settle(run).await;
    assert_eq!((done.failure, done.result), (None, Some(ActivityResult::Success)));
    assert!(kept(&shop).await.contains(&old));
}

#[tokio::test]
async fn what_a_queued_restore_needs_stays_and_can_not_be_deleted() {
    let shop = shop_under("starter").await;
    let old = shop.snapshot().await;
    shop.snapshot().await;
    age(&shop, &old, 30).await;
    let proof = shop.test.proof::<RestoreSnapshot>(&shop.admin).await.expect("an admin");
    let request = restores::RestoreRequest { snapshot: old.clone(), scope: Scope::default(), plan_hash: None };
    let restore = restores::create(&shop.test.app, proof.into(), request).await.expect("it is queued");
    let page = preview(&shop).await;
    let decision = page.plan.of(&old).expect("it is in the plan");
    assert_eq!(decision.fate, Fate::Stays);
    assert!(decision.holds.contains(&Hold::InUse));
    let refused = delete(&shop, &old).await.expect_err("it is in use");
    assert!(
        matches!(&refused, Error::Conflict(refusal) if refusal.reason.contains("uses this snapshot")),
        "{refused:?}"
    );
    let feed = activities::feed(&shop.test.app, &shop.history().await, Default::default()).await.expect("a feed");
    let recorded = feed.entries.iter().find(|entry| entry.activity.kind == ActivityKind::BackupDelete);
    assert_eq!(recorded.and_then(|entry| entry.activity.result), Some(ActivityResult::Failure), "R5");

    let restored = shop.test.settle(&restore.activity.id).await;
    assert_eq!(restored.failure, None);
    run(&shop).await;
    assert!(!kept(&shop).await.contains(&old), "nothing holds it any more");
}

#[tokio::test]
async fn a_deletion_can_be_taken_back_for_three_days_and_then_the_data_goes() {
    let shop = shop_under("starter").await;
    let one = shop.snapshot().await;
    let two = shop.snapshot().await;
    shop.site.order("sofa");
    delete(&shop, &one).await.expect("it is deleted");
    assert_eq!(kept(&shop).await, std::slice::from_ref(&two));
    assert!(snapshots::page(&shop.test.app, &shop.history().await, &one).await.is_err());
    assert!(matches!(delete(&shop, &one).await, Err(Error::NotFound(_))), "once is enough");
    upkeep(&shop, Round::Short).await;
    assert_eq!(stored(&shop).await.len(), 2, "its data is still there");
    let [entry] = &preview(&shop).await.deleted[..] else { panic!("one that can be taken back") };
    assert_eq!((entry.snapshot.name.clone(), entry.deletion.by.as_str()), (one.clone(), "admin@example.org"));
    assert_eq!(entry.deletion.until.since(entry.deletion.at), Duration::from_secs(3 * 24 * 60 * 60));

    undelete(&shop, &one).await.expect("it is taken back");
    assert!(matches!(undelete(&shop, &one).await, Err(Error::NotFound(_))));
    let restored = shop.restore(&one).await;
    assert_eq!(restored.failure, None);
    assert_eq!(shop.site.orders(), ["chair", "table", "lamp"]);

    delete(&shop, &one).await.expect("it is deleted again");
    change(&shop, "UPDATE snapshots SET forget_at = forget_at - $1 WHERE name = $2", 3 * DAY, &one).await;
    assert!(matches!(undelete(&shop, &one).await, Err(Error::NotFound(_))), "its time is over");
    upkeep(&shop, Round::Short).await;
    assert!(!stored(&shop).await.contains(&one));
    assert!(stored(&shop).await.contains(&two));
}

#[tokio::test]
async fn the_newest_that_a_drill_did_not_fail_on_stays() {
    let shop = shop_under("starter").await;
    let good = shop.snapshot().await;
    let bad = shop.snapshot().await;
    age(&shop, &good, 30).await;
    change(&shop, "UPDATE snapshots SET drill_failed_at = $1 WHERE name = $2", 1, &bad).await;
    assert!(run(&shop).await.is_empty());
    let page = preview(&shop).await;
    assert!(page.plan.of(&good).expect("it is in the plan").holds.contains(&Hold::NewestRestorable));
    // One that nobody tried since does not take its place.
    let untried = shop.snapshot().await;
    age(&shop, &bad, 20).await;
    assert!(run(&shop).await.is_empty());
    change(&shop, "UPDATE snapshots SET drill_failed_at = NULL WHERE $1 > 0 AND name = $2", 1, &bad).await;
    run(&shop).await;
    assert_eq!(kept(&shop).await, [untried]);
}

/// Of what schedules take, the newest of each stays.
const ONE_OF_EACH: &str = "[[plan]]\nid = \"each\"\ntitle = \"Each\"\n\
    production = { manual = \"yes\", schedules = \"yes\", keep = { newest = 4 }, scheduled = { newest = 1 } }\n\
    staging = { manual = \"yes\", schedules = \"yes\", keep = { newest = 4 } }\n\
    development = { manual = \"yes\", schedules = \"yes\", keep = { newest = 4 } }\n\
    [[project]]\nid = \"shop\"\nplan = \"each\"\n";

#[tokio::test]
async fn what_removed_schedules_took_stays_their_own_and_goes_as_if_they_ran_on() {
    let shop = TestApp::with_shop().await;
    shop.test.declare(ONE_OF_EACH).await;
    let app = &shop.test.app;
    let proof = shop.test.proof::<ManageSchedules>(&shop.admin).await.expect("an admin");
    let mut taken = Vec::new();
    for cron in ["0 3 1 * *", "0 3 * * *"] {
        let (cron, time_zone) = (cron.to_owned(), "UTC".to_owned());
        let request = ScheduleRequest { what: Errand::Snapshot, cron, time_zone };
        let schedule = schedules::add(app, &proof, &request).await.expect("a schedule").schedule.id;
        let entry = shop.ask_for_snapshot().await;
        let done = shop.test.settle(&entry.activity.id).await;
        let Payload::TakeSnapshot(take) = done.payload else { panic!("no snapshot") };
        let mut tx = shop.test.store.write().await.expect("a transaction");
        stored_schedules::ran(&mut tx, &schedule, &done.id).await.expect("noted");
        shop.test.store.commit(tx).await.expect("a commit");
        change(&shop, "UPDATE snapshots SET origin = 'automatic' WHERE $1 > 0 AND name = $2", 1, &take.snapshot).await;
        age(&shop, &take.snapshot, 20).await;
        taken.push((schedule, take.snapshot));
    }
    let [(monthly, first), (daily, second)] = &taken[..] else { panic!("two") };
    for schedule in [monthly, daily] {
        schedules::remove(app, &proof, schedule).await.expect("it is there");
    }
    assert!(run(&shop).await.is_empty(), "removing them lets nothing go");
    assert_eq!(kept(&shop).await, [second.clone(), first.clone()]);
    let page = preview(&shop).await;
    let decision = page.plan.of(first).expect("it is in the plan");
    assert!(decision.goes_at.is_some() && decision.reason.contains("of a schedule that was removed"), "{decision:?}");

    // Forty days later the monthly one would have taken another.
    let mut tx = shop.test.store.write().await.expect("a transaction");
    let sql = "UPDATE ended_schedules SET ended_at = ended_at - $1";
    sqlx::query(sql).bind(40 * DAY).execute(&mut *tx).await.expect("two rows");
    shop.test.store.commit(tx).await.expect("a commit");
    run(&shop).await;
    assert_eq!(kept(&shop).await, std::slice::from_ref(second), "the newest stays in any case");
}

#[tokio::test]
async fn what_is_taken_away_is_told_and_what_goes_by_its_age_is_not() {
    let shop = shop_under("professional").await;
    watch::add_channel(&shop).await;
    let told = async || {
        let all = watch::notices_of(&shop).await;
        all.into_iter().filter(|notice| *notice == Notice::SnapshotDeleted).count()
    };
    let (ancient, old, newest) = (shop.snapshot().await, shop.snapshot().await, shop.snapshot().await);
    delete(&shop, &newest).await.expect("it is deleted");
    assert_eq!(told().await, 1);
    undelete(&shop, &newest).await.expect("it is taken back");
    protect(&shop, &newest, "the audit").await;
    assert_eq!(told().await, 1, "nobody loses anything by these");
    let proof = shop.test.proof::<ProtectSnapshot>(&shop.admin).await.expect("an admin");
    retention::unprotect(&shop.test.app, proof, &newest).await.expect("it is taken off");
    assert_eq!(told().await, 2);

    age(&shop, &ancient, 300).await;
    assert_eq!(run(&shop).await.len(), 1);
    assert_eq!(told().await, 2, "that was announced for half a year");
    age(&shop, &old, 30).await;
    let declaration = shop.site.declaration("shop", "main", "production", "professional");
    let tight = "[[project]]\nstorage_budget = \"1 KiB\"";
    shop.test.declare(&declaration.replace("[[project]]", tight)).await;
    run(&shop).await;
    assert_eq!((kept(&shop).await, told().await), (vec![newest], 3));
}

#[tokio::test]
async fn only_admins_of_the_type_delete_protect_and_take_back() {
    let shop = shop_under("starter").await;
    shop.snapshot().await;
    for role in [TypeRole::Viewer, TypeRole::Contributor] {
        let member = shop.test.member(&format!("{role}@example.org"), role).await;
        let history = shop.test.proof::<ViewHistory>(&member).await.expect("members see the history");
        let page = retention::preview(&shop.test.app, &history).await.expect("and what goes when");
        assert_eq!(page.plan.decisions.len(), 1);
        let entry = &snapshots::list(&shop.test.app, &history).await.expect("a list")[0];
        assert!(!entry.care.delete.is_open() && !entry.care.protect.is_open());
        assert!(matches!(shop.test.proof::<DeleteSnapshot>(&member).await, Err(Error::Forbidden(_))));
        assert!(matches!(shop.test.proof::<ProtectSnapshot>(&member).await, Err(Error::Forbidden(_))));
    }
    let stranger = shop.test.outsider("stranger@example.org").await;
    assert!(matches!(shop.test.proof::<DeleteSnapshot>(&stranger).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn a_fifth_manual_snapshot_says_which_one_goes_and_that_goes_only_for_a_complete_one() {
    let shop = TestApp::with_shop().await;
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(shop.snapshot().await);
    }
    let ask = async |evict: Vec<SnapshotName>| {
        let proof = shop.test.proof::<CreateSnapshot>(&shop.admin).await.expect("an admin");
        snapshots::create(&shop.test.app, proof, SnapshotRequest { evict, ..Default::default() }).await
    };
    let card = environments::card(&shop.test.app, shop.history().await).await.expect("the environment");
    assert_eq!(card.eviction.snapshots, [names[0].clone()], "the page asks for it");
    let refused = ask(Vec::new()).await.expect_err("nothing goes unasked");
    assert!(matches!(&refused, Error::Conflict(why) if why.reason.contains(names[0].as_str())), "{refused:?}");
    assert!(matches!(ask(vec![names[2].clone()]).await, Err(Error::Conflict(_))), "another one was agreed to");
    assert!(matches!(ask(names[..2].to_vec()).await, Err(Error::Conflict(_))), "not more than has to");

    // A token that may make snapshots must not make others go.
    let acts = vec![Act::CreateSnapshot];
    let grants = Grants { acts, ..Grants::default() };
    let token = TokenRequest { name: "ci".to_owned(), grants, expires_in_days: None };
    let token = tokens::create(&shop.test.app, &shop.admin, token).await.expect("a token");
    let narrowed = accounts::actor_of_bearer(&shop.test.app, &token.text).await.expect("a valid token");
    let proof = shop.test.proof::<CreateSnapshot>(&narrowed).await.expect("it may make them");
    let request = SnapshotRequest { evict: vec![names[0].clone()], ..Default::default() };
    let refused = snapshots::create(&shop.test.app, proof, request).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");

    // One that can't be completed.
    let hidden = shop.site.database.with_extension("hidden");
    std::fs::rename(&shop.site.database, &hidden).expect("own file");
    let failing = ask(vec![names[0].clone()]).await.expect("it is queued");
    assert!(shop.test.settle(&failing.activity.id).await.failure.is_some());
    assert_eq!(kept(&shop).await.len(), 4, "nothing went for it");
    std::fs::rename(&hidden, &shop.site.database).expect("own file");

    let fifth = ask(vec![names[0].clone()]).await.expect("it is queued");
    let done = shop.test.settle(&fifth.activity.id).await;
    assert_eq!(done.failure, None);
    let Payload::TakeSnapshot(take) = done.payload else { panic!("a snapshot") };
    let now = kept(&shop).await;
    assert!(now.contains(&take.snapshot) && !now.contains(&names[0]) && now.len() == 4, "{now:?}");
    assert!(log(&shop, &fifth.activity.id).await.iter().any(|line| line.contains("as was agreed")));
    undelete(&shop, &names[0]).await.expect("it can be taken back as any deletion");
    protect(&shop, &names[0], "the first of all").await;
    let card = environments::card(&shop.test.app, shop.history().await).await.expect("the environment");
    assert_eq!(card.eviction.snapshots, [names[1].clone()], "what is protected neither counts nor goes");
}

async fn may_change_plan(shop: &Shop, actor: &Actor) -> Result<(), Error> {
    shop.test.app.authorize_project::<ChangePlan>(actor, &project()).await.map(drop)
}

#[tokio::test]
async fn another_plan_shows_what_it_changes_before_it_does_and_only_operators_choose() {
    let shop = TestApp::with_shop().await;
    let old = shop.snapshot().await;
    shop.snapshot().await;
    age(&shop, &old, 9).await;
    let starter = PlanId::parse("starter").expect("a valid id");
    let member = shop.test.outsider("member@example.org").await;
    shop.test.set_roles(&member, Some(ProjectRole::Admin), Default::default()).await;
    assert!(matches!(may_change_plan(&shop, &member).await, Err(Error::Forbidden(_))), "a project admin does not");

    let id = project();
    let proof = || shop.test.app.authorize_project::<ChangePlan>(&shop.admin, &id);
    let change = plans::change(&shop.test.app, &proof().await.expect("an operator"), &starter).await.expect("a change");
    let going: Vec<&SnapshotName> = change.going.iter().map(|decision| &decision.snapshot).collect();
    assert_eq!(going, [&old]);
    assert!(change.told.iter().any(|(_, is, becomes)| is.text.contains("newest 4") && becomes.text.contains("7 days")));
    assert_eq!(kept(&shop).await.len(), 2, "looking changes nothing");

    protect(&shop, &old, "not this one").await;
    let stale = plans::set(&shop.test.app, proof().await.expect("an operator"), &starter, Some(&change.hash)).await;
    assert!(matches!(stale, Err(Error::Conflict(_))), "{stale:?}");
    let change = plans::change(&shop.test.app, &proof().await.expect("an operator"), &starter).await.expect("a change");
    assert!(change.going.is_empty());
    plans::set(&shop.test.app, proof().await.expect("an operator"), &starter, Some(&change.hash)).await.expect("set");
    assert_eq!(preview(&shop).await.plan_title, "Starter");
    let unknown = PlanId::parse("golden").expect("a valid id");
    let unknown = plans::change(&shop.test.app, &proof().await.expect("an operator"), &unknown).await;
    assert!(matches!(unknown, Err(Error::Invalid { .. })), "{unknown:?}");
}

#[tokio::test]
async fn a_plan_whose_text_has_changed_says_so_shows_what_it_would_change_and_is_taken_at_one_go() {
    let shop = shop_under("self-hosted").await;
    let old = shop.snapshot().await;
    let newest = shop.snapshot().await;
    age(&shop, &old, 9).await;
    // As before an upgrade: production kept three months of what is taken by hand, and nothing was taken by itself.
    let mut tx = shop.test.store.write().await.expect("a transaction");
    let mut text = projects::plan(&mut tx, &project()).await.expect("a plan");
    text.production.keep = Keep::Days(90);
    text.production.automatic = None;
    let now = Timestamp::now();
    projects::update(&mut tx, &project(), "Shop", &text, now).await.expect("stored");
    shop.test.store.commit(tx).await.expect("a commit");
    let viewer = shop.test.outsider("viewer@example.org").await;
    let staging = [(EnvironmentKind::Staging, TypeRole::Viewer)];
    shop.test.set_roles(&viewer, None, staging.into()).await;
    let house = House::of(shop).await;
    let mut operator = house.logged_in("admin@example.org").await;
    let mut other = house.logged_in("viewer@example.org").await;

    let shown = house.api(&operator, "GET", "/projects/shop/plan", Value::Null).await.json;
    let newer = &shown["newer"];
    let rule = newer["rules"].as_array().expect("rules").iter().find(|rule| rule["title"] == "Manual snapshots");
    assert_eq!(rule.expect("it differs")["is"], "Kept: for 90 days.", "{newer:#}");
    assert_eq!((&newer["done"], &newer["goes"]), (&json!(false), &json!([])), "nothing goes by a number unasked");
    let page = operator.get("/projects/shop/plan").await.text;
    assert!(
        page.contains("The text of the Self-hosted plan has changed") && page.contains("Take the new text"),
        "{page}"
    );
    let page = other.get("/projects/shop/plan").await.text;
    let button = page.split("Take the new text").next().and_then(|before| before.rsplit("<button").next());
    assert!(button.is_some_and(|button| button.contains("disabled")), "shown, disabled (R7): {page}");
    assert!(page.contains("is changed by the operators of the installation"), "{page}");
    let (code, out, said) = house.command(&other, "project:plan -p shop --format csv --no-header").await;
    assert_eq!(code, 0, "{said}");
    assert!(out.starts_with("production,Automatic snapshots,None by the plan."), "{out}");
    assert!(said.contains("There is a newer text") && said.contains("Until now: Kept: for 90 days."), "{said}");
    assert!(!said.contains(newest.as_str()), "{said}");
    assert_eq!(house.command(&other, "project:plan -p shop --renew --yes").await.0, 6, "operators take it");

    let (code, _, said) = house.command(&operator, "project:plan -p shop --renew").await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("is under the present text of the Self-hosted plan."), "{said}");
    let shown = house.api(&operator, "GET", "/projects/shop/plan", Value::Null).await.json;
    assert_eq!(shown["newer"], Value::Null);
    assert!(!operator.get("/projects/shop/plan").await.text.contains("Take the new text"));
    let (code, _, said) = house.command(&operator, "project:plan -p shop --renew").await;
    assert!(code == 0 && said.contains("already"), "{said}");
    let audit = house.api(&operator, "GET", "/projects/shop/audit?type=project.plan&count=1", Value::Null).await;
    let about = audit.json[0]["about"].as_str().unwrap_or_default().to_owned();
    assert_eq!(about, "took the present text of the Self-hosted plan for the project", "{}", audit.json);
    house.close().await;
}

#[tokio::test]
async fn a_declaration_by_which_snapshots_go_is_only_applied_when_somebody_agrees() {
    let shop = shop_under("self-hosted").await;
    let old = shop.snapshot().await;
    shop.snapshot().await;
    age(&shop, &old, 9).await;
    let under = |plan| shop.site.declaration("shop", "main", "production", plan);
    for consent in [Consent::No, Consent::UnlessSnapshotsGo] {
        let Applied::Looked(outlook) = shop.test.apply_if(&under("starter"), consent).await else {
            panic!("nothing may be changed")
        };
        let [gone] = &outlook.going[..] else { panic!("one goes: {:?}", outlook.going) };
        assert!(gone.starts_with(&format!("{old} of shop main, taken ")), "{gone}");
        assert_eq!(preview(&shop).await.plan_title, "Self-hosted");
    }
    let same = shop.test.apply_if(&under("self-hosted"), Consent::No).await;
    assert!(matches!(&same, Applied::Looked(outlook) if outlook.going.is_empty()), "{same:?}");
    let harmless = shop.test.apply_if(&under("professional"), Consent::UnlessSnapshotsGo).await;
    assert!(matches!(harmless, Applied::Done { .. }), "{harmless:?}");
    assert_eq!(preview(&shop).await.plan_title, "Professional");
    shop.test.apply_if(&under("starter"), Consent::Yes).await;
    assert_eq!(preview(&shop).await.plan_title, "Starter");
}

#[tokio::test]
async fn a_plan_stored_in_its_earlier_form_is_read_as_the_built_in_one() {
    let shop = TestApp::with_shop().await;
    let earlier = r#"{"id":"self-hosted","title":"Self-hosted","production":{"manual":"yes","manual_days":null,
        "automatic":"once a day"},"staging":{"manual":"yes","manual_days":null,"automatic":null},
        "development":{"manual":"yes","manual_days":null,"automatic":null}}"#;
    let mut tx = shop.test.store.write().await.expect("a transaction");
    sqlx::query("UPDATE plans SET body = $1 WHERE id = 'self-hosted'")
        .bind(earlier)
        .execute(&mut *tx)
        .await
        .expect("a row");
    shop.test.store.commit(tx).await.expect("a commit");
    assert!(projects::plan(&mut shop.test.store.read().await.expect("a connection"), &project()).await.is_err());
    let again = Store::open(&shop.test.url, Sealer::new(&[7; 32], &[])).await.expect("the same database");
    let plan = projects::plan(&mut again.read().await.expect("a connection"), &project()).await.expect("it is renewed");
    assert_eq!(plan.production.keep, Keep::Newest(4));
}

#[tokio::test]
async fn a_year_of_each_plan_can_be_looked_at() {
    let shop = TestApp::with_shop().await;
    let proof = shop.test.app.authorize_project(&shop.admin, &project()).await.expect("an admin");
    let wish = plans::Wish { plan: PlanId::parse("pro").ok(), ..Default::default() };
    let year = plans::simulation(&shop.test.app, &proof, wish).await.expect("a year");
    assert_eq!((year.every_hours, year.simulation.taken), (1, 8760));
    assert!((85..90).contains(&year.simulation.left.len()), "{}", year.simulation.left.len());
}

const MAIN: &str = "/projects/shop/environments/main";

fn ask(at: &Installation, method: &str, path: &str, body: Option<Value>, status: u16) -> Value {
    let (got, reply) = at.ask(method, &format!("{MAIN}{path}"), body).expect("the server answers");
    assert_eq!(got, status, "{method} {path}: {reply}");
    reply
}

/// Deletes the oldest of three through the API, and makes its three days be over.
fn deleted_for_good(at: &Installation) -> Vec<String> {
    let names: Vec<String> = (1..=3)
        .map(|version| {
            at.site.write(version);
            at.snapshot()
        })
        .collect();
    ask(at, "DELETE", &format!("/backups/{}", names[0]), None, 202);
    let deleted = ask(at, "GET", "/backups?status=DELETING", None, 200);
    assert_eq!(deleted[0]["status"], "DELETING");
    assert!(deleted[0]["_links"]["#undelete"]["href"].is_string(), "{deleted:#}");
    names
}

fn its_days_are_over(at: &Installation) {
    let database = rusqlite::Connection::open(at.database()).expect("the database");
    database.busy_timeout(Duration::from_secs(20)).expect("a time");
    let changed = database.execute("UPDATE snapshots SET forget_at = 1 WHERE forget_at IS NOT NULL", []);
    assert_eq!(changed.expect("writable"), 1);
}

fn pruned(at: &Installation) {
    let left = |sql: &str| -> i64 {
        let database = rusqlite::Connection::open(at.database()).expect("the database");
        database.busy_timeout(Duration::from_secs(20)).expect("a time");
        database.query_row(sql, [], |row| row.get(0)).expect("a number")
    };
    until("the deleted one has left", || {
        (left("SELECT COUNT(*) FROM snapshots WHERE forget_at IS NOT NULL") == 0).then_some(())
    });
    // The next one is due in days only when there is nothing left to do.
    let now = Timestamp::now().as_micros();
    until("the repository is pruned", || (left("SELECT prune_at FROM projects") > now + 6 * DAY).then_some(()));
}

fn a_prune_survives(step: &str) {
    let at = Installation::new();
    let server = at.start();
    let names = deleted_for_good(&at);
    server.terminate();
    its_days_are_over(&at);
    let dying = at.start_role("all", &[("STILLPOINT_UPKEEP_MS", "50"), ("STILLPOINT_CRASH_AT", step)]);
    dying.died();
    at.assert_repository_sound();

    // A lease that its holder did not give back expires.
    let database = rusqlite::Connection::open(at.database()).expect("the database");
    database.execute("UPDATE repository_leases SET expires_at = 1", []).expect("writable");
    drop(database);
    let server = at.start_with(&[("STILLPOINT_UPKEEP_MS", "50")]);
    pruned(&at);
    at.assert_repository_whole();
    at.restore(&names[1]);
    assert_eq!(at.site.version(), 2);
    at.restore(&names[2]);
    assert_eq!(at.site.version(), 3);
    at.assert_no_leftovers();
    server.terminate();
}

macro_rules! prunes_that_die {
    ($($name:ident: $step:literal)*) => {$(
        #[test]
        fn $name() {
            a_prune_survives($step);
        }
    )*};
}

prunes_that_die! {
    one_that_dies_before_it_tells_that_an_entry_was_forgotten: "retention: forgotten"
    one_that_dies_when_the_new_index_is_written: "prune: written"
    one_that_dies_between_index_and_packs: "prune: index removed"
}

#[test]
fn the_doors_lead_to_the_same() {
    let at = Installation::new();
    let server = at.start();
    let first = at.snapshot();
    at.site.write(2);
    let second = at.snapshot();
    let page = ask(&at, "GET", "/retention", None, 200);
    assert_eq!(page["plan"], "Self-hosted");
    assert_eq!(page["backups"].as_array().map(Vec::len), Some(2));
    assert_eq!(page["backups"][0]["reason"], "It is one of the newest 4.");

    ask(&at, "POST", &format!("/backups/{first}/protect"), Some(json!({ "note": "the audit" })), 202);
    let backup = at.backup(&first);
    assert_eq!(backup["attributes"]["protection_note"], "the audit");
    assert!(backup["_links"].get("#delete").is_none() && backup["_links"].get("#unprotect").is_some(), "{backup:#}");
    ask(&at, "DELETE", &format!("/backups/{first}"), None, 409);
    ask(&at, "POST", &format!("/backups/{first}/unprotect"), None, 202);
    let deleted = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stillpoint"));
        command.env_clear().env("STILLPOINT_URL", at.console()).env("STILLPOINT_TOKEN", &at.token);
        command.args("snapshots --deleted --format csv --columns id,deleted_by,status -p shop -e main".split(' '));
        let done = command.output().expect("the command line's program");
        (done.status.code(), String::from_utf8(done.stdout).expect("UTF-8"))
    };
    assert_eq!(deleted(), (Some(1), String::new()), "there is none");
    ask(&at, "DELETE", &format!("/backups/{first}"), None, 202);
    let (code, table) = deleted();
    assert_eq!((code, table.lines().count()), (Some(0), 2), "{table}");
    assert!(table.contains(&first) && table.contains("DELETING"), "{table}");
    assert_eq!(at.backups().len(), 1);
    ask(&at, "POST", &format!("/backups/{first}/undelete"), None, 202);
    ask(&at, "POST", &format!("/backups/{second}/undelete"), None, 404);
    assert_eq!(at.backups().len(), 2);

    let plan = at.ask("GET", "/projects/shop/plan", None).expect("the server answers").1;
    assert_eq!(plan["id"], "self-hosted");
    let body = json!({ "plan": "starter" });
    let change = at.ask("POST", "/projects/shop/plan", Some(body)).expect("the server answers").1;
    assert_eq!(change["done"], false, "{change:#}");
    let body = json!({ "plan": "starter", "hash": change["hash"] });
    let change = at.ask("POST", "/projects/shop/plan", Some(body)).expect("the server answers").1;
    assert_eq!(change["done"], true, "{change:#}");
    assert_eq!(at.ask("GET", "/projects/shop/plan", None).expect("the server answers").1["title"], "Starter");
    server.terminate();
}
