//! The backend that every job works through: it decides what may be written, and when.
//!
//! **Invariant:** a snapshot's file is written only while the job is good, everything that was opened was read to its
//! end, what the file points to is on disk, nobody pruned meanwhile, and the lease still stands (R14).

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};

use super::error::{Cause, Error};
use super::job::Job;

/// What becomes of a snapshot's file.
#[derive(Debug, Clone)]
pub(super) enum Entries {
    /// Nothing may be written at all.
    Refuse,
    /// As `Refuse`; this file, which is no snapshot, can be read as if it were one.
    Serve(Kept),
    /// Kept in memory, for pass 1, whose entry is only ever needed as the parent of the final one.
    /// `parent` is read from memory. Changes of the configuration are forgotten with the session.
    Keep { kept: Arc<Mutex<Option<Kept>>>, parent: Option<Kept> },
    /// Written. `parent` is read from memory.
    Commit { parent: Option<Kept> },
    /// None is written or removed; packs and index files may be. Exactly these are there: a listing that misses one would
    /// have the library take its data for unused.
    Prune { entries: Arc<BTreeSet<Id>> },
}

#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub id: Id,
    pub content: Bytes,
}

/// Sources opened and sources read to their end: the library drops a file that it could not process.
#[derive(Debug, Default)]
pub(super) struct Tally {
    opened: AtomicU64,
    drained: AtomicU64,
}

impl Tally {
    pub fn opened(&self) {
        self.opened.fetch_add(1, Ordering::AcqRel);
    }
    pub fn drained(&self) {
        self.drained.fetch_add(1, Ordering::AcqRel);
    }
    fn is_even(&self) -> bool {
        self.opened.load(Ordering::Acquire) == self.drained.load(Ordering::Acquire)
    }
}

pub(super) struct Guard {
    pub inner: Arc<dyn WriteBackend>,
    pub job: Job,
    pub entries: Entries,
    pub tally: Arc<Tally>,
    /// Directory of a local repository: the library syncs its files, but not the directories they are named in.
    pub directory: Option<PathBuf>,
    pub touched: Mutex<BTreeSet<PathBuf>>,
    /// Index files that the snapshot builds on. One that is gone means that somebody pruned meanwhile.
    pub indexes: BTreeSet<Id>,
    /// When the lease was last found to stand for removing files of that type.
    pub confirmed: Mutex<Option<(FileType, Instant)>>,
}

/// How long a prune goes on removing before it asks for its lease again; far below what a lease lasts.
const CONFIRM_AGAIN: Duration = Duration::from_secs(5);

impl Guard {
    fn kept(&self, tpe: FileType, id: &Id) -> Option<Bytes> {
        match &self.entries {
            Entries::Serve(kept)
            | Entries::Commit { parent: Some(kept) }
            | Entries::Keep { parent: Some(kept), .. }
                if tpe == FileType::Snapshot && kept.id == *id =>
            {
                Some(kept.content.clone())
            }
            _ => None,
        }
    }

    fn storage(&self, action: &'static str, source: Cause) -> Error {
        Error::Storage { location: self.inner.location(), action, source }
    }

    fn refuse<T>(&self, reason: Error) -> RusticResult<T> {
        self.job.fail_with(reason);
        Err(RusticError::new(ErrorKind::Backend, "The job has ended; nothing more is written."))
    }

    fn sync_touched(&self) -> io::Result<()> {
        let touched = std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        touched.iter().try_for_each(|directory| File::open(directory)?.sync_all())
    }

    fn touch(&self, tpe: FileType, id: &Id) {
        if let Some(directory) = &self.directory {
            let directory = named_in(directory, tpe, id);
            self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(directory);
        }
    }

    fn commit(&self, id: &Id, content: BytesList) -> RusticResult<()> {
        if !self.tally.is_even() {
            return self
                .refuse(Error::Internal { what: "a file was left out of the snapshot".to_owned(), source: None });
        }
        if let Err(error) = self.sync_touched() {
            return self.refuse(self.storage("written", error.into()));
        }
        let indexes = self.inner.list(FileType::Index)?;
        if !self.indexes.iter().all(|id| indexes.contains(id)) {
            return self.refuse(Error::Rewritten { location: self.inner.location() });
        }
        if !self.job.may_commit() {
            return self.refuse(Error::LeaseLost);
        }
        self.write(FileType::Snapshot, id, false, content)?;
        if let Err(error) = self.sync_touched() {
            // Not surely on disk: then it must not be there at all.
            self.inner.remove(FileType::Snapshot, id, false)?;
            return self.refuse(self.storage("written", error.into()));
        }
        Ok(())
    }

    /// What a prune gives up. New packs and the index that names them are on disk before the first file goes, and the lease
    /// still stands then; it is asked for again in between, because removing can take long.
    fn give_up(&self, tpe: FileType, id: &Id, cacheable: bool) -> RusticResult<()> {
        {
            let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
            let is_stale = confirmed.is_none_or(|(of, at)| of != tpe || at.elapsed() > CONFIRM_AGAIN);
            if is_stale {
                if let Err(error) = self.sync_touched() {
                    return self.refuse(self.storage("written", error.into()));
                }
                if !self.job.may_commit() {
                    return self.refuse(Error::LeaseLost);
                }
                *confirmed = Some((tpe, Instant::now()));
            }
        }
        self.inner.remove(tpe, id, cacheable).inspect_err(|error| {
            self.job.fail_with(self.storage("written", Cause::from(&**error)));
        })?;
        self.touch(tpe, id);
        Ok(())
    }

    /// The entries that a prune reckons with.
    fn checked(&self, tpe: FileType, found: impl Iterator<Item = Id>) -> RusticResult<()> {
        match &self.entries {
            Entries::Prune { entries } if tpe == FileType::Snapshot && found.collect::<BTreeSet<_>>() != **entries => {
                self.refuse(Error::Rewritten { location: self.inner.location() })
            }
            _ => Ok(()),
        }
    }

    fn write(&self, tpe: FileType, id: &Id, cacheable: bool, content: BytesList) -> RusticResult<()> {
        self.inner.write_bytes(tpe, id, cacheable, content).inspect_err(|error| {
            self.job.fail_with(self.storage("written", Cause::from(&**error)));
        })?;
        self.touch(tpe, id);
        Ok(())
    }
}

fn named_in(root: &Path, tpe: FileType, id: &Id) -> PathBuf {
    match tpe {
        FileType::Config => root.to_owned(),
        FileType::Pack => root.join(tpe.dirname()).join(&id.to_hex()[0..2]),
        FileType::Index | FileType::Key | FileType::Snapshot => root.join(tpe.dirname()),
    }
}

impl ReadBackend for Guard {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let found = self.inner.list_with_size(tpe)?;
        self.checked(tpe, found.iter().map(|(id, _)| *id))?;
        Ok(found)
    }
    fn list(&self, tpe: FileType) -> RusticResult<Vec<Id>> {
        let found = self.inner.list(tpe)?;
        self.checked(tpe, found.iter().copied())?;
        Ok(found)
    }
    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        self.kept(tpe, id).map_or_else(|| self.inner.read_full(tpe, id), Ok)
    }
    fn read_partial(&self, tpe: FileType, id: &Id, cacheable: bool, offset: u32, length: u32) -> RusticResult<Bytes> {
        self.inner.read_partial(tpe, id, cacheable, offset, length)
    }
    fn warmup_path(&self, tpe: FileType, id: &Id) -> String {
        self.inner.warmup_path(tpe, id)
    }
}

impl WriteBackend for Guard {
    fn write_bytes(&self, tpe: FileType, id: &Id, cacheable: bool, content: BytesList) -> RusticResult<()> {
        if self.job.is_bad() {
            return self.refuse(Error::Cancelled);
        }
        match (&self.entries, tpe) {
            (Entries::Refuse | Entries::Serve(_), _) => {
                self.refuse(Error::Internal { what: "a reading job wanted to write".to_owned(), source: None })
            }
            (Entries::Keep { .. }, FileType::Config) => Ok(()),
            (Entries::Keep { kept, .. }, FileType::Snapshot) => {
                if !self.tally.is_even() {
                    return self
                        .refuse(Error::Internal { what: "a file was left out of pass 1".to_owned(), source: None });
                }
                let content: Vec<u8> = content.slice().concat();
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Kept { id: *id, content: content.into() });
                Ok(())
            }
            (Entries::Commit { .. }, FileType::Snapshot) => self.commit(id, content),
            (Entries::Prune { .. }, FileType::Snapshot | FileType::Config | FileType::Key) => self
                .refuse(Error::Internal { what: "a prune wanted to write more than packs".to_owned(), source: None }),
            (Entries::Keep { .. } | Entries::Commit { .. } | Entries::Prune { .. }, _) => {
                self.write(tpe, id, cacheable, content)
            }
        }
    }

    fn remove(&self, tpe: FileType, id: &Id, cacheable: bool) -> RusticResult<()> {
        match (&self.entries, tpe) {
            _ if self.job.is_bad() => self.refuse(Error::Cancelled),
            (Entries::Prune { .. }, FileType::Index | FileType::Pack) => self.give_up(tpe, id, cacheable),
            _ => self.refuse(Error::Internal { what: "a job wanted to delete".to_owned(), source: None }),
        }
    }
}
