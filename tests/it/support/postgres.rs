//! A PostgreSQL server for the suite, from the packages that are installed, in a temporary directory on a free port.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};

struct Server {
    port: u16,
    _directory: tempfile::TempDir,
}

static SERVER: LazyLock<Server> = LazyLock::new(start);

/// A database of its own for one test.
pub async fn fresh_database() -> String {
    let port = tokio::task::spawn_blocking(|| SERVER.port).await.expect("the server starts");
    let name = format!("test_{}", stillpoint::store::random_id());
    let base = format!("postgres://postgres@127.0.0.1:{port}");
    let mut admin = PgConnection::connect(&format!("{base}/postgres")).await.expect("the server answers");
    let create = format!("CREATE DATABASE {name}");
    sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut admin).await.expect("a new database");
    format!("{base}/{name}")
}

fn start() -> Server {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = directory.path().join("data");
    let programs = programs();
    if is_root() {
        run(Command::new("chown").arg("postgres").arg(directory.path()));
    }
    let password_less = ["-U", "postgres", "--auth=trust", "--no-sync", "-D"];
    run(as_server(&programs.join("initdb")).args(password_less).arg(&data));

    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    let port = port.port();
    let mut server = as_server(&programs.join("postgres"));
    server.arg("-D").arg(&data).arg("-k").arg(directory.path()).args(["-p", &port.to_string()]);
    server.args(["-c", "fsync=off", "-c", "max_connections=300", "-c", "listen_addresses=127.0.0.1"]);
    server.stdout(Stdio::null()).stderr(Stdio::null());
    // The kernel ends the server with the thread that started it: that thread must live as long as the tests.
    std::thread::spawn(move || {
        let mut child = server.spawn().expect("the server starts");
        child.wait().expect("the server is ours");
    });
    let deadline = Instant::now() + Duration::from_secs(30);
    while !run_ready(&programs, port) {
        assert!(Instant::now() < deadline, "PostgreSQL did not come up within 30 s");
        std::thread::yield_now();
    }
    Server { port, _directory: directory }
}

fn run_ready(programs: &Path, port: u16) -> bool {
    let mut ready = Command::new(programs.join("pg_isready"));
    ready.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
    ready.status().is_ok_and(|status| status.success())
}

/// Debian keeps the server's programs out of the PATH.
fn programs() -> PathBuf {
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
