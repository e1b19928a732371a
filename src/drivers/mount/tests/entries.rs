use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::super::points::{Way, way};
use super::super::{BESIDE, Contents, MountAside, MountBeside, children};
use super::*;
use crate::domain::ActivityId;

const OLD_MODE: u32 = 0o2775;
const NEW_MODE: u32 = 0o751;

fn activity() -> ActivityId {
    ActivityId::parse("0123456789abcdef0123").expect("20 hexadecimal digits")
}

/// A site with an old state, and a new one loaded inside it.
fn loaded() -> (Site, Mount, MountBeside) {
    let site = Site::new();
    fill(&site.path());
    let mount = site.mount_without(&["cache", "var/tmp"]);
    let beside = mount
        .beside_by(Way::Entries, mount.root().expect("a directory"), &activity(), Vec::new())
        .expect("a directory");
    load(&beside);
    (site, mount, beside)
}

fn fill(live: &Path) {
    for (path, text) in [
        ("page", "old"),
        ("only-old", "old"),
        ("pages/one", "old"),
        ("cache/entry", "warm"),
        ("var/tmp/session", "open"),
    ] {
        put(&live.join(path), text);
    }
    fs::set_permissions(live, fs::Permissions::from_mode(OLD_MODE)).expect("ours");
    set_modified(live, 1_000);
}

/// As the engine does, the directory's own metadata last.
fn load(beside: &MountBeside) {
    for path in ["page", "only-new", "pages/two", "var/file"] {
        put(&beside.tree().join(path), "new");
    }
    fs::set_permissions(beside.tree(), fs::Permissions::from_mode(NEW_MODE)).expect("ours");
    set_modified(&beside.tree(), 2_000);
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("below")).expect("directories");
    fs::write(path, text).expect("a file");
}

fn set_modified(path: &Path, seconds: i64) {
    super::super::swap::set_modified(path, (seconds, 0)).expect("ours");
}

/// Every file and its text, without what is ours.
fn files(directory: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next).expect("a directory") {
            let path = entry.expect("readable").path();
            if path == directory.join(BESIDE) {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(directory).expect("below").to_str().expect("UTF-8").to_owned();
            found.insert(name, fs::read_to_string(path).expect("a file"));
        }
    }
    found
}

fn state(live: &Path) -> (BTreeMap<String, String>, u32, i64) {
    let metadata = fs::metadata(live).expect("it exists");
    (files(live), metadata.mode() & 0o7777, metadata.mtime())
}

fn map(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

#[track_caller]
fn is_old(live: &Path) {
    let files = map(&[
        ("page", "old"),
        ("only-old", "old"),
        ("pages/one", "old"),
        ("cache/entry", "warm"),
        ("var/tmp/session", "open"),
    ]);
    assert_eq!(state(live), (files, OLD_MODE, 1_000));
}

#[track_caller]
fn is_new(live: &Path) {
    let files = map(&[
        ("page", "new"),
        ("only-new", "new"),
        ("pages/two", "new"),
        ("var/file", "new"),
        ("cache/entry", "warm"),
        ("var/tmp/session", "open"),
    ]);
    assert_eq!(state(live), (files, NEW_MODE, 2_000));
}

/// Never old and new together, whoever looks.
fn is_unmixed(live: &Path) {
    let texts: BTreeSet<String> = files(live).into_values().filter(|text| text == "old" || text == "new").collect();
    assert!(texts.len() < 2, "{:?}", files(live));
}

/// Runs `work` until it reaches its step with that number, with a look at each; whether it died there.
pub(super) fn dies_at(
    number: usize,
    look: &dyn Fn(),
    work: impl FnOnce(&dyn Fn(&'static str)) -> Result<(), Error>,
) -> bool {
    let step = std::cell::Cell::new(0);
    let at = |_: &'static str| {
        look();
        if step.replace(step.get() + 1) == number {
            // Without the message of a panic.
            resume_unwind(Box::new("dead"));
        }
    };
    match catch_unwind(AssertUnwindSafe(|| work(&at))) {
        Ok(done) => {
            done.expect("nothing else goes wrong");
            false
        }
        Err(died) if died.is::<&str>() => true,
        Err(failed) => resume_unwind(failed),
    }
}

const GOES_ON: &dyn Fn(&'static str) = &|_| ();

#[test]
fn entries_change_places_with_those_that_were_loaded() {
    let (site, mount, beside) = loaded();
    let live = site.path();
    mount.check(&beside, Contents { files: 4, bytes: Bytes(12) }).expect("all is as recorded");
    let possible = xattr::set(&live, "user.colour", b"red").is_ok();
    let aside = mount.prepare(&beside).expect("noted");
    is_old(&live);
    mount.commit(&beside, &aside, GOES_ON).expect("swapped");
    is_new(&live);
    if possible {
        assert_eq!(xattr::get(&live, "user.colour").expect("readable"), None, "as in the directory that was loaded");
    }

    let old = map(&[("page", "old"), ("only-old", "old"), ("pages/one", "old")]);
    assert_eq!(state(&beside.old_tree()), (old, OLD_MODE, 1_000), "for the safety snapshot");
    let contents = mount.index_aside(&beside).expect("an index").contents();
    assert_eq!(contents, Contents { files: 3, bytes: Bytes(9) });
    assert_eq!(mount.index().expect("an index").contents().files, 4, "nothing of ours is counted");

    for _ in 0..2 {
        mount.discard(&beside, Some(&aside)).expect("removed");
        is_new(&live);
        assert!(!live.join(BESIDE).exists());
    }
    assert!(matches!(mount.roll_back(&beside, &aside, GOES_ON), Err(Error::CannotSwap { .. })));
}

#[test]
fn an_exchange_of_entries_can_be_finished_or_taken_back_from_wherever_it_died() {
    let mut deaths = 0;
    for number in 0.. {
        for forward in [true, false] {
            let (site, mount, beside) = loaded();
            let live = site.path();
            let aside = mount.prepare(&beside).expect("noted");
            let died = dies_at(number, &|| is_unmixed(&live), |at| mount.commit(&beside, &aside, at));
            is_unmixed(&live);
            if !died {
                // One for each entry that moves, and the turning.
                assert!(deaths >= 2 * 12, "{deaths}");
                return;
            }
            deaths += 1;
            if forward {
                mount.commit(&beside, &aside, GOES_ON).expect("forward");
                is_new(&live);
                mount.commit(&beside, &aside, GOES_ON).expect("it is");
                is_new(&live);
            } else {
                mount.roll_back(&beside, &aside, GOES_ON).expect("back");
                is_old(&live);
                mount.roll_back(&beside, &aside, GOES_ON).expect("it is");
                is_old(&live);
                assert_eq!(mount.prepare(&beside).expect("noted anew"), aside);
                mount.commit(&beside, &aside, GOES_ON).expect("swapped");
                is_new(&live);
            }
        }
    }
}

#[test]
fn what_is_half_exchanged_is_not_discarded() {
    for number in [0, 3, 6, 8] {
        let (site, mount, beside) = loaded();
        let live = site.path();
        let aside = mount.prepare(&beside).expect("noted");
        assert!(dies_at(number, &|| is_unmixed(&live), |at| mount.commit(&beside, &aside, at)));
        for known in [Some(&aside), None] {
            let refused = mount.discard(&beside, known);
            assert!(matches!(refused, Err(Error::CannotSwap { .. })), "{number}: {refused:?}");
        }
        mount.roll_back(&beside, &aside, GOES_ON).expect("back");
        is_old(&live);
        mount.discard(&beside, Some(&aside)).expect("what was loaded is removed");
        is_old(&live);
        assert!(!live.join(BESIDE).exists());
    }
}

#[test]
fn taking_an_exchange_of_entries_back_may_die_anywhere_too() {
    for reached in [3, 7, usize::MAX] {
        for number in 0.. {
            let (site, mount, beside) = loaded();
            let live = site.path();
            let aside = mount.prepare(&beside).expect("noted");
            dies_at(reached, &|| is_unmixed(&live), |at| mount.commit(&beside, &aside, at));
            let died = dies_at(number, &|| is_unmixed(&live), |at| mount.roll_back(&beside, &aside, at));
            is_unmixed(&live);
            if !died {
                assert!(number > 3, "{number} of {reached}");
                is_old(&live);
                break;
            }
            if number % 2 == 0 {
                mount.roll_back(&beside, &aside, GOES_ON).expect("back");
                is_old(&live);
            } else {
                mount.commit(&beside, &aside, GOES_ON).expect("forward");
                is_new(&live);
            }
        }
    }
}

#[test]
fn what_a_stranger_makes_meanwhile_stands_in_nobodys_way_and_is_not_lost() {
    let (site, mount, beside) = loaded();
    let live = site.path();
    let aside = mount.prepare(&beside).expect("noted");
    let strays = || {
        if !live.join("page").exists() {
            fs::write(live.join("page"), "stray").expect("a file");
        }
    };
    mount.commit(&beside, &aside, &|_| strays()).expect("swapped");
    is_new(&live);
    let kept = files(&beside.old_tree());
    assert_eq!(kept.get("page").map(String::as_str), Some("old"), "{kept:?}");
    assert!(kept.iter().any(|(name, text)| name.starts_with("page.stillpoint-") && text == "stray"), "{kept:?}");
    mount.roll_back(&beside, &aside, &|_| strays()).expect("back");
    assert_eq!(text(&live.join("page")).as_deref(), Some("old"));
    let spilled = files(&beside.tree());
    assert_eq!(spilled.get("page").map(String::as_str), Some("new"), "{spilled:?}");
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[test]
fn an_old_state_that_somebody_removed_is_never_taken_for_nothing_to_do() {
    let (site, mount, beside) = loaded();
    let aside = mount.prepare(&beside).expect("noted");
    mount.commit(&beside, &aside, GOES_ON).expect("swapped");
    fs::remove_dir_all(beside.old_tree()).expect("by a stranger");
    for refused in [
        mount.roll_back(&beside, &aside, GOES_ON),
        mount.commit(&beside, &aside, GOES_ON),
        mount.prepare(&beside).map(drop),
    ] {
        assert!(matches!(refused, Err(Error::CannotSwap { .. })), "{refused:?}");
    }
    is_new(&site.path());
}

#[test]
fn a_discard_that_died_is_finished() {
    let (site, mount, beside) = loaded();
    let aside = mount.prepare(&beside).expect("noted");
    mount.commit(&beside, &aside, GOES_ON).expect("swapped");
    let hidden = site.path().join(BESIDE);
    let place = fs::read_dir(&hidden).expect("a directory").next().expect("one").expect("readable").path();
    let name = place.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
    fs::rename(&place, hidden.join(format!("gone-{name}"))).expect("as the discard does");
    mount.discard(&beside, Some(&aside)).expect("removed");
    assert!(!hidden.exists());
    // And the next restore of the same activity begins anew.
    let again = mount
        .beside_by(Way::Entries, mount.root().expect("a directory"), &activity(), Vec::new())
        .expect("a directory");
    assert_eq!(fs::read_dir(again.tree()).expect("a directory").count(), 0);
}

#[test]
fn what_the_snapshot_holds_of_an_excluded_entry_stays_out() {
    let (site, mount, beside) = loaded();
    put(&beside.tree().join("cache/entry"), "from before it was excluded");
    let aside = mount.prepare(&beside).expect("noted");
    mount.commit(&beside, &aside, GOES_ON).expect("swapped");
    assert_eq!(text(&site.path().join("cache/entry")).as_deref(), Some("warm"));
    mount.discard(&beside, Some(&aside)).expect("all that moves has moved");
    assert_eq!(text(&site.path().join("cache/entry")).as_deref(), Some("warm"));
}

#[test]
fn what_goes_to_the_journal_comes_back_from_it() {
    let (_site, mount, beside) = loaded();
    let aside = mount.prepare(&beside).expect("noted");
    let json = serde_json::to_string(&(&beside, &aside)).expect("plain data");
    assert_eq!(serde_json::from_str::<(MountBeside, MountAside)>(&json).expect("the same"), (beside, aside));
}

#[test]
fn a_name_is_never_overwritten_on_a_file_system_that_cannot_promise_it() {
    let site = Site::new();
    site.file("one", "one");
    site.file("other", "other");
    let directory = File::open(site.path()).expect("a directory");
    let rename =
        |from: &str, to: &str| children::rename_after_a_look(&directory, from.as_ref(), &directory, to.as_ref());
    assert_eq!(rename("one", "other"), Err(rustix::io::Errno::EXIST));
    rename("one", "third").expect("it is free");
    assert_eq!(text(&site.path().join("other")).as_deref(), Some("other"));
    assert_eq!(text(&site.path().join("third")).as_deref(), Some("one"));
}

#[test]
fn a_directory_that_may_not_be_moved_is_named_before_anything_is() {
    if !as_somebody_else(
        "drivers::mount::tests::entries::a_directory_that_may_not_be_moved_is_named_before_anything_is",
    ) {
        return;
    }
    let (site, mount, beside) = loaded();
    fs::set_permissions(site.path().join("pages"), fs::Permissions::from_mode(0o555)).expect("ours");
    let refused = mount.prepare(&beside).expect_err("it can't be moved");
    assert!(refused.to_string().contains("`pages` may not be moved"), "{refused}");
    fs::set_permissions(site.path().join("pages"), fs::Permissions::from_mode(0o755)).expect("ours");
}

#[test]
fn a_mount_point_is_restored_from_inside() {
    if !in_own_namespace("drivers::mount::tests::entries::a_mount_point_is_restored_from_inside") {
        return;
    }
    for bound in [false, true] {
        let site = Site::new();
        let live = site.path();
        if bound {
            // The same device as its parent: a bind mount, as containers make them.
            let source = site.home.path().join("volume");
            fs::create_dir(&source).expect("a directory");
            rustix::mount::mount_bind(&source, &live).expect("own namespace");
        } else {
            mount_small(&live);
        }
        fill(&live);
        fs::create_dir(live.join("lost+found")).expect("as ext4 has it");
        put(&live.join("lost+found/inode"), "found");
        set_modified(&live, 1_000);
        let mount = site.mount_without(&["cache", "var/tmp"]);
        mount.test(&site.rules()).expect("a good mount");
        assert_eq!(fs::metadata(&live).expect("it exists").mtime(), 1_000, "the test leaves no trace");
        assert!(!live.join(BESIDE).exists());
        let before = mount.index().expect("an index");
        assert_eq!(before.contents(), Contents { files: 3, bytes: Bytes(9) });
        assert!(before.limits().iter().any(|limit| limit.contains("lost+found")), "{:?}", before.limits());

        let beside = mount.beside_dir(&activity()).expect("a directory");
        assert!(beside.tree().starts_with(&live));
        load(&beside);
        assert_eq!(mount.index().expect("an index").contents(), before.contents(), "ours is left out");
        mount.check(&beside, Contents { files: 4, bytes: Bytes(12) }).expect("all is as recorded");
        let aside = mount.prepare(&beside).expect("noted");
        mount.commit(&beside, &aside, GOES_ON).expect("swapped");
        assert_eq!(text(&live.join("lost+found/inode")).as_deref(), Some("found"));
        mount.discard(&beside, Some(&aside)).expect("removed");
        fs::remove_dir_all(live.join("lost+found")).expect("ours");
        set_modified(&live, 2_000);
        is_new(&live);
        rustix::mount::unmount(&live, rustix::mount::UnmountFlags::DETACH).expect("mounted above");
    }
}

#[test]
fn a_journal_of_a_mount_point_tells_nothing_of_what_a_restore_keeps_in_it() {
    if !in_own_namespace(
        "drivers::mount::tests::entries::a_journal_of_a_mount_point_tells_nothing_of_what_a_restore_keeps_in_it",
    ) {
        return;
    }
    let site = Site::new();
    mount_small(&site.path());
    fill(&site.path());
    let mount = site.mount();
    let index = mount.follow().expect("an index");
    assert_eq!(index.scanned_because(), None);
    let beside = mount.beside_dir(&activity()).expect("a directory");
    load(&beside);
    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    let told: Vec<_> = scan.changes.overrides.keys().filter(|path| path.starts_with(BESIDE)).collect();
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn a_file_system_mounted_inside_is_refused_unless_it_is_excluded_at_the_top() {
    if !in_own_namespace(
        "drivers::mount::tests::entries::a_file_system_mounted_inside_is_refused_unless_it_is_excluded_at_the_top",
    ) {
        return;
    }
    let site = Site::new();
    let live = site.path();
    fill(&live);
    mount_small(&live.join("cache"));
    put(&live.join("cache/entry"), "warm");
    let refused = site.mount().test(&site.rules());
    assert!(matches!(&refused, Err(Error::NestedMountPoint { path }) if path.ends_with("cache")), "{refused:?}");

    let mount = site.mount_without(&["cache", "var/tmp"]);
    mount.test(&site.rules()).expect("it stays where it is");
    set_modified(&live, 1_000);
    let beside = mount.beside_dir(&activity()).expect("a directory");
    load(&beside);
    let aside = mount.prepare(&beside).expect("noted");
    mount.commit(&beside, &aside, GOES_ON).expect("swapped");
    is_new(&live);
    mount.roll_back(&beside, &aside, GOES_ON).expect("back");
    is_old(&live);
    mount.discard(&beside, Some(&aside)).expect("removed");

    mount_small(&live.join("var/tmp"));
    let refused = mount.test(&site.rules());
    assert!(matches!(&refused, Err(Error::NestedMountPoint { path }) if path.ends_with("var/tmp")), "{refused:?}");
    assert_eq!(way(&live, &["cache".into(), "var".into()]).expect("excluded with its parent"), Way::Entries);
}
