//! The same operation through the browser's form, the API and the command line gives the same: the same activity, the
//! same refusal in the same words.

pub mod through;

use std::collections::BTreeMap;

use stillpoint::domain::SnapshotName;
use stillpoint::domain::activity::SnapshotMode;
use stillpoint::domain::environment::{EnvironmentKind, EnvironmentStatus};
use stillpoint::domain::policy::TypeRole;
use stillpoint::store::environments;

use self::through::{Doors, Outcome, Person, Wish};
use crate::support::TestApp;

async fn open() -> (Doors, Person) {
    let doors = Doors::of(TestApp::with_shop().await).await;
    let admin = doors.person(&doors.shop.admin).await;
    (doors, admin)
}

/// Refused with the same words, of which these are the first; and nothing stands in the feed.
#[track_caller]
fn assert_refused(outcome: &Outcome, first_words: &str) {
    let said = outcome.refused.as_deref().unwrap_or_default();
    assert!(said.starts_with(first_words), "{said:?} does not begin with {first_words:?}");
    assert_eq!(outcome.left, Vec::<serde_json::Value>::new());
}

async fn snapshot(doors: &Doors) -> SnapshotName {
    let entry = doors.shop.ask_for_snapshot().await;
    let done = doors.shop.test.wait_for(&entry.activity.id, |activity| activity.state.is_over()).await;
    assert_eq!(done.failure, None);
    let stillpoint::domain::activity::Payload::TakeSnapshot(take) = done.payload else { panic!("no snapshot") };
    take.snapshot
}

#[tokio::test]
async fn a_snapshot_is_the_same_whichever_door_it_was_asked_for_at() {
    let (doors, admin) = open().await;
    // Keeps as many as are asked for.
    let under_starter = doors.shop.site.declaration("shop", "main", "production", "starter");
    doors.shop.test.declare(&under_starter).await;
    for (mode, note) in [(SnapshotMode::Consistent, Some("before the sale")), (SnapshotMode::Live, None)] {
        let wish = Wish::Snapshot { environment: "main", mode, note: note.map(str::to_owned) };
        let outcome = doors.everywhere(&admin, &wish, 202).await;
        let [activity] = &outcome.left[..] else { panic!("one activity: {:?}", outcome.left) };
        assert_eq!((&activity["state"], &activity["result"]), (&"complete".into(), &"success".into()));
        assert_eq!(activity["kind"], "environment.backup");
        assert_eq!(activity["payload"]["note"], serde_json::json!(note));
        assert_eq!(activity["initiator"]["name"], "admin@example.org");
    }
    doors.close().await;
}

#[tokio::test]
async fn a_restore_is_the_same_whichever_door_it_was_asked_for_at() {
    let (doors, admin) = open().await;
    let first = snapshot(&doors).await;
    doors.shop.site.order("a sofa");
    let outcome = doors.everywhere(&admin, &Wish::restore(&first), 202).await;
    let [activity] = &outcome.left[..] else { panic!("one activity: {:?}", outcome.left) };
    assert_eq!((&activity["kind"], &activity["result"]), (&"environment.restore".into(), &"success".into()));
    assert_eq!(activity["payload"]["snapshot"], first.as_str());
    assert!(activity["payload"]["plan_hash"].is_string(), "every door confirms what it showed");
    assert_eq!(doors.shop.site.orders(), ["chair", "table", "lamp"]);
    doors.close().await;
}

#[tokio::test]
async fn a_restore_of_a_part_into_another_environment_is_the_same_at_every_door() {
    let (doors, admin) = open().await;
    let staging = doors.shop.add_staging().await;
    let first = snapshot(&doors).await;
    let outcome = doors.everywhere(&admin, &Wish::restore_parts(&first, "staging", "service:database"), 202).await;
    let [activity] = &outcome.left[..] else { panic!("one activity: {:?}", outcome.left) };
    assert_eq!((&activity["kind"], &activity["result"]), (&"environment.restore".into(), &"success".into()));
    assert_eq!(activity["payload"]["from"]["name"], "main");
    assert_eq!(activity["payload"]["scope"], serde_json::json!(["service:database"]));
    assert_eq!(staging.orders(), ["chair", "table", "lamp"]);

    let outcome = doors.everywhere(&admin, &Wish::restore_parts(&first, "staging", "service:search"), 409).await;
    assert_refused(&outcome, "The snapshot does not hold the service search.");
    let outcome = doors.everywhere(&admin, &Wish::restore_parts(&first, "nowhere", ""), 404).await;
    assert_refused(&outcome, "There is no such environment, or it is not visible to you.");
    doors.close().await;
}

#[tokio::test]
async fn a_viewer_is_refused_in_the_same_words() {
    let (doors, _) = open().await;
    let name = snapshot(&doors).await;
    let viewer = doors.shop.test.member("viewer@example.org", TypeRole::Viewer).await;
    let viewer = doors.person(&viewer).await;
    let outcome = doors.everywhere(&viewer, &Wish::snapshot(), 403).await;
    assert_refused(&outcome, "Creating a snapshot needs the admin role on production environments");
    let outcome = doors.everywhere(&viewer, &Wish::restore(&name), 403).await;
    assert_refused(&outcome, "Restoring a snapshot needs the admin role on production environments");
    doors.close().await;
}

#[tokio::test]
async fn what_is_hidden_and_what_is_not_there_are_refused_in_the_same_words() {
    let (doors, admin) = open().await;
    let name = snapshot(&doors).await;
    let on_staging = doors.shop.test.outsider("staging@example.org").await;
    let roles = BTreeMap::from([(EnvironmentKind::Staging, TypeRole::Admin)]);
    doors.shop.test.set_roles(&on_staging, None, roles).await;
    let on_staging = doors.person(&on_staging).await;
    let outsider = doors.shop.test.outsider("outsider@example.org").await;
    let outsider = doors.person(&outsider).await;

    let no_environment = "There is no such environment, or it is not visible to you.";
    let nowhere = Wish::Snapshot { environment: "nowhere", mode: SnapshotMode::Consistent, note: None };
    let restore_nowhere = Wish::Restore { environment: "nowhere", snapshot: name.clone(), into: "nowhere", parts: "" };
    for person in [&admin, &on_staging] {
        assert_refused(&doors.everywhere(person, &nowhere, 404).await, no_environment);
        assert_refused(&doors.everywhere(person, &restore_nowhere, 404).await, no_environment);
    }
    assert_refused(&doors.everywhere(&on_staging, &Wish::snapshot(), 404).await, no_environment);
    assert_refused(&doors.everywhere(&on_staging, &Wish::restore(&name), 404).await, no_environment);

    let unknown = SnapshotName::parse("0123456789abcdef0123").expect("a valid name");
    let outcome = doors.everywhere(&admin, &Wish::restore(&unknown), 404).await;
    assert_refused(&outcome, "There is no such snapshot, or it is not visible to you.");

    for wish in [Wish::snapshot(), Wish::restore(&name), nowhere] {
        let outcome = doors.everywhere(&outsider, &wish, 404).await;
        assert_refused(&outcome, "There is no such project, or it is not visible to you.");
    }
    doors.close().await;
}

#[tokio::test]
async fn a_plan_refuses_in_the_same_words_and_leaves_the_same_entry() {
    let (doors, admin) = open().await;
    doors.shop.test.declare(&doors.shop.site.declaration("shop", "main", "production", "pro")).await;
    let outcome = doors.everywhere(&admin, &Wish::snapshot(), 403).await;
    let [activity] = &outcome.left[..] else { panic!("one activity: {:?}", outcome.left) };
    assert_eq!((&activity["state"], &activity["result"]), (&"complete".into(), &"failure".into()));
    assert_eq!(activity["failure"].as_str(), outcome.refused.as_deref());
    doors.close().await;
}

#[tokio::test]
async fn a_list_of_environments_offers_what_each_of_them_offers() {
    let (doors, admin) = open().await;
    let viewer = doors.shop.test.member("viewer@example.org", TypeRole::Viewer).await;
    let viewer = doors.person(&viewer).await;
    for (person, may) in [(&admin, true), (&viewer, false)] {
        let list = doors.get(person, "/projects/shop/environments").await;
        let one = doors.get(person, "/projects/shop/environments/main").await;
        assert_eq!(list, serde_json::json!([one]));
        assert_eq!(one["_links"]["#backup"].is_object(), may);
    }
    doors.close().await;
}

#[tokio::test]
async fn a_schedule_is_the_same_whichever_door_it_was_made_at() {
    let (doors, admin) = open().await;
    let wish = Wish::Schedule { environment: "main", cron: "@daily", time_zone: "Europe/Berlin" };
    let outcome = doors.everywhere(&admin, &wish, 201).await;
    let [activity] = &outcome.left[..] else { panic!("one activity: {:?}", outcome.left) };
    assert_eq!((&activity["kind"], &activity["result"]), (&"environment.schedule".into(), &"success".into()));
    assert_eq!(activity["payload"]["cron"], "0 0 * * *");
    let list = doors.get(&admin, "/projects/shop/environments/main/schedules").await;
    let there: Vec<_> = list.as_array().expect("a list").iter().map(|one| &one["time_zone"]).collect();
    assert_eq!(there, ["UTC", "Europe/Berlin", "Europe/Berlin", "Europe/Berlin", "UTC"], "the last is of drills");
    let wrong = Wish::Schedule { environment: "main", cron: "0 25 * * *", time_zone: "UTC" };
    let outcome = doors.everywhere(&admin, &wrong, 400).await;
    assert_refused(&outcome, "“25” can't be the hour: that takes 0 to 23.");
    let viewer = doors.shop.test.member("viewer@example.org", TypeRole::Viewer).await;
    let outcome = doors.everywhere(&doors.person(&viewer).await, &wish, 403).await;
    assert_refused(&outcome, "Changing schedules needs the admin role on production environments;");
    doors.close().await;
}

#[tokio::test]
async fn a_schedule_is_changed_and_removed_from_the_command_line() {
    let (doors, admin) = open().await;
    let run = async |words: &[&str]| {
        let words = words.iter().chain(&["-p", "shop", "-e", "main"]).map(|word| (*word).to_owned()).collect();
        let output = doors.command(&admin, words).await;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, said, told) = run(&["schedule:add", "0 */6 * * *", "--time-zone", "Asia/Kolkata"]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("no more than once a day"), "{told}");
    let id = said.trim().strip_prefix("Schedule: ").expect("its id").to_owned();
    let (_, table, _) = run(&["schedules", "--columns", "id,cron,state", "--format", "csv"]).await;
    assert!(table.contains(&format!("{id},0 */6 * * *,active")), "{table}");

    let (code, _, told) = run(&["schedule:update", &id, "--cron", "0 5 * * *", "--pause"]).await;
    assert_eq!((code, told.contains("It is paused")), (Some(0), true), "{told}");
    let (code, _, told) = run(&["schedule:update", &id, "--resume"]).await;
    assert_eq!((code, told.contains(", 05:0") && told.contains(" IST")), (Some(0), true), "{told}");
    assert_eq!(run(&["schedule:update", &id]).await.0, Some(2), "nothing to change");

    let (code, _, told) = run(&["schedule:delete", &id]).await;
    assert_eq!((code, told.trim()), (Some(0), "The schedule is removed."));
    let (code, _, told) = run(&["schedule:delete", &id]).await;
    assert_eq!((code, told.contains("There is no such schedule")), (Some(1), true), "{told}");
    doors.close().await;
}

#[tokio::test]
async fn a_note_that_is_too_long_is_refused_in_the_same_words() {
    let (doors, admin) = open().await;
    let wish = Wish::Snapshot { environment: "main", mode: SnapshotMode::Live, note: Some("x".repeat(501)) };
    assert_refused(&doors.everywhere(&admin, &wish, 400).await, "A note has at most 500 characters.");
    doors.close().await;
}

#[tokio::test]
async fn an_environment_that_is_not_active_is_refused_in_the_same_words() {
    let (doors, admin) = open().await;
    let name = snapshot(&doors).await;
    let store = &doors.shop.test.store;
    let id = doors.main().await;
    let mut tx = store.write().await.expect("a transaction");
    let mut main = environments::by_id(&mut tx, &id).await.expect("readable").expect("the shop has it");
    main.status = EnvironmentStatus::Inactive;
    let composition = environments::composition(&mut tx, store.sealer(), &id).await.expect("readable");
    environments::put(&mut tx, store.sealer(), &main, &composition).await.expect("stored");
    store.commit(tx).await.expect("a commit");
    let outcome = doors.everywhere(&admin, &Wish::restore(&name), 409).await;
    assert_refused(&outcome, "The environment is not active. Activate it first.");
    doors.close().await;
}

#[tokio::test]
async fn a_part_that_is_gone_is_refused_in_the_same_words() {
    let (doors, admin) = open().await;
    let name = snapshot(&doors).await;
    let declaration = doors.shop.site.declaration("shop", "main", "production", "self-hosted");
    doors.shop.test.declare(&declaration.replace("\"uploads\"", "\"pictures\"")).await;
    let outcome = doors.everywhere(&admin, &Wish::restore(&name), 409).await;
    assert_refused(&outcome, "The snapshot holds the mount uploads, which the environment does not have.");
    doors.close().await;
}

#[tokio::test]
async fn what_changed_since_it_was_shown_is_refused_in_the_same_words() {
    let (doors, admin) = open().await;
    let name = snapshot(&doors).await;
    doors.change_after_each_look();
    let outcome = doors.everywhere(&admin, &Wish::restore(&name), 409).await;
    assert_refused(&outcome, "The environment has changed since you looked.");
    doors.close().await;
}
