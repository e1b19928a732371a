//! From something that writes to something that reads, or the other way round, through a pipe and a thread.
//!
//! **Invariant:** a side that fails never looks like an end: the reader gets an error instead of the end of the stream.

use std::io::{self, PipeReader, PipeWriter, Read, Write as _};
use std::thread::JoinHandle;

use crate::drivers::widen;

/// Runs `write` on a thread of its own and reads what it writes.
pub(super) fn reading_from<E, F>(write: F) -> io::Result<impl Read + Send + use<E, F>>
where
    F: FnOnce(&mut PipeWriter) -> Result<(), E> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let (reader, mut writer) = io::pipe()?;
    widen(&writer);
    let thread = std::thread::Builder::new().name("stream".to_owned()).spawn(move || {
        write(&mut writer)?;
        writer.flush().ok();
        Ok::<(), E>(())
    })?;
    Ok(Piped::<E> { reader, thread: Some(thread) })
}

struct Piped<E> {
    reader: PipeReader,
    thread: Option<JoinHandle<Result<(), E>>>,
}

impl<E: std::error::Error + Send + Sync + 'static> Read for Piped<E> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        let Some(thread) = self.thread.take() else { return Ok(0) };
        match thread.join() {
            Ok(Ok(())) => Ok(0),
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(_) => Err(io::Error::other("the writing side of a stream panicked")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives() {
        let data: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let sent = data.clone();
        let mut reader = reading_from(move |out| out.write_all(&sent)).expect("a pipe");
        let mut read = Vec::new();
        reader.read_to_end(&mut read).expect("all of it");
        assert_eq!(read, data);
    }

    #[test]
    fn a_writer_that_fails_is_an_error_and_no_end() {
        let mut reader = reading_from(|out| {
            out.write_all(b"half")?;
            Err(io::Error::other("the dump broke off"))
        })
        .expect("a pipe");
        let error = reader.read_to_end(&mut Vec::new()).expect_err("half a dump is no dump");
        assert!(error.to_string().contains("broke off"));
    }
}
