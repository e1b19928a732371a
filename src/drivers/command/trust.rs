//! Who could have put a program where it is.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, access};

use crate::drivers::Error;

/// As many links as the kernel follows.
const LINKS: usize = 40;
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Walks from the root to the program, link by link, and gives its real path.
///
/// # Errors
/// [`Error::Program`].
pub(super) fn look(program: &Path) -> Result<PathBuf, Error> {
    let refused = |why: String| Error::Program { program: program.to_owned(), why };
    let mut links = 0;
    let mut real = PathBuf::from("/");
    // What is still to be walked, the next one last.
    let mut ahead = steps(program);
    check_directory(&real).map_err(refused)?;
    while let Some(step) = ahead.pop() {
        if step == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&step);
        let found = fs::symlink_metadata(&next).map_err(|error| {
            let at = if next == program { String::new() } else { format!("{}: ", next.display()) };
            refused(format!("can't be used: {at}{error}; install it, or correct the declared path"))
        })?;
        if found.is_symlink() {
            links += 1;
            let target = fs::read_link(&next).map_err(|error| refused(format!("can't be followed: {error}")))?;
            if links > LINKS {
                return Err(refused("leads through too many links: name the program itself".to_owned()));
            }
            check_owner(&next, &found).map_err(refused)?;
            if target.is_absolute() {
                real = PathBuf::from("/");
            }
            ahead.extend(steps(&target));
            continue;
        }
        real = next;
        if found.is_dir() {
            check_directory(&real).map_err(refused)?;
        } else if !ahead.is_empty() {
            return Err(refused(format!("can't be there: {} is not a directory", real.display())));
        }
    }
    check_file(&real).map_err(refused)?;
    Ok(real)
}

/// In reverse.
fn steps(path: &Path) -> Vec<OsString> {
    let steps = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    let mut steps: Vec<OsString> = steps.collect();
    steps.reverse();
    steps
}

/// Whoever owns a thing may give everybody the right to write to it.
fn check_owner(path: &Path, found: &Metadata) -> Result<(), String> {
    let own = rustix::process::geteuid().as_raw();
    if found.uid() == 0 || found.uid() == own {
        return Ok(());
    }
    Err(format!("could be replaced by the user {}, who owns {}: `chown root` it", found.uid(), path.display()))
}

fn check_directory(path: &Path) -> Result<(), String> {
    let found = fs::metadata(path).map_err(|error| format!("can't be looked at: {}: {error}", path.display()))?;
    check_owner(path, &found)?;
    // In a sticky one everybody may add, and only the owner replace.
    if found.mode() & OTHERS_WRITE != 0 && found.mode() & STICKY == 0 {
        return Err(format!(
            "could be replaced by others, who may write to the directory {}: `chmod go-w` it",
            path.display()
        ));
    }
    Ok(())
}

fn check_file(path: &Path) -> Result<(), String> {
    let found = fs::metadata(path).map_err(|error| format!("can't be looked at: {error}"))?;
    if !found.is_file() {
        return Err("is not a regular file: name the program itself".to_owned());
    }
    check_owner(path, &found)?;
    if found.mode() & OTHERS_WRITE != 0 {
        return Err(format!("could be changed by others, who may write to {}: `chmod go-w` it", path.display()));
    }
    access(path, Access::EXEC_OK)
        .map_err(|error| format!("can't be executed by the user that runs the worker ({error}): `chmod +x` it"))
}
