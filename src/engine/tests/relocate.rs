//! A copy of a repository at another place.

use std::collections::BTreeSet;

use super::*;
use crate::engine::relocate::Copy;

fn location(path: &Path) -> Location {
    Location::Local(path.to_owned())
}

fn names(root: &Path) -> BTreeSet<PathBuf> {
    let files = walkdir::WalkDir::new(root).into_iter().map(|entry| entry.expect("a readable tree"));
    let files = files.filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.path().strip_prefix(root).expect("below it").to_owned()).collect()
}

/// A sandbox with a snapshot, and where its copy goes.
fn with_snapshot() -> (Sandbox, String, PathBuf) {
    let sandbox = Sandbox::new();
    sandbox.write("a", &noise(3 << 20, 1));
    let id = sandbox.snapshot(None, vec![stream(noise(1 << 20, 2))]).id;
    let to = sandbox.path("elsewhere/shop");
    (sandbox, id, to)
}

fn copy(sandbox: &Sandbox, to: &Path) -> Copy {
    Copy::new(sandbox.repository.location(), &location(to)).expect("a free place")
}

#[test]
fn a_copy_has_the_same_ids_and_restic_checks_and_restores_it() {
    let (sandbox, id, to) = with_snapshot();
    let job = job();
    let copied = copy(&sandbox, &to).round(&job, &|| {}).expect("a copy");
    assert_eq!(job.bytes_done(), job.bytes_total());
    assert_eq!((copied.files, copied.removed), (names(&to).len() as u64, 0));
    assert_eq!(names(&to), names(&sandbox.path("repository")));

    restic(&to, KEY, &["check", "--read-data"]);
    let list = restic(&to, KEY, &["snapshots", "--json"]);
    assert!(list.contains(&id), "{list}");
    let opened = Repository::open(&location(&to), &sandbox.repository.key()).expect("by the same key");
    opened.check(&Job::reading(), std::slice::from_ref(&id)).expect("all is there");
    let out = tempfile::tempdir_in(sandbox.path("out")).expect("an empty directory").keep();
    opened.restore_tree(&Job::reading(), &id, &uploads(), &out).expect("a restore");
    assert_eq!(fs::read(out.join("a")).expect("restored"), noise(3 << 20, 1));
}

#[test]
fn a_second_round_brings_what_came_since_and_drops_what_left() {
    let (sandbox, first, to) = with_snapshot();
    let mut copy = copy(&sandbox, &to);
    copy.round(&job(), &|| {}).expect("a copy");
    sandbox.write("b", &noise(1 << 20, 3));
    let second = sandbox.snapshot(Some(&first), Vec::new()).id;
    sandbox.repository.forget(&first).expect("an entry");

    let again = job();
    let copied = copy.round(&again, &|| {}).expect("a second round");
    assert_eq!(copied.removed, 1);
    assert!(again.bytes_total() < 4 << 20, "what was read back is not read again: {}", again.bytes_total());
    assert_eq!(names(&to), names(&sandbox.path("repository")));
    let opened = Repository::open(&location(&to), &sandbox.repository.key()).expect("by the same key");
    opened.check(&Job::reading(), &[second]).expect("all is there");
    assert!(matches!(opened.check(&Job::reading(), &[first]), Err(Error::UnknownSnapshot { .. })));
    restic(&to, KEY, &["check", "--read-data"]);
}

#[test]
fn a_copy_that_broke_off_is_gone_on_with_and_what_is_wrong_in_it_is_replaced() {
    let (sandbox, id, to) = with_snapshot();
    let stopped = job();
    let broken = copy(&sandbox, &to).round(&stopped, &|| stopped.cancel()).expect_err("it was cancelled");
    assert!(matches!(broken, Error::Cancelled), "{broken}");
    let begun: Vec<_> = names(&to).into_iter().filter(|name| !name.ends_with(".copying")).collect();
    assert_eq!(begun.len(), 1, "and the one that was being written: {begun:?}");
    assert!(!to.join("config").exists(), "nothing takes it for a repository");

    // What a power failure may leave: the right length, other content.
    let half = to.join(&begun[0]);
    let length = fs::metadata(&half).expect("it is there").len();
    fs::write(&half, vec![0; usize::try_from(length).expect("a small file")]).expect("a writable file");
    fs::write(half.with_file_name(".copying"), b"half").expect("a writable directory");
    copy(&sandbox, &to).round(&job(), &|| {}).expect("the rest");
    restic(&to, KEY, &["check", "--read-data"]);
    let opened = Repository::open(&location(&to), &sandbox.repository.key()).expect("by the same key");
    opened.check(&Job::reading(), &[id]).expect("all is there");
}

#[test]
fn what_is_damaged_here_or_stands_there_already_is_said() {
    let (sandbox, id, to) = with_snapshot();
    let pack = names(&sandbox.path("repository/data")).into_iter().next().expect("a pack");
    let pack = sandbox.path("repository/data").join(pack);
    let sound = fs::read(&pack).expect("readable");
    let mut flipped = sound.clone();
    flipped[10] ^= 1;
    fs::set_permissions(&pack, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("our own file");
    fs::write(&pack, &flipped).expect("a writable file");
    let error = copy(&sandbox, &to).round(&job(), &|| {}).expect_err("its name says something else");
    assert!(matches!(&error, Error::Damaged { what, .. } if what.contains("the file")), "{error}");

    fs::write(&pack, &sound).expect("a writable file");
    copy(&sandbox, &to).round(&job(), &|| {}).expect("a copy");
    let opened = Repository::open(&location(&to), &sandbox.repository.key()).expect("by the same key");
    for name in names(&to.join("data")) {
        fs::remove_file(to.join("data").join(name)).expect("a removable file");
    }
    assert!(matches!(opened.check(&Job::reading(), &[id]), Err(Error::Damaged { .. })));

    let other = sandbox.path("other");
    Repository::create(&location(&other), &Secret::new(KEY)).expect("an empty place");
    let refused = Copy::new(sandbox.repository.location(), &location(&other)).expect_err("another repository");
    assert!(matches!(refused, Error::Exists { .. }), "{refused}");
}
