//! Replacing what a cluster shows under an alias: a collection is made beside the live one by Solr's own `RESTORE`, and the
//! alias passes to it, which is one write in ZooKeeper.
//!
//! **Invariant:** which collection is live is read from the alias each time. What an alias leads to is never removed:
//! that is looked at before, and Solr itself refuses it. What a later restore set aside is that one's to remove.

use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::archive::{self, Contents};
use super::client::WORK;
use super::cluster::{self, is_ours};
use super::index::Part;
use super::place::Place;
use super::said_cluster::{Collection, Collections, Replica};
use super::survey::{self, Shards, Survey};
use super::swap::{self, Aside, Beside, cannot, pin};
use super::{Solr, backup, view};
use crate::domain::manifest::Facts;
use crate::drivers::{Error, service};

/// The collection that was live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    name: String,
    shards: Vec<Kept>,
}

/// A commit point of a shard that its leader keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    shard: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    range: Option<String>,
    /// Where the core's node answers.
    node: String,
    core: String,
    generation: u64,
}

/// Which collection is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Another; what was loaded is beside it.
    Before,
    /// What was loaded.
    After,
    /// Another, and what was loaded is not there.
    Alone,
}

/// Which of a restore's two collections nobody needs once it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spare {
    Replaced,
    Loaded,
    /// The alias went another way: either may be in use by its own name, or be what another restore set aside.
    Unknown,
}

/// `line`: as [`line()`] reads it.
fn spare(line: &[String], replaced: &str, beside: &str) -> Spare {
    match line.iter().enumerate().find(|(_, name)| *name == replaced || *name == beside) {
        // Live, or set aside by a restore since then.
        Some((_, name)) if name == beside => Spare::Replaced,
        Some((0, _)) => Spare::Loaded,
        Some(_) | None => Spare::Unknown,
    }
}

/// What the alias leads to, what that one replaced, and so on, as far as the collections know it themselves.
fn line(driver: &Solr, alias: &str) -> Result<Vec<String>, Error> {
    let mut line: Vec<String> = Vec::new();
    let mut next = cluster::stands_for(driver, alias)?;
    while let Some(name) = next.take().filter(|name| !line.contains(name)) {
        let is_there = survey::is_there(&driver.client, &name)?;
        let found = if is_there { survey::cluster(&driver.client, &name)? } else { None };
        next = found.and_then(|(collection, _)| cluster::remembered(&collection).map(str::to_owned));
        line.push(name);
    }
    Ok(line)
}

/// Whether an alias leads there, whoever made it: then somebody may use it.
fn is_shown(driver: &Solr, name: &str) -> Result<bool, Error> {
    Ok(survey::aliases(&driver.client)?.leading_to(name).next().is_some())
}

fn standing(driver: &Solr, beside: &Beside) -> Result<Standing, Error> {
    if cluster::stands_for(driver, &beside.core)?.is_some_and(|now| now == beside.name) {
        return Ok(Standing::After);
    }
    Ok(if survey::is_there(&driver.client, &beside.name)? { Standing::Before } else { Standing::Alone })
}

pub(super) fn load(driver: &Solr, scratch: &Path, dump: &mut dyn Read) -> Result<Beside, Error> {
    let beside = swap::beside(driver, scratch);
    // Newer servers restore over a collection that is there.
    if is_shown(driver, &beside.name)? {
        return Err(cannot(driver, swap::IS_LIVE));
    }
    let (found, place) = swap::with_place(driver, survey::look(&driver.client, &driver.address)?)?;
    if let Some(why) = cluster::trial(&found)? {
        return Err(cannot(driver, why));
    }
    discard(driver, &beside, None)?;
    let loaded = fill(driver, &found, &place, &beside, dump);
    if loaded.is_err()
        && let Err(left) = discard(driver, &beside, None)
    {
        tracing::warn!(collection = beside.name, error = %left, "what a failed load left stays for now");
    }
    loaded.map(|()| beside)
}

fn fill(driver: &Solr, found: &Survey, place: &Place, beside: &Beside, dump: &mut dyn Read) -> Result<(), Error> {
    let Some(cloud) = &found.cloud else { return Err(Error::OtherKind) };
    let top = place.make(&beside.name)?;
    let contents = archive::unpack(&top, dump)?;
    io::copy(dump, &mut io::sink()).map_err(Error::Input)?;
    if contents.parts.iter().any(|part| part.shard.is_none()) {
        return Err(cannot(driver, "the snapshot is of a core, and this is a collection of SolrCloud"));
    }
    swap::fits(driver, &contents, found)?;
    backup::arrange(&top, &contents, &cloud.settings, found.parts.len())?;
    place.hand_over(&beside.name)?;
    cluster::restore(driver, &beside.name, &cloud.seen.join(&beside.name))?;
    // Solr has copied it.
    place.remove_unused(&beside.name)?;
    let made = cluster::whole(driver, &beside.name)?;
    if let Some(part) = contents.parts.iter().find(|part| range(&made, part.shard.as_deref()) != part.range.as_deref())
    {
        let shard = part.shard.as_deref().unwrap_or_default();
        return Err(cannot(driver, format!("Solr gave the shard `{shard}` another range than it had")));
    }
    cluster::remember(driver, &beside.name, &found.index)
}

fn range<'a>(collection: &'a Collection, shard: Option<&str>) -> Option<&'a str> {
    collection.shards.get(shard?)?.range.as_deref()
}

/// What each shard holds, at that commit point or at the one that its leader shows.
fn contents(
    driver: &Solr,
    name: &str,
    parts: Vec<(Part, Option<String>, Option<u64>)>,
) -> Result<(Contents, Vec<Part>), Error> {
    let version = survey::system(&driver.client)?.lucene.solr;
    let (collection, _) = there(driver, name)?;
    let mut listed = Vec::new();
    for (part, range, generation) in &parts {
        listed.push(swap::listed(driver, part, range.clone(), *generation)?);
    }
    let Some((first, ..)) = parts.first() else { return Err(cannot(driver, format!("`{name}` has no shard"))) };
    let configuration = super::config::digests(&first.client, &first.core)?;
    let router = collection.settings.get("router").cloned();
    let contents = Contents::new(&version, name, configuration, listed).with_router(router);
    Ok((contents, parts.into_iter().map(|(part, ..)| part).collect()))
}

fn there(driver: &Solr, name: &str) -> Result<(Collection, Shards), Error> {
    let found = if survey::is_there(&driver.client, name)? { survey::cluster(&driver.client, name)? } else { None };
    let gone = || cannot(driver, format!("the collection `{name}` is not there any more: restore again"));
    let (collection, _) = found.ok_or_else(gone)?;
    let leaders = survey::leaders(&driver.client, &collection);
    let leaders = leaders.map_err(|why| cannot(driver, format!("the collection `{name}` {why}")))?;
    Ok((collection, leaders))
}

pub(super) fn check(driver: &Solr, beside: &Beside, expected: &Facts) -> Result<(), Error> {
    if standing(driver, beside)? != Standing::Before {
        return Err(cannot(driver, swap::IS_GONE));
    }
    let (_, leaders) = there(driver, &beside.name)?;
    let parts = leaders.into_iter().map(|(part, range)| (part, range, None)).collect();
    let mut found = contents(driver, &beside.name, parts)?.0.facts();
    if expected.rows.is_empty() {
        // Not counted when the snapshot was taken.
        found.rows.clear();
    }
    service::compare(&found, expected)
}

pub(super) fn prepare(driver: &Solr, beside: &Beside) -> Result<Aside, Error> {
    let replaced = match standing(driver, beside)? {
        Standing::Alone => return Err(not_prepared(beside)),
        Standing::Before => fix(driver, beside)?,
        Standing::After => fixed(driver, beside)?.ok_or_else(|| not_prepared(beside))?,
    };
    Ok(Aside {
        scratch: beside.scratch.clone(),
        core: beside.core.clone(),
        name: beside.name.clone(),
        generation: 0,
        collection: Some(replaced),
    })
}

fn not_prepared(beside: &Beside) -> Error {
    Error::NotPrepared { path: beside.scratch.clone() }
}

/// The live collection, committed, and each shard's commit point kept.
fn fix(driver: &Solr, beside: &Beside) -> Result<Replaced, Error> {
    let gone = || cannot(driver, format!("the alias `{}` is not there any more", beside.core));
    let live = cluster::stands_for(driver, &beside.core)?.ok_or_else(gone)?;
    if cluster::remembered(&there(driver, &beside.name)?.0) != Some(&live) {
        cluster::remember(driver, &beside.name, &live)?;
    }
    let (_, leaders) = there(driver, &live)?;
    let name = pin(&beside.name);
    for (part, _) in &leaders {
        if view::pins(&part.client, &part.core)?.snapshots.contains_key(&name) {
            view::forget(&part.client, &part.core, &name)?;
        }
    }
    driver.client.commit(&live, WORK)?;
    let mut shards = Vec::new();
    for (part, range) in leaders {
        let generation = view::keep(&part.client, &part.core, &name, WORK)?;
        let (shard, node) = (part.shard.unwrap_or_default(), part.client.base().to_owned());
        shards.push(Kept { shard, range, node, core: part.core, generation });
    }
    Ok(Replaced { name: live, shards })
}

/// What [`fix`] fixed, as the cluster itself knows it.
fn fixed(driver: &Solr, beside: &Beside) -> Result<Option<Replaced>, Error> {
    let (now, _) = there(driver, &beside.name)?;
    let Some(name) = cluster::remembered(&now).map(str::to_owned) else { return Ok(None) };
    let (old, _) = there(driver, &name)?;
    let mut shards = Vec::new();
    for (shard, state) in old.active() {
        let mut kept = None;
        for replica in state.replicas.values().filter(|replica| is_active(replica)) {
            let part = part(driver, shard, replica);
            let pins = view::pins(&part.client, &part.core)?.snapshots;
            if let Some(pinned) = pins.get(&pin(&beside.name)) {
                let (range, node) = (state.range.clone(), part.client.base().to_owned());
                kept =
                    Some(Kept { shard: shard.clone(), range, node, core: part.core, generation: pinned.generation.0 });
            }
        }
        let Some(kept) = kept else { return Ok(None) };
        shards.push(kept);
    }
    Ok(Some(Replaced { name, shards }))
}

fn is_active(replica: &Replica) -> bool {
    replica.state == "active"
}

fn part(driver: &Solr, shard: &str, replica: &Replica) -> Part {
    let client = driver.client.node(&replica.base_url);
    Part { shard: Some(shard.to_owned()), client, core: replica.core.clone() }
}

fn replaced<'a>(beside: &Beside, aside: &'a Aside) -> Result<&'a Replaced, Error> {
    aside.collection.as_ref().ok_or_else(|| not_prepared(beside))
}

pub(super) fn commit(driver: &Solr, beside: &Beside, aside: &Aside) -> Result<(), Error> {
    match standing(driver, beside)? {
        Standing::After => cluster::spread(driver, &beside.core, &beside.name),
        Standing::Alone => Err(not_prepared(beside)),
        Standing::Before => {
            let now = cluster::stands_for(driver, &beside.core)?.unwrap_or_default();
            if now != replaced(beside, aside)?.name {
                let why =
                    format!("meanwhile somebody had the alias `{}` stand for `{now}`: restore again", beside.core);
                return Err(cannot(driver, why));
            }
            cluster::pass(driver, &beside.core, &beside.name)
        }
    }
}

pub(super) fn roll_back(driver: &Solr, beside: &Beside, aside: &Aside) -> Result<(), Error> {
    match standing(driver, beside)? {
        Standing::After => cluster::pass(driver, &beside.core, &replaced(beside, aside)?.name),
        // A commit that ran out of time may still wait in the cluster's queue: this one stands behind it there.
        Standing::Before
            if cluster::stands_for(driver, &beside.core)?.as_ref() == Some(&replaced(beside, aside)?.name) =>
        {
            cluster::pass(driver, &beside.core, &replaced(beside, aside)?.name)
        }
        Standing::Before | Standing::Alone => Ok(()),
    }
}

pub(super) fn discard(driver: &Solr, beside: &Beside, aside: Option<&Aside>) -> Result<(), Error> {
    let Some(aside) = aside else {
        if standing(driver, beside)? == Standing::After {
            return Ok(());
        }
        return give_up(driver, beside);
    };
    let replaced = &replaced(beside, aside)?.name;
    match spare(&line(driver, &beside.core)?, replaced, &beside.name) {
        Spare::Loaded => give_up(driver, beside),
        Spare::Replaced if is_shown(driver, replaced)? => {
            tracing::warn!(collection = replaced, "what was replaced stays, because an alias leads to it");
            Ok(())
        }
        Spare::Replaced => cluster::remove(driver, replaced),
        Spare::Unknown => {
            let (alias, loaded) = (&beside.core, &beside.name);
            tracing::warn!(
                alias,
                replaced,
                loaded,
                "both collections stay, because somebody passed the alias on or removed it: remove what is unused"
            );
            Ok(())
        }
    }
}

/// Removes what was loaded, and the commit points that were kept of what is live.
fn give_up(driver: &Solr, beside: &Beside) -> Result<(), Error> {
    if is_shown(driver, &beside.name)? {
        tracing::warn!(collection = beside.name, "what was loaded stays, because an alias leads to it");
        return Ok(());
    }
    // A load that died left Solr at work.
    cluster::settle(driver, &beside.name)?;
    cluster::remove(driver, &beside.name)?;
    if let Some(path) = &driver.address.path {
        Place::new(path)?.remove_unused(&beside.name)?;
    }
    let Some(live) = cluster::stands_for(driver, &beside.core)? else { return Ok(()) };
    if !survey::is_there(&driver.client, &live)? {
        return Ok(());
    }
    let Some((collection, _)) = survey::cluster(&driver.client, &live)? else { return Ok(()) };
    for (shard, state) in collection.active() {
        for replica in state.replicas.values().filter(|replica| is_active(replica)) {
            let part = part(driver, shard, replica);
            if view::pins(&part.client, &part.core)?.snapshots.contains_key(&pin(&beside.name)) {
                view::forget(&part.client, &part.core, &pin(&beside.name))?;
            }
        }
    }
    Ok(())
}

pub(super) fn dump_aside(driver: &Solr, aside: &Aside, out: &mut dyn Write) -> Result<(), Error> {
    let (contents, parts) = set_aside(driver, aside)?;
    archive::write(&contents, &parts, out, &|| false).map(drop)
}

pub(super) fn aside_facts(driver: &Solr, aside: &Aside) -> Result<Facts, Error> {
    set_aside(driver, aside).map(|(contents, _)| contents.facts())
}

fn set_aside(driver: &Solr, aside: &Aside) -> Result<(Contents, Vec<Part>), Error> {
    let missing = || Error::NotPrepared { path: aside.scratch.clone() };
    let old = aside.collection.as_ref().ok_or_else(missing)?;
    // A later restore may have passed the alias on: what this one replaced is aside all the same.
    let is_live = cluster::stands_for(driver, &aside.core)?.is_some_and(|now| now == old.name);
    if is_live || !survey::is_there(&driver.client, &old.name)? {
        return Err(missing());
    }
    let parts = old.shards.iter().map(|kept| {
        let (shard, client) = (Some(kept.shard.clone()), driver.client.node(&kept.node));
        (Part { shard, client, core: kept.core.clone() }, kept.range.clone(), Some(kept.generation))
    });
    contents(driver, &old.name, parts.collect())
}

/// An empty collection behind the declared name, which becomes an alias.
pub(super) fn provision(driver: &Solr) -> Result<(), Error> {
    let alias = &driver.address.core;
    if cluster::stands_for(driver, alias)?.is_some() || survey::is_there(&driver.client, alias)? {
        return Err(Error::DatabaseExists { at: driver.address.url.clone(), database: alias.clone() });
    }
    let name = format!("{alias}_stillpoint_new");
    // Left by one that died.
    cluster::remove(driver, &name)?;
    cluster::create(driver, &name)?;
    cluster::pass(driver, alias, &name)
}

/// What [`provision`] made, and what restores put in its place.
pub(super) fn remove(driver: &Solr) -> Result<(), Error> {
    let alias = &driver.address.core;
    if let Some(now) = cluster::stands_for(driver, alias)? {
        if !is_ours(alias, &now) {
            let why =
                format!("is an alias of the collection `{now}`, which Stillpoint did not make: remove it yourself");
            return Err(survey::unsuitable(&driver.address, why));
        }
        cluster::drop_alias(driver, alias)?;
    }
    let asked = [("action", "LIST")];
    let all: Collections =
        driver.client.get("list the collections of", "admin/collections", &asked, super::client::ANSWER)?;
    for name in all.collections.iter().filter(|name| is_ours(alias, name)) {
        cluster::remove(driver, name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_gives_up_only_what_nobody_else_may_need() {
        for (line, expected) in [
            // Live; then as one knows it that does not remember.
            (&["one", "v1"][..], Spare::Replaced),
            (&["one"], Spare::Replaced),
            // Taken back.
            (&["v1"], Spare::Loaded),
            (&["v1", "one"], Spare::Loaded),
            // Restored again since: what was loaded is set aside, or was until it was removed.
            (&["two", "one", "v1"], Spare::Replaced),
            (&["three", "two", "one"], Spare::Replaced),
            // Taken back by hand and restored again: what was replaced is the later one's to remove.
            (&["two", "v1"], Spare::Unknown),
            (&["two", "v1", "one"], Spare::Unknown),
            // Passed on by hand, to several, or removed.
            (&["v2"], Spare::Unknown),
            (&["two", "v2"], Spare::Unknown),
            (&["v1,one"], Spare::Unknown),
            (&[], Spare::Unknown),
        ] {
            let names: Vec<String> = line.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(spare(&names, "v1", "one"), expected, "{line:?}");
        }
    }
}
