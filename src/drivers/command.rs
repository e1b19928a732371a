//! Commands that an operator named (R6): looked at again before every run, and run within limits.
//!
//! **Invariant:** a program runs only while nobody but root and the worker's user could have put it there; it sees
//! nothing of the server's own environment, where keys may stand; and what does not end in time is killed with all that
//! it started.

mod contract;
mod process;
mod service;
mod stream;
#[cfg(test)]
mod tests;
mod trust;

use std::time::Duration;

use self::process::Process;
use super::Error;
use crate::domain::Bytes;
use crate::domain::environment::CommandLine;

pub use service::{Aside, Beside, Named};

/// What is read of an answer.
const ANSWER: Bytes = Bytes(1024 * 1024);

/// One run of a command.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// What is asked of it: its last argument.
    pub word: &'a str,
    /// What it may read on stdin.
    pub input: &'a [u8],
    pub within: Duration,
    pub cancelled: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for Call<'_> {
    /// Without the input, which may hold anything.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("word", &self.word).field("within", &self.within).finish_non_exhaustive()
    }
}

/// One run of a command whose words people read as they come.
#[derive(Clone, Copy)]
pub struct Occasion<'a> {
    /// What is asked of it: its last arguments.
    pub words: &'a [&'a str],
    /// What it may read on stdin.
    pub input: &'a [u8],
    pub within: Duration,
    pub cancelled: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for Occasion<'_> {
    /// Without the input, which may hold anything.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Occasion").field("words", &self.words).field("within", &self.within).finish_non_exhaustive()
    }
}

/// Whether the command may be run: its program is there, can be executed, and nobody but root and the worker's user may
/// change it, the links that lead to it, or a directory above. Nothing is started.
///
/// # Errors
/// [`Error::Program`] with what is wrong and how to mend it.
pub fn test(line: &CommandLine) -> Result<(), Error> {
    trust::look(line.program()).map(drop)
}

/// Runs the command and gives what it wrote to stdout. In a process group of its own, in `/`, with nothing in its
/// environment but `PATH`, `HOME`, `LANG` and `TMPDIR`. Blocks.
///
/// What it leaves running when it succeeds, goes on; that should close stdout, else each run waits a second for more.
///
/// # Errors
/// As [`test()`]; [`Error::NotStarted`]; [`Error::CommandFailed`] with its last words on stderr;
/// [`Error::CommandTooSlow`], [`Error::Cancelled`], [`Error::CommandAnswersTooMuch`]: it was killed then, with its whole
/// group.
pub fn run(line: &CommandLine, call: Call<'_>) -> Result<Vec<u8>, Error> {
    let mut process = Process::start(line, &[call.word])?;
    process.feed(call.input.to_vec());
    process.answer(ANSWER, call.within, call.cancelled)
}

/// Runs the command as [`run()`] does, and hands over each line that it writes on either output as it comes: without its
/// end, cut after 1,000 letters, none that is empty. Blocks; so does the program, while nobody takes its lines.
///
/// # Errors
/// As [`run()`].
pub fn tell(line: &CommandLine, occasion: Occasion<'_>, told: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let (mut process, lines) = Process::start_telling(line, occasion.words)?;
    process.feed(occasion.input.to_vec());
    process.tell(&lines, (occasion.within, occasion.cancelled), told)
}
