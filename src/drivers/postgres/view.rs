//! A PostgreSQL database as it stood at one point: a transaction that is kept open, and a `pg_dump` that reads its
//! snapshot.
//!
//! **Invariant:** every table is locked against TRUNCATE and rewriting ALTERs before the snapshot is taken: they are seen
//! by snapshots that are older than they are. And nobody who waits for those locks is ever waited for: `pg_dump` takes its
//! own right after the hold, with a limit, since a lock that somebody waits for can't be shared any more.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::AssertSqlSafe;

use super::CONNECT;
use super::session::{Session, is_code};
use super::survey::{self, Survey};
use super::tools::{self, Dump, Tools};
use crate::domain::Bytes;
use crate::domain::manifest::Facts;
use crate::drivers::{Error, Position, SPARE, View};

pub(super) struct PostgresView {
    // Ends before the transaction whose snapshot it reads.
    dump: Option<Dump>,
    session: Session,
    survey: Survey,
    program: PathBuf,
    /// As `pg_export_snapshot()` named it.
    snapshot: String,
    position: Position,
}

/// What can be got ready before a hold.
pub(super) struct Ready {
    pub session: Session,
    pub survey: Survey,
    pub program: PathBuf,
}

impl Ready {
    pub fn new(mut session: Session, tools: &Tools) -> Result<Self, Error> {
        let survey = survey::look(&mut session)?;
        let program = tools.find("pg_dump", session.major)?;
        Ok(Self { session, survey, program })
    }
}

/// The point as text. Only transactions that got an id move it: all that write, in any database of the server.
pub(super) const POSITION: &str = "
  SELECT format('snapshot %s, database %s, server started %s', pg_current_snapshot(),
    (SELECT oid FROM pg_database WHERE datname = current_database()),
    to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'))";

impl PostgresView {
    /// # Errors
    /// [`Error::Blocked`] when a table stayed locked `within` that time.
    pub fn open(ready: Ready, within: Duration) -> Result<Self, Error> {
        let deadline = Instant::now() + within;
        let Ready { mut session, survey, program } = ready;
        session.hurry(Some(deadline + SPARE));
        let mut tables = survey::tables(&mut session)?;
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match lock(&mut session, &tables, remaining) {
                Ok(()) => {}
                Err(error) if is_code(&error, "55P03") => return Err(blocked(&mut session, within)),
                // One was dropped since it was listed.
                Err(error) if is_code(&error, "42P01") && Instant::now() < deadline => {
                    session.command("look again at", "ROLLBACK".to_owned())?;
                    tables = survey::tables(&mut session)?;
                    continue;
                }
                Err(error) if is_code(&error, "53200") => {
                    let why = format!(
                        "has {} tables, more than the server can lock at once: raise max_locks_per_transaction",
                        tables.len()
                    );
                    return Err(Error::Unsuitable { database: session.address.database.clone(), why });
                }
                Err(error) => return Err(error),
            }
            // The first question takes the snapshot, after the locks.
            let (snapshot, position) = session.run("open a view of", async |db| {
                let snapshot: String = sqlx::query_scalar("SELECT pg_export_snapshot()").fetch_one(&mut *db).await?;
                let position: String = sqlx::query_scalar(POSITION).fetch_one(&mut *db).await?;
                sqlx::raw_sql("SET LOCAL lock_timeout = 0").execute(db).await?;
                Ok((snapshot, position))
            })?;
            let seen = survey::tables(&mut session)?;
            let locked: BTreeSet<&(i64, String)> = tables.iter().collect();
            if seen.iter().all(|table| locked.contains(table)) || Instant::now() >= deadline {
                let position = Position::new(position);
                session.hurry(None);
                return Ok(Self { dump: None, session, survey, program, snapshot, position });
            }
            // A table came in between.
            session.command("look again at", "ROLLBACK".to_owned())?;
            tables = seen;
        }
    }

    fn begun(&mut self, cancelled: &dyn Fn() -> bool) -> Result<&mut Dump, Error> {
        if self.dump.is_none() {
            let mut dump = Dump::start(&self.program, &self.session.address, &self.snapshot)?;
            if let Err(error) = dump.begun(cancelled) {
                return Err(self.explained(error));
            }
            self.dump = Some(dump);
        }
        Ok(self.dump.as_mut().expect("it was just put there"))
    }
}

impl PostgresView {
    /// Why the program did not succeed, where that is somebody else's doing.
    fn explained(&mut self, error: Error) -> Error {
        let Error::ToolFailed { detail, .. } = &error else { return error };
        // Somebody asked for a table for themselves between the view and the dump: who waits for that waits for us.
        if detail.contains(" timeout") && detail.contains("LOCK TABLE") {
            let by = culprit(&mut self.session);
            return Error::Blocked { database: self.session.address.database.clone(), waited: tools::LOCK_WAIT, by };
        }
        match self.session.address.open(CONNECT) {
            Err(gone @ Error::Unreachable { .. }) => gone,
            _ => error,
        }
    }
}

fn lock(session: &mut Session, tables: &[(i64, String)], within: Duration) -> Result<(), Error> {
    let mut sql = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = {};",
        within.as_millis().max(1)
    );
    if !tables.is_empty() {
        let names: Vec<&str> = tables.iter().map(|(_, name)| name.as_str()).collect();
        sql.push_str(&format!("LOCK TABLE ONLY {} IN ACCESS SHARE MODE", names.join(", ONLY ")));
    }
    let limit = within + Duration::from_secs(2);
    session.run_within("lock the tables of", limit, async |db| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(db).await.map(drop)
    })
}

/// Who stands in the way: whoever has, or waits for, the one lock that excludes reading; and whom that one waits for.
const CULPRIT: &str = "
  SELECT l.relation::regclass::text, a.pid, a.usename::text, left(a.query, 200),
    extract(epoch FROM now() - coalesce(a.xact_start, now()))::int8,
    (SELECT format('process %s, %s: %s', b.pid, b.usename, left(b.query, 200)) FROM pg_stat_activity b
     WHERE b.pid = ANY(pg_blocking_pids(a.pid)) LIMIT 1)
  FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
  WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND a.datname = current_database()
    AND l.database = a.datid AND l.relation >= 16384 AND l.pid <> pg_backend_pid()
  ORDER BY l.granted DESC, a.xact_start LIMIT 1";

type Culprit = (String, i32, Option<String>, Option<String>, i64, Option<String>);

fn blocked(session: &mut Session, waited: Duration) -> Error {
    let database = session.address.database.clone();
    // Where that fails nobody can be seen either.
    session.command("leave", "ROLLBACK".to_owned()).ok();
    Error::Blocked { database, waited, by: culprit(session) }
}

fn culprit(session: &mut Session) -> String {
    let found =
        session.run("look at the locks of", async |db| sqlx::query_as::<_, Culprit>(CULPRIT).fetch_optional(db).await);
    match found {
        Ok(Some((table, pid, user, query, seconds, waits_for))) => {
            let (user, query) = (user.unwrap_or_default(), query.unwrap_or_default());
            let waits = waits_for.map_or_else(String::new, |other| format!(", which itself waits for {other}"));
            format!("process {pid} of {user} keeps `{table}` locked for {seconds} s: {query}{waits}")
        }
        _ => "who it was could not be seen; it has let go since".to_owned(),
    }
}

impl View for PostgresView {
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

    /// The transaction stays open until the dump is done, as with any `pg_dump`; nobody waits for it but TRUNCATE and
    /// ALTER TABLE.
    fn settle(&mut self, _scratch: &Path, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        self.begun(cancelled).map(drop)
    }

    fn facts(&mut self) -> Result<Facts, Error> {
        survey::facts(&mut self.session)
    }

    fn dump(&mut self, _scratch: &Path, out: &mut dyn Write, cancelled: &dyn Fn() -> bool) -> Result<u64, Error> {
        self.begun(cancelled)?;
        // A second dump begins anew.
        let Some(mut dump) = self.dump.take() else { return Err(Error::Cancelled) };
        let mut total = 0;
        while let Some(chunk) = dump.next(cancelled).map_err(|error| self.explained(error))? {
            out.write_all(&chunk).map_err(Error::Output)?;
            total += chunk.len() as u64;
        }
        out.flush().map_err(Error::Output)?;
        Ok(total)
    }
}
