//! The form of a dump: a tar archive that, unpacked, is the directory of a core (`conf/`, `data/index/`), or of a collection
//! one below `shards/` for each shard. First in it stands what it holds.
//!
//! **Invariant:** what is unpacked is what is listed, each file with its checksum, and nothing else; no name leads out of the
//! directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::config::{self, Digests};
use super::index::{Commit, Part};
use super::lucene::{Ending, Sum};
use super::said::IndexFile;
use crate::domain::manifest::Facts;
use crate::drivers::Error;

/// First in the archive.
const LIST: &str = "stillpoint.json";
const VERSION: u32 = 1;
/// Of the list, bytes.
const LARGEST_LIST: u64 = 64 << 20;
/// An archive's unit, bytes.
const BLOCK: u64 = 512;

/// What a dump holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contents {
    version: u32,
    /// Of the server.
    pub solr: String,
    /// Core, or collection.
    pub name: String,
    /// Files of the configuration.
    pub configuration: Digests,
    /// How documents find their shard, in SolrCloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<serde_json::Value>,
    pub parts: Vec<PartContents>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartContents {
    /// In SolrCloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// Of documents' hashes, in SolrCloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    pub generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<u64>,
    pub files: Vec<IndexFile>,
}

impl PartContents {
    /// Where its index lies in the archive.
    pub fn directory(&self) -> String {
        match &self.shard {
            Some(shard) => format!("shards/{shard}/data/index"),
            None => "data/index".to_owned(),
        }
    }

    fn commit(&self) -> Commit {
        Commit { generation: self.generation, files: self.files.clone() }
    }

    fn name(&self) -> &str {
        self.shard.as_deref().unwrap_or("core")
    }
}

impl Contents {
    pub fn new(solr: &str, name: &str, configuration: Digests, parts: Vec<PartContents>) -> Self {
        Self { version: VERSION, solr: solr.to_owned(), name: name.to_owned(), configuration, router: None, parts }
    }

    pub fn with_router(self, router: Option<serde_json::Value>) -> Self {
        Self { router, ..self }
    }

    pub fn size(&self) -> u64 {
        self.parts.iter().flat_map(|part| &part.files).map(|file| file.size).sum()
    }

    pub fn is_counted(&self) -> bool {
        self.parts.iter().all(|part| part.documents.is_some())
    }

    /// Documents of each part, where all are known; and one checksum of the configuration and of every file of the index.
    pub fn facts(&self) -> Facts {
        let mut rows = BTreeMap::new();
        if self.is_counted() {
            rows.extend(self.parts.iter().map(|part| (part.name().to_owned(), part.documents.unwrap_or(0))));
        }
        let mut hash = Sha256::new();
        for (path, digest) in &self.configuration {
            hash.update(format!("configuration {path}\n{digest}\n"));
        }
        for part in &self.parts {
            for file in &part.files {
                let checksum = file.checksum.map(|sum| sum.to_string()).unwrap_or_default();
                hash.update(format!("{} {} {} {checksum}\n", part.directory(), file.name, file.size));
            }
        }
        Facts { rows, schema: hex::encode(hash.finalize()) }
    }

    fn checked(self, path: &Path) -> Result<Self, Error> {
        let shard = |part: &PartContents| part.shard.as_deref().is_none_or(super::client::is_name);
        let files = |part: &PartContents| !part.files.is_empty() && part.files.iter().all(IndexFile::is_safe);
        let whole = !self.parts.is_empty() && self.parts.iter().all(|part| shard(part) && files(part));
        if self.version != VERSION {
            let detail = format!("it is of the form {}, known is {VERSION}: use a newer Stillpoint", self.version);
            return Err(Error::Corrupt { path: path.to_owned(), detail });
        }
        if !whole || !self.configuration.keys().all(|name| config::is_safe(name)) {
            return Err(not_a_dump(path));
        }
        Ok(self)
    }
}

/// Writes what is listed, in this order. `parts` are where the contents' parts are read.
pub(super) fn write(
    contents: &Contents,
    parts: &[Part],
    out: &mut dyn Write,
    cancelled: &dyn Fn() -> bool,
) -> Result<u64, Error> {
    let counted = Counted { out, written: 0 };
    let mut builder = Builder::new(counted);
    let list = serde_json::to_vec_pretty(contents).map_err(io::Error::from).map_err(Error::Output)?;
    append(&mut builder, LIST, &list)?;
    let Some(first) = parts.first() else { return Err(Error::Cancelled) };
    for (name, digest) in &contents.configuration {
        let content = config::read(&first.client, &first.core, name)?;
        if config::digest(&content) != *digest {
            let what = format!("the file `{name}` of the configuration");
            return Err(Error::Redefined { database: contents.name.clone(), what });
        }
        append(&mut builder, &format!("conf/{name}"), &content)?;
    }
    for (listed, part) in contents.parts.iter().zip(parts) {
        let commit = listed.commit();
        for file in &commit.files {
            let header = header(&format!("{}/{}", listed.directory(), file.name), file.size);
            let out = builder.get_mut();
            out.write_all(header.map_err(Error::Output)?.as_bytes()).map_err(Error::Output)?;
            let mut hand_on = |bytes: &[u8]| out.write_all(bytes).map_err(Error::Output);
            part.read(&commit, file, &mut hand_on, cancelled)?;
            let padding = (BLOCK - file.size % BLOCK) % BLOCK;
            out.write_all(&[0; BLOCK as usize][..padding as usize]).map_err(Error::Output)?;
        }
    }
    let mut counted = builder.into_inner().map_err(Error::Output)?;
    counted.flush().map_err(Error::Output)?;
    Ok(counted.written)
}

fn header(path: &str, size: u64) -> io::Result<Header> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    // The same bytes at each dump of the same file: nothing of when or by whom.
    header.set_mode(0o640);
    header.set_mtime(0);
    header.set_size(size);
    header.set_path(path)?;
    header.set_cksum();
    Ok(header)
}

fn append<W: Write>(builder: &mut Builder<W>, path: &str, content: &[u8]) -> Result<(), Error> {
    // A long path, which a header has no place for, stands before it; `append_data` sees to that.
    let mut header = header("file", content.len() as u64).map_err(Error::Output)?;
    builder.append_data(&mut header, path, content).map_err(Error::Output)
}

struct Counted<'a> {
    out: &'a mut dyn Write,
    written: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Unpacks a dump into a directory, durably, and says what it held.
pub(super) fn unpack(directory: &Path, dump: &mut dyn Read) -> Result<Contents, Error> {
    let mut archive = tar::Archive::new(dump);
    let mut entries = archive.entries().map_err(Error::Input)?;
    let mut contents: Option<Contents> = None;
    let mut missing: BTreeMap<PathBuf, Expected> = BTreeMap::new();
    for entry in &mut entries {
        let mut entry = entry.map_err(Error::Input)?;
        let path = entry.path().map_err(Error::Input)?.into_owned();
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || entry.header().entry_type() != EntryType::Regular {
            return Err(not_a_dump(directory));
        }
        if contents.is_none() {
            if path != Path::new(LIST) || entry.size() > LARGEST_LIST {
                return Err(not_a_dump(directory));
            }
            let mut text = Vec::new();
            entry.read_to_end(&mut text).map_err(Error::Input)?;
            let list: Contents = serde_json::from_slice(&text).map_err(|_| not_a_dump(directory))?;
            let list = list.checked(directory)?;
            missing = expected(&list);
            contents = Some(list);
            continue;
        }
        let Some(expected) = missing.remove(&path) else { return Err(not_a_dump(directory)) };
        place(&directory.join(&path), &mut entry, &expected)?;
    }
    let whole = missing.is_empty();
    let Some(contents) = contents.filter(|_| whole) else {
        return Err(Error::Input(io::Error::new(io::ErrorKind::UnexpectedEof, "the dump breaks off")));
    };
    Ok(contents)
}

enum Expected {
    Configuration(String),
    Index(IndexFile),
}

fn expected(contents: &Contents) -> BTreeMap<PathBuf, Expected> {
    let configuration = contents.configuration.iter();
    let configuration =
        configuration.map(|(name, digest)| (Path::new("conf").join(name), Expected::Configuration(digest.clone())));
    let index = contents.parts.iter().flat_map(|part| {
        let directory = part.directory();
        part.files.iter().map(move |file| (Path::new(&directory).join(&file.name), Expected::Index(file.clone())))
    });
    configuration.chain(index).collect()
}

fn place(path: &Path, content: &mut dyn Read, expected: &Expected) -> Result<(), Error> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
    }
    let mut file = File::create_new(path).map_err(Error::io("create", path))?;
    let mut buffer = vec![0; 256 * 1024];
    let (mut digest, mut sum, mut size) = (Sha256::new(), Sum::default(), 0_u64);
    loop {
        let read = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::Input(error)),
        };
        let bytes = &buffer[..read];
        size += read as u64;
        match expected {
            Expected::Configuration(_) => digest.update(bytes),
            Expected::Index(_) => sum.update(bytes),
        }
        file.write_all(bytes).map_err(Error::io("write", path))?;
    }
    let sound = match expected {
        Expected::Configuration(expected) => hex::encode(digest.finalize()) == *expected,
        Expected::Index(listed) => {
            let sound = match (sum.end(), listed.checksum) {
                (Ending::Sound(found), Some(expected)) => found == expected,
                (Ending::Sound(_) | Ending::Unsigned, None) => true,
                _ => false,
            };
            sound && size == listed.size
        }
    };
    if !sound {
        return Err(Error::Corrupt {
            path: path.to_owned(),
            detail: "its checksum is not the recorded one".to_owned(),
        });
    }
    file.sync_all().map_err(Error::io("write", path))
}

fn not_a_dump(path: &Path) -> Error {
    Error::Corrupt { path: path.to_owned(), detail: "what was to be loaded is not a dump of Solr".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Contents);

    /// An archive as it is written, with a configuration of one file and an index of one.
    fn dump(change: impl FnOnce(&mut Contents)) -> Vec<u8> {
        let configuration = Digests::from([("solrconfig.xml".to_owned(), config::digest(b"<config/>"))]);
        let files = vec![IndexFile { name: "segments_1".to_owned(), size: 3, checksum: None }];
        let part = PartContents { shard: None, range: None, generation: 1, documents: Some(2), files };
        let mut contents = Contents::new("9.8.0", "shop", configuration, vec![part]);
        change(&mut contents);
        let mut builder = Builder::new(Vec::new());
        append(&mut builder, LIST, &serde_json::to_vec(&contents).expect("JSON")).expect("written");
        append(&mut builder, "conf/solrconfig.xml", b"<config/>").expect("written");
        append(&mut builder, "data/index/segments_1", b"abc").expect("written");
        builder.into_inner().expect("written")
    }

    fn unpacked(dump: &[u8]) -> Result<(tempfile::TempDir, Contents), Error> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let contents = unpack(&directory.path().join("core"), &mut &dump[..])?;
        Ok((directory, contents))
    }

    #[test]
    fn what_is_unpacked_is_a_cores_directory() {
        let (directory, contents) = unpacked(&dump(|_| ())).expect("unpacked");
        let core = directory.path().join("core");
        assert_eq!(fs::read(core.join("conf/solrconfig.xml")).expect("there"), b"<config/>");
        assert_eq!(fs::read(core.join("data/index/segments_1")).expect("there"), b"abc");
        assert_eq!(contents.facts().rows.get("core"), Some(&2));
        assert_eq!(contents.size(), 3);
    }

    #[test]
    fn what_is_not_as_listed_is_refused() {
        let table: [(&str, Change); 6] = [
            ("other content", |it| it.configuration.values_mut().for_each(|digest| *digest = config::digest(b""))),
            ("another size", |it| it.parts[0].files[0].size = 4),
            ("a checksum that it has not", |it| it.parts[0].files[0].checksum = Some(1)),
            ("a way out", |it| it.parts[0].files[0].name = "../segments_1".to_owned()),
            ("a later form", |it| it.version = 2),
            ("nothing", |it| it.parts.clear()),
        ];
        for (what, change) in table {
            assert!(matches!(unpacked(&dump(change)), Err(Error::Corrupt { .. })), "{what}");
        }
        let more: Change = |it| {
            it.configuration.insert("schema.xml".to_owned(), config::digest(b""));
        };
        assert!(matches!(unpacked(&dump(more)), Err(Error::Input(_))), "a file that is not in it");
    }

    #[test]
    fn a_dump_that_breaks_off_is_told_from_one_that_ends() {
        let whole = dump(|_| ());
        for length in [0, 100, 512, 1024, 2000, whole.len() - 2500] {
            let error = unpacked(&whole[..length]).expect_err("broken off");
            assert!(matches!(error, Error::Input(_) | Error::Corrupt { .. }), "{length}: {error}");
        }
        assert!(matches!(unpacked(b"-- SQL"), Err(Error::Input(_))), "not an archive");
    }

    #[test]
    fn links_and_ways_out_are_refused() {
        for path in ["../evil", "/evil"] {
            let mut bytes = dump(|_| ());
            // Behind the list, which is the first entry: header, content, padding.
            let list =
                512 + usize::from_str_radix(std::str::from_utf8(&bytes[124..135]).expect("octal"), 8).expect("a size");
            let at = list.div_ceil(512) * 512;
            let mut header = Header::from_byte_slice(&bytes[at..at + 512]).clone();
            header.as_mut_bytes()[..100].fill(0);
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            bytes[at..at + 512].copy_from_slice(header.as_bytes());
            assert!(matches!(unpacked(&bytes), Err(Error::Corrupt { .. })), "{path}");
        }
    }

    #[test]
    fn one_checksum_tells_configurations_and_indexes_apart() {
        let contents =
            |change: fn(&mut Contents)| unpacked(&dump(|_| ())).map(|(_, mut it)| (change(&mut it), it.facts()).1);
        let same = contents(|_| ()).expect("facts");
        let table: [Change; 3] = [
            |it| it.configuration.values_mut().for_each(|digest| *digest = config::digest(b"")),
            |it| it.parts[0].files[0].checksum = Some(1),
            |it| it.parts[0].shard = Some("shard1".to_owned()),
        ];
        for change in table {
            assert_ne!(contents(change).expect("facts").schema, same.schema);
        }
        let uncounted = contents(|it| it.parts[0].documents = None).expect("facts");
        assert!(uncounted.rows.is_empty() && uncounted.schema == same.schema);
    }
}
