//! Replacing a live MySQL or MariaDB database: load a new one beside it, check it, exchange all tables in one statement.
//!
//! **Invariant:** what stands is read from the server each time. One small table stands in the schema of what was loaded as
//! long as nothing was exchanged, and goes to the schema of what was set aside in the very statement that exchanges the
//! tables: where it is tells which is which, whenever the worker or the server dies. The server does such a statement as a
//! whole or not at all. A lock of the server's keeps a roll back apart from an exchange that was given up, of which the
//! server does not know yet.

use std::io::Read;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::objects::{self, Kind, Object};
use super::session::{Session, ident, is_late, is_number, literal, number};
use super::survey::{self, MARK};
use super::{CONNECT, Mysql, facts, tools, view};
use crate::domain::manifest::Facts;
use crate::drivers::service::{BACK, REACH, SWAP};
use crate::drivers::{Error, service};

/// In the swap hold, until all tables are free.
const WAIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// A schema that was, or is going to be, loaded beside the live one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    name: String,
    /// What was loaded beside tables; triggers and events are made when it takes the live name.
    objects: Vec<Object>,
}

/// What was live: its tables are in a schema of this name once they were exchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    name: String,
    objects: Vec<Object>,
}

impl Aside {
    pub(super) fn objects(&self) -> &[Object] {
        &self.objects
    }
}

/// The names are made from the scratch directory's, which belongs to one activity and service: the same at each try.
pub(super) fn beside(driver: &Mysql, scratch: &Path) -> Beside {
    use std::os::unix::ffi::OsStrExt as _;
    let hash = hex::encode(Sha256::digest(scratch.as_os_str().as_bytes()));
    Beside { name: name(&driver.address.database, &hash[..12]), objects: Vec::new() }
}

/// What a right is asked for.
pub(super) fn example(database: &str) -> String {
    name(database, "000000000000")
}

/// 64 letters are the most that a name may have.
fn name(database: &str, hash: &str) -> String {
    format!("{}_stillpoint_{hash}", database.chars().take(36).collect::<String>())
}

fn aside_name(beside: &Beside) -> String {
    format!("{}_old", beside.name)
}

/// Where the loaded tables are.
#[derive(Debug, PartialEq, Eq)]
enum Stand {
    /// Not exchanged.
    Beside,
    /// In the live schema; what was live is aside.
    Live,
    Nowhere,
}

fn stand(session: &mut Session, beside: &Beside) -> Result<Stand, Error> {
    let (new, old) = (literal(&beside.name), literal(&aside_name(beside)));
    let found = session.one(
        "look up what stands beside",
        &format!(
            "SELECT TABLE_SCHEMA = {new} FROM information_schema.TABLES
             WHERE TABLE_NAME = '{MARK}' AND TABLE_SCHEMA IN ({new}, {old})"
        ),
    )?;
    Ok(match found.as_deref() {
        Some("1") => Stand::Beside,
        Some(_) => Stand::Live,
        None => Stand::Nowhere,
    })
}

pub(super) fn load(driver: &Mysql, scratch: &Path, dump: &mut dyn Read) -> Result<Beside, Error> {
    let mut session = driver.address.open(CONNECT)?;
    let mut beside = beside(driver, scratch);
    let found = survey::look(&mut session, &beside.name)?;
    if !found.obstacles.is_empty() {
        return Err(cannot(driver, found.obstacles.join("; ")));
    }
    let program = driver.tools.find(session.mariadb)?;
    remove(&mut session, &beside.name)?;
    remove(&mut session, &aside_name(&beside))?;
    let filled = fill(driver, &mut session, &mut beside, program, dump);
    if let Err(error) = filled {
        let left = remove(&mut session, &beside.name).and_then(|()| remove(&mut session, &aside_name(&beside)));
        if let Err(left) = left {
            tracing::warn!(database = beside.name, error = %left, "what a failed load left stays for now");
        }
        return Err(error);
    }
    Ok(beside)
}

fn fill(
    driver: &Mysql,
    session: &mut Session,
    beside: &mut Beside,
    program: (&'static str, std::path::PathBuf),
    dump: &mut dyn Read,
) -> Result<(), Error> {
    let live = &driver.address.database;
    let (name, old) = (ident(&beside.name), ident(&aside_name(beside)));
    let like = session.rows(
        "look at",
        &format!(
            "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA
             WHERE SCHEMA_NAME = {}",
            literal(live)
        ),
    )?;
    let mut like = like.into_iter().flatten().flatten();
    let set = like.next().unwrap_or_else(|| "utf8mb4".to_owned());
    let collation = like.next().map(|collation| format!(" COLLATE {collation}")).unwrap_or_default();
    let made = format!(
        "CREATE DATABASE {name} CHARACTER SET {set}{collation};
         CREATE TABLE {name}.{MARK} (began tinyint NOT NULL, old longtext CHARACTER SET utf8mb4) ENGINE=InnoDB
           COMMENT 'Stillpoint: loaded beside for a restore';
         INSERT INTO {name}.{MARK} VALUES (0, NULL);
         CREATE DATABASE {old} CHARACTER SET {set}{collation}"
    );
    session.command("make a new one beside", &made)?;
    let enabled = tools::load(program, &driver.address.with_database(&beside.name), dump)?;

    let mut loaded = objects::read(session, &beside.name)?;
    for object in &mut loaded {
        object.create = object.create.replace(&format!("{name}."), &format!("{}.", ident(live)));
        object.enabled = object.kind == Kind::Event && enabled.contains(&object.name);
        // A trigger binds its table to its schema; an event could be enabled by somebody.
        if matches!(object.kind, Kind::Trigger | Kind::Event) {
            session.command("set aside a part of", &object.drop_command(&beside.name))?;
        }
    }
    beside.objects = loaded;
    // A load leaves statistics to the background, and without them the site would be slow on what was restored.
    let tables = survey::tables(session, &beside.name)?;
    let tables = tables.iter().filter(|table| table.kind != survey::TableKind::Sequence);
    let tables: Vec<String> = tables.map(|table| format!("{name}.{}", ident(&table.name))).collect();
    if !tables.is_empty() {
        session.command("analyse", &format!("ANALYZE TABLE {}", tables.join(", ")))?;
    }
    session.command("return to", &format!("USE {}", ident(live)))
}

pub(super) fn check(driver: &Mysql, beside: &Beside, expected: &Facts) -> Result<(), Error> {
    let mut session = driver.address.with_database(&beside.name).open(CONNECT)?;
    let tables = survey::tables(&mut session, &beside.name)?;
    let counted = std::collections::BTreeMap::new();
    service::compare(&facts::facts(&mut session, &beside.name, &tables, &beside.objects, &counted)?, expected)
}

fn cannot(driver: &Mysql, why: impl Into<String>) -> Error {
    Error::CannotRestore { database: driver.address.database.clone(), why: why.into() }
}

fn gone(driver: &Mysql, beside: &Beside) -> Error {
    cannot(driver, format!("what was loaded as `{}` is not there any more: restore again", beside.name))
}

/// What the mark says: whether a commit began, and what was live then.
fn marked(driver: &Mysql, session: &mut Session, schema: &str) -> Result<(bool, Option<Vec<Object>>), Error> {
    let found = session.rows("read the state of", &format!("SELECT began, old FROM {}.{MARK}", ident(schema)))?;
    let mut cells = found.into_iter().flatten();
    let began = cells.next().flatten().as_deref() == Some("1");
    let old = cells.next().flatten();
    let old = old.map(|old| serde_json::from_str(&old)).transpose();
    Ok((began, old.map_err(|_| cannot(driver, format!("what `{schema}`.`{MARK}` holds can't be read")))?))
}

fn mark(session: &mut Session, schema: &str, what: &str) -> Result<(), Error> {
    session.command("note the state of", &format!("UPDATE {}.{MARK} SET {what}", ident(schema)))
}

/// A connection whose answers are all waited for together, and not longer than that.
fn hurried(driver: &Mysql, within: Duration) -> Result<Session, Error> {
    let until = Instant::now() + within;
    let mut session = driver.address.open(REACH)?;
    session.hurry(Some(until));
    Ok(session)
}

/// As [`hurried`], and nobody else exchanges these tables as long as it is open: an exchange that was given up is over,
/// done or not.
fn alone(driver: &Mysql, beside: &Beside, within: Duration) -> Result<Session, Error> {
    let mut session = hurried(driver, within)?;
    let name = literal(&beside.name);
    loop {
        match session.one("wait for an earlier exchange of", &format!("SELECT GET_LOCK({name}, 0)")) {
            Ok(Some(got)) if got == "1" => return Ok(session),
            Ok(_) => {}
            // Percona's cluster in its strict mode has no such locks.
            Err(error) if is_number(&error, number::OTHER) => return Ok(session),
            Err(error) => return Err(error),
        }
        // Whoever is asked nothing any more would wait for ever; what is at work comes to its end.
        let idle = format!(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE ID = IS_USED_LOCK({name}) AND COMMAND = 'Sleep'"
        );
        if let Some(id) = session.one("look at an earlier exchange of", &idle)?.and_then(|id| id.parse::<u64>().ok()) {
            // Gone meanwhile, perhaps.
            session.command("end an earlier exchange of", &format!("KILL {id}")).ok();
        }
        thread::sleep(PAUSE);
    }
}

pub(super) fn prepare(driver: &Mysql, beside: &Beside) -> Result<Aside, Error> {
    let mut session = hurried(driver, SWAP)?;
    let name = aside_name(beside);
    match stand(&mut session, beside)? {
        Stand::Nowhere => Err(gone(driver, beside)),
        Stand::Live => {
            let old = marked(driver, &mut session, &name)?.1;
            let objects = old.ok_or_else(|| cannot(driver, format!("`{name}` does not say what it was")))?;
            Ok(Aside { name, objects })
        }
        Stand::Beside => {
            if let (true, Some(old)) = marked(driver, &mut session, &beside.name)? {
                // A commit died before the exchange, after it made way.
                objects::conform(&mut session, &driver.address.database, &old)?;
            }
            let objects = objects::read(&mut session, &driver.address.database)?;
            let json =
                serde_json::to_string(&objects).map_err(|_| cannot(driver, "its parts can't be written down"))?;
            mark(&mut session, &beside.name, &format!("began = 0, old = {}", literal(&json)))?;
            Ok(Aside { name, objects })
        }
    }
}

pub(super) fn commit(driver: &Mysql, beside: &Beside, aside: &Aside) -> Result<(), Error> {
    let live = &driver.address.database;
    let mut session = alone(driver, beside, SWAP)?;
    match stand(&mut session, beside)? {
        Stand::Nowhere => return Err(gone(driver, beside)),
        Stand::Live => {}
        Stand::Beside => {
            if marked(driver, &mut session, &beside.name)?.1.is_none() {
                return Err(cannot(driver, "the swap was not prepared: prepare it first"));
            }
            mark(&mut session, &beside.name, "began = 1")?;
            let exchanged =
                unhindered(driver, &mut session, |session| objects::make_way(session, live, &beside.objects))
                    .and_then(|()| exchange(driver, &mut session, &beside.name, &aside.name));
            if let Err(error) = exchanged {
                // Who says nothing is asked nothing more, and may be at it still.
                if !is_late(&error) {
                    return_parts(driver, beside, aside);
                }
                return Err(error);
            }
        }
    }
    unhindered(driver, &mut session, |session| objects::conform(session, live, &beside.objects))
}

/// The tables never changed: what made way for them comes back. Where that fails a roll back does it.
fn return_parts(driver: &Mysql, beside: &Beside, aside: &Aside) {
    let returned = hurried(driver, SWAP).and_then(|mut session| {
        if stand(&mut session, beside)? == Stand::Beside {
            objects::conform(&mut session, &driver.address.database, &aside.objects)?;
            mark(&mut session, &beside.name, "began = 0")?;
        }
        Ok(())
    });
    if let Err(error) = returned {
        tracing::warn!(database = driver.address.database, error = %error, "triggers and views wait for the roll back");
    }
}

pub(super) fn roll_back(driver: &Mysql, beside: &Beside, aside: &Aside) -> Result<(), Error> {
    let live = &driver.address.database;
    let mut session = alone(driver, beside, BACK)?;
    match stand(&mut session, beside)? {
        Stand::Nowhere => return Err(cannot(driver, format!("what was set aside as `{}` is gone", aside.name))),
        Stand::Live => {
            unhindered(driver, &mut session, |session| objects::make_way(session, live, &aside.objects))?;
            exchange(driver, &mut session, &aside.name, &beside.name)?;
        }
        Stand::Beside if !marked(driver, &mut session, &beside.name)?.0 => return Ok(()),
        Stand::Beside => {}
    }
    unhindered(driver, &mut session, |session| objects::conform(session, live, &aside.objects))?;
    mark(&mut session, &beside.name, "began = 0")
}

/// All tables of the live schema go `to` another one, all those `of` a third take their place, and the mark goes along: in
/// one statement.
fn exchange(driver: &Mysql, session: &mut Session, of: &str, to: &str) -> Result<(), Error> {
    let statement = exchanging(driver, session, of, to)?;
    unhindered(driver, session, |session| session.command("exchange the tables of", &statement))
}

fn exchanging(driver: &Mysql, session: &mut Session, of: &str, to: &str) -> Result<String, Error> {
    let live = &driver.address.database;
    let mut renames = Vec::new();
    let mut rename = |name: &str, from: &str, to: &str| {
        renames.push(format!("{}.{name} TO {}.{name}", ident(from), ident(to), name = ident(name)));
    };
    let (leaving, coming) = (survey::tables(session, live)?, survey::tables(session, of)?);
    for table in &leaving {
        rename(&table.name, live, to);
    }
    for table in &coming {
        rename(&table.name, of, live);
    }
    rename(MARK, of, to);
    Ok(format!("RENAME TABLE {}", renames.join(", ")))
}

/// Does what needs tables for itself, and sends away who has them: first whoever sits in a transaction, then, where that
/// was not enough, all who use the database.
fn unhindered(
    driver: &Mysql,
    session: &mut Session,
    mut work: impl FnMut(&mut Session) -> Result<(), Error>,
) -> Result<(), Error> {
    // Our own go first.
    driver.let_go();
    let deadline = Instant::now() + WAIT;
    end(session, Whom::InTransactions);
    session.command("set up", "SET SESSION lock_wait_timeout = 1")?;
    let done = loop {
        match work(session) {
            Err(error) if is_number(&error, number::LOCK_WAIT) && Instant::now() < deadline => end(session, Whom::All),
            Err(error) if is_number(&error, number::LOCK_WAIT) => {
                let by = view::culprits(session, &[]);
                let by = by.unwrap_or_else(|| "who it was could not be seen (GRANT PROCESS shows it)".to_owned());
                break Err(Error::InTheWay { database: driver.address.database.clone(), waited: WAIT, by });
            }
            done => break done,
        }
    };
    session.command("set up", "SET SESSION lock_wait_timeout = 10").ok();
    done
}

#[derive(Clone, Copy)]
enum Whom {
    /// No request is under way in a swap hold: an open transaction is nobody's.
    InTransactions,
    All,
}

/// Ends others' sessions in the live database, as far as the account may: who stays shows in what is in the way.
fn end(session: &mut Session, whom: Whom) {
    let join = match whom {
        Whom::InTransactions => "JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.ID",
        Whom::All => "",
    };
    let list = format!(
        "SELECT p.ID FROM information_schema.PROCESSLIST p {join} WHERE p.DB = {} AND p.ID <> CONNECTION_ID()",
        literal(&session.address.database)
    );
    let found = session.rows("look at the processes of", &list).unwrap_or_default();
    for id in found.into_iter().flatten().flatten().filter_map(|id| id.parse::<u64>().ok()) {
        session.command("end a session of", &format!("KILL {id}")).ok();
    }
}

/// A connection to what was set aside, with its schema.
pub(super) fn open_aside(driver: &Mysql, aside: &Aside) -> Result<(Session, String), Error> {
    let mut session = driver.address.open_server(CONNECT)?;
    if !holds(&mut session, &aside.name)?.is_marked {
        return Err(cannot(driver, format!("what was set aside as `{}` is not there", aside.name)));
    }
    drop(session);
    Ok((driver.address.with_database(&aside.name).open(CONNECT)?, aside.name.clone()))
}

struct Holds {
    is_marked: bool,
    is_empty: bool,
}

fn holds(session: &mut Session, schema: &str) -> Result<Holds, Error> {
    let found = session.rows(
        "look into what stands beside",
        &format!(
            "SELECT coalesce(sum(TABLE_NAME = '{MARK}'), 0), count(*) FROM information_schema.TABLES
             WHERE TABLE_SCHEMA = {} AND TABLE_TYPE <> 'VIEW'",
            literal(schema)
        ),
    )?;
    let cells: Vec<String> = found.into_iter().flatten().flatten().collect();
    let cell = |index: usize| cells.get(index).map(String::as_str).unwrap_or_default();
    Ok(Holds { is_marked: cell(0) == "1", is_empty: cell(1) == "0" })
}

/// Drops a schema that is ours: it bears the mark, or there is nothing in it yet or any more.
fn remove(session: &mut Session, schema: &str) -> Result<(), Error> {
    let held = holds(session, schema)?;
    if !held.is_marked && !held.is_empty {
        return Err(Error::DatabaseExists { at: session.address.server(), database: schema.to_owned() });
    }
    session.command("drop what stood beside", &format!("DROP DATABASE IF EXISTS {}", ident(schema)))
}

pub(super) fn discard(driver: &Mysql, beside: &Beside, aside: Option<&Aside>) -> Result<(), Error> {
    let mut session = driver.address.open_server(CONNECT)?;
    let old = aside_name(beside);
    // The mark goes last: until then it tells which is which.
    let exchanged = holds(&mut session, &old)?.is_marked;
    remove(&mut session, &beside.name)?;
    if !exchanged || aside.is_some() {
        remove(&mut session, &old)?;
    }
    Ok(())
}

pub(super) fn remove_database(driver: &Mysql) -> Result<(), Error> {
    let statement = format!("DROP DATABASE IF EXISTS {}", ident(&driver.address.database));
    driver.address.open_server(CONNECT)?.command("drop", &statement)
}

pub(super) fn provision(driver: &Mysql) -> Result<(), Error> {
    let name = &driver.address.database;
    let mut session = driver.address.open_server(CONNECT)?;
    match session.command("make", &format!("CREATE DATABASE {} CHARACTER SET utf8mb4", ident(name))) {
        Err(error) if is_number(&error, number::EXISTS) => {
            Err(Error::DatabaseExists { at: driver.address.server(), database: name.clone() })
        }
        other => other,
    }
}

/// A commit that dies after its first command.
#[cfg(test)]
pub(super) fn die_after_mark(driver: &Mysql, session: &mut Session, beside: &Beside) -> Result<(), Error> {
    assert!(marked(driver, session, &beside.name)?.1.is_some(), "prepared");
    mark(session, &beside.name, "began = 1")
}

/// A commit that dies right after the exchange.
#[cfg(test)]
pub(super) fn die_after_exchange(
    driver: &Mysql,
    session: &mut Session,
    beside: &Beside,
    aside: &Aside,
) -> Result<(), Error> {
    objects::make_way(session, &driver.address.database, &beside.objects)?;
    exchange(driver, session, &beside.name, &aside.name)
}

/// A commit that the server takes its time over, whoever still listens.
#[cfg(test)]
pub(super) fn commit_slowly(driver: &Mysql, beside: &Beside, aside: &Aside) -> Result<(), Error> {
    let mut session = commit_without_end(driver, beside)?;
    objects::make_way(&mut session, &driver.address.database, &beside.objects)?;
    let statement = exchanging(driver, &mut session, &beside.name, &aside.name)?;
    session.command("exchange", &format!("DO SLEEP(3); {statement}"))
}

/// One that hears nothing any more before its last word.
#[cfg(test)]
pub(super) fn commit_without_end(driver: &Mysql, beside: &Beside) -> Result<Session, Error> {
    let mut session = alone(driver, beside, SWAP)?;
    mark(&mut session, &beside.name, "began = 1")?;
    Ok(session)
}
