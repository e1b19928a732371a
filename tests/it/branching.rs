//! Restoring into an environment that is made for it (R2, R21): there whole, or not at all.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;

use stillpoint::authz::{Actor, ViewHistory, ViewProject};
use stillpoint::domain::activity::{Activity, ActivityResult, ActivityState};
use stillpoint::domain::environment::EnvironmentKind;
use stillpoint::domain::policy::TypeRole;
use stillpoint::domain::view::{ActivityEntry, Preflight};
use stillpoint::domain::{Scope, SnapshotName};
use stillpoint::ops::restores::{self, RestoreRequest, Way, Wish};
use stillpoint::ops::{Error, activities, environments};

use crate::support::{Shop, Site, TestApp, environment, project};

/// A shop whose project lays down how new environments are made.
struct Copied {
    shop: Shop,
    /// Where new environments go.
    directory: PathBuf,
}

/// Starts a web server that answers with what `mode` says, and notes each call.
const PROGRAM: &str = r#"#!/bin/sh
here=$(dirname "$0")
cat > "$here/input.json"
echo "$1" >> "$here/calls"
case "$1:$(cat "$here/mode")" in
  start:broken) echo "no room for another application" >&2; exit 3;;
  start:*) echo '{"upstream": "'"$(cat "$here/upstream")"'", "health": "/ready"}';;
  remove:*) exit 0;;
  *) exit 64;;
esac
"#;

impl Copied {
    async fn new(provision: &str) -> Self {
        let test = TestApp::new().await;
        let admin = test.operator("admin@example.org").await;
        let site = Site::new(&test.directory.path().join("site"));
        let directory = test.directory.path().join("environments");
        std::fs::create_dir(&directory).expect("a fresh directory");
        let copied = Self { shop: Shop { test, site, admin }, directory };
        copied.lay_down(provision).await;
        copied
    }

    async fn lay_down(&self, provision: &str) {
        let contract = format!("[project.provision]\ndirectory = {:?}\n{provision}\n", self.directory);
        let all = self.shop.site.declaration("shop", "main", "production", "self-hosted");
        let all = format!(
            "{all}[[project.environment.route]]\nhost = \"taken.shop.localhost\"\nupstream = \"http://127.0.0.1:9\"\n"
        );
        self.shop
            .test
            .declare(&all.replace("\n[[project.environment]]", &format!("\n{contract}\n[[project.environment]]")))
            .await;
    }

    fn program(&self) -> PathBuf {
        let path = self.shop.test.directory.path().join("program");
        std::fs::write(&path, PROGRAM).expect("a writable directory");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("our own file");
        self.mode("works");
        path
    }

    fn mode(&self, mode: &str) {
        std::fs::write(self.shop.test.directory.path().join("mode"), mode).expect("a writable directory");
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.shop.test.directory.path().join("calls")).unwrap_or_default()
    }

    async fn way(&self, actor: &Actor, target: Option<&str>) -> Result<Way, Error> {
        let wish = Wish { target, branch_from: Some("main") };
        Way::authorize(&self.shop.test.app, actor, &project(), &environment("main"), wish).await
    }

    async fn look(&self, snapshot: &SnapshotName, target: Option<&str>) -> Preflight {
        let way = self.way(&self.shop.admin, target).await.expect("it may be made");
        restores::preflight(&self.shop.test.app, &way, snapshot, &Scope::default()).await.expect("a snapshot")
    }

    async fn ask(&self, snapshot: &SnapshotName, target: &str) -> Result<ActivityEntry, Error> {
        let way = self.way(&self.shop.admin, Some(target)).await?;
        let request = RestoreRequest { snapshot: snapshot.clone(), scope: Scope::default(), plan_hash: None };
        restores::create(&self.shop.test.app, way, request).await
    }

    async fn make(&self, snapshot: &SnapshotName, target: &str) -> Activity {
        let entry = self.ask(snapshot, target).await.expect("it is queued");
        self.shop.test.settle(&entry.activity.id).await
    }

    async fn environments(&self) -> Vec<String> {
        let proof = self.shop.test.app.authorize_project::<ViewProject>(&self.shop.admin, &project()).await;
        let cards = environments::list(&self.shop.test.app, proof.expect("an admin")).await.expect("a list");
        cards.into_iter().map(|card| card.environment.name.to_string()).collect()
    }

    async fn feed(&self, name: &str) -> Vec<String> {
        let app = &self.shop.test.app;
        let proof = app.authorize_environment::<ViewHistory>(&self.shop.admin, &project(), &environment(name)).await;
        let feed = activities::feed(app, &proof.expect("it is visible"), activities::Filter::default()).await;
        feed.expect("a feed").entries.into_iter().map(|entry| entry.description).collect()
    }

    fn made(&self, name: &str) -> Site {
        let directory = self.directory.join(name);
        Site { database: directory.join("database.db"), uploads: directory.join("uploads") }
    }
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).expect("it is there").next().is_none()
}

#[tokio::test]
async fn a_new_environment_holds_the_snapshots_data_and_lives_on_its_own() {
    let copied = Copied::new("").await;
    let shop = &copied.shop;
    let name = shop.snapshot().await;
    shop.site.order("sofa");

    let preflight = copied.look(&name, None).await;
    assert!(preflight.offer.is_open(), "{:?}", preflight.obstacles);
    assert_eq!(
        (preflight.environment.name.as_str(), preflight.environment.kind),
        ("main-2", EnvironmentKind::Development)
    );
    assert!(preflight.expectations.iter().any(|text| text.contains("no route")), "{:?}", preflight.expectations);
    assert!(is_empty(&copied.directory), "looking makes nothing");

    let done = copied.make(&name, "main-2").await;
    assert_eq!((done.failure, done.result), (None, Some(ActivityResult::Success)));
    let made = copied.made("main-2");
    assert_eq!(made.orders(), ["chair", "table", "lamp"]);
    assert_eq!(std::fs::read(made.uploads.join("pictures/chair.jpg")).expect("it is there"), b"a chair");
    assert_eq!(shop.site.orders().len(), 4, "the source goes on as it was");
    assert_eq!(copied.environments().await, ["main", "main-2"]);
    assert_eq!(copied.feed("main-2").await, [format!("made main-2 from {name} of main")]);
    let told = format!("restored {name} into the new environment main-2");
    assert_eq!(copied.feed("main").await[0], told);

    // It is an environment like any other.
    made.order("bench");
    let app = &shop.test.app;
    let proof = app.authorize_environment(&shop.admin, &project(), &environment("main-2")).await.expect("an admin");
    let entry = stillpoint::ops::snapshots::create(app, proof, Default::default()).await.expect("it is queued");
    assert_eq!(shop.test.settle(&entry.activity.id).await.failure, None);
    assert_eq!(copied.look(&name, None).await.environment.name.as_str(), "main-3");
}

#[tokio::test]
async fn its_application_is_started_and_answers_before_it_is_there() {
    let copied = Copied::new("").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let upstream = format!("http://{}", listener.local_addr().expect("it is bound"));
    let program = copied.program();
    std::fs::write(program.with_file_name("upstream"), &upstream).expect("a writable directory");
    copied.lay_down(&format!("host = \"{{name}}.shop.localhost\"\nprogram = [{program:?}]\n")).await;
    let name = copied.shop.snapshot().await;

    // Not ready at first: it is asked again.
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let application = axum::Router::new().fallback(move |request: Request| async move {
        let nth = count.fetch_add(1, Ordering::SeqCst);
        let host = request.headers()["host"].to_str().expect("a host").to_owned();
        match (nth, request.uri().path(), host.as_str()) {
            (0, ..) => StatusCode::BAD_GATEWAY,
            (_, "/ready", "copy.shop.localhost") => StatusCode::OK,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    });
    let serving = tokio::spawn(async move { axum::serve(listener, application).await });
    let preflight = copied.look(&name, Some("copy")).await;
    assert!(preflight.expectations.iter().any(|text| text.contains("copy.shop.localhost")), "{preflight:?}");
    assert_eq!(copied.make(&name, "copy").await.failure, None);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(copied.calls(), "start\n");
    let input = std::fs::read(program.with_file_name("input.json")).expect("it was told");
    let input: serde_json::Value = serde_json::from_slice(&input).expect("JSON");
    let directory = copied.directory.join("copy");
    assert_eq!(input["services"]["database"]["path"], directory.join("database.db").display().to_string());
    assert_eq!(input["mounts"]["uploads"], directory.join("uploads").display().to_string());
    assert_eq!(
        (&input["project"], &input["environment"], &input["parent"]),
        (&"shop".into(), &"copy".into(), &"main".into())
    );
    let store = &copied.shop.test.store;
    let mut db = store.read().await.expect("a connection");
    let all = stillpoint::store::environments::compositions(&mut db, store.sealer()).await.expect("readable");
    let routes: Vec<_> = all.iter().flat_map(|(_, composition)| &composition.routes).collect();
    let made = routes.iter().find(|route| route.host == "copy.shop.localhost").expect("it has a route");
    assert_eq!((routes.len(), &made.upstream), (2, &upstream));
    drop(db);
    serving.abort();

    // Nobody takes over the host of another environment by choosing its name.
    let refused = copied.look(&name, Some("taken")).await;
    assert!(
        refused.obstacles[0].contains("The host taken.shop.localhost leads to another environment."),
        "{refused:?}"
    );
    let refused = copied.ask(&name, "taken").await.expect_err("its host is taken").problem();
    assert!(refused.message.contains("leads to another environment"), "{refused:?}");
}

#[tokio::test]
async fn a_failure_takes_everything_away_again() {
    let copied = Copied::new("").await;
    let program = copied.program();
    copied.lay_down(&format!("host = \"{{name}}.shop.localhost\"\nprogram = [{program:?}]\n")).await;
    copied.mode("broken");
    let name = copied.shop.snapshot().await;
    let done = copied.make(&name, "copy").await;
    assert_eq!(done.result, Some(ActivityResult::Failure));
    assert!(done.failure.as_deref().is_some_and(|why| why.contains("no room for another application")), "{done:?}");
    assert!(is_empty(&copied.directory), "its directory is gone");
    assert_eq!(copied.calls(), "start\nremove\n");
    assert_eq!(copied.environments().await, ["main"]);
    assert!(copied.feed("main").await[0].starts_with("asked to restore"));
}

#[tokio::test]
async fn what_stands_there_already_is_refused_and_never_removed() {
    let copied = Copied::new("").await;
    let name = copied.shop.snapshot().await;
    let precious = copied.directory.join("copy");
    let entry = copied.ask(&name, "copy").await.expect("nothing stands there yet");
    let again = copied.ask(&name, "copy").await.expect_err("it is being made").problem();
    assert!(again.message.contains("is being made"), "{again:?}");
    std::fs::create_dir(&precious).expect("a fresh directory");
    std::fs::write(precious.join("thesis.txt"), b"years of work").expect("a writable directory");
    let done = copied.shop.test.settle(&entry.activity.id).await;
    assert!(done.failure.as_deref().is_some_and(|why| why.contains("exists already")), "{done:?}");
    assert_eq!(std::fs::read(precious.join("thesis.txt")).expect("it is there"), b"years of work");
    let preflight = copied.look(&name, Some("copy")).await;
    assert!(preflight.obstacles[0].contains("exists already"), "{:?}", preflight.obstacles);
    assert!(!preflight.offer.is_open());
}

#[tokio::test]
async fn a_cancelled_one_leaves_nothing() {
    let copied = Copied::new("").await;
    let program = copied.program();
    // Nobody listens there: it would be waited for.
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = nobody.local_addr().expect("it is bound");
    drop(nobody);
    std::fs::write(program.with_file_name("upstream"), format!("http://{address}")).expect("a writable directory");
    copied.lay_down(&format!("program = [{program:?}]\n")).await;
    let name = copied.shop.snapshot().await;
    let test = &copied.shop.test;
    let entry = copied.ask(&name, "copy").await.expect("it is queued");
    let id = entry.activity.id;
    let (settled, ()) = tokio::join!(test.settle(&id), async {
        let running = async {
            while !copied.calls().contains("start") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), running).await.expect("it starts within a minute");
        let proof = test.app.authorize_activity(&copied.shop.admin, &project(), &id).await.expect("an admin");
        activities::cancel(&test.app, proof, &id).await.expect("it runs");
    });
    assert_eq!(settled.state, ActivityState::Cancelled);
    assert!(is_empty(&copied.directory));
    assert_eq!(copied.calls(), "start\nremove\n");
}

#[tokio::test]
async fn making_one_needs_admin_of_its_type_and_of_the_sources() {
    let copied = Copied::new("").await;
    let name = copied.shop.snapshot().await;
    let person = copied.shop.test.outsider("person@example.org").await;
    let roles = |production, development| {
        BTreeMap::from([(EnvironmentKind::Production, production), (EnvironmentKind::Development, development)])
    };
    for (production, development) in [(TypeRole::Admin, TypeRole::Viewer), (TypeRole::Viewer, TypeRole::Admin)] {
        copied.shop.test.set_roles(&person, None, roles(production, development)).await;
        let refused = copied.way(&person, Some("copy")).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    }
    // Lost while it waits: asked again at its start.
    copied.shop.test.set_roles(&person, None, roles(TypeRole::Admin, TypeRole::Admin)).await;
    let way = copied.way(&person, Some("copy")).await.expect("an admin of both");
    let request = RestoreRequest { snapshot: name, scope: Scope::default(), plan_hash: None };
    let entry = restores::create(&copied.shop.test.app, way, request).await.expect("it is queued");
    copied.shop.test.set_roles(&person, None, roles(TypeRole::Admin, TypeRole::Viewer)).await;
    let done = copied.shop.test.settle(&entry.activity.id).await;
    assert!(done.failure.as_deref().is_some_and(|why| why.contains("development")), "{done:?}");
    assert!(is_empty(&copied.directory));
}
