//! Declared storage on the wire (ours).

use serde::{Deserialize, Serialize};

use super::backup::Names;
use super::links::{Links, href, path};
use super::merge::Advised;
use crate::domain::policy::Refusal;
use crate::domain::view::StoragePage;
use crate::domain::{Bytes, PartName};

/// Of an environment's services and mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    pub parts: Vec<StoragePart>,
    /// What will happen, as sentences.
    pub expectations: Vec<String>,
    pub snapshot: Advised,
    /// Why nothing can be changed by the one who asks.
    pub refusal: Option<Refusal>,
    #[serde(rename = "_links")]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoragePart {
    /// `service:NAME` or `mount:NAME`.
    pub part: PartName,
    #[serde(rename = "type")]
    pub kind: String,
    /// Bytes; `null`: nothing is declared.
    pub declared: Option<Bytes>,
    /// Bytes; `null`: it can't be measured now.
    pub used: Option<Bytes>,
}

/// Body of `POST …/storage`: `part` and `size` must be there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageRequest {
    pub part: Option<PartName>,
    /// `20 GiB`, or bytes.
    pub size: Option<Size>,
    /// Whether a snapshot comes first; as is advised when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evict: Option<Names>,
}

/// As people write it, or a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    Bytes(u64),
    Text(String),
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<StoragePage> for Storage {
    fn from(page: StoragePage) -> Self {
        let here = href(&path::storage(&page.project.id, &page.environment.name));
        let open = page.change.is_open().then(|| here.clone());
        let parts = page.parts.iter().map(|it| StoragePart {
            part: it.part.clone(),
            kind: it.kind.clone(),
            declared: it.declared,
            used: it.used,
        });
        Self {
            parts: parts.collect(),
            expectations: page.expectations(),
            snapshot: Advised {
                advised: page.advice.is_ticked,
                refusal: page.advice.offer().refusal,
                newest: page.advice.newest,
                evicts: page.eviction.snapshots,
            },
            refusal: page.change.refusal,
            links: Links::to_self(here).with_if(open, "#change"),
        }
    }
}
