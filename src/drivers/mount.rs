//! Mounts: directories that hold files. Tested here; indexed, scanned in the hold and swapped in the files below.
//!
//! **Invariant:** a mount is worked on at its canonical path, so that a declared symbolic link stays one; below its root
//! no link is followed. What a restore needs beside it lies in `.stillpoint/`, on the same file system and closed to
//! everybody else: in the mount's parent, or at the top of a mount that is a mount point. There it is left out of
//! everything.

mod both;
mod carry;
mod children;
mod clones;
mod compare;
mod databases;
mod found;
mod index;
mod journal;
mod nested;
mod paths;
mod points;
mod provision;
mod renewal;
mod scan;
mod stage;
mod swap;
#[cfg(test)]
pub(super) mod tests;
mod walk;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::Access;

use self::clones::Clones;
use self::index::Databases;
use self::journal::Journal;
use self::nested::Inner;
use self::points::Way;
use super::Error;
use crate::domain::Bytes;
use crate::domain::environment::MountSpec;

pub use databases::Settled;
pub use index::{Contents, Index};
pub use journal::NoJournal;
pub use points::mount_point_in;
pub use provision::{make_directory, remove_directory};
pub use scan::{Scan, StagingLimits};
pub(super) use swap::copy_attributes;
pub use swap::{MountAside, MountBeside};

/// Where everything lies that a restore keeps beside a mount.
pub const BESIDE: &str = ".stillpoint";

#[derive(Debug, Clone)]
pub struct Mount {
    spec: MountSpec,
    /// Relative, plain, none below another. Inner mounts are among them.
    exclude: Vec<PathBuf>,
    /// Other mounts that lie inside this one.
    inner: Vec<Inner>,
    /// Another mount at the same place.
    twin: Option<PathBuf>,
}

/// What a mount must keep clear of (R6). Paths that don't exist are compared as they are written.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Directories that the operator allowed; a mount must lie in one of them, so none means no mount at all.
    pub roots: Vec<PathBuf>,
    /// Our own; restoring over it would be the end.
    pub data: Option<PathBuf>,
    /// Every mount of other environments and projects. One of the same environment may lie inside another one.
    pub mounts: Vec<PathBuf>,
    /// Files of declared databases: they are services of their own.
    pub databases: Vec<PathBuf>,
}

/// What the connection test found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountTested {
    /// Where the declared path really leads.
    pub root: PathBuf,
    /// Space that a restore beside it may use.
    pub free: Bytes,
}

impl Mount {
    /// # Errors
    /// [`Error::NotAbsolute`]; [`Error::InvalidExclude`] for one that is not a plain path below the mount.
    pub fn connect(spec: &MountSpec) -> Result<Self, Error> {
        let path = PathBuf::from(&spec.path);
        if !path.is_absolute() {
            return Err(Error::NotAbsolute { path });
        }
        let exclude = spec.exclude.iter().map(|text| plain(text)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { spec: spec.clone(), exclude: outermost(exclude), inner: Vec::new(), twin: None })
    }

    pub fn spec(&self) -> &MountSpec {
        &self.spec
    }

    /// Paths below the root that are left out, in order, none below another.
    pub fn excluded(&self) -> &[PathBuf] {
        &self.exclude
    }

    /// The directory itself, links resolved.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::NotADirectory`].
    pub fn root(&self) -> Result<PathBuf, Error> {
        let declared = Path::new(&self.spec.path);
        let root = declared.canonicalize().map_err(Error::reading("look at", declared))?;
        if !root.is_dir() {
            return Err(Error::NotADirectory { path: root });
        }
        Ok(root)
    }

    /// Really tries what a snapshot and a restore need. Leaves nothing behind.
    ///
    /// # Errors
    /// Each cause by its own name, with what to do.
    pub fn test(&self, rules: &Rules) -> Result<MountTested, Error> {
        let root = self.root()?;
        self.check_rules(&root, rules)?;
        let denied = |access: Access| rustix::fs::access(&root, access).map_err(io::Error::from);
        denied(Access::READ_OK | Access::EXEC_OK).map_err(|source| Error::Unreadable { path: root.clone(), source })?;
        fs::read_dir(&root).map_err(Error::reading("list", &root))?;
        denied(Access::WRITE_OK).map_err(|source| Error::NotWritable { path: root.clone(), source })?;
        match points::way(&root, &self.exclude) {
            Ok(Way::Whole) => {}
            Ok(Way::Entries) => {
                let out = self.left_out(&root)?;
                let stays = |name: &OsStr| name == BESIDE || out.iter().any(|out| out.as_os_str() == name);
                children::check_movable(&root, &stays)?;
            }
            // Nothing can be tried on a full disk. A snapshot needs no space there, and a restore says so by itself.
            Err(Error::Full { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(MountTested { free: free(&root)?, root })
    }

    /// Bytes that a restore beside the mount may use.
    ///
    /// # Errors
    /// As [`Mount::root`].
    pub fn free(&self) -> Result<Bytes, Error> {
        free(&self.root()?)
    }

    /// Every entry's metadata.
    ///
    /// # Errors
    /// [`Error::Unreadable`], naming the directory; [`Error::NestedMountPoint`].
    pub fn index(&self) -> Result<Index, Error> {
        let root = self.root()?;
        let index = Index::take(&root, &self.left_out(&root)?, Err(NoJournal::NotAsked), Databases::Files)?;
        Ok(self.named(index))
    }

    /// The same, with a journal of what changes from now on: taken before pass 1, so that [`Index::changes`] can say in
    /// the hold what pass 1 may have missed. Where no journal can be kept, it scans. SQLite databases are recognised and
    /// left out of it: the hold opens views of them.
    ///
    /// # Errors
    /// As [`Mount::index`].
    pub fn follow(&self) -> Result<Index, Error> {
        let root = self.root()?;
        let exclude = self.left_out(&root)?;
        let clones = Clones::make(&root, self.excluded());
        let mut index = Index::take(&root, &exclude, Journal::start(&root, &exclude), Databases::Recognised)?;
        index.clones = clones;
        Ok(self.named(index))
    }

    /// With what is left out in words.
    fn named(&self, mut index: Index) -> Index {
        index.said = index.exclude.iter().filter_map(|out| self.says_of(out)).collect();
        index
    }

    /// What is excluded, and what belongs to the file system that is mounted there.
    fn left_out(&self, root: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut out = self.exclude.clone();
        let theirs = PathBuf::from("lost+found");
        if !out.contains(&theirs) && root.join(&theirs).is_dir() && points::is_point(root)? {
            out.push(theirs);
        }
        Ok(out)
    }

    fn check_rules(&self, root: &Path, rules: &Rules) -> Result<(), Error> {
        let path = || root.to_owned();
        if !rules.roots.iter().any(|allowed| root.starts_with(real(allowed))) {
            return Err(Error::OutsideRoots { path: path() });
        }
        if let Some(data) = rules.data.as_deref().map(real).filter(|data| overlap(root, data)) {
            return Err(Error::DataDirectory { path: path(), data });
        }
        let others = rules.mounts.iter().map(|other| real(other)).filter(|other| overlap(root, other));
        if let Some(other) = others.chain(self.twin.clone()).next() {
            return Err(Error::Overlap { path: path(), other });
        }
        let inside = |database: &PathBuf| {
            database.strip_prefix(root).is_ok_and(|below| !self.exclude.iter().any(|out| below.starts_with(out)))
        };
        match rules.databases.iter().map(|database| real(database)).find(inside) {
            Some(database) => Err(Error::DatabaseInside { path: path(), database }),
            None => Ok(()),
        }
    }
}

/// Parses one exclude: relative, of plain names only.
fn plain(text: &str) -> Result<PathBuf, Error> {
    let refuse = |why| Err(Error::InvalidExclude { exclude: text.to_owned(), why });
    let path = Path::new(text);
    if text.is_empty() || path.as_os_str().as_bytes().contains(&0) {
        return refuse("it is empty; name a path below the mount, e.g. `cache`");
    }
    if text.contains(['*', '?']) {
        return refuse("patterns are not understood; name the directory or file itself, e.g. `cache`");
    }
    match path.components().all(|part| matches!(part, Component::Normal(_))) {
        true => Ok(path.components().collect()),
        false => refuse("it must be relative to the mount, without `.` and `..`, e.g. `cache`"),
    }
}

/// In order; what lies below another one goes with it.
fn outermost(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort();
    paths.dedup_by(|later, earlier| later.starts_with(earlier));
    paths
}

/// Links resolved as far as the path exists.
fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        _ => path.to_owned(),
    }
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn free(root: &Path) -> Result<Bytes, Error> {
    let stat = rustix::fs::statvfs(root).map_err(Error::io("ask for the free space of", root))?;
    Ok(Bytes(stat.f_bavail.saturating_mul(stat.f_frsize)))
}
