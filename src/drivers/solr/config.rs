//! The configuration of an index: solrconfig.xml, the schema and what they name, as the server shows it.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::client::{ANSWER, Client};
use super::said::Listing;
use crate::domain::Bytes;
use crate::drivers::Error;

/// One file is held in memory while it is read.
const LARGEST: u64 = 64 << 20;
/// Directories within directories.
const DEEPEST: usize = 16;

/// A file's content by its SHA-256, hexadecimal.
pub(super) type Digests = BTreeMap<String, String>;

/// Reads every file, to know it again.
pub(super) fn digests(client: &Client, core: &str) -> Result<Digests, Error> {
    let names = names(client, core)?;
    if names.is_empty() {
        let why =
            "shows no configuration: its handler /admin/file hides it, and without it there is no core".to_owned();
        return Err(Error::Unsuitable { database: core.to_owned(), why });
    }
    let digests = names.into_iter().map(|name| Ok((name.clone(), digest(&read(client, core, &name)?))));
    digests.collect()
}

pub(super) fn read(client: &Client, core: &str, name: &str) -> Result<Vec<u8>, Error> {
    client.file(core, name, LARGEST).map_err(|error| match error {
        Error::Solr { source: super::Cause::Http(source), .. } if is_limit(&source) => Error::Unsuitable {
            database: core.to_owned(),
            why: format!("has a file `{name}` in its configuration that is larger than {}", Bytes(LARGEST)),
        },
        error => error,
    })
}

fn is_limit(error: &ureq::Error) -> bool {
    matches!(error, ureq::Error::BodyExceedsLimit(_))
}

pub(super) fn digest(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

fn names(client: &Client, core: &str) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        let path = format!("{core}/admin/file");
        let asked = [("file", directory.as_str())];
        let asked = if directory.is_empty() { &asked[..0] } else { &asked[..] };
        let listing: Listing = client.get("list the configuration of", &path, asked, ANSWER)?;
        for (name, listed) in listing.files {
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            if !is_safe(&path) || path.split('/').count() > DEEPEST {
                let why = format!("has a file `{path}` in its configuration that can't be kept: rename it");
                return Err(Error::Unsuitable { database: core.to_owned(), why });
            }
            if listed.directory { directories.push(path) } else { names.push(path) }
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether it stays below the directory that it is put into.
pub(super) fn is_safe(path: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0']);
    path.split('/').all(plain)
}

#[cfg(test)]
mod tests {
    use super::is_safe;

    #[test]
    fn a_file_of_a_configuration_stays_where_it_is_put() {
        for path in ["solrconfig.xml", "lang/stopwords_de.txt", "a b.txt"] {
            assert!(is_safe(path), "{path}");
        }
        for path in ["", "/etc/passwd", "../x", "lang/../../x", "a//b", ".hidden", "a\\b", "a/"] {
            assert!(!is_safe(path), "{path}");
        }
    }
}
