//! Two gateways of one region: each confirms that it closed and that nothing passed, or nothing is promised (R17, R23).

use crate::process::{Installation, Process, until};

const STOP: &str = "STILLPOINT_STOP_AT";

struct Region {
    serve: Process,
    work: Process,
    gate: Process,
    other: Process,
    /// Where the other gate's visitors come.
    port: u16,
    // Last: the directory goes after the processes whose logs are in it.
    at: Installation,
}

impl Region {
    fn start(worker_stops_at: &str) -> Self {
        let at = Installation::new();
        let serve = at.start_role("serve", &[]);
        let gate = at.start_role("gate", &[]);
        let (other, port) = at.another_gate();
        let work = at.start_role("work", &[(STOP, worker_stops_at)]);
        at.ready(&serve);
        at.gate_ready(&gate);
        Self { serve, work, gate, other, port, at }
    }

    /// A snapshot of version 1 while the site is at version 2.
    fn second_version(&self) -> String {
        let first = self.at.snapshot();
        self.at.site.write(2);
        first
    }

    fn both_serve(&self) {
        for port in [self.at.gateway_port(), self.port] {
            until("the site is served", || self.at.visit_at(port).filter(|answer| answer.status == 200));
        }
    }

    /// A worker that stops nowhere.
    fn new_worker(&mut self) {
        self.work.kill();
        self.work = self.at.start_role("work", &[]);
    }

    /// Snapshots fail while a gate that is gone still counts as alive.
    fn snapshot_in_the_end(&self) {
        until("the dead gate is forgotten", || {
            let asked = self.at.ask_snapshot();
            (self.at.over(&asked)["result"] == "success").then_some(())
        });
    }

    fn end(self) {
        self.at.assert_no_leftovers();
        self.at.assert_repository_whole();
        for process in [self.work, self.gate, self.other, self.serve] {
            process.terminate();
        }
    }
}

#[test]
fn both_gates_hold_and_visitors_of_neither_are_lost() {
    let region = Region::start("");
    let visitors = || [region.at.visitor(), region.at.visitor_at(region.port)];
    let here = visitors();
    let first = region.at.snapshot();
    let backup = region.at.backup(&first);
    assert_eq!(backup["attributes"]["consistency"], "consistent", "{backup:#}");
    for visits in here.map(|visitor| visitor.leave()) {
        assert_eq!((visits.broken, visits.asked_to_return), (0, 0), "{visits:?}");
    }
    region.at.site.write(2);
    let here = visitors();
    region.at.restore(&first);
    for visits in here.map(|visitor| visitor.leave()) {
        assert_eq!((visits.broken, visits.asked_to_return), (0, 0), "{visits:?}");
    }
    assert_eq!(region.at.site.version(), 1);
    region.end();
}

#[test]
fn a_snapshot_fails_when_one_of_two_gates_dies_in_its_hold_and_the_other_opens() {
    let mut region = Region::start("snapshot: held");
    let asked = region.at.ask_snapshot();
    region.work.stopped();
    region.other.kill();
    region.work.go_on();
    let reason = region.at.failed(&asked);
    assert!(reason.contains("did not confirm") && reason.contains("see that it runs"), "{reason}");
    assert_eq!(region.at.visit().expect("the gateway").status, 200);
    assert_eq!(region.at.backups().len(), 0);
    region.at.assert_no_leftovers();
    region.new_worker();
    region.snapshot_in_the_end();
    (region.other, region.port) = region.at.another_gate();
    region.both_serve();
    region.end();
}

#[test]
fn a_snapshot_fails_when_one_of_two_gates_hangs_in_its_hold_and_both_open() {
    let mut region = Region::start("snapshot: held");
    let asked = region.at.ask_snapshot();
    region.work.stopped();
    region.other.freeze();
    region.work.go_on();
    let reason = region.at.failed(&asked);
    assert!(reason.contains("did not answer in time") && reason.contains("see that it runs"), "{reason}");
    assert_eq!(region.at.visit().expect("the gateway").status, 200);
    assert_eq!(region.at.backups().len(), 0);
    region.other.go_on();
    region.both_serve();
    region.new_worker();
    region.snapshot_in_the_end();
    region.end();
}

#[test]
fn a_swap_is_taken_back_when_one_of_two_gates_hangs_in_it_and_both_open_once_it_is_back() {
    let mut region = Region::start("restore: swapping");
    let first = region.second_version();
    let asked = region.at.ask_restore(&first);
    region.work.stopped();
    region.other.freeze();
    region.work.go_on();
    let reason = region.at.failed(&asked);
    assert!(reason.contains("taken back") && reason.contains("see that it runs"), "{reason}");
    assert_eq!(region.at.site.version(), 2);
    assert_eq!(region.at.visit().expect("the gateway").status, 200);
    region.other.go_on();
    // It shuts itself, as its hold had been a swap's, and nobody comes to open it.
    region.both_serve();
    region.new_worker();
    region.at.restore(&first);
    assert_eq!(region.at.site.version(), 1);
    region.both_serve();
    region.end();
}

#[test]
fn a_gate_that_starts_in_the_middle_of_a_hold_takes_the_promise_away() {
    let mut region = Region::start("snapshot: held");
    let asked = region.at.ask_snapshot();
    region.work.stopped();
    let (third, port) = region.at.another_gate();
    assert_eq!(region.at.visit_at(port).expect("the third gateway").status, 200, "it knows of no hold");
    region.work.go_on();
    // The next try holds all three.
    region.work.stopped();
    region.work.go_on();
    region.at.succeeded(&asked);
    let log = region.at.log_of(&asked);
    assert!(log.contains("a gateway was started during the hold") && log.contains("trying once more"), "{log}");
    region.new_worker();
    third.terminate();
    region.end();
}

#[test]
fn a_gate_that_starts_in_the_middle_of_a_swap_hold_takes_the_swap_back() {
    let mut region = Region::start("restore: prepared");
    let first = region.second_version();
    let asked = region.at.ask_restore(&first);
    region.work.stopped();
    let (third, port) = region.at.another_gate();
    assert_eq!(region.at.visit_at(port).expect("the third gateway").body, "{2}", "it knows of no hold");
    region.work.go_on();
    let reason = region.at.failed(&asked);
    assert!(reason.contains("taken back") && reason.contains("a gateway was started during the hold"), "{reason}");
    assert_eq!(region.at.site.version(), 2);
    region.both_serve();
    region.new_worker();
    region.at.restore(&first);
    assert_eq!(region.at.site.version(), 1);
    third.terminate();
    region.end();
}

#[test]
fn a_gate_that_starts_in_the_middle_of_a_swap_is_shut_until_it_is_over() {
    let mut region = Region::start("restore: a service exchanged");
    let first = region.second_version();
    let asked = region.at.ask_restore(&first);
    region.work.stopped();
    let (third, port) = region.at.another_gate();
    assert_eq!(region.at.visit_at(port).expect("the third gateway").status, 503, "it reads the journal");
    region.work.go_on();
    let ended = region.at.over(&asked);
    let version = if ended["result"] == "success" { 1 } else { 2 };
    assert_eq!(region.at.site.version(), version, "{ended:#}");
    until("the third gate opens", || region.at.visit_at(port).filter(|answer| answer.status == 200));
    region.both_serve();
    region.new_worker();
    region.at.restore(&first);
    assert_eq!(region.at.site.version(), 1);
    third.terminate();
    region.end();
}
