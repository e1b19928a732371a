//! What a cluster answers of its aliases, collections and nodes, as far as it is read here. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// `admin/collections?action=LISTALIASES`
#[derive(Debug, Deserialize)]
pub(super) struct Aliases {
    #[serde(default)]
    pub aliases: BTreeMap<String, String>,
    #[serde(default)]
    properties: BTreeMap<String, BTreeMap<String, String>>,
}

impl Aliases {
    /// The last name of a chain of aliases, and what it stands for: a collection, or several with commas.
    pub fn follow<'a>(&'a self, name: &'a str) -> Option<(&'a str, &'a str)> {
        let mut last = (name, self.aliases.get(name)?.as_str());
        // Solr refuses rings; a bound costs nothing.
        for _ in 0..self.aliases.len() {
            let Some(next) = self.aliases.get(last.1) else { break };
            last = (last.1, next.as_str());
        }
        Some(last)
    }

    /// Solr itself adds collections to it, by time or by a field.
    pub fn is_routed(&self, alias: &str) -> bool {
        self.properties.get(alias).is_some_and(|properties| properties.keys().any(|key| key.starts_with("router.")))
    }

    /// Other names of a collection than this one.
    pub fn others<'a>(&'a self, alias: &str, collection: &'a str) -> Vec<&'a str> {
        self.leading_to(collection).filter(|name| *name != alias).collect()
    }

    /// Aliases with that collection in their list: one that leads there by others ends in such a one.
    pub fn leading_to<'a>(&'a self, collection: &'a str) -> impl Iterator<Item = &'a str> {
        let lists = self.aliases.iter();
        let lists = lists.filter(move |(_, list)| list.split(',').any(|it| it.trim() == collection));
        lists.map(|(name, _)| name.as_str())
    }
}

/// `admin/collections?action=LIST`
#[derive(Debug, Deserialize)]
pub(super) struct Collections {
    #[serde(default)]
    pub collections: Vec<String>,
}

/// `admin/configs?action=LIST`
#[derive(Debug, Deserialize)]
pub(super) struct ConfigSets {
    #[serde(rename = "configSets", default)]
    pub names: Vec<String>,
}

/// `admin/collections?action=REQUESTSTATUS`
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    pub status: AskedStatus,
}

#[derive(Debug, Deserialize)]
pub(super) struct AskedStatus {
    /// `submitted`, `running`, `completed`, `failed`, `notfound`
    pub state: String,
    #[serde(default)]
    pub msg: String,
}

impl AskedStatus {
    pub fn is_going_on(&self) -> bool {
        matches!(self.state.as_str(), "submitted" | "running")
    }
}

/// `admin/collections?action=CLUSTERSTATUS`
#[derive(Debug, Deserialize)]
pub(super) struct ClusterStatus {
    pub cluster: Cluster,
}

#[derive(Debug, Deserialize)]
pub(super) struct Cluster {
    #[serde(default)]
    pub collections: BTreeMap<String, Collection>,
    /// `search:8983_solr`
    #[serde(default)]
    pub live_nodes: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Collection {
    #[serde(default)]
    pub shards: BTreeMap<String, Shard>,
    /// `router`, `replicationFactor` and the like; some versions write numbers as text.
    #[serde(flatten)]
    pub settings: BTreeMap<String, Value>,
}

impl Collection {
    /// Its shards but for those that were split or are being made.
    pub fn active(&self) -> impl Iterator<Item = (&String, &Shard)> {
        self.shards.iter().filter(|(_, shard)| shard.state == "active")
    }
}

/// Where a node answers, by the name that it has in the cluster.
pub(super) fn address(node: &str, scheme: &str) -> Option<String> {
    let (host, rest) = node.rsplit_once(':')?;
    let (port, context) = rest.split_once('_')?;
    let context = context.replace("%2F", "/").replace("%2f", "/");
    Some(format!("{scheme}://{host}:{port}/{context}").trim_end_matches('/').to_owned())
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Shard {
    #[serde(default)]
    pub range: Option<String>,
    #[serde(default)]
    pub state: String,
    #[serde(default)]
    pub replicas: BTreeMap<String, Replica>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Replica {
    pub core: String,
    pub base_url: String,
    #[serde(default)]
    pub node_name: String,
    #[serde(default)]
    pub state: String,
    /// `true` in words.
    #[serde(default)]
    pub leader: Option<String>,
}

impl Shard {
    /// The replica that takes the shard's changes.
    pub fn leader(&self) -> Option<&Replica> {
        self.replicas.values().find(|replica| replica.leader.as_deref() == Some("true") && replica.state == "active")
    }
}

#[cfg(test)]
mod tests {
    use super::super::said::reply;
    use super::*;

    #[test]
    fn a_shard_is_read_from_its_active_leader() {
        let text = r#"{"cluster":{"collections":{"shop_v1":{"configName":"shop","shards":{
            "shard1":{"range":"80000000-7fffffff","state":"active","replicas":{
                "core_node3":{"core":"shop_v1_shard1_replica_n1","base_url":"http://a:8983/solr","state":"active"},
                "core_node5":{"core":"shop_v1_shard1_replica_n2","base_url":"http://b:8983/solr","state":"active",
                              "leader":"true"}}},
            "shard2":{"range":null,"state":"active","replicas":{
                "core_node7":{"core":"x","base_url":"http://a:8983/solr","state":"down","leader":"true"}}}}}}}}"#;
        let status: ClusterStatus = reply(text).expect("a cluster");
        let shards = &status.cluster.collections["shop_v1"].shards;
        assert_eq!(shards["shard1"].leader().map(|it| it.base_url.as_str()), Some("http://b:8983/solr"));
        assert!(shards["shard2"].leader().is_none(), "its leader is down");
    }

    #[test]
    fn an_alias_is_followed_to_its_collection() {
        let text = r#"{"aliases":{"shop":"shop_v1","site":"shop","both":"a,shop_v1","days":"days_1"},
            "properties":{"days":{"router.name":"time"}}}"#;
        let aliases: Aliases = reply(text).expect("aliases");
        assert_eq!(aliases.follow("shop"), Some(("shop", "shop_v1")));
        assert_eq!(aliases.follow("site"), Some(("shop", "shop_v1")));
        assert_eq!(aliases.follow("shop_v1"), None);
        assert_eq!(aliases.others("shop", "shop_v1"), ["both"]);
        assert_eq!(aliases.leading_to("shop_v1").collect::<Vec<_>>(), ["both", "shop"]);
        assert_eq!(aliases.leading_to("shop_v").count(), 0);
        assert!(aliases.is_routed("days") && !aliases.is_routed("shop"));
        let ring: Aliases = reply(r#"{"aliases":{"a":"b","b":"a"}}"#).expect("aliases");
        assert!(ring.follow("a").is_some(), "it comes to an end");
    }

    #[test]
    fn a_nodes_name_tells_where_it_answers() {
        for (node, found) in [
            ("10.0.0.7:8983_solr", Some("http://10.0.0.7:8983/solr")),
            ("my_search:8983_solr", Some("http://my_search:8983/solr")),
            ("search:80_a%2Fb", Some("http://search:80/a/b")),
            ("search:8983_", Some("http://search:8983")),
            ("search", None),
        ] {
            assert_eq!(address(node, "http").as_deref(), found, "{node}");
        }
    }
}
