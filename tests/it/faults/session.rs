//! A foreign session at a database server, by its own client: what an administrator does meanwhile.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const MARK: &str = "--done--";

/// Ends, with all that it has locked, when it is dropped.
pub struct Session {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// What prints the mark.
    mark: String,
}

impl Session {
    /// As the administrator, through the socket.
    pub fn postgres(psql: &Path, socket: &Path, port: u16, database: &str) -> Self {
        let mut command = Command::new(psql);
        command.args(["--quiet", "--no-align", "--tuples-only", "--no-psqlrc", "--username=postgres"]);
        command.arg("--host").arg(socket).arg(format!("--port={port}")).arg(format!("--dbname={database}"));
        Self::start(command, format!("\\echo {MARK}"))
    }

    pub fn mariadb(mut client: Command) -> Self {
        client.args(["--unbuffered", "--force"]);
        Self::start(client, format!("SELECT '{MARK}';"))
    }

    fn start(mut command: Command, mark: String) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the server's client is installed");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, input, output, mark }
    }

    /// What it printed; an error prints nothing.
    pub fn ask(&mut self, sql: &str) -> String {
        self.begin(sql);
        self.ended()
    }

    /// Without waiting for its end.
    pub fn begin(&mut self, sql: &str) {
        let input = self.input.as_mut().expect("until it is dropped");
        writeln!(input, "{sql};\n{}", self.mark).expect("it reads");
        input.flush().expect("it reads");
    }

    /// Waits for the end of what was begun.
    pub fn ended(&mut self) -> String {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).expect("text");
            assert!(read > 0, "the client ended: {said}");
            if line.trim_end() == MARK {
                return said.trim_end().to_owned();
            }
            said.push_str(&line);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.input.take());
        // What it waits for may never come.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of the test's own.
pub fn program(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our own file");
}
