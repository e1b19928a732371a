use std::io::Cursor;
use std::time::{Duration, Instant};

use super::{Site, ident, insert, text};
use crate::drivers::mysql::session::Session;
use crate::drivers::mysql::{Mysql, objects, swap};
use crate::drivers::{Aside, Beside, Error, Service};

/// Old and new differ in every part.
fn two() -> (Site<'static>, Beside) {
    let site = Site::new();
    site.sql(
        "CREATE TABLE child (o int, FOREIGN KEY (o) REFERENCES orders (id)); INSERT INTO child VALUES (1);
         CREATE TABLE was_here (n int); CREATE VIEW newest AS SELECT max(id) AS n FROM orders;
         CREATE TRIGGER noted BEFORE INSERT ON orders FOR EACH ROW SET NEW.text = 'noted';
         CREATE FUNCTION answer() RETURNS int RETURN 42; CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' DO DELETE FROM child",
    );
    let (bytes, facts) = site.dump();
    site.sql(
        "INSERT INTO orders (text) VALUES ('x'), ('y'); DROP TABLE was_here; CREATE TABLE came (n int);
         CREATE OR REPLACE VIEW newest AS SELECT min(id) AS n FROM orders; CREATE VIEW was_here AS SELECT 1 AS one;
         DROP TRIGGER noted; CREATE TRIGGER other BEFORE INSERT ON orders FOR EACH ROW SET NEW.text = 'other';
         CREATE OR REPLACE FUNCTION answer() RETURNS int RETURN 43; DROP EVENT e",
    );
    let beside = site.load(&bytes);
    site.service.check(&beside, &facts).expect("all is as recorded");
    (site, beside)
}

fn state(site: &Site<'_>) -> &'static str {
    let mut session = site.open();
    session.command("write", "INSERT INTO orders (text) VALUES ('')").expect("a row");
    let noted = text(&mut session, "SELECT text FROM orders ORDER BY id DESC LIMIT 1");
    session.command("write", "DELETE FROM orders ORDER BY id DESC LIMIT 1").expect("a row");
    let refused = session.command("write", "DELETE FROM orders WHERE id = 1");
    assert!(refused.is_err(), "the foreign key holds");
    let all = "SELECT CONCAT_WS(' ', (SELECT count(*) FROM orders), (SELECT n = (SELECT max(id) FROM orders) FROM newest), answer(),
      (SELECT group_concat(TABLE_NAME, ' ', TABLE_TYPE ORDER BY TABLE_NAME) FROM information_schema.TABLES
       WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ('came', 'was_here')),
      (SELECT count(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE() AND STATUS = 'ENABLED'))";
    match (noted.as_str(), text(&mut session, all).as_str()) {
        ("noted", "100 1 42 was_here BASE TABLE 1") => "new",
        ("other", "102 0 43 came BASE TABLE,was_here VIEW 0") => "old",
        other => panic!("a mixture: {other:?}"),
    }
}

#[test]
fn a_swap_exchanges_all_and_is_taken_back_and_each_step_may_be_done_twice() {
    let (site, beside) = two();
    assert_eq!(state(&site), "old");
    let aside = site.service.prepare(&beside).expect("fixed");
    assert_eq!(site.service.prepare(&beside).expect("fixed anew"), aside);
    site.service.roll_back(&beside, &aside).expect("nothing to do");
    assert_eq!(state(&site), "old");
    for _ in 0..2 {
        for _ in 0..2 {
            site.service.commit(&beside, &aside).expect("swapped");
            assert_eq!(state(&site), "new");
            assert_eq!(site.service.prepare(&beside).expect("what was fixed"), aside);
        }
        for _ in 0..2 {
            site.service.roll_back(&beside, &aside).expect("back");
            assert_eq!(state(&site), "old");
        }
        site.service.prepare(&beside).expect("fixed again");
    }
    site.service.commit(&beside, &aside).expect("swapped");
    site.service.discard(&beside, None).expect("removed");
    assert_eq!(site.databases(), 2, "what is aside stays until it is named");
    site.service.discard(&beside, Some(&aside)).expect("removed");
    site.service.discard(&beside, Some(&aside)).expect("nothing to do");
    assert_eq!((state(&site), site.databases()), ("new", 1));
}

#[test]
fn a_commit_that_dies_between_any_two_commands_is_finished_and_is_taken_back() {
    // What a commit does, command by command.
    for died_after in 0..4 {
        for forward in [true, false] {
            let (site, beside) = two();
            let aside = site.service.prepare(&beside).expect("fixed");
            let (Beside::Mysql(new), Aside::Mysql(old)) = (&beside, &aside) else { panic!("of this kind") };
            let mut session = site.open();
            let name = site.address().database.clone();
            let mut parts = 0;
            if died_after > 0 {
                swap::die_after_mark(&site.service, &mut session, new).expect("marked");
                parts += 1;
            }
            if died_after > 1 {
                let triggers = objects::read(&mut session, &name).expect("objects");
                let trigger = triggers.iter().find(|object| object.name == "other").expect("a trigger");
                session.command("drop", &trigger.drop_command(&name)).expect("half of the way is made");
                parts += 1;
            }
            if died_after > 2 {
                swap::die_after_exchange(&site.service, &mut session, new, old).expect("exchanged");
                parts += 1;
            }
            drop(session);
            assert_eq!(parts, died_after);
            if died_after < 3 {
                assert_eq!(site.service.prepare(&beside).expect("fixed"), aside, "nothing that made way is forgotten");
            }
            match forward {
                true => site.service.commit(&beside, &aside).expect("finished"),
                false => site.service.roll_back(&beside, &aside).expect("taken back"),
            }
            assert_eq!(state(&site), if forward { "new" } else { "old" }, "after {died_after}");
            site.service.discard(&beside, Some(&aside)).expect("removed");
            assert_eq!(site.databases(), 1);
        }
    }
}

#[test]
fn an_exchange_that_was_given_up_is_over_before_it_is_taken_back() {
    let (site, beside) = two();
    let aside = site.service.prepare(&beside).expect("fixed");
    let (Beside::Mysql(new), Aside::Mysql(old)) = (&beside, &aside) else { panic!("of this kind") };
    std::thread::scope(|scope| {
        let late = scope.spawn(|| swap::commit_slowly(&site.service, new, old));
        let user = &site.address().user;
        let at_work = format!(
            "SELECT count(*) FROM information_schema.PROCESSLIST WHERE USER = '{user}' AND INFO LIKE 'DO SLEEP%'"
        );
        while site.server.admin(&at_work) == "0" {
            assert!(!late.is_finished(), "{:?}", late.join());
        }
        site.service.roll_back(&beside, &aside).expect("taken back");
        late.join().expect("no panic").expect("the server has done it");
    });
    assert_eq!(state(&site), "old", "and it was taken back after that");

    let mut silent = swap::commit_without_end(&site.service, new).expect("begun");
    site.service.roll_back(&beside, &aside).expect("taken back");
    assert_eq!(state(&site), "old");
    silent.one("ask", "SELECT 1").expect_err("it was ended");
    site.service.discard(&beside, Some(&aside)).expect("removed");
    assert_eq!(site.databases(), 1);
}

#[test]
fn a_load_that_died_is_found_by_its_announced_name() {
    let site = Site::new();
    let announced = site.service.beside(site.scratch.path()).expect("a name");
    let (bytes, _) = site.dump();
    site.load(&bytes);
    assert_eq!(site.databases(), 3);
    site.service.discard(&announced, None).expect("removed");
    assert_eq!(site.databases(), 1);
    site.load(&bytes);
    let beside = site.load(&bytes);
    let aside = site.service.prepare(&beside).expect("fixed");
    site.service.commit(&beside, &aside).expect("swapped");
    assert_eq!(site.count(), "100");

    // A schema of that name that is not ours stays.
    site.service.discard(&beside, Some(&aside)).expect("removed");
    let Beside::Mysql(own) = &announced else { panic!("of this kind") };
    let name = ident(serde_json::to_value(own).expect("plain data")["name"].as_str().expect("a name"));
    site.admin(&format!("CREATE DATABASE {name}; CREATE TABLE {name}.precious (n int)"));
    let refused = site.service.load_beside(site.scratch.path(), &mut Cursor::new(&bytes));
    assert!(matches!(refused, Err(Error::DatabaseExists { .. })), "{refused:?}");
    site.service.discard(&announced, None).expect_err("it is not ours");
    assert_eq!(site.databases(), 2);
}

#[test]
fn sessions_that_idle_in_a_transaction_or_lock_tables_do_not_stop_a_swap() {
    let (site, beside) = two();
    let aside = site.service.prepare(&beside).expect("fixed");
    // It may end its own account's sessions, and needs no right for that.
    let mut idle = site.open();
    idle.command("begin", "BEGIN; INSERT INTO orders (text) VALUES ('uncommitted')").expect("a transaction");
    let mut reader = site.open();
    reader.command("lock", "LOCK TABLES came READ").expect("a lock");
    let mut visitor = site.open();
    let started = Instant::now();
    site.service.commit(&beside, &aside).expect("swapped");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert!(idle.command("commit", "COMMIT").is_err(), "it was ended");
    drop((reader, idle));
    assert_eq!(state(&site), "new");
    drop(visitor.command("any", "SELECT 1"));
}

#[test]
fn visitors_without_a_transaction_keep_their_connections() {
    let (site, beside) = two();
    let mut visitor = site.open();
    assert_eq!(text(&mut visitor, "SELECT count(*) FROM orders"), "102");
    let aside = site.service.prepare(&beside).expect("fixed");
    site.service.commit(&beside, &aside).expect("swapped");
    assert_eq!(text(&mut visitor, "SELECT count(*) FROM orders"), "100");
}

#[test]
fn a_session_that_can_not_be_ended_is_named_and_the_old_data_serves() {
    let (site, beside) = two();
    let aside = site.service.prepare(&beside).expect("fixed");
    let socket = site.server.socket().to_str().expect("UTF-8").to_owned();
    let root = crate::drivers::mysql::Address {
        host: socket,
        user: "root".to_owned(),
        password: crate::domain::Secret::new(""),
        ..site.address().clone()
    };
    let mut foreign: Session = root.open(super::CONNECT).expect("root gets in");
    foreign.command("lock", "LOCK TABLES orders READ").expect("a lock");
    let user = format!("{}@'127.0.0.1'", super::literal(&site.address().user));
    site.server.admin(&format!("GRANT PROCESS ON *.* TO {user}"));
    let refused = site.service.commit(&beside, &aside).expect_err("root's");
    let said = refused.to_string();
    assert!(matches!(refused, Error::InTheWay { .. }), "{refused:?}");
    assert!(said.contains(&format!("process {} of root", foreign.id)), "{said}");
    foreign.command("let go", "UNLOCK TABLES").expect("let go");
    assert_eq!(state(&site), "old", "triggers and views are back too");
    site.service.commit(&beside, &aside).expect("now it is");
    assert_eq!(state(&site), "new");
}

#[test]
fn what_goes_to_the_journal_comes_back_from_it() {
    let (site, beside) = two();
    let aside = site.service.prepare(&beside).expect("fixed");
    let json = serde_json::to_string(&(&beside, &aside)).expect("plain data");
    assert!(!json.contains("secret"), "{json}");
    assert_eq!(serde_json::from_str::<(Beside, Aside)>(&json).expect("the same"), (beside, aside));
}

#[test]
fn a_snapshot_goes_into_a_new_database() {
    let site = Site::new();
    site.sql(&insert(10));
    let (bytes, facts) = site.dump();
    let database = format!("{}_stillpoint_copy", site.address().database);
    let new = Mysql::connect(site.address().with_database(&database)).expect("a complete address");
    new.provision().expect("a new one");
    let beside = new.load_beside(site.scratch.path(), &mut Cursor::new(bytes)).expect("a load");
    new.check(&beside, &facts).expect("all is as recorded");
    let aside = new.prepare(&beside).expect("fixed");
    new.commit(&beside, &aside).expect("swapped");
    assert_eq!(text(&mut new.address.open(super::CONNECT).expect("it opens"), "SELECT count(*) FROM orders"), "110");
}
