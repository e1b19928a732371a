//! The database's own programs, `pg_dump` and `pg_restore`: found, started, watched.
//!
//! **Invariant:** the password goes to them in their environment, never among their arguments, which every user of the
//! machine can read. A stream counts as whole only when its program ended with success.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::session::Address;
use crate::drivers::Error;
use crate::drivers::program::{Said, feed, started, widen};

/// How often a wish to cancel is looked for while the program is silent.
const LOOK: Duration = Duration::from_millis(100);
/// What a view holds others may wait for; who waits must not be waited for.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(10);
const CHUNK: usize = 256 * 1024;
/// Where less than that was waiting, more is let come for so long: as much as fits into the pipe at 2 GB/s.
const SIP: usize = 64 * 1024;
const NAP: Duration = Duration::from_micros(500);
/// Chunks in flight between the program and who takes them.
const CHUNKS: usize = 4;

/// Where the programs are looked for.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    pub places: Vec<PathBuf>,
}

impl Tools {
    /// Where packages put them, then the search path: Debian's there is a script that asks for a cluster's name.
    pub fn installed() -> Self {
        let below = |directory: &str, tail: &str| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            entries.map(|entry| entry.path().join(tail)).collect()
        };
        let mut places = below("/usr/lib/postgresql", "bin");
        places.extend(below("/usr", "bin").into_iter().filter(|path| path.to_string_lossy().contains("/pgsql-")));
        places.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
        Self { places }
    }

    /// The program of the server's own version, else of the next newer one: an older `pg_dump` refuses to read a newer
    /// server, and a newer `pg_restore` sets what an older server does not know.
    ///
    /// # Errors
    /// [`Error::ToolMissing`], [`Error::ToolTooOld`].
    pub fn find(&self, tool: &'static str, server: u32) -> Result<PathBuf, Error> {
        let package = format!("postgresql-client-{server}");
        let mut found: Vec<(u32, PathBuf)> = Vec::new();
        for program in self.places.iter().map(|place| place.join(tool)) {
            match major(&program) {
                // Others need not be asked, which takes Debian's script a twentieth of a second.
                Some(version) if version == server => return Ok(program),
                Some(version) => found.push((version, program)),
                None => {}
            }
        }
        let fitting = found.iter().filter(|(version, _)| *version >= server).min_by_key(|(version, _)| *version);
        match (fitting, found.iter().map(|(version, _)| *version).max()) {
            (Some((_, program)), _) => Ok(program.clone()),
            (None, Some(newest)) => Err(Error::ToolTooOld { tool, found: newest, server, package }),
            (None, None) => Err(Error::ToolMissing { tool, package }),
        }
    }
}

/// `pg_dump (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)`
fn major(program: &Path) -> Option<u32> {
    if !program.is_file() {
        return None;
    }
    let output = Command::new(program).arg("--version").env("LC_ALL", "C").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_once(") ")?.1;
    version.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

pub(super) fn command(program: &Path, address: &Address) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    command
        .env("PGHOST", &address.host)
        .env("PGPORT", address.port.to_string())
        .env("PGUSER", &address.user)
        .env("PGPASSFILE", "/dev/null")
        .env("PGCONNECT_TIMEOUT", "10")
        .env("PGAPPNAME", "stillpoint")
        .env("LC_ALL", "C")
        .stderr(Stdio::piped());
    if !address.password.reveal().is_empty() {
        command.env("PGPASSWORD", address.password.reveal());
    }
    // A bare name that looks like an address would be taken for one.
    let name = address.database.replace('\\', "\\\\").replace('\'', "\\'");
    command.arg("--no-password").arg(format!("--dbname=dbname='{name}'"));
    command
}

/// A running `pg_dump`. Dropping it ends it.
pub(super) struct Dump {
    child: Child,
    said: Option<Said>,
    reader: Option<JoinHandle<io::Result<()>>>,
    chunks: Receiver<Vec<u8>>,
    /// Has arrived and was not handed on yet.
    first: Option<Vec<u8>>,
}

impl Dump {
    /// Dumps what the exported snapshot shows. Uncompressed: the repository compresses, and finds again what it has.
    pub fn start(program: &Path, address: &Address, snapshot: &str) -> Result<Self, Error> {
        let mut command = command(program, address);
        command.args(["--format=custom", "--compress=0", "--no-subscriptions"]);
        command.arg(format!("--lock-wait-timeout={}s", LOCK_WAIT.as_secs()));
        command.arg(format!("--snapshot={snapshot}")).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(started("pg_dump"))?;
        let (sender, chunks) = sync_channel(CHUNKS);
        let stdout = child.stdout.take();
        let reading = move || match stdout {
            Some(stdout) => pass_on(stdout, |chunk| sender.send(chunk).is_ok()),
            None => Ok(()),
        };
        let said = Said::listen(&mut child).map_err(started("pg_dump"));
        let reader = std::thread::Builder::new().name("pg_dump".to_owned()).spawn(reading);
        let mut dump = Self { child, said: None, reader: None, chunks, first: None };
        // From here on the child ends with the value.
        dump.said = Some(said?);
        dump.reader = Some(reader.map_err(started("pg_dump"))?);
        Ok(dump)
    }

    /// Waits for its first bytes: it writes none before it has locked everything that it will read.
    pub fn begun(&mut self, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        if self.first.is_none() {
            self.first = self.next(cancelled)?;
        }
        Ok(())
    }

    /// `None` at its end, with success.
    pub fn next(&mut self, cancelled: &dyn Fn() -> bool) -> Result<Option<Vec<u8>>, Error> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            match self.chunks.recv_timeout(LOOK) {
                Ok(chunk) => return Ok(Some(chunk)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.end().map(|()| None),
            }
        }
    }

    fn end(&mut self) -> Result<(), Error> {
        let read = self.reader.take().map_or(Ok(()), |reader| reader.join().unwrap_or(Ok(())));
        let status = self.child.wait().map_err(started("pg_dump"))?;
        let said = self.said.take().map(Said::words).unwrap_or_default();
        match read {
            Ok(()) if status.success() => Ok(()),
            Ok(()) => Err(Error::ToolFailed { tool: "pg_dump", detail: format!("{said} ({status})") }),
            Err(error) => Err(Error::ToolFailed { tool: "pg_dump", detail: format!("its output broke off: {error}") }),
        }
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `pg_dump` writes 4 KiB at a time: a thread that took each of them would cost as much as the dump itself.
fn pass_on(mut from: ChildStdout, mut take: impl FnMut(Vec<u8>) -> bool) -> io::Result<()> {
    widen(&from);
    loop {
        let mut chunk = vec![0; CHUNK];
        let mut filled = 0;
        while filled < CHUNK {
            match from.read(&mut chunk[filled..]) {
                Ok(0) => {
                    chunk.truncate(filled);
                    // Nothing follows, whoever takes it.
                    let _ = filled > 0 && take(chunk);
                    return Ok(());
                }
                Ok(read) => {
                    filled += read;
                    if read < SIP {
                        std::thread::sleep(NAP);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if !take(chunk) {
            return Ok(());
        }
    }
}

/// Loads a dump into the (empty) database of the address; the first thing that fails ends it.
pub(super) fn restore(program: &Path, address: &Address, dump: &mut dyn Read) -> Result<(), Error> {
    let mut command = command(program, address);
    command.args(["--format=custom", "--exit-on-error"]).stdin(Stdio::piped()).stdout(Stdio::null());
    feed("pg_restore", command.spawn().map_err(started("pg_restore"))?, dump)
}
