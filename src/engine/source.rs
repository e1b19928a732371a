//! What the archiver opens: files of the live tree, copies made in the hold, segments, and text in memory.
//!
//! **Invariant:** a reader either gives every byte that was promised, or makes the job bad. The one exception is a live
//! file in pass 1, which may vanish or shrink: it is written down as unsettled, and the final archive must replace it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::repofile::Node;
use rustic_core::{ErrorKind, ReadSource, ReadSourceEntry, ReadSourceOpen, RusticError, RusticResult};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::error::Error;
use super::guard::Tally;
use super::job::Job;
use super::segments::Permit;

/// What pass 1 could not take as it was listed, relative to the mount.
pub(super) type Unsettled = Arc<Mutex<Vec<Lost>>>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lost {
    File(PathBuf),
    /// With everything below it.
    Directory(PathBuf),
}

/// A large file is left for a second round of pass 1: see [`Repository::pre_copy`](super::Repository::pre_copy).
pub(super) struct Later {
    pub node: Node,
    pub list: Arc<Mutex<Vec<Large>>>,
}

#[derive(Clone)]
pub(super) struct Large {
    pub relative: PathBuf,
    pub node: Node,
    pub directory: Arc<OwnedFd>,
}

pub(super) struct Open {
    pub job: Job,
    pub tally: Arc<Tally>,
    pub what: What,
}

#[allow(clippy::large_enum_variant, reason = "nearly all of them are the large one")]
pub(super) enum What {
    /// A file of the live tree, in pass 1.
    Live {
        directory: Arc<OwnedFd>,
        name: OsString,
        path: PathBuf,
        relative: PathBuf,
        size: u64,
        inode: u64,
        lost: Unsettled,
        /// Whether what is read is counted here, and not by the library.
        counts: bool,
        /// Where to leave the file when it has to be read and is large.
        later: Option<Later>,
    },
    /// A copy that was made in the hold.
    Staged {
        path: PathBuf,
        size: u64,
    },
    /// Pass 1 has it; that it is opened means that pass 1's entry was not found.
    Kept {
        path: PathBuf,
    },
    /// One segment of a stream.
    Segment {
        bytes: Vec<u8>,
        permit: Permit,
    },
    Text(Vec<u8>),
}

impl ReadSourceOpen for Open {
    type Reader = Reader;

    fn open(self) -> RusticResult<Reader> {
        let Self { job, tally, what } = self;
        let content = match what {
            What::Live { directory, relative, later: Some(Later { node, list }), .. } => {
                list.lock().unwrap_or_else(PoisonError::into_inner).push(Large { relative, node, directory });
                return Err(dropped("The file is read later."));
            }
            What::Live { directory, name, path, relative, size, inode, lost, counts, later: None } => {
                match open_live(&directory, &name, inode) {
                    Ok(Some(file)) => {
                        Content::File { file, path, left: size, on_short: Short::Settle { lost, relative }, counts }
                    }
                    Ok(None) => {
                        lost.lock().unwrap_or_else(PoisonError::into_inner).push(Lost::File(relative));
                        return Err(dropped("The file vanished."));
                    }
                    Err(source) => {
                        job.fail_with(Error::Source { action: "open", path, source });
                        return Err(dropped("The file cannot be opened."));
                    }
                }
            }
            What::Staged { path, size } => match File::open(&path) {
                Ok(file) => Content::File { file, path, left: size, on_short: Short::Fail, counts: true },
                Err(source) => {
                    job.fail_with(Error::Source { action: "open the copy", path, source });
                    return Err(dropped("The copy cannot be opened."));
                }
            },
            What::Kept { path } => {
                job.fail_with(Error::Internal {
                    what: format!("pass 1 is not there for {}", path.display()),
                    source: None,
                });
                return Err(dropped("Pass 1 is not there."));
            }
            What::Segment { bytes, permit } => {
                Content::Memory { bytes: Cursor::new(bytes), _permit: Some(permit), counts: true }
            }
            What::Text(bytes) => Content::Memory { bytes: Cursor::new(bytes), _permit: None, counts: false },
        };
        tally.opened();
        Ok(Reader { job, tally, content, drained: false })
    }
}

/// The library logs and forgets it: whoever returns it has told the job, or the list of unsettled files.
fn dropped(why: &'static str) -> Box<RusticError> {
    RusticError::new(ErrorKind::InputOutput, why)
}

/// `None` when the name no longer stands for the file that was listed.
fn open_live(directory: &OwnedFd, name: &OsString, inode: u64) -> io::Result<Option<File>> {
    // Without following links, and without waiting for the other end should it have become a pipe.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(directory, name.as_os_str(), flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::NODEV | Errno::STALE) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&file)?;
    let is_same = stat.st_ino == inode && rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    Ok(is_same.then(|| File::from(file)))
}

pub(super) struct Reader {
    job: Job,
    tally: Arc<Tally>,
    content: Content,
    drained: bool,
}

enum Content {
    /// `left`: bytes that were promised and are not read yet. What a file has grown by is not read.
    File { file: File, path: PathBuf, left: u64, on_short: Short, counts: bool },
    /// The permit is held until the bytes are gone.
    Memory { bytes: Cursor<Vec<u8>>, _permit: Option<Permit>, counts: bool },
}

enum Short {
    Fail,
    Settle { lost: Unsettled, relative: PathBuf },
}

impl Read for Reader {
    /// Fills the buffer: the library's chunker shrinks its own for good after one short read.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.job.is_bad() {
            return Err(io::Error::other("the job has ended"));
        }
        let (read, counts) = match &mut self.content {
            Content::Memory { bytes, counts, .. } => (bytes.read(buffer)?, *counts),
            Content::File { file, path, left, on_short, counts } => {
                let wanted = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                let read = fill(file, &mut buffer[..wanted]).map_err(|source| {
                    let told = io::Error::new(source.kind(), source.to_string());
                    self.job.fail_with(Error::Source { action: "read", path: path.clone(), source });
                    told
                })?;
                *left -= read as u64;
                if read < wanted {
                    match on_short {
                        Short::Settle { lost, relative } => {
                            let lost = &mut *lost.lock().unwrap_or_else(PoisonError::into_inner);
                            lost.push(Lost::File(relative.clone()));
                            *left = 0;
                        }
                        Short::Fail => {
                            self.job.fail_with(Error::Changed { path: path.clone() });
                            return Err(io::Error::other("the file is shorter than it was"));
                        }
                    }
                }
                (read, *counts)
            }
        };
        if counts {
            self.job.did(read as u64);
        }
        if read == 0 && !buffer.is_empty() && !self.drained {
            self.drained = true;
            self.tally.drained();
        }
        Ok(read)
    }
}

/// Reads until the buffer is full or nothing more comes.
pub(super) fn fill(reader: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

pub(super) type Entry = ReadSourceEntry<Open>;
type Entries = Box<dyn Iterator<Item = RusticResult<Entry>> + Send>;

/// A source that can be walked once, and ends early when the job is bad.
pub(super) struct Once {
    job: Job,
    entries: Mutex<Option<Box<dyn Iterator<Item = Entry> + Send>>>,
}

impl Once {
    pub fn new(job: &Job, entries: impl Iterator<Item = Entry> + Send + 'static) -> Self {
        Self { job: job.clone(), entries: Mutex::new(Some(Box::new(entries))) }
    }
}

impl ReadSource for Once {
    type Open = Open;
    type Iter = Entries;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Self::Iter {
        let job = self.job.clone();
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::new(entries.into_iter().flatten().take_while(move |_| !job.is_bad()).map(Ok))
    }
}
