//! Schedules: what is due is begun once, by whoever is first, in whose name it may still be; what is missed is seen
//! (R8, R9).

use std::time::Duration;
use stillpoint::authz::{ManageSchedules, ViewHistory, ViewProject};
use stillpoint::domain::activity::{Activity, ActivityKind, ActivityResult, ActivityState, Payload, SnapshotMode};
use stillpoint::domain::environment::EnvironmentStatus;
use stillpoint::domain::policy::TypeRole;
use stillpoint::domain::schedule::{Errand, Schedule, ScheduleSource, ScheduleState, Slot};
use stillpoint::domain::snapshot::{Consistency, Origin};
use stillpoint::domain::time::DAY;
use stillpoint::domain::view::{ScheduleEntry, Tone};
use stillpoint::domain::{EnvironmentId, Timestamp};
use stillpoint::jobs::begin_due;
use stillpoint::ops::schedules::{self as ops, ScheduleEdit, ScheduleRequest, Wish};
use stillpoint::ops::{Error, environments as environment_ops, projects as project_ops};
use stillpoint::store::activities::{self, Filter, Scope};
use stillpoint::store::{Sealer, Store, clock, environments, schedules, snapshots};
use tokio_util::sync::CancellationToken;

use crate::support::{Shop, TestApp, environment, project};

const HOUR: Duration = Duration::from_secs(3600);

impl Shop {
    async fn main(&self) -> EnvironmentId {
        let mut db = self.test.store.read().await.expect("a connection");
        let found = environments::by_name(&mut db, &project(), &environment("main")).await.expect("readable");
        found.expect("the shop has it").id
    }

    async fn now(&self) -> Timestamp {
        let mut db = self.test.store.read().await.expect("a connection");
        clock::now(&mut db, self.test.store.dialect()).await.expect("a clock")
    }

    async fn schedules(&self) -> Vec<Schedule> {
        let mut db = self.test.store.read().await.expect("a connection");
        let mut all = schedules::by_environment(&mut db, &self.main().await).await.expect("readable");
        // Drills have their own tests (`watch.rs`).
        all.retain(|schedule| schedule.what == Errand::Snapshot);
        all
    }

    async fn plans_own(&self) -> Schedule {
        let mut all = self.schedules().await;
        all.retain(|schedule| schedule.source == ScheduleSource::Plan);
        let [own] = &all[..] else { panic!("one of the plan: {all:?}") };
        own.clone()
    }

    async fn put(&self, schedule: &Schedule) {
        let mut tx = self.test.store.write().await.expect("a transaction");
        schedules::put(&mut tx, schedule).await.expect("stored");
        self.test.store.commit(tx).await.expect("a commit");
    }

    /// Its next run has been due since then.
    async fn make_due(&self, schedule: &Schedule, since: Timestamp) {
        let current = self.schedules().await.into_iter().find(|other| other.id == schedule.id).expect("it is there");
        self.put(&Schedule { slot: Some(Slot { due: since, run: since }), ..current }).await;
    }

    async fn add(&self, cron: &str) -> Schedule {
        let proof = self.test.proof::<ManageSchedules>(&self.admin).await.expect("an admin");
        let request = ScheduleRequest { what: Errand::Snapshot, cron: cron.to_owned(), time_zone: "UTC".to_owned() };
        ops::add(&self.test.app, &proof, &request).await.expect("it is made").schedule
    }

    async fn begin(&self) {
        begin_due(&self.test.store).await.expect("a readable store");
    }

    /// Oldest first.
    async fn feed(&self, kind: ActivityKind) -> Vec<Activity> {
        let scope = Scope::Environment(self.main().await);
        let mut db = self.test.store.read().await.expect("a connection");
        let filter = Filter { kinds: vec![kind], ..Filter::default() };
        let mut all = activities::list(&mut db, &scope, &filter, 100).await.expect("readable");
        all.reverse();
        all
    }

    async fn entries(&self) -> Vec<ScheduleEntry> {
        ops::page(&self.test.app, &self.history().await).await.expect("a page").schedules
    }

    async fn declare_under(&self, plan: &str) {
        self.test.declare(&self.site.declaration("shop", "main", "production", plan)).await;
    }
}

fn failure(activity: &Activity) -> &str {
    assert_eq!(activity.result, Some(ActivityResult::Failure), "{activity:?}");
    activity.failure.as_deref().expect("a reason")
}

#[tokio::test]
async fn the_plans_own_schedule_is_there_exactly_while_the_plan_takes_snapshots() {
    let shop = TestApp::with_shop().await;
    let daily = shop.plans_own().await;
    assert_eq!((daily.cron.as_str(), daily.owner.as_ref()), ("0 3 * * *", None));
    assert!(daily.slot.expect("a run").due > shop.now().await);

    shop.declare_under("starter").await;
    assert_eq!(shop.schedules().await, []);
    shop.declare_under("pro").await;
    let hourly = shop.plans_own().await;
    assert_eq!(hourly.cron, "0 * * * *");
    shop.declare_under("pro").await;
    assert_eq!(shop.plans_own().await, hourly, "nothing has changed, so it goes on as it was");

    let store = &shop.test.store;
    let id = shop.main().await;
    let set = async |status| {
        let mut tx = store.write().await.expect("a transaction");
        let mut main = environments::by_id(&mut tx, &id).await.expect("readable").expect("the shop has it");
        main.status = status;
        let composition = environments::composition(&mut tx, store.sealer(), &id).await.expect("readable");
        environments::put(&mut tx, store.sealer(), &main, &composition).await.expect("stored");
        store.commit(tx).await.expect("a commit");
    };
    set(EnvironmentStatus::Inactive).await;
    assert_eq!(shop.plans_own().await.slot, None);
    set(EnvironmentStatus::Active).await;
    assert!(shop.plans_own().await.slot.is_some());

    // As in an installation that is older than schedules are.
    let mut tx = store.write().await.expect("a transaction");
    let now = clock::now(&mut tx, store.dialect()).await.expect("a clock");
    schedules::delete(&mut tx, &hourly.id, now).await.expect("deleted");
    for _ in 0..2 {
        schedules::follow_missing(&mut tx, now).await.expect("made");
    }
    store.commit(tx).await.expect("a commit");
    assert_eq!(shop.plans_own().await.cron, "0 * * * *");
}

#[tokio::test]
async fn what_a_person_made_of_the_plans_own_stays_while_the_plan_lets_them() {
    let shop = TestApp::with_shop().await;
    let own = shop.plans_own().await;
    let proof = shop.test.proof::<ManageSchedules>(&shop.admin).await.expect("an admin");
    let edit = ScheduleEdit { cron: Some("30 4 * * *".to_owned()), ..ScheduleEdit::default() };
    ops::edit(&shop.test.app, &proof, &own.id, &edit).await.expect("it may be changed");
    let pause = ScheduleEdit { wish: Some(Wish::Pause), ..ScheduleEdit::default() };
    ops::edit(&shop.test.app, &proof, &own.id, &pause).await.expect("it may be paused");
    shop.declare_under("self-hosted").await;
    let kept = shop.plans_own().await;
    assert_eq!((kept.cron.as_str(), kept.state, kept.slot), ("30 4 * * *", ScheduleState::Paused, None));
    let removed = ops::remove(&shop.test.app, &proof, &own.id).await;
    assert!(matches!(&removed, Err(Error::Forbidden(refusal)) if refusal.instead.is_some()), "{removed:?}");

    shop.declare_under("pro").await;
    let plans = shop.plans_own().await;
    assert_eq!((plans.cron.as_str(), plans.state), ("0 * * * *", ScheduleState::Active));
    let refused = ops::edit(&shop.test.app, &proof, &plans.id, &edit).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    assert_eq!(shop.plans_own().await, plans);
}

#[tokio::test]
async fn a_run_that_is_due_becomes_one_consistent_snapshot_and_the_schedule_moves_on() {
    let shop = TestApp::with_shop().await;
    let own = shop.plans_own().await;
    shop.begin().await;
    assert_eq!(shop.feed(ActivityKind::Backup).await.len(), 0, "nothing is due yet");
    let now = shop.now().await;
    shop.make_due(&own, now.minus(Duration::from_secs(60))).await;
    shop.begin().await;
    shop.begin().await;
    let feed = shop.feed(ActivityKind::Backup).await;
    let [asked] = &feed[..] else { panic!("one activity: {feed:?}") };
    assert_eq!((asked.state, asked.initiator.user.as_ref()), (ActivityState::Pending, None));
    assert_eq!(asked.initiator.authority, "plan:self-hosted");
    let Payload::TakeSnapshot(take) = &asked.payload else { panic!("no snapshot") };
    assert_eq!((take.mode, take.origin), (SnapshotMode::Consistent, Origin::Automatic));
    assert!(shop.plans_own().await.slot.expect("a run").due > now);

    let done = shop.test.settle(&asked.id).await;
    assert_eq!(done.failure, None);
    let mut db = shop.test.store.read().await.expect("a connection");
    let taken = snapshots::by_name(&mut db, &take.snapshot).await.expect("readable").expect("it was taken");
    assert_eq!((taken.origin, taken.consistency), (Origin::Automatic, Consistency::Consistent));
    assert_eq!(taken.expires_at, None, "it is one of the newest 7 of its schedule");
}

#[tokio::test]
async fn a_snapshot_counts_for_each_schedule_that_it_was_taken_for() {
    let shop = TestApp::with_shop().await;
    let (own, monthly) = (shop.plans_own().await, shop.add("0 3 1 * *").await);
    for schedule in [&own, &monthly] {
        shop.make_due(schedule, shop.now().await).await;
    }
    shop.begin().await;
    let feed = shop.feed(ActivityKind::Backup).await;
    let [asked] = &feed[..] else { panic!("one for both: {feed:?}") };
    assert_eq!(shop.test.settle(&asked.id).await.failure, None);
    let facts = async || {
        let mut db = shop.test.store.read().await.expect("a connection");
        let mut facts = stillpoint::store::retention::facts(&mut db, &project()).await.expect("readable");
        facts.environments.remove(0).items.remove(0).schedules
    };
    assert_eq!(facts().await, [own.id.clone(), monthly.id.clone()].into());
    let kept: Vec<_> = shop.entries().await.into_iter().filter_map(|entry| entry.kept).collect();
    assert!(kept.iter().all(|kept| kept.contains("That makes 7 of this schedule")), "{kept:?}");
    // What it took stays its own.
    let proof = shop.test.proof::<ManageSchedules>(&shop.admin).await.expect("an admin");
    ops::remove(&shop.test.app, &proof, &monthly.id).await.expect("it is removed");
    assert_eq!(facts().await, [own.id, monthly.id].into());
}

#[tokio::test]
async fn the_advice_counts_all_schedules_of_an_environment_together() {
    let shop = TestApp::with_shop().await;
    let weekly = shop.add("0 3 * * 0").await;
    let advice = async || {
        let entries = shop.entries().await;
        entries.into_iter().map(|entry| entry.advice).collect::<Vec<_>>()
    };
    let [own, of_weekly] = &advice().await[..] else { panic!("two") };
    assert_eq!(own, &None, "what a plan takes is its maker's business");
    let told = of_weekly.as_deref().expect("the plan takes one a day already");
    assert!(told.contains("no more than once a day") && told.ends_with("makes more than one a day."), "{told}");
    // Without the plan's own it is one a week.
    let proof = shop.test.proof::<ManageSchedules>(&shop.admin).await.expect("an admin");
    let off = ScheduleEdit { wish: Some(Wish::Pause), ..ScheduleEdit::default() };
    let plans_own = shop.plans_own().await;
    ops::edit(&shop.test.app, &proof, &plans_own.id, &off).await.expect("it may be paused");
    assert_eq!(advice().await, [None, None]);
    let second = shop.add("0 5 * * *").await;
    assert!(advice().await.iter().filter(|advice| advice.is_some()).count() == 2, "{:?}", advice().await);
    ops::remove(&shop.test.app, &proof, &second.id).await.expect("it is there");
    assert_eq!(advice().await, [None, None]);
    assert_eq!(weekly.cron, "0 3 * * 0");
}

#[tokio::test]
async fn of_several_servers_one_begins_a_run() {
    let shop = TestApp::with_shop().await;
    let second = Store::open(&shop.test.url, Sealer::new(&[7; 32], &[])).await.expect("the same database");
    let own = shop.plans_own().await;
    for round in 1..=5 {
        shop.make_due(&own, shop.now().await).await;
        let servers = [&shop.test.store, &second, &shop.test.store, &second];
        for begun in futures::future::join_all(servers.map(begin_due)).await {
            begun.expect("a readable store");
        }
        let feed = shop.feed(ActivityKind::Backup).await;
        assert_eq!(feed.len(), round);
        shop.test.settle(&feed.last().expect("the one of this round").id).await;
    }
    second.close().await;
}

#[tokio::test]
async fn a_down_time_is_caught_up_once_and_told_once() {
    let shop = TestApp::with_shop().await;
    let hourly = shop.add("0 * * * *").await;
    let now = shop.now().await;
    let hour =
        Timestamp::from_micros(now.as_micros() - now.as_micros() % i64::try_from(HOUR.as_micros()).expect("small"));
    shop.make_due(&hourly, hour.minus(HOUR * 5)).await;
    shop.begin().await;
    let feed = shop.feed(ActivityKind::Backup).await;
    let [told, taken] = &feed[..] else { panic!("two activities: {feed:?}") };
    // The hour that has just begun may lie ahead still, by the schedule's place in it.
    assert!(failure(told).contains("automatic snapshots were missed: since"), "{told:?}");
    assert_eq!((taken.state, taken.initiator.name.as_str()), (ActivityState::Pending, "admin@example.org"));
    let moved = shop.schedules().await.into_iter().find(|one| one.id == hourly.id).expect("it is there");
    assert!(moved.slot.expect("a run").run > now);
}

#[tokio::test]
async fn nothing_piles_up_behind_a_snapshot_that_is_not_over() {
    let shop = TestApp::with_shop().await;
    let own = shop.plans_own().await;
    shop.make_due(&own, shop.now().await).await;
    shop.begin().await;
    let first = shop.feed(ActivityKind::Backup).await.pop().expect("it is queued");
    let later = first.created_at.plus(Duration::from_micros(1));
    for missed in 1..=3 {
        shop.make_due(&own, later).await;
        shop.begin().await;
        assert_eq!(shop.plans_own().await.missed, missed);
        let feed = shop.feed(ActivityKind::Backup).await;
        assert_eq!(feed.len(), 2, "told once, and no second one is queued");
        assert!(failure(&feed[1]).contains("still waiting or running"), "{:?}", feed[1]);
    }
    // Another schedule that was due before it was asked for has its snapshot in it.
    let other = shop.add("0 5 * * *").await;
    shop.make_due(&other, first.created_at.minus(Duration::from_secs(60))).await;
    shop.begin().await;
    assert_eq!(shop.feed(ActivityKind::Backup).await.len(), 2);
    let other = shop.schedules().await.into_iter().find(|one| one.id == other.id).expect("it is there");
    assert_eq!((other.last_activity.as_ref(), other.missed), (Some(&first.id), 0));

    shop.test.settle(&first.id).await;
    shop.make_due(&own, shop.now().await).await;
    shop.begin().await;
    assert_eq!(shop.feed(ActivityKind::Backup).await.len(), 3);
    assert_eq!(shop.plans_own().await.missed, 0);
}

#[tokio::test]
async fn whoever_lost_the_role_loses_the_schedule_and_the_feed_says_so() {
    let shop = TestApp::with_shop().await;
    let colleague = shop.test.member("colleague@example.org", TypeRole::Admin).await;
    let request =
        ScheduleRequest { what: Errand::Snapshot, cron: "0 4 * * *".to_owned(), time_zone: "Europe/Berlin".to_owned() };
    let proof = shop.test.proof::<ManageSchedules>(&colleague).await.expect("an admin of the type");
    let made = ops::add(&shop.test.app, &proof, &request).await.expect("it is made").schedule;

    // While it waits: the job asks again when it starts.
    shop.make_due(&made, shop.now().await).await;
    shop.begin().await;
    let asked = shop.feed(ActivityKind::Backup).await.pop().expect("it is queued");
    shop.test.set_roles(&colleague, None, [].into()).await;
    let refused = shop.test.settle(&asked.id).await;
    assert!(failure(&refused).contains("has no role here any more"), "{refused:?}");

    shop.make_due(&made, shop.now().await).await;
    shop.begin().await;
    assert_eq!(shop.feed(ActivityKind::Backup).await.len(), 1, "no more is asked for");
    let told = shop.feed(ActivityKind::Schedule).await.pop().expect("the feed says so");
    assert!(failure(&told).contains("The schedule of colleague@example.org takes no more snapshots"), "{told:?}");
    let entry = shop.entries().await.into_iter().find(|entry| entry.schedule.id == made.id).expect("it is there");
    assert_eq!((entry.schedule.state, entry.schedule.slot), (ScheduleState::Stopped, None));
    assert!(entry.schedule.stopped_because.is_some() && entry.runs.is_empty());
    let card = environment_ops::card(&shop.test.app, shop.history().await).await.expect("the environment");
    assert_eq!(card.health.tone, Tone::Attention);
    assert!(card.health.sentence.contains("takes no more snapshots"), "{:?}", card.health);

    // Whoever may, resumes it in their own name.
    let proof = shop.test.proof::<ManageSchedules>(&shop.admin).await.expect("an admin");
    let resume = ScheduleEdit { wish: Some(Wish::Resume), ..ScheduleEdit::default() };
    let resumed = ops::edit(&shop.test.app, &proof, &made.id, &resume).await.expect("it is resumed");
    assert_eq!(resumed.schedule.owner.expect("an owner").email, "admin@example.org");
    assert_eq!(resumed.runs.len(), 3);
    assert!(resumed.runs[0].local.contains("04:0"), "{:?}", resumed.runs);
}

#[tokio::test]
async fn a_plan_that_has_no_schedules_says_so_and_stops_those_that_are_there() {
    let shop = TestApp::with_shop().await;
    let made = shop.add("0 4 * * *").await;
    shop.declare_under("pro").await;
    let proof = shop.test.proof::<ManageSchedules>(&shop.admin).await.expect("an admin");
    let request = ScheduleRequest { what: Errand::Snapshot, cron: "0 4 * * *".to_owned(), time_zone: "UTC".to_owned() };
    let refused = ops::add(&shop.test.app, &proof, &request).await;
    assert!(matches!(&refused, Err(Error::Forbidden(refusal)) if refusal.instead.is_some()), "{refused:?}");
    assert!(failure(shop.feed(ActivityKind::Schedule).await.last().expect("R5")).contains("On the Pro plan"));
    let page = ops::page(&shop.test.app, &shop.history().await).await.expect("a page");
    assert!(!page.add.is_open());

    shop.make_due(&made, shop.now().await).await;
    shop.begin().await;
    let stopped = shop.schedules().await.into_iter().find(|one| one.id == made.id).expect("it is there");
    assert_eq!(stopped.state, ScheduleState::Stopped);
    assert_eq!(shop.feed(ActivityKind::Backup).await.len(), 0);
    ops::remove(&shop.test.app, &proof, &made.id).await.expect("it may go in any case");
}

#[tokio::test]
async fn an_overdue_snapshot_is_seen_on_every_page() {
    let shop = TestApp::with_shop().await;
    let own = shop.plans_own().await;
    let now = shop.now().await;
    let card = environment_ops::card(&shop.test.app, shop.history().await).await.expect("a card");
    assert!(!card.health.sentence.contains("overdue"), "{}", card.health.sentence);

    // As it is when no worker has been running for three days.
    shop.put(&Schedule { since: now.minus(DAY * 3), ..own }).await;
    let card = environment_ops::card(&shop.test.app, shop.history().await).await.expect("a card");
    assert_eq!(card.health.tone, Tone::Attention);
    let wanted = "There is no automatic snapshot yet; one is due every day at 03:00 (UTC): overdue since";
    assert!(card.health.sentence.starts_with(wanted), "{}", card.health.sentence);
    let proof = shop.test.app.authorize_project::<ViewProject>(&shop.admin, &project()).await.expect("a member");
    let page = project_ops::page(&shop.test.app, proof).await.expect("a page");
    assert!(page.card.health.sentence.contains("overdue since"), "{}", page.card.health.sentence);
    assert!(shop.entries().await[0].overdue_since.is_some());

    shop.make_due(&shop.plans_own().await, now).await;
    shop.begin().await;
    let asked = shop.feed(ActivityKind::Backup).await.pop().expect("it is queued");
    shop.test.settle(&asked.id).await;
    let card = environment_ops::card(&shop.test.app, shop.history().await).await.expect("a card");
    assert_eq!(card.health.tone, Tone::Good, "{}", card.health.sentence);
}

#[tokio::test]
async fn an_active_schedule_that_never_runs_is_no_good_condition() {
    let shop = TestApp::with_shop().await;
    shop.snapshot().await;
    let health = async || {
        let card = environment_ops::card(&shop.test.app, shop.history().await).await.expect("a card");
        (card.health.tone, card.health.sentence)
    };
    assert_eq!(health().await.0, Tone::Good);
    // As a plan's file could have it before it was looked at more closely.
    let own = shop.plans_own().await;
    shop.put(&Schedule { cron: "0 25 * * *".to_owned(), slot: None, ..own.clone() }).await;
    let (tone, sentence) = health().await;
    assert_eq!(tone, Tone::Attention);
    let wanted = "The schedule “0 25 * * *” (UTC) never runs and takes no snapshots. “25” can't be the hour";
    assert!(sentence.starts_with(wanted) && sentence.ends_with("Ask the operator to mend the plan."), "{sentence}");
    assert_eq!(shop.entries().await[0].advice.as_ref(), Some(&sentence), "it stands at the schedule too");
    // Nobody waits for a run of what somebody has paused.
    shop.put(&Schedule { state: ScheduleState::Paused, slot: None, ..own }).await;
    assert_eq!(health().await.0, Tone::Good);
}

#[tokio::test]
async fn viewers_see_schedules_and_others_see_nothing() {
    let shop = TestApp::with_shop().await;
    shop.add("0 3,15 * * *").await;
    let viewer = shop.test.member("viewer@example.org", TypeRole::Viewer).await;
    let proof = shop.test.proof::<ViewHistory>(&viewer).await.expect("a viewer sees the history");
    let page = ops::page(&shop.test.app, &proof).await.expect("a page");
    let [own, twice] = &page.schedules[..] else { panic!("two: {:?}", page.schedules) };
    assert_eq!((own.schedule.source, own.runs.len(), own.advice.as_ref()), (ScheduleSource::Plan, 3, None));
    assert!(twice.advice.as_ref().is_some_and(|advice| advice.contains("more than once a day")));
    assert!(!page.add.is_open() && !own.change.is_open() && !twice.change.is_open() && !twice.remove.is_open());
    let refused = shop.test.proof::<ManageSchedules>(&viewer).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");

    let outsider = shop.test.outsider("outsider@example.org").await;
    assert!(matches!(shop.test.proof::<ManageSchedules>(&outsider).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn an_environment_takes_twenty_schedules_and_names_what_is_wrong_with_another() {
    let shop = TestApp::with_shop().await;
    for hour in 0..20 {
        shop.add(&format!("0 {hour} * * *")).await;
    }
    let proof = shop.test.proof::<ManageSchedules>(&shop.admin).await.expect("an admin");
    let add = async |cron: &str, zone: &str| {
        let request = ScheduleRequest { what: Errand::Snapshot, cron: cron.to_owned(), time_zone: zone.to_owned() };
        ops::add(&shop.test.app, &proof, &request).await.map_err(|error| error.problem().to_string())
    };
    assert!(add("0 21 * * *", "UTC").await.expect_err("enough").contains("at most 20 schedules"));
    assert!(add("0 21 * *", "UTC").await.expect_err("four fields").contains("has 4 fields"));
    assert!(add("0 21 * * *", "Europe/Atlantis").await.expect_err("no zone").contains("“Europe/Atlantis”"));
}

#[tokio::test]
async fn the_scheduler_begins_by_itself_what_is_due() {
    let shop = TestApp::with_shop().await;
    let own = shop.plans_own().await;
    shop.make_due(&own, shop.now().await).await;
    let stop = CancellationToken::new();
    let scheduling = tokio::spawn(stillpoint::jobs::schedule(shop.test.store.clone(), stop.clone()));
    let begun = async {
        loop {
            let mut mark = shop.test.store.mark();
            if let Some(asked) = shop.feed(ActivityKind::Backup).await.pop() {
                return asked;
            }
            shop.test.store.changed(&mut mark).await;
        }
    };
    let asked = tokio::time::timeout(HOUR / 60, begun).await.expect("it is begun within a minute");
    stop.cancel();
    scheduling.await.expect("it ends when it is told to");
    assert_eq!(asked.initiator.authority, "plan:self-hosted");
}
