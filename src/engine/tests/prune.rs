//! Forgotten data leaves in two steps, what is used stays, and stock restic agrees at every moment.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::domain::Bytes;
use crate::engine::{Limits, Pruned};

/// Marked in one step, gone in the next.
const AT_ONCE: Limits = Limits { keep: Duration::ZERO, repack: Bytes(64 << 20) };

/// Three snapshots: the first has a file of its own and one that all have, the second one of its own too.
struct Three {
    sandbox: Sandbox,
    ids: Vec<String>,
    trees: Vec<Description>,
}

impl Three {
    fn taken() -> Self {
        let sandbox = Sandbox::new();
        let (mut ids, mut trees) = (Vec::new(), Vec::new());
        sandbox.write("common", &noise(300_000, 1));
        for own in [Some(2), Some(3), None] {
            if let Some(seed) = own {
                sandbox.write("own", &noise(400_000, seed));
            } else {
                fs::remove_file(sandbox.live().join("own")).expect("own file");
            }
            let archived = sandbox.snapshot(ids.last().map(String::as_str), vec![stream(noise(200_000, 9))]);
            ids.push(archived.id);
            trees.push(describe(&sandbox.live()));
        }
        Self { sandbox, ids, trees }
    }

    fn prune(&self, limits: &Limits) -> Result<Pruned, Error> {
        self.sandbox.repository.prune(&job(), limits, &self.sandbox.entries())
    }

    fn stored(&self) -> u64 {
        let data = walkdir::WalkDir::new(self.sandbox.path("repository/data")).into_iter();
        data.map(|entry| entry.expect("readable").metadata().expect("readable"))
            .filter(fs::Metadata::is_file)
            .map(|file| file.len())
            .sum()
    }

    /// From the entry `from` on, everything can be restored, and restic finds nothing wrong.
    #[track_caller]
    fn assert_whole(&self, from: usize) {
        self.sandbox.restic(&["check", "--read-data"]);
        for (id, tree) in self.ids.iter().zip(&self.trees).skip(from) {
            assert_same(tree, &describe(&self.sandbox.restore(id).expect("a restore")));
            let mut dump = Vec::new();
            self.sandbox.repository.read_stream(&Job::reading(), id, &database(), &mut dump).expect("a dump");
            assert_eq!(dump, noise(200_000, 9));
        }
    }
}

#[test]
fn what_was_forgotten_is_marked_first_and_gone_later_and_all_else_stays() {
    let three = Three::taken();
    let before = three.stored();
    three.sandbox.repository.forget(&three.ids[0]).expect("it is there");
    let marked = three.prune(&AT_ONCE).expect("a step");
    assert!(marked.marked.0 > 0 && marked.freed == Bytes(0), "{marked:?}");
    assert!(three.stored() >= before, "nothing goes at once");
    three.assert_whole(1);
    let freed = three.prune(&AT_ONCE).expect("a step");
    assert!(freed.freed.0 > 400_000, "{freed:?}");
    assert!(three.stored() + 300_000 < before, "{} of {before}", three.stored());
    three.assert_whole(1);
    assert_eq!(three.prune(&AT_ONCE).expect("a step"), Pruned::default(), "there is nothing left to do");
}

#[test]
fn marked_packs_stay_as_long_as_somebody_may_read_by_an_older_index() {
    let three = Three::taken();
    three.sandbox.repository.forget(&three.ids[0]).expect("it is there");
    let patient = Limits { keep: Duration::from_secs(3600), ..AT_ONCE };
    three.prune(&patient).expect("a step");
    let before = three.stored();
    for _ in 0..2 {
        assert_eq!(three.prune(&patient).expect("a step").freed, Bytes(0));
    }
    assert_eq!(three.stored(), before);
    three.assert_whole(1);
}

#[test]
fn a_step_writes_no_more_than_it_may() {
    let three = Three::taken();
    three.sandbox.repository.forget(&three.ids[0]).expect("it is there");
    let nothing = Limits { repack: Bytes(0), ..AT_ONCE };
    assert_eq!(three.prune(&nothing).expect("a step").repacked, Bytes(0));
    three.assert_whole(1);
}

#[test]
fn what_was_marked_and_is_stored_again_stays() {
    let three = Three::taken();
    let last = three.ids[2].clone();
    three.sandbox.repository.forget(&three.ids[1]).expect("it is there");
    three.prune(&AT_ONCE).expect("a step");
    three.sandbox.write("own", &noise(400_000, 3));
    let again = three.sandbox.snapshot(Some(&last), vec![stream(noise(200_000, 9))]);
    for _ in 0..3 {
        three.prune(&AT_ONCE).expect("a step");
    }
    three.sandbox.restic(&["check", "--read-data"]);
    assert_same(&describe(&three.sandbox.live()), &describe(&three.sandbox.restore(&again.id).expect("a restore")));
}

#[test]
fn without_one_of_the_entries_that_the_catalogue_has_nothing_is_touched() {
    let three = Three::taken();
    let before = three.stored();
    // As if the directory could not be read, or another disk was mounted there.
    for id in &three.ids {
        fs::remove_file(three.sandbox.path("repository/snapshots").join(id)).expect("own file");
    }
    let error = three.sandbox.repository.prune(&job(), &AT_ONCE, &three.ids).expect_err("entries are missing");
    assert!(matches!(&error, Error::Damaged { what, .. } if what.contains(&three.ids[0])), "{error:?}");
    assert_eq!(three.stored(), before);
}

#[test]
fn a_step_whose_lease_is_lost_removes_nothing() {
    let three = Three::taken();
    three.sandbox.repository.forget(&three.ids[0]).expect("it is there");
    let lost = Job::new(|| false);
    let error = three.sandbox.repository.prune(&lost, &AT_ONCE, &three.ids[1..]).expect_err("the lease is lost");
    assert!(matches!(error, Error::LeaseLost), "{error:?}");
    three.assert_whole(1);
    three.prune(&AT_ONCE).expect("a step");
    assert!(three.prune(&AT_ONCE).expect("a step").freed.0 > 0);
    three.assert_whole(1);
}

#[test]
fn a_step_that_ends_between_index_and_packs_is_tidied_up_by_the_next() {
    let three = Three::taken();
    three.sandbox.repository.forget(&three.ids[0]).expect("it is there");
    three.prune(&AT_ONCE).expect("a step");
    // The index files may go, the packs may not any more.
    let asked = AtomicUsize::new(0);
    let ending = Job::new(move || asked.fetch_add(1, Ordering::Relaxed) == 0);
    let error = three.sandbox.repository.prune(&ending, &AT_ONCE, &three.ids[1..]).expect_err("it is ended");
    assert!(matches!(error, Error::LeaseLost), "{error:?}");
    three.assert_whole(1);
    // What no index names any more goes with the next change of the index.
    let before = three.stored();
    three.sandbox.write("later", b"little");
    three.sandbox.snapshot(Some(&three.ids[2]), Vec::new());
    for _ in 0..3 {
        three.prune(&AT_ONCE).expect("a step");
    }
    assert!(three.stored() + 300_000 < before, "{} of {before}", three.stored());
    three.assert_whole(1);
}

#[test]
fn a_step_that_is_cancelled_changes_nothing() {
    let three = Three::taken();
    three.sandbox.repository.forget(&three.ids[0]).expect("it is there");
    let cancelled = job();
    cancelled.cancel();
    let error = three.sandbox.repository.prune(&cancelled, &AT_ONCE, &three.ids[1..]).expect_err("it is cancelled");
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    three.assert_whole(1);
}
