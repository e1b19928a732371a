//! A dump in a file, as `pg_restore` reads it: what stands in it, how many rows, and as a script.
//!
//! **Invariant:** what is said of it was read from all of it, with success at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

use crate::domain::manifest::Facts;
use crate::drivers::program::{Running, Said, started};
use crate::drivers::{Error, service};

/// Of a line, what is needed to know what it is: two names of 63 bytes, quoted, and a word.
const START: usize = 600;

/// Belong to the database as a whole, or to the server: they outlive what is emptied.
const REFUSED: [(&str, &str); 7] = [
    ("EVENT TRIGGER ", "event triggers"),
    ("PUBLICATION ", "publications"),
    ("SUBSCRIPTION ", "subscriptions"),
    ("FOREIGN DATA WRAPPER ", "foreign data wrappers"),
    ("SERVER ", "foreign servers"),
    ("PROCEDURAL LANGUAGE ", "languages of its own"),
    ("ACCESS METHOD ", "access methods of its own"),
];

pub(super) struct Archive {
    program: PathBuf,
    file: PathBuf,
}

/// What stands where an archive is loaded, and need not be made.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub extensions: BTreeSet<String>,
    pub schemas: BTreeSet<String>,
    /// Of the schemas those that belong to somebody else.
    pub foreign: BTreeSet<String>,
}

impl Archive {
    pub fn new(program: PathBuf, file: PathBuf) -> Self {
        Self { program, file }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Its table of contents, a line each: `3351; 1259 16397 TABLE public orders shop`.
    pub fn list(&self) -> Result<Vec<String>, Error> {
        let output = self.command().arg("--list").arg(&self.file).output().map_err(started("pg_restore"))?;
        if !output.status.success() {
            let detail = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::ToolFailed { tool: "pg_restore", detail });
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().filter(|line| !line.starts_with(';') && !line.is_empty()).map(str::to_owned).collect())
    }

    /// What of it can't be replaced in one transaction, in words.
    pub fn refused(&self) -> Result<Option<&'static str>, Error> {
        let list = self.list()?;
        let found = list
            .iter()
            .filter_map(|line| what(line))
            .find_map(|what| REFUSED.iter().find(|(kind, _)| what.starts_with(kind)).map(|(_, words)| *words));
        Ok(found)
    }

    /// Extensions that its load makes.
    pub fn extensions(&self) -> Result<Vec<String>, Error> {
        let list = self.list()?;
        let names = list.iter().filter_map(|line| what(line)?.strip_prefix("EXTENSION - "));
        Ok(names.map(|name| name.trim_end().to_owned()).collect())
    }

    /// The script that fills an emptied database, to be read to its end, within a transaction that it does not end.
    ///
    /// # Errors
    /// [`Error::ToolFailed`], also when the archive turns out to be cut.
    pub fn script(&self, standing: &Standing, list: &Path) -> Result<impl Read + use<>, Error> {
        let wanted: Vec<String> = self.list()?.into_iter().filter(|line| standing.lacks(line)).collect();
        fs::write(list, wanted.join("\n") + "\n").map_err(Error::io("write", list))?;
        let mut use_list = std::ffi::OsString::from("--use-list=");
        use_list.push(list);
        let mut command = self.command();
        // Else large objects would come in transactions of their own, which would end ours.
        command.arg(use_list).arg("--single-transaction");
        Ok(Endless { script: Script::start(command, &self.file)?, held: Vec::new(), ended: false })
    }

    /// Whether the rows that it holds are those that were recorded, and whether it is whole.
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::ToolFailed`]: also of a program whose scripts could make `psql` run commands on this
    /// machine, by names that somebody chose for that (CVE-2025-8714).
    pub fn compare(&self, expected: &Facts) -> Result<(), Error> {
        let mut command = self.command();
        command.arg("--data-only");
        let mut script = Script::start(command, &self.file)?;
        let counted = count(&mut BufReader::with_capacity(256 * 1024, &mut script)).map_err(|error| match error {
            error if error.kind() == io::ErrorKind::Other => script_failed(&error),
            error => Error::Input(error),
        })?;
        let Counted { rows: counted, guarded } = counted;
        if !guarded {
            let detail =
                "its scripts are not safe to be read by psql (CVE-2025-8714): update the package postgresql-client";
            return Err(Error::ToolFailed { tool: "pg_restore", detail: detail.to_owned() });
        }
        let mut found = expected.clone();
        for (table, rows) in &mut found.rows {
            // Large objects are no rows of an archive, and an empty table may not be in it.
            if table != super::survey::LARGE_OBJECTS {
                *rows = counted.get(table).copied().unwrap_or(0);
            }
        }
        service::compare(&found, expected)
    }
}

fn script_failed(error: &io::Error) -> Error {
    Error::ToolFailed { tool: "pg_restore", detail: error.to_string() }
}

/// What an entry is, and of which name: `TABLE public orders shop`.
fn what(line: &str) -> Option<&str> {
    line.split_once("; ")?.1.splitn(3, ' ').nth(2)
}

impl Standing {
    fn lacks(&self, line: &str) -> bool {
        let Some(what) = what(line) else { return false };
        let is = |start: &str, names: &BTreeSet<String>| {
            let Some(rest) = what.strip_prefix(start) else { return false };
            names.iter().any(|name| {
                let quoted = super::session::ident(name);
                [name.as_str(), quoted.as_str()]
                    .iter()
                    .any(|name| rest.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')))
            })
        };
        !(is("EXTENSION - ", &self.extensions)
            || is("COMMENT - EXTENSION ", &self.extensions)
            || is("SCHEMA - ", &self.schemas)
            || is("COMMENT - SCHEMA ", &self.foreign)
            || is("ACL - SCHEMA ", &self.foreign))
    }
}

/// A script while `pg_restore` writes it. Its end is one only when that ended with success.
pub(super) struct Script {
    output: ChildStdout,
    child: Running,
    said: Option<Said>,
}

impl Script {
    fn start(mut command: Command, file: &Path) -> Result<Self, Error> {
        command.arg("--file=-").arg(file);
        let mut child = Running(command.spawn().map_err(started("pg_restore"))?);
        let said = Said::listen(&mut child.0).map_err(started("pg_restore"))?;
        let output = child.0.stdout.take().ok_or(io::ErrorKind::BrokenPipe.into()).map_err(started("pg_restore"))?;
        Ok(Self { output, child, said: Some(said) })
    }
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.output.read(buffer)?;
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        let status = self.child.0.wait()?;
        if status.success() {
            return Ok(0);
        }
        let said = self.said.take().map(Said::words).unwrap_or_default();
        Err(io::Error::other(format!("{said} ({status})")))
    }
}

/// A script in one transaction without the command that ends it, the last that stands in it.
struct Endless<R> {
    script: R,
    held: Vec<u8>,
    ended: bool,
}

/// More than comes behind that command.
const END: usize = 4096;

impl<R: Read> Read for Endless<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.ended && self.held.len() <= END {
            let before = self.held.len();
            let read = self.script.by_ref().take(64 * 1024).read_to_end(&mut self.held)?;
            if read == 0 {
                self.ended = true;
                let end = self.held[..before].windows(9).rposition(|line| line == b"\nCOMMIT;\n");
                let end = end.ok_or_else(|| io::Error::other("its script does not end as it should"))?;
                self.held.drain(end + 1..end + 9);
            }
        }
        let free = if self.ended { self.held.len() } else { self.held.len() - END };
        let given = free.min(buffer.len());
        buffer[..given].copy_from_slice(&self.held[..given]);
        self.held.drain(..given);
        Ok(given)
    }
}

/// What a script that holds data only says.
#[derive(Debug, Default)]
struct Counted {
    /// By table.
    rows: BTreeMap<String, u64>,
    /// From its first command on, `psql` runs nothing that is not SQL.
    guarded: bool,
}

/// Takes no more memory for long rows.
fn count(script: &mut dyn BufRead) -> io::Result<Counted> {
    let mut counted = Counted::default();
    let mut is_first = true;
    let mut copying: Option<(String, u64)> = None;
    let mut start = Vec::with_capacity(START);
    loop {
        let chunk = script.fill_buf()?;
        if chunk.is_empty() {
            return Ok(counted);
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let line = &chunk[..end.unwrap_or(chunk.len())];
        start.extend_from_slice(&line[..line.len().min(START - start.len())]);
        let used = end.map_or(chunk.len(), |end| end + 1);
        if end.is_some() {
            match &mut copying {
                Some(_) if start == b"\\." => counted.rows.extend(copying.take()),
                Some((_, rows)) => *rows += 1,
                None => {
                    if is_first && !start.is_empty() && !start.starts_with(b"--") {
                        (is_first, counted.guarded) = (false, start.starts_with(b"\\restrict "));
                    }
                    copying = copied(&start).map(|table| (table, 0));
                }
            }
            start.clear();
        }
        script.consume(used);
    }
}

/// `COPY public."Odd name" (id) FROM stdin;`
fn copied(line: &[u8]) -> Option<String> {
    let rest = line.strip_prefix(b"COPY ")?;
    let mut quoted = false;
    let end = rest.iter().position(|byte| {
        quoted ^= *byte == b'"';
        *byte == b' ' && !quoted
    })?;
    String::from_utf8(rest[..end].to_vec()).ok()
}

/// Writes durably: what is said of it afterwards stays true.
pub(super) fn put(path: &Path, write: impl FnOnce(&mut File) -> Result<(), Error>) -> Result<(), Error> {
    let unfinished = path.with_extension("part");
    let mut file = File::create(&unfinished).map_err(Error::io("make", &unfinished))?;
    write(&mut file)?;
    file.flush().and_then(|()| file.sync_all()).map_err(Error::io("write", &unfinished))?;
    fs::rename(&unfinished, path).map_err(Error::io("make", path))?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(Error::io("write", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_by_table_whatever_they_hold() {
        let script = "SET x = 1;\nCOPY public.orders (id, text) FROM stdin;\n1\tCOPY public.fake (a) FROM stdin;\n2\t\\\\.\n\\.\n\n\
                      COPY \"Odd \"\" schema\".\"Tab'le ()\" (id) FROM stdin;\n\n\\.\nCOPY public.empty (n) FROM stdin;\n\\.\n\
                      SELECT pg_catalog.setval('public.s', 7, true);\n";
        let long = script.replace("1\t", &format!("1\t{}", "x".repeat(100_000)));
        for text in [script, &long] {
            let Counted { rows, guarded } =
                count(&mut BufReader::with_capacity(7, text.as_bytes())).expect("it is read");
            assert!(!guarded);
            let rows: Vec<(String, u64)> = rows.into_iter().collect();
            let expected = [("\"Odd \"\" schema\".\"Tab'le ()\"", 1), ("public.empty", 0), ("public.orders", 2)];
            assert_eq!(rows, expected.map(|(name, rows)| (name.to_owned(), rows)));
        }
    }

    #[test]
    fn of_a_script_only_the_command_that_ends_it_is_left_out() {
        for rows in [0, 1, 300, 100_000] {
            let body = "one\nCOMMIT;\ntwo\n".repeat(rows);
            let script = format!("BEGIN;\n{body}\nCOMMIT;\n\n-- complete\n\\unrestrict abc\n");
            let mut read = String::new();
            let mut endless = Endless { script: script.as_bytes(), held: Vec::new(), ended: false };
            endless.read_to_string(&mut read).expect("it ends as it should");
            assert!(read == format!("BEGIN;\n{body}\n\n-- complete\n\\unrestrict abc\n"), "{rows}");
        }
        let mut cut = Endless { script: "BEGIN;\none\n".as_bytes(), held: Vec::new(), ended: false };
        assert!(cut.read_to_string(&mut String::new()).is_err());
    }

    #[test]
    fn a_script_is_guarded_from_its_first_command_on_or_not_at_all() {
        for (script, guarded) in [
            ("--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\nSET x = 1;\n", true),
            ("--\n-- PostgreSQL database dump\n--\n\nSET x = 1;\n\\restrict abc\n", false),
            ("", false),
        ] {
            assert_eq!(count(&mut script.as_bytes()).expect("it is read").guarded, guarded, "{script}");
        }
    }

    #[test]
    fn what_stands_already_is_not_made_again() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let standing = Standing {
            extensions: set(&["hstore", "uuid-ossp"]),
            schemas: set(&["public"]),
            foreign: set(&["public"]),
        };
        for (line, lacks) in [
            ("3; 3079 16384 EXTENSION - hstore ", false),
            ("3; 3079 16384 EXTENSION - hstore_plus ", true),
            ("3352; 0 0 COMMENT - EXTENSION \"uuid-ossp\" ", false),
            ("5; 2615 2200 SCHEMA - public pg_database_owner", false),
            ("6; 2615 2201 SCHEMA - public2 shop", true),
            ("3353; 0 0 ACL - SCHEMA public pg_database_owner", false),
            ("215; 1259 16385 TABLE public EXTENSION - hstore shop", true),
        ] {
            assert_eq!(standing.lacks(line), lacks, "{line}");
        }
    }
}
