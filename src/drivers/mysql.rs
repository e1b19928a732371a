//! MySQL and MariaDB databases: read through one transaction, replaced by one exchange of all tables with those that were
//! loaded beside. One driver that knows the difference.
//!
//! **Invariant:** the live database is changed by nothing but a swap's steps, and which schema holds what is told by a table
//! that changes hands in the same statement as the data. No lock is ever taken on the server or on another database.

mod dump;
mod facts;
mod objects;
mod position;
mod rights;
mod session;
mod survey;
mod swap;
#[cfg(test)]
mod tests;
mod tools;
mod view;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::session::Session;
use self::tools::Tools;
use self::view::{MysqlView, Ready};
use super::Error;
use super::service::{self, Position, Service, Tested, View};
use crate::domain::Bytes;
use crate::domain::manifest::Facts;

pub use session::Address;
pub use swap::{Aside, Beside};

/// Older servers exchange several tables in a way that a crash cuts in two.
const OLDEST_MARIADB: (u32, u32) = (10, 6);
const OLDEST_MYSQL: (u32, u32) = (8, 0);

const CONNECT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Mysql {
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

impl Mysql {
    /// # Errors
    /// [`Error::NotAbsolute`] for a socket that depends on where the worker was started.
    pub fn connect(address: Address) -> Result<Self, Error> {
        if address.host.contains('/') && !address.is_socket() {
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
        Ready::new(self.address.open(CONNECT)?, &swap::example(&self.address.database))
    }
}

impl Service for Mysql {
    fn kind(&self) -> &'static str {
        "mysql"
    }

    fn test(&self) -> Result<Tested, Error> {
        let Ready { mut session, survey, .. } = self.ready()?;
        position::read(&mut session)?;
        self.tools.find(session.mariadb)?;
        Ok(Tested { version: session.version, size: survey.size, limits: survey.limits })
    }

    fn get_ready(&self, _scratch: &Path, _cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        let ready = self.ready()?;
        self.kept().ready = Some(ready);
        self.position().map(drop)
    }

    fn position(&self) -> Result<Position, Error> {
        let mut kept = self.kept();
        // One that was ended since (a restart, an administrator) is opened anew: positions compare all the same.
        if let Some(watch) = &mut kept.watch
            && let Ok(position) = position::read(watch)
        {
            return Ok(position);
        }
        let mut watch = self.address.open(CONNECT)?;
        let position = position::read(&mut watch)?;
        kept.watch = Some(watch);
        Ok(position)
    }

    fn open_view(&self, within: Duration) -> Result<Box<dyn View>, Error> {
        let (kept, own): (Option<Ready>, _) = {
            let mut kept = self.kept();
            (kept.ready.take(), kept.watch.iter().map(|watch| watch.id).collect())
        };
        // It may have been ended while it waited.
        let kept = kept.and_then(|mut ready| position::read(&mut ready.session).is_ok().then_some(ready));
        let mut ready = kept.map_or_else(|| self.ready(), Ok)?;
        ready.own = own;
        Ok(Box::new(MysqlView::open(ready, within)?))
    }

    fn beside(&self, scratch: &Path) -> Result<service::Beside, Error> {
        Ok(service::Beside::Mysql(swap::beside(self, scratch)))
    }

    fn load_beside(&self, scratch: &Path, dump: &mut dyn Read) -> Result<service::Beside, Error> {
        swap::load(self, scratch, dump).map(service::Beside::Mysql)
    }

    fn check(&self, beside: &service::Beside, expected: &Facts) -> Result<(), Error> {
        swap::check(self, beside.mysql()?, expected)
    }

    fn prepare(&self, beside: &service::Beside) -> Result<service::Aside, Error> {
        swap::prepare(self, beside.mysql()?).map(service::Aside::Mysql)
    }

    fn commit(&self, beside: &service::Beside, aside: &service::Aside) -> Result<(), Error> {
        swap::commit(self, beside.mysql()?, aside.mysql()?)
    }

    fn roll_back(&self, beside: &service::Beside, aside: &service::Aside) -> Result<(), Error> {
        swap::roll_back(self, beside.mysql()?, aside.mysql()?)
    }

    fn discard(&self, beside: &service::Beside, aside: Option<&service::Aside>) -> Result<(), Error> {
        swap::discard(self, beside.mysql()?, aside.map(service::Aside::mysql).transpose()?)
    }

    fn dump_aside(&self, aside: &service::Aside, out: &mut dyn Write) -> Result<(), Error> {
        let aside = aside.mysql()?;
        let schema = swap::open_aside(self, aside)?.1;
        view::dump_still(&self.address, &schema, aside.objects(), out)
    }

    fn aside_facts(&self, aside: &service::Aside) -> Result<Facts, Error> {
        let aside = aside.mysql()?;
        let (mut session, schema) = swap::open_aside(self, aside)?;
        let tables = survey::tables(&mut session, &schema)?;
        facts::facts(&mut session, &schema, &tables, aside.objects(), &BTreeMap::new())
    }

    fn aside_size(&self, aside: &service::Aside) -> Result<Option<Bytes>, Error> {
        let (mut session, schema) = swap::open_aside(self, aside.mysql()?)?;
        survey::size(&mut session, &schema).map(Some)
    }

    fn aside_place(&self, _aside: &service::Aside) -> &'static str {
        "in the database server"
    }

    fn provision(&self) -> Result<(), Error> {
        swap::provision(self)
    }

    fn remove(&self) -> Result<(), Error> {
        swap::remove_database(self)
    }
}
