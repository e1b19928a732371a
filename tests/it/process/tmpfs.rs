//! A small file system: that can be filled, or that is a mount point.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Unmounted when dropped.
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Fails where this program may not mount, unless `STILLPOINT_TEST_WITHOUT_MOUNTS` says that this is known and wanted:
    /// then `None`.
    pub fn needed(at: &Path, kib: u32) -> Option<Self> {
        const WITHOUT: &str = "STILLPOINT_TEST_WITHOUT_MOUNTS";
        if std::env::var_os(WITHOUT).is_some() {
            eprintln!("LEFT OUT, since {WITHOUT} is set: this test mounts file systems");
            return None;
        }
        fs::create_dir_all(at).expect("a directory");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]).arg(at);
        assert!(
            command.output().is_ok_and(|output| output.status.success()),
            "this test mounts file systems, which is not permitted here: run it as root, or set {WITHOUT}=1 to leave it out"
        );
        Some(Self(at.to_owned()))
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
