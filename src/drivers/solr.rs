//! Solr: a core, read at a commit point that the server keeps for it, and replaced by a core made beside it that exchanges
//! names with it. Collections of SolrCloud are read in the same way, from the leaders of their shards, and replaced by one that
//! the cluster makes beside the live one and that takes over its alias.
//!
//! **Invariant:** what is read comes over HTTP alone; files are only ever written into directories of a restore's own. The
//! live core is changed by nothing but hard commits and the exchange of names.

mod archive;
mod backup;
mod client;
mod cloud;
mod cluster;
mod config;
mod index;
mod lucene;
mod place;
mod said;
mod said_cluster;
mod survey;
mod swap;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use self::client::Client;
use self::index::Part;
use self::place::Place;
use self::view::Ready;
use super::Error;
use super::service::{self, Position, Service, Tested, View};
use crate::domain::manifest::Facts;

pub use client::{Address, Cause};
pub use swap::{Aside, Beside};

/// For a position, inside a hold.
const POSITION_WAIT: Duration = Duration::from_millis(500);

/// A core that has nothing in it, until a restore puts its own configuration and index there.
const EMPTY_CONFIGURATION: &str = include_str!("solr/empty/solrconfig.xml");
const EMPTY_SCHEMA: &str = include_str!("solr/empty/schema.xml");

#[derive(Debug)]
pub struct Solr {
    address: Address,
    client: Client,
    /// Whether it is a cluster, once it was asked: no server changes that while it is declared.
    mode: OnceLock<Mode>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Core,
    Cloud,
}

/// What is found out before a hold, so that it need not be inside it.
#[derive(Debug, Default)]
struct Kept {
    watched: Option<Vec<Part>>,
    ready: Option<Ready>,
}

impl Solr {
    /// # Errors
    /// [`Error::SolrAddress`], [`Error::SolrName`], [`Error::NotAbsolute`]: what can't be meant. Nothing is opened yet.
    pub fn connect(address: Address) -> Result<Self, Error> {
        if !client::is_name(&address.core) {
            return Err(Error::SolrName { index: address.core });
        }
        if let Some(path) = address.path.as_ref().filter(|path| !path.is_absolute()) {
            return Err(Error::NotAbsolute { path: path.clone() });
        }
        Ok(Self { client: Client::new(&address)?, address, mode: OnceLock::new(), kept: Mutex::default() })
    }

    fn mode(&self) -> Result<Mode, Error> {
        if let Some(mode) = self.mode.get() {
            return Ok(*mode);
        }
        let mode = if survey::system(&self.client)?.is_cloud() { Mode::Cloud } else { Mode::Core };
        Ok(*self.mode.get_or_init(|| mode))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) -> Result<survey::Survey, Error> {
        let survey = survey::look(&self.client, &self.address)?;
        self.kept().watched = Some(survey.parts.clone());
        Ok(survey)
    }

    /// Where a core can be made.
    fn empty(&self) -> Result<(&Path, Place), Error> {
        let Some(path) = &self.address.path else {
            let why = "can't be made: the declaration names no `path`, the directory of the server's cores".to_owned();
            return Err(survey::unsuitable(&self.address, why));
        };
        Ok((path, Place::new(path)?))
    }
}

impl Service for Solr {
    fn kind(&self) -> &'static str {
        "solr"
    }

    fn test(&self) -> Result<Tested, Error> {
        let mut found = self.look()?;
        if let Some(why) = cluster::trial(&found)? {
            found.limits.push(survey::obstacle(&why));
        }
        Ok(Tested { version: found.version, size: found.size, limits: found.limits })
    }

    fn get_ready(&self, _scratch: &Path, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        let ready = Ready::new(self.look()?)?;
        self.kept().ready = Some(ready);
        self.position().map(drop)
    }

    /// The newest change of each part, as the update log has it: commits are none. An index without a log is taken to have
    /// moved each time.
    fn position(&self) -> Result<Position, Error> {
        static UNKNOWN: AtomicU64 = AtomicU64::new(0);
        let watched = self.kept().watched.clone();
        let parts = match watched {
            Some(parts) => parts,
            None => self.look()?.parts,
        };
        let mut places = Vec::new();
        for part in &parts {
            let change = match survey::changes_within(part, POSITION_WAIT)? {
                Some(changes) => changes.first().map_or("no change yet".to_owned(), |it| format!("change {it}")),
                None => format!("unknown change {}", UNKNOWN.fetch_add(1, Ordering::Relaxed)),
            };
            places.push(format!("{change} of {}", part.core));
        }
        Ok(Position::new(places.join(", ")))
    }

    /// Without [`Service::get_ready`] the configuration is read here, which takes as long as it takes.
    fn open_view(&self, within: Duration) -> Result<Box<dyn View>, Error> {
        let ready = self.kept().ready.take();
        let ready = match ready {
            Some(ready) => ready,
            None => Ready::new(self.look()?)?,
        };
        let position = self.position()?;
        Ok(Box::new(ready.open(position, within)?))
    }

    fn contents(&self, _within: Duration) -> Result<Facts, Error> {
        let rows: BTreeMap<String, u64> = self.look()?.documents.into_iter().collect();
        Ok(Facts { rows, schema: String::new() })
    }

    fn beside(&self, scratch: &Path) -> Result<service::Beside, Error> {
        Ok(service::Beside::Solr(swap::beside(self, scratch)))
    }

    fn load_beside(&self, scratch: &Path, dump: &mut dyn Read) -> Result<service::Beside, Error> {
        let loaded = match self.mode()? {
            Mode::Core => swap::load(self, scratch, dump),
            Mode::Cloud => cloud::load(self, scratch, dump),
        };
        loaded.map(service::Beside::Solr)
    }

    fn check(&self, beside: &service::Beside, expected: &Facts) -> Result<(), Error> {
        match self.mode()? {
            Mode::Core => swap::check(self, beside.solr()?, expected),
            Mode::Cloud => cloud::check(self, beside.solr()?, expected),
        }
    }

    fn prepare(&self, beside: &service::Beside) -> Result<service::Aside, Error> {
        let prepared = match self.mode()? {
            Mode::Core => swap::prepare(self, beside.solr()?),
            Mode::Cloud => cloud::prepare(self, beside.solr()?),
        };
        prepared.map(service::Aside::Solr)
    }

    fn commit(&self, beside: &service::Beside, aside: &service::Aside) -> Result<(), Error> {
        match self.mode()? {
            Mode::Core => swap::commit(self, beside.solr()?, aside.solr()?),
            Mode::Cloud => cloud::commit(self, beside.solr()?, aside.solr()?),
        }
    }

    fn roll_back(&self, beside: &service::Beside, aside: &service::Aside) -> Result<(), Error> {
        match self.mode()? {
            Mode::Core => swap::roll_back(self, beside.solr()?),
            Mode::Cloud => cloud::roll_back(self, beside.solr()?, aside.solr()?),
        }
    }

    fn discard(&self, beside: &service::Beside, aside: Option<&service::Aside>) -> Result<(), Error> {
        let aside = aside.map(service::Aside::solr).transpose()?;
        match self.mode()? {
            Mode::Core => swap::discard(self, beside.solr()?, aside),
            Mode::Cloud => cloud::discard(self, beside.solr()?, aside),
        }
    }

    fn dump_aside(&self, aside: &service::Aside, out: &mut dyn Write) -> Result<(), Error> {
        match self.mode()? {
            Mode::Core => swap::dump_aside(self, aside.solr()?, out),
            Mode::Cloud => cloud::dump_aside(self, aside.solr()?, out),
        }
    }

    fn aside_facts(&self, aside: &service::Aside) -> Result<Facts, Error> {
        match self.mode()? {
            Mode::Core => swap::aside_facts(self, aside.solr()?),
            Mode::Cloud => cloud::aside_facts(self, aside.solr()?),
        }
    }

    fn provision(&self) -> Result<(), Error> {
        if self.mode()? == Mode::Cloud {
            return cloud::provision(self);
        }
        let (path, place) = self.empty()?;
        let name = &self.address.core;
        if survey::status(&self.client, name)?.is_some() {
            return Err(Error::DatabaseExists { at: self.address.url.clone(), database: name.clone() });
        }
        if path.join(name).exists() {
            return Err(Error::Exists { path: path.join(name) });
        }
        let version = survey::system(&self.client)?.lucene.lucene;
        let directory = place.make(name)?.join("conf");
        std::fs::create_dir(&directory).map_err(Error::io("create", &directory))?;
        for (file, text) in [("solrconfig.xml", EMPTY_CONFIGURATION), ("schema.xml", EMPTY_SCHEMA)] {
            let file = directory.join(file);
            std::fs::write(&file, text.replace("LUCENE", &version)).map_err(Error::io("write", &file))?;
        }
        place.hand_over(name)?;
        swap::create(self, name, &[])
    }

    fn remove(&self) -> Result<(), Error> {
        if self.mode()? == Mode::Cloud {
            return cloud::remove(self);
        }
        let (_, place) = self.empty()?;
        let name = &self.address.core;
        let was_there = survey::status(&self.client, name)?.is_some();
        swap::remove(self, name)?;
        // A directory whose core never came to be.
        if was_there { Ok(()) } else { place.remove_unused(name) }
    }
}
