//! Merging into a live environment: the snapshot comes first, then the operator's command, or the announcement (R10).

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use stillpoint::authz::{Actor, CancelActivity, ViewHistory};
use stillpoint::domain::SnapshotName;
use stillpoint::domain::activity::{Activity, ActivityKind, ActivityResult, ActivityState, First, MergeHow, Payload};
use stillpoint::domain::environment::EnvironmentKind;
use stillpoint::domain::policy::TypeRole;
use stillpoint::domain::policy::advice::Wish;
use stillpoint::domain::view::{ActivityEntry, MergePage};
use stillpoint::ops::merges::{self, Merge, MergeRequest};
use stillpoint::ops::{Error, activities};
use stillpoint::queue::Timing;
use tokio_util::sync::CancellationToken;

use crate::doors::through::{self, Doors};
use crate::support::{Shop, Site, TestApp, environment, project};

/// Notes how it was called, says something on both outputs, and does what `mode` says.
const PROGRAM: &str = r#"#!/bin/sh
here=$(dirname "$0")
printf '%s\n' "$*" >> "$here/calls"
cat > "$here/input.json"
if [ "$1" = --fast ]; then shift; fi
echo "merging $2 into $3"
echo "a remark" >&2
case "$(cat "$here/mode" 2>/dev/null)" in
  broken) echo "conflict in cart.php" >&2; exit 3;;
  slow) echo begun; sleep 600;;
esac
echo merged
"#;

struct Merging {
    shop: Shop,
    staging: Site,
    home: PathBuf,
}

fn write_program(home: &Path) -> PathBuf {
    std::fs::create_dir_all(home).expect("a directory");
    let program = home.join("merge");
    std::fs::write(&program, PROGRAM).expect("a script");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    program
}

impl Merging {
    /// `main` is live production, `staging` its child; with a command for merging.
    async fn new() -> Self {
        Self::on("self-hosted").await
    }

    async fn on(plan: &str) -> Self {
        let test = TestApp::new().await;
        let admin = test.operator("admin@example.org").await;
        let directory = test.directory.path().to_owned();
        let merging = Self {
            shop: Shop { site: Site::new(&directory.join("site")), test, admin },
            staging: Site::new(&directory.join("staging")),
            home: directory.join("commands"),
        };
        let program = write_program(&merging.home);
        merging.declare(plan, &format!("[project.commands]\nmerge = [{program:?}, \"--fast\"]\n")).await;
        merging
    }

    async fn declare(&self, plan: &str, commands: &str) {
        let main = self.shop.site.declaration("shop", "main", "production", plan);
        let main = main.replace("type = \"production\"", "type = \"production\"\nlive = true");
        let staging = self.staging.environment("staging", "staging");
        let staging = staging.replace("type = \"staging\"", "type = \"staging\"\nparent = \"main\"");
        self.shop.test.declare(&format!("{main}{staging}{commands}")).await;
    }

    fn set(&self, mode: &str) {
        std::fs::write(self.home.join("mode"), mode).expect("a file");
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.home.join("calls")).unwrap_or_default()
    }

    async fn merge(&self, actor: &Actor) -> Result<Merge, Error> {
        Merge::authorize(&self.shop.test.app, actor, &project(), &environment("staging")).await
    }

    async fn ask(&self, snapshot: Wish) -> Result<ActivityEntry, Error> {
        let merge = self.merge(&self.shop.admin).await?;
        merges::create(&self.shop.test.app, merge, MergeRequest { snapshot, ..MergeRequest::default() }).await
    }

    async fn settled(&self, snapshot: Wish) -> Activity {
        let entry = self.ask(snapshot).await.expect("it is queued");
        self.shop.test.settle(&entry.activity.id).await
    }

    async fn page(&self) -> MergePage {
        let merge = self.merge(&self.shop.admin).await.expect("an admin");
        merges::preview(&self.shop.test.app, &merge).await.expect("a preview")
    }

    async fn log(&self, activity: &Activity) -> Vec<String> {
        let proof = self.shop.history().await;
        let (lines, _) = activities::log(&self.shop.test.app, &proof, &activity.id, 0).await.expect("a log");
        lines.into_iter().map(|line| line.message).collect()
    }

    /// Of `main`, newest first.
    async fn feed(&self) -> Vec<ActivityEntry> {
        let proof = self.shop.history().await;
        activities::feed(&self.shop.test.app, &proof, activities::Filter::default()).await.expect("a feed").entries
    }

    async fn snapshots(&self) -> usize {
        let proof = self.shop.history().await;
        stillpoint::ops::snapshots::list(&self.shop.test.app, &proof).await.expect("a list").len()
    }
}

fn first(activity: &Activity) -> &First {
    let Payload::MergeEnvironment(merge) = &activity.payload else { panic!("no merge: {:?}", activity.payload) };
    &merge.first
}

#[tokio::test]
async fn the_snapshot_of_the_live_parent_comes_first_and_then_the_command_runs_and_is_heard() {
    let merging = Merging::new().await;
    let page = merging.page().await;
    assert!(page.advice.is_ticked && page.advice.offer().is_open() && page.offer.is_open());
    assert_eq!((page.how, page.minutes), (MergeHow::Command, 30));

    let done = merging.settled(Wish::Advised).await;
    assert_eq!((done.result, &done.failure), (Some(ActivityResult::Success), &None));
    assert_eq!(merging.calls(), "--fast merge staging main\n");
    let First::Snapshot { activity, snapshot } = first(&done) else { panic!("no snapshot: {done:?}") };
    let taken = merging.shop.test.activity(activity).await;
    assert!(taken.completed_at < done.started_at, "one after the other");
    let told: serde_json::Value =
        serde_json::from_slice(&std::fs::read(merging.home.join("input.json")).expect("its input")).expect("JSON");
    assert_eq!(
        told,
        serde_json::json!({
            "project": "shop", "environment": "main", "type": "production", "job": "merge",
            "activity": done.id, "snapshot": snapshot, "source": "staging"
        })
    );
    let log = merging.log(&done).await;
    assert_eq!(log[0], format!("The snapshot {snapshot} was taken first; it is complete"));
    for line in ["merging staging into main", "a remark", "merged"] {
        assert!(log.iter().any(|it| it == line), "{line:?} is missing in {log:?}");
    }
    assert!(
        log.last().is_some_and(|line| line.starts_with("The command succeeded (exit status: 0) after ")),
        "{log:?}"
    );

    let feed = merging.feed().await;
    let told: Vec<&str> = feed.iter().map(|entry| entry.description.as_str()).collect();
    assert_eq!(told, ["merged staging into main", "created a snapshot of main"]);
    let note = merging.shop.test.proof::<ViewHistory>(&merging.shop.admin).await.expect("an admin");
    let kept = stillpoint::ops::snapshots::list(&merging.shop.test.app, &note).await.expect("a list");
    assert_eq!(kept[0].snapshot.note.as_deref(), Some("before staging is merged into it"));
}

#[tokio::test]
async fn without_the_snapshot_it_is_merged_at_once_and_the_log_says_so() {
    let merging = Merging::new().await;
    let done = merging.settled(Wish::Nothing).await;
    assert_eq!(done.result, Some(ActivityResult::Success));
    assert_eq!((merging.snapshots().await, merging.calls().lines().count()), (0, 1));
    assert_eq!(merging.log(&done).await[0], "No snapshot was taken first. As was asked.");
}

#[tokio::test]
async fn a_snapshot_that_fails_or_is_cancelled_stops_the_merge() {
    let merging = Merging::new().await;
    let uploads = merging.shop.site.uploads.clone();
    let away = uploads.with_file_name("away");
    std::fs::rename(&uploads, &away).expect("it is ours");
    let failed = merging.settled(Wish::Advised).await;
    let reason = failed.failure.expect("it failed");
    assert!(reason.starts_with("The snapshot that was to be taken first is missing (it failed: "), "{reason}");
    assert!(reason.contains("nothing was done"), "{reason}");

    std::fs::rename(&away, &uploads).expect("it is ours");
    let entry = merging.ask(Wish::Snapshot).await.expect("it is queued");
    let First::Snapshot { activity, .. } = first(&entry.activity).clone() else { panic!("no snapshot") };
    let proof = merging.shop.test.proof::<CancelActivity>(&merging.shop.admin).await.expect("an admin");
    activities::cancel(&merging.shop.test.app, proof, &activity).await.expect("it waits");
    let failed = merging.shop.test.settle(&entry.activity.id).await;
    let reason = failed.failure.expect("it failed");
    assert!(reason.contains("it was cancelled"), "{reason}");
    assert_eq!((merging.calls().as_str(), merging.snapshots().await), ("", 0));
}

#[tokio::test]
async fn a_command_that_fails_says_how_and_its_words_stand_in_the_log() {
    let merging = Merging::new().await;
    merging.set("broken");
    let failed = merging.settled(Wish::Advised).await;
    assert_eq!(failed.result, Some(ActivityResult::Failure));
    let reason = failed.failure.clone().expect("a reason");
    assert!(reason.contains("exit status: 3") && reason.contains("conflict in cart.php"), "{reason}");
    let log = merging.log(&failed).await;
    assert!(log.iter().any(|line| line == "merging staging into main"), "{log:?}");
    assert!(log.iter().any(|line| line == "conflict in cart.php"), "{log:?}");
    assert_eq!(merging.snapshots().await, 1, "there is something to go back to");
}

#[tokio::test]
async fn a_merge_that_is_cancelled_while_its_command_runs_is_no_quiet_cancellation() {
    let merging = Merging::new().await;
    merging.set("slow");
    let entry = merging.ask(Wish::Nothing).await.expect("it is queued");
    let stop = CancellationToken::new();
    let worker = tokio::spawn(merging.shop.test.worker(Timing::default()).run(stop.clone()));
    loop {
        let mut mark = merging.shop.test.store.mark();
        if merging.log(&entry.activity).await.iter().any(|line| line == "begun") {
            break;
        }
        merging.shop.test.store.changed(&mut mark).await;
    }
    let proof = merging.shop.test.proof::<CancelActivity>(&merging.shop.admin).await.expect("an admin");
    activities::cancel(&merging.shop.test.app, proof, &entry.activity.id).await.expect("it runs");
    let over = merging.shop.test.wait_for(&entry.activity.id, |activity| activity.state.is_over()).await;
    stop.cancel();
    worker.await.expect("the worker does not panic");
    assert_eq!((over.state, over.result), (ActivityState::Complete, Some(ActivityResult::Failure)));
    let reason = over.failure.expect("a reason");
    assert!(reason.contains("was killed, with all that it had started"), "{reason}");
}

#[tokio::test]
async fn without_a_command_it_is_announced_after_the_snapshot() {
    let merging = Merging::new().await;
    merging.declare("self-hosted", "").await;
    assert_eq!(merging.page().await.how, MergeHow::Announcement);
    let done = merging.settled(Wish::Advised).await;
    assert_eq!(done.result, Some(ActivityResult::Success));
    assert_eq!((merging.calls().as_str(), merging.snapshots().await), ("", 1));
    assert_eq!(merging.feed().await[0].description, "announced a merge of staging into main");
}

#[tokio::test]
async fn a_plan_without_manual_snapshots_is_told_and_only_who_insists_is_refused() {
    let merging = Merging::on("pro").await;
    let page = merging.page().await;
    let refusal = page.advice.offer().refusal.expect("the plan has none").to_string();
    assert!(refusal.contains("Automatic ones are taken every hour"), "{refusal}");
    assert!(refusal.ends_with("There is no snapshot of main yet."), "{refusal}");

    let done = merging.settled(Wish::Advised).await;
    assert_eq!(done.result, Some(ActivityResult::Success));
    let log = merging.log(&done).await;
    assert!(
        log[0].starts_with("No snapshot was taken first. On the Pro plan, manual snapshots of production"),
        "{log:?}"
    );

    let Err(Error::Forbidden(refused)) = merging.ask(Wish::Snapshot).await else { panic!("the plan has none") };
    assert!(refused.to_string().ends_with("To go on without one: `--no-snapshot`."), "{refused}");
    let feed = merging.feed().await;
    assert_eq!(feed[0].activity.kind, ActivityKind::Merge);
    assert_eq!(feed[0].activity.failure, Some(refused.to_string()), "the refusal stands in the feed (R5)");
    assert_eq!(merging.calls().lines().count(), 1);
}

#[tokio::test]
async fn what_changed_while_it_waited_is_asked_again() {
    // The command.
    let merging = Merging::new().await;
    let entry = merging.ask(Wish::Nothing).await.expect("it is queued");
    merging.declare("self-hosted", "").await;
    let failed = merging.shop.test.settle(&entry.activity.id).await;
    let reason = failed.failure.expect("a reason");
    assert!(reason.starts_with("The project has no command for merging any more."), "{reason}");
    // What was confirmed.
    let merge = merging.merge(&merging.shop.admin).await.expect("an admin");
    let request = MergeRequest { shown: Some(MergeHow::Command), ..MergeRequest::default() };
    let refused = merges::create(&merging.shop.test.app, merge, request).await;
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    // The role, on the source alone.
    let member = merging.shop.test.member("member@example.org", TypeRole::Admin).await;
    let merge = merging.merge(&member).await.expect("an admin of all types");
    let request = MergeRequest { snapshot: Wish::Nothing, ..MergeRequest::default() };
    let entry = merges::create(&merging.shop.test.app, merge, request).await.expect("it is queued");
    let roles = [(EnvironmentKind::Production, TypeRole::Admin), (EnvironmentKind::Staging, TypeRole::Viewer)];
    merging.shop.test.set_roles(&member, None, roles.into()).await;
    let failed = merging.shop.test.settle(&entry.activity.id).await;
    let reason = failed.failure.expect("a reason");
    assert!(reason.contains("needs the admin role on staging environments"), "{reason}");
}

#[tokio::test]
async fn it_needs_the_admin_role_on_both_and_a_parent() {
    let merging = Merging::new().await;
    let app = &merging.shop.test.app;
    let orphan = Merge::authorize(app, &merging.shop.admin, &project(), &environment("main")).await;
    let Err(Error::Conflict(refusal)) = orphan else { panic!("main has no parent: {orphan:?}") };
    assert!(refusal.to_string().starts_with("The environment main has no parent that it could be merged into."));
    let member = merging.shop.test.outsider("member@example.org").await;
    let staging = (EnvironmentKind::Staging, TypeRole::Admin);
    merging.shop.test.set_roles(&member, None, [staging].into()).await;
    let hidden = merging.merge(&member).await;
    let Err(Error::Absent { hint, .. }) = hidden else { panic!("main is not theirs: {hidden:?}") };
    assert!(hint.contains("which it is merged into"), "{hint}");
    let viewer = (EnvironmentKind::Production, TypeRole::Viewer);
    merging.shop.test.set_roles(&member, None, [staging, viewer].into()).await;
    assert!(matches!(merging.merge(&member).await, Err(Error::Forbidden(_))));
}

#[tokio::test]
async fn a_full_shelf_is_not_emptied_for_it_unasked() {
    let merging = Merging::new().await;
    for _ in 0..4 {
        merging.shop.snapshot().await;
    }
    let Err(Error::Conflict(refusal)) = merging.ask(Wish::Advised).await else { panic!("one would go") };
    assert!(refusal.to_string().contains("would go for another one"), "{refusal}");
    let evict: Vec<SnapshotName> = merging.page().await.eviction.snapshots;
    assert_eq!(evict.len(), 1);
    let merge = merging.merge(&merging.shop.admin).await.expect("an admin");
    let request = MergeRequest { evict, ..MergeRequest::default() };
    let entry = merges::create(&merging.shop.test.app, merge, request).await.expect("it is agreed");
    assert_eq!(merging.shop.test.settle(&entry.activity.id).await.result, Some(ActivityResult::Success));
    assert_eq!(merging.snapshots().await, 4);
}

#[tokio::test]
async fn a_merge_is_the_same_at_every_door() {
    let Merging { shop, home, staging: _staging } = Merging::new().await;
    let doors = Doors::of(shop).await;
    let admin = doors.person(&doors.shop.admin).await;
    for first in [false, true] {
        let outcome = doors.everywhere(&admin, &through::Wish::Merge { environment: "staging", first }, 202).await;
        assert_eq!(outcome.refused, None);
        assert_eq!(outcome.left.len(), 1 + usize::from(first), "{:?}", outcome.left);
        let merge = outcome.left.last().expect("a merge");
        assert_eq!((&merge["kind"], &merge["result"]), (&"environment.merge".into(), &"success".into()));
    }
    assert_eq!(std::fs::read_to_string(home.join("calls")).expect("calls").lines().count(), 6);
    let outcome = doors.everywhere(&admin, &through::Wish::Merge { environment: "main", first: true }, 409).await;
    let refused = outcome.refused.expect("it has no parent");
    assert!(refused.starts_with("The environment main has no parent that it could be merged into."), "{refused}");

    let staging = doors.get(&admin, "/projects/shop/environments/staging").await;
    assert_eq!(staging["_links"]["#merge"]["href"], "/api/projects/shop/environments/staging/merge");
    let main = doors.get(&admin, "/projects/shop/environments/main").await;
    assert_eq!(main["_links"]["#merge"], serde_json::Value::Null, "the refusal is a missing link");
    let (status, page) = doors.page(&admin, "/projects/shop/environments/staging").await;
    assert!(status == 200 && page.contains("of staging into main"), "{page}");
    assert!(page.contains("href=\"/projects/shop/environments/staging/merge\""), "{page}");
    let viewer = doors.shop.test.member("viewer@example.org", TypeRole::Viewer).await;
    let viewer = doors.person(&viewer).await;
    let (status, page) = doors.page(&viewer, "/projects/shop/environments/staging").await;
    assert_eq!(status, 200);
    let refused = "Merging an environment needs the admin role on staging environments; your role is staging:viewer.";
    assert!(page.contains(refused) && page.contains("id=\"merge-reason\""), "shown, disabled, with the reason (R7)");
    let (status, page) = doors.page(&admin, "/projects/shop/environments/staging/merge").await;
    assert_eq!(status, 200);
    assert!(page.contains("Take a snapshot of main before the merge"), "{page}");
    assert!(page.contains("main is live: real visitors use it."), "{page}");

    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let unasked = doors.command(&admin, words(&["merge", "-p", "shop", "-e", "staging"])).await;
    assert_eq!(unasked.status.code(), Some(1), "nobody is there to confirm it (R33)");
    // Without a word about it a snapshot is taken.
    let advised = doors.command(&admin, words(&["merge", "-p", "shop", "staging", "--yes"])).await;
    let (said, told) = (String::from_utf8_lossy(&advised.stdout), String::from_utf8_lossy(&advised.stderr));
    assert_eq!(advised.status.code(), Some(0), "{told}");
    assert!(said.starts_with("Backup name: "), "{said}");
    assert!(told.contains("Creating a snapshot of the environment main first") && told.contains("  merged"), "{told}");
    assert!(told.ends_with("staging is merged into main.\n"), "{told}");
    doors.close().await;
}

#[test]
fn a_worker_that_dies_behind_the_command_runs_it_again() {
    use crate::process::Installation;
    let at = Installation::new();
    let home = at.directory().join("commands");
    let program = write_program(&home);
    let staging = crate::process::Site::new(&at.directory().join("staging"));
    let (applied, told) = at.apply(&at.site.declaration(&format!(
        "\n[[project.environment]]\nname = \"staging\"\ntype = \"staging\"\nparent = \"main\"\n\n\
         [[project.environment.mount]]\nname = \"uploads\"\npath = {:?}\n\n[project.commands]\nmerge = [{program:?}]\n",
        staging.uploads()
    )));
    assert!(applied, "{told}");
    let dying = at.start_with(&[("STILLPOINT_CRASH_AT", "merge: ran")]);
    let path = "/projects/shop/environments/staging/merge";
    let body = serde_json::json!({ "snapshot": false });
    let (status, reply) = at.ask("POST", path, Some(body)).expect("the server answers");
    assert_eq!(status, 202, "{reply}");
    let activity = reply["_embedded"]["activities"][0]["id"].as_str().expect("an id").to_owned();
    let asked = crate::process::Asked { activity, snapshot: String::new() };
    dying.died();
    let server = at.start();
    at.succeeded(&asked);
    let calls = std::fs::read_to_string(home.join("calls")).expect("calls");
    assert_eq!(calls, "merge staging main\nmerge staging main\n");
    server.terminate();
}
