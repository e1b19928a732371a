//! Members, invitations, passwords and the audit, through the console's forms, the API and the command.

pub mod visitor;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stillpoint::domain::Secret;
use stillpoint::domain::environment::EnvironmentKind;
use stillpoint::domain::policy::{Grants, ProjectRole, TypeRole};
use stillpoint::ops::accounts;
use stillpoint::ops::tokens::{self, TokenRequest};
use stillpoint::ops::{account, installation::Applied};

use self::visitor::{House, Visitor, field};
use crate::support::{PASSWORD, Shop, TestApp};

const OTHER: &str = "another horse, another staple";

async fn open() -> House {
    House::of(TestApp::with_shop().await).await
}

fn invitation(email: &str) -> Vec<(&str, &str)> {
    vec![
        ("project", "shop"),
        ("email", email),
        ("project_role", "viewer"),
        ("production", "viewer"),
        ("staging", ""),
        ("development", "admin"),
    ]
}

/// Invites through the form, and gives the link's path as the page shows it.
async fn invite(admin: &mut Visitor<'_>, email: &str) -> String {
    let page = admin.submit("/projects/shop/members", "invite", &invitation(email)).await;
    let is_made = format!("The invitation of {} is made", email.to_lowercase());
    assert!(page.text.contains(&is_made), "{}", page.text);
    let link = field(&page.text, "http://localhost:4180/join?code=", "<");
    assert!(link.starts_with("sti_"), "{link}");
    let again = admin.get("/projects/shop/members").await;
    assert!(!again.text.contains(link), "it is shown once");
    format!("/join?code={link}")
}

fn joining(link: &str) -> Vec<(&str, &str)> {
    vec![("code", field(link, "code=", "&")), ("password", PASSWORD), ("repeated", PASSWORD)]
}

#[tokio::test]
async fn an_invitation_makes_an_account_and_a_member_once() {
    let house = open().await;
    let mut admin = house.logged_in("admin@example.org").await;
    let link = invite(&mut admin, "Ada@example.org").await;
    let mut guest = house.stranger();
    let page = guest.get(&link).await;
    assert_eq!(page.status, 200);
    assert!(
        page.text.contains("admin@example.org invites ada@example.org as viewer, production:viewer, development:admin")
    );

    let wrong = [("code", field(&link, "code=", "&")), ("password", PASSWORD), ("repeated", OTHER)];
    let page = guest.submit(&link, "join", &wrong).await;
    assert!(page.text.contains("The two passwords are not the same."), "{}", page.text);
    let page = guest.submit(&link, "join", &joining(&link)).await;
    assert_eq!(page.address, "/projects/shop", "{}", page.text);
    assert!(page.text.contains("ada@example.org"), "logged in");

    let members = house.api(&admin, "GET", "/projects/shop/user-access", Value::Null).await;
    assert_eq!(members.status, 200);
    let ada = members.find("email", "ada@example.org");
    assert_eq!(ada["permissions"], json!(["viewer", "production:viewer", "development:admin"]));
    assert_eq!(ada["source"], "console");
    assert!(ada["last_seen_at"].is_string(), "{ada}");

    let again = house.stranger().get(&link).await;
    assert_eq!(again.status, 410);
    assert!(again.text.contains("This invitation was used already."), "{}", again.text);
    let again = house.stranger().submit(&link, "join", &joining(&link)).await;
    assert!(again.text.contains("This invitation was used already."), "{}", again.text);
    let open = house.api(&admin, "GET", "/projects/shop/invitations", Value::Null).await;
    assert_eq!(open.json, json!([]));
    house.close().await;
}

#[tokio::test]
async fn who_has_an_account_joins_with_it_and_nobody_else_can() {
    let house = open().await;
    let mut admin = house.logged_in("admin@example.org").await;
    house.shop.test.outsider("ada@example.org").await;
    house.shop.test.outsider("eve@example.org").await;
    let link = invite(&mut admin, "ada@example.org").await;

    let mut eve = house.logged_in("eve@example.org").await;
    assert!(eve.get(&link).await.text.contains("You are logged in as eve@example.org."));
    let page = eve.submit(&link, "join", &joining(&link)).await;
    assert!(page.text.contains("This invitation is for ada@example.org; you are logged in as eve@example.org."));
    let mut stranger = house.stranger();
    assert!(stranger.get(&link).await.text.contains("There is an account for ada@example.org: log in"));
    let page = stranger.submit(&link, "join", &joining(&link)).await;
    assert!(page.text.contains("There is an account for ada@example.org by now."), "{}", page.text);

    let mut ada = house.logged_in("ada@example.org").await;
    assert!(!ada.get(&link).await.text.contains("type=\"password\""));
    let page = ada.submit(&link, "join", &[("code", field(&link, "code=", "&"))]).await;
    assert_eq!(page.address, "/projects/shop");
    let page = admin.submit("/projects/shop/members", "invite", &invitation("ada@example.org")).await;
    assert!(page.text.contains("ada@example.org is a member of the project already."), "{}", page.text);
    house.close().await;
}

#[tokio::test]
async fn a_link_that_is_unknown_old_replaced_or_taken_back_says_so() {
    let house = open().await;
    let mut admin = house.logged_in("admin@example.org").await;
    let first = invite(&mut admin, "ada@example.org").await;
    let second = invite(&mut admin, "ada@example.org").await;
    let taken_back = invite(&mut admin, "bob@example.org").await;
    let open = house.api(&admin, "GET", "/projects/shop/invitations", Value::Null).await;
    assert_eq!(open.json.as_array().map(Vec::len), Some(2), "the first one was replaced: {}", open.json);
    let bob = open.find("email", "bob@example.org")["id"].as_str().expect("an id").to_owned();
    let fields = [("project", "shop"), ("invitation", bob.as_str())];
    let page = admin.submit("/projects/shop/members", "revoke-invitation", &fields).await;
    assert!(page.text.contains("The invitation is taken back"), "{}", page.text);
    let mut db = house.shop.test.store.write().await.expect("a transaction");
    sqlx::query("UPDATE invitations SET expires_at = 1 WHERE revoked_at IS NULL")
        .execute(&mut *db)
        .await
        .expect("rows");
    house.shop.test.store.commit(db).await.expect("a commit");

    for (link, why) in [
        (first.as_str(), "was taken back, or replaced by a newer one"),
        (&second, "is too old: it worked for a week"),
        (&taken_back, "was taken back, or replaced by a newer one"),
        ("/join?code=sti_nothing", "is not valid: perhaps a part of it is missing"),
        ("/join", "is not valid: perhaps a part of it is missing"),
    ] {
        let page = house.stranger().get(link).await;
        assert_eq!(page.status, 410, "{link}");
        assert!(page.text.contains(&format!("This invitation {why}.")), "{why}: {}", page.text);
        let page = house
            .stranger()
            .submit(
                link,
                "join",
                &[("code", field(link, "code=", "&")), ("password", PASSWORD), ("repeated", PASSWORD)],
            )
            .await;
        assert!(page.text.contains(why), "{why}: {}", page.text);
    }
    house.close().await;
}

#[tokio::test]
async fn who_may_not_invite_any_more_has_left_no_door_open() {
    let house = open().await;
    let ada = house.shop.test.outsider("ada@example.org").await;
    house.shop.test.set_roles(&ada, Some(ProjectRole::Admin), BTreeMap::new()).await;
    let mut ada_there = house.logged_in("ada@example.org").await;
    let link = invite(&mut ada_there, "accomplice@example.org").await;
    let admin = house.logged_in("admin@example.org").await;
    let path = format!("/projects/shop/user-access/{}", ada.user());
    assert_eq!(house.api(&admin, "DELETE", &path, Value::Null).await.status, 204);
    let page = house.stranger().submit(&link, "join", &joining(&link)).await;
    assert!(page.text.contains("was made by somebody who may not invite any more"), "{}", page.text);
    assert_eq!(ada_there.get("/projects/shop/members").await.status, 404);
    house.close().await;
}

#[tokio::test]
async fn the_last_admin_is_neither_removed_nor_made_less() {
    let house = open().await;
    let Shop { test, admin, .. } = &*house.shop;
    let there = house.logged_in("admin@example.org").await;
    let path = format!("/projects/shop/user-access/{}", admin.user());
    for (method, body) in [("DELETE", Value::Null), ("PATCH", json!({"permissions": ["production:admin"]}))] {
        let refused = house.api(&there, method, &path, body).await;
        assert_eq!(refused.status, 409);
        assert_eq!(refused.json["message"], "admin@example.org is the only admin of the project.");
        assert_eq!(refused.json["hint"], "Make somebody else an admin first.");
    }
    let ada = test.outsider("ada@example.org").await;
    test.set_roles(&ada, Some(ProjectRole::Admin), BTreeMap::new()).await;
    let ada_there = house.logged_in("ada@example.org").await;
    let other = format!("/projects/shop/user-access/{}", ada.user());
    let both = tokio::join!(
        house.api(&there, "DELETE", &other, Value::Null),
        house.api(&ada_there, "DELETE", &path, Value::Null)
    );
    let mut statuses = [both.0.status, both.1.status];
    statuses.sort_unstable();
    assert_eq!(statuses[0], 204, "of two who remove each other at once, one stays: {statuses:?}");
    assert!([403, 404, 409].contains(&statuses[1]), "{statuses:?}");
    house.close().await;
}

#[tokio::test]
async fn who_stands_in_the_operators_file_is_changed_there() {
    let house = open().await;
    let Shop { test, site, admin } = &*house.shop;
    let ada = test.outsider("ada@example.org").await;
    test.outsider("bob@example.org").await;
    let shop = site.declaration("shop", "main", "production", "self-hosted");
    let member = |email: &str, more: &str| format!("[[project.member]]\nemail = \"{email}\"\n{more}\n");
    let insert = |text: &str| shop.replacen("[[project.environment]]", &format!("{text}\n[[project.environment]]"), 1);
    let both = member("ada@example.org", "types = { production = \"viewer\" }")
        + &member("admin@example.org", "role = \"admin\"");
    assert!(matches!(test.apply(&insert(&both)).await, Applied::Done { .. }));

    let mut there = house.logged_in("admin@example.org").await;
    let page = there.get("/projects/shop/members").await;
    assert!(
        page.text.contains("The roles of ada@example.org come from the operator's file.")
            || page.text.contains("The roles of ada@example.org come from the operator&#x27;s file."),
        "{}",
        page.text
    );
    let path = format!("/projects/shop/user-access/{}", ada.user());
    for (method, body) in [("DELETE", Value::Null), ("PATCH", json!({"permissions": ["admin"]}))] {
        let refused = house.api(&there, method, &path, body).await;
        assert_eq!(refused.status, 409, "{method}");
        assert!(
            refused.json["hint"].as_str().is_some_and(|hint| hint.contains("stillpointd apply")),
            "{}",
            refused.json
        );
    }
    // The file names her no more: she keeps her roles, and is managed here.
    let only = member("admin@example.org", "role = \"admin\"");
    assert!(matches!(test.apply(&insert(&only)).await, Applied::Done { .. }));
    let changed = house.api(&there, "PATCH", &path, json!({"permissions": ["staging:admin"]})).await;
    assert_eq!((changed.status, &changed.json["permissions"]), (200, &json!(["staging:admin"])));
    let mine = format!("/projects/shop/user-access/{}", admin.user());
    assert_eq!(house.api(&there, "DELETE", &mine, Value::Null).await.status, 409);
    house.close().await;
}

#[tokio::test]
async fn members_see_each_other_and_only_admins_and_operators_manage() {
    let house = open().await;
    let test = &house.shop.test;
    let viewer = test.member("viewer@example.org", TypeRole::Viewer).await;
    test.outsider("outsider@example.org").await;
    test.operator("second-operator@example.org").await;
    let mut there = house.logged_in("viewer@example.org").await;
    let page = there.get("/projects/shop/members").await;
    assert!(page.text.contains("admin@example.org"));
    assert!(page.text.contains("Managing members needs the admin role in the project"), "{}", page.text);
    assert!(!page.text.contains("last seen"));
    let page = there.submit("/projects/shop/members", "invite", &invitation("friend@example.org")).await;
    assert!(page.text.contains("Managing members needs the admin role in the project"), "{}", page.text);
    let fields = [("project", "shop"), ("user", viewer.user().as_str()), ("project_role", "admin")];
    let page = there.submit("/projects/shop/members", "change-roles", &fields).await;
    assert!(page.text.contains("Managing members needs the admin role"), "nobody makes themselves an admin");
    for path in ["/projects/shop/invitations", "/projects/shop/audit", "/audit"] {
        assert_eq!(house.api(&there, "GET", path, Value::Null).await.status, 403, "{path}");
    }
    let mut outsider = house.logged_in("outsider@example.org").await;
    assert_eq!(outsider.get("/projects/shop/members").await.status, 404);
    assert_eq!(outsider.get("/accounts").await.status, 403);

    // An operator, who is no member, gives a project its first admin; it stands in the project's audit.
    let operator = house.logged_in("second-operator@example.org").await;
    let path = format!("/projects/shop/user-access/{}", viewer.user());
    let changed = house.api(&operator, "PATCH", &path, json!({"permissions": ["admin"]})).await;
    assert_eq!(changed.status, 200, "{}", changed.json);
    let audit = house.api(&there, "GET", "/projects/shop/audit?type=project.member", Value::Null).await;
    assert_eq!(audit.json[0]["user"], "second-operator@example.org");
    assert_eq!(
        audit.json[0]["about"],
        "made viewer@example.org admin, who was production:viewer, staging:viewer, development:viewer"
    );
    house.close().await;
}

#[tokio::test]
async fn a_token_manages_members_unless_it_is_narrowed() {
    let house = open().await;
    let Shop { test, admin, .. } = &*house.shop;
    for (name, grants, status) in [
        ("all", Grants::default(), 201),
        ("read only", Grants { read_only: true, ..Grants::default() }, 403),
        ("staging", Grants { types: vec![EnvironmentKind::Staging], ..Grants::default() }, 403),
    ] {
        let request = TokenRequest { name: name.to_owned(), grants, expires_in_days: None };
        let token = tokens::create(&test.app, admin, request).await.expect("a token");
        let body = json!({"email": "ada@example.org", "role": "viewer", "permissions": [{"type": "staging", "role": "admin"}]});
        let reply = house.api_with(token.text.reveal(), "POST", "/projects/shop/invitations", body).await;
        assert_eq!(reply.status, status, "{name}: {}", reply.json);
        if status == 201 {
            assert_eq!(reply.json["permissions"], json!(["viewer", "staging:admin"]));
            assert!(reply.json["url"].as_str().is_some_and(|url| url.starts_with("/join?code=sti_")));
        }
    }
    for body in [
        json!({"email": "nobody", "permissions": ["viewer"]}),
        json!({"email": "a@b.example", "permissions": ["owner"]}),
        json!({"email": "a@b.example"}),
    ] {
        let there = house.logged_in("admin@example.org").await;
        assert_eq!(house.api(&there, "POST", "/projects/shop/invitations", body).await.status, 400);
    }
    house.close().await;
}

#[tokio::test]
async fn the_command_line_manages_members_too() {
    let house = open().await;
    let admin = house.logged_in("admin@example.org").await;
    let ada = house.shop.test.member("ada@example.org", TypeRole::Viewer).await;
    let run = async |words: &str| house.command(&admin, words).await;
    let (code, out, said) = run("user:add bob@example.org -r viewer,staging:admin").await;
    assert_eq!(code, 0, "{said}");
    assert!(out.starts_with("http://") && out.contains("/join?code=sti_"), "{out}");
    assert!(said.contains("Invited bob@example.org into shop as viewer, staging:admin"), "{said}");
    let (_, out, _) = run("invitation:list --format csv --no-header --columns email,permissions,invited_by").await;
    assert_eq!(out.trim(), "bob@example.org,\"viewer, staging:admin\",admin@example.org");
    assert_eq!(run("invitation:delete bob@example.org").await.0, 0);
    assert_eq!(run("invitation:list").await.0, 1);

    let (code, _, said) = run("user:update ada@example.org -r production:admin").await;
    assert_eq!((code, said.trim()), (0, "The roles of ada@example.org are now: production:admin."));
    let (_, out, _) = run("user:list --format csv --no-header").await;
    assert_eq!(out.trim(), "ada@example.org,production:admin,console\nadmin@example.org,admin,console");
    let (code, _, said) = run("user:delete ada@example.org").await;
    assert!(code == 1 && said.contains("nobody is there to confirm it"), "R33: {said}");
    assert_eq!(run("user:delete ada@example.org --yes").await.0, 0);
    let (code, _, said) = run("user:delete ada@example.org --yes").await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("is not a member of shop"), "{said}");
    let (code, out, said) =
        run("project:audit --type project --format csv --no-header --columns about,outcome,address").await;
    assert_eq!(code, 0, "{said}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "\"removed ada@example.org, who was production:admin\",success,127.0.0.1", "{out}");
    let (code, out, _) =
        run("project:audit --installation --type user.token --format csv --no-header --columns about").await;
    assert_eq!((code, out.trim()), (0, "made the token \u{201c}visitor\u{201d}"));
    drop(ada);
    house.close().await;
}

#[tokio::test]
async fn a_password_is_changed_by_who_knows_it_and_ends_the_other_sessions() {
    let house = open().await;
    let test = &house.shop.test;
    test.outsider("ada@example.org").await;
    let mut here = house.logged_in("ada@example.org").await;
    let mut elsewhere = house.logged_in("ada@example.org").await;
    let mut of_admin = house.logged_in("admin@example.org").await;
    let page = here.get("/account").await;
    assert_eq!(page.text.matches("127.0.0.1").count(), 2, "two sessions and from where: {}", page.text);
    assert_eq!(page.text.matches("this one").count(), 1);

    let fields = |present, new, repeated| vec![("present", present), ("password", new), ("repeated", repeated)];
    for (given, why) in [
        (fields("wrong wrong wrong", OTHER, OTHER), "The present password is not right."),
        (fields(PASSWORD, OTHER, "something else here"), "The two passwords are not the same."),
        (fields(PASSWORD, "short", "short"), "The password must have at least 12 characters."),
        (fields(PASSWORD, PASSWORD, PASSWORD), "The new password is the present one."),
    ] {
        let page = here.submit("/account", "change-password", &given).await;
        assert!(page.text.contains(why), "{why}: {}", page.text);
        assert!(!page.text.contains(OTHER), "a password is never given back");
    }
    assert_eq!(elsewhere.get("/account").await.status, 200);
    let page = here.submit("/account", "change-password", &fields(PASSWORD, OTHER, OTHER)).await;
    assert!(page.text.contains("The password is changed"), "{}", page.text);
    assert_eq!(here.get("/account").await.address, "/account", "this session goes on");
    assert!(elsewhere.get("/account").await.address.starts_with("/login"), "the other one has ended");
    assert_eq!(of_admin.get("/account").await.address, "/account", "nobody else's has");
    assert_eq!(house.api(&here, "GET", "/projects", Value::Null).await.status, 200, "tokens stay");
    let from = std::net::Ipv4Addr::LOCALHOST.into();
    assert!(accounts::log_in(&test.app, from, "ada@example.org", &Secret::new(PASSWORD)).await.is_err());
    accounts::log_in(&test.app, from, "ada@example.org", &Secret::new(OTHER)).await.expect("the new password");

    let audit = house.api(&of_admin, "GET", "/audit?type=user.password&user=ADA@example.org", Value::Null).await;
    let told: Vec<&Value> = audit.list().iter().map(|entry| &entry["outcome"]).collect();
    assert_eq!(told, ["success", "refused"]);
    house.close().await;
}

#[tokio::test]
async fn all_other_sessions_can_be_ended() {
    let house = open().await;
    let mut here = house.logged_in("admin@example.org").await;
    let mut elsewhere = house.logged_in("admin@example.org").await;
    let page = here.submit("/account", "end-sessions", &[]).await;
    assert!(page.text.contains("Your other sessions are ended: 1."), "{}", page.text);
    assert!(elsewhere.get("/account").await.address.starts_with("/login"));
    assert_eq!(here.get("/account").await.address, "/account");
    house.close().await;
}

#[tokio::test]
async fn a_lost_password_is_set_anew_by_a_link_that_works_once() {
    let house = open().await;
    let test = &house.shop.test;
    let ada = test.outsider("ada@example.org").await;
    let mut old_session = house.logged_in("ada@example.org").await;
    let mut operator = house.logged_in("admin@example.org").await;
    let user = [("user", ada.user().as_str())];
    let refused = old_session.submit("/account", "reset-link", &user).await;
    assert!(refused.location.starts_with("/account"), "not an operator: {}", refused.location);
    assert!(!refused.text.contains("/reset?code="));

    let page = operator.submit("/accounts", "reset-link", &user).await;
    let first = format!("/reset?code={}", field(&page.text, "/reset?code=", "<"));
    let (email, code) = account::unchecked_reset_link(&test.app, "ADA@example.org").await.expect("an account");
    assert_eq!(email, "ada@example.org");
    let link = format!("/reset?code={}", code.reveal());
    let mut stranger = house.stranger();
    assert_eq!(stranger.get(&first).await.status, 410, "the newer one has replaced it");
    let page = stranger.get(&link).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("For ada@example.org."), "{}", page.text);
    let fields = [("code", code.reveal()), ("password", OTHER), ("repeated", OTHER)];
    let short = [("code", code.reveal()), ("password", "short"), ("repeated", "short")];
    assert!(stranger.submit(&link, "reset-password", &short).await.text.contains("at least 12 characters"));
    let page = stranger.submit(&link, "reset-password", &fields).await;
    assert_eq!(page.address, "/login");
    assert!(page.text.contains("The password is set. Log in with it."), "{}", page.text);
    assert!(old_session.get("/account").await.address.starts_with("/login"), "sessions have ended");
    assert_eq!(stranger.get(&link).await.status, 410);
    let page = stranger.submit(&link, "reset-password", &fields).await;
    assert!(page.text.contains("This link is not valid"), "{}", page.text);
    let from = std::net::Ipv4Addr::LOCALHOST.into();
    accounts::log_in(&test.app, from, "ada@example.org", &Secret::new(OTHER)).await.expect("the new password");
    house.close().await;
}

#[tokio::test]
async fn what_is_refused_stands_in_the_audit_once_a_minute_and_not_in_the_feed() {
    let house = open().await;
    let test = &house.shop.test;
    test.member("viewer@example.org", TypeRole::Viewer).await;
    let viewer = house.logged_in("viewer@example.org").await;
    let admin = house.logged_in("admin@example.org").await;
    for _ in 0..3 {
        let refused = house.api(&viewer, "POST", "/projects/shop/environments/main/backup", json!({})).await;
        assert_eq!(refused.status, 403);
    }
    assert_eq!(house.api(&viewer, "GET", "/projects/shop/audit", Value::Null).await.status, 403);
    assert_eq!(house.api(&viewer, "GET", "/audit", Value::Null).await.status, 403);
    let audit = house.api(&admin, "GET", "/audit?user=viewer@example.org&type=refused&count=1", Value::Null).await;
    assert_eq!(audit.list()[0]["about"], "looking at what concerns the installation");
    assert_eq!(audit.list()[0]["project"], Value::Null);
    let audit = house.api(&admin, "GET", "/projects/shop/audit?outcome=refused", Value::Null).await;
    let told: Vec<(&str, &str)> = audit
        .list()
        .iter()
        .map(|entry| (entry["about"].as_str().unwrap_or_default(), entry["environment"].as_str().unwrap_or("-")))
        .collect();
    assert_eq!(told, [("seeing the audit", "-"), ("creating a snapshot", "main")]);
    let entry = &audit.list()[1];
    assert_eq!((&entry["user"], &entry["type"]), (&json!("viewer@example.org"), &json!("refused")));
    assert_eq!((&entry["authority"], &entry["address"]), (&json!("token:visitor"), &json!("127.0.0.1")));
    assert!(entry["reason"].as_str().is_some_and(|why| why.contains("your role is production:viewer")), "{entry}");
    let feed = house.api(&admin, "GET", "/projects/shop/activities", Value::Null).await;
    assert_eq!(feed.json, json!([]));
    let asked = house.api(&admin, "POST", "/projects/shop/environments/main/backup", json!({})).await;
    let id = asked.json["_embedded"]["activities"][0]["id"].as_str().expect("an id").to_owned();
    let path = format!("/projects/shop/activities/{id}/cancel");
    assert_eq!(house.api(&viewer, "POST", &path, Value::Null).await.status, 403);
    assert_eq!(house.api(&admin, "POST", &path, Value::Null).await.status, 202);
    let audit = house.api(&admin, "GET", "/projects/shop/audit?environment=main&count=3", Value::Null).await;
    let told: Vec<&str> = audit.list().iter().filter_map(|entry| entry["about"].as_str()).collect();
    assert_eq!(told[..2], [format!("cancelled the activity {id}").as_str(), "cancelling an activity"]);
    // What they must not see, they have not been refused: nothing tells of it.
    test.outsider("outsider@example.org").await;
    let outsider = house.logged_in("outsider@example.org").await;
    house.api(&outsider, "POST", "/projects/shop/environments/main/backup", json!({})).await;
    let audit = house.api(&admin, "GET", "/projects/shop/audit?user=outsider@example.org", Value::Null).await;
    assert_eq!(audit.json, json!([]));
    house.close().await;
}

#[tokio::test]
async fn the_audit_tells_who_what_and_from_where_is_filtered_and_taken_out() {
    let house = open().await;
    let mut admin = house.logged_in("admin@example.org").await;
    invite(&mut admin, "=cmd@example.org").await;
    let asked = house.api(&admin, "POST", "/projects/shop/environments/main/backup", json!({"note": "a, \"b\""})).await;
    assert_eq!(asked.status, 202);
    let audit = house.api(&admin, "GET", "/projects/shop/audit", Value::Null).await;
    let told: Vec<&str> = audit.list().iter().filter_map(|entry| entry["type"].as_str()).collect();
    assert_eq!(told, ["environment.backup", "project.invitation.create", "project.apply"]);
    let backup = &audit.list()[0];
    assert_eq!((&backup["user"], &backup["address"]), (&json!("admin@example.org"), &json!("127.0.0.1")));
    assert_eq!((&backup["authority"], &backup["environment"]), (&json!("token:visitor"), &json!("main")));
    assert!(backup["about"].as_str().is_some_and(|about| about.contains(" a snapshot of main: ")), "{backup}");
    assert!(backup["activity"].is_string());
    assert_eq!(audit.list()[1]["authority"], "session");
    assert_eq!(audit.list()[2]["authority"], "terminal");

    for (query, expected) in [
        ("type=environment", 1),
        ("type=project.invitation&type=project.apply", 2),
        ("type=proj", 0),
        ("type=%25", 0),
        ("environment=main", 1),
        ("user=nobody@example.org", 0),
        ("since=2001-01-01T00:00:00Z&until=2002-01-01T00:00:00Z", 0),
        ("since=2001-01-01T00:00:00Z", 3),
        ("count=1", 1),
    ] {
        let found = house.api(&admin, "GET", &format!("/projects/shop/audit?{query}"), Value::Null).await;
        assert_eq!(found.list().len(), expected, "{query}: {}", found.json);
    }
    assert_eq!(house.api(&admin, "GET", "/projects/shop/audit?environment=nowhere", Value::Null).await.status, 404);
    let page = admin.get("/projects/shop/audit?kind=environment").await;
    assert!(
        page.text.contains("a snapshot of main: ") && !page.text.contains("applied a declaration"),
        "{}",
        page.text
    );

    let csv = admin.get("/projects/shop/audit/export?format=csv&kind=project.invitation").await;
    assert_eq!(csv.status, 200);
    let lines: Vec<&str> = csv.text.lines().collect();
    assert_eq!(lines.len(), 2, "{}", csv.text);
    assert!(lines[0].starts_with("at,project,environment,type,user,"), "{}", csv.text);
    assert!(lines[1].contains("invited =cmd@example.org as"), "{}", csv.text);
    let lines = admin.get("/projects/shop/audit/export?format=jsonl").await;
    let entries: Vec<Value> =
        lines.text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    assert_eq!(entries.len(), 5, "two exports stand in it themselves: {}", lines.text);
    assert_eq!(entries[0]["about"], "took the audit out as audit.jsonl");
    // The installation's tells of everything, also of what is no project's.
    let all = house.api(&admin, "GET", "/audit?type=user", Value::Null).await;
    let kinds: Vec<&str> = all.list().iter().filter_map(|entry| entry["type"].as_str()).collect();
    assert_eq!(kinds, ["user.token.create", "user.login", "user.create"]);
    house.close().await;
}

#[tokio::test]
async fn pages_of_the_audit_follow_each_other_without_gap() {
    let house = open().await;
    let admin = house.logged_in("admin@example.org").await;
    for number in 0..7 {
        let body = json!({"email": format!("person{number}@example.org"), "permissions": ["viewer"]});
        assert_eq!(house.api(&admin, "POST", "/projects/shop/invitations", body).await.status, 201);
        house.api(&admin, "POST", "/projects/shop/environments/main/backup", json!({})).await;
    }
    let (mut seen, mut before) = (Vec::new(), String::new());
    loop {
        let page = house.api(&admin, "GET", &format!("/projects/shop/audit?count=4{before}"), Value::Null).await;
        let Some(last) = page.list().last() else { break };
        before = format!("&before={}", last["number"]);
        seen.extend(page.list().iter().map(|entry| entry["number"].as_i64().expect("a number")));
    }
    assert_eq!(seen.len(), 15, "fourteen, and the declaration: {seen:?}");
    assert!(seen.is_sorted_by(|newer, older| newer > older), "{seen:?}");
    house.close().await;
}

#[tokio::test]
async fn a_page_of_the_audit_is_read_by_index_and_not_sorted() {
    let test = TestApp::new().await;
    if !test.url.starts_with("sqlite:") {
        return;
    }
    let mut db = test.store.read().await.expect("a connection");
    for condition in ["seq < 9", "seq < 9 AND project_id = 'shop'"] {
        let sql = format!("EXPLAIN QUERY PLAN SELECT * FROM audit WHERE {condition} ORDER BY seq DESC LIMIT 50");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut *db).await.expect("a plan");
        let steps: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, "detail")).collect();
        assert!(steps.iter().all(|step| !step.contains("TEMP B-TREE") && !step.contains("SCAN")), "{steps:?}");
    }
}

#[tokio::test]
async fn logins_stand_in_the_audit_and_what_was_typed_in_place_of_an_address_does_not() {
    let house = open().await;
    let admin = house.logged_in("admin@example.org").await;
    let mut guesser = house.stranger();
    for (email, password) in [("admin@example.org", "a wrong guess"), ("my secret password", "a wrong guess")] {
        guesser.submit("/login", "log-in", &[("email", email), ("password", password)]).await;
    }
    // Recorded beside the answer, so that its time tells nothing.
    let audit = house.until(&admin, "/audit?type=user.login&outcome=refused", |found| found.list().len() == 2).await;
    let mut names: Vec<&str> = audit.list().iter().filter_map(|entry| entry["user"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["admin@example.org", "unknown account"]);
    assert!(audit.list().iter().all(|entry| entry["address"] == "127.0.0.1"));
    house.close().await;
}
