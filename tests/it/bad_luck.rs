//! What goes wrong around Stillpoint: paths, databases, repositories, disks, people; and what is left when our own
//! database is lost (R34).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::process::{Installation, Site, Tmpfs, said, until};

const STOP: &str = "STILLPOINT_STOP_AT";

/// An installation without its declaration yet.
fn undeclared() -> Installation {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let site = Site::new(&directory.path().join("site"));
    let mut at = Installation::bare(directory, site);
    at.add_operator();
    at
}

/// What `apply` says of a mount with that path, without the file's name.
fn refused(at: &Installation, mount: &Path) -> String {
    let good = format!("path = {:?}", at.site.uploads());
    let text = at.site.declaration("").replace(&good, &format!("path = {mount:?}"));
    let line = text.lines().position(|line| line == "[[project.environment.mount]]").expect("a mount") + 1;
    let (applied, said) = at.apply(&text);
    assert!(!applied, "{said}");
    let told = said.split_once(&format!("declaration.toml:{line}: ")).map(|(_, told)| told.to_owned());
    told.unwrap_or_else(|| panic!("not at line {line}: {said}"))
}

#[test]
fn a_mount_that_cannot_be_used_is_refused_where_it_is_declared() {
    let at = undeclared();
    let home = at.site.home.clone();
    assert!(refused(&at, &home.join("nowhere")).contains("nowhere"));
    assert!(refused(&at, &at.site.database()).contains("not a directory"));
    let inside = at.state().join("uploads");
    fs::create_dir_all(&inside).expect("a directory");
    assert!(refused(&at, &inside).contains("data directory"));
    let link = home.join("link");
    symlink(&inside, &link).expect("a link");
    assert!(refused(&at, &link).contains("data directory"), "wherever a link leads");
    if let Some(_mounted) = Tmpfs::needed(&home.join("own/inside"), 512) {
        assert!(refused(&at, &home.join("own")).contains("another file system is mounted"));
    }
    assert!(!at.repository().exists(), "nothing was changed");
    at.apply_site();
}

#[test]
fn a_mount_that_becomes_unusable_fails_the_snapshot_with_the_reason_and_works_again_when_mended() {
    let at = Installation::new();
    let server = at.start();
    let (uploads, elsewhere) = (at.site.uploads(), at.site.home.join("elsewhere"));
    let fails = |word: &str| {
        let reason = at.failed(&at.ask_snapshot());
        assert!(reason.contains("mount uploads") || reason.contains("Mount uploads"), "{reason}");
        assert!(reason.contains(word), "{reason}");
    };
    fs::rename(&uploads, &elsewhere).expect("moved away");
    fails("uploads");
    fs::write(&uploads, "a file").expect("written");
    fails("not a directory");
    fs::remove_file(&uploads).expect("removed");
    symlink(at.state(), &uploads).expect("a link");
    fails("data directory");
    fs::remove_file(&uploads).expect("removed");
    fs::rename(&elsewhere, &uploads).expect("moved back");
    if let Some(mounted) = Tmpfs::needed(&uploads.join("below"), 512) {
        fails("below");
        drop(mounted);
        fs::remove_dir(uploads.join("below")).expect("removed");
    }
    let name = at.snapshot();
    at.site.write(2);
    at.restore(&name);
    assert_eq!(at.site.version(), 1);
    assert_eq!(at.backups().len(), 2, "the snapshot and the safety snapshot");
    at.assert_no_leftovers();
    at.assert_repository_whole();
    server.terminate();
}

#[test]
fn a_locked_database_fails_the_snapshot_and_takes_a_restore_back() {
    let at = Installation::new();
    let server = at.start();
    let name = at.snapshot();
    at.site.write(2);
    let foreign = at.site.connect();
    foreign.execute_batch("BEGIN EXCLUSIVE").expect("the lock");
    for asked in [at.ask_snapshot(), at.ask_restore(&name)] {
        let reason = at.failed(&asked);
        assert!(reason.contains("ervice database") && reason.contains("lock"), "{reason}");
    }
    foreign.execute_batch("ROLLBACK").expect("rolled back");
    assert_eq!(at.site.version(), 2);
    assert_eq!(at.visit().expect("the gateway").status, 200);
    at.assert_no_leftovers();
    at.restore(&name);
    assert_eq!(at.site.version(), 1);
    server.terminate();
}

#[test]
fn a_directory_that_may_not_be_read_is_named_and_nothing_is_stored() {
    let mut at = Installation::new();
    at.drop_rights();
    let deep = at.site.uploads().join("deep");
    let close = |mode| fs::set_permissions(&deep, fs::Permissions::from_mode(mode)).expect("own directory");
    close(0o000);
    let server = at.start();
    let reason = at.failed(&at.ask_snapshot());
    assert!(reason.contains("uploads/deep") && reason.to_lowercase().contains("permission"), "{reason}");
    assert_eq!(at.backups().len(), 0);
    assert_eq!(at.visit().expect("the gateway").status, 200);
    at.assert_no_leftovers();
    close(0o755);
    let name = at.snapshot();
    at.site.write(2);
    at.restore(&name);
    assert_eq!(at.site.version(), 1);
    server.terminate();
}

#[test]
fn what_a_restore_replaced_and_could_not_store_is_stored_when_it_can_be() {
    let at = Installation::new();
    let server = at.start_with(&[(STOP, "restore: swapped")]);
    let name = at.snapshot();
    at.site.write(2);
    let asked = at.ask_restore(&name);
    server.stopped();
    let away = at.directory().join("away");
    fs::rename(at.repository(), &away).expect("own directory");
    server.go_on();
    let reason = at.failed(&asked);
    assert!(reason.contains("could not be stored") && reason.contains("tried again"), "{reason}");
    assert_eq!(at.site.version(), 1, "it is restored all the same");
    let (_, environment) = at.ask("GET", "/projects/shop/environments/main", None).expect("the server answers");
    let aside = &environment["aside"][0];
    assert_eq!(
        (&aside["activity"], &aside["removing"]),
        (&asked.activity.clone().into(), &false.into()),
        "{environment}"
    );
    let parts = aside["parts"].as_array().expect("the parts");
    assert!(parts.len() >= 2 && parts.iter().all(|part| part["size"].as_u64().is_some_and(|size| size > 0)), "{aside}");
    fs::rename(&away, at.repository()).expect("own directory");

    // Some minutes later.
    let database = rusqlite::Connection::open(at.database()).expect("the server's database");
    database.busy_timeout(std::time::Duration::from_secs(10)).expect("a time");
    database.execute("UPDATE swaps SET updated_at = updated_at - 600000000", []).expect("the clock put on");
    until("it is stored", || (at.backups().len() == 2).then_some(()));
    at.assert_no_leftovers();
    until("nothing stands aside", || {
        let (_, environment) = at.ask("GET", "/projects/shop/environments/main", None)?;
        environment["aside"].is_null().then_some(())
    });
    // One that does not stop there again.
    server.terminate();
    let server = at.start();
    let restore = at.activity(&asked);
    at.restore(restore["payload"]["safety_backup_name"].as_str().expect("a name"));
    assert_eq!(at.site.version(), 2);
    at.assert_repository_whole();
    server.terminate();
}

#[test]
fn a_database_that_gets_locked_in_the_swap_takes_the_restore_back() {
    let at = Installation::new();
    let server = at.start_with(&[(STOP, "restore: swapping")]);
    let name = at.snapshot();
    at.site.write(2);
    let asked = at.ask_restore(&name);
    server.stopped();
    let foreign = at.site.connect();
    foreign.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    server.go_on();
    let reason = at.failed(&asked);
    assert!(reason.contains("taken back"), "{reason}");
    foreign.execute_batch("ROLLBACK").expect("rolled back");
    assert_eq!(at.site.version(), 2);
    assert_eq!(at.visit().expect("the gateway").status, 200);
    at.assert_no_leftovers();
    server.terminate();
}

#[test]
fn a_swap_that_cannot_be_taken_back_at_once_is_taken_back_when_it_can_and_nobody_sees_it_mixed() {
    let at = Installation::new();
    let server = at.start_with(&[(STOP, "restore: a service exchanged")]);
    let name = at.snapshot();
    at.site.write(2);
    let asked = at.ask_restore(&name);
    server.stopped();
    // The mount can't be exchanged any more, and the service can't be brought back.
    let (uploads, elsewhere) = (at.site.uploads(), at.site.home.join("elsewhere"));
    fs::rename(&uploads, &elsewhere).expect("moved away");
    let foreign = at.site.connect();
    foreign.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    server.go_on();
    let reason = at.failed(&asked);
    assert!(reason.contains("taking it back failed too"), "{reason}");
    let answer = at.visit().expect("the gateway");
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("retry-after:"), "{}", answer.head);
    let visitor = at.visitor();
    foreign.execute_batch("ROLLBACK").expect("rolled back");
    fs::rename(&elsewhere, &uploads).expect("moved back");
    until("the site is served again", || at.visit().filter(|answer| answer.status == 200));
    visitor.leave();
    assert_eq!(at.site.version(), 2);
    at.assert_no_leftovers();
    server.terminate();
}

#[test]
fn a_corrupt_database_fails_the_snapshot_with_the_reason() {
    let at = Installation::new();
    let server = at.start();
    let name = at.snapshot();
    at.site.connect().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("all in one file");
    let whole = fs::read(at.site.database()).expect("the database");
    let file = fs::File::options().write(true).open(at.site.database()).expect("the database");
    for page in 2..whole.len() as u64 / 4096 {
        file.write_all_at(&[0xa5; 200], page * 4096).expect("damaged");
    }
    drop(file);
    let reason = at.failed(&at.ask_snapshot());
    assert!(reason.contains("ervice database"), "{reason}");
    assert!(reason.contains("damaged") || reason.contains("corrupt") || reason.contains("malformed"), "{reason}");
    assert_eq!(at.backups().len(), 1);
    // Another file, as an administrator would put it there.
    fs::remove_file(at.site.database()).expect("removed");
    for beside in ["shop.db-wal", "shop.db-shm"] {
        let _ = fs::remove_file(at.site.home.join(beside));
    }
    fs::write(at.site.database(), whole).expect("put back");
    at.restore(&name);
    assert_eq!(at.site.version(), 1);
    at.assert_no_leftovers();
    at.assert_repository_whole();
    server.terminate();
}

#[test]
fn a_repository_of_another_key_fails_with_the_reason() {
    let at = Installation::new();
    let others = Installation::new();
    fs::remove_dir_all(at.repository()).expect("own directory");
    fs::rename(others.repository(), at.repository()).expect("own directories");
    let server = at.start();
    let reason = at.failed(&at.ask_snapshot());
    assert!(reason.contains("key"), "{reason}");
    at.assert_no_leftovers();
    server.terminate();
}

#[test]
fn snapshots_go_on_without_the_recovery_key_and_restic_says_no() {
    let at = Installation::new();
    let key = at.recovery_key();
    for file in files(&at.repository().join("keys")) {
        fs::remove_file(file).expect("own file");
    }
    assert!(!at.restic(&key, &["snapshots"]).status.success());
    let server = at.start();
    let name = at.snapshot();
    at.site.write(2);
    at.restore(&name);
    assert_eq!(at.site.version(), 1);
    server.terminate();
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

#[test]
fn a_damaged_pack_fails_the_restore_and_the_old_data_is_served() {
    let at = Installation::new();
    let server = at.start();
    let name = at.snapshot();
    at.site.write(2);
    let kept: Vec<(PathBuf, Vec<u8>)> = files(&at.repository().join("data"))
        .into_iter()
        .map(|pack| {
            let bytes = fs::read(&pack).expect("a pack");
            (pack, bytes)
        })
        .collect();
    for (pack, bytes) in &kept {
        fs::remove_file(pack).expect("removed");
        let half = bytes.len() / 2;
        let damaged: Vec<u8> =
            bytes.iter().enumerate().map(|(at, byte)| if at < half { !byte } else { *byte }).collect();
        fs::write(pack, damaged).expect("damaged");
    }
    let visitor = at.visitor();
    let reason = at.failed(&at.ask_restore(&name));
    assert!(reason.len() > 30, "{reason}");
    let visits = visitor.leave();
    assert_eq!((visits.broken, visits.asked_to_return), (0, 0), "{visits:?}");
    assert_eq!(at.site.version(), 2);
    at.assert_no_leftovers();
    for (pack, bytes) in kept {
        fs::write(pack, bytes).expect("mended");
    }
    at.restore(&name);
    assert_eq!(at.site.version(), 1);
    at.assert_repository_whole();
    server.terminate();
}

#[test]
fn a_disk_that_is_full_while_staging_fails_the_snapshot_and_leaves_nothing() {
    let at = Installation::new();
    let Some(small) = Tmpfs::needed(&at.state().join("work"), 64) else { return };
    let server = at.start();
    let reason = at.failed(&at.ask_snapshot());
    assert!(reason.to_lowercase().contains("space"), "{reason}");
    assert_eq!(at.backups().len(), 0);
    at.assert_no_leftovers();
    small.resize(64 * 1024);
    at.snapshot();
    at.assert_no_leftovers();
    at.assert_repository_whole();
    server.terminate();
}

#[test]
fn a_disk_that_is_full_while_the_repository_is_written_fails_the_snapshot_and_hurts_no_other() {
    let at = undeclared();
    let Some(small) = Tmpfs::needed(&at.state().join("repositories"), 2 * 1024) else { return };
    at.apply_site();
    let server = at.start();
    let name = at.snapshot();
    let mut noise = 7_u64;
    let big: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        noise.to_le_bytes()
    })
    .take(1 << 20)
    .flatten()
    .collect();
    let path = at.site.home.join("uploads/big.bin");
    fs::write(&path, big).expect("8 MiB of noise");
    let reason = at.failed(&at.ask_snapshot());
    assert!(reason.to_lowercase().contains("space"), "{reason}");
    assert_eq!(at.backups().len(), 1);
    at.assert_no_leftovers();
    small.resize(64 * 1024);
    at.snapshot();
    fs::remove_file(path).expect("removed");
    at.site.write(2);
    at.restore(&name);
    assert_eq!(at.site.version(), 1);
    at.assert_repository_whole();
    server.terminate();
}

#[test]
fn a_disk_that_is_full_while_restoring_fails_the_restore_and_the_old_data_is_served() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let home = directory.path().join("site");
    let Some(small) = Tmpfs::needed(&home, 2 * 1024) else { return };
    let site = Site::new(&home);
    let at = Installation::around(directory, site);
    let server = at.start();
    let name = at.snapshot();
    at.site.write(2);
    let ballast = home.join("ballast");
    let mut zeros = fs::File::create(&ballast).expect("a file");
    let filled = std::io::copy(&mut std::io::repeat(0), &mut zeros).expect_err("the disk is full");
    assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
    // The site itself needs some: the check is that it goes on.
    zeros.set_len(zeros.metadata().expect("its size").len() - 200 * 1024).expect("cut");
    drop(zeros);
    let reason = at.failed(&at.ask_restore(&name));
    assert!(reason.to_lowercase().contains("space"), "{reason}");
    assert_eq!(at.visit().expect("the gateway").status, 200);
    assert_eq!(at.site.version(), 2);
    at.assert_no_leftovers();
    fs::remove_file(ballast).expect("removed");
    at.restore(&name);
    assert_eq!(at.site.version(), 1);
    at.assert_no_leftovers();
    server.terminate();
    drop(small);
}

/// The disk of the mount and of the database fills up between the load and the swap, or in the swap itself.
fn a_disk_fills_up(step: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let home = directory.path().join("site");
    let Some(small) = Tmpfs::needed(&home, 4 * 1024) else { return };
    let site = Site::new(&home);
    let at = Installation::around(directory, site);
    let server = at.start_with(&[("STILLPOINT_STOP_AT", step)]);
    let name = at.snapshot();
    at.site.write(2);
    let asked = at.ask_restore(&name);
    server.stopped();
    let ballast = home.join("ballast");
    let mut zeros = fs::File::create(&ballast).expect("a file");
    let filled = std::io::copy(&mut std::io::repeat(0), &mut zeros).expect_err("the disk is full");
    assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
    drop(zeros);
    server.go_on();
    let reason = at.failed(&asked);
    assert!(reason.contains("no space is left") && reason.contains("free some"), "{step}: {reason}");
    // On a disk without any space SQLite opens no database in WAL mode: not for the site, nor to take a swap back.
    let is_shut = reason.contains("taking it back failed");
    assert_eq!(is_shut, step == "restore: swapping", "{reason}");
    fs::remove_file(ballast).expect("removed");
    until("visitors are served", || (at.visit().expect("the gateway").status == 200).then_some(()));
    assert_eq!(at.site.version(), 2, "{step}");
    at.assert_no_leftovers();
    server.terminate();
    let server = at.start();
    at.restore(&name);
    assert_eq!(at.site.version(), 1);
    at.assert_no_leftovers();
    server.terminate();
    drop(small);
}

#[test]
fn a_disk_that_fills_up_once_everything_is_loaded_fails_the_restore_and_the_old_data_is_served() {
    a_disk_fills_up("restore: a service loaded");
}

#[test]
fn a_disk_that_fills_up_in_the_swap_serves_nothing_mixed_and_the_old_data_once_there_is_space() {
    a_disk_fills_up("restore: swapping");
}

#[test]
fn two_admins_who_press_at_once_are_served_one_after_the_other() {
    let at = Installation::new();
    let server = at.start();
    let (one, two) = std::thread::scope(|scope| {
        let pressed = [scope.spawn(|| at.ask_snapshot()), scope.spawn(|| at.ask_snapshot())];
        let [one, two] = pressed.map(|thread| thread.join().expect("accepted"));
        (one, two)
    });
    let (one, two) = (at.succeeded(&one), at.succeeded(&two));
    let time = |activity: &serde_json::Value, field: &str| activity[field].as_str().expect("a time").to_owned();
    let (first, second) = if time(&one, "started_at") < time(&two, "started_at") { (one, two) } else { (two, one) };
    assert!(time(&first, "completed_at") <= time(&second, "started_at"), "{first:#} {second:#}");
    assert!(time(&first, "created_at") <= time(&second, "created_at"));
    assert_eq!(at.backups().len(), 2);
    at.assert_no_leftovers();
    at.assert_repository_whole();
    server.terminate();
}

#[test]
fn who_writes_round_the_gate_in_the_hold_is_named_and_the_label_says_so() {
    let at = Installation::new();
    let server = at.start_with(&[(STOP, "snapshot: views open")]);
    let asked = at.ask_snapshot();
    server.stopped();
    at.site.connect().execute_batch("DELETE FROM items WHERE n = 0").expect("a foreign writer");
    server.go_on();
    at.succeeded(&asked);
    let backup = at.backup(&asked.snapshot);
    assert_eq!(backup["attributes"]["consistency"], "each_service", "{backup:#}");
    let points = backup["attributes"]["proof"]["points"].to_string();
    assert!(points.contains("service database"), "{points}");
    server.terminate();
}

#[test]
fn who_lost_the_role_while_it_was_queued_is_told_so() {
    let at = Installation::new();
    let email = "admin@example.org";
    let member = at.add_member(email);
    let with_role = |role: &str| {
        let project = "id = \"shop\"\n";
        let entry = format!("{project}\n[[project.member]]\nemail = {email:?}\nrole = {role:?}\n");
        let (applied, said) = at.apply(&at.site.declaration("").replace(project, &entry));
        assert!(applied, "{said}");
    };
    with_role("admin");
    let serve = at.start_role("serve", &[]);
    let gate = at.start_role("gate", &[]);
    at.ready(&serve);
    at.gate_ready(&gate);
    let asked = at.ask_snapshot_as(&member, json!({}));
    with_role("viewer");
    let work = at.start_role("work", &[]);
    let reason = at.failed(&asked);
    assert!(reason.contains("no role"), "{reason}");
    assert_eq!(at.backups().len(), 0);
    for process in [work, gate, serve] {
        process.terminate();
    }
}

#[test]
fn a_server_that_is_told_to_stop_puts_its_snapshot_back_and_takes_it_after_the_restart() {
    for step in ["snapshot: copied", "snapshot: released"] {
        let at = Installation::new();
        let stopping = at.start_with(&[(STOP, step)]);
        let asked = at.ask_snapshot();
        stopping.stopped();
        stopping.terminate();
        at.assert_no_leftovers();
        let server = at.start();
        at.succeeded(&asked);
        assert_eq!(at.backups().len(), 1);
        at.assert_no_leftovers();
        at.assert_repository_whole();
        server.terminate();
    }
}

#[test]
fn a_server_that_is_told_to_stop_puts_its_restore_back_and_does_it_after_the_restart() {
    for step in ["restore: a mount loaded", "restore: held", "restore: swapping", "restore: swapped"] {
        let at = Installation::new();
        let stopping = at.start_with(&[(STOP, step)]);
        let name = at.snapshot();
        at.site.write(2);
        let asked = at.ask_restore(&name);
        stopping.stopped();
        stopping.terminate();
        let server = at.start();
        let visitor = at.visitor();
        let activity = at.succeeded(&asked);
        visitor.leave();
        assert_eq!(at.site.version(), 1, "{step}");
        at.assert_no_leftovers();
        let safety = activity["payload"]["safety_backup_name"].as_str().expect("a name").to_owned();
        at.restore(&safety);
        assert_eq!(at.site.version(), 2, "{step}");
        at.assert_repository_whole();
        server.terminate();
    }
}

fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).expect("a file");
        (path.strip_prefix(directory).expect("below").to_owned(), bytes)
    };
    files(directory).into_iter().map(read).collect()
}

#[test]
fn a_lost_database_loses_no_snapshot() {
    let mut at = Installation::new();
    let recovery = at.recovery_key();
    let server = at.start();
    let first = at.snapshot();
    let uploads = contents(&at.site.uploads());
    at.site.write(2);
    let second = at.snapshot();
    server.terminate();
    at.site.write(3);

    // Stock restic alone, as docs/recovery.md will have it.
    let target = at.directory().join("by-restic");
    let restored =
        at.restic(&recovery, &["restore", "latest", "--tag", &first, "--target", target.to_str().expect("UTF-8")]);
    assert!(restored.status.success(), "{}", said(&restored));
    let by_restic = contents(&target);
    for (path, bytes) in &uploads {
        let found = by_restic.iter().find(|(found, _)| found.ends_with(Path::new("uploads").join(path)));
        assert_eq!(found.map(|(_, bytes)| bytes), Some(bytes), "{}", path.display());
    }

    for entry in fs::read_dir(at.state()).expect("a directory").flatten() {
        if entry.file_name().to_string_lossy().starts_with("stillpoint.db") {
            fs::remove_file(entry.path()).expect("lost");
        }
    }
    at.add_operator();
    let repository = at.repository();
    let told = at.succeed(&["admin", "adopt", repository.to_str().expect("UTF-8"), "--key-stdin"], &recovery);
    assert!(told.contains("2 snapshots"), "{told}");
    at.apply_site();
    let server = at.start();
    let mut names: Vec<_> = at.backups().iter().map(|backup| backup["id"].clone()).collect();
    names.sort_by_key(ToString::to_string);
    let mut expected = [first.clone(), second.clone()];
    expected.sort();
    assert_eq!(names, expected);
    let protected = |backup: &serde_json::Value| backup["attributes"]["protected"] == true;
    assert!(at.backups().iter().all(protected), "nothing goes before somebody has looked");
    at.restore(&first);
    assert_eq!(at.site.version(), 1);
    assert_eq!(contents(&at.site.uploads()), uploads, "byte for byte");
    at.restore(&second);
    assert_eq!(at.site.version(), 2);
    at.snapshot();
    at.assert_no_leftovers();
    let opened = at.restic(&recovery, &["cat", "config"]);
    assert!(opened.status.success(), "the old recovery key still opens it: {}", said(&opened));
    // And the one that is printed now.
    at.assert_repository_whole();
    server.terminate();
}
