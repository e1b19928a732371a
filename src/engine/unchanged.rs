//! Which directories of a live tree an earlier snapshot holds just as they are: pass 1 takes them as a whole.
//!
//! **Invariant:** such a directory has in both the same names with the same kinds, sizes, times and inodes, all the way
//! down, and the repository has the contents of all of them. What this can't tell from unchanged, the hold's scan
//! catches: it compares with the same index.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use rustic_core::TreeId;
use rustic_core::jiff::Timestamp;
use rustic_core::repofile::{Node, NodeType};

use super::Indexed;
use super::error::Error;
use super::job::Job;
use super::live::Contents;
use super::pre_copy::SourceTree;
use crate::domain::tree::{Stamp, TreeIndex};

/// Unchanged directories, by path relative to the mount; what lies below one is listed too.
pub(super) type Unchanged = HashMap<PathBuf, Whole>;

/// A directory that is stored already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    pub tree: TreeId,
    pub contents: Contents,
}

/// The tree as it is now.
struct Live<'a> {
    index: &'a dyn TreeIndex,
    /// All of it lies on one.
    device: u64,
}

/// A directory that stands in both, seen by itself.
struct Seen {
    whole: Whole,
    is_same: bool,
    below: Vec<(PathBuf, TreeId)>,
}

/// Compares the tree's index with the earlier snapshot's directory `root`, on the job's threads.
///
/// # Errors
/// When one of the snapshot's directories can't be read.
pub(super) fn unchanged(job: &Job, repository: &Indexed, root: TreeId, tree: &SourceTree) -> Result<Unchanged, Error> {
    // Without a root there is nothing to walk either, which says so.
    let live = Live { index: &*tree.index, device: std::fs::metadata(&tree.root).map_or(0, |meta| meta.dev()) };
    let mut seen: BTreeMap<PathBuf, Seen> = BTreeMap::new();
    let mut level = vec![(PathBuf::new(), root)];
    while !level.is_empty() {
        job.check()?;
        let compared = || level.par_iter().map(|(path, tree)| compare(repository, *tree, path, &live)).collect();
        let found: Result<Vec<Seen>, Error> = job.pool()?.install(compared);
        let above = std::mem::take(&mut level);
        for ((path, _), found) in above.into_iter().zip(found?) {
            level.extend(found.below.iter().cloned());
            seen.insert(path, found);
        }
    }
    let mut unchanged = Unchanged::new();
    // What lies below a directory comes before it.
    for (path, Seen { mut whole, is_same, below }) in seen.into_iter().rev() {
        let mut below = below.iter().map(|(path, _)| unchanged.get(path));
        let all = below.try_fold(Contents::default(), |mut sum, below: Option<&Whole>| {
            sum.add(below?.contents);
            Some(sum)
        });
        if let Some(all) = all
            && is_same
        {
            whole.contents.add(all);
            unchanged.insert(path, whole);
        }
    }
    Ok(unchanged)
}

/// One directory without those below it.
fn compare(repository: &Indexed, tree: TreeId, path: &Path, live: &Live<'_>) -> Result<Seen, Error> {
    let damaged = |error| Error::damaged(format!("the directory {}", path.display()), error);
    let stored = repository.get_tree(&tree).map_err(damaged)?;
    let mut seen = Seen { whole: Whole { tree, contents: Contents::default() }, is_same: true, below: Vec::new() };
    let mut unseen: HashMap<&OsStr, Stamp> = live.index.entries(path).collect();
    for node in stored.nodes {
        let name: OsString = node.name().into_owned();
        let Some(stamp) = unseen.remove(name.as_os_str()) else {
            seen.is_same = false;
            continue;
        };
        seen.is_same &= is_same(&node, &stamp, live.device) && is_complete(repository, &node);
        match node.subtree {
            Some(subtree) if stamp.is_directory() => seen.below.push((path.join(name), subtree)),
            _ => seen.whole.contents.add(Contents { files: 1, bytes: node.meta.size }),
        }
    }
    seen.is_same &= unseen.is_empty();
    Ok(seen)
}

/// The change time, which no program can set, stands for everything that is not compared: owner, permissions,
/// attributes, a link's target. The names of one file are known by its device too, whose number may be another one after
/// a restart: all of them must have the same in one snapshot.
fn is_same(node: &Node, stamp: &Stamp, device: u64) -> bool {
    let is_kind = match node.node_type {
        NodeType::File => stamp.is_file() && node.meta.size == stamp.size,
        NodeType::Dir => stamp.is_directory() && node.subtree.is_some(),
        NodeType::Symlink { .. } => stamp.is_symlink(),
        _ => !stamp.is_file() && !stamp.is_directory() && !stamp.is_symlink(),
    };
    let is_at =
        |time: Option<Timestamp>, nanos: i64| time.is_some_and(|time| time.as_nanosecond() == i128::from(nanos));
    is_kind
        && (node.meta.device_id == device || node.meta.links <= 1)
        && node.meta.inode == stamp.inode
        && is_at(node.meta.ctime, stamp.ctime)
        && is_at(node.meta.mtime, stamp.mtime)
}

/// Whether nobody took any of its data out of the repository.
fn is_complete(repository: &Indexed, node: &Node) -> bool {
    node.content.iter().flatten().all(|id| repository.get_index_entry(id).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tree::{FileKind, FileMeta};

    #[test]
    fn a_second_name_of_a_file_is_the_same_only_on_the_same_device() {
        let file = |links| FileMeta {
            kind: FileKind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime_s: 2,
            mtime_ns: 3,
            size: 4,
            links,
            inode: 5,
            device: 6,
            xattrs: Vec::new(),
        };
        let ctime = Timestamp::new(7, 8).expect("a time");
        let stamp =
            Stamp { size: 4, mtime: 2_000_000_003, ctime: 7_000_000_008, inode: 5, mode: 0o100_644, uid: 0, gid: 0 };
        let same_on = |links, device| {
            let node = super::super::node::node(OsStr::new("file"), &file(links), ctime).expect("a node");
            is_same(&node, &stamp, device)
        };
        assert_eq!([same_on(1, 6), same_on(1, 9), same_on(2, 6), same_on(2, 9)], [true, true, true, false]);
        let node = super::super::node::node(OsStr::new("file"), &file(1), ctime).expect("a node");
        for other in [
            Stamp { size: 5, ..stamp },
            Stamp { mtime: 2_000_000_004, ..stamp },
            Stamp { ctime: 7_000_000_009, ..stamp },
            Stamp { inode: 6, ..stamp },
            Stamp { mode: 0o120_644, ..stamp },
        ] {
            assert!(!is_same(&node, &other, 6), "{other:?}");
        }
    }
}
