//! Reading a snapshot: manifest, streams, trees.
//!
//! **Invariant:** every blob's hash is checked against the id that it was asked for by, and every file's length against
//! its node, so that nothing is given out that was not stored.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use rustic_core::repofile::{BlobType, Node, SnapshotFile, Tree};
use rustic_core::{BlobId, Id, TreeId};
use sha2::{Digest, Sha256};

use super::error::Error;
use super::guard::Entries;
use super::job::Job;
use super::{Indexed, MANIFEST, Repository, SERVICES, Use, parse};
use crate::domain::ids::ServiceName;

/// A snapshot that can be read.
pub(super) struct Reading {
    repository: Indexed,
    pub root: TreeId,
}

impl Repository {
    /// The manifest of the snapshot with this id of the repository.
    pub fn manifest(&self, id: &str) -> Result<Vec<u8>, Error> {
        let reading = self.reading(&Job::reading(), id)?;
        let node = reading.child(reading.root, MANIFEST)?.ok_or(Error::NoManifest)?;
        let mut manifest = Vec::new();
        reading.each_blob(&node, Path::new(MANIFEST), |blob, _| {
            manifest.extend_from_slice(&blob);
            Ok(())
        })?;
        Ok(manifest)
    }

    /// Writes the service's whole stream to `out`; gives its length in bytes. When it fails, what `out` has got is to be
    /// thrown away.
    pub fn read_stream(&self, job: &Job, id: &str, service: &ServiceName, out: &mut dyn Write) -> Result<u64, Error> {
        job.end(self.copy_stream(job, id, service, out))
    }

    fn copy_stream(&self, job: &Job, id: &str, service: &ServiceName, out: &mut dyn Write) -> Result<u64, Error> {
        job.check()?;
        let reading = self.reading(job, id)?;
        let at = Path::new(SERVICES).join(service.as_str());
        let services = reading.child(reading.root, SERVICES)?.and_then(|node| node.subtree);
        let node = services.map(|services| reading.child(services, service.as_str())).transpose()?.flatten();
        let segments =
            node.and_then(|node| node.subtree).ok_or_else(|| Error::UnknownService { service: service.clone() })?;
        let mut written = 0;
        for (number, segment) in reading.tree(segments, &at)?.nodes.into_iter().enumerate() {
            let path = at.join(segment.name());
            if segment.name != format!("{number:06}") || !segment.is_file() {
                return Err(Error::wrong(format!("the sequence of segments at {}", path.display())));
            }
            reading.each_blob(&segment, &path, |blob, _| {
                job.check()?;
                out.write_all(&blob).map_err(|source| Error::Output { service: service.clone(), source })?;
                written += blob.len() as u64;
                job.did(blob.len() as u64);
                Ok(())
            })?;
        }
        out.flush().map_err(|source| Error::Output { service: service.clone(), source })?;
        Ok(written)
    }

    pub(super) fn reading(&self, job: &Job, id: &str) -> Result<Reading, Error> {
        let parsed = parse(id)?;
        self.heed_locks()?;
        if !self.entry_ids()?.contains(&parsed) {
            return Err(Error::UnknownSnapshot { id: id.to_owned() });
        }
        let (repository, _) = self.session(job, Entries::Refuse, Use::reading())?;
        let entry: SnapshotFile = job
            .pool()?
            .install(|| repository.get_file(&parsed.into()))
            .map_err(|error| Error::damaged(format!("the entry {id}"), error))?;
        let repository = job.pool()?.install(|| self.indexed(repository))?;
        Ok(Reading { repository, root: entry.tree })
    }
}

impl Reading {
    /// `at`: for messages.
    pub fn tree(&self, id: TreeId, at: &Path) -> Result<Tree, Error> {
        let what = || format!("the directory {}", at.display());
        let blob = self.blob(id.into(), BlobType::Tree, what)?;
        serde_json::from_slice(&blob).map_err(|error| Error::damaged(what(), error))
    }

    pub fn child(&self, tree: TreeId, name: &str) -> Result<Option<Node>, Error> {
        let tree = self.tree(tree, Path::new(name))?;
        Ok(tree.nodes.into_iter().find(|node| *node.name() == *OsStr::new(name)))
    }

    /// Calls `each` with every blob of a file and its offset in bytes.
    pub fn each_blob(
        &self,
        node: &Node,
        at: &Path,
        mut each: impl FnMut(Bytes, u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let what = || format!("the file {}", at.display());
        let content = node.content.as_ref().ok_or_else(|| Error::wrong(what()))?;
        let mut offset = 0;
        for id in content {
            let blob = self.blob((*id).into(), BlobType::Data, what)?;
            let length = blob.len() as u64;
            if offset + length > node.meta.size {
                return Err(Error::wrong(what()));
            }
            each(blob, offset)?;
            offset += length;
        }
        if offset == node.meta.size { Ok(()) } else { Err(Error::wrong(what())) }
    }

    fn blob(&self, id: BlobId, kind: BlobType, what: impl Fn() -> String) -> Result<Bytes, Error> {
        let blob = self.repository.get_blob_cached(&id, kind).map_err(|error| Error::damaged(what(), error))?;
        let hash = Id::new(Sha256::digest(&blob).into());
        if hash == id.into_inner() { Ok(blob) } else { Err(Error::wrong(what())) }
    }
}
