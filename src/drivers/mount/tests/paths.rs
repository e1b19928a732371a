use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::super::{BESIDE, Contents, MountBeside};
use super::*;
use crate::domain::{ActivityId, MountPath};

const GOES_ON: &dyn Fn(&'static str) = &|_| ();

/// In the mount, before.
const LIVE: [(&str, &str); 6] = [
    ("2024/photos/one", "old"),
    ("2024/photos/cache/entry", "warm"),
    ("2024/index", "stays"),
    ("page", "old"),
    ("other", "stays"),
    ("gone-since", "old"),
];

fn activity() -> ActivityId {
    ActivityId::parse("0123456789abcdef0123").expect("20 hexadecimal digits")
}

fn paths(texts: &[&str]) -> Vec<MountPath> {
    texts.iter().map(|text| text.parse().expect("a path")).collect()
}

/// A site, and what is loaded for three paths: a directory, a file, one whose way is missing; and one that is to go.
fn loaded() -> (Site, Mount, MountBeside) {
    let site = Site::new();
    for (path, text) in LIVE {
        site.file(path, text);
    }
    let mount = site.mount_without(&["2024/photos/cache"]);
    let wanted = paths(&["2024/photos", "page", "2020/may/album", "gone-since"]);
    let beside = mount.beside_paths(&activity(), &wanted).expect("a directory");
    for path in ["2024/photos/two", "page", "2020/may/album/one", "2020/may/album/two"] {
        put(&beside.tree().join(path), "new");
    }
    (site, mount, beside)
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("below")).expect("directories");
    fs::write(path, text).expect("a file");
}

/// Every file with its text, and every empty directory.
fn all(directory: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        let entries: Vec<PathBuf> =
            fs::read_dir(&next).expect("a directory").map(|entry| entry.expect("readable").path()).collect();
        let name = |path: &Path| path.strip_prefix(directory).expect("below").to_str().expect("UTF-8").to_owned();
        if entries.is_empty() {
            found.insert(name(&next), "empty".to_owned());
        }
        for path in entries {
            if path.is_dir() {
                directories.push(path);
            } else {
                found.insert(name(&path), fs::read_to_string(&path).expect("a file"));
            }
        }
    }
    found
}

fn map(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

#[track_caller]
fn is_old(site: &Site) {
    assert_eq!(all(&site.path()), map(&LIVE));
}

#[track_caller]
fn is_new(site: &Site) {
    let new = map(&[
        ("2024/photos/two", "new"),
        ("2024/photos/cache/entry", "warm"),
        ("2024/index", "stays"),
        ("page", "new"),
        ("other", "stays"),
        ("2020/may/album/one", "new"),
        ("2020/may/album/two", "new"),
    ]);
    assert_eq!(all(&site.path()), new);
}

#[test]
fn paths_are_replaced_and_nothing_else_is() {
    let (site, mount, beside) = loaded();
    assert_eq!(beside.paths().collect::<Vec<_>>(), ["2024/photos", "page", "2020", "gone-since"]);
    mount.check(&beside, Contents { files: 4, bytes: Bytes(12) }).expect("all is there");
    let aside = mount.prepare(&beside).expect("noted");
    is_old(&site);
    for _ in 0..2 {
        mount.commit(&beside, &aside, GOES_ON).expect("swapped");
        is_new(&site);
    }
    let replaced = map(&[("2024/photos/one", "old"), ("page", "old"), ("gone-since", "old")]);
    assert_eq!(all(&beside.old_tree()), replaced, "for the safety snapshot");
    assert_eq!(mount.index_aside(&beside).expect("an index").contents(), Contents { files: 3, bytes: Bytes(9) });
    for _ in 0..2 {
        mount.roll_back(&beside, &aside, GOES_ON).expect("back");
        is_old(&site);
    }
    mount.commit(&beside, &aside, GOES_ON).expect("swapped");
    for _ in 0..2 {
        mount.discard(&beside, Some(&aside)).expect("removed");
        is_new(&site);
    }
    assert_eq!(fs::read_dir(site.home.path().join("site")).expect("a directory").count(), 1, "nothing is left");
}

#[test]
fn a_restore_of_paths_can_be_finished_or_taken_back_from_wherever_it_died() {
    for number in 0.. {
        for forward in [true, false] {
            let (site, mount, beside) = loaded();
            let aside = mount.prepare(&beside).expect("noted");
            let step = std::cell::Cell::new(0);
            let at = |_: &'static str| {
                if step.replace(step.get() + 1) == number {
                    resume_unwind(Box::new("dead"));
                }
            };
            let done = catch_unwind(AssertUnwindSafe(|| mount.commit(&beside, &aside, &at)));
            if let Ok(done) = done {
                done.expect("nothing else goes wrong");
                assert!(number >= 10, "three out, three in, and what lies between: {number}");
                return;
            }
            if forward {
                mount.commit(&beside, &aside, GOES_ON).expect("forward");
                is_new(&site);
            } else {
                mount.roll_back(&beside, &aside, GOES_ON).expect("back");
                is_old(&site);
                mount.commit(&beside, &aside, GOES_ON).expect("again");
                is_new(&site);
            }
        }
    }
}

#[test]
fn what_came_or_went_on_the_way_while_it_was_loading_stops_the_swap() {
    let (site, mount, beside) = loaded();
    site.file("2020/other", "written meanwhile");
    let refused = mount.prepare(&beside).expect_err("it would go");
    assert!(refused.to_string().contains("restore again"), "{refused}");

    let (site, mount, beside) = loaded();
    fs::rename(site.path().join("2024"), site.path().join("2025")).expect("ours");
    let refused = mount.prepare(&beside).expect_err("no way");
    assert!(refused.to_string().contains("restore again"), "{refused}");
    mount.discard(&beside, None).expect("removed");
    assert_eq!(text(&site.path().join("2025/index")).as_deref(), Some("stays"));
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[test]
fn no_path_leads_through_a_link_or_into_what_is_excluded() {
    let site = Site::new();
    site.file("cache/entry", "warm");
    site.file("page", "old");
    let outside = TempDir::new().expect("a temporary directory");
    std::os::unix::fs::symlink(outside.path(), site.path().join("link")).expect("a link");
    let mount = site.mount_without(&["cache"]);
    for (path, word) in [("link/file", "no directory"), ("page/file", "no directory"), ("cache/entry", "excluded")] {
        let refused = mount.beside_paths(&activity(), &paths(&[path])).expect_err(path);
        assert!(refused.to_string().contains(word), "{refused}");
    }

    // One that becomes a link later.
    site.file("way/file", "old");
    let beside = mount.beside_paths(&activity(), &paths(&["way/file"])).expect("a directory");
    put(&beside.tree().join("way/file"), "new");
    let aside = mount.prepare(&beside).expect("noted");
    fs::rename(site.path().join("way"), site.path().join("away")).expect("ours");
    std::os::unix::fs::symlink(outside.path(), site.path().join("way")).expect("a link");
    assert!(mount.commit(&beside, &aside, GOES_ON).is_err());
    assert_eq!(fs::read_dir(outside.path()).expect("a directory").count(), 0);
    assert_eq!(text(&site.path().join("away/file")).as_deref(), Some("old"));
}

#[test]
fn an_index_tells_what_lies_at_a_path() {
    let (_site, mount, _) = loaded();
    let index = mount.index().expect("an index");
    let at = |path: &str| index.contents_at(&path.parse().expect("a path"));
    assert_eq!(at("2024"), Some(Contents { files: 2, bytes: Bytes(8) }));
    assert_eq!(at("page"), Some(Contents { files: 1, bytes: Bytes(3) }));
    assert_eq!((at("202"), at("page/x"), at("2024/photos/cache")), (None, None, None));
}

#[test]
fn paths_of_a_mount_point_are_restored_from_inside() {
    if !in_own_namespace("drivers::mount::tests::paths::paths_of_a_mount_point_are_restored_from_inside") {
        return;
    }
    let site = Site::new();
    mount_small(&site.path());
    site.file("2024/photos/one", "old");
    let mount = site.mount();
    let beside = mount.beside_paths(&activity(), &paths(&["2024/photos"])).expect("a directory");
    assert!(beside.tree().starts_with(site.path().join(BESIDE)));
    put(&beside.tree().join("2024/photos/two"), "new");
    let aside = mount.prepare(&beside).expect("noted");
    mount.commit(&beside, &aside, GOES_ON).expect("swapped");
    mount.discard(&beside, Some(&aside)).expect("removed");
    assert_eq!(all(&site.path()), map(&[("2024/photos/two", "new")]));
}
