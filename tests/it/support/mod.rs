//! An installation for a test: a real database, a real worker, real sites, and people to act.

pub mod mariadb;
pub mod postgres;
pub mod redis;
pub mod server;
pub mod site;
pub mod solr;
pub mod statements;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use stillpoint::authz::{Actor, Authorized, CreateSnapshot, OnEnvironment, Permission, RestoreSnapshot, ViewHistory};
use stillpoint::domain::activity::{Activity, ActivityState};
use stillpoint::domain::environment::EnvironmentKind;
use stillpoint::domain::ids::{EnvironmentName, RegionId};
use stillpoint::domain::policy::{MemberSource, ProjectRole, Roles, TypeRole};
use stillpoint::domain::view::ActivityEntry;
use stillpoint::domain::{ActivityId, ProjectId, Scope, Secret, Timestamp};
use stillpoint::gateway::{Gateway, Limits, Settings as GatewaySettings};
use stillpoint::jobs::{self, Gateways, Jobs};
use stillpoint::ops::accounts::{self, Kind};
use stillpoint::ops::installation::{self, Applied, Consent};
use stillpoint::ops::restores::{self, RestoreRequest};
use stillpoint::ops::{App, Error, Settings};
use stillpoint::queue::{Timing, Worker};
use stillpoint::store::{Sealer, Store, members};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub use site::Site;

pub const PASSWORD: &str = "correct horse battery staple";

pub struct TestApp {
    pub app: App,
    pub store: Store,
    pub gateway: Gateway,
    pub directory: TempDir,
    /// Of the database.
    pub url: String,
}

/// The project `shop` with the environment `main`, a database and a mount.
pub struct Shop {
    pub test: TestApp,
    pub site: Site,
    pub admin: Actor,
}

impl TestApp {
    /// An empty installation, on SQLite or, when the suite runs on it, on PostgreSQL.
    pub async fn new() -> Self {
        Self::make(|_| vec!["/".into()]).await
    }

    /// Sites may lie in these directories of the test's own only.
    pub async fn with_roots(roots: &[&str]) -> Self {
        Self::make(|directory| roots.iter().map(|root| directory.join(root)).collect()).await
    }

    async fn make(roots: impl FnOnce(&Path) -> Vec<PathBuf>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let url = match std::env::var("STILLPOINT_TEST_DATABASE").as_deref() {
            Ok("postgres") => postgres::fresh_database().await,
            _ => format!("sqlite:{}", directory.path().join("stillpoint.db").display()),
        };
        let store = Store::open(&url, Sealer::new(&[7; 32], &[])).await.expect("an empty database");
        let data = directory.path().join("state");
        std::fs::create_dir(&data).expect("a fresh directory");
        let settings = Settings { data, roots: roots(directory.path()), gateway_port: None };
        let app = App::new(store.clone(), settings);
        Self { app, store, gateway: Gateway::new(GatewaySettings::default()), directory, url }
    }

    /// An installation with one project and one environment on real data.
    pub async fn with_shop() -> Shop {
        let test = Self::new().await;
        let admin = test.operator("admin@example.org").await;
        let site = Site::new(&test.directory.path().join("site"));
        test.declare(&site.declaration("shop", "main", "production", "self-hosted")).await;
        Shop { test, site, admin }
    }

    pub async fn apply(&self, declaration: &str) -> Applied {
        self.apply_if(declaration, Consent::Yes).await
    }

    pub async fn apply_if(&self, declaration: &str, consent: Consent) -> Applied {
        let file = self.directory.path().join("declaration.toml");
        std::fs::write(&file, declaration).expect("a writable directory");
        installation::apply(&self.app, &file, consent).await.expect("a readable file")
    }

    pub async fn declare(&self, declaration: &str) {
        if let Applied::Refused(troubles) = self.apply(declaration).await {
            panic!("the declaration was refused: {troubles:?}");
        }
    }

    pub async fn operator(&self, email: &str) -> Actor {
        self.account(email, Kind::Operator).await
    }

    pub async fn outsider(&self, email: &str) -> Actor {
        self.account(email, Kind::Member).await
    }

    /// Works tickets.
    pub async fn support(&self, email: &str) -> Actor {
        self.account(email, Kind::Support).await
    }

    /// Says how the region lets people restore into other environments (R27).
    pub async fn restore_elsewhere(&self, how: &str) {
        self.declare(&format!("[[region]]\nid = \"local\"\nrestore_elsewhere = {how:?}\n")).await;
    }

    async fn account(&self, email: &str, kind: Kind) -> Actor {
        accounts::unchecked_add(&self.app, email, &Secret::new(PASSWORD), kind).await.expect("a new account");
        accounts::unchecked_actor(&self.app, email).await.expect("the account")
    }

    /// Somebody with one role on every type of environment of the project.
    pub async fn member(&self, email: &str, role: TypeRole) -> Actor {
        let actor = self.outsider(email).await;
        let types = EnvironmentKind::ALL.into_iter().map(|kind| (kind, role)).collect();
        self.set_roles(&actor, None, types).await;
        actor
    }

    pub async fn set_roles(
        &self,
        actor: &Actor,
        role: Option<ProjectRole>,
        types: BTreeMap<EnvironmentKind, TypeRole>,
    ) {
        let mut tx = self.store.write().await.expect("a transaction");
        let source = (MemberSource::Console, Timestamp::now());
        let roles = Roles { project: role, types };
        members::set(&mut tx, &project(), actor.user(), &roles, source).await.expect("a member");
        self.store.commit(tx).await.expect("a commit");
    }

    pub async fn proof<A: Permission<On = OnEnvironment>>(&self, actor: &Actor) -> Result<Authorized<A>, Error> {
        self.app.authorize_environment::<A>(actor, &project(), &environment("main")).await
    }

    /// Works until the activity is over, with a worker as it runs in production.
    pub async fn settle(&self, activity: &ActivityId) -> Activity {
        let stop = CancellationToken::new();
        let worker = tokio::spawn(self.worker(Timing::default()).run(stop.clone()));
        let over = self.wait_for(activity, |activity| activity.state.is_over()).await;
        stop.cancel();
        worker.await.expect("the worker does not panic");
        over
    }

    pub fn context(&self) -> jobs::Context {
        let gateways = Gateways::Local(self.gateway.clone());
        let (data, roots) = (self.app.settings().data.clone(), self.app.settings().roots.clone());
        jobs::Context::new(self.store.clone(), data, roots, gateways, Limits::default())
    }

    pub fn worker(&self, timing: Timing) -> Worker {
        Worker {
            store: self.store.clone(),
            region: RegionId::parse("local").expect("a valid id"),
            handler: Arc::new(Jobs(self.context())),
            capacity: 2,
            timing,
        }
    }

    pub async fn wait_for(&self, activity: &ActivityId, wanted: impl Fn(&Activity) -> bool) -> Activity {
        let waiting = async {
            loop {
                let mut mark = self.store.mark();
                let found = self.activity(activity).await;
                if wanted(&found) {
                    return found;
                }
                self.store.changed(&mut mark).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it comes to that within a minute")
    }

    pub async fn activity(&self, id: &ActivityId) -> Activity {
        let mut db = self.store.read().await.expect("a connection");
        let found = stillpoint::store::activities::by_id(&mut db, id).await.expect("a readable activity");
        found.expect("the activity is there")
    }
}

impl Shop {
    pub async fn ask_for_snapshot(&self) -> ActivityEntry {
        let proof = self.test.proof::<CreateSnapshot>(&self.admin).await.expect("an admin");
        stillpoint::ops::snapshots::create(&self.test.app, proof, Default::default()).await.expect("it is queued")
    }

    /// A second environment, `staging`, with data of its own: one order, and a file.
    pub async fn add_staging(&self) -> Site {
        let site = Site::new(&self.test.directory.path().join("staging"));
        site.open().execute("DELETE FROM orders WHERE what <> 'lamp'", []).expect("a writable database");
        std::fs::write(site.uploads.join("pictures/chair.jpg"), b"a staging chair").expect("a writable directory");
        let main = self.site.declaration("shop", "main", "production", "self-hosted");
        self.test.declare(&format!("{main}{}", site.environment("staging", "staging"))).await;
        site
    }

    /// Takes a snapshot and gives its name.
    pub async fn snapshot(&self) -> stillpoint::domain::SnapshotName {
        let entry = self.ask_for_snapshot().await;
        let done = self.test.settle(&entry.activity.id).await;
        assert_eq!(done.failure, None);
        assert_eq!(done.state, ActivityState::Complete);
        let stillpoint::domain::activity::Payload::TakeSnapshot(take) = done.payload else { panic!("no snapshot") };
        take.snapshot
    }

    /// Restores and gives the finished activity.
    pub async fn restore(&self, snapshot: &stillpoint::domain::SnapshotName) -> Activity {
        let proof = self.test.proof::<RestoreSnapshot>(&self.admin).await.expect("an admin");
        let request = RestoreRequest { snapshot: snapshot.clone(), scope: Scope::default(), plan_hash: None };
        let entry = restores::create(&self.test.app, proof.into(), request).await.expect("it is queued");
        self.test.settle(&entry.activity.id).await
    }

    pub async fn history(&self) -> Authorized<ViewHistory> {
        self.test.proof::<ViewHistory>(&self.admin).await.expect("an admin sees the history")
    }
}

pub fn project() -> ProjectId {
    ProjectId::parse("shop").expect("a valid id")
}

pub fn environment(name: &str) -> EnvironmentName {
    EnvironmentName::parse(name).expect("a valid name")
}

/// Names and contents of all files below.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).into_iter().map(|entry| entry.expect("a readable tree")) {
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(root).expect("below the root").to_owned();
            files.insert(name, std::fs::read(entry.path()).expect("a readable file"));
        }
    }
    files
}
