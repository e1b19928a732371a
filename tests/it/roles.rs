//! `serve`, `work` and `gate` as processes of their own on one SQLite file, and what becomes of the site when one dies
//! (R17).

use std::time::{Duration, Instant};

use crate::process::{Installation, Process, Site, until};

const STOP: &str = "STILLPOINT_STOP_AT";

struct Roles {
    serve: Process,
    work: Process,
    gate: Process,
    // Last: the directory goes after the processes whose logs are in it.
    at: Installation,
}

impl Roles {
    fn start(worker_stops_at: &str) -> Self {
        let at = Installation::new();
        let serve = at.start_role("serve", &[]);
        let gate = at.start_role("gate", &[]);
        let work = at.start_role("work", &[(STOP, worker_stops_at)]);
        at.ready(&serve);
        at.gate_ready(&gate);
        Self { serve, work, gate, at }
    }

    /// A snapshot of version 1 while the site is at version 2.
    fn second_version(&self) -> String {
        let first = self.at.snapshot();
        self.at.site.write(2);
        first
    }

    fn new_worker(&mut self) {
        self.work = self.at.start_role("work", &[]);
    }

    fn new_gate(&mut self) {
        self.gate = self.at.start_role("gate", &[]);
        self.at.gate_ready(&self.gate);
    }

    fn end(self) {
        self.at.assert_no_leftovers();
        self.at.assert_repository_whole();
        self.work.terminate();
        self.gate.terminate();
        self.serve.terminate();
    }
}

fn served(at: &Installation) -> bool {
    at.visit().is_some_and(|answer| answer.status == 200)
}

#[test]
fn the_console_alone_shows_how_the_first_account_is_made() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let site = Site::new(&directory.path().join("site"));
    let mut at = Installation::bare(directory, site);
    let link = |process: &Process| {
        until("the console says where it is", || {
            process.assert_runs();
            process.log().contains("Console and API at").then_some(())
        });
        process.log().contains("/setup?code=")
    };
    let serve = at.start_role("serve", &[]);
    until("the link is shown", || link(&serve).then_some(()));
    at.add_operator();
    at.ready(&serve);
    serve.terminate();
    let serve = at.start_role("serve", &[]);
    at.ready(&serve);
    assert!(!link(&serve), "there is an account");
    serve.terminate();
}

#[test]
fn visitors_are_held_and_not_dropped_across_processes() {
    let roles = Roles::start("");
    let visitor = roles.at.visitor();
    let first = roles.at.snapshot();
    assert_eq!(roles.at.backup(&first)["attributes"]["consistency"], "consistent");
    let visits = visitor.leave();
    assert_eq!((visits.broken, visits.asked_to_return), (0, 0), "{visits:?}");

    roles.at.site.write(2);
    let visitor = roles.at.visitor();
    roles.at.restore(&first);
    let visits = visitor.leave();
    assert_eq!((visits.broken, visits.asked_to_return), (0, 0), "{visits:?}");
    assert_eq!(roles.at.site.version(), 1);
    roles.end();
}

#[test]
fn a_gate_opens_by_itself_when_the_worker_dies_in_a_snapshot_hold() {
    let mut roles = Roles::start("snapshot: held");
    let asked = roles.at.ask_snapshot();
    roles.work.stopped();
    roles.work.kill();
    let since = Instant::now();
    assert!(served(&roles.at), "the visitor waits, and is served");
    // The dead-man's 2.5 s and something for a busy machine.
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    roles.new_worker();
    roles.at.succeeded(&asked);
    roles.end();
}

#[test]
fn a_snapshot_fails_when_a_gate_dies_in_its_hold_and_works_with_the_next_gate() {
    let mut roles = Roles::start("snapshot: held");
    let asked = roles.at.ask_snapshot();
    roles.work.stopped();
    roles.gate.kill();
    roles.work.go_on();
    let reason = roles.at.failed(&asked);
    assert!(reason.contains("could not be held"), "{reason}");
    assert_eq!(roles.at.backups().len(), 0);

    roles.work.kill();
    roles.new_worker();
    roles.new_gate();
    until("the new gate is registered, and the dead one forgotten", || {
        let asked = roles.at.ask_snapshot();
        (roles.at.over(&asked)["result"] == "success").then_some(())
    });
    assert!(served(&roles.at));
    roles.end();
}

#[test]
fn a_swap_is_taken_back_when_a_gate_dies_in_it() {
    let mut roles = Roles::start("restore: swapping");
    let first = roles.second_version();
    let asked = roles.at.ask_restore(&first);
    roles.work.stopped();
    roles.gate.kill();
    roles.work.go_on();
    let reason = roles.at.failed(&asked);
    assert!(reason.contains("taken back"), "{reason}");
    assert_eq!(roles.at.site.version(), 2);
    roles.new_gate();
    assert!(served(&roles.at));
    assert_eq!(roles.at.site.version(), 2);
    roles.end();
}

#[test]
fn what_a_restore_replaced_is_kept_when_a_gate_dies_right_after_the_swap() {
    let mut roles = Roles::start("restore: swapped");
    let first = roles.second_version();
    let asked = roles.at.ask_restore(&first);
    roles.work.stopped();
    roles.gate.kill();
    roles.work.go_on();
    let activity = roles.at.succeeded(&asked);
    assert_eq!(roles.at.site.version(), 1);
    roles.new_gate();
    assert!(served(&roles.at));
    let safety = activity["payload"]["safety_backup_name"].as_str().expect("a name").to_owned();
    roles.at.backup(&safety);
    roles.end();
}

#[test]
fn a_gate_stays_shut_when_the_worker_dies_in_a_swap_until_another_one_takes_it_back() {
    let mut roles = Roles::start("restore: a service exchanged");
    let first = roles.second_version();
    let asked = roles.at.ask_restore(&first);
    roles.work.stopped();
    let visitor = roles.at.visitor();
    roles.work.kill();
    until("visitors are asked to return", || (visitor.so_far().asked_to_return > 0).then_some(()));
    assert_eq!(visitor.so_far().served, 0, "nobody sees a mixed site");
    // A gate that starts now knows of it too.
    roles.gate.kill();
    roles.new_gate();
    let answer = roles.at.visit().expect("the gateway");
    assert_eq!(answer.status, 503);

    roles.new_worker();
    until("the site is served again", || served(&roles.at).then_some(()));
    until("the restore ends", || (roles.at.activity(&asked)["state"] == "complete").then_some(()));
    visitor.leave();
    assert!([1, 2].contains(&roles.at.site.version()));
    roles.end();
}

#[test]
fn a_gate_opens_again_when_the_worker_died_before_anything_was_exchanged_and_the_restore_is_cancelled() {
    let mut roles = Roles::start("restore: prepared");
    let first = roles.second_version();
    let asked = roles.at.ask_restore(&first);
    roles.work.stopped();
    roles.work.kill();
    until("the dead-man shuts the gate", || roles.at.visit().filter(|answer| answer.status == 503));
    assert_eq!(roles.at.cancel(&asked), 202);
    roles.new_worker();
    assert_eq!(roles.at.over(&asked)["state"], "cancelled");
    assert!(served(&roles.at), "the data is wholly the old one");
    assert_eq!(roles.at.site.version(), 2);
    roles.end();
}

#[test]
fn nothing_is_lost_when_the_console_dies() {
    let mut roles = Roles::start("");
    let asked = roles.at.ask_snapshot();
    roles.serve.kill();
    let visitor = roles.at.visitor();
    roles.serve = roles.at.start_role("serve", &[]);
    roles.at.ready(&roles.serve);
    roles.at.succeeded(&asked);
    assert_eq!(visitor.leave().broken, 0);
    roles.end();
}

#[test]
fn what_is_cancelled_leaves_nothing() {
    let mut roles = Roles::start("snapshot: copied");
    let running = roles.at.ask_snapshot();
    roles.work.stopped();
    let pending = roles.at.ask_snapshot();
    for asked in [&pending, &running] {
        assert_eq!(roles.at.cancel(asked), 202);
    }
    assert_eq!(roles.at.activity(&pending)["state"], "cancelled");
    roles.work.go_on();
    assert_eq!(roles.at.over(&running)["state"], "cancelled");
    assert_eq!(roles.at.backups().len(), 0);
    roles.work.kill();
    roles.new_worker();
    roles.at.snapshot();
    roles.end();
}

#[test]
fn a_restore_that_is_cancelled_while_it_loads_leaves_the_old_data_and_nothing_else() {
    let roles = Roles::start("restore: a mount loaded");
    let first = roles.second_version();
    let asked = roles.at.ask_restore(&first);
    roles.work.stopped();
    assert_eq!(roles.at.cancel(&asked), 202);
    roles.work.go_on();
    assert_eq!(roles.at.over(&asked)["state"], "cancelled");
    assert_eq!(roles.at.site.version(), 2);
    roles.end();
}

#[test]
fn a_restore_that_is_cancelled_after_the_swap_keeps_what_it_replaced_all_the_same() {
    let mut roles = Roles::start("restore: swapped");
    let first = roles.second_version();
    let asked = roles.at.ask_restore(&first);
    roles.work.stopped();
    assert_eq!(roles.at.cancel(&asked), 202);
    roles.work.go_on();
    let activity = roles.at.succeeded(&asked);
    assert_eq!(roles.at.site.version(), 1);
    roles.work.kill();
    roles.new_worker();
    let safety = activity["payload"]["safety_backup_name"].as_str().expect("a name").to_owned();
    roles.at.restore(&safety);
    assert_eq!(roles.at.site.version(), 2);
    roles.end();
}
