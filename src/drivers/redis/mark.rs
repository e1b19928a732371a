//! The marks of databases that a restore fills or has set aside.
//!
//! **Invariant:** a mark lies in the database that it speaks of, and stays there when that changes places with another.

use std::collections::BTreeMap;

use ::redis::{Cmd, Value, cmd, from_redis_value};

use super::session::Session;
use super::swap::{Functions, Pair};
use crate::drivers::Error;

/// The key that is the mark: a hash.
pub(super) const MARK: &str = "stillpoint:beside";

/// Which side a marked database is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Beside,
    Aside,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            Self::Beside => "beside",
            Self::Aside => "aside",
        }
    }
}

pub(super) struct Standing {
    pub live: u32,
    pub state: State,
    pub functions: Functions,
}

/// Which of these databases have a mark, whosever.
pub(super) fn marked(session: &mut Session, databases: impl Iterator<Item = u32>) -> Result<Vec<u32>, Error> {
    let databases: Vec<u32> = databases.collect();
    let questions: Vec<Cmd> = databases
        .iter()
        .flat_map(|number| [cmd("SELECT").arg(*number).take(), cmd("EXISTS").arg(MARK).take()])
        .collect();
    let replies = session.run_all("look for marks in", &questions)?;
    let there = databases.iter().zip(replies.chunks(2)).filter(|(_, reply)| matches!(reply, [_, Value::Int(1..)]));
    Ok(there.map(|(number, _)| *number).collect())
}

/// Databases with the mark of this load. All marks that there could be are watched from here on.
pub(super) fn watch(session: &mut Session, id: &str) -> Result<BTreeMap<u32, Standing>, Error> {
    session.ask::<()>("look at", &cmd("UNWATCH"))?;
    let databases: Vec<u32> = session.info(&["keyspace"])?.databases().into_keys().collect();
    let questions: Vec<Cmd> = databases
        .iter()
        .flat_map(|number| {
            let select = cmd("SELECT").arg(*number).take();
            [select, cmd("WATCH").arg(MARK).take(), cmd("HGETALL").arg(MARK).take()]
        })
        .collect();
    let replies = session.run_all("look for marks in", &questions)?;
    let standing = databases.iter().zip(replies.chunks(3)).filter_map(|(number, reply)| {
        let fields: BTreeMap<String, Vec<u8>> = from_redis_value(reply.get(2)?.clone()).ok()?;
        let text = |name: &str| std::str::from_utf8(fields.get(name)?).ok();
        if text("id")? != id {
            return None;
        }
        let state = if text("state")? == State::Aside.word() { State::Aside } else { State::Beside };
        let functions = Functions(text("functions").filter(|dump| !dump.is_empty()).map(str::to_owned));
        Some((*number, Standing { live: text("live")?.parse().ok()?, state, functions }))
    });
    Ok(standing.collect())
}

/// Takes an empty database: `false` when it was not empty.
pub(super) fn mark(session: &mut Session, id: &str, pair: Pair) -> Result<bool, Error> {
    let taken = [cmd("SELECT").arg(pair.spare).take(), cmd("WATCH").arg(MARK).take(), cmd("DBSIZE")];
    if !matches!(session.run_all("mark a database of", &taken)?.as_slice(), [_, _, Value::Int(0)]) {
        return Ok(false);
    }
    let mut set = cmd("HSET");
    set.arg(MARK).arg("id").arg(id).arg("live").arg(pair.live).arg("state").arg(State::Beside.word());
    Ok(session.transaction("mark a database of", &[set])?.is_some())
}
