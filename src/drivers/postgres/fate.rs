//! What becomes of a transaction, by the server's own word: whoever asks, and whoever died.

use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::psql::Talk;
use super::session::Session;
use super::{Postgres, swap};
use crate::drivers::Error;

/// For a transaction of an earlier try to end once its session was ended.
const WAIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// One that has an id, and of which database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Transaction {
    database: i64,
    /// Of 64 bits: none comes twice.
    id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Running,
    Committed,
    /// Also when the server went down meanwhile.
    Aborted,
}

impl Transaction {
    /// Gives the conversation's an id, if it has none.
    pub fn of(talk: &mut Talk) -> Result<Self, Error> {
        let ids = talk
            .ask("SELECT oid FROM pg_database WHERE datname = current_database(); SELECT pg_current_xact_id()::text")?;
        let broken = || Error::ToolFailed { tool: "psql", detail: format!("it answered {ids:?}") };
        let [database, id] = ids.as_slice() else { return Err(broken()) };
        Ok(Self { database: database.parse().map_err(|_| broken())?, id: id.clone() })
    }

    /// Whether the conversation is still in it.
    pub fn goes_on_in(&self, talk: &mut Talk) -> Result<(), Error> {
        match Self::of(talk)? == *self {
            true => Ok(()),
            false => Err(Error::ToolFailed { tool: "psql", detail: "the load ended the transaction".to_owned() }),
        }
    }

    pub fn outcome(&self, driver: &Postgres, session: &mut Session) -> Result<Outcome, Error> {
        let (database, status) = session.run("look at a transaction of", async |db| {
            sqlx::query_as::<_, (i64, Option<String>)>(
                "SELECT (SELECT oid::int8 FROM pg_database WHERE datname = current_database()),
                   pg_xact_status($1::text::xid8)",
            )
            .bind(&self.id)
            .fetch_one(db)
            .await
        })?;
        if database != self.database {
            return Err(swap::cannot(driver, "another database took its place meanwhile"));
        }
        match status.as_deref() {
            Some("in progress") => Ok(Outcome::Running),
            Some("committed") => Ok(Outcome::Committed),
            Some("aborted") => Ok(Outcome::Aborted),
            _ => {
                let why = format!("the server does not know any more what became of the transaction {}", self.id);
                Err(swap::cannot(driver, why))
            }
        }
    }

    /// Ends its session if that is still there: nobody may commit it from now on.
    pub fn ended(&self, driver: &Postgres, session: &mut Session) -> Result<Outcome, Error> {
        let deadline = Instant::now() + WAIT;
        loop {
            let outcome = self.outcome(driver, session)?;
            if outcome != Outcome::Running {
                return Ok(outcome);
            }
            if Instant::now() >= deadline {
                let why = format!("the transaction {} does not end: end its session", self.id);
                return Err(swap::cannot(driver, why));
            }
            session.run("end a transaction of", async |db| {
                sqlx::query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid = $1::text::xid8::xid",
                )
                .bind(&self.id)
                .execute(db)
                .await
                .map(drop)
            })?;
            thread::sleep(PAUSE);
        }
    }
}
