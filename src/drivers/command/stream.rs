//! Dumps of any size, out of a program and into one: with a limit for standing still, not for the whole.

use std::io::{self, Read, Write};
use std::sync::mpsc::{RecvTimeoutError, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use super::process::{AFTER_ITS_END, LOOK, Process};
use crate::drivers::Error;

const CHUNK: usize = 256 * 1024;
/// Chunks on their way.
const QUEUE: usize = 8;
/// While a program takes no more.
const NAP: Duration = Duration::from_millis(2);

/// Hands on what the program writes, to its end; a program that fails fails the dump.
///
/// # Errors
/// As [`super::run`]; [`Error::Output`].
pub(super) fn pour(
    mut process: Process,
    out: &mut dyn Write,
    still: Duration,
    cancelled: &dyn Fn() -> bool,
) -> Result<u64, Error> {
    process.feed(Vec::new());
    let mut stdout = process.output()?;
    let (sender, chunks) = sync_channel(QUEUE);
    let reading = move || {
        loop {
            let mut chunk = vec![0; CHUNK];
            match stdout.read(&mut chunk) {
                Ok(0) => return,
                Ok(read) => chunk.truncate(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            }
            if sender.send(chunk).is_err() {
                return;
            }
        }
    };
    let named = std::thread::Builder::new().name("dump".to_owned());
    named.spawn(reading).map_err(|source| process.lost(source))?;
    let (mut written, mut moved) = (0, Instant::now());
    loop {
        match chunks.recv_timeout(LOOK) {
            Ok(chunk) => {
                out.write_all(&chunk).map_err(Error::Output)?;
                written += chunk.len() as u64;
                moved = Instant::now();
            }
            Err(RecvTimeoutError::Disconnected) => break,
            // Something that it left running keeps its output open.
            Err(RecvTimeoutError::Timeout) if process.has_ended()? && moved.elapsed() > AFTER_ITS_END => break,
            Err(RecvTimeoutError::Timeout) => process.still_may(moved + still, still, cancelled)?,
        }
        if cancelled() {
            return Err(Error::Cancelled);
        }
    }
    process.end(still, cancelled)?;
    Ok(written)
}

/// Feeds the program to the end of the dump and waits until it has done with it.
///
/// # Errors
/// As [`super::run`]; [`Error::Input`].
pub(super) fn load(mut process: Process, dump: &mut dyn Read, still: Duration) -> Result<(), Error> {
    let mut stdin = process.input()?;
    let never = || false;
    let (sender, chunks) = sync_channel::<Vec<u8>>(QUEUE);
    // A broken pipe: it has ended, and says itself why.
    let writing = move || chunks.into_iter().try_for_each(|chunk| stdin.write_all(&chunk)).ok();
    let named = std::thread::Builder::new().name("load".to_owned());
    named.spawn(writing).map_err(|source| process.lost(source))?;
    let mut takes = true;
    while takes {
        let mut chunk = vec![0; CHUNK];
        match dump.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => chunk.truncate(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::Input(error)),
        }
        let since = Instant::now();
        loop {
            match sender.try_send(chunk) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => {
                    takes = false;
                    break;
                }
                Err(TrySendError::Full(back)) => chunk = back,
            }
            process.still_may(since + still, still, &never)?;
            std::thread::sleep(NAP);
        }
    }
    drop(sender);
    process.end(still, &never)?;
    if !takes {
        // It had all that it needed; whether the dump is whole shows at its end.
        io::copy(dump, &mut io::sink()).map_err(Error::Input)?;
    }
    Ok(())
}
