//! The change journal finds what the scan finds, looking at less; and where it can't, says so.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;
use rustix::fs::{CWD, RenameFlags};

use super::super::journal::NoJournal;
use super::super::walk::Tree;
use super::super::{Index, Scan};
use super::*;
use crate::domain::tree::{FileKind, Stamp, TreeIndex};

/// Something that somebody does in a small tree of a few names.
#[derive(Debug, Clone)]
enum Deed {
    Write(String, u8),
    MakeDirectory(String),
    Remove(String),
    Rename(String, String),
    Exchange(String, String),
    Link(String, String),
    Symlink(String),
    Mode(String, bool),
}

fn place() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof!["a", "b", "c"], 1..4).prop_map(|names| names.join("/"))
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (place(), any::<u8>()).prop_map(|(at, byte)| Deed::Write(at, byte)),
        3 => place().prop_map(Deed::MakeDirectory),
        2 => place().prop_map(Deed::Remove),
        3 => (place(), place()).prop_map(|(from, to)| Deed::Rename(from, to)),
        2 => (place(), place()).prop_map(|(one, other)| Deed::Exchange(one, other)),
        1 => (place(), place()).prop_map(|(from, to)| Deed::Link(from, to)),
        1 => place().prop_map(Deed::Symlink),
        1 => (place(), any::<bool>()).prop_map(|(at, open)| Deed::Mode(at, open)),
    ]
}

/// Does it where it can be done; the rest fails as it would for anybody.
fn act(root: &Path, deed: &Deed) {
    let _ = match deed {
        Deed::Write(at, byte) => fs::write(root.join(at), [*byte]),
        Deed::MakeDirectory(at) => fs::create_dir(root.join(at)),
        Deed::Remove(at) if root.join(at).is_dir() => fs::remove_dir_all(root.join(at)),
        Deed::Remove(at) => fs::remove_file(root.join(at)),
        Deed::Rename(from, to) => fs::rename(root.join(from), root.join(to)),
        Deed::Exchange(one, other) => {
            rustix::fs::renameat_with(CWD, root.join(one), CWD, root.join(other), RenameFlags::EXCHANGE)
                .map_err(Into::into)
        }
        Deed::Link(from, to) => fs::hard_link(root.join(from), root.join(to)),
        Deed::Symlink(at) => symlink("a", root.join(at)),
        Deed::Mode(at, open) => {
            fs::set_permissions(root.join(at), fs::Permissions::from_mode(if *open { 0o755 } else { 0o700 }))
        }
    };
}

/// What a look at everything says of the tree as it is now.
fn truth(root: &Path) -> BTreeMap<PathBuf, Stamp> {
    let tree = Tree::open(root, &[]).expect("the mount");
    let mut all = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).min_depth(1) {
        let path = entry.expect("ours").path().strip_prefix(root).expect("below").to_owned();
        let stamp = tree.stamp_of(path.as_os_str().as_bytes()).expect("ours").expect("it is there");
        all.insert(path, stamp);
    }
    all
}

/// What the index and the changes together say: kept entries with the index's stamp, and the paths that are recorded.
fn told(index: &Index, scan: &Scan) -> (BTreeMap<PathBuf, Stamp>, BTreeSet<PathBuf>) {
    let mut kept = BTreeMap::new();
    let mut level = vec![PathBuf::new()];
    let recorded: BTreeSet<PathBuf> =
        scan.changes.overrides.keys().filter(|path| **path != Path::new("")).cloned().collect();
    while let Some(directory) = level.pop() {
        for (name, stamp) in index.entries(&directory) {
            let path = directory.join(name);
            let recorded_as = scan.changes.overrides.get(&path).map(|recorded| &recorded.meta.kind);
            let stays = recorded_as.is_none() && !scan.changes.removed.contains(&path);
            // A directory that is recorded for its own metadata keeps what was in it.
            if stamp.is_directory() && (stays || recorded_as == Some(&FileKind::Directory)) {
                level.push(path.clone());
            }
            if stays {
                kept.insert(path, stamp);
            }
        }
    }
    (kept, recorded)
}

fn assert_told(root: &Path, index: &Index, scan: &Scan, unseen: &[PathBuf]) {
    let truth = truth(root);
    let (kept, recorded) = told(index, scan);
    let known: BTreeSet<&PathBuf> = kept.keys().chain(&recorded).collect();
    assert_eq!(known, truth.keys().collect(), "by journal: {}", scan.by_journal());
    for (path, was) in kept.iter().filter(|(path, _)| !unseen.contains(path)) {
        // A second name elsewhere changes the change time alone; a directory's size is the file system's affair.
        let is = truth[path];
        assert_eq!(Stamp { ctime: is.ctime, ..*was }, is, "{} was kept", path.display());
    }
    for path in &recorded {
        let recorded = &scan.changes.overrides[path];
        if let Some(copy) = &recorded.staged {
            assert_eq!(fs::read(copy).expect("a copy"), fs::read(root.join(path)).expect("ours"), "{}", path.display());
        }
        assert_eq!(recorded.meta.inode, truth[path].inode);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_the_journal_and_the_scan_tell_the_truth(
        before in proptest::collection::vec(deed(), 0..25),
        ahead in proptest::collection::vec(deed(), 0..15),
        deeds in proptest::collection::vec(deed(), 0..25),
        later in proptest::collection::vec(deed(), 0..2),
    ) {
        let site = Site::new();
        before.iter().for_each(|deed| act(&site.path(), deed));
        let (scanned, followed) = (site.mount().index().expect("an index"), site.mount().follow().expect("an index"));
        ahead.iter().for_each(|deed| act(&site.path(), deed));
        let early = site.staging().join("early");
        fs::create_dir(&early).expect("a directory");
        followed.record_ahead(&early).expect("recorded");
        site.settle();
        followed.record_ahead(&early).expect("recorded");
        deeds.iter().for_each(|deed| act(&site.path(), deed));
        let (one, other) = (site.staging().join("one"), site.staging().join("other"));
        [&one, &other].into_iter().for_each(|staging| fs::create_dir(staging).expect("a directory"));
        let by_scan = scanned.changes(&one, LIMITS).expect("a scan");
        let by_journal = followed.changes(&other, LIMITS).expect("a scan");
        prop_assert!(by_journal.by_journal() && !by_scan.by_journal());
        let unseen = followed.unseen(&by_journal).expect("a third look");
        // A second name that was made, written through, and removed again leaves no trace of the first one.
        let untold = ahead.iter().chain(&deeds).any(|deed| matches!(deed, Deed::Link(..)));
        prop_assert!(unseen.is_empty() || untold, "{:?}", unseen);
        assert_told(&site.path(), &scanned, &by_scan, &[]);
        assert_told(&site.path(), &followed, &by_journal, &unseen);

        let stood = truth(&site.path());
        later.iter().for_each(|deed| act(&site.path(), deed));
        let moved = !followed.moved_since(&by_journal).expect("a second look").is_empty();
        prop_assert!(moved || stood == truth(&site.path()), "something was written and not told");
        prop_assert!(!moved || !later.is_empty());
    }
}

#[test]
fn only_what_was_touched_is_looked_at() {
    let site = Site::new();
    for number in 0..200 {
        site.file(format!("{}/{number}", number % 10), "x");
    }
    let index = site.mount().follow().expect("an index");
    site.file("3/13", "y");
    site.file("new/inner/file", "z");
    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    assert!(scan.by_journal());
    let expected = ["", "3/13", "new", "new/inner", "new/inner/file"].map(PathBuf::from);
    assert_eq!(scan.changes.overrides.keys().cloned().collect::<Vec<_>>(), expected);
}

#[test]
fn what_was_recorded_ahead_is_not_copied_again_unless_it_changed_since() {
    let site = Site::new();
    let index = site.mount().follow().expect("an index");
    let (same, other) = (site.file("same", "one"), site.file("other", "one"));
    site.settle();
    let early = site.staging().join("early");
    fs::create_dir(&early).expect("a directory");
    assert_eq!(index.record_ahead(&early).expect("recorded"), 3, "both, and the root");
    assert_eq!(index.record_ahead(&early).expect("recorded"), 0);
    fs::write(&other, "two").expect("ours");
    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    let staged = |path: &Path| {
        let name = path.file_name().expect("a name");
        scan.changes.overrides[Path::new(name)].staged.clone().expect("a copy")
    };
    assert!(staged(&same).starts_with(&early) && !staged(&other).starts_with(&early));
    assert_eq!(fs::read(staged(&other)).expect("a copy"), b"two");
}

#[test]
fn what_is_written_after_the_look_has_moved() {
    let site = Site::new();
    let path = site.file("a", "one");
    let index = site.mount().follow().expect("an index");
    fs::write(&path, "two").expect("ours");
    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    assert!(index.moved_since(&scan).expect("a second look").is_empty());
    fs::write(&path, "six").expect("the same size, perhaps within the same tick");
    assert_eq!(index.moved_since(&scan).expect("a second look"), [Path::new("a")]);
}

#[test]
fn files_with_several_names_are_found_whichever_was_written_through() {
    let site = Site::new();
    let inside = site.file("twin", "before");
    let outside = site.home.path().join("outside");
    fs::hard_link(&inside, &outside).expect("a second name");
    site.settle();
    let index = site.mount().follow().expect("an index");
    site.settle();
    fs::write(&outside, "behind").expect("through the other name");
    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    assert!(scan.by_journal() && scan.changes.overrides.contains_key(Path::new("twin")));
    fs::write(&outside, "beyond").expect("through the other name");
    assert_eq!(index.moved_since(&scan).expect("a second look"), [Path::new("twin")]);
}

#[test]
fn a_second_name_made_later_is_one_file_with_the_first() {
    let site = Site::new();
    let first = site.file("first", "x");
    let index = site.mount().follow().expect("an index");
    fs::hard_link(&first, site.path().join("second")).expect("a second name");
    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    let links: Vec<_> =
        ["first", "second"].iter().map(|name| scan.changes.overrides[Path::new(name)].meta.links).collect();
    assert_eq!(links, [2, 2]);
}

#[test]
fn excluded_directories_are_not_watched() {
    let site = Site::new();
    site.file("cache/a/b", "x");
    let index = site.mount_without(&["cache"]).follow().expect("an index");
    site.file("cache/a/b", "y");
    fs::remove_dir_all(site.path().join("cache")).expect("ours");
    site.file("cache/new/c", "z");
    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    assert!(scan.by_journal());
    assert_eq!(scan.changes.overrides.keys().collect::<Vec<_>>(), [Path::new("")]);
    assert!(index.moved_since(&scan).expect("a second look").is_empty());
}

#[test]
fn more_than_the_kernel_remembers_ends_the_journal_and_is_scanned() {
    let site = Site::new();
    let (one, other) = (site.file("one", ""), site.file("other", ""));
    let index = site.mount().follow().expect("an index");
    let remembered: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .expect("a limit");
    index.journal.as_ref().expect("a journal").unread(|| {
        for _ in 0..=remembered {
            // Two in turn: the same change twice in a row is told once.
            fs::set_permissions(&one, fs::Permissions::from_mode(0o600)).expect("ours");
            fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).expect("ours");
        }
    });
    site.file("new", "x");
    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    assert!(!scan.by_journal());
    assert!(scan.changes.overrides.contains_key(Path::new("new")));
    assert_eq!(index.scanned_because(), Some(NoJournal::Overflow));
}

#[test]
fn what_a_program_wrote_through_a_memory_map_is_told_after_the_hold() {
    let site = Site::new();
    let path = site.file("mapped", "before");
    let index = site.mount().follow().expect("an index");
    site.settle();
    let wrote = Command::new("python3")
        .args(["-c", "import mmap, sys; f = open(sys.argv[1], 'r+b'); mmap.mmap(f.fileno(), 6)[:] = b'behind'"])
        .arg(&path)
        .status();
    assert!(wrote.expect("python3").success());
    site.settle();
    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    assert!(scan.by_journal() && scan.changes.overrides.is_empty(), "the kernel tells nobody");
    assert_eq!(index.unseen(&scan).expect("a third look"), [Path::new("mapped")]);
}
