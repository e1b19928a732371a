//! Replacing what a server shows under a core's name: a core is made beside it and the two exchange names.
//!
//! **Invariant:** which core is which is read from the server each time, by the directory that it lives in: the one that was
//! loaded lives in a directory of the load's own name, for ever. Names are exchanged by Solr's own `SWAP`.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::archive::{self, Contents, PartContents};
use super::client::WORK;
use super::cloud::Replaced;
use super::index::Part;
use super::place::{self, Place};
use super::said::Done;
use super::survey::{self, Survey, is_called};
use super::{Solr, view};
use crate::domain::manifest::Facts;
use crate::drivers::{Error, service};

/// For the server to remove a directory after it let a core go.
const REMOVAL: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);
pub(super) const IS_LIVE: &str = "what this same restore loaded is live already: take it back first, or restore again";
pub(super) const IS_GONE: &str = "what was loaded beside is not there any more: restore again";

/// What was, or is going to be, loaded into a core of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    pub(super) scratch: PathBuf,
    /// The live core, or in SolrCloud the alias.
    pub(super) core: String,
    /// The core beside it, and the directory of what was loaded; or the collection.
    pub(super) name: String,
}

/// The core, or the collection, that was live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    pub(super) scratch: PathBuf,
    pub(super) core: String,
    /// What it is called after the exchange; of a collection, what takes its place.
    pub(super) name: String,
    /// The commit point that is kept.
    pub(super) generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) collection: Option<Replaced>,
}

/// Which core is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The old one; what was loaded is beside it.
    Before,
    /// What was loaded.
    After,
    /// The old one, and there is no other.
    Alone,
}

pub(super) fn beside(driver: &Solr, scratch: &Path) -> Beside {
    use std::os::unix::ffi::OsStrExt as _;
    // Belongs to one activity and service: the same at each try.
    let id = hex::encode(&Sha256::digest(scratch.as_os_str().as_bytes())[..6]);
    let core = driver.address.core.clone();
    Beside { scratch: scratch.to_owned(), name: format!("{core}_stillpoint_{id}"), core }
}

/// The name of the commit point that a rollback returns to.
pub(super) fn pin(name: &str) -> String {
    format!("stillpoint-aside-{name}")
}

pub(super) fn cannot(driver: &Solr, why: impl Into<String>) -> Error {
    Error::CannotRestore { database: driver.address.index(), why: why.into() }
}

fn standing(driver: &Solr, core: &str, name: &str) -> Result<Standing, Error> {
    let live = survey::status(&driver.client, core)?;
    if live.is_some_and(|status| is_called(&status, name)) {
        return Ok(Standing::After);
    }
    let beside = survey::status(&driver.client, name)?;
    Ok(if beside.is_some_and(|status| is_called(&status, name)) { Standing::Before } else { Standing::Alone })
}

pub(super) fn with_place(driver: &Solr, survey: Survey) -> Result<(Survey, Place), Error> {
    let place = survey.place.clone();
    let why = survey.obstacles.join("; ");
    place.map(|place| (survey, place)).ok_or_else(|| cannot(driver, why))
}

pub(super) fn load(driver: &Solr, scratch: &Path, dump: &mut dyn Read) -> Result<Beside, Error> {
    let beside = beside(driver, scratch);
    if standing(driver, &beside.core, &beside.name)? == Standing::After {
        return Err(cannot(driver, IS_LIVE));
    }
    let (survey, place) = with_place(driver, survey::look(&driver.client, &driver.address)?)?;
    discard(driver, &beside, None)?;
    let loaded = fill(driver, &survey, &place, &beside, dump);
    if loaded.is_err()
        && let Err(left) = discard(driver, &beside, None)
    {
        tracing::warn!(core = beside.name, error = %left, "what a failed load left stays for now");
    }
    loaded.map(|()| beside)
}

fn fill(driver: &Solr, survey: &Survey, place: &Place, beside: &Beside, dump: &mut dyn Read) -> Result<(), Error> {
    let settings = place.settings()?;
    let moved = ["dataDir", "ulogDir", "config", "schema", "properties"];
    if let Some((key, _)) = settings.iter().find(|(key, _)| moved.contains(&key.as_str())) {
        let why = format!("`{key}` stands in its core.properties, which only fits the directory that it is in");
        return Err(cannot(driver, why));
    }
    let directory = place.make(&beside.name)?;
    let contents = archive::unpack(&directory, dump)?;
    io::copy(dump, &mut io::sink()).map_err(Error::Input)?;
    if contents.parts.iter().any(|part| part.shard.is_some()) {
        return Err(cannot(driver, "the snapshot is of a collection of SolrCloud, and this is a core"));
    }
    fits(driver, &contents, survey)?;
    place.hand_over(&beside.name)?;
    create(driver, &beside.name, &settings)
}

/// Whether the server can read an index of that version.
pub(super) fn fits(driver: &Solr, contents: &Contents, survey: &Survey) -> Result<(), Error> {
    let major = |version: &str| version.split('.').next().and_then(|number| number.parse::<u32>().ok());
    if major(&contents.solr) > major(&survey.version) {
        let (from, to) = (&contents.solr, &survey.version);
        return Err(cannot(driver, format!("the snapshot is of Solr {from}, whose index Solr {to} can't read")));
    }
    Ok(())
}

/// Makes a core of a directory that lies where the server's cores are.
pub(super) fn create(driver: &Solr, name: &str, settings: &[(String, String)]) -> Result<(), Error> {
    let mut asked = vec![("action", "CREATE"), ("name", name), ("instanceDir", name)];
    let settings: Vec<(String, &str)> =
        settings.iter().map(|(key, value)| (format!("property.{key}"), value.as_str())).collect();
    asked.extend(settings.iter().map(|(key, value)| (key.as_str(), *value)));
    driver.client.get::<Done>("make a core at", "admin/cores", &asked, WORK).map(drop)
}

/// What the core of that name holds, at that commit point or at the one that it shows.
fn contents(driver: &Solr, core: &str, generation: Option<u64>) -> Result<(Contents, Vec<Part>), Error> {
    let client = driver.client.clone();
    let version = survey::system(&client)?.lucene.solr;
    let part = Part { shard: None, client, core: core.to_owned() };
    let listed = listed(driver, &part, None, generation)?;
    let configuration = super::config::digests(&part.client, core)?;
    let contents = Contents::new(&version, &driver.address.core, configuration, vec![listed]);
    Ok((contents, vec![part]))
}

/// What a core holds, at that commit point or at the one that it shows.
pub(super) fn listed(
    driver: &Solr,
    part: &Part,
    range: Option<String>,
    generation: Option<u64>,
) -> Result<PartContents, Error> {
    let core = &part.core;
    let shown = survey::status(&part.client, core)?.and_then(|status| status.index);
    let shown = shown.ok_or_else(|| cannot(driver, format!("the core {core} is not there any more: restore again")))?;
    let generation = generation.or_else(|| shown.generation());
    let generation = generation.ok_or_else(|| cannot(driver, format!("the core {core} shows no commit point")))?;
    let commit = part.commit(generation)?;
    // Counted by the server where it can be, by another way than the snapshot's.
    let documents =
        if shown.generation() == Some(generation) { Some(shown.num_docs) } else { part.documents(&commit)? };
    Ok(PartContents { shard: part.shard.clone(), range, generation, documents, files: commit.files })
}

pub(super) fn check(driver: &Solr, beside: &Beside, expected: &Facts) -> Result<(), Error> {
    if standing(driver, &beside.core, &beside.name)? != Standing::Before {
        return Err(cannot(driver, IS_GONE));
    }
    let mut found = contents(driver, &beside.name, None)?.0.facts();
    if expected.rows.is_empty() {
        // Not counted when the snapshot was taken.
        found.rows.clear();
    }
    service::compare(&found, expected)
}

pub(super) fn prepare(driver: &Solr, beside: &Beside) -> Result<Aside, Error> {
    let aside = |generation| Aside {
        scratch: beside.scratch.clone(),
        core: beside.core.clone(),
        name: beside.name.clone(),
        generation,
        collection: None,
    };
    let (client, name) = (&driver.client, pin(&beside.name));
    match standing(driver, &beside.core, &beside.name)? {
        Standing::Alone => Err(Error::NotPrepared { path: beside.scratch.clone() }),
        Standing::After => {
            let kept = view::pins(client, &beside.name)?.snapshots.remove(&name);
            kept.map(|pin| aside(pin.generation.0)).ok_or_else(|| Error::NotPrepared { path: beside.scratch.clone() })
        }
        Standing::Before => {
            if view::pins(client, &beside.core)?.snapshots.contains_key(&name) {
                view::forget(client, &beside.core, &name)?;
            }
            client.commit(&beside.core, WORK)?;
            view::keep(client, &beside.core, &name, WORK).map(aside)
        }
    }
}

fn exchange(driver: &Solr, core: &str, name: &str, becomes: Standing) -> Result<(), Error> {
    let asked = [("action", "SWAP"), ("core", core), ("other", name)];
    let sent = driver.client.get::<Done>("exchange cores of", "admin/cores", &asked, WORK);
    // What counts is what stands: an answer may be lost.
    match (standing(driver, core, name)?, sent) {
        (now, _) if now == becomes => {}
        (_, Err(error)) => return Err(error),
        (_, Ok(_)) => return Err(cannot(driver, "the cores did not exchange their names")),
    }
    for core in [core, name] {
        if let Some(directory) = directory(driver, core)? {
            place::settle(&directory)?;
        }
    }
    Ok(())
}

/// A core's directory as the worker sees it.
fn directory(driver: &Solr, core: &str) -> Result<Option<PathBuf>, Error> {
    let Some(path) = &driver.address.path else { return Ok(None) };
    let directory = survey::status(&driver.client, core)?.and_then(|status| status.instance_dir);
    Ok(directory.and_then(|directory| place::seen(path, Path::new(&directory))))
}

pub(super) fn commit(driver: &Solr, beside: &Beside, aside: &Aside) -> Result<(), Error> {
    match standing(driver, &beside.core, &beside.name)? {
        Standing::After => Ok(()),
        Standing::Alone => Err(Error::NotPrepared { path: aside.scratch.clone() }),
        Standing::Before => exchange(driver, &beside.core, &beside.name, Standing::After),
    }
}

pub(super) fn roll_back(driver: &Solr, beside: &Beside) -> Result<(), Error> {
    match standing(driver, &beside.core, &beside.name)? {
        Standing::After => exchange(driver, &beside.core, &beside.name, Standing::Before),
        Standing::Before | Standing::Alone => Ok(()),
    }
}

pub(super) fn discard(driver: &Solr, beside: &Beside, aside: Option<&Aside>) -> Result<(), Error> {
    let standing = standing(driver, &beside.core, &beside.name)?;
    if standing == Standing::After && aside.is_none() {
        return Ok(());
    }
    remove(driver, &beside.name)?;
    if standing == Standing::After {
        return Ok(());
    }
    if let Some(path) = &driver.address.path {
        Place::new(path)?.remove_unused(&beside.name)?;
    }
    let name = pin(&beside.name);
    if view::pins(&driver.client, &beside.core)?.snapshots.contains_key(&name) {
        view::forget(&driver.client, &beside.core, &name)?;
    }
    Ok(())
}

/// Takes a core away with all that is in its directory; not there: nothing to do.
pub(super) fn remove(driver: &Solr, core: &str) -> Result<(), Error> {
    let left = match survey::status(&driver.client, core) {
        Ok(None) => return Ok(()),
        Ok(Some(_)) => directory(driver, core)?,
        // One that could not be loaded is there all the same.
        Err(Error::Solr { source: super::Cause::Said(_), .. }) => None,
        Err(error) => return Err(error),
    };
    let asked = [
        ("action", "UNLOAD"),
        ("core", core),
        ("deleteIndex", "true"),
        ("deleteDataDir", "true"),
        ("deleteInstanceDir", "true"),
    ];
    driver.client.get::<Done>("remove a core of", "admin/cores", &asked, WORK)?;
    let Some(left) = left else { return Ok(()) };
    let deadline = Instant::now() + REMOVAL;
    // The server removes it when the last reader has gone; what is left then is ours to remove.
    while left.exists() && Instant::now() < deadline {
        std::thread::sleep(LOOK);
    }
    place::remove_left(&left)
}

pub(super) fn dump_aside(driver: &Solr, aside: &Aside, out: &mut dyn Write) -> Result<(), Error> {
    let (contents, parts) = set_aside(driver, aside)?;
    archive::write(&contents, &parts, out, &|| false).map(drop)
}

pub(super) fn aside_facts(driver: &Solr, aside: &Aside) -> Result<Facts, Error> {
    set_aside(driver, aside).map(|(contents, _)| contents.facts())
}

fn set_aside(driver: &Solr, aside: &Aside) -> Result<(Contents, Vec<Part>), Error> {
    if standing(driver, &aside.core, &aside.name)? != Standing::After
        || survey::status(&driver.client, &aside.name)?.is_none()
    {
        return Err(Error::NotPrepared { path: aside.scratch.clone() });
    }
    contents(driver, &aside.name, Some(aside.generation))
}
