//! What is asked of a cluster for a restore: a trial, a collection made from a backup, an alias that passes to another
//! collection, a collection taken away.
//!
//! **Invariant:** nothing but [`pass`] changes what a live alias stands for, and nothing but [`remove`] takes data away.

use std::path::Path;
use std::time::{Duration, Instant};

use super::client::{ANSWER, WORK};
use super::said::Done;
use super::said_cluster::{Asked, AskedStatus, Collection, ConfigSets, Replica};
use super::survey::{self, Survey};
use super::{Cause, Solr, backup, swap};
use crate::drivers::Error;

const COLLECTIONS: &str = "admin/collections";
/// How often is asked whether Solr is done.
const LOOK: Duration = Duration::from_millis(200);
/// For Solr to copy an index to the shards' first replicas.
const COPY: Duration = Duration::from_secs(12 * 3600);
/// For the other replicas to fetch it from those.
const RECOVERY: Duration = Duration::from_secs(3600);
/// Until what the one node did is known to the other.
const SPREAD: Duration = Duration::from_secs(30);
/// What a collection replaces is written at it under that name.
const REPLACES: &str = "property.stillpoint.replaces";

/// Why a restore could not be, as far as only a trial tells: each node has to see the declared directory. Nothing comes of
/// it: a restore onto no node is refused, but only after the node has looked for the directory.
pub(super) fn trial(found: &Survey) -> Result<Option<String>, Error> {
    let (Some(place), Some(cloud)) = (&found.place, &found.cloud) else { return Ok(None) };
    let made = place.trial().map_err(Error::io("make a directory in", &cloud.seen))?;
    let Some(name) = made.path().file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    let location = cloud.seen.join(name).display().to_string();
    let collection = format!("stillpoint{name}");
    for node in &cloud.nodes {
        let asked = [
            ("action", "RESTORE"),
            ("name", backup::NAME),
            ("collection", collection.as_str()),
            ("location", location.as_str()),
            ("createNodeSet", "EMPTY"),
        ];
        let base = node.base();
        match node.get::<Done>("try a restore at", COLLECTIONS, &asked, ANSWER) {
            Err(Error::Solr { source: Cause::Said(words), .. }) => {
                if words.contains("CREATE_NODE_SET") || words.contains("createNodeSet") {
                    continue;
                }
                let seen = cloud.seen.display();
                let why = if words.contains("does not exist") {
                    format!(
                        "the node at {base} does not see the declared path, as {seen}: mount one directory there on every node"
                    )
                } else {
                    format!("the node at {base} answers a trial with: {words}")
                };
                return Ok(Some(why));
            }
            Err(error @ (Error::SolrUnreachable { .. } | Error::SolrRefused { .. })) => {
                return Ok(Some(error.to_string()));
            }
            Err(error) => return Err(error),
            Ok(_) => return Ok(Some(format!("the node at {base} restores onto no node, which it should refuse"))),
        }
    }
    made.close().map_err(Error::io("remove a directory of", &cloud.seen))?;
    Ok(None)
}

fn asked(driver: &Solr, id: &str) -> Result<AskedStatus, Error> {
    let asked = [("action", "REQUESTSTATUS"), ("requestid", id)];
    driver.client.get::<Asked>("ask after a restore at", COLLECTIONS, &asked, ANSWER).map(|asked| asked.status)
}

/// Makes a collection of a backup that lies at `location`, as the nodes see it, with a configuration of its own.
pub(super) fn restore(driver: &Solr, name: &str, location: &Path) -> Result<(), Error> {
    let location = location.display().to_string();
    let request = [
        ("action", "RESTORE"),
        ("name", backup::NAME),
        ("collection", name),
        ("location", location.as_str()),
        ("collection.configName", name),
        ("async", name),
    ];
    driver.client.get::<Done>("restore a collection at", COLLECTIONS, &request, WORK)?;
    let deadline = Instant::now() + COPY;
    loop {
        let status = asked(driver, name)?;
        match status.state.as_str() {
            "completed" => break,
            _ if status.is_going_on() && Instant::now() < deadline => std::thread::sleep(LOOK),
            state => {
                let why = format!("Solr's own restore ended as {state} ({}): its log tells why", status.msg);
                return Err(swap::cannot(driver, why));
            }
        }
    }
    give_up_status(driver, name)
}

/// Waits for a restore that somebody asked for under that name, and has Solr forget about it.
pub(super) fn settle(driver: &Solr, name: &str) -> Result<(), Error> {
    let deadline = Instant::now() + WORK;
    loop {
        match asked(driver, name) {
            Ok(status) if status.is_going_on() => {}
            // One that failed is answered as a failure.
            Ok(_) | Err(Error::Solr { source: Cause::Said(_), .. }) => return give_up_status(driver, name),
            Err(error) => return Err(error),
        }
        if Instant::now() >= deadline {
            let why = format!("Solr is still busy with a restore into `{name}`: try again when it is done");
            return Err(swap::cannot(driver, why));
        }
        std::thread::sleep(LOOK);
    }
}

fn give_up_status(driver: &Solr, name: &str) -> Result<(), Error> {
    let asked = [("action", "DELETESTATUS"), ("requestid", name)];
    driver.client.get::<Done>("end a request at", COLLECTIONS, &asked, ANSWER).map(drop)
}

/// The collection once all of its replicas have the index.
pub(super) fn whole(driver: &Solr, name: &str) -> Result<Collection, Error> {
    let begun = Instant::now();
    loop {
        let found = if survey::is_there(&driver.client, name)? { survey::cluster(&driver.client, name)? } else { None };
        let waits_for = match found {
            Some((collection, _)) => match unready(&collection) {
                None => return Ok(collection),
                Some(replica) => replica,
            },
            None if begun.elapsed() > SPREAD => {
                let why = "Solr's own restore made no collection: its log tells why";
                return Err(swap::cannot(driver, why));
            }
            None => String::new(),
        };
        if begun.elapsed() > RECOVERY {
            let why = format!("{waits_for} has not got the index within {} minutes", RECOVERY.as_secs() / 60);
            return Err(swap::cannot(driver, why));
        }
        std::thread::sleep(LOOK);
    }
}

fn unready(collection: &Collection) -> Option<String> {
    for (name, shard) in &collection.shards {
        if shard.state != "active" || shard.leader().is_none() {
            return Some(format!("the shard `{name}`"));
        }
        let slow = shard.replicas.values().find(|replica| replica.state != "active");
        if let Some(Replica { core, .. }) = slow {
            return Some(format!("the replica `{core}`"));
        }
    }
    None
}

/// Writes at a collection what it is going to replace.
pub(super) fn remember(driver: &Solr, name: &str, replaces: &str) -> Result<(), Error> {
    let asked = [("action", "MODIFYCOLLECTION"), ("collection", name), (REPLACES, replaces)];
    driver.client.get::<Done>("mark a collection at", COLLECTIONS, &asked, WORK).map(drop)
}

pub(super) fn remembered(collection: &Collection) -> Option<&str> {
    collection.settings.get(REPLACES)?.as_str()
}

/// Has an alias stand for that collection, at every node that answers.
pub(super) fn pass(driver: &Solr, alias: &str, to: &str) -> Result<(), Error> {
    let asked = [("action", "CREATEALIAS"), ("name", alias), ("collections", to)];
    let sent = driver.client.get::<Done>("pass an alias on at", COLLECTIONS, &asked, WORK);
    // What counts is what stands: an answer may be lost.
    match (stands_for(driver, alias)?, sent) {
        (Some(now), _) if now == to => {}
        (_, Err(error)) => return Err(error),
        (_, Ok(_)) => return Err(swap::cannot(driver, format!("the alias did not pass to `{to}`"))),
    }
    spread(driver, alias, to)
}

/// Each node looks aliases up in a copy of its own, and reads it anew when it is asked to list them.
pub(super) fn spread(driver: &Solr, alias: &str, to: &str) -> Result<(), Error> {
    let Some((_, nodes)) = survey::cluster(&driver.client, to)? else { return Ok(()) };
    for node in nodes {
        match survey::aliases(&node) {
            Ok(aliases) if aliases.aliases.get(alias).is_some_and(|now| now == to) => {}
            Ok(_) => {
                return Err(swap::cannot(
                    driver,
                    format!("the node at {} still takes the alias for another", node.base()),
                ));
            }
            // One that has just died serves nobody; when it is back it begins with what stands.
            Err(error @ Error::SolrUnreachable { .. }) => {
                tracing::warn!(node = node.base(), %error, "a node was not asked whether it knows the alias");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(super) fn stands_for(driver: &Solr, alias: &str) -> Result<Option<String>, Error> {
    Ok(survey::aliases(&driver.client)?.aliases.remove(alias))
}

pub(super) fn drop_alias(driver: &Solr, alias: &str) -> Result<(), Error> {
    let asked = [("action", "DELETEALIAS"), ("name", alias)];
    driver.client.get::<Done>("remove an alias of", COLLECTIONS, &asked, WORK).map(drop)
}

/// An empty collection of one shard, with a copy of the configuration that Solr comes with.
pub(super) fn create(driver: &Solr, name: &str) -> Result<(), Error> {
    let asked = [("action", "CREATE"), ("name", name), ("numShards", "1"), ("replicationFactor", "1")];
    driver.client.get::<Done>("make a collection at", COLLECTIONS, &asked, WORK)?;
    whole(driver, name).map(drop)
}

/// Takes a collection away with its data; and its configuration, where a restore made that. Not there: nothing to do.
pub(super) fn remove(driver: &Solr, name: &str) -> Result<(), Error> {
    let client = &driver.client;
    if survey::is_there(client, name)? {
        let asked = [("action", "DELETE"), ("name", name)];
        let sent = client.get::<Done>("remove a collection of", COLLECTIONS, &asked, WORK);
        if survey::is_there(client, name)? {
            sent?;
            return Err(swap::cannot(driver, format!("the collection `{name}` was not removed: Solr's log tells why")));
        }
    }
    if !is_ours(&driver.address.core, name) {
        return Ok(());
    }
    let sets: ConfigSets = client.get("list the configsets of", "admin/configs", &[("action", "LIST")], ANSWER)?;
    if sets.names.iter().any(|set| set == name) {
        let asked = [("action", "DELETE"), ("name", name)];
        match client.get::<Done>("remove a configset of", "admin/configs", &asked, WORK) {
            Err(error @ Error::Solr { source: Cause::Said(_), .. }) => {
                tracing::warn!(configset = name, %error, "a configset stays, because somebody else uses it");
            }
            sent => sent.map(drop)?,
        }
    }
    Ok(())
}

/// Whether a restore, or an environment that was made, gave it that name.
pub(super) fn is_ours(alias: &str, collection: &str) -> bool {
    collection.strip_prefix(alias).is_some_and(|rest| rest.starts_with("_stillpoint_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_restore_gives_are_ours() {
        assert!(is_ours("shop", "shop_stillpoint_00ff") && is_ours("shop", "shop_stillpoint_new"));
        for other in ["shop", "shop_v1", "shopping_stillpoint_1", "my_shop_stillpoint_1", "stillpoint_shop"] {
            assert!(!is_ours("shop", other), "{other}");
        }
    }
}
