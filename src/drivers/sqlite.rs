//! SQLite databases: one file, read by a pinned connection, replaced through SQLite's own backup API.
//!
//! **Invariant:** the live file is opened by SQLite alone. POSIX locks belong to the process and fall when *any*
//! descriptor of the file is closed: one plain `open`, `read`, `close` of the file or its `-shm` would take the locks away
//! under a view that is being read, or under an application in the same process. So the position comes from a connection,
//! not from the file's header. And a file is never renamed over a live database: the stale `-wal` would be applied to it.

mod exchange;
mod file;
#[cfg(test)]
pub(super) mod program;
mod proof;
mod swap;
#[cfg(test)]
mod tests;
mod view;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use self::file::Access;
use super::Error;
use super::service::{self, Position, Service, Tested, View};
use crate::domain::Bytes;
use crate::domain::manifest::Facts;

pub(super) use file::{BESIDE, MAGIC, beside as name_beside};
pub(super) use proof::{OpenFiles, Unproven, identity as file_identity, is_shared};
pub(super) use swap::check_at_rest;
pub use swap::{Aside, Beside};
pub(super) use view::SqliteView;

/// For others' locks while testing; a site that commits all the time lets go within milliseconds.
const TEST_WAIT: Duration = Duration::from_secs(2);

/// For a commit that is just being written while the position is asked for, inside a hold.
const POSITION_WAIT: Duration = Duration::from_millis(500);

/// How long the connection test looks for damage before it lets that be: in WAL mode nobody waits for it.
const QUICK_CHECK: Duration = Duration::from_secs(2);
const QUICK_CHECK_WITHOUT_WAL: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    access: Access,
    watch: Mutex<Watch>,
}

/// The connection that sees others' commits. SQLite's data version counts only from the view of one connection.
#[derive(Debug, Default)]
struct Watch {
    /// How often it had to be opened: part of the position, since counting begins anew each time.
    opened: u64,
    open: Option<(Identity, Connection)>,
}

/// Device and inode: another file under the same name is another database.
type Identity = (u64, u64);

impl Sqlite {
    /// # Errors
    /// [`Error::NotAbsolute`].
    pub fn connect(path: &str) -> Result<Self, Error> {
        let path = PathBuf::from(path);
        if !path.is_absolute() {
            return Err(Error::NotAbsolute { path });
        }
        Ok(Self::at(path))
    }

    /// A live database that is to be replaced, at an absolute path.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, access: Access::Declared, watch: Mutex::default() }
    }

    /// As [`Service::load_beside`], of a file on the same file system: takes it, or leaves it where it is.
    pub(super) fn take_beside(&self, scratch: &Path, loaded: &Path) -> Result<service::Beside, Error> {
        swap::take(&self.path, scratch, loaded).map(service::Beside::Sqlite)
    }

    /// A database that nobody declared, at an absolute path without links.
    pub(super) fn found(path: PathBuf) -> Self {
        Self { path, access: Access::Found, watch: Mutex::default() }
    }

    /// As [`Service::open_view`], with what it can do beyond that.
    pub(super) fn view(&self, within: Duration) -> Result<SqliteView, Error> {
        let deadline = Instant::now() + within;
        loop {
            let before = self.position()?;
            let remaining = deadline.saturating_duration_since(Instant::now());
            let view = SqliteView::open(self.access, &self.path, remaining, before.clone())?;
            // Nothing moved meanwhile: it really stands at that position. In a hold this holds at the first try; where
            // somebody writes all the time it may never, and the second look after the last view says so (R16).
            if self.position()? == before || Instant::now() >= deadline {
                return Ok(view);
            }
        }
    }

    /// Closes the connection that asks for positions.
    pub(super) fn close(&self) {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).open = None;
    }

    /// What stands at the path, by `stat` alone.
    fn identity(&self) -> Result<Identity, Error> {
        let metadata = fs::metadata(&self.path).map_err(Error::reading("look at", &self.path))?;
        if !metadata.is_file() {
            return Err(Error::NotAFile { path: self.path.clone() });
        }
        Ok((metadata.dev(), metadata.ino()))
    }

    fn check_access(&self) -> Result<(), Error> {
        use rustix::fs::{Access, access};
        let path = &self.path.canonicalize().map_err(Error::reading("look at", &self.path))?;
        access(path, Access::READ_OK)
            .map_err(|errno| Error::Unreadable { path: path.clone(), source: errno.into() })?;
        // SQLite writes its journal beside the file, where a link leads.
        let parent = path.parent().unwrap_or(Path::new("/"));
        for place in [path.as_path(), parent] {
            access(place, Access::WRITE_OK)
                .map_err(|errno| Error::NotWritable { path: place.to_owned(), source: errno.into() })?;
        }
        Ok(())
    }
}

impl Service for Sqlite {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn test(&self) -> Result<Tested, Error> {
        self.identity()?;
        self.check_access()?;
        let explain = || file::explain(&self.path, TEST_WAIT);
        let connection = file::open(&self.path, TEST_WAIT)?;
        file::pin(&connection).map_err(explain())?;
        let size = file::size(&connection).map_err(explain())?;
        let wal = file::is_wal(&connection).map_err(explain())?;
        let within = if wal { QUICK_CHECK } else { QUICK_CHECK_WITHOUT_WAL };
        if let Some(detail) = quick_check(&connection, within).map_err(explain())? {
            return Err(Error::Corrupt { path: self.path.clone(), detail });
        }
        connection.execute_batch("COMMIT; BEGIN IMMEDIATE; ROLLBACK").map_err(explain())?;
        Ok(Tested { version: rusqlite::version().to_owned(), size: Bytes(size), limits: view::limits(wal) })
    }

    fn position(&self) -> Result<Position, Error> {
        let identity = self.identity()?;
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        // While it is open the old inode can't be given to another file.
        if watch.open.as_ref().is_none_or(|(known, _)| *known != identity) {
            watch.open = Some((identity, file::open_as(self.access, &self.path, POSITION_WAIT)?));
            watch.opened += 1;
        }
        let opened = watch.opened;
        let Some((_, connection)) = &watch.open else { return Err(Error::Missing { path: self.path.clone() }) };
        let read = |pragma: &str| -> rusqlite::Result<i64> { connection.query_row(pragma, [], |row| row.get(0)) };
        let position = (|| {
            let version = read("PRAGMA data_version")?;
            let pages = read("PRAGMA page_count")?;
            Ok(Position::new(format!("data version {opened}.{version}, {pages} pages, inode {}", identity.1)))
        })();
        if position.is_err() {
            watch.open = None;
        }
        position.map_err(file::explain(&self.path, POSITION_WAIT))
    }

    fn open_view(&self, within: Duration) -> Result<Box<dyn View>, Error> {
        self.view(within).map(|view| Box::new(view) as Box<dyn View>)
    }

    fn beside(&self, scratch: &Path) -> Result<service::Beside, Error> {
        Ok(service::Beside::Sqlite(swap::beside(scratch)))
    }

    fn load_beside(&self, scratch: &Path, dump: &mut dyn Read) -> Result<service::Beside, Error> {
        swap::load(&self.path, scratch, dump).map(service::Beside::Sqlite)
    }

    fn check(&self, beside: &service::Beside, expected: &Facts) -> Result<(), Error> {
        swap::check(beside.sqlite()?, expected)
    }

    fn prepare(&self, beside: &service::Beside) -> Result<service::Aside, Error> {
        self.identity()?;
        // Ours would be in the way of an exchange.
        self.close();
        swap::prepare(&self.path, beside.sqlite()?).map(service::Aside::Sqlite)
    }

    fn commit(&self, beside: &service::Beside, aside: &service::Aside) -> Result<(), Error> {
        self.close();
        swap::commit(&self.path, beside.sqlite()?, aside.sqlite()?)
    }

    fn roll_back(&self, beside: &service::Beside, aside: &service::Aside) -> Result<(), Error> {
        self.close();
        swap::roll_back(&self.path, beside.sqlite()?, aside.sqlite()?)
    }

    fn discard(&self, beside: &service::Beside, aside: Option<&service::Aside>) -> Result<(), Error> {
        swap::discard(&self.path, beside.sqlite()?, aside.map(service::Aside::sqlite).transpose()?)
    }

    fn dump_aside(&self, aside: &service::Aside, out: &mut dyn Write) -> Result<(), Error> {
        swap::dump_aside(aside.sqlite()?, out)
    }

    fn aside_facts(&self, aside: &service::Aside) -> Result<Facts, Error> {
        swap::aside_facts(aside.sqlite()?)
    }

    fn aside_size(&self, aside: &service::Aside) -> Result<Option<Bytes>, Error> {
        let file = aside.sqlite()?.file();
        fs::metadata(file).map(|is| Some(Bytes(is.len()))).map_err(Error::reading("look at", file))
    }

    fn aside_place(&self, _aside: &service::Aside) -> &'static str {
        "in a file of its own"
    }

    fn notice(&self) -> Option<String> {
        exchange::notice(&self.path)
    }

    /// In WAL mode, in which a snapshot's view hinders no writer.
    fn provision(&self) -> Result<(), Error> {
        let path = &self.path;
        // Atomic: of two at once only one makes it. Empty, no SQLite has it open yet.
        match fs::OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(created) => drop(created),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists { path: path.clone() });
            }
            Err(error) => return Err(Error::io("create", path)(error)),
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(path, flags)
            .and_then(|connection| connection.execute_batch("PRAGMA journal_mode=WAL"))
            .map_err(file::explain(path, Duration::ZERO))
    }
}

/// The first damage found within that time.
fn quick_check(connection: &Connection, within: Duration) -> rusqlite::Result<Option<String>> {
    let until = Instant::now() + within;
    connection.progress_handler(10_000, Some(move || Instant::now() > until))?;
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    connection.progress_handler(0, None::<fn() -> bool>)?;
    match found {
        Ok(text) if text == "ok" => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(None),
        Err(error) => Err(error),
    }
}
