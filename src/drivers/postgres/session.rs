//! One connection to a PostgreSQL server, used from threads that may block.
//!
//! **Invariant:** the password goes into the connection and nowhere else: no error, log line or argument carries it.

use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use crate::domain::Secret;
use crate::drivers::Error;
use crate::drivers::client::{Cause, Hurry, is_lost, wait};

/// For questions to the catalogue: a server that takes longer does not answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Where a database is, and who asks.
#[derive(Debug, Clone)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub user: String,
    /// Empty: none is sent.
    pub password: Secret,
    pub database: String,
}

impl Address {
    pub(super) fn with_database(&self, database: &str) -> Self {
        Self { database: database.to_owned(), ..self.clone() }
    }

    /// For people.
    pub(super) fn server(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// # Errors
    /// [`Error::Unreachable`], [`Error::LoginRefused`], [`Error::NoDatabase`], [`Error::NotPermitted`],
    /// [`Error::Unsuitable`] for a server that is too old.
    pub(super) fn open(&self, within: Duration) -> Result<Session, Error> {
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .username(&self.user)
            .password(self.password.reveal())
            .database(&self.database)
            // Like the server's own programs: encrypted when the server can.
            .ssl_mode(PgSslMode::Prefer)
            .application_name("stillpoint")
            // ANALYZE warns of every catalogue that it may not look at.
            .options([("client_min_messages", "error")])
            .disable_statement_logging();
        let connection = wait(within, options.connect()).map_err(|error| self.refused(error))?;
        let hurry = Hurry(Some(Instant::now() + within));
        let mut session = Session { connection, address: self.clone(), version: String::new(), major: 0, hurry };
        let (version, number) = session.run("open", async |db| {
            // What is set for the role or the database must not end or hide anything here. Names that are the
            // server's own, first: what is read below is then printed with its schema.
            sqlx::query(
                "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout',
                 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')",
            )
            .fetch_all(&mut *db)
            .await?;
            sqlx::raw_sql("SET search_path = pg_catalog; SET row_security = off; SET synchronous_commit = on")
                .execute(&mut *db)
                .await?;
            sqlx::query_as::<_, (String, i32)>(
                "SELECT current_setting('server_version'), current_setting('server_version_num')::int",
            )
            .fetch_one(db)
            .await
        })?;
        session.version = version;
        session.major = u32::try_from(number / 10_000).unwrap_or(0);
        if session.major < super::OLDEST {
            let why = format!(
                "is on PostgreSQL {}; {} or later is needed: upgrade the server",
                session.version,
                super::OLDEST
            );
            return Err(Error::Unsuitable { database: self.database.clone(), why });
        }
        session.hurry(None);
        Ok(session)
    }

    /// A connection beside the database itself, which can't be renamed or dropped from within.
    pub(super) fn maintenance(&self, within: Duration) -> Result<Session, Error> {
        let others = ["postgres", "template1"].into_iter().filter(|name| *name != self.database);
        let mut first = None;
        for name in others {
            match self.with_database(name).open(within) {
                Ok(session) => return Ok(session),
                Err(error @ (Error::NoDatabase { .. } | Error::NotPermitted { .. })) => first = first.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Err(first.unwrap_or_else(|| Error::NoDatabase { at: self.server(), database: "postgres".to_owned() }))
    }

    fn refused(&self, source: sqlx::Error) -> Error {
        let at = self.server();
        match code(&source).as_deref() {
            Some("28P01" | "28000") => Error::LoginRefused { at, user: self.user.clone(), source: Cause(source) },
            Some("3D000") => Error::NoDatabase { at, database: self.database.clone() },
            Some("42501") => Error::NotPermitted {
                user: self.user.clone(),
                what: format!("connect to the database `{}`", self.database),
                remedy: format!("GRANT CONNECT ON DATABASE {} TO {}", ident(&self.database), ident(&self.user)),
            },
            Some("55000") => {
                let why = "takes no connections: `ALTER DATABASE … ALLOW_CONNECTIONS true` lets them in".to_owned();
                Error::Unsuitable { database: self.database.clone(), why }
            }
            Some("53300") => {
                let why = "has no connection left for this account: raise max_connections, or the limit of the role or of the \
                           database"
                    .to_owned();
                Error::Unsuitable { database: self.database.clone(), why }
            }
            _ => Error::Unreachable { server: "PostgreSQL", at, source: Cause(source) },
        }
    }
}

/// An open connection. Dropping it ends it.
pub(super) struct Session {
    connection: PgConnection,
    pub address: Address,
    /// As the server says of itself.
    pub version: String,
    pub major: u32,
    hurry: Hurry,
}

impl Session {
    /// Whatever is asked is answered by then, or given up; `None`: each question within its own time.
    pub fn hurry(&mut self, until: Option<Instant>) {
        self.hurry = Hurry(until);
    }

    /// Questions to the catalogue and short commands.
    pub fn run<T>(
        &mut self,
        doing: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        self.run_within(doing, ANSWER, work)
    }

    /// After an error the connection may be in the middle of an answer: drop it, unless the server gave the error.
    pub fn run_within<T>(
        &mut self,
        doing: &'static str,
        within: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        let within = self.hurry.at_most(within);
        wait(within, work(&mut self.connection)).map_err(|error| self.explain(doing, error))
    }

    /// As long as it takes.
    pub fn run_long<T>(
        &mut self,
        doing: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        self.run_within(doing, Duration::MAX, work)
    }

    /// Commands that are put together from quoted parts ([`ident`], [`literal`]).
    pub fn command(&mut self, doing: &'static str, sql: String) -> Result<(), Error> {
        self.run_long(doing, async |db| sqlx::raw_sql(AssertSqlSafe(sql)).execute(db).await.map(drop))
    }

    fn explain(&self, doing: &'static str, source: sqlx::Error) -> Error {
        let database = self.address.database.clone();
        match code(&source).as_deref() {
            Some("42501") => Error::NotPermitted {
                user: self.address.user.clone(),
                what: format!("{doing} the database `{database}`"),
                remedy: Cause(source).to_string(),
            },
            Some("53100") => Error::ServerFull { database },
            _ if is_lost(&source) => Error::ConnectionLost { at: self.address.server(), source: Cause(source) },
            _ => Error::Postgres { doing, database, source: Cause(source) },
        }
    }
}

/// The server's five characters, when it was the server that said no.
pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}

pub(super) fn is_code(error: &Error, wanted: &str) -> bool {
    matches!(error, Error::Postgres { source, .. } if code(&source.0).as_deref() == Some(wanted))
}

/// A name, quoted whatever it holds.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text, quoted whatever it holds and whatever the server thinks of backslashes.
pub(super) fn literal(text: &str) -> String {
    format!(" E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
