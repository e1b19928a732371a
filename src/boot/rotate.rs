//! `stillpointd admin key rotate`: a new key, everything sealed anew with it, the old one retired.
//!
//! 1. Nobody else uses the data directory.        Given back at the end, and by the kernel.
//! 2. Store the new key beside the old one.       The next try finds and takes it; until then both are loaded.
//! 3. Seal everything anew, in one transaction.   Nothing was changed, or all of it.
//! 4. Keep the old key under another name.        Found as it is.
//! 5. The new key takes its place.                One rename.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::config::Options;
use super::key::Rotation;
use super::lock;
use crate::domain::audit::AuditKind;
use crate::domain::bytes::counted;
use crate::jobs::crash_point;
use crate::ops::audit::terminal;
use crate::store::audit::{self, NewEvent};
use crate::store::{Error, Store, clock, reseal};

/// # Errors
/// What did not work, for the terminal. The data directory opens in any case, and the command may be given again.
pub async fn run(options: &Options, state: &Path) -> Result<()> {
    let _alone = lock::alone(state)?;
    let rotation = Rotation::begin(state)?;
    crash_point("rotate: made");
    let store = Store::open(&options.database_url(), rotation.sealer()).await?;
    let count = seal_anew(&store).await.context("nothing was changed")?;
    store.close().await;
    crash_point("rotate: sealed");
    let old = rotation.end()?;
    println!("Sealed {count} values with a new key.");
    match old {
        Some(old) => println!(
            "The old key is kept as {}, for copies of the database that were made before; delete it with the last of \
             them.",
            old.display()
        ),
        None => println!("Nothing needs STILLPOINT_PREVIOUS_KEY any more but copies of the database made before."),
    }
    Ok(())
}

async fn seal_anew(store: &Store) -> Result<usize, Error> {
    let mut tx = store.write().await?;
    let now = clock::now(&mut tx, store.dialect()).await?;
    let count = reseal::all(&mut tx, store.sealer(), now).await?;
    let event = NewEvent {
        project: None,
        environment: None,
        kind: AuditKind::Installation,
        initiator: terminal(),
        about: format!("sealed {} anew with a new key", counted(count as u64, "secret")),
        refused: None,
    };
    audit::insert(&mut tx, &event, now).await?;
    store.commit(tx).await?;
    Ok(count)
}
