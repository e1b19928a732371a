//! Looking at a server: whether it is one node or a cluster, what the index is, what can't be promised of it.

use std::path::{Path, PathBuf};

use super::client::{ANSWER, Address, Client};
use super::index::Part;
use super::place::Place;
use super::said::{Aliases, Changes, ClusterStatus, CoreStatus, Cores, IndexStatus, Replication, System};
use crate::domain::Bytes;
use crate::drivers::Error;

/// Older ones keep no commit point under a name over restarts, or write forms that are not read here.
const OLDEST: u32 = 8;

/// What was found by looking.
#[derive(Debug)]
pub(super) struct Survey {
    /// Of Solr.
    pub version: String,
    /// The core; in SolrCloud the collection, behind its aliases.
    pub index: String,
    /// One of a core, one for each shard of a collection.
    pub parts: Vec<Part>,
    /// Ranges of the shards, beside the parts.
    pub ranges: Vec<Option<String>>,
    pub size: Bytes,
    pub documents: Vec<(String, u64)>,
    pub has_log: bool,
    /// Where the cores lie, when a restore is possible.
    pub place: Option<Place>,
    /// For the snapshot's page (R15).
    pub limits: Vec<String>,
    /// Why it can't be restored as things are, each with what to do.
    pub obstacles: Vec<String>,
}

/// # Errors
/// [`Error::SolrNoIndex`], [`Error::Unsuitable`] for a follower, a cluster that is not whole, a version that is too old;
/// whatever speaking to it gives.
pub(super) fn look(client: &Client, address: &Address) -> Result<Survey, Error> {
    let system = system(client)?;
    if system.major() < OLDEST {
        let why = format!("is served by Solr {}, which is too old: {OLDEST}.0 and later are read", system.lucene.solr);
        return Err(unsuitable(address, why));
    }
    let (index, parts, ranges) =
        if system.is_cloud() { collection(client, address)? } else { single(client, address)? };
    let mut survey = Survey {
        version: system.lucene.solr.clone(),
        index,
        parts,
        ranges,
        size: Bytes(0),
        documents: Vec::new(),
        has_log: true,
        place: None,
        limits: Vec::new(),
        obstacles: Vec::new(),
    };
    let mut live = CoreStatus::default();
    for part in &survey.parts {
        live = status(&part.client, &part.core)?.unwrap_or_default();
        let Some(index) = &live.index else {
            return Err(unsuitable(address, format!("has the core `{}`, which is not loaded", part.core)));
        };
        survey.size = survey.size + Bytes(index.size_in_bytes);
        survey.documents.push((part.shard.clone().unwrap_or_else(|| "core".to_owned()), index.num_docs));
        survey.has_log &= changes(part)?.is_some();
        readable(part, index)?;
    }
    if system.is_cloud() {
        survey.obstacles.push(
            "a collection of SolrCloud is not put back by Stillpoint: docs/recovery.md tells how its dump goes back by hand"
                .to_owned(),
        );
    } else {
        follows(client, address)?;
        match place(address, &live) {
            Ok(place) => survey.place = Some(place),
            Err(why) => survey.obstacles.push(why),
        }
    }
    survey.limits = limits(&survey);
    Ok(survey)
}

pub(super) fn system(client: &Client) -> Result<System, Error> {
    client.get("look at", "admin/info/system", &[], ANSWER)
}

pub(super) fn unsuitable(address: &Address, why: String) -> Error {
    Error::Unsuitable { database: address.index(), why }
}

type Found = (String, Vec<Part>, Vec<Option<String>>);

fn single(client: &Client, address: &Address) -> Result<Found, Error> {
    if status(client, &address.core)?.is_none() {
        return Err(Error::SolrNoIndex { at: client.base().to_owned(), index: address.core.clone() });
    }
    let part = Part { shard: None, client: client.clone(), core: address.core.clone() };
    Ok((address.core.clone(), vec![part], vec![None]))
}

/// The leaders of a collection's shards.
fn collection(client: &Client, address: &Address) -> Result<Found, Error> {
    let path = "admin/collections";
    let aliases: Aliases = client.get("list the aliases of", path, &[("action", "LISTALIASES")], ANSWER)?;
    let name = aliases.aliases.get(&address.core).unwrap_or(&address.core);
    if name.contains(',') {
        let why = format!("is an alias of several collections ({name}): declare an alias of one");
        return Err(unsuitable(address, why));
    }
    let asked = [("action", "CLUSTERSTATUS"), ("collection", name.as_str())];
    let status: ClusterStatus = client.get("look at the cluster of", path, &asked, ANSWER)?;
    let Some(collection) = status.cluster.collections.get(name) else {
        return Err(Error::SolrNoIndex { at: client.base().to_owned(), index: address.core.clone() });
    };
    let (mut parts, mut ranges) = (Vec::new(), Vec::new());
    for (name, shard) in collection.shards.iter().filter(|(_, shard)| shard.state != "inactive") {
        if shard.state != "active" {
            let why = format!("has a shard `{name}` that is being changed ({}): wait until that is done", shard.state);
            return Err(unsuitable(address, why));
        }
        let Some(leader) = shard.leader() else {
            let why = format!("has a shard `{name}` without an active leader: mend the cluster first");
            return Err(unsuitable(address, why));
        };
        let client = client.node(&leader.base_url);
        parts.push(Part { shard: Some(name.clone()), client, core: leader.core.clone() });
        ranges.push(shard.range.clone());
    }
    if parts.is_empty() {
        return Err(unsuitable(address, "has no shard".to_owned()));
    }
    Ok((name.clone(), parts, ranges))
}

/// `None`: there is no such core.
pub(super) fn status(client: &Client, core: &str) -> Result<Option<CoreStatus>, Error> {
    let cores: Cores = client.get("look at", "admin/cores", &[("action", "STATUS"), ("core", core)], ANSWER)?;
    if let Some(failure) = cores.failures.get(core) {
        let words = failure.as_str().unwrap_or("its log tells why").to_owned();
        return Err(client.said("look at", format!("the core `{core}` could not be loaded: {words}")));
    }
    let status = cores.status.get(core).filter(|status| status.name.is_some());
    if status.is_some_and(|status| status.is_loading()) {
        // Taken for one that lives elsewhere, it would be swapped or removed for another.
        return Err(client.said("look at", format!("the core `{core}` is still being loaded: try again in a while")));
    }
    Ok(status.cloned())
}

/// The newest change in the update log; `None`: it has no log.
pub(super) fn changes(part: &Part) -> Result<Option<Vec<i64>>, Error> {
    changes_within(part, ANSWER)
}

pub(super) fn changes_within(part: &Part, within: std::time::Duration) -> Result<Option<Vec<i64>>, Error> {
    let path = format!("{}/get", part.core);
    let asked = [("getVersions", "1"), ("distrib", "false")];
    Ok(part.client.get::<Changes>("read the update log of", &path, &asked, within)?.versions)
}

/// Really asks for what a snapshot is read from.
fn readable(part: &Part, index: &IndexStatus) -> Result<(), Error> {
    let path = format!("{}/admin/file", part.core);
    part.client.get::<super::said::Listing>("list the configuration of", &path, &[], ANSWER)?;
    if let Some(generation) = index.generation() {
        // A commit since then has replaced it: that it can be asked for is enough.
        match part.commit(generation) {
            Ok(_) => {}
            Err(Error::Solr { source: super::Cause::Said(words), .. }) if words.contains("generation") => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn follows(client: &Client, address: &Address) -> Result<(), Error> {
    let path = format!("{}/replication", address.core);
    let asked = [("command", "details")];
    let replication: Replication = client.get("look at the replication of", &path, &asked, ANSWER)?;
    if replication.follows() {
        let why = "fetches its index from another server, which would undo a restore: declare that one".to_owned();
        return Err(unsuitable(address, why));
    }
    Ok(())
}

/// Why a restore can't be, or where it would put the files.
fn place(address: &Address, live: &CoreStatus) -> Result<Place, String> {
    let Some(path) = &address.path else {
        return Err(
            "the declaration names no `path`, the directory of the server's cores as the worker sees it".to_owned()
        );
    };
    let directory = live.instance_dir.as_deref().map(PathBuf::from).unwrap_or_default();
    let data = live.data_dir.as_deref().map(PathBuf::from).unwrap_or_default();
    if data != directory.join("data") {
        let data = data.display();
        return Err(format!("its data lies at {data} and not in `data/` of the core's directory: move it there"));
    }
    Place::find(path, &directory)
}

fn limits(survey: &Survey) -> Vec<String> {
    let mut limits: Vec<String> =
        survey.obstacles.iter().map(|why| format!("Can't be restored as things are: {why}.")).collect();
    if !survey.has_log {
        limits.push(
            "The index has no update log: whether somebody writes round the gate can't be told, so no snapshot with it is \
             labelled consistent. Enable `updateLog` in solrconfig.xml."
                .to_owned(),
        );
    }
    if survey.parts.len() > 1 {
        limits.push(
            "The collection's shards are fixed one after the other: what is written round the gate meanwhile may be in one \
             and not in another."
                .to_owned(),
        );
    }
    limits
}

/// Whether that is the directory of that name, wherever it lies.
pub(super) fn is_called(status: &CoreStatus, name: &str) -> bool {
    status.instance_dir.as_deref().is_some_and(|directory| Path::new(directory).file_name() == Some(name.as_ref()))
}
