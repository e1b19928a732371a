//! On which environment one acts (R21), by the command line: what is refused names what works, and that does work.

use std::path::PathBuf;

use stillpoint::domain::SnapshotName;
use stillpoint::domain::activity::Payload;

use crate::doors::through::{Doors, Person};
use crate::support::{Site, TestApp};

struct Acting {
    doors: Doors,
    admin: Person,
    staging: Site,
    /// Of `main`.
    snapshot: SnapshotName,
    /// Where new environments go.
    made: PathBuf,
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Acting {
    async fn new() -> Self {
        let shop = TestApp::with_shop().await;
        let directory = shop.test.directory.path().to_owned();
        let (staging, made) = (Site::new(&directory.join("staging")), directory.join("made"));
        staging.order("of staging");
        std::fs::create_dir(&made).expect("a fresh directory");
        let main = shop.site.declaration("shop", "main", "production", "self-hosted");
        let all =
            format!("{main}{}[project.provision]\ndirectory = {made:?}\n", staging.environment("staging", "staging"));
        shop.test.declare(&all).await;
        let doors = Doors::of(shop).await;
        let admin = doors.person(&doors.shop.admin).await;
        let entry = doors.shop.ask_for_snapshot().await;
        let done = doors.shop.test.wait_for(&entry.activity.id, |activity| activity.state.is_over()).await;
        let Payload::TakeSnapshot(take) = done.payload else { panic!("no snapshot") };
        Self { doors, admin, staging, snapshot: take.snapshot, made }
    }

    async fn run(&self, words: &[&str]) -> Said {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let output = self.doors.command(&self.admin, words).await;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    async fn restore(&self, from: &str, more: &[&str]) -> Said {
        let words = ["snapshot:restore", "-p", "shop", "-e", from, "--yes", self.snapshot.as_str()];
        self.run(&[&words[..], more].concat()).await
    }

    async fn succeeded(&self, from: &str, more: &[&str]) -> Said {
        let said = self.restore(from, more).await;
        assert_eq!(said.code, Some(0), "{}", said.err);
        said
    }

    #[track_caller]
    fn orders(&self, environment: &str) -> usize {
        let database = self.made.join(environment).join("database.db");
        Site { database, uploads: self.made.clone() }.orders().len()
    }
}

#[tokio::test]
async fn a_snapshot_of_another_environment_is_refused_with_the_command_that_works_and_it_does() {
    let acting = Acting::new().await;
    let refused = acting.restore("staging", &[]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    let told = format!("The snapshot {} was taken of main, not of staging.", acting.snapshot);
    assert!(refused.err.contains(&told), "{}", refused.err);
    assert_eq!(acting.staging.orders().len(), 4, "nothing was touched");
    let (_, command) = refused.err.split_once("stillpoint snapshot:restore").expect("the command that works");
    let words: Vec<&str> =
        ["snapshot:restore"].into_iter().chain(command.split_whitespace()).chain(["--yes"]).collect();
    let done = acting.run(&words).await;
    assert_eq!(done.code, Some(0), "{words:?}: {}", done.err);
    assert_eq!(acting.staging.orders(), ["chair", "table", "lamp"], "into staging, where one wanted it");
    acting.doors.close().await;
}

#[tokio::test]
async fn a_new_environment_needs_its_parent_and_gets_a_name_when_none_is_given() {
    let acting = Acting::new().await;
    // A target alone that is not there: the hint says what is missing.
    let refused = acting.restore("main", &["--target", "sale"]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    assert!(
        refused.err.contains("To have sale made for it") && refused.err.contains("--branch-from main"),
        "{}",
        refused.err
    );
    acting.succeeded("main", &["--target", "sale", "--branch-from", "main"]).await;
    assert_eq!(acting.orders("sale"), 3);
    // The parent alone: a name is made up, and told.
    let done = acting.succeeded("main", &["--branch-from", "main"]).await;
    let listed =
        acting.run(&["environment:list", "-p", "shop", "--format", "csv", "--no-header", "--columns", "id"]).await;
    let new = listed.out.lines().find(|name| !["main", "staging", "sale"].contains(name)).expect("a fourth one");
    assert!(done.err.contains(&format!("The environment {new} is there")), "{}", done.err);
    assert_eq!(acting.orders(new), 3);
    // One that is there is not made a second time.
    let refused = acting.restore("main", &["--target", "sale", "--branch-from", "main"]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    assert!(refused.err.contains("exists already"), "{}", refused.err);
    let refused = acting.restore("main", &["--branch-from", "nowhere"]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    assert!(refused.err.contains("nowhere was to give the new environment its services and mounts"), "{}", refused.err);
    acting.doors.close().await;
}

#[tokio::test]
async fn a_name_that_git_would_refuse_is_refused_with_one_that_works() {
    let acting = Acting::new().await;
    let table = [
        ("feature..cart", Some("feature-cart")),
        ("Feature/Cart", Some("feature-cart")),
        ("cart.lock", Some("cart-lock")),
        ("a b", Some("a-b")),
        ("~^:", None),
    ];
    for (name, near) in table {
        let refused = acting.restore("main", &["--target", name, "--branch-from", "main"]).await;
        assert_eq!(refused.code, Some(1), "{name}: {}", refused.err);
        assert!(refused.err.contains("is not a valid environment name"), "{name}: {}", refused.err);
        match near {
            Some(near) => assert!(refused.err.contains(&format!("Try {near}.")), "{name}: {}", refused.err),
            None => assert!(!refused.err.contains("Try "), "{name}: {}", refused.err),
        }
    }
    acting.succeeded("main", &["--target", "feature-cart", "--branch-from", "main"]).await;
    assert_eq!(acting.orders("feature-cart"), 3);
    acting.doors.close().await;
}
