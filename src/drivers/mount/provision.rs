//! Directories for a new environment: made empty, and taken away whole.

use std::fs;
use std::io;
use std::path::Path;

use super::swap::{copy_attributes, remove_tree};
use super::{Error, Mount};

impl Mount {
    /// Makes the mount's directory, empty, with owner, permissions and attributes of `like`.
    ///
    /// # Errors
    /// [`Error::Exists`]; when it can't be made.
    pub fn provision(&self, like: &Path) -> Result<(), Error> {
        let path = Path::new(&self.spec().path);
        make_directory(path)?;
        copy_attributes(like, path)
    }
}

/// Makes the directory in which everything of a new environment lies; those above it may be missing too.
///
/// # Errors
/// [`Error::Exists`]; when it can't be made.
pub fn make_directory(path: &Path) -> Result<(), Error> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above).map_err(Error::io("create", above))?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Error::Exists { path: path.to_owned() }),
        made => made.map_err(Error::io("create", path)),
    }
}

/// Takes away what [`make_directory`] made, with everything in it; not there: nothing to do. Follows no link.
///
/// # Errors
/// When something in it can't be removed.
pub fn remove_directory(path: &Path) -> Result<(), Error> {
    remove_tree(path)
}
