//! `serve`, `work` and `gate` as processes of their own on one SQLite file, and what becomes of the site when one dies
//! (R17).

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Asked, Installation, Process, Site, until};

const STOP: &str = "STILLPOINT_STOP_AT";

/// What is killed, alone, while the worker is at some step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dies {
    Work,
    Gate,
    Serve,
}

/// A step of a job, what follows from where it is, and whose deaths there tell most: those are tried.
/// `STILLPOINT_STEPS=all` tries each death at each step, which takes minutes.
type Step = (&'static str, bool, &'static [Dies]);

/// And whether the hold is on then.
const SNAPSHOT: [Step; 6] = [
    ("snapshot: indexed", false, &[]),
    ("snapshot: copied", false, &[]),
    ("snapshot: held", true, &[Dies::Work]),
    ("snapshot: views open", true, &[Dies::Gate, Dies::Serve]),
    ("snapshot: released", false, &[Dies::Gate]),
    ("snapshot: stored", false, &[Dies::Work]),
];
/// And whether the gate shuts, and stays so, when the worker dies there: what is in place may be mixed, or about to be.
const RESTORE: [Step; 10] = [
    ("restore: a mount loaded", false, &[]),
    ("restore: a service loaded", false, &[]),
    ("restore: held", true, &[Dies::Work]),
    ("restore: prepared", true, &[Dies::Gate]),
    ("restore: swapping", true, &[]),
    ("restore: a service exchanged", true, &[Dies::Serve]),
    ("restore: a mount exchanged", true, &[Dies::Work, Dies::Gate]),
    ("restore: swapped", false, &[Dies::Serve]),
    ("restore: safety stored", false, &[Dies::Work]),
    ("restore: ended", false, &[]),
];

fn tried(steps: &[Step], dies: Dies) -> impl Iterator<Item = (&'static str, bool)> {
    let all = std::env::var("STILLPOINT_STEPS").is_ok_and(|steps| steps == "all");
    steps.iter().filter(move |(_, _, most)| all || most.contains(&dies)).map(|(step, what, _)| (*step, *what))
}

struct Roles {
    serve: Process,
    work: Process,
    gate: Process,
    // Last: the directory goes after the processes whose logs are in it.
    at: Installation,
}

impl Roles {
    fn start(worker_stops_at: &str) -> Self {
        Self::start_at(Installation::new(), worker_stops_at)
    }

    fn start_at(at: Installation, worker_stops_at: &str) -> Self {
        let serve = at.start_role("serve", &[]);
        let gate = at.start_role("gate", &[]);
        let work = at.start_role("work", &[(STOP, worker_stops_at)]);
        at.ready(&serve);
        at.gate_ready(&gate);
        Self { serve, work, gate, at }
    }

    /// With a plan that keeps as many snapshots as the steps take.
    fn for_many_snapshots() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let site = Site::new(&directory.path().join("site"));
        let mut at = Installation::bare(directory, site);
        at.add_operator();
        let (id, plan) = ("id = \"shop\"\n", "id = \"shop\"\nplan = \"starter\"\n");
        let (applied, told) = at.apply(&at.site.declaration("").replacen(id, plan, 1));
        assert!(applied, "{told}");
        Self::start_at(at, "")
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

    /// In the place of the one that is there.
    fn worker_stops_at(&mut self, step: &str) {
        self.work.kill();
        self.work = self.at.start_role("work", &[(STOP, step)]);
    }

    /// While the worker has stopped, which goes on then, or the next one does; the end of what was asked for.
    fn dies(&mut self, dies: Dies, asked: &Asked, in_between: impl FnOnce(&Installation)) -> Value {
        match dies {
            Dies::Work => {
                self.work.kill();
                in_between(&self.at);
                self.new_worker();
            }
            Dies::Gate => self.gate.kill(),
            Dies::Serve => {
                self.serve.kill();
                self.work.go_on();
                self.serve = self.at.start_role("serve", &[]);
                self.at.ready(&self.serve);
            }
        }
        let ended = until("it ends", || {
            // A second try stops there again.
            self.work.go_on();
            Some(self.at.activity(asked)).filter(|activity| activity["state"] == "complete")
        });
        if dies == Dies::Gate {
            self.new_gate();
        }
        until("the site is served", || served(&self.at).then_some(()));
        ended
    }

    /// Asks until it succeeds: once a new gate is registered, and a dead one forgotten.
    fn soon(&self, ask: impl Fn(&Installation) -> Asked) {
        until("it succeeds", || (self.at.over(&ask(&self.at))["result"] == "success").then_some(()));
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

/// Each snapshot is there wholly or not at all, visitors go on, and the next one is taken.
fn snapshots_survive(dies: Dies) {
    let mut roles = Roles::for_many_snapshots();
    for (step, is_held) in tried(&SNAPSHOT, dies) {
        eprintln!("{dies:?} at {step}");
        roles.worker_stops_at(step);
        let listed = roles.at.backups().len();
        let asked = roles.at.ask_snapshot();
        roles.work.stopped();
        let visitor = roles.at.visitor();
        let ended = roles.dies(dies, &asked, |at| {
            let since = Instant::now();
            assert!(served(at), "{step}: the visitor waits, and is served");
            // The dead-man's 2.5 s and something for a busy machine; the ceiling of a hold is 10 s.
            assert!(!is_held || since.elapsed() < Duration::from_secs(7), "{step}: {:?}", since.elapsed());
        });
        let visits = visitor.leave();
        assert_eq!(visits.asked_to_return, 0, "{step}: a snapshot hold fails open: {visits:?}");
        let taken = ended["result"] == "success";
        assert_eq!(roles.at.backups().len(), listed + usize::from(taken), "{step}: {ended:#}");
        assert!(taken || dies == Dies::Gate, "{step}: only a gate's death may fail it: {ended:#}");
        assert!(visits.broken == 0 || dies == Dies::Gate, "{step}: {visits:?}");
        roles.at.assert_no_leftovers();
        if !taken {
            roles.worker_stops_at("");
            roles.soon(Installation::ask_snapshot);
        }
    }
    roles.end();
}

/// Each restore is done wholly or not at all, nobody sees it half done, and the next one succeeds.
fn restores_survive(dies: Dies) {
    let mut roles = Roles::for_many_snapshots();
    let mut version = 1;
    for (step, is_shut) in tried(&RESTORE, dies) {
        eprintln!("{dies:?} at {step}");
        roles.worker_stops_at(step);
        let (old, new) = (version + 1, version);
        let first = roles.at.snapshot();
        roles.at.site.write(old);
        let asked = roles.at.ask_restore(&first);
        roles.work.stopped();
        let visitor = roles.at.visitor();
        let ended = roles.dies(dies, &asked, |_| {
            if is_shut {
                until("visitors are asked to return", || (visitor.so_far().asked_to_return > 0).then_some(()));
                assert_eq!(visitor.so_far().served, 0, "{step}");
            } else {
                until("visitors are served", || (visitor.so_far().served > 0).then_some(()));
            }
        });
        // Fails when somebody saw it mixed.
        let visits = visitor.leave();
        let done = ended["result"] == "success";
        assert!(done || dies == Dies::Gate, "{step}: only a gate's death may fail it: {ended:#}");
        assert!(visits.broken == 0 || dies == Dies::Gate, "{step}: {visits:?}");
        assert_eq!(roles.at.site.version(), if done { new } else { old }, "{step}: {ended:#}");
        roles.at.assert_no_leftovers();
        if !done {
            roles.worker_stops_at("");
            roles.soon(|at| at.ask_restore(&first));
            assert_eq!(roles.at.site.version(), new, "{step}");
            roles.at.assert_no_leftovers();
        }
        version += 2;
        roles.at.site.write(version);
    }
    roles.end();
}

#[test]
fn a_snapshot_survives_the_death_of_its_worker_at_each_step() {
    snapshots_survive(Dies::Work);
}

#[test]
fn a_snapshot_survives_the_death_of_the_gate_at_each_step() {
    snapshots_survive(Dies::Gate);
}

#[test]
fn a_snapshot_survives_the_death_of_the_console_at_each_step() {
    snapshots_survive(Dies::Serve);
}

#[test]
fn a_restore_survives_the_death_of_its_worker_at_each_step() {
    restores_survive(Dies::Work);
}

#[test]
fn a_restore_survives_the_death_of_the_gate_at_each_step() {
    restores_survive(Dies::Gate);
}

#[test]
fn a_restore_survives_the_death_of_the_console_at_each_step() {
    restores_survive(Dies::Serve);
}

#[test]
fn a_worker_that_dies_while_it_takes_a_swap_back_leaves_the_gate_shut_for_the_next_one() {
    let mut roles = Roles::start("");
    roles.work.kill();
    roles.work =
        roles.at.start_role("work", &[(STOP, "restore: swapping"), ("STILLPOINT_CRASH_AT", "restore: rolling back")]);
    let first = roles.second_version();
    let asked = roles.at.ask_restore(&first);
    roles.work.stopped();
    // The service can't be exchanged while somebody else writes to it.
    let foreign = roles.at.site.connect();
    foreign.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    roles.work.go_on();
    roles.work.ended();
    foreign.execute_batch("ROLLBACK").expect("rolled back");
    drop(foreign);
    let visitor = roles.at.visitor();
    until("visitors are asked to return", || (visitor.so_far().asked_to_return > 0).then_some(()));
    assert_eq!(visitor.so_far().served, 0);
    roles.new_worker();
    roles.at.succeeded(&asked);
    until("visitors are served", || (visitor.so_far().served > 0).then_some(()));
    visitor.leave();
    assert_eq!(roles.at.site.version(), 1);
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
    roles.soon(Installation::ask_snapshot);
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
