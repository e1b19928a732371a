//! People and tokens: how they get in, and how they don't (R4).

use std::net::{IpAddr, Ipv4Addr};

use stillpoint::authz::CreateSnapshot;
use stillpoint::domain::Secret;
use stillpoint::domain::environment::EnvironmentKind;
use stillpoint::domain::policy::{Act, Grants, TypeRole};
use stillpoint::ops::accounts::{self, Kind};
use stillpoint::ops::tokens::{self, TokenRequest};
use stillpoint::ops::{App, Error};

use crate::doors::through::Doors;
use crate::support::{PASSWORD, TestApp, project};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

async fn log_in(app: &App, email: &str, password: &str) -> Result<(), Error> {
    accounts::log_in(app, HERE, email, &secret(password)).await.map(drop)
}

fn named(name: &str) -> TokenRequest {
    TokenRequest { name: name.to_owned(), grants: Grants::default(), expires_in_days: None }
}

#[tokio::test]
async fn the_first_account_needs_the_code_from_the_terminal_and_there_is_only_one_first() {
    let test = TestApp::new().await;
    let app = &test.app;
    assert!(accounts::needs_setup(app).await.expect("an answer"));
    let code = accounts::setup_code(app).await.expect("an answer").expect("a code");
    let wrong = accounts::set_up(app, "0123", "me@example.org", &secret(PASSWORD)).await;
    assert!(matches!(wrong, Err(Error::Invalid { .. })), "{wrong:?}");
    let me = accounts::set_up(app, &code, " Me@Example.org", &secret(PASSWORD)).await.expect("the first account");
    assert_eq!(me.me().email, "me@example.org");
    assert!(me.me().operator);
    let again = accounts::set_up(app, &code, "you@example.org", &secret(PASSWORD)).await;
    assert!(again.is_err());
    assert!(!accounts::needs_setup(app).await.expect("an answer"));
    assert_eq!(accounts::setup_code(app).await.expect("an answer"), None);
}

#[tokio::test]
async fn a_login_does_not_tell_whether_the_account_exists() {
    let test = TestApp::new().await;
    test.outsider("me@example.org").await;
    log_in(&test.app, "ME@example.org", PASSWORD).await.expect("the right password");
    let wrong = log_in(&test.app, "me@example.org", "another password").await.expect_err("the wrong password");
    let nobody = log_in(&test.app, "nobody@example.org", PASSWORD).await.expect_err("no account");
    assert_eq!(wrong.problem(), nobody.problem());
}

#[tokio::test]
async fn guessing_is_slowed_down_even_with_the_right_password() {
    let test = TestApp::new().await;
    test.outsider("me@example.org").await;
    for _ in 0..10 {
        let wrong = log_in(&test.app, "me@example.org", "a guess that fails").await;
        assert!(matches!(wrong, Err(Error::WrongCredentials)), "{wrong:?}");
    }
    let stopped = log_in(&test.app, "me@example.org", PASSWORD).await;
    assert!(matches!(stopped, Err(Error::TooMany { .. })), "{stopped:?}");
}

#[tokio::test]
async fn weak_passwords_and_impossible_addresses_are_refused() {
    let test = TestApp::new().await;
    for (email, password) in [("me@example.org", "short"), ("nobody", PASSWORD), ("a b@example.org", PASSWORD)] {
        let refused = accounts::unchecked_add(&test.app, email, &secret(password), Kind::Member).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{email}: {refused:?}");
    }
    test.outsider("me@example.org").await;
    let twice = accounts::unchecked_add(&test.app, "ME@example.org", &secret(PASSWORD), Kind::Member).await;
    assert!(matches!(twice, Err(Error::Conflict(_))), "{twice:?}");
}

#[tokio::test]
async fn a_token_works_until_it_is_revoked_and_so_does_what_it_was_exchanged_for() {
    let test = TestApp::new().await;
    let me = test.outsider("me@example.org").await;
    let made = tokens::create(&test.app, &me, named("ci")).await.expect("a token");
    let access = accounts::exchange(&test.app, &made.text).await.expect("an access token").text;
    for text in [&made.text, &access] {
        let actor = accounts::actor_of_bearer(&test.app, text).await.expect("a valid token");
        assert_eq!(actor.me().email, "me@example.org");
    }
    let [listed] = &tokens::list(&test.app, &me).await.expect("a list")[..] else { panic!("one token") };
    assert!(listed.last_used_at.is_some());
    tokens::revoke(&test.app, &me, &listed.id).await.expect("it is mine");
    for text in [&made.text, &access, &secret("stp_nothing"), &secret("sta_nothing")] {
        let refused = accounts::actor_of_bearer(&test.app, text).await;
        assert!(matches!(refused, Err(Error::NotLoggedIn)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_token_can_neither_make_tokens_nor_touch_those_of_others() {
    let test = TestApp::new().await;
    let me = test.outsider("me@example.org").await;
    let you = test.outsider("you@example.org").await;
    let mine = tokens::create(&test.app, &me, named("ci")).await.expect("a token");
    let actor = accounts::actor_of_bearer(&test.app, &mine.text).await.expect("a valid token");
    assert!(matches!(tokens::create(&test.app, &actor, named("more")).await, Err(Error::Forbidden(_))));
    assert!(matches!(tokens::revoke(&test.app, &you, &mine.entry.id).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn a_read_only_token_of_an_admin_starts_nothing() {
    let shop = TestApp::with_shop().await;
    let grants = Grants { read_only: true, ..Grants::default() };
    let request = TokenRequest { grants, ..named("watch") };
    let token = tokens::create(&shop.test.app, &shop.admin, request).await.expect("a token");
    let actor = accounts::actor_of_bearer(&shop.test.app, &token.text).await.expect("a valid token");
    let refused = shop.test.proof::<CreateSnapshot>(&actor).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
}

#[tokio::test]
async fn no_secret_stands_in_the_database_as_text() {
    let shop = TestApp::with_shop().await;
    let token = tokens::create(&shop.test.app, &shop.admin, named("ci")).await.expect("a token");
    shop.test.store.close().await;
    let path = shop.site.database.display().to_string();
    let Ok(bytes) = std::fs::read(shop.test.directory.path().join("stillpoint.db")) else { return };
    for text in [token.text.reveal(), PASSWORD, path.as_str()] {
        let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!found, "{text} can be read in the database");
    }
}

#[tokio::test]
async fn a_token_is_narrowed_to_a_place_to_types_and_to_acts_in_the_console() {
    let shop = TestApp::with_shop().await;
    shop.add_staging().await;
    let member = shop.test.member("member@example.org", TypeRole::Admin).await;
    let outsider = shop.test.outsider("outsider@example.org").await;
    let doors = Doors::of(shop).await;
    let app = &doors.shop.test.app;
    let (person, stranger) = (doors.person(&member).await, doors.person(&outsider).await);
    let main = doors.main().await;
    let place = format!("shop/{main}");
    let make = "/actions/make-token";

    let (status, html) = doors.page(&person, "/tokens").await;
    assert!(status == 200 && html.contains(&format!("value=\"{place}\"")) && html.contains("value=\"shop\""), "{html}");
    assert!(html.contains("name=\"acts[create_snapshot]\"") && !html.contains("acts[view_history]"), "{html}");
    let (_, html) = doors.page(&stranger, "/tokens").await;
    assert!(!html.contains("value=\"shop\""), "what one does not see is not offered: {html}");

    let fields = [
        ("name", "nightly"),
        ("expires_in_days", "30"),
        ("place", place.as_str()),
        ("types[production]", "on"),
        ("acts[create_snapshot]", "on"),
        ("acts[delete_snapshot]", "on"),
        ("form", "1"),
    ];
    let (next, html) = doors.form(&person, "/tokens", make, &fields).await;
    assert!(next == "/tokens" && html.contains("The token “nightly” is made"), "{html}");
    assert!(html.contains("only the environment main of shop"), "{html}");
    assert!(html.contains("beside reading only creating a snapshot, deleting a snapshot"), "{html}");
    let all = tokens::list(app, &member).await.expect("a list");
    let made = all.iter().find(|token| token.name == "nightly").expect("it is there");
    let expected = Grants {
        projects: vec![project()],
        types: vec![EnvironmentKind::Production],
        environments: vec![main],
        acts: vec![Act::CreateSnapshot, Act::DeleteSnapshot],
        read_only: false,
    };
    assert_eq!(made.grants, expected);

    // What contradicts itself, and a place that one does not see.
    let refused: [(&[(&str, &str)], &str); 3] = [
        (
            &[("read_only", "on"), ("acts[run_drill]", "on")],
            "A token that may only read is made for nothing beside that.",
        ),
        (&[("place", place.as_str()), ("types[staging]", "on")], "The environment main is of the type production"),
        (&[("place", "store")], "There is no such project or environment that you may see"),
    ];
    for (number, (fields, why)) in refused.into_iter().enumerate() {
        let form = (10 + number).to_string();
        let common = [("name", "odd one"), ("expires_in_days", ""), ("form", form.as_str())];
        let fields: Vec<(&str, &str)> = common.into_iter().chain(fields.iter().copied()).collect();
        let (_, html) = doors.form(&person, "/tokens", make, &fields).await;
        assert!(html.contains(why) && html.contains("value=\"odd one\""), "{html}");
    }
    let fields = [("name", "spy"), ("expires_in_days", ""), ("place", place.as_str()), ("form", "20")];
    let (_, html) = doors.form(&stranger, "/tokens", make, &fields).await;
    assert!(html.contains("There is no such project or environment that you may see"), "{html}");
    assert_eq!(tokens::list(app, &member).await.expect("a list").len(), 2, "with the one that these doors use");
    doors.close().await;
}
