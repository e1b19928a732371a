//! One connection to a Redis or Valkey server.
//!
//! **Invariant:** the password goes into the connection and nowhere else: no error, log line or argument carries it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use ::redis::{
    Client, Cmd, Connection, ConnectionAddr, ConnectionLike as _, ErrorKind, FromRedisValue, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisError, Value, cmd, from_redis_value,
};

use crate::domain::Secret;
use crate::drivers::Error;

/// For short questions: a server that takes longer does not answer.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

const CONNECT: Duration = Duration::from_secs(10);

/// Where a server is, and who asks.
#[derive(Debug, Clone)]
pub struct Address {
    /// A name, an address, or the absolute path of a socket.
    pub host: String,
    pub port: u16,
    /// Empty: the server's default user.
    pub user: String,
    /// Empty: none is sent.
    pub password: Secret,
}

impl Address {
    pub(super) fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// For people.
    pub(super) fn server(&self) -> String {
        if self.is_socket() { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// # Errors
    /// [`Error::RedisUnreachable`], [`Error::RedisRefused`].
    pub(super) fn open(&self, patience: Option<Duration>) -> Result<Session, Error> {
        let place = if self.is_socket() {
            ConnectionAddr::Unix(self.host.clone().into())
        } else {
            ConnectionAddr::Tcp(self.host.clone(), self.port)
        };
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        if !self.user.is_empty() {
            settings = settings.set_username(&self.user);
        }
        if !self.password.reveal().is_empty() {
            settings = settings.set_password(self.password.reveal());
        }
        let mut session = connect(place, settings, self, patience.unwrap_or(CONNECT).min(CONNECT))
            .map_err(|error| self.refused(error))?;
        session.patience(patience)?;
        match session.connection.req_command(cmd("PING").arg("here")).and_then(Value::extract_error) {
            Ok(_) => Ok(session),
            // Whoever may not even ask that may still do the rest.
            Err(error) if error.code() == Some("NOPERM") => Ok(session),
            Err(error) => Err(self.refused(error)),
        }
    }

    fn refused(&self, source: RedisError) -> Error {
        let (at, source) = (self.server(), Cause(source));
        if source.0.kind() == ErrorKind::AuthenticationFailed || source.is("NOAUTH") || source.is("WRONGPASS") {
            let user = if self.user.is_empty() { "default".to_owned() } else { self.user.clone() };
            return Error::RedisRefused { at, user, source };
        }
        Error::RedisUnreachable { at, source }
    }
}

/// A server of our own, by its socket.
pub(super) fn open_own(socket: &Path) -> Result<Session, RedisError> {
    let (host, user, password) = (socket.display().to_string(), String::new(), Secret::new(""));
    let own = Address { host, port: 0, user, password };
    let session = connect(ConnectionAddr::Unix(socket.to_owned()), RedisConnectionInfo::default(), &own, CONNECT)?;
    Ok(Session { at: "the worker's own".to_owned(), ..session })
}

fn connect(
    place: ConnectionAddr,
    settings: RedisConnectionInfo,
    address: &Address,
    within: Duration,
) -> Result<Session, RedisError> {
    let info = place.into_connection_info()?.set_redis_settings(settings);
    let connection = Client::open(info)?.get_connection_with_timeout(within)?;
    Ok(Session { connection, at: address.server(), user: address.user.clone() })
}

/// What the server, or the way to it, said: its words alone.
#[derive(Debug)]
pub struct Cause(RedisError);

impl Cause {
    pub(super) fn is(&self, code: &str) -> bool {
        self.0.code() == Some(code)
    }

    fn says(&self, words: &str) -> bool {
        self.to_string().contains(words)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.detail()) {
            (Some(code), Some(detail)) => write!(f, "{code} {detail}"),
            _ => self.0.fmt(f),
        }
    }
}

impl std::error::Error for Cause {}

/// An open connection. Dropping it ends it.
pub(super) struct Session {
    connection: Connection,
    pub at: String,
    pub user: String,
}

impl Session {
    /// How long an answer may take; `None`: as long as the connection stands.
    pub fn patience(&mut self, patience: Option<Duration>) -> Result<(), Error> {
        let set = self.connection.set_read_timeout(patience);
        set.map_err(|error| self.explain("speak to", error))
    }

    /// Sends all at once and gives the replies as they are, errors of the server among them.
    pub fn replies(&mut self, doing: &'static str, commands: &[Cmd]) -> Result<Vec<Value>, Error> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let mut packed = Vec::new();
        for command in commands {
            command.write_packed_command(&mut packed);
        }
        let asked = self.connection.send_packed_command(&packed).and_then(|()| {
            let replies = commands.iter().map(|_| self.connection.recv_response());
            replies.collect::<Result<Vec<Value>, RedisError>>()
        });
        asked.map_err(|error| self.explain(doing, error))
    }

    /// All of them, or the first error. The others were done nonetheless.
    pub fn run_all(&mut self, doing: &'static str, commands: &[Cmd]) -> Result<Vec<Value>, Error> {
        let replies = self.replies(doing, commands)?;
        let replies: Result<Vec<Value>, RedisError> = replies.into_iter().map(Value::extract_error).collect();
        replies.map_err(|error| self.explain(doing, error))
    }

    pub fn ask<T: FromRedisValue>(&mut self, doing: &'static str, command: &Cmd) -> Result<T, Error> {
        let reply = self.run_all(doing, std::slice::from_ref(command))?.pop().unwrap_or(Value::Nil);
        from_redis_value(reply).map_err(|error| self.explain(doing, error.into()))
    }

    pub fn select(&mut self, database: u32) -> Result<(), Error> {
        self.ask("select a database of", cmd("SELECT").arg(database))
    }

    /// All or nothing; `None` when what was watched has changed, and nothing was done.
    pub fn transaction(&mut self, doing: &'static str, commands: &[Cmd]) -> Result<Option<()>, Error> {
        let mut all = vec![cmd("MULTI")];
        all.extend_from_slice(commands);
        all.push(cmd("EXEC"));
        // Of a command that may not be queued the reason is better than EXEC's, which then does nothing.
        let done = self.run_all(doing, &all)?.pop().unwrap_or(Value::Nil);
        match done {
            Value::Nil => Ok(None),
            Value::Array(replies) => {
                let failed = replies.into_iter().find_map(|reply| reply.extract_error().err());
                failed.map_or(Ok(Some(())), |error| Err(self.explain(doing, error)))
            }
            _ => Ok(Some(())),
        }
    }

    pub fn info(&mut self, sections: &[&str]) -> Result<Info, Error> {
        let questions: Vec<Cmd> = sections.iter().map(|section| cmd("INFO").arg(*section).take()).collect();
        let mut found = BTreeMap::new();
        for reply in self.run_all("ask for the state of", &questions)? {
            let text: String = from_redis_value(reply).map_err(|error| self.explain("understand", error.into()))?;
            let lines = text.lines().filter_map(|line| line.split_once(':'));
            found.extend(lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())));
        }
        Ok(Info(found))
    }

    fn explain(&self, doing: &'static str, source: RedisError) -> Error {
        let (at, source) = (self.at.clone(), Cause(source));
        if source.is("NOPERM") {
            let user = if self.user.is_empty() { "default".to_owned() } else { self.user.clone() };
            return Error::NotPermitted {
                user,
                what: format!("{doing} the server at {at}"),
                remedy: source.to_string(),
            };
        }
        if source.is("OOM") {
            let why = "has reached its `maxmemory`: raise it, and try again".to_owned();
            return Error::CannotRestore { database: at, why };
        }
        if source.says("DUMP payload version") {
            let why =
                "it does not understand what the worker's `redis-server` writes, which is newer: install the same \
                       version on the worker's machine, or upgrade the server"
                    .to_owned();
            return Error::CannotRestore { database: at, why };
        }
        Error::Redis { doing, at, source }
    }
}

/// What a server says of itself.
#[derive(Debug, Default)]
pub(super) struct Info(BTreeMap<String, String>);

/// How many keys a database has, and how many of them expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub keys: u64,
    pub expiring: u64,
}

impl Info {
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// Databases that are not empty, from the section `keyspace`.
    pub fn databases(&self) -> BTreeMap<u32, Size> {
        let sized = self.0.iter().filter_map(|(name, value)| {
            let number = name.strip_prefix("db")?.parse().ok()?;
            let field = |field: &str| {
                let value = value.split(',').find_map(|part| part.strip_prefix(field)?.strip_prefix('='))?;
                value.parse().ok()
            };
            Some((number, Size { keys: field("keys")?, expiring: field("expires")? }))
        });
        sized.collect()
    }
}
