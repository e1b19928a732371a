//! Merging on the wire: U's operation, and what it would do, which is ours (R10).

use serde::{Deserialize, Serialize};

use super::backup::Names;
use super::links::{Links, href, path};
use crate::domain::activity::MergeHow;
use crate::domain::ids::{EnvironmentName, SnapshotName};
use crate::domain::policy::Refusal;
use crate::domain::view::MergePage;

/// What a merge would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    pub environment: EnvironmentName,
    /// What it is merged into.
    pub parent: EnvironmentName,
    /// Who merges; to be sent back as `how`.
    pub how: MergeHow,
    /// What will happen, as sentences.
    pub expectations: Vec<String>,
    pub snapshot: Advised,
    /// Why it can't be merged now.
    pub refusal: Option<Refusal>,
    #[serde(rename = "_links")]
    pub links: Links,
}

/// The snapshot of the environment that is about to be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advised {
    /// Taken where nobody says anything, if it can be.
    pub advised: bool,
    /// Why none can be taken, and what there is instead.
    pub refusal: Option<Refusal>,
    /// What there is to go back to as it is.
    pub newest: String,
    /// What the plan has no room for beside another one; to be sent back as `evict`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evicts: Vec<SnapshotName>,
}

/// Body of `POST …/merge`; it may be left out. What else U's clients send is not for us.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MergeRequest {
    /// Whether a snapshot of the parent comes first; as is advised when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evict: Option<Names>,
    /// As it was shown: refused when it is another by now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<MergeHow>,
}

impl From<MergePage> for Merge {
    fn from(page: MergePage) -> Self {
        let here = href(&path::merge(&page.from.project, &page.from.name));
        let open = page.offer.is_open().then(|| here.clone());
        Self {
            expectations: page.expectations(),
            environment: page.from.name,
            parent: page.into.name,
            how: page.how,
            snapshot: Advised {
                advised: page.advice.is_ticked,
                refusal: page.advice.offer().refusal,
                newest: page.advice.newest,
                evicts: page.eviction.snapshots,
            },
            refusal: page.offer.refusal,
            links: Links::to_self(here).with_if(open, "#merge"),
        }
    }
}
