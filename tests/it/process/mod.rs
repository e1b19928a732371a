//! Real `stillpointd` processes on free ports over real data in temporary directories, and ways to make them die.
//!
//! **Invariant:** no process outlives the guard that started it, whatever becomes of the test.

mod api;
mod application;
mod program;
mod site;
mod tmpfs;

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

pub use api::Asked;
pub use application::{Counting, Turns, serve};
pub use program::Program;
pub use site::{Site, Visitor};
pub use tmpfs::Tmpfs;

/// Long enough for a heartbeat on a busy machine, short enough to wait for.
const LEASE_MS: &str = "3000";
/// Nothing that is waited for takes this long.
const PATIENCE: Duration = Duration::from_secs(90);
const MOMENT: Duration = Duration::from_secs(5);
const PASSWORD: &str = "correct horse battery staple";
pub const OPERATOR: &str = "operator@example.org";
/// The user and group without rights.
const NOBODY: u32 = 65_534;

/// Asks until there is an answer.
///
/// # Panics
/// When there is none in time.
#[track_caller]
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    let answer = within(PATIENCE, ask);
    answer.unwrap_or_else(|| panic!("waited in vain: {what}"))
}

fn within<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() >= deadline {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(15));
    }
}

/// `STILLPOINT_SERVER`: another build, to measure it.
fn server() -> PathBuf {
    let named = ["STILLPOINT_SERVER", "CARGO_BIN_EXE_stillpointd"].into_iter().find_map(std::env::var_os);
    named.map_or_else(|| env!("CARGO_BIN_EXE_stillpointd").into(), Into::into)
}

/// Below the range from which outgoing connections get theirs.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = (std::process::id() as u16).wrapping_mul(97).wrapping_add(step) % 11_000;
        let port = 21_000 + offset;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// An installation with one project `shop` whose environment `main` is a [`Site`].
pub struct Installation {
    pub site: Site,
    pub data: PathBuf,
    pub token: String,
    listen: u16,
    gateway: u16,
    control: u16,
    /// Runs as this user, by a copy of the program that it may read.
    nobody: Option<PathBuf>,
    // Last: the directory goes when everything else is gone.
    directory: TempDir,
}

impl Installation {
    /// Accounts, a token and the declaration are in place; version 1 of the data is there; nothing runs yet.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let site = Site::new(&directory.path().join("site"));
        Self::around(directory, site)
    }

    pub fn around(directory: TempDir, site: Site) -> Self {
        let mut new = Self::bare(directory, site);
        new.add_operator();
        new.apply_site();
        new
    }

    /// As [`Installation::new`], with a mount that is a mount point. `None`: mounting is left out.
    pub fn on_a_mount_point() -> Option<(Self, Tmpfs)> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = directory.path().join("site");
        let mounted = Tmpfs::needed(&home.join("uploads"), 64 * 1024)?;
        let site = Site::new(&home);
        Some((Self::around(directory, site), mounted))
    }

    /// As [`Installation::new`], with a directory of the mount `uploads` declared as the mount `deep`.
    pub fn with_an_inner_mount() -> Self {
        let at = Self::new();
        let inner = at.site.uploads().join("deep");
        let more = format!("\n[[project.environment.mount]]\nname = \"deep\"\npath = {inner:?}\n");
        let (ok, said) = at.apply(&at.site.declaration(&more));
        assert!(ok, "the inner mount could not be declared: {said}");
        at
    }

    /// Without account and declaration.
    pub fn bare(directory: TempDir, site: Site) -> Self {
        let data = directory.path().join("data");
        let (listen, gateway, control) = (free_port(), free_port(), free_port());
        Self { site, data, token: String::new(), listen, gateway, control, nobody: None, directory }
    }

    pub fn add_operator(&mut self) {
        self.succeed(&["admin", "user", "add", OPERATOR, "--password-stdin", "--operator"], PASSWORD);
        self.token = self.new_token(OPERATOR);
    }

    pub fn add_member(&self, email: &str) -> String {
        self.succeed(&["admin", "user", "add", email, "--password-stdin"], PASSWORD);
        self.new_token(email)
    }

    fn new_token(&self, email: &str) -> String {
        self.succeed(&["admin", "token", "--user", email, "--name", "test"], "").trim().to_owned()
    }

    pub fn apply_site(&self) {
        let (ok, said) = self.apply(&self.site.declaration(""));
        assert!(ok, "the site could not be declared: {said}");
    }

    /// Whether it was applied, and what was said on both outputs.
    pub fn apply(&self, declaration: &str) -> (bool, String) {
        let file = self.directory.path().join("declaration.toml");
        fs::write(&file, declaration).expect("a declaration");
        let output = self.run(&["apply", file.to_str().expect("UTF-8")], "");
        (output.status.success(), said(&output))
    }

    /// Runs a command of the operator to its end.
    pub fn run(&self, arguments: &[&str], stdin: &str) -> Output {
        self.run_with(&[], arguments, stdin)
    }

    pub fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str], stdin: &str) -> Output {
        let mut command = self.command();
        command.envs(variables.iter().copied());
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server's program");
        let mut input = child.stdin.take().expect("a pipe");
        // A command that reads nothing may have ended already.
        let _ = writeln!(input, "{stdin}");
        drop(input);
        child.wait_with_output().expect("its outputs")
    }

    pub fn succeed(&self, arguments: &[&str], stdin: &str) -> String {
        let output = self.run(arguments, stdin);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// What is done from now on is done without root's rights. Nothing to do when the tests run without.
    pub fn drop_rights(&mut self) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let copy = self.directory.path().join("stillpointd");
        fs::copy(server(), &copy).expect("a copy of the program");
        for entry in walkdir::WalkDir::new(self.directory.path()) {
            let entry = entry.expect("own directory");
            std::os::unix::fs::lchown(entry.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
        }
        self.nobody = Some(copy);
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.nobody.clone().unwrap_or_else(server));
        if self.nobody.is_some() {
            command.uid(NOBODY).gid(NOBODY).current_dir(self.directory.path());
        }
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STILLPOINT_")) {
            command.env_remove(name);
        }
        let address = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
        command
            .env("STILLPOINT_LEASE_MS", LEASE_MS)
            .env("STILLPOINT_DATA", &self.data)
            .env("STILLPOINT_LISTEN", address(self.listen))
            .env("STILLPOINT_GATEWAY", address(self.gateway))
            .env("STILLPOINT_CONTROL", address(self.control));
        command
    }

    /// Everything in one process, ready to be used.
    pub fn start(&self) -> Process {
        self.start_with(&[])
    }

    pub fn start_with(&self, variables: &[(&str, &str)]) -> Process {
        let process = self.start_role("all", variables);
        self.ready(&process);
        process
    }

    /// One role; `variables` may name a step of a job at which it dies or stops.
    pub fn start_role(&self, role: &str, variables: &[(&str, &str)]) -> Process {
        let mut command = self.command();
        command.arg(role).envs(variables.iter().copied());
        self.spawned(role, command)
    }

    fn spawned(&self, role: &str, mut command: Command) -> Process {
        static NUMBER: AtomicU16 = AtomicU16::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = self.directory.path().join(format!("{role}-{number}.log"));
        let file = File::create(&log).expect("a log");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a second handle")).stderr(file);
        Process { child: command.spawn().expect("the server's program"), log, database: self.database() }
    }

    /// Everything in one process that sees file systems of its own: `mounts` is what a shell does there first, and
    /// [`Process::mounts`] what it does there later. `None`: mounting is left out.
    pub fn start_with_mounts(&self, mounts: &str, variables: &[(&str, &str)]) -> Option<Process> {
        Tmpfs::needed(&self.directory.path().join("tried"), 64)?;
        let template = self.command();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", &format!("{mounts}; exec \"$@\"")]);
        command.arg("sh").arg(template.get_program()).arg("all");
        for (name, value) in template.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.envs(variables.iter().copied());
        let process = self.spawned("all", command);
        self.ready(&process);
        Some(process)
    }

    pub fn ready(&self, process: &Process) {
        until("the server answers", || {
            process.assert_runs();
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.listen)).ok()?;
            drop(stream);
            (self.ask("GET", "/projects", None)?.0 == 200).then_some(())
        });
    }

    pub fn gate_ready(&self, process: &Process) {
        until("the gateway answers", || {
            process.assert_runs();
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.gateway)).ok()
        });
    }

    /// Address of the console.
    pub fn console(&self) -> String {
        format!("http://127.0.0.1:{}", self.listen)
    }

    pub fn visitor(&self) -> Visitor {
        Visitor::start(self.gateway)
    }

    /// What one visitor gets right now.
    pub fn visit(&self) -> Option<site::Answer> {
        self.visit_as(site::HOST)
    }

    pub fn visit_as(&self, host: &str) -> Option<site::Answer> {
        site::visit(self.gateway, host)
    }

    /// A gateway more, which takes visitors at the port that is given.
    pub fn another_gate(&self) -> (Process, u16) {
        let (visitors, control) = (free_port(), free_port());
        let address = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
        let (visited, ordered) = (address(visitors), address(control));
        let gate = self.start_role("gate", &[("STILLPOINT_GATEWAY", &visited), ("STILLPOINT_CONTROL", &ordered)]);
        until("the other gateway answers", || {
            gate.assert_runs();
            TcpStream::connect((Ipv4Addr::LOCALHOST, visitors)).ok()
        });
        (gate, visitors)
    }

    pub fn gateway_port(&self) -> u16 {
        self.gateway
    }

    /// What a visitor of that gateway gets.
    pub fn visit_at(&self, gateway: u16) -> Option<site::Answer> {
        site::visit(gateway, site::HOST)
    }

    pub fn visitor_at(&self, gateway: u16) -> Visitor {
        Visitor::start(gateway)
    }

    pub fn state(&self) -> PathBuf {
        self.data.join("state")
    }

    pub fn database(&self) -> PathBuf {
        self.state().join("stillpoint.db")
    }

    pub fn repository(&self) -> PathBuf {
        self.state().join("repositories/shop")
    }

    pub fn recovery_key(&self) -> String {
        self.succeed(&["admin", "recovery-key"], "").trim().to_owned()
    }

    /// Stock restic over the project's repository.
    pub fn restic(&self, key: &str, arguments: &[&str]) -> Output {
        self.restic_at(&self.repository(), key, arguments)
    }

    fn restic_at(&self, repository: &Path, key: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("restic");
        command.env("RESTIC_PASSWORD", key).arg("-r").arg(repository).arg("--no-cache").args(arguments);
        command.output().expect("restic is installed")
    }

    /// As stock restic sees it.
    #[track_caller]
    pub fn assert_repository_sound(&self) {
        self.assert_repository_sound_at(&self.repository());
    }

    /// One that was adopted stays where it is.
    #[track_caller]
    pub fn assert_repository_sound_at(&self, repository: &Path) {
        let checked = self.restic_at(repository, &self.recovery_key(), &["check", "--read-data"]);
        assert!(checked.status.success(), "restic check: {}", said(&checked));
    }

    /// The repository is sound, and holds exactly the snapshots that `main` lists.
    #[track_caller]
    pub fn assert_repository_whole(&self) {
        self.assert_repository_sound();
        let key = self.recovery_key();
        let listed = self.restic(&key, &["snapshots", "--json"]);
        let stored: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
        let stored = stored.as_array().map_or(0, Vec::len);
        assert_eq!(stored, self.backups().len(), "snapshots in the repository and in the list");
    }

    /// Nothing of a job lies about any more. Work directories go a moment after an activity ends.
    #[track_caller]
    pub fn assert_no_leftovers(&self) {
        let [beside, inside] = self.site.hidden();
        let places = [self.state().join("work"), self.state().join("swaps"), beside, inside];
        let left = || places.iter().flat_map(|place| entries(place)).collect::<Vec<_>>();
        within(MOMENT, || left().is_empty().then_some(()));
        assert!(left().is_empty(), "left behind: {:?}", left());
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(directory) else { return Vec::new() };
    listing.flatten().map(|entry| entry.path()).collect()
}

pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A process that is killed when it is dropped, and then shows its log if the test failed.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Its installation's.
    database: PathBuf,
}

/// Whether a transaction can be begun: nobody holds the lock for long.
fn writable(database: &Path) -> bool {
    let Ok(connection) = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE) else { return true };
    connection.busy_timeout(Duration::from_millis(500)).expect("a time");
    connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok()
}

impl Process {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a process of ours that was not waited for");
    }

    pub fn assert_runs(&self) {
        let state = self.condition();
        assert!(!matches!(state, None | Some('Z')), "the process ended: {}", self.log());
    }

    /// As the kernel tells it: `T` stopped, `Z` ended.
    fn condition(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        stat.rsplit(") ").next()?.chars().next()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("a child");
    }

    /// SIGTERM, even if it was stopped, and waits until it has ended.
    pub fn terminate(mut self) {
        self.signal(Signal::TERM);
        self.go_on();
        let status = self.ended();
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Waits until it has died at the step it was started with.
    pub fn died(mut self) {
        let status = self.ended();
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}: {}", self.log());
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        until("the process ends", || self.child.try_wait().expect("a child"))
    }

    /// Waits until it has stopped at the step it was started with. Its other threads stopped wherever they were: one that
    /// was inside a transaction is let out of it, or nobody else could write meanwhile.
    pub fn stopped(&self) {
        let mut again = false;
        until("the process stops outside of a transaction", || {
            self.assert_runs();
            if self.condition() != Some('T') {
                if again {
                    self.signal(Signal::STOP);
                }
                return None;
            }
            if writable(&self.database) {
                return Some(());
            }
            again = true;
            self.go_on();
            None
        });
    }

    /// Stops it, as a machine that hangs does, until [`Process::go_on`].
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        self.stopped();
    }

    /// Runs a shell where its file systems are.
    pub fn mounts(&self, script: &str) {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.child.id().to_string(), "sh", "-ec", script]);
        let done = command.output().expect("nsenter");
        assert!(done.status.success(), "{script}: {}", said(&done));
    }

    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}:\n{}", self.log.display(), lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}
