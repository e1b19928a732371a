//! The declarative file: tried out as a whole, refused with file and line, applied as a whole (R6).

use stillpoint::authz::ViewProject;
use stillpoint::domain::policy::{Act, Grants};
use stillpoint::ops::environments;
use stillpoint::ops::installation::{self, Applied};
use stillpoint::ops::tokens::{self, TokenRequest};
use stillpoint::store::audit::{self, Filter};

use crate::support::{Site, TestApp, project};

async fn troubles(test: &TestApp, declaration: &str) -> Vec<String> {
    match test.apply(declaration).await {
        Applied::Refused(troubles) => troubles
            .iter()
            .map(|trouble| {
                let file = trouble.file.rsplit('/').next().unwrap_or_default();
                format!("{file}:{}: {}", trouble.line, trouble.message)
            })
            .collect(),
        Applied::Done { .. } | Applied::Looked(_) => panic!("it was not refused"),
    }
}

#[tokio::test]
async fn what_does_not_work_is_named_with_its_line_and_nothing_is_changed() {
    let test = TestApp::new().await;
    let admin = test.operator("admin@example.org").await;
    let site = Site::new(&test.directory.path().join("site"));
    let state = test.app.settings().data.display().to_string();
    let declaration = format!(
        "[[project]]\nid = \"shop\"\nplan = \"gold\"\n\n\
         [[project.member]]\nemail = \"nobody@example.org\"\nrole = \"admin\"\n\n\
         [[project.environment]]\nname = \"main\"\ntype = \"production\"\n\n\
         [[project.environment.service]]\nname = \"database\"\ntype = \"sqlite\"\npath = \"/nowhere/shop.db\"\n\n\
         [[project.environment.mount]]\nname = \"file\"\npath = {:?}\n\n\
         [[project.environment.mount]]\nname = \"ours\"\npath = {state:?}\n\n\
         [[project.environment.route]]\nhost = \"shop.localhost\"\nupstream = \"ftp://127.0.0.1\"\n",
        site.database
    );
    let troubles = troubles(&test, &declaration).await;
    let expected = [
        ("declaration.toml:3:", "there is no plan `gold`"),
        ("declaration.toml:5:", "no account for nobody@example.org"),
        ("declaration.toml:26:", "must be an http:// address"),
        ("declaration.toml:13:", "does not exist"),
        ("declaration.toml:18:", "is not a directory"),
        ("declaration.toml:22:", "the data directory"),
    ];
    assert_eq!(troubles.len(), expected.len(), "{troubles:#?}");
    for (line, text) in expected {
        assert!(
            troubles.iter().any(|trouble| trouble.starts_with(line) && trouble.contains(text)),
            "{line} {text}: {troubles:#?}"
        );
    }
    assert!(test.app.authorize_project::<ViewProject>(&admin, &project()).await.is_err());
}

#[tokio::test]
async fn a_key_that_is_not_known_is_refused_with_its_line() {
    let test = TestApp::new().await;
    let troubles = troubles(&test, "[[project]]\nid = \"shop\"\ncolour = \"red\"\n").await;
    let [trouble] = troubles.as_slice() else { panic!("{troubles:#?}") };
    assert!(trouble.starts_with("declaration.toml:3:") && trouble.contains("colour"), "{trouble}");
}

#[tokio::test]
async fn applying_again_changes_what_is_named_and_keeps_the_environment() {
    let shop = TestApp::with_shop().await;
    let name = shop.snapshot().await;
    let again = shop.site.declaration("shop", "main", "staging", "starter");
    shop.test.declare(&again).await;
    let proof = shop.test.app.authorize_project::<ViewProject>(&shop.admin, &project()).await.expect("an admin");
    let [card] = &environments::list(&shop.test.app, proof).await.expect("a list")[..] else { panic!("one") };
    assert_eq!(card.environment.kind.as_str(), "staging");
    assert_eq!(card.newest_snapshot.as_ref().map(|snapshot| &snapshot.name), Some(&name));
}

#[tokio::test]
async fn a_misspelled_key_of_a_part_is_refused() {
    let test = TestApp::new().await;
    let site = Site::new(&test.directory.path().join("site"));
    for (wrong, key) in [("exclude = []\nexcludes = [\"cache\"]", "excludes"), ("pth = 1", "pth")] {
        let declaration = format!(
            "{}{wrong}\n",
            site.declaration("shop", "main", "production", "self-hosted").trim_end().to_owned() + "\n"
        );
        let troubles = troubles(&test, &declaration).await;
        assert!(troubles.iter().any(|trouble| trouble.contains(key)), "{troubles:#?}");
    }
    let service = "[[project]]\nid = \"shop\"\n[[project.environment]]\nname = \"main\"\ntype = \"production\"\n\
                   [[project.environment.service]]\nname = \"database\"\ntype = \"sqlite\"\npath = \"/x\"\nmode = \"ro\"\n";
    let troubles = troubles(&test, service).await;
    assert!(troubles.iter().any(|trouble| trouble.contains("mode")), "{troubles:#?}");
}

#[tokio::test]
async fn what_another_environment_has_is_refused() {
    let shop = TestApp::with_shop().await;
    let other = shop.site.declaration("other", "main", "production", "self-hosted");
    let troubles = troubles(&shop.test, &other).await;
    assert!(troubles.iter().any(|trouble| trouble.contains("belongs to another environment")), "{troubles:#?}");
    assert!(troubles.iter().any(|trouble| trouble.contains("overlap")), "{troubles:#?}");
}

#[tokio::test]
async fn names_that_stand_twice_and_unknown_parents_are_refused() {
    let test = TestApp::new().await;
    let twice = "[[project]]\nid = \"shop\"\n\
                 [[project.environment]]\nname = \"main\"\ntype = \"production\"\n\
                 [[project.environment]]\nname = \"main\"\ntype = \"staging\"\nparent = \"nobody\"\n";
    let troubles = troubles(&test, twice).await;
    assert_eq!(troubles.len(), 2, "{troubles:#?}");
    assert!(troubles[0].contains("stands twice") && troubles[1].contains("no environment nobody"), "{troubles:#?}");
}

#[tokio::test]
async fn a_database_outside_the_allowed_roots_is_refused() {
    let test = TestApp::with_roots(&["allowed"]).await;
    let site = Site::new(&test.directory.path().join("elsewhere"));
    let troubles = troubles(&test, &site.declaration("shop", "main", "production", "self-hosted")).await;
    assert_eq!(troubles.len(), 2, "{troubles:#?}");
    assert!(troubles.iter().all(|trouble| trouble.contains("outside the directories")), "{troubles:#?}");
}

#[tokio::test]
async fn a_project_keeps_its_plan_and_title_when_they_are_not_named() {
    let shop = TestApp::with_shop().await;
    shop.test.declare(&shop.site.declaration("shop", "main", "production", "starter")).await;
    shop.test.declare("[[project]]\nid = \"shop\"\n").await;
    let proof = shop.test.app.authorize_project::<ViewProject>(&shop.admin, &project()).await.expect("an admin");
    let page = stillpoint::ops::projects::page(&shop.test.app, proof).await.expect("the page");
    assert_eq!((page.card.plan_title.as_str(), page.card.project.title.as_str()), ("Starter", "Shop"));
}

const OWN_PLAN: &str = r#"
[[plan]]
id = "careful"
title = "Careful"

[plan.production]
manual = "yes"
schedules = "yes"
keep = { newest = 10 }
automatic = { cron = "0 */6 * * *", when = "every 6 hours", editable = false, keep = { tiers = [
  { until_days = 7, every_days = 0 },
  { until_days = 70, every_days = 7 },
] } }

[plan.staging]
manual = "yes"
schedules = "no"
keep = { days = 14 }

[plan.development]
manual = "no"
schedules = "no"
keep = { days = 1 }
"#;

#[tokio::test]
async fn a_plan_of_ones_own_is_declared_checked_and_used() {
    let test = TestApp::new().await;
    test.operator("admin@example.org").await;
    let site = Site::new(&test.directory.path().join("site"));
    let project = site
        .declaration("shop", "main", "production", "careful")
        .replace("[[project]]", "[[project]]\nstorage_budget = \"50 GiB\"");
    let table = [
        ("every_days = 7 }", "every_days = 99 }", 12, "this tier is 63 days long"),
        ("until_days = 70", "until_days = 7", 12, "`production.automatic.keep.tiers.1.until_days`"),
        ("0 */6 * * *", "sometimes", 10, "`production.automatic.cron`"),
        ("0 */6 * * *", "0 25 * * *", 10, "`production.automatic.cron`: “25” can't be the hour"),
        ("0 */6 * * *", "0 3 30 2 *", 10, "`production.automatic.cron`: “0 3 30 2 *” never comes"),
        ("days = 14", "days = 0", 18, "`staging.keep.days`"),
        ("id = \"careful\"", "id = \"pro\"", 3, "`id`: there is a plan `pro` already"),
        ("schedules = \"no\"", "schedules = \"maybe\"", 17, "maybe"),
        ("newest = 10", "newests = 10", 9, "newests"),
    ];
    for (right, wrong, line, message) in table {
        let Applied::Refused(troubles) = test.apply(&OWN_PLAN.replacen(right, wrong, 1)).await else {
            panic!("{wrong} was taken")
        };
        assert_eq!(troubles[0].line, line, "{troubles:?}");
        assert!(troubles[0].message.contains(message), "{troubles:?}");
    }
    let budget = project.replace("50 GiB", "lots");
    let Applied::Refused(troubles) = test.apply(&format!("{OWN_PLAN}{budget}")).await else { panic!("it was taken") };
    assert!(troubles[0].message.contains("50 GiB"), "{troubles:?}");

    test.declare(&format!("{OWN_PLAN}{project}")).await;
    let mut db = test.store.read().await.expect("a connection");
    let id = stillpoint::domain::ProjectId::parse("shop").expect("a valid id");
    let plan = stillpoint::store::projects::plan(&mut db, &id).await.expect("its plan");
    assert_eq!(plan.title, "Careful");
    let budget = stillpoint::store::projects::storage_budget(&mut db, &id).await.expect("its budget");
    assert_eq!(budget, Some(stillpoint::domain::Bytes(50 << 30)));
}

/// What stands in the audit of a kind, oldest first.
async fn told(test: &TestApp, kind: &str) -> Vec<String> {
    let mut db = test.store.read().await.expect("a connection");
    let filter = Filter { kinds: vec![kind.to_owned()], ..Filter::default() };
    let mut lines = audit::list(&mut db, &filter, 100).await.expect("readable");
    lines.reverse();
    lines.into_iter().map(|line| line.entry.about).collect()
}

#[tokio::test]
async fn every_change_by_an_operator_stands_in_the_audit() {
    let shop = TestApp::with_shop().await;
    let test = &shop.test;
    let declared = async || told(test, "project.apply").await.pop().expect("it was applied");
    assert_eq!(declared().await, "applied a declaration under the plan self-hosted; main: added");
    let again = shop.site.declaration("shop", "main", "production", "self-hosted");
    test.declare(&again).await;
    assert_eq!(declared().await, "applied a declaration under the plan self-hosted", "nothing has changed");
    let budget = again.replace("[[project]]", "[[project]]\nstorage_budget = \"50 GiB\"");
    let route = "\n[[project.environment.route]]\nhost = \"another.localhost\"\nupstream = \"http://127.0.0.1:9\"\n";
    test.declare(&format!("{}{route}", budget.replace("\"production\"", "\"staging\""))).await;
    let line = declared().await;
    assert!(line.contains("the storage budget is 50") && line.ends_with("; main: another type, hosts"), "{line}");

    for _ in 0..2 {
        test.restore_elsewhere("by_ticket").await;
        test.declare(OWN_PLAN).await;
    }
    installation::recovery_key(&test.app).await.expect("a key");
    let lines = told(test, "installation").await;
    let [region, plan, key] = &lines[..] else { panic!("one for each change: {lines:?}") };
    assert!(
        region.starts_with("declared the region local: ") && region.contains("restore_elsewhere by_ticket"),
        "{region}"
    );
    assert!(region.contains("; it was ") && region.contains("restore_elsewhere self_service"), "{region}");
    assert_eq!((plan.as_str(), key.as_str()), ("declared the plan careful (“Careful”)", "showed the recovery key"));

    let grants = Grants {
        read_only: true,
        projects: vec![project()],
        acts: vec![Act::CreateSnapshot, Act::RunDrill],
        ..Grants::default()
    };
    let request = TokenRequest { name: "ci".to_owned(), grants, expires_in_days: Some(1) };
    tokens::create(&test.app, &shop.admin, request).await.expect("a token");
    let line = told(test, "user.token").await.pop().expect("it was made");
    let wanted = "made the token “ci”; only in shop; read only; beside reading only creating a snapshot, trying a restore; until ";
    assert!(line.starts_with(wanted), "{line}");
}

#[tokio::test]
async fn a_repository_that_is_taken_over_stands_in_the_audit() {
    let shop = TestApp::with_shop().await;
    shop.snapshot().await;
    let key = installation::recovery_key(&shop.test.app).await.expect("a key");
    let other = TestApp::new().await;
    let repository = shop.test.app.data().join("repositories/shop");
    installation::adopt(&other.app, &repository, &key).await.expect("it is taken over");
    let lines = told(&other, "installation").await;
    assert!(matches!(&lines[..], [line] if line.starts_with("took over 1 snapshot of the repository /")), "{lines:?}");
}
