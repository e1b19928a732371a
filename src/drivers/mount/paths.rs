//! Replacing single paths of a mount (R26): a file, or a directory with everything in it.
//!
//! **Invariant:** nothing else of the mount is touched. What moves is chosen before the load and noted: where directories
//! on the way to a path are missing, the first of them is made and taken back together with the path.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::index::{Contents, Index};
use super::swap::MountBeside;
use super::walk::Tree;
use super::{Mount, carry, points};
use crate::domain::{ActivityId, MountPath};
use crate::drivers::{Error, sqlite};

/// What moves for one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Point {
    /// From the top.
    pub path: String,
    /// It is only a directory on the way to the path, and did not exist.
    made: bool,
}

impl Mount {
    /// As [`Mount::beside_dir`], for a restore that replaces these paths alone.
    ///
    /// # Errors
    /// [`Error::CannotSwap`] for what is excluded, and where something else than directories lead to a path.
    pub fn beside_paths(&self, activity: &ActivityId, paths: &[MountPath]) -> Result<MountBeside, Error> {
        let root = self.root()?;
        let way = points::way(&root, self.excluded())?;
        let live = Tree::open(&root, &[])?;
        let mut points: Vec<Point> = Vec::new();
        for path in paths {
            if let Some(inner) = self.inner_of(Path::new(path.as_str())) {
                let below = Path::new(path.as_str()).strip_prefix(&inner.path).unwrap_or(Path::new(""));
                let instead = match below.to_str() {
                    Some(below) if !below.is_empty() => format!("mount:{}/{below}", inner.name),
                    _ => format!("mount:{}", inner.name),
                };
                let why = format!("`{path}` belongs to the mount {}, so name it as `{instead}`", inner.name);
                return Err(Error::CannotSwap { path: root, why });
            }
            let out = self.left_out(&root)?;
            if let Some(out) = out.iter().find(|out| Path::new(path.as_str()).starts_with(out)) {
                let why = format!("`{}` is excluded, so that no restore touches `{path}`", out.display());
                return Err(Error::CannotSwap { path: root, why });
            }
            let path = Path::new(path.as_str());
            // A log that stays would be played back into whatever file takes its database's name.
            let logs = sqlite::BESIDE.iter().map(|suffix| sqlite::name_beside(path, suffix));
            let is_directory = live.stamp_of(path.as_os_str().as_bytes())?.is_some_and(|stamp| stamp.is_directory());
            for path in std::iter::once(path.to_owned()).chain(logs.filter(|_| !is_directory)) {
                let is_asked = paths.iter().any(|asked| Path::new(asked.as_str()) == path);
                if !is_asked && live.stamp_of(path.as_os_str().as_bytes())?.is_none() {
                    continue;
                }
                let point = point(&live, &path)?;
                if !points.contains(&point) {
                    points.push(point);
                }
            }
        }
        self.beside_by(way, root, activity, points)
    }
}

fn point(live: &Tree, path: &Path) -> Result<Point, Error> {
    let mut ways: Vec<&Path> = path.ancestors().skip(1).filter(|way| !way.as_os_str().is_empty()).collect();
    ways.reverse();
    for way in ways {
        let name = |way: &Path| way.to_string_lossy().into_owned();
        match live.stamp_of(way.as_os_str().as_bytes())? {
            Some(stamp) if stamp.is_directory() => {}
            Some(_) => {
                let why = format!("`{0}` is no directory there: restore `{0}` itself", way.display());
                return Err(Error::CannotSwap { path: live.path.clone(), why });
            }
            None => return Ok(Point { path: name(way), made: true }),
        }
    }
    Ok(Point { path: path.to_string_lossy().into_owned(), made: false })
}

/// In the hold: is the way to each path as it was when the load began?
///
/// # Errors
/// [`Error::CannotSwap`]: another try will see what is there now.
pub(super) fn still_fits(beside: &MountBeside) -> Result<(), Error> {
    let live = Tree::open(&beside.root, &[])?;
    for was in &beside.points {
        let path = Path::new(&was.path);
        let now = point(&live, path)?;
        let appeared = was.made && carry::inode_below(&live, path)?.is_some();
        if now.path != was.path || appeared {
            let why = format!("`{}` came or went while the restore was loading: restore again", was.path);
            return Err(Error::CannotSwap { path: beside.root.clone(), why });
        }
    }
    Ok(())
}

impl Index {
    /// What lies at a path; `None` where nothing does, or only what is left out.
    pub fn contents_at(&self, path: &MountPath) -> Option<Contents> {
        let stamp = self.stamp_of(Path::new(path.as_str()))?;
        if !stamp.is_directory() {
            return Some(Contents::of(std::iter::once(&stamp)));
        }
        let top = PathBuf::from(path.as_str());
        let below = self
            .directories
            .iter()
            .filter(|directory| Path::new(std::ffi::OsStr::from_bytes(&directory.path)).starts_with(&top));
        Some(Contents::of(below.flat_map(|directory| self.entries_of(directory).map(|(_, stamp)| stamp))))
    }
}
