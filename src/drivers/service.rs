//! The form that every kind of service takes: look at it, read it at one point, load beside it, swap.
//!
//! **Invariant:** nothing here touches live data but [`Service::commit`], [`Service::roll_back`] and
//! [`Service::provision`]. The three steps of a swap may be called twice, in any order and after dying at any line: what
//! has to be done is read from what stands on disk, never from what was called before. On PostgreSQL (not in place), MySQL,
//! MariaDB and Redis they end in bounded time, also when a server says nothing, and an exchange that the server does later,
//! when nobody listens any more, harms nothing: a roll back sees to it first that it is over. Solr has no such lock: one that
//! stalls in its exchange may do it after a roll back looked.
//!
//! Every call blocks; callers run them on threads.

use std::fmt::{self, Debug, Display};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Error, command, mysql, postgres, redis, solr, sqlite};
use crate::domain::Bytes;
use crate::domain::environment::ServiceConnection;
use crate::domain::manifest::Facts;

/// What a server is given beyond the time for a view, before it is taken for one that does not answer.
pub const SPARE: Duration = Duration::from_millis(500);

/// For a connection in a swap hold: the server answered a moment ago.
pub(super) const REACH: Duration = Duration::from_secs(3);
/// In the swap hold, for each of [`Service::prepare`] and [`Service::commit`]: a gate waits for 10 s.
pub(super) const SWAP: Duration = Duration::from_secs(8);
/// For [`Service::roll_back`]: the site is shut until it has succeeded, and it is called again until then.
pub(super) const BACK: Duration = Duration::from_secs(60);

/// One service of an environment, reached by its connection.
pub trait Service: Send + Sync + Debug {
    /// As in the manifest: `sqlite`, …
    fn kind(&self) -> &'static str;

    /// Really tries what a snapshot and a restore need, without changing anything.
    ///
    /// # Errors
    /// Missing, no database, damaged, locked, unreadable, not writable: each by its own name.
    fn test(&self) -> Result<Tested, Error>;

    /// Does what a view needs and what can be done before the hold: opens connections, attaches a replica. What it made
    /// goes with this value. `scratch` as in [`View::settle`], and the same directory.
    ///
    /// # Errors
    /// As [`Service::test`]; [`Error::Full`], [`Error::Cancelled`].
    fn get_ready(&self, scratch: &Path, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        let _ = (scratch, cancelled);
        self.position().map(drop)
    }

    /// The point at which the service stands: moves with every commit by anybody (R16). Takes well under a
    /// millisecond after [`Service::get_ready`]. Positions compare only when they come from the same value.
    ///
    /// # Errors
    /// As [`Service::test`].
    fn position(&self) -> Result<Position, Error>;

    /// Opens a view that stays as it is while others go on writing.
    ///
    /// # Errors
    /// [`Error::Locked`] when it could not be opened `within` that time.
    fn open_view(&self, within: Duration) -> Result<Box<dyn View>, Error>;

    /// Counts what is there now, for people.
    ///
    /// # Errors
    /// As [`Service::open_view`].
    fn contents(&self, within: Duration) -> Result<Facts, Error> {
        self.open_view(within)?.facts()
    }

    /// Names what [`Service::load_beside`] will make, before it does, so that the journal knows of a load that dies.
    /// `scratch` as there; the same name at each call with the same directory.
    ///
    /// # Errors
    /// None so far; a driver may have to ask.
    fn beside(&self, scratch: &Path) -> Result<Beside, Error>;

    /// Loads a dump beside the live data, into `scratch`, an own directory. Loading again replaces what an interrupted
    /// load left there. The result goes to the durable journal.
    ///
    /// # Errors
    /// [`Error::Input`] when the dump breaks off, [`Error::Full`], and whatever the dump turns out not to be.
    fn load_beside(&self, scratch: &Path, dump: &mut dyn Read) -> Result<Beside, Error>;

    /// Compares what was loaded with what the snapshot recorded, and has the service check it (R22).
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Corrupt`].
    fn check(&self, beside: &Beside, expected: &Facts) -> Result<(), Error>;

    /// In the swap hold: fixes the present data as what [`Service::roll_back`] returns to, durably. Called again before
    /// [`Service::commit`] it fixes it anew; after it, it gives what was fixed.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Full`]; the live data is as it was.
    fn prepare(&self, beside: &Beside) -> Result<Aside, Error>;

    /// Puts what was loaded in the place of the live data, durably.
    ///
    /// # Errors
    /// [`Error::NotPrepared`], [`Error::Locked`]; the live data is then either the old or the new, never a mixture.
    fn commit(&self, beside: &Beside, aside: &Aside) -> Result<(), Error>;

    /// Returns to what [`Service::prepare`] fixed; nothing to do when [`Service::commit`] never began.
    ///
    /// # Errors
    /// As [`Service::commit`].
    fn roll_back(&self, beside: &Beside, aside: &Aside) -> Result<(), Error>;

    /// Removes what was loaded or was going to be, and what was set aside when it is given.
    ///
    /// # Errors
    /// Only when something that is there can't be removed.
    fn discard(&self, beside: &Beside, aside: Option<&Aside>) -> Result<(), Error>;

    /// Writes what was swapped out, in the form of [`View::dump`], for the safety snapshot (R22).
    ///
    /// # Errors
    /// [`Error::Output`] when it can't be handed on.
    fn dump_aside(&self, aside: &Aside, out: &mut dyn Write) -> Result<(), Error>;

    /// What a load of [`Service::dump_aside`] will be checked against. Nobody writes to what is aside: asked for before or
    /// after, it is the same.
    ///
    /// # Errors
    /// [`Error::NotPrepared`] when nothing is there.
    fn aside_facts(&self, aside: &Aside) -> Result<Facts, Error>;

    /// What people should know before a swap replaces what is there now, in a sentence (R25): that it takes longer than
    /// a moment, and about how long.
    fn notice(&self) -> Option<String> {
        None
    }

    /// Whether it would be restored in place, as maintenance, for want of a right.
    ///
    /// # Errors
    /// As [`Service::test`].
    fn in_place(&self) -> Result<Option<InPlace>, Error> {
        Ok(None)
    }

    /// About how much space what was swapped out takes, where that can be had without reading it.
    ///
    /// # Errors
    /// As [`Service::aside_facts`].
    fn aside_size(&self, aside: &Aside) -> Result<Option<Bytes>, Error> {
        let _ = aside;
        Ok(None)
    }

    /// Where that is, in words.
    fn aside_place(&self, aside: &Aside) -> &'static str {
        let _ = aside;
        "in the service"
    }

    /// Makes a new, empty one.
    ///
    /// # Errors
    /// [`Error::Exists`] when something stands there already.
    fn provision(&self) -> Result<(), Error>;

    /// Takes away what [`Service::provision`] made, with everything that is in it; not there: nothing to do. For those
    /// that lie in a directory, or that somebody else made, that directory and that somebody see to it.
    ///
    /// # Errors
    /// When it is there and can't be removed.
    fn remove(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// A service as it stood at one point.
pub trait View: Send {
    /// Where the service stood when the view was opened.
    fn position(&self) -> &Position;

    /// Version of the server that is read, as it says of itself.
    fn version(&self) -> &str;

    /// About how much there is to read.
    fn size(&self) -> Bytes;

    /// What is not in the dump or not promised of it, in sentences for the snapshot's page (R15).
    fn limits(&self) -> Vec<String>;

    /// Makes the view independent of the live service, so that it burdens nobody while it waits to be dumped: to be
    /// called soon after the hold was released. [`View::dump`] does it when nobody did. `scratch` is a directory of the
    /// service's own; what is put there goes with the view.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Cancelled`].
    fn settle(&mut self, scratch: &Path, cancelled: &dyn Fn() -> bool) -> Result<(), Error>;

    /// What a load of this dump will be checked against (R22). Best asked for after [`View::settle`].
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    fn facts(&mut self) -> Result<Facts, Error>;

    /// Writes exactly the view's state and gives the number of bytes written. `scratch` as in [`View::settle`].
    ///
    /// # Errors
    /// [`Error::Output`], [`Error::Full`], [`Error::Cancelled`].
    fn dump(&mut self, scratch: &Path, out: &mut dyn Write, cancelled: &dyn Fn() -> bool) -> Result<u64, Error>;
}

/// What the connection test found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    pub version: String,
    pub size: Bytes,
    /// What can't be promised, in sentences.
    pub limits: Vec<String>,
}

/// A service that is loaded in the hold itself, all or nothing, while visitors are asked to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InPlace {
    /// Why it can't be loaded beside, with what to do.
    pub why: String,
    /// Of what is there now, which is kept first.
    pub size: Bytes,
}

/// A point in a service's own terms (R18). Only equality means something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(String);

impl Position {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }
}

impl Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was loaded beside the live data. Stands in the durable journal (R23).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Beside {
    Sqlite(sqlite::Beside),
    Postgres(postgres::Beside),
    Mysql(mysql::Beside),
    Redis(redis::Beside),
    Solr(solr::Beside),
    Command(command::Beside),
}

/// What a swap set aside. Stands in the durable journal (R23).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Aside {
    Sqlite(sqlite::Aside),
    Postgres(postgres::Aside),
    Mysql(mysql::Aside),
    Redis(redis::Aside),
    Solr(solr::Aside),
    Command(command::Aside),
}

/// What the journal holds belongs to the service as it was declared when the swap began.
macro_rules! of_kind {
    ($type:ident, $variant:ident, $name:ident) => {
        impl $type {
            pub(super) fn $name(&self) -> Result<&$name::$type, Error> {
                match self {
                    Self::$variant(it) => Ok(it),
                    _ => Err(Error::OtherKind),
                }
            }
        }
    };
}

of_kind!(Beside, Sqlite, sqlite);
of_kind!(Beside, Postgres, postgres);
of_kind!(Beside, Mysql, mysql);
of_kind!(Beside, Redis, redis);
of_kind!(Beside, Solr, solr);
of_kind!(Beside, Command, command);
of_kind!(Aside, Sqlite, sqlite);
of_kind!(Aside, Postgres, postgres);
of_kind!(Aside, Mysql, mysql);
of_kind!(Aside, Redis, redis);
of_kind!(Aside, Solr, solr);
of_kind!(Aside, Command, command);

impl Beside {
    /// What is moved in the hold, when it is loaded there and not beside.
    pub fn in_place(&self) -> Option<Bytes> {
        match self {
            Self::Postgres(beside) => beside.in_place(),
            _ => None,
        }
    }
}

/// What was found against what the snapshot recorded (R22).
///
/// # Errors
/// [`Error::Mismatch`] with the first difference.
pub(super) fn compare(found: &Facts, expected: &Facts) -> Result<(), Error> {
    let rows = |rows: Option<&u64>| rows.map_or_else(|| "no such table".to_owned(), |rows| format!("{rows} rows"));
    let tables = found.rows.keys().chain(expected.rows.keys());
    if let Some(table) = tables.into_iter().find(|table| found.rows.get(*table) != expected.rows.get(*table)) {
        return Err(Error::Mismatch {
            what: format!("the table `{table}`"),
            expected: rows(expected.rows.get(table)),
            found: rows(found.rows.get(table)),
        });
    }
    if found.schema != expected.schema {
        return Err(Error::Mismatch {
            what: "the schema's checksum".to_owned(),
            expected: expected.schema.clone(),
            found: found.schema.clone(),
        });
    }
    Ok(())
}

/// The driver for a service.
///
/// # Errors
/// [`Error::NotAbsolute`] for a path that depends on where the worker was started. Nothing is opened yet.
pub fn connect(connection: &ServiceConnection) -> Result<Box<dyn Service>, Error> {
    match connection {
        ServiceConnection::Sqlite { path } => Ok(Box::new(sqlite::Sqlite::connect(path)?)),
        ServiceConnection::Postgres { host, port, user, password, database } => {
            let address = postgres::Address {
                host: host.clone(),
                port: *port,
                user: user.clone(),
                password: password.clone(),
                database: database.clone(),
            };
            Ok(Box::new(postgres::Postgres::connect(address)?))
        }
        ServiceConnection::Mysql { host, port, user, password, database } => {
            let address = mysql::Address {
                host: host.clone(),
                port: *port,
                user: user.clone(),
                password: password.clone(),
                database: database.clone(),
            };
            Ok(Box::new(mysql::Mysql::connect(address)?))
        }
        ServiceConnection::Redis { host, port, user, password } => {
            let address =
                redis::Address { host: host.clone(), port: *port, user: user.clone(), password: password.clone() };
            Ok(Box::new(redis::Redis::connect(address)?))
        }
        ServiceConnection::Solr { url, user, password, core, path } => {
            let address = solr::Address {
                url: url.clone(),
                user: user.clone(),
                password: password.clone(),
                core: core.clone(),
                path: path.as_ref().map(Into::into),
            };
            Ok(Box::new(solr::Solr::connect(address)?))
        }
        ServiceConnection::Command { command } => Ok(Box::new(command::Named::new(command.clone()))),
    }
}
