//! Where a restore may write, and what a reader does when its file changes.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};

use rustic_core::ReadSourceOpen;

use super::super::source::{Lost, Open, Unsettled, What};
use super::*;

#[test]
fn a_restore_needs_an_empty_directory() {
    let sandbox = Sandbox::new();
    sandbox.write("a", b"1");
    let archived = sandbox.snapshot(None, Vec::new());
    let restore = |path: &Path| sandbox.repository.restore_tree(&Job::reading(), &archived.id, &uploads(), path);
    let out = sandbox.path("out");
    fs::write(out.join("something"), b"precious").expect("a file");
    assert!(matches!(restore(&out), Err(Error::NotEmpty { .. })));
    assert_eq!(fs::read(out.join("something")).expect("still there"), b"precious");

    let real = sandbox.path("real");
    fs::create_dir(&real).expect("a directory");
    symlink(&real, sandbox.path("by a link")).expect("a link");
    for path in [sandbox.path("by a link"), sandbox.path("missing"), out.join("something")] {
        let refused = restore(&path);
        assert!(matches!(refused, Err(Error::Destination { .. })), "{refused:?}");
    }
    assert_eq!(fs::read_dir(&real).expect("a directory").count(), 0);
}

#[test]
fn what_a_snapshot_does_not_have_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write("a", b"1");
    let archived = sandbox.snapshot(None, Vec::new());
    let other = MountName::parse("other").expect("a name");
    let out = sandbox.path("out");
    let unknown = sandbox.repository.restore_tree(&Job::reading(), &archived.id, &other, &out);
    assert!(matches!(unknown, Err(Error::UnknownMount { .. })), "{unknown:?}");
    for id in ["", "latest", &archived.id[..8], &"00".repeat(32), "../../etc/passwd"] {
        let unknown = sandbox.repository.restore_tree(&Job::reading(), id, &uploads(), &out);
        assert!(matches!(unknown, Err(Error::UnknownSnapshot { .. })), "{id}: {unknown:?}");
        assert!(matches!(sandbox.repository.manifest(id), Err(Error::UnknownSnapshot { .. })), "{id}");
    }
}

#[test]
fn a_cancelled_restore_says_so() {
    let sandbox = Sandbox::new();
    sandbox.write("a", b"1");
    let archived = sandbox.snapshot(None, Vec::new());
    let job = Job::reading();
    job.cancel();
    let ended = sandbox.repository.restore_tree(&job, &archived.id, &uploads(), &sandbox.path("out"));
    assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
}

#[test]
fn progress_counts_the_bytes_of_a_restore() {
    let sandbox = Sandbox::new();
    for n in 0..100 {
        sandbox.write(&format!("{n}"), &noise(n * 100, 1 + n as u64));
    }
    let archived = sandbox.snapshot(None, Vec::new());
    let job = Job::reading();
    let restored =
        sandbox.repository.restore_tree(&job, &archived.id, &uploads(), &sandbox.path("out")).expect("restored");
    let bytes = 100 * 99 / 2 * 100;
    assert_eq!(restored, Restored { files: 100, directories: 1, bytes, limits: Vec::new() });
    assert_eq!(job.bytes_done(), bytes);
}

/// Opens the live file `a` as if it had been listed with this size and inode.
fn open(sandbox: &Sandbox, size: u64, inode: u64) -> (Option<Vec<u8>>, Vec<Lost>, Job) {
    let (job, lost) = (job(), Unsettled::default());
    let directory = fs::File::open(sandbox.live()).expect("a directory");
    let what = What::Live {
        directory: Arc::new(OwnedFd::from(directory)),
        name: "a".into(),
        path: sandbox.live().join("a"),
        relative: "a".into(),
        size,
        inode,
        lost: lost.clone(),
        counts: false,
        later: None,
    };
    let open = Open { job: job.clone(), tally: Arc::default(), what };
    let read = open.open().ok().map(|mut reader| {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).expect("readable");
        content
    });
    let lost = lost.lock().expect("no panic").clone();
    (read, lost, job)
}

#[test]
fn pass_1_reads_what_was_listed_and_notes_what_it_missed() {
    let sandbox = Sandbox::new();
    sandbox.write("a", b"12345");
    let inode = fs::metadata(sandbox.live().join("a")).expect("there").ino();
    let unsettled = vec![Lost::File("a".into())];

    let (read, lost, _) = open(&sandbox, 5, inode);
    assert_eq!((read, lost), (Some(b"12345".to_vec()), Vec::new()));
    let (grown, lost, _) = open(&sandbox, 3, inode);
    assert_eq!((grown, lost), (Some(b"123".to_vec()), Vec::new()));
    let (shrunk, lost, _) = open(&sandbox, 9, inode);
    assert_eq!((shrunk, lost), (Some(b"12345".to_vec()), unsettled.clone()));
    let (replaced, lost, job) = open(&sandbox, 5, inode + 1);
    assert_eq!((replaced, lost, job.is_bad()), (None, unsettled.clone(), false));
    fs::remove_file(sandbox.live().join("a")).expect("there");
    symlink("/etc/passwd", sandbox.live().join("a")).expect("a link");
    let (linked, lost, job) = open(&sandbox, 5, inode);
    assert_eq!((linked, lost, job.is_bad()), (None, unsettled, false));
}

#[test]
fn a_kept_file_that_would_be_read_makes_the_job_bad() {
    let job = job();
    let what = What::Kept { path: "a".into() };
    let open = Open { job: job.clone(), tally: Arc::default(), what };
    assert!(open.open().is_err() && job.is_bad());
}

#[test]
fn a_path_is_restored_alone_with_the_way_to_it() {
    let sandbox = Sandbox::new();
    for (path, text) in [("2024/photos/a/one", "1"), ("2024/photos/two", "22"), ("2024/index", "333"), ("page", "4444")]
    {
        sandbox.write(path, text.as_bytes());
    }
    symlink("photos", sandbox.live().join("2024/latest")).expect("a link");
    let archived = sandbox.snapshot(None, Vec::new());
    let paths: Vec<PathBuf> =
        ["2024/photos", "page", "2024/latest", "2024/phot", "page/x", "2025"].map(PathBuf::from).to_vec();
    let contents = sandbox.repository.contents_of(&Job::reading(), &archived.id, &uploads(), &paths).expect("read");
    let some = |files, bytes| Some(Contents { files, bytes });
    assert_eq!(contents, [some(2, 3), some(1, 4), some(1, 0), None, None, None]);

    let out = sandbox.path("out");
    let restored = sandbox.repository.restore_paths(&Job::reading(), &archived.id, &uploads(), &paths[..2], &out);
    assert_eq!(restored.expect("restored").files, 3);
    assert_eq!(fs::read(out.join("2024/photos/a/one")).expect("restored"), b"1");
    assert_eq!(fs::read(out.join("page")).expect("restored"), b"4444");
    assert!(!out.join("2024/index").exists() && !out.join("2024/latest").is_symlink());
}
