//! What is stored is the tree as it stood in the hold: nothing from before, nothing from after.

use super::*;

#[test]
fn the_snapshot_shows_the_hold_whatever_happens_around_it() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let sandbox = Sandbox::new();
    let live = sandbox.live();
    odd_tree(&live, Strange::Yes);
    for name in ["d/keep/1", "d/keep/2", "d/gone/1", "file becomes directory", "directory becomes file/1", "same size"]
    {
        sandbox.write(name, b"before");
    }
    fs::create_dir(live.join("touched")).expect("a directory");
    let before = index(&live);
    let baseline = sandbox.pre_copy(None);

    // Between pass 1 and the hold.
    let remove = |name: &str| fs::remove_file(live.join(name)).expect("there");
    sandbox.write("d/keep/2", b"changed and longer");
    sandbox.write("new/directory/with/a file", b"new");
    fs::create_dir(live.join("new/empty")).expect("a directory");
    fs::remove_dir_all(live.join("d/gone")).expect("there");
    remove("file becomes directory");
    sandbox.write("file becomes directory/1", b"below");
    fs::remove_dir_all(live.join("directory becomes file")).expect("there");
    sandbox.write("directory becomes file", b"now");
    remove("link");
    symlink("elsewhere", live.join("link")).expect("a link");
    fs::set_permissions(live.join("touched"), fs::Permissions::from_mode(0o700)).expect("own directory");
    fs::hard_link(live.join("d/keep/1"), live.join("d/another name")).expect("a link");
    // Same size, same time: only the change time tells.
    let modified = fs::metadata(live.join("same size")).expect("there").modified().expect("a time");
    sandbox.write("same size", b"BEFORE");
    let file = fs::File::options().write(true).open(live.join("same size")).expect("there");
    file.set_modified(modified).expect("own file");

    let changes = changes(&before, &live, &sandbox.path("staging"));
    let in_the_hold = describe(&live);

    // After the hold.
    sandbox.write("d/keep/1", b"later");
    sandbox.write("plain.txt", b"later");
    sandbox.write("later", b"later");
    remove("big");
    fs::remove_dir_all(live.join("a")).expect("there");
    sandbox.write("new/directory/with/a file", b"later");

    let archived = sandbox.archive(&job(), Some(&baseline), changes, vec![stream(*b"dump")]).expect("a snapshot");
    assert_same(&in_the_hold, &describe(&sandbox.restore(&archived.id).expect("a restore")));
    sandbox.restic(&["check", "--read-data"]);
    let files = in_the_hold.values().filter(|described| described.kind != FileKind::Directory).count() as u64;
    let bytes: u64 = in_the_hold.values().map(|described| described.size).sum();
    assert_eq!((archived.files, archived.size.0), (files, bytes + 4 + MANIFEST_TEXT.len() as u64));
}

#[test]
fn a_file_that_was_there_during_pass_1_only_is_not_stored() {
    let sandbox = Sandbox::new();
    sandbox.write("d/a", b"1");
    let before = index(&sandbox.live());
    let source = sandbox.source();
    sandbox.write("d/passing", b"2");
    let baseline = sandbox.repository.pre_copy(&job(), &[source], None).expect("pass 1");
    fs::remove_file(sandbox.live().join("d/passing")).expect("there");
    let changes = changes(&before, &sandbox.live(), &sandbox.path("staging"));
    let archived = sandbox.archive(&job(), Some(&baseline), changes, Vec::new()).expect("a snapshot");
    assert_same(&describe(&sandbox.live()), &describe(&sandbox.restore(&archived.id).expect("a restore")));
}

#[test]
fn an_unchanged_tree_is_stored_without_reading_it_and_adds_next_to_nothing() {
    let sandbox = Sandbox::new();
    for n in 0..50 {
        sandbox.write(&format!("{}/{n}", n % 7), &noise(50_000, n + 1));
    }
    let first = sandbox.snapshot(None, Vec::new());
    assert!(first.added.0 > 2_000_000, "{first:?}");
    let job = job();
    let baseline = sandbox.repository.pre_copy(&job, &[sandbox.source()], Some(&first.id)).expect("pass 1");
    assert_eq!(job.bytes_done(), 50 * 50_000);
    // Nobody can read it any more.
    fs::rename(sandbox.live(), sandbox.path("away")).expect("own directory");
    let second = sandbox.archive(&job, Some(&baseline), TreeChanges::default(), Vec::new()).expect("a snapshot");
    fs::rename(sandbox.path("away"), sandbox.live()).expect("own directory");
    assert!(second.added.0 < 20_000, "{second:?}");
    assert_eq!((second.files, second.size), (first.files, first.size));
    assert_eq!(sandbox.entries().len(), 2);
    assert_same(&describe(&sandbox.live()), &describe(&sandbox.restore(&second.id).expect("a restore")));
}

#[test]
fn what_lies_below_an_unchanged_directory_is_not_looked_at() {
    let sandbox = Sandbox::new();
    for name in ["same/deep/1", "same/2", "other/deep/3", "other/4"] {
        sandbox.write(name, name.as_bytes());
    }
    let first = sandbox.snapshot(None, Vec::new());
    sandbox.write("other/5", b"new");
    let described = describe(&sandbox.live());
    let source = sandbox.source();
    // Were it looked at, pass 1 would miss it and the archive would refuse.
    fs::remove_file(sandbox.live().join("same/deep/1")).expect("there");
    let job = job();
    let baseline = sandbox.repository.pre_copy(&job, &[source], Some(&first.id)).expect("pass 1");
    assert_eq!(job.bytes_done(), described.values().map(|file| file.size).sum::<u64>());
    let second = sandbox.archive(&job, Some(&baseline), TreeChanges::default(), Vec::new()).expect("a snapshot");
    assert_eq!((second.files, second.size.0), (5, first.size.0 + 3));
    assert_same(&described, &describe(&sandbox.restore(&second.id).expect("a restore")));
}

#[test]
fn every_kind_of_change_since_the_earlier_snapshot_is_stored() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let sandbox = Sandbox::new();
    let live = sandbox.live();
    odd_tree(&live, Strange::Yes);
    for directory in ["same", "grown", "shrunk", "emptied", "mode", "link", "kind", "rewritten", "closed"] {
        sandbox.write(&format!("{directory}/in/it/1"), b"before");
        sandbox.write(&format!("{directory}/in/2"), b"before");
    }
    symlink("before", live.join("link/in/it/pointer")).expect("a link");
    let first = sandbox.snapshot(None, Vec::new());

    let there = |name: &str| live.join(name);
    sandbox.write("grown/in/it/new", b"new");
    fs::remove_file(there("shrunk/in/it/1")).expect("there");
    fs::remove_dir_all(there("emptied/in")).expect("there");
    fs::set_permissions(there("mode/in/it/1"), fs::Permissions::from_mode(0o600)).expect("own file");
    fs::remove_file(there("link/in/it/pointer")).expect("there");
    symlink("after_", there("link/in/it/pointer")).expect("a link");
    fs::remove_dir_all(there("kind/in/it")).expect("there");
    sandbox.write("kind/in/it", b"a file now");
    let modified = fs::metadata(there("rewritten/in/it/1")).expect("there").modified().expect("a time");
    sandbox.write("rewritten/in/it/1", b"BEFORE");
    let file = fs::File::options().write(true).open(there("rewritten/in/it/1")).expect("there");
    file.set_modified(modified).expect("own file");
    fs::set_permissions(there("closed/in/it"), fs::Permissions::from_mode(0o700)).expect("own directory");

    let second = sandbox.snapshot(Some(&first.id), Vec::new());
    assert_same(&describe(&live), &describe(&sandbox.restore(&second.id).expect("a restore")));
    let third = sandbox.snapshot(Some(&second.id), Vec::new());
    assert_same(&describe(&live), &describe(&sandbox.restore(&third.id).expect("a restore")));
    sandbox.restic(&["check", "--read-data"]);
}

#[test]
fn a_second_snapshot_stores_what_changed_since_the_first() {
    let sandbox = Sandbox::new();
    sandbox.write("large", &noise(5 << 20, 1));
    sandbox.write("small", b"1");
    let first = sandbox.snapshot(None, Vec::new());
    sandbox.write("small", b"2");
    let second = sandbox.snapshot(Some(&first.id), Vec::new());
    assert!(second.added.0 < 20_000, "{second:?}");
    let small = |id: &str| fs::read(sandbox.restore(id).expect("a restore").join("small")).expect("a file");
    assert_eq!((small(&first.id), small(&second.id)), (b"1".to_vec(), b"2".to_vec()));
}

#[test]
fn small_and_large_files_are_both_counted_stored_once_and_brought_back() {
    let sandbox = Sandbox::new();
    for (name, size) in [("a/large", 3 << 20), ("a/b/edge", 512 << 10), ("a/c/below", (512 << 10) - 1), ("d", 9 << 20)]
    {
        sandbox.write(name, &noise(size, size as u64));
    }
    let total = (12 << 20) + (1 << 20) - 1;
    let job = job();
    let baseline = sandbox.repository.pre_copy(&job, &[sandbox.source()], None).expect("pass 1");
    assert_eq!(job.bytes_done(), total);
    let first = sandbox.archive(&job, Some(&baseline), TreeChanges::default(), Vec::new()).expect("a snapshot");
    assert_same(&describe(&sandbox.live()), &describe(&sandbox.restore(&first.id).expect("a restore")));
    // Cut as restic cuts: what restic stores of the same files is there already.
    let live = sandbox.live();
    let before = packed(&sandbox);
    sandbox.restic(&["backup", live.to_str().expect("UTF-8")]);
    assert!(packed(&sandbox) - before < 50_000);
    let job = Job::new(|| true);
    sandbox.repository.pre_copy(&job, &[sandbox.source()], Some(&first.id)).expect("pass 1");
    assert_eq!(job.bytes_done(), total);
}

/// Bytes of all packs.
fn packed(sandbox: &Sandbox) -> u64 {
    let files = walkdir::WalkDir::new(sandbox.path("repository/data")).into_iter();
    files
        .map(|entry| entry.expect("readable").metadata().expect("readable"))
        .filter(fs::Metadata::is_file)
        .map(|meta| meta.len())
        .sum()
}

#[test]
fn what_the_index_leaves_out_is_not_in_the_snapshot() {
    let sandbox = Sandbox::new();
    for name in ["keep/cache/1", "cache/1", "cached"] {
        sandbox.write(name, b"1");
    }
    let source = sandbox.source_of(Listed::of(&sandbox.live()).without("cache"));
    let baseline = sandbox.repository.pre_copy(&job(), &[source], None).expect("pass 1");
    let archived = sandbox.archive(&job(), Some(&baseline), TreeChanges::default(), Vec::new()).expect("a snapshot");
    let restored = describe(&sandbox.restore(&archived.id).expect("a restore"));
    let paths: Vec<_> = restored.keys().map(|path| path.to_str().expect("UTF-8")).collect();
    assert_eq!(paths, ["", "cached", "keep", "keep/cache", "keep/cache/1"]);
}

#[test]
fn the_manifest_is_made_from_what_the_mounts_contain() {
    let sandbox = Sandbox::new();
    sandbox.write("a/1", b"12345");
    sandbox.write("2", b"123");
    let baseline = sandbox.pre_copy(None);
    let trees = sandbox.tree(TreeChanges { removed: [PathBuf::from("2")].into(), ..TreeChanges::default() });
    let manifest = |contents: &BTreeMap<MountName, Contents>| format!("{:?}", contents[&uploads()]).into_bytes();
    let archived =
        sandbox.repository.archive(&job(), &entry(), Some(&baseline), trees, Vec::new(), manifest).expect("a snapshot");
    let stored = sandbox.repository.manifest(&archived.id).expect("a manifest");
    assert_eq!(stored, format!("{:?}", Contents { files: 1, bytes: 5 }).into_bytes());
}

#[test]
fn an_empty_mount_and_an_environment_without_mounts_can_be_stored() {
    let sandbox = Sandbox::new();
    let empty = sandbox.snapshot(None, Vec::new());
    assert_eq!(fs::read_dir(sandbox.restore(&empty.id).expect("a restore")).expect("a directory").count(), 0);
    sandbox.archive(&job(), None, TreeChanges::default(), vec![stream(*b"dump")]).expect("a snapshot");
    let nothing = sandbox.repository.pre_copy(&job(), &[], None).expect("nothing to read");
    let archived =
        sandbox
            .repository
            .archive(&job(), &entry(), Some(&nothing), Vec::new(), vec![stream(*b"d")], |_| MANIFEST_TEXT.to_vec());
    archived.expect("a snapshot");
    sandbox.restic(&["check", "--read-data"]);
}
