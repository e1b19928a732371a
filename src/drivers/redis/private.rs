//! A throw-away server of our own, on a socket in a scratch directory: a replica that a view is cut from, or a donor that
//! a dump is loaded into.
//!
//! **Invariant:** it ends with the value, and with this process however that ends: its watcher reads a pipe of which only
//! we hold the other end. It is always somebody's replica, if only of nobody: so it never lets a key expire by itself,
//! and what it holds stays as it is. Credentials reach it over its socket: they stand in no file and no argument.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ::redis::{Value, cmd, from_redis_value};

use super::said::Said;
use super::session::{self, Address, Session};
use super::tools::Tool;
use crate::drivers::Error;

const SOCKET: &str = "redis.sock";
/// What it reads when it starts, and writes when it is told to.
pub(super) const FILE: &str = "dump.rdb";

/// `$@` runs until the input ends. What it says goes to the output, which ends with it.
pub(super) const WATCHER: &str =
    "\"$@\" < /dev/null & server=$!; exec > /dev/null 2>&1; cat; kill -KILL $server; wait $server; exit 0";

const LOOK: Duration = Duration::from_millis(10);
/// A program that can't be spoken to after that does not run.
const START: Duration = Duration::from_secs(30);
/// A transfer in which nothing moves for that long has failed. Servers wait 5 s for other replicas before they begin.
const STALLED: Duration = Duration::from_secs(90);
/// How often, meanwhile, the live server is asked whether it is there.
const ASK: Duration = Duration::from_secs(1);
/// A server sends what is written since only when the replica has confirmed the transfer, and that does it once a second.
const CONFIRMED: Duration = Duration::from_millis(1_200);

/// A running one.
pub(super) struct Private {
    pub session: Session,
    pub tool: Tool,
    directory: PathBuf,
    watcher: Child,
    /// Closing it ends the server.
    lifeline: Option<ChildStdin>,
    said: Said,
    /// Keeps the way to the socket short: addresses of sockets have 107 bytes at most.
    _entrance: File,
}

impl std::fmt::Debug for Private {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Private").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Private {
    /// Starts one with so many databases; it loads the [`FILE`] that is in the directory, which is made if need be.
    ///
    /// # Errors
    /// [`Error::ToolFailed`] with what it said, [`Error::Full`].
    pub fn start(tool: &Tool, directory: &Path, databases: u32) -> Result<Self, Error> {
        fs::create_dir_all(directory).map_err(Error::io("make", directory))?;
        let entrance = File::open(directory).map_err(Error::io("open", directory))?;
        let socket = PathBuf::from(format!("/proc/self/fd/{}", entrance.as_raw_fd())).join(SOCKET);
        let stale = directory.join(SOCKET);
        if stale.exists() {
            fs::remove_file(&stale).map_err(Error::io("remove", &stale))?;
        }
        let name = tool.software.family.program();
        let failed =
            |source: io::Error| Error::ToolFailed { tool: name, detail: format!("it could not start: {source}") };
        let mut command = Command::new("sh");
        command.args(["-c", WATCHER, "redis-watcher"]).arg(&tool.program).current_dir(directory);
        command.args(["--port", "0", "--unixsocket", SOCKET, "--unixsocketperm", "700", "--daemonize", "no"]);
        command.args(["--dir", ".", "--dbfilename", FILE, "--save", "", "--appendonly", "no", "--pidfile", ""]);
        command.args(["--databases", &databases.to_string(), "--maxmemory", "0", "--timeout", "0"]);
        // The repository compresses, and finds again what it has.
        command.args(["--rdbcompression", "no", "--rdbchecksum", "yes", "--repl-diskless-load", "on-empty-db"]);
        // A port that nobody can listen on.
        command.args([
            "--replicaof",
            "127.0.0.1",
            "0",
            "--replica-read-only",
            "no",
            "--replica-serve-stale-data",
            "yes",
        ]);
        // No sentinel may ever make it a primary.
        command.args(["--replica-priority", "0"]);
        // Ctrl-C in a terminal is for us.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut watcher = command.spawn().map_err(failed)?;
        let lifeline = watcher.stdin.take();
        let said = match Said::listen(&mut watcher) {
            Ok(said) => said,
            Err(error) => {
                drop(lifeline);
                let _ = watcher.wait();
                return Err(failed(error));
            }
        };
        let deadline = Instant::now() + START;
        let opened = loop {
            match session::open_own(&socket) {
                Ok(session) => break Ok(session),
                Err(_) if !said.ended() && Instant::now() < deadline => thread::sleep(LOOK),
                Err(_) => break Err(Error::ToolFailed { tool: name, detail: said.words() }),
            }
        };
        let session = match opened {
            Ok(session) => session,
            Err(error) => {
                drop(lifeline);
                let _ = watcher.wait();
                return Err(error);
            }
        };
        let (tool, directory) = (tool.clone(), directory.to_owned());
        let mut new = Self { session, tool, directory, watcher, lifeline, said, _entrance: entrance };
        new.loaded()?;
        Ok(new)
    }

    /// Waits until the file is loaded.
    fn loaded(&mut self) -> Result<(), Error> {
        loop {
            let info = self.session.info(&["persistence"]).map_err(|error| self.died(error))?;
            if info.number("loading") == 0 {
                return Ok(());
            }
            thread::sleep(LOOK);
        }
    }

    /// Makes it the live server's replica, and waits until it has everything.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; whatever is wrong with the live server; [`Error::ToolFailed`] with what it said.
    pub fn attach(&mut self, live: &Address, port: u16, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        let set = |name: &str, value: &str| cmd("CONFIG").arg("SET").arg(name).arg(value).take();
        let host = if live.is_socket() { "127.0.0.1" } else { live.host.as_str() };
        let commands = [
            set("masteruser", &live.user),
            set("masterauth", live.password.reveal()),
            cmd("REPLICAOF").arg(host).arg(port).take(),
        ];
        self.session.run_all("prepare", &commands)?;
        let mut seen = (String::new(), Instant::now());
        let mut asked = Instant::now();
        let (mut complete, mut target) = (None, None);
        loop {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            let info = match self.session.info(&["replication", "persistence", "memory"]) {
                Ok(info) => info,
                Err(error) => return Err(self.died(error)),
            };
            if info.text("master_link_status") == "up" && info.text("master_sync_in_progress") == "0" {
                let since = *complete.get_or_insert_with(Instant::now);
                match target {
                    Some(target) if info.number("slave_repl_offset") >= target => return Ok(()),
                    None if since.elapsed() > CONFIRMED => target = Some(offset(live)?),
                    _ => {}
                }
            } else {
                (complete, target) = (None, None);
            }
            if let Some(refused) = self.said.refusal() {
                return Err(Error::NotPermitted {
                    user: if live.user.is_empty() { "default".to_owned() } else { live.user.clone() },
                    what: format!("attach a replica to the server at {} ({refused})", live.server()),
                    remedy: super::survey::grant(&live.user),
                });
            }
            let progress = format!("{} {}", info.text("master_sync_read_bytes"), info.text("used_memory"));
            if progress != seen.0 {
                seen = (progress, Instant::now());
            } else if seen.1.elapsed() > STALLED {
                return Err(self.failed("its transfer from the server did not go on"));
            }
            if asked.elapsed() > ASK {
                live.open(Some(session::ANSWER))?;
                asked = Instant::now();
            }
            thread::sleep(LOOK);
        }
    }

    /// How much it has of what the live server wrote; `None` when it is not attached any more.
    pub fn offset(&mut self) -> Result<Option<u64>, Error> {
        let info = self.session.info(&["replication"])?;
        Ok((info.text("master_link_status") == "up").then(|| info.number("slave_repl_offset")))
    }

    /// From now on nothing in it changes.
    pub fn detach(&mut self) -> Result<(), Error> {
        self.session.ask("detach from", cmd("REPLICAOF").arg("127.0.0.1").arg(0))
    }

    /// Writes all that it holds to the [`FILE`] in its directory.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::ToolFailed`].
    pub fn save(&mut self) -> Result<PathBuf, Error> {
        self.session.patience(None)?;
        let replies = self.session.replies("save", &[cmd("SAVE")]).map_err(|error| self.died(error))?;
        let path = self.directory.join(FILE);
        match replies.into_iter().next().map(from_redis_value::<Value>) {
            Some(Ok(Value::ServerError(_)) | Err(_)) | None => {
                let words = self.said.words();
                Err(if words.contains("No space left") { Error::Full { path } } else { self.failed(&words) })
            }
            Some(Ok(_)) => Ok(path),
        }
    }

    fn failed(&self, detail: &str) -> Error {
        Error::ToolFailed {
            tool: self.tool.software.family.program(),
            detail: format!("{detail}; {}", self.said.words()),
        }
    }

    /// Why it does not answer, if it has ended.
    fn died(&self, error: Error) -> Error {
        let deadline = Instant::now() + Duration::from_millis(500);
        while !self.said.ended() && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
        if self.said.ended() { self.failed("it ended") } else { error }
    }
}

/// Where the live server stands.
fn offset(live: &Address) -> Result<u64, Error> {
    Ok(live.open(Some(session::ANSWER))?.info(&["replication"])?.number("master_repl_offset"))
}

impl Drop for Private {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let clean = self.watcher.wait().is_ok_and(|status| status.success());
        if !clean {
            // Somebody ended the watcher first.
            let gone = self.session.patience(Some(Duration::from_secs(1)));
            let _ = gone.and_then(|()| self.session.replies("end", &[cmd("SHUTDOWN").arg("NOSAVE").take()]));
        }
        let _ = fs::remove_file(self.directory.join(SOCKET));
    }
}
