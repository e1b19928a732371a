//! What all tests of mounts share. They live by what they are about: the test of a mount, the hold, the swap.

mod connection;
mod databases;
mod disks;
mod entries;
mod figures;
mod hold;
mod journal;
mod nested;
mod paths;
mod renewal;
mod restore;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::{Mount, Rules, StagingLimits};
use crate::domain::Bytes;
use crate::domain::environment::MountSpec;
use crate::domain::ids::MountName;
use crate::drivers::Error;

/// A mount `site/files` and a directory `site/staging` beside it.
struct Site {
    home: TempDir,
}

impl Site {
    fn new() -> Self {
        let home = TempDir::new().expect("a temporary directory");
        for directory in ["site", "site/files", "staging"] {
            fs::create_dir(home.path().join(directory)).expect("a directory");
        }
        Self { home }
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("site/files")
    }

    fn staging(&self) -> PathBuf {
        self.home.path().join("staging")
    }

    fn file(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("below the mount")).expect("directories");
        fs::write(&path, bytes).expect("a file");
        path
    }

    fn mount(&self) -> Mount {
        self.mount_without(&[])
    }

    fn mount_without(&self, exclude: &[&str]) -> Mount {
        mount(&self.path(), exclude).expect("a valid declaration")
    }

    /// Rules that allow this mount.
    fn rules(&self) -> Rules {
        Rules { roots: vec![self.home.path().to_owned()], ..Rules::default() }
    }

    /// Waits until everything written so far is old enough not to be ambiguous.
    fn settle(&self) {
        let probe = self.home.path().join("probe");
        let now = || {
            File::create(&probe).expect("a file");
            let metadata = fs::metadata(&probe).expect("metadata");
            Duration::new(metadata.ctime().unsigned_abs(), metadata.ctime_nsec() as u32)
        };
        let began = now();
        while now() < began + Duration::from_millis(30) {
            std::thread::yield_now();
        }
    }
}

const LIMITS: StagingLimits = StagingLimits { bytes: Bytes(1 << 30), time: Duration::from_secs(20) };

fn mount(path: &Path, exclude: &[&str]) -> Result<Mount, Error> {
    Mount::connect(&MountSpec {
        name: MountName::parse("files").expect("a valid name"),
        path: path.to_str().expect("temporary paths are UTF-8").to_owned(),
        exclude: exclude.iter().map(|path| (*path).to_owned()).collect(),
    })
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A file system of its own, as long as this lives. `None`: this process may not mount, as in most containers.
pub(in crate::drivers) struct Small(TempDir);

impl Small {
    pub(in crate::drivers) fn new(size: &std::ffi::CStr) -> Option<Self> {
        let directory = TempDir::new().expect("a temporary directory");
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", directory.path(), "tmpfs", flags, size).ok().map(|()| Self(directory))
    }

    pub(in crate::drivers) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH).expect("it was mounted");
    }
}

/// What mounts file systems runs again in a mount namespace of its own, as root or as root of a user namespace. `true`:
/// this is there. Where that is not permitted the test fails, unless `STILLPOINT_TEST_WITHOUT_MOUNTS` says that it is
/// known and wanted.
fn in_own_namespace(test: &str) -> bool {
    const INSIDE: &str = "STILLPOINT_TEST_IN_NAMESPACE";
    const WITHOUT: &str = "STILLPOINT_TEST_WITHOUT_MOUNTS";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if std::env::var_os(WITHOUT).is_some() {
        eprintln!("LEFT OUT, since {WITHOUT} is set: {test}");
        return false;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.arg("--mount").args((!is_root()).then_some("--map-root-user"));
        command
    };
    let permitted = unshare().args(["mount", "-t", "tmpfs", "tmpfs", "/tmp"]).output();
    assert!(
        permitted.is_ok_and(|tried| tried.status.success()),
        "this test mounts file systems, which is not permitted here: run it as root, or set {WITHOUT}=1 to leave it out"
    );
    let mut command = unshare();
    command.arg(std::env::current_exe().expect("a program")).args(["--exact", test]).env(INSIDE, "1");
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    false
}

/// In a namespace of its own, with which it goes.
fn mount_small(at: &Path) {
    fs::create_dir_all(at).expect("a directory");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", at, "tmpfs", flags, c"size=4m").expect("own namespace");
}

/// Root may do everything: what is about permissions runs again as somebody else. `true`: this is that somebody.
fn as_somebody_else(test: &str) -> bool {
    use std::os::unix::process::CommandExt;
    if !is_root() {
        return true;
    }
    // By this name, since somebody else may not be able to walk to where the binary lies.
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", test]).env("TMPDIR", "/tmp").current_dir("/").uid(65534).gid(65534);
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    false
}
