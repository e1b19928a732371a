//! A SQLite database as it stood at one point: a connection with an open read transaction, later a private copy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::file;
use crate::domain::Bytes;
use crate::domain::manifest::Facts;
use crate::drivers::{Error, Position, View};

pub(in crate::drivers) struct SqliteView {
    path: PathBuf,
    source: Source,
    position: Position,
    size: Bytes,
    limits: Vec<String>,
    within: Duration,
}

enum Source {
    /// Pinned: sees the point at which it was opened.
    Live(Connection),
    /// Copied into the scratch directory; the live database is no longer concerned. Nobody has it open.
    Copy(PathBuf),
}

/// What is not promised, in sentences.
pub(super) fn limits(wal: bool) -> Vec<String> {
    if wal {
        return Vec::new();
    }
    vec![
        "The database is not in WAL mode: while it is copied after the hold, writers wait. \
         `PRAGMA journal_mode=WAL` avoids that."
            .to_owned(),
    ]
}

impl SqliteView {
    pub(super) fn open(access: file::Access, path: &Path, within: Duration, position: Position) -> Result<Self, Error> {
        let connection = file::open_as(access, path, within)?;
        let (size, wal) = (|| {
            file::pin(&connection)?;
            Ok((file::size(&connection)?, file::is_wal(&connection)?))
        })()
        .map_err(file::explain(path, within))?;
        Ok(Self {
            path: path.to_owned(),
            source: Source::Live(connection),
            position,
            size: Bytes(size),
            limits: limits(wal),
            within,
        })
    }

    pub(in crate::drivers) fn bytes(&self) -> Bytes {
        self.size
    }

    /// The view as a file of its own in `scratch`, for as long as the view is kept.
    pub(in crate::drivers) fn copied(&mut self, scratch: &Path, cancelled: &dyn Fn() -> bool) -> Result<&Path, Error> {
        if let Source::Live(live) = &self.source {
            let copy = scratch.join("view.db");
            let mut to = file::create_scratch(&copy)?;
            let done = file::copy((live, &self.path), (&mut to, &copy), self.within, cancelled);
            drop(to);
            if let Err(error) = done {
                file::remove(&copy)?;
                return Err(error);
            }
            self.source = Source::Copy(copy);
        }
        match &self.source {
            Source::Copy(copy) => Ok(copy),
            Source::Live(_) => unreachable!("it was just replaced by its copy"),
        }
    }
}

impl View for SqliteView {
    fn position(&self) -> &Position {
        &self.position
    }

    fn version(&self) -> &str {
        rusqlite::version()
    }

    fn size(&self) -> Bytes {
        self.size
    }

    fn limits(&self) -> Vec<String> {
        self.limits.clone()
    }

    fn settle(&mut self, scratch: &Path, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        self.copied(scratch, cancelled).map(drop)
    }

    fn facts(&mut self) -> Result<Facts, Error> {
        match &self.source {
            Source::Live(live) => file::facts(live).map_err(file::explain(&self.path, self.within)),
            Source::Copy(copy) => {
                let connection = file::open(copy, Duration::ZERO)?;
                file::facts(&connection).map_err(file::explain(&self.path, Duration::ZERO))
            }
        }
    }

    fn dump(
        &mut self,
        scratch: &Path,
        out: &mut dyn std::io::Write,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<u64, Error> {
        file::stream(self.copied(scratch, cancelled)?, out, cancelled)
    }
}

impl Drop for SqliteView {
    fn drop(&mut self) {
        if let Source::Copy(copy) = &self.source
            && let Err(error) = file::remove(copy)
        {
            tracing::warn!(path = %copy.display(), %error, "a dump's scratch copy stays behind");
        }
    }
}
