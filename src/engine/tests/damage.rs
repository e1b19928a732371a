//! A damaged repository is told, and never restored from as if it were whole.

use super::*;

fn packs(sandbox: &Sandbox) -> Vec<PathBuf> {
    let data = fs::read_dir(sandbox.path("repository/data")).expect("a repository");
    let below = data.flat_map(|entry| fs::read_dir(entry.expect("a directory").path()).expect("a directory"));
    below.map(|entry| entry.expect("a pack").path()).collect()
}

/// A snapshot of a file and a stream, all of whose packs `harm` was done to.
fn harmed(harm: impl Fn(&Path)) -> (Sandbox, Archived) {
    let sandbox = Sandbox::new();
    sandbox.write("a", &noise(100_000, 1));
    let archived = sandbox.snapshot(None, vec![stream(noise(100_000, 2))]);
    packs(&sandbox).iter().for_each(|pack| harm(pack));
    (sandbox, archived)
}

#[track_caller]
fn assert_told(sandbox: &Sandbox, archived: &Archived) {
    let restored = sandbox.restore(&archived.id).expect_err("damaged");
    let read = sandbox.repository.read_stream(&Job::reading(), &archived.id, &database(), &mut Vec::new());
    let manifest = sandbox.repository.manifest(&archived.id);
    for error in [restored, read.expect_err("damaged"), manifest.expect_err("damaged")] {
        assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains("restic check --read-data"), "{error}");
    }
}

#[test]
fn missing_packs_are_told() {
    let (sandbox, archived) = harmed(|pack| fs::remove_file(pack).expect("own file"));
    assert_told(&sandbox, &archived);
}

#[test]
fn flipped_bytes_are_told() {
    let (sandbox, archived) = harmed(|pack| {
        let mut bytes = fs::read(pack).expect("a pack");
        bytes.iter_mut().for_each(|byte| *byte ^= 1);
        fs::write(pack, bytes).expect("own file");
    });
    assert_told(&sandbox, &archived);
}

#[test]
fn packs_cut_short_are_told() {
    let (sandbox, archived) = harmed(|pack| {
        fs::File::options().write(true).open(pack).and_then(|file| file.set_len(10)).expect("own file");
    });
    assert_told(&sandbox, &archived);
}

#[test]
fn one_damaged_file_among_good_ones_fails_the_restore() {
    let sandbox = Sandbox::new();
    sandbox.write("a", &noise(100_000, 1));
    sandbox.snapshot(None, Vec::new());
    let before = packs(&sandbox);
    sandbox.write("b", &noise(100_000, 2));
    let archived = sandbox.snapshot(None, Vec::new());
    let after = packs(&sandbox);
    // The newer pack with data is the largest.
    let fresh = after.iter().filter(|pack| !before.contains(pack));
    let largest = fresh.max_by_key(|pack| fs::metadata(pack).expect("a pack").len()).expect("a new pack");
    fs::remove_file(largest).expect("own file");
    let error = sandbox.restore(&archived.id).expect_err("damaged");
    assert!(matches!(&error, Error::Damaged { what, .. } if what == "the file b"), "{error:?}");
}

#[test]
fn a_damaged_index_is_told() {
    let (sandbox, archived) = harmed(|_| ());
    for index in fs::read_dir(sandbox.path("repository/index")).expect("an index") {
        fs::remove_file(index.expect("a file").path()).expect("own file");
    }
    assert_told(&sandbox, &archived);
}

#[test]
fn what_was_lost_from_the_repository_is_stored_again_though_it_did_not_change() {
    let sandbox = Sandbox::new();
    for n in 0..3 {
        sandbox.write(&format!("{n}/file"), &noise(100_000, n + 1));
    }
    let first = sandbox.snapshot(None, Vec::new());
    let before = packs(&sandbox);
    sandbox.write("1/another", &noise(100_000, 9));
    let second = sandbox.snapshot(Some(&first.id), Vec::new());
    // All but the second snapshot's trees, which name what is lost.
    for pack in before {
        fs::remove_file(pack).expect("own file");
    }
    sandbox.restic(&["rebuild-index"]);
    let third = sandbox.snapshot(Some(&second.id), Vec::new());
    assert_same(&describe(&sandbox.live()), &describe(&sandbox.restore(&third.id).expect("a restore")));
}
