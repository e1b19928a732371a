//! What differs between a mount and its index.
//!
//! **Invariant:** whatever was changed after the index looked at it is found. Its change time, which no program can set,
//! differs from the indexed one, or lies so close to the index's start that it counts as changed anyway. What this can't
//! see: writes through a memory map made long before, and machines without a clock.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::index::{Directory, Index};
use super::journal::Touched;
use super::walk::{Tree, in_parallel, join, split};
use crate::domain::tree::Stamp;
use crate::drivers::Error;

/// Until when, and how long that was from the beginning.
type Limit = Option<(Instant, Duration)>;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub removed: BTreeSet<PathBuf>,
    pub changed: BTreeMap<PathBuf, Stamp>,
}

/// One directory's part of it.
#[derive(Default)]
struct Found {
    removed: Vec<Vec<u8>>,
    changed: Vec<(Vec<u8>, Stamp)>,
    /// Directories that the index does not know.
    fresh: Vec<Vec<u8>>,
}

pub(super) fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

impl Difference {
    /// Adds it, and gives the directories that are still to be listed.
    fn take_in(&mut self, found: Vec<Found>) -> Vec<Vec<u8>> {
        let mut fresh = Vec::new();
        for found in found {
            self.removed.extend(found.removed.into_iter().map(path_of));
            self.changed.extend(found.changed.into_iter().map(|(path, stamp)| (path_of(path), stamp)));
            fresh.extend(found.fresh);
        }
        fresh
    }

    /// Whether it is gone, by itself or with a directory above it.
    pub fn removes(&self, path: &Path) -> bool {
        path.ancestors().any(|above| self.removed.contains(above))
    }

    /// What differs between two looks.
    pub fn against(&self, later: &Self) -> BTreeSet<PathBuf> {
        let removed = self.removed.symmetric_difference(&later.removed);
        let all = self.changed.keys().chain(later.changed.keys());
        let changed = all.filter(|path| self.changed.get(*path) != later.changed.get(*path));
        removed.chain(changed).cloned().collect()
    }
}

impl Index {
    /// Looks at every entry.
    pub(super) fn compare(&self, tree: &Tree, limit: Limit) -> Result<Difference, Error> {
        let mut difference = Difference::default();
        self.compare_root(tree, &mut difference);
        let found = in_parallel(&self.directories, |directory| {
            self.in_time(limit)?;
            self.compare_directory(tree, directory)
        })?;
        let mut fresh = difference.take_in(found);
        while !fresh.is_empty() {
            let found = in_parallel(&fresh, |directory| {
                self.in_time(limit)?;
                list_fresh(tree, directory)
            })?;
            fresh = difference.take_in(found);
        }
        Ok(difference)
    }

    /// Looks at what the journal named, and at files that have several names.
    pub(super) fn compare_touched(&self, tree: &Tree, touched: Touched, limit: Limit) -> Result<Difference, Error> {
        let mut difference = Difference::default();
        let mut by_directory: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
        for path in touched.entries.iter().chain(&self.linked) {
            if path.is_empty() {
                self.compare_root(tree, &mut difference);
                continue;
            }
            let (directory, name) = split(path);
            by_directory.entry(directory).or_default().push(name);
        }
        let directories: Vec<_> = by_directory.into_iter().collect();
        let found = in_parallel(&directories, |(directory, names)| {
            self.in_time(limit)?;
            self.compare_names(tree, directory, names)
        })?;
        difference.take_in(found);

        let mut level: Vec<Vec<u8>> = touched.trees.into_iter().collect();
        while !level.is_empty() {
            let found = in_parallel(&level, |directory| {
                self.in_time(limit)?;
                let found = match self.directory(directory) {
                    Some(known) => self.compare_directory(tree, known)?,
                    None => list_fresh(tree, directory)?,
                };
                Ok((found, tree.directories_in(directory)?))
            })?;
            let (found, below): (Vec<_>, Vec<_>) = found.into_iter().unzip();
            difference.take_in(found);
            level = below.into_iter().flatten().collect();
        }
        Ok(difference)
    }

    fn compare_root(&self, tree: &Tree, difference: &mut Difference) {
        if tree.stamp != self.root || self.is_ambiguous(&tree.stamp) {
            difference.changed.insert(PathBuf::new(), tree.stamp);
        }
    }

    fn compare_names(&self, tree: &Tree, directory: &[u8], names: &[&[u8]]) -> Result<Found, Error> {
        let mut found = Found::default();
        let wanted: HashSet<&[u8]> = names.iter().copied().collect();
        let known = self.directory(directory).into_iter().flat_map(|known| self.entries_of(known));
        let known: HashMap<&[u8], &Stamp> = known.filter(|(name, _)| wanted.contains(name)).collect();
        for name in wanted {
            let was = known.get(name).copied();
            match tree.stamp_of(&join(directory, name))? {
                Some(is) if was != Some(&is) || self.is_ambiguous(&is) => found.change(directory, name, was, &is),
                None if was.is_some() => found.removed.push(join(directory, name)),
                _ => {}
            }
        }
        Ok(found)
    }

    fn in_time(&self, limit: Limit) -> Result<(), Error> {
        match limit {
            Some((deadline, within)) if Instant::now() > deadline => {
                Err(Error::ScanTooSlow { path: self.path.clone(), within })
            }
            _ => Ok(()),
        }
    }

    fn compare_directory(&self, tree: &Tree, directory: &Directory) -> Result<Found, Error> {
        let mut found = Found::default();
        let Some(listing) = tree.list(&directory.path)? else { return Ok(found) };
        let known = self.entries_of(directory);

        // Nearly always: the same names in the same order.
        let same = known.len() == listing.len() && known.clone().zip(listing.iter()).all(|(was, is)| was.0 == is.0);
        if same {
            for ((name, was), (_, is)) in known.zip(listing.iter()) {
                if was != is || self.is_ambiguous(is) {
                    found.change(&directory.path, name, Some(was), is);
                }
            }
            return Ok(found);
        }
        let mut known: HashMap<&[u8], &Stamp> = known.collect();
        for (name, is) in listing.iter() {
            let was = known.remove(name);
            if was != Some(is) || self.is_ambiguous(is) {
                found.change(&directory.path, name, was, is);
            }
        }
        found.removed.extend(known.into_keys().map(|name| join(&directory.path, name)));
        Ok(found)
    }
}

impl Found {
    fn change(&mut self, directory: &[u8], name: &[u8], was: Option<&Stamp>, is: &Stamp) {
        let path = join(directory, name);
        if is.is_directory() && !was.is_some_and(Stamp::is_directory) {
            self.fresh.push(path.clone());
        }
        self.changed.push((path, *is));
    }
}

/// Everything in a directory that the index does not know.
fn list_fresh(tree: &Tree, directory: &[u8]) -> Result<Found, Error> {
    let mut found = Found::default();
    for (name, stamp) in tree.list(directory)?.unwrap_or_default().iter() {
        found.change(directory, name, None, stamp);
    }
    Ok(found)
}
