//! With real programs.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::*;

mod streams;

/// A script in a directory that goes with it.
struct Script {
    directory: tempfile::TempDir,
    path: PathBuf,
}

impl Script {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path().join("hook");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script can be written");
        mode(&path, 0o755);
        Self { directory, path }
    }

    fn line(&self) -> CommandLine {
        line(&self.path)
    }

    fn run(&self, word: &str, input: &[u8]) -> Result<String, Error> {
        let call = Call { word, input, within: Duration::from_secs(60), cancelled: &|| false };
        run(&self.line(), call).map(|answer| String::from_utf8(answer).expect("scripts answer in text"))
    }
}

fn line(path: &Path) -> CommandLine {
    CommandLine::new(vec![path.display().to_string()]).expect("it is an absolute path")
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

fn is_alive(pid: &str) -> bool {
    // A zombie whose parent does not wait for it is dead all the same.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn until(what: &str, done: impl Fn() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < Duration::from_secs(30), "{what} did not come true");
        std::thread::yield_now();
    }
}

#[test]
fn a_command_is_given_its_word_last_and_its_input_and_answers() {
    let script = Script::new(r#"printf '%s|' "$@"; cat"#);
    let words = vec![script.path.display().to_string(), "--database".to_owned(), "a b".to_owned()];
    let line = CommandLine::new(words).expect("it is a command");
    let call = Call { word: "pause", input: b"{}", within: Duration::from_secs(60), cancelled: &|| false };
    assert_eq!(run(&line, call).expect("it runs"), b"--database|a b|pause|{}");
}

#[test]
fn a_command_sees_nothing_of_the_servers_environment() {
    let said = Script::new("env; pwd").run("test", b"").expect("it runs");
    let names: Vec<&str> = said.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert!(names.contains(&"PATH"), "{said}");
    // The shell itself sets the last three.
    let known = ["PATH", "HOME", "LANG", "TMPDIR", "PWD", "OLDPWD", "_", "SHLVL"];
    assert!(names.iter().all(|name| known.contains(name)), "{said}");
    assert!(said.ends_with("\n/\n"), "{said}");
}

#[test]
fn a_command_that_fails_is_told_by_its_last_words() {
    let error =
        Script::new("echo first >&2; echo 'the queue is gone' >&2; exit 3").run("pause", b"").expect_err("it fails");
    let told = error.to_string();
    assert!(told.contains("hook pause` did not succeed (exit status: 3): first; the queue is gone"), "{told}");
    let silent = Script::new("kill -9 $$").run("pause", b"").expect_err("it is killed").to_string();
    assert!(silent.contains("signal: 9") && silent.contains("it said nothing on stderr"), "{silent}");
}

#[test]
fn a_command_that_takes_too_long_is_killed_with_all_that_it_started() {
    let script = Script::new(r#"cd "$(dirname "$0")"; sleep 600 & echo $! > grandchild; echo waiting >&2; wait"#);
    let noted = script.directory.path().join("grandchild");
    // Long enough to start, on a busy machine too: the deadline is what ends it.
    let call = Call { word: "pause", input: b"", within: Duration::from_secs(3), cancelled: &|| false };
    let error = run(&script.line(), call).expect_err("it never ends");
    assert!(matches!(&error, Error::CommandTooSlow { words, .. } if words == "waiting"), "{error}");
    let grandchild = fs::read_to_string(noted).expect("it was started");
    until("its end", || !is_alive(grandchild.trim()));
}

#[test]
fn a_cancelled_command_is_killed_with_all_that_it_started() {
    let script = Script::new(r#"cd "$(dirname "$0")"; sleep 600 & echo $! > part; mv part grandchild; wait"#);
    let noted = script.directory.path().join("grandchild");
    let cancelled = || noted.exists();
    let call = Call { word: "dump", input: b"", within: Duration::from_secs(60), cancelled: &cancelled };
    assert!(matches!(run(&script.line(), call), Err(Error::Cancelled)));
    let grandchild = fs::read_to_string(&noted).expect("it was started");
    until("its end", || !is_alive(grandchild.trim()));
}

#[test]
fn an_answer_without_end_is_cut_and_its_program_killed() {
    let error = Script::new("exec cat /dev/zero").run("facts", b"").expect_err("it never ends");
    assert!(matches!(error, Error::CommandAnswersTooMuch { limit: ANSWER, .. }), "{error}");
    let most = Script::new("head -c 1048576 /dev/zero").run("facts", b"").expect("so much is read");
    assert_eq!(most.len(), 1_048_576);
    let error = Script::new("head -c 1048577 /dev/zero").run("facts", b"").expect_err("that is one too many");
    assert!(matches!(error, Error::CommandAnswersTooMuch { .. }), "{error}");
}

#[test]
fn an_input_that_is_not_read_does_no_harm() {
    let input = vec![b'x'; 4 << 20];
    assert_eq!(Script::new("echo done").run("resume", &input).expect("it runs"), "done\n");
    let read = Script::new("head -c 3").run("resume", &input).expect("it runs");
    assert_eq!(read, "xxx");
}

#[test]
fn what_a_command_leaves_running_goes_on() {
    let script = Script::new("sleep 600 & echo $!");
    let started = Instant::now();
    let pid = script.run("resume", b"").expect("it ends, although its stdout stays open");
    assert!(started.elapsed() < Duration::from_secs(30));
    assert!(is_alive(pid.trim()));
    let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw).expect("it is a number");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is ours");
}

#[test]
fn a_program_that_others_may_change_is_refused() {
    let script = Script::new("echo ran");
    mode(&script.path, 0o775);
    let told = script.run("pause", b"").expect_err("the group may write to it").to_string();
    assert!(told.contains("could be changed by others") && told.contains("chmod go-w"), "{told}");
    mode(&script.path, 0o755);
    mode(script.directory.path(), 0o777);
    let told = test(&script.line()).expect_err("others may replace it").to_string();
    assert!(told.contains("who may write to the directory"), "{told}");
    mode(script.directory.path(), 0o1777);
    test(&script.line()).expect("in a sticky directory only the owner replaces it");
    mode(script.directory.path(), 0o755);
    assert_eq!(script.run("pause", b"").expect("it runs"), "ran\n");
}

#[test]
fn a_link_is_as_safe_as_every_place_that_it_leads_through() {
    let script = Script::new("echo ran");
    let open = tempfile::tempdir().expect("a directory can be made");
    let (through, safe) = (open.path().join("through"), script.directory.path().join("link"));
    symlink(&script.path, &through).expect("a link can be made");
    symlink(&through, &safe).expect("a link can be made");
    test(&line(&safe)).expect("nobody else may write anywhere");
    mode(open.path(), 0o777);
    let told = test(&line(&safe)).expect_err("others may bend the second link").to_string();
    assert!(told.contains(&open.path().display().to_string()), "{told}");
    let round = script.directory.path().join("round");
    symlink(&round, &round).expect("a link can be made");
    let told = test(&line(&round)).expect_err("it leads nowhere").to_string();
    assert!(told.contains("too many links"), "{told}");
}

#[test]
fn what_is_no_program_is_refused_by_its_own_reason() {
    let script = Script::new("echo ran");
    let directory = script.directory.path();
    let why = |path: &Path| test(&line(path)).expect_err("it is no program").to_string();
    assert!(why(&directory.join("missing")).contains("install it, or correct the declared path"));
    assert!(why(directory).contains("is not a regular file"));
    assert!(why(&script.path.join("below")).contains("is not a directory"));
    mode(&script.path, 0o644);
    assert!(why(&script.path).contains("chmod +x"));
    fs::write(&script.path, "#!/nowhere/interpreter\n").expect("it is ours");
    mode(&script.path, 0o755);
    assert!(matches!(script.run("pause", b""), Err(Error::NotStarted { .. })));
}

fn heard(script: &Script, within: Duration, cancelled: &dyn Fn() -> bool) -> (Result<(), Error>, Vec<String>) {
    let mut lines = Vec::new();
    let occasion = Occasion { words: &["merge", "staging", "main"], input: b"{}\n", within, cancelled };
    let done = tell(&script.line(), occasion, &mut |line| lines.push(line.to_owned()));
    (done, lines)
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn what_a_command_says_on_either_output_is_told_line_by_line() {
    let script = Script::new(r#"echo "$*"; cat; echo a remark >&2; echo; printf 'no end'"#);
    let (done, mut lines) = heard(&script, LONG, &|| false);
    assert!(done.is_ok(), "{done:?}");
    lines.sort();
    assert_eq!(lines, ["a remark", "merge staging main", "no end", "{}"]);
}

#[test]
fn a_line_is_told_before_the_command_ends() {
    let script = Script::new("echo begun; sleep 600");
    let begun = std::cell::Cell::new(false);
    let occasion = Occasion { words: &[], input: b"", within: LONG, cancelled: &|| begun.get() };
    let done = tell(&script.line(), occasion, &mut |line| begun.set(line == "begun"));
    assert!(matches!(done, Err(Error::Cancelled)), "{done:?}");
}

#[test]
fn a_command_that_says_much_loses_nothing_but_the_ends_of_endless_lines() {
    let script = Script::new(
        "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; head -c 5000 /dev/zero | tr '\\0' x",
    );
    let (done, lines) = heard(&script, LONG, &|| false);
    assert!(done.is_ok(), "{done:?}");
    assert_eq!((lines.len(), lines[2999].as_str(), lines[3000].len()), (3001, "line 2999", 1000));
}

#[test]
fn a_command_that_fails_after_its_words_is_told_with_them_and_its_status() {
    let script = Script::new("echo trying; echo no luck >&2; exit 9");
    let (done, lines) = heard(&script, LONG, &|| false);
    let Err(Error::CommandFailed { status, words, .. }) = done else { panic!("it failed: {done:?}") };
    assert!(
        status.contains('9') && words == "no luck" && lines.iter().any(|line| line == "trying"),
        "{status} {words}"
    );
}

#[test]
fn a_command_that_takes_too_long_is_killed_also_with_its_outputs_closed() {
    let script = Script::new(r#"echo $$ > "$(dirname "$0")/pid"; exec >&- 2>&-; sleep 600"#);
    let (done, _) = heard(&script, Duration::from_secs(5), &|| false);
    assert!(matches!(done, Err(Error::CommandTooSlow { .. })), "{done:?}");
    let pid = fs::read_to_string(script.directory.path().join("pid")).expect("it had begun");
    until("its end", || !is_alive(pid.trim()));
}

#[test]
fn what_a_successful_command_leaves_running_is_not_waited_for() {
    let script = Script::new("(while :; do echo still; sleep 0.01; done) & echo done");
    let since = Instant::now();
    let (done, lines) = heard(&script, LONG, &|| false);
    assert!(done.is_ok() && lines.iter().any(|line| line == "done"), "{done:?}");
    assert!(since.elapsed() < Duration::from_secs(30));
}
