//! Databases in a swap. One that stands in both trees keeps its file, which programs may have open: it is carried into
//! the new tree like an excluded path, and gets the loaded content as a declared database does. One that only the live
//! tree has goes with the old tree if nobody has it open, and else stays, which is said.
//!
//! **Invariant:** no program is left writing into a file that stands aside, and no log meets a database that it was not
//! written for: what lies beside a database is carried first and only together with it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Mount;
use super::both::{Found, Loaded, is_as_it_was};
use super::carry::{check_way, inode_below, make_way, parent_below, parents};
use super::compare::path_of;
use super::found;
use super::swap::{MountBeside, copy_attributes, sync_directory};
use super::walk::Tree;
use crate::domain::manifest::DatabaseEntry;
use crate::drivers::service::Service;
use crate::drivers::sqlite::{BESIDE, OpenFiles, Sqlite, Unproven, file_identity, is_shared, name_beside};
use crate::drivers::{Aside, Beside, Error};

/// What the swap does with databases. Stands in the durable journal (R23).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Renewals {
    renewed: Vec<Renewal>,
    kept: Vec<Kept>,
    /// The live file has the very content that is restored.
    #[serde(default)]
    same: Vec<Kept>,
    /// Paths and inodes of those that go with the old tree, since nobody has them open.
    left: Vec<Kept>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Renewal {
    path: String,
    inode: u64,
    beside: Beside,
    aside: Aside,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    path: String,
    inode: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    why: String,
}

impl Renewals {
    /// What stays although the snapshot does not hold it, in sentences.
    pub fn kept(&self) -> impl Iterator<Item = String> {
        self.kept.iter().map(|Kept { path, why, .. }| {
            format!("The database `{path}` is not in the snapshot and was left where it is, since {why}.")
        })
    }
}

impl Mount {
    /// As [`Service::notice`], of the databases that a snapshot holds among this mount's files.
    pub fn notices(&self, databases: &[DatabaseEntry]) -> Vec<String> {
        let root = Path::new(&self.spec().path);
        let is_plain =
            |path: &&DatabaseEntry| Path::new(&path.path).components().all(|part| matches!(part, Component::Normal(_)));
        let found = databases.iter().filter(is_plain).map(|entry| Sqlite::at(root.join(&entry.path)));
        found.filter_map(|database| database.notice()).collect()
    }
}

/// In the hold: fixes the present content of those that are in both trees, and decides about the others. Changes
/// nothing in the live tree.
pub(super) fn prepare(beside: &MountBeside, excluded: &[PathBuf]) -> Result<Renewals, Error> {
    // Nobody looked for any.
    let Some(mut found) = Found::noted(beside)? else { return Ok(Renewals::default()) };
    let root = beside.root();
    let (old, new) = (Tree::open(root, excluded)?, Tree::open(&beside.tree(), &[])?);
    let mut renewals = Renewals::default();
    let mut late = Vec::new();
    for (text, stamp) in std::mem::take(&mut found.same) {
        let path = Path::new(&text);
        if is_as_it_was(&old, path, &stamp)? {
            check_way(&new, path)?;
            renewals.same.push(Kept { path: text.clone(), inode: stamp.inode, why: String::new() });
            found.same.push((text, stamp));
        } else {
            late.push(text);
        }
    }
    // Somebody wrote to it while the rest was loaded.
    if !late.is_empty() {
        for text in late.iter().filter(|text| root.join(text).exists()) {
            found.take(beside, Path::new(text))?;
        }
        found.note(beside)?;
    }
    for Loaded { path, beside: loaded } in found.both.iter().cloned() {
        let Some(inode) = inode_below(&old, Path::new(&path))? else {
            put_back(&loaded, &beside.tree().join(&path))?;
            continue;
        };
        check_way(&new, Path::new(&path))?;
        let live = root.join(&path);
        let aside = Sqlite::at(live.clone()).prepare(&loaded)?;
        if !aside.sqlite()?.is_exchanged() {
            copy_attributes(&live, aside.sqlite()?.file())?;
        }
        renewals.renewed.push(Renewal { path, inode, beside: loaded, aside });
    }

    let open = if is_shared(root) { Err(Unproven::Shared) } else { OpenFiles::look() };
    let mut others = found.live;
    // What came since, as far as somebody has it open.
    for path in open.iter().flat_map(|open| open.below(root)).filter_map(|(path, _)| path.strip_prefix(root).ok()) {
        let main = found::main_of(path.as_os_str().as_bytes()).map_or(path.to_owned(), |main| path_of(main.to_vec()));
        let known = |text: &str| {
            others.iter().any(|other| other == text)
                || found.both.iter().any(|it| it.path == text)
                || found.same.iter().any(|(same, _)| same == text)
        };
        let is_excluded = excluded.iter().any(|out| main.starts_with(out)) || !beside.replaces(&main);
        if let Some(text) = main.to_str().filter(|text| !known(text) && !is_excluded)
            && (main != path || found::is_named_so(text.as_bytes()))
        {
            others.push(text.to_owned());
        }
    }
    for text in others {
        let path = Path::new(&text);
        let Some(inode) = inode_below(&old, path)? else { continue };
        let closed = match &open {
            Ok(open) => file_identity(&root.join(path)).map_or(Ok(()), |file| open.nobody(file, 0)),
            Err(why) => Err(why.clone()),
        };
        match closed {
            Ok(()) => renewals.left.push(Kept { path: text, inode, why: String::new() }),
            Err(why) if found::exists(&new, text.as_bytes()) => return Err(in_use(root, path, &why)),
            Err(why) => {
                check_way(&new, path)?;
                renewals.kept.push(Kept { path: text, inode, why: why.to_string() });
            }
        }
    }
    Ok(renewals)
}

fn in_use(root: &Path, path: &Path, why: &Unproven) -> Error {
    let why = format!(
        "the snapshot holds another file at `{}`, and the database that is there now may be in use, since {why}: end what \
         uses it, or move it away, then restore again",
        path.display()
    );
    Error::CannotSwap { path: root.to_owned(), why }
}

/// A loaded database whose live one is gone stands in the tree again.
fn put_back(loaded: &Beside, to: &Path) -> Result<(), Error> {
    let file = loaded.sqlite()?.file();
    match rustix::fs::renameat_with(CWD, &file, CWD, to, RenameFlags::NOREPLACE) {
        // It was put back before.
        Err(Errno::NOENT | Errno::EXIST) => Ok(()),
        moved => moved.map_err(Error::io("move", to)),
    }
}

/// After the trees changed places.
pub(super) fn commit(beside: &MountBeside, renewals: &Renewals) -> Result<(), Error> {
    carry(&beside.old_tree(), beside.root(), renewals)?;
    let open = if renewals.left.is_empty() { Ok(OpenFiles::default()) } else { OpenFiles::look() };
    for left in &renewals.left {
        let Ok(file) = file_identity(&beside.old_tree().join(&left.path)) else { continue };
        if let Err(why) = open.as_ref().map_err(Unproven::clone).and_then(|open| open.nobody(file, 0)) {
            let why = format!(
                "the database `{}` was closed before the swap and no longer is in it, since {why}; try again",
                left.path
            );
            return Err(Error::CannotSwap { path: beside.root().to_owned(), why });
        }
    }
    for renewal in &renewals.renewed {
        Sqlite::at(beside.root().join(&renewal.path)).commit(&renewal.beside, &renewal.aside)?;
        stand_aside(renewal, &beside.old_tree())?;
    }
    Ok(())
}

/// Before the trees change places back.
pub(super) fn roll_back(beside: &MountBeside, renewals: &Renewals) -> Result<(), Error> {
    for renewal in &renewals.renewed {
        let there = beside.old_tree().join(&renewal.path);
        let is_aside = inode(&there)? == inode(renewal.aside.sqlite()?.file())?;
        if is_aside && inode(&there)?.is_some() {
            fs::remove_file(&there).map_err(Error::io("remove", &there))?;
        }
        Sqlite::at(beside.root().join(&renewal.path)).roll_back(&renewal.beside, &renewal.aside)?;
    }
    carry(beside.root(), &beside.old_tree(), renewals)
}

/// Once nothing of the swap is needed any more: the live databases' logs are written back.
pub(super) fn discard(beside: &MountBeside, renewals: &Renewals) {
    for renewal in &renewals.renewed {
        let driver = Sqlite::at(beside.root().join(&renewal.path));
        if let Err(error) = driver.discard(&renewal.beside, None) {
            tracing::debug!(path = %renewal.path, %error, "what was loaded goes with its directory");
        }
    }
}

/// The old content at the database's place in the old tree, for the safety snapshot: a second name of what was set
/// aside, so that the swap can still be taken back.
fn stand_aside(renewal: &Renewal, tree: &Path) -> Result<(), Error> {
    let (aside, there) = (renewal.aside.sqlite()?.file(), tree.join(&renewal.path));
    match rustix::fs::linkat(CWD, aside, CWD, &there, AtFlags::empty()) {
        Err(Errno::EXIST) => Ok(()),
        linked => linked.map_err(Error::io("link", &there)),
    }?;
    sync_directory(there.parent().unwrap_or(tree))
}

/// Moves every database that is renewed or stays, with what lies beside it, if it does not stand in `to` yet.
pub(super) fn carry(from: &Path, to: &Path, renewals: &Renewals) -> Result<(), Error> {
    let renewed = renewals.renewed.iter().map(|it| (&it.path, it.inode, &it.aside));
    let all = renewed.map(|(path, inode, aside)| (path, inode, Some(aside)));
    let stay = renewals.kept.iter().chain(&renewals.same).map(|it| (&it.path, it.inode, None));
    for (path, inode, aside) in all.chain(stay) {
        let (source, target) = (Tree::open(from, &[])?, Tree::open(to, &[])?);
        let path = Path::new(path);
        // Either of the two when a database's files change places.
        let is_it = |stands: Option<u64>| {
            stands == Some(inode) || aside.is_some_and(|aside| aside.sqlite().is_ok_and(|it| it.has(stands)))
        };
        if !is_it(inode_below(&source, path)?) || is_it(inode_below(&target, path)?) {
            continue;
        }
        let failed = |errno: Errno| Error::io("carry over", &from.join(path))(errno);
        let source = parent_below(&source, path).map_err(failed)?;
        let target = make_way(&parents(from, path), &target, path).map_err(failed)?;
        for name in BESIDE.iter().map(|suffix| name_beside(path, suffix)).chain([path.to_owned()]) {
            let Some(name) = name.file_name() else { continue };
            match rustix::fs::renameat_with(&source, name, &target, name, RenameFlags::NOREPLACE) {
                Err(Errno::NOENT) => continue,
                Err(Errno::EXIST) => rustix::fs::renameat_with(&source, name, &target, name, RenameFlags::EXCHANGE),
                moved => moved,
            }
            .map_err(failed)?;
        }
        rustix::fs::fsync(&target).and_then(|()| rustix::fs::fsync(&source)).map_err(failed)?;
    }
    Ok(())
}

fn inode(path: &Path) -> Result<Option<u64>, Error> {
    match fs::symlink_metadata(path) {
        Ok(file) => Ok(Some(file.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}
