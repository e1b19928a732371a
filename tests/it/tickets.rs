//! Restore tickets and the regions' policy (R3, R13, R27, R28), through the doors.

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::{Value, json};
use stillpoint::authz::{Actor, ViewAudit, ViewHistory, ViewTicket};
use stillpoint::domain::activity::{ActivityKind, ActivityResult};
use stillpoint::domain::audit::AuditFilter;
use stillpoint::domain::environment::EnvironmentKind;
use stillpoint::domain::policy::TypeRole;
use stillpoint::domain::ticket::{Ticket, TicketAct, TicketState};
use stillpoint::domain::view::{ActivityEntry, Step, TicketEntry, TicketPage};
use stillpoint::domain::{Scope, Secret, SnapshotName, TicketId};
use stillpoint::jobs::postman::{Post, send_due};
use stillpoint::ops::restores::{self, RestoreRequest, Way, Wish};
use stillpoint::ops::tickets::{self, Filter, TicketRequest, Whose};
use stillpoint::ops::{Error, activities, audit};
use stillpoint::store;

use crate::doors::through::Doors;
use crate::notices::{post, takes_mail};
use crate::retention;
use crate::support::{Shop, Site, TestApp, environment, project};

/// A shop with `main` and `staging`, in a region that restores elsewhere by ticket, with two of the support staff.
struct Desk {
    shop: Shop,
    staging: Site,
    snapshot: SnapshotName,
    grace: Actor,
    linus: Actor,
}

impl Desk {
    async fn open() -> Self {
        let shop = TestApp::with_shop().await;
        let staging = shop.add_staging().await;
        let snapshot = shop.snapshot().await;
        shop.site.order("sofa");
        shop.test.restore_elsewhere("by_ticket").await;
        let grace = shop.test.support("grace@example.org").await;
        let linus = shop.test.support("linus@example.org").await;
        Self { shop, staging, snapshot, grace, linus }
    }

    async fn way(&self, actor: &Actor) -> Result<Way, Error> {
        let wish = Wish { target: Some("staging"), branch_from: None };
        Way::authorize(&self.shop.test.app, actor, &project(), &environment("main"), wish).await
    }

    async fn file_as(&self, actor: &Actor) -> Result<TicketEntry, Error> {
        let restore = RestoreRequest { snapshot: self.snapshot.clone(), scope: Scope::default(), plan_hash: None };
        let request = TicketRequest { restore, reason: "rehearse the sale".to_owned() };
        tickets::file(&self.shop.test.app, self.way(actor).await?, request).await
    }

    async fn file(&self) -> TicketId {
        self.file_as(&self.shop.admin).await.expect("it is filed").ticket.id
    }

    async fn act(&self, actor: &Actor, ticket: &TicketId, act: TicketAct) -> Result<TicketEntry, Error> {
        let text = act.needs_text().then(|| "because".to_owned());
        tickets::act(&self.shop.test.app, actor, (&project(), ticket), act, text).await
    }

    async fn done(&self, actor: &Actor, ticket: &TicketId, act: TicketAct) -> TicketEntry {
        self.act(actor, ticket, act).await.unwrap_or_else(|error| panic!("{act}: {error}"))
    }

    async fn page_as(&self, actor: &Actor, ticket: &TicketId) -> Result<TicketPage, Error> {
        let app = &self.shop.test.app;
        tickets::page(app, &app.authorize_ticket::<ViewTicket>(actor, &project(), ticket).await?).await
    }

    async fn page(&self, ticket: &TicketId) -> TicketPage {
        self.page_as(&self.grace, ticket).await.expect("support staff sees it")
    }

    /// Who was refused what, by the project's audit.
    async fn refused(&self) -> Vec<(String, String)> {
        let app = &self.shop.test.app;
        let proof = app.authorize_project::<ViewAudit>(&self.shop.admin, &project()).await.expect("an admin");
        let asked = AuditFilter { outcome: Some("refused".to_owned()), ..AuditFilter::default() };
        let page = audit::page(app, &audit::Scope::Project(Box::new(proof)), &asked).await.expect("an audit");
        page.entries.into_iter().map(|entry| (entry.name, entry.about)).collect()
    }

    /// Runs it, and waits for the restore's end.
    async fn run(&self, ticket: &TicketId) -> Step {
        let run = self.done(&self.grace, ticket, TicketAct::Run).await.ticket.run.expect("it is queued");
        self.shop.test.settle(&run).await;
        self.page(ticket).await.steps.pop().expect("the run")
    }

    async fn held(&self) -> Vec<SnapshotName> {
        let mut db = self.shop.test.store.read().await.expect("a connection");
        let held = store::tickets::holding(&mut db, &project()).await.expect("readable");
        held.into_iter().collect()
    }

    async fn feed(&self, actor: &Actor, name: &str) -> Vec<ActivityEntry> {
        let app = &self.shop.test.app;
        let proof = app.authorize_environment::<ViewHistory>(actor, &project(), &environment(name)).await;
        let filter = activities::Filter::default();
        activities::feed(app, &proof.expect("it is visible"), filter).await.expect("a feed").entries
    }
}

fn conflict<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Conflict(refusal)) => refusal.to_string(),
        other => panic!("no conflict: {other:?}"),
    }
}

fn on(production: TypeRole, staging: TypeRole) -> BTreeMap<EnvironmentKind, TypeRole> {
    BTreeMap::from([(EnvironmentKind::Production, production), (EnvironmentKind::Staging, staging)])
}

#[tokio::test]
async fn the_region_decides_about_other_environments_and_never_about_the_snapshots_own() {
    let desk = Desk::open().await;
    let Desk { shop, snapshot, .. } = &desk;
    let app = &shop.test.app;
    let restore = async || {
        let request = RestoreRequest { snapshot: snapshot.clone(), scope: Scope::default(), plan_hash: None };
        restores::create(app, desk.way(&shop.admin).await.expect("an admin"), request).await
    };
    let look = async || {
        let way = desk.way(&shop.admin).await.expect("an admin");
        restores::preflight(app, &way, snapshot, &Scope::default()).await.expect("a snapshot")
    };

    let shown = look().await;
    assert!(shown.obstacles.is_empty() && shown.ticket.as_ref().is_some_and(|ticket| ticket.is_open()), "{shown:?}");
    let refused = restore().await.expect_err("by ticket").problem();
    assert_eq!(refused.status, 403);
    let hint = refused.hint.clone().expect("both ways");
    let command = format!("stillpoint ticket:create --reason '…' -p shop -e main --target staging {snapshot}");
    assert!(hint.contains(&command) && hint.contains("move the project to a region that offers it"), "{hint}");
    assert_eq!(shown.offer.refusal.expect("the same").to_string(), refused.to_string());
    let entry = &desk.feed(&shop.admin, "staging").await[0];
    assert_eq!(entry.activity.failure.as_deref(), Some(refused.to_string().as_str()), "it stands in the feed (R5)");

    shop.test.restore_elsewhere("unavailable").await;
    let (shown, refused) = (look().await, restore().await.expect_err("unavailable").problem());
    assert_eq!(shown.ticket, None);
    assert!(refused.message.contains("into their own environment only"), "{refused}");
    assert!(conflict(desk.file_as(&shop.admin).await).contains("into their own environment only"));
    assert_eq!(shop.restore(snapshot).await.failure, None, "its own environment is never affected");
    assert_eq!(shop.site.orders(), ["chair", "table", "lamp"]);

    shop.test.restore_elsewhere("self_service").await;
    assert!(conflict(desk.file_as(&shop.admin).await).contains("no ticket is needed"));
    let entry = restore().await.expect("it is queued");
    // What was asked for while it was allowed is asked again when it starts.
    shop.test.restore_elsewhere("by_ticket").await;
    let done = shop.test.settle(&entry.activity.id).await;
    assert!(done.failure.as_deref().is_some_and(|why| why.contains("on a ticket")), "{done:?}");
    // A declaration without the region leaves it as it is.
    shop.test.declare(&shop.site.declaration("shop", "main", "production", "self-hosted")).await;
    assert!(look().await.ticket.is_some());
}

#[tokio::test]
async fn a_ticket_is_filed_claimed_run_and_leaves_evidence() {
    let desk = Desk::open().await;
    let Desk { shop, staging, snapshot, grace, .. } = &desk;
    let id = desk.file().await;
    assert_eq!(desk.held().await, std::slice::from_ref(snapshot));
    staging.order("bench");
    desk.done(&shop.admin, &id, TicketAct::Comment).await;
    desk.done(grace, &id, TicketAct::Claim).await;

    let page = desk.page(&id).await;
    assert!(page.obstacles.is_empty() && page.changed.is_empty(), "{page:?}");
    let preflight = page.preflight.expect("what it would do");
    let database = preflight.changes.iter().find(|change| change.part.name == "database").expect("a database");
    let filed = &page.when_filed["database"];
    assert_ne!(&database.replaces, filed, "somebody ordered a bench since: what is overwritten has grown");
    assert!(!preflight.offer.is_open(), "support staff restores through the ticket only");

    let step = desk.run(&id).await;
    assert_eq!(staging.orders(), ["chair", "table", "lamp"]);
    assert_eq!((step.what.as_str(), step.failure), ("restored it", None));
    let run = step.run.expect("a restore");
    assert_eq!(run.result, Some(ActivityResult::Success));
    assert!(run.proof.is_some_and(|proof| proof.lost == 0) && run.safety.is_some());
    let ticket = desk.page(&id).await.entry.ticket;
    assert_eq!((ticket.state, ticket.run), (TicketState::Restored, Some(step.activity)));
    assert!(desk.held().await.is_empty(), "retention may have it again");

    let restored = &desk.feed(&shop.admin, "staging").await[0];
    assert_eq!(restored.activity.initiator.name, "grace@example.org");
    assert_eq!(restored.activity.initiator.authority, format!("ticket:{id}"));
    assert_eq!(restored.description, format!("restored {snapshot} of main into staging, on a ticket"));
    let feed = desk.feed(&shop.admin, "main").await;
    let told: Vec<(ActivityKind, &str)> =
        feed.iter().take(3).map(|entry| (entry.activity.kind, entry.description.as_str())).collect();
    let about = format!("restoring {snapshot} of main into staging");
    assert_eq!(
        told,
        [
            (ActivityKind::Ticket(TicketAct::Claim), format!("claimed the ticket for {about}").as_str()),
            (ActivityKind::Ticket(TicketAct::Comment), format!("commented on the ticket for {about}").as_str()),
            (ActivityKind::Ticket(TicketAct::File), format!("filed a ticket for {about}").as_str()),
        ]
    );

    let proof = shop.test.app.authorize_ticket::<ViewTicket>(&shop.admin, &project(), &id).await.expect("visible");
    let evidence = tickets::evidence(&shop.test.app, &proof).await.expect("evidence");
    let did: Vec<(&str, &str)> =
        evidence.steps.iter().map(|step| (step.who.name.as_str(), step.what.as_str())).collect();
    assert_eq!(
        did,
        [
            ("admin@example.org", "filed the ticket"),
            ("admin@example.org", "commented"),
            ("grace@example.org", "claimed the ticket"),
            ("grace@example.org", "restored it"),
        ]
    );
    let log = &evidence.steps[3].run.as_ref().expect("a restore").log;
    assert!(log.iter().any(|line| line.message.starts_with("Restored. The gate was closed for")), "{log:?}");

    // Undone like any restore, by the project's admin: it is staging's own snapshot.
    let undo = restored.undo.clone().expect("a safety snapshot");
    let way = Way::authorize(&shop.test.app, &shop.admin, &project(), &environment("staging"), Wish::default()).await;
    let request = RestoreRequest { snapshot: undo, scope: Scope::default(), plan_hash: None };
    let entry = restores::create(&shop.test.app, way.expect("an admin"), request).await.expect("no ticket is needed");
    assert_eq!(shop.test.settle(&entry.activity.id).await.failure, None);
    assert_eq!(staging.orders(), ["lamp", "bench"]);
}

#[tokio::test]
async fn of_two_who_claim_at_once_one_has_it_and_the_other_is_told_who() {
    let desk = Desk::open().await;
    let id = desk.file().await;
    let claims =
        tokio::join!(desk.act(&desk.grace, &id, TicketAct::Claim), desk.act(&desk.linus, &id, TicketAct::Claim));
    let (winner, refused) = match claims {
        (Ok(won), refused) | (refused, Ok(won)) => (won.ticket.claimer.expect("somebody").name, conflict(refused)),
        both => panic!("nobody has it: {both:?}"),
    };
    assert!(refused.starts_with(&format!("{winner} works on this ticket.")), "{refused}");
    let claims = desk.page(&id).await.steps.iter().filter(|step| step.act == Some(TicketAct::Claim)).count();
    assert_eq!(claims, 1);
    // Two who run it at once: one restore.
    let actor = if winner == "grace@example.org" { &desk.grace } else { &desk.linus };
    let runs = tokio::join!(desk.act(actor, &id, TicketAct::Run), desk.act(actor, &id, TicketAct::Run));
    assert_eq!(usize::from(runs.0.is_ok()) + usize::from(runs.1.is_ok()), 1, "{runs:?}");
    assert_eq!(desk.feed(actor, "staging").await.len(), 1);
}

#[tokio::test]
async fn a_ticket_keeps_its_snapshot_from_retention_and_from_people_until_it_is_closed() {
    let desk = Desk::open().await;
    let Desk { shop, snapshot, .. } = &desk;
    shop.test.declare("[[project]]\nid = \"shop\"\nplan = \"starter\"\n").await;
    let id = desk.file().await;
    // Beside the newest, which stays in any case.
    shop.snapshot().await;
    retention::age(shop, snapshot, 30).await;
    assert!(retention::run(shop).await.is_empty(), "nothing goes");
    let refused = conflict(retention::delete(shop, snapshot).await);
    assert!(refused.starts_with("This snapshot is on an open ticket."), "{refused}");
    // Worked on, it is as open as before.
    desk.done(&desk.grace, &id, TicketAct::Claim).await;
    assert!(retention::run(shop).await.is_empty());
    assert!(retention::kept(shop).await.contains(snapshot));
    desk.done(&desk.grace, &id, TicketAct::Release).await;

    desk.done(&shop.admin, &id, TicketAct::Withdraw).await;
    let said = retention::run(shop).await;
    assert!(said.iter().any(|line| line.contains(snapshot.as_str())), "{said:?}");
    assert!(!retention::kept(shop).await.contains(snapshot));
    let refused = conflict(desk.act(&shop.admin, &id, TicketAct::Reopen).await);
    assert!(refused.contains("does not exist any more"), "{refused}");
}

#[tokio::test]
async fn what_an_unfinished_ticket_asks_for_is_asked_for_once() {
    let desk = Desk::open().await;
    let admin = &desk.shop.admin;
    let both = tokio::join!(desk.file_as(admin), desk.file_as(admin));
    let (first, second) = match both {
        (Ok(first), Err(second)) | (Err(second), Ok(first)) => (first, second),
        both => panic!("one of them: {both:?}"),
    };
    assert!(second.to_string().contains("asked for the same"), "{second}");
    let first = first.ticket;
    // Whoever gets past the question is stopped by the database.
    let store = &desk.shop.test.store;
    let mut tx = store.write().await.expect("a transaction");
    let filed = store::tickets::filed(&mut tx, &first.id).await.expect("it was filed");
    let copy = Ticket { id: TicketId::parse("0".repeat(20)).expect("an id"), ..first.clone() };
    let twice = store::tickets::insert(&mut tx, &copy, &filed).await;
    assert!(matches!(twice, Err(store::Error::Taken(_))), "{twice:?}");
    drop(tx);

    desk.done(admin, &first.id, TicketAct::Withdraw).await;
    let again = desk.file().await;
    let refused = conflict(desk.act(admin, &first.id, TicketAct::Reopen).await);
    assert!(refused.contains(&format!("asked for the same in ticket {again}")), "{refused}");
    desk.done(admin, &again, TicketAct::Withdraw).await;
    desk.done(admin, &first.id, TicketAct::Reopen).await;
}

#[tokio::test]
async fn a_requester_who_lost_the_role_gets_nothing_restored() {
    let desk = Desk::open().await;
    let test = &desk.shop.test;
    let ada = test.outsider("ada@example.org").await;
    for roles in [on(TypeRole::Admin, TypeRole::Viewer), on(TypeRole::Viewer, TypeRole::Admin)] {
        test.set_roles(&ada, None, roles).await;
        let refused = desk.file_as(&ada).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    }
    test.set_roles(&ada, None, on(TypeRole::Admin, TypeRole::Admin)).await;
    let id = desk.file_as(&ada).await.expect("an admin of both").ticket.id;
    desk.done(&desk.grace, &id, TicketAct::Claim).await;

    // Before it is run: the page says so, and the try stands in the history.
    test.set_roles(&ada, None, on(TypeRole::Admin, TypeRole::Viewer)).await;
    let said = "ada@example.org, who filed the ticket, may not restore main into staging any more.";
    let refused = desk.refused().await;
    assert!(desk.page(&id).await.obstacles[0].starts_with(said));
    assert_eq!(desk.refused().await, refused, "whoever looks has tried nothing");
    assert!(conflict(desk.act(&desk.grace, &id, TicketAct::Run).await).starts_with(said));
    let step = desk.page(&id).await.steps.pop().expect("a step");
    assert_eq!(step.act, Some(TicketAct::Run));
    assert!(step.failure.is_some_and(|failure| failure.starts_with(said)));

    // While it waits for a worker.
    test.set_roles(&ada, None, on(TypeRole::Admin, TypeRole::Admin)).await;
    let run = desk.done(&desk.grace, &id, TicketAct::Run).await.ticket.run.expect("it is queued");
    test.set_roles(&ada, None, on(TypeRole::Viewer, TypeRole::Admin)).await;
    let done = test.settle(&run).await;
    let why = done.failure.expect("a reason");
    assert!(why.starts_with("The one who filed the ticket, ada@example.org, is no admin of production"), "{why}");
    assert_eq!(desk.staging.orders(), ["lamp"]);
    let ticket = desk.page(&id).await.entry.ticket;
    assert_eq!((ticket.state, ticket.run), (TicketState::InProgress, None), "back to who works on it");
    desk.done(&desk.grace, &id, TicketAct::Decline).await;
    assert!(desk.held().await.is_empty());
}

#[tokio::test]
async fn a_run_that_fails_leaves_the_ticket_in_progress_and_can_be_run_again() {
    let desk = Desk::open().await;
    let id = desk.file().await;
    desk.done(&desk.grace, &id, TicketAct::Claim).await;
    let run = desk.done(&desk.grace, &id, TicketAct::Run).await.ticket.run.expect("it is queued");
    assert!(conflict(desk.act(&desk.grace, &id, TicketAct::Decline).await).starts_with("Its restore is under way."));
    let uploads = &desk.staging.uploads;
    let away = uploads.with_file_name("away");
    std::fs::rename(uploads, &away).expect("our own directory");
    assert_eq!(desk.shop.test.settle(&run).await.result, Some(ActivityResult::Failure));
    std::fs::rename(&away, uploads).expect("our own directory");

    let page = desk.page(&id).await;
    assert_eq!((page.entry.ticket.state, page.entry.ticket.run), (TicketState::InProgress, None));
    let failed = page.steps.last().expect("the run");
    assert_eq!(failed.what, "started the restore, which failed");
    assert!(failed.failure.is_some());
    assert_eq!(desk.held().await.len(), 1, "still held");
    assert_eq!(desk.run(&id).await.failure, None);
    assert_eq!(desk.staging.orders(), ["chair", "table", "lamp"]);
    assert_eq!(desk.page(&id).await.entry.ticket.state, TicketState::Restored);

    // A run that is cancelled is no restore either.
    desk.done(&desk.shop.admin, &id, TicketAct::Reopen).await;
    desk.done(&desk.linus, &id, TicketAct::Claim).await;
    let run = desk.done(&desk.linus, &id, TicketAct::Run).await.ticket.run.expect("it is queued");
    let proof = desk.shop.test.app.authorize_activity(&desk.shop.admin, &project(), &run).await.expect("an admin");
    activities::cancel(&desk.shop.test.app, proof, &run).await.expect("it is pending");
    let ticket = desk.page(&id).await.entry.ticket;
    assert_eq!((ticket.state, ticket.run), (TicketState::InProgress, None));
}

#[tokio::test]
async fn a_target_that_vanished_or_holds_other_parts_is_told_before_anything_is_run() {
    let desk = Desk::open().await;
    let test = &desk.shop.test;
    let id = desk.file().await;
    desk.done(&desk.grace, &id, TicketAct::Claim).await;
    let main = desk.shop.site.declaration("shop", "main", "production", "self-hosted");

    // Something stands beside it now: it stays, and it is told.
    let more = desk.staging.uploads.with_file_name("more");
    std::fs::create_dir(&more).expect("a fresh directory");
    let mount = format!("[[project.environment.mount]]\nname = \"more\"\npath = {more:?}\n");
    let staging = desk.staging.environment("staging", "staging");
    test.declare(&format!("{main}{staging}{mount}")).await;
    let page = desk.page(&id).await;
    assert!(page.obstacles.is_empty(), "{page:?}");
    assert_eq!(page.changed, ["The mount more has come since the ticket was filed, and stays as it is."]);

    // What is to be replaced is not there any more.
    test.declare(&format!("{main}{}", staging.replace("\"uploads\"", "\"pictures\""))).await;
    assert!(desk.page(&id).await.obstacles[0].contains("the mount uploads"), "{:?}", desk.page(&id).await.obstacles);
    assert!(conflict(desk.act(&desk.grace, &id, TicketAct::Run).await).contains("the mount uploads"));
    test.declare(&format!("{main}{staging}")).await;

    // Another one of the same name is not the one that was meant.
    let mut tx = test.store.write().await.expect("a transaction");
    sqlx::query("UPDATE environments SET name = 'gone' WHERE name = 'staging'")
        .execute(&mut *tx)
        .await
        .expect("one row");
    test.store.commit(tx).await.expect("a commit");
    let said = "The environment staging does not exist any more.";
    assert!(desk.page(&id).await.obstacles[0].starts_with(said));
    let again = Site::new(&test.directory.path().join("again"));
    test.declare(&format!("{main}{}", again.environment("staging", "staging"))).await;
    assert!(conflict(desk.act(&desk.grace, &id, TicketAct::Run).await).starts_with(said));
    assert_eq!(again.orders(), ["chair", "table", "lamp"]);
    desk.done(&desk.grace, &id, TicketAct::Decline).await;
}

#[tokio::test]
async fn a_ticket_is_seen_and_worked_on_by_those_who_may() {
    let desk = Desk::open().await;
    let (test, admin) = (&desk.shop.test, &desk.shop.admin);
    let id = desk.file().await;
    let outsider = test.outsider("outsider@example.org").await;
    let one_side = test.outsider("one-side@example.org").await;
    test.set_roles(&one_side, None, BTreeMap::from([(EnvironmentKind::Production, TypeRole::Admin)])).await;
    for actor in [&outsider, &one_side] {
        let refused = desk.page_as(actor, &id).await;
        assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
        let listed = tickets::list(&test.app, actor, Filter::default()).await.expect("a list");
        assert!(listed.entries.is_empty());
    }
    let told = &desk.feed(&one_side, "main").await[0].description;
    assert!(told.ends_with("into another environment"), "who may not see the target does not learn of it: {told}");

    let viewer = test.outsider("viewer@example.org").await;
    test.set_roles(&viewer, None, on(TypeRole::Viewer, TypeRole::Viewer)).await;
    assert!(desk.page_as(&viewer, &id).await.is_ok());
    let other = test.outsider("other@example.org").await;
    test.set_roles(&other, None, on(TypeRole::Admin, TypeRole::Admin)).await;
    for (actor, act) in [
        (&viewer, TicketAct::Comment),
        (&viewer, TicketAct::Claim),
        (&other, TicketAct::Claim),
        (admin, TicketAct::Claim),
        (&desk.grace, TicketAct::Withdraw),
    ] {
        let refused = desk.act(actor, &id, act).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{act}: {refused:?}");
    }
    let mut refused = desk.refused().await;
    refused.sort();
    let expected = [
        ("admin@example.org", "working on a ticket"),
        ("grace@example.org", "filing or withdrawing a ticket"),
        ("other@example.org", "working on a ticket"),
        ("viewer@example.org", "working on a ticket"),
        ("viewer@example.org", "writing to a ticket"),
    ];
    assert_eq!(refused, expected.map(|(who, what)| (who.to_owned(), what.to_owned())));
    desk.done(&other, &id, TicketAct::Comment).await;
    assert!(conflict(desk.act(&other, &id, TicketAct::Withdraw).await).contains("Only admin@example.org"));
    assert!(conflict(desk.act(&desk.grace, &id, TicketAct::Run).await).contains("Claim it first."));
    assert!(conflict(desk.file_as(&other).await).contains(id.as_str()), "the same is asked for once");

    desk.done(&desk.grace, &id, TicketAct::Claim).await;
    assert!(conflict(desk.act(&desk.linus, &id, TicketAct::Run).await).contains("grace@example.org works on"));
    desk.done(&desk.linus, &id, TicketAct::Release).await;
    desk.done(admin, &id, TicketAct::Withdraw).await;
    assert!(conflict(desk.act(&desk.grace, &id, TicketAct::Claim).await).contains("withdrawn"));
    assert!(conflict(desk.act(&desk.grace, &id, TicketAct::Reopen).await).contains("nobody else can reopen it"));
    desk.done(admin, &id, TicketAct::Reopen).await;
    let silent = tickets::act(&test.app, admin, (&project(), &id), TicketAct::Comment, Some("  ".to_owned())).await;
    assert!(matches!(silent, Err(Error::Invalid { .. })), "{silent:?}");

    // Support staff sees, and restores through the ticket only; the queue is theirs.
    assert!(matches!(desk.way(&desk.grace).await, Err(Error::Forbidden(_))));
    assert!(matches!(tickets::queue(&test.app, admin, Filter::default()).await, Err(Error::Forbidden(_))));
    let mine = Filter { whose: Whose::Mine, ..Filter::default() };
    let count = async |actor: &Actor, filter: Filter| {
        tickets::list(&test.app, actor, filter).await.expect("a list").entries.len()
    };
    assert_eq!((count(admin, mine.clone()).await, count(&desk.grace, mine.clone()).await), (1, 0));
    desk.done(&desk.grace, &id, TicketAct::Claim).await;
    assert_eq!(count(&desk.grace, mine).await, 1);
    let open = Filter { states: vec![TicketState::Open], ..Filter::default() };
    let elsewhere = Filter { region: Some("eu-1".parse().expect("a valid id")), ..Filter::default() };
    assert_eq!((count(&desk.grace, open).await, count(&desk.grace, elsewhere).await), (0, 0));

    // Support staff that files a ticket as a project's admin leaves it to others.
    test.set_roles(&desk.linus, None, on(TypeRole::Admin, TypeRole::Admin)).await;
    desk.done(&desk.grace, &id, TicketAct::Decline).await;
    let own = desk.file_as(&desk.linus).await.expect("an admin of both").ticket.id;
    assert!(
        conflict(desk.act(&desk.linus, &own, TicketAct::Claim).await).starts_with("You filed this ticket yourself.")
    );
}

#[tokio::test]
async fn a_new_environment_is_made_on_a_ticket_too() {
    let desk = Desk::open().await;
    let test = &desk.shop.test;
    let directory = test.directory.path().join("environments");
    std::fs::create_dir(&directory).expect("a fresh directory");
    let contract = format!("[project.provision]\ndirectory = {directory:?}\n");
    let main = desk.shop.site.declaration("shop", "main", "production", "self-hosted");
    test.declare(&main.replace("\n[[project.environment]]", &format!("\n{contract}\n[[project.environment]]"))).await;

    let wish = Wish { target: None, branch_from: Some("main") };
    let way = Way::authorize(&test.app, &desk.shop.admin, &project(), &environment("main"), wish).await;
    let way = way.expect("an admin of both");
    let shown = restores::preflight(&test.app, &way, &desk.snapshot, &Scope::default()).await.expect("a snapshot");
    let hint = shown.offer.refusal.and_then(|refusal| refusal.instead).expect("both ways");
    assert!(hint.contains("-e main --target main-2 --branch-from main"), "{hint}");
    let restore =
        RestoreRequest { snapshot: desk.snapshot.clone(), scope: Scope::default(), plan_hash: Some(shown.hash) };
    let request = TicketRequest { restore, reason: "try the update".to_owned() };
    let id = tickets::file(&test.app, way, request).await.expect("it is filed").ticket.id;
    desk.done(&desk.grace, &id, TicketAct::Claim).await;
    let step = desk.run(&id).await;
    assert_eq!((step.failure, step.what.as_str()), (None, "restored it"));
    let made = Site { database: directory.join("main-2/database.db"), uploads: directory.join("main-2/uploads") };
    assert_eq!(made.orders(), ["chair", "table", "lamp"]);
    desk.done(&desk.shop.admin, &id, TicketAct::Reopen).await;
    let page = desk.page(&id).await;
    assert!(page.obstacles[0].contains("main-2 exists already"), "{:?}", page.obstacles);
}

#[tokio::test]
async fn it_is_the_same_at_every_door() {
    let desk = Desk::open().await;
    let Desk { shop, staging, snapshot, grace, linus } = desk;
    let admin = shop.admin.clone();
    let doors = Doors::of(shop).await;
    let (admin, grace, linus) = (doors.person(&admin).await, doors.person(&grace).await, doors.person(&linus).await);

    // The restore page leads to the form, where everything is filled in.
    let restore = format!(
        "/projects/shop/environments/main/snapshots/{snapshot}/restore?into=staging&part=service:database&choice=1"
    );
    let (_, html) = doors.page(&admin, &restore).await;
    let link = format!(
        "/projects/shop/environments/main/snapshots/{snapshot}/ticket?into=staging&amp;part=service%3Adatabase"
    );
    assert!(html.contains(&link), "{html}");
    let form = link.replace("&amp;", "&");
    let (status, html) = doors.page(&admin, &form).await;
    assert_eq!(status, 200, "{html}");
    let field = |name: &str| {
        let rest = html.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("{name}: {html}")).1;
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    let names = ["project", "environment", "snapshot", "plan[into]", "plan[parts]", "plan[hash]", "form"];
    let mut fields: Vec<(&str, String)> = names.into_iter().map(|name| (name, field(name))).collect();
    fields.push(("reason", "rehearse the sale".to_owned()));
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (ticket, html) = doors.form(&admin, &form, "/actions/file-ticket", &fields).await;
    assert!(ticket.starts_with("/projects/shop/tickets/") && html.contains("Ticket: main into staging"), "{html}");
    assert!(html.contains("value=\"ticket.withdraw\"") && !html.contains("value=\"ticket.claim\""), "{html}");
    let id = ticket.rsplit('/').next().expect("an id").to_owned();

    // Support staff finds it in the queue and claims it there.
    let (status, _) = doors.page(&admin, "/support/tickets").await;
    assert_eq!(status, 403);
    let (_, html) = doors.page(&grace, "/support/tickets").await;
    assert!(html.contains(&ticket) && html.contains("value=\"ticket.claim\"") && html.contains("rehearse the sale"));
    let claim = [("project", "shop"), ("ticket", id.as_str()), ("act", "ticket.claim"), ("form", "1")];
    let (_, html) = doors.form(&grace, "/support/tickets", "/actions/ticket", &claim).await;
    assert!(
        html.contains("grace@example.org works on it.") && html.contains("Overwrite staging and restore"),
        "{html}"
    );
    let (at, html) = doors.form(&linus, "/support/tickets", "/actions/ticket", &claim).await;
    assert_eq!(at, "/support/tickets");
    assert!(html.contains("grace@example.org works on this ticket."), "the other is told who has it: {html}");
    let (_, html) = doors.page(&linus, &ticket).await;
    assert!(
        html.contains("Overwrite staging and restore</span></button>") && html.contains("id=\"run-reason\""),
        "{html}"
    );
    let (_, html) = doors.page(&linus, "/support/tickets?whose=mine").await;
    assert!(html.contains("No ticket is like that."), "{html}");

    // The API says the same, and offers what may be done.
    let path = format!("/projects/shop/tickets/{id}");
    let seen = doors.get(&grace, &path).await;
    assert_eq!((&seen["state"], &seen["claimer"]), (&"in_progress".into(), &"grace@example.org".into()));
    assert_eq!(seen["parts"], json!(["service:database"]));
    assert!(seen["_links"]["#run"].is_object() && seen["_links"]["#claim"].is_null(), "{seen}");
    assert!(doors.get(&admin, &path).await["_links"]["#run"].is_null());
    let (status, refused) = doors.ask(&linus, Method::POST, &format!("{path}/run"), json!({})).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("conflict")), "{refused}");
    let (status, refused) = doors.ask(&grace, Method::POST, &format!("{path}/explode"), json!({})).await;
    assert_eq!(status, 404, "{refused}");
    let comment = json!({ "text": "Tonight at eight." });
    let (status, _) = doors.ask(&grace, Method::POST, &format!("{path}/comment"), comment).await;
    assert_eq!(status, 200);

    // The command line runs it.
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let listed = doors.command(&grace, words("ticket:list --format csv --no-header --columns id,state,claimer")).await;
    assert_eq!(String::from_utf8(listed.stdout).expect("UTF-8"), format!("{id},in_progress,grace@example.org\n"));
    let unattended = doors.command(&grace, words(&format!("ticket:run {id}"))).await;
    assert_eq!(unattended.status.code(), Some(1), "nobody is there to confirm it");
    let run = doors.command(&grace, words(&format!("ticket:run --yes --wait {id}"))).await;
    let said = String::from_utf8(run.stderr).expect("UTF-8");
    assert!(run.status.success() && said.contains(&format!("The ticket {id} is restored.")), "{said}");
    assert_eq!(staging.orders(), ["chair", "table", "lamp"]);
    let got = doors.command(&admin, words(&format!("ticket:get {id} -P state"))).await;
    assert_eq!(String::from_utf8(got.stdout).expect("UTF-8"), "restored\n");

    // Evidence: the page that is printed, the file, the API and the command say the same.
    let (_, html) = doors.page(&admin, &format!("{ticket}/evidence")).await;
    assert!(html.contains("Tonight at eight.") && html.contains("The gate was closed for"), "{html}");
    let (_, file) = doors.page(&admin, &format!("{ticket}/evidence.json")).await;
    let file: Value = serde_json::from_str(&file).expect("JSON");
    let api = doors.get(&admin, &format!("{path}/evidence")).await;
    let command = doors.command(&admin, words(&format!("ticket:evidence {id}"))).await;
    let command: Value = serde_json::from_slice(&command.stdout).expect("JSON");
    for evidence in [&api, &command] {
        assert_eq!((&evidence["steps"], &evidence["ticket"]), (&file["steps"], &file["ticket"]));
    }
    assert_eq!(file["steps"][3]["run"]["result"], "success");
    assert!(file["steps"][3]["run"]["proof"]["closed_us"].is_u64(), "{file:#}");

    // The refusal's own command files the next one.
    let refused = doors
        .command(&admin, words(&format!("snapshot:restore -p shop -e main --target staging --yes {snapshot}")))
        .await;
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).expect("UTF-8");
    let command = said.split_once("File the ticket: stillpoint ").expect("the command").1;
    let command = command.split_once(" – ").expect("the other way").0.replace("'…'", "again");
    let filed = doors.command(&admin, words(&format!("{command} --yes --format json"))).await;
    let told = String::from_utf8(filed.stderr).expect("UTF-8");
    assert!(filed.status.success(), "{told}");
    let filed: Value = serde_json::from_slice(&filed.stdout).expect("JSON");
    let second = filed["id"].as_str().expect("an id");
    let (_, html) = doors.page(&admin, "/projects/shop/tickets").await;
    assert!(html.contains(second) && !html.contains(&id), "unfinished ones");
    let (_, html) = doors.page(&admin, "/projects/shop").await;
    assert!(html.contains("Restore tickets: 1 unfinished"), "{html}");
    let withdrawn = doors.command(&admin, words(&format!("ticket:withdraw {second}"))).await;
    assert!(withdrawn.status.success());
    let nothing = doors.command(&admin, words("ticket:list")).await;
    assert_eq!(nothing.status.code(), Some(1));
    doors.close().await;
}

#[tokio::test]
async fn whoever_waits_for_a_ticket_is_told_by_mail_and_nobody_who_may_not_see_it() {
    let desk = Desk::open().await;
    let (port, letters) = takes_mail();
    let smtp = Some(Secret::new(format!("smtp://127.0.0.1:{port}")));
    let with_mail = Post { smtp, from: Some("backup@example.org".to_owned()), ..post(&[]) };
    // Whom, and what: by address.
    let told = async || {
        send_due(&desk.shop.test.store, &with_mail).await.expect("the store works");
        let mut told: Vec<(String, String)> = letters
            .try_iter()
            .map(|(envelope, text)| {
                let to = envelope.iter().find_map(|line| line.strip_prefix("RCPT TO:<")).expect("somebody");
                (to.trim_end_matches('>').to_owned(), text)
            })
            .collect();
        told.sort();
        told
    };
    let to = |told: &[(String, String)]| told.iter().map(|(to, _)| to.clone()).collect::<Vec<_>>();
    let requester = desk.shop.test.member("ada@example.org", TypeRole::Admin).await;
    let ticket = desk.file_as(&requester).await.expect("it is filed").ticket.id;
    let filed = told().await;
    assert_eq!(to(&filed), ["grace@example.org", "linus@example.org"], "there is something to take up");
    let text = &filed[0].1;
    assert!(text.contains("ada@example.org filed the ticket: ") && text.contains("rehearse the sale"), "{text}");
    assert!(text.contains(&format!("https://stillpoint.example.org/projects/shop/tickets/{ticket}")), "{text}");

    desk.done(&desk.grace, &ticket, TicketAct::Claim).await;
    assert_eq!(to(&told().await), ["ada@example.org"]);
    desk.done(&requester, &ticket, TicketAct::Comment).await;
    assert_eq!(to(&told().await), ["grace@example.org"], "never whoever did it");
    desk.run(&ticket).await;
    let restored = told().await;
    assert_eq!(to(&restored), ["ada@example.org"]);
    assert!(restored[0].1.contains("The restore is done: "), "{}", restored[0].1);
    desk.done(&requester, &ticket, TicketAct::Reopen).await;
    assert_eq!(to(&told().await), ["grace@example.org", "linus@example.org"]);

    // A role that was taken is asked for again when it is sent.
    desk.shop.test.set_roles(&requester, None, BTreeMap::new()).await;
    desk.done(&desk.linus, &ticket, TicketAct::Claim).await;
    assert_eq!(to(&told().await), Vec::<String>::new());
    // Without a mail server nobody is, and nothing is tried for a day.
    desk.shop.test.set_roles(&requester, None, on(TypeRole::Admin, TypeRole::Admin)).await;
    desk.done(&desk.linus, &ticket, TicketAct::Decline).await;
    send_due(&desk.shop.test.store, &post(&[])).await.expect("the store works");
    let mut db = desk.shop.test.store.read().await.expect("a connection");
    let waiting: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM deliveries WHERE state = 'waiting'")
        .fetch_one(&mut *db)
        .await
        .expect("a table");
    assert_eq!(waiting, 0);
}
