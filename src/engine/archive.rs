//! Writing a snapshot: pass 1 over the live trees, then one entry from kept nodes, staged copies and streams.
//!
//! **Invariant:** an entry is complete or not there (R15). Order within a directory is by the bytes of the names, which
//! the format demands: `manifest.json`, `mounts`, `services`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::jiff::{self, tz::TimeZone};
use rustic_core::repofile::{Chunker, Node, SnapshotFile, StringList};
use rustic_core::{BackupOptions, ConfigOptions, Id, ParentOptions, ReadSourceEntry};

use super::error::Error;
use super::guard::{Entries, Kept, Tally};
use super::job::Job;
use super::live::{ByDirectory, Contents, Known, Walk};
use super::merge::{How, Merge, Merged};
use super::node::node;
use super::segments::{Permits, Segments};
use super::source::{self, Large, Later, Once, Open, Unsettled, What};
use super::{Ids, MANIFEST, MOUNTS, Repository, SERVICES, Use};
use crate::domain::ids::{MountName, ServiceName};
use crate::domain::tree::{FileKind, FileMeta, TreeChanges};
use crate::domain::{Bytes, SnapshotName, Timestamp};

/// Bytes from which on a file may be more than one chunk: the format's shortest chunk.
const LARGE: u64 = 512 << 10;

/// A live tree that pass 1 reads.
pub struct SourceTree {
    pub name: MountName,
    pub root: PathBuf,
    /// Paths relative to the root that are left out, with all below them.
    pub exclude: Vec<String>,
    /// What the index that was taken before pass 1 knows. Everything else is left to the hold, which reports it as new:
    /// a file that came and went during pass 1 is known to neither, and would be kept for ever. `None`: everything.
    pub known: Option<Known>,
}

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

/// Pass 1: everything is uploaded, and no entry points to it yet.
pub struct Baseline {
    kept: Option<Kept>,
    /// Index files at its start.
    indexes: BTreeSet<Id>,
    mounts: BTreeMap<MountName, MountBase>,
    added: Bytes,
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
    /// Pass 1, without a hold: stores the live trees' data, and no entry. `parent` is the repository's id of an earlier
    /// snapshot of the environment; what has not changed since is not read.
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
        let repository = job.pool()?.install(|| self.indexed_ids(repository))?;
        let now = Timestamp::now();
        let mut entries: Vec<Box<dyn Iterator<Item = source::Entry> + Send>> = vec![one(directory(MOUNTS, now)?)];
        let mut sorted: Vec<&SourceTree> = trees.iter().collect();
        sorted.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        let mut watched = Vec::new();
        for tree in sorted {
            let (walk, meta, ctime) = Walk::new(job, &tree.root, &tree.exclude, tree.known.clone())?;
            let large = Arc::default();
            let at = Path::new(MOUNTS).join(tree.name.as_str());
            let node = node(OsStr::new(tree.name.as_str()), &meta, ctime).map_err(|source| Error::Source {
                action: "store the metadata of",
                path: tree.root.clone(),
                source,
            })?;
            watched.push(Watched { tree, lost: walk.lost.clone(), contents: walk.contents.clone(), large });
            let large = &watched[watched.len() - 1].large;
            entries.push(one(ReadSourceEntry { path: at.clone(), node, open: None }));
            entries.push(Box::new(live(job, &tally, at, walk, large)));
        }
        let source = Once::new(job, entries.into_iter().flatten());
        let parents = parent.map(str::to_owned).into_iter().collect();
        let stored = self.run(job, &repository, &source, SnapshotFile::default(), parents)?;
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
    fn copy_large(
        &self,
        job: &Job,
        baseline: &mut Baseline,
        left: Vec<(&SourceTree, Arc<BTreeMap<PathBuf, Contents>>, Unsettled, Vec<Large>)>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(first) = baseline.kept.clone() else { return Ok(()) };
        let kept = Arc::new(Mutex::new(None));
        // Kept files were counted in the first round.
        let usage = Use::reading();
        let entries = Entries::Keep { kept: kept.clone(), parent: Some(first.clone()) };
        let (repository, tally) = self.session(job, entries, usage)?;
        let repository = Arc::new(job.pool()?.install(|| self.indexed_ids(repository))?);
        let mut roots = roots(job, &repository, &first)?;
        let mut entries: Vec<Box<dyn Iterator<Item = source::Entry> + Send>> = vec![one(directory(MOUNTS, now)?)];
        for (tree, contents, lost, large) in left {
            let Some(base) = roots.remove(tree.name.as_str()) else { continue };
            let merge = Merge::with_large(job, &repository, &tree.root, contents, base, large)?;
            let at = Path::new(MOUNTS).join(tree.name.as_str());
            let (job, tally, root) = (job.clone(), tally.clone(), tree.root.clone());
            entries.push(Box::new(merge.map(move |merged| merged.entry(&job, &tally, &at, &root, &lost))));
        }
        let source = Once::new(job, entries.into_iter().flatten());
        let stored =
            self.run(job, &repository, &source, SnapshotFile::default(), vec![first.id.to_hex().to_string()])?;
        baseline.kept = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        baseline.added = baseline.added + added(&stored);
        Ok(())
    }

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
        let parents = parent.iter().map(|kept| kept.id.to_hex().to_string()).collect();
        // Kept files are not work: the copies and streams count for themselves as they are read.
        let mut indexes = self.index_ids()?;
        indexes.extend(baseline.iter().flat_map(|baseline| &baseline.indexes));
        let usage = Use { counted: Job::reading(), indexes };
        let (repository, tally) = self.session(job, Entries::Commit { parent: parent.clone() }, usage)?;
        let repository = Arc::new(job.pool()?.install(|| self.indexed_ids(repository))?);

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
        let stored = self.run(job, &repository, &source, snapshot, parents)?;
        size += *streamed.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Archived {
            id: stored.id.to_hex().to_string(),
            size: Bytes(size),
            added: added(&stored) + baseline.map_or(Bytes(0), |baseline| baseline.added),
            files: contents.values().map(|mount| mount.files).sum(),
        })
    }

    fn run(
        &self,
        job: &Job,
        repository: &Ids,
        source: &Once,
        snapshot: SnapshotFile,
        parents: Vec<String>,
    ) -> Result<SnapshotFile, Error> {
        // Without parents the library would look for one by itself. `ignore_inode` is inverted in this version.
        let parent = ParentOptions::default().force(parents.is_empty()).parents(parents).ignore_inode(true);
        let options = BackupOptions::default().no_scan(true).parent_opts(parent);
        let stored = job.pool()?.install(|| repository.archive(&options, source, snapshot, &[PathBuf::from("/")]));
        stored.map_err(|error| self.location().storage("written", error))
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

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SourceTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceTree").field("name", &self.name).field("root", &self.root).finish_non_exhaustive()
    }
}

/// Mounts that can be merged more than once: to count, then to store.
struct MergedMounts<'a> {
    job: &'a Job,
    repository: &'a Arc<Ids>,
    trees: Vec<FinalTree>,
    bases: BTreeMap<MountName, (&'a MountBase, Node)>,
    ctime: jiff::Timestamp,
}

impl<'a> MergedMounts<'a> {
    fn new(
        job: &'a Job,
        repository: &'a Arc<Ids>,
        baseline: Option<&'a Baseline>,
        parent: Option<&Kept>,
        mut trees: Vec<FinalTree>,
        time: Timestamp,
    ) -> Result<Self, Error> {
        trees.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        let mut roots = match parent {
            Some(kept) if !trees.is_empty() => roots(job, repository, kept)?,
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

/// The mounts' roots in pass 1, by name.
fn roots(job: &Job, repository: &Ids, kept: &Kept) -> Result<BTreeMap<String, Node>, Error> {
    let broken = |error| Error::damaged("pass 1", error);
    let snapshot: SnapshotFile = job.pool()?.install(|| repository.get_file(&kept.id.into())).map_err(broken)?;
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

impl Merged {
    fn entry(self, job: &Job, tally: &Arc<Tally>, at: &Path, root: &Path, lost: &Unsettled) -> source::Entry {
        // Joining an empty path would append a slash.
        let path = if self.relative.as_os_str().is_empty() { at.to_owned() } else { at.join(&self.relative) };
        let open = |what| Some(Open { job: job.clone(), tally: tally.clone(), what });
        match self.how {
            How::Enter | How::Bare => ReadSourceEntry { path, node: self.node, open: None },
            // A directory that names its parent's path is taken as one node, with the subtree that it has.
            How::Whole(_) => {
                let path = path.parent().unwrap_or(Path::new("")).to_owned();
                ReadSourceEntry { path, node: self.node, open: None }
            }
            How::Kept => {
                let open = open(What::Kept { path: root.join(&self.relative) });
                ReadSourceEntry { path, node: self.node, open }
            }
            How::Large(directory) => {
                let what = What::Live {
                    directory,
                    name: self.node.name().into_owned(),
                    path: root.join(&self.relative),
                    relative: self.relative,
                    size: self.node.meta.size,
                    inode: self.node.meta.inode,
                    lost: lost.clone(),
                    counts: true,
                    later: None,
                };
                ReadSourceEntry { path, node: self.node, open: open(what) }
            }
            How::Staged(copy, size) => {
                ReadSourceEntry { path, node: self.node, open: open(What::Staged { path: copy, size }) }
            }
        }
    }
}

/// Entries of pass 1.
fn live(
    job: &Job,
    tally: &Arc<Tally>,
    at: PathBuf,
    walk: Walk,
    large: &Arc<Mutex<Vec<Large>>>,
) -> impl Iterator<Item = source::Entry> + Send + use<> {
    let (job, tally, large) = (job.clone(), tally.clone(), large.clone());
    let (root, lost) = (walk.root.clone(), walk.lost.clone());
    walk.map_while(move |found| {
        let node = match node(&found.name, &found.meta, found.ctime) {
            Ok(node) => node,
            Err(source) => {
                let path = root.join(&found.relative);
                job.fail_with(Error::Source { action: "store the metadata of", path, source });
                return None;
            }
        };
        let what = (found.meta.kind == FileKind::File).then(|| What::Live {
            directory: found.directory,
            name: found.name,
            path: root.join(&found.relative),
            relative: found.relative.clone(),
            size: found.meta.size,
            inode: found.meta.inode,
            lost: lost.clone(),
            counts: false,
            later: (found.meta.size >= LARGE).then(|| Later { node: node.clone(), list: large.clone() }),
        });
        let open = what.map(|what| Open { job: job.clone(), tally: tally.clone(), what });
        Some(ReadSourceEntry { path: at.join(&found.relative), node, open })
    })
}

fn segments(
    job: &Job,
    tally: &Arc<Tally>,
    permits: &Permits,
    stream: Stream,
    time: Timestamp,
    total: &Arc<Mutex<u64>>,
) -> impl Iterator<Item = source::Entry> + Send + use<> {
    let (job, tally, permits, total) = (job.clone(), tally.clone(), permits.clone(), total.clone());
    let Stream { name: service, reader } = stream;
    let at = Path::new(SERVICES).join(service.as_str());
    let mut segments = Segments::new(reader);
    let mut number = 0_u32;
    std::iter::from_fn(move || {
        let permit = permits.acquire(&job)?;
        let bytes = match segments.next() {
            Ok(segment) => segment?,
            Err(source) => {
                job.fail_with(Error::Stream { service: service.clone(), source });
                return None;
            }
        };
        *total.lock().unwrap_or_else(PoisonError::into_inner) += bytes.len() as u64;
        let name = format!("{number:06}");
        number += 1;
        let node = match file(OsStr::new(&name), bytes.len() as u64, time) {
            Ok(node) => node,
            Err(error) => {
                job.fail_with(error);
                return None;
            }
        };
        let open = Open { job: job.clone(), tally: tally.clone(), what: What::Segment { bytes, permit } };
        Some(ReadSourceEntry { path: at.join(name), node, open: Some(open) })
    })
}

fn one(entry: source::Entry) -> Box<dyn Iterator<Item = source::Entry> + Send> {
    Box::new(std::iter::once(entry))
}

/// A directory of the snapshot's own layout.
fn directory(path: impl AsRef<Path>, time: Timestamp) -> Result<source::Entry, Error> {
    let path = path.as_ref().to_owned();
    let name = path.file_name().unwrap_or_default().to_owned();
    let node = own(&name, FileKind::Directory, 0o755, 0, time)?;
    Ok(ReadSourceEntry { path, node, open: None })
}

/// A file of the snapshot's own layout.
fn file(name: &OsStr, size: u64, time: Timestamp) -> Result<Node, Error> {
    own(name, FileKind::File, 0o600, size, time)
}

fn own(name: &OsStr, kind: FileKind, mode: u32, size: u64, time: Timestamp) -> Result<Node, Error> {
    let instant = jiff::Timestamp::from_microsecond(time.as_micros()).map_err(out_of_range)?;
    let meta = FileMeta {
        kind,
        mode,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime_s: time.as_micros().div_euclid(1_000_000),
        mtime_ns: u32::try_from(time.as_micros().rem_euclid(1_000_000) * 1_000).unwrap_or(0),
        size,
        links: 1,
        inode: 0,
        device: 0,
        xattrs: Vec::new(),
    };
    node(name, &meta, instant).map_err(|error| Error::internal("a snapshot's own file", error))
}

fn zoned(time: Timestamp) -> Result<jiff::Zoned, Error> {
    Ok(jiff::Timestamp::from_microsecond(time.as_micros()).map_err(out_of_range)?.to_zoned(TimeZone::UTC))
}

fn out_of_range(error: jiff::Error) -> Error {
    Error::internal("a time out of range", std::io::Error::other(error))
}

fn added(snapshot: &SnapshotFile) -> Bytes {
    Bytes(snapshot.summary.as_ref().map_or(0, |summary| summary.data_added_packed))
}
