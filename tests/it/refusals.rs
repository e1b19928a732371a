//! What is refused for the state of things leaves one line in the audit (R5), whoever asked and may.

use std::collections::BTreeSet;

use stillpoint::authz::{
    Actor, ChangePlan, ChangeStorage, CreateSnapshot, ManageMembers, ManageSchedules, RemoveEnvironment, RunDrill,
    ViewAudit,
};
use stillpoint::domain::audit::{AuditEntry, AuditFilter};
use stillpoint::domain::environment::EnvironmentStatus;
use stillpoint::domain::ids::PlanId;
use stillpoint::domain::policy::{Act, Grants, advice};
use stillpoint::domain::schedule::Errand;
use stillpoint::domain::ticket::TicketAct;
use stillpoint::domain::{Bytes, Scope, SnapshotName};
use stillpoint::ops::removal::RemovalRequest;
use stillpoint::ops::restores::{RestoreRequest, Way, Wish};
use stillpoint::ops::schedules::ScheduleRequest;
use stillpoint::ops::snapshots::SnapshotRequest;
use stillpoint::ops::storage::StorageRequest;
use stillpoint::ops::tickets::TicketRequest;
use stillpoint::ops::tokens::{self, TokenRequest};
use stillpoint::ops::{
    Error, accounts, audit, drills, members, plans, removal, restores, schedules, snapshots, storage, tickets,
};
use stillpoint::store;

use crate::support::{Shop, TestApp, environment, project};

struct House {
    shop: Shop,
    snapshot: SnapshotName,
}

impl House {
    async fn open() -> Self {
        let shop = TestApp::with_shop().await;
        shop.add_staging().await;
        let snapshot = shop.snapshot().await;
        Self { shop, snapshot }
    }

    async fn lines(&self) -> Vec<AuditEntry> {
        let app = &self.shop.test.app;
        let proof = app.authorize_project::<ViewAudit>(&self.shop.admin, &project()).await.expect("an admin");
        let asked = AuditFilter { count: Some(500), ..AuditFilter::default() };
        audit::page(app, &audit::Scope::Project(Box::new(proof)), &asked).await.expect("an audit").entries
    }

    /// It is refused, and that stands in the audit once, with the reason that was given.
    async fn refused<T: std::fmt::Debug>(&self, what: &str, outcome: impl AsyncFn() -> Result<T, Error>) {
        let before: BTreeSet<i64> = self.lines().await.into_iter().map(|line| line.seq).collect();
        let mut told = Vec::new();
        for _ in 0..2 {
            match outcome().await {
                Err(Error::Conflict(refusal) | Error::Forbidden(refusal)) => told.push(refusal.to_string()),
                other => panic!("{what}: {other:?}"),
            }
        }
        let new: Vec<AuditEntry> = self.lines().await.into_iter().filter(|line| !before.contains(&line.seq)).collect();
        let mut reasons: Vec<String> = new.iter().filter_map(|line| line.reason.clone()).collect();
        // Activities are never left out; what is no activity is recorded once a minute.
        if new.iter().all(|line| line.activity.is_some()) {
            reasons.dedup();
            assert_eq!(new.len(), 2, "{what}: {new:#?}");
        } else {
            assert_eq!(new.len(), 1, "{what}: {new:#?}");
        }
        told.dedup();
        assert_eq!(reasons, told, "{what}");
        assert!(new.iter().all(|line| line.outcome != "success"), "{what}: {new:#?}");
    }

    async fn restore(&self, from: &str, wish: Wish<'_>, plan_hash: Option<&str>) -> Result<(), Error> {
        let app = &self.shop.test.app;
        let way = Way::authorize(app, &self.shop.admin, &project(), &environment(from), wish).await?;
        let plan_hash = plan_hash.map(str::to_owned);
        restores::create(
            app,
            way,
            RestoreRequest { snapshot: self.snapshot.clone(), scope: Scope::default(), plan_hash },
        )
        .await
        .map(drop)
    }

    async fn create_as(&self, actor: &Actor, evict: Vec<SnapshotName>) -> Result<(), Error> {
        let proof = self.shop.test.proof::<CreateSnapshot>(actor).await?;
        let request = SnapshotRequest { evict, ..SnapshotRequest::default() };
        snapshots::create(&self.shop.test.app, proof, request).await.map(drop)
    }
}

#[tokio::test]
async fn each_refusal_of_a_restore_leaves_one_line() {
    let house = House::open().await;
    let (test, admin) = (&house.shop.test, &house.shop.admin);
    house.refused("the state has changed", async || house.restore("main", Wish::default(), Some("0")).await).await;
    house.refused("taken elsewhere (R21)", async || house.restore("staging", Wish::default(), None).await).await;
    let there = Wish { target: Some("staging"), branch_from: Some("main") };
    house.refused("it exists already", async || house.restore("main", there, None).await).await;
    let new = Wish { target: Some("fresh"), branch_from: Some("main") };
    house.refused("not provided for", async || house.restore("main", new, None).await).await;
    house
        .refused("nothing to try", async || {
            let proof = test.app.authorize_environment::<RunDrill>(admin, &project(), &environment("staging")).await?;
            drills::run(&test.app, proof, None).await
        })
        .await;

    let mut tx = test.store.write().await.expect("a transaction");
    let name = environment("staging");
    let mut staging =
        store::environments::by_name(&mut tx, &project(), &name).await.expect("readable").expect("it is there");
    let composition =
        store::environments::composition(&mut tx, test.store.sealer(), &staging.id).await.expect("readable");
    staging.status = EnvironmentStatus::Inactive;
    store::environments::put(&mut tx, test.store.sealer(), &staging, &composition).await.expect("stored");
    test.store.commit(tx).await.expect("a commit");
    let inactive = Wish { target: Some("staging"), branch_from: None };
    house.refused("an inactive target", async || house.restore("main", inactive, None).await).await;
}

/// One manual snapshot of production is kept.
const ONE: &str = "[[plan]]\nid = \"one\"\ntitle = \"One\"\n\
    production = { manual = \"yes\", schedules = \"yes\", keep = { newest = 1 } }\n\
    staging = { manual = \"yes\", schedules = \"yes\", keep = { newest = 1 } }\n\
    development = { manual = \"yes\", schedules = \"yes\", keep = { newest = 1 } }\n\
    [[project]]\nid = \"shop\"\nplan = \"one\"\n";

#[tokio::test]
async fn each_refusal_of_a_snapshot_leaves_one_line() {
    let house = House::open().await;
    let (test, admin) = (&house.shop.test, &house.shop.admin);
    house.refused("nothing has to go", async || house.create_as(admin, vec![house.snapshot.clone()]).await).await;
    test.declare(ONE).await;
    house.refused("what goes was not agreed to", async || house.create_as(admin, Vec::new()).await).await;
    house
        .refused("nor before declared storage changes", async || {
            let proof = test.proof::<ChangeStorage>(admin).await?;
            let part = "mount:uploads".parse().expect("a part");
            let (snapshot, evict) = (advice::Wish::Snapshot, Vec::new());
            let request = StorageRequest { part, size: Bytes(20 << 30), snapshot, evict };
            storage::change(&test.app, proof, request).await
        })
        .await;
    let grants = Grants { acts: vec![Act::CreateSnapshot], ..Grants::default() };
    let request = TokenRequest { name: "narrow".to_owned(), grants, expires_in_days: None };
    let token = tokens::create(&test.app, admin, request).await.expect("a token");
    let narrow = accounts::actor_of_bearer(&test.app, &token.text).await.expect("a valid token");
    house
        .refused("it may not make others go (R4)", async || {
            house.create_as(&narrow, vec![house.snapshot.clone()]).await
        })
        .await;
    house
        .refused("the plan has changed", async || {
            let proof = test.app.authorize_project::<ChangePlan>(admin, &project()).await?;
            plans::set(&test.app, proof, &PlanId::parse("starter").expect("an id"), Some("0")).await
        })
        .await;
    let add = async || {
        let proof = test.proof::<ManageSchedules>(admin).await?;
        let request =
            ScheduleRequest { what: Errand::Snapshot, cron: "0 3 * * *".to_owned(), time_zone: "UTC".to_owned() };
        schedules::add(&test.app, &proof, &request).await
    };
    for _ in 0..20 {
        add().await.expect("there is room");
    }
    house.refused("there are enough", add).await;
}

#[tokio::test]
async fn each_refusal_of_a_ticket_a_member_and_a_removal_leaves_one_line() {
    let house = House::open().await;
    let (test, admin) = (&house.shop.test, &house.shop.admin);
    let file = async |target: Option<&str>| {
        let wish = Wish { target, branch_from: None };
        let way = Way::authorize(&test.app, admin, &project(), &environment("main"), wish).await?;
        let restore = RestoreRequest { snapshot: house.snapshot.clone(), scope: Scope::default(), plan_hash: None };
        tickets::file(&test.app, way, TicketRequest { restore, reason: "rehearse".to_owned() }).await
    };
    house.refused("its own environment", async || file(None).await).await;
    house.refused("no ticket is needed", async || file(Some("staging")).await).await;
    test.restore_elsewhere("by_ticket").await;
    let ticket = file(Some("staging")).await.expect("it is filed").ticket.id;
    house.refused("the same again", async || file(Some("staging")).await).await;
    let (grace, linus) = (test.support("grace@example.org").await, test.support("linus@example.org").await);
    let act = async |actor: &Actor, act| tickets::act(&test.app, actor, (&project(), &ticket), act, None).await;
    act(&grace, TicketAct::Claim).await.expect("it is free");
    house.refused("somebody else has it", async || act(&linus, TicketAct::Claim).await).await;
    let alan = test.support("alan@example.org").await;
    house.refused("somebody else works on it", async || act(&alan, TicketAct::Run).await).await;

    house
        .refused("the last admin", async || {
            let proof = test.app.authorize_project::<ManageMembers>(admin, &project()).await?;
            members::remove(&test.app, &proof, admin.user()).await
        })
        .await;

    house
        .refused("another name was typed", async || {
            let proof = test.proof::<RemoveEnvironment>(admin).await?;
            let request = RemovalRequest { typed: Some("staging".to_owned()), ..RemovalRequest::default() };
            removal::remove(&test.app, proof, request).await
        })
        .await;
}
