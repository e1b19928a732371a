//! The gateway: a reverse proxy that can hold one environment's requests for a moment, losing none (R16-R18, R22-R23).
//!
//! `proxy` is a request's way, `barrier` (with its `state`) where it may have to wait, `hold` what a job asks for, `order` and `control`
//! how a hold reaches gateways in other processes.
//!
//! **Invariant:** this room knows hosts, environments and upstreams; it does not know what a hold is for.

mod barrier;
mod body;
mod control;
mod error;
mod headers;
mod heartbeat;
mod hold;
mod order;
mod pages;
mod proxy;
mod serve;
mod state;
mod upgrade;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use http::Uri;
use tokio::time::Instant;

use self::barrier::Barrier;
use self::order::Epoch;
use crate::domain::{EnvironmentId, Proxies};

pub use self::control::Remote;
pub use self::error::{Error, HoldError};
pub use self::hold::{Held, HoldReport, Limits, hold};
pub use self::order::{Gate, HoldKind};
pub use self::state::{Standing, Traffic};

/// A gateway in this process; clones are the same one.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    epoch: Epoch,
    upstreams: proxy::Upstreams,
    routes: RwLock<HashMap<String, (Arc<Barrier>, Uri)>>,
    barriers: Mutex<HashMap<EnvironmentId, Arc<Barrier>>>,
}

/// A host name that leads to an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Without port; case does not matter.
    pub host: String,
    pub environment: EnvironmentId,
    /// Where the site listens: `http://address:port`, with a path when it lies below one.
    pub upstream: Uri,
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// How many requests of one environment may wait; a hold may allow fewer.
    pub queue: usize,
    /// Seconds told to those who get 503.
    pub retry_after: u64,
    /// Until a connection to the upstream stands.
    pub connect: Duration,
    /// Until the reply begins, counted from when the request last moved.
    pub response: Duration,
    /// How long an upstream may stop in the middle of a reply.
    pub stall: Duration,
    /// How long an upstream may go on working after its client has gone; until then its request counts as in flight.
    pub abandoned: Duration,
    /// How long a client may take to send a request's head, and how long it may keep an idle connection.
    pub client_idle: Duration,
    /// How long an idle connection to an upstream is kept: less than common servers do, who may close it the moment
    /// it is used again.
    pub upstream_idle: Duration,
    /// How long a stop waits for requests in flight.
    pub stop: Duration,
    /// Proxies in front, whose word about the client counts.
    pub trusted: Proxies,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue: 1_024,
            retry_after: 5,
            connect: Duration::from_secs(5),
            response: Duration::from_secs(60),
            stall: Duration::from_secs(120),
            abandoned: Duration::from_secs(60),
            client_idle: Duration::from_secs(75),
            upstream_idle: Duration::from_millis(1_500),
            stop: Duration::from_secs(10),
            trusted: Proxies::default(),
        }
    }
}

impl Gateway {
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            epoch: Epoch::random(),
            upstreams: proxy::upstreams(&settings),
            routes: RwLock::default(),
            barriers: Mutex::default(),
            settings,
        }))
    }

    /// Replaces all routes at once. Environments that stay keep their holds and the requests that wait.
    pub fn set_routes(&self, routes: Vec<Route>) {
        let table = routes
            .into_iter()
            .map(|route| (headers::host_name(&route.host), (self.barrier(&route.environment), route.upstream)))
            .collect();
        let before = std::mem::replace(&mut *self.0.routes.write().unwrap_or_else(PoisonError::into_inner), table);
        drop(before);
        // One that a request has in hand must stay the environment's only one: it counts.
        let mut barriers = self.0.barriers.lock().unwrap_or_else(PoisonError::into_inner);
        barriers.retain(|_, barrier| Arc::strong_count(barrier) > 1 || !barrier.is_idle());
    }

    /// Closes without an owner: 503 with Retry-After until [`Gateway::open`]. For a swap that was found unfinished at
    /// the start, before any request is taken (R23).
    pub fn shut(&self, environment: &EnvironmentId, reason: &str) {
        self.barrier(environment).shut(reason);
    }

    /// Ends what [`Gateway::shut`], or a swap hold that was left alone, began.
    pub fn open(&self, environment: &EnvironmentId) {
        self.barrier(environment).open();
    }

    /// Environments that are shut without an owner, and since when.
    pub fn shut_now(&self) -> Vec<(EnvironmentId, Instant)> {
        let barriers = self.0.barriers.lock().unwrap_or_else(PoisonError::into_inner);
        barriers
            .iter()
            .filter_map(|(environment, barrier)| Some((environment.clone(), barrier.shut_since()?)))
            .collect()
    }

    /// Opens what has been shut since then: what was held or shut later stays as it is.
    pub fn open_shut(&self, environment: &EnvironmentId, since: Instant) {
        self.barrier(environment).open_shut(since);
    }

    /// What an environment's gate is doing right now.
    pub fn traffic(&self, environment: &EnvironmentId) -> Traffic {
        self.barrier(environment).traffic()
    }

    fn route(&self, host: &str) -> Option<(Arc<Barrier>, Uri)> {
        self.0.routes.read().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    fn barrier(&self, environment: &EnvironmentId) -> Arc<Barrier> {
        let mut barriers = self.0.barriers.lock().unwrap_or_else(PoisonError::into_inner);
        let barrier = barriers.entry(environment.clone());
        Arc::clone(barrier.or_insert_with_key(|environment| Arc::new(Barrier::new(environment.clone()))))
    }

    fn settings(&self) -> &Settings {
        &self.0.settings
    }

    fn epoch(&self) -> &Epoch {
        &self.0.epoch
    }

    fn upstreams(&self) -> &proxy::Upstreams {
        &self.0.upstreams
    }
}
