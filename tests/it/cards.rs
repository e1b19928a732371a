//! What the pages of projects and environments are read from, and what a person reads on them.

use stillpoint::authz::ViewProject;
use stillpoint::domain::drill::{Drill, Drilled, Unproven};
use stillpoint::domain::view::{EnvironmentCard, Tone};
use stillpoint::domain::{PartName, Timestamp};
use stillpoint::ops::{drills, environments, projects};
use stillpoint::store;

use crate::doors::through::Doors;
use crate::support::statements::counted;
use crate::support::{Shop, Site, TestApp, project};

/// With so many environments beside `main`, each a child of it.
async fn with_environments(number: u32) -> Shop {
    let shop = TestApp::with_shop().await;
    let mut all = shop.site.declaration("shop", "main", "production", "self-hosted");
    for number in 0..number {
        let site = Site::new(&shop.test.directory.path().join(format!("more-{number}")));
        let environment = site.environment(&format!("more-{number}"), "staging");
        all += &environment.replace("type = \"staging\"", "type = \"staging\"\nparent = \"main\"");
    }
    shop.test.declare(&all).await;
    shop.snapshot().await;
    shop
}

async fn listed(shop: &Shop) -> (Vec<EnvironmentCard>, u64) {
    let app = &shop.test.app;
    let proof = app.authorize_project::<ViewProject>(&shop.admin, &project()).await.expect("an admin");
    let (cards, statements) = counted(&shop.test.store, environments::list(app, proof)).await;
    (cards.expect("a list"), statements)
}

#[tokio::test]
async fn many_environments_are_read_by_as_many_statements_as_few() {
    let (few, many) = (with_environments(1).await, with_environments(6).await);
    let (cards, statements) = listed(&many).await;
    assert_eq!(cards.len(), 7);
    let (few_cards, of_few) = listed(&few).await;
    assert_eq!((few_cards.len(), statements), (2, of_few));
    assert!((5..30).contains(&statements), "{statements} statements");

    // Each has its own.
    for card in &cards {
        let is_main = card.environment.name.as_str() == "main";
        assert_eq!((card.snapshots, card.newest_snapshot.is_some()), (u64::from(is_main), is_main), "{card:?}");
        assert_eq!(card.health.tone == Tone::Good, is_main, "{:?}", card.health);
        assert_eq!(card.merge.is_open(), !is_main, "{:?}", card.merge);
        assert_eq!(card.eviction.keeps, 4, "{:?}", card.eviction);
    }

    // The project's page and the list of projects read them once.
    let app = &many.test.app;
    let proof = app.authorize_project::<ViewProject>(&many.admin, &project()).await.expect("an admin");
    let (page, of_page) = counted(&many.test.store, projects::page(app, proof)).await;
    assert_eq!(page.expect("a page").environments.len(), 7);
    let (list, of_list) = counted(&many.test.store, projects::list(app, &many.admin)).await;
    assert_eq!(list.expect("a list")[0].environments, 7);
    let of_few_list = counted(&few.test.store, projects::list(&few.test.app, &few.admin)).await.1;
    assert_eq!(of_list, of_few_list);
    assert!(of_page < 2 * statements + 15, "{of_page} statements beside {statements}");
}

#[tokio::test]
async fn the_next_drill_is_said_once_where_the_schedules_clock_is_utc() {
    let doors = Doors::of(TestApp::with_shop().await).await;
    let admin = doors.person(&doors.shop.admin).await;
    let (status, html) = doors.page(&admin, "/projects/shop/environments/main").await;
    let (_, rest) = html.split_once("The next one is tried ").expect("a production environment has a drill");
    let (said, _) = rest.split_once("</p>").expect("a paragraph");
    assert_eq!((status, said.matches(" UTC").count()), (200, 1), "{said}");
    doors.close().await;
}

#[tokio::test]
async fn a_report_says_what_was_not_proven_and_why() {
    let doors = Doors::of(TestApp::with_shop().await).await;
    let shop = &doors.shop;
    let admin = doors.person(&shop.admin).await;
    let snapshot = shop.snapshot().await;
    let part = |text: &str| text.parse::<PartName>().expect("a part");
    let left = Unproven {
        part: part("service:database"),
        kind: "postgresql".to_owned(),
        why: "It is restored in place. Give the account CREATEDB & <try> again.".to_owned(),
    };
    let proven = Drilled {
        part: part("mount:uploads"),
        kind: "mount".to_owned(),
        proven: "1 file, 7 B".to_owned(),
        took_us: 1_200,
    };
    for parts in [vec![proven], Vec::new()] {
        // An activity that is there: the report of the drill is put in the place of its own.
        let proof = shop.test.proof(&shop.admin).await.expect("an admin");
        let asked = drills::run(&shop.test.app, proof, Some(snapshot.clone())).await.expect("it is queued").activity;
        let done = shop.test.wait_for(&asked.id, |activity| activity.state.is_over()).await;
        let mut tx = shop.test.store.write().await.expect("a transaction");
        sqlx::query("DELETE FROM drills").execute(&mut *tx).await.expect("a table");
        let drill = Drill {
            activity: done.id.clone(),
            environment: done.environment,
            snapshot: snapshot.clone(),
            taken_at: Timestamp::now(),
            finished_at: Timestamp::now(),
            took_us: 1_200,
            unproven: vec![left.clone()],
            failure: None,
            parts,
        };
        store::drills::insert(&mut tx, &drill).await.expect("stored");
        shop.test.store.commit(tx).await.expect("a commit");

        let (status, html) = doors.page(&admin, &format!("/projects/shop/activities/{}", done.id)).await;
        assert!(status == 200 && html.contains("Not proven"), "{html}");
        assert!(html.contains("It is restored in place. Give the account CREATEDB &amp; &lt;try&gt; again."), "{html}");
        let (_, page) = doors.page(&admin, "/projects/shop/environments/main").await;
        let (table, said) = match drill.parts.is_empty() {
            true => (is_hidden(&html), "nothing can be proven here."),
            false => (!is_hidden(&html) && html.contains("1 file, 7 B"), " but for the service database"),
        };
        assert!(table, "{html}");
        assert!(page.contains(said), "{page}");
    }
    doors.close().await;
}

/// The table of what was proven.
fn is_hidden(html: &str) -> bool {
    let (_, rest) = html.split_once("<table").expect("a table");
    rest.split('>').next().is_some_and(|tag| tag.contains("hidden"))
}
