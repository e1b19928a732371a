use super::Site;
use super::view::every_type;
use crate::drivers::redis::swap;
use crate::drivers::{Aside, Beside, Error, Service as _};

const LIBRARY: &str = "#!lua name=NAME\nredis.register_function('NAME', function() return 'NAME' end)";

fn functions(site: &Site, name: &str) {
    let mut admin = site.server.open("", "").expect("open");
    let mut load = ::redis::cmd("FUNCTION");
    load.arg("LOAD").arg(LIBRARY.replace("NAME", name)).exec(&mut admin).expect("loaded");
}

fn libraries(site: &Site) -> usize {
    site.server.ask::<Vec<::redis::Value>>(0, "FUNCTION LIST").len()
}

/// Through the journal's form, as after a restart.
fn journaled<T: serde::Serialize + serde::de::DeserializeOwned>(it: &T) -> T {
    serde_json::from_str(&serde_json::to_string(it).expect("JSON")).expect("the same")
}

#[test]
fn every_type_comes_back_and_what_was_replaced_is_a_dump_too() {
    let site = Site::new();
    every_type(&site);
    functions(&site, "first");
    let before = site.databases();
    let digest = site.server.ask::<Vec<u8>>(2, "DUMP stream");
    let (dump, facts) = site.dump();

    site.server.ask::<()>(0, "FLUSHDB");
    site.server.ask::<()>(0, "SET text changed");
    site.server.ask::<()>(9, "SET new value");
    functions(&site, "second");
    let changed = site.databases();
    let (beside, aside) = site.restore(&dump, &facts);
    assert_eq!(site.server.ask::<String>(0, "GET text"), "value");
    assert_eq!(site.server.ask::<Vec<u8>>(2, "DUMP stream"), digest, "with its groups and what they have read");
    assert!(site.server.ask::<i64>(2, "PTTL later") > 3_500_000);
    assert_eq!(site.server.keys(9), Vec::<String>::new());
    assert_eq!(libraries(&site), 1);

    let (beside, aside): (Beside, Aside) = (journaled(&beside), journaled(&aside));
    let replaced = site.service.aside_facts(&aside).expect("counted");
    assert_eq!(replaced.rows["database 9"], 1);
    let mut old = Vec::new();
    site.service.dump_aside(&aside, &mut old).expect("a dump");
    site.service.discard(&beside, Some(&aside)).expect("discarded");
    assert_eq!(site.databases(), before, "nothing is left beside");
    assert_eq!(std::fs::read_dir(site.scratch.path()).expect("it is there").count(), 0, "nor in the directory");

    // Undo.
    let (beside, aside) = site.restore(&old, &replaced);
    site.service.discard(&beside, Some(&aside)).expect("discarded");
    assert_eq!(site.databases(), changed);
    assert_eq!(site.server.ask::<String>(0, "GET text"), "changed");
    assert_eq!(libraries(&site), 2);
}

#[test]
fn each_step_may_be_taken_twice_and_be_taken_back() {
    let site = Site::new();
    site.fill(5);
    functions(&site, "first");
    let (dump, facts) = site.dump();
    site.server.ask::<()>(0, "SET later value");
    functions(&site, "second");
    let beside = site.load(&dump).expect("loaded");
    let beside = {
        assert_eq!(site.service.beside(site.scratch.path()).is_ok(), matches!(beside, Beside::Redis(_)));
        site.load(&dump).expect("loaded again")
    };
    site.service.check(&beside, &facts).expect("as recorded");
    let aside = site.service.prepare(&beside).expect("prepared");
    site.service.roll_back(&beside, &aside).expect("nothing to do");
    assert_eq!(site.server.keys(0).len(), 6);
    // A database that came into use since the load goes aside too.
    site.server.ask::<()>(3, "SET new value");
    let aside_again = site.service.prepare(&beside).expect("prepared anew");
    assert_ne!(aside, aside_again);
    for _ in 0..2 {
        site.service.commit(&beside, &aside_again).expect("committed");
        assert_eq!((site.server.keys(0).len(), site.server.keys(3).len(), libraries(&site)), (5, 0, 1));
    }
    assert_eq!(site.service.prepare(&beside).expect("as it was fixed"), aside_again);
    for _ in 0..2 {
        site.service.roll_back(&beside, &aside_again).expect("rolled back");
        assert_eq!((site.server.keys(0).len(), site.server.keys(3).len(), libraries(&site)), (6, 1, 2));
    }
    site.service.commit(&beside, &aside_again).expect("committed after all");
    assert_eq!(site.server.keys(0).len(), 5);
    site.service.discard(&beside, None).expect("what is aside stays");
    site.service.roll_back(&beside, &aside_again).expect("it is there");
    for _ in 0..2 {
        site.service.discard(&beside, Some(&aside_again)).expect("discarded");
    }
    assert_eq!(site.databases(), "db0:keys=6 db3:keys=1");
    let error = site.service.commit(&beside, &aside_again).expect_err("it is gone");
    assert!(matches!(&error, Error::CannotRestore { why, .. } if why.contains("not there any more")), "{error}");
}

#[test]
fn an_exchange_whose_last_word_comes_after_it_was_taken_back_does_nothing() {
    let site = Site::new();
    site.fill(5);
    let (dump, facts) = site.dump();
    site.server.ask::<()>(0, "SET later value");
    let beside = site.load(&dump).expect("loaded");
    site.service.check(&beside, &facts).expect("as recorded");
    let aside = site.service.prepare(&beside).expect("prepared");
    let Aside::Redis(old) = &aside else { panic!("of this kind") };
    let late = swap::commit_late(&site.service, old, || {
        site.service.roll_back(&beside, &aside).expect("taken back");
    });
    assert_eq!(late.expect("an answer"), None);
    assert_eq!(site.server.keys(0).len(), 6);
    site.service.commit(&beside, &aside).expect("another one is done");
    assert_eq!(site.server.keys(0).len(), 5);
    site.service.discard(&beside, Some(&aside)).expect("discarded");
}

#[test]
fn clients_see_the_old_or_the_new_and_are_not_sent_away() {
    let site = Site::new();
    site.server.ask::<()>(0, "MSET a new b new");
    let (dump, facts) = site.dump();
    site.server.ask::<()>(0, "MSET a old b old");
    let beside = site.load(&dump).expect("loaded");
    site.service.check(&beside, &facts).expect("as recorded");
    let aside = site.service.prepare(&beside).expect("prepared");
    let mut client = site.server.open("", "").expect("a client");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let reading = std::thread::spawn(move || {
        let mut seen = std::collections::BTreeSet::new();
        while stopped.try_recv().is_err() {
            let pair: (String, String) = ::redis::cmd("MGET").arg("a").arg("b").query(&mut client).expect("an answer");
            assert_eq!(pair.0, pair.1);
            seen.insert(pair.0);
        }
        seen.len()
    });
    for _ in 0..50 {
        site.service.commit(&beside, &aside).expect("committed");
        site.service.roll_back(&beside, &aside).expect("rolled back");
    }
    stop.send(()).expect("it reads");
    assert_eq!(reading.join().expect("it saw no mixture"), 2);
}

#[test]
fn an_exchange_that_arrives_late_does_nothing() {
    let site = Site::new();
    site.fill(1);
    let (dump, _) = site.dump();
    site.server.ask::<()>(0, "FLUSHALL");
    let beside = site.load(&dump).expect("loaded");
    let aside = site.service.prepare(&beside).expect("prepared");
    // A first try, whose last word is still on its way.
    let mut lost = site.server.open("", "").expect("a connection");
    let mut send = |words: &str| {
        let mut command = ::redis::Cmd::new();
        for word in words.split(' ') {
            command.arg(word);
        }
        command.query::<::redis::Value>(&mut lost).expect("an answer")
    };
    for words in ["SELECT 15", "WATCH stillpoint:beside", "MULTI", "SWAPDB 0 15"] {
        send(words);
    }
    site.service.commit(&beside, &aside).expect("the second try");
    assert_eq!(send("EXEC"), ::redis::Value::Nil);
    assert_eq!(site.server.keys(0), ["k1"]);
}

#[test]
fn nothing_comes_back_from_an_empty_snapshot() {
    let site = Site::new();
    let (dump, facts) = site.dump();
    assert!(facts.rows.is_empty());
    site.fill(3);
    let (beside, aside) = site.restore(&dump, &facts);
    assert_eq!(site.server.keys(0), Vec::<String>::new());
    site.service.roll_back(&beside, &aside).expect("rolled back");
    site.service.discard(&beside, Some(&aside)).expect("discarded");
    assert_eq!(site.databases(), "db0:keys=3");
    site.service.provision().expect_err("it is not empty");
    site.server.ask::<()>(0, "FLUSHALL");
    site.service.provision().expect("it is empty");
}

#[test]
fn what_stands_beside_is_in_no_snapshot() {
    let site = Site::new();
    site.fill(2);
    let (dump, facts) = site.dump();
    let beside = site.load(&dump).expect("loaded");
    assert_eq!(site.dump().1, facts);
    assert_eq!(site.service.contents(super::WITHIN).expect("counted").rows.len(), 1);
    site.service.discard(&beside, None).expect("discarded");
    assert_eq!(site.databases(), "db0:keys=2");
}
