//! Every difference between SQLite and PostgreSQL.

use super::{Db, Error};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// PostgreSQL's channel on which commits are announced to other processes.
pub(super) const CHANNEL: &str = "stillpoint_changes";

impl Dialect {
    pub(super) fn of(url: &str) -> Result<Self, Error> {
        match url.split(':').next() {
            Some("sqlite") => Ok(Self::Sqlite),
            Some("postgres" | "postgresql") => Ok(Self::Postgres),
            _ => Err(Error::UnknownDatabase),
        }
    }

    pub(super) fn address(self, url: &str) -> String {
        match self {
            Self::Sqlite if !url.contains('?') => format!("{url}?mode=rwc"),
            _ => url.to_owned(),
        }
    }

    /// What each new connection is told. `synchronous = FULL`: a swap's journal must survive a power cut (R23).
    pub(super) async fn prepare(self, connection: &mut Db) -> Result<(), sqlx::Error> {
        if self == Self::Sqlite {
            for pragma in [
                "PRAGMA busy_timeout = 10000",
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = FULL",
                "PRAGMA foreign_keys = ON",
                "PRAGMA cache_size = -4000",
            ] {
                sqlx::query(pragma).execute(&mut *connection).await?;
            }
        }
        Ok(())
    }

    pub(super) fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }

    /// The database's own clock: microseconds since 1970.
    pub(super) fn clock(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT CAST(unixepoch('subsec') * 1000000 AS BIGINT)",
            Self::Postgres => "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
        }
    }

    /// Ends a query that picks a row which no other worker is just taking.
    pub(super) fn skip_locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE OF a SKIP LOCKED",
        }
    }

    pub(super) async fn notify(self, db: &mut Db) -> Result<(), Error> {
        if self == Self::Postgres {
            sqlx::query("SELECT pg_notify('stillpoint_changes', '')").execute(db).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_another_kind_is_refused() {
        assert!(Dialect::of("mysql://localhost/x").is_err());
        assert_eq!(Dialect::of("sqlite:/data/stillpoint.db").ok(), Some(Dialect::Sqlite));
        assert_eq!(Dialect::of("postgres://localhost/x").ok(), Some(Dialect::Postgres));
    }
}
