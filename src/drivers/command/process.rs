//! One program that runs: fed, listened to, and ended with all that it started.

use std::io::{self, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::trust;
use crate::domain::Bytes;
use crate::domain::environment::CommandLine;
use crate::drivers::Error;

/// Nothing else of the worker's environment: a key may stand in it.
const ENVIRONMENT: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Of what a program says on stderr, the end.
const WORDS: usize = 2_000;
/// Of a line, bytes.
const LONGEST_LINE: usize = 1_000;
/// How many lines a program may be ahead of whoever takes them.
const AHEAD: usize = 64;
/// How often a running program is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(20);
/// For what was written right before the end, and no longer for what a program left running may write.
pub(super) const AFTER_ITS_END: Duration = Duration::from_secs(1);
/// A program that is just being replaced can't be started: that takes a moment, not longer.
const BUSY: Duration = Duration::from_secs(2);

/// Leads the group, and kills it when its input ends: of that only we hold the other end, so that nothing goes on when
/// this process is killed.
const WATCHER: &str = "read -r _; kill -KILL 0";

/// Killed, with its whole group, when it is dropped before it has ended.
pub(super) struct Process {
    child: Child,
    /// Its number is the group's, and stays so until it was waited for.
    watcher: Child,
    _lifeline: Option<ChildStdin>,
    said: Heard,
    program: PathBuf,
    /// For people.
    command: String,
    status: Option<ExitStatus>,
    is_over: bool,
}

impl Process {
    pub fn start(line: &CommandLine, words: &[&str]) -> Result<Self, Error> {
        Self::start_with(line, words, None)
    }

    /// What it writes on either output comes out of the other end line by line. For [`Process::tell`].
    pub fn start_telling(line: &CommandLine, words: &[&str]) -> Result<(Self, Receiver<String>), Error> {
        let (told, lines) = sync_channel(AHEAD);
        let mut process = Self::start_with(line, words, Some(told.clone()))?;
        let stdout = process.child.stdout.take();
        Heard::new(Keep::End(0)).listen_and(stdout, Some(told)).map_err(|source| process.lost(source))?;
        Ok((process, lines))
    }

    fn start_with(line: &CommandLine, words: &[&str], told: Option<SyncSender<String>>) -> Result<Self, Error> {
        // The real path, which was looked at: a link could be bent meanwhile.
        let real = trust::look(line.program())?;
        let failed = |source| Error::NotStarted { program: line.program().to_owned(), source };
        let mut watcher = Command::new("/bin/sh");
        watcher.args(["-c", WATCHER]).current_dir("/").env_clear().process_group(0);
        let mut watcher =
            watcher.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(failed)?;
        let lifeline = watcher.stdin.take();

        let mut command = Command::new(&real);
        command.arg0(line.program()).args(line.arguments()).args(words).current_dir("/").env_clear();
        command.env("PATH", PATH);
        command.envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = group(&watcher).and_then(|group| {
            command.process_group(group.as_raw_pid());
            spawn(&mut command)
        });
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                end(&mut watcher);
                return Err(failed(error));
            }
        };
        let stderr = child.stderr.take();
        let said = Heard::new(Keep::End(WORDS));
        let command = format!("{line} {}", words.join(" "));
        let program = line.program().to_owned();
        let process =
            Self { child, watcher, _lifeline: lifeline, said, program, command, status: None, is_over: false };
        // From here on it is killed when something fails.
        process.said.listen_and(stderr, told).map_err(failed)?;
        Ok(process)
    }

    /// Gives it this to read; it need not.
    pub fn feed(&mut self, input: Vec<u8>) {
        let Some(mut stdin) = self.child.stdin.take() else { return };
        if input.is_empty() {
            return;
        }
        // A thread that can't be started leaves it with an empty input, and it will say so. One that writes to a program
        // that does not read ends with that program.
        let _ = std::thread::Builder::new().name("stdin".to_owned()).spawn(move || stdin.write_all(&input));
    }

    /// Its input, to be written to at length.
    pub fn input(&mut self) -> Result<ChildStdin, Error> {
        // What it says meanwhile must not stop it.
        Heard::new(Keep::End(0)).listen(self.child.stdout.take()).map_err(|source| self.lost(source))?;
        self.child.stdin.take().ok_or_else(|| self.lost(io::ErrorKind::BrokenPipe.into()))
    }

    /// Its output, to be read at length.
    pub fn output(&mut self) -> Result<ChildStdout, Error> {
        self.child.stdout.take().ok_or_else(|| self.lost(io::ErrorKind::BrokenPipe.into()))
    }

    /// Waits for its end and gives what it wrote.
    pub fn answer(mut self, limit: Bytes, within: Duration, cancelled: &dyn Fn() -> bool) -> Result<Vec<u8>, Error> {
        let deadline = Instant::now() + within;
        let heard = Heard::new(Keep::Start(usize::try_from(limit.0).unwrap_or(usize::MAX)));
        heard.listen(self.child.stdout.take()).map_err(|source| self.lost(source))?;
        while !self.has_ended()? {
            if heard.is_too_much() {
                break;
            }
            self.still_may(deadline, within, cancelled)?;
            heard.wait(LOOK);
        }
        if !heard.is_too_much() {
            self.succeeded()?;
            heard.wait_for_end(AFTER_ITS_END);
        }
        if heard.is_too_much() {
            return Err(Error::CommandAnswersTooMuch { command: self.command.clone(), limit });
        }
        Ok(heard.take())
    }

    /// Waits for its end alone.
    pub fn end(mut self, within: Duration, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        let deadline = Instant::now() + within;
        while !self.has_ended()? {
            self.still_may(deadline, within, cancelled)?;
            std::thread::sleep(Duration::from_millis(1));
        }
        self.succeeded()
    }

    /// Waits for its end, and hands over what it says meanwhile.
    pub fn tell(
        mut self,
        lines: &Receiver<String>,
        (within, cancelled): (Duration, &dyn Fn() -> bool),
        told: &mut dyn FnMut(&str),
    ) -> Result<(), Error> {
        let deadline = Instant::now() + within;
        while !self.has_ended()? {
            self.still_may(deadline, within, cancelled)?;
            match lines.recv_timeout(LOOK) {
                Ok(line) => told(&line),
                Err(RecvTimeoutError::Timeout) => {}
                // It closed both, which is no end.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
            }
        }
        // What it wrote before its end; what it left running may go on writing, and nobody waits for that.
        let last = Instant::now() + AFTER_ITS_END;
        while let Some(left) = last.checked_duration_since(Instant::now()) {
            let Ok(line) = lines.recv_timeout(left) else { break };
            told(&line);
        }
        self.succeeded()
    }

    pub fn has_ended(&mut self) -> Result<bool, Error> {
        if self.status.is_none() {
            self.status = self.child.try_wait().map_err(|source| self.lost(source))?;
        }
        Ok(self.status.is_some())
    }

    /// Kills it when its time is over. `within` is what it had.
    pub fn still_may(&self, deadline: Instant, within: Duration, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        if Instant::now() < deadline {
            return Ok(());
        }
        self.kill();
        Err(Error::CommandTooSlow { command: self.command.clone(), within, words: self.words() })
    }

    /// What a failed one left is killed; what one left that succeeded, goes on.
    fn succeeded(&mut self) -> Result<(), Error> {
        let status = self.status.map_or_else(|| self.child.wait(), Ok).map_err(|source| self.lost(source))?;
        if !status.success() {
            self.kill();
            let words = self.words();
            return Err(Error::CommandFailed { command: self.command.clone(), status: status.to_string(), words });
        }
        end(&mut self.watcher);
        self.is_over = true;
        Ok(())
    }

    fn kill(&self) {
        // Fails only when nobody is left.
        let _ = group(&self.watcher).map(|group| kill_process_group(group, Signal::KILL));
    }

    /// Its last words, which it has said by now or never will.
    fn words(&self) -> String {
        self.said.wait_for_end(AFTER_ITS_END);
        let said = String::from_utf8_lossy(&self.said.take()).trim().replace('\n', "; ");
        if said.is_empty() { "it said nothing on stderr".to_owned() } else { said }
    }

    pub fn lost(&self, source: io::Error) -> Error {
        Error::NotStarted { program: self.program.clone(), source }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_over {
            self.kill();
            // Killed children end at once; it fails only when somebody waited for them.
            let _ = self.child.wait();
            let _ = self.watcher.wait();
        }
    }
}

/// As long as it was not waited for.
fn group(watcher: &Child) -> io::Result<Pid> {
    let number = i32::try_from(watcher.id()).ok().and_then(Pid::from_raw);
    number.ok_or_else(|| io::Error::other("a process without a number"))
}

/// Of the watcher alone.
fn end(watcher: &mut Child) {
    // Both fail only when it has ended already.
    let _ = watcher.kill();
    let _ = watcher.wait();
}

/// A file that some process has open for writing can't be executed. A child of another thread may have inherited that
/// for the moment between its fork and its exec.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let deadline = Instant::now() + BUSY;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {
                std::thread::sleep(LOOK);
            }
            other => return other,
        }
    }
}

/// Which part of much is kept.
#[derive(Clone, Copy)]
enum Keep {
    Start(usize),
    End(usize),
}

/// Cuts what comes into lines.
struct Lines {
    told: SyncSender<String>,
    begun: Vec<u8>,
}

impl Lines {
    fn new(told: SyncSender<String>) -> Self {
        Self { told, begun: Vec::new() }
    }

    /// Nothing: that was all.
    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST_LINE.saturating_sub(self.begun.len());
            self.begun.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.send();
            }
        }
        if bytes.is_empty() {
            self.send();
        }
    }

    fn send(&mut self) {
        let line = std::mem::take(&mut self.begun);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if !line.is_empty() {
            // Nobody listens any more when the run is over.
            let _ = self.told.send(line.to_owned());
        }
    }
}

/// What a thread hears of a pipe, which may stay open longer than anybody waits.
struct Heard {
    keep: Keep,
    shared: Arc<(Mutex<Hearing>, Condvar)>,
}

#[derive(Default)]
struct Hearing {
    bytes: Vec<u8>,
    is_too_much: bool,
    has_ended: bool,
}

impl Heard {
    fn new(keep: Keep) -> Self {
        Self { keep, shared: Arc::default() }
    }

    /// To the end of the pipe, whatever is kept of it: a full pipe would stop the program.
    fn listen(&self, pipe: Option<impl Read + Send + 'static>) -> io::Result<()> {
        self.listen_and(pipe, None)
    }

    /// The same, and hands over each line. Stands still while nobody takes them.
    fn listen_and(&self, pipe: Option<impl Read + Send + 'static>, told: Option<SyncSender<String>>) -> io::Result<()> {
        let mut lines = told.map(Lines::new);
        let mut pipe = pipe.ok_or(io::ErrorKind::BrokenPipe)?;
        let (keep, shared) = (self.keep, Arc::clone(&self.shared));
        let listening = move || {
            let mut buffer = vec![0; 64 * 1024];
            let (hearing, news) = &*shared;
            loop {
                let read = match pipe.read(&mut buffer) {
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => 0,
                };
                if let Some(lines) = &mut lines {
                    lines.take(&buffer[..read]);
                }
                let mut hearing = hearing.lock().unwrap_or_else(PoisonError::into_inner);
                let bytes = &buffer[..read];
                match keep {
                    Keep::Start(most) => {
                        let room = most.saturating_sub(hearing.bytes.len());
                        hearing.is_too_much |= read > room;
                        hearing.bytes.extend_from_slice(&bytes[..read.min(room)]);
                    }
                    Keep::End(most) => {
                        hearing.bytes.extend_from_slice(bytes);
                        let over = hearing.bytes.len().saturating_sub(most);
                        hearing.bytes.drain(..over);
                    }
                }
                hearing.has_ended = read == 0;
                if hearing.has_ended || hearing.is_too_much {
                    news.notify_all();
                }
                if hearing.has_ended {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("listening".to_owned()).spawn(listening).map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, Hearing> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the pipe closed, or so long.
    fn wait_for_end(&self, within: Duration) {
        let waited = self.shared.1.wait_timeout_while(self.lock(), within, |hearing| !hearing.has_ended);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Until there is something to know, or so long.
    fn wait(&self, within: Duration) {
        let nothing = |hearing: &mut Hearing| !hearing.has_ended && !hearing.is_too_much;
        if nothing(&mut self.lock()) {
            let waited = self.shared.1.wait_timeout_while(self.lock(), within, nothing);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        } else {
            // Closing stdout comes right before the end, or is no sign of it.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_too_much(&self) -> bool {
        self.lock().is_too_much
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock().bytes)
    }
}
