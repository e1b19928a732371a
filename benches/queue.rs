//! How soon work that is asked for begins, and how much of it can be taken in a second, on each database. Prints one JSON
//! object; `cargo xtask bench queue` runs it and says what it means (`docs/figures.md`).

#[allow(dead_code, reason = "the suite uses more of it")]
#[path = "../tests/it/support/server.rs"]
mod server;

use std::error::Error;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stillpoint::authz::{Actor, CreateSnapshot};
use stillpoint::domain::Secret;
use stillpoint::domain::ids::{EnvironmentName, ProjectId, RegionId};
use stillpoint::ops::accounts::{self, Kind};
use stillpoint::ops::installation::{self, Applied, Consent};
use stillpoint::ops::{App, Settings, snapshots};
use stillpoint::queue::{Failure, Handler, Timing, Work, Worker};
use stillpoint::store::work::{self, End, Holder};
use stillpoint::store::{Sealer, Store, clock};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Requests whose start is measured, one at a time.
const STARTS: usize = 500;
/// Activities that are taken and ended as fast as it goes, in so many environments, by so many at a time.
const CLAIMS: usize = 4_000;
const ENVIRONMENTS: usize = 200;
const TAKERS: usize = 4;

fn main() -> Result<()> {
    // `cargo test --all-targets` calls it too, without the flag that `cargo bench` gives.
    if !std::env::args().any(|word| word == "--bench") {
        return Ok(());
    }
    let postgres = server::Server::start();
    let runtime = tokio::runtime::Runtime::new()?;
    let figures = runtime.block_on(async {
        let directory =
            tempfile::tempdir_in(std::env::var("STILLPOINT_BENCH_DIRECTORY").unwrap_or_else(|_| ".".into()))?;
        let url = format!("sqlite:{}", directory.path().join("stillpoint.db").display());
        let (sqlite_start, sqlite_claims) = measure(&url, &directory.path().join("sqlite")).await?;
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port);
        let (postgres_start, postgres_claims) = measure(&url, &directory.path().join("postgres")).await?;
        Result::Ok(serde_json::json!({
            "queue.start_ms": sqlite_start,
            "queue.start_ms_postgresql": postgres_start,
            "queue.claims_per_s": sqlite_claims,
            "queue.claims_per_s_postgresql": postgres_claims,
        }))
    })?;
    println!("{figures}");
    Ok(())
}

/// p99 of the time from a request to its job's start, milliseconds; and activities taken and ended per second.
async fn measure(url: &str, data: &Path) -> Result<(f64, f64)> {
    std::fs::create_dir(data)?;
    let store = Store::open(url, Sealer::new(&[7; 32], &[])).await?;
    let settings = Settings { data: data.to_owned(), roots: vec!["/".into()], gateway_port: None };
    let app = App::new(store.clone(), settings);
    accounts::unchecked_add(&app, "bench@example.org", &Secret::new("only for a measurement"), Kind::Operator).await?;
    let actor = accounts::unchecked_actor(&app, "bench@example.org").await?;
    let file = data.join("declaration.toml");
    let environments = (0..ENVIRONMENTS)
        .map(|number| format!("[[project.environment]]\nname = \"e{number}\"\ntype = \"development\"\n"));
    let project = "[[project]]\nid = \"bench\"\nplan = \"starter\"\n".to_owned();
    std::fs::write(&file, project + &environments.collect::<String>())?;
    if let Applied::Refused(troubles) = installation::apply(&app, &file, Consent::Yes).await? {
        return Err(format!("the declaration was refused: {troubles:?}").into());
    }
    let start = start(&app, &store, &actor).await?;
    let claims = claims(&app, &store, &actor).await?;
    store.close().await;
    Ok((start, claims))
}

async fn request(app: &App, actor: &Actor, number: usize) -> Result<()> {
    let environment = EnvironmentName::parse(format!("e{}", number % ENVIRONMENTS))?;
    let project = ProjectId::parse("bench")?;
    let proof = app.authorize_environment::<CreateSnapshot>(actor, &project, &environment).await?;
    snapshots::create(app, proof, snapshots::SnapshotRequest::default()).await?;
    Ok(())
}

/// Tells when work began, and ends it.
struct Begun {
    store: Store,
    told: mpsc::UnboundedSender<Instant>,
}

impl Handler for Begun {
    fn run(&self, work: Work) -> Pin<Box<dyn Future<Output = std::result::Result<(), Failure>> + Send + '_>> {
        Box::pin(async move {
            let _ = self.told.send(Instant::now());
            let mut tx = self.store.write().await.map_err(stillpoint::queue::Error::from)?;
            work.lease.finish(&mut tx, &End::Success).await?;
            Ok(self.store.commit(tx).await.map_err(stillpoint::queue::Error::from)?)
        })
    }
}

async fn start(app: &App, store: &Store, actor: &Actor) -> Result<f64> {
    let (told, mut begun) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let handler = Arc::new(Begun { store: store.clone(), told });
    let region = RegionId::parse("local")?;
    let worker = Worker { store: store.clone(), region, handler, capacity: 2, timing: Timing::default() };
    let working = tokio::spawn(worker.run(stop.clone()));
    let mut samples = Vec::new();
    for number in 0..STARTS {
        let asked = Instant::now();
        request(app, actor, number).await?;
        let began = begun.recv().await.ok_or("the worker ended")?;
        samples.push(began.saturating_duration_since(asked).as_secs_f64() * 1000.0);
        // As people come: when the worker is waiting again.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    working.await?;
    samples.sort_by(f64::total_cmp);
    Ok(samples[(samples.len() * 99).div_ceil(100) - 1])
}

async fn claims(app: &App, store: &Store, actor: &Actor) -> Result<f64> {
    for number in 0..CLAIMS {
        request(app, actor, number).await?;
    }
    let begin = Instant::now();
    let takers = (0..TAKERS).map(|number| tokio::spawn(take_all(store.clone(), format!("taker-{number}"))));
    let mut taken = 0;
    for taker in takers.collect::<Vec<_>>() {
        taken += taker.await??;
    }
    if taken != CLAIMS {
        return Err(format!("{taken} of {CLAIMS} were taken").into());
    }
    Ok(taken as f64 / begin.elapsed().as_secs_f64())
}

/// Takes and ends activities until there are none, as a worker does whose jobs take no time.
async fn take_all(store: Store, owner: String) -> Result<usize> {
    let region = RegionId::parse("local")?;
    let mut number = 0;
    loop {
        let mut tx = store.write().await?;
        let now = clock::now(&mut tx, store.dialect()).await?;
        let taken = work::take(&mut tx, store.dialect(), &region, &owner, now, Timing::default().lease).await?;
        let Some(taken) = taken else { return Ok(number) };
        store.commit(tx).await?;
        let holder = Holder { activity: taken.activity.id, owner: owner.clone(), generation: taken.generation };
        let mut tx = store.write().await?;
        let now = clock::now(&mut tx, store.dialect()).await?;
        work::finish(&mut tx, &holder, &End::Success, now).await?;
        store.commit(tx).await?;
        number += 1;
    }
}
