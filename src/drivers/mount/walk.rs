//! Reading directories quickly and without following anything, on all processors.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::num::NonZero;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;

use super::BESIDE;
use crate::domain::tree::Stamp;
use crate::drivers::Error;

#[allow(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
pub(super) fn stamp(stat: &Stat) -> Stamp {
    Stamp {
        size: stat.st_size as u64,
        mtime: nanos(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime: nanos(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        inode: stat.st_ino as u64,
        mode: stat.st_mode as u32,
        uid: stat.st_uid as u32,
        gid: stat.st_gid as u32,
    }
}

fn nanos(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// One directory's entries: names in one piece, in the order in which the file system gives them.
#[derive(Debug, Default)]
pub(super) struct Listing {
    names: Vec<u8>,
    entries: Vec<(u32, Stamp)>,
    pub sockets: Vec<PathBuf>,
    /// Paths of files that have other names too: what is written through another one is told of none of these.
    pub linked: Vec<Vec<u8>>,
}

impl Listing {
    fn push(&mut self, name: &[u8], stamp: Stamp) {
        self.names.extend_from_slice(name);
        self.entries.push((u32::try_from(self.names.len()).unwrap_or(u32::MAX), stamp));
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Stamp)> {
        let mut start = 0;
        self.entries.iter().map(move |(end, stamp)| {
            let name = &self.names[start..*end as usize];
            start = *end as usize;
            (name, stamp)
        })
    }
}

/// An opened tree: everything below is reached from the root's descriptor, no link on the way is followed.
#[derive(Debug)]
pub(super) struct Tree {
    pub path: PathBuf,
    root: OwnedFd,
    pub stamp: Stamp,
    device: u64,
    /// Names left out, by the directory that holds them.
    exclude: HashMap<Vec<u8>, Vec<Vec<u8>>>,
}

impl Tree {
    pub fn open(path: &Path, exclude: &[PathBuf]) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOTDIR => Error::NotADirectory { path: path.to_owned() },
            _ => Error::reading("open", path)(errno),
        })?;
        let stat = rustix::fs::fstat(&root).map_err(Error::io("look at", path))?;
        let mut by_directory: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
        for out in exclude {
            if let (Some(parent), Some(name)) = (out.parent(), out.file_name()) {
                let names = by_directory.entry(parent.as_os_str().as_bytes().to_vec()).or_default();
                names.push(name.as_bytes().to_vec());
            }
        }
        #[allow(clippy::unnecessary_cast, reason = "the field's type differs between architectures")]
        let device = stat.st_dev as u64;
        Ok(Self { path: path.to_owned(), root, stamp: stamp(&stat), device, exclude: by_directory })
    }

    pub fn absolute(&self, relative: &[u8]) -> PathBuf {
        if relative.is_empty() { self.path.clone() } else { self.path.join(OsStr::from_bytes(relative)) }
    }

    /// Opens what stands at a path below the root, if it does so without a link on the way.
    pub fn open_below(&self, relative: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let name = if relative.is_empty() { b"." } else { relative };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(&self.root, name, flags, Mode::empty(), resolve) {
            // Some sandboxes forbid the newer call; then the last step alone is guarded.
            Err(Errno::NOSYS | Errno::PERM) => rustix::fs::openat(&self.root, name, flags, Mode::empty()),
            opened => opened,
        }
    }

    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Whether this name in that directory is left out.
    pub fn excludes(&self, directory: &[u8], name: &[u8]) -> bool {
        let ours = directory.is_empty() && name == BESIDE.as_bytes();
        ours || self.exclude.get(directory).is_some_and(|names| names.iter().any(|out| out == name))
    }

    /// What stands at a path; `None`: nothing, or a socket.
    pub fn stamp_of(&self, relative: &[u8]) -> Result<Option<Stamp>, Error> {
        let (directory, name) = split(relative);
        let opened = match self.open_below(directory, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            opened => opened.map_err(Error::reading("open", &self.absolute(directory)))?,
        };
        let name = CString::new(name).expect("the kernel's names hold no zero");
        let found = self.look(opened.as_fd(), directory, &name)?;
        Ok(found.map(|stat| stamp(&stat)).filter(|stamp| !stamp.is_socket()))
    }

    /// Lists one directory. `None`: it is no longer there or no longer a directory, which its parent's listing says.
    pub fn list(&self, relative: &[u8]) -> Result<Option<Listing>, Error> {
        self.list_after(relative, |_| {})
    }

    /// Paths of the directories in a directory.
    pub fn directories_in(&self, relative: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let listing = self.list(relative)?.unwrap_or_default();
        let directories = listing.iter().filter(|(_, stamp)| stamp.is_directory());
        Ok(directories.map(|(name, _)| join(relative, name)).collect())
    }

    /// As [`Tree::list`], with something to be done once the directory is opened, before its first entry is read.
    pub fn list_after(&self, relative: &[u8], first: impl FnOnce(BorrowedFd<'_>)) -> Result<Option<Listing>, Error> {
        let failed = |errno: Errno| Error::reading("list", &self.absolute(relative))(errno);
        let directory = match self.open_below(relative, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !relative.is_empty() => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        first(directory.as_fd());
        let mut listing = Listing::default();
        let mut buffer = [MaybeUninit::<u8>::uninit(); 32 * 1024];
        let mut entries = RawDir::new(directory.as_fd(), &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let bytes = name.to_bytes();
            if bytes == b"." || bytes == b".." || self.excludes(relative, bytes) {
                continue;
            }
            let Some(stat) = self.look(directory.as_fd(), relative, name)? else { continue };
            let stamp = stamp(&stat);
            if stamp.is_socket() {
                listing.sockets.push(PathBuf::from(OsStr::from_bytes(&join(relative, bytes))));
                continue;
            }
            if stamp.is_file() && stat.st_nlink > 1 {
                listing.linked.push(join(relative, bytes));
            }
            listing.push(bytes, stamp);
        }
        Ok(Some(listing))
    }

    /// `None`: it vanished between the listing and the look.
    fn look(&self, directory: BorrowedFd<'_>, relative: &[u8], name: &CStr) -> Result<Option<Stat>, Error> {
        let path = || self.absolute(&join(relative, name.to_bytes()));
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            #[allow(clippy::unnecessary_cast, reason = "the field's type differs between architectures")]
            Ok(stat) if stat.st_dev as u64 != self.device => Err(Error::NestedMountPoint { path: path() }),
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::reading("look at", &path())(errno)),
        }
    }
}

/// The directory that holds a path, and its name there.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let at = path.iter().rposition(|byte| *byte == b'/');
    at.map_or((b"", path), |at| (&path[..at], &path[at + 1..]))
}

pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        return name.to_vec();
    }
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    path.push(b'/');
    path.extend_from_slice(name);
    path
}

/// Applies `work` to every item on all processors (at least two threads: half the time is waiting for the disk). Ends at
/// the first error. Results come in the items' order.
pub(super) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    if items.len() < 4 {
        return items.iter().map(work).collect();
    }
    let processors = thread::available_parallelism().map_or(2, NonZero::get);
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let run = || {
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            let result = work(item);
            if result.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            done.push((at, result));
        }
        done
    };
    let mut done = thread::scope(|scope| {
        let threads: Vec<_> = (1..processors.clamp(2, 16)).map(|_| scope.spawn(run)).collect();
        let mut done = run();
        for thread in threads {
            match thread.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
