//! PostgreSQL databases: read through an exported snapshot and `pg_dump`, replaced by a database that is loaded beside and
//! takes over the name.
//!
//! **Invariant:** the live database is changed by nothing but the exchange of names, and that only by those of whom the
//! catalogue's oids say that they are the ones.
//!
//! The position is the server's snapshot: which transactions have ended. It moves with the end of each transaction that
//! has an id, so with every commit that wrote, in *any* database of the server (and with a rollback, an automatic
//! ANALYZE): it errs to "moved". It does not move with what takes no id: reading, locks, a sequence that gives a number
//! which it had reserved already, and VACUUM.

mod session;
mod survey;
mod swap;
#[cfg(test)]
mod tests;
mod tools;
mod view;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::session::Session;
use self::tools::Tools;
use self::view::{PostgresView, Ready};
use super::Error;
use super::service::{self, Position, Service, Tested, View};
use crate::domain::manifest::Facts;

pub use session::Address;
pub use swap::{Aside, Beside};

/// Older servers know neither `pg_current_snapshot` nor `DROP DATABASE … WITH (FORCE)`.
const OLDEST: u32 = 13;

const CONNECT: Duration = Duration::from_secs(10);

/// For a position, inside a hold.
const POSITION_WAIT: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Postgres {
    address: Address,
    tools: Tools,
    kept: Mutex<Kept>,
}

/// Connections that are opened before a hold, so that nothing needs to be opened inside it.
#[derive(Default)]
struct Kept {
    watch: Option<Session>,
    ready: Option<Ready>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("watch", &self.watch.is_some()).field("ready", &self.ready.is_some()).finish()
    }
}

impl Postgres {
    /// # Errors
    /// [`Error::NotAbsolute`] for a socket's directory that depends on where the worker was started.
    pub fn connect(address: Address) -> Result<Self, Error> {
        if address.host.contains('/') && !address.host.starts_with('/') {
            return Err(Error::NotAbsolute { path: PathBuf::from(address.host) });
        }
        Ok(Self { address, tools: Tools::installed(), kept: Mutex::default() })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what is kept open.
    fn let_go(&self) {
        *self.kept() = Kept::default();
    }

    fn ready(&self) -> Result<Ready, Error> {
        Ready::new(self.address.open(CONNECT)?, &self.tools)
    }
}

fn read_position(session: &mut Session) -> Result<Position, Error> {
    let text: String = session.run_within("read the position of", POSITION_WAIT, async |db| {
        sqlx::query_scalar(view::POSITION).fetch_one(db).await
    })?;
    Ok(Position::new(text))
}

impl Service for Postgres {
    fn kind(&self) -> &'static str {
        "postgresql"
    }

    fn test(&self) -> Result<Tested, Error> {
        let Ready { session, survey, .. } = self.ready()?;
        Ok(Tested { version: session.version, size: survey.size, limits: survey.limits })
    }

    fn position(&self) -> Result<Position, Error> {
        let mut kept = self.kept();
        // One that was ended since (a restart, an administrator) is opened anew: positions compare all the same.
        if let Some(watch) = &mut kept.watch
            && let Ok(position) = read_position(watch)
        {
            return Ok(position);
        }
        let first = kept.watch.take().is_none();
        let mut watch = self.address.open(CONNECT)?;
        if first {
            kept.ready = Some(self.ready()?);
        }
        let position = read_position(&mut watch)?;
        kept.watch = Some(watch);
        Ok(position)
    }

    fn open_view(&self, within: Duration) -> Result<Box<dyn View>, Error> {
        let ready = self.kept().ready.take();
        if let Some(mut ready) = ready
            // It may have been ended while it waited.
            && read_position(&mut ready.session).is_ok()
        {
            return Ok(Box::new(PostgresView::open(ready, within)?));
        }
        Ok(Box::new(PostgresView::open(self.ready()?, within)?))
    }

    fn beside(&self, scratch: &Path) -> Result<service::Beside, Error> {
        Ok(service::Beside::Postgres(swap::beside(self, scratch)))
    }

    fn load_beside(&self, scratch: &Path, dump: &mut dyn Read) -> Result<service::Beside, Error> {
        swap::load(self, scratch, dump).map(service::Beside::Postgres)
    }

    fn check(&self, beside: &service::Beside, expected: &Facts) -> Result<(), Error> {
        swap::check(self, beside.postgres()?, expected)
    }

    fn prepare(&self, beside: &service::Beside) -> Result<service::Aside, Error> {
        swap::prepare(self, beside.postgres()?).map(service::Aside::Postgres)
    }

    fn commit(&self, beside: &service::Beside, aside: &service::Aside) -> Result<(), Error> {
        swap::commit(self, beside.postgres()?, aside.postgres()?)
    }

    fn roll_back(&self, beside: &service::Beside, aside: &service::Aside) -> Result<(), Error> {
        swap::roll_back(self, beside.postgres()?, aside.postgres()?)
    }

    fn discard(&self, beside: &service::Beside, aside: Option<&service::Aside>) -> Result<(), Error> {
        swap::discard(self, beside.postgres()?, aside.map(service::Aside::postgres).transpose()?)
    }

    fn dump_aside(&self, aside: &service::Aside, out: &mut dyn Write) -> Result<(), Error> {
        let ready = Ready::new(swap::open_aside(self, aside.postgres()?)?, &self.tools)?;
        // A view needs no scratch directory.
        PostgresView::open(ready, CONNECT)?.dump(Path::new("/"), out, &|| false).map(drop)
    }

    fn aside_facts(&self, aside: &service::Aside) -> Result<Facts, Error> {
        survey::facts(&mut swap::open_aside(self, aside.postgres()?)?)
    }

    fn provision(&self) -> Result<(), Error> {
        swap::provision(self)
    }

    fn remove(&self) -> Result<(), Error> {
        swap::remove_database(self)
    }
}
