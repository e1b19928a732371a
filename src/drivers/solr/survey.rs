//! Looking at a server: whether it is one node or a cluster, what the index is, what can't be promised of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::client::{ANSWER, Address, Client};
use super::index::Part;
use super::place::Place;
use super::said::{self, Changes, CoreStatus, Cores, IndexStatus, Replication, System};
use super::said_cluster::{self, Aliases, ClusterStatus, Collection, Collections, Replica};
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
    /// Where the cores lie, or what all nodes see, when a restore is possible.
    pub place: Option<Place>,
    pub cloud: Option<Cloud>,
    /// For the snapshot's page (R15).
    pub limits: Vec<String>,
    /// Why it can't be restored as things are, each with what to do.
    pub obstacles: Vec<String>,
}

/// What is so only of a collection.
#[derive(Debug)]
pub(super) struct Cloud {
    /// Of the collection that is live: `router`, `replicationFactor` and the like.
    pub settings: BTreeMap<String, Value>,
    /// All that are alive, whatever they hold.
    pub nodes: Vec<Client>,
    /// What they call the declared `path`; tried out by a restore and by the connection test only.
    pub seen: PathBuf,
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
    let found = if system.is_cloud() { collection(client, address)? } else { single(client, address)? };
    let (parts, ranges) = found.parts.into_iter().unzip();
    let mut survey = Survey {
        version: system.lucene.solr.clone(),
        index: found.index,
        parts,
        ranges,
        size: Bytes(0),
        documents: Vec::new(),
        has_log: true,
        place: None,
        cloud: found.cloud,
        limits: Vec::new(),
        obstacles: found.obstacles,
    };
    let mut directories = Vec::new();
    let mut live = CoreStatus::default();
    for part in &survey.parts {
        live = status(&part.client, &part.core)?.unwrap_or_default();
        directories.extend(live.instance_dir.clone().map(PathBuf::from));
        let Some(index) = &live.index else {
            return Err(unsuitable(address, format!("has the core `{}`, which is not loaded", part.core)));
        };
        survey.size = survey.size + Bytes(index.size_in_bytes);
        survey.documents.push((part.shard.clone().unwrap_or_else(|| "core".to_owned()), index.num_docs));
        survey.has_log &= changes(part)?.is_some();
        readable(part, index)?;
    }
    let place = match &mut survey.cloud {
        Some(cloud) => shared(address, &directories, cloud),
        None => {
            follows(client, address)?;
            place(address, &live)
        }
    };
    match place {
        Ok(place) => survey.place = Some(place).filter(|_| survey.obstacles.is_empty()),
        Err(why) => survey.obstacles.push(why),
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

/// Each with the range of its shard.
pub(super) type Shards = Vec<(Part, Option<String>)>;

struct Found {
    index: String,
    parts: Shards,
    cloud: Option<Cloud>,
    obstacles: Vec<String>,
}

fn single(client: &Client, address: &Address) -> Result<Found, Error> {
    if status(client, &address.core)?.is_none() {
        return Err(Error::SolrNoIndex { at: client.base().to_owned(), index: address.core.clone() });
    }
    let part = Part { shard: None, client: client.clone(), core: address.core.clone() };
    Ok(Found { index: address.core.clone(), parts: vec![(part, None)], cloud: None, obstacles: Vec::new() })
}

pub(super) fn aliases(client: &Client) -> Result<Aliases, Error> {
    client.get("list the aliases of", "admin/collections", &[("action", "LISTALIASES")], ANSWER)
}

pub(super) fn is_there(client: &Client, collection: &str) -> Result<bool, Error> {
    let listed: Collections =
        client.get("list the collections of", "admin/collections", &[("action", "LIST")], ANSWER)?;
    Ok(listed.collections.iter().any(|name| name == collection))
}

/// A collection, and the nodes that are alive.
pub(super) fn cluster(client: &Client, name: &str) -> Result<Option<(Collection, Vec<Client>)>, Error> {
    let asked = [("action", "CLUSTERSTATUS"), ("collection", name)];
    let status: ClusterStatus = client.get("look at the cluster of", "admin/collections", &asked, ANSWER)?;
    let mut cluster = status.cluster;
    let Some(collection) = cluster.collections.remove(name) else { return Ok(None) };
    let replicas: Vec<&Replica> = collection.shards.values().flat_map(|shard| shard.replicas.values()).collect();
    let scheme = replicas.first().map_or(client.base(), |replica| &replica.base_url);
    let scheme = scheme.split_once("://").map_or("http", |(scheme, _)| scheme);
    let nodes = cluster.live_nodes.iter().filter_map(|node| {
        let entered =
            replicas.iter().find(|replica| replica.node_name == *node).map(|replica| replica.base_url.clone());
        entered.or_else(|| said_cluster::address(node, scheme)).map(|base| client.node(&base))
    });
    let nodes = nodes.collect();
    Ok(Some((collection, nodes)))
}

/// What holds each shard's changes, with the shard's range; or what is wrong with a shard.
pub(super) fn leaders(client: &Client, collection: &Collection) -> Result<Shards, String> {
    let mut parts = Vec::new();
    for (name, shard) in collection.shards.iter().filter(|(_, shard)| shard.state != "inactive") {
        if shard.state != "active" {
            let state = &shard.state;
            return Err(format!("has a shard `{name}` that is being changed ({state}): wait until that is done"));
        }
        let Some(leader) = shard.leader() else {
            return Err(format!("has a shard `{name}` without an active leader: mend the cluster first"));
        };
        let part = Part { shard: Some(name.clone()), client: client.node(&leader.base_url), core: leader.core.clone() };
        parts.push((part, shard.range.clone()));
    }
    if parts.is_empty() { Err("has no shard".to_owned()) } else { Ok(parts) }
}

fn collection(client: &Client, address: &Address) -> Result<Found, Error> {
    let aliases = aliases(client)?;
    let declared = address.core.as_str();
    let followed = aliases.follow(declared);
    let name = followed.map_or(declared, |(_, name)| name);
    if name.contains(',') {
        let why = format!("is an alias of several collections ({name}): declare an alias of one");
        return Err(unsuitable(address, why));
    }
    let Some((collection, nodes)) = cluster(client, name)? else {
        return Err(Error::SolrNoIndex { at: client.base().to_owned(), index: address.core.clone() });
    };
    let parts = leaders(client, &collection).map_err(|why| unsuitable(address, why))?;
    let mut obstacles = Vec::new();
    let make = format!("{}/admin/collections?action=CREATEALIAS", client.base());
    match followed {
        None => obstacles.push(format!(
            "`{declared}` is a collection, and only an alias passes from one collection to another at once: make one \
             ({make}&name={declared}_live&collections={declared}), and name that one in every client and in the declaration"
        )),
        Some((last, _)) if last != declared => {
            obstacles.push(format!("`{declared}` is an alias of the alias `{last}`: declare `{last}`"));
        }
        Some(_) if aliases.is_routed(declared) => {
            obstacles.push(format!("`{declared}` is a routed alias, to which Solr itself adds collections"));
        }
        Some(_) => {
            if let Some(other) = aliases.others(declared, name).first() {
                obstacles.push(format!(
                    "the collection `{name}` has also the alias `{other}`, which would stay with the old data: make it \
                     an alias of `{declared}` ({make}&name={other}&collections={declared})"
                ));
            }
            if is_there(client, declared)? {
                obstacles.push(format!(
                    "there is a collection `{declared}` besides the alias, and some clients take the one and some the \
                     other: delete that collection, or declare an alias that is named like none"
                ));
            }
        }
    }
    let cloud = Some(Cloud { settings: collection.settings, nodes, seen: PathBuf::new() });
    Ok(Found { index: name.to_owned(), parts, cloud, obstacles })
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
    part.client.get::<said::Listing>("list the configuration of", &path, &[], ANSWER)?;
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

/// As [`place`], of a collection.
fn shared(address: &Address, directories: &[PathBuf], cloud: &mut Cloud) -> Result<Place, String> {
    let Some(path) = &address.path else {
        return Err(
            "the declaration names no `path`, a directory that the worker and every node of the cluster see".to_owned()
        );
    };
    let (place, seen) = Place::shared(path, directories.iter().map(PathBuf::as_path))?;
    cloud.seen = seen;
    Ok(place)
}

/// For the snapshot's page.
pub(super) fn obstacle(why: &str) -> String {
    format!("Can't be restored as things are: {why}.")
}

fn limits(survey: &Survey) -> Vec<String> {
    let mut limits: Vec<String> = survey.obstacles.iter().map(|why| obstacle(why)).collect();
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
