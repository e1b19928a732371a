//! Restoring a mount's tree into an empty directory.
//!
//! **Invariant:** every name is created in the directory that was opened for it, never over something that is there and
//! never through a symbolic link; what ends well is byte for byte what was stored.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::repofile::Node;
use rustic_core::{DataId, TreeId};
use rustix::fs::{Mode, OFlags};

use super::Repository;
use super::error::Error;
use super::job::Job;
use super::node::is_plain;
use super::paths::is_wanted;
use super::read::Reading;
use crate::domain::ids::MountName;

/// Writing threads. More gain nothing on two cores, and each holds a blob.
const WORKERS: usize = 4;
/// Files handed over at once.
const BATCH: usize = 32;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restored {
    /// Everything that is not a directory.
    pub files: u64,
    pub directories: u64,
    pub bytes: u64,
    /// What could not be put back as it was, for people. Contents never are among it.
    pub limits: Vec<String>,
}

impl Repository {
    /// Restores a mount into `destination`, an existing empty directory, which takes on the mount's own metadata too.
    /// Nothing is flushed to disk: that is up to who swaps it in. When it fails, the destination is to be thrown away.
    pub fn restore_tree(&self, job: &Job, id: &str, mount: &MountName, destination: &Path) -> Result<Restored, Error> {
        job.end(self.restore(job, id, (mount, None), destination))
    }

    pub(super) fn restore(
        &self,
        job: &Job,
        id: &str,
        (mount, only): (&MountName, Option<&[PathBuf]>),
        destination: &Path,
    ) -> Result<Restored, Error> {
        job.check()?;
        let root = open_empty(destination)?;
        let reading = self.reading(job, id)?;
        let node = reading.mount(mount)?;
        let restorer = Restorer {
            job,
            reading: &reading,
            only,
            destination,
            root: Arc::new(root),
            bytes: AtomicU64::new(0),
            unowned: AtomicU64::new(0),
            unattributed: AtomicU64::new(0),
        };
        restorer.run(node)
    }
}

pub(super) struct Restorer<'a> {
    job: &'a Job,
    reading: &'a Reading,
    /// None: everything.
    only: Option<&'a [PathBuf]>,
    destination: &'a Path,
    root: Arc<OwnedFd>,
    bytes: AtomicU64,
    /// Files that could not be given to their owner.
    pub unowned: AtomicU64,
    /// Attributes that could not be set.
    pub unattributed: AtomicU64,
}

struct Task {
    directory: Arc<OwnedFd>,
    relative: PathBuf,
    node: Node,
}

/// A second name of a file, made when all files are there.
struct Link {
    first: PathBuf,
    second: PathBuf,
}

/// The first name of a file with several: the same inode of the same device.
struct Linked {
    relative: PathBuf,
    content: Option<Vec<DataId>>,
}

struct Walk {
    batch: Vec<Task>,
    links: Vec<Link>,
    linked: HashMap<(u64, u64), Linked>,
    directories: Vec<(PathBuf, Node)>,
    files: u64,
}

impl Restorer<'_> {
    fn run(&self, root: Node) -> Result<Restored, Error> {
        let (send, receive) = sync_channel::<Vec<Task>>(WORKERS);
        let receive = Mutex::new(receive);
        let walked = std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| self.work(&receive));
            }
            let walked = self.walk(root, &send);
            drop(send);
            walked.map_err(|error| self.job.fail_with(error))
        });
        self.job.check()?;
        let walked = walked.map_err(|()| Error::Cancelled)?;
        for Link { first, second } in &walked.links {
            self.link(first, second).map_err(|source| self.failed("link", second, source))?;
        }
        // Deepest first: working in a directory changes its times.
        for (relative, node) in walked.directories.iter().rev() {
            self.job.check()?;
            let finished = self.below(relative).and_then(|directory| self.finish(&directory, node));
            finished.map_err(|source| self.failed("finish", relative, source))?;
        }
        Ok(Restored {
            files: walked.files,
            directories: walked.directories.len() as u64,
            bytes: self.bytes.load(Ordering::Relaxed),
            limits: self.limits(),
        })
    }

    fn limits(&self) -> Vec<String> {
        let unowned = self.unowned.load(Ordering::Relaxed);
        let unattributed = self.unattributed.load(Ordering::Relaxed);
        let owner =
            format!("the owner or group of {unowned} files could not be set: run Stillpoint as root to keep them");
        let attribute = format!(
            "an extended attribute of {unattributed} files could not be set: it needs root, or a file system that has them"
        );
        [(unowned, owner), (unattributed, attribute)]
            .into_iter()
            .filter(|(n, _)| *n > 0)
            .map(|(_, text)| text)
            .collect()
    }

    fn failed(&self, action: &'static str, relative: &Path, source: io::Error) -> Error {
        Error::Destination { action, path: self.destination.join(relative), source }
    }

    fn walk(&self, root: Node, send: &SyncSender<Vec<Task>>) -> Result<Walk, Error> {
        let mut walk =
            Walk { batch: Vec::new(), links: Vec::new(), linked: HashMap::new(), directories: Vec::new(), files: 0 };
        let mut open = vec![self.enter(&mut walk, root, PathBuf::new(), self.root.clone())?];
        while let Some((directory, relative, nodes)) = open.last_mut() {
            self.job.check()?;
            let Some(node) = nodes.next() else {
                open.pop();
                continue;
            };
            let name = node.name().into_owned();
            let path = relative.join(&name);
            if !is_plain(&name) {
                return Err(Error::wrong(format!("the name {}", path.display())));
            }
            if self.only.is_some_and(|only| !is_wanted(&path, only)) {
                continue;
            }
            let directory = directory.clone();
            if node.is_dir() {
                let made = rustix::fs::mkdirat(&*directory, name.as_os_str(), Mode::RWXU)
                    .and_then(|()| rustix::fs::openat(&*directory, name.as_os_str(), DIRECTORY, Mode::empty()));
                let made = made.map_err(|error| self.failed("create", &path, error.into()))?;
                open.push(self.enter(&mut walk, node, path, Arc::new(made))?);
                continue;
            }
            walk.files += 1;
            if node.meta.links > 1 {
                let same = (node.meta.device_id, node.meta.inode);
                match walk.linked.get(&same) {
                    // Only what is the same is linked: the numbers alone could have been used twice.
                    Some(first) if first.content == node.content && node.is_file() => {
                        walk.links.push(Link { first: first.relative.clone(), second: path });
                        continue;
                    }
                    Some(_) => {}
                    None if node.is_file() => {
                        walk.linked.insert(same, Linked { relative: path.clone(), content: node.content.clone() });
                    }
                    None => {}
                }
            }
            if node.is_file() {
                walk.batch.push(Task { directory, relative: path, node });
                if walk.batch.len() >= BATCH && send.send(std::mem::take(&mut walk.batch)).is_err() {
                    self.job.check()?;
                }
            } else {
                self.special(&directory, &name, &node).map_err(|source| self.failed("create", &path, source))?;
            }
        }
        if !walk.batch.is_empty() && send.send(std::mem::take(&mut walk.batch)).is_err() {
            self.job.check()?;
        }
        Ok(walk)
    }

    #[allow(clippy::type_complexity, reason = "one level of the walk")]
    fn enter(
        &self,
        walk: &mut Walk,
        node: Node,
        relative: PathBuf,
        directory: Arc<OwnedFd>,
    ) -> Result<(Arc<OwnedFd>, PathBuf, std::vec::IntoIter<Node>), Error> {
        let missing = || Error::wrong(format!("the directory {}", relative.display()));
        let subtree: TreeId = node.subtree.ok_or_else(missing)?;
        let nodes = self.reading.tree(subtree, &relative)?.nodes.into_iter();
        walk.directories.push((relative.clone(), node));
        Ok((directory, relative, nodes))
    }

    /// Takes batches until there are no more. Goes on taking when the job is bad, so that nobody waits for it.
    fn work(&self, receive: &Mutex<Receiver<Vec<Task>>>) {
        loop {
            let batch = receive.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(batch) = batch else { return };
            for task in batch {
                if self.job.is_bad() {
                    break;
                }
                if let Err(error) = self.file(&task) {
                    self.job.fail_with(error);
                }
            }
        }
    }

    fn file(&self, task: &Task) -> Result<(), Error> {
        let Task { directory, relative, node } = task;
        let failed = |action| move |source: io::Error| self.failed(action, relative, source);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = relative.file_name().unwrap_or_default();
        let file = rustix::fs::openat(&**directory, name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|error| failed("create")(error.into()))?;
        file.set_len(node.meta.size).map_err(failed("write"))?;
        self.reading.each_blob(node, relative, |blob, offset| {
            self.job.check()?;
            // What is not written stays a hole.
            if blob.iter().any(|byte| *byte != 0) {
                file.write_all_at(&blob, offset).map_err(failed("write"))?;
            }
            self.bytes.fetch_add(blob.len() as u64, Ordering::Relaxed);
            self.job.did(blob.len() as u64);
            Ok(())
        })?;
        self.finish(&file, node).map_err(failed("finish"))
    }

    /// Opens a directory that was made, name by name.
    pub(super) fn below(&self, relative: &Path) -> io::Result<OwnedFd> {
        let mut directory = self.root.try_clone()?;
        for name in relative {
            directory = rustix::fs::openat(&directory, name, DIRECTORY, Mode::empty())?;
        }
        Ok(directory)
    }
}

fn open_empty(path: &Path) -> Result<OwnedFd, Error> {
    let failed = |source: io::Error| Error::Destination { action: "open", path: path.to_owned(), source };
    let root = rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(|error| failed(error.into()))?;
    for entry in rustix::fs::Dir::read_from(&root).map_err(|error| failed(error.into()))? {
        let entry = entry.map_err(|error| failed(error.into()))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            return Err(Error::NotEmpty { path: path.to_owned() });
        }
    }
    Ok(root)
}
