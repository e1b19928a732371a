//! The `sqlite3` program as another process that has a database open.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Ends with its input.
pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Program {
    /// Opens the database, and has really opened it when this returns.
    pub fn open(path: &Path) -> Self {
        let mut command = Command::new("sqlite3");
        command.arg(path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("sqlite3 is installed");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut program = Self { child, input, output };
        program.ask(".timeout 5000");
        program.ask("SELECT count(*) FROM sqlite_schema;");
        program
    }

    /// A new database with a table, in this journal mode.
    pub fn create(path: &Path, journal: &str) -> Self {
        let mut program = Self::open(path);
        program.ask(&format!("PRAGMA journal_mode={journal};"));
        program.ask("CREATE TABLE rows(id INTEGER PRIMARY KEY, text TEXT);");
        program
    }

    /// Runs it and gives what it printed.
    pub fn ask(&mut self, text: &str) -> String {
        let input = self.input.as_mut().expect("until it is dropped");
        writeln!(input, "{text}\n.print --").expect("it reads");
        input.flush().expect("it reads");
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).expect("text");
            assert!(read > 0, "sqlite3 ended");
            if line.trim_end() == "--" {
                return said.trim_end().to_owned();
            }
            said.push_str(&line);
        }
    }

    pub fn insert(&mut self, text: &str) {
        self.ask(&format!("INSERT INTO rows(text) VALUES ('{text}');"));
    }

    pub fn rows(&mut self) -> Vec<String> {
        self.ask("SELECT text FROM rows ORDER BY id;").lines().map(str::to_owned).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.input.take());
        self.child.wait().expect("it was started");
    }
}
