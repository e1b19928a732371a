//! Before the swap: what becomes of each database that a restored tree and the live one hold both, or the live one alone.
//!
//! **Invariant:** a live file that this process has open as a database is not opened as a file: closing it would drop the
//! locks that SQLite holds on it for us.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::Mount;
use super::compare::path_of;
use super::found;
use super::swap::{MountBeside, write_durably};
use super::walk::Tree;
use crate::domain::manifest::DatabaseEntry;
use crate::domain::tree::Stamp;
use crate::drivers::sqlite::{self, Sqlite};
use crate::drivers::{Beside, Error};

/// What was found before the hold.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Found {
    /// In both trees. What was loaded lies in a directory of its own.
    pub both: Vec<Loaded>,
    /// In both, the same byte for byte, at rest: as the live one was then.
    pub same: Vec<(String, Stamp)>,
    /// In the live tree alone, or as something else in the loaded one.
    pub live: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Loaded {
    pub path: String,
    pub beside: Beside,
}

impl Mount {
    /// To be called once the tree is loaded and [`Mount::check`]ed: compares the databases in it with what the snapshot
    /// recorded (R22), and takes those that the live tree has too out of it, so that the swap writes them into the live
    /// files. Before the hold: it may take long.
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Corrupt`], [`Error::Full`].
    pub fn load_databases(&self, beside: &MountBeside, expected: &[DatabaseEntry]) -> Result<(), Error> {
        let (new, live) = (Tree::open(&beside.tree(), &[])?, Tree::open(beside.root(), self.excluded())?);
        for entry in expected.iter().filter(|entry| beside.replaces(Path::new(&entry.path))) {
            // What is recorded comes from the repository: it must not lead out of the tree.
            let is_plain = Path::new(&entry.path).components().all(|part| matches!(part, Component::Normal(_)));
            if !is_plain || !new.stamp_of(entry.path.as_bytes())?.is_some_and(|stamp| stamp.is_file()) {
                let what = format!("the database `{}`", entry.path);
                let (expected, found) = ("one file".to_owned(), "nothing like it".to_owned());
                return Err(Error::Mismatch { what, expected, found });
            }
            sqlite::check_at_rest(&beside.tree().join(&entry.path), &entry.facts)?;
        }
        let own = found::Own::look();
        let mut found = Found::default();
        for path in found::in_tree(&live)?.into_iter().map(path_of).filter(|path| beside.replaces(path)) {
            let Some(text) = path.to_str().map(str::to_owned) else { continue };
            if loadable(&new, &path).is_none() {
                found.live.push(text);
            } else if let Some(stamp) = same(&live, &new, &own, &path)? {
                found.same.push((text, stamp));
            } else {
                found.take(beside, &path)?;
            }
        }
        found.note(beside)
    }
}

impl Found {
    /// What was loaded is to be written into the live file: takes it out of its tree.
    pub fn take(&mut self, beside: &MountBeside, path: &Path) -> Result<(), Error> {
        let Some(text) = path.to_str().map(str::to_owned) else { return Ok(()) };
        let live = beside.root().join(path);
        let mut places = (0..).map(|number| beside.place().join(format!("database-{number}")));
        let scratch = places.find(|scratch| !scratch.exists()).unwrap_or_default();
        fs::create_dir(&scratch).map_err(Error::io("create", &scratch))?;
        // Under its name in the tree until the driver took it: what can't be a database's content stays a file.
        match Sqlite::at(live.clone()).take_beside(&scratch, &beside.tree().join(path)) {
            Ok(taken) => self.both.push(Loaded { path: text, beside: taken }),
            Err(error @ (Error::Full { .. } | Error::Io { .. })) => return Err(error),
            // No program uses it as a database.
            Err(Error::NotADatabase { path: of } | Error::Corrupt { path: of, .. }) if of == live => {}
            Err(error) => {
                tracing::info!(path = %path.display(), %error, "a database is restored as a file");
                self.live.push(text);
            }
        }
        Ok(())
    }

    /// What [`Mount::load_databases`] found.
    pub fn noted(beside: &MountBeside) -> Result<Option<Self>, Error> {
        let path = record(beside);
        match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map_err(|error| Error::io("read", &path)(io::Error::from(error))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    pub fn note(&self, beside: &MountBeside) -> Result<(), Error> {
        let json =
            serde_json::to_vec(self).map_err(|error| Error::io("note", beside.place())(io::Error::from(error)))?;
        write_durably(&record(beside), &json)
    }
}

/// The live file's stamp when it is at rest and what was loaded is the same, byte for byte.
fn same(live: &Tree, new: &Tree, own: &found::Own, path: &Path) -> Result<Option<Stamp>, Error> {
    let name = path.as_os_str().as_bytes();
    let (Some(stamp), Some(loaded)) = (live.stamp_of(name)?, new.stamp_of(name)?) else { return Ok(None) };
    // Closing what this process has open as a database would drop SQLite's locks on it.
    if stamp.size != loaded.size || own.is_open(live, name).is_some() || !found::is_alone(live, path) {
        return Ok(None);
    }
    let open = |tree: &Tree| tree.open_below(name, OFlags::RDONLY | OFlags::NONBLOCK).map(fs::File::from);
    let (Ok(mut one), Ok(mut other)) = (open(live), open(new)) else { return Ok(None) };
    let equal = equal(&mut one, &mut other).map_err(Error::io("compare", &live.path.join(path)))?;
    Ok((equal && is_as_it_was(live, path, &stamp)?).then_some(stamp))
}

pub(super) fn is_as_it_was(tree: &Tree, path: &Path, stamp: &Stamp) -> Result<bool, Error> {
    let now = tree.stamp_of(path.as_os_str().as_bytes())?;
    Ok(now.as_ref() == Some(stamp) && found::is_alone(tree, path))
}

fn equal(one: &mut fs::File, other: &mut fs::File) -> io::Result<bool> {
    let (mut ours, mut theirs) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let read = one.read(&mut ours)?;
        if read == 0 {
            return Ok(other.read(&mut theirs)? == 0);
        }
        match other.read_exact(&mut theirs[..read]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            done => done?,
        }
        if ours[..read] != theirs[..read] {
            return Ok(false);
        }
    }
}

/// A loaded file that is a whole database by itself: nothing lies beside it.
fn loadable(new: &Tree, path: &Path) -> Option<()> {
    let stamp = new.stamp_of(path.as_os_str().as_bytes()).ok()??;
    let is_database =
        stamp.size == 0 || found::head(new, &found::Own::default(), path.as_os_str().as_bytes()).is_some();
    (stamp.is_file() && found::is_alone(new, path) && is_database).then_some(())
}

fn record(beside: &MountBeside) -> PathBuf {
    beside.place().join("databases.json")
}
