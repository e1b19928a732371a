//! Pass 1's tree with the hold's changes laid over it.
//!
//! **Invariant:** what comes out is the tree as it stood in the hold. Every change is used exactly once, or the job is
//! bad; nothing of the live tree is looked at.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::ffi::OsString;
use std::iter::Peekable;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::vec;

use rustic_core::TreeId;
use rustic_core::jiff::Timestamp;
use rustic_core::repofile::Node;

use super::Indexed;
use super::error::Error;
use super::job::Job;
use super::live::Contents;
use super::node::node;
use super::pre_copy::MountBase;
use super::source::{Large, Lost};
use crate::domain::tree::{FileKind, Override, TreeChanges};

pub(super) struct Merge {
    job: Job,
    repository: Arc<Indexed>,
    /// For messages.
    root: PathBuf,
    contents: Arc<BTreeMap<PathBuf, Contents>>,
    /// By directory, then by name.
    overrides: BTreeMap<PathBuf, BTreeMap<OsString, Change>>,
    unused: usize,
    removed: BTreeSet<PathBuf>,
    /// Directories with a change somewhere below them.
    dirty: BTreeSet<PathBuf>,
    /// Given to all that was overridden, so that none of it is taken for unchanged.
    ctime: Timestamp,
    start: Option<Merged>,
    levels: Vec<Level>,
}

struct Level {
    relative: PathBuf,
    base: Peekable<vec::IntoIter<Node>>,
    over: Peekable<btree_map::IntoIter<OsString, Change>>,
}

#[allow(clippy::large_enum_variant, reason = "nearly all of them are the large one")]
enum Change {
    Hold(Override),
    Large(Large),
}

pub(super) struct Merged {
    /// Empty for the mount's root.
    pub relative: PathBuf,
    pub node: Node,
    pub how: How,
}

pub(super) enum How {
    /// A directory whose contents follow.
    Enter,
    /// An unchanged directory, taken as a whole by its `subtree`.
    Whole(Contents),
    /// As pass 1 has it.
    Kept,
    /// With the content of this copy, of this size.
    Staged(PathBuf, u64),
    /// A large file of the live tree, in pass 1.
    Large(Arc<OwnedFd>),
    /// Metadata is all there is to it.
    Bare,
}

impl Merge {
    pub fn new(
        job: &Job,
        repository: &Arc<Indexed>,
        root: &Path,
        base: &MountBase,
        base_root: Node,
        changes: TreeChanges,
        ctime: Timestamp,
    ) -> Result<Self, Error> {
        let TreeChanges { removed, mut overrides } = changes;
        let all: Vec<&PathBuf> = removed.iter().chain(overrides.keys()).collect();
        if let Some(path) = all.iter().find(|path| path.components().any(|part| !matches!(part, Component::Normal(_))))
        {
            return Err(Error::Internal {
                what: format!("the change {} is no relative path", path.display()),
                source: None,
            });
        }
        if let Some(path) = base.lost.iter().find(|lost| !is_settled(lost, &removed, &overrides)) {
            let (Lost::File(path) | Lost::Directory(path)) = path;
            return Err(Error::Changed { path: root.join(path) });
        }
        let root_override = overrides.remove(Path::new(""));
        let overrides = overrides.into_iter().map(|(path, change)| (path, Change::Hold(change))).collect();
        let mut merge = Self::unstarted(job, repository, root, base.contents.clone(), removed, overrides);
        merge.ctime = ctime;
        let subtree = base_root.subtree;
        let root_node = match root_override {
            Some(change) if change.meta.kind == FileKind::Directory => {
                let name = base_root.name().into_owned();
                let mut fresh = merge.fresh(&name, Path::new(""), &change, Some(&base_root))?;
                fresh.subtree = subtree;
                fresh
            }
            Some(_) => return Err(Error::Changed { path: root.to_owned() }),
            None => base_root,
        };
        merge.start = Some(merge.directory(PathBuf::new(), root_node, subtree)?);
        Ok(merge)
    }

    /// Lays large files over what the first round of pass 1 stored without them.
    pub fn with_large(
        job: &Job,
        repository: &Arc<Indexed>,
        root: &Path,
        contents: Arc<BTreeMap<PathBuf, Contents>>,
        base_root: Node,
        large: Vec<Large>,
    ) -> Result<Self, Error> {
        let large = large.into_iter().map(|file| (file.relative.clone(), Change::Large(file))).collect();
        let mut merge = Self::unstarted(job, repository, root, contents, BTreeSet::new(), large);
        let subtree = base_root.subtree;
        merge.start = Some(merge.directory(PathBuf::new(), base_root, subtree)?);
        Ok(merge)
    }

    fn unstarted(
        job: &Job,
        repository: &Arc<Indexed>,
        root: &Path,
        contents: Arc<BTreeMap<PathBuf, Contents>>,
        removed: BTreeSet<PathBuf>,
        changes: BTreeMap<PathBuf, Change>,
    ) -> Self {
        let all = removed.iter().chain(changes.keys());
        let dirty = all.flat_map(|path| path.ancestors().skip(1)).map(Path::to_owned).collect();
        let unused = changes.len();
        let mut overrides: BTreeMap<PathBuf, BTreeMap<OsString, Change>> = BTreeMap::new();
        for (path, change) in changes {
            if let (Some(directory), Some(name)) = (path.parent(), path.file_name()) {
                overrides.entry(directory.to_owned()).or_default().insert(name.to_owned(), change);
            }
        }
        Self {
            job: job.clone(),
            repository: repository.clone(),
            root: root.to_owned(),
            contents,
            overrides,
            unused,
            removed,
            dirty,
            ctime: Timestamp::UNIX_EPOCH,
            start: None,
            levels: Vec::new(),
        }
    }

    fn fresh(&self, name: &OsString, at: &Path, change: &Override, base: Option<&Node>) -> Result<Node, Error> {
        let is_same = base.is_some_and(|base| base.meta.ctime == Some(self.ctime));
        let ctime = if is_same { self.ctime + std::time::Duration::from_nanos(1) } else { self.ctime };
        node(name, &change.meta, ctime).map_err(|source| Error::Source {
            action: "store the metadata of",
            path: self.root.join(at),
            source,
        })
    }

    /// The directory as a whole when nothing below it changed, else it is entered.
    fn directory(&mut self, relative: PathBuf, mut node: Node, base: Option<TreeId>) -> Result<Merged, Error> {
        if let Some(subtree) = base
            && !self.dirty.contains(&relative)
        {
            let contents = self.contents.get(&relative).copied().ok_or_else(|| Error::Internal {
                what: format!("pass 1 did not count {}", self.root.join(&relative).display()),
                source: None,
            })?;
            node.subtree = Some(subtree);
            return Ok(Merged { relative, node, how: How::Whole(contents) });
        }
        let base = match base {
            Some(id) => self.repository.get_tree(&id).map_err(|error| Error::damaged("pass 1", error))?.nodes,
            None => Vec::new(),
        };
        self.levels.push(Level {
            base: base.into_iter().peekable(),
            over: self.overrides.remove(&relative).unwrap_or_default().into_iter().peekable(),
            relative: relative.clone(),
        });
        node.subtree = None;
        Ok(Merged { relative, node, how: How::Enter })
    }

    fn step(&mut self) -> Result<Option<Merged>, Error> {
        if let Some(start) = self.start.take() {
            return Ok(Some(start));
        }
        loop {
            let Some(level) = self.levels.last_mut() else {
                if self.unused > 0 {
                    // A change below something that pass 1 has not got.
                    let lost = self.overrides.keys().next().cloned().unwrap_or_default();
                    return Err(Error::Changed { path: self.root.join(lost) });
                }
                return Ok(None);
            };
            let takes_change = match (level.base.peek(), level.over.peek()) {
                (None, None) => {
                    self.levels.pop();
                    continue;
                }
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (Some(base), Some((name, _))) => *name <= *base.name(),
            };
            if !takes_change {
                let Some(kept) = level.base.next() else { continue };
                let relative = level.relative.join(kept.name());
                if self.removed.contains(&relative) {
                    continue;
                }
                let subtree = kept.subtree;
                return if kept.is_dir() {
                    self.directory(relative, kept, subtree).map(Some)
                } else {
                    Ok(Some(Merged { relative, node: kept, how: How::Kept }))
                };
            }
            let Some((name, change)) = level.over.next() else { continue };
            let base = level.base.next_if(|base| *base.name() == *name);
            let relative = level.relative.join(&name);
            self.unused -= 1;
            let change = match change {
                Change::Large(Large { node, directory, .. }) => {
                    return Ok(Some(Merged { relative, node, how: How::Large(directory) }));
                }
                Change::Hold(change) => change,
            };
            let node = self.fresh(&name, &relative, &change, base.as_ref())?;
            return match (change.meta.kind, change.staged) {
                (FileKind::Directory, _) => {
                    let base = base.filter(|_| !self.removed.contains(&relative)).and_then(|base| base.subtree);
                    self.directory(relative, node, base).map(Some)
                }
                (FileKind::File, Some(copy)) => {
                    Ok(Some(Merged { relative, node, how: How::Staged(copy, change.meta.size) }))
                }
                (FileKind::File, None) => Err(Error::Internal {
                    what: format!("{} was not copied in the hold", self.root.join(relative).display()),
                    source: None,
                }),
                _ => Ok(Some(Merged { relative, node, how: How::Bare })),
            };
        }
    }
}

impl Iterator for Merge {
    type Item = Merged;

    fn next(&mut self) -> Option<Merged> {
        if self.job.is_bad() {
            return None;
        }
        self.step().unwrap_or_else(|error| {
            self.job.fail_with(error);
            None
        })
    }
}

/// Whether the hold saw for itself what pass 1 missed.
fn is_settled(lost: &Lost, removed: &BTreeSet<PathBuf>, overrides: &BTreeMap<PathBuf, Override>) -> bool {
    let (Lost::File(path) | Lost::Directory(path)) = lost;
    let is_directory = matches!(lost, Lost::Directory(_));
    path.ancestors().any(|at| {
        let is_itself = at == path;
        removed.contains(at)
            || overrides.get(at).is_some_and(|change| {
                let became_other = change.meta.kind != FileKind::Directory;
                became_other || is_itself && !is_directory
            })
    })
}
