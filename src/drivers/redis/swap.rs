//! Replacing what a live server holds: empty databases of it are filled beside, and change places with the live ones.
//!
//! **Invariant:** what stands is read from the server each time. A database that is filled beside, or was set aside, has
//! a mark, and the mark says which of the two it is. All databases change places, and all marks with them, in one
//! transaction, which the server does as a whole or not at all; it watches the marks, so that of two such transactions,
//! one of which was thought lost, only one is done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ::redis::{Cmd, Value, cmd};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::census::{self, Census};
use super::mark::{MARK, Standing, State, watch};
use super::session::{self, Session};
use super::survey::{self, Databases};
use super::{Redis, aside, mark};
use crate::domain::manifest::Facts;
use crate::drivers::service::{REACH, SWAP};
use crate::drivers::{Error, service};

/// How often somebody may come in between.
const TRIES: u32 = 5;

/// What was, or is going to be, loaded into databases beside the live ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    pub(super) scratch: PathBuf,
    /// Stands in the marks.
    pub(super) id: String,
    /// Known once it is loaded.
    pub(super) loaded: Option<Loaded>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Loaded {
    pub pairs: Vec<Pair>,
    pub census: Census,
    pub functions: Functions,
}

/// The databases that were live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    pub(super) scratch: PathBuf,
    pub(super) id: String,
    pub(super) pairs: Vec<Pair>,
    pub(super) functions: Functions,
}

/// A live database, and the one that changes places with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Pair {
    pub live: u32,
    pub spare: u32,
}

/// The server's functions as `FUNCTION DUMP` gives them, hexadecimal. None where there are none or it knows none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Functions(pub Option<String>);

impl Functions {
    pub fn of(session: &mut Session) -> Result<Self, Error> {
        let asked = [cmd("FUNCTION").arg("LIST").take(), cmd("FUNCTION").arg("DUMP").take()];
        let replies = session.replies("read the functions of", &asked)?;
        Ok(match replies.as_slice() {
            [Value::Array(list), Value::BulkString(dump)] if !list.is_empty() => Self(Some(hex::encode(dump))),
            _ => Self(None),
        })
    }

    /// Replaces the server's: all of them or none. They belong to no database and take no part in a transaction.
    pub fn put(&self, session: &mut Session) -> Result<(), Error> {
        if Self::of(session)? == *self {
            return Ok(());
        }
        let command = match self.0.as_deref().map(hex::decode) {
            Some(Ok(dump)) => cmd("FUNCTION").arg("RESTORE").arg(dump).arg("FLUSH").take(),
            _ => cmd("FUNCTION").arg("FLUSH").take(),
        };
        session.ask("replace the functions of", &command)
    }
}

pub(super) fn beside(scratch: &Path) -> Beside {
    use std::os::unix::ffi::OsStrExt as _;
    // Belongs to one activity and service: the same at each try.
    let id = hex::encode(&Sha256::digest(scratch.as_os_str().as_bytes())[..12]);
    Beside { scratch: scratch.to_owned(), id, loaded: None }
}

pub(super) fn cannot(driver: &Redis, why: impl Into<String>) -> Error {
    Error::CannotRestore { database: driver.address.server(), why: why.into() }
}

pub(super) fn check(driver: &Redis, beside: &Beside, expected: &Facts) -> Result<(), Error> {
    let loaded = loaded(driver, beside)?;
    // What the dump held, by a server of our own: also the keys whose time has passed.
    service::compare(&loaded.census.facts(), expected)?;
    let mut session = driver.address.open(None)?;
    for pair in &loaded.pairs {
        let expected = loaded.census.of(pair.live);
        let found = census::count(&mut session, pair.spare, Some(MARK))?;
        if !found.is(&expected) {
            return Err(Error::Mismatch {
                what: format!("the database {}", pair.live),
                expected: format!("{} keys and {} that expire", expected.lasting, expected.expiring),
                found: if found.lasting == expected.lasting && found.expiring <= expected.expiring {
                    "as many, but not the same".to_owned()
                } else {
                    format!("{} and {}", found.lasting, found.expiring)
                },
            });
        }
    }
    Ok(())
}

fn loaded<'a>(driver: &Redis, beside: &'a Beside) -> Result<&'a Loaded, Error> {
    beside.loaded.as_ref().ok_or_else(|| gone(driver))
}

fn gone(driver: &Redis) -> Error {
    cannot(
        driver,
        "what was loaded beside is not there any more (was the server restarted, or emptied?): restore again",
    )
}

/// Whether exactly these pairs stand there, all on this side.
fn all_are(standing: &BTreeMap<u32, Standing>, pairs: &[Pair], state: State) -> bool {
    standing.len() == pairs.len()
        && pairs
            .iter()
            .all(|pair| standing.get(&pair.spare).is_some_and(|it| it.live == pair.live && it.state == state))
}

pub(super) fn prepare(driver: &Redis, beside: &Beside) -> Result<Aside, Error> {
    let loaded = loaded(driver, beside)?;
    let mut session = hurried(driver)?;
    let aside = |pairs: Vec<Pair>, functions| Aside {
        scratch: beside.scratch.clone(),
        id: beside.id.clone(),
        pairs,
        functions,
    };
    for _ in 0..TRIES {
        let standing = watch(&mut session, &beside.id)?;
        let pairs: Vec<Pair> = standing.iter().map(|(spare, it)| Pair { live: it.live, spare: *spare }).collect();
        if !loaded.pairs.iter().all(|pair| pairs.contains(pair)) {
            return Err(gone(driver));
        }
        if all_are(&standing, &pairs, State::Aside) {
            // It is done: what was fixed is what stands aside.
            let functions = standing.into_values().find_map(|it| it.functions.0);
            return Ok(aside(pairs, Functions(functions)));
        }
        let databases = Databases::look(&mut session)?;
        let paired: BTreeSet<u32> = pairs.iter().map(|pair| pair.live).collect();
        let Some(new) = databases.used.keys().copied().find(|number| !paired.contains(number)) else {
            let functions = Functions::of(&mut session)?;
            if let Some(first) = pairs.first() {
                let text = functions.0.clone().unwrap_or_default();
                session.select(first.spare)?;
                session.ask::<()>("mark a database of", cmd("HSET").arg(MARK).arg("functions").arg(text))?;
            }
            return Ok(aside(pairs, functions));
        };
        // Used since the load, and not in the snapshot: what is there goes aside too.
        let Some(spare) = databases.free(&paired).first().copied() else {
            let needed = u32::try_from(pairs.len()).unwrap_or(u32::MAX).saturating_add(1);
            return Err(cannot(driver, survey::too_few(databases.count, needed)));
        };
        mark::mark(&mut session, &beside.id, Pair { live: new, spare })?;
    }
    Err(cannot(driver, "somebody goes on beginning to use new databases: stop what goes round the gate"))
}

/// What was loaded takes the place of what is live, or gives it back: the commands.
fn exchange(pairs: &[Pair], becomes: State) -> Vec<Cmd> {
    let commands = pairs.iter().flat_map(|pair| {
        [
            cmd("SWAPDB").arg(pair.live).arg(pair.spare).take(),
            // The mark stays where it was.
            cmd("SELECT").arg(pair.live).take(),
            cmd("MOVE").arg(MARK).arg(pair.spare).take(),
            cmd("SELECT").arg(pair.spare).take(),
            cmd("HSET").arg(MARK).arg("state").arg(becomes.word()).take(),
        ]
    });
    commands.collect()
}

/// Nothing was exchanged: the commands that say so once more.
fn stay(pairs: &[Pair]) -> Vec<Cmd> {
    let commands = pairs.iter().flat_map(|pair| {
        let mark = cmd("HSET").arg(MARK).arg("state").arg(State::Beside.word()).take();
        [cmd("SELECT").arg(pair.spare).take(), mark]
    });
    commands.collect()
}

/// A connection each of whose answers comes soon, or not at all.
fn hurried(driver: &Redis) -> Result<Session, Error> {
    let mut session = driver.address.open(Some(REACH))?;
    session.patience(Some(SWAP))?;
    Ok(session)
}

pub(super) fn commit(driver: &Redis, beside: &Beside, aside: &Aside) -> Result<(), Error> {
    let loaded = loaded(driver, beside)?;
    let mut session = hurried(driver)?;
    for _ in 0..TRIES {
        let standing = watch(&mut session, &aside.id)?;
        if all_are(&standing, &aside.pairs, State::Aside) {
            return Ok(());
        }
        if !all_are(&standing, &aside.pairs, State::Beside) {
            return Err(gone(driver));
        }
        // First, since it may fail: nothing was replaced then. A roll back puts the old ones back.
        loaded.functions.put(&mut session)?;
        if session.transaction("exchange databases of", &exchange(&aside.pairs, State::Aside))?.is_some() {
            return Ok(());
        }
    }
    Err(cannot(driver, "somebody goes on writing to the databases beside: stop what goes round the gate"))
}

pub(super) fn roll_back(driver: &Redis, _beside: &Beside, aside: &Aside) -> Result<(), Error> {
    let mut session = hurried(driver)?;
    for _ in 0..TRIES {
        let standing = watch(&mut session, &aside.id)?;
        if standing.is_empty() && session.info(&["keyspace"])?.databases().is_empty() {
            tracing::warn!(server = driver.address.server(), "the server was emptied: nothing is there to go back to");
            return Ok(());
        }
        let exchanged = all_are(&standing, &aside.pairs, State::Aside);
        if !exchanged && !all_are(&standing, &aside.pairs, State::Beside) {
            return Err(cannot(driver, "what was set aside is gone (was the server restarted, or emptied?)"));
        }
        aside.functions.put(&mut session)?;
        // Marks that are written anew stop an exchange that was thought lost.
        let commands = if exchanged { exchange(&aside.pairs, State::Beside) } else { stay(&aside.pairs) };
        if session.transaction("exchange databases of", &commands)?.is_some() {
            return Ok(());
        }
    }
    Err(cannot(driver, "somebody goes on writing to the databases aside: stop what goes round the gate"))
}

pub(super) fn discard(driver: &Redis, beside: &Beside, aside: Option<&Aside>) -> Result<(), Error> {
    let mut session = driver.address.open(Some(session::ANSWER))?;
    remove(&mut session, &beside.id, aside.is_some())?;
    aside::remove_files(&beside.scratch)
}

/// Empties what was loaded, and what was set aside if it may go, and forgets the marks with it.
pub(super) fn remove(session: &mut Session, id: &str, with_aside: bool) -> Result<(), Error> {
    for _ in 0..TRIES {
        let standing = watch(session, id)?;
        let removed = standing.iter().filter(|(_, it)| with_aside || it.state == State::Beside);
        let commands: Vec<Cmd> = removed
            .flat_map(|(number, _)| [cmd("SELECT").arg(*number).take(), cmd("FLUSHDB").arg("ASYNC").take()])
            .collect();
        if commands.is_empty() || session.transaction("empty databases of", &commands)?.is_some() {
            return Ok(());
        }
    }
    Err(Error::CannotRestore {
        database: session.at.clone(),
        why: "somebody writes to the databases beside".to_owned(),
    })
}

/// What stands aside, when it does.
pub(super) fn is_aside(session: &mut Session, aside: &Aside) -> Result<bool, Error> {
    Ok(all_are(&watch(session, &aside.id)?, &aside.pairs, State::Aside))
}

/// A commit whose last word comes late: what the server says to it.
#[cfg(test)]
pub(super) fn commit_late(driver: &Redis, aside: &Aside, meanwhile: impl FnOnce()) -> Result<Option<()>, Error> {
    let mut session = hurried(driver)?;
    assert!(all_are(&watch(&mut session, &aside.id)?, &aside.pairs, State::Beside), "prepared");
    meanwhile();
    session.transaction("exchange databases of", &exchange(&aside.pairs, State::Aside))
}
