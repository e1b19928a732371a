//! The server's own client, `mariadb` or `mysql`, which loads dumps: found, started, fed.
//!
//! **Invariant:** the password goes to it in its environment, never among its arguments, which every user of the machine
//! can read. A dump counts as whole only when its last line came and the client ended with success.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::dump::{END, EVENTS};
use super::session::Address;
use crate::drivers::Error;
use crate::drivers::program::{feed, started};

/// Where the client is looked for.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    pub places: Vec<PathBuf>,
}

impl Tools {
    pub fn installed() -> Self {
        Self { places: std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect() }
    }

    /// The client of the server's own kind, else the other one: both speak to both.
    ///
    /// # Errors
    /// [`Error::ToolMissing`].
    pub fn find(&self, mariadb: bool) -> Result<(&'static str, PathBuf), Error> {
        let (names, package) = match mariadb {
            true => (["mariadb", "mysql"], "mariadb-client"),
            false => (["mysql", "mariadb"], "mysql-client"),
        };
        let places = names.into_iter().flat_map(|name| self.places.iter().map(move |place| (name, place.join(name))));
        let found = places.into_iter().find(|(_, program)| works(program));
        found.ok_or_else(|| Error::ToolMissing { tool: names[0], package: package.to_owned() })
    }
}

fn works(program: &Path) -> bool {
    let asked = || {
        Command::new(program).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    program.is_file() && asked().is_ok_and(|status| status.success())
}

/// Loads a dump into the (empty) database of the address, without its events' being enabled; gives the names of those that
/// were. The first thing that fails ends it.
pub(super) fn load(
    (tool, program): (&'static str, PathBuf),
    address: &Address,
    dump: &mut dyn Read,
) -> Result<Vec<String>, Error> {
    let mut command = Command::new(&program);
    // Options of this machine's users are none of ours; no character but a quote is taken for more than it is, and
    // what is written into triggers and routines stays.
    command.args(["--no-defaults", "--batch", "--binary-mode", "--comments", "--default-character-set=utf8mb4"]);
    command.arg("--max-allowed-packet=1073741824");
    match address.is_socket() {
        true => command.arg("--protocol=socket").arg(format!("--socket={}", address.host)),
        false => {
            command.args(["--protocol=tcp", &format!("--host={}", address.host), &format!("--port={}", address.port)])
        }
    };
    command.arg(format!("--user={}", address.user)).arg(format!("--database={}", address.database));
    command.env_remove("MYSQL_PWD").env_remove("MYSQL_HOST").env_remove("MYSQL_TCP_PORT").env_remove("MYSQL_UNIX_PORT");
    if !address.password.reveal().is_empty() {
        command.env("MYSQL_PWD", address.password.reveal());
    }
    command.env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut whole = Whole::new(dump);
    feed(tool, command.spawn().map_err(started(tool))?, &mut whole)?;
    whole.events()
}

/// Hands on a dump up to where its events run, and sees whether its end came.
struct Whole<'a> {
    dump: &'a mut dyn Read,
    /// Came, and was not handed on.
    buffer: Vec<u8>,
    /// Of it, known to be no beginning of the end.
    clear: usize,
    ended: bool,
    rest: Vec<u8>,
}

const CHUNK: usize = 256 * 1024;

impl<'a> Whole<'a> {
    fn new(dump: &'a mut dyn Read) -> Self {
        Self { dump, buffer: Vec::with_capacity(2 * CHUNK), clear: 0, ended: false, rest: Vec::new() }
    }

    /// Reads on, and looks for the line.
    fn fill(&mut self) -> io::Result<()> {
        let had = self.buffer.len();
        self.buffer.resize(had + CHUNK, 0);
        let read = self.dump.read(&mut self.buffer[had..]);
        self.buffer.truncate(had + *read.as_ref().unwrap_or(&0));
        if read? == 0 {
            (self.clear, self.ended) = (had, true);
            return Ok(());
        }
        let line = format!("\n{EVENTS}\n");
        let from = had.saturating_sub(line.len());
        match find(&self.buffer[from..], line.as_bytes()) {
            Some(at) => {
                self.rest = self.buffer.split_off(from + at + line.len());
                self.dump.read_to_end(&mut self.rest)?;
                (self.clear, self.ended) = (self.buffer.len(), true);
            }
            None => self.clear = self.buffer.len().saturating_sub(line.len()),
        }
        Ok(())
    }

    /// After its end.
    fn events(mut self) -> Result<Vec<String>, Error> {
        // What the client left unread, if it did.
        io::copy(&mut self, &mut io::sink()).map_err(Error::Input)?;
        let text = String::from_utf8_lossy(&self.rest);
        let Some(commands) = text.strip_suffix(&format!("{END}\n")) else {
            let why = "the dump ends before its last line: it is not whole";
            return Err(Error::Input(io::Error::new(io::ErrorKind::UnexpectedEof, why)));
        };
        let commands = commands.split_terminator(" ENABLE;\n").filter_map(|text| text.strip_prefix("ALTER EVENT `"));
        let names = commands.filter_map(|name| name.strip_suffix('`'));
        Ok(names.map(|name| name.replace("``", "`")).collect())
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|byte| *byte == wanted[0]) {
        if text[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

impl Read for Whole<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.clear == 0 && !self.ended {
            self.fill()?;
        }
        let length = self.clear.min(into.len());
        into[..length].copy_from_slice(&self.buffer[..length]);
        self.buffer.drain(..length);
        self.clear -= length;
        Ok(length)
    }
}
