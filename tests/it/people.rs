//! Accounts that operators close, open again, and give duties to (R1, R3), through every door.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use stillpoint::authz::{Actor, CreateSnapshot, ManageSchedules};
use stillpoint::domain::notice::{DeliveryState, Destination, Notice};
use stillpoint::domain::policy::{AccountChange, ProjectRole, TypeRole};
use stillpoint::domain::schedule::Errand;
use stillpoint::domain::{Secret, Timestamp};
use stillpoint::jobs::postman::{Post, send_due};
use stillpoint::ops::schedules::{self, ScheduleRequest};
use stillpoint::ops::{Error, account, accounts, people, snapshots};
use stillpoint::store::{notices, users};

use crate::members::visitor::{House, field};
use crate::support::{PASSWORD, TestApp, project};

const ADA: &str = "ada@example.org";

async fn open() -> House {
    House::of(TestApp::with_shop().await).await
}

async fn log_in(house: &House, password: &str) -> Result<Actor, Error> {
    accounts::log_in(&house.shop.test.app, IpAddr::V4(Ipv4Addr::LOCALHOST), ADA, &Secret::new(password)).await
}

fn path(actor: &Actor, change: &str) -> String {
    format!("/accounts/{}/{change}", actor.user())
}

#[tokio::test]
async fn nobody_gets_in_by_a_closed_account_and_its_name_stays_in_the_history() {
    let house = open().await;
    let test = &house.shop.test;
    let ada = test.member(ADA, TypeRole::Admin).await;
    let mut session = house.logged_in(ADA).await;
    let mut operator = house.logged_in("admin@example.org").await;
    assert_eq!(house.api(&session, "GET", "/projects", Value::Null).await.status, 200);
    let (_, link) = account::unchecked_reset_link(&test.app, ADA).await.expect("a link");

    let fields = [("user", ada.user().as_str()), ("change", "close")];
    let page = session.submit("/account", "change-account", &fields).await;
    assert!(page.location.starts_with("/account"), "not an operator: {}", page.location);
    assert!(users_open(&house, &ada).await, "and nothing was done");
    let page = operator.submit("/accounts", "change-account", &fields).await;
    let told = "Closed the account ada@example.org; sessions that ended: 1; API tokens that were revoked: 1.";
    assert!(page.text.contains(told) && page.text.contains(">closed<"), "{}", page.text);

    assert!(session.get("/account").await.address.starts_with("/login"), "the session has ended");
    assert_eq!(house.api(&session, "GET", "/projects", Value::Null).await.status, 401, "the token is revoked");
    let closed = log_in(&house, PASSWORD).await.expect_err("it is closed").problem();
    assert_eq!((closed.status, closed.message.as_str()), (403, "This account is closed."));
    let wrong = log_in(&house, "a guess that fails").await;
    assert!(matches!(wrong, Err(Error::WrongCredentials)), "who does not know the password learns nothing: {wrong:?}");
    assert!(account::look(&test.app, &link).await.is_err(), "nor does a link lead in");
    assert!(matches!(account::unchecked_reset_link(&test.app, ADA).await, Err(Error::Conflict(_))));
    assert!(matches!(accounts::unchecked_actor(&test.app, ADA).await, Err(Error::Conflict(_))));

    let audit = house.api(&operator, "GET", "/audit?type=user.close", Value::Null).await;
    let [line] = audit.list() else { panic!("once: {}", audit.json) };
    assert_eq!((&line["user"], &line["authority"]), (&json!("admin@example.org"), &json!("session")));
    assert_eq!(line["address"], "127.0.0.1");
    let past = house.api(&operator, "GET", "/audit?user=ada@example.org&type=user.login", Value::Null).await;
    assert!(past.list().iter().any(|line| line["outcome"] == "success"), "{}", past.json);
    let members = operator.get("/projects/shop/members").await.text;
    assert!(members.contains(ADA) && members.contains("account closed"), "{members}");

    let (code, _, said) = house.command(&operator, "account:open ada@example.org").await;
    assert_eq!((code, said.as_str()), (0, "The account ada@example.org is open.\n"));
    log_in(&house, PASSWORD).await.expect("as before");
    assert_eq!(house.api(&session, "GET", "/projects", Value::Null).await.status, 401, "its tokens stay revoked");
    assert!(session.get("/account").await.address.starts_with("/login"), "and its sessions ended");
    house.close().await;
}

async fn users_open(house: &House, actor: &Actor) -> bool {
    let mut db = house.shop.test.store.read().await.expect("a connection");
    users::open_by_id(&mut db, actor.user()).await.expect("readable").is_some()
}

#[tokio::test]
async fn nobody_closes_themselves_and_the_last_operator_stays() {
    let house = open().await;
    let admin = &house.shop.admin;
    let mut operator = house.logged_in("admin@example.org").await;
    for change in ["close", "withdraw_operator"] {
        for _ in 0..2 {
            let refused = house.api(&operator, "POST", &path(admin, change), Value::Null).await;
            assert_eq!(refused.status, 409, "{change}: {}", refused.json);
        }
    }
    let audit = house.api(&operator, "GET", "/audit?type=user&outcome=refused", Value::Null).await;
    let told: Vec<(&str, &str)> = audit
        .list()
        .iter()
        .map(|line| (line["about"].as_str().unwrap_or_default(), line["reason"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(
        told,
        [
            (
                "take from admin@example.org to be an operator",
                "admin@example.org is the only operator of this installation. Make somebody else an operator first."
            ),
            ("close the account admin@example.org", "You can't close your own account. Another operator can."),
        ],
        "once each"
    );
    let page = operator.get("/accounts").await.text;
    let shown = field(&page, "Close the account", "</form>");
    assert!(shown.contains("You can&#x27;t close your own account.") || shown.contains("You can't close"), "{shown}");
    assert!(field(&page, "value=\"close\"", "Close the account").contains("disabled"), "shown, disabled (R7): {page}");

    let terminal = people::unchecked_change(&house.shop.test.app, "admin@example.org", AccountChange::Close).await;
    assert!(matches!(terminal, Err(Error::Conflict(_))), "not even on the machine: {terminal:?}");
    house.close().await;
}

#[tokio::test]
async fn a_project_that_loses_its_last_admin_is_named_before_and_recorded_in_its_own_audit() {
    let house = open().await;
    let test = &house.shop.test;
    let grace = test.outsider("grace@example.org").await;
    let admin = house.logged_in("admin@example.org").await;
    let (code, _, said) = house.command(&admin, "account:grant grace@example.org operator").await;
    assert_eq!((code, said.as_str()), (0, "grace@example.org is now: operator.\n"));
    let other = house.logged_in("grace@example.org").await;
    let warning = "The project shop has no other admin: an operator gives it one, on its page Members.";
    let (code, _, said) = house.command(&other, "account:close admin@example.org").await;
    assert!(code == 1 && said.contains(warning) && said.contains("--yes"), "asked, and told before: {code} {said}");
    assert!(users_open(&house, &house.shop.admin).await);

    let closed = house.api(&other, "POST", &path(&house.shop.admin, "close"), Value::Null).await;
    assert_eq!((closed.status, &closed.json["warnings"]), (200, &json!([warning])), "{}", closed.json);
    assert!(closed.json["closed_at"].is_string() && closed.json["_links"]["#open"].is_object(), "{}", closed.json);
    assert!(closed.json["_links"]["#close"].is_null());
    let audit = house.api(&other, "GET", "/projects/shop/audit?type=user.close", Value::Null).await;
    assert_eq!(audit.list()[0]["about"], "closed the account admin@example.org, the only admin of the project");

    let last = house.api(&other, "POST", &path(&grace, "withdraw_operator"), Value::Null).await;
    assert_eq!(last.status, 409, "the one that is closed runs nothing: {}", last.json);
    let again = house.api(&other, "POST", &path(&house.shop.admin, "close"), Value::Null).await;
    assert_eq!((again.status, &again.json["warnings"]), (200, &json!([])), "it is so already");
    let (code, out, _) = house.command(&other, "account:list --format csv --no-header --columns email,duty").await;
    assert_eq!((code, out.as_str()), (0, "admin@example.org,operator\ngrace@example.org,operator\n"));
    house.close().await;
}

#[tokio::test]
async fn support_staff_do_not_run_the_installation_and_only_operators_decide() {
    let house = open().await;
    let test = &house.shop.test;
    let ada = test.member(ADA, TypeRole::Admin).await;
    let (operator, member) = (house.logged_in("admin@example.org").await, house.logged_in(ADA).await);
    assert_eq!(house.api(&operator, "POST", &path(&ada, "grant_support"), Value::Null).await.status, 200);
    let both = house.api(&operator, "POST", &path(&ada, "grant_operator"), Value::Null).await;
    assert_eq!(both.status, 409, "{}", both.json);
    assert_eq!(house.api(&member, "GET", "/accounts", Value::Null).await.status, 403);
    assert_eq!(house.api(&member, "POST", &path(&ada, "withdraw_support"), Value::Null).await.status, 403);
    assert_eq!(house.api(&operator, "POST", &path(&ada, "abolish"), Value::Null).await.status, 404);
    let nobody = "/accounts/0123456789abcdef0123/close";
    assert_eq!(house.api(&operator, "POST", nobody, Value::Null).await.status, 404);
    let mut db = test.store.read().await.expect("a connection");
    assert_eq!(users::support(&mut db).await.expect("readable"), [ada.user().clone()]);
    drop(db);
    people::unchecked_change(&test.app, ADA, AccountChange::Close).await.expect("the machine's owner may");
    let mut db = test.store.read().await.expect("a connection");
    assert!(users::support(&mut db).await.expect("readable").is_empty(), "nobody waits for them any more");
    drop(db);
    let audit = house.api(&operator, "GET", "/audit?type=user.update", Value::Null).await;
    let told: Vec<&str> = audit.list().iter().filter_map(|line| line["outcome"].as_str()).collect();
    assert_eq!(told, ["refused", "success"]);
    house.close().await;
}

#[tokio::test]
async fn nothing_runs_in_the_name_of_a_closed_account_and_it_gets_no_mail() {
    let house = open().await;
    let test = &house.shop.test;
    let ada = test.member(ADA, TypeRole::Admin).await;
    let proof = test.proof::<ManageSchedules>(&ada).await.expect("an admin");
    let request = ScheduleRequest { what: Errand::Snapshot, cron: "0 4 * * *".to_owned(), time_zone: "UTC".to_owned() };
    schedules::add(&test.app, &proof, &request).await.expect("a schedule");
    let proof = test.proof::<CreateSnapshot>(&ada).await.expect("an admin");
    let asked = snapshots::create(&test.app, proof, Default::default()).await.expect("it is queued");

    let done = people::unchecked_change(&test.app, " Ada@Example.org", AccountChange::Close).await.expect("it is open");
    let schedule = "In its name run 1 schedule: who changes one takes it over, else it is stopped when it is due next.";
    assert_eq!(done.warnings, [schedule]);
    let failed = test.settle(&asked.activity.id).await;
    assert_eq!(failed.failure.as_deref(), Some("The account of ada@example.org is closed."));

    let mut tx = test.store.write().await.expect("a transaction");
    let told = notices::Told { project: &project(), activity: None, about: None, at: Timestamp::from_micros(1) };
    let to = Destination::Person(ada.user().clone());
    notices::put(&mut tx, &to, &told, Notice::TicketChanged).await.expect("stored");
    test.store.commit(tx).await.expect("a commit");
    let post = Post { smtp: Some(Secret::new("smtp://127.0.0.1:1")), from: None, inside: Vec::new(), console: None };
    send_due(&test.store, &post).await.expect("the store works");
    let mut db = test.store.read().await.expect("a connection");
    let log = notices::to_people(&mut db, &project(), 9).await.expect("readable");
    drop(db);
    let [(_, delivery)] = &log[..] else { panic!("one: {log:?}") };
    assert_eq!(delivery.state, DeliveryState::GivenUp);
    assert_eq!(delivery.error.as_deref(), Some("the account of whoever it is for is closed"));
    house.close().await;
}

#[tokio::test]
async fn a_closed_account_is_no_admin_that_a_project_could_rely_on_and_is_not_invited() {
    let house = open().await;
    let test = &house.shop.test;
    let ada = test.outsider(ADA).await;
    test.set_roles(&ada, Some(ProjectRole::Admin), [].into()).await;
    let inviter = house.logged_in(ADA).await;
    let operator = house.logged_in("admin@example.org").await;
    let body = json!({"email": "guest@example.org", "permissions": ["viewer"]});
    let invited = house.api(&inviter, "POST", "/projects/shop/invitations", body).await;
    let link = invited.json["url"].as_str().expect("a link").to_owned();
    people::unchecked_change(&test.app, ADA, AccountChange::Close).await.expect("another is admin too");

    let mut guest = house.stranger();
    let page = guest.get(&link).await;
    assert!(page.text.contains("made by somebody whose account is closed"), "{}", page.text);
    let last = format!("/projects/shop/user-access/{}", house.shop.admin.user());
    let refused = house.api(&operator, "DELETE", &last, Value::Null).await;
    assert_eq!(refused.status, 409, "the other admin's account is closed: {}", refused.json);
    let members = house.api(&operator, "GET", "/projects/shop/user-access", Value::Null).await;
    assert_eq!(members.find("email", ADA)["closed"], true);
    let gone = format!("/projects/shop/user-access/{}", ada.user());
    assert_eq!(house.api(&operator, "DELETE", &gone, Value::Null).await.status, 204);
    let body = json!({"email": ADA, "permissions": ["viewer"]});
    let refused = house.api(&operator, "POST", "/projects/shop/invitations", body).await;
    assert_eq!(refused.status, 409, "{}", refused.json);
    assert_eq!(refused.json["message"], "The account ada@example.org is closed.");
    house.close().await;
}
