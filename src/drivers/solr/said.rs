//! What a Solr server answers, as far as it is read here. Pure.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An answer, or what it says against the request: some say so with the status 200.
pub(super) fn reply<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let value: Value = serde_json::from_str(text).map_err(|_| format!("it answered no JSON: {}", beginning(text)))?;
    if value["status"] == "ERROR" || value.get("error").is_some() || value.get("exception").is_some() {
        return Err(words(&value).unwrap_or_else(|| beginning(text)));
    }
    serde_json::from_value(value).map_err(|error| format!("it answered something else than expected ({error})"))
}

/// Why a request was refused.
pub(super) fn refusal(text: &str, status: u16) -> String {
    let said = serde_json::from_str::<Value>(text).ok().and_then(|value| words(&value));
    said.unwrap_or_else(|| format!("it answered with the status {status}: {}", beginning(text)))
}

fn words(value: &Value) -> Option<String> {
    let said = [&value["error"]["msg"], &value["message"], &value["exception"]["msg"], &value["exception"]];
    said.into_iter().find_map(Value::as_str).map(beginning)
}

fn beginning(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("nothing").trim();
    line.chars().take(300).collect()
}

/// Nothing but that it was done.
#[derive(Debug, Deserialize)]
pub(super) struct Done {}

/// `admin/info/system`
#[derive(Debug, Deserialize)]
pub(super) struct System {
    /// `std`, `solrcloud`
    #[serde(default)]
    pub mode: String,
    pub lucene: Versions,
}

#[derive(Debug, Deserialize)]
pub(super) struct Versions {
    #[serde(rename = "solr-spec-version")]
    pub solr: String,
    #[serde(rename = "lucene-spec-version", default)]
    pub lucene: String,
}

impl System {
    pub fn is_cloud(&self) -> bool {
        self.mode == "solrcloud"
    }

    pub fn major(&self) -> u32 {
        self.lucene.solr.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

/// `admin/cores?action=STATUS`
#[derive(Debug, Deserialize)]
pub(super) struct Cores {
    pub status: BTreeMap<String, CoreStatus>,
    #[serde(rename = "initFailures", default)]
    pub failures: BTreeMap<String, Value>,
}

/// All but empty for a core that there isn't.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CoreStatus {
    pub name: Option<String>,
    /// As the server sees it.
    pub instance_dir: Option<String>,
    pub data_dir: Option<String>,
    pub index: Option<IndexStatus>,
    is_loading: Value,
}

impl CoreStatus {
    /// The server has just been started, and does not say yet where the core lives.
    pub fn is_loading(&self) -> bool {
        is_true(&self.is_loading)
    }
}

/// Some versions write it as text.
fn is_true(value: &Value) -> bool {
    value == &Value::Bool(true) || value == "true"
}

/// Of the commit point that is searched.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IndexStatus {
    pub num_docs: u64,
    #[serde(default)]
    pub size_in_bytes: u64,
    /// `segments_2a`
    #[serde(default)]
    pub segments_file: String,
}

impl IndexStatus {
    pub fn generation(&self) -> Option<u64> {
        u64::from_str_radix(self.segments_file.strip_prefix("segments_")?, 36).ok()
    }
}

/// `action=CREATESNAPSHOT`
#[derive(Debug, Deserialize)]
pub(super) struct Pinned {
    pub generation: Number,
}

/// `action=LISTSNAPSHOTS`
#[derive(Debug, Deserialize)]
pub(super) struct Pins {
    #[serde(default)]
    pub snapshots: BTreeMap<String, Pinned>,
}

/// Some versions write numbers as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct Number(pub u64);

impl TryFrom<Value> for Number {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        number.map(Self).ok_or_else(|| format!("`{value}` is no number"))
    }
}

/// `replication?command=filelist`
#[derive(Debug, Deserialize)]
pub(super) struct FileList {
    #[serde(rename = "filelist", default)]
    pub files: Vec<IndexFile>,
}

/// A file of an index. Written once, never changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct IndexFile {
    pub name: String,
    pub size: u64,
    /// Lucene's own, which stands at the file's end; none in files that have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<u64>,
}

impl IndexFile {
    pub fn is_safe(&self) -> bool {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
        !self.name.is_empty() && !self.name.starts_with('.') && self.name.chars().all(plain)
    }
}

/// `get?getVersions=1`: versions of the newest changes. None where there is no update log.
#[derive(Debug, Deserialize)]
pub(super) struct Changes {
    pub versions: Option<Vec<i64>>,
}

/// `replication?command=details`
#[derive(Debug, Deserialize)]
pub(super) struct Replication {
    #[serde(default)]
    pub details: BTreeMap<String, Value>,
}

impl Replication {
    /// Fetches its index from another server.
    pub fn follows(&self) -> bool {
        let is = |name: &str| self.details.get(name).is_some_and(is_true);
        is("isSlave") || is("isFollower")
    }
}

/// `admin/file`: a directory of the configuration.
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    #[serde(default)]
    pub files: BTreeMap<String, Listed>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    #[serde(default)]
    pub directory: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let table = [
            (r#"{"responseHeader":{"status":400},"error":{"msg":"No such core: x","code":400}}"#, "No such core: x"),
            (r#"{"status":"ERROR","message":"invalid index generation"}"#, "invalid index generation"),
            ("<html>\n<title>Error 404</title>", "it answered no JSON: <html>"),
        ];
        for (text, words) in table {
            assert_eq!(reply::<Done>(text).expect_err("refused"), words);
        }
        assert_eq!(refusal("<html>", 503), "it answered with the status 503: <html>");
        reply::<Done>(r#"{"responseHeader":{"status":0},"status":"OK"}"#).expect("done");
    }

    #[test]
    fn a_core_that_there_is_not_has_an_empty_status() {
        let text = r#"{"responseHeader":{"status":0,"QTime":1},"initFailures":{},"status":{
            "shop":{"name":"shop","instanceDir":"/var/solr/data/shop","dataDir":"/var/solr/data/shop/data/",
                    "index":{"numDocs":12,"maxDoc":13,"segmentsFile":"segments_2a","sizeInBytes":4711}},
            "later":{"name":"later","isLoaded":"false","isLoading":"true"},
            "gone":{}}}"#;
        let cores: Cores = reply(text).expect("a status");
        let index = cores.status["shop"].index.clone().expect("an index");
        assert_eq!((index.num_docs, index.generation()), (12, Some(82)));
        assert_eq!(cores.status["gone"].name, None);
        assert!(cores.status["later"].is_loading() && !cores.status["shop"].is_loading());
    }

    #[test]
    fn numbers_may_be_texts() {
        let old = r#"{"snapshots":{"a":{"generation":"7","indexDirPath":"/x"}}}"#;
        let new = r#"{"snapshots":{"a":{"generation":7,"indexDirPath":"/x"}}}"#;
        for text in [old, new] {
            assert_eq!(reply::<Pins>(text).expect("pins").snapshots["a"].generation, Number(7));
        }
    }

    #[test]
    fn a_follower_is_known_in_old_words_and_in_new_ones() {
        for (details, follows) in [
            (r#"{"isMaster":"true","isSlave":"false"}"#, false),
            (r#"{"isMaster":"false","isSlave":"true"}"#, true),
            (r#"{"isLeader":"false","isFollower":"true"}"#, true),
            ("{}", false),
        ] {
            let replication: Replication = reply(&format!(r#"{{"details":{details}}}"#)).expect("details");
            assert_eq!(replication.follows(), follows, "{details}");
        }
    }

    #[test]
    fn what_has_no_update_log_tells_no_versions() {
        let changes = |text| reply::<Changes>(text).expect("an answer").versions;
        assert_eq!(changes(r#"{"versions":[1700000000000000001]}"#), Some(vec![1_700_000_000_000_000_001]));
        assert_eq!(changes(r#"{"doc":null}"#), None);
    }

    #[test]
    fn a_file_of_an_index_has_a_plain_name() {
        let file = |name: &str| IndexFile { name: name.to_owned(), size: 1, checksum: None };
        assert!(file("_0_Lucene84_0.doc").is_safe() && file("segments_1").is_safe());
        assert!(!file("../x").is_safe() && !file("a/b").is_safe() && !file("").is_safe());
    }
}
