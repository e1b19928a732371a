//! One connection to a MySQL or MariaDB server, used from threads that may block.
//!
//! **Invariant:** the password goes into the connection and nowhere else: no error, log line or argument carries it. A
//! session locks no server and no other database: closing it lets go of all that it has.

use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlRow, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use crate::domain::Secret;
use crate::drivers::Error;
use crate::drivers::client::{Cause, Hurry, RUNTIME, is_lost, too_late, wait};

/// For questions to the catalogue: a server that takes longer does not answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Where a database is, and who asks.
#[derive(Debug, Clone)]
pub struct Address {
    /// Or the absolute path of a socket.
    pub host: String,
    pub port: u16,
    pub user: String,
    /// Empty: none is sent.
    pub password: Secret,
    pub database: String,
}

/// Errors of the server by their numbers, as its manual lists them.
pub(super) mod number {
    pub const EXISTS: u16 = 1007;
    pub const NO_DATABASE: u16 = 1049;
    /// Without a number of its own.
    pub const OTHER: u16 = 1105;
    pub const NO_TABLE: u16 = 1146;
    pub const LOCK_WAIT: u16 = 1205;
    pub const CHANGED: u16 = 1412;
    /// Access denied: to a database, of a user, to a table, a column, a routine, a global right, to kill.
    pub const DENIED: [u16; 8] = [1044, 1045, 1095, 1142, 1143, 1227, 1370, 1698];
    /// The disk is full, the table is.
    pub const FULL: [u16; 2] = [1021, 1114];
}

impl Address {
    pub(super) fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    pub(super) fn with_database(&self, database: &str) -> Self {
        Self { database: database.to_owned(), ..self.clone() }
    }

    /// For people.
    pub(super) fn server(&self) -> String {
        if self.is_socket() { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// A connection whose names are those of the database.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::LoginRefused`], [`Error::NoDatabase`], [`Error::NotPermitted`],
    /// [`Error::Unsuitable`] for a server that is too old.
    pub(super) fn open(&self, within: Duration) -> Result<Session, Error> {
        self.connect(within, Some(&self.database))
    }

    /// A connection that needs no database to be there.
    pub(super) fn open_server(&self, within: Duration) -> Result<Session, Error> {
        self.connect(within, None)
    }

    fn connect(&self, within: Duration, database: Option<&str>) -> Result<Session, Error> {
        let mut options = MySqlConnectOptions::new()
            .username(&self.user)
            // Like the server's own programs: encrypted when the server can.
            .ssl_mode(MySqlSslMode::Preferred)
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None)
            .statement_cache_capacity(0)
            .disable_statement_logging();
        options = match self.is_socket() {
            true => options.socket(&self.host),
            false => options.host(&self.host).port(self.port),
        };
        if !self.password.reveal().is_empty() {
            options = options.password(self.password.reveal());
        }
        if let Some(database) = database {
            options = options.database(database);
        }
        let connection = wait(within, options.connect()).map_err(|error| self.refused(error))?;
        let mut session = Session {
            connection,
            address: self.clone(),
            version: String::new(),
            mariadb: false,
            id: 0,
            hurry: Hurry(Some(Instant::now() + within)),
        };
        let row = session.rows("open", "SELECT VERSION(), CONNECTION_ID()")?;
        let mut row = row.into_iter().flatten();
        session.version = row.next().flatten().unwrap_or_default();
        session.id = row.next().flatten().and_then(|id| id.parse().ok()).unwrap_or(0);
        session.mariadb = session.version.to_ascii_lowercase().contains("mariadb");
        let (oldest, name) =
            if session.mariadb { (super::OLDEST_MARIADB, "MariaDB") } else { (super::OLDEST_MYSQL, "MySQL") };
        if session.number() < oldest {
            let why = format!(
                "is on {name} {}; {}.{} or later is needed, which exchanges tables in one step that survives a crash: \
                 upgrade the server",
                session.version, oldest.0, oldest.1
            );
            return Err(Error::Unsuitable { database: self.database.clone(), why });
        }
        // What is set for the server must not end, hide or change anything here. Reading waits for whoever takes the
        // dump, and a view for its turn.
        let limit = if session.mariadb {
            "max_statement_time = 0, idle_transaction_timeout = 0, idle_readonly_transaction_timeout = 0"
        } else {
            "max_execution_time = 0"
        };
        session.command(
            "open",
            &format!(
                "SET SESSION sql_mode = '', time_zone = '+00:00', autocommit = 1, wait_timeout = 604800,
                 net_read_timeout = 86400, net_write_timeout = 86400, sql_select_limit = DEFAULT, foreign_key_checks = 1,
                 sql_quote_show_create = 1, lock_wait_timeout = 10, innodb_lock_wait_timeout = 10,
                 group_concat_max_len = 1048576, {limit}; SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
            ),
        )?;
        session.hurry(None);
        Ok(session)
    }

    fn refused(&self, source: sqlx::Error) -> Error {
        let at = self.server();
        match code(&source) {
            Some(1045 | 1130 | 1698 | 1862) => {
                Error::LoginRefused { at, user: self.user.clone(), source: Cause(source) }
            }
            Some(number::NO_DATABASE) => Error::NoDatabase { at, database: self.database.clone() },
            Some(1044) => Error::NotPermitted {
                user: self.user.clone(),
                what: format!("use the database `{}`, or there is none of that name", self.database),
                remedy: format!("GRANT ALL ON {}.* TO {}", ident(&self.database), literal(&self.user)),
            },
            Some(1040 | 1203 | 1226) => {
                let why = "has no connection left for this account: raise max_connections, or the limit of the account";
                Error::Unsuitable { database: self.database.clone(), why: why.to_owned() }
            }
            _ => Error::Unreachable { server: "MySQL or MariaDB", at, source: Cause(source) },
        }
    }
}

/// An open connection. Dropping it ends it.
pub(super) struct Session {
    connection: MySqlConnection,
    pub address: Address,
    /// As the server says of itself: `10.11.6-MariaDB-log`, `8.4.2`.
    pub version: String,
    pub mariadb: bool,
    /// As others see it in the list of processes.
    pub id: u64,
    hurry: Hurry,
}

/// Cells as text.
pub(super) type Cells = Vec<Option<String>>;

impl Session {
    /// Major and minor version.
    pub fn number(&self) -> (u32, u32) {
        // MariaDB behind some proxies calls itself 5.5.5-10.6.…
        let version = self.version.strip_prefix("5.5.5-").unwrap_or(&self.version);
        let mut parts = version.split(|letter: char| !letter.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// Whatever is asked is answered by then, or given up; `None`: each question within its own time.
    pub fn hurry(&mut self, until: Option<Instant>) {
        self.hurry = Hurry(until);
    }

    /// Questions to the catalogue. The text protocol: what comes is what a dump says.
    pub fn rows(&mut self, doing: &'static str, sql: &str) -> Result<Vec<Cells>, Error> {
        self.rows_within(doing, ANSWER, sql)
    }

    /// After an error the connection may be in the middle of an answer: drop it, unless the server gave the error.
    pub fn rows_within(&mut self, doing: &'static str, within: Duration, sql: &str) -> Result<Vec<Cells>, Error> {
        let asking = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut self.connection);
        let rows = wait(self.hurry.at_most(within), asking).map_err(|error| explain(&self.address, doing, error))?;
        rows.iter().map(|row| cells(row).map_err(|error| explain(&self.address, doing, error))).collect()
    }

    /// The first cell of the first row.
    pub fn one(&mut self, doing: &'static str, sql: &str) -> Result<Option<String>, Error> {
        Ok(self.rows(doing, sql)?.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
    }

    /// Takes as long as it takes.
    pub fn count(&mut self, doing: &'static str, sql: &str) -> Result<u64, Error> {
        let asking = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_one(&mut self.connection);
        let row =
            wait(self.hurry.at_most(Duration::MAX), asking).map_err(|error| explain(&self.address, doing, error))?;
        let cells = cells(&row).map_err(|error| explain(&self.address, doing, error))?;
        Ok(cells.into_iter().next().flatten().and_then(|count| count.parse().ok()).unwrap_or(0))
    }

    /// Row by row, for as long as it takes; what `each` says ends it.
    pub fn each(
        &mut self,
        doing: &'static str,
        sql: String,
        mut each: impl FnMut(&MySqlRow) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (connection, address, within) = (&mut self.connection, &self.address, self.hurry.at_most(Duration::MAX));
        let reading = async {
            let mut rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(connection);
            while let Some(row) = rows.try_next().await.map_err(|error| explain(address, doing, error))? {
                each(&row)?;
            }
            Ok(())
        };
        let late = || Err(explain(address, doing, too_late()));
        RUNTIME.block_on(async { tokio::time::timeout(within, reading).await }).unwrap_or_else(|_| late())
    }

    /// Commands that are put together from quoted parts ([`ident`], [`literal`]), for as long as they take.
    pub fn command(&mut self, doing: &'static str, sql: &str) -> Result<(), Error> {
        let asking = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection);
        wait(self.hurry.at_most(Duration::MAX), asking).map(drop).map_err(|error| explain(&self.address, doing, error))
    }

    /// As [`Session::rows_within`], without rows.
    pub fn command_within(&mut self, doing: &'static str, within: Duration, sql: &str) -> Result<(), Error> {
        let asking = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection);
        wait(self.hurry.at_most(within), asking).map(drop).map_err(|error| explain(&self.address, doing, error))
    }
}

/// A cell's bytes as the server sent them.
pub(super) fn bytes(row: &MySqlRow, index: usize) -> Result<Option<&[u8]>, sqlx::Error> {
    row.try_get_unchecked(index)
}

fn cells(row: &MySqlRow) -> Result<Cells, sqlx::Error> {
    let text = |index| Ok(bytes(row, index)?.map(|bytes| String::from_utf8_lossy(bytes).into_owned()));
    (0..row.len()).map(text).collect()
}

pub(super) fn explain(address: &Address, doing: &'static str, source: sqlx::Error) -> Error {
    let database = address.database.clone();
    match code(&source) {
        Some(number) if number::DENIED.contains(&number) => Error::NotPermitted {
            user: address.user.clone(),
            what: format!("{doing} the database `{database}`"),
            remedy: Cause(source).to_string(),
        },
        Some(number) if number::FULL.contains(&number) => Error::ServerFull { database },
        Some(number::CHANGED) => Error::Redefined { database, what: "a table".to_owned() },
        _ if is_lost(&source) => Error::ConnectionLost { at: address.server(), source: Cause(source) },
        _ => Error::Mysql { doing, database, source: Cause(source) },
    }
}

/// The server's number, when it was the server that said no.
fn code(error: &sqlx::Error) -> Option<u16> {
    let said = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(said.number())
}

pub(super) fn is_number(error: &Error, wanted: u16) -> bool {
    matches!(error, Error::Mysql { source, .. } if code(&source.0) == Some(wanted))
}

/// No answer came in time: the connection is still in the middle of the question.
pub(super) fn is_late(error: &Error) -> bool {
    matches!(error, Error::Mysql { source: Cause(sqlx::Error::Io(late)), .. } if late.kind() == std::io::ErrorKind::TimedOut)
}

/// A name, quoted whatever it holds.
pub(super) fn ident(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text, quoted whatever it holds; `sql_mode` is ours, so backslashes escape.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''").replace('\0', "\\0"))
}
