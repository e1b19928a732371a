use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::fs::{CWD, FileType, Mode};

use super::super::Scan;
use super::super::stage::{Stage, Staged};
use super::super::walk::{Tree, stamp};
use super::*;
use crate::domain::tree::{FileKind, Override, TreeIndex};
use crate::drivers::StagingLimit;

fn overrides(scan: &Scan) -> BTreeSet<&Path> {
    scan.changes.overrides.keys().map(PathBuf::as_path).collect()
}

fn removed(scan: &Scan) -> Vec<&Path> {
    scan.changes.removed.iter().map(PathBuf::as_path).collect()
}

fn staged(recorded: &Override) -> Vec<u8> {
    fs::read(recorded.staged.as_ref().expect("a regular file is staged")).expect("it was copied")
}

fn paths<const N: usize>(paths: [&str; N]) -> BTreeSet<&Path> {
    paths.into_iter().map(Path::new).collect()
}

#[test]
fn an_unchanged_tree_has_no_changes() {
    let site = Site::new();
    site.file("a/b/c", "x");
    site.file("d", "y");
    symlink("/", site.path().join("link")).expect("a link");
    site.settle();
    let index = site.mount().index().expect("an index");
    assert_eq!((index.len(), index.contents().files, index.contents().bytes), (5, 3, Bytes(2)));
    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    assert!(scan.changes.is_empty(), "{scan:?}");
    assert!(index.moved_since(&scan).expect("a second look").is_empty());
}

#[test]
fn what_changed_is_found_and_copied() {
    let site = Site::new();
    for name in ["same", "grown", "mode", "gone", "old/deep/file", "turns/inner", "kept/file"] {
        site.file(name, name);
    }
    symlink("one", site.path().join("link")).expect("a link");
    site.settle();
    let index = site.mount().index().expect("an index");
    site.settle();

    site.file("grown", "grown and more");
    fs::set_permissions(site.path().join("mode"), fs::Permissions::from_mode(0o4750)).expect("ours");
    fs::remove_file(site.path().join("gone")).expect("it is there");
    fs::remove_dir_all(site.path().join("old")).expect("it is there");
    fs::remove_dir_all(site.path().join("turns")).expect("it is there");
    site.file("turns", "now a file");
    site.file("new/deep/file", "fresh");
    fs::create_dir(site.path().join("new/empty")).expect("a directory");
    fs::remove_file(site.path().join("link")).expect("it is there");
    symlink("two", site.path().join("link")).expect("a link");

    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    let expected = paths(["", "grown", "mode", "turns", "new", "new/deep", "new/deep/file", "new/empty", "link"]);
    assert_eq!(overrides(&scan), expected);
    assert_eq!(removed(&scan), [Path::new("gone"), Path::new("old")]);
    let of = |name: &str| &scan.changes.overrides[Path::new(name)];
    assert_eq!(staged(of("grown")), b"grown and more");
    assert_eq!(of("grown").meta.size, 14);
    assert_eq!(staged(of("turns")), b"now a file");
    assert_eq!(staged(of("new/deep/file")), b"fresh");
    assert_eq!(of("mode").meta.mode, 0o4750);
    assert_eq!(of("link").meta.kind, FileKind::Symlink { target: "two".into() });
    assert_eq!((of("new/empty").meta.kind.clone(), of("new/empty").staged.clone()), (FileKind::Directory, None));
    let copies = fs::read_dir(site.staging()).expect("a directory").count();
    assert_eq!(copies, 4, "only changed regular files are copied");
}

#[test]
fn a_change_that_hides_its_time_and_size_is_found() {
    let site = Site::new();
    let path = site.file("page", "before");
    site.settle();
    let index = site.mount().index().expect("an index");
    site.settle();
    let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("a time");
    fs::write(&path, "behind").expect("the same size");
    File::options().write(true).open(&path).and_then(|file| file.set_modified(modified)).expect("ours");
    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    assert_eq!(overrides(&scan), paths(["page"]));
    assert_eq!(staged(&scan.changes.overrides[Path::new("page")]), b"behind");
}

#[test]
fn a_change_within_the_tick_of_the_index_is_found() {
    // Each round writes right before and right after the index, as often as fits into some ticks.
    let site = Site::new();
    for round in 0..40_u32 {
        let before = site.file("page", format!("{:08}", round * 2));
        let modified = fs::metadata(&before).and_then(|metadata| metadata.modified()).expect("a time");
        let index = site.mount().index().expect("an index");
        let after = format!("{:08}", round * 2 + 1);
        fs::write(&before, &after).expect("the same size");
        File::options().write(true).open(&before).and_then(|file| file.set_modified(modified)).expect("ours");
        let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
        assert_eq!(staged(&scan.changes.overrides[Path::new("page")]), after.as_bytes());
    }
}

#[test]
fn odd_names_and_kinds_are_recorded() {
    let site = Site::new();
    site.settle();
    let index = site.mount().index().expect("an index");
    let odd = [&b"new\nline"[..], b"not\xff\xfeutf-8", b"-rf *", b" "];
    for name in odd {
        site.file(OsStr::from_bytes(name), name);
    }
    fs::hard_link(site.path().join("-rf *"), site.path().join("second name")).expect("a hard link");
    rustix::fs::mknodat(CWD, site.path().join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).expect("a fifo");
    let _listener = UnixListener::bind(site.path().join("socket")).expect("a socket");
    symlink("/nowhere/\u{e4}", site.path().join("dangling")).expect("a link");
    fs::create_dir(site.path().join("tagged")).expect("a directory");
    let tagged = xattr::set(site.path().join("tagged"), "user.colour", b"red").is_ok();
    let noted = xattr::set(site.path().join(" "), "user.note", b"\0\xff").is_ok();

    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    let of = |name: &[u8]| &scan.changes.overrides[Path::new(OsStr::from_bytes(name))];
    for name in odd {
        assert_eq!(staged(of(name)), name);
    }
    assert_eq!(of(b"fifo").meta.kind, FileKind::Fifo);
    assert_eq!(of(b"fifo").meta.mode & 0o777, fs::metadata(site.path().join("fifo")).expect("a fifo").mode() & 0o777);
    assert!(!scan.changes.overrides.contains_key(Path::new("socket")));
    assert_eq!((of(b"-rf *").meta.links, of(b"second name").meta.links), (2, 2));
    assert_eq!(of(b"-rf *").meta.inode, of(b"second name").meta.inode);
    assert_eq!(of(b"dangling").meta.kind, FileKind::Symlink { target: "/nowhere/\u{e4}".into() });
    if tagged && noted {
        let has =
            |name: &[u8], key: &str, value: &[u8]| of(name).meta.xattrs.iter().any(|(k, v)| k == key && v == value);
        assert!(has(b"tagged", "user.colour", b"red") && has(b" ", "user.note", b"\0\xff"));
    }
    let limits = site.mount_without(&["cache"]).index().expect("an index").limits();
    insta::assert_snapshot!(limits.join("\n"), @r"
    The socket `socket` is left out: the program that made it makes it again.
    `cache` is excluded.
    ");
}

#[test]
fn a_link_in_the_place_of_a_directory_is_not_followed() {
    let site = Site::new();
    site.file("album/picture", "x");
    let secret = TempDir::new().expect("a temporary directory");
    fs::write(secret.path().join("picture"), "secret").expect("a file");
    site.settle();
    let index = site.mount().index().expect("an index");
    fs::rename(site.path().join("album"), site.home.path().join("moved")).expect("moved away");
    symlink(secret.path(), site.path().join("album")).expect("a link");
    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    assert_eq!(overrides(&scan), paths(["", "album"]));
    assert_eq!(fs::read_dir(site.staging()).expect("a directory").count(), 0);
}

#[test]
fn excluded_paths_are_neither_indexed_nor_scanned() {
    let site = Site::new();
    site.file("cache/x", "x");
    site.file("var/tmp/y", "y");
    site.file("var/keep", "z");
    site.settle();
    let index = site.mount_without(&["cache", "var/tmp"]).index().expect("an index");
    let names = |directory: &str| index.entries(Path::new(directory)).map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(
        ["", "cache", "var", "var/tmp", "nowhere"].map(names),
        [vec!["var"], vec![], vec!["keep"], vec![], vec![]]
    );
    site.file("cache/new", "x");
    site.file("var/tmp/new/deep", "y");
    assert!(index.changes(&site.staging(), LIMITS).expect("a scan").changes.is_empty());
}

#[test]
fn holes_stay_holes() {
    let site = Site::new();
    let index = site.mount().index().expect("an index");
    let path = site.path().join("sparse");
    let file = File::create(&path).expect("a file");
    let size = 256 << 20;
    use std::os::unix::fs::FileExt;
    file.write_all_at(b"in the middle", size / 2).expect("some bytes");
    file.set_len(size).expect("a hole");
    drop(file);
    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    let recorded = &scan.changes.overrides[Path::new("sparse")];
    let copy = fs::metadata(recorded.staged.as_ref().expect("it is staged")).expect("a copy");
    assert_eq!((recorded.meta.size, copy.len()), (size, size));
    assert!(copy.blocks() * 512 < 1 << 20, "{} blocks", copy.blocks());
    let copy = File::open(recorded.staged.as_ref().expect("it is staged")).expect("a copy");
    let mut bytes = [0; 13];
    copy.read_exact_at(&mut bytes, size / 2).expect("the middle");
    assert_eq!(&bytes, b"in the middle");
}

#[test]
fn too_much_change_is_refused_with_its_figures() {
    let site = Site::new();
    let index = site.mount().index().expect("an index");
    site.file("one", vec![0; 3000]);
    site.file("two", vec![0; 3000]);
    let refused = index.changes(&site.staging(), StagingLimits { bytes: Bytes(5000), ..LIMITS });
    match refused {
        Err(Error::TooMuchChanged {
            files: 2, bytes: Bytes(6000), limit: StagingLimit::Bytes(Bytes(5000)), ..
        }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read_dir(site.staging()).expect("a directory").count(), 0, "nothing was copied in vain");
    let late = index.changes(&site.staging(), StagingLimits { time: Duration::ZERO, ..LIMITS });
    assert!(matches!(late, Err(Error::ScanTooSlow { .. } | Error::TooMuchChanged { .. })), "{late:?}");
}

#[test]
fn a_full_disk_while_staging_has_its_name() {
    let site = Site::new();
    let index = site.mount().index().expect("an index");
    site.file("upload", vec![7; 100_000]);
    // The first two copies (root directory is none) would go onto a disk without space.
    for number in 0..2 {
        symlink("/dev/full", site.staging().join(format!("{number:08}"))).expect("a link");
    }
    let refused = index.changes(&site.staging(), LIMITS);
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");

    if let Some(small) = Small::new(c"size=64k") {
        let refused = index.changes(small.path(), LIMITS);
        assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    }
}

#[test]
fn a_writer_that_goes_round_the_gate_is_noticed() {
    let site = Site::new();
    for name in ["quiet", "changed", "gone"] {
        site.file(name, name);
    }
    site.settle();
    let index = site.mount().index().expect("an index");
    site.file("changed", "written before the hold");
    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    assert_eq!(overrides(&scan), paths(["changed"]));
    assert!(index.moved_since(&scan).expect("a look").is_empty());

    // The same length, right after: perhaps within the same tick, with the time put back.
    let path = site.path().join("changed");
    let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("a time");
    fs::write(&path, "written behind our back").expect("the same size");
    File::options().write(true).open(&path).and_then(|file| file.set_modified(modified)).expect("ours");
    assert_eq!(index.moved_since(&scan).expect("a look"), [PathBuf::from("changed")]);

    site.file("quiet", "no more");
    site.file("new", "new");
    fs::remove_file(site.path().join("gone")).expect("it is there");
    let moved: BTreeSet<_> = index.moved_since(&scan).expect("a look").into_iter().collect();
    assert_eq!(moved, BTreeSet::from(["", "changed", "gone", "new", "quiet"].map(PathBuf::from)));
}

#[test]
fn a_file_that_grows_while_it_is_copied_is_copied_as_far_as_it_says() {
    let site = Site::new();
    let index = site.mount().index().expect("an index");
    let log = site.file("log", "begin");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut log = File::options().append(true).open(&log).expect("a file");
            while !stop.load(Ordering::Relaxed) {
                log.write_all(b"one more line\n").expect("a line");
            }
        });
        for _ in 0..50 {
            let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
            let recorded = &scan.changes.overrides[Path::new("log")];
            let copy = staged(recorded);
            assert_eq!(copy.len() as u64, recorded.meta.size);
            assert!(copy.starts_with(b"begin"));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_vanishes_between_scan_and_copy_counts_as_removed() {
    let site = Site::new();
    let path = site.file("here", "x");
    let tree = Tree::open(&site.path(), &[]).expect("a tree");
    let stamp = {
        let stat = rustix::fs::lstat(&path).expect("a file");
        stamp(&stat)
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let staging = site.staging();
    let (clones, spare) = (None, Default::default());
    let stage = Stage { tree: &tree, directory: &staging, deadline, clones, spare };
    let record = |name: &str| stage.record(0, Path::new(name), &stamp).expect("no error");
    assert!(matches!(record("here"), Staged::Recorded(_)));
    assert!(matches!(record("not here"), Staged::Gone));
    assert!(matches!(record("here/below"), Staged::Gone));
    // Opening a fifo for reading would wait for its writer.
    fs::remove_file(&path).expect("it is there");
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a fifo");
    assert!(matches!(record("here"), Staged::Gone));
}

#[test]
fn a_hundred_thousand_files_are_scanned_quickly_and_fit_into_little_memory() {
    let site = Site::new();
    for directory in 0..200 {
        let path = site.path().join(format!("directory-{directory:03}"));
        fs::create_dir(&path).expect("a directory");
        for file in 0..500 {
            File::create(path.join(format!("picture-{file:05}.jpg"))).expect("a file");
        }
    }
    site.settle();
    let began = Instant::now();
    let index = site.mount().index().expect("an index");
    let indexed = began.elapsed();
    assert_eq!(index.contents().files, 100_000);
    let mut scans: Vec<_> = (0..10)
        .map(|_| {
            let began = Instant::now();
            let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
            assert!(scan.changes.is_empty());
            began.elapsed()
        })
        .collect();
    scans.sort();
    let memory = index.memory();
    println!("index {indexed:?}, scan {:?} to {:?}, {memory}", scans[0], scans[9]);
    // 1 % changed: found and copied.
    for directory in 0..200 {
        for file in 0..5 {
            site.file(format!("directory-{directory:03}/picture-{file:05}.jpg"), [7; 2000]);
        }
    }
    let began = Instant::now();
    let scan = index.changes(&site.staging(), LIMITS).expect("a scan");
    let changed = began.elapsed();
    let began = Instant::now();
    assert!(index.moved_since(&scan).expect("a look").is_empty());
    println!("1,000 changed: {changed:?}, second look {:?}", began.elapsed());
    assert_eq!(scan.changes.overrides.len(), 1_000);
    assert!(memory < Bytes(20 << 20), "{memory}");
    assert!(scans[0] < Duration::from_secs(2), "{scans:?}");
}
