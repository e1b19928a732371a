//! The promise that stock restic can do without us.

use super::*;

#[test]
fn restic_lists_checks_and_restores_a_snapshot_byte_for_byte() {
    let sandbox = Sandbox::new();
    odd_tree(&sandbox.live(), Strange::No);
    let dump = noise(40 << 20, 9);
    let archived = sandbox.snapshot(None, vec![stream(dump.clone())]);

    assert_eq!(sandbox.entries(), [archived.id.as_str()]);
    assert!(sandbox.restic(&["snapshots", "--tag", NAME]).contains("demo/main"));
    sandbox.restic(&["check", "--read-data"]);
    let out = sandbox.path("out");
    sandbox.restic(&["restore", &archived.id, "--target", out.to_str().expect("UTF-8")]);

    assert_same(&describe(&sandbox.live()), &describe(&out.join("mounts/uploads")));
    assert_eq!(fs::read(out.join("manifest.json")).expect("a manifest"), MANIFEST_TEXT);
    let mut segments: Vec<PathBuf> = fs::read_dir(out.join("services/database"))
        .expect("segments")
        .map(|entry| entry.expect("a segment").path())
        .collect();
    segments.sort();
    assert!(segments.len() > 1, "{segments:?}");
    let joined: Vec<u8> = segments.iter().flat_map(|path| fs::read(path).expect("a segment")).collect();
    assert!(joined == dump);
}

#[test]
fn our_own_restore_brings_everything_back() {
    let sandbox = Sandbox::new();
    odd_tree(&sandbox.live(), Strange::Yes);
    let archived = sandbox.snapshot(None, Vec::new());
    let out = sandbox.restore(&archived.id).expect("a restore");
    let expected = describe(&sandbox.live());
    assert_same(&expected, &describe(&out));
    let files = expected.values().filter(|described| described.kind != FileKind::Directory).count();
    assert_eq!(archived.files, files as u64);
    // What was a hole takes no room: of 20 MiB, the stored blobs around 13 bytes at most.
    let room = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(out.join("sparse")).expect("restored")) * 512;
    assert!(room <= 16 << 20, "{room}");
}

#[test]
fn the_recovery_key_opens_the_repository_here_and_in_restic_and_its_own_key_here_only() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("repository");
    let location = Location::Local(path.clone());
    let repository = Repository::create(&location, &Secret::new(KEY)).expect("an empty place");
    restic(&path, KEY, &["check"]);
    let own = Repository::unlock(&location, &Secret::new(KEY)).expect("the recovery key").key();
    assert_eq!(own.reveal(), repository.key().reveal());
    Repository::open(&location, &own).expect("its own key").list().expect("a list");
    let elsewhere = Location::Local(dir.path().join("elsewhere"));
    let others = Repository::create(&elsewhere, &Secret::new(KEY)).expect("an empty place").key();
    for wrong in [
        Repository::unlock(&location, &Secret::new("another")),
        Repository::open(&location, &others),
        Repository::open(&location, &Secret::new(KEY)),
    ] {
        assert!(matches!(wrong, Err(Error::WrongKey { .. })), "{wrong:?}");
    }

    let second = Secret::new("a second");
    repository.ensure_password(&second).expect("added");
    repository.ensure_password(&second).expect("there already");
    restic(&path, second.reveal(), &["snapshots"]);
    assert_eq!(fs::read_dir(path.join("keys")).expect("keys").count(), 2);
    assert!(!format!("{repository:?}").contains("key"), "{repository:?}");
}

#[test]
fn a_place_without_a_repository_and_a_taken_one_are_told_apart() {
    let sandbox = Sandbox::new();
    let nowhere = Location::Local(sandbox.path("nowhere"));
    let missing = Repository::unlock(&nowhere, &Secret::new(KEY)).expect_err("nothing there");
    assert!(matches!(missing, Error::Missing { .. }), "{missing:?}");
    let taken = Repository::create(sandbox.repository.location(), &Secret::new(KEY)).expect_err("taken");
    assert!(matches!(taken, Error::Exists { .. }), "{taken:?}");
    // Unmounted meanwhile.
    fs::rename(sandbox.path("repository"), sandbox.path("away")).expect("own directory");
    let gone = sandbox.repository.list().expect_err("gone");
    assert!(matches!(gone, Error::Missing { .. }), "{gone:?}");
}

#[test]
fn the_list_has_what_a_catalogue_is_rebuilt_from() {
    let sandbox = Sandbox::new();
    sandbox.write("a", b"1");
    let archived = sandbox.snapshot(None, vec![stream(*b"dump")]);
    let repository = Repository::open(sandbox.repository.location(), &sandbox.repository.key()).expect("a fresh start");
    let listing = repository.list().expect("a list");
    let stored = Stored { id: archived.id.clone(), time: entry().time, host: entry().host, name: Some(entry().name) };
    assert_eq!(listing, Listing { snapshots: vec![stored], unreadable: Vec::new() });
    assert_eq!(repository.manifest(&archived.id).expect("a manifest"), MANIFEST_TEXT);

    repository.forget(&archived.id).expect("forgotten");
    repository.forget(&archived.id).expect("a job may run twice");
    assert_eq!(repository.list().expect("a list"), Listing::default());
    assert_eq!(sandbox.entries(), [""; 0]);
    let unknown = repository.manifest(&archived.id).expect_err("forgotten");
    assert!(matches!(unknown, Error::UnknownSnapshot { .. }), "{unknown:?}");
}

#[test]
fn an_unreadable_entry_does_not_hide_the_others() {
    let sandbox = Sandbox::new();
    sandbox.write("a", b"1");
    let good = sandbox.snapshot(None, Vec::new());
    let other = "ab".repeat(32);
    fs::write(sandbox.path("repository/snapshots").join(&other), b"nonsense").expect("a file");
    let listing = sandbox.repository.list().expect("a list");
    assert_eq!(listing.snapshots.len(), 1);
    assert_eq!(listing.snapshots[0].id, good.id);
    assert_eq!(listing.unreadable, [other]);
}
