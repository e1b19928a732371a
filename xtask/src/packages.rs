//! The programs that the tests drive: installed on Debian and Ubuntu, named elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::workspace::{on_path, step};

/// A program, and the Debian package that brings it.
struct Need {
    package: &'static str,
    found: fn() -> bool,
}

const NEEDS: [Need; 14] = [
    Need { package: "python3", found: || on_path("python3").is_some() },
    Need { package: "restic", found: || on_path("restic").is_some() },
    Need { package: "sqlite3", found: || on_path("sqlite3").is_some() },
    Need { package: "postgresql", found: || postgres().is_some() },
    Need {
        package: "mariadb-server",
        found: || on_path("mariadbd").is_some() || Path::new("/usr/sbin/mariadbd").exists(),
    },
    Need { package: "redis-server", found: || on_path("redis-server").is_some() },
    Need { package: "slapd", found: || Path::new("/usr/sbin/slapd").exists() },
    Need { package: "ldap-utils", found: || on_path("ldapadd").is_some() },
    Need { package: "lmdb-utils", found: || on_path("mdb_copy").is_some() },
    Need {
        package: "btrfs-progs",
        found: || on_path("mkfs.btrfs").is_some() || Path::new("/usr/sbin/mkfs.btrfs").exists(),
    },
    Need { package: "xfsprogs", found: || on_path("mkfs.xfs").is_some() || Path::new("/usr/sbin/mkfs.xfs").exists() },
    Need { package: "chromium", found: || chromium().is_some() },
    Need { package: "nodejs", found: || on_path("node").is_some() },
    Need { package: "npm", found: || on_path("npm").is_some() },
];

/// The browser that the console's tests drive; `CHROMIUM` names another one.
pub fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Some(PathBuf::from(named));
    }
    ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|name| on_path(name))
}

/// PostgreSQL's server program: Debian keeps it off the search path.
fn postgres() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok();
    let debian = versions.into_iter().flatten().flatten().map(|version| version.path().join("bin/postgres"));
    debian.into_iter().find(|file| file.is_file()).or_else(|| on_path("postgres"))
}

/// Whether file systems may be mounted here, in a namespace of the tests' own and outside of it.
pub fn may_mount() -> bool {
    let Ok(directory) = tempfile::tempdir() else { return false };
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).arg(directory.path()).output().is_ok_and(|output| output.status.success())
    };
    run("unshare", &["--mount", "mount", "-t", "tmpfs", "tmpfs"])
        && run("mount", &["-t", "tmpfs", "tmpfs"])
        && run("umount", &[])
}

pub fn install_missing() -> Result<()> {
    let missing: Vec<&str> = NEEDS.iter().filter(|need| !(need.found)()).map(|need| need.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if on_path("apt-get").is_none() || !Path::new("/etc/debian_version").exists() {
        bail!("the tests need programs that are missing here: {list}. Install them, then run this again");
    }
    let install = || {
        let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
        arguments.extend(&missing);
        step(&format!("install {list}"), &mut apt(&arguments))
    };
    // Package lists may be absent (a fresh container) or too old to be fetched from.
    if install().is_err() {
        step("refresh the package lists", &mut apt(&["update"]))?;
        install()?;
    }
    let still: Vec<&str> = NEEDS.iter().filter(|need| !(need.found)()).map(|need| need.package).collect();
    if !still.is_empty() {
        bail!("{} installed, but their programs are not found; is /usr/bin on PATH?", still.join(" "));
    }
    Ok(())
}

fn apt(arguments: &[&str]) -> Command {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    let mut command = Command::new(if root { "env" } else { "sudo" });
    if !root {
        command.arg("env");
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(arguments);
    command
}
