//! PostgreSQL databases: read through an exported snapshot and `pg_dump`, replaced by a database that is loaded beside and
//! takes over the name; where the account may not create or rename databases, by one transaction in place.
//!
//! **Invariant:** the live database is changed by nothing but the exchange of names, and that only by those of whom the
//! catalogue's oids say that they are the ones, or by that one transaction.
//!
//! The position is the server's snapshot: which transactions have ended. It moves with the end of each transaction that
//! has an id, so with every commit that wrote, in *any* database of the server (and with a rollback, an automatic
//! ANALYZE): it errs to "moved". It does not move with what takes no id: reading, locks, a sequence that gives a number
//! which it had reserved already, and VACUUM.

mod archive;
mod fate;
mod place;
mod psql;
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

use serde::{Deserialize, Serialize};

use self::session::Session;
use self::survey::Way;
use self::tools::Tools;
use self::view::{PostgresView, Ready};
use super::Error;
use super::service::{self, InPlace, Position, Service, Tested, View};
use crate::domain::Bytes;
use crate::domain::manifest::Facts;

pub use session::Address;

/// What is going to be live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Beside {
    InPlace(place::Beside),
    /// Also what is only announced: which way it goes is known when it is loaded.
    Exchange(swap::Beside),
}

/// What was live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Aside {
    InPlace(place::Aside),
    Exchange(swap::Aside),
}

impl Beside {
    /// What is moved in the hold, when it is loaded there.
    pub(super) fn in_place(&self) -> Option<Bytes> {
        match self {
            Self::InPlace(beside) => Some(beside.work()),
            Self::Exchange(_) => None,
        }
    }
}

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
    /// In the hold of a restore in place: the transaction that has everything locked.
    place: Option<place::Open>,
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

    fn in_place(&self) -> Result<Option<InPlace>, Error> {
        let found = survey::look(&mut self.address.open(CONNECT)?)?;
        Ok(match found.way {
            Way::InPlace { why } => Some(InPlace { why, size: found.size }),
            _ => None,
        })
    }

    fn beside(&self, scratch: &Path) -> Result<service::Beside, Error> {
        Ok(service::Beside::Postgres(Beside::Exchange(swap::beside(self, scratch))))
    }

    fn load_beside(&self, scratch: &Path, dump: &mut dyn Read) -> Result<service::Beside, Error> {
        let mut session = self.address.open(CONNECT)?;
        let found = survey::look(&mut session)?;
        let major = session.major;
        drop(session);
        Ok(service::Beside::Postgres(match &found.way {
            Way::Beside => Beside::Exchange(swap::load(self, scratch, major, dump)?),
            Way::InPlace { .. } => Beside::InPlace(place::load(self, scratch, &found, dump)?),
            Way::Not { why } => return Err(swap::cannot(self, why.as_str())),
        }))
    }

    fn check(&self, beside: &service::Beside, expected: &Facts) -> Result<(), Error> {
        match beside.postgres()? {
            Beside::Exchange(beside) => swap::check(self, beside, expected),
            Beside::InPlace(beside) => place::check(self, beside, expected),
        }
    }

    fn prepare(&self, beside: &service::Beside) -> Result<service::Aside, Error> {
        Ok(service::Aside::Postgres(match beside.postgres()? {
            Beside::Exchange(beside) => Aside::Exchange(swap::prepare(self, beside)?),
            Beside::InPlace(beside) => Aside::InPlace(place::prepare(self, beside)?),
        }))
    }

    fn commit(&self, beside: &service::Beside, aside: &service::Aside) -> Result<(), Error> {
        match (beside.postgres()?, aside.postgres()?) {
            (Beside::Exchange(beside), Aside::Exchange(aside)) => swap::commit(self, beside, aside),
            (Beside::InPlace(beside), Aside::InPlace(aside)) => place::commit(self, beside, aside),
            _ => Err(Error::OtherKind),
        }
    }

    fn roll_back(&self, beside: &service::Beside, aside: &service::Aside) -> Result<(), Error> {
        match (beside.postgres()?, aside.postgres()?) {
            (Beside::Exchange(beside), Aside::Exchange(aside)) => swap::roll_back(self, beside, aside),
            (Beside::InPlace(_), Aside::InPlace(aside)) => place::roll_back(self, aside),
            _ => Err(Error::OtherKind),
        }
    }

    fn discard(&self, beside: &service::Beside, aside: Option<&service::Aside>) -> Result<(), Error> {
        match (beside.postgres()?, aside.map(service::Aside::postgres).transpose()?) {
            (Beside::Exchange(beside), None) => swap::discard(self, beside, None),
            (Beside::Exchange(beside), Some(Aside::Exchange(aside))) => swap::discard(self, beside, Some(aside)),
            (Beside::InPlace(beside), None | Some(Aside::InPlace(_))) => place::discard(self, beside),
            _ => Err(Error::OtherKind),
        }
    }

    fn dump_aside(&self, aside: &service::Aside, out: &mut dyn Write) -> Result<(), Error> {
        let aside = match aside.postgres()? {
            Aside::Exchange(aside) => aside,
            Aside::InPlace(aside) => return place::dump_aside(aside, out),
        };
        let ready = Ready::new(swap::open_aside(self, aside)?, &self.tools)?;
        // A view needs no scratch directory.
        PostgresView::open(ready, CONNECT)?.dump(Path::new("/"), out, &|| false).map(drop)
    }

    fn aside_facts(&self, aside: &service::Aside) -> Result<Facts, Error> {
        match aside.postgres()? {
            Aside::Exchange(aside) => survey::facts(&mut swap::open_aside(self, aside)?),
            Aside::InPlace(aside) => place::aside_facts(aside),
        }
    }

    fn aside_size(&self, aside: &service::Aside) -> Result<Option<Bytes>, Error> {
        match aside.postgres()? {
            Aside::Exchange(aside) => survey::size(&mut swap::open_aside(self, aside)?).map(Some),
            Aside::InPlace(aside) => Ok(Some(aside.kept())),
        }
    }

    fn aside_place(&self, aside: &service::Aside) -> &'static str {
        match aside.postgres() {
            Ok(Aside::InPlace(_)) => "in Stillpoint's data directory",
            _ => "in the database server",
        }
    }

    fn provision(&self) -> Result<(), Error> {
        swap::provision(self)
    }

    fn remove(&self) -> Result<(), Error> {
        swap::remove_database(self)
    }
}
