//! What a restore replaced and still stands aside: how much it is, and where. Measured once, when it was set aside.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::journal::{Body, Journal};
use super::parts::Parts;
use super::{Error, swap};
use crate::domain::EnvironmentId;
use crate::domain::scope::PartName;
use crate::domain::view::{Aside, AsidePart};
use crate::queue::Lease;
use crate::store::swaps::{self, Entry, Stage};
use crate::store::{Db, Sealer};

/// By part, in the journal.
pub(super) type Spaces = BTreeMap<String, Space>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Space {
    /// In bytes; `None`: it can't be had without reading everything.
    bytes: Option<u64>,
    place: String,
}

/// Measures what was set aside, if nobody has yet, and notes it in the journal. That it can't be measured harms nothing.
pub(super) async fn note(journal: &Journal<'_>, lease: Option<&Lease>, parts: &Parts, body: &Body) -> Body {
    if body.spaces.is_some() {
        return body.clone();
    }
    let mut measured = body.clone();
    let (of, on) = (body.clone(), parts.clone());
    let spaces = tokio::task::spawn_blocking(move || spaces(&on, &of)).await.unwrap_or_default();
    measured.spaces = Some(spaces);
    let told = async {
        journal.write(Stage::Swapped, &measured).await?;
        if let Some(lease) = lease {
            let parts = measured_parts(measured.spaces.as_ref());
            lease.log(&Aside { activity: journal.activity.clone(), parts, removing: false }.in_words()).await?;
        }
        Ok::<(), Error>(())
    };
    if let Err(error) = told.await {
        let error = error.for_people();
        tracing::warn!(activity.id = %journal.activity, %error, "what stands aside could not be noted");
    }
    measured
}

fn spaces(parts: &Parts, body: &Body) -> Spaces {
    let services = body.services.iter().filter_map(|swap| {
        let (service, aside) = (swap::service(parts, swap.name.as_str()).ok()?, swap.aside.as_ref()?);
        let bytes = service.driver.aside_size(aside).unwrap_or_else(|error| {
            tracing::warn!(service.name = %swap.name, %error, "what stands aside could not be measured");
            None
        });
        let place = service.driver.aside_place(aside).to_owned();
        Some((PartName::Service(swap.name.clone()).to_string(), Space { bytes: bytes.map(|bytes| bytes.0), place }))
    });
    let mounts = body.mounts.iter().filter_map(|swap| {
        let mount = swap::mount(parts, swap.name.as_str()).ok()?;
        swap.aside.as_ref()?;
        let bytes = mount.driver.index_aside(&swap.beside).ok().map(|index| index.contents().bytes.0);
        let space = Space { bytes, place: "beside the mount".to_owned() };
        Some((PartName::Mount(swap.name.clone()).to_string(), space))
    });
    services.chain(mounts).collect()
}

fn measured_parts(spaces: Option<&Spaces>) -> Vec<AsidePart> {
    let parts = spaces.into_iter().flatten().filter_map(|(part, space)| {
        let size = space.bytes.map(crate::domain::Bytes);
        Some(AsidePart { part: part.parse().ok()?, size, place: space.place.clone() })
    });
    parts.collect()
}

/// What stands aside of these environments; none where nothing does.
///
/// # Errors
/// When the store fails.
pub async fn standing(
    db: &mut Db,
    sealer: &Sealer,
    environments: &[EnvironmentId],
) -> Result<HashMap<EnvironmentId, Vec<Aside>>, crate::store::Error> {
    let entries: Vec<Entry<Body>> = swaps::aside(db, sealer, environments).await?;
    let mut standing: HashMap<EnvironmentId, Vec<Aside>> = HashMap::new();
    for entry in entries {
        standing.entry(entry.environment).or_default().push(Aside {
            activity: entry.activity,
            parts: measured_parts(entry.body.spaces.as_ref()),
            removing: entry.stage == Stage::Kept,
        });
    }
    Ok(standing)
}
