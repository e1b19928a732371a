//! Services on the wire: what there are dumps of.

use serde::{Deserialize, Serialize};

use super::links::{Links, href, path};
use crate::domain::ids::ServiceName;
use crate::domain::view::ServiceEntry;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub name: ServiceName,
    /// `sqlite`, `postgresql`, `mysql`, `redis`, `solr`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(rename = "_links")]
    pub links: Links,
}

impl Service {
    /// `services`: the path that it is listed at.
    pub fn new(entry: ServiceEntry, services: &str) -> Self {
        let open = entry.dump.is_open().then(|| href(&path::dump(services, &entry.name)));
        Self { links: Links::default().with_if(open, "#dump"), name: entry.name, kind: entry.kind }
    }
}
