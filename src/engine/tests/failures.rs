//! A snapshot that did not work out leaves no entry (R15).

use super::*;

/// Runs `archive` on a small tree; the repository must be whole and without entries afterwards.
#[track_caller]
fn fails(sandbox: &Sandbox, job: &Job, changes: TreeChanges, streams: Vec<Stream>) -> Error {
    sandbox.write("a", b"1");
    let baseline = sandbox.pre_copy(None);
    let error = sandbox.archive(job, Some(&baseline), changes, streams).expect_err("it cannot work");
    assert_eq!(sandbox.entries(), [""; 0]);
    sandbox.restic(&["check"]);
    error
}

#[test]
fn a_dump_that_breaks_off_leaves_no_entry() {
    let sandbox = Sandbox::new();
    let broken = ending(noise(40 << 20, 2), || Err(io::Error::other("pg_dump ended with 1")));
    let error = fails(&sandbox, &job(), TreeChanges::default(), vec![broken]);
    assert!(matches!(error, Error::Stream { .. }), "{error:?}");
}

#[test]
fn a_job_cancelled_in_the_middle_of_a_stream_leaves_no_entry() {
    let sandbox = Sandbox::new();
    let job = job();
    let cancelling = job.clone();
    let stream = ending(noise(70 << 20, 3), move || {
        cancelling.cancel();
        Ok(0)
    });
    let error = fails(&sandbox, &job, TreeChanges::default(), vec![stream]);
    assert!(matches!(error, Error::Cancelled), "{error:?}");
}

#[test]
fn a_failure_from_outside_is_the_reason_that_is_told() {
    let sandbox = Sandbox::new();
    let job = job();
    let failing = job.clone();
    let stream = ending(vec![1; 100], move || {
        failing.fail("the dump ended with code 1");
        Err(io::Error::other("broken pipe"))
    });
    let error = fails(&sandbox, &job, TreeChanges::default(), vec![stream]);
    assert_eq!(error.to_string(), "the dump ended with code 1");
    let again = sandbox.archive(&job, None, TreeChanges::default(), Vec::new()).expect_err("the job is over");
    assert!(matches!(again, Error::Stopped(_)), "{again:?}");
}

#[test]
fn who_lost_the_lease_cannot_commit() {
    let sandbox = Sandbox::new();
    let error = fails(&sandbox, &Job::new(|| false), TreeChanges::default(), vec![stream(*b"dump")]);
    assert!(matches!(error, Error::LeaseLost), "{error:?}");
}

#[test]
fn the_lease_is_asked_for_once_and_after_everything_was_read() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let sandbox = Sandbox::new();
    let (read, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let job = Job::new({
        let (read, asked) = (read.clone(), asked.clone());
        move || {
            asked.fetch_add(1, Ordering::SeqCst);
            read.load(Ordering::SeqCst)
        }
    });
    let stream = ending(noise(1 << 20, 1), move || {
        read.store(true, Ordering::SeqCst);
        Ok(0)
    });
    sandbox.archive(&job, None, TreeChanges::default(), vec![stream]).expect("a snapshot");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_storage_that_fails_in_the_middle_leaves_no_entry() {
    let sandbox = Sandbox::new();
    let (data, away) = (sandbox.path("repository/data"), sandbox.path("away"));
    sandbox.write("a", b"1");
    let baseline = sandbox.pre_copy(None);
    let breaking = {
        let (data, away) = (data.clone(), away.clone());
        ending(noise(70 << 20, 4), move || {
            fs::rename(&data, &away)?;
            fs::write(&data, b"not a directory")?;
            Ok(0)
        })
    };
    let error = sandbox
        .archive(&job(), Some(&baseline), TreeChanges::default(), vec![breaking])
        .expect_err("nothing to write to");
    assert!(matches!(error, Error::Storage { .. }), "{error:?}");
    fs::remove_file(&data).expect("own file");
    fs::rename(&away, &data).expect("own directory");
    assert_eq!(sandbox.entries(), [""; 0]);
    sandbox.restic(&["check"]);
    sandbox.snapshot(None, Vec::new());
}

#[test]
fn a_copy_that_is_gone_or_short_leaves_no_entry() {
    for size in [None, Some(3)] {
        let sandbox = Sandbox::new();
        sandbox.write("a", b"1");
        let copy = sandbox.path("staging/copy");
        if size.is_some() {
            fs::write(&copy, b"12").expect("a file");
        }
        let mut meta = index(&sandbox.live()).remove(Path::new("a")).expect("just written").0;
        meta.size = 3;
        let change = Override { meta, staged: Some(copy) };
        let changes = TreeChanges { overrides: [(PathBuf::from("a"), change)].into(), ..TreeChanges::default() };
        let error = fails(&sandbox, &job(), changes, Vec::new());
        assert!(matches!(error, Error::Source { .. } | Error::Changed { .. }), "{error:?}");
    }
}

#[test]
fn a_mount_that_is_missing_or_no_directory_is_named() {
    let sandbox = Sandbox::new();
    fs::remove_dir(sandbox.live()).expect("empty");
    for make in [None, Some(b"a file")] {
        if let Some(content) = make {
            fs::write(sandbox.live(), content).expect("a file");
        }
        let source = sandbox.source_of(Listed::default());
        let error = sandbox.repository.pre_copy(&job(), &[source], None).expect_err("no mount");
        assert!(error.to_string().contains(sandbox.live().to_str().expect("UTF-8")), "{error}");
    }
}

#[test]
fn a_file_that_vanishes_in_pass_1_must_be_seen_by_the_hold() {
    let sandbox = Sandbox::new();
    for name in ["a", "vanishing", "z"] {
        sandbox.write(name, name.as_bytes());
    }
    fs::create_dir(sandbox.live().join("vanishing directory")).expect("a directory");
    let source = sandbox.source();
    fs::remove_file(sandbox.live().join("vanishing")).expect("there");
    fs::remove_dir(sandbox.live().join("vanishing directory")).expect("there");
    let baseline = sandbox.repository.pre_copy(&job(), &[source], None).expect("no error yet");
    let error = sandbox.archive(&job(), Some(&baseline), TreeChanges::default(), Vec::new()).expect_err("unseen");
    assert!(matches!(error, Error::Changed { .. }), "{error:?}");
    assert_eq!(sandbox.entries(), [""; 0]);
    let removed = ["vanishing", "vanishing directory"].map(PathBuf::from).into();
    let changes = TreeChanges { removed, ..TreeChanges::default() };
    let archived = sandbox.archive(&job(), Some(&baseline), changes, Vec::new()).expect("seen");
    assert_eq!(archived.files, 2);
}

#[test]
fn a_change_below_what_pass_1_has_not_is_not_lost_in_silence() {
    let sandbox = Sandbox::new();
    sandbox.write("a", b"1");
    let meta = index(&sandbox.live()).remove(Path::new("a")).expect("just written").0;
    let change = Override { meta, staged: Some(sandbox.live().join("a")) };
    let overrides = [(PathBuf::from("unknown/a"), change)].into();
    let error = fails(&sandbox, &job(), TreeChanges { overrides, ..TreeChanges::default() }, Vec::new());
    assert!(matches!(error, Error::Changed { .. }), "{error:?}");
}

#[test]
fn a_repository_that_was_pruned_meanwhile_gets_no_entry() {
    let sandbox = Sandbox::new();
    sandbox.write("a", b"1");
    sandbox.snapshot(None, Vec::new());
    sandbox.write("b", b"2");
    let baseline = sandbox.pre_copy(None);
    // Pass 1 has no entry yet, so its data is garbage to others.
    let restic = sandbox.path("repository");
    let pruning = ending(vec![1; 100], move || {
        super::restic(&restic, KEY, &["prune", "--max-unused", "0"]);
        Ok(0)
    });
    let error =
        sandbox.archive(&job(), Some(&baseline), TreeChanges::default(), vec![pruning]).expect_err("pass 1 is gone");
    assert!(matches!(error, Error::Rewritten { .. }), "{error:?}");
    assert_eq!(sandbox.entries().len(), 1);
    sandbox.restic(&["check", "--read-data"]);
}

#[test]
fn locks_that_others_hold_are_heeded() {
    let sandbox = Sandbox::new();
    sandbox.write("a", &noise(2 << 20, 1));
    let archived = sandbox.snapshot(None, Vec::new());
    let mut checking = Command::new("restic")
        .args(["--no-cache", "--limit-download", "1", "check", "--read-data", "--repo"])
        .arg(sandbox.path("repository"))
        .env("RESTIC_PASSWORD", KEY)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("restic is installed");
    let locks = sandbox.path("repository/locks");
    let locked = || {
        let entries = fs::read_dir(&locks).into_iter().flatten();
        entries.flatten().any(|entry| entry.file_name().len() == 64)
    };
    while !locked() {
        assert!(checking.try_wait().expect("a child").is_none(), "restic ended early");
        std::thread::yield_now();
    }
    // Killed, it leaves its lock.
    checking.kill().expect("running");
    checking.wait().expect("a child");
    let refused = sandbox.repository.pre_copy(&job(), &[sandbox.source()], None).expect_err("locked");
    assert!(matches!(&refused, Error::Locked { by, .. } if by.contains("process")), "{refused:?}");
    let refused = sandbox.archive(&job(), None, TreeChanges::default(), Vec::new()).expect_err("locked");
    assert!(matches!(refused, Error::Locked { .. }), "{refused:?}");
    let refused = sandbox.restore(&archived.id).expect_err("locked");
    assert!(matches!(refused, Error::Locked { .. }), "{refused:?}");
    let limits = Limits { keep: Default::default(), repack: crate::domain::Bytes(0) };
    let refused = sandbox.repository.prune(&job(), &limits, &[]).expect_err("locked");
    assert!(matches!(refused, Error::Locked { .. }), "{refused:?}");
    sandbox.restic(&["unlock", "--remove-all"]);
    sandbox.snapshot(None, Vec::new());
}
