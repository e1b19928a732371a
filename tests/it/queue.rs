//! The queue: order, leases, cancelling, the sequence that feeds follow (R20).

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use stillpoint::authz::{CancelActivity, ViewHistory};
use stillpoint::domain::Scope;
use stillpoint::domain::activity::{Activity, ActivityResult, ActivityState};
use stillpoint::ops::restores::{self, RestoreRequest, Way, Wish};
use stillpoint::ops::{Error, activities, snapshots};
use stillpoint::queue::{Failure, Handler, Timing, Work, Worker};
use stillpoint::store::work::{self, End, Holder};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::support::{TestApp, environment, project};

/// Says what it works on, and goes on when it is told to.
struct Recorder {
    store: stillpoint::store::Store,
    begun: Mutex<Vec<i64>>,
    go_on: Notify,
}

impl Handler for Recorder {
    fn run(&self, work: Work) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>> {
        Box::pin(async move {
            self.begun.lock().expect("no panic").push(work.activity.seq);
            work.lease.progress(1).await?;
            tokio::select! {
                () = self.go_on.notified() => {}
                () = work.lease.cancelled() => return Err(Failure::Cancelled),
            }
            let mut tx = self.store.write().await.map_err(stillpoint::queue::Error::from)?;
            work.lease.finish(&mut tx, &End::Success).await?;
            self.store.commit(tx).await.map_err(stillpoint::queue::Error::from)?;
            Ok(())
        })
    }
}

fn recorder(test: &TestApp, timing: Timing) -> (Arc<Recorder>, Worker) {
    let recorder = Arc::new(Recorder { store: test.store.clone(), begun: Mutex::default(), go_on: Notify::new() });
    let worker = Worker { handler: recorder.clone(), ..test.worker(timing) };
    (recorder, worker)
}

#[tokio::test]
async fn activities_of_one_environment_run_one_at_a_time_and_in_order() {
    let shop = TestApp::with_shop().await;
    let test = &shop.test;
    let first = shop.ask_for_snapshot().await.activity;
    let second = shop.ask_for_snapshot().await.activity;
    assert!(first.seq < second.seq);
    let (recorder, worker) = recorder(test, Timing::default());
    let stop = CancellationToken::new();
    let working = tokio::spawn(worker.run(stop.clone()));

    test.wait_for(&first.id, |activity| activity.progress > 0).await;
    // The worker has room for another one and looks for it at every change.
    assert_eq!(test.activity(&second.id).await.state, ActivityState::Pending);
    recorder.go_on.notify_one();
    test.wait_for(&first.id, |activity| activity.state == ActivityState::Complete).await;
    test.wait_for(&second.id, |activity| activity.progress > 0).await;
    assert_eq!(*recorder.begun.lock().expect("no panic"), [first.seq, second.seq]);
    recorder.go_on.notify_one();
    test.wait_for(&second.id, |activity| activity.result == Some(ActivityResult::Success)).await;
    stop.cancel();
    working.await.expect("the worker ends");
}

#[tokio::test]
async fn environments_run_side_by_side_and_a_restore_waits_for_its_target_alone() {
    let shop = TestApp::with_shop().await;
    let test = &shop.test;
    shop.add_staging().await;
    let name = shop.snapshot().await;
    let (recorder, worker) = recorder(test, Timing::default());
    let stop = CancellationToken::new();
    let working = tokio::spawn(Worker { capacity: 4, ..worker }.run(stop.clone()));

    let proof = test.app.authorize_environment(&shop.admin, &project(), &environment("staging")).await;
    let staging =
        snapshots::create(&test.app, proof.expect("an admin"), Default::default()).await.expect("it is queued");
    let staging = staging.activity.id;
    test.wait_for(&staging, |activity| activity.progress > 0).await;
    let wish = Wish { target: Some("staging"), branch_from: None };
    let way = Way::authorize(&test.app, &shop.admin, &project(), &environment("main"), wish).await.expect("an admin");
    let request = RestoreRequest { snapshot: name, scope: Scope::default(), plan_hash: None };
    let restore = restores::create(&test.app, way, request).await.expect("it is queued").activity.id;
    // It is younger than the restore and begins beside staging's: the restore was looked at, and has to wait.
    let main = shop.ask_for_snapshot().await.activity.id;
    test.wait_for(&main, |activity| activity.progress > 0).await;
    assert_eq!(test.activity(&staging).await.state, ActivityState::InProgress, "side by side");
    assert_eq!(test.activity(&restore).await.state, ActivityState::Pending);

    let over = |activity: &Activity| activity.state.is_over();
    recorder.go_on.notify_one();
    futures::future::select(Box::pin(test.wait_for(&main, over)), Box::pin(test.wait_for(&staging, over))).await;
    recorder.go_on.notify_one();
    test.wait_for(&restore, |activity| activity.progress > 0).await;
    assert!(over(&test.activity(&staging).await), "only now");
    // As many as may be asked to go on still.
    recorder.go_on.notify_waiters();
    stop.cancel();
    working.await.expect("the worker ends");
}

#[tokio::test]
async fn a_worker_that_stops_puts_its_work_back() {
    let shop = TestApp::with_shop().await;
    let entry = shop.ask_for_snapshot().await.activity;
    let (_, worker) = recorder(&shop.test, Timing::default());
    let stop = CancellationToken::new();
    let working = tokio::spawn(worker.run(stop.clone()));
    shop.test.wait_for(&entry.id, |activity| activity.progress > 0).await;
    stop.cancel();
    working.await.expect("the worker ends");
    let back = shop.test.activity(&entry.id).await;
    assert_eq!((back.state, back.progress), (ActivityState::Pending, 0));
}

#[tokio::test]
async fn work_whose_lease_expired_is_taken_up_again_and_its_old_holder_changes_nothing() {
    let shop = TestApp::with_shop().await;
    let store = &shop.test.store;
    let asked = shop.ask_for_snapshot().await.activity;
    let region = shop.test.worker(Timing::default()).region;
    let take = async |owner: &str, at: stillpoint::domain::Timestamp| {
        let mut tx = store.write().await.expect("a transaction");
        let taken =
            work::take(&mut tx, store.dialect(), &region, owner, at, Duration::from_secs(20)).await.expect("a query");
        store.commit(tx).await.expect("a commit");
        taken
    };
    let now = asked.created_at;
    let first = take("first", now).await.expect("the pending one");
    assert!(take("second", now.plus(Duration::from_secs(19))).await.is_none());
    let second = take("second", now.plus(Duration::from_secs(21))).await.expect("its lease has expired");
    assert_eq!((first.attempt, second.attempt), (1, 2));

    let old = Holder { activity: asked.id.clone(), owner: "first".to_owned(), generation: first.generation };
    let mut tx = store.write().await.expect("a transaction");
    assert!(!work::finish(&mut tx, &old, &End::Success, now).await.expect("a query"));
    assert!(!work::progress(&mut tx, &old, 500, now).await.expect("a query"));
    assert_eq!(work::renew(&mut tx, &old, now, Duration::from_secs(20)).await.expect("a query"), None);
}

#[tokio::test]
async fn a_pending_activity_can_be_cancelled_and_a_finished_one_cannot() {
    let shop = TestApp::with_shop().await;
    let test = &shop.test;
    let entry = shop.ask_for_snapshot().await.activity;
    let proof = async || test.proof::<CancelActivity>(&shop.admin).await.expect("an admin");
    let cancelled = activities::cancel(&test.app, proof().await, &entry.id).await.expect("it is pending");
    assert_eq!(cancelled.activity.state, ActivityState::Cancelled);
    let again = activities::cancel(&test.app, proof().await, &entry.id).await;
    assert!(matches!(again, Err(Error::Conflict(_))), "{again:?}");
}

#[tokio::test]
async fn a_running_activity_that_is_cancelled_ends_as_cancelled() {
    let shop = TestApp::with_shop().await;
    let entry = shop.ask_for_snapshot().await.activity;
    let timing = Timing { heartbeat: Duration::from_millis(20), ..Timing::default() };
    let (_, worker) = recorder(&shop.test, timing);
    let stop = CancellationToken::new();
    let working = tokio::spawn(worker.run(stop.clone()));
    shop.test.wait_for(&entry.id, |activity| activity.progress > 0).await;
    let proof = shop.test.proof::<CancelActivity>(&shop.admin).await.expect("an admin");
    activities::cancel(&shop.test.app, proof, &entry.id).await.expect("it is running");
    shop.test.wait_for(&entry.id, |activity| activity.state == ActivityState::Cancelled).await;
    stop.cancel();
    working.await.expect("the worker ends");
}

#[tokio::test]
async fn a_feed_resumes_after_the_event_that_it_saw_last() {
    let shop = TestApp::with_shop().await;
    let test = &shop.test;
    let proof = test.proof::<ViewHistory>(&shop.admin).await.expect("an admin");
    let before = activities::feed(&test.app, &proof, Default::default()).await.expect("a feed").event;
    let first = shop.ask_for_snapshot().await.activity;
    let second = shop.ask_for_snapshot().await.activity;

    let mut updates = Box::pin(activities::watch(&test.app, proof.clone(), before));
    let seen = updates.next().await.expect("a stream").expect("an update");
    assert_eq!(seen.entry.activity.id, first.id);
    drop(updates);
    let mut resumed = Box::pin(activities::watch(&test.app, proof, seen.event));
    let next = resumed.next().await.expect("a stream").expect("an update");
    assert_eq!(next.entry.activity.id, second.id);
    let third = shop.ask_for_snapshot().await.activity;
    let live = resumed.next().await.expect("a stream").expect("an update");
    assert_eq!(live.entry.activity.id, third.id);
}

#[tokio::test]
async fn the_feed_is_read_page_by_page() {
    let shop = TestApp::with_shop().await;
    let test = &shop.test;
    let mut asked = Vec::new();
    for _ in 0..5 {
        asked.push(shop.ask_for_snapshot().await.activity.id);
    }
    asked.reverse();
    let proof = test.proof::<ViewHistory>(&shop.admin).await.expect("an admin");
    let mut read = Vec::new();
    let mut before = None;
    loop {
        let filter = activities::Filter { before, count: Some(2), ..Default::default() };
        let page = activities::feed(&test.app, &proof, filter).await.expect("a page");
        read.extend(page.entries.into_iter().map(|entry| entry.activity.id));
        before = page.older;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(read, asked);
}
