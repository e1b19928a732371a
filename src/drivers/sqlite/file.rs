//! A SQLite file: opening it, copying it page by page, describing what it holds.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use sha2::{Digest, Sha256};

use crate::domain::manifest::Facts;
use crate::drivers::Error;

/// Pages copied between two looks at the cancel flag: 1 to 64 MiB, as the page size is.
const STEP_PAGES: i32 = 1024;

/// Between two tries for a lock.
const PAUSE: Duration = Duration::from_millis(2);

/// What the first bytes of every database say.
pub(in crate::drivers) const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What SQLite keeps beside a database while it is in use.
pub(in crate::drivers) const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Whose database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::drivers) enum Access {
    /// Declared: opened as any program would.
    Declared,
    /// Found among a site's files, whoever put it there: no link is followed, nothing is written to it, and a journal
    /// beside it is not played back, since a journal names files that SQLite removes then.
    Found,
}

/// Opens an existing database; never creates one. `wait`: how long each statement waits for others' locks.
pub(super) fn open(path: &Path, wait: Duration) -> Result<Connection, Error> {
    open_as(Access::Declared, path, wait)
}

pub(super) fn open_as(access: Access, path: &Path, wait: Duration) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX
        | match access {
            Access::Declared => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Access::Found => OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NOFOLLOW,
        };
    let connection = Connection::open_with_flags(path, flags).map_err(explain(path, wait))?;
    connection.busy_timeout(wait).map_err(explain(path, wait))?;
    if access == Access::Found {
        connection
            .execute_batch("PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON")
            .map_err(explain(path, wait))?;
    }
    Ok(connection)
}

/// Opens a file that nobody writes to, without a lock and without anything beside it.
pub(super) fn open_at_rest(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let connection = Connection::open_with_flags(uri, flags).map_err(explain(path, Duration::ZERO))?;
    connection.execute_batch("PRAGMA trusted_schema=OFF").map_err(explain(path, Duration::ZERO))?;
    Ok(connection)
}

/// `path` with what SQLite appends to it.
pub(in crate::drivers) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes a database that nobody else knows yet, without journal and without waiting for the disk: what is to last is
/// synced by its owner once it is whole.
pub(super) fn create_scratch(path: &Path) -> Result<Connection, Error> {
    remove(path)?;
    let connection = Connection::open(path).map_err(explain(path, Duration::ZERO))?;
    connection
        .execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF")
        .map_err(explain(path, Duration::ZERO))?;
    Ok(connection)
}

/// Begins a read transaction that really reads: a bare BEGIN opens nothing.
pub(super) fn pin(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1")
}

/// Copies the whole database by SQLite's backup API in one transaction of `to`: all of it or nothing.
pub(super) fn copy(
    from: (&Connection, &Path),
    to: (&mut Connection, &Path),
    wait: Duration,
    cancelled: &dyn Fn() -> bool,
) -> Result<(), Error> {
    let deadline = Instant::now() + wait;
    let (from, from_path) = from;
    let (to, to_path) = to;
    loop {
        let backup = Backup::new(from, to).map_err(explain(to_path, wait))?;
        loop {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            match backup.step(STEP_PAGES) {
                Ok(StepResult::Done) => return Ok(()),
                Ok(StepResult::More) => continue,
                // Plain BUSY and LOCKED: the same backup may go on.
                Ok(_) if Instant::now() < deadline => thread::sleep(PAUSE),
                Ok(_) => return Err(Error::Locked { path: to_path.to_owned(), waited: wait }),
                // Their extended forms end this backup; a new one may do.
                Err(error) if is_busy(&error) && Instant::now() < deadline => break,
                // The source is ours, pinned or private: what is damaged is what was read.
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
                    return Err(explain(from_path, wait)(error));
                }
                Err(error) => return Err(explain(to_path, wait)(error)),
            }
        }
        drop(backup);
        thread::sleep(PAUSE);
    }
}

/// Rows by table and the schema's hash. Virtual tables have no rows of their own: what they hold stands in their shadow
/// tables, which are counted.
pub(super) fn facts(connection: &Connection) -> rusqlite::Result<Facts> {
    let mut facts = Facts::default();
    let mut hash = Sha256::new();
    // SQLite's own tables (statistics, sequences, automatic indexes) are no schema that anybody wrote.
    let mut items = connection.prepare(
        "SELECT type, name, tbl_name, coalesce(sql, ''), rootpage FROM sqlite_schema
         WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name",
    )?;
    let mut rows = items.query([])?;
    let mut tables = Vec::new();
    while let Some(row) = rows.next()? {
        for column in 0..4 {
            let text = row.get_ref(column)?.as_bytes().unwrap_or_default();
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        let is_table = row.get_ref(0)?.as_bytes().is_ok_and(|kind| kind == b"table");
        if is_table && row.get::<_, i64>(4)? != 0 {
            tables.push(row.get::<_, String>(1)?);
        }
    }
    for table in tables {
        let quoted = table.replace('"', "\"\"");
        let count: i64 = connection.query_row(&format!("SELECT count(*) FROM \"{quoted}\""), [], |row| row.get(0))?;
        facts.rows.insert(table, u64::try_from(count).unwrap_or(0));
    }
    facts.schema = hex::encode(hash.finalize());
    Ok(facts)
}

pub(super) fn is_wal(connection: &Connection) -> rusqlite::Result<bool> {
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    Ok(mode.eq_ignore_ascii_case("wal"))
}

pub(super) fn page_size(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA page_size", [], |row| row.get(0))
}

/// Bytes of all pages as this connection sees them.
pub(super) fn size(connection: &Connection) -> rusqlite::Result<u64> {
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    Ok(u64::try_from(pages).unwrap_or(0) * u64::from(page_size(connection)?))
}

/// Hands on the bytes of a database file that nobody has open.
pub(super) fn stream(path: &Path, out: &mut dyn Write, cancelled: &dyn Fn() -> bool) -> Result<u64, Error> {
    let mut file = fs::File::open(path).map_err(Error::reading("read", path))?;
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        let read = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if read == 0 {
            out.flush().map_err(Error::Output)?;
            return Ok(total);
        }
        out.write_all(&buffer[..read]).map_err(Error::Output)?;
        total += read as u64;
    }
}

/// Removes a database that nobody has open, with everything that SQLite may have put beside it.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    for suffix in [""].iter().chain(&BESIDE) {
        let name = beside(path, suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &name)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// SQLite's codes in our words.
pub(super) fn explain(path: &Path, waited: Duration) -> impl FnOnce(rusqlite::Error) -> Error {
    move |source| {
        let path = path.to_owned();
        let io = |kind: std::io::ErrorKind| std::io::Error::new(kind, source.to_string());
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Locked { path, waited },
            Some(ErrorCode::NotADatabase) => Error::NotADatabase { path },
            Some(ErrorCode::DatabaseCorrupt) => Error::Corrupt { path, detail: source.to_string() },
            Some(ErrorCode::DiskFull) => Error::Full { path },
            // The shared memory beside a database in WAL mode is a file too, and could not be made large enough.
            _ if source.sqlite_error().is_some_and(|it| it.extended_code == ffi::SQLITE_IOERR_SHMSIZE) => {
                Error::Full { path }
            }
            Some(ErrorCode::ReadOnly) => {
                Error::NotWritable { source: io(std::io::ErrorKind::ReadOnlyFilesystem), path }
            }
            Some(ErrorCode::PermissionDenied | ErrorCode::CannotOpen) if path.exists() => {
                Error::Unreadable { source: io(std::io::ErrorKind::PermissionDenied), path }
            }
            Some(ErrorCode::CannotOpen) => Error::Missing { path },
            _ => Error::Sqlite { path, source },
        }
    }
}
