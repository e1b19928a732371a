//! A server as it stood at one point: a replica of our own that was cut off at that point.
//!
//! **Invariant:** the replica had everything that the live server had written when it was asked for its offset, inside
//! the hold; from the cut on nothing in it changes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ::redis::cmd;
use tempfile::TempDir;

use super::aside;
use super::census::Census;
use super::mark;
use super::private::Private;
use super::session::{self, Address};
use super::survey::{self, Survey};
use super::tools::Tools;
use crate::domain::Bytes;
use crate::domain::manifest::Facts;
use crate::drivers::{Error, Position, View};

/// Between two looks at how far the replica is.
const LOOK: Duration = Duration::from_micros(300);

/// A replica that is attached, before the hold.
#[derive(Debug)]
pub(super) struct Ready {
    private: Private,
    survey: Survey,
    at: String,
    /// Where nobody gave a directory.
    own: Option<TempDir>,
}

impl Ready {
    pub fn new(
        address: &Address,
        tools: &Tools,
        scratch: Option<&Path>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Self, Error> {
        let survey = survey::look(&mut address.open(Some(session::ANSWER))?, tools)?;
        let own = if scratch.is_none() {
            let temporary = std::env::temp_dir();
            Some(tempfile::tempdir().map_err(Error::io("make a directory in", &temporary))?)
        } else {
            None
        };
        let directory = own.as_ref().map(TempDir::path).or(scratch).unwrap_or(Path::new("."));
        let mut private = Private::start(&survey.tool, directory, survey.databases.count)?;
        private.attach(address, survey.port, cancelled)?;
        Ok(Self { private, survey, at: address.server(), own })
    }

    /// Cuts it off when it has what the live server had at that offset.
    pub fn cut(mut self, position: Position, offset: u64, within: Duration) -> Result<RedisView, Error> {
        let deadline = Instant::now() + within;
        loop {
            match self.private.offset()? {
                Some(mine) if mine >= offset => break,
                _ if Instant::now() < deadline => thread::sleep(LOOK),
                mine => {
                    let by = match mine {
                        Some(mine) => format!("the worker's replica was {} bytes behind", offset - mine),
                        None => "the worker's replica lost its connection to the server".to_owned(),
                    };
                    return Err(Error::Blocked { database: self.at, waited: within, by });
                }
            }
        }
        self.private.detach()?;
        let Self { private, survey, own, .. } = self;
        Ok(RedisView { stands: Stands::Running(Box::new(private)), survey, position, facts: None, _own: own })
    }
}

pub(super) struct RedisView {
    stands: Stands,
    survey: Survey,
    position: Position,
    facts: Option<Facts>,
    _own: Option<TempDir>,
}

enum Stands {
    Running(Box<Private>),
    /// Saved to a file; its server has ended.
    Saved(PathBuf),
}

impl RedisView {
    /// Counts, saves, and ends the server: its memory is free again.
    fn saved(&mut self, cancelled: &dyn Fn() -> bool) -> Result<(PathBuf, Facts), Error> {
        if let Stands::Running(private) = &mut self.stands {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            let own = &mut private.session;
            own.patience(None)?;
            // What a restore loads, or left, beside is not the server's own.
            let databases = own.info(&["keyspace"])?.databases();
            for number in mark::marked(own, databases.into_keys())? {
                own.run_all("empty", &[cmd("SELECT").arg(number).take(), cmd("FLUSHDB")])?;
            }
            let facts = Census::take(own)?.facts();
            if cancelled() {
                return Err(Error::Cancelled);
            }
            let file = private.save()?;
            self.stands = Stands::Saved(file);
            self.facts = Some(facts);
        }
        match (&self.stands, &self.facts) {
            (Stands::Saved(file), Some(facts)) => Ok((file.clone(), facts.clone())),
            _ => Err(Error::Cancelled),
        }
    }
}

impl View for RedisView {
    fn position(&self) -> &Position {
        &self.position
    }

    fn version(&self) -> &str {
        &self.survey.version
    }

    fn size(&self) -> Bytes {
        Bytes(self.survey.memory.used)
    }

    fn limits(&self) -> Vec<String> {
        self.survey.limits.clone()
    }

    /// The live server has nothing to do with it since it was cut off; this frees the worker's memory.
    fn settle(&mut self, _scratch: &Path, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        self.saved(cancelled).map(drop)
    }

    fn facts(&mut self) -> Result<Facts, Error> {
        self.saved(&|| false).map(|(_, facts)| facts)
    }

    fn dump(&mut self, _scratch: &Path, out: &mut dyn Write, cancelled: &dyn Fn() -> bool) -> Result<u64, Error> {
        let (file, _) = self.saved(cancelled)?;
        aside::copy(&file, out, cancelled)
    }
}

impl Drop for RedisView {
    fn drop(&mut self) {
        if let Stands::Saved(file) = &self.stands {
            let _ = fs::remove_file(file);
        }
    }
}
