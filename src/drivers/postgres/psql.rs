//! A conversation with the database through `psql`, which understands what `pg_restore` writes: one session, one
//! transaction, into which commands and whole loads are said.
//!
//! **Invariant:** the transaction ends with success only by [`Talk::commit`]. A conversation that breaks off, by an error,
//! by being dropped or with the process, ends without: its input ends before the word was said.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};

use super::session::Address;
use super::{survey, tools};
use crate::domain::manifest::Facts;
use crate::drivers::Error;
use crate::drivers::program::{Running, Said, started};

const CHUNK: usize = 256 * 1024;

pub(super) struct Talk {
    // Before the child: it ends when its input does.
    input: ChildStdin,
    child: Running,
    lines: Receiver<String>,
    said: Option<Said>,
    turn: u32,
}

impl std::fmt::Debug for Talk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Talk").field("turn", &self.turn).finish_non_exhaustive()
    }
}

/// As [`Address::open`] does: what is set for the role or the database must not end or hide anything here.
const BEGIN: &str = "SET client_min_messages = error; SET client_encoding = 'UTF8';
DO $$BEGIN PERFORM set_config(name, '0', false) FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout',
  'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout'); END$$;
SET search_path = pg_catalog; SET row_security = off; SET synchronous_commit = on; BEGIN";

impl Talk {
    /// Opens a session, and a transaction in it.
    pub fn begin(psql: &Path, address: &Address) -> Result<Self, Error> {
        let mut command = tools::command(psql, address);
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Running(command.spawn().map_err(started("psql"))?);
        let said = Said::listen(&mut child.0).map_err(started("psql"))?;
        let pipes = child.0.stdin.take().zip(child.0.stdout.take());
        let (input, output) = pipes.ok_or(io::ErrorKind::BrokenPipe.into()).map_err(started("psql"))?;
        let (sender, lines) = channel();
        let reading = move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("psql".to_owned()).spawn(reading).map_err(started("psql"))?;
        let mut talk = Self { input, child, lines, said: Some(said), turn: 0 };
        talk.ask(BEGIN)?;
        Ok(talk)
    }

    /// Says commands (without the last semicolon), waits until all are done, and gives what they print, line by line.
    ///
    /// # Errors
    /// [`Error::ToolFailed`] with the server's words: then nothing of the transaction remains.
    pub fn ask(&mut self, sql: &str) -> Result<Vec<String>, Error> {
        self.turn += 1;
        // Nothing else is printed that begins like this: rows are hexadecimal, numbers or names of ours.
        let end = format!("stillpoint, turn {}", self.turn);
        if write!(self.input, "{sql};\n\\echo {end}\n").and_then(|()| self.input.flush()).is_err() {
            return Err(self.broken());
        }
        let mut printed = Vec::new();
        loop {
            match self.lines.recv() {
                Ok(line) if line == end => return Ok(printed),
                Ok(line) => printed.push(line),
                Err(_) => return Err(self.broken()),
            }
        }
    }

    /// Says a script. What it prints is lost.
    ///
    /// # Errors
    /// [`Error::Input`] when it can't be read; the server's refusal may come as late as at the next [`Self::ask`].
    pub fn feed(&mut self, script: &mut dyn Read) -> Result<(), Error> {
        let mut buffer = vec![0; CHUNK];
        loop {
            match script.read(&mut buffer) {
                Ok(0) => return self.ask("SELECT").map(drop),
                Ok(read) if self.input.write_all(&buffer[..read]).is_err() => return Err(self.broken()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Input(error)),
            }
        }
    }

    /// # Errors
    /// As [`Self::ask`]; whether it was done is then known by the server alone.
    pub fn commit(mut self) -> Result<(), Error> {
        self.ask("COMMIT").map(drop)
    }

    /// As [`survey::facts`] counts, from within the transaction.
    pub fn facts(&mut self) -> Result<Facts, Error> {
        let broken = |what: &str| Error::ToolFailed { tool: "psql", detail: format!("it answered `{what}`") };
        let texts = |lines: Vec<String>| {
            let text =
                |line: String| hex::decode(&line).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(line);
            lines.into_iter().map(text).collect::<Result<Vec<String>, String>>()
        };
        let hexadecimal =
            |query: &str| format!("SELECT encode(convert_to(line, 'UTF8'), 'hex') FROM ({query}) AS said(line)");
        self.ask("SET client_encoding = 'UTF8'")?;
        let tables = texts(self.ask(&hexadecimal(&survey::counted()))?).map_err(|line| broken(&line))?;
        let mut facts = Facts::default();
        for table in tables {
            let rows = self.ask(&format!("SELECT count(*) FROM ONLY {table}"))?;
            facts.rows.insert(table, rows.first().and_then(|rows| rows.parse().ok()).ok_or_else(|| broken("nothing"))?);
        }
        let objects = self.ask("SELECT count(*) FROM pg_largeobject_metadata")?;
        match objects.first().and_then(|objects| objects.parse().ok()) {
            Some(0) => {}
            Some(objects) => drop(facts.rows.insert(survey::LARGE_OBJECTS.to_owned(), objects)),
            None => return Err(broken("nothing")),
        }
        let lines = texts(self.ask(&hexadecimal(include_str!("schema.sql")))?).map_err(|line| broken(&line))?;
        facts.schema = survey::checksum(lines);
        Ok(facts)
    }

    fn broken(&mut self) -> Error {
        let status = self.child.0.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let said = self.said.take().map(Said::words).unwrap_or_default();
        Error::ToolFailed { tool: "psql", detail: format!("{said} ({status})") }
    }
}
