//! Pass 1: the live trees, without a hold.
//!
//! **Invariant:** everything is uploaded and no entry points to it; what could not be taken as it was listed is written
//! down, and the final archive refuses unless the hold saw it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::repofile::{Chunker, SnapshotFile};
use rustic_core::{ConfigOptions, Id, ReadSourceEntry};

use super::archive::{added, roots};
use super::entries::{directory, one, taken_whole};
use super::error::Error;
use super::guard::{Entries, Kept, Tally};
use super::job::Job;
use super::live::{ByDirectory, Contents, Walk};
use super::merge::Merge;
use super::node::node;
use super::source::{self, Large, Later, Once, Open, Unsettled, What};
use super::unchanged::{Unchanged, unchanged};
use super::{Indexed, MOUNTS, Repository, Use, parse};
use crate::domain::ids::MountName;
use crate::domain::tree::{FileKind, TreeIndex};
use crate::domain::{Bytes, Timestamp};

/// Bytes from which on a file may be more than one chunk: the format's shortest chunk.
const LARGE: u64 = 512 << 10;

/// A live tree that pass 1 reads.
pub struct SourceTree {
    pub name: MountName,
    pub root: PathBuf,
    /// Taken before pass 1. What it does not name is left to the hold, which reports it as new: a file that came and
    /// went during pass 1 is known to neither, and would be kept for ever.
    pub index: Arc<dyn TreeIndex>,
}

/// Pass 1: everything is uploaded, and no entry points to it yet.
pub struct Baseline {
    pub(super) kept: Option<Kept>,
    /// Index files at its start.
    pub(super) indexes: BTreeSet<Id>,
    pub(super) mounts: BTreeMap<MountName, MountBase>,
    pub(super) added: Bytes,
}

/// A mount while pass 1 reads it.
struct Watched<'a> {
    tree: &'a SourceTree,
    lost: Unsettled,
    contents: ByDirectory,
    large: Arc<Mutex<Vec<Large>>>,
}

pub(super) struct MountBase {
    pub contents: Arc<BTreeMap<PathBuf, Contents>>,
    pub lost: Vec<source::Lost>,
}

/// What the first round left of a tree: what it contains, what vanished, which large files wait.
type Left<'a> = (&'a SourceTree, Arc<BTreeMap<PathBuf, Contents>>, Unsettled, Vec<Large>);

impl Repository {
    /// Pass 1, without a hold: stores the live trees' data, and no entry. `parent` is the repository's id of an earlier
    /// snapshot of the environment; what has not changed since is not read, and whole directories are not even walked.
    ///
    /// Files that vanish or shrink meanwhile are no error here: [`Repository::archive`] refuses unless the hold saw
    /// them removed or changed.
    pub fn pre_copy(&self, job: &Job, trees: &[SourceTree], parent: Option<&str>) -> Result<Baseline, Error> {
        job.end(self.copy(job, trees, parent))
    }

    fn copy(&self, job: &Job, trees: &[SourceTree], parent: Option<&str>) -> Result<Baseline, Error> {
        job.check()?;
        self.heed_locks()?;
        let kept = Arc::new(Mutex::new(None));
        let indexes = self.index_ids()?;
        let usage = Use { counted: job.clone(), indexes: BTreeSet::new() };
        let (mut repository, tally) = self.session(job, Entries::Keep { kept: kept.clone(), parent: None }, usage)?;
        // For this session only. Below the shortest chunk it cuts as the repository's own does.
        let chunker = ConfigOptions::default().set_chunker(Some(Chunker::FixedSize));
        repository.apply_config(&chunker).map_err(|error| Error::internal("the small files' chunker", error))?;
        let repository = job.pool()?.install(|| self.indexed(repository))?;
        let now = Timestamp::now();
        let mut entries: Vec<Box<dyn Iterator<Item = source::Entry> + Send>> = vec![one(directory(MOUNTS, now)?)];
        let mut sorted: Vec<&SourceTree> = trees.iter().collect();
        sorted.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        let earlier = parent.and_then(|id| parse(id).ok());
        let unchanged = earlier.map(|id| unchanged_since(job, &repository, id, &sorted)).transpose();
        job.check()?;
        let (parents, mut unchanged) = match unchanged {
            Ok(unchanged) => (Vec::from_iter(earlier), unchanged.unwrap_or_default()),
            // As good as none: the library would build on its names of what is lost.
            Err(error) => {
                tracing::warn!(%error, "the earlier snapshot is no help: everything is read");
                Default::default()
            }
        };
        let mut watched = Vec::new();
        for tree in sorted {
            let unchanged = unchanged.remove(&tree.name).unwrap_or_default();
            let walk = Walk::new(job, &tree.root, tree.index.clone(), unchanged)?;
            let (lost, contents, large) = (walk.lost.clone(), walk.contents.clone(), Arc::default());
            entries.push(Box::new(live(job, &tally, &tree.name, walk, &large)));
            watched.push(Watched { tree, lost, contents, large });
        }
        let source = Once::new(job, entries.into_iter().flatten());
        let stored = self.run(job, &repository, &source, SnapshotFile::default(), &parents)?;
        drop(repository);
        let first = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut baseline = Baseline { kept: first, indexes, mounts: BTreeMap::new(), added: added(&stored) };
        let mut left = Vec::new();
        for Watched { tree, lost, contents, large } in watched {
            let contents = Arc::new(std::mem::take(&mut *contents.lock().unwrap_or_else(PoisonError::into_inner)));
            let large = std::mem::take(&mut *large.lock().unwrap_or_else(PoisonError::into_inner));
            left.push((tree, contents.clone(), lost.clone(), large));
            baseline.mounts.insert(tree.name.clone(), MountBase { contents, lost: Vec::new() });
        }
        let unsettled: Vec<(MountName, Unsettled)> =
            left.iter().map(|(tree, _, lost, _)| (tree.name.clone(), lost.clone())).collect();
        if left.iter().any(|(.., large)| !large.is_empty()) {
            self.copy_large(job, &mut baseline, left, now)?;
        }
        for (name, lost) in unsettled {
            if let Some(mount) = baseline.mounts.get_mut(&name) {
                mount.lost = std::mem::take(&mut *lost.lock().unwrap_or_else(PoisonError::into_inner));
            }
        }
        Ok(baseline)
    }

    /// The second round of pass 1. The library's chunker makes a table for every file that it opens, which for small ones
    /// is most of the work: so the first round has a chunker without, and leaves out what that one would cut differently.
    fn copy_large(&self, job: &Job, baseline: &mut Baseline, left: Vec<Left<'_>>, now: Timestamp) -> Result<(), Error> {
        let Some(first) = baseline.kept.clone() else { return Ok(()) };
        let kept = Arc::new(Mutex::new(None));
        // Kept files were counted in the first round.
        let usage = Use::reading();
        let entries = Entries::Keep { kept: kept.clone(), parent: Some(first.clone()) };
        let (repository, tally) = self.session(job, entries, usage)?;
        let repository = Arc::new(job.pool()?.install(|| self.indexed(repository))?);
        let mut roots = roots(job, &repository, first.id)?;
        let mut entries: Vec<Box<dyn Iterator<Item = source::Entry> + Send>> = vec![one(directory(MOUNTS, now)?)];
        for (tree, contents, lost, large) in left {
            let Some(base) = roots.remove(tree.name.as_str()) else { continue };
            let merge = Merge::with_large(job, &repository, &tree.root, contents, base, large)?;
            let at = Path::new(MOUNTS).join(tree.name.as_str());
            let (job, tally, root) = (job.clone(), tally.clone(), tree.root.clone());
            entries.push(Box::new(merge.map(move |merged| merged.entry(&job, &tally, &at, &root, &lost))));
        }
        let source = Once::new(job, entries.into_iter().flatten());
        let stored = self.run(job, &repository, &source, SnapshotFile::default(), &[first.id])?;
        baseline.kept = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        baseline.added = baseline.added + added(&stored);
        Ok(())
    }
}

impl std::fmt::Debug for Baseline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Baseline")
            .field("mounts", &self.mounts.keys())
            .field("added", &self.added)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SourceTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceTree").field("name", &self.name).field("root", &self.root).finish_non_exhaustive()
    }
}

/// By mount, what is as the earlier snapshot has it.
fn unchanged_since(
    job: &Job,
    repository: &Indexed,
    earlier: Id,
    trees: &[&SourceTree],
) -> Result<BTreeMap<MountName, Unchanged>, Error> {
    let mut roots = roots(job, repository, earlier)?;
    let mut all = BTreeMap::new();
    for tree in trees {
        if let Some(root) = roots.remove(tree.name.as_str()).and_then(|root| root.subtree) {
            all.insert(tree.name.clone(), unchanged(job, repository, root, tree)?);
        }
    }
    Ok(all)
}

/// Entries of pass 1.
fn live(
    job: &Job,
    tally: &Arc<Tally>,
    mount: &MountName,
    walk: Walk,
    large: &Arc<Mutex<Vec<Large>>>,
) -> impl Iterator<Item = source::Entry> + Send + use<> {
    let (job, tally, large) = (job.clone(), tally.clone(), large.clone());
    let (root, lost) = (walk.root.clone(), walk.lost.clone());
    let (name, at) = (OsString::from(mount.as_str()), Path::new(MOUNTS).join(mount.as_str()));
    walk.map_while(move |found| {
        let is_root = found.relative.as_os_str().is_empty();
        let mut node = match node(if is_root { &name } else { &found.name }, &found.meta, found.ctime) {
            Ok(node) => node,
            Err(source) => {
                let path = root.join(&found.relative);
                job.fail_with(Error::Source { action: "store the metadata of", path, source });
                return None;
            }
        };
        // Joining an empty path would append a slash.
        let path = if is_root { at.clone() } else { at.join(&found.relative) };
        if let Some(whole) = found.whole {
            job.did(whole.contents.bytes);
            node.subtree = Some(whole.tree);
            return Some(taken_whole(path, node));
        }
        let what = (found.meta.kind == FileKind::File).then(|| What::Live {
            directory: found.directory,
            name: found.name,
            path: root.join(&found.relative),
            relative: found.relative,
            size: found.meta.size,
            inode: found.meta.inode,
            lost: lost.clone(),
            counts: false,
            later: (found.meta.size >= LARGE).then(|| Later { node: node.clone(), list: large.clone() }),
        });
        let open = what.map(|what| Open { job: job.clone(), tally: tally.clone(), what });
        Some(ReadSourceEntry { path, node, open })
    })
}
