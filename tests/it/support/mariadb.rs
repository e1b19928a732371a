//! A MariaDB server from the packages that are installed, in a temporary directory on a free port and a socket there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// `root` gets in through the socket without a password. Ends with the process, or when it is killed.
pub struct Server {
    pub port: u16,
    directory: tempfile::TempDir,
    pid: AtomicU32,
    options: Vec<String>,
    /// Removes the directory when its input ends, at the latest with this process: a static is never dropped.
    _cleaner: Child,
}

impl Server {
    /// `options` as on the server's command line.
    pub fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let data = directory.path().join("data");
        if is_root() {
            run(Command::new("chown").arg("nobody").arg(directory.path()));
        }
        let mut install = as_server("mariadb-install-db");
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        // Not in the directory that all share, which another one's server that starts clears of such files.
        install.env("TMPDIR", directory.path());
        run(install.arg("--skip-name-resolve").arg(option("--datadir", &data)));

        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = port.expect("a free port").port();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let pid = run_server(directory.path(), port, &options);
        let mut cleaner = Command::new("sh");
        cleaner.args(["-c", "cat > /dev/null; until rm -rf \"$0\"; do :; done"]).arg(directory.path());
        cleaner.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let cleaner = cleaner.spawn().expect("a shell");
        let server = Self { port, directory, pid: AtomicU32::new(pid), options, _cleaner: cleaner };
        server.ready();
        server
    }

    /// On the same port and data, after it was killed.
    #[allow(dead_code, reason = "the driver's tests and the suite each use a part of it")]
    pub fn again(&self) {
        self.pid.store(run_server(self.directory.path(), self.port, &self.options), Ordering::Release);
        self.ready();
    }

    fn ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.client().args(["-e", "SELECT 1"]).output().is_ok_and(|output| output.status.success()) {
            assert!(Instant::now() < deadline, "MariaDB did not come up within a minute");
            std::thread::yield_now();
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// The stock client as the administrator, who stands at the server.
    pub fn client(&self) -> Command {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"]);
        client.arg(option("--socket", &self.socket()));
        client
    }

    /// What the administrator is told, line by line.
    pub fn admin(&self, sql: &str) -> String {
        let output = self.client().args(["-e", sql]).output().expect("the client is there");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
    }

    /// As a power cut would.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    #[allow(dead_code, reason = "the driver's tests and the suite each use a part of it")]
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid.load(Ordering::Acquire)).ok().and_then(Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("it runs");
    }
}

fn run_server(directory: &Path, port: u16, options: &[String]) -> u32 {
    let (data, socket) = (directory.join("data"), directory.join("socket"));
    let mut server = as_server("mariadbd");
    server.arg("--no-defaults").arg(option("--datadir", &data)).arg(option("--socket", &socket));
    // One that starts clears away what it finds there.
    server.arg(option("--tmpdir", directory));
    server.args([&format!("--port={port}"), "--bind-address=127.0.0.1", "--skip-name-resolve"]);
    server.args(["--innodb-flush-log-at-trx-commit=0", "--event-scheduler=ON", "--max-connections=300"]);
    server.args(["--character-set-server=utf8mb4"]).args(options);
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

fn option(name: &str, path: &Path) -> String {
    format!("{name}={}", path.to_str().expect("UTF-8"))
}

/// MariaDB refuses to run as root; and it ends when we do. Debian keeps the server's programs out of a user's PATH.
fn as_server(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_root() {
        command.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]);
    }
    let places =
        ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"].map(|place| Path::new(place).join(program));
    command.arg(places.into_iter().find(|path| path.is_file()).unwrap_or_else(|| program.into()));
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program is there");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
