//! What the library is handed, one by one: entries of the snapshot's own layout, of a merged tree, and of streams.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::ReadSourceEntry;
use rustic_core::jiff::{self, tz::TimeZone};
use rustic_core::repofile::Node;

use super::SERVICES;
use super::archive::Stream;
use super::error::Error;
use super::guard::Tally;
use super::job::Job;
use super::merge::{How, Merged};
use super::node::node;
use super::segments::{Permits, Segments};
use super::source::{self, Open, Unsettled, What};
use crate::domain::Timestamp;
use crate::domain::tree::{FileKind, FileMeta};

/// The directory at `path` with the subtree that its node has: one that names its parent's path is taken as one node.
pub(super) fn taken_whole(path: PathBuf, node: Node) -> source::Entry {
    ReadSourceEntry { path: path.parent().unwrap_or(Path::new("")).to_owned(), node, open: None }
}

impl Merged {
    pub(super) fn entry(
        self,
        job: &Job,
        tally: &Arc<Tally>,
        at: &Path,
        root: &Path,
        lost: &Unsettled,
    ) -> source::Entry {
        // Joining an empty path would append a slash.
        let path = if self.relative.as_os_str().is_empty() { at.to_owned() } else { at.join(&self.relative) };
        let open = |what| Some(Open { job: job.clone(), tally: tally.clone(), what });
        match self.how {
            How::Enter | How::Bare => ReadSourceEntry { path, node: self.node, open: None },
            How::Whole(_) => taken_whole(path, self.node),
            How::Kept => {
                let open = open(What::Kept { path: root.join(&self.relative) });
                ReadSourceEntry { path, node: self.node, open }
            }
            How::Large(directory) => {
                let what = What::Live {
                    directory,
                    name: self.node.name().into_owned(),
                    path: root.join(&self.relative),
                    relative: self.relative,
                    size: self.node.meta.size,
                    inode: self.node.meta.inode,
                    lost: lost.clone(),
                    counts: true,
                    later: None,
                };
                ReadSourceEntry { path, node: self.node, open: open(what) }
            }
            How::Staged(copy, size) => {
                ReadSourceEntry { path, node: self.node, open: open(What::Staged { path: copy, size }) }
            }
        }
    }
}

pub(super) fn segments(
    job: &Job,
    tally: &Arc<Tally>,
    permits: &Permits,
    stream: Stream,
    time: Timestamp,
    total: &Arc<Mutex<u64>>,
) -> impl Iterator<Item = source::Entry> + Send + use<> {
    let (job, tally, permits, total) = (job.clone(), tally.clone(), permits.clone(), total.clone());
    let Stream { name: service, reader } = stream;
    let at = Path::new(SERVICES).join(service.as_str());
    let mut segments = Segments::new(reader);
    let mut number = 0_u32;
    std::iter::from_fn(move || {
        let permit = permits.acquire(&job)?;
        let bytes = match segments.next() {
            Ok(segment) => segment?,
            Err(source) => {
                job.fail_with(Error::Stream { service: service.clone(), source });
                return None;
            }
        };
        *total.lock().unwrap_or_else(PoisonError::into_inner) += bytes.len() as u64;
        let name = format!("{number:06}");
        number += 1;
        let node = match file(OsStr::new(&name), bytes.len() as u64, time) {
            Ok(node) => node,
            Err(error) => {
                job.fail_with(error);
                return None;
            }
        };
        let open = Open { job: job.clone(), tally: tally.clone(), what: What::Segment { bytes, permit } };
        Some(ReadSourceEntry { path: at.join(name), node, open: Some(open) })
    })
}

pub(super) fn one(entry: source::Entry) -> Box<dyn Iterator<Item = source::Entry> + Send> {
    Box::new(std::iter::once(entry))
}

/// A directory of the snapshot's own layout.
pub(super) fn directory(path: impl AsRef<Path>, time: Timestamp) -> Result<source::Entry, Error> {
    let path = path.as_ref().to_owned();
    let name = path.file_name().unwrap_or_default().to_owned();
    let node = own(&name, FileKind::Directory, 0o755, 0, time)?;
    Ok(ReadSourceEntry { path, node, open: None })
}

/// A file of the snapshot's own layout.
pub(super) fn file(name: &OsStr, size: u64, time: Timestamp) -> Result<Node, Error> {
    own(name, FileKind::File, 0o600, size, time)
}

fn own(name: &OsStr, kind: FileKind, mode: u32, size: u64, time: Timestamp) -> Result<Node, Error> {
    let instant = jiff::Timestamp::from_microsecond(time.as_micros()).map_err(out_of_range)?;
    let meta = FileMeta {
        kind,
        mode,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime_s: time.as_micros().div_euclid(1_000_000),
        mtime_ns: u32::try_from(time.as_micros().rem_euclid(1_000_000) * 1_000).unwrap_or(0),
        size,
        links: 1,
        inode: 0,
        device: 0,
        xattrs: Vec::new(),
    };
    node(name, &meta, instant).map_err(|error| Error::internal("a snapshot's own file", error))
}

pub(super) fn zoned(time: Timestamp) -> Result<jiff::Zoned, Error> {
    Ok(jiff::Timestamp::from_microsecond(time.as_micros()).map_err(out_of_range)?.to_zoned(TimeZone::UTC))
}

pub(super) fn out_of_range(error: jiff::Error) -> Error {
    Error::internal("a time out of range", std::io::Error::other(error))
}
