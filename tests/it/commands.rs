//! Commands that the operator named: what goes round the gate is paused for a hold and goes on whatever becomes of it; what
//! comes from elsewhere is made the target's own before its gate opens.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{Asked, Installation, Site, until};
use serde_json::{Value, json};

const CRASH: &str = "STILLPOINT_CRASH_AT";

/// The operator's program, which notes each call with the version of the files that it finds.
struct Hooks {
    home: PathBuf,
}

impl Hooks {
    fn new(home: &Path, uploads: &Path) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        fs::create_dir(home).expect("a directory");
        let hooks = Self { home: home.to_owned() };
        let text = format!(
            "#!/bin/sh\ncd {home:?}\nprintf '%s %s %s\\n' \"$1\" \"$(head -n 1 {uploads:?}/version.txt)\" \"$(cat)\" >> calls\n\
             if [ -e \"fail-$1\" ]; then echo \"no $1 today\" >&2; exit 1; fi\n\
             if [ -e \"wait-$1\" ]; then echo $$ > waits; sleep 600 & echo $! > sleeps; wait; fi\n\
             if [ \"$1\" = after-restore ]; then echo made-our-own >> {uploads:?}/version.txt; fi\n",
        );
        fs::write(hooks.program(), text).expect("a script");
        fs::set_permissions(hooks.program(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        hooks
    }

    fn program(&self) -> PathBuf {
        self.home.join("shop")
    }

    /// To stand behind an environment.
    fn declaration(&self, names: &[&str]) -> String {
        let lines: Vec<String> = names.iter().map(|name| format!("{name} = [{:?}]\n", self.program())).collect();
        format!("\n[project.environment.commands]\n{}", lines.concat())
    }

    /// From now on.
    fn set(&self, what: &str) {
        fs::write(self.home.join(what), "").expect("a file");
    }

    fn unset(&self, what: &str) {
        fs::remove_file(self.home.join(what)).expect("it was set");
    }

    fn is_there(&self, what: &str) -> bool {
        self.home.join(what).exists()
    }

    /// Word, version, and what it was told.
    fn calls(&self) -> Vec<(String, u32, Value)> {
        let text = fs::read_to_string(self.home.join("calls")).unwrap_or_default();
        let call = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let mut next = || words.next().expect("three words");
            let (word, version) = (next().to_owned(), next().parse().expect("a version"));
            (word, version, serde_json::from_str(next()).expect("JSON"))
        };
        text.lines().map(call).collect()
    }

    /// `pause 1, resume 1`.
    fn told(&self) -> String {
        let calls: Vec<String> = self.calls().iter().map(|(word, version, _)| format!("{word} {version}")).collect();
        calls.join(", ")
    }

    fn forget(&self) {
        fs::remove_file(self.home.join("calls")).expect("it was called");
    }
}

/// The environment `main`, with `pause` and `resume`.
fn pausing() -> (Installation, Hooks) {
    let at = Installation::new();
    let hooks = Hooks::new(&at.directory().join("hooks"), &at.site.uploads());
    let (applied, told) = at.apply(&at.site.declaration(&hooks.declaration(&["pause", "resume"])));
    assert!(applied, "{told}");
    (at, hooks)
}

/// `main` at version 1 with all three commands, and a snapshot of `other` at version 7.
fn elsewhere(at: &Installation, hooks: &Hooks) -> String {
    let other = Site::new(&at.directory().join("other"));
    other.write(7);
    let more = format!(
        "{}\n[[project.environment]]\nname = \"other\"\ntype = \"staging\"\n\n\
         [[project.environment.service]]\nname = \"database\"\ntype = \"sqlite\"\npath = {:?}\n\n\
         [[project.environment.mount]]\nname = \"uploads\"\npath = {:?}\n",
        hooks.declaration(&["pause", "resume", "after_restore"]),
        other.database(),
        other.uploads()
    );
    let (applied, told) = at.apply(&at.site.declaration(&more));
    assert!(applied, "{told}");
    more
}

fn asked(reply: Option<(u16, Value)>) -> Asked {
    let (status, body) = reply.expect("the server answers");
    assert_eq!(status, 202, "{body}");
    let activity = &body["_embedded"]["activities"][0];
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    Asked { activity: text(&activity["id"]), snapshot: text(&activity["payload"]["backup_name"]) }
}

fn snapshot_of_other(at: &Installation) -> String {
    let taken = asked(at.ask("POST", "/projects/shop/environments/other/backup", Some(json!({}))));
    at.succeeded(&taken);
    taken.snapshot
}

fn ask_restore_into_main(at: &Installation, snapshot: &str) -> Asked {
    let path = format!("/projects/shop/environments/other/backups/{snapshot}/restore");
    asked(at.ask("POST", &path, Some(json!({ "environment_name": "main" }))))
}

fn is_alive(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn what_goes_round_the_gate_stands_still_in_every_hold_and_learns_why() {
    let (at, hooks) = pausing();
    let server = at.start();
    let taken = at.ask_snapshot();
    at.succeeded(&taken);
    assert_eq!(hooks.told(), "pause 1, resume 1");
    let calls = hooks.calls();
    let (_, _, told) = &calls[0];
    assert_eq!(*told, calls[1].2);
    assert_eq!(
        *told,
        json!({
            "project": "shop", "environment": "main", "type": "production", "job": "snapshot",
            "activity": taken.activity, "snapshot": taken.snapshot, "source": null
        })
    );
    let log = at.log_of(&taken);
    assert!(log.contains("What goes round the gateway is paused") && log.contains("goes on"), "{log}");

    hooks.forget();
    at.succeeded(&at.ask_snapshot_as(&at.token, json!({ "safe": false })));
    assert_eq!(hooks.told(), "", "taken live, it holds nobody");

    at.site.write(2);
    let restored = at.ask_restore(&taken.snapshot);
    at.succeeded(&restored);
    // What came back to its own place is its own already.
    assert_eq!(hooks.told(), "pause 2, resume 1");
    assert_eq!(hooks.calls()[0].2["job"], "restore");
    server.terminate();
}

#[test]
fn a_pause_that_fails_ends_the_activity_with_its_words_and_what_it_did_is_taken_back() {
    let (at, hooks) = pausing();
    let server = at.start();
    let kept = at.snapshot();
    hooks.forget();
    hooks.set("fail-pause");
    let reason = at.failed(&at.ask_snapshot());
    assert!(reason.contains("could not be paused") && reason.contains("no pause today"), "{reason}");
    assert_eq!(hooks.told(), "pause 1, resume 1");
    assert_eq!(at.backups().len(), 1);
    at.site.write(2);
    let reason = at.failed(&at.ask_restore(&kept));
    assert!(reason.contains("no pause today"), "{reason}");
    assert_eq!(at.site.version(), 2);
    assert_eq!(at.visit().expect("the gateway").status, 200);
    at.assert_no_leftovers();

    hooks.unset("fail-pause");
    fs::remove_file(hooks.program()).expect("it is there");
    let reason = at.failed(&at.ask_snapshot());
    assert!(reason.contains("install it, or correct the declared path"), "{reason}");
    server.terminate();
}

#[test]
fn a_resume_that_fails_is_told_aloud_and_the_next_activity_makes_up_for_it() {
    let (at, hooks) = pausing();
    let server = at.start();
    hooks.set("fail-resume");
    let taken = at.ask_snapshot();
    at.succeeded(&taken);
    let log = at.log_of(&taken);
    assert!(log.contains("WARNING: what goes round the gateway is still paused"), "{log}");
    assert!(log.contains("no resume today"), "{log}");
    assert!(server.log().contains("an environment stays paused"));
    hooks.forget();
    hooks.unset("fail-resume");
    at.snapshot();
    assert_eq!(hooks.told(), "resume 1, pause 1, resume 1");
    assert_eq!(hooks.calls()[0].2["job"], "recovery");
    server.terminate();
}

#[test]
fn what_a_worker_that_died_had_paused_goes_on_before_the_next_try() {
    for step in ["hooks: pausing", "hooks: paused", "snapshot: views open"] {
        let (at, hooks) = pausing();
        let dying = at.start_with(&[(CRASH, step)]);
        let taken = at.ask_snapshot();
        dying.died();
        assert!(matches!(hooks.told().as_str(), "" | "pause 1"), "{step}: {}", hooks.told());
        if step != "hooks: pausing" {
            hooks.forget();
        }
        let server = at.start();
        at.succeeded(&taken);
        assert_eq!(hooks.told(), "resume 1, pause 1, resume 1", "{step}");
        server.terminate();
    }
}

#[test]
fn what_was_paused_for_a_swap_goes_on_only_when_nothing_is_mixed() {
    for (step, told) in [
        ("restore: held", "resume 2, pause 2, resume 1"),
        // The half-done swap is taken back first: version 2 is whole again.
        ("restore: a service exchanged", "resume 2, pause 2, resume 1"),
        ("restore: a mount exchanged", "resume 2, pause 2, resume 1"),
        ("restore: swapped", "resume 1"),
    ] {
        let (at, hooks) = pausing();
        let dying = at.start_with(&[(CRASH, step)]);
        let kept = at.snapshot();
        at.site.write(2);
        hooks.forget();
        let restored = at.ask_restore(&kept);
        dying.died();
        assert_eq!(hooks.told(), "pause 2", "{step}");
        hooks.forget();
        let server = at.start();
        at.succeeded(&restored);
        assert_eq!(hooks.told(), told, "{step}");
        assert_eq!(at.site.version(), 1);
        server.terminate();
    }
}

#[test]
fn what_an_activity_left_paused_that_nobody_takes_up_again_goes_on() {
    let (at, hooks) = pausing();
    let mut taken = None;
    for _ in 0..3 {
        let dying = at.start_with(&[(CRASH, "hooks: paused")]);
        taken.get_or_insert_with(|| at.ask_snapshot());
        dying.died();
    }
    assert_eq!(hooks.calls().last().expect("it was called").0, "pause");
    let server = at.start();
    at.failed(&taken.expect("asked for"));
    until("it goes on", || (hooks.calls().last()?.0 == "resume").then_some(()));
    server.terminate();
}

#[test]
fn what_comes_from_elsewhere_is_made_the_targets_own_before_its_gate_opens() {
    let at = Installation::new();
    let hooks = Hooks::new(&at.directory().join("hooks"), &at.site.uploads());
    elsewhere(&at, &hooks);
    let server = at.start();
    let kept = snapshot_of_other(&at);
    assert_eq!(hooks.told(), "", "they are main's commands");

    // What fails is taken back, and nobody has seen it.
    hooks.set("fail-after-restore");
    let visitor = at.visitor();
    until("visitors come", || (visitor.so_far().served > 0).then_some(()));
    let failed = ask_restore_into_main(&at, &kept);
    let reason = at.failed(&failed);
    assert!(reason.contains("taken back") && reason.contains("no after-restore today"), "{reason}");
    assert_eq!(hooks.told(), "pause 1, after-restore 7, resume 1");
    assert_eq!(at.site.version(), 1);
    at.assert_no_leftovers();

    hooks.unset("fail-after-restore");
    hooks.forget();
    let restored = ask_restore_into_main(&at, &kept);
    let activity = at.succeeded(&restored);
    visitor.leave();
    assert_eq!(hooks.told(), "pause 1, after-restore 7, resume 7");
    assert_eq!(hooks.calls()[1].2["source"], "other");
    assert_eq!(hooks.calls()[1].2["snapshot"], kept.as_str());
    let own = fs::read_to_string(at.site.uploads().join("version.txt")).expect("a file");
    assert_eq!(own, "7\nmade-our-own\n");

    // Undo is a restore of main's own data.
    hooks.forget();
    at.restore(activity["payload"]["safety_backup_name"].as_str().expect("a name"));
    assert_eq!(hooks.told(), "pause 7, resume 1");
    assert_eq!(at.site.version(), 1);
    server.terminate();
}

#[test]
fn a_worker_that_dies_while_data_is_made_the_targets_own_takes_that_along_and_begins_again() {
    let at = Installation::new();
    let hooks = Hooks::new(&at.directory().join("hooks"), &at.site.uploads());
    elsewhere(&at, &hooks);
    let mut dying = at.start();
    let kept = snapshot_of_other(&at);
    hooks.set("wait-after-restore");
    let visitor = at.visitor();
    let restored = ask_restore_into_main(&at, &kept);
    until("it runs", || hooks.is_there("sleeps").then_some(()));
    let before = visitor.so_far();
    until("visitors are asked to come back", || {
        (visitor.so_far().asked_to_return > before.asked_to_return).then_some(())
    });
    dying.kill();
    for noted in ["waits", "sleeps"] {
        let pid = fs::read_to_string(hooks.home.join(noted)).expect("it was noted");
        until("it is dead", || (!is_alive(pid.trim())).then_some(()));
    }
    hooks.forget();
    hooks.unset("wait-after-restore");
    let server = at.start();
    at.succeeded(&restored);
    visitor.leave();
    assert_eq!(hooks.told(), "resume 1, pause 1, after-restore 7, resume 7");
    assert_eq!(at.site.version(), 7);
    at.assert_no_leftovers();
    server.terminate();
}

#[test]
fn commands_are_looked_at_when_they_are_declared() {
    use std::os::unix::fs::PermissionsExt as _;
    let at = Installation::new();
    let hooks = Hooks::new(&at.directory().join("hooks"), &at.site.uploads());
    let refused = |commands: &str| {
        let (applied, told) = at.apply(&at.site.declaration(commands));
        assert!(!applied, "{told}");
        told
    };
    let told = refused(&hooks.declaration(&["pause"]));
    assert!(told.contains(":21: `pause` needs a `resume`"), "{told}");
    let told = refused("\n[project.environment.commands]\nafter_restore = [\"bin/anonymise\"]\n");
    assert!(told.contains(":22: ") && told.contains("not an absolute path"), "{told}");
    let told = refused("\n[project.environment.commands]\nafter_restore = [\"/nowhere/anonymise\"]\n");
    assert!(told.contains(":21: The program `/nowhere/anonymise` can't be used"), "{told}");
    let told = refused("\n[project.environment.commands]\nbefore = [\"/bin/true\"]\n");
    assert!(told.contains("unknown field `before`"), "{told}");
    fs::set_permissions(hooks.program(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    let told = refused(&hooks.declaration(&["pause", "resume"]));
    assert!(told.contains("could be changed by others"), "{told}");
}
