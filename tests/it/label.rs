//! A snapshot is called consistent only when nobody wrote to anything while its views were opened (R16).

use std::process::Command;

use crate::process::{Installation, until};

#[test]
fn what_was_written_through_a_memory_map_takes_the_label_away() {
    let at = Installation::new();
    let file = at.site.uploads().join("mapped");
    std::fs::write(&file, "before").expect("own directory");
    let server = at.start_with(&[("STILLPOINT_STOP_AT", "snapshot: copied")]);
    let asked = at.ask_snapshot();
    server.stopped();
    // The file is read already, and the kernel tells nobody of this.
    let write = "import mmap, sys; f = open(sys.argv[1], 'r+b'); mmap.mmap(f.fileno(), 6)[:] = b'behind'";
    let wrote = Command::new("python3").args(["-c", write]).arg(&file).status();
    assert!(wrote.expect("python3").success());
    server.go_on();
    at.succeeded(&asked);
    let backup = at.backup(&asked.snapshot);
    assert_eq!(backup["attributes"]["consistency"], "each_service");
    let proof = backup["attributes"]["proof"].to_string();
    assert!(proof.contains("memory map") && proof.contains("mapped among them"), "{proof}");
    server.terminate();
}

#[test]
fn what_a_visitor_wrote_before_the_hold_is_in_the_snapshot_and_the_label_stays() {
    let at = Installation::new();
    let server = at.start_with(&[("STILLPOINT_STOP_AT", "snapshot: copied")]);
    let asked = at.ask_snapshot();
    server.stopped();
    let file = at.site.uploads().join("deep/down/file");
    std::fs::create_dir_all(file.parent().expect("directories")).expect("own directory");
    std::fs::write(&file, "as if by a visitor").expect("own directory");
    server.go_on();
    at.succeeded(&asked);
    assert_eq!(at.backup(&asked.snapshot)["attributes"]["consistency"], "consistent");
    server.terminate();
    std::fs::remove_dir_all(at.site.uploads().join("deep")).expect("own directory");

    // Another server: the first one stops there again.
    let server = at.start();
    at.restore(&asked.snapshot);
    assert_eq!(std::fs::read(&file).expect("it is back"), b"as if by a visitor");
    server.terminate();
}

#[test]
fn who_is_in_the_way_for_a_moment_costs_a_second_try_and_not_the_snapshot() {
    let at = Installation::new();
    let rows = at.site.connect();
    rows.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).expect("nobody else has it open");
    let server = at.start_with(&[("STILLPOINT_STOP_AT", "snapshot: copied")]);
    let asked = at.ask_snapshot();
    server.stopped();
    rows.execute_batch("BEGIN EXCLUSIVE").expect("nobody writes");
    let file = at.site.uploads().join("between");
    std::fs::write(&file, "before the first try").expect("own directory");
    server.go_on();
    until("the first try is given up", || at.log_of(&asked).contains("trying once more").then_some(()));
    assert!(at.log_of(&asked).contains("locked"), "{}", at.log_of(&asked));
    rows.execute_batch("ROLLBACK").expect("it was begun");
    at.succeeded(&asked);
    server.terminate();

    std::fs::remove_file(&file).expect("it is there");
    let server = at.start();
    at.restore(&asked.snapshot);
    assert!(file.exists(), "what the journal told before the first try is not forgotten");
    server.terminate();
}
