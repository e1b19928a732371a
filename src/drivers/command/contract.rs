//! The contract with a program that is a service (docs/commands.md): its words, their limits, and what it answers.
//!
//! **Invariant:** a set of data beside the live one has a name that we chose: whatever dies, it can be asked for again.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::process::Process;
use super::{ANSWER, stream};
use crate::domain::Bytes;
use crate::domain::environment::CommandLine;
use crate::domain::manifest::Facts;
use crate::drivers::Error;
use crate::drivers::service::{BACK, Position, SWAP, Tested};

/// For short questions outside of a hold.
const ASKED: Duration = Duration::from_secs(30);
/// In the hold, twice.
const POSITION: Duration = Duration::from_secs(2);
const READY: Duration = Duration::from_secs(10 * 60);
const DISCARD: Duration = Duration::from_secs(10 * 60);
/// For what grows with the data: so long it may take to count, or not move in a dump or a load.
const LONG: Duration = Duration::from_secs(60 * 60);

/// A position is shown and compared, not stored for long.
const POSITION_LETTERS: usize = 1_000;

/// A set of data beside the live one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Name(String);

impl Name {
    /// Of a view: the same for the same scratch directory.
    pub fn view(scratch: &Path) -> Self {
        Self(format!("view-{}", hash(scratch)))
    }

    /// Of a view that has none.
    pub fn random_view() -> Self {
        Self(format!("view-{}", hex::encode(rand::random::<[u8; 12]>())))
    }

    /// What a restore loads, and what it will set aside.
    pub fn swap(scratch: &Path) -> (Self, Self) {
        let hash = hash(scratch);
        (Self(format!("new-{hash}")), Self(format!("old-{hash}")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn hash(scratch: &Path) -> String {
    hex::encode(&Sha256::digest(scratch.as_os_str().as_bytes())[..12])
}

#[derive(Deserialize)]
struct TestAnswer {
    version: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    limits: Vec<String>,
}

#[derive(Deserialize)]
struct OpenAnswer {
    position: String,
}

#[derive(Deserialize)]
struct FactsAnswer {
    rows: BTreeMap<String, u64>,
    #[serde(default)]
    schema: String,
}

/// Whom nobody cancels.
pub(super) fn never() -> bool {
    false
}

/// The program's words.
#[derive(Debug, Clone)]
pub(super) struct Program(pub CommandLine);

impl Program {
    pub fn test(&self) -> Result<Tested, Error> {
        let answer: TestAnswer = self.json(&["test"], ASKED, &never)?;
        Ok(Tested { version: answer.version, size: Bytes(answer.size), limits: answer.limits })
    }

    pub fn position(&self) -> Result<Position, Error> {
        let words = ["position"];
        let answer = self.ask(&words, POSITION, &never)?;
        self.positioned(&words, &String::from_utf8_lossy(&answer))
    }

    fn positioned(&self, words: &[&str], text: &str) -> Result<Position, Error> {
        let text = text.trim();
        let why = match text {
            "" => "a position is needed: one line that changes whenever something is written",
            _ if text.contains('\n') => "a position is one line",
            _ if text.chars().count() > POSITION_LETTERS => "a position has 1,000 letters at most",
            _ => return Ok(Position::new(text.to_owned())),
        };
        Err(self.unusable(words, why.to_owned()))
    }

    pub fn ready(&self, view: &Name, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        self.ask(&["ready", view.as_str()], READY, cancelled).map(drop)
    }

    pub fn open(&self, view: &Name, within: Duration) -> Result<Position, Error> {
        let words = ["open", view.as_str()];
        let answer: OpenAnswer = self.json(&words, within, &never)?;
        self.positioned(&words, &answer.position)
    }

    pub fn facts(&self, of: &Name) -> Result<Facts, Error> {
        self.counted(of.as_str(), LONG)
    }

    pub fn facts_of_live(&self, within: Duration) -> Result<Facts, Error> {
        self.counted("live", within)
    }

    fn counted(&self, of: &str, within: Duration) -> Result<Facts, Error> {
        let answer: FactsAnswer = self.json(&["facts", of], within, &never)?;
        Ok(Facts { rows: answer.rows, schema: hex::encode(Sha256::digest(answer.schema)) })
    }

    pub fn dump(&self, of: &Name, out: &mut dyn Write, cancelled: &dyn Fn() -> bool) -> Result<u64, Error> {
        stream::pour(Process::start(&self.0, &["dump", of.as_str()])?, out, LONG, cancelled)
    }

    pub fn load(&self, new: &Name, dump: &mut dyn Read) -> Result<(), Error> {
        stream::load(Process::start(&self.0, &["load", new.as_str()])?, dump, LONG)
    }

    pub fn prepare(&self, new: &Name, old: &Name) -> Result<(), Error> {
        self.ask(&["prepare", new.as_str(), old.as_str()], SWAP, &never).map(drop)
    }

    pub fn commit(&self, new: &Name, old: &Name) -> Result<(), Error> {
        self.ask(&["commit", new.as_str(), old.as_str()], SWAP, &never).map(drop)
    }

    pub fn roll_back(&self, new: &Name, old: &Name) -> Result<(), Error> {
        self.ask(&["roll-back", new.as_str(), old.as_str()], BACK, &never).map(drop)
    }

    pub fn discard(&self, name: &Name) -> Result<(), Error> {
        self.ask(&["discard", name.as_str()], DISCARD, &never).map(drop)
    }

    pub fn provision(&self) -> Result<(), Error> {
        self.ask(&["provision"], READY, &never).map(drop)
    }

    pub fn remove(&self) -> Result<(), Error> {
        self.ask(&["remove"], DISCARD, &never).map(drop)
    }

    fn ask(&self, words: &[&str], within: Duration, cancelled: &dyn Fn() -> bool) -> Result<Vec<u8>, Error> {
        let mut process = Process::start(&self.0, words)?;
        process.feed(Vec::new());
        process.answer(ANSWER, within, cancelled)
    }

    fn json<T: serde::de::DeserializeOwned>(
        &self,
        words: &[&str],
        within: Duration,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<T, Error> {
        let answer = self.ask(words, within, cancelled)?;
        serde_json::from_slice(&answer).map_err(|error| self.unusable(words, error.to_string()))
    }

    fn unusable(&self, words: &[&str], why: String) -> Error {
        Error::CommandAnswer { command: format!("{} {}", self.0, words.join(" ")), why }
    }
}
