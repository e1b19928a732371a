//! Exchanging a large database's file instead of copying it over, under proof that nobody has it open.
//!
//! **Invariant:** while the names change places, the old file is locked exclusively, has no log beside it, and no other
//! process has it open; that is proven before and again after. Whoever opened it in between could only wait for the lock:
//! then the files are exchanged back, and it goes on with the file that it opened.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rustix::fs::{AtFlags, CWD, RenameFlags, StatxFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::file::{self, BESIDE};
use super::proof::{Identity, OpenFiles, Unproven, identity, is_shared};
use crate::domain::Bytes;
use crate::domain::time::span;
use crate::drivers::Error;
use crate::drivers::mount::copy_attributes;

/// Bytes from which on the two copies of an overwritten database took longer than 300 ms where it was measured.
pub(in crate::drivers) const LARGE: u64 = 48 << 20;

/// For locks; those who hold one longer have the file open and are found by the proof.
const WAIT: Duration = Duration::from_millis(200);

/// Between two looks at who has a file open.
const PAUSE: Duration = Duration::from_millis(5);

/// What is exchanged, by inode: the name says nothing once it has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exchange {
    old: u64,
    new: u64,
    /// Whether the live database is in WAL mode.
    wal: bool,
}

/// Why it was not exchanged, in words that follow "since".
pub(super) type NotExchanged = String;

/// Tries it with two empty files.
fn can_exchange(directory: &Path) -> Result<bool, Error> {
    let failed = || Error::io("try", directory);
    let probe = tempfile::Builder::new().prefix("probe-").tempdir_in(directory).map_err(failed())?;
    let (one, other) = (probe.path().join("one"), probe.path().join("other"));
    fs::write(&one, []).and_then(|()| fs::write(&other, [])).map_err(failed())?;
    match rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
        tried => tried.map(|()| true).map_err(Error::io("try", directory)),
    }
}

/// A database that nobody else can read or write, with no log beside it.
struct Seized(Connection);

impl Exchange {
    /// Whether the loaded file may take the live one's place. Makes it like the live one: its journal mode, its owner,
    /// its permissions. Changes nothing else.
    pub fn plan(live: &Path, loaded: &Path) -> Result<Result<Self, NotExchanged>, Error> {
        let live = &real(live)?;
        let (is, will) = (look(live)?, look(loaded)?);
        if is.nlink() > 1 {
            return Ok(Err("it has several names".to_owned()));
        }
        let journal = file::beside(live, BESIDE[2]);
        if journal.exists() {
            return Ok(Err(format!("`{}` lies beside it", journal.display())));
        }
        let directory = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_owned();
        if mounted(&directory(live))? != mounted(&directory(loaded))? {
            return Ok(Err("it lies on another file system than Stillpoint's own data".to_owned()));
        }
        if !can_exchange(&directory(loaded))? {
            return Ok(Err("its file system can't exchange two files".to_owned()));
        }
        if is_shared(live) {
            return Ok(Err(Unproven::Shared.to_string()));
        }
        if let Err(why) = alone((is.dev(), is.ino()), 0) {
            return Ok(Err(why));
        }
        let wal = {
            let connection = file::open(live, WAIT)?;
            file::is_wal(&connection).map_err(file::explain(live, WAIT))?
        };
        set_mode(loaded, wal)?;
        copy_attributes(live, loaded)?;
        fs::File::open(loaded).and_then(|file| file.sync_all()).map_err(Error::io("sync", loaded))?;
        Ok(Ok(Self { old: is.ino(), new: will.ino(), wal }))
    }

    pub fn has(self, inode: Option<u64>) -> bool {
        inode == Some(self.old) || inode == Some(self.new)
    }

    pub fn commit(self, live: &Path, other: &Path) -> Result<Result<(), NotExchanged>, Error> {
        if self.stands(live, self.new)? {
            return self.tidy(other);
        }
        if !self.stands(live, self.old)? {
            return Ok(Err("another file stands there now".to_owned()));
        }
        // Taken back once, it was left without.
        set_mode(other, self.wal)?;
        match exchange(live, other)? {
            Ok(()) => self.tidy(other),
            Err(why) => {
                set_mode(live, self.wal)?;
                Ok(Err(why))
            }
        }
    }

    /// `Err`: the new file is still there, and has to be overwritten.
    pub fn roll_back(self, live: &Path, other: &Path) -> Result<Result<(), NotExchanged>, Error> {
        if !self.stands(live, self.old)? {
            if !self.stands(live, self.new)? {
                let why = format!("another file stands there now; the old one is at {}", other.display());
                return Err(Error::CannotSwap { path: live.to_owned(), why });
            }
            if let Err(why) = exchange(live, other)? {
                return Ok(Err(why));
            }
        }
        set_mode(live, self.wal)?;
        Ok(Ok(()))
    }

    fn stands(self, live: &Path, inode: u64) -> Result<bool, Error> {
        Ok(look(live)?.ino() == inode)
    }

    /// The old file is as it was, wherever it stands.
    fn tidy(self, other: &Path) -> Result<Result<(), NotExchanged>, Error> {
        set_mode(other, self.wal)?;
        Ok(Ok(()))
    }
}

/// Bytes a second in which a database was copied aside and then over, where it was measured: both, on the disk.
const COPIED: u64 = 128 << 20;

/// That a large database would be copied in the swap, as things are now, and about how long that takes.
pub(super) fn notice(live: &Path) -> Option<String> {
    let is = fs::metadata(live).ok().filter(|is| is.len() >= LARGE)?;
    let why = OpenFiles::look().and_then(|open| open.nobody((is.dev(), is.ino()), 0)).err()?;
    let (size, wait) = (Bytes(is.len()), Duration::from_secs((is.len() / COPIED).max(1)));
    Some(format!(
        "The database {} ({size}) is copied during the swap, since {why}: visitors may wait about {}, by an estimate. \
         When nobody has it open, its file is exchanged at once.",
        live.display(),
        span(wait)
    ))
}

/// Lets the two files change places, or nothing.
fn exchange(live: &Path, other: &Path) -> Result<Result<(), NotExchanged>, Error> {
    let live = &real(live)?;
    let before = identity(live).map_err(Error::reading("look at", live))?;
    let seized = match Seized::take(live)? {
        Ok(seized) => seized,
        Err(why) => return Ok(Err(why)),
    };
    if let Err(why) = alone(before, 1) {
        return Ok(Err(why));
    }
    swap(live, other)?;
    if let Err(why) = alone(before, 1) {
        swap(live, other)?;
        return Ok(Err(why));
    }
    drop(seized);
    Ok(Ok(()))
}

/// Nobody has it open but we, `ours` times. A program that this process is just starting has for a moment what this one
/// has, and one that ends can't be looked into: that passes.
fn alone(file: Identity, ours: usize) -> Result<(), NotExchanged> {
    let mut tries = 5;
    loop {
        match OpenFiles::look().and_then(|open| open.nobody(file, ours)) {
            Ok(()) => return Ok(()),
            Err(why) if tries == 0 || why == Unproven::Contained => return Err(why.to_string()),
            Err(_) => std::thread::sleep(PAUSE),
        }
        tries -= 1;
    }
}

fn swap(live: &Path, other: &Path) -> Result<(), Error> {
    rustix::fs::renameat_with(CWD, live, CWD, other, RenameFlags::EXCHANGE).map_err(Error::io("exchange", live))?;
    for path in [live, other] {
        let directory = path.parent().unwrap_or(Path::new("/"));
        fs::File::open(directory).and_then(|opened| opened.sync_all()).map_err(Error::io("sync", directory))?;
    }
    Ok(())
}

impl Seized {
    /// Leaves the WAL mode, which writes the whole log back and removes it: only who is alone can. Then locks.
    fn take(live: &Path) -> Result<Result<Self, NotExchanged>, Error> {
        let connection = file::open(live, WAIT)?;
        let locked = || {
            let mode: String = connection.query_row("PRAGMA journal_mode=DELETE", [], |row| row.get(0))?;
            connection.execute_batch("BEGIN EXCLUSIVE")?;
            Ok(mode)
        };
        match locked() {
            Ok(mode) if mode.eq_ignore_ascii_case("delete") => {}
            Ok(mode) => return Ok(Err(format!("its journal mode stays {mode}"))),
            Err(error) if file::is_busy(&error) => return Ok(Err("another program is using it".to_owned())),
            Err(error) => return Err(file::explain(live, WAIT)(error)),
        }
        match BESIDE.iter().map(|suffix| file::beside(live, suffix)).find(|path| path.exists()) {
            Some(beside) => Ok(Err(format!("`{}` lies beside it", beside.display()))),
            None => Ok(Ok(Self(connection))),
        }
    }
}

impl Drop for Seized {
    fn drop(&mut self) {
        // Nothing was written: there is no journal that its end could remove under the new file's name.
        if let Err(error) = self.0.execute_batch("ROLLBACK") {
            tracing::debug!(%error, "a lock goes with its connection");
        }
    }
}

/// A file that nobody else uses. Busy means that it isn't: then its users' mode is theirs.
fn set_mode(path: &Path, wal: bool) -> Result<(), Error> {
    let connection = file::open(path, WAIT)?;
    if file::is_wal(&connection).map_err(file::explain(path, WAIT))? == wal {
        return Ok(());
    }
    let mode = if wal { "PRAGMA journal_mode=WAL" } else { "PRAGMA journal_mode=DELETE" };
    match connection.query_row(mode, [], |_| Ok(())) {
        Err(error) if !file::is_busy(&error) => Err(file::explain(path, WAIT)(error)),
        _ => Ok(()),
    }
}

/// Links resolved: it is the file that is exchanged.
fn real(path: &Path) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(Error::reading("look at", path))
}

fn look(path: &Path) -> Result<fs::Metadata, Error> {
    fs::metadata(path).map_err(Error::reading("look at", path))
}

/// The kernel's number of the mount: one file system can be mounted in two places, between which nothing is renamed.
fn mounted(path: &Path) -> Result<u64, Error> {
    let found = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID | StatxFlags::BASIC_STATS);
    found.map(|found| found.stx_mnt_id).map_err(Error::reading("look at", path))
}
