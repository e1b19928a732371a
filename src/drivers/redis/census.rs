//! What a server holds, counted so that a later count of the same gives the same.
//!
//! Keys that expire are counted by themselves and stand in no checksum: after a while they are rightly gone.

use std::collections::BTreeMap;

use ::redis::{Cmd, Value, cmd, from_redis_value};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::session::{Session, Size};
use crate::domain::manifest::Facts;
use crate::drivers::Error;

/// Keys asked for at a time.
pub(super) const STEP: u32 = 1_000;

/// Tables that grow while they are read show keys twice; then they are read again.
const TRIES: u32 = 20;

/// One database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Counted {
    /// Keys that don't expire.
    pub lasting: u64,
    pub expiring: u64,
    /// Sum of the hashes of the lasting keys' names and types, whatever their order.
    sum: [u64; 4],
}

impl Counted {
    /// Whether this holds what `other` holds, but for keys whose time has passed.
    pub fn is(&self, other: &Self) -> bool {
        self.lasting == other.lasting && self.sum == other.sum && self.expiring <= other.expiring
    }
}

/// A whole server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Census {
    /// By number. The journal's form has no maps by number.
    pub databases: Vec<(u32, Counted)>,
    /// SHA-256 of the functions' libraries with their code.
    functions: String,
}

impl Census {
    /// Of a server of our own, in which nothing changes.
    pub fn take(session: &mut Session) -> Result<Self, Error> {
        let mut databases = Vec::new();
        for number in session.info(&["keyspace"])?.databases().into_keys() {
            databases.push((number, count(session, number, None)?));
        }
        Ok(Self { databases, functions: functions(session)? })
    }

    pub fn of(&self, database: u32) -> Counted {
        let counted = self.databases.iter().find(|(number, _)| *number == database);
        counted.map(|(_, counted)| counted.clone()).unwrap_or_default()
    }

    pub fn facts(&self) -> Facts {
        let mut rows = BTreeMap::new();
        let mut hash = Sha256::new();
        for (number, counted) in &self.databases {
            rows.insert(format!("database {number}"), counted.lasting);
            if counted.expiring > 0 {
                rows.insert(format!("database {number}, keys that expire"), counted.expiring);
            }
            hash.update(number.to_be_bytes());
            counted.sum.iter().for_each(|part| hash.update(part.to_be_bytes()));
        }
        hash.update(&self.functions);
        Facts { rows, schema: hex::encode(hash.finalize()) }
    }
}

/// How many keys there are, from what the server keeps count of.
pub(super) fn sizes(databases: &BTreeMap<u32, Size>) -> Facts {
    let rows = databases.iter().map(|(number, size)| (format!("database {number}"), size.keys));
    Facts { rows: rows.collect(), schema: String::new() }
}

/// Counts a database, but for the key of that name.
pub(super) fn count(session: &mut Session, database: u32, without: Option<&str>) -> Result<Counted, Error> {
    let mut tries = 0;
    loop {
        let size = session.info(&["keyspace"])?.databases().remove(&database);
        let size = size.unwrap_or(Size { keys: 0, expiring: 0 });
        let (counted, passed_over) = read(session, database, size.expiring, without)?;
        tries += 1;
        if counted.lasting + passed_over == size.keys - size.expiring || tries == TRIES {
            return Ok(counted);
        }
    }
}

fn read(session: &mut Session, database: u32, expiring: u64, without: Option<&str>) -> Result<(Counted, u64), Error> {
    let mut counted = Counted { expiring, ..Counted::default() };
    let mut passed_over = 0;
    session.select(database)?;
    let mut cursor = 0_u64;
    loop {
        let (next, keys) = scan(session, cursor)?;
        let questions: Vec<Cmd> =
            keys.iter().flat_map(|key| [cmd("PTTL").arg(key).take(), cmd("TYPE").arg(key).take()]).collect();
        let replies = session.run_all("look at the keys of", &questions)?;
        for (key, reply) in keys.iter().zip(replies.chunks(2)) {
            let [Value::Int(-1), kind] = reply else { continue };
            if without.is_some_and(|name| key == name.as_bytes()) {
                passed_over += 1;
                continue;
            }
            let kind: String = from_redis_value(kind.clone()).unwrap_or_default();
            let mut hash = Sha256::new();
            hash.update(kind.as_bytes());
            hash.update([0]);
            hash.update(key);
            let hash = hash.finalize();
            for (part, bytes) in counted.sum.iter_mut().zip(hash.chunks_exact(8)) {
                let bytes = bytes.try_into().expect("chunks of eight");
                *part = part.wrapping_add(u64::from_be_bytes(bytes));
            }
            counted.lasting += 1;
        }
        cursor = next;
        if cursor == 0 {
            return Ok((counted, passed_over));
        }
    }
}

/// The next keys, and where to go on; 0 at the end.
pub(super) fn scan(session: &mut Session, cursor: u64) -> Result<(u64, Vec<Vec<u8>>), Error> {
    session.ask("look through", cmd("SCAN").arg(cursor).arg("COUNT").arg(STEP))
}

/// Empty where the server knows no functions, or has none.
fn functions(session: &mut Session) -> Result<String, Error> {
    let listed = session.replies("list the functions of", &[cmd("FUNCTION").arg("LIST").arg("WITHCODE").take()])?;
    let Some(Value::Array(libraries)) = listed.into_iter().next() else { return Ok(String::new()) };
    let mut hashes: Vec<[u8; 32]> = libraries
        .iter()
        .map(|library| {
            let mut hash = Sha256::new();
            code_of(library, &mut hash);
            hash.finalize().into()
        })
        .collect();
    if hashes.is_empty() {
        return Ok(String::new());
    }
    hashes.sort_unstable();
    Ok(hex::encode(Sha256::digest(hashes.concat())))
}

/// The value after the name `library_code`.
fn code_of(library: &Value, hash: &mut Sha256) {
    let fields: Vec<(&Value, &Value)> = match library {
        Value::Array(fields) => fields.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect(),
        Value::Map(fields) => fields.iter().map(|(name, value)| (name, value)).collect(),
        _ => Vec::new(),
    };
    for (name, value) in fields {
        if let (Value::BulkString(name), Value::BulkString(code)) = (name, value)
            && name == b"library_code"
        {
            hash.update(code);
        }
    }
}
