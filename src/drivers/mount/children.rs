//! Replacing a mount that one rename can't exchange (a mount point, or on a file system without exchanges): its entries
//! change places one by one. Also replacing single paths of any mount (R26).
//!
//! In the restore's own place `tree` is what was loaded. First every entry of the live directory (or every path that is
//! replaced) moves to `leaving`. When all are out, `leaving` becomes `old`, and everything of `tree` moves in.
//!
//! **Invariant:** which of the two directories stands tells whose entries are at the mount's path. Neither or `leaving`:
//! only old ones. `old`: only new ones. It changes its name only while none are there, durably. So each step can be taken
//! from wherever the last one died, forward and back. Plain renames only: every file system has them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::carry::{self, Carried};
use super::swap::{
    At, MountAside, MountBeside, inode_of, make_private, quietly, read_record, remove_tree, sync_directory,
    write_record,
};
use super::walk::Tree;
use super::{BESIDE, Mount, paths, renewal};
use crate::drivers::Error;

/// What the exchange needs to know of both sides. Stands in the durable journal (R23).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sides {
    old: Side,
    new: Side,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Side {
    top: Top,
    /// One of its entries, if it has any: tells whose entries are there when everything else is gone.
    witness: Option<Witness>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Witness {
    /// From the top.
    path: Vec<u8>,
    inode: u64,
}

/// The top directory's own metadata: it stays, whatever is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Top {
    mode: u32,
    uid: u32,
    gid: u32,
    /// Seconds, nanoseconds.
    mtime: (i64, i64),
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was moved, or everything was moved back.
    Before,
    /// Only old entries are at the mount's path.
    Leaving,
    /// Only new entries are at the mount's path.
    Coming,
}

/// The directory that old entries move to, until all are there.
fn leaving(beside: &MountBeside) -> PathBuf {
    beside.place.join("leaving")
}

/// The same, once all are there.
pub(super) fn old(beside: &MountBeside) -> PathBuf {
    beside.place.join("old")
}

/// What moves: all names in a directory, or the one that is named; directories relative to the top.
struct Unit {
    directory: PathBuf,
    only: Option<OsString>,
}

fn units(beside: &MountBeside) -> Vec<Unit> {
    if beside.points.is_empty() {
        return vec![Unit { directory: PathBuf::new(), only: None }];
    }
    let units = beside.points.iter().map(|point| {
        let path = Path::new(&point.path);
        Unit {
            directory: path.parent().unwrap_or(Path::new("")).to_owned(),
            only: path.file_name().map(OsStr::to_owned),
        }
    });
    units.collect()
}

impl Unit {
    /// What of it stands below `base`; nothing when its directory is not there either.
    fn names(&self, base: &Path, stays: impl Fn(&OsStr) -> bool) -> Result<Vec<OsString>, Error> {
        let Some(directory) = open_below(base, &self.directory)? else { return Ok(Vec::new()) };
        match &self.only {
            Some(name) => Ok(entry(&directory, name, base)?.map(|_| name.clone()).into_iter().collect()),
            None => names(base, stays),
        }
    }
}

/// What is being removed.
fn gone(beside: &MountBeside) -> PathBuf {
    let mut name = OsString::from("gone-");
    name.push(beside.place.file_name().unwrap_or_default());
    beside.place.with_file_name(name)
}

fn state(beside: &MountBeside) -> Result<State, Error> {
    if inode_of(&old(beside))?.is_some() {
        return Ok(State::Coming);
    }
    Ok(if inode_of(&leaving(beside))?.is_some() { State::Leaving } else { State::Before })
}

/// As [`Mount::prepare`].
pub(super) fn prepare(mount: &Mount, beside: &MountBeside) -> Result<MountAside, Error> {
    let earlier = read_record(beside)?;
    if state(beside)? != State::Before {
        return earlier.ok_or_else(|| Error::NotPrepared { path: beside.place.clone() });
    }
    if let Some(earlier) = &earlier {
        refuse_if_lost(beside, earlier)?;
    }
    let tree = beside.tree();
    let (live, new) = (Tree::open(&beside.root, &[])?, Tree::open(&tree, &[])?);
    let mut out = mount.left_out(&beside.root)?;
    if !beside.points.is_empty() {
        paths::still_fits(beside)?;
        out.retain(|out| beside.points.iter().any(|point| out.starts_with(&point.path)));
        for point in &beside.points {
            let path = Path::new(&point.path);
            carry::make_way(&carry::parents(&beside.root, path), &new, path)
                .map_err(Error::io("make the way to", &tree.join(path)))?;
            // What was loaded may hold no writer, and moves out of there.
            for way in path.ancestors().skip(1) {
                open_up(&tree.join(way))?;
            }
        }
    }
    let carried = mount.with_loaded(beside, carry::plan(&live, &new, &out)?)?;
    let stays = |name: &OsStr| beside.points.is_empty() && stays(&carried, name);
    for unit in units(beside) {
        for base in [&beside.root, &tree] {
            check_unit_movable(base, &unit, &stays)?;
        }
    }
    // What was loaded does not change, but its directory does when entries come and go.
    let new = match earlier.and_then(|earlier| earlier.sides) {
        Some(sides) => sides.new,
        None => {
            super::swap::copy_default_acl(&beside.root, &tree)?;
            let side = Side { top: Top::of(&tree)?, witness: witness(beside, &tree, &stays)? };
            open_up(&tree)?;
            side
        }
    };
    let old = Side { top: Top::of(&beside.root)?, witness: witness(beside, &beside.root, &stays)? };
    let databases = renewal::prepare(beside, &out)?;
    let aside = MountAside { inode: live.stamp.inode, carried, sides: Some(Sides { old, new }), databases };
    write_record(beside, &aside)?;
    Ok(aside)
}

/// As [`Mount::commit`].
pub(super) fn commit(beside: &MountBeside, aside: &MountAside, at: &At<'_>) -> Result<(), Error> {
    let exchange = Exchange::new(beside, aside, at)?;
    if state(beside)? == State::Before {
        if !beside.record().exists() {
            return Err(Error::NotPrepared { path: beside.place.clone() });
        }
        refuse_if_lost(beside, aside)?;
        let leaving = leaving(beside);
        make_private(&leaving).map_err(Error::io("create", &leaving))?;
        sync_directory(&beside.place)?;
        at("mount: begun");
    }
    if state(beside)? == State::Leaving {
        exchange.make_way(&leaving(beside))?;
        exchange.move_all(&beside.root, &leaving(beside), None)?;
        exchange.sides.old.top.put_on(&leaving(beside))?;
        sync_directory(&leaving(beside))?;
        at("mount: all are out");
        exchange.rename_marker(&leaving(beside), &old(beside))?;
        at("mount: turned");
    }
    exchange.move_all(&beside.tree(), &beside.root, Some(&old(beside)))?;
    at("mount: all are in");
    carry::carry(&old(beside), &beside.root, &exchange.carried)?;
    renewal::commit(beside, &aside.databases)?;
    exchange.put_on_top(&exchange.sides.new)
}

/// As [`Mount::roll_back`].
pub(super) fn roll_back(beside: &MountBeside, aside: &MountAside, at: &At<'_>) -> Result<(), Error> {
    let exchange = Exchange::new(beside, aside, at)?;
    match state(beside)? {
        State::Before => return refuse_if_lost(beside, aside),
        State::Leaving => {}
        State::Coming => {
            renewal::roll_back(beside, &aside.databases)?;
            carry::carry(&beside.root, &old(beside), &exchange.carried)?;
            exchange.move_all(&beside.root, &beside.tree(), None)?;
            at("mount: all are out");
            exchange.rename_marker(&old(beside), &leaving(beside))?;
            at("mount: turned");
        }
    }
    exchange.move_all(&leaving(beside), &beside.root, Some(&beside.tree()))?;
    at("mount: all are in");
    exchange.put_on_top(&exchange.sides.old)?;
    // Nothing but the way by now: a stranger's file in it would not be removed.
    let mut ways: Vec<PathBuf> = units(beside)
        .iter()
        .flat_map(|unit| unit.directory.ancestors().map(Path::to_owned).collect::<Vec<_>>())
        .collect();
    ways.sort_by_key(|way| std::cmp::Reverse(way.components().count()));
    ways.dedup();
    for way in ways {
        let (directory, way) = (way.clone(), leaving(beside).join(way));
        match fs::remove_dir(&way) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                exchange.return_strangers(&way, &directory)?;
                fs::remove_dir(&way).map_err(Error::io("remove", &way))?;
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &way)(error)),
            _ => {}
        }
    }
    sync_directory(&beside.place)
}

/// As [`Mount::discard`].
///
/// # Errors
/// [`Error::CannotSwap`] while old and new entries are half exchanged.
pub(super) fn discard(beside: &MountBeside, aside: Option<&MountAside>) -> Result<(), Error> {
    let gone = gone(beside);
    if inode_of(&beside.place)?.is_some() {
        let recorded = if aside.is_none() { read_record(beside)? } else { None };
        if let Some(aside) = aside.or(recorded.as_ref()) {
            let exchange = Exchange::new(beside, aside, &|_| ())?;
            let half = match state(beside)? {
                State::Before => false,
                State::Leaving => true,
                State::Coming => exchange.is_left(&beside.tree())?,
            };
            if half {
                let why = "it is half exchanged: the swap has to be finished or taken back first".to_owned();
                return Err(Error::CannotSwap { path: beside.root.clone(), why });
            }
            if state(beside)? == State::Coming {
                carry::carry(&old(beside), &beside.root, &exchange.carried)?;
                renewal::carry(&old(beside), &beside.root, &aside.databases)?;
                renewal::discard(beside, &aside.databases);
            }
        }
        // At once: half removed, it would look like another state.
        remove_tree(&gone)?;
        fs::rename(&beside.place, &gone).map_err(Error::io("remove", &beside.place))?;
        if let Some(hidden) = gone.parent() {
            sync_directory(hidden)?;
        }
    }
    remove_tree(&gone)?;
    // Stays while another restore uses it.
    if let Some(hidden) = gone.parent()
        && let Some(home) = hidden.parent()
    {
        quietly(home, || fs::remove_dir(hidden).ok());
    }
    Ok(())
}

/// Can everything at the top be moved by this user?
///
/// # Errors
/// [`Error::CannotSwap`], naming the directory that can't.
pub(super) fn check_movable(directory: &Path, stays: &dyn Fn(&OsStr) -> bool) -> Result<(), Error> {
    check_unit_movable(directory, &Unit { directory: PathBuf::new(), only: None }, stays)
}

fn check_unit_movable(base: &Path, unit: &Unit, stays: &dyn Fn(&OsStr) -> bool) -> Result<(), Error> {
    let Some(opened) = open_below(base, &unit.directory)? else { return Ok(()) };
    for name in unit.names(base, stays)? {
        let is_directory = entry(&opened, &name, base)? == Some(FileType::Directory);
        // Moving a directory to another one changes its `..`.
        if is_directory
            && rustix::fs::accessat(&opened, &name, Access::WRITE_OK, AtFlags::empty()) == Err(Errno::ACCESS)
        {
            let why = format!(
                "its directory `{}` may not be moved: give the user that runs the worker write access to it",
                unit.directory.join(&name).display()
            );
            return Err(Error::CannotSwap { path: base.to_owned(), why });
        }
    }
    Ok(())
}

/// Never over something that is there.
pub(super) fn rename_new(from: impl AsFd, name: &OsStr, to: impl AsFd, as_name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::renameat_with(&from, name, &to, as_name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => rename_after_a_look(from, name, to, as_name),
        renamed => renamed,
    }
}

/// For file systems that can't promise it (NFS). The gate is shut, and names are chosen: nobody comes between.
pub(super) fn rename_after_a_look(from: impl AsFd, name: &OsStr, to: impl AsFd, as_name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::statat(&to, as_name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => rustix::fs::renameat(from, name, to, as_name),
        Err(errno) => Err(errno),
    }
}

struct Exchange<'a> {
    beside: &'a MountBeside,
    sides: &'a Sides,
    units: Vec<Unit>,
    /// Excluded paths that existed. Those at the top stay where they are when all entries move, and may be mount points.
    all_carried: &'a [Carried],
    /// Those that move.
    carried: Vec<Carried>,
    at: &'a At<'a>,
}

impl<'a> Exchange<'a> {
    fn new(beside: &'a MountBeside, aside: &'a MountAside, at: &'a At<'a>) -> Result<Self, Error> {
        let sides = aside.sides.as_ref().ok_or_else(|| Error::NotPrepared { path: beside.place.clone() })?;
        let moves = |carried: &&Carried| !beside.points.is_empty() || !carried.is_at_top();
        let carried = aside.carried.iter().filter(moves).cloned().collect();
        Ok(Self { beside, sides, units: units(beside), all_carried: &aside.carried, carried, at })
    }

    /// Whether anything that moves stands there still.
    fn is_left(&self, base: &Path) -> Result<bool, Error> {
        for unit in &self.units {
            if !unit.names(base, |name| stays(self.all_carried, name))?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Directories that lead to the paths, like the live ones.
    fn make_way(&self, base: &Path) -> Result<(), Error> {
        if self.beside.points.is_empty() {
            return Ok(());
        }
        let tree = Tree::open(base, &[])?;
        for point in &self.beside.points {
            let path = Path::new(&point.path);
            carry::make_way(&carry::parents(&self.beside.root, path), &tree, path)
                .map_err(Error::io("make the way to", &base.join(path)))?;
        }
        Ok(())
    }

    /// The top directory stays the same one, so it is given what the other one had. When single paths are replaced it is
    /// none of our business.
    fn put_on_top(&self, side: &Side) -> Result<(), Error> {
        if !self.beside.points.is_empty() {
            return Ok(());
        }
        side.top.put_on(&self.beside.root)?;
        sync_directory(&self.beside.root)
    }

    /// Moves every entry, durably. Who goes round the gate may have made something meanwhile under a name that is needed:
    /// into the mount, it gives way to `spill`; out of it, it takes a name that is free. Its bytes are kept.
    fn move_all(&self, from: &Path, to: &Path, spill: Option<&Path>) -> Result<(), Error> {
        for unit in &self.units {
            let names = unit.names(from, |name| stays(self.all_carried, name))?;
            // Only where nothing is to be moved it may be gone.
            let (Some(source), false) = (open_below(from, &unit.directory)?, names.is_empty()) else { continue };
            let missing = |base: &Path| {
                let why = format!("the directory `{}` is no longer there", unit.directory.display());
                Error::CannotSwap { path: base.to_owned(), why }
            };
            let target = open_below(to, &unit.directory)?.ok_or_else(|| missing(to))?;
            for name in &names {
                let moved = match (rename_new(&source, name, &target, name), spill) {
                    (Err(Errno::EXIST), Some(spill)) => {
                        let spill = open_below(spill, &unit.directory)?.ok_or_else(|| missing(spill))?;
                        rename_free(&target, name, &spill).and_then(|()| rename_new(&source, name, &target, name))
                    }
                    (Err(Errno::EXIST), None) => rename_free(&source, name, &target),
                    // Gone by itself.
                    (Err(Errno::NOENT), _) => Ok(()),
                    (moved, _) => moved,
                };
                moved.map_err(Error::io("move", &from.join(&unit.directory).join(name)))?;
                (self.at)(if to == self.beside.root { "mount: an entry is in" } else { "mount: an entry is out" });
            }
            let synced = rustix::fs::fsync(&target).and_then(|()| rustix::fs::fsync(&source));
            synced.map_err(Error::io("sync", &self.beside.root))?;
        }
        Ok(())
    }

    /// What somebody round the gate had made under a name that was needed goes back to where it was, under a name that is
    /// free: its bytes are kept.
    fn return_strangers(&self, from: &Path, directory: &Path) -> Result<(), Error> {
        let failed = |errno: Errno| Error::io("move", from)(errno);
        let source = open(from)?;
        let Some(target) = open_below(&self.beside.root, directory)? else { return Ok(()) };
        for name in names(from, |_| false)? {
            rename_free(&source, &name, &target).map_err(failed)?;
        }
        rustix::fs::fsync(&target).and_then(|()| rustix::fs::fsync(&source)).map_err(failed)
    }

    fn rename_marker(&self, from: &Path, to: &Path) -> Result<(), Error> {
        fs::rename(from, to).map_err(Error::io("rename", from))?;
        sync_directory(&self.beside.place)
    }
}

fn rename_free(from: impl AsFd, name: &OsStr, to: impl AsFd) -> Result<(), Errno> {
    // Names end at 255 bytes.
    let stem = &name.as_bytes()[..name.len().min(230)];
    for number in 1..1000 {
        let free = [stem, format!(".stillpoint-{number}").as_bytes()].concat();
        match rename_new(&from, name, &to, OsStr::from_bytes(&free)) {
            Err(Errno::EXIST) => {}
            renamed => return renamed,
        }
    }
    Err(Errno::EXIST)
}

/// What is never moved: our own, and what is excluded at the top.
fn stays(carried: &[Carried], name: &OsStr) -> bool {
    name == BESIDE || carried.iter().any(|carried| carried.is(name))
}

/// With nothing of the exchange to be found, whose entries stand at the mount's path?
///
/// # Errors
/// [`Error::CannotSwap`] when they are the new ones: then somebody removed the old ones.
fn refuse_if_lost(beside: &MountBeside, aside: &MountAside) -> Result<(), Error> {
    let Some(sides) = &aside.sides else { return Ok(()) };
    let is_live =
        |witness: &Witness| Ok(inode_of(&beside.root.join(OsStr::from_bytes(&witness.path)))? == Some(witness.inode));
    let lost = match (&sides.new.witness, &sides.old.witness) {
        (Some(new), _) => is_live(new)?,
        (None, Some(old)) => inode_of(&beside.tree())?.is_none() && !is_live(old)?,
        (None, None) => false,
    };
    if lost {
        let why = format!("the old entries are no longer in {}", beside.place.display());
        return Err(Error::CannotSwap { path: beside.root.clone(), why });
    }
    Ok(())
}

fn witness(beside: &MountBeside, base: &Path, stays: &dyn Fn(&OsStr) -> bool) -> Result<Option<Witness>, Error> {
    for unit in units(beside) {
        if let Some(name) = unit.names(base, stays)?.into_iter().next() {
            let path = unit.directory.join(name);
            let inode = inode_of(&base.join(&path))?;
            return Ok(inode.map(|inode| Witness { path: path.into_os_string().into_vec(), inode }));
        }
    }
    Ok(None)
}

/// So that this user may move what is in it.
fn open_up(directory: &Path) -> Result<(), Error> {
    let metadata = fs::symlink_metadata(directory).map_err(Error::io("open up", directory))?;
    let open = fs::Permissions::from_mode(metadata.mode() & 0o7777 | 0o700);
    fs::set_permissions(directory, open).map_err(Error::io("open up", directory))
}

fn open(directory: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, directory, flags, Mode::empty()).map_err(Error::io("open", directory))
}

/// Without following a link on the way. `None`: it is not there.
fn open_below(base: &Path, directory: &Path) -> Result<Option<OwnedFd>, Error> {
    let tree = Tree::open(base, &[])?;
    match tree.open_below(directory.as_os_str().as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => Ok(None),
        opened => opened.map(Some).map_err(Error::io("open", &base.join(directory))),
    }
}

/// What stands under a name in a directory.
fn entry(directory: &OwnedFd, name: &OsStr, base: &Path) -> Result<Option<FileType>, Error> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io("look at", &base.join(name))(errno)),
    }
}

/// In order, so that what happens is the same each time.
fn names(directory: &Path, stays: impl Fn(&OsStr) -> bool) -> Result<Vec<OsString>, Error> {
    let mut names = Vec::new();
    for entry in Dir::read_from(open(directory)?).map_err(Error::io("list", directory))? {
        let entry = entry.map_err(Error::io("list", directory))?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." && !stays(name) {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

impl Top {
    fn of(path: &Path) -> Result<Self, Error> {
        let metadata = fs::symlink_metadata(path).map_err(Error::reading("look at", path))?;
        let mut attributes = Vec::new();
        for name in xattr::list(path).into_iter().flatten() {
            if let Ok(Some(value)) = xattr::get(path, &name) {
                attributes.push((name.into_vec(), value));
            }
        }
        attributes.sort();
        Ok(Self {
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            attributes,
        })
    }

    fn put_on(&self, path: &Path) -> Result<(), Error> {
        let failed = |error: io::Error| Error::io("set the owner and permissions of", path)(error);
        let present = Self::of(path)?;
        if (present.uid, present.gid) != (self.uid, self.gid) {
            std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid)).map_err(failed)?;
        }
        for (name, value) in &self.attributes {
            let known = present.attributes.iter().any(|(other, is)| other == name && is == value);
            if !known {
                let set = xattr::set(path, OsStr::from_bytes(name), value);
                or_not_ours(name, set).map_err(failed)?;
            }
        }
        for (name, _) in &present.attributes {
            if !self.attributes.iter().any(|(wanted, _)| wanted == name) {
                or_not_ours(name, xattr::remove(path, OsStr::from_bytes(name))).map_err(failed)?;
            }
        }
        // After the owner, which clears setgid, and an ACL, which sets the group's bits.
        fs::set_permissions(path, fs::Permissions::from_mode(self.mode)).map_err(failed)?;
        super::swap::set_modified(path, self.mtime).map_err(failed)
    }
}

/// Attributes that only a security module may write are its own business.
fn or_not_ours(name: &[u8], set: io::Result<()>) -> io::Result<()> {
    if name.starts_with(b"security.") { Ok(()) } else { set }
}
