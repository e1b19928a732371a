//! A PostgreSQL server from the packages that are installed, in a temporary directory on a free port and a socket there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// Anybody may log in as anybody, but members of the role `with_password` need theirs. Ends with the process, or when it
/// is killed.
pub struct Server {
    pub port: u16,
    directory: tempfile::TempDir,
    pid: AtomicU32,
    /// Removes the directory when its input ends, at the latest with this process: a static is never dropped.
    _cleaner: Child,
}

impl Server {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let data = directory.path().join("data");
        let programs = programs();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(directory.path()));
        }
        let password_less = ["-U", "postgres", "--auth=trust", "--no-sync", "-D"];
        run(as_server(&programs.join("initdb")).args(password_less).arg(&data));
        let logins = data.join("pg_hba.conf");
        let open = std::fs::read_to_string(&logins).expect("who may log in");
        std::fs::write(&logins, format!("host all +with_password all scram-sha-256\n{open}")).expect("writable");

        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = port.expect("a free port").port();
        let pid = run_server(directory.path(), port);
        let mut cleaner = Command::new("sh");
        cleaner.args(["-c", "cat > /dev/null; until rm -rf \"$0\"; do :; done"]).arg(directory.path());
        cleaner.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let cleaner = cleaner.spawn().expect("a shell");
        wait_for(port);
        Self { port, directory, pid: AtomicU32::new(pid), _cleaner: cleaner }
    }

    /// On the same port and data, after it was killed.
    #[allow(dead_code, reason = "the driver's tests and the suite each use a part of it")]
    pub fn again(&self) {
        self.pid.store(run_server(self.directory.path(), self.port), Ordering::Release);
        wait_for(self.port);
    }

    /// The directory of its socket.
    pub fn socket(&self) -> &Path {
        self.directory.path()
    }

    /// As a power cut would.
    pub fn kill(&self) {
        let pid = i32::try_from(self.pid.load(Ordering::Acquire)).ok().and_then(Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, Signal::KILL).expect("it runs");
    }

    /// To the server and to each process that serves a connection.
    #[allow(dead_code, reason = "the driver's tests and the suite each use a part of it")]
    pub fn signal(&self, signal: Signal) {
        let server = self.pid.load(Ordering::Acquire);
        let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children")).expect("it runs");
        for pid in std::iter::once(server.to_string().as_str()).chain(children.split_whitespace()) {
            let pid = pid.parse().ok().and_then(Pid::from_raw).expect("a process id");
            // One whose connection ended is gone by then.
            let sent = rustix::process::kill_process(pid, signal);
            assert!(sent.is_ok() || sent == Err(rustix::io::Errno::SRCH), "{sent:?}");
        }
    }
}

fn run_server(directory: &Path, port: u16) -> u32 {
    let mut server = as_server(&programs().join("postgres"));
    server.arg("-D").arg(directory.join("data")).arg("-k").arg(directory).args(["-p", &port.to_string()]);
    server.args(["-c", "fsync=off", "-c", "max_connections=300", "-c", "listen_addresses=127.0.0.1"]);
    server.args(["-c", "max_prepared_transactions=5"]);
    server.stdout(Stdio::null()).stderr(Stdio::null());
    let (told, pid) = std::sync::mpsc::channel();
    // The kernel ends the server with the thread that started it: that thread must live as long as the tests.
    std::thread::spawn(move || {
        let mut child = server.spawn().expect("the server starts");
        told.send(child.id()).expect("somebody waits for it");
        child.wait().expect("the server is ours");
    });
    pid.recv().expect("the server starts")
}

fn wait_for(port: u16) {
    let (programs, deadline) = (programs(), Instant::now() + Duration::from_secs(60));
    while !is_ready(&programs, port) {
        assert!(Instant::now() < deadline, "PostgreSQL did not come up within a minute");
        std::thread::yield_now();
    }
}

fn is_ready(programs: &Path, port: u16) -> bool {
    let mut ready = Command::new(programs.join("pg_isready"));
    ready.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
    ready.status().is_ok_and(|status| status.success())
}

/// Debian keeps the server's programs out of the PATH.
pub fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
        .collect();
    found.sort();
    found.pop().expect("PostgreSQL is installed: `cargo xtask test` does it on Debian and Ubuntu")
}

/// PostgreSQL refuses to run as root; and it ends when we do.
fn as_server(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.arg(program);
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program is there");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
