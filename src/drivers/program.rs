//! The databases' own programs, once they are started: what they say, what they are fed, and that they end.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::Child;
use std::thread::JoinHandle;

use super::Error;

/// Of what a program says on its way out.
const WORDS: usize = 2_000;
const CHUNK: usize = 256 * 1024;

/// What an account without rights may ask for (`/proc/sys/fs/pipe-max-size`).
const WIDE: usize = 1 << 20;

/// Lets more wait in a pipe than the 64 KiB that it begins with: both sides take longer turns. One that can't be widened
/// works as it is.
pub(crate) fn widen(pipe: impl AsFd) {
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, WIDE);
}

/// What a program says for itself, read to its end so that it never waits for us.
pub(super) struct Said(JoinHandle<Vec<u8>>);

impl Said {
    pub fn listen(child: &mut Child) -> io::Result<Self> {
        let mut stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let listening = move || {
            let mut said = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut buffer) {
                said.extend_from_slice(&buffer[..read]);
                // Its last words say why it ended.
                said.drain(..said.len().saturating_sub(WORDS));
            }
            said
        };
        Ok(Self(std::thread::Builder::new().name("stderr".to_owned()).spawn(listening)?))
    }

    pub fn words(self) -> String {
        let said = self.0.join().unwrap_or_default();
        String::from_utf8_lossy(&said).trim().replace('\n', "; ")
    }
}

/// For `map_err`.
pub(super) fn started(tool: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::ToolFailed { tool, detail: format!("it could not be started: {source}") }
}

/// Ended when it is dropped.
pub(super) struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Feeds a program that loads a dump, whose input and errors are pipes; the first thing that fails ends it.
pub(super) fn feed(tool: &'static str, child: Child, dump: &mut dyn Read) -> Result<(), Error> {
    let mut child = Running(child);
    let said = Said::listen(&mut child.0).map_err(started(tool))?;
    let Some(mut input) = child.0.stdin.take() else { return Err(Error::Input(io::ErrorKind::BrokenPipe.into())) };
    widen(&input);
    let mut buffer = vec![0; CHUNK];
    let cut = loop {
        match dump.read(&mut buffer) {
            Ok(0) => break false,
            // A broken pipe: it has ended, and says itself why.
            Ok(read) if input.write_all(&buffer[..read]).is_err() => break true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Input(error)),
        }
    };
    drop(input);
    let status = child.0.wait().map_err(started(tool))?;
    if !status.success() {
        return Err(Error::ToolFailed { tool, detail: format!("{} ({status})", said.words()) });
    }
    if cut {
        // It had all that it needed; whether the dump is whole shows at its end.
        io::copy(dump, &mut io::sink()).map_err(Error::Input)?;
    }
    Ok(())
}
