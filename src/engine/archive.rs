//! Writing the entry: pass 1's nodes, the copies made in the hold, and the streams.
//!
//! **Invariant:** an entry is complete or not there (R15). Order within a directory is by the bytes of the names, which
//! the format demands: `manifest.json`, `mounts`, `services`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::jiff;
use rustic_core::repofile::{Node, SnapshotFile, StringList};
use rustic_core::{BackupOptions, Id, ParentOptions, ReadSourceEntry};

use super::entries::{directory, file, one, out_of_range, segments, zoned};
use super::error::Error;
use super::guard::{Entries, Kept};
use super::job::Job;
use super::live::Contents;
use super::merge::{How, Merge};
use super::pre_copy::{Baseline, MountBase};
use super::segments::Permits;
use super::source::{self, Once, Open, Unsettled, What};
use super::{Indexed, MANIFEST, MOUNTS, Repository, SERVICES, Use};
use crate::domain::ids::{MountName, ServiceName};
use crate::domain::tree::TreeChanges;
use crate::domain::{Bytes, SnapshotName, Timestamp};

/// A mount as it stood in the hold: pass 1 and what differs from it.
#[derive(Debug)]
pub struct FinalTree {
    pub name: MountName,
    pub root: PathBuf,
    pub changes: TreeChanges,
}

/// The dump of a service, read to its end. A reader whose dump failed must say so instead of ending.
pub struct Stream {
    pub name: ServiceName,
    pub reader: Box<dyn Read + Send>,
}

/// What the repository's own list says about the snapshot.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its tag.
    pub name: SnapshotName,
    /// The instant that the snapshot shows.
    pub time: Timestamp,
    /// Stands as host in restic's list: project and environment.
    pub host: String,
}

/// A snapshot that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Everything in it.
    pub size: Bytes,
    /// What it added to the repository, pass 1 included, compressed and encrypted.
    pub added: Bytes,
    /// Files in the mounts, directories not counted.
    pub files: u64,
}

impl Repository {
    /// Stores the snapshot: the trees as they stood in the hold, the streams, and the manifest, which is made from what
    /// each mount contains. Nothing of the live trees is read.
    ///
    /// # Errors
    /// Whatever the error, no entry is left in the repository; what was uploaded goes at the next prune.
    pub fn archive(
        &self,
        job: &Job,
        entry: &Entry,
        baseline: Option<&Baseline>,
        trees: Vec<FinalTree>,
        streams: Vec<Stream>,
        manifest: impl FnOnce(&BTreeMap<MountName, Contents>) -> Vec<u8>,
    ) -> Result<Archived, Error> {
        job.end(self.store(job, entry, baseline, (trees, streams), manifest))
    }

    fn store(
        &self,
        job: &Job,
        entry: &Entry,
        baseline: Option<&Baseline>,
        (trees, streams): (Vec<FinalTree>, Vec<Stream>),
        manifest: impl FnOnce(&BTreeMap<MountName, Contents>) -> Vec<u8>,
    ) -> Result<Archived, Error> {
        job.check()?;
        self.heed_locks()?;
        let parent = baseline.and_then(|baseline| baseline.kept.clone());
        let parents: Vec<Id> = parent.iter().map(|kept| kept.id).collect();
        // Kept files are not work: the copies and streams count for themselves as they are read.
        let mut indexes = self.index_ids()?;
        indexes.extend(baseline.iter().flat_map(|baseline| &baseline.indexes));
        let usage = Use { counted: Job::reading(), indexes };
        let (repository, tally) = self.session(job, Entries::Commit { parent: parent.clone() }, usage)?;
        let repository = Arc::new(job.pool()?.install(|| self.indexed(repository))?);

        let mounts = MergedMounts::new(job, &repository, baseline, parent.as_ref(), trees, entry.time)?;
        let mut contents = BTreeMap::new();
        for tree in &mounts.trees {
            contents.insert(tree.name.clone(), count(mounts.merge(tree)?));
            job.check()?;
        }
        let manifest = manifest(&contents);

        let streamed = Arc::new(Mutex::new(0_u64));
        let mut size: u64 = manifest.len() as u64 + contents.values().map(|mount| mount.bytes).sum::<u64>();
        let text = file(OsStr::new(MANIFEST), manifest.len() as u64, entry.time)?;
        let open = Open { job: job.clone(), tally: tally.clone(), what: What::Text(manifest) };
        let mut entries: Vec<Box<dyn Iterator<Item = source::Entry> + Send>> =
            vec![one(ReadSourceEntry { path: PathBuf::from(MANIFEST), node: text, open: Some(open) })];
        if !mounts.trees.is_empty() {
            entries.push(one(directory(MOUNTS, entry.time)?));
        }
        for tree in &mounts.trees {
            let at = Path::new(MOUNTS).join(tree.name.as_str());
            let (job, tally, root) = (job.clone(), tally.clone(), tree.root.clone());
            let lost = Unsettled::default();
            entries
                .push(Box::new(mounts.merge(tree)?.map(move |merged| merged.entry(&job, &tally, &at, &root, &lost))));
        }
        if !streams.is_empty() {
            entries.push(one(directory(SERVICES, entry.time)?));
        }
        let mut streams = streams;
        streams.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        let permits = Permits::new();
        for stream in streams {
            entries.push(one(directory(Path::new(SERVICES).join(stream.name.as_str()), entry.time)?));
            entries.push(Box::new(segments(job, &tally, &permits, stream, entry.time, &streamed)));
        }

        let source = Once::new(job, entries.into_iter().flatten());
        let mut tags = StringList::default();
        tags.add(entry.name.to_string());
        let snapshot = SnapshotFile {
            time: zoned(entry.time)?,
            hostname: entry.host.clone(),
            tags,
            program_version: concat!("stillpoint ", env!("CARGO_PKG_VERSION")).to_owned(),
            ..SnapshotFile::default()
        };
        let stored = self.run(job, &repository, &source, snapshot, &parents)?;
        size += *streamed.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Archived {
            id: stored.id.to_hex().to_string(),
            size: Bytes(size),
            added: added(&stored) + baseline.map_or(Bytes(0), |baseline| baseline.added),
            files: contents.values().map(|mount| mount.files).sum(),
        })
    }

    pub(super) fn run(
        &self,
        job: &Job,
        repository: &Indexed,
        source: &Once,
        snapshot: SnapshotFile,
        parents: &[Id],
    ) -> Result<SnapshotFile, Error> {
        // In full: the display of an id has eight digits only.
        let parents: Vec<String> = parents.iter().map(|id| id.to_hex().to_string()).collect();
        // Without parents the library would look for one by itself. `ignore_inode` is inverted in this version.
        let parent = ParentOptions::default().force(parents.is_empty()).parents(parents).ignore_inode(true);
        let options = BackupOptions::default().no_scan(true).parent_opts(parent);
        let stored = job.pool()?.install(|| repository.archive(&options, source, snapshot, &[PathBuf::from("/")]));
        stored.map_err(|error| self.location().storage("written", error))
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Mounts that can be merged more than once: to count, then to store.
struct MergedMounts<'a> {
    job: &'a Job,
    repository: &'a Arc<Indexed>,
    trees: Vec<FinalTree>,
    bases: BTreeMap<MountName, (&'a MountBase, Node)>,
    ctime: jiff::Timestamp,
}

impl<'a> MergedMounts<'a> {
    fn new(
        job: &'a Job,
        repository: &'a Arc<Indexed>,
        baseline: Option<&'a Baseline>,
        parent: Option<&Kept>,
        mut trees: Vec<FinalTree>,
        time: Timestamp,
    ) -> Result<Self, Error> {
        trees.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        let mut roots = match parent {
            Some(kept) if !trees.is_empty() => roots(job, repository, kept.id)?,
            _ => BTreeMap::new(),
        };
        let mut bases = BTreeMap::new();
        for tree in &trees {
            let base = baseline.and_then(|baseline| baseline.mounts.get(&tree.name));
            let (Some(base), Some(root)) = (base, roots.remove(tree.name.as_str())) else {
                return Err(Error::Internal {
                    what: format!("pass 1 did not read the mount {}", tree.name),
                    source: None,
                });
            };
            bases.insert(tree.name.clone(), (base, root));
        }
        let ctime = jiff::Timestamp::from_microsecond(time.as_micros()).map_err(out_of_range)?;
        Ok(Self { job, repository, trees, bases, ctime })
    }

    fn merge(&self, tree: &FinalTree) -> Result<Merge, Error> {
        let (base, root) = &self.bases[&tree.name];
        Merge::new(self.job, self.repository, &tree.root, base, root.clone(), tree.changes.clone(), self.ctime)
    }
}

/// The mounts' roots in a snapshot or in pass 1, by name.
pub(super) fn roots(job: &Job, repository: &Indexed, id: Id) -> Result<BTreeMap<String, Node>, Error> {
    let broken = |error| Error::damaged("the list of mounts", error);
    let snapshot: SnapshotFile = job.pool()?.install(|| repository.get_file(&id.into())).map_err(broken)?;
    let top = repository.get_tree(&snapshot.tree).map_err(broken)?;
    let mounts = top.nodes.into_iter().find(|node| node.name == MOUNTS).and_then(|node| node.subtree);
    let Some(mounts) = mounts else { return Ok(BTreeMap::new()) };
    let roots = repository.get_tree(&mounts).map_err(broken)?;
    Ok(roots.nodes.into_iter().map(|node| (node.name.clone(), node)).collect())
}

fn count(merge: Merge) -> Contents {
    let mut total = Contents::default();
    for merged in merge {
        total.add(match merged.how {
            How::Enter => Contents::default(),
            How::Whole(contents) => contents,
            How::Kept => Contents { files: 1, bytes: merged.node.meta.size },
            How::Staged(_, bytes) => Contents { files: 1, bytes },
            How::Large(_) | How::Bare => Contents { files: 1, bytes: merged.node.meta.size },
        });
    }
    total
}

pub(super) fn added(snapshot: &SnapshotFile) -> Bytes {
    Bytes(snapshot.summary.as_ref().map_or(0, |summary| summary.data_added_packed))
}
