//! The durable journal of one restore (R23): what was loaded beside, what was set aside, how far the swap got.

use serde::{Deserialize, Serialize};

use super::aside::Spaces;
use super::{Context, Error};
use crate::domain::ids::{MountName, ServiceName};
use crate::domain::{ActivityId, Bytes, EnvironmentId};
use crate::drivers::mount::{MountAside, MountBeside};
use crate::drivers::{Aside, Beside};
use crate::store::swaps::{self, Entry, Stage};
use crate::store::{Db, clock};

/// Everything that is needed to finish or to take back a swap, whatever else was lost.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Body {
    pub services: Vec<ServiceSwap>,
    pub mounts: Vec<MountSwap>,
    /// How much stands aside, once that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spaces: Option<Spaces>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ServiceSwap {
    pub name: ServiceName,
    pub beside: Beside,
    /// Set in the hold, before anything is exchanged.
    pub aside: Option<Aside>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MountSwap {
    pub name: MountName,
    pub beside: MountBeside,
    pub aside: Option<MountAside>,
}

impl Body {
    /// What is moved in the hold, when something is loaded there and not beside.
    pub(super) fn in_place(&self) -> Option<Bytes> {
        let works: Vec<Bytes> = self.services.iter().filter_map(|swap| swap.beside.in_place()).collect();
        (!works.is_empty()).then(|| works.into_iter().sum())
    }
}

/// The journal of one restore.
#[derive(Debug)]
pub(super) struct Journal<'a> {
    pub context: &'a Context,
    pub activity: ActivityId,
    pub environment: EnvironmentId,
}

impl Journal<'_> {
    /// What an earlier try left.
    pub(super) async fn read(&self) -> Result<Option<(Stage, Body)>, Error> {
        let store = self.context.store();
        let entry = swaps::by_activity(&mut *store.read().await?, store.sealer(), &self.activity).await?;
        Ok(entry.map(|entry: Entry<Body>| (entry.stage, entry.body)))
    }

    /// Durable when it returns.
    pub(super) async fn write(&self, stage: Stage, body: &Body) -> Result<(), Error> {
        let store = self.context.store();
        let mut tx = store.write().await?;
        self.write_with(&mut tx, stage, body).await?;
        Ok(store.commit(tx).await?)
    }

    /// Becomes true with the caller's transaction.
    pub(super) async fn write_with(&self, db: &mut Db, stage: Stage, body: &Body) -> Result<(), Error> {
        let store = self.context.store();
        let now = clock::now(db, store.dialect()).await?;
        let entry =
            Entry { activity: self.activity.clone(), environment: self.environment.clone(), stage, body: body.clone() };
        Ok(swaps::put(db, store.sealer(), &entry, now).await?)
    }
}
