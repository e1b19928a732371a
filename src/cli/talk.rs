//! With whom a command talks: where answers, messages and questions go, and what stands at the other end.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::Error;

/// Which of the standard streams are terminals.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terminal {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

impl Terminal {
    /// Whether somebody is there to answer a question.
    pub fn is_attended(self) -> bool {
        self.stdin && self.stderr
    }
}

/// Ctrl-C. It ends the process at once, except while a command waits: then the command says good-bye itself.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Default for Interrupt {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Interrupt {
    /// The flag for the signal handlers: while it is set, the signal ends the process; the signal sets it.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    pub(super) fn hold_back(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    pub(super) fn release(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(super) fn came(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

pub struct Talk<'a> {
    /// Answers.
    pub out: &'a mut dyn Write,
    /// Messages, progress, questions.
    pub err: &'a mut dyn Write,
    pub input: &'a mut dyn BufRead,
    pub terminal: Terminal,
    pub interrupt: Interrupt,
    /// As it was called, for the commands that messages recommend.
    pub program: String,
}

impl std::fmt::Debug for Talk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Talk").field("terminal", &self.terminal).field("program", &self.program).finish_non_exhaustive()
    }
}

impl<'a> Talk<'a> {
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write, input: &'a mut dyn BufRead, terminal: Terminal) -> Self {
        let interrupt = Interrupt::default();
        Self { out, err, input, terminal, interrupt, program: "stillpoint".to_owned() }
    }

    /// One line of the answer.
    pub fn answer(&mut self, line: &str) -> Result<(), Error> {
        Ok(writeln!(self.out, "{line}")?)
    }

    /// One line beside the answer. That nobody reads it is no reason to stop.
    pub fn say(&mut self, line: &str) {
        let _unread = writeln!(self.err, "{line}");
    }

    /// Puts a question and reads a line; `None` at the end of the input.
    pub fn ask(&mut self, question: &str) -> Result<Option<String>, Error> {
        write!(self.err, "{question}")?;
        self.err.flush()?;
        let mut line = String::new();
        let read = self.input.read_line(&mut line)?;
        Ok((read > 0).then(|| line.trim().to_owned()))
    }

    pub(super) fn fail(&mut self, error: &Error) {
        if error.is_broken_pipe() || matches!(error, Error::Interrupted) {
            return;
        }
        self.say(&error.message());
        if let Some(hint) = error.hint() {
            self.say(&hint);
        }
    }

    /// Help and version are answers; anything else that clap says is an error.
    pub(super) fn usage(&mut self, error: &clap::Error) -> u8 {
        let text = error.render();
        let stream = if error.use_stderr() { &mut *self.err } else { &mut *self.out };
        let written: io::Result<()> = write!(stream, "{text}");
        u8::try_from(error.exit_code()).unwrap_or(2).max(u8::from(written.is_err()))
    }
}
