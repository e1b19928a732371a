use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::drivers::mount::swap::in_hidden;

#[test]
fn a_good_mount_passes_and_nothing_is_left_behind() {
    let site = Site::new();
    let tested = site.mount().test(&site.rules()).expect("a good mount");
    assert_eq!(tested.root, site.path().canonicalize().expect("it exists"));
    assert!(tested.free.0 > 0);
    assert_eq!(fs::read_dir(site.home.path().join("site")).expect("a directory").count(), 1);
}

#[test]
fn a_place_that_goes_before_it_is_used_because_it_is_empty_is_made_again() {
    let site = Site::new();
    // As another restore does that has just removed what it had there.
    let going = |times: usize| {
        let mut left = times;
        in_hidden(site.home.path(), move |hidden| {
            if left > 0 {
                left -= 1;
                fs::remove_dir(hidden)?;
            }
            fs::create_dir(hidden.join("used"))
        })
    };
    let (hidden, ()) = going(3).expect("made a fourth time");
    assert!(hidden.join("used").is_dir());
    fs::remove_dir(hidden.join("used")).expect("it is empty");
    assert_eq!(going(1_000).expect_err("it ends").kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn each_mount_that_cannot_be_one_is_told_apart() {
    let site = Site::new();
    let home = site.home.path();
    let test = |path: &Path, rules: &Rules| mount(path, &[]).and_then(|mount| mount.test(rules));
    let rules = site.rules();

    assert!(matches!(test(Path::new("files"), &rules), Err(Error::NotAbsolute { .. })));
    assert!(matches!(test(&home.join("absent"), &rules), Err(Error::Missing { .. })));
    let file = site.file("picture", "x");
    assert!(matches!(test(&file, &rules), Err(Error::NotADirectory { .. })));
    assert!(matches!(test(&site.path(), &Rules::default()), Err(Error::OutsideRoots { .. })));

    // A link inside the allowed root that leads out of it.
    let elsewhere = TempDir::new().expect("a temporary directory");
    symlink(elsewhere.path(), home.join("link")).expect("a link");
    assert!(matches!(test(&home.join("link"), &rules), Err(Error::OutsideRoots { .. })));
    let allowed = Rules { roots: vec![elsewhere.path().to_owned()], ..Rules::default() };
    assert!(matches!(test(&elsewhere.path().join("../escape"), &allowed), Err(Error::Missing { .. })));
    // One that leads to an allowed place is fine, wherever it lies itself.
    symlink(site.path(), elsewhere.path().join("in")).expect("a link");
    test(&elsewhere.path().join("in"), &rules).expect("it is worked on where it leads");

    for data in [home.join("site"), site.path(), site.path().join("data/not/there/yet")] {
        let rules = Rules { data: Some(data), ..rules.clone() };
        assert!(matches!(test(&site.path(), &rules), Err(Error::DataDirectory { .. })));
    }
    for other in [home.join("site"), site.path(), site.path().join("more")] {
        let rules = Rules { mounts: vec![other], ..rules.clone() };
        assert!(matches!(test(&site.path(), &rules), Err(Error::Overlap { .. })));
    }
    let beside = Rules { mounts: vec![home.join("site/files-2")], ..rules.clone() };
    test(&site.path(), &beside).expect("a common prefix is no overlap");

    let rules = Rules { databases: vec![site.file("db/shop.db", "")], ..rules };
    assert!(matches!(test(&site.path(), &rules), Err(Error::DatabaseInside { .. })));
    site.mount_without(&["db"]).test(&rules).expect("it is excluded");
}

#[test]
fn an_exclude_is_a_plain_path_below_the_mount() {
    let site = Site::new();
    for exclude in ["", "/cache", "../cache", "a/../b", ".", "*.tmp"] {
        let refused = mount(&site.path(), &[exclude]);
        assert!(matches!(refused, Err(Error::InvalidExclude { .. })), "{exclude:?}");
    }
    let mount = site.mount_without(&["cache/", "cache/images", "cache-2", "var/tmp"]);
    assert_eq!(mount.excluded(), ["cache", "cache-2", "var/tmp"].map(PathBuf::from));
}

#[test]
fn a_machines_root_and_what_holds_other_file_systems_are_refused() {
    let rules = Rules { roots: vec!["/".into()], ..Rules::default() };
    let root = mount(Path::new("/"), &[]).and_then(|mount| mount.test(&rules));
    assert!(matches!(root, Err(Error::RootDirectory { .. })), "{root:?}");
    let nested = mount(Path::new("/dev"), &[]).and_then(|mount| mount.index());
    assert!(matches!(nested, Err(Error::NestedMountPoint { .. })), "{:?}", nested.map(|index| index.len()));
    assert_eq!(super::super::points::unescape(br"/a\040b\134c\1"), PathBuf::from(r"/a b\c\1"));
}

#[test]
fn what_may_not_be_read_or_written_is_said() {
    if !as_somebody_else("drivers::mount::tests::connection::what_may_not_be_read_or_written_is_said") {
        return;
    }
    let site = Site::new();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    mode(&site.path(), 0o300);
    assert!(matches!(site.mount().test(&site.rules()), Err(Error::Unreadable { .. })));
    mode(&site.path(), 0o500);
    assert!(matches!(site.mount().test(&site.rules()), Err(Error::NotWritable { .. })));
    mode(&site.path(), 0o700);
    mode(&site.home.path().join("site"), 0o500);
    assert!(matches!(site.mount().test(&site.rules()), Err(Error::NotWritable { .. })));
    mode(&site.home.path().join("site"), 0o700);

    let hidden = site.file("private/key", "x");
    let private = hidden.parent().expect("a directory").to_owned();
    let index = site.mount().index().expect("readable");
    mode(&hidden, 0);
    let refused = index.changes(&site.staging(), LIMITS);
    assert!(matches!(&refused, Err(Error::Unreadable { path, .. }) if *path == hidden), "{refused:?}");
    mode(&private, 0);
    let refused = site.mount().index();
    assert!(matches!(&refused, Err(Error::Unreadable { path, .. }) if *path == private), "{refused:?}");
    mode(&private, 0o700);
}
