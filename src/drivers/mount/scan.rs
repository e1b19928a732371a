//! Inside the hold: what differs from the index, and copies of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use super::clones::CLONED_FROM;
use super::compare::{Difference, path_of};
use super::databases::Viewed;
use super::index::{Index, TICK, is_recent, now};
use super::stage::{self, Stage, Staged};
use super::walk::{Tree, in_parallel};
use crate::domain::Bytes;
use crate::domain::tree::{FileKind, Override, Stamp, TreeChanges};
use crate::drivers::{Error, StagingLimit};

/// What the hold can bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagingLimits {
    pub bytes: Bytes,
    /// For scan and copies together.
    pub time: Duration,
}

/// No deadline: nobody waits.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// A mount in the hold.
#[derive(Debug)]
pub struct Scan {
    pub changes: TreeChanges,
    started: i64,
    seen: Difference,
    /// When the journal named what to look at: how the files that have several names stood, in the index's order.
    linked: Option<Vec<Option<Stamp>>>,
    pub(super) viewed: Vec<Viewed>,
    /// Databases that SQLite refused, as files.
    refused: Vec<(PathBuf, Stamp)>,
    pub(super) limits: Vec<String>,
}

impl Scan {
    /// Whether only what the journal named was looked at.
    pub fn by_journal(&self) -> bool {
        self.linked.is_some()
    }
}

/// What was recorded before the hold, and is still so as long as the stamp is.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    recorded: HashMap<PathBuf, (Stamp, Override)>,
    /// Names of copies.
    next: usize,
    /// Of all copies, taken over or not: they fill the worker's disk until the snapshot is stored.
    bytes: Bytes,
}

/// What is beyond that is left to the hold, which has a limit of its own.
const MOST_AHEAD: Bytes = Bytes(1 << 30);

/// Larger files are copied in the hold alone: while they grow, each copy is in vain. There they may be cloned.
const LARGEST_AHEAD: Bytes = CLONED_FROM;

impl Index {
    /// To be called right before the hold, again and again as long as that finds much: records what has changed so far,
    /// so that the hold copies only what changes after that. Copies go to `staging`, the same directory each time. Gives
    /// how much was recorded; nothing where there is no journal.
    ///
    /// # Errors
    /// As [`Index::changes`].
    pub fn record_ahead(&self, staging: &Path) -> Result<usize, Error> {
        let Some(touched) = self.journal.as_ref().ok().and_then(|journal| journal.all().ok()) else { return Ok(0) };
        let started = now();
        let tree = Tree::open(&self.path, &self.left_out)?;
        let seen = self.compare_touched(&tree, self.files_of(touched), None)?;
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |path: &Path, stamp: &Stamp| {
            let known = ahead.recorded.get(path).is_some_and(|(known, _)| known == stamp);
            let large = stamp.bytes() > LARGEST_AHEAD;
            // Of what was written just now, another write would not show.
            !(known || large || is_recent(stamp, started))
        };
        let mut bytes = ahead.bytes;
        let within = |(_, stamp): &(&PathBuf, &Stamp)| {
            bytes = bytes + stamp.bytes();
            bytes <= MOST_AHEAD
        };
        let wanted: Vec<_> = seen.changed.iter().filter(|(path, stamp)| fits(path, stamp)).take_while(within).collect();
        let copied: Bytes = wanted.iter().map(|(_, stamp)| stamp.bytes()).sum();
        let numbered: Vec<_> = (ahead.next..).zip(wanted).collect();
        if self.clones.is_some() {
            for (path, _) in seen.changed.iter().filter(|(_, stamp)| stamp.is_file() && stamp.bytes() > CLONED_FROM) {
                stage::sync(&tree, path);
            }
        }
        let (deadline, spare) = (Instant::now() + FAR, AtomicU64::new(0));
        let stage = Stage { tree: &tree, directory: staging, deadline, clones: None, spare };
        let recorded = in_parallel(&numbered, |(number, (path, stamp))| {
            let Staged::Recorded(recorded) = stage.record(*number, path, stamp)? else { return Ok(None) };
            let stands = if path.as_os_str().is_empty() {
                Some(Tree::open(&self.path, &self.left_out)?.stamp)
            } else {
                tree.stamp_of(path.as_os_str().as_bytes())?
            };
            Ok((stands == Some(**stamp)).then_some(recorded))
        })?;
        ahead.next += numbered.len();
        ahead.bytes = ahead.bytes + copied;
        let done = recorded.into_iter().zip(&numbered).filter_map(|(recorded, (_, (path, stamp)))| {
            recorded.map(|recorded| ((*path).clone(), (**stamp, recorded)))
        });
        ahead.recorded.extend(done);
        Ok(numbered.len())
    }

    /// To be called inside the hold: finds what differs from this index and copies changed files into `staging`, an
    /// empty directory of its own. Looks at what the journal names, or at everything where there is none.
    ///
    /// # Errors
    /// [`Error::TooMuchChanged`] past the limits; [`Error::Full`]; [`Error::Unreadable`], naming the file.
    pub fn changes(&self, staging: &Path, limits: StagingLimits) -> Result<Scan, Error> {
        let deadline = Instant::now() + limits.time;
        let started = now();
        let tree = Tree::open(&self.path, &self.left_out)?;
        let in_time = Some((deadline, limits.time));
        let positions = self.databases.positions();
        let (seen, linked) = match self.journal.as_ref().map(|journal| journal.all()) {
            Ok(Ok(touched)) => {
                (self.compare_touched(&tree, self.files_of(touched), in_time)?, Some(self.linked_now(&tree)?))
            }
            Ok(Err(_)) | Err(_) => (self.compare(&tree, in_time)?, None),
        };

        let (clones, spare) = (self.clones.as_ref(), AtomicU64::new(0));
        let stage = Stage { tree: &tree, directory: staging, deadline, clones, spare };
        let databases = self.open_views(&stage, positions, seen.changed.iter())?;
        let mut scan = Scan {
            changes: TreeChanges { removed: seen.removed.clone(), overrides: BTreeMap::new() },
            started,
            seen,
            linked,
            viewed: databases.viewed,
            refused: databases.files,
            limits: databases.limits,
        };
        scan.changes.removed.extend(databases.removed);
        let (seen, linked) = (&scan.seen, &scan.linked);

        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = |path: &Path, stamp: &Stamp| {
            let found = ahead.recorded.get(path).filter(|(known, _)| known == stamp && linked.is_some());
            found.map(|(_, recorded)| recorded.clone())
        };
        let (done, to_do): (Vec<_>, Vec<_>) = seen
            .changed
            .iter()
            .filter(|(path, _)| !scan.is_of_database(path))
            .chain(scan.refused.iter().map(|(path, stamp)| (path, stamp)))
            .map(|(path, stamp)| (path, stamp, recorded(path, stamp)))
            .partition(|it| it.2.is_some());
        let copied = || to_do.iter().filter(|(_, stamp, _)| !stage.clones(stamp));
        let bytes: Bytes = copied().map(|(_, stamp, _)| stamp.bytes()).sum();
        let files = copied().filter(|(_, stamp, _)| stamp.is_file()).count() as u64;
        let too_much = |limit| Error::TooMuchChanged { path: self.path.clone(), files, bytes, limit };
        if bytes > limits.bytes {
            return Err(too_much(StagingLimit::Bytes(limits.bytes)));
        }
        stage.spare.store(limits.bytes.0 - bytes.0, std::sync::atomic::Ordering::Relaxed);
        let mut changes = std::mem::take(&mut scan.changes);
        changes.overrides.extend(done.into_iter().filter_map(|(path, _, recorded)| Some((path.clone(), recorded?))));
        let record = |changes: &mut TreeChanges, changed: Vec<(usize, (&PathBuf, &Stamp))>| {
            let staged =
                in_parallel(&changed, |(number, (path, stamp))| match stage.record(*number, path, stamp)? {
                    Staged::Late => Err(too_much(StagingLimit::Time(limits.time))),
                    Staged::TooMuch => Err(Error::TooMuchChanged {
                        path: self.path.clone(),
                        files: files + 1,
                        bytes: bytes + stamp.bytes(),
                        limit: StagingLimit::Bytes(limits.bytes),
                    }),
                    Staged::Gone => Ok(None),
                    Staged::Recorded(recorded) => Ok(Some(recorded)),
                })?;
            for (recorded, (_, (path, _))) in staged.into_iter().zip(changed) {
                match recorded {
                    Some(recorded) => drop(changes.overrides.insert(path.clone(), recorded)),
                    // Vanished between look and copy. What was never indexed needs no removal, and does no harm either.
                    None => drop(changes.removed.insert(path.clone())),
                }
            }
            Ok(())
        };
        record(&mut changes, to_do.into_iter().map(|(path, stamp, _)| (path, stamp)).enumerate().collect())?;
        let others = self.other_names(&tree, seen, &changes)?;
        let next = seen.changed.len() + scan.refused.len();
        record(&mut changes, (next..).zip(&others).collect())?;
        scan.changes = changes;
        Ok(scan)
    }

    /// Nobody tells of a name that it got a second one elsewhere: so that both are one file in the snapshot, all names of
    /// changed files are recorded.
    fn other_names(
        &self,
        tree: &Tree,
        seen: &Difference,
        changes: &TreeChanges,
    ) -> Result<BTreeMap<PathBuf, Stamp>, Error> {
        let linked = |recorded: &&Override| recorded.meta.kind == FileKind::File && recorded.meta.links > 1;
        let inodes: HashSet<u64> =
            changes.overrides.values().filter(linked).map(|recorded| recorded.meta.inode).collect();
        if inodes.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut others = BTreeMap::new();
        for name in self.names_of(&inodes) {
            let path = path_of(name);
            if seen.changed.contains_key(&path) || seen.removes(&path) {
                continue;
            }
            let stamp = tree.stamp_of(path.as_os_str().as_bytes())?;
            others.extend(stamp.filter(|stamp| inodes.contains(&stamp.inode)).map(|stamp| (path, stamp)));
        }
        Ok(others)
    }

    fn linked_now(&self, tree: &Tree) -> Result<Vec<Option<Stamp>>, Error> {
        in_parallel(&self.linked, |path| tree.stamp_of(path))
    }

    /// To be called inside the hold once all views are open: what was written since [`Index::changes`], by somebody who
    /// goes round the gate (R16). Empty when nothing moved.
    ///
    /// # Errors
    /// As [`Index::changes`].
    pub fn moved_since(&self, scan: &Scan) -> Result<Vec<PathBuf>, Error> {
        let tree = Tree::open(&self.path, &self.left_out)?;
        let touched = self.journal.as_ref().ok().and_then(|journal| journal.news().ok());
        let mut moved: BTreeSet<PathBuf> = match (&scan.linked, touched) {
            (Some(before), Some(touched)) => {
                let linked = self.linked_now(&tree)?;
                let differ = self.linked.iter().zip(before.iter().zip(&linked)).filter(|(_, (was, is))| was != is);
                let linked = differ.map(|(path, _)| path_of(path.clone()));
                touched.entries.into_iter().chain(touched.trees).map(path_of).chain(linked).collect()
            }
            // A journal that ended just now: entries that lie too close to the index to be sure may be named wrongly.
            _ => scan.seen.against(&self.compare(&tree, None)?),
        };
        // Written just before the scan: a second write within the same tick would not show. Few: compare their bytes.
        // A journal tells every write, but not those through other names.
        let linked: HashSet<&[u8]> = self.linked.iter().map(Vec::as_slice).collect();
        let recent: Vec<_> = scan
            .changes
            .overrides
            .iter()
            .filter(|(path, _)| !moved.contains(*path))
            .filter(|(path, _)| scan.linked.is_none() || linked.contains(path.as_os_str().as_bytes()))
            .filter(|(path, _)| scan.seen.changed.get(*path).is_some_and(|stamp| is_recent(stamp, scan.started)))
            .filter_map(|(path, recorded)| Some((path, recorded.staged.as_ref()?)))
            .collect();
        let differ = in_parallel(&recent, |(path, staged)| {
            Ok((!stage::same_bytes(&tree, path, staged)?).then(|| (*path).clone()))
        })?;
        moved.extend(differ.into_iter().flatten());
        for (path, was) in &scan.refused {
            if tree.stamp_of(path.as_os_str().as_bytes())? != Some(*was) {
                moved.insert(path.clone());
            }
        }
        moved.retain(|path| !scan.is_of_database(path));
        moved.extend(scan.databases_moved());
        Ok(moved.into_iter().collect())
    }

    /// To be called after the hold when nothing moved in it: what had changed before it and no journal tells of: written
    /// through a memory map, or through a second name that is gone again. The snapshot holds it as it was before. Nothing
    /// to find where everything was scanned. What was written again since is not found.
    ///
    /// # Errors
    /// As [`Index::changes`].
    pub fn unseen(&self, scan: &Scan) -> Result<Vec<PathBuf>, Error> {
        if !scan.by_journal() {
            return Ok(Vec::new());
        }
        let tree = Tree::open(&self.path, &self.left_out)?;
        let present = self.compare(&tree, None)?;
        // Times are taken from the kernel's tick: of what was written right after the hold, they may say before it.
        let later = self.journal.as_ref().ok().and_then(|journal| journal.news().ok());
        let since = if later.is_some() { scan.started } else { scan.started - TICK };
        let later = later.unwrap_or_default().entries;
        let unseen = present.changed.into_iter().filter(|(path, is)| {
            let written = is.is_file() && is.ctime < since && scan.seen.changed.get(path) != Some(is);
            let written = written && !later.contains(path.as_os_str().as_bytes());
            // A second name elsewhere changes the change time alone.
            let written = written && !scan.is_of_database(path);
            written && self.stamp_of(path).is_none_or(|was| Stamp { ctime: is.ctime, ..was } != *is)
        });
        Ok(unseen.map(|(path, _)| path).collect())
    }
}
