//! File systems of their own, in files (loop devices): which may share blocks, have subvolumes, and be full.

use std::os::unix::fs::FileExt;

use super::super::points::{Way, way};
use super::super::{BESIDE, Contents, Index, MountAside, MountBeside};
use super::*;
use crate::domain::ActivityId;

const GOES_ON: &dyn Fn(&'static str) = &|_| ();

/// A file system in a file, mounted as long as this lives, in a mount namespace that ends with this process: nothing is
/// left of it even if the test is killed.
pub(super) struct Disk {
    home: TempDir,
}

impl Disk {
    /// `None` where it can't be had, which is said, or where the test has run in its own namespace.
    pub fn new(test: &str, kind: &str, mib: u64) -> Option<Self> {
        let program = format!("mkfs.{kind}");
        let is_there = |program: &str| Command::new(program).arg("-V").output().is_ok();
        let missing = match (is_root(), Path::new("/dev/loop-control").exists(), is_there(&program)) {
            (false, ..) => Some("it mounts loop devices, which only root may"),
            (_, false, _) => Some("there is no /dev/loop-control here"),
            (.., false) => Some("its mkfs is not installed"),
            _ => None,
        };
        if let Some(missing) = missing {
            eprintln!("NOT RUN on {kind}: {missing}");
            return None;
        }
        let module = if test.contains("::") { "" } else { "disks::" };
        in_own_namespace(&format!("drivers::mount::tests::{module}{test}")).then_some(())?;
        let home = TempDir::new().expect("a temporary directory");
        let (image, at) = (home.path().join("image"), home.path().join("disk"));
        File::create(&image).and_then(|file| file.set_len(mib << 20)).expect("a sparse file");
        fs::create_dir(&at).expect("a directory");
        let made = Command::new(&program).arg("-q").arg(&image).output().expect("it runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mounted = Command::new("mount").args(["-o", "loop"]).args([&image, &at]).output().expect("it runs");
        if !mounted.status.success() {
            eprintln!("NOT RUN on {kind}: {}", String::from_utf8_lossy(&mounted.stderr).trim_end());
            return None;
        }
        Some(Self { home })
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("disk")
    }

    /// A mount `site/files` on it, and a staging directory that is not.
    pub fn site(&self) -> Site {
        let home = TempDir::new_in(self.path()).expect("a directory");
        for directory in ["site", "site/files", "staging"] {
            fs::create_dir(home.path().join(directory)).expect("a directory");
        }
        Site { home }
    }

    pub fn elsewhere(&self) -> PathBuf {
        let directory = self.home.path().join("elsewhere");
        fs::create_dir_all(&directory).expect("a directory");
        directory
    }

    /// Until not a byte fits any more. What is removed makes space again.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("ballast");
        let file = File::create(&path).expect("a file");
        let (mut at, mut size) = (0, 1 << 20);
        while size > 0 {
            match file.write_all_at(&vec![7; size], at).and_then(|()| file.sync_all()) {
                Ok(()) => at += size as u64,
                Err(_) => size /= 4,
            }
        }
        // The smallest files may find a place elsewhere.
        for number in 0..100_000 {
            let small = fs::write(self.path().join(format!("ballast-{number}")), vec![7; 3000]);
            if small.is_err() {
                break;
            }
        }
        self.sync();
        path
    }

    fn sync(&self) {
        let top = File::open(self.path()).expect("a directory");
        rustix::fs::syncfs(&top).ok();
    }

    fn make_space(&self) {
        for entry in fs::read_dir(self.path()).expect("a directory").flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with("ballast")) {
                fs::remove_file(entry.path()).expect("removed");
            }
        }
        self.sync();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            Command::new("umount").arg("-l").arg(self.path()).status().ok();
        }
    }
}

fn activity() -> ActivityId {
    ActivityId::parse("0123456789abcdef0123").expect("20 hexadecimal digits")
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("below")).expect("directories");
    fs::write(path, text).expect("a file");
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// What a snapshot and a restore do on any file system.
fn there_and_back(site: &Site, staging: &Path, expected: Way) {
    site.file("page", "old");
    site.file("var/tmp/session", "open");
    site.file("deep/er/file", "old");
    site.settle();
    let mount = site.mount_without(&["var/tmp"]);
    mount.test(&Rules { roots: vec!["/".into()], ..Rules::default() }).expect("a good mount");
    assert_eq!(way(&site.path(), mount.excluded()).expect("one of both"), expected);
    let index = mount.follow().expect("an index");
    assert_eq!(index.scanned_because(), None, "its changes are told");
    site.file("page", "changed");
    site.file("deep/er/second", "new");
    fs::remove_file(site.path().join("deep/er/file")).expect("removed");
    let scan = index.changes(staging, LIMITS).expect("a scan");
    assert!(scan.by_journal());
    let staged: Vec<_> = scan.changes.overrides.iter().filter(|(_, change)| change.staged.is_some()).collect();
    assert_eq!(
        staged.iter().map(|(path, _)| path.to_str()).collect::<Vec<_>>(),
        [Some("deep/er/second"), Some("page")]
    );
    assert!(scan.changes.removed.contains(Path::new("deep/er/file")));
    assert!(index.moved_since(&scan).expect("a look").is_empty());
    assert!(index.unseen(&scan).expect("a look").is_empty());
    site.file("page", "behind our back");
    assert_eq!(index.moved_since(&scan).expect("a look"), [PathBuf::from("page")]);
    drop(index);
    assert!(![site.path(), site.home.path().join("site")].iter().any(|home| home.join(BESIDE).exists()));

    let (beside, aside) = load(&mount);
    mount.commit(&beside, &aside, GOES_ON).expect("swapped");
    let live = |name: &str| text(site.path().join(name));
    let is_new = || {
        assert_eq!((live("page").as_deref(), live("var/tmp/session").as_deref()), (Some("new"), Some("open")));
        assert_eq!(live("deep/er/second"), None);
    };
    is_new();
    assert_eq!(mount.index_aside(&beside).expect("an index").contents().files, 2);
    mount.roll_back(&beside, &aside, GOES_ON).expect("back");
    assert_eq!((live("page").as_deref(), live("deep/er/second").as_deref()), (Some("behind our back"), Some("new")));
    mount.commit(&beside, &aside, GOES_ON).expect("swapped");
    mount.discard(&beside, Some(&aside)).expect("removed");
    is_new();
    assert!(![site.path(), site.home.path().join("site")].iter().any(|home| home.join(BESIDE).exists()));
}

fn load(mount: &Mount) -> (MountBeside, MountAside) {
    let beside = mount.beside_dir(&activity()).expect("a place");
    put(&beside.tree().join("page"), "new");
    put(&beside.tree().join("only-new"), "new");
    mount.check(&beside, Contents { files: 2, bytes: Bytes(6) }).expect("all is as recorded");
    let aside = mount.prepare(&beside).expect("noted");
    (beside, aside)
}

/// A large file that changes is cloned: no limit on bytes, no space, and what is written later does not show.
fn large_files_are_cloned(disk: &Disk) {
    let site = disk.site();
    let large = site.file("large", vec![1; 40 << 20]);
    site.file("small", "old");
    site.settle();
    let index = site.mount().follow().expect("an index");
    assert!(index.clones.is_some(), "its blocks can be shared");
    let write = |byte: u8, at: u64| {
        File::options().write(true).open(&large).and_then(|file| file.write_all_at(&[byte; 9], at)).expect("ours");
    };
    write(2, 5000);
    site.file("small", "new");
    let staging = disk.elsewhere();
    assert!(index.record_ahead(&staging).expect("recorded") <= 2);
    let before = free(disk);
    let limits = StagingLimits { bytes: Bytes(1 << 20), ..LIMITS };
    let scan = index.changes(&staging, limits).expect("what is cloned does not count");
    write(3, 5000);
    let change = &scan.changes.overrides[Path::new("large")];
    let staged = change.staged.as_ref().expect("a copy");
    assert!(staged.starts_with(site.home.path()), "on its own file system: {}", staged.display());
    let mut bytes = [0; 9];
    File::open(staged).and_then(|file| file.read_exact_at(&mut bytes, 5000)).expect("readable");
    assert_eq!((bytes, change.meta.size), ([2; 9], 40 << 20), "as it was in the hold");
    assert_eq!(index.moved_since(&scan).expect("a look"), [PathBuf::from("large")], "and who wrote later is told");
    disk.sync();
    assert!(before.saturating_sub(free(disk)) < 8 << 20, "no space for a second one was taken");
    drop((scan, index));
    assert!(!site.home.path().join("site").join(BESIDE).exists(), "nothing is left");

    // A file that can't be cloned counts, where its copy is more than may be.
    let mount = site.mount();
    let index = mount.follow().expect("an index");
    write(4, 1);
    fs::remove_dir(site.home.path().join("site").join(BESIDE).join("clones-files")).expect("an operator cleans up");
    let refused = index.changes(&disk.elsewhere(), limits);
    assert!(matches!(&refused, Err(Error::TooMuchChanged { files: 1, .. })), "{refused:?}");
    let scan = index.changes(&disk.elsewhere(), LIMITS).expect("it may be copied");
    let staged = scan.changes.overrides[Path::new("large")].staged.clone().expect("a copy");
    assert!(staged.starts_with(disk.elsewhere()));
}

fn free(disk: &Disk) -> u64 {
    let stat = rustix::fs::statvfs(disk.path()).expect("a file system");
    stat.f_bfree * stat.f_frsize
}

/// Wherever the disk of the mount is full: an error that says so, the live data as it was, and the next try succeeds.
fn a_full_disk_loses_nothing(disk: &Disk, inside: bool) {
    let site = disk.site();
    site.file("page", "old");
    site.file("deep/page", "old");
    site.file("var/tmp/session", "open");
    let way = if inside { Way::Entries } else { Way::Whole };
    let mount = site.mount_without(&["var/tmp"]);
    let is = |state: &str| {
        assert_eq!(text(site.path().join("page")).as_deref(), Some(state));
        assert_eq!(text(site.path().join("var/tmp/session")).as_deref(), Some("open"));
    };
    let full = |what: &str, done: Result<(), Error>| {
        if let Err(refused) = done {
            assert!(matches!(refused, Error::Full { .. }), "{what}: {refused:?}");
            assert!(refused.to_string().contains("free some and try again"), "{refused}");
            return true;
        }
        false
    };
    let place = |mount: &Mount| mount.beside_by(way, mount.root().expect("there"), &activity(), Vec::new());

    // Full from the beginning: a place is refused, or made, and taken away again.
    disk.fill();
    mount.test(&Rules { roots: vec!["/".into()], ..Rules::default() }).expect("a snapshot can be taken of a full disk");
    let index = mount.follow().expect("reading needs no space");
    File::options().append(true).open(site.path().join("page")).and_then(|file| file.set_len(3)).expect("the same");
    index.changes(&disk.elsewhere(), LIMITS).expect("copies lie elsewhere");
    drop(index);
    match place(&mount) {
        Err(refused) => assert!(matches!(refused, Error::Full { .. }), "{refused:?}"),
        Ok(beside) => {
            let written = fs::write(beside.tree().join("page"), vec![7; 1 << 20]);
            let written = written.map_err(Error::io("write", &beside.tree()));
            assert!(full("load", written), "a load does not fit");
            mount.discard(&beside, None).expect("removing needs no space");
        }
    }
    is("old");
    disk.make_space();

    // Full once everything is loaded: each step goes on or gives way, and what is taken back needs no space.
    let load = || {
        let beside = place(&mount).expect("a place");
        put(&beside.tree().join("page"), "new");
        put(&beside.tree().join("other/page"), "new");
        beside
    };
    let mut met = Vec::new();
    for filled in ["prepare", "commit", "roll back"] {
        let beside = load();
        let fill = |step: &str| (step == filled).then(|| disk.fill());
        fill("prepare");
        let aside = match mount.prepare(&beside) {
            Ok(aside) => Some(aside),
            Err(refused) => {
                assert!(full("prepare", Err(refused)));
                met.push("prepare");
                None
            }
        };
        is("old");
        if let Some(aside) = &aside {
            fill("commit");
            if full("commit", mount.commit(&beside, aside, GOES_ON)) {
                met.push("commit");
            } else {
                is("new");
            }
            fill("roll back");
            mount.roll_back(&beside, aside, GOES_ON).expect("taking back needs no space");
            is("old");
        }
        mount.discard(&beside, aside.as_ref()).expect("removing needs no space");
        is("old");
        disk.make_space();

        let beside = load();
        let aside = mount.prepare(&beside).expect("there is space");
        mount.commit(&beside, &aside, GOES_ON).expect("there is space");
        is("new");
        // The safety snapshot reads.
        disk.fill();
        let kept: Index = mount.index_aside(&beside).expect("reading needs no space");
        assert_eq!(kept.contents().files, 2);
        mount.roll_back(&beside, &aside, GOES_ON).expect("taking back needs no space");
        is("old");
        mount.discard(&beside, Some(&aside)).expect("removing needs no space");
        disk.make_space();
    }
    eprintln!("a full disk was met in: {met:?}");
}

#[test]
fn btrfs_is_read_and_restored() {
    let Some(disk) = Disk::new("btrfs_is_read_and_restored", "btrfs", 256) else { return };
    there_and_back(&disk.site(), &disk.elsewhere(), Way::Whole);
    large_files_are_cloned(&disk);
}

#[test]
fn xfs_is_read_and_restored() {
    let Some(disk) = Disk::new("xfs_is_read_and_restored", "xfs", 512) else { return };
    there_and_back(&disk.site(), &disk.elsewhere(), Way::Whole);
    large_files_are_cloned(&disk);
}

#[test]
fn a_disk_of_its_own_is_read_and_restored() {
    let Some(disk) = Disk::new("a_disk_of_its_own_is_read_and_restored", "btrfs", 256) else { return };
    let home = TempDir::new().expect("a temporary directory");
    for directory in ["site/files", "staging"] {
        fs::create_dir_all(home.path().join(directory)).expect("a directory");
    }
    let site = Site { home };
    let bound = Command::new("mount").arg("--bind").args([disk.path(), site.path()]).status();
    assert!(bound.is_ok_and(|status| status.success()));
    there_and_back(&site, &site.staging(), Way::Entries);
    let index = site.mount().follow().expect("an index");
    assert!(index.clones.is_some() && site.path().join(BESIDE).join("clones").is_dir());
    drop(index);
    assert!(!site.path().join(BESIDE).exists());
    assert!(Command::new("umount").arg(site.path()).status().is_ok_and(|status| status.success()));
}

#[test]
fn a_subvolume_is_a_mount_like_any_other_and_one_inside_a_mount_is_declared_or_excluded() {
    let test = "a_subvolume_is_a_mount_like_any_other_and_one_inside_a_mount_is_declared_or_excluded";
    let Some(disk) = Disk::new(test, "btrfs", 256) else { return };
    let subvolume = |at: &Path| {
        let made = Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(at).output().expect("btrfs-progs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    let site = disk.site();
    fs::remove_dir(site.path()).expect("empty");
    subvolume(&site.path());
    there_and_back(&site, &disk.elsewhere(), Way::Entries);

    let site = disk.site();
    site.file("page", "old");
    let inner = site.path().join("a/media");
    fs::create_dir(site.path().join("a")).expect("a directory");
    subvolume(&inner);
    put(&inner.join("picture"), "old");
    let refused = site.mount().index().map(|index| index.len());
    assert!(matches!(&refused, Err(Error::NestedMountPoint { path }) if *path == inner), "{refused:?}");
    site.mount_without(&["a/media"]).index().expect("it is excluded");

    // As a mount of its own; and the outer one's exchange carries it.
    let spec = |name: &str, path: &Path| MountSpec {
        name: MountName::parse(name).expect("a name"),
        path: path.to_str().expect("UTF-8").to_owned(),
        exclude: Vec::new(),
    };
    let all = [spec("files", &site.path()), spec("media", &inner)];
    let mounts = all.clone().map(|spec| Mount::connect(&spec).expect("valid").among(&all));
    let besides = mounts.each_ref().map(|mount| mount.beside_dir(&activity()).expect("a place"));
    put(&besides[0].tree().join("page"), "new");
    put(&besides[1].tree().join("picture"), "new");
    let asides = [0, 1].map(|at| mounts[at].prepare(&besides[at]).expect("noted"));
    let texts = || [site.path().join("page"), inner.join("picture")].map(|path| text(path).unwrap_or_default());
    for _ in 0..2 {
        for at in [0, 1] {
            mounts[at].commit(&besides[at], &asides[at], GOES_ON).expect("swapped");
        }
        assert_eq!(texts(), ["new", "new"]);
        for at in [0, 1] {
            mounts[at].roll_back(&besides[at], &asides[at], GOES_ON).expect("back");
        }
        assert_eq!(texts(), ["old", "old"]);
    }
}

#[test]
fn a_full_btrfs_loses_nothing() {
    let Some(disk) = Disk::new("a_full_btrfs_loses_nothing", "btrfs", 128) else { return };
    for inside in [false, true] {
        a_full_disk_loses_nothing(&disk, inside);
    }
}

#[test]
fn a_full_xfs_loses_nothing() {
    let Some(disk) = Disk::new("a_full_xfs_loses_nothing", "xfs", 320) else { return };
    for inside in [false, true] {
        a_full_disk_loses_nothing(&disk, inside);
    }
}

#[test]
fn a_full_ext4_loses_nothing() {
    let Some(disk) = Disk::new("a_full_ext4_loses_nothing", "ext4", 16) else { return };
    for inside in [false, true] {
        a_full_disk_loses_nothing(&disk, inside);
    }
}
