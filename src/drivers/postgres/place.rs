//! Restoring a database in place, for an account that may not create or rename databases: in one transaction everything
//! is dropped and made anew, while visitors are asked to come back.
//!
//! **Invariant:** before anything is changed the present data is kept in a file, durably, and from then on nobody but the
//! transaction can write. Its id stands in the journal before it may commit, so that the server itself says what became
//! of it, whoever asks, and nothing of ours stays in the database.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::archive::{Archive, Standing, put};
use super::fate::{Outcome, Transaction};
use super::psql::Talk;
use super::session::Session;
use super::survey::{self, Survey};
use super::view::{PostgresView, Ready};
use super::{CONNECT, Postgres, swap};
use crate::domain::Bytes;
use crate::domain::manifest::Facts;
use crate::drivers::{Error, View as _, service};

/// For everybody else to let go of the tables.
const LOCKS: Duration = Duration::from_secs(10);

/// What is going to be loaded in the hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// Holds the dump, and will hold what it replaces.
    scratch: PathBuf,
    /// The database's and the dump's: all that is to be moved in the hold.
    work: Bytes,
}

/// What was there, in a file, and the transaction that replaces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    scratch: PathBuf,
    transaction: Transaction,
    kept: Bytes,
}

/// A transaction that has everything locked.
#[derive(Debug)]
pub(super) struct Open {
    talk: Talk,
    aside: Aside,
}

/// In the scratch directory. What is loaded, and what it is checked against:
const INCOMING: (&str, &str) = ("incoming.dump", "incoming.json");
/// What it replaces, and what that is checked against:
const PRESENT: (&str, &str) = ("present.dump", "present.json");
/// What [`prepare`] gave.
const PREPARED: &str = "prepared.json";
/// The transaction of a roll back.
const BACK: &str = "back.json";
const LIST: &str = "list";

impl Beside {
    pub fn work(&self) -> Bytes {
        self.work
    }
}

impl Aside {
    pub fn kept(&self) -> Bytes {
        self.kept
    }
}

/// What can be done before the hold: the dump is fetched, and looked at as a whole.
pub(super) fn load(driver: &Postgres, scratch: &Path, found: &Survey, dump: &mut dyn Read) -> Result<Beside, Error> {
    let mut session = driver.address.open(CONNECT)?;
    driver.tools.find("psql", session.major)?;
    driver.tools.find("pg_dump", session.major)?;
    let file = scratch.join(INCOMING.0);
    let mut bytes = 0;
    put(&file, |out| {
        bytes = spool(dump, out, &file)?;
        Ok(())
    })?;
    let archive = archive(driver, &session, &file)?;
    if let Some(what) = archive.refused()? {
        let why = format!("the snapshot has {what}, which can't be replaced in place");
        return Err(swap::cannot(driver, format!("{why}; {}", survey::in_words(&found.way))));
    }
    let wanted = archive.extensions()?;
    let missing: Vec<String> = session.run("look at the extensions of", async |db| {
        sqlx::query_scalar(survey::NOT_TO_BE_MADE).bind(&wanted).fetch_all(db).await
    })?;
    if !missing.is_empty() {
        let why = format!("the account may not create the extension {}: let a superuser do it", missing.join(", "));
        return Err(swap::cannot(driver, why));
    }
    room_for(driver, scratch, found.size)?;
    Ok(Beside { scratch: scratch.to_owned(), work: found.size + Bytes(bytes) })
}

/// What is there now is going to be kept in a file: better found out before the hold.
fn room_for(driver: &Postgres, scratch: &Path, size: Bytes) -> Result<(), Error> {
    let is = rustix::fs::statvfs(scratch).map_err(Error::io("look at the space of", scratch))?;
    let free = Bytes(is.f_bavail.saturating_mul(is.f_frsize));
    if free.0 >= size.0 {
        return Ok(());
    }
    let why = format!(
        "to keep what is there now may need {size} in Stillpoint's data directory, which has {free} free: free some there"
    );
    Err(swap::cannot(driver, why))
}

fn spool(dump: &mut dyn Read, out: &mut File, file: &Path) -> Result<u64, Error> {
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        match dump.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(read) => {
                out.write_all(&buffer[..read]).map_err(Error::io("write", file))?;
                total += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Input(error)),
        }
    }
}

fn archive(driver: &Postgres, session: &Session, file: &Path) -> Result<Archive, Error> {
    Ok(Archive::new(driver.tools.find("pg_restore", session.major)?, file.to_owned()))
}

/// Before the hold the rows alone can be compared; all the rest is in the transaction.
pub(super) fn check(driver: &Postgres, beside: &Beside, expected: &Facts) -> Result<(), Error> {
    let session = driver.address.open(CONNECT)?;
    archive(driver, &session, &beside.scratch.join(INCOMING.0))?.compare(expected)?;
    write(&beside.scratch.join(INCOMING.1), expected)
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let text = serde_json::to_vec(value).map_err(io::Error::from).map_err(Error::io("write", path))?;
    put(path, |file| file.write_all(&text).map_err(Error::io("write", path)))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = fs::read(path).map_err(|_| Error::NotPrepared { path: path.to_owned() })?;
    serde_json::from_slice(&text).map_err(io::Error::from).map_err(Error::io("read", path))
}

pub(super) fn prepare(driver: &Postgres, beside: &Beside) -> Result<Aside, Error> {
    let mut session = driver.address.open(CONNECT)?;
    if let Ok(aside) = read::<Aside>(&beside.scratch.join(PREPARED))
        && aside.transaction.outcome(driver, &mut session)? == Outcome::Committed
        && !taken_back(driver, &mut session, &aside)?
    {
        return Ok(aside);
    }
    remove(&beside.scratch.join(BACK))?;
    swap::none_prepared(driver, &mut session)?;
    // One that was begun is begun anew.
    driver.let_go();
    drop(session);
    let (talk, transaction) = locked(driver)?;
    let file = beside.scratch.join(PRESENT.0);
    let mut view = PostgresView::open(Ready::new(driver.address.open(CONNECT)?, &driver.tools)?, LOCKS)?;
    let mut kept = 0;
    put(&file, |out| {
        // A full disk is the file's.
        let dumped = view.dump(&beside.scratch, out, &|| false);
        kept = dumped.map_err(|error| match error {
            Error::Output(source) => Error::io("write", &file)(source),
            other => other,
        })?;
        Ok(())
    })?;
    write(&beside.scratch.join(PRESENT.1), &view.facts()?)?;
    drop(view);
    let aside = Aside { scratch: beside.scratch.clone(), transaction, kept: Bytes(kept) };
    write(&beside.scratch.join(PREPARED), &aside)?;
    driver.kept().place = Some(Open { talk, aside: aside.clone() });
    Ok(aside)
}

/// Sends away whom the account may, and locks every table against writing.
fn locked(driver: &Postgres) -> Result<(Talk, Transaction), Error> {
    // Ended before: it would be among those that are sent away.
    let major = driver.address.open(CONNECT)?.major;
    let psql = driver.tools.find("psql", major)?;
    let mut talk = Talk::begin(&psql, &driver.address)?;
    let locked = talk
        .ask(&format!("SET LOCAL lock_timeout = '{}s'", LOCKS.as_secs()))
        .and_then(|_| talk.ask(include_str!("lock.sql")));
    if let Err(error) = locked {
        let Error::ToolFailed { detail, .. } = &error else { return Err(error) };
        if !detail.contains("lock timeout") {
            return Err(error);
        }
        let by = culprit(&mut driver.address.open(CONNECT)?);
        return Err(Error::InTheWay { database: driver.address.database.clone(), waited: LOCKS, by });
    }
    let transaction = Transaction::of(&mut talk)?;
    Ok((talk, transaction))
}

/// Of other accounts' sessions only who they are can be seen, and what they have locked.
const CULPRIT: &str = "
  SELECT format('process %s of %s keeps %s locked%s', l.pid, coalesce(a.usename, 'nobody'), l.relation::regclass,
    coalesce(format(', in a transaction for %s s: %s', extract(epoch FROM now() - a.xact_start)::int8, left(a.query, 200)),
      ''))
  FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
  WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.relation >= 16384
    AND l.granted AND l.mode <> 'AccessShareLock' AND l.pid <> pg_backend_pid()
  ORDER BY a.xact_start LIMIT 1";

fn culprit(session: &mut Session) -> String {
    let found = session.run("look at the sessions of", async |db| {
        sqlx::query_scalar::<_, Option<String>>(CULPRIT).fetch_optional(db).await
    });
    found.ok().flatten().flatten().unwrap_or_else(|| "who it was could not be seen".to_owned())
}

pub(super) fn commit(driver: &Postgres, beside: &Beside, aside: &Aside) -> Result<(), Error> {
    let open = driver.kept().place.take();
    let Some(open) = open.filter(|open| open.aside == *aside) else {
        let mut session = driver.address.open(CONNECT)?;
        return match aside.transaction.outcome(driver, &mut session)? {
            Outcome::Committed if !taken_back(driver, &mut session, aside)? => Ok(()),
            // Its locks went with whoever had them: others may have written since.
            _ => Err(Error::NotPrepared { path: beside.scratch.clone() }),
        };
    };
    replace(driver, open.talk, &aside.transaction, &beside.scratch, INCOMING)
}

/// In the transaction: everything goes, the archive comes, and what came is compared.
fn replace(
    driver: &Postgres,
    mut talk: Talk,
    transaction: &Transaction,
    scratch: &Path,
    (dump, facts): (&str, &str),
) -> Result<(), Error> {
    let expected: Facts = read(&scratch.join(facts))?;
    let session = driver.address.open(CONNECT)?;
    let archive = archive(driver, &session, &scratch.join(dump))?;
    drop(session);
    talk.ask(include_str!("clear.sql"))?;
    let names = |lines: Vec<String>| lines.into_iter().collect::<BTreeSet<String>>();
    let standing = Standing {
        extensions: names(talk.ask("SELECT extname FROM pg_extension")?),
        schemas: names(talk.ask("SELECT nspname FROM pg_namespace")?),
        foreign: names(talk.ask("SELECT nspname FROM pg_namespace WHERE NOT pg_has_role(nspowner, 'USAGE')")?),
    };
    talk.feed(&mut archive.script(&standing, &scratch.join(LIST))?)?;
    // A load leaves no statistics.
    talk.ask("SET client_min_messages = error; SET search_path = pg_catalog; SET row_security = off; ANALYZE")?;
    service::compare(&talk.facts()?, &expected)?;
    transaction.goes_on_in(&mut talk)?;
    talk.commit()
}

fn taken_back(driver: &Postgres, session: &mut Session, aside: &Aside) -> Result<bool, Error> {
    match read::<Transaction>(&aside.scratch.join(BACK)) {
        Ok(back) => Ok(back.ended(driver, session)? == Outcome::Committed),
        Err(Error::NotPrepared { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn roll_back(driver: &Postgres, aside: &Aside) -> Result<(), Error> {
    driver.let_go();
    let mut session = driver.address.open(CONNECT)?;
    match aside.transaction.ended(driver, &mut session)? {
        Outcome::Committed if !taken_back(driver, &mut session, aside)? => {}
        _ => return Ok(()),
    }
    drop(session);
    let (talk, transaction) = locked(driver)?;
    write(&aside.scratch.join(BACK), &transaction)?;
    replace(driver, talk, &transaction, &aside.scratch, PRESENT)
}

pub(super) fn discard(driver: &Postgres, beside: &Beside) -> Result<(), Error> {
    driver.kept().place = None;
    let files = [INCOMING.0, INCOMING.1, PRESENT.0, PRESENT.1, PREPARED, BACK, LIST];
    files.iter().try_for_each(|name| remove(&beside.scratch.join(name)))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

pub(super) fn dump_aside(aside: &Aside, out: &mut dyn Write) -> Result<(), Error> {
    let path = aside.scratch.join(PRESENT.0);
    let mut file = File::open(&path).map_err(|_| Error::NotPrepared { path: path.clone() })?;
    io::copy(&mut file, out).and_then(|_| out.flush()).map_err(Error::Output)
}

pub(super) fn aside_facts(aside: &Aside) -> Result<Facts, Error> {
    read(&aside.scratch.join(PRESENT.1))
}
