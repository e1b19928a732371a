//! Replacing a mount: load into a directory beside it, check, exchange the two by one rename; where that can't be,
//! `children.rs` exchanges their entries.
//!
//! **Invariant:** what stands at the mount's path is told by its inode alone, so that every step can be taken again after
//! dying anywhere.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{AtFlags, CWD, RenameFlags, Timespec, Timestamps, UTIME_OMIT};
use serde::{Deserialize, Serialize};

use super::carry::{self, Carried};
use super::children::{self, Sides};
use super::index::{Contents, Databases, Index};
use super::journal::NoJournal;
use super::paths::Point;
use super::points::{self, Way, parent_of};
use super::renewal::{self, Renewals};
use super::walk::Tree;
use super::{BESIDE, Mount};
use crate::domain::ActivityId;
use crate::drivers::Error;

const DEFAULT_ACL: &str = "system.posix_acl_default";
/// How often what lies beside may go between its being made and its being used.
const TRIES: u32 = 10;

/// A directory beside the mount, for the engine to fill. Stands in the durable journal (R23).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountBeside {
    /// The mount itself, links resolved.
    pub(super) root: PathBuf,
    /// Its own place: `<parent>/.stillpoint/<activity>-<mount>`, or `<mount>/.stillpoint/…`.
    pub(super) place: PathBuf,
    /// Inode of the loaded tree, whichever path it stands at.
    inode: u64,
    /// Whether it lies inside the mount, and entries are exchanged one by one.
    #[serde(default)]
    inside: bool,
    /// When there are any, only they are replaced, whatever kind of mount it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) points: Vec<Point>,
}

/// The old tree. Stands in the durable journal (R23).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountAside {
    /// Inode of the old tree, whichever path it stands at.
    pub(super) inode: u64,
    pub(super) carried: Vec<Carried>,
    /// When entries are exchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sides: Option<Sides>,
    #[serde(default)]
    pub(super) databases: Renewals,
}

impl MountAside {
    /// What stays although the snapshot does not hold it, in sentences.
    pub fn kept(&self) -> Vec<String> {
        self.databases.kept().collect()
    }
}

/// Told of each step inside of a commit or a roll back, so that a test can die there.
pub type At<'a> = dyn Fn(&'static str) + 'a;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Old,
    New,
}

impl MountBeside {
    /// Where the loaded tree is filled in.
    pub fn tree(&self) -> PathBuf {
        self.place.join("tree")
    }

    /// Where the old tree stands after the commit, for the safety snapshot to read.
    pub fn old_tree(&self) -> PathBuf {
        if self.by_entries() { children::old(self) } else { self.tree() }
    }

    /// Which paths alone are replaced; none: all of the mount.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.points.iter().map(|point| point.path.as_str())
    }

    /// Whether what stands there, relative to the top, is replaced.
    pub(super) fn replaces(&self, path: &Path) -> bool {
        self.points.is_empty() || self.paths().any(|point| path.starts_with(point))
    }

    fn by_entries(&self) -> bool {
        self.inside || !self.points.is_empty()
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// What [`Mount::prepare`] found, so that it says the same after a commit.
    pub(super) fn record(&self) -> PathBuf {
        self.place.join("aside.json")
    }
}

impl Mount {
    /// An empty directory on the mount's file system, with its owner, permissions and attributes, for one restore to
    /// fill. Asked for again it is emptied.
    ///
    /// # Errors
    /// [`Error::CannotSwap`] once a swap was prepared: what stands there may be the old tree.
    pub fn beside_dir(&self, activity: &ActivityId) -> Result<MountBeside, Error> {
        let root = self.root()?;
        let way = points::way(&root, self.excluded())?;
        self.beside_by(way, root, activity, Vec::new())
    }

    pub(super) fn beside_by(
        &self,
        way: Way,
        root: PathBuf,
        activity: &ActivityId,
        points: Vec<Point>,
    ) -> Result<MountBeside, Error> {
        let inside = way == Way::Entries;
        let home = if inside { &*root } else { parent_of(&root)? }.to_owned();
        let hidden = quietly(&home, || hidden_directory(&home)).map_err(Error::io("create a directory in", &home))?;
        let place = hidden.join(format!("{activity}-{}", self.spec().name));
        let mut beside = MountBeside { place, root, inode: 0, inside, points };
        if beside.record().exists() {
            let why = "its swap was prepared already: finish or roll it back first".to_owned();
            return Err(Error::CannotSwap { path: beside.root, why });
        }
        remove_tree(&beside.place)?;
        let made = quietly(&home, || {
            in_hidden(&home, |hidden| {
                if inside {
                    // What is loaded must not inherit the mount's.
                    xattr::remove(hidden, DEFAULT_ACL).ok();
                }
                make_private(&beside.place)
            })
        });
        made.map_err(Error::io("create", &beside.place))?;
        let tree = beside.tree();
        make_private(&tree).map_err(Error::io("create", &tree))?;
        copy_attributes(&beside.root, &tree)?;
        beside.inode = inode_of(&tree)?.unwrap_or_default();
        sync_directory(&beside.place)?;
        sync_directory(&hidden)?;
        Ok(beside)
    }

    /// Every entry of the old tree, after a commit. What stands at an excluded path there came with the loaded tree.
    ///
    /// # Errors
    /// As [`Mount::index`].
    pub fn index_aside(&self, beside: &MountBeside) -> Result<Index, Error> {
        Index::take(&beside.old_tree(), self.excluded(), Err(NoJournal::NotAsked), Databases::Files)
    }

    /// Compares what was loaded with what the snapshot recorded (R22), and brings it to the disk. Before the hold: it
    /// may take long.
    ///
    /// # Errors
    /// [`Error::Mismatch`]; [`Error::CannotSwap`] when something else stands in the loaded tree's place.
    pub fn check(&self, beside: &MountBeside, expected: Contents) -> Result<(), Error> {
        let tree = beside.tree();
        if inode_of(&tree)? != Some(beside.inode) {
            return Err(Error::CannotSwap { path: tree, why: "what was loaded is no longer there".to_owned() });
        }
        // Both take their time, one of the disk and one of the processor.
        let opened = File::open(&tree).map_err(Error::io("open", &tree))?;
        let (synced, found) = thread::scope(|scope| {
            let syncing = scope.spawn(|| rustix::fs::syncfs(&opened).map_err(Error::io("sync", &tree)));
            let found = Index::take(&tree, &[], Err(NoJournal::NotAsked), Databases::Files);
            (syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), found)
        });
        synced?;
        let found = found?.contents();
        let words = |contents: Contents| format!("{} files with {} bytes", contents.files, contents.bytes.0);
        if found != expected {
            let what = format!("the mount `{}`", self.spec().name);
            return Err(Error::Mismatch { what, expected: words(expected), found: words(found) });
        }
        Ok(())
    }

    /// In the swap hold: notes what is to be carried over, durably. Changes nothing at the mount's path.
    ///
    /// # Errors
    /// [`Error::CannotSwap`] when an excluded path could not be carried.
    pub fn prepare(&self, beside: &MountBeside) -> Result<MountAside, Error> {
        if beside.by_entries() {
            return children::prepare(self, beside);
        }
        if standing(beside)? == Standing::New {
            return read_record(beside)?.ok_or_else(|| Error::NotPrepared { path: beside.place.clone() });
        }
        let old = Tree::open(&beside.root, &[])?;
        let new = Tree::open(&beside.tree(), &[])?;
        let carried = self.with_loaded(beside, carry::plan(&old, &new, self.excluded())?)?;
        copy_default_acl(&beside.root, &beside.tree())?;
        let databases = renewal::prepare(beside, self.excluded())?;
        let aside = MountAside { inode: old.stamp.inode, carried, sides: None, databases };
        write_record(beside, &aside)?;
        Ok(aside)
    }

    /// Exchanges the loaded tree with the live one, then carries the excluded paths over.
    ///
    /// # Errors
    /// [`Error::NotPrepared`]; [`Error::CannotSwap`] when neither tree stands at the mount's path.
    pub fn commit(&self, beside: &MountBeside, aside: &MountAside, at: &At<'_>) -> Result<(), Error> {
        if beside.by_entries() {
            return children::commit(beside, aside, at);
        }
        if standing(beside)? == Standing::Old {
            if !beside.record().exists() {
                return Err(Error::NotPrepared { path: beside.place.clone() });
            }
            exchange(beside)?;
        }
        at("mount: exchanged");
        carry::carry(&beside.tree(), &beside.root, &aside.carried)?;
        renewal::commit(beside, &aside.databases)
    }

    /// Carries the excluded paths back and exchanges the trees back, if they were exchanged.
    ///
    /// # Errors
    /// As [`Mount::commit`].
    pub fn roll_back(&self, beside: &MountBeside, aside: &MountAside, at: &At<'_>) -> Result<(), Error> {
        if beside.by_entries() {
            return children::roll_back(beside, aside, at);
        }
        let live = inode_of(&beside.root)?;
        if live == Some(aside.inode) && live != Some(beside.inode) {
            return Ok(());
        }
        standing(beside)?;
        if inode_of(&beside.tree())? != Some(aside.inode) {
            let why = format!("the old tree is no longer at {}", beside.tree().display());
            return Err(Error::CannotSwap { path: beside.root.clone(), why });
        }
        renewal::roll_back(beside, &aside.databases)?;
        carry::carry(&beside.root, &beside.tree(), &aside.carried)?;
        at("mount: carried back");
        exchange(beside)
    }

    /// Removes what stands beside the mount: what was loaded, or after a commit the old tree. What was to be carried
    /// over is first, in case that was interrupted.
    ///
    /// # Errors
    /// Only when something that is there can't be removed.
    pub fn discard(&self, beside: &MountBeside, aside: Option<&MountAside>) -> Result<(), Error> {
        if beside.by_entries() {
            return children::discard(beside, aside);
        }
        if !beside.place.exists() {
            return Ok(());
        }
        if let Some(aside) = aside
            && inode_of(&beside.root)? == Some(beside.inode)
            && beside.tree().exists()
        {
            carry::carry(&beside.tree(), &beside.root, &aside.carried)?;
            renewal::carry(&beside.tree(), &beside.root, &aside.databases)?;
            renewal::discard(beside, &aside.databases);
        }
        remove_tree(&beside.place)?;
        // Stays while another restore uses it.
        let hidden = beside.place.parent();
        hidden.and_then(Path::parent).zip(hidden).map(|(home, hidden)| quietly(home, || fs::remove_dir(hidden).ok()));
        Ok(())
    }
}

/// Lets a directory's time of change be what it was, though something comes or goes in it: only we care about that.
pub(super) fn quietly<T>(directory: &Path, work: impl FnOnce() -> T) -> T {
    let before = fs::symlink_metadata(directory).ok();
    let done = work();
    if let Some(before) = before {
        set_modified(directory, (before.mtime(), before.mtime_nsec())).ok();
    }
    done
}

pub(super) fn set_modified(path: &Path, (tv_sec, tv_nsec): (i64, i64)) -> io::Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec, tv_nsec },
    };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// `.stillpoint` in `parent`, made when it is missing.
pub(super) fn hidden_directory(parent: &Path) -> io::Result<PathBuf> {
    let hidden = parent.join(BESIDE);
    match make_private(&hidden) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    // A link or somebody else's directory here would lead the restored files elsewhere.
    let metadata = fs::symlink_metadata(&hidden)?;
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if !metadata.is_dir() || !ours {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is not ours", hidden.display())));
    }
    Ok(hidden)
}

/// Makes something in [`hidden_directory`]. Whoever empties that removes it, perhaps just before: then it is made again.
pub(super) fn in_hidden<T>(parent: &Path, mut make: impl FnMut(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
    let mut tries = 0;
    loop {
        let made = hidden_directory(parent).and_then(|hidden| make(&hidden).map(|made| (hidden, made)));
        match made {
            Err(gone) if gone.kind() == io::ErrorKind::NotFound && tries < TRIES => tries += 1,
            made => return made,
        }
    }
}

pub(super) fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

pub(in crate::drivers) fn copy_attributes(from: &Path, to: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| Error::io("copy the owner and permissions to", to)(error);
    let metadata = fs::metadata(from).map_err(failed)?;
    let mine = fs::metadata(to).map_err(failed)?;
    if (metadata.uid(), metadata.gid()) != (mine.uid(), mine.gid()) {
        std::os::unix::fs::chown(to, Some(metadata.uid()), Some(metadata.gid())).map_err(failed)?;
    }
    for name in xattr::list(from).into_iter().flatten() {
        if name == DEFAULT_ACL {
            continue;
        }
        // Those that only a security module may write are its own business.
        if let Ok(Some(value)) = xattr::get(from, &name)
            && let Err(error) = xattr::set(to, &name, &value)
            && !name.as_bytes().starts_with(b"security.")
        {
            return Err(failed(error));
        }
    }
    // Last: changing the owner clears setgid, and an ACL sets the group's bits.
    fs::set_permissions(to, metadata.permissions()).map_err(failed)
}

/// What new files inherit. Not while the tree is filled: they are to have the permissions of the snapshot.
pub(super) fn copy_default_acl(from: &Path, to: &Path) -> Result<(), Error> {
    match (xattr::get(from, DEFAULT_ACL), xattr::get(to, DEFAULT_ACL)) {
        (Ok(Some(acl)), Ok(None)) => {
            xattr::set(to, DEFAULT_ACL, &acl).map_err(Error::io("copy the default permissions to", to))
        }
        _ => Ok(()),
    }
}

fn standing(beside: &MountBeside) -> Result<Standing, Error> {
    let live = inode_of(&beside.root)?;
    if live == Some(beside.inode) {
        return Ok(Standing::New);
    }
    if live.is_some() && inode_of(&beside.tree())? == Some(beside.inode) {
        return Ok(Standing::Old);
    }
    let why = format!("what was loaded is neither there nor at {}; look at both by hand", beside.tree().display());
    Err(Error::CannotSwap { path: beside.root.clone(), why })
}

/// One atomic step: whoever looks sees the one tree or the other.
fn exchange(beside: &MountBeside) -> Result<(), Error> {
    let tree = beside.tree();
    rustix::fs::renameat_with(CWD, &beside.root, CWD, &tree, RenameFlags::EXCHANGE)
        .map_err(Error::io("exchange", &beside.root))?;
    sync_directory(parent_of(&beside.root)?)?;
    sync_directory(&beside.place)
}

pub(super) fn inode_of(path: &Path) -> Result<Option<u64>, Error> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

pub(super) fn read_record(beside: &MountBeside) -> Result<Option<MountAside>, Error> {
    let path = beside.record();
    match fs::read(&path) {
        Ok(json) => match serde_json::from_slice(&json) {
            Ok(aside) => Ok(Some(aside)),
            Err(error) => Err(Error::io("read", &path)(io::Error::from(error))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &path)(error)),
    }
}

pub(super) fn write_record(beside: &MountBeside, aside: &MountAside) -> Result<(), Error> {
    let json = serde_json::to_vec(aside).map_err(|error| Error::io("note", &beside.place)(io::Error::from(error)))?;
    write_durably(&beside.record(), &json)
}

/// Whole or not there at all.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let part = path.with_extension("part");
    fs::write(&part, bytes)
        .and_then(|()| File::open(&part)?.sync_all())
        .and_then(|()| fs::rename(&part, path))
        .map_err(Error::io("write", path))?;
    sync_directory(path.parent().unwrap_or(Path::new("/")))
}

pub(super) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(Error::io("sync", path))
}

/// Removes a tree whatever the permissions of its directories are. Follows no link.
pub(super) fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        removed => return removed.map_err(Error::io("remove", path)),
    }
    open_up(path).map_err(Error::io("remove", path))?;
    fs::remove_dir_all(path).map_err(Error::io("remove", path))
}

fn open_up(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
