//! The change journal: which entries of a mount were touched since it was indexed, as the kernel tells it (inotify). In
//! the hold only these are looked at, so that the hold does not grow with the mount.
//!
//! **Invariant:** a directory is watched before it is listed, so that every change after its listing is told; and the
//! kernel tells it before the call that made it returns, so that what was written before the hold is known in it. When
//! something can't be told any more, the journal ends, says why, and the scan does its work.
//!
//! Never told are writes through a memory map and through names outside the mount: [`Index::unseen`](super::Index::unseen)
//! and the list of files with several names are there for them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::walk::{Tree, join};

/// Why a mount is scanned in the hold instead. In words that follow "because".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoJournal {
    #[error("nobody asked for a journal")]
    NotAsked,
    #[error("its file system does not tell of every change")]
    FileSystem,
    #[error("too many journals are kept on this machine (raise fs.inotify.max_user_instances)")]
    Instances,
    #[error("it has more directories than may be watched (raise fs.inotify.max_user_watches)")]
    Watches,
    #[error("more changed at once than the kernel remembers (raise fs.inotify.max_queued_events)")]
    Overflow,
    #[error("one of its directories could not be watched any more")]
    Lost,
}

/// What was touched, as paths relative to the root at the time of asking.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Entries that were written to, changed, made or removed; empty: the root itself.
    pub entries: BTreeSet<Vec<u8>>,
    /// Directories that were made or moved here: everything in them counts.
    pub trees: BTreeSet<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Journal {
    inner: Arc<Inner>,
    /// Dropped to end the reader.
    stop: Option<Sender<()>>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    inotify: OwnedFd,
    tree: Tree,
    state: Mutex<State>,
}

/// What the kernel calls a watched directory. A directory keeps it when it is moved.
type Watch = i32;
/// An entry of a watched directory.
type Name = (Watch, Box<[u8]>);

#[derive(Debug, Default)]
struct Told {
    touched: HashSet<Name>,
    /// The root's own metadata.
    root: bool,
    /// Directories that were made or moved into the tree.
    fresh: HashSet<Watch>,
}

#[derive(Debug, Default)]
struct State {
    root: Watch,
    /// Where each watched directory stands; none for the root, and for one that was moved out.
    places: HashMap<Watch, Option<Name>>,
    /// The same the other way round.
    directories: HashMap<Name, Watch>,
    /// Since somebody asked last.
    new: Told,
    /// Before that: a hold that failed is followed by another one.
    earlier: Told,
    /// Names under which directories came or went, and which are still to be looked at.
    unsettled: HashSet<Name>,
    ended: Option<NoJournal>,
}

/// How long the kernel has to remember by itself. It remembers 16,384 changes unless told otherwise.
const READ_EVERY: Duration = Duration::from_millis(20);

/// More than that is as quickly scanned.
const MOST: usize = 200_000;

impl Journal {
    /// Watches nothing yet but the root.
    pub fn start(path: &Path, exclude: &[PathBuf]) -> Result<Self, NoJournal> {
        let tree = Tree::open(path, exclude).map_err(|_| NoJournal::Lost)?;
        if !tells_all(&tree) {
            return Err(NoJournal::FileSystem);
        }
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(|_| NoJournal::Instances)?;
        let inner = Arc::new(Inner { inotify, tree, state: Mutex::default() });
        let root = inner.add_watch(inner.tree.root())?;
        {
            let mut state = inner.state();
            state.root = root;
            state.places.insert(root, None);
        }
        let (stop, stopped) = mpsc::channel();
        let reader = std::thread::Builder::new().name("change-journal".to_owned()).spawn({
            let inner = Arc::clone(&inner);
            move || {
                while stopped.recv_timeout(READ_EVERY) == Err(RecvTimeoutError::Timeout) {
                    inner.read(&mut inner.state());
                }
            }
        });
        Ok(Self { inner, stop: Some(stop), reader: Some(reader.map_err(|_| NoJournal::Lost)?) })
    }

    /// To be called before the directory is listed, and after the one that holds it.
    pub fn watch(&self, path: &[u8], directory: BorrowedFd<'_>) {
        let added = self.inner.add_watch(directory);
        let mut state = self.inner.state();
        match (added, state.name_of(path)) {
            (Ok(watch), Some(name)) => state.put(watch, name),
            // The root; or it was moved meanwhile, which will be told.
            (Ok(_), None) => {}
            (Err(ended), _) => state.end(ended),
        }
    }

    /// Everything that was touched since the start. What was written before the call is in it.
    ///
    /// # Errors
    /// When the journal has ended: scan.
    pub fn all(&self) -> Result<Touched, NoJournal> {
        let mut state = self.inner.current()?;
        let new = std::mem::take(&mut state.new);
        state.earlier.add(new);
        Ok(self.inner.resolve(&state, &state.earlier))
    }

    /// What was touched since somebody asked last.
    ///
    /// # Errors
    /// As [`Journal::all`].
    pub fn news(&self) -> Result<Touched, NoJournal> {
        let mut state = self.inner.current()?;
        let new = std::mem::take(&mut state.new);
        let touched = self.inner.resolve(&state, &new);
        state.earlier.add(new);
        Ok(touched)
    }

    /// While nobody reads what the kernel tells.
    #[cfg(test)]
    pub fn unread(&self, meanwhile: impl FnOnce()) {
        let state = self.inner.state();
        meanwhile();
        drop(state);
    }

    /// Why it has ended, if it has.
    pub fn ended(&self) -> Option<NoJournal> {
        self.inner.state().ended
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(reader) = self.reader.take() {
            // It panics only where this thread would have, and there is nothing left to do here.
            let _ = reader.join();
        }
    }
}

/// Only file systems where every write passes through this machine's kernel. Not those on a network.
fn tells_all(tree: &Tree) -> bool {
    const LOCAL: [u64; 8] = [
        0xEF53,      // ext2, ext3, ext4
        0x5846_5342, // XFS
        0x9123_683E, // btrfs
        0x0102_1994, // tmpfs
        0xF2F5_2010, // F2FS
        0x794C_7630, // overlayfs
        0x2FC1_2FC1, // ZFS
        0xCA45_1A4E, // bcachefs
    ];
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        reason = "the field's type differs between architectures"
    )]
    rustix::fs::fstatfs(tree.root()).is_ok_and(|found| LOCAL.contains(&(found.f_type as u64 & 0xFFFF_FFFF)))
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // A reader that died half way must not be believed.
        self.state.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
            let mut state = poisoned.into_inner();
            state.end(NoJournal::Lost);
            state
        })
    }

    /// With everything taken in that was written before the call.
    fn current(&self) -> Result<MutexGuard<'_, State>, NoJournal> {
        let mut state = self.state();
        self.read(&mut state);
        state.ended.map_or(Ok(state), Err)
    }

    fn resolve(&self, state: &State, told: &Told) -> Touched {
        let mut touched = Touched::default();
        if told.root {
            touched.entries.insert(Vec::new());
        }
        for (watch, name) in &told.touched {
            // What was moved out of the tree, or is gone, was told as a change of what held it.
            let Some(directory) = state.path(*watch) else { continue };
            if !self.tree.excludes(&directory, name) {
                touched.entries.insert(join(&directory, name));
            }
        }
        touched.trees.extend(told.fresh.iter().filter_map(|watch| state.path(*watch)));
        touched
    }

    /// By descriptor: what is opened was reached without a link on the way.
    fn add_watch(&self, directory: BorrowedFd<'_>) -> Result<Watch, NoJournal> {
        let wanted = WatchFlags::ATTRIB
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MODIFY
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR;
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        inotify::add_watch(&self.inotify, path, wanted).map_err(|errno| match errno {
            Errno::NOSPC => NoJournal::Watches,
            _ => NoJournal::Lost,
        })
    }

    /// Takes in everything that the kernel has to tell.
    fn read(&self, state: &mut State) {
        while state.ended.is_none() {
            let mut buffer = [std::mem::MaybeUninit::<u8>::uninit(); 16 * 1024];
            let mut events = Reader::new(self.inotify.as_fd(), &mut buffer);
            loop {
                match events.next() {
                    Ok(event) => {
                        state.take_in(event.wd(), event.events(), event.file_name().map(|name| name.to_bytes()))
                    }
                    Err(Errno::WOULDBLOCK) => break,
                    Err(Errno::INTR) => {}
                    Err(_) => return state.end(NoJournal::Lost),
                }
            }
            if state.unsettled.is_empty() {
                return;
            }
            self.settle(state);
        }
    }

    /// Looks at what really stands under the names where directories came or went: several moves of one directory, and
    /// exchanges, come out right in whatever order they were told.
    fn settle(&self, state: &mut State) {
        let mut names = std::mem::take(&mut state.unsettled);
        loop {
            let before = names.len();
            names.retain(|(directory, name)| match state.path(*directory) {
                Some(path) => {
                    self.look(state, *directory, &path, name, true);
                    false
                }
                None => true,
            });
            // What remains was moved out of the tree. When it comes back, everything in it counts.
            if names.is_empty() || names.len() == before {
                return;
            }
        }
    }

    fn look(&self, state: &mut State, directory: Watch, path: &[u8], name: &[u8], top: bool) {
        if self.tree.excludes(path, name) {
            return;
        }
        let below = join(path, name);
        let here = (directory, Box::from(name));
        let Ok(opened) = self.tree.open_below(&below, OFlags::RDONLY | OFlags::DIRECTORY) else {
            state.take_away(&here);
            return;
        };
        let watch = match self.add_watch(opened.as_fd()) {
            Ok(watch) => watch,
            Err(ended) => return state.end(ended),
        };
        state.put(watch, here);
        if top {
            state.new.fresh.insert(watch);
        }
        match self.tree.list(&below) {
            Ok(listing) => {
                for (name, stamp) in listing.unwrap_or_default().iter() {
                    if stamp.is_directory() {
                        self.look(state, watch, &below, name, false);
                    }
                }
            }
            // The scan will meet it too, and say what it is.
            Err(_) => state.end(NoJournal::Lost),
        }
    }
}

impl Told {
    fn add(&mut self, other: Self) {
        self.touched.extend(other.touched);
        self.root |= other.root;
        self.fresh.extend(other.fresh);
    }
}

impl State {
    fn take_in(&mut self, watch: Watch, what: ReadFlags, name: Option<&[u8]>) {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            return self.end(NoJournal::Overflow);
        }
        if what.intersects(ReadFlags::IGNORED | ReadFlags::UNMOUNT) {
            if watch == self.root {
                return self.end(NoJournal::Lost);
            }
            if let Some(Some(place)) = self.places.remove(&watch)
                && self.directories.get(&place) == Some(&watch)
            {
                self.directories.remove(&place);
            }
            return;
        }
        let Some(name) = name else {
            match self.places.get(&watch) {
                _ if watch == self.root => self.new.root = true,
                Some(Some(place)) => drop(self.new.touched.insert(place.clone())),
                _ => {}
            }
            return;
        };
        let name: Name = (watch, Box::from(name));
        let comes_or_goes = ReadFlags::CREATE | ReadFlags::DELETE | ReadFlags::MOVED_FROM | ReadFlags::MOVED_TO;
        if what.intersects(comes_or_goes) {
            // Its own times show it, and nobody tells.
            match self.places.get(&watch) {
                Some(Some(place)) => drop(self.new.touched.insert(place.clone())),
                _ => self.new.root |= watch == self.root,
            }
            if what.contains(ReadFlags::ISDIR) {
                self.unsettled.insert(name.clone());
            }
        }
        self.new.touched.insert(name);
        if self.new.touched.len() > MOST {
            self.end(NoJournal::Overflow);
        }
    }

    fn end(&mut self, why: NoJournal) {
        *self = Self { root: self.root, ended: self.ended.or(Some(why)), ..Self::default() };
    }

    fn put(&mut self, watch: Watch, here: Name) {
        if let Some(before) = self.directories.insert(here.clone(), watch)
            && before != watch
        {
            self.places.insert(before, None);
        }
        if let Some(Some(before)) = self.places.insert(watch, Some(here.clone()))
            && before != here
            && self.directories.get(&before) == Some(&watch)
        {
            self.directories.remove(&before);
        }
    }

    fn take_away(&mut self, here: &Name) {
        if let Some(watch) = self.directories.remove(here) {
            self.places.insert(watch, None);
        }
    }

    /// `None`: no longer in the tree.
    fn path(&self, watch: Watch) -> Option<Vec<u8>> {
        let mut names = Vec::new();
        let mut at = watch;
        while at != self.root {
            // Half told moves can lead in a circle.
            if names.len() > self.places.len() {
                return None;
            }
            let (directory, name) = self.places.get(&at)?.as_ref()?;
            names.push(&**name);
            at = *directory;
        }
        names.reverse();
        Some(names.join(&b'/'))
    }

    /// `None` for the root, and when the directory that holds it is not known.
    fn name_of(&self, path: &[u8]) -> Option<Name> {
        let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
        let last = parts.next_back()?;
        let holds = parts.try_fold(self.root, |at, part| self.directories.get(&(at, Box::from(part))).copied())?;
        Some((holds, Box::from(last)))
    }
}
