//! The server dies at every step of a snapshot and of a restore, and is started again (R22, R23).

use crate::process::{Installation, until};

const CRASH: &str = "STILLPOINT_CRASH_AT";
const STOP: &str = "STILLPOINT_STOP_AT";

/// What the site must serve once the server is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// The old data: nothing had been exchanged.
    Old,
    /// Nothing, until the half-done swap was taken back.
    Mixed,
    /// The restored data: visitors were let in and may have written.
    New,
}

fn a_snapshot_survives(step: &str) {
    let at = Installation::new();
    let dying = at.start_with(&[(CRASH, step)]);
    let asked = at.ask_snapshot();
    dying.died();
    assert_eq!(at.site.version(), 1);

    let server = at.start();
    let visitor = at.visitor();
    at.succeeded(&asked);
    assert_eq!(visitor.leave().asked_to_return, 0, "a snapshot hold fails open");
    let names: Vec<_> = at.backups().iter().map(|backup| backup["id"].clone()).collect();
    assert_eq!(names, [asked.snapshot.as_str()]);
    at.assert_no_leftovers();

    at.site.write(2);
    let second = at.snapshot();
    at.site.write(3);
    at.restore(&asked.snapshot);
    assert_eq!(at.site.version(), 1);
    at.restore(&second);
    assert_eq!(at.site.version(), 2);
    at.assert_no_leftovers();
    at.assert_repository_whole();
    server.terminate();
}

fn a_restore_survives(step: &str, left: Left) {
    a_restore_there_survives(&Installation::new(), step, left);
}

/// The mount is a mount point: its entries change places one by one.
fn a_restore_of_a_mount_point_survives(step: &str, left: Left) {
    let Some((at, _mounted)) = Installation::on_a_mount_point() else { return };
    a_restore_there_survives(&at, step, left);
}

/// A directory of the mount is a mount of its own: the outer one's exchange carries it, and then it is exchanged.
fn a_restore_of_nested_mounts_survives(step: &str, left: Left) {
    a_restore_there_survives(&Installation::with_an_inner_mount(), step, left);
}

fn a_restore_there_survives(at: &Installation, step: &str, left: Left) {
    let dying = at.start_with(&[(CRASH, step)]);
    let first = at.snapshot();
    at.site.write(2);
    let asked = at.ask_restore(&first);
    dying.died();
    go_on_after_a_restore_died(at, &asked, left);
}

fn go_on_after_a_restore_died(at: &Installation, asked: &crate::process::Asked, left: Left) {
    match left {
        Left::Old => assert_eq!(at.site.version(), 2),
        Left::New => {
            assert_eq!(at.site.version(), 1);
            at.site.write(3);
        }
        Left::Mixed => {}
    }
    let server = at.start();
    let visitor = at.visitor();
    until("visitors come", || (visitor.so_far().served + visitor.so_far().asked_to_return > 0).then_some(()));
    let meanwhile = visitor.so_far();
    let activity = at.succeeded(asked);
    let visits = visitor.leave();
    assert_eq!(meanwhile.asked_to_return > 0, left == Left::Mixed, "{meanwhile:?}");
    assert_eq!(visits.asked_to_return > 0, left == Left::Mixed, "{visits:?}");
    assert_eq!(at.visit().expect("the gateway").status, 200);
    assert_eq!(at.site.version(), if left == Left::New { 3 } else { 1 });
    at.assert_no_leftovers();

    let safety = activity["payload"]["safety_backup_name"].as_str().expect("a name").to_owned();
    let next = at.snapshot();
    at.restore(&safety);
    assert_eq!(at.site.version(), 2, "Undo brings back what the restore replaced");
    at.restore(&next);
    assert_eq!(at.site.version(), if left == Left::New { 3 } else { 1 });
    at.assert_no_leftovers();
    at.assert_repository_whole();
    server.terminate();
}

macro_rules! snapshots_that_die {
    ($($name:ident: $step:literal)*) => {$(
        #[test]
        fn $name() {
            a_snapshot_survives($step);
        }
    )*};
}

macro_rules! restores_of_mount_points_that_die {
    ($($name:ident: $step:literal, $left:expr)*) => {$(
        #[test]
        fn $name() {
            a_restore_of_a_mount_point_survives($step, $left);
        }
    )*};
}

macro_rules! restores_of_nested_mounts_that_die {
    ($($name:ident: $step:literal, $left:expr)*) => {$(
        #[test]
        fn $name() {
            a_restore_of_nested_mounts_survives($step, $left);
        }
    )*};
}

macro_rules! restores_that_die {
    ($($name:ident: $step:literal, $left:expr)*) => {$(
        #[test]
        fn $name() {
            a_restore_survives($step, $left);
        }
    )*};
}

snapshots_that_die! {
    a_snapshot_that_dies_after_indexing_is_taken: "snapshot: indexed"
    a_snapshot_that_dies_before_its_hold_is_taken: "snapshot: copied"
    a_snapshot_that_dies_in_its_hold_is_taken: "snapshot: held"
    a_snapshot_that_dies_with_its_views_open_is_taken: "snapshot: views open"
    a_snapshot_that_dies_after_its_hold_is_taken: "snapshot: released"
    a_snapshot_that_dies_before_its_catalogue_entry_is_taken: "snapshot: stored"
}

restores_that_die! {
    a_restore_that_dies_with_a_mount_loaded_is_done: "restore: a mount loaded", Left::Old
    a_restore_that_dies_with_a_service_loaded_is_done: "restore: a service loaded", Left::Old
    a_restore_that_dies_in_its_hold_is_done: "restore: held", Left::Old
    a_restore_that_dies_prepared_is_done: "restore: prepared", Left::Old
    a_restore_that_dies_before_the_first_exchange_is_done: "restore: swapping", Left::Mixed
    a_restore_that_dies_with_a_service_exchanged_is_done: "restore: a service exchanged", Left::Mixed
    a_restore_that_dies_with_a_mount_exchanged_is_done: "restore: a mount exchanged", Left::Mixed
    a_restore_that_dies_swapped_is_not_done_twice: "restore: swapped", Left::New
    a_restore_that_dies_with_the_safety_snapshot_stored_is_not_done_twice: "restore: safety stored", Left::New
    a_restore_that_dies_once_it_has_ended_leaves_nothing_beside: "restore: ended", Left::New
}

restores_of_nested_mounts_that_die! {
    a_restore_of_nested_mounts_that_dies_loaded_is_done: "restore: a mount loaded", Left::Old
    a_restore_of_nested_mounts_that_dies_prepared_is_done: "restore: prepared", Left::Old
    a_restore_of_nested_mounts_that_dies_before_the_inner_one_is_carried_is_done: "mount: exchanged", Left::Mixed
    a_restore_of_nested_mounts_that_dies_with_the_outer_one_exchanged_is_done: "restore: a mount exchanged", Left::Mixed
    a_restore_of_nested_mounts_that_dies_swapped_is_not_done_twice: "restore: swapped", Left::New
}

restores_of_mount_points_that_die! {
    a_restore_of_a_mount_point_that_dies_loaded_is_done: "restore: a mount loaded", Left::Old
    a_restore_of_a_mount_point_that_dies_prepared_is_done: "restore: prepared", Left::Old
    a_restore_of_a_mount_point_that_dies_before_its_first_entry_is_done: "mount: begun", Left::Mixed
    a_restore_of_a_mount_point_that_dies_with_one_entry_out_is_done: "mount: an entry is out", Left::Mixed
    a_restore_of_a_mount_point_that_dies_with_all_entries_out_is_done: "mount: all are out", Left::Mixed
    a_restore_of_a_mount_point_that_dies_turned_is_done: "mount: turned", Left::Mixed
    a_restore_of_a_mount_point_that_dies_with_one_entry_in_is_done: "mount: an entry is in", Left::Mixed
    a_restore_of_a_mount_point_that_dies_with_all_entries_in_is_done: "mount: all are in", Left::Mixed
    a_restore_of_a_mount_point_that_dies_swapped_is_not_done_twice: "restore: swapped", Left::New
    a_restore_of_a_mount_point_that_dies_once_it_has_ended_leaves_nothing_inside: "restore: ended", Left::New
}

#[test]
fn a_restore_of_a_mount_point_that_dies_while_it_is_taken_back_is_done() {
    let Some((at, _mounted)) = Installation::on_a_mount_point() else { return };
    let dying = at.start_with(&[(CRASH, "mount: an entry is in")]);
    let first = at.snapshot();
    at.site.write(2);
    let asked = at.ask_restore(&first);
    dying.died();
    // The first entry that is taken back is out.
    at.start_role("all", &[(CRASH, "mount: an entry is out")]).died();
    go_on_after_a_restore_died(&at, &asked, Left::Mixed);
}

#[test]
fn a_restore_that_dies_while_it_is_taken_back_is_done() {
    let at = Installation::new();
    let dying = at.start_with(&[(STOP, "restore: swapping"), (CRASH, "restore: rolling back")]);
    let first = at.snapshot();
    at.site.write(2);
    let asked = at.ask_restore(&first);
    dying.stopped();
    // The service can't be exchanged while somebody else writes to it.
    let foreign = at.site.connect();
    foreign.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    dying.go_on();
    dying.died();
    foreign.execute_batch("ROLLBACK").expect("rolled back");
    drop(foreign);
    go_on_after_a_restore_died(&at, &asked, Left::Mixed);
}

#[test]
fn a_snapshot_whose_workers_die_again_and_again_ends_with_the_reason() {
    let at = Installation::new();
    let mut asked = None;
    for _ in 0..3 {
        let dying = at.start_with(&[(CRASH, "snapshot: copied")]);
        asked.get_or_insert_with(|| at.ask_snapshot());
        dying.died();
    }
    let server = at.start();
    let reason = at.failed(&asked.expect("asked for"));
    assert!(reason.contains("died 3 times"), "{reason}");
    at.assert_no_leftovers();
    at.snapshot();
    at.assert_repository_whole();
    server.terminate();
}

#[test]
fn a_restore_whose_workers_die_again_and_again_ends_with_the_reason_and_the_old_data() {
    let at = Installation::new();
    let (mut asked, mut first) = (None, None);
    for _ in 0..3 {
        let dying = at.start_with(&[(CRASH, "restore: a service exchanged")]);
        asked.get_or_insert_with(|| {
            let name = first.get_or_insert_with(|| at.snapshot());
            at.site.write(2);
            at.ask_restore(name)
        });
        dying.died();
    }
    let server = at.start();
    let reason = at.failed(&asked.expect("asked for"));
    assert!(reason.contains("died 3 times"), "{reason}");
    assert_eq!(at.visit().expect("the gateway").status, 200);
    assert_eq!(at.site.version(), 2);
    at.assert_no_leftovers();
    at.restore(&first.expect("taken"));
    assert_eq!(at.site.version(), 1);
    server.terminate();
}
