//! What becomes of a swap when the server, or its memory, goes in the middle of it.

use super::server::Server;
use super::{PASSWORD, Site};
use crate::drivers::{Error, Service as _};

const USER: [&str; 6] = ["--user", "app", "on", "nopass", "~*", "+@all"];

#[test]
fn a_swap_outlives_a_server_that_keeps_a_log_and_is_killed() {
    let settings = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut site = Site::on(Server::with(&settings));
    site.fill(3);
    let (dump, _) = site.dump();
    site.server.ask::<()>(0, "SET later value");
    let beside = site.load(&dump).expect("loaded");
    let aside = site.service.prepare(&beside).expect("prepared");
    let again: Vec<&str> = settings.into_iter().chain(USER).collect();
    let _ = PASSWORD;
    site.server.kill();
    site.server.again(&again);
    site.service.commit(&beside, &aside).expect("it stands there");
    assert_eq!(site.server.keys(0).len(), 3);
    site.server.kill();
    site.server.again(&again);
    site.service.commit(&beside, &aside).expect("it is done");
    assert_eq!(site.server.keys(0).len(), 3);
    site.service.roll_back(&beside, &aside).expect("rolled back");
    assert_eq!(site.server.keys(0).len(), 4);
    site.service.discard(&beside, Some(&aside)).expect("discarded");
    assert_eq!(site.databases(), "db0:keys=4");
}

#[test]
fn a_server_that_forgets_everything_is_not_taken_for_one_that_swapped() {
    let mut site = Site::new();
    site.fill(3);
    let (dump, _) = site.dump();
    let beside = site.load(&dump).expect("loaded");
    let aside = site.service.prepare(&beside).expect("prepared");
    site.server.kill();
    site.server.again(&USER);
    let error = site.service.commit(&beside, &aside).expect_err("it is gone");
    assert!(error.to_string().contains("not there any more"), "{error}");
    site.service.roll_back(&beside, &aside).expect("nothing is there to go back to");
    let error = site.service.aside_facts(&aside).expect_err("nothing is aside");
    assert!(matches!(error, Error::NotPrepared { .. }), "{error}");
    site.service.discard(&beside, Some(&aside)).expect("nothing to discard");
}

#[test]
fn what_was_set_aside_and_then_emptied_is_not_rolled_back_silently() {
    let site = Site::new();
    site.fill(3);
    let (dump, facts) = site.dump();
    let (beside, aside) = site.restore(&dump, &facts);
    site.server.ask::<()>(15, "FLUSHDB");
    let error = site.service.roll_back(&beside, &aside).expect_err("the old data is gone");
    assert!(error.to_string().contains("set aside is gone"), "{error}");
}

#[test]
fn what_a_load_that_died_left_is_found_again() {
    let site = Site::new();
    site.fill(3);
    let (dump, _) = site.dump();
    drop(site.load(&dump).expect("loaded"));
    // All that the journal knows.
    let announced = site.service.beside(site.scratch.path()).expect("announced");
    assert_eq!(site.databases(), "db0:keys=3 db15:keys=4");
    site.service.discard(&announced, None).expect("discarded");
    assert_eq!(site.databases(), "db0:keys=3");
}
