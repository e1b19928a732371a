//! Redis and Valkey servers: read through a replica of our own that is cut off at one point, replaced by databases that
//! are filled beside and change places with the live ones.
//!
//! **Invariant:** the live databases are changed by nothing but the exchange, and that only by those of which marks on the
//! server say that they are the ones.
//!
//! The service is the whole server with all its numbered databases. A restore needs as many empty ones beside.

mod aside;
mod census;
mod load;
mod mark;
mod position;
mod private;
mod said;
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

use self::position::{Standing, Watch};
use self::survey::Databases;
use self::tools::Tools;
use self::view::Ready;
use super::Error;
use super::service::{self, Position, Service, Tested, View};
use crate::domain::Bytes;
use crate::domain::manifest::Facts;

pub use session::{Address, Cause};
pub use swap::{Aside, Beside};

/// For a position, inside a hold.
const POSITION_WAIT: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Redis {
    address: Address,
    tools: Tools,
    kept: Mutex<Kept>,
}

/// What is opened before a hold, so that nothing needs to be opened inside it.
#[derive(Default)]
struct Kept {
    watch: Option<Watch>,
    ready: Option<Ready>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("watch", &self.watch.is_some()).field("ready", &self.ready.is_some()).finish()
    }
}

impl Redis {
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

    fn read(&self) -> Result<(Position, Standing), Error> {
        let mut kept = self.kept();
        if let Some(watch) = &mut kept.watch
            && let Ok(read) = watch.read()
        {
            return Ok(read);
        }
        // One that was ended since is opened anew: positions compare all the same, unless the server is another one.
        let mut session = self.address.open(Some(POSITION_WAIT))?;
        let server = session.info(&["server"])?;
        let mut watch = Watch::new(session, &server)?.going_on(kept.watch.as_ref());
        let read = watch.read()?;
        kept.watch = Some(watch);
        Ok(read)
    }
}

impl Service for Redis {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn test(&self) -> Result<Tested, Error> {
        let found = survey::look(&mut self.address.open(Some(session::ANSWER))?, &self.tools)?;
        Ok(Tested { version: found.version, size: Bytes(found.memory.used), limits: found.limits })
    }

    fn get_ready(&self, scratch: &Path, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        let ready = Ready::new(&self.address, &self.tools, Some(scratch), cancelled)?;
        self.kept().ready = Some(ready);
        self.read().map(drop)
    }

    fn position(&self) -> Result<Position, Error> {
        self.read().map(|(position, _)| position)
    }

    /// Without [`Service::get_ready`] the replica is attached here, which takes as long as it takes.
    fn open_view(&self, within: Duration) -> Result<Box<dyn View>, Error> {
        let ready = self.kept().ready.take();
        let ready = match ready {
            Some(ready) => ready,
            None => Ready::new(&self.address, &self.tools, None, &|| false)?,
        };
        let (position, standing) = self.read()?;
        Ok(Box::new(ready.cut(position, standing.offset, within)?))
    }

    fn contents(&self, _within: Duration) -> Result<Facts, Error> {
        let databases = Databases::look(&mut self.address.open(Some(session::ANSWER))?)?;
        Ok(census::sizes(&databases.used))
    }

    fn beside(&self, scratch: &Path) -> Result<service::Beside, Error> {
        Ok(service::Beside::Redis(swap::beside(scratch)))
    }

    fn load_beside(&self, scratch: &Path, dump: &mut dyn Read) -> Result<service::Beside, Error> {
        load::load(self, scratch, dump).map(service::Beside::Redis)
    }

    fn check(&self, beside: &service::Beside, expected: &Facts) -> Result<(), Error> {
        swap::check(self, beside.redis()?, expected)
    }

    fn prepare(&self, beside: &service::Beside) -> Result<service::Aside, Error> {
        swap::prepare(self, beside.redis()?).map(service::Aside::Redis)
    }

    fn commit(&self, beside: &service::Beside, aside: &service::Aside) -> Result<(), Error> {
        swap::commit(self, beside.redis()?, aside.redis()?)
    }

    fn roll_back(&self, beside: &service::Beside, aside: &service::Aside) -> Result<(), Error> {
        swap::roll_back(self, beside.redis()?, aside.redis()?)
    }

    fn discard(&self, beside: &service::Beside, aside: Option<&service::Aside>) -> Result<(), Error> {
        swap::discard(self, beside.redis()?, aside.map(service::Aside::redis).transpose()?)
    }

    fn dump_aside(&self, aside: &service::Aside, out: &mut dyn Write) -> Result<(), Error> {
        aside::dump(self, aside.redis()?, out)
    }

    fn aside_facts(&self, aside: &service::Aside) -> Result<Facts, Error> {
        aside::facts(self, aside.redis()?)
    }

    fn provision(&self) -> Result<(), Error> {
        // A server has its databases from the start: it only has to be empty.
        let databases = Databases::look(&mut self.address.open(Some(session::ANSWER))?)?;
        match databases.used.keys().next() {
            Some(number) => {
                Err(Error::DatabaseExists { at: self.address.server(), database: format!("{number} with keys") })
            }
            None => Ok(()),
        }
    }
}
