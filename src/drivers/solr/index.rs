//! The files of a commit point, read from a running server through its replication handler, which is how Solr's own
//! followers read them.
//!
//! **Invariant:** what was handed on is the file, whole: its length is the one that was announced, and its checksum is
//! Lucene's own.

use std::io::{self, Read};

use super::client::{ANSWER, Client};
use super::lucene::{self, Ending, Sum};
use super::said::{FileList, IndexFile};
use crate::drivers::Error;

/// The server sends a megabyte at a time.
const LARGEST_PACKET: u32 = 16 << 20;
/// Larger ones are not looked into: they are no lists of segments.
const LARGEST_LIST: u64 = 64 << 20;
/// How often a transfer may break off.
const TRIES: u32 = 5;

/// A core on its node.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// In SolrCloud.
    pub shard: Option<String>,
    pub client: Client,
    pub core: String,
}

/// A commit point of a core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commit {
    pub generation: u64,
    /// By name.
    pub files: Vec<IndexFile>,
}

impl Part {
    /// The commit point of that generation, which somebody keeps from being removed.
    pub fn commit(&self, generation: u64) -> Result<Commit, Error> {
        let doing = "list the files of";
        let path = format!("{}/replication", self.core);
        let number = generation.to_string();
        let asked = [("command", "filelist"), ("generation", number.as_str())];
        let mut list: FileList = self.client.get(doing, &path, &asked, ANSWER)?;
        list.files.sort();
        list.files.dedup();
        if let Some(file) = list.files.iter().find(|file| !file.is_safe()) {
            return Err(self.client.said(doing, format!("the index has a file called `{}`", file.name)));
        }
        if list.files.is_empty() {
            return Err(self.client.said(doing, "it named no file".to_owned()));
        }
        Ok(Commit { generation, files: list.files })
    }

    /// How many documents the commit point has, as its own files tell; `None` when they are of a form that isn't known.
    pub fn documents(&self, commit: &Commit) -> Result<Option<u64>, Error> {
        let Some(list) = commit.files.iter().find(|file| file.name.starts_with("segments_")) else { return Ok(None) };
        let Some(list) = self.small(commit, list)? else { return Ok(None) };
        let Some(segments) = lucene::segments(&list) else { return Ok(None) };
        let mut count = 0_u64;
        for segment in segments {
            let name = format!("{}.si", segment.name);
            let Some(file) = commit.files.iter().find(|file| file.name == name) else { return Ok(None) };
            let Some(content) = self.small(commit, file)? else { return Ok(None) };
            let alive = lucene::documents(&content).and_then(|all| all.checked_sub(segment.deleted));
            let Some(alive) = alive else { return Ok(None) };
            count += u64::from(alive);
        }
        Ok(Some(count))
    }

    fn small(&self, commit: &Commit, file: &IndexFile) -> Result<Option<Vec<u8>>, Error> {
        if file.size > LARGEST_LIST {
            return Ok(None);
        }
        let mut content = Vec::new();
        let mut keep = |bytes: &[u8]| {
            content.extend_from_slice(bytes);
            Ok(())
        };
        self.read(commit, file, &mut keep, &|| false)?;
        Ok(Some(content))
    }

    /// Hands a file on, piece by piece. One that breaks off is gone on with where it did.
    pub fn read(
        &self,
        commit: &Commit,
        file: &IndexFile,
        out: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let doing = "read the index of";
        let mut sum = Sum::default();
        let mut done = 0_u64;
        let mut tries = 0;
        while done < file.size {
            let before = done;
            let mut take = |bytes: &[u8]| {
                if cancelled() {
                    return Err(Error::Cancelled);
                }
                sum.update(bytes);
                done += bytes.len() as u64;
                if done > file.size {
                    return Err(self.client.said(doing, format!("the file `{}` is longer than announced", file.name)));
                }
                out(bytes)
            };
            let broke = self.packets(doing, commit, file, before, &mut take)?;
            if done == before {
                tries += 1;
            }
            if done < file.size && tries == TRIES {
                let broke = broke.map_or_else(|| "it sent less than announced".to_owned(), |why| why.to_string());
                return Err(self.client.said(doing, format!("the file `{}`: {broke}", file.name)));
            }
        }
        match (sum.end(), file.checksum) {
            (Ending::Broken, _) => Err(self.broken(file)),
            (Ending::Sound(found), Some(listed)) if found != listed => Err(self.broken(file)),
            _ => Ok(()),
        }
    }

    fn broken(&self, file: &IndexFile) -> Error {
        let path = self.core.clone().into();
        Error::Corrupt { path, detail: format!("the checksum of its file `{}` is wrong", file.name) }
    }

    /// From there to the end, or to where the way broke off, and then why.
    fn packets(
        &self,
        doing: &'static str,
        commit: &Commit,
        file: &IndexFile,
        from: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<Option<io::Error>, Error> {
        let (generation, offset) = (commit.generation.to_string(), from.to_string());
        let mut asked = vec![
            ("command", "filecontent"),
            ("generation", generation.as_str()),
            ("file", file.name.as_str()),
            ("wt", "filestream"),
        ];
        if from > 0 {
            asked.push(("offset", offset.as_str()));
        }
        let mut reply = self.client.stream(doing, &format!("{}/replication", self.core), &asked)?;
        let mut stream = reply.body_mut().with_config().limit(u64::MAX).reader();
        let mut packet = Vec::new();
        loop {
            match next(&mut stream, &mut packet) {
                Ok(true) => take(&packet)?,
                Ok(false) => return Ok(None),
                Err(error) => return Ok(Some(error)),
            }
        }
    }
}

/// A packet is its length and so many bytes; one of no length is the last.
fn next(stream: &mut impl Read, packet: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length == 0 {
        return Ok(false);
    }
    if length > LARGEST_PACKET {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not sent in packets"));
    }
    packet.resize(length as usize, 0);
    stream.read_exact(packet)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_packets_until_an_empty_one() {
        let mut stream: &[u8] = &[0, 0, 0, 2, 7, 8, 0, 0, 0, 1, 9, 0, 0, 0, 0, 5];
        let mut packet = Vec::new();
        let mut found = Vec::new();
        while next(&mut stream, &mut packet).expect("whole packets") {
            found.push(packet.clone());
        }
        assert_eq!(found, [vec![7, 8], vec![9]]);
    }

    #[test]
    fn what_breaks_off_or_is_no_stream_is_told() {
        let kind = |mut bytes: &[u8]| next(&mut bytes, &mut Vec::new()).expect_err("no packet").kind();
        assert_eq!(kind(&[0, 0, 0, 3, 1]), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(&[0, 0]), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(b"<html>"), io::ErrorKind::InvalidData);
    }
}
