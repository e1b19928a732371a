//! Recording one changed entry in the hold: its metadata, and for a regular file a copy.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rustix::fs::{AtFlags, OFlags, Stat};
use rustix::io::Errno;
use xattr::FileExt as _;

use super::clones::{self, CLONED_FROM, Clones};
use super::walk::{self, Tree};
use crate::domain::tree::{FileKind, FileMeta, Override, Stamp};
use crate::drivers::Error;

/// Copied between two looks at the clock.
const CHUNK: usize = 4 << 20;

/// How often a file that is written while it is copied is tried. After that its copy stays as it is: the second look
/// names it as written round the gate.
const TRIES: u32 = 3;

pub(super) struct Stage<'a> {
    pub tree: &'a Tree,
    /// Copies are numbered files in it.
    pub directory: &'a Path,
    pub deadline: Instant,
    pub clones: Option<&'a Clones>,
    /// How much of files that were to be cloned may be copied where that fails.
    pub spare: AtomicU64,
}

pub(super) enum Staged {
    Recorded(Override),
    Gone,
    /// The deadline passed.
    Late,
    /// It can't be cloned, and is too large to be copied.
    TooMuch,
}

/// What became of one file.
enum Copied {
    To(PathBuf, u64),
    Late,
    TooMuch,
}

impl Stage<'_> {
    /// Whether a file is cloned, if it can be, so that its size does not count.
    pub fn clones(&self, stamp: &Stamp) -> bool {
        self.clones.is_some() && stamp.is_file() && stamp.bytes() > CLONED_FROM
    }

    pub fn record(&self, number: usize, path: &Path, stamp: &Stamp) -> Result<Staged, Error> {
        let name = path.as_os_str().as_bytes();
        if stamp.is_file() {
            return self.copy(number, path);
        }
        if stamp.is_directory() {
            return match self.tree.open_below(name, OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(opened) => self.describe_open(path, File::from(opened)),
                Err(errno) => self.gone_or(path, errno),
            };
        }
        // A link, fifo or device is never opened: what it leads to may block or do anything.
        self.describe(path)
    }

    /// Metadata alone, of whatever stands there, without opening it.
    pub fn describe(&self, path: &Path) -> Result<Staged, Error> {
        let (parent, last) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(last)) => (parent.as_os_str().as_bytes(), last),
            _ => return Ok(Staged::Gone),
        };
        let directory = match self.tree.open_below(parent, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(directory) => directory,
            Err(errno) => return self.gone_or(path, errno),
        };
        let stat = match rustix::fs::statat(&directory, last, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(errno) => return self.gone_or(path, errno),
        };
        let target = if walk::stamp(&stat).is_symlink() {
            match rustix::fs::readlinkat(&directory, last, Vec::new()) {
                Ok(target) => OsString::from_vec(target.into_bytes()),
                Err(errno) => return self.gone_or(path, errno),
            }
        } else {
            OsString::new()
        };
        let xattrs = self.xattrs_of_name(path, &directory, last)?;
        Ok(Staged::Recorded(Override { meta: meta(&stat, target, xattrs, 0), staged: None }))
    }

    fn describe_open(&self, path: &Path, opened: File) -> Result<Staged, Error> {
        let failed = |error| Error::reading("look at", &self.absolute(path))(error);
        let stat = rustix::fs::fstat(&opened).map_err(|errno| failed(errno.into()))?;
        let xattrs = xattrs(&opened).map_err(failed)?;
        Ok(Staged::Recorded(Override { meta: meta(&stat, OsString::new(), xattrs, 0), staged: None }))
    }

    fn copy(&self, number: usize, path: &Path) -> Result<Staged, Error> {
        // Not blocking, in case somebody put a fifo there just now.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let source = match self.tree.open_below(path.as_os_str().as_bytes(), flags) {
            Ok(opened) => File::from(opened),
            Err(errno) => return self.gone_or(path, errno),
        };
        let from = self.absolute(path);
        let look = || rustix::fs::fstat(&source).map_err(Error::io("look at", &from));
        let mut before = look()?;
        if !walk::stamp(&before).is_file() {
            return Ok(Staged::Gone);
        }
        for attempt in 1.. {
            let (to, copied) = match self.copy_once(number, &source, &from, &walk::stamp(&before))? {
                Copied::To(to, size) => (to, size),
                Copied::Late => return Ok(Staged::Late),
                Copied::TooMuch => return Ok(Staged::TooMuch),
            };
            let after = look()?;
            if walk::stamp(&after) == walk::stamp(&before) || attempt == TRIES {
                let xattrs = xattrs(&source).map_err(Error::io("read the attributes of", &from))?;
                let meta = meta(&after, OsString::new(), xattrs, copied);
                return Ok(Staged::Recorded(Override { meta, staged: Some(to) }));
            }
            before = after;
        }
        Ok(Staged::Gone)
    }

    fn copy_once(&self, number: usize, source: &File, from: &Path, stamp: &Stamp) -> Result<Copied, Error> {
        if let Some(clones) = self.clones.filter(|_| self.clones(stamp)) {
            let to = clones.place(number);
            match clones::clone(source, &to) {
                Ok(size) => return Ok(Copied::To(to, size)),
                // Some files share nothing (without checksums on btrfs, swap files), and a full disk may have place elsewhere.
                Err(error) => tracing::debug!(path = %from.display(), %error, "copied, since it can't be cloned"),
            }
            let take = |spare: u64| spare.checked_sub(stamp.size);
            if self.spare.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
                return Ok(Copied::TooMuch);
            }
        }
        let to = self.directory.join(format!("{number:08}"));
        let copied = copy_file(source, (from, &to), stamp.size, self.deadline)?;
        Ok(copied.map_or(Copied::Late, |size| Copied::To(to, size)))
    }

    fn gone_or(&self, path: &Path, errno: Errno) -> Result<Staged, Error> {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::INVAL => Ok(Staged::Gone),
            _ => Err(Error::reading("open", &self.absolute(path))(errno)),
        }
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        self.tree.absolute(path.as_os_str().as_bytes())
    }

    /// Through the parent's descriptor, so that no directory on the way can be exchanged for a link.
    fn xattrs_of_name(
        &self,
        path: &Path,
        directory: &OwnedFd,
        name: &std::ffi::OsStr,
    ) -> Result<Vec<(OsString, Vec<u8>)>, Error> {
        use std::os::fd::AsRawFd;
        let through = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        let names = match xattr::list(&through) {
            Ok(names) => names,
            Err(error) if has_none(&error) => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read the attributes of", &self.absolute(path))(error)),
        };
        let mut found = Vec::new();
        for name in names {
            if let Ok(Some(value)) = xattr::get(&through, &name) {
                found.push((name, value));
            }
        }
        Ok(found)
    }
}

/// All that may be read; what vanishes meanwhile is not there.
fn xattrs(file: &File) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let names = match file.list_xattr() {
        Ok(names) => names,
        Err(error) if has_none(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for name in names {
        if let Some(value) = file.get_xattr(&name)? {
            found.push((name, value));
        }
    }
    Ok(found)
}

/// File systems without extended attributes, and `/proc` being absent.
fn has_none(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::NotFound)
}

#[allow(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
fn meta(stat: &Stat, target: OsString, xattrs: Vec<(OsString, Vec<u8>)>, size: u64) -> FileMeta {
    let stamp = walk::stamp(stat);
    let rdev = stat.st_rdev as u64;
    let kind = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::Directory => FileKind::Directory,
        rustix::fs::FileType::Symlink => FileKind::Symlink { target },
        rustix::fs::FileType::BlockDevice => FileKind::BlockDevice { rdev },
        rustix::fs::FileType::CharacterDevice => FileKind::CharDevice { rdev },
        rustix::fs::FileType::Fifo => FileKind::Fifo,
        rustix::fs::FileType::Socket => FileKind::Socket,
        _ => FileKind::File,
    };
    FileMeta {
        kind,
        mode: stamp.mode & 0o7777,
        uid: stamp.uid,
        gid: stamp.gid,
        mtime_s: stat.st_mtime as i64,
        mtime_ns: stat.st_mtime_nsec as u32,
        size,
        links: stat.st_nlink as u64,
        inode: stamp.inode,
        device: stat.st_dev as u64,
        xattrs,
    }
}

/// Copies the first `size` bytes, holes as holes. Gives the copy's size, which is less when the file shrank; `None` when
/// the deadline passed.
fn copy_file(source: &File, (from, to): (&Path, &Path), size: u64, deadline: Instant) -> Result<Option<u64>, Error> {
    let writing = |error: io::Error| Error::io("copy aside", from)(error);
    let target = File::options().read(true).write(true).create(true).truncate(true).open(to);
    let target = target.map_err(Error::io("create", to))?;
    let mut at = 0;
    let mut end = 0;
    while at < size {
        let (start, stop) = match next_data(source, at, size).map_err(writing)? {
            Some(data) => data,
            None => {
                end = size;
                break;
            }
        };
        at = start;
        while at < stop {
            if Instant::now() > deadline {
                return Ok(None);
            }
            let length = usize::try_from(stop - at).unwrap_or(CHUNK).min(CHUNK);
            let copied = copy_range(source, &target, at, length).map_err(writing)?;
            if copied == 0 {
                // It shrank meanwhile.
                target.set_len(at).map_err(writing)?;
                return Ok(Some(at));
            }
            at += copied as u64;
        }
        end = at;
    }
    let end = end.max(at).min(size);
    target.set_len(end).map_err(writing)?;
    Ok(Some(end))
}

/// The next stretch that holds data, at or after `at`; `None` when only a hole follows.
fn next_data(source: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    use rustix::fs::{SeekFrom, seek};
    match seek(source, SeekFrom::Data(at)) {
        Ok(start) if start >= size => Ok(None),
        Ok(start) => {
            let stop = seek(source, SeekFrom::Hole(start)).unwrap_or(size);
            Ok(Some((start, stop.min(size))))
        }
        Err(Errno::NXIO) => Ok(None),
        // No such question on this file system: all of it is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some((at, size))),
        Err(errno) => Err(errno.into()),
    }
}

/// Within the kernel where it can, else by hand.
fn copy_range(source: &File, target: &File, at: u64, length: usize) -> io::Result<usize> {
    let (mut from, mut to) = (at, at);
    match rustix::fs::copy_file_range(source.as_fd(), Some(&mut from), target.as_fd(), Some(&mut to), length) {
        Ok(copied) if copied > 0 => Ok(copied),
        Ok(_) | Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
            let mut buffer = vec![0; length.min(256 << 10)];
            let read = source.read_at(&mut buffer, at)?;
            target.write_all_at(&buffer[..read], at)?;
            Ok(read)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Does the file still hold what was staged of it?
pub(super) fn same_bytes(tree: &Tree, path: &Path, staged: &Path) -> Result<bool, Error> {
    let Ok(live) = tree.open_below(path.as_os_str().as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK) else {
        return Ok(false);
    };
    let (mut live, mut copy) = (File::from(live), File::open(staged).map_err(Error::io("read", staged))?);
    let mut buffers = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let read = live.read(&mut buffers.0).map_err(Error::io("read", &tree.path.join(path)))?;
        if read == 0 {
            return copy.read(&mut buffers.1[..1]).map(|more| more == 0).map_err(Error::io("read", staged));
        }
        match copy.read_exact(&mut buffers.1[..read]) {
            Ok(()) if buffers.0[..read] == buffers.1[..read] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(Error::io("read", staged)(error)),
        }
    }
}

/// Brings a file to the disk, so that cloning it soon has little to wait for.
pub(super) fn sync(tree: &Tree, path: &Path) {
    let opened = tree.open_below(path.as_os_str().as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK);
    // What stands in the way of reading it is said when it is read.
    opened.ok().map(|file| rustix::fs::fdatasync(file).ok());
}
