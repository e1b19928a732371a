//! A MySQL or MariaDB database as it stood at one point: one transaction, which every table is read through.
//!
//! **Invariant:** nobody waits for a view but who changes a table's definition: it takes no global lock and none that
//! writers meet. Each table is read once as soon as the transaction stands: what was altered or truncated in between shows
//! then, and what comes later waits for the transaction's end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::dump::{self, Counted};
use super::objects::{self, Object};
use super::position;
use super::session::{Address, Session, ident, is_late, is_number, number};
use super::survey::{self, Survey, Table, TableKind};
use crate::domain::Bytes;
use crate::domain::manifest::Facts;
use crate::drivers::{Error, Position, SPARE, View};

/// Tables in one question.
const TOGETHER: usize = 200;

pub(super) struct MysqlView {
    session: Session,
    survey: Survey,
    tables: Vec<Table>,
    position: Position,
    /// Tables without transactions, as they were when they were read: their rows as SQL.
    plain: BTreeMap<String, Copied>,
    /// The definitions were seen to be those of the view's instant.
    settled: bool,
}

struct Copied {
    rows: u64,
    sql: Kept,
}

enum Kept {
    Memory(Vec<u8>),
    File(PathBuf),
}

/// What can be got ready before a hold.
pub(super) struct Ready {
    pub session: Session,
    pub survey: Survey,
    /// Our other connections, by the server's numbers: never in the way.
    pub own: Vec<u64>,
}

impl Ready {
    pub fn new(mut session: Session, beside: &str) -> Result<Self, Error> {
        let survey = survey::look(&mut session, beside)?;
        Ok(Self { session, survey, own: Vec::new() })
    }
}

impl MysqlView {
    /// # Errors
    /// [`Error::Blocked`] when a table stayed locked `within` that time; [`Error::Redefined`].
    pub fn open(ready: Ready, within: Duration) -> Result<Self, Error> {
        let deadline = Instant::now() + within;
        let Ready { mut session, survey, own } = ready;
        let schema = session.address.database.clone();
        let seconds = within.as_secs_f64().ceil().max(1.0);
        session.hurry(Some(deadline + SPARE));
        session.command("set up", &format!("SET SESSION lock_wait_timeout = {seconds}"))?;
        let mut tables = survey::tables(&mut session, &schema)?;
        let position = loop {
            let position = position::read(&mut session)?;
            session.command("begin to read", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")?;
            match pin(&mut session, &schema, &tables, deadline) {
                Ok(()) => {}
                Err(error) if is_late(&error) || is_number(&error, number::LOCK_WAIT) => {
                    return Err(blocked(session, &own, within));
                }
                // One was dropped, altered or truncated since.
                Err(error @ Error::Redefined { .. }) if Instant::now() >= deadline => return Err(error),
                Err(Error::Redefined { .. }) => {
                    session.command("look again at", "ROLLBACK")?;
                    tables = survey::tables(&mut session, &schema)?;
                    continue;
                }
                Err(error) if is_number(&error, number::NO_TABLE) && Instant::now() < deadline => {
                    session.command("look again at", "ROLLBACK")?;
                    tables = survey::tables(&mut session, &schema)?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let seen = survey::tables(&mut session, &schema)?;
            if seen == tables || Instant::now() >= deadline {
                break position;
            }
            // A table came in between.
            session.command("look again at", "ROLLBACK")?;
            tables = seen;
        };
        let mut view = Self { session, survey, tables, position, plain: BTreeMap::new(), settled: false };
        view.copy_small(&own, deadline)?;
        view.session.hurry(None);
        Ok(view)
    }

    fn plain_tables(&self) -> Vec<String> {
        let missing = |table: &&Table| table.kind == TableKind::Plain && !self.plain.contains_key(&table.name);
        self.tables.iter().filter(missing).map(|table| table.name.clone()).collect()
    }

    /// What has no past is copied now, under a lock of its own, when it is little.
    fn copy_small(&mut self, own: &[u64], deadline: Instant) -> Result<(), Error> {
        let names = self.plain_tables();
        if names.is_empty() {
            return Ok(());
        }
        let schema = self.session.address.database.clone();
        let within = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let mut other = self.session.address.open(within)?;
        other.hurry(Some(deadline + SPARE));
        let list: Vec<String> = names.iter().map(|name| super::session::literal(name)).collect();
        let size = other.one(
            "measure",
            &format!(
                "SELECT CAST(coalesce(sum(DATA_LENGTH), 0) AS UNSIGNED) FROM information_schema.TABLES
                 WHERE TABLE_SCHEMA = {} AND TABLE_NAME IN ({})",
                super::session::literal(&schema),
                list.join(", ")
            ),
        )?;
        if size.and_then(|size| size.parse::<u64>().ok()).is_none_or(|size| size > survey::COPIED) {
            return Ok(());
        }
        let locks: Vec<String> = names.iter().map(|name| format!("{} READ", ident(name))).collect();
        // Also its columns' names are read under that lock.
        let locked = other.command_within("lock tables of", within, &format!("LOCK TABLES {}", locks.join(", ")));
        match locked {
            Ok(()) => {}
            Err(error) if is_late(&error) || is_number(&error, number::LOCK_WAIT) => {
                let own: Vec<u64> = own.iter().copied().chain([self.session.id]).collect();
                return Err(blocked(other, &own, within));
            }
            Err(error) => return Err(error),
        }
        for name in names {
            let mut sql = Vec::new();
            let mut out = Counted { out: &mut sql, written: 0 };
            let rows = dump::rows(&mut other, &schema, &name, &mut out, &|| Instant::now() >= deadline)?;
            self.plain.insert(name, Copied { rows, sql: Kept::Memory(sql) });
        }
        Ok(())
    }

    /// What is larger is copied after the hold, so that its rows are counted and dumped at the same moment.
    fn copy_large(&mut self, scratch: &Path, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        let names = self.plain_tables();
        let schema = self.session.address.database.clone();
        for (number, name) in names.into_iter().enumerate() {
            let path = scratch.join(format!("table-{number}.sql"));
            let mut file = BufWriter::new(File::create(&path).map_err(Error::io("copy a table to", &path))?);
            let mut out = Counted { out: &mut file, written: 0 };
            let rows = dump::rows(&mut self.session, &schema, &name, &mut out, cancelled)?;
            file.flush().map_err(Error::io("copy a table to", &path))?;
            self.plain.insert(name, Copied { rows, sql: Kept::File(path) });
        }
        Ok(())
    }

    fn settled(&mut self, scratch: &Path, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        if self.settled {
            return Ok(());
        }
        let schema = self.session.address.database.clone();
        // These belong to no transaction: they were read before the view opened, and are the same after it.
        let now = objects::read(&mut self.session, &schema)?;
        if let Some(changed) = first_difference(&now, &self.survey.objects) {
            let what = format!("the {} `{}`", changed.kind.word().to_lowercase(), changed.name);
            return Err(Error::Redefined { database: schema, what });
        }
        self.copy_large(scratch, cancelled)?;
        self.settled = true;
        Ok(())
    }

    fn write(&mut self, out: &mut Counted<'_>, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        let schema = self.session.address.database.clone();
        dump::head(&self.session, out)?;
        for table in &self.tables {
            dump::definition(&mut self.session, &schema, table, out)?;
            match (table.kind, self.plain.get(&table.name)) {
                (TableKind::Sequence, _) => {}
                (_, Some(Copied { sql: Kept::Memory(sql), .. })) => out.put(sql)?,
                (_, Some(Copied { sql: Kept::File(path), .. })) => {
                    let file = File::open(path).map_err(Error::io("read the copy", path))?;
                    let mut writer = Through(out);
                    io::copy(&mut BufReader::new(file), &mut writer).map_err(Error::Output)?;
                }
                (_, None) => {
                    dump::rows(&mut self.session, &schema, &table.name, out, cancelled)?;
                }
            }
        }
        dump::tail(&self.survey.objects, out)
    }
}

struct Through<'a, 'b>(&'a mut Counted<'b>);

impl Write for Through<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes).map(|()| bytes.len()).map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn first_difference<'a>(now: &'a [Object], before: &'a [Object]) -> Option<&'a Object> {
    now.iter().find(|object| !before.contains(object)).or_else(|| {
        // One that goes once it has run may have gone.
        before.iter().find(|object| !object.passing && !now.contains(object))
    })
}

/// Reads a row of each: from here on its definition waits for us, and one that changed since the transaction began shows.
fn pin(session: &mut Session, schema: &str, tables: &[Table], deadline: Instant) -> Result<(), Error> {
    for some in tables.chunks(TOGETHER) {
        let names =
            some.iter().map(|table| format!("(SELECT 1 FROM {}.{} LIMIT 1)", ident(schema), ident(&table.name)));
        let question = names.collect::<Vec<_>>().join(" UNION ALL ");
        let remaining = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        session.rows_within("look into the tables of", remaining, &question)?;
    }
    Ok(())
}

/// Who is in the way, as others see it: whoever waits for nothing has what we wait for.
fn blocked(session: Session, own: &[u64], waited: Duration) -> Error {
    let address = session.address.clone();
    let left = session.id;
    let own: Vec<u64> = own.iter().copied().chain([left]).collect();
    drop(session);
    let by = match address.open(super::CONNECT) {
        Ok(mut other) => {
            // The question that we left behind waits on.
            other.command("leave", &format!("KILL {left}")).ok();
            culprits(&mut other, &own)
        }
        Err(_) => None,
    };
    let by = by
        .unwrap_or_else(|| "who it was could not be seen (GRANT PROCESS shows it), or it has let go since".to_owned());
    Error::Blocked { database: address.database, waited, by }
}

/// As many are named when it can't be told which of them it is.
const CANDIDATES: u32 = 5;

/// Processes that use the database and wait for no lock, those first that change definitions or sit in a transaction.
pub(super) fn culprits(session: &mut Session, own: &[u64]) -> Option<String> {
    let own: Vec<String> = own.iter().chain([&session.id]).map(u64::to_string).collect();
    let (own, schema) = (own.join(", "), super::session::literal(&session.address.database));
    let ask = |with_transactions: bool| {
        let (join, idle) = match with_transactions {
            true => ("LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.ID", "t.trx_id IS NULL"),
            false => ("", "1 = 1"),
        };
        format!(
            "SELECT p.ID, p.USER, p.TIME, left(coalesce(p.INFO, ''), 200), p.INFO IS NULL AND ({idle}) FROM information_schema.PROCESSLIST p {join}
             WHERE p.ID NOT IN ({own}) AND p.DB = {schema} AND coalesce(p.STATE, '') NOT LIKE 'Waiting for%lock%'
             ORDER BY p.INFO IS NULL, {idle}, p.TIME DESC LIMIT {CANDIDATES}"
        )
    };
    let found = session.rows("look at the processes of", &ask(true));
    let found = found.or_else(|_| session.rows("look at the processes of", &ask(false))).ok()?;
    let mut candidates = Vec::new();
    for row in found {
        let mut cells = row.into_iter();
        let mut next = || cells.next().flatten().unwrap_or_default();
        let (id, user, seconds, info, silent) = (next(), next(), next(), next(), next() == "1");
        let doing =
            if info.is_empty() { "is silent, with tables locked or a transaction open".to_owned() } else { info };
        candidates.push(format!("process {id} of {user}, for {seconds} s: {doing}"));
        // Of those that only sit there the server does not tell who has a lock: it is one of them.
        if !silent {
            candidates.drain(..candidates.len() - 1);
            break;
        }
    }
    (!candidates.is_empty()).then(|| candidates.join(", or "))
}

impl View for MysqlView {
    fn position(&self) -> &Position {
        &self.position
    }

    fn version(&self) -> &str {
        &self.session.version
    }

    fn size(&self) -> Bytes {
        self.survey.size
    }

    fn limits(&self) -> Vec<String> {
        self.survey.limits.clone()
    }

    /// The transaction stays open until the dump is done; nobody waits for it but who alters, drops or truncates a table.
    fn settle(&mut self, scratch: &Path, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        self.settled(scratch, cancelled)
    }

    fn facts(&mut self) -> Result<Facts, Error> {
        let schema = self.session.address.database.clone();
        let counted = self.plain.iter().map(|(name, copied)| (name.clone(), copied.rows)).collect();
        super::facts::facts(&mut self.session, &schema, &self.tables, &self.survey.objects, &counted)
    }

    fn dump(&mut self, scratch: &Path, out: &mut dyn Write, cancelled: &dyn Fn() -> bool) -> Result<u64, Error> {
        self.settled(scratch, cancelled)?;
        let mut out = Counted { out, written: 0 };
        self.write(&mut out, cancelled)?;
        Ok(out.written)
    }
}

/// Writes a schema that nobody uses, with the objects that belong to it.
pub(super) fn dump_still(
    address: &Address,
    schema: &str,
    objects: &[Object],
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut session = address.with_database(schema).open(super::CONNECT)?;
    let mut out = Counted { out, written: 0 };
    dump::head(&session, &mut out)?;
    for table in survey::tables(&mut session, schema)? {
        dump::definition(&mut session, schema, &table, &mut out)?;
        if table.kind != TableKind::Sequence {
            dump::rows(&mut session, schema, &table.name, &mut out, &|| false)?;
        }
    }
    dump::tail(objects, &mut out)
}
