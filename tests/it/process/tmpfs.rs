//! A small file system: that can be filled, or that is a mount point.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Unmounted when dropped.
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None` where this program may not mount: then there is no full disk to be had.
    pub fn mount(at: &Path, kib: u32) -> Option<Self> {
        fs::create_dir_all(at).expect("a directory");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]).arg(at);
        let mounted = command.output().is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("no tmpfs can be mounted here: nothing is tried on a full disk");
        }
        mounted.then(|| Self(at.to_owned()))
    }

    /// Where a test is about nothing else: fails where this program may not mount, unless `STILLPOINT_TEST_WITHOUT_MOUNTS`
    /// says that this is known and wanted.
    pub fn needed(at: &Path, kib: u32) -> Option<Self> {
        const WITHOUT: &str = "STILLPOINT_TEST_WITHOUT_MOUNTS";
        if std::env::var_os(WITHOUT).is_some() {
            eprintln!("LEFT OUT, since {WITHOUT} is set: this test mounts file systems");
            return None;
        }
        let mounted = Self::mount(at, kib);
        assert!(
            mounted.is_some(),
            "this test mounts file systems, which is not permitted here: run it as root, or set {WITHOUT}=1 to leave it out"
        );
        mounted
    }

    pub fn resize(&self, kib: u32) {
        let mut command = Command::new("mount");
        let done = command.args(["-o", &format!("remount,size={kib}k")]).arg(&self.0).status().expect("mount");
        assert!(done.success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
