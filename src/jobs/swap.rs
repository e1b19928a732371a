//! The swap: in one hold, the loaded data takes the live data's place, everywhere or nowhere (R22, R23).
//!
//! **Invariant:** the gate opens only when everything is new or everything is old. The journal says which stage may have
//! begun *before* its work begins; every driver step may be repeated.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use super::hooks::Hooks;
use super::journal::{Body, Journal, ServiceSwap};
use super::parts::Parts;
use super::{Error, crash_point};
use crate::domain::EnvironmentId;
use crate::domain::policy::maintenance::{self, Past};
use crate::gateway::{self, Held, HoldKind, HoldReport, Limits};
use crate::queue::{self, Lease};
use crate::store::snapshots;
use crate::store::swaps::Stage;

/// What is loaded in the hold may take: longer than anything, and a hold whose owner dies ends by its lease all the same.
const IN_PLACE: Duration = Duration::from_secs(24 * 60 * 60);

/// Of earlier restores, so many snapshots are looked through for one in place.
const PAST: u32 = 200;

/// Where something is loaded in the hold, nobody is kept waiting for it, but told to come back.
fn limits(usual: &Limits, body: &Body) -> Limits {
    match body.in_place() {
        Some(_) => Limits { ceiling: usual.ceiling + IN_PLACE, queue: 0, ..usual.clone() },
        None => usual.clone(),
    }
}

/// How long that takes, as it was announced before.
async fn announced(context: &Context, journal: &Journal<'_>, body: &Body) -> Result<Option<Duration>, Error> {
    let Some(work) = body.in_place() else { return Ok(None) };
    let newest = snapshots::by_environment(&mut *context.store().read().await?, &journal.environment, PAST).await?;
    Ok(Some(maintenance::length(work, Past::newest(&newest))))
}

/// Exchanges all parts inside one swap hold. On success the journal stands at [`Stage::Swapped`] with the asides.
///
/// # Errors
/// [`Error::TakenBack`] when the old data is back in place, [`Error::Mixed`] when it is not: then the gate stays shut.
/// Any other error came before anything was touched.
pub(super) async fn swap(
    context: &Context,
    journal: &Journal<'_>,
    hooks: &Hooks<'_>,
    lease: &Lease,
    parts: &Parts,
    body: &mut Body,
) -> Result<HoldReport, Error> {
    let gates = context.gates().await?;
    let announced = announced(context, journal, body).await?;
    let limits = Limits { announced, ..limits(&hooks.limits(context.limits()), body) };
    let held = gateway::hold(&gates, &journal.environment, HoldKind::Swap, &limits).await?;
    crash_point("restore: held");
    *body = match prepare(&held, parts, body).await {
        Ok(prepared) => prepared,
        // Nothing was exchanged: the site may go on.
        Err(error) => {
            let_go(context, held).await;
            return Err(error);
        }
    };
    crash_point("restore: prepared");
    // What comes before the journal's word may be left by simply opening the gate again.
    let ready = async {
        lease.confirm().await?;
        // The last moment at which that is safe (R20).
        if lease.is_cancelled() {
            return Err(Error::Cancelled);
        }
        held.confirm().await?;
        journal.write(Stage::Swapping, body).await
    };
    if let Err(error) = ready.await {
        let_go(context, held).await;
        return Err(error);
    }
    crash_point("restore: swapping");
    let exchanged = async {
        // After the journal's word: a gate that registers later finds it there before it takes a request.
        held.covers(&context.gates().await?)?;
        exchange(&held, parts, body).await?;
        hooks.after_restore().await?;
        // Only a gate that was closed all the time may open on the new data.
        held.confirm().await?;
        journal.write(Stage::Swapped, body).await
    };
    if let Err(error) = exchanged.await {
        // A worker that stood still for longer than its lease: whoever has the activity now has taken this back.
        if let Err(lost @ queue::Error::LeaseLost(_)) = lease.confirm().await {
            return Err(lost.into());
        }
        return Err(take_back(context, journal, held, parts, body, error).await);
    }
    crash_point("restore: swapped");
    Ok(let_go(context, held).await)
}

/// Opens the gates on data that is wholly old or wholly new, and the journal says so: a gate that had given up by itself
/// must not stay shut, and one that died must not fail what is done. It reads the journal when it starts again.
async fn let_go(context: &Context, held: Held) -> HoldReport {
    let environment = held.environment().clone();
    match held.release().await {
        Ok(report) => report,
        Err(error) => {
            tracing::warn!(environment.id = %environment, %error, "the hold had ended before; opening the gates");
            open(context, &environment).await;
            HoldReport::default()
        }
    }
}

/// Opens every gate that can be reached. Only while nothing of the environment is mixed.
pub(super) async fn open(context: &Context, environment: &EnvironmentId) {
    let gates = match context.gates().await {
        Ok(gates) => gates,
        Err(error) => {
            tracing::error!(environment.id = %environment, error = %error.for_people(), "the gates are not known");
            return;
        }
    };
    for gate in gates {
        if let Err(error) = gate.open(environment).await {
            tracing::warn!(environment.id = %environment, %error, "a gate could not be opened; it opens when it restarts");
        }
    }
}

/// Takes a swap back that an earlier worker left unfinished, in a hold of its own, and opens the gate.
///
/// # Errors
/// [`Error::Mixed`]: the gate stays shut.
pub(super) async fn recover(context: &Context, journal: &Journal<'_>, parts: &Parts, body: &Body) -> Result<(), Error> {
    let gates = context.gates().await?;
    let held = gateway::hold(&gates, &journal.environment, HoldKind::Swap, &limits(context.limits(), body))
        .await
        .map_err(|error| Error::Mixed(Box::new(error.into())))?;
    // The hold is what keeps two recoveries apart: the other one may have been here before.
    if !journal.read().await?.is_some_and(|(stage, _)| stage.is_mixed()) {
        let_go(context, held).await;
        return Ok(());
    }
    journal.write(Stage::RollingBack, body).await?;
    if let Err(error) = roll_back(&held, parts, body).await {
        return Err(left_shut(held, error).await);
    }
    journal.write(Stage::Loading, body).await?;
    let_go(context, held).await;
    Ok(())
}

async fn take_back(
    context: &Context,
    journal: &Journal<'_>,
    held: Held,
    parts: &Parts,
    body: &Body,
    cause: Error,
) -> Error {
    let taken_back = async {
        journal.write(Stage::RollingBack, body).await?;
        crash_point("restore: rolling back");
        roll_back(&held, parts, body).await?;
        journal.write(Stage::Loading, body).await
    };
    if let Err(error) = taken_back.await {
        return left_shut(held, error).await;
    }
    let_go(context, held).await;
    Error::TakenBack(Box::new(cause))
}

async fn left_shut(held: Held, cause: Error) -> Error {
    let shut = held.shut("a restore was interrupted").await;
    if let Err(error) = shut {
        tracing::error!(%error, "a gate could not be told to stay shut; its dead-man does");
    }
    Error::Mixed(Box::new(cause))
}

/// Fixes the present data, in the hold, so that nothing written later is lost with it. The safety snapshot is made of
/// exactly this. What takes long comes last.
async fn prepare(_held: &Held, parts: &Parts, body: &Body) -> Result<Body, Error> {
    blocking(parts, body, |parts, body| {
        let prepare = |swap: &mut ServiceSwap| {
            let service = service(parts, swap.name.as_str())?;
            swap.aside = Some(service.driver.prepare(&swap.beside).map_err(Error::part(service.label()))?);
            Ok(())
        };
        body.services.iter_mut().filter(|swap| swap.beside.in_place().is_none()).try_for_each(prepare)?;
        for swap in &mut body.mounts {
            let mount = mount(parts, swap.name.as_str())?;
            swap.aside = Some(mount.driver.prepare(&swap.beside).map_err(Error::part(mount.label()))?);
        }
        body.services.iter_mut().filter(|swap| swap.beside.in_place().is_some()).try_for_each(prepare)
    })
    .await
}

/// What takes long to be taken back comes last.
async fn exchange(_held: &Held, parts: &Parts, body: &Body) -> Result<(), Error> {
    blocking(parts, body, |parts, body| {
        let commit = |swap: &ServiceSwap| {
            let service = service(parts, swap.name.as_str())?;
            let Some(aside) = &swap.aside else { return Ok(()) };
            service.driver.commit(&swap.beside, aside).map_err(Error::part(service.label()))?;
            crash_point("restore: a service exchanged");
            Ok(())
        };
        body.services.iter().filter(|swap| swap.beside.in_place().is_none()).try_for_each(commit)?;
        for swap in &body.mounts {
            let mount = mount(parts, swap.name.as_str())?;
            let Some(aside) = &swap.aside else { continue };
            mount.driver.commit(&swap.beside, aside, &crash_point).map_err(Error::part(mount.label()))?;
            crash_point("restore: a mount exchanged");
        }
        body.services.iter().filter(|swap| swap.beside.in_place().is_some()).try_for_each(commit)
    })
    .await
    .map(drop)
}

/// Every part is tried, whatever becomes of the others.
async fn roll_back(_held: &Held, parts: &Parts, body: &Body) -> Result<(), Error> {
    blocking(parts, body, |parts, body| {
        let mut first = Ok(());
        for swap in &body.services {
            let service = service(parts, swap.name.as_str())?;
            let Some(aside) = &swap.aside else { continue };
            let done = service.driver.roll_back(&swap.beside, aside).map_err(Error::part(service.label()));
            first = first.and(done);
        }
        for swap in &body.mounts {
            let mount = mount(parts, swap.name.as_str())?;
            let Some(aside) = &swap.aside else { continue };
            let done = mount.driver.roll_back(&swap.beside, aside, &crash_point).map_err(Error::part(mount.label()));
            first = first.and(done);
        }
        first
    })
    .await
    .map(drop)
}

/// Removes everything that the restore put beside the live data, and what a try that died had not noted yet.
pub(super) async fn discard(journal: &Journal<'_>, parts: &Parts, body: &Body) -> Result<(), Error> {
    let directory = journal.context.swap_directory(&journal.activity);
    blocking(parts, body, move |parts, body| {
        for swap in &body.services {
            let service = service(parts, swap.name.as_str())?;
            service.driver.discard(&swap.beside, swap.aside.as_ref()).map_err(Error::part(service.label()))?;
        }
        for swap in &body.mounts {
            let mount = mount(parts, swap.name.as_str())?;
            mount.driver.discard(&swap.beside, swap.aside.as_ref()).map_err(Error::part(mount.label()))?;
        }
        remove(&directory)
    })
    .await
    .map(drop)
}

fn remove(directory: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("{} could not be removed", directory.display()))(error))
        }
        _ => Ok(()),
    }
}

/// Runs `work` on a thread for blocking work and gives the body that it may have changed.
async fn blocking(
    parts: &Parts,
    body: &Body,
    work: impl FnOnce(&Parts, &mut Body) -> Result<(), Error> + Send + 'static,
) -> Result<Body, Error> {
    let (parts, mut body) = (parts.clone(), body.clone());
    tokio::task::spawn_blocking(move || {
        work(&parts, &mut body)?;
        Ok(body)
    })
    .await?
}

pub(super) fn service<'a>(parts: &'a Parts, name: &str) -> Result<&'a Arc<super::parts::ServicePart>, Error> {
    let found = parts.services.iter().find(|service| service.name().as_str() == name);
    found.ok_or_else(|| missing("service", name))
}

pub(super) fn mount<'a>(parts: &'a Parts, name: &str) -> Result<&'a Arc<super::parts::MountPart>, Error> {
    let found = parts.mounts.iter().find(|mount| mount.name().as_str() == name);
    found.ok_or_else(|| missing("mount", name))
}

fn missing(kind: &str, name: &str) -> Error {
    crate::domain::policy::Refusal::new(format!("The environment has no {kind} {name} any more."))
        .instead("Declare it again and restore again.")
        .into()
}
