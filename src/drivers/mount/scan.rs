//! Inside the hold: what differs from the index, and copies of it.
//!
//! **Invariant:** whatever was changed after the index looked at it is found. Its change time, which no program can set,
//! differs from the indexed one, or lies so close to the index's start that it counts as changed anyway. What this can't
//! see: writes through a memory map made long before, and machines without a clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::index::{Directory, Index, is_recent, now};
use super::stage::{self, Stage, Staged};
use super::walk::{Tree, in_parallel, join};
use crate::domain::Bytes;
use crate::domain::tree::{Stamp, TreeChanges};
use crate::drivers::{Error, StagingLimit};

/// What the hold can bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagingLimits {
    pub bytes: Bytes,
    /// For scan and copies together.
    pub time: Duration,
}

/// A mount in the hold.
#[derive(Debug)]
pub struct Scan {
    pub changes: TreeChanges,
    started: i64,
    seen: Difference,
}

/// What differs from the index, as the scan saw it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    removed: BTreeSet<PathBuf>,
    changed: BTreeMap<PathBuf, Stamp>,
}

/// One directory's part of it.
#[derive(Default)]
struct Found {
    removed: Vec<Vec<u8>>,
    changed: Vec<(Vec<u8>, Stamp)>,
    /// Directories that the index does not know.
    fresh: Vec<Vec<u8>>,
}

impl Index {
    /// To be called inside the hold: finds what differs from this index and copies changed files into `staging`, an
    /// empty directory of its own.
    ///
    /// # Errors
    /// [`Error::TooMuchChanged`] past the limits; [`Error::Full`]; [`Error::Unreadable`], naming the file.
    pub fn changes(&self, staging: &Path, limits: StagingLimits) -> Result<Scan, Error> {
        let deadline = Instant::now() + limits.time;
        let started = now();
        let tree = Tree::open(&self.path, &self.exclude)?;
        let seen = self.compare(&tree, Some((deadline, limits.time)))?;

        let changed: Vec<_> = seen.changed.iter().enumerate().collect();
        let files = changed.iter().map(|(_, (_, stamp))| *stamp).filter(|stamp| stamp.is_file());
        let bytes: Bytes = files.clone().map(|stamp| Bytes(stamp.size)).sum();
        let files = files.count() as u64;
        let too_much = |limit| Error::TooMuchChanged { path: self.path.clone(), files, bytes, limit };
        if bytes > limits.bytes {
            return Err(too_much(StagingLimit::Bytes(limits.bytes)));
        }
        let stage = Stage { tree: &tree, directory: staging, deadline };
        let staged = in_parallel(&changed, |(number, (path, stamp))| match stage.record(*number, path, stamp)? {
            Staged::Late => Err(too_much(StagingLimit::Time(limits.time))),
            Staged::Gone => Ok(None),
            Staged::Recorded(recorded) => Ok(Some(recorded)),
        })?;

        let mut changes = TreeChanges { removed: seen.removed.clone(), overrides: BTreeMap::new() };
        for (recorded, (_, (path, _))) in staged.into_iter().zip(&changed) {
            match recorded {
                Some(recorded) => drop(changes.overrides.insert((*path).clone(), recorded)),
                // Vanished between scan and copy. What was never indexed needs no removal, and does no harm either.
                None => drop(changes.removed.insert((*path).clone())),
            }
        }
        Ok(Scan { changes, started, seen })
    }

    /// To be called inside the hold once all views are open: what was written since the scan, by somebody who goes round
    /// the gate (R16). Empty when nothing moved.
    ///
    /// # Errors
    /// As [`Index::changes`].
    pub fn moved_since(&self, scan: &Scan) -> Result<Vec<PathBuf>, Error> {
        let tree = Tree::open(&self.path, &self.exclude)?;
        let present = self.compare(&tree, None)?;
        let mut moved: BTreeSet<PathBuf> = scan.seen.removed.symmetric_difference(&present.removed).cloned().collect();
        let all = scan.seen.changed.keys().chain(present.changed.keys());
        moved.extend(all.filter(|path| scan.seen.changed.get(*path) != present.changed.get(*path)).cloned());

        // Written just before the scan: a second write within the same tick would not show. Few: compare their bytes.
        let recent: Vec<_> = scan
            .changes
            .overrides
            .iter()
            .filter(|(path, _)| !moved.contains(*path))
            .filter(|(path, _)| scan.seen.changed.get(*path).is_some_and(|stamp| is_recent(stamp, scan.started)))
            .filter_map(|(path, recorded)| Some((path, recorded.staged.as_ref()?)))
            .collect();
        let differ = in_parallel(&recent, |(path, staged)| {
            Ok((!stage::same_bytes(&tree, path, staged)?).then(|| (*path).clone()))
        })?;
        moved.extend(differ.into_iter().flatten());
        Ok(moved.into_iter().collect())
    }

    fn compare(&self, tree: &Tree, limit: Option<(Instant, Duration)>) -> Result<Difference, Error> {
        let in_time = || match limit {
            Some((deadline, within)) if Instant::now() > deadline => {
                Err(Error::ScanTooSlow { path: self.path.clone(), within })
            }
            _ => Ok(()),
        };
        let mut difference = Difference::default();
        if tree.stamp != self.root || self.is_ambiguous(&tree.stamp) {
            difference.changed.insert(PathBuf::new(), tree.stamp);
        }
        let mut found = in_parallel(&self.directories, |directory| {
            in_time()?;
            self.compare_directory(tree, directory)
        })?;
        loop {
            let mut fresh = Vec::new();
            for found in found {
                let path = |bytes: Vec<u8>| PathBuf::from(OsStr::from_bytes(&bytes));
                difference.removed.extend(found.removed.into_iter().map(path));
                difference.changed.extend(found.changed.into_iter().map(|(bytes, stamp)| (path(bytes), stamp)));
                fresh.extend(found.fresh);
            }
            if fresh.is_empty() {
                return Ok(difference);
            }
            found = in_parallel(&fresh, |directory| {
                in_time()?;
                list_fresh(tree, directory)
            })?;
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
