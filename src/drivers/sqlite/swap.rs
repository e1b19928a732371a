//! Replacing a live SQLite database: load beside, check, copy the old one aside, copy the new one in.
//!
//! **Invariant:** the live file is changed by one SQLite transaction each time, so that it is the old or the new one
//! whenever the worker dies. Whether a commit began is a mark in the scratch directory, written durably before it begins
//! and removed after it was rolled back; only while there is none does `prepare` write what is set aside.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::exchange::{Exchange, LARGE};
use super::file;
use crate::domain::manifest::Facts;
use crate::drivers::{Error, service};

/// In the swap hold, for programs that don't go through the gate.
const WAIT: Duration = Duration::from_secs(5);

/// A loaded database in its scratch directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    scratch: PathBuf,
}

/// The old database in the same directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    file: PathBuf,
    /// When the files change places: then, once they have, the old one stands where the loaded one stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exchange: Option<Exchange>,
}

impl Aside {
    /// Where the old database is a file of its own: after the commit when the files were exchanged, else before it.
    pub(in crate::drivers) fn file(&self) -> &Path {
        &self.file
    }

    pub(in crate::drivers) fn is_exchanged(&self) -> bool {
        self.exchange.is_some()
    }

    /// Whether this inode is one of the two files that change places.
    pub(in crate::drivers) fn has(&self, inode: Option<u64>) -> bool {
        self.exchange.is_some_and(|exchange| exchange.has(inode))
    }

    fn there(&self) -> Result<&Path, Error> {
        if self.file.exists() { Ok(&self.file) } else { Err(Error::NotPrepared { path: self.file.clone() }) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// A commit began: the live database is the old or the new one.
    Begun,
    /// It is the new one.
    Committed,
}

impl Mark {
    const ALL: [Self; 2] = [Self::Begun, Self::Committed];

    fn name(self) -> &'static str {
        match self {
            Self::Begun => "commit.begun",
            Self::Committed => "commit.done",
        }
    }
}

impl Beside {
    pub(in crate::drivers) fn file(&self) -> PathBuf {
        self.scratch.join("beside.db")
    }

    /// What [`prepare`] decided, so that it says the same after a commit.
    fn record(&self) -> PathBuf {
        self.scratch.join("aside.json")
    }

    fn has(&self, mark: Mark) -> bool {
        self.scratch.join(mark.name()).exists()
    }

    fn set(&self, mark: Mark) -> Result<(), Error> {
        let path = self.scratch.join(mark.name());
        File::create(&path).and_then(|file| file.sync_all()).map_err(Error::io("write", &path))?;
        sync_directory(&self.scratch)
    }

    fn clear(&self, mark: Mark) -> Result<(), Error> {
        file::remove(&self.scratch.join(mark.name()))?;
        sync_directory(&self.scratch)
    }
}

pub(super) fn beside(scratch: &Path) -> Beside {
    Beside { scratch: scratch.to_owned() }
}

pub(super) fn load(live: &Path, scratch: &Path, dump: &mut dyn Read) -> Result<Beside, Error> {
    let beside = beside(scratch);
    let path = beside.file();
    if beside.has(Mark::Begun) {
        let why = "a swap with what was loaded before has begun: finish or roll it back first".to_owned();
        return Err(Error::CannotSwap { path: live.to_owned(), why });
    }
    file::remove(&path)?;
    receive(&path, dump)?;
    adapt(live, &beside)?;
    Ok(beside)
}

/// As [`load`], of a file that lies on the same file system: takes it, or leaves it where it is.
pub(super) fn take(live: &Path, scratch: &Path, loaded: &Path) -> Result<Beside, Error> {
    let beside = beside(scratch);
    let file = beside.file();
    // Neither of them has to be a database that SQLite can use.
    for path in [live, loaded] {
        let connection = if path == live { file::open(path, WAIT)? } else { file::open_at_rest(path)? };
        file::size(&connection).map_err(file::explain(path, WAIT))?;
    }
    fs::rename(loaded, &file).map_err(Error::io("move", loaded))?;
    if let Err(error) = adapt(live, &beside) {
        fs::rename(&file, loaded).map_err(Error::io("move", loaded))?;
        return Err(error);
    }
    File::open(&file).and_then(|file| file.sync_all()).map_err(Error::io("sync", &file))?;
    Ok(beside)
}

/// Makes what was loaded such that it can be copied into the live database.
pub(super) fn adapt(live: &Path, beside: &Beside) -> Result<(), Error> {
    let path = beside.file();
    let explain = || file::explain(&path, WAIT);
    let connection = file::open(&path, WAIT)?;
    // Alone in one file, and without a mode of its own: the live database keeps its.
    connection.query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(())).map_err(explain())?;
    let there = file::open(live, WAIT)?;
    let (size, wal) =
        (|| Ok((file::page_size(&there)?, file::is_wal(&there)?)))().map_err(file::explain(live, WAIT))?;
    if wal && file::page_size(&connection).map_err(explain())? != size {
        // The backup API can't change the page size of a database in WAL mode.
        connection.execute_batch(&format!("PRAGMA page_size={size}; VACUUM")).map_err(explain())?;
    }
    drop(connection);
    sync_directory(&beside.scratch)
}

/// Writes the dump to a file, durably, and looks whether it can be a database.
fn receive(path: &Path, dump: &mut dyn Read) -> Result<(), Error> {
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    let mut buffer = vec![0; 1 << 20];
    let mut head = Vec::new();
    loop {
        let read = match dump.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::Input(error)),
        };
        if head.len() < file::MAGIC.len() {
            head.extend_from_slice(&buffer[..read.min(file::MAGIC.len())]);
        }
        file.write_all(&buffer[..read]).map_err(Error::io("write", path))?;
    }
    // Nothing at all is the empty database.
    if !head.is_empty() && !head.starts_with(file::MAGIC) {
        return Err(Error::NotADatabase { path: path.to_owned() });
    }
    file.sync_all().map_err(Error::io("write", path))
}

pub(super) fn check(beside: &Beside, expected: &Facts) -> Result<(), Error> {
    let path = beside.file();
    sound(&path, &file::open(&path, WAIT)?, expected)
}

/// The same for a file that nobody has open, which is left as it is.
pub(in crate::drivers) fn check_at_rest(path: &Path, expected: &Facts) -> Result<(), Error> {
    sound(path, &file::open_at_rest(path)?, expected)
}

fn sound(path: &Path, connection: &Connection, expected: &Facts) -> Result<(), Error> {
    let (first, found) = (|| {
        let first: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        Ok((first, file::facts(connection)?))
    })()
    .map_err(file::explain(path, WAIT))?;
    if first != "ok" {
        return Err(Error::Corrupt { path: path.to_owned(), detail: first });
    }
    service::compare(&found, expected)
}

pub(super) fn prepare(live: &Path, beside: &Beside) -> Result<Aside, Error> {
    if beside.has(Mark::Begun) {
        let record = beside.record();
        let json = fs::read(&record).map_err(|_| Error::NotPrepared { path: record.clone() })?;
        return serde_json::from_slice(&json).map_err(|error| Error::io("read", &record)(std::io::Error::from(error)));
    }
    let aside = fix(live, beside)?;
    let json = serde_json::to_vec(&aside).map_err(|error| Error::io("note", live)(std::io::Error::from(error)))?;
    let mut record = File::create(beside.record()).map_err(Error::io("create", &beside.scratch))?;
    record.write_all(&json).and_then(|()| record.sync_all()).map_err(Error::io("write", &beside.scratch))?;
    sync_directory(&beside.scratch)?;
    Ok(aside)
}

/// Copies the live database aside, or plans to exchange it.
fn fix(live: &Path, beside: &Beside) -> Result<Aside, Error> {
    let aside = Aside { file: beside.scratch.join("aside.db"), exchange: None };
    let length = |path: &Path| fs::metadata(path).map(|file| file.len()).map_err(Error::reading("look at", path));
    if length(live)?.max(length(&beside.file())?) >= LARGE {
        match Exchange::plan(live, &beside.file())? {
            Ok(exchange) => return Ok(Aside { file: beside.file(), exchange: Some(exchange) }),
            Err(why) => tracing::info!(path = %live.display(), %why, "a large database is copied over"),
        }
    }
    let explain = || file::explain(live, WAIT);
    let from = file::open(live, WAIT)?;
    file::pin(&from).map_err(explain())?;
    let loaded = file::open(&beside.file(), WAIT)?;
    let loaded = file::page_size(&loaded).map_err(file::explain(&beside.file(), WAIT))?;
    let size = file::page_size(&from).map_err(explain())?;
    if size != loaded && file::is_wal(&from).map_err(explain())? {
        return Err(Error::PageSize { path: live.to_owned(), live: size, loaded });
    }

    let part = beside.scratch.join("aside.part");
    let mut to = file::create_scratch(&part)?;
    file::copy((&from, live), (&mut to, &part), WAIT, &|| false)?;
    drop(to);
    File::open(&part).and_then(|file| file.sync_all()).map_err(Error::io("write", &part))?;
    fs::rename(&part, &aside.file).map_err(Error::io("rename", &part))?;
    Ok(aside)
}

pub(super) fn commit(live: &Path, beside: &Beside, aside: &Aside) -> Result<(), Error> {
    if beside.has(Mark::Committed) {
        return Ok(());
    }
    if !aside.file.exists() {
        return Err(Error::NotPrepared { path: aside.file.clone() });
    }
    beside.set(Mark::Begun)?;
    if let Some(exchange) = aside.exchange {
        return match exchange.commit(live, &beside.file())? {
            Ok(()) => beside.set(Mark::Committed),
            Err(why) => {
                beside.clear(Mark::Begun)?;
                let why = format!("when the swap came, it was no longer closed, since {why}; try again");
                Err(Error::CannotSwap { path: live.to_owned(), why })
            }
        };
    }
    match replace(live, &beside.file()) {
        // It never came to its transaction's end: nothing is to be taken back, which would meet the same lock.
        Err(error @ Error::Locked { .. }) => {
            beside.clear(Mark::Begun)?;
            Err(error)
        }
        Err(error) => Err(error),
        Ok(()) => beside.set(Mark::Committed),
    }
}

pub(super) fn roll_back(live: &Path, beside: &Beside, aside: &Aside) -> Result<(), Error> {
    if !beside.has(Mark::Begun) {
        return Ok(());
    }
    if !aside.file.exists() {
        return Err(Error::NotPrepared { path: aside.file.clone() });
    }
    beside.clear(Mark::Committed)?;
    if let Some(exchange) = aside.exchange {
        match exchange.roll_back(live, &aside.file)? {
            Ok(()) => return beside.clear(Mark::Begun),
            // Somebody opened the new file: it gets the old content, which all that have it open see.
            Err(why) => tracing::warn!(path = %live.display(), %why, "an exchanged database is copied back"),
        }
    }
    replace(live, &aside.file)?;
    beside.clear(Mark::Begun)
}

/// One durable transaction on the live database that makes it equal to `with`. Its journal mode stays, and so do the
/// connections that others have open.
fn replace(live: &Path, with: &Path) -> Result<(), Error> {
    let from = file::open(with, WAIT)?;
    file::pin(&from).map_err(file::explain(with, WAIT))?;
    let mut to = file::open(live, WAIT)?;
    to.execute_batch("PRAGMA synchronous=FULL").map_err(file::explain(live, WAIT))?;
    file::copy((&from, with), (&mut to, live), WAIT, &|| false)
}

pub(super) fn discard(live: &Path, beside: &Beside, aside: Option<&Aside>) -> Result<(), Error> {
    // The swap left the whole database in the log; others would have to read it there. It may be busy: then later.
    if beside.has(Mark::Committed)
        && let Ok(connection) = file::open(live, Duration::ZERO)
        && let Err(error) = connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE)")
    {
        tracing::debug!(path = %live.display(), %error, "the log is written back later");
    }
    file::remove(&beside.file())?;
    file::remove(&beside.scratch.join("aside.part"))?;
    if let Some(aside) = aside {
        file::remove(&aside.file)?;
        file::remove(&beside.record())?;
        for mark in Mark::ALL {
            file::remove(&beside.scratch.join(mark.name()))?;
        }
    }
    Ok(())
}

pub(super) fn dump_aside(aside: &Aside, out: &mut dyn Write) -> Result<(), Error> {
    file::stream(aside.there()?, out, &|| false).map(drop)
}

pub(super) fn aside_facts(aside: &Aside) -> Result<Facts, Error> {
    let path = aside.there()?;
    let connection = file::open(path, WAIT)?;
    file::facts(&connection).map_err(file::explain(path, WAIT))
}

/// So that names made or removed in it are there after a power cut.
fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(Error::io("sync", path))
}
