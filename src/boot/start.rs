//! The roles.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::config::{Admin, Command, KeyCommand, Options, Role};
use super::key::{self, Key};
use super::{admin, banner, console, gate, housekeeping, lock, rotate, samples};
use crate::domain::Secret;
use crate::domain::ids::RegionId;
use crate::gateway::Limits;
use crate::jobs::postman::{self, Post};
use crate::jobs::{self, Gateways, Jobs};
use crate::ops::installation::Consent;
use crate::ops::{App, Settings};
use crate::queue::{Timing, Worker};
use crate::store::Store;

/// Jobs side by side in one process.
const CAPACITY: usize = 2;
/// How soon a site that had to stay shut is tried again: a lock may be gone, a gateway back.
const RECOVER_AGAIN: Duration = Duration::from_secs(5);
/// How often deleted data leaves the repositories, and a step of pruning is made.
const UPKEEP: Duration = Duration::from_secs(60);
/// How often every project is looked through for what its plan lets go.
const LOOK_THROUGH: Duration = Duration::from_secs(60 * 60);
/// How long open connections may go on after the order to stop.
const STOP: Duration = Duration::from_secs(10);

/// Runs what the command line asks for.
///
/// # Errors
/// What keeps it from starting, for the terminal.
pub async fn run(command: Command) -> Result<()> {
    let role = command.role.unwrap_or(Role::All);
    let options = command.options;
    let state = options.state();
    key::make_state(&state)?;
    // Links resolved, so that no path of a site can look as if it lay elsewhere.
    let state = state.canonicalize().context("the data directory can't be used")?;
    if let Role::Admin(Admin::Key(KeyCommand::Rotate)) = role {
        return rotate::run(&options, &state).await;
    }
    let _together = lock::together(&state)?;
    let key = Key::load(&state)?;
    let store = Store::open(&options.database_url(), key.sealer())
        .await
        .with_context(|| "the database can't be opened; look at --database")?;
    let roots = if options.roots.is_empty() { vec!["/".into()] } else { options.roots.clone() };
    let settings = Settings { data: state, roots, gateway_port: Some(options.gateway.port()) };
    let app = App::with(store.clone(), settings, timing());
    match role {
        Role::Admin(admin) => return admin::run(&app, admin, &banner::address(options.listen, &options)).await,
        Role::Apply { file, dry_run, yes, reinstate } => {
            let consent = match (dry_run, yes) {
                (true, _) => Consent::No,
                (false, true) => Consent::Yes,
                (false, false) => Consent::UnlessSnapshotsGo,
            };
            return admin::apply(&app, &file, consent, &reinstate).await;
        }
        Role::Migrate => {
            println!("The database is up to date.");
            return Ok(());
        }
        Role::All | Role::Serve | Role::Work | Role::Gate => {}
    }
    telemetry();
    let roles = Roles { options, key, store: store.clone(), app, stop: stop_on_signal()? };
    let done = match role {
        Role::Serve => roles.serve().await,
        Role::Work => roles.work().await,
        Role::Gate => roles.gate().await,
        _ => roles.all().await,
    };
    store.close().await;
    done
}

struct Roles {
    options: Options,
    key: Key,
    store: Store,
    app: App,
    stop: CancellationToken,
}

impl Roles {
    async fn all(self) -> Result<()> {
        let console = bind(self.options.listen, "--listen").await?;
        let visitors = bind(self.options.gateway, "--gateway").await?;
        let sample = if self.options.demo { Some(samples::start(&self.app, &self.options.data).await?) } else { None };
        let gateway = gate::prepare(&self.store, &self.options).await?;
        let context = self.context(Gateways::Local(gateway.clone()));
        let router = console::router(&self.app, self.store.clone(), &self.options, self.stop.clone());
        let listening = console.local_addr()?;
        banner::print(&self.app, listening, visitors.local_addr()?, &self.options, sample.as_ref()).await?;

        let stop = || self.stop.clone();
        let following =
            tokio::spawn(gate::follow(gateway.clone(), self.store.clone(), self.options.region.parse()?, stop()));
        let tidying = tokio::spawn(housekeeping::run(self.store.clone(), stop()));
        let proxy = tokio::spawn({
            let stop = stop();
            async move { gateway.serve(visitors, stop).await }
        });
        let posting = tokio::spawn(postman::run(self.store.clone(), self.post(own_address(listening)), stop()));
        let working = tokio::spawn(work(self.worker(context.clone())?, context, stop()));
        let serving = console::serve(router, console, stop());
        let served = soon(serving, stop()).await;
        self.stop.cancel();
        working.await?;
        posting.await?;
        proxy.await??;
        following.await?;
        tidying.await?;
        if let Some(sample) = sample {
            sample.stop().await;
        }
        served
    }

    async fn serve(self) -> Result<()> {
        let console = bind(self.options.listen, "--listen").await?;
        let router = console::router(&self.app, self.store.clone(), &self.options, self.stop.clone());
        banner::print_console(&self.app, console.local_addr()?, &self.options).await?;
        let tidying = tokio::spawn(housekeeping::run(self.store.clone(), self.stop.clone()));
        let served = soon(console::serve(router, console, self.stop.clone()), self.stop.clone()).await;
        self.stop.cancel();
        tidying.await?;
        served
    }

    async fn work(self) -> Result<()> {
        let gateways = Gateways::Registered { region: self.options.region.parse()?, key: self.key.control() };
        let context = self.context(gateways);
        println!("Taking jobs of the region {}", self.options.region);
        if self.options.public_url.is_none() {
            println!("Notices that it sends carry no links: --public-url names the console's address");
        }
        let posting = tokio::spawn(postman::run(self.store.clone(), self.post(None), self.stop.clone()));
        work(self.worker(context.clone())?, context, self.stop.clone()).await;
        posting.await?;
        Ok(())
    }

    /// `console`: where this process itself shows it. A link that leads nowhere is worse than none.
    fn post(&self, console: Option<String>) -> Post {
        let options = &self.options;
        Post {
            smtp: options.smtp.clone().map(Secret::new),
            from: options.mail_from.clone(),
            inside: options.webhook_network.clone(),
            console: options.public_url.clone().or(console),
        }
    }

    async fn gate(self) -> Result<()> {
        let visitors = bind(self.options.gateway, "--gateway").await?;
        let control = gate::registered(self.store.clone(), &self.options).await?;
        let gateway = gate::prepare(&self.store, &self.options).await?;
        println!("Gateway at http://{}, orders at {}", visitors.local_addr()?, self.options.control);
        let following = tokio::spawn(gate::follow(
            gateway.clone(),
            self.store.clone(),
            self.options.region.parse()?,
            self.stop.clone(),
        ));
        let proxy = tokio::spawn({
            let (gateway, stop) = (gateway.clone(), self.stop.clone());
            async move { gateway.serve(visitors, stop).await }
        });
        let controlled = gate::control(control, gateway, &self.key, self.stop.clone()).await;
        self.stop.cancel();
        proxy.await??;
        following.await?;
        controlled
    }

    fn context(&self, gateways: Gateways) -> jobs::Context {
        let settings = self.app.settings();
        jobs::Context::new(
            self.store.clone(),
            settings.data.clone(),
            settings.roots.clone(),
            gateways,
            Limits::default(),
        )
    }

    fn worker(&self, context: jobs::Context) -> Result<Worker> {
        Ok(Worker {
            store: self.store.clone(),
            region: self.options.region.parse()?,
            handler: Arc::new(Jobs(context)),
            capacity: CAPACITY,
            timing: timing(),
        })
    }
}

/// Where this machine's own console answers; `None`: on every address, which is none to write down.
fn own_address(listening: std::net::SocketAddr) -> Option<String> {
    (!listening.ip().is_unspecified()).then(|| format!("http://{listening}"))
}

/// In debug builds a test may shorten the leases, so that it need not wait 20 s for a dead worker's activity.
fn timing() -> Timing {
    let shorter = std::env::var("STILLPOINT_LEASE_MS").ok().filter(|_| cfg!(debug_assertions));
    match shorter.and_then(|text| text.parse().ok()).map(Duration::from_millis) {
        Some(lease) => Timing { lease, heartbeat: lease / 5 },
        None => Timing::default(),
    }
}

/// Half-done swaps first: they keep a site shut. Beside the worker what is due by schedules is queued.
async fn work(worker: Worker, context: jobs::Context, stop: CancellationToken) {
    let region = worker.region.clone();
    recover(&context, &region).await;
    let again = async {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RECOVER_AGAIN) => recover(&context, &region).await,
                () = stop.cancelled() => return,
            }
        }
    };
    let scheduling = jobs::schedule(context.store().clone(), stop.clone());
    let upkeep = look_after(&context, region.clone(), stop.clone());
    tokio::join!(worker.run(stop.clone()), again, scheduling, upkeep);
}

/// One round after the other: never two at a time in one process, and leases keep those of several apart.
async fn look_after(context: &jobs::Context, region: RegionId, stop: CancellationToken) {
    let mut upkeep = jobs::Upkeep::of(region);
    let (often, whole) = match sooner() {
        Some(sooner) => {
            upkeep.keep = Duration::ZERO;
            (sooner, sooner)
        }
        None => (UPKEEP, LOOK_THROUGH),
    };
    let mut last: Option<Instant> = None;
    loop {
        let is_whole = last.is_none_or(|last| last.elapsed() >= whole);
        if is_whole {
            last = Some(Instant::now());
        }
        let round = if is_whole { jobs::Round::Whole } else { jobs::Round::Short };
        upkeep.round(context, round, &stop).await;
        tokio::select! {
            () = tokio::time::sleep(often) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// In debug builds a test may have all of it done that often, and freed space gone without waiting.
fn sooner() -> Option<Duration> {
    let sooner = std::env::var("STILLPOINT_UPKEEP_MS").ok().filter(|_| cfg!(debug_assertions));
    sooner.and_then(|text| text.parse().ok()).map(Duration::from_millis)
}

async fn recover(context: &jobs::Context, region: &RegionId) {
    if let Err(error) = jobs::recover(context, region).await {
        tracing::error!(error = %error.for_people(), "unfinished restores could not be looked at");
    }
}

async fn bind(address: std::net::SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("the address {address} can't be used; choose another one with {flag}"))
}

/// Waits for `serving`, but after the order to stop not for ever: an open event stream must not keep the process.
async fn soon(serving: impl Future<Output = Result<()>>, stop: CancellationToken) -> Result<()> {
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP).await;
    };
    tokio::select! {
        served = serving => served,
        () = late => Ok(()),
    }
}

/// Cancelled by Ctrl-C or SIGTERM.
fn stop_on_signal() -> Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        told.cancel();
    });
    Ok(stop)
}

/// People on standard output, the log on standard error: as text on a terminal, as JSON elsewhere.
fn telemetry() {
    let filter = EnvFilter::try_from_env("STILLPOINT_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn,rustic_core=warn,hyper=warn,tower_sessions=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.compact().with_target(false).init();
    } else {
        builder.json().flatten_event(true).init();
    }
}
