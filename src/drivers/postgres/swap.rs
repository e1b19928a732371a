//! Replacing a live PostgreSQL database: load a new one beside it, check it, exchange their names.
//!
//! **Invariant:** what stands is read from the server's catalogue each time, and a database is what its oid says: names
//! change hands here. Both names change in one transaction, so that the live name belongs to the old or to the new
//! database whenever the worker dies. A lock of the server's keeps a roll back apart from an exchange that was given up,
//! of which the server does not know yet.

use std::io::Read;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::session::{Session, ident, is_code, literal};
use super::{CONNECT, Postgres, survey, tools};
use crate::domain::manifest::Facts;
use crate::drivers::service::{BACK, REACH, SWAP};
use crate::drivers::{Error, service};

/// In the swap hold, until all sessions have gone.
const WAIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(2);

/// Comment of a database that is being loaded; it gets the live one's when it takes its place.
const MARK: &str = "Stillpoint: loaded beside for a restore";

/// A database that was, or is going to be, loaded beside the live one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    name: String,
    /// Known once it is loaded.
    oid: Option<i64>,
}

/// The database that was live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// What it is called while it is aside.
    name: String,
    oid: i64,
    /// Whether it took connections.
    open: bool,
}

/// A connection to what was set aside, which really is what its oid says.
pub(super) fn open_aside(driver: &Postgres, aside: &Aside) -> Result<Session, Error> {
    let found = Entry::with_oid(&mut driver.address.maintenance(CONNECT)?, aside.oid)?;
    if !found.is_some_and(|entry| entry.is(&aside.name)) {
        return Err(cannot(driver, format!("what was set aside as `{}` is not there", aside.name)));
    }
    driver.address.with_database(&aside.name).open(CONNECT)
}

/// What the catalogue says of one database.
#[derive(Debug, sqlx::FromRow)]
struct Entry {
    oid: i64,
    name: String,
    owner: String,
    encoding: String,
    tablespace: String,
    comment: Option<String>,
    /// The row as JSON: its columns differ from version to version.
    row: String,
}

const ENTRY: &str = "
  SELECT d.oid::int8 AS oid, d.datname::text AS name, pg_get_userbyid(d.datdba)::text AS owner,
    pg_encoding_to_char(d.encoding)::text AS encoding, t.spcname::text AS tablespace,
    shobj_description(d.oid, 'pg_database') AS comment, to_jsonb(d)::text AS row
  FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace
  WHERE ($1::text IS NOT NULL AND d.datname = $1) OR ($2::int8 IS NOT NULL AND d.oid::int8 = $2)";

impl Entry {
    fn named(session: &mut Session, name: &str) -> Result<Option<Self>, Error> {
        Self::find(session, Some(name), None)
    }

    fn with_oid(session: &mut Session, oid: i64) -> Result<Option<Self>, Error> {
        Self::find(session, None, Some(oid))
    }

    fn find(session: &mut Session, name: Option<&str>, oid: Option<i64>) -> Result<Option<Self>, Error> {
        session.run("look up", async |db| sqlx::query_as(ENTRY).bind(name).bind(oid).fetch_optional(db).await)
    }

    fn is(&self, name: &str) -> bool {
        self.name == name
    }

    fn column(&self, name: &str) -> Option<String> {
        let row: Value = serde_json::from_str(&self.row).ok()?;
        match row.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }

    fn open(&self) -> bool {
        self.column("datallowconn").is_none_or(|value| value == "true")
    }

    /// The command for an empty database like this one.
    fn create(&self, name: &str) -> String {
        let mut sql = format!(
            "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING{}",
            ident(name),
            ident(&self.owner),
            literal(&self.encoding)
        );
        let mut option = |keyword: &str, value: Option<String>| {
            if let Some(value) = value {
                sql.push_str(&format!(" {keyword}{}", literal(&value)));
            }
        };
        option("LC_COLLATE", self.column("datcollate"));
        option("LC_CTYPE", self.column("datctype"));
        let locale = self.column("datlocale").or_else(|| self.column("daticulocale"));
        match self.column("datlocprovider").as_deref() {
            Some("i") => {
                option("LOCALE_PROVIDER", Some("icu".to_owned()));
                option("ICU_LOCALE", locale);
                option("ICU_RULES", self.column("daticurules"));
            }
            Some("b") => {
                option("LOCALE_PROVIDER", Some("builtin".to_owned()));
                option("BUILTIN_LOCALE", locale);
            }
            Some("c") => option("LOCALE_PROVIDER", Some("libc".to_owned())),
            _ => {}
        }
        if self.tablespace != "pg_default" {
            sql.push_str(&format!(" TABLESPACE {}", ident(&self.tablespace)));
        }
        sql
    }
}

/// The names are made from the scratch directory's, which belongs to one activity and service: the same at each try.
pub(super) fn beside(driver: &Postgres, scratch: &Path) -> Beside {
    use std::os::unix::ffi::OsStrExt as _;
    let hash = hex::encode(Sha256::digest(scratch.as_os_str().as_bytes()));
    // 63 bytes are the most that a name may have.
    let mut base = driver.address.database.as_str();
    while base.len() > 34 {
        let mut letters = base.chars();
        letters.next_back();
        base = letters.as_str();
    }
    Beside { name: format!("{base}_stillpoint_{}", &hash[..12]), oid: None }
}

fn aside_name(beside: &Beside) -> String {
    format!("{}_old", beside.name)
}

pub(super) fn load(driver: &Postgres, scratch: &Path, major: u32, dump: &mut dyn Read) -> Result<Beside, Error> {
    let program = driver.tools.find("pg_restore", major)?;
    let mut session = driver.address.maintenance(CONNECT)?;
    let live = live(driver, &mut session)?;
    let mut beside = beside(driver, scratch);
    remove_unfinished(driver, &mut session, &beside)?;
    session.command("make a new one beside", live.create(&beside.name))?;
    session.command(
        "mark the new one beside",
        format!("COMMENT ON DATABASE {} IS{}", ident(&beside.name), literal(MARK)),
    )?;
    let loaded = fill(driver, &mut session, &live, &beside.name, &program, dump);
    if let Err(error) = loaded {
        if let Err(left) = drop_database(&mut session, &beside.name) {
            tracing::warn!(database = beside.name, error = %left, "what a failed load left stays for now");
        }
        return Err(error);
    }
    beside.oid = Entry::named(&mut session, &beside.name)?.map(|entry| entry.oid);
    Ok(beside)
}

fn fill(
    driver: &Postgres,
    session: &mut Session,
    live: &Entry,
    name: &str,
    program: &Path,
    dump: &mut dyn Read,
) -> Result<(), Error> {
    let address = driver.address.with_database(name);
    // Tried before the long work; what is set could hinder the load.
    copy_settings(driver, session, live, name, "ROLLBACK")?;
    tools::restore(program, &address, dump)?;
    // A load leaves no statistics, and without them the site would be slow on what was restored.
    address.open(CONNECT)?.command("analyse", "ANALYZE".to_owned())?;
    copy_settings(driver, session, live, name, "COMMIT")
}

/// Grants, settings and the limit of connections, which belong to the database and stand in no dump of it.
fn copy_settings(
    driver: &Postgres,
    session: &mut Session,
    live: &Entry,
    name: &str,
    end: &'static str,
) -> Result<(), Error> {
    let to = ident(name);
    let oid = live.oid;
    let (grants, settings) = session.run("read the settings of", async |db| {
        let grants: Vec<(String, i64, Option<String>, bool)> = sqlx::query_as(
            "SELECT a.privilege_type, a.grantee::int8, r.rolname::text, a.is_grantable
             FROM pg_database d, aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
             WHERE d.oid::int8 = $1",
        )
        .bind(oid)
        .fetch_all(&mut *db)
        .await?;
        let settings: Vec<(Option<String>, String)> = sqlx::query_as(
            "SELECT r.rolname::text, c FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) c
             LEFT JOIN pg_roles r ON r.oid = s.setrole WHERE s.setdatabase::int8 = $1",
        )
        .bind(oid)
        .fetch_all(db)
        .await?;
        Ok((grants, settings))
    })?;
    let mut commands = Vec::new();
    // No grants at all are the default ones.
    if live.column("datacl").is_some() {
        commands.push(format!("REVOKE ALL ON DATABASE {to} FROM PUBLIC"));
        for (privilege, grantee, role, grantable) in grants {
            let grantee = match (grantee, role) {
                (0, _) => "PUBLIC".to_owned(),
                (_, Some(role)) => ident(&role),
                (_, None) => continue,
            };
            let option = if grantable && grantee != "PUBLIC" { " WITH GRANT OPTION" } else { "" };
            commands.push(format!("GRANT {privilege} ON DATABASE {to} TO {grantee}{option}"));
        }
    }
    for (role, setting) in settings {
        let Some((key, value)) = setting.split_once('=') else { continue };
        let whose =
            role.map_or_else(|| format!("DATABASE {to}"), |role| format!("ROLE {} IN DATABASE {to}", ident(&role)));
        let key = key.split('.').map(ident).collect::<Vec<_>>().join(".");
        // Lists are stored as they are to be read, not as one text: only the server knows which are.
        let name = literal(&key.replace('"', ""));
        commands.push(format!("SELECT set_config({name},{}, true)", literal(value)));
        commands.push(format!("ALTER {whose} SET {key} FROM CURRENT"));
        commands.push(format!("SET LOCAL {key} TO DEFAULT"));
    }
    if let Some(limit) = live.column("datconnlimit").filter(|limit| limit != "-1") {
        commands.push(format!("ALTER DATABASE {to} CONNECTION LIMIT {limit}"));
    }
    if commands.is_empty() {
        return Ok(());
    }
    transaction_to(session, "copy the settings of", &commands, end).map_err(|error| match error {
        Error::NotPermitted { remedy, .. } => {
            let me = ident(&driver.address.user);
            let why = format!(
                "its settings (ALTER DATABASE … SET, grants) can't be copied by the account ({remedy}): GRANT SET ON \
                 PARAMETER … TO {me} (15 and later), or reset what a superuser had set"
            );
            cannot(driver, why)
        }
        other => other,
    })
}

fn transaction(session: &mut Session, doing: &'static str, commands: &[String]) -> Result<(), Error> {
    transaction_to(session, doing, commands, "COMMIT")
}

fn transaction_to(session: &mut Session, doing: &'static str, commands: &[String], end: &str) -> Result<(), Error> {
    let done = session.command(doing, format!("BEGIN; {}; {end}", commands.join("; ")));
    if done.is_err() {
        // Fails only when the connection is gone, and the transaction with it.
        session.command("leave", "ROLLBACK".to_owned()).ok();
    }
    done
}

pub(super) fn check(driver: &Postgres, beside: &Beside, expected: &Facts) -> Result<(), Error> {
    let mut session = driver.address.with_database(&beside.name).open(CONNECT)?;
    service::compare(&survey::facts(&mut session)?, expected)
}

fn live(driver: &Postgres, session: &mut Session) -> Result<Entry, Error> {
    let name = &driver.address.database;
    let missing = || Error::NoDatabase { at: driver.address.server(), database: name.clone() };
    Entry::named(session, name)?.ok_or_else(missing)
}

pub(super) fn cannot(driver: &Postgres, why: impl Into<String>) -> Error {
    Error::CannotRestore { database: driver.address.database.clone(), why: why.into() }
}

/// The loaded one, by its oid and under one of its two names.
fn loaded(driver: &Postgres, session: &mut Session, beside: &Beside) -> Result<Entry, Error> {
    let gone = || cannot(driver, format!("what was loaded as `{}` is not there any more: restore again", beside.name));
    let oid = beside.oid.ok_or_else(gone)?;
    let found = Entry::with_oid(session, oid)?;
    found.filter(|entry| entry.is(&beside.name) || entry.is(&driver.address.database)).ok_or_else(gone)
}

/// A connection whose answers are all waited for together, and not longer than that.
fn hurried(driver: &Postgres, within: Duration) -> Result<Session, Error> {
    let until = Instant::now() + within;
    let mut session = driver.address.maintenance(REACH)?;
    session.hurry(Some(until));
    Ok(session)
}

/// As [`hurried`], and nobody else exchanges these databases as long as it is open: an exchange that was given up is over,
/// done or not.
fn alone(driver: &Postgres, beside: &Beside, within: Duration) -> Result<Session, Error> {
    let mut session = hurried(driver, within)?;
    // Of what it still waits for when it was given up, it is told no by the server.
    session.command("set up", format!("SET lock_timeout = '{}s'", WAIT.as_secs()))?;
    let hash = Sha256::digest(beside.name.as_bytes());
    let key = hash.iter().take(8).fold(0_i64, |key, byte| (key << 8) | i64::from(*byte));
    loop {
        let is_free: bool = session.run("wait for an earlier exchange of", async |db| {
            sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(key).fetch_one(db).await
        })?;
        if is_free {
            return Ok(session);
        }
        // Whoever is asked nothing any more would wait for ever; what is at work comes to its end.
        session.run("end an earlier exchange of", async |db| {
            let end = "SELECT pg_terminate_backend(a.pid) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
                       WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND a.state <> 'active'
                         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                         AND (l.classid::int8 << 32) | l.objid::int8 = $1";
            sqlx::query(end).bind(key).execute(db).await.map(drop)
        })?;
        thread::sleep(PAUSE);
    }
}

pub(super) fn prepare(driver: &Postgres, beside: &Beside) -> Result<Aside, Error> {
    let mut session = hurried(driver, SWAP)?;
    let loaded = loaded(driver, &mut session, beside)?;
    let name = aside_name(beside);
    let live = live(driver, &mut session)?;
    if live.oid == loaded.oid {
        // It is done: what was fixed is what stands aside.
        let old = Entry::named(&mut session, &name)?;
        let old = old.ok_or_else(|| cannot(driver, format!("what was set aside as `{name}` is gone")))?;
        return Ok(Aside { oid: old.oid, open: old.open(), name });
    }
    none_prepared(driver, &mut session)?;
    Ok(Aside { oid: live.oid, open: live.open(), name })
}

/// Transactions that nobody has open and that hold the database all the same.
pub(super) fn none_prepared(driver: &Postgres, session: &mut Session) -> Result<(), Error> {
    let database = &driver.address.database;
    let prepared: i64 = session.run("look at", async |db| {
        sqlx::query_scalar("SELECT count(*) FROM pg_prepared_xacts WHERE database = $1")
            .bind(database)
            .fetch_one(db)
            .await
    })?;
    match prepared {
        0 => Ok(()),
        some => Err(cannot(driver, format!("{some} prepared transactions hold it: commit them or roll them back"))),
    }
}

pub(super) fn commit(driver: &Postgres, beside: &Beside, aside: &Aside) -> Result<(), Error> {
    let mut session = alone(driver, beside, SWAP)?;
    let loaded = loaded(driver, &mut session, beside)?;
    let live = live(driver, &mut session)?;
    if live.oid == loaded.oid {
        return Ok(());
    }
    if live.oid != aside.oid {
        return Err(cannot(driver, "another database took its place meanwhile: restore again"));
    }
    let comment = live.comment.as_deref().map_or_else(|| " NULL".to_owned(), literal);
    let commands = [
        format!("COMMENT ON DATABASE {} IS{comment}", ident(&beside.name)),
        format!("ALTER DATABASE {} RENAME TO {}", ident(&live.name), ident(&aside.name)),
        format!("ALTER DATABASE {} RENAME TO {}", ident(&beside.name), ident(&live.name)),
        allow(&aside.name, true),
        allow(&live.name, aside.open),
    ];
    exchange(driver, &mut session, &live, &loaded, &commands)
}

pub(super) fn roll_back(driver: &Postgres, beside: &Beside, aside: &Aside) -> Result<(), Error> {
    let mut session = alone(driver, beside, BACK)?;
    let gone = || cannot(driver, format!("what was set aside as `{}` is gone", aside.name));
    let old = Entry::with_oid(&mut session, aside.oid)?.ok_or_else(gone)?;
    let name = &driver.address.database;
    if old.is(name) {
        // The names never changed; whether it takes connections may have.
        return if old.open() == aside.open { Ok(()) } else { session.command("open", allow(name, aside.open)) };
    }
    if !old.is(&aside.name) {
        return Err(cannot(driver, format!("what was set aside is called `{}` now: rename it to `{name}`", old.name)));
    }
    let back = [format!("ALTER DATABASE {} RENAME TO {}", ident(&aside.name), ident(name)), allow(name, aside.open)];
    match Entry::named(&mut session, name)? {
        None => transaction(&mut session, "roll back", &back),
        Some(new) if Some(new.oid) == beside.oid => {
            let mut commands = vec![format!("ALTER DATABASE {} RENAME TO {}", ident(name), ident(&beside.name))];
            commands.extend(back);
            commands.push(allow(&beside.name, true));
            exchange(driver, &mut session, &new, &old, &commands)
        }
        Some(_) => {
            Err(cannot(driver, format!("another database is called `{name}` now: rename it, so that the old one can")))
        }
    }
}

fn allow(name: &str, open: bool) -> String {
    format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {open}", ident(name))
}

/// Nobody may be connected to a database that is renamed, and they connect again at once: so nobody is let in, all are
/// sent away, and then both names change. Whoever comes in between is told that the database takes no connections.
fn exchange(
    driver: &Postgres,
    session: &mut Session,
    serving: &Entry,
    other: &Entry,
    commands: &[String],
) -> Result<(), Error> {
    // Our own go first.
    driver.let_go();
    session.command("close", allow(&serving.name, false))?;
    let done =
        empty(driver, session, &[serving.oid, other.oid]).and_then(|()| transaction(session, "exchange", commands));
    if done.is_err() && serving.open() {
        // What is left shut here is opened by a roll back.
        session.command("open", allow(&serving.name, true)).ok();
    }
    done
}

/// Ends every session in these databases.
fn empty(driver: &Postgres, session: &mut Session, oids: &[i64]) -> Result<(), Error> {
    let deadline = Instant::now() + WAIT;
    loop {
        // The server itself sends autovacuum, which is nobody's, away when a database is renamed.
        let there: Vec<(i32, String)> = session.run("look at the sessions of", async |db| {
            sqlx::query_as(
                "SELECT pid, format('process %s of %s (%s)', pid, usename, application_name) FROM pg_stat_activity
                 WHERE datid::int8 = ANY($1) AND pid <> pg_backend_pid() AND usesysid IS NOT NULL",
            )
            .bind(oids)
            .fetch_all(db)
            .await
        })?;
        if there.is_empty() {
            return Ok(());
        }
        let mut refused = Vec::new();
        for (pid, who) in there {
            let ended = session.run("end the sessions of", async |db| {
                sqlx::query_scalar::<_, bool>("SELECT pg_terminate_backend($1)").bind(pid).fetch_one(db).await
            });
            match ended {
                Ok(_) => refused.push((who, false)),
                Err(Error::NotPermitted { .. }) => refused.push((who, true)),
                Err(error) => return Err(error),
            }
        }
        if Instant::now() >= deadline || refused.iter().any(|(_, never)| *never) {
            let sessions: Vec<String> = refused.into_iter().map(|(who, _)| who).collect();
            let (database, user) = (driver.address.database.clone(), driver.address.user.clone());
            return Err(Error::SessionsStay { database, user, sessions: sessions.join(", ") });
        }
        thread::sleep(PAUSE);
    }
}

pub(super) fn discard(driver: &Postgres, beside: &Beside, aside: Option<&Aside>) -> Result<(), Error> {
    let mut session = match driver.address.maintenance(CONNECT) {
        Ok(session) => session,
        // Who may not in there has made nothing from there.
        Err(Error::NotPermitted { .. }) if beside.oid.is_none() => return Ok(()),
        Err(error) => return Err(error),
    };
    match beside.oid {
        None => remove_unfinished(driver, &mut session, beside)?,
        Some(oid) => {
            if Entry::with_oid(&mut session, oid)?.is_some_and(|entry| entry.is(&beside.name)) {
                drop_database(&mut session, &beside.name)?;
            }
        }
    }
    if let Some(aside) = aside
        && Entry::with_oid(&mut session, aside.oid)?.is_some_and(|entry| entry.is(&aside.name))
    {
        drop_database(&mut session, &aside.name)?;
    }
    Ok(())
}

/// What a load that died left under the name that it had announced: without comment, if it died before it made one.
fn remove_unfinished(driver: &Postgres, session: &mut Session, beside: &Beside) -> Result<(), Error> {
    match Entry::named(session, &beside.name)? {
        None => Ok(()),
        Some(entry) if entry.comment.as_deref().is_none_or(|comment| comment == MARK) => {
            drop_database(session, &beside.name)
        }
        Some(_) => Err(Error::DatabaseExists { at: driver.address.server(), database: beside.name.clone() }),
    }
}

fn drop_database(session: &mut Session, name: &str) -> Result<(), Error> {
    let dropped =
        session.command("drop what stood beside", format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", ident(name)));
    match dropped {
        // Somebody, who can't be sent away, looks into it.
        Err(error) if is_code(&error, "55006") => Err(Error::SessionsStay {
            database: name.to_owned(),
            user: session.address.user.clone(),
            sessions: "some".to_owned(),
        }),
        other => other,
    }
}

pub(super) fn remove_database(driver: &Postgres) -> Result<(), Error> {
    drop_database(&mut driver.address.maintenance(CONNECT)?, &driver.address.database)
}

pub(super) fn provision(driver: &Postgres) -> Result<(), Error> {
    let name = &driver.address.database;
    let mut session = driver.address.maintenance(CONNECT)?;
    match session.command("make", format!("CREATE DATABASE {}", ident(name))) {
        Err(error) if is_code(&error, "42P04") => {
            Err(Error::DatabaseExists { at: driver.address.server(), database: name.clone() })
        }
        other => other,
    }
}

/// A commit that the server takes its time over, whoever still listens.
#[cfg(test)]
pub(super) fn commit_slowly(driver: &Postgres, beside: &Beside, aside: &Aside) -> Result<(), Error> {
    let mut session = alone(driver, beside, SWAP)?;
    session.command("exchange", format!("SELECT pg_sleep(3); BEGIN; {}; COMMIT", renames(driver, beside, aside)))
}

/// One that hears nothing any more before its last word.
#[cfg(test)]
pub(super) fn commit_without_end(driver: &Postgres, beside: &Beside, aside: &Aside) -> Result<Session, Error> {
    let mut session = alone(driver, beside, SWAP)?;
    session.command("exchange", format!("BEGIN; {}", renames(driver, beside, aside)))?;
    Ok(session)
}

#[cfg(test)]
fn renames(driver: &Postgres, beside: &Beside, aside: &Aside) -> String {
    driver.let_go();
    let live = ident(&driver.address.database);
    format!(
        "ALTER DATABASE {live} RENAME TO {}; ALTER DATABASE {} RENAME TO {live}",
        ident(&aside.name),
        ident(&beside.name)
    )
}
