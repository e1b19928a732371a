//! Who uses the data directory: every process of ours, together; or one alone, to change the key under it.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// Given back when dropped, and by the kernel when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// # Errors
/// While the key is being rotated.
pub fn together(state: &Path) -> Result<Lock> {
    let file = open(state)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => {
            bail!("the key of {} is being rotated; start again when that is done", state.display())
        }
        Err(TryLockError::Error(error)) => Err(error).context("the data directory can't be locked"),
    }
}

/// # Errors
/// While another process uses the data directory.
pub fn alone(state: &Path) -> Result<Lock> {
    let file = open(state)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => {
            bail!("another process uses {}: stop `stillpointd`, all of its roles, then try again", state.display())
        }
        Err(TryLockError::Error(error)) => Err(error).context("the data directory can't be locked"),
    }
}

fn open(state: &Path) -> Result<File> {
    let path = state.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    file.with_context(|| format!("{} can't be opened", path.display()))
}
