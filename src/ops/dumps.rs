//! Dumps of single services, of a live environment or of a snapshot (R26): handed out as they are read.
//!
//! **Invariant:** every reading is an activity of whoever reads (R2), also one that was refused (R5). It locks no environment
//! (R20), so that nobody's snapshot waits for a slow download.

mod handing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::sync::Semaphore;

use self::handing::{Handing, Part, Source};
use super::audit::Attempt;
use super::snapshots::taken_of;
use super::{App, Error};
use crate::authz::{Actor, Authorized, OnEnvironment, ReadContents, ViewHistory};
use crate::domain::activity::{ActivityKind, ActivityResult, Payload, ReadDump};
use crate::domain::dump::{self, Compression, Form, Shows};
use crate::domain::ids::{EnvironmentName, ServiceName};
use crate::domain::policy::{Act, Refusal};
use crate::domain::view::{Offer, ServiceEntry};
use crate::domain::{PartName, ProjectId, Scope, SnapshotName};
use crate::jobs::Repositories;
use crate::queue::{self, NewActivity, Timing};
use crate::store::{Store, activities, clock, environments};

/// So many at once in this process: each keeps a view or a repository open.
const TOGETHER: usize = 8;
/// The same refusal of the same person is recorded once in that time: nobody fills a feed by asking again and again.
const AGAIN: Duration = Duration::from_secs(60);

/// What readings work with.
#[derive(Debug)]
pub struct Readings {
    repositories: Repositories,
    timing: Timing,
    permits: Arc<Semaphore>,
}

impl Readings {
    pub(super) fn new(store: Store, timing: Timing) -> Self {
        Self { repositories: Repositories::new(store), timing, permits: Arc::new(Semaphore::new(TOGETHER)) }
    }
}

/// A service's dump that somebody wants.
#[derive(Debug, Clone)]
pub struct DumpRequest {
    pub service: ServiceName,
    /// `None`: as the live environment is now.
    pub snapshot: Option<SnapshotName>,
    pub compression: Compression,
}

impl DumpRequest {
    fn activity(&self, on: &OnEnvironment, actor: &Actor) -> NewActivity {
        let DumpRequest { service, snapshot, compression } = self.clone();
        NewActivity {
            project: on.project.id.clone(),
            environment: on.environment.id.clone(),
            region: on.project.region.clone(),
            kind: ActivityKind::Dump,
            initiator: actor.initiator(),
            payload: Payload::ReadDump(ReadDump { service, snapshot, compression }),
        }
    }
}

/// What is handed out.
pub struct Dump {
    pub file_name: String,
    pub media_type: &'static str,
    /// Ends with an error when the dump is not whole: whoever passes it on must let that show.
    pub body: BoxStream<'static, std::io::Result<Bytes>>,
}

impl std::fmt::Debug for Dump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dump").field("file_name", &self.file_name).finish_non_exhaustive()
    }
}

/// The services whose dumps there are: of a snapshot, or of the environment as it is now.
///
/// # Errors
/// [`Error::NotFound`] when the environment has no such snapshot.
pub async fn services(
    app: &App,
    proof: &Authorized<ViewHistory>,
    snapshot: Option<&SnapshotName>,
) -> Result<Vec<ServiceEntry>, Error> {
    let offer = Offer::from(proof.standing().may(Act::ReadContents, &proof.on().environment));
    let entry = |name: &ServiceName, kind: &str| {
        Form::of(kind).map(|_| ServiceEntry { name: name.clone(), kind: kind.to_owned(), dump: offer.clone() })
    };
    match snapshot {
        Some(name) => {
            let (_, manifest) = taken_of(&mut *app.store().read().await?, &proof.on().environment.id, name).await?;
            Ok(manifest.services.iter().filter_map(|service| entry(&service.name, &service.kind)).collect())
        }
        None => {
            let mut db = app.store().read().await?;
            let composition = environments::composition(&mut db, app.store().sealer(), &proof.on().environment.id);
            let services = composition.await?.services;
            Ok(services.iter().filter_map(|service| entry(&service.name, service.connection.kind())).collect())
        }
    }
}

/// The proof that the actor may have the dump. A refusal stands in the feed (R5).
///
/// # Errors
/// [`Error::NotFound`] for what does not exist or must not be seen, [`Error::Forbidden`] with the reason.
pub async fn authorize(
    app: &App,
    actor: &Actor,
    project: &ProjectId,
    environment: &EnvironmentName,
    request: &DumpRequest,
) -> Result<Authorized<ReadContents>, Error> {
    let refused = match app.ask_environment::<ReadContents>(actor, project, environment).await {
        Err(Error::Forbidden(refusal)) => refusal,
        other => return other,
    };
    // Whoever is refused sees the environment: otherwise it would not have been found.
    let seen = app.authorize_environment::<ViewHistory>(actor, project, environment).await?;
    record(app, &seen, request, &refused).await?;
    Err(Error::Forbidden(refused))
}

async fn record(
    app: &App,
    seen: &Authorized<ViewHistory>,
    request: &DumpRequest,
    refused: &Refusal,
) -> Result<(), Error> {
    let new = request.activity(seen.on(), seen.actor());
    let mut tx = app.store().write().await?;
    let failed = activities::Filter {
        kinds: vec![ActivityKind::Dump],
        result: Some(ActivityResult::Failure),
        ..activities::Filter::default()
    };
    let last = activities::newest(&mut tx, &new.environment, &failed).await?;
    let now = clock::now(&mut tx, app.store().dialect()).await?;
    let is_again = last.is_some_and(|last| {
        last.initiator == new.initiator && last.payload == new.payload && now.since(last.created_at) < AGAIN
    });
    if !is_again {
        queue::record_refused(&mut tx, app.store(), new, &refused.to_string()).await?;
        app.store().commit(tx).await?;
    }
    Ok(())
}

/// Begins to read, and gives the dump as soon as its first bytes are there.
///
/// # Errors
/// [`Error::NotFound`] for a snapshot or service that is not there, [`Error::Conflict`] with the reason when it can't be
/// read or too many are being read.
pub async fn open(app: &App, proof: Authorized<ReadContents>, request: DumpRequest) -> Result<Dump, Error> {
    let found = find(app, proof.on(), &request).await?;
    let readings = &app.0.readings;
    let permit = Arc::clone(&readings.permits).try_acquire_owned().map_err(|_| {
        let refusal = Refusal::new(format!("{TOGETHER} downloads are running already."));
        Error::Conflict(refusal.instead("Wait until one has ended, or cancel one."))
    });
    let permit = Attempt::of(&proof).recorded(app, permit).await?;
    let lease = queue::begin(app.store(), request.activity(proof.on(), proof.actor()), readings.timing).await?;
    let (to, mut parts) = tokio::sync::mpsc::channel(1);
    let handing = Handing {
        app: app.clone(),
        reader: proof.actor().clone(),
        project: proof.on().project.id.clone(),
        lease,
        service: request.service,
        compression: request.compression,
        source: found.source,
    };
    tokio::spawn(async move {
        handing.run(to).await;
        drop(permit);
    });
    let first = match parts.recv().await {
        Some(Part::Failed(reason)) => return Err(Error::Conflict(Refusal::new(reason))),
        Some(first) => first,
        None => return Err(broken_off()),
    };
    let body = async_stream::stream! {
        let mut next = Some(first);
        loop {
            match next {
                Some(Part::Chunk(chunk)) => yield Ok(chunk),
                Some(Part::Whole) => return,
                Some(Part::Failed(reason)) => {
                    yield Err(std::io::Error::other(reason));
                    return;
                }
                None => {
                    yield Err(std::io::Error::other("the reading ended unexpectedly"));
                    return;
                }
            }
            next = parts.recv().await;
        }
    };
    Ok(Dump { file_name: found.file_name, media_type: found.media_type, body: Box::pin(body) })
}

fn broken_off() -> Error {
    let source = std::io::Error::other("the task that reads is gone");
    Error::Io { what: "a dump could not be begun".to_owned(), source }
}

struct Found {
    file_name: String,
    media_type: &'static str,
    source: Source,
}

async fn find(app: &App, on: &OnEnvironment, request: &DumpRequest) -> Result<Found, Error> {
    let missing = || Error::NotFound("service");
    let (kind, shows, source) = match &request.snapshot {
        Some(name) => {
            let (snapshot, manifest) = taken_of(&mut *app.store().read().await?, &on.environment.id, name).await?;
            let entry = manifest.services.iter().find(|entry| entry.name == request.service).ok_or_else(missing)?;
            let files: u64 = manifest.mounts.iter().map(|mount| mount.bytes).sum();
            // Sizes of single services are not recorded: of several, all count.
            let bytes = snapshot.size.0.saturating_sub(files);
            let source = Source::Stored { id: snapshot.repository_id, bytes };
            (entry.kind.clone(), Shows::Snapshot(name), source)
        }
        None => {
            let mut db = app.store().read().await?;
            let all = environments::composition(&mut db, app.store().sealer(), &on.environment.id).await?;
            let scope: Scope = [PartName::Service(request.service.clone())].into_iter().collect();
            let only = all.only(&scope);
            let kind = only.services.first().map(|service| service.connection.kind().to_owned());
            let now = clock::now(&mut db, app.store().dialect()).await?;
            (kind.ok_or_else(missing)?, Shows::Live(now), Source::Live { of: on.environment.id.clone(), only })
        }
    };
    let form = Form::of(&kind).ok_or_else(missing)?;
    let media_type = if request.compression == Compression::Gzip { "application/gzip" } else { form.media_type };
    let file_name = dump::file_name(&on.environment.name, &request.service, shows, form, request.compression);
    Ok(Found { file_name, media_type, source })
}

/// What a request without a body would be answered with: name and type.
///
/// # Errors
/// [`Error::NotFound`] for a snapshot or service that is not there.
pub async fn announce(
    app: &App,
    proof: &Authorized<ReadContents>,
    request: &DumpRequest,
) -> Result<(String, &'static str), Error> {
    let found = find(app, proof.on(), request).await?;
    Ok((found.file_name, found.media_type))
}
