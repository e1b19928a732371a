use std::os::unix::fs::{PermissionsExt, symlink};

use super::super::{Contents, MountAside, MountBeside};
use super::*;
use crate::domain::ActivityId;

fn activity() -> ActivityId {
    ActivityId::parse("0123456789abcdef0123").expect("20 hexadecimal digits")
}

/// Text of a file, or nothing.
fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// A site with an old state, and a loaded new one beside it.
fn loaded(exclude: &[&str]) -> (Site, Mount, MountBeside) {
    let site = Site::new();
    site.file("page", "old");
    site.file("only-old", "old");
    site.file("cache/entry", "warm");
    site.file("var/tmp/session", "open");
    fs::set_permissions(site.path(), fs::Permissions::from_mode(0o2775)).expect("ours");
    let mount = site.mount_without(exclude);
    let beside = mount.beside_dir(&activity()).expect("a directory");
    fs::write(beside.tree().join("page"), "new").expect("a file");
    fs::write(beside.tree().join("only-new"), "new!").expect("a file");
    (site, mount, beside)
}

#[test]
fn a_restore_exchanges_the_trees_and_keeps_what_is_excluded() {
    let (site, mount, beside) = loaded(&["cache", "var/tmp"]);
    fs::set_permissions(site.path().join("var"), fs::Permissions::from_mode(0o751)).expect("ours");
    mount.check(&beside, Contents { files: 2, bytes: Bytes(7) }).expect("all is as recorded");
    let aside = mount.prepare(&beside).expect("noted");
    assert_eq!(text(site.path().join("page")).as_deref(), Some("old"));
    mount.commit(&beside, &aside, &|_| ()).expect("swapped");

    let live = |name: &str| text(site.path().join(name));
    assert_eq!(live("page").as_deref(), Some("new"));
    assert_eq!(live("only-old"), None);
    assert_eq!(live("cache/entry").as_deref(), Some("warm"));
    assert_eq!(live("var/tmp/session").as_deref(), Some("open"));
    let mode = |path: &Path| fs::metadata(path).expect("it exists").mode() & 0o7777;
    assert_eq!(mode(&site.path()), 0o2775, "the root is as it was");
    assert_eq!(mode(&site.path().join("var")), 0o751);

    let old = |name: &str| text(beside.tree().join(name));
    assert_eq!((old("page").as_deref(), old("only-old").as_deref()), (Some("old"), Some("old")));
    assert_eq!(old("cache/entry"), None, "it is in use");

    mount.discard(&beside, Some(&aside)).expect("removed");
    mount.discard(&beside, Some(&aside)).expect("and again");
    assert_eq!(live("page").as_deref(), Some("new"));
    assert_eq!(fs::read_dir(site.home.path().join("site")).expect("a directory").count(), 1, "nothing is left");
}

#[test]
fn every_step_of_a_swap_may_be_repeated_in_any_order() {
    let (site, mount, beside) = loaded(&["cache", "var/tmp"]);
    let live = |name: &str| text(site.path().join(name));
    let is_old = || {
        assert_eq!((live("page").as_deref(), live("only-old").as_deref()), (Some("old"), Some("old")));
        assert_eq!((live("cache/entry").as_deref(), live("var/tmp/session").as_deref()), (Some("warm"), Some("open")));
        assert_eq!(text(beside.tree().join("page")).as_deref(), Some("new"));
    };
    let is_new = || {
        assert_eq!((live("page").as_deref(), live("only-old")), (Some("new"), None));
        assert_eq!((live("cache/entry").as_deref(), live("var/tmp/session").as_deref()), (Some("warm"), Some("open")));
        assert_eq!(text(beside.tree().join("page")).as_deref(), Some("old"));
    };
    let aside = mount.prepare(&beside).expect("noted");
    mount.roll_back(&beside, &aside, &|_| ()).expect("nothing to do");
    is_old();
    assert_eq!(mount.prepare(&beside).expect("the same"), aside);
    for _ in 0..2 {
        mount.commit(&beside, &aside, &|_| ()).expect("swapped");
        is_new();
        mount.commit(&beside, &aside, &|_| ()).expect("is");
        is_new();
        assert_eq!(mount.prepare(&beside).expect("what was noted"), aside);
        mount.roll_back(&beside, &aside, &|_| ()).expect("back");
        is_old();
        mount.roll_back(&beside, &aside, &|_| ()).expect("is");
        is_old();
    }
    mount.discard(&beside, Some(&aside)).expect("removed");
    mount.roll_back(&beside, &aside, &|_| ()).expect("nothing to do");
    assert_eq!(live("page").as_deref(), Some("old"));
}

#[test]
fn a_swap_whose_old_tree_was_discarded_can_no_longer_be_rolled_back() {
    let (site, mount, beside) = loaded(&[]);
    let aside = mount.prepare(&beside).expect("noted");
    mount.commit(&beside, &aside, &|_| ()).expect("swapped");
    mount.discard(&beside, Some(&aside)).expect("removed");
    assert!(matches!(mount.roll_back(&beside, &aside, &|_| ()), Err(Error::CannotSwap { .. })));
    assert_eq!(text(site.path().join("page")).as_deref(), Some("new"));
}

#[test]
fn the_roots_attributes_and_default_permissions_stay() {
    let site = Site::new();
    // user::rwx, group::r-x, other::---: version 2, then tag, permissions and id of each.
    let entry = |tag: u8, permissions: u8| [tag, 0, permissions, 0, 255, 255, 255, 255];
    let acl = [&[2, 0, 0, 0][..], &entry(1, 7), &entry(4, 5), &entry(32, 0)].concat();
    let possible = xattr::set(site.path(), "user.colour", b"red").is_ok()
        && xattr::set(site.path(), "system.posix_acl_default", &acl).is_ok();
    let mount = site.mount();
    let beside = mount.beside_dir(&activity()).expect("a directory");
    fs::write(beside.tree().join("page"), "new").expect("a file");
    let inherited = xattr::get(beside.tree().join("page"), "system.posix_acl_access").ok().flatten();
    assert_eq!(inherited, None, "a file that is loaded inherits nothing");
    let aside = mount.prepare(&beside).expect("noted");
    mount.commit(&beside, &aside, &|_| ()).expect("swapped");
    if possible {
        assert_eq!(xattr::get(site.path(), "user.colour").expect("readable").as_deref(), Some(&b"red"[..]));
        assert_eq!(xattr::get(site.path(), "system.posix_acl_default").expect("readable").as_deref(), Some(&acl[..]));
    }
}

#[test]
fn a_worker_that_died_inside_a_step_can_go_either_way() {
    // Dead after the exchange, after one of two carried, and in the middle of rolling back.
    type Crash = fn(&Site, &MountBeside);
    let exchange: Crash = |site, beside| {
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(rustix::fs::CWD, site.path(), rustix::fs::CWD, beside.tree(), flags)
            .expect("both are");
    };
    let one_carried: Crash = |site, beside| {
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(rustix::fs::CWD, site.path(), rustix::fs::CWD, beside.tree(), flags)
            .expect("both are");
        fs::rename(beside.tree().join("cache"), site.path().join("cache")).expect("one is carried");
    };
    let way_made: Crash = |site, beside| {
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(rustix::fs::CWD, site.path(), rustix::fs::CWD, beside.tree(), flags)
            .expect("both are");
        fs::create_dir(site.path().join(".stillpoint-way")).expect("the way for the second one, half made");
    };
    for crash in [exchange, one_carried, way_made] {
        for forward in [true, false] {
            let (site, mount, beside) = loaded(&["cache", "var/tmp"]);
            let aside = mount.prepare(&beside).expect("noted");
            crash(&site, &beside);
            let page = if forward {
                mount.commit(&beside, &aside, &|_| ()).expect("forward");
                "new"
            } else {
                mount.roll_back(&beside, &aside, &|_| ()).expect("back");
                "old"
            };
            let live = |name: &str| text(site.path().join(name));
            assert_eq!(live("page").as_deref(), Some(page));
            assert_eq!(live("cache/entry").as_deref(), Some("warm"));
            assert_eq!(live("var/tmp/session").as_deref(), Some("open"));
            assert!(!site.path().join(".stillpoint-way").exists());
        }
    }
}

#[test]
fn discarding_after_an_interrupted_commit_loses_nothing_that_is_excluded() {
    let (site, mount, beside) = loaded(&["cache"]);
    let aside = mount.prepare(&beside).expect("noted");
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, site.path(), rustix::fs::CWD, beside.tree(), flags).expect("both are");
    mount.discard(&beside, Some(&aside)).expect("removed");
    assert_eq!(text(site.path().join("cache/entry")).as_deref(), Some("warm"));
}

#[test]
fn what_the_snapshot_holds_of_an_excluded_path_gives_way_to_the_live_one() {
    let (site, mount, beside) = loaded(&["cache"]);
    fs::create_dir(beside.tree().join("cache")).expect("a directory");
    fs::write(beside.tree().join("cache/entry"), "from before it was excluded").expect("a file");
    let aside = mount.prepare(&beside).expect("noted");
    for _ in 0..2 {
        mount.commit(&beside, &aside, &|_| ()).expect("swapped");
        assert_eq!(text(site.path().join("cache/entry")).as_deref(), Some("warm"));
    }
    for _ in 0..2 {
        mount.roll_back(&beside, &aside, &|_| ()).expect("back");
        assert_eq!(text(site.path().join("cache/entry")).as_deref(), Some("warm"));
        assert_eq!(text(beside.tree().join("cache/entry")).as_deref(), Some("from before it was excluded"));
    }
}

#[test]
fn an_excluded_path_is_never_carried_through_a_link() {
    let (site, mount, beside) = loaded(&["var/tmp"]);
    let outside = TempDir::new().expect("a temporary directory");
    symlink(outside.path(), beside.tree().join("var")).expect("a link");
    let refused = mount.prepare(&beside);
    assert!(matches!(refused, Err(Error::CannotSwap { .. })), "{refused:?}");
    assert_eq!(text(site.path().join("var/tmp/session")).as_deref(), Some("open"));
    assert_eq!(fs::read_dir(outside.path()).expect("a directory").count(), 0);
}

#[test]
fn a_load_that_is_not_what_was_recorded_is_refused() {
    let (_site, mount, beside) = loaded(&[]);
    let refused = mount.check(&beside, Contents { files: 3, bytes: Bytes(7) }).expect_err("one is missing");
    assert_eq!(
        refused.to_string(),
        "what was loaded is not what the snapshot recorded: the mount `files` is 2 files with 7 bytes, recorded is 3 \
         files with 7 bytes; nothing was swapped"
    );
    fs::rename(beside.tree(), beside.tree().with_extension("away")).expect("moved");
    fs::create_dir(beside.tree()).expect("another directory");
    let refused = mount.check(&beside, Contents::default());
    assert!(matches!(refused, Err(Error::CannotSwap { .. })), "{refused:?}");
}

#[test]
fn a_commit_without_prepare_is_refused() {
    let (site, mount, beside) = loaded(&["cache"]);
    let aside = mount.prepare(&beside).expect("noted");
    fs::remove_file(beside.tree().with_file_name("aside.json")).expect("it is there");
    assert!(matches!(mount.commit(&beside, &aside, &|_| ()), Err(Error::NotPrepared { .. })));
    assert_eq!(text(site.path().join("page")).as_deref(), Some("old"));
}

#[test]
fn a_stranger_at_the_mounts_path_stops_the_swap() {
    let (site, mount, beside) = loaded(&[]);
    let aside = mount.prepare(&beside).expect("noted");
    mount.commit(&beside, &aside, &|_| ()).expect("swapped");
    fs::rename(site.path(), site.home.path().join("elsewhere")).expect("moved");
    fs::create_dir(site.path()).expect("a stranger");
    assert!(matches!(mount.roll_back(&beside, &aside, &|_| ()), Err(Error::CannotSwap { .. })));
    assert_eq!(text(beside.tree().join("page")).as_deref(), Some("old"), "the old tree is still there");
}

#[test]
fn a_load_that_is_begun_again_is_emptied_but_never_after_prepare() {
    let (_site, mount, _) = loaded(&[]);
    let again = mount.beside_dir(&activity()).expect("a directory");
    assert_eq!(fs::read_dir(again.tree()).expect("a directory").count(), 0);
    mount.prepare(&again).expect("noted");
    assert!(matches!(mount.beside_dir(&activity()), Err(Error::CannotSwap { .. })));
}

#[test]
fn what_goes_to_the_journal_comes_back_from_it() {
    let (_site, mount, beside) = loaded(&["cache"]);
    let aside = mount.prepare(&beside).expect("noted");
    let json = serde_json::to_string(&(&beside, &aside)).expect("plain data");
    assert_eq!(serde_json::from_str::<(MountBeside, MountAside)>(&json).expect("the same"), (beside, aside));
}

#[test]
fn a_tree_with_closed_directories_is_removed_and_its_links_are_not_followed() {
    if !as_somebody_else(
        "drivers::mount::tests::restore::a_tree_with_closed_directories_is_removed_and_its_links_are_not_followed",
    ) {
        return;
    }
    let (site, mount, beside) = loaded(&[]);
    let outside = site.home.path().join("outside");
    fs::create_dir(&outside).expect("a directory");
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o500)).expect("ours");
    let closed = beside.tree().join("a/b");
    fs::create_dir_all(&closed).expect("directories");
    fs::write(closed.join("file"), "x").expect("a file");
    symlink(&outside, closed.join("link")).expect("a link");
    for (path, mode) in [(closed.clone(), 0o000), (beside.tree().join("a"), 0o500)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    }
    mount.discard(&beside, None).expect("removed");
    assert!(!beside.tree().exists());
    assert_eq!(fs::metadata(&outside).expect("it is there").mode() & 0o777, 0o500);
}

#[test]
fn somebody_elses_hidden_directory_is_not_used() {
    let site = Site::new();
    let elsewhere = TempDir::new().expect("a temporary directory");
    symlink(elsewhere.path(), site.home.path().join("site").join(super::super::BESIDE)).expect("a link");
    assert!(site.mount().beside_dir(&activity()).is_err());
    assert!(matches!(site.mount().test(&site.rules()), Err(Error::NotWritable { .. })));
    assert_eq!(fs::read_dir(elsewhere.path()).expect("a directory").count(), 0);
}
