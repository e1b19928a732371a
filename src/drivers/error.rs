//! What can go wrong with a service or a mount, each cause by its own name and with what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::client::Cause;
use super::{redis, solr};
use crate::domain::Bytes;
use crate::domain::time::span;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    // what is declared
    #[error("`{}` is not an absolute path: declare it from the root, beginning with `/`", path.display())]
    NotAbsolute { path: PathBuf },
    #[error("`{}` does not exist: create it, or correct the declared path", path.display())]
    Missing { path: PathBuf },
    #[error("`{}` exists already: nothing was provisioned over it; choose another path or remove it", path.display())]
    Exists { path: PathBuf },
    #[error("`{}` is not a regular file: declare the database file itself", path.display())]
    NotAFile { path: PathBuf },
    #[error("`{}` is not a directory: a mount is a directory that holds files", path.display())]
    NotADirectory { path: PathBuf },
    #[error("`{}` can't be read: give the user that runs the worker read access", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` can't be written: give the user that runs the worker write access, or a restore will fail", path.display())]
    NotWritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    // databases
    #[error("`{}` is not a SQLite database (or it is encrypted): correct the declared path", path.display())]
    NotADatabase { path: PathBuf },
    #[error("the database `{}` is damaged ({detail}): repair it, or restore a snapshot taken before", path.display())]
    Corrupt { path: PathBuf, detail: String },
    #[error(
        "the database `{}` stayed locked for {}: end the transaction (or the exclusive locking mode) that holds it, then \
         try again",
        path.display(), span(*waited)
    )]
    Locked { path: PathBuf, waited: Duration },
    #[error(
        "the database `{}` has pages of {live} bytes in WAL mode and what was loaded has {loaded}: its page size changed \
         since the load; start the restore again",
        path.display()
    )]
    PageSize { path: PathBuf, live: u32, loaded: u32 },
    #[error("SQLite could not work on `{}`", path.display())]
    Sqlite {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },

    // servers
    #[error("no {server} server answers at {at}: start it, or correct host and port in the declaration")]
    Unreachable {
        server: &'static str,
        at: String,
        #[source]
        source: Cause,
    },
    #[error(
        "the server at {at} does not let `{user}` in: correct user and password in the declaration and apply it, or allow \
         the login on the server (pg_hba.conf; the host of a MySQL account)"
    )]
    LoginRefused {
        at: String,
        user: String,
        #[source]
        source: Cause,
    },
    #[error("the connection to the server at {at} was lost: see that it runs, then try again")]
    ConnectionLost {
        at: String,
        #[source]
        source: Cause,
    },
    #[error("there is no database `{database}` at {at}: create it, or correct the declaration")]
    NoDatabase { at: String, database: String },
    #[error("a database `{database}` exists at {at} already: nothing was made over it; choose another name or drop it")]
    DatabaseExists { at: String, database: String },
    #[error("the account `{user}` may not {what}: {remedy}")]
    NotPermitted { user: String, what: String, remedy: String },
    #[error("the database `{database}` {why}")]
    Unsuitable { database: String, why: String },
    #[error("the view of `{database}` could not be opened within {}: {by}; end it, then try again", span(*waited))]
    Blocked { database: String, waited: Duration, by: String },
    #[error("the database `{database}` can't be restored as things are: {why}; nothing was replaced")]
    CannotRestore { database: String, why: String },
    #[error(
        "sessions of the database `{database}` can't be ended ({sessions}): end them, or GRANT pg_signal_backend TO \"{user}\""
    )]
    SessionsStay { database: String, user: String, sessions: String },
    #[error(
        "the tables of `{database}` could not be exchanged within {}: {by}; end it, then try again; nothing was replaced",
        span(*waited)
    )]
    InTheWay { database: String, waited: Duration, by: String },
    #[error(
        "{what} of the database `{database}` was changed while it was read: take the snapshot again, and run migrations at \
         another time"
    )]
    Redefined { database: String, what: String },
    #[error("`{tool}` is not installed on the worker's machine: install the package {package}")]
    ToolMissing { tool: &'static str, package: String },
    #[error(
        "the newest `{tool}` on the worker's machine is of version {found}, the server of {server}: install the package \
         {package}"
    )]
    ToolTooOld { tool: &'static str, found: u32, server: u32, package: String },
    #[error("`{tool}` did not succeed: {detail}")]
    ToolFailed { tool: &'static str, detail: String },
    #[error("the server of `{database}` has no space left: free some and try again")]
    ServerFull { database: String },
    #[error("could not {doing} the database `{database}`")]
    Postgres {
        doing: &'static str,
        database: String,
        #[source]
        source: Cause,
    },

    #[error("could not {doing} the database `{database}`")]
    Mysql {
        doing: &'static str,
        database: String,
        #[source]
        source: Cause,
    },
    #[error("no Redis or Valkey server answers at {at}: start it, or correct host and port in the declaration")]
    RedisUnreachable {
        at: String,
        #[source]
        source: redis::Cause,
    },
    #[error("the server at {at} does not let `{user}` in: correct user and password in the declaration and apply it")]
    RedisRefused {
        at: String,
        user: String,
        #[source]
        source: redis::Cause,
    },
    #[error("could not {doing} the server at {at}")]
    Redis {
        doing: &'static str,
        at: String,
        #[source]
        source: redis::Cause,
    },

    #[error("`{url}` is not the address of a Solr server: declare it as in http://127.0.0.1:8983/solr")]
    SolrAddress { url: String },
    #[error("`{index}` can't be a core or a collection: declare its name as Solr's administration pages show it")]
    SolrName { index: String },
    #[error("no Solr server answers at {at}: start it, or correct `url` in the declaration")]
    SolrUnreachable {
        at: String,
        #[source]
        source: solr::Cause,
    },
    #[error(
        "the Solr server at {at} does not let `{user}` {doing} it: correct user and password in the declaration and apply \
         it, or give the account the permissions in docs/declaration.md"
    )]
    SolrRefused { at: String, doing: &'static str, user: String },
    #[error("there is no core, collection or alias `{index}` at {at}: create it, or correct the declaration")]
    SolrNoIndex { at: String, index: String },
    #[error("could not {doing} the Solr server at {at}")]
    Solr {
        doing: &'static str,
        at: String,
        #[source]
        source: solr::Cause,
    },

    // mounts
    #[error("the mount `{}` is outside the directories that the operator allows: ask for its root to be allowed", path.display())]
    OutsideRoots { path: PathBuf },
    #[error("the mount `{}` and the data directory `{}` overlap: move one of them", path.display(), data.display())]
    DataDirectory { path: PathBuf, data: PathBuf },
    #[error("the mount `{}` overlaps the mount `{}`: declare directories that don't contain each other", path.display(), other.display())]
    Overlap { path: PathBuf, other: PathBuf },
    #[error(
        "the database `{}` lies inside the mount `{}`: exclude it there (its `-wal`, `-shm` and `-journal` go with it), since it \
         is a service of its own",
        database.display(), path.display()
    )]
    DatabaseInside { path: PathBuf, database: PathBuf },
    #[error("`{}` holds this whole machine: declare the directory below it that is meant", path.display())]
    RootDirectory { path: PathBuf },
    #[error(
        "another file system is mounted at `{}`, inside the mount (or is a subvolume there): it can't be restored together with \
         it; exclude the directory at the mount's top that holds it, or declare that directory as a mount of its own",
        path.display()
    )]
    NestedMountPoint { path: PathBuf },
    #[error("the file system of `{}` lets no directory be moved into another one, which a restore needs: use another one", path.display())]
    NoExchange {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{exclude}` can't be excluded: {why}")]
    InvalidExclude { exclude: String, why: &'static str },
    #[error(
        "too much changed in `{}` to be copied inside the hold: {files} files with {bytes}, {limit}; take the snapshot at \
         a quieter time, exclude files that change all the time, or raise the limit",
        path.display()
    )]
    TooMuchChanged { path: PathBuf, files: u64, bytes: Bytes, limit: StagingLimit },
    #[error(
        "`{}` could not be looked through within {} inside the hold: exclude directories with many files, or raise the limit",
        path.display(), span(*within)
    )]
    ScanTooSlow { path: PathBuf, within: Duration },
    #[error("`{}` can't be exchanged: {why}", path.display())]
    CannotSwap { path: PathBuf, why: String },

    // commands that an operator named
    #[error("the program `{}` {why}", program.display())]
    Program { program: PathBuf, why: String },
    #[error("the program `{}` could not be started", program.display())]
    NotStarted {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{command}` did not succeed ({status}): {words}")]
    CommandFailed { command: String, status: String, words: String },
    #[error(
        "`{command}` did not end within {} and was killed, with all that it had started: {words}",
        span(*within)
    )]
    CommandTooSlow { command: String, within: Duration, words: String },
    #[error(
        "`{command}` wrote more than the {limit} that are read of it; its answer belongs on stdout, all else on stderr"
    )]
    CommandAnswersTooMuch { command: String, limit: Bytes },

    #[error("what `{command}` answered can't be used: {why}")]
    CommandAnswer { command: String, why: String },

    // loads and swaps
    #[error(
        "a swap that was begun is of another kind of service than the one that is declared: declare it as it was, and let \
         the swap end"
    )]
    OtherKind,
    #[error(
        "what was loaded is not what the snapshot recorded: {what} is {found}, recorded is {expected}; nothing was swapped"
    )]
    Mismatch { what: String, expected: String, found: String },
    #[error("nothing is prepared under `{}`: prepare the swap first", path.display())]
    NotPrepared { path: PathBuf },
    #[error("the worker was asked to stop")]
    Cancelled,
    #[error("no space is left for `{}`: free some and try again", path.display())]
    Full { path: PathBuf },
    #[error("the dump could not be handed on")]
    Output(#[source] io::Error),
    #[error("the dump could not be read from the snapshot")]
    Input(#[source] io::Error),
    #[error("could not {doing} `{}`", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Which bound was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StagingLimit {
    Bytes(Bytes),
    Time(Duration),
}

impl std::fmt::Display for StagingLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "more than the {bytes} that may be copied"),
            Self::Time(time) => write!(f, "not finished within {}", span(*time)),
        }
    }
}

impl Error {
    /// Somebody else holds what is needed, and may soon let go of it.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Locked { .. }
                | Self::Blocked { .. }
                | Self::InTheWay { .. }
                | Self::ScanTooSlow { .. }
                | Self::CommandTooSlow { .. }
        )
    }

    /// For `map_err`: what was being done, on what. A full disk has its own name whatever was being done.
    pub(super) fn io<E: Into<io::Error>>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| {
            let source = source.into();
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
                _ => Self::Io { doing, path, source },
            }
        }
    }

    /// For `map_err` of a read: missing and forbidden by their own names.
    pub(super) fn reading<E: Into<io::Error>>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| {
            let source = source.into();
            match source.kind() {
                io::ErrorKind::NotFound => Self::Missing { path: path.to_owned() },
                io::ErrorKind::PermissionDenied => Self::Unreadable { path: path.to_owned(), source },
                _ => Self::io(doing, path)(source),
            }
        }
    }
}
