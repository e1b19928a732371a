//! `db:dump`: a service's dump as a file, or on stdout.
//!
//! **Invariant:** a file stands under its name only when it is complete; nothing else is ever written over it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::arguments::DbDump;
use super::confirm::{Stake, confirm};
use super::error::Error;
use super::flags::AnswerFlags;
use super::session::{Place, Session};
use super::talk::{Interrupt, Talk};
use crate::domain::Bytes;
use crate::domain::dump::{self, Compression, Form};
use crate::domain::time::Timestamp;
use crate::wire::Service;
use crate::wire::client::{Download, DumpOf};

const CHUNK: usize = 256 * 1024;
/// Chunks between the connection and the file.
const AHEAD: usize = 8;
/// How long Ctrl-C may go unnoticed.
const SLICE: Duration = Duration::from_millis(50);
/// How often a terminal is told how far it is.
const TELL: Duration = Duration::from_millis(200);

pub fn run(command: &DbDump, answer: &AnswerFlags, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    whole_services_only(command)?;
    let place = session.place(&command.place)?;
    let (project, environment) = (&place.project, &place.environment);
    let found = session.ask(project, |client| client.services(project, environment, command.snapshot.as_ref()))?;
    let service = chosen(command, &place, found)?;
    let compression = if command.gzip { Compression::Gzip } else { Compression::None };
    let of = DumpOf { service: &service.name, snapshot: command.snapshot.as_ref(), compression };
    // Before anything is read: an answer of no costs nobody anything.
    let asked = command.file.as_deref().map(|file| path(command, file));
    if let Some(file) = &asked {
        may_stand(file, answer, talk)?;
    }
    let download = session.ask(project, |client| client.dump(project, environment, &of))?;
    match &command.snapshot {
        Some(snapshot) => talk.say(&format!("Reading {} in the snapshot {snapshot} of {environment}", service.name)),
        None => talk.say(&format!("Reading {} in {environment} as it is now", service.name)),
    }
    if command.stdout {
        Chunks::of(download)?.pass_on(&mut *talk.out, None, |_| {})?;
        return Ok(talk.out.flush()?);
    }
    let file = match asked {
        Some(file) => file,
        None => {
            let named = download.file_name.clone().filter(|name| dump::is_file_name(name));
            let extension = Form::of(&service.kind).map_or("dump", |form| form.extension);
            let or = || format!("{environment}--{}.{extension}", service.name);
            let file = path(command, Path::new(&named.unwrap_or_else(or)));
            may_stand(&file, answer, talk)?;
            file
        }
    };
    let bytes = save(download, &file, talk)?;
    let shown = file.display().to_string();
    talk.say(&format!("The dump is complete: {bytes}"));
    if let Some(form) = Form::of(&service.kind) {
        talk.say(&format!("It is {}. To load it: {}", form.what, form.load(&shown, compression)));
    }
    talk.answer(&shown)
}

/// What the hosted product can leave out of a dump.
fn whole_services_only(command: &DbDump) -> Result<(), Error> {
    let flags = [
        ("--table", !command.table.is_empty()),
        ("--exclude-table", !command.exclude_table.is_empty()),
        ("--schema", command.schema.is_some()),
        ("--schema-only", command.schema_only),
    ];
    match flags.into_iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Error::Usage(format!(
            "{flag} is not available: a dump holds a whole service. Leave it out, and choose when you load the dump \
             (pg_restore has --table, --schema and --schema-only)"
        ))),
        None => Ok(()),
    }
}

/// Which service is meant is never guessed.
fn chosen(command: &DbDump, place: &Place, mut found: Vec<Service>) -> Result<Service, Error> {
    let of = match &command.snapshot {
        Some(snapshot) => format!("the snapshot {snapshot}"),
        None => format!("the environment {}", place.environment),
    };
    let names: Vec<String> = found.iter().map(|service| format!("{} ({})", service.name, service.kind)).collect();
    let there_are = format!("There are: {}.", names.join(", "));
    match &command.service {
        Some(name) => match found.into_iter().find(|service| service.name == *name) {
            Some(service) => Ok(service),
            None if names.is_empty() => Err(Error::Empty(format!("There is no service in {of}"))),
            None => {
                let message = format!("There is no service {name} in {of}");
                Err(Error::Refused { message, hint: Some(there_are) })
            }
        },
        None => match found.len() {
            0 => Err(Error::Empty(format!("There is no service in {of}"))),
            1 => Ok(found.remove(0)),
            _ => {
                let message = format!("it is not clear which service of {of} is meant");
                Err(Error::Configuration { message, hint: format!("Give --service NAME. {there_are}") })
            }
        },
    }
}

/// Where the file goes: `--timestamp` puts the present before what follows the first dot of its name.
fn path(command: &DbDump, file: &Path) -> PathBuf {
    let mut file = file.to_owned();
    let name = file.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    if let Some(name) = name.filter(|_| command.timestamp && command.file.is_some()) {
        let (stem, rest) = name.split_at(name.find('.').filter(|at| *at > 0).unwrap_or(name.len()));
        file.set_file_name(format!("{stem}--{}{rest}", dump::stamp(Timestamp::now())));
    }
    command.directory.as_ref().map_or(file.clone(), |directory| directory.join(&file))
}

fn may_stand(file: &Path, answer: &AnswerFlags, talk: &mut Talk<'_>) -> Result<(), Error> {
    if file.is_dir() {
        let message = format!("{} is a directory", file.display());
        return Err(Error::Refused {
            message,
            hint: Some("Give it with --directory, or name a file in it.".to_owned()),
        });
    }
    if !file.exists() {
        return Ok(());
    }
    confirm(&format!("{} exists. Overwrite it?", file.display()), Stake::Destructive, answer, talk)
}

/// A file beside, until it is complete.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Partial {
    /// For its owner alone: a dump holds everything.
    fn beside(file: &Path) -> Result<Self, Error> {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("dump");
        let path = file.with_file_name(format!(".{name}.{}.partial", std::process::id()));
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let opened = opened.map_err(|error| Error::Refused {
            message: format!("{} can't be written: {error}", file.display()),
            hint: Some("Name another place with --directory or --file.".to_owned()),
        })?;
        Ok(Self { path, file: opened })
    }

    fn complete(self, file: &Path) -> Result<(), Error> {
        self.file.sync_all()?;
        Ok(fs::rename(&self.path, file)?)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone already when it was completed.
        let _ = fs::remove_file(&self.path);
    }
}

fn save(download: Download, file: &Path, talk: &mut Talk<'_>) -> Result<Bytes, Error> {
    let mut partial = Partial::beside(file)?;
    let interrupt = talk.interrupt.clone();
    let chunks = Chunks::of(download)?;
    interrupt.hold_back();
    let mut told = Instant::now();
    let live = talk.terminal.stderr;
    let err = &mut *talk.err;
    let passed = chunks.pass_on(&mut partial.file, Some(&interrupt), |bytes| {
        if live && told.elapsed() >= TELL {
            let _unread = write!(err, "\r\x1b[2K  {bytes}").and_then(|()| err.flush());
            told = Instant::now();
        }
    });
    if live {
        let _unread = write!(talk.err, "\r\x1b[2K").and_then(|()| talk.err.flush());
    }
    interrupt.release();
    let bytes = passed.inspect_err(|error| {
        if matches!(error, Error::Interrupted) {
            talk.say("Stopped; nothing was kept.");
        }
    })?;
    partial.complete(file)?;
    Ok(bytes)
}

/// What comes, read on a thread of its own: a connection that is silent must not keep Ctrl-C waiting.
struct Chunks(Receiver<io::Result<Vec<u8>>>);

impl Chunks {
    fn of(download: Download) -> Result<Self, Error> {
        let (sender, chunks) = sync_channel(AHEAD);
        let mut body = download.body;
        let reading = move || {
            loop {
                let mut chunk = vec![0; CHUNK];
                let read = body.read(&mut chunk).map(|read| {
                    chunk.truncate(read);
                    chunk
                });
                let is_last = read.as_ref().map_or(true, Vec::is_empty);
                if sender.send(read).is_err() || is_last {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("download".to_owned()).spawn(reading)?;
        Ok(Self(chunks))
    }

    /// Gives how much it was. `interrupt`: where Ctrl-C does not end the process by itself.
    fn pass_on(
        self,
        out: &mut dyn Write,
        interrupt: Option<&Interrupt>,
        mut tell: impl FnMut(Bytes),
    ) -> Result<Bytes, Error> {
        let mut bytes = Bytes(0);
        loop {
            match self.0.recv_timeout(SLICE) {
                Ok(Ok(chunk)) if chunk.is_empty() => return Ok(bytes),
                Ok(Ok(chunk)) => {
                    out.write_all(&chunk)?;
                    bytes = bytes + Bytes(chunk.len() as u64);
                    tell(bytes);
                }
                Ok(Err(error)) => return Err(broken(bytes, &error.to_string())),
                Err(RecvTimeoutError::Disconnected) => return Err(broken(bytes, "the download ended unexpectedly")),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if interrupt.is_some_and(Interrupt::came) {
                return Err(Error::Interrupted);
            }
        }
    }
}

fn broken(bytes: Bytes, why: &str) -> Error {
    Error::Refused {
        message: format!("the dump broke off after {bytes}: {why}"),
        hint: Some("What came is not a whole dump: don't use it. Its activity says what happened.".to_owned()),
    }
}
