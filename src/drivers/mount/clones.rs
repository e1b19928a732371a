//! Copies that share their blocks with the file (btrfs, XFS, bcachefs): of large files that change while a snapshot is
//! taken. They take no time and no space in the hold, whatever the size, so that no limit on copied bytes is needed.
//!
//! **Invariant:** they lie on the mount's own file system, in `.stillpoint/`, under a name that only this mount has, and go
//! with the index. What a killed worker left goes when the next snapshot begins.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::points::{self, Way, parent_of};
use super::swap::{hidden_directory, make_private, quietly, remove_tree};
use crate::domain::Bytes;
use crate::drivers::Error;

/// Smaller files are copied: sharing blocks first waits until they are on the disk, which takes longer.
pub(super) const CLONED_FROM: Bytes = Bytes(16 << 20);

#[derive(Debug)]
pub(super) struct Clones {
    directory: PathBuf,
}

impl Clones {
    /// `None`: the file system shares no blocks, or there is no place.
    pub fn make(root: &Path, exclude: &[PathBuf]) -> Option<Self> {
        let inside = points::way(root, exclude).ok()? == Way::Entries;
        let home = if inside { root } else { parent_of(root).ok()? };
        let name = if inside { "clones".into() } else { format!("clones-{}", root.file_name()?.to_str()?) };
        quietly(home, || {
            let clones = Self { directory: hidden_directory(home).ok()?.join(name) };
            remove_tree(&clones.directory).ok()?;
            make_private(&clones.directory).ok()?;
            // Dropped, and with it the directory, where it does not work.
            clones.try_one().ok().map(|()| clones)
        })
    }

    fn try_one(&self) -> Result<(), Error> {
        let (from, to) = (self.directory.join("one"), self.directory.join("other"));
        fs::write(&from, [7; 4096]).map_err(Error::io("write", &from))?;
        let source = File::open(&from).map_err(Error::io("open", &from))?;
        clone(&source, &to).map_err(Error::io("clone", &from))?;
        for path in [&from, &to] {
            fs::remove_file(path).map_err(Error::io("remove", path))?;
        }
        Ok(())
    }

    /// Where the copy with this number lies.
    pub fn place(&self, number: usize) -> PathBuf {
        self.directory.join(format!("{number:08}"))
    }
}

impl Drop for Clones {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.directory) {
            tracing::warn!(path = %self.directory.display(), %error, "copies stay until the next snapshot");
        }
        // Stays while a restore uses it.
        if let Some(hidden) = self.directory.parent()
            && let Some(home) = hidden.parent()
        {
            quietly(home, || fs::remove_dir(hidden).ok());
        }
    }
}

/// All of the file as it is at one moment: nobody writes to it meanwhile. Gives its size. Leaves nothing where it fails.
pub(super) fn clone(source: &File, to: &Path) -> io::Result<u64> {
    let target = File::options().read(true).write(true).create(true).truncate(true).open(to)?;
    match rustix::fs::ioctl_ficlone(&target, source) {
        Ok(()) => Ok(target.metadata()?.len()),
        Err(errno) => {
            fs::remove_file(to)?;
            Err(errno.into())
        }
    }
}
