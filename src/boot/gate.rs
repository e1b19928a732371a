//! The gateway's role: routes from the declarations, gates shut where a swap is half done (R23), and, in a process of
//! its own, a registration with a lease.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::config::Options;
use super::key::Key;
use crate::domain::ids::RegionId;
use crate::gateway::{Gateway, Route, Settings};
use crate::store::gateways::GatewayEntry;
use crate::store::swaps::Stage;
use crate::store::{self, Store, clock, environments, gateways, swaps};

/// How long a gateway that died is still asked, and how often one that lives says so.
const LEASE: Duration = Duration::from_secs(15);
const RENEWAL: Duration = Duration::from_secs(4);
/// How soon a changed declaration leads visitors elsewhere, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A gateway that knows its routes, and whose gates are shut where they must be: ready to take requests.
///
/// # Errors
/// When the store fails.
pub async fn prepare(store: &Store, options: &Options) -> Result<Gateway> {
    let gateway = Gateway::new(Settings { trusted: options.proxies(), ..Settings::default() });
    for environment in swaps::mixed(&mut *store.read().await?).await? {
        gateway.shut(&environment, "a restore was interrupted and is being taken back");
    }
    gateway.set_routes(routes(store, &options.region.parse()?).await?);
    Ok(gateway)
}

/// Keeps the routes as they are declared, and the gates shut no longer than they must be, until `stop`.
pub async fn follow(gateway: Gateway, store: Store, region: RegionId, stop: CancellationToken) {
    tokio::join!(follow_routes(&gateway, &store, &region, &stop), open_when_over(&gateway, &store, &stop));
}

/// Whoever took a swap back, or ended it, opens the gates that it can reach. One that was away then, or came in between,
/// finds out by itself: a visitor must not wait for its restart.
async fn open_when_over(gateway: &Gateway, store: &Store, stop: &CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_AGAIN)).await.is_some() {
        // Looked at first: what is shut later may be for a swap that begins later.
        let shut = gateway.shut_now();
        if shut.is_empty() {
            continue;
        }
        let unfinished = async { swaps::unfinished(&mut *store.read().await?).await };
        match unfinished.await {
            Ok(unfinished) => {
                for (environment, since) in shut {
                    // Also one that is loading: whoever exchanges next may have taken this gate for closed.
                    let may_be_mixed = |(_, of, stage): &(_, _, Stage)| {
                        *of == environment && !matches!(stage, Stage::Swapped | Stage::Kept | Stage::Done)
                    };
                    if !unfinished.iter().any(may_be_mixed) {
                        tracing::info!(environment.id = %environment, "nothing is mixed any more: the gate opens");
                        gateway.open_shut(&environment, since);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "the journal could not be read; shut gates stay shut"),
        }
    }
}

async fn follow_routes(gateway: &Gateway, store: &Store, region: &RegionId, stop: &CancellationToken) {
    let mut known = None;
    loop {
        let mut mark = store.mark();
        match changed_routes(store, region, known).await {
            Ok(Some((version, routes))) => {
                gateway.set_routes(routes);
                known = Some(version);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the routes could not be read; visitors go where they went"),
        }
        // A commit may be one of many: looking once a second is enough.
        tokio::select! {
            () = async { store.changed(&mut mark).await; tokio::time::sleep(LOOK_AGAIN).await; } => {}
            () = stop.cancelled() => return,
        }
    }
}

/// The routes and their version, unless that is the one which is known: opening every composition costs time.
async fn changed_routes(
    store: &Store,
    region: &RegionId,
    known: Option<(i64, i64)>,
) -> Result<Option<((i64, i64), Vec<Route>)>, store::Error> {
    // The version first: what changes between the two readings is then read twice, never missed.
    let version = environments::version(&mut *store.read().await?).await?;
    if Some(version) == known {
        return Ok(None);
    }
    Ok(Some((version, routes(store, region).await?)))
}

/// Of its region's projects alone: whoever holds a site asks the gateways of its region.
async fn routes(store: &Store, region: &RegionId) -> Result<Vec<Route>, store::Error> {
    let compositions = environments::compositions_in(&mut *store.read().await?, store.sealer(), region).await?;
    let mut routes: Vec<Route> = compositions
        .into_iter()
        .flat_map(|(environment, composition)| {
            composition.routes.into_iter().filter_map(move |route| {
                let upstream = route.upstream.parse().ok()?;
                Some(Route { host: route.host, environment: environment.clone(), upstream })
            })
        })
        .collect();
    routes.sort_by(|a, b| a.host.cmp(&b.host));
    Ok(routes)
}

/// A gateway that is registered, and takes its orders once it runs.
pub struct Control {
    listener: TcpListener,
    store: Store,
    region: RegionId,
    entry: GatewayEntry,
}

/// Registers the gateway at the control address. To be done before [`prepare`]: whoever swaps writes its journal, then asks
/// who is registered, so that one of the two sees the other (R23).
///
/// # Errors
/// When the control address can't be listened on, or the store fails.
pub async fn registered(store: Store, options: &Options) -> Result<Control> {
    let listener = TcpListener::bind(options.control).await.with_context(|| {
        format!("the control address {} can't be used; choose another with --control", options.control)
    })?;
    let address = listener.local_addr()?;
    let region: RegionId = options.region.parse()?;
    let entry =
        GatewayEntry { id: store::random_id(), epoch: store::random_id(), control_url: format!("http://{address}") };
    register(&store, &region, &entry).await?;
    Ok(Control { listener, store, region, entry })
}

/// Takes orders and stays registered, until `stop`.
///
/// # Errors
/// When the store fails.
pub async fn control(control: Control, gateway: Gateway, key: &Key, stop: CancellationToken) -> Result<()> {
    let Control { listener, store, region, entry } = control;
    let router = gateway.control_router(key.control());
    let registered = {
        let (store, entry, stop) = (store.clone(), entry.clone(), stop.clone());
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                if let Err(error) = register(&store, &region, &entry).await {
                    tracing::warn!(%error, "the gateway could not renew its registration");
                }
                tokio::select! {
                    () = tokio::time::sleep(RENEWAL) => {}
                    () = stop.cancelled() => {}
                }
            }
        })
    };
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await?;
    registered.await?;
    let mut tx = store.write().await?;
    gateways::remove(&mut tx, &entry.id).await?;
    Ok(store.commit(tx).await?)
}

async fn register(store: &Store, region: &RegionId, entry: &GatewayEntry) -> Result<(), store::Error> {
    let mut tx = store.write().await?;
    let now = clock::now(&mut tx, store.dialect()).await?;
    gateways::put(&mut tx, region, entry, now, LEASE).await?;
    store.commit(tx).await
}
