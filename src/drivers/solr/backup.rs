//! What was unpacked, arranged as a backup of Solr's own: the form that `RESTORE` of the Collections API takes.
//!
//! **Invariant:** the files are the dump's, moved and not copied; what is written besides only says how the shards lie.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::archive::Contents;
use crate::drivers::Error;

/// Of the backup, and of the configuration and the collection in it.
pub(super) const NAME: &str = "dump";
/// What a new collection takes over from the live one: how many copies there are is the cluster's matter. The number of
/// shards and the way to them belong to the snapshot.
const TAKEN: [&str; 6] =
    ["replicationFactor", "nrtReplicas", "tlogReplicas", "pullReplicas", "maxShardsPerNode", "autoAddReplicas"];

/// `top`: where a dump was unpacked; the backup is made in it. `live`: settings of the collection that is live, which has
/// `shards` shards.
pub(super) fn arrange(
    top: &Path,
    contents: &Contents,
    live: &BTreeMap<String, Value>,
    shards: usize,
) -> Result<(), Error> {
    let backup = top.join(NAME);
    let configurations = backup.join("zk_backup/configs");
    fs::create_dir_all(&configurations).map_err(Error::io("create", &configurations))?;
    rename(&top.join("conf"), &configurations.join(NAME))?;
    for part in &contents.parts {
        let shard = part.shard.as_deref().unwrap_or_default();
        rename(&top.join(part.directory()), &backup.join(format!("snapshot.{shard}")))?;
    }
    let properties = format!("backupName={NAME}\ncollection={NAME}\ncollection.configName={NAME}\n");
    write(&backup.join("backup.properties"), properties.as_bytes())?;
    write(&backup.join("zk_backup/collection_state.json"), state(contents, live, shards).to_string().as_bytes())
}

fn state(contents: &Contents, live: &BTreeMap<String, Value>, were: usize) -> Value {
    let mut shards = Map::new();
    for part in &contents.parts {
        let mut shard = json!({"state": "active", "replicas": {}});
        if let Some(range) = &part.range {
            shard["range"] = json!(range);
        }
        shards.insert(part.shard.clone().unwrap_or_default(), shard);
    }
    let mut state = Map::new();
    for key in TAKEN {
        if let Some(value) = live.get(key) {
            state.insert(key.to_owned(), value.clone());
        }
    }
    // The bound was set for another number of shards.
    if state.contains_key("maxShardsPerNode") && were < contents.parts.len() {
        state.insert("maxShardsPerNode".to_owned(), json!("-1"));
    }
    // Dumps of before it was recorded are of collections whose documents go by their hash.
    let router = contents.router.clone().or_else(|| live.get("router").cloned());
    state.insert("router".to_owned(), router.unwrap_or_else(|| json!({"name": "compositeId"})));
    state.insert("shards".to_owned(), Value::Object(shards));
    json!({ NAME: state })
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::io("move", from))
}

fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    fs::write(path, content).map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::super::archive::PartContents;
    use super::super::config::Digests;
    use super::*;

    fn contents(router: Option<Value>) -> Contents {
        let part = |shard: &str, range: &str| PartContents {
            shard: Some(shard.to_owned()),
            range: Some(range.to_owned()),
            generation: 1,
            documents: None,
            files: Vec::new(),
        };
        let parts = vec![part("shard1_0", "80000000-bfffffff"), part("shard1_1", "c0000000-ffffffff")];
        Contents::new("8.7.0", "shop", Digests::new(), parts).with_router(router)
    }

    #[test]
    fn shards_are_the_snapshots_and_copies_the_clusters() {
        let live = json!({"replicationFactor": "2", "nrtReplicas": 2, "maxShardsPerNode": "1",
            "router": {"name": "implicit"}, "configName": "shop", "znodeVersion": 7});
        let live: BTreeMap<String, Value> = serde_json::from_value(live).expect("a map");
        let found = state(&contents(Some(json!({"name": "compositeId", "field": "place"}))), &live, 1);
        let expected = json!({"dump": {
            "replicationFactor": "2", "nrtReplicas": 2, "maxShardsPerNode": "-1",
            "router": {"name": "compositeId", "field": "place"},
            "shards": {
                "shard1_0": {"range": "80000000-bfffffff", "state": "active", "replicas": {}},
                "shard1_1": {"range": "c0000000-ffffffff", "state": "active", "replicas": {}},
            },
        }});
        assert_eq!(found, expected);
        let older = state(&contents(None), &live, 2);
        assert_eq!(older["dump"]["maxShardsPerNode"], "1", "as many shards as there are");
        assert_eq!(older["dump"]["router"], json!({"name": "implicit"}), "the live one's, where none was recorded");
    }

    #[test]
    fn files_are_moved_to_where_solr_looks_for_them() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let top = directory.path();
        for (path, text) in [
            ("conf/solrconfig.xml", "<config/>"),
            ("shards/shard1_0/data/index/segments_1", "one"),
            ("shards/shard1_1/data/index/segments_1", "two"),
        ] {
            let file = top.join(path);
            fs::create_dir_all(file.parent().expect("a directory")).expect("created");
            fs::write(file, text).expect("written");
        }
        arrange(top, &contents(None), &BTreeMap::new(), 2).expect("arranged");
        for (path, text) in [
            ("dump/zk_backup/configs/dump/solrconfig.xml", "<config/>"),
            ("dump/snapshot.shard1_0/segments_1", "one"),
            ("dump/snapshot.shard1_1/segments_1", "two"),
        ] {
            assert_eq!(fs::read_to_string(top.join(path)).expect("there"), text);
        }
        assert!(top.join("dump/backup.properties").is_file());
    }
}
