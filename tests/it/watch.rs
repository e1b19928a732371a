//! What is watched without anybody looking: drills by schedule (R29), and what is told of them.

use std::time::Duration;

use stillpoint::authz::{DeleteSnapshot, ManageSchedules, RunDrill};
use stillpoint::domain::activity::{Activity, ActivityKind, ActivityResult, ActivityState, Payload};
use stillpoint::domain::drill::Outcome;
use stillpoint::domain::environment::EnvironmentKind;
use stillpoint::domain::notice::{Notice, Way};
use stillpoint::domain::policy::TypeRole;
use stillpoint::domain::policy::drills::usual;
use stillpoint::domain::schedule::{Errand, Schedule, ScheduleSource, ScheduleState, Slot};
use stillpoint::domain::time::DAY;
use stillpoint::domain::view::Tone;
use stillpoint::domain::{EnvironmentId, SnapshotName, Timestamp};
use stillpoint::jobs::{begin_due, tell_late};
use stillpoint::ops::notices::{self, ChannelRequest};
use stillpoint::ops::schedules::{self as ops, ScheduleEdit, ScheduleRequest, Wish};
use stillpoint::ops::{Error, drills, environments as environment_ops, retention};
use stillpoint::store::activities::{self, Filter, Scope};
use stillpoint::store::{Sealer, Store, clock, environments, schedules};

use crate::doors::through::Doors;
use crate::support::{Shop, TestApp, environment, project};

async fn of(shop: &Shop, name: &str) -> EnvironmentId {
    let mut db = shop.test.store.read().await.expect("a connection");
    let found = environments::by_name(&mut db, &project(), &environment(name)).await.expect("readable");
    found.expect("it is declared").id
}

async fn scheduled(shop: &Shop, name: &str) -> Vec<Schedule> {
    let id = of(shop, name).await;
    let mut db = shop.test.store.read().await.expect("a connection");
    let mut all = schedules::by_environment(&mut db, &id).await.expect("readable");
    all.retain(|schedule| schedule.what == Errand::Drill);
    all
}

async fn own(shop: &Shop) -> Schedule {
    let all = scheduled(shop, "main").await;
    let [own] = &all[..] else { panic!("one comes by itself: {all:?}") };
    own.clone()
}

async fn now(shop: &Shop) -> Timestamp {
    let mut db = shop.test.store.read().await.expect("a connection");
    clock::now(&mut db, shop.test.store.dialect()).await.expect("a clock")
}

async fn put(shop: &Shop, schedule: &Schedule) {
    let mut tx = shop.test.store.write().await.expect("a transaction");
    schedules::put(&mut tx, schedule).await.expect("stored");
    shop.test.store.commit(tx).await.expect("a commit");
}

/// The next run of the environment's own has been due since then; and it is begun.
async fn due(shop: &Shop, since: Timestamp) {
    let slot = Some(Slot { due: since, run: since });
    put(shop, &Schedule { slot, ..own(shop).await }).await;
    begin_due(&shop.test.store).await.expect("a readable store");
}

/// Drills, oldest first.
async fn tried(shop: &Shop) -> Vec<Activity> {
    let scope = Scope::Environment(of(shop, "main").await);
    let mut db = shop.test.store.read().await.expect("a connection");
    let filter = Filter { kinds: vec![ActivityKind::Drill], ..Filter::default() };
    let mut all = activities::list(&mut db, &scope, &filter, 100).await.expect("readable");
    all.reverse();
    all
}

fn tries(activity: &Activity) -> (Option<&SnapshotName>, Option<&Outcome>) {
    let Payload::RunDrill(run) = &activity.payload else { panic!("no drill: {activity:?}") };
    (run.snapshot.as_ref(), run.outcome.as_ref())
}

async fn health(shop: &Shop) -> (Tone, String) {
    let card = environment_ops::card(&shop.test.app, shop.history().await).await.expect("a card");
    (card.health.tone, card.health.sentence)
}

pub async fn notices_of(shop: &Shop) -> Vec<Notice> {
    let app = &shop.test.app;
    let proof = app.authorize_project(&shop.admin, &project()).await.expect("whoever runs the installation");
    let mut log = notices::deliveries(app, &proof).await.expect("the log");
    log.reverse();
    log.into_iter().map(|delivery| delivery.notice).collect()
}

pub async fn add_channel(shop: &Shop) {
    let app = &shop.test.app;
    let proof = app.authorize_project(&shop.admin, &project()).await.expect("whoever runs the installation");
    let address = "https://example.org/hook".to_owned();
    let request = ChannelRequest { way: Way::Webhook, address, notices: Notice::ALL.to_vec() };
    notices::add(app, &proof, request).await.expect("it is added");
}

#[tokio::test]
async fn production_is_tried_weekly_without_anybody_asking_and_people_may_change_that() {
    let shop = TestApp::with_shop().await;
    shop.add_staging().await;
    let weekly = own(&shop).await;
    assert_eq!((weekly.source, weekly.owner.as_ref(), &weekly.cron), (ScheduleSource::Plan, None, &usual(&weekly.id)));
    let slot = weekly.slot.expect("a run");
    assert!(slot.due > now(&shop).await && slot.due.since(now(&shop).await) <= DAY * 7, "{slot:?}");
    assert_eq!(scheduled(&shop, "staging").await, []);

    // What a plan takes has nothing to do with it, and declaring the same again changes nothing.
    for plan in ["starter", "pro", "pro"] {
        let main = shop.site.declaration("shop", "main", "production", plan);
        shop.test.declare(&main).await;
        assert_eq!(own(&shop).await, weekly, "{plan}");
    }
    // As in an installation that is older than it.
    let mut tx = shop.test.store.write().await.expect("a transaction");
    let at = clock::now(&mut tx, shop.test.store.dialect()).await.expect("a clock");
    schedules::delete(&mut tx, &weekly.id, at).await.expect("deleted");
    for _ in 0..2 {
        schedules::follow_missing(&mut tx, at).await.expect("made");
    }
    shop.test.store.commit(tx).await.expect("a commit");
    let weekly = own(&shop).await;

    // Monthly, off, and by an expression of one's own: whatever the plan says of snapshots.
    let app = &shop.test.app;
    let proof = shop.test.proof::<ManageSchedules>(&shop.admin).await.expect("an admin");
    let monthly = ScheduleEdit { cron: Some("@monthly".to_owned()), ..ScheduleEdit::default() };
    let changed = ops::edit(app, &proof, &weekly.id, &monthly).await.expect("it may be changed").schedule;
    assert!(changed.cron.ends_with(" * *") && !changed.cron.starts_with("0 0 1 "), "{}", changed.cron);
    let off = ScheduleEdit { wish: Some(Wish::Pause), ..ScheduleEdit::default() };
    ops::edit(app, &proof, &weekly.id, &off).await.expect("it may be paused");
    shop.test.declare(&shop.site.declaration("shop", "main", "production", "pro")).await;
    let kept = own(&shop).await;
    assert_eq!((kept.state, kept.slot, &kept.cron), (ScheduleState::Paused, None, &changed.cron));
    let removed = ops::remove(app, &proof, &weekly.id).await;
    assert!(matches!(&removed, Err(Error::Forbidden(refusal)) if refusal.instead.is_some()), "{removed:?}");
    let (what, cron, time_zone) = (Errand::Drill, "0 4 * * 6".to_owned(), "Europe/Berlin".to_owned());
    let added = ops::add(app, &proof, &ScheduleRequest { what, cron, time_zone }).await.expect("it is made");
    let page = ops::page(app, &shop.history().await).await.expect("a page");
    assert_eq!(
        (page.schedules.len(), page.drills.len(), page.add.is_open(), page.add_drill.is_open()),
        (1, 2, false, true)
    );
    ops::remove(app, &proof, &added.schedule.id).await.expect("a person's own may go");

    let viewer = shop.test.member("viewer@example.org", TypeRole::Viewer).await;
    let proof = shop.test.proof(&viewer).await.expect("a viewer sees the history");
    let page = ops::page(app, &proof).await.expect("a page");
    assert!(!page.add_drill.is_open() && !page.drills[0].change.is_open() && !page.drills[0].remove.is_open());
}

#[tokio::test]
async fn a_drill_that_is_due_is_begun_once_and_what_it_tries_stays_until_then() {
    let shop = TestApp::with_shop().await;
    let newest = shop.snapshot().await;
    let second = Store::open(&shop.test.url, Sealer::new(&[7; 32], &[])).await.expect("the same database");
    let since = now(&shop).await;
    put(&shop, &Schedule { slot: Some(Slot { due: since, run: since }), ..own(&shop).await }).await;
    let servers = [&shop.test.store, &second, &shop.test.store, &second];
    for begun in futures::future::join_all(servers.map(begin_due)).await {
        begun.expect("a readable store");
    }
    second.close().await;
    let all = tried(&shop).await;
    let [asked] = &all[..] else { panic!("one activity: {all:?}") };
    assert_eq!((asked.state, asked.initiator.name.as_str()), (ActivityState::Pending, "Stillpoint"));
    assert_eq!(tries(asked), (Some(&newest), None), "chosen when it is queued");
    assert!(own(&shop).await.slot.expect("a run").due > since);

    // R13: it reads that one.
    let app = &shop.test.app;
    let proof = shop.test.proof::<DeleteSnapshot>(&shop.admin).await.expect("an admin");
    let refused = retention::delete(app, proof.clone(), &newest).await;
    assert!(
        matches!(&refused, Err(Error::Conflict(refusal)) if refusal.reason.contains("uses this snapshot")),
        "{refused:?}"
    );

    let done = shop.test.settle(&asked.id).await;
    assert_eq!((done.failure.as_ref(), tries(&done)), (None, (Some(&newest), None)));
    let page = environment_ops::page(app, shop.history().await).await.expect("the environment");
    let proven = page.proven.expect("a drill");
    assert_eq!((proven.activity, proven.snapshot, page.unprovable), (asked.id.clone(), newest.clone(), None));
    assert_eq!(page.next_drill.expect("another one").at, own(&shop).await.slot.expect("a run").run);
    retention::delete(app, proof, &newest).await.expect("it is used no more");
}

#[tokio::test]
async fn weeks_without_a_server_are_caught_up_by_one_drill_and_none_piles_up() {
    let shop = TestApp::with_shop().await;
    shop.snapshot().await;
    due(&shop, now(&shop).await.minus(DAY * 30)).await;
    let all = tried(&shop).await;
    let [asked] = &all[..] else { panic!("one activity, and nothing that failed: {all:?}") };
    assert_eq!((asked.state, own(&shop).await.missed), (ActivityState::Pending, 0));
    assert!(own(&shop).await.slot.expect("a run").run > now(&shop).await, "the next one lies ahead");

    let later = asked.created_at.plus(Duration::from_micros(1));
    for missed in 1..=3 {
        due(&shop, later).await;
        assert_eq!((tried(&shop).await.len(), own(&shop).await.missed), (1, missed));
    }
    shop.test.settle(&asked.id).await;
    assert_eq!(health(&shop).await.0, Tone::Good, "{:?}", health(&shop).await);

    // What somebody asked for since it was due is as good.
    let since = now(&shop).await;
    let proof = shop.test.proof::<RunDrill>(&shop.admin).await.expect("an admin");
    let by_hand = drills::run(&shop.test.app, proof, None).await.expect("it is queued").activity;
    due(&shop, since).await;
    assert_eq!(tried(&shop).await.len(), 2);
    assert_eq!((own(&shop).await.last_activity, own(&shop).await.missed), (Some(by_hand.id.clone()), 0));
    shop.test.settle(&by_hand.id).await;
    due(&shop, now(&shop).await).await;
    assert_eq!(tried(&shop).await.len(), 3);
}

#[tokio::test]
async fn without_a_snapshot_nothing_is_tried_and_nothing_is_late() {
    let shop = TestApp::with_shop().await;
    let long_ago = now(&shop).await.minus(DAY * 60);
    put(&shop, &Schedule { since: long_ago, ..own(&shop).await }).await;
    due(&shop, now(&shop).await.minus(DAY * 30)).await;
    assert_eq!(tried(&shop).await, []);
    assert!(!health(&shop).await.1.contains("tried"), "{:?}", health(&shop).await);
    // The first one that is there is not late from its first minute.
    shop.snapshot().await;
    assert_eq!(health(&shop).await.0, Tone::Good, "{:?}", health(&shop).await);
}

#[tokio::test]
async fn a_drill_that_does_not_come_is_seen_on_every_page_and_told_once() {
    let shop = TestApp::with_shop().await;
    add_channel(&shop).await;
    shop.snapshot().await;
    let long_ago = now(&shop).await.minus(DAY * 12);
    put(&shop, &Schedule { since: long_ago, ..own(&shop).await }).await;
    let (tone, sentence) = health(&shop).await;
    assert_eq!(tone, Tone::Attention);
    assert!(sentence.starts_with("No restore has been tried yet; one is due "), "{sentence}");
    let page = ops::page(&shop.test.app, &shop.history().await).await.expect("a page");
    assert!(page.drills[0].overdue_since.is_some() && page.schedules[0].overdue_since.is_none());

    due(&shop, now(&shop).await).await;
    tell_late(&shop.test.store).await.expect("a readable store");
    assert_eq!(notices_of(&shop).await, [], "it has only begun");
    let asked = tried(&shop).await.pop().expect("it is queued");
    // As if no worker had been there for two days.
    let mut tx = shop.test.store.write().await.expect("a transaction");
    let late = "UPDATE activities SET created_at = $1 WHERE id = $2";
    let late = sqlx::query(late).bind(now(&shop).await.minus(DAY * 2).as_micros()).bind(asked.id.as_str());
    late.execute(&mut *tx).await.expect("a table");
    shop.test.store.commit(tx).await.expect("a commit");
    for _ in 0..3 {
        tell_late(&shop.test.store).await.expect("a readable store");
        assert_eq!(notices_of(&shop).await, [Notice::DrillMissed], "once");
    }
    shop.test.settle(&asked.id).await;
    tell_late(&shop.test.store).await.expect("a readable store");
    assert_eq!(notices_of(&shop).await, [Notice::DrillMissed], "a drill that works is no news");
    assert_eq!(health(&shop).await.0, Tone::Good, "{:?}", health(&shop).await);
}

#[tokio::test]
async fn a_drill_that_was_refused_says_nothing_of_the_snapshot() {
    let shop = TestApp::with_shop().await;
    add_channel(&shop).await;
    shop.snapshot().await;
    let colleague = shop.test.member("colleague@example.org", TypeRole::Admin).await;
    let proof = shop.test.proof::<RunDrill>(&colleague).await.expect("an admin of the type");
    let asked = drills::run(&shop.test.app, proof, None).await.expect("it is queued").activity;
    // While it waits.
    shop.test.set_roles(&colleague, None, [(EnvironmentKind::Production, TypeRole::Viewer)].into()).await;
    let refused = shop.test.settle(&asked.id).await;
    assert_eq!((refused.result, tries(&refused).1), (Some(ActivityResult::Failure), Some(&Outcome::NotBegun)));
    let (tone, sentence) = health(&shop).await;
    assert_eq!(tone, Tone::Attention, "no alarm: {sentence}");
    assert!(sentence.starts_with("A restore was to be tried "), "{sentence}");
    assert_eq!(notices_of(&shop).await, [Notice::DrillMissed]);

    // A schedule whose owner lost the role is stopped, and that is told as well.
    let owner = shop.test.member("owner@example.org", TypeRole::Admin).await;
    let proof = shop.test.proof::<ManageSchedules>(&owner).await.expect("an admin of the type");
    let (what, cron, time_zone) = (Errand::Drill, "@weekly".to_owned(), "UTC".to_owned());
    let made =
        ops::add(&shop.test.app, &proof, &ScheduleRequest { what, cron, time_zone }).await.expect("made").schedule;
    shop.test.set_roles(&owner, None, [].into()).await;
    let since = now(&shop).await;
    put(&shop, &Schedule { slot: Some(Slot { due: since, run: since }), ..made.clone() }).await;
    begin_due(&shop.test.store).await.expect("a readable store");
    let stopped = scheduled(&shop, "main").await.into_iter().find(|schedule| schedule.id == made.id);
    assert_eq!(stopped.expect("it is there").state, ScheduleState::Stopped);
    assert_eq!(tried(&shop).await.len(), 1, "no more is tried");
    assert_eq!(notices_of(&shop).await, [Notice::DrillMissed, Notice::DrillMissed]);
    assert!(health(&shop).await.1.contains("A restore was to be tried"), "{:?}", health(&shop).await);
}

#[tokio::test]
async fn drills_are_scheduled_at_every_door_and_stand_on_the_pages() {
    let doors = Doors::of(TestApp::with_shop().await).await;
    let admin = doors.person(&doors.shop.admin).await;
    let there = "/projects/shop/environments/main/schedules";
    let fields = |form: &'static str| {
        [
            ("project", "shop"),
            ("environment", "main"),
            ("what", "drill"),
            ("preset", "@monthly"),
            ("cron", ""),
            ("time_zone", "UTC"),
            ("form", form),
        ]
    };
    let (next, _) = doors.form(&admin, there, "/actions/add-schedule", &fields("0123456789abcdef0123")).await;
    assert_eq!(next, there);
    let words = ["schedule:add", "--drill", "@weekly", "--time-zone", "Europe/Berlin", "-p", "shop", "-e", "main"];
    let added = doors.command(&admin, words.map(str::to_owned).to_vec()).await;
    let told = String::from_utf8(added.stderr).expect("UTF-8");
    assert!(added.status.success() && told.contains("Restores are tried"), "{told}");
    let list = doors.get(&admin, there).await;
    let drills: Vec<_> = list
        .as_array()
        .expect("a list")
        .iter()
        .filter(|one| one["what"] == "drill")
        .map(|one| &one["source"])
        .collect();
    assert_eq!(drills, ["plan", "person", "person"]);
    let body = serde_json::json!({ "what": "drill", "cron": "0 25 * * *" });
    let (status, problem) = doors.ask(&admin, http::Method::POST, there, body).await;
    assert_eq!(status, 400, "{problem}");

    let (status, page) = doors.page(&admin, there).await;
    assert_eq!(status, 200);
    for part in ["Restores that are tried", "comes with production", "No restore has been proven yet", "once a month"] {
        assert!(page.contains(part), "{part} is missing");
    }
    let (_, page) = doors.page(&admin, "/projects/shop/environments/main").await;
    for part in ["No restore has been tried yet", "The next one is tried"] {
        assert!(page.contains(part), "{part} is missing");
    }
    doors.close().await;
}
