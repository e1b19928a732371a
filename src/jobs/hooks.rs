//! Commands that the operator named for an environment (R6): what goes round its gate is paused for the time of a hold,
//! and what was restored from elsewhere is made its own before its gate opens (R25).
//!
//! **Invariant:** that `pause` may have run stands in the store before it runs, and until `resume` has succeeded. While
//! data may be half exchanged nothing is resumed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::context::Context;
use super::{Error, crash_point};
use crate::domain::activity::{Activity, Payload};
use crate::domain::environment::{CommandLine, Commands, Environment, EnvironmentKind};
use crate::domain::ids::{EnvironmentName, RegionId};
use crate::domain::{ActivityId, EnvironmentId, ProjectId, SnapshotName};
use crate::drivers::{self, command};
use crate::gateway::Limits;
use crate::queue::{self, Lease};
use crate::store::pauses::{self, Pause, Turn};
use crate::store::{activities, clock, environments, regions, swaps};

/// For a worker to finish what it is at.
const PAUSE: Duration = Duration::from_secs(120);
const RESUME: Duration = Duration::from_secs(60);
/// Visitors are asked to come back meanwhile.
const AFTER_RESTORE: Duration = Duration::from_secs(5 * 60);
/// When a resume that failed, or whose worker died, is tried again by itself: longer than one may take.
const AGAIN: Duration = Duration::from_secs(90);
/// How often somebody who waits for another's resume looks.
const LOOK: Duration = Duration::from_millis(250);

/// An environment's commands for the time of one activity.
pub(super) struct Hooks<'a> {
    context: &'a Context,
    lease: &'a Lease,
    environment: &'a EnvironmentId,
    lines: Commands,
    /// What each of them is given to read.
    told: Arc<Vec<u8>>,
}

/// What a command learns of its occasion, as JSON.
#[derive(Debug, Serialize)]
struct Told<'a, More> {
    project: &'a ProjectId,
    /// That is changed.
    environment: &'a EnvironmentName,
    #[serde(rename = "type")]
    kind: EnvironmentKind,
    /// `snapshot`, `restore`, `merge`, `resize`; `recovery` when what an activity left is put in order.
    job: &'static str,
    activity: &'a ActivityId,
    /// That is taken or restored, or was taken first.
    snapshot: Option<&'a SnapshotName>,
    /// What only this kind of job has to tell.
    #[serde(flatten)]
    more: More,
}

/// Where something comes from.
#[derive(Debug, Serialize)]
pub(super) struct Origin<'a> {
    /// The environment of the snapshot, when it is another one; what is merged.
    pub source: Option<&'a EnvironmentName>,
}

impl<'a> Hooks<'a> {
    /// As declared now; looked at, so that one that can't be run fails the activity before it does anything.
    ///
    /// # Errors
    /// [`Error::Part`].
    pub async fn load(
        context: &'a Context,
        lease: &'a Lease,
        activity: &'a Activity,
        environment: &'a Environment,
    ) -> Result<Self, Error> {
        let mut lines = declared(context, &environment.id).await?;
        let (job, snapshot, source) = match &activity.payload {
            Payload::TakeSnapshot(take) => ("snapshot", &take.snapshot, None),
            Payload::RestoreSnapshot(restore) => {
                let elsewhere = restore.from.as_ref().filter(|source| source.id != environment.id);
                ("restore", &restore.snapshot, elsewhere.map(|source| &source.name))
            }
            _ => return Err(Error::NotWork),
        };
        // What comes back to where it was taken is its own already.
        if source.is_none() {
            lines.after_restore = None;
        }
        for line in lines.lines() {
            command::test(line).map_err(Error::part("the environment's commands"))?;
        }
        let told = told(environment, job, &activity.id, Some(snapshot), Origin { source });
        Ok(Self { context, lease, environment: &environment.id, lines, told })
    }

    /// Does it while what goes round the gate stands still, which then goes on whatever comes of it.
    ///
    /// # Errors
    /// [`Error::NotPaused`], else as `work`. That it does not go on again is only told.
    pub async fn paused<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let Some(pause) = &self.lines.pause else { return work.await };
        // Or somebody's late resume would end what is begun here.
        resume_left(self.context, self.environment).await?;
        let owed = Pause { environment: self.environment.clone(), activity: self.lease.activity().clone() };
        let store = self.context.store();
        let mut tx = store.write().await?;
        pauses::put(&mut tx, &owed.environment, &owed.activity).await?;
        store.commit(tx).await?;
        crash_point("hooks: pausing");
        let done = match self.run(pause, "pause", PAUSE).await? {
            Ok(()) => {
                self.tell("What goes round the gateway is paused").await;
                crash_point("hooks: paused");
                work.await
            }
            Err(error) => Err(Error::NotPaused(error)),
        };
        // Whoever has the activity now has its pause too; a mixed site is recovered first.
        let is_anothers = matches!(self.lease.confirm().await, Err(queue::Error::LeaseLost(_)));
        if !is_anothers && !matches!(done, Err(Error::Mixed(_))) {
            match resume(self.context, &owed, Arc::clone(&self.told)).await {
                Ok(()) => self.tell("What goes round the gateway goes on").await,
                Err(error) => {
                    let error = error.for_people();
                    tracing::error!(environment.id = %self.environment, %error, "an environment stays paused");
                    let line = format!(
                        "WARNING: what goes round the gateway is still paused, because `resume` did not succeed; it is \
                         tried again every {} seconds. {error}",
                        AGAIN.as_secs()
                    );
                    self.tell(&line).await;
                }
            }
        }
        done
    }

    /// In the swap hold, with everything exchanged: the swap is not done until this has succeeded.
    ///
    /// # Errors
    /// [`Error::AfterRestore`]: the swap is to be taken back.
    pub async fn after_restore(&self) -> Result<(), Error> {
        let Some(line) = &self.lines.after_restore else { return Ok(()) };
        self.tell("Running `after_restore`; visitors are asked to come back until it is done").await;
        self.run(line, "after-restore", AFTER_RESTORE).await?.map_err(Error::AfterRestore)?;
        crash_point("restore: after_restore ran");
        Ok(())
    }

    /// A hold in which [`Self::after_restore`] runs may last: nobody is kept waiting for so long, but told to come back.
    pub fn limits(&self, usual: &Limits) -> Limits {
        match self.lines.after_restore {
            Some(_) => Limits { ceiling: usual.ceiling + AFTER_RESTORE, queue: 0, ..usual.clone() },
            None => usual.clone(),
        }
    }

    /// The outer error is not the command's.
    async fn run(
        &self,
        line: &CommandLine,
        word: &'static str,
        within: Duration,
    ) -> Result<Result<(), drivers::Error>, Error> {
        let lease = self.lease.clone();
        run(line.clone(), word, Arc::clone(&self.told), within, move || lease.is_cancelled()).await
    }

    /// What is done does not fail because it could not be told.
    async fn tell(&self, line: &str) {
        if let Err(error) = self.lease.log(line).await {
            tracing::warn!(activity.id = %self.lease.activity(), %error, "a line could not be logged");
        }
    }
}

/// One line of JSON.
pub(super) fn told(
    environment: &Environment,
    job: &'static str,
    activity: &ActivityId,
    snapshot: Option<&SnapshotName>,
    more: impl Serialize,
) -> Arc<Vec<u8>> {
    let (project, name, kind) = (&environment.project, &environment.name, environment.kind);
    let told = Told { project, environment: name, kind, job, activity, snapshot, more };
    let mut text = serde_json::to_vec(&told).expect("its keys are text");
    // For programs that read lines.
    text.push(b'\n');
    Arc::new(text)
}

async fn declared(context: &Context, environment: &EnvironmentId) -> Result<Commands, Error> {
    let mut db = context.store().read().await?;
    Ok(environments::composition(&mut db, context.store().sealer(), environment).await?.commands)
}

async fn run(
    line: CommandLine,
    word: &'static str,
    input: Arc<Vec<u8>>,
    within: Duration,
    cancelled: impl Fn() -> bool + Send + 'static,
) -> Result<Result<(), drivers::Error>, Error> {
    let running = move || {
        let call = command::Call { word, input: &input, within, cancelled: &cancelled };
        command::run(&line, call).map(drop)
    };
    Ok(tokio::task::spawn_blocking(running).await?)
}

/// By the command that is declared now. What is no longer declared is owed no more.
async fn resume(context: &Context, owed: &Pause, told: Arc<Vec<u8>>) -> Result<(), Error> {
    let store = context.store();
    match declared(context, &owed.environment).await?.resume {
        Some(line) => {
            let resumed = run(line, "resume", told, RESUME, || false).await?;
            if let Err(error) = resumed {
                let mut tx = store.write().await?;
                let now = clock::now(&mut tx, store.dialect()).await?;
                pauses::end(&mut tx, owed, now.plus(AGAIN)).await?;
                store.commit(tx).await?;
                return Err(Error::part("resume")(error));
            }
        }
        None => tracing::error!(
            environment.id = %owed.environment,
            "an environment was paused, and no `resume` is declared any more: let its cron jobs and workers go on by hand"
        ),
    }
    let mut tx = store.write().await?;
    pauses::delete(&mut tx, owed).await?;
    Ok(store.commit(tx).await?)
}

/// Before an environment's job: what an earlier one paused and left, goes on. Waits while somebody else is at it. That it
/// does not succeed is no reason not to begin: who pauses it again resumes it too.
///
/// # Errors
/// When the store fails.
pub(super) async fn resume_left(context: &Context, environment: &EnvironmentId) -> Result<(), Error> {
    loop {
        let owed = pauses::all(&mut *context.store().read().await?).await?;
        let Some(owed) = owed.into_iter().find(|owed| owed.environment == *environment) else { return Ok(()) };
        if begin(context, &owed, Turn::AtOnce).await? {
            resume_late(context, &owed).await;
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What activities left paused that are over. A site that is half exchanged stays paused until that is taken back.
///
/// # Errors
/// When the store fails.
pub(super) async fn resume_over(context: &Context, region: &RegionId) -> Result<(), Error> {
    let mut db = context.store().read().await?;
    let mut left = Vec::new();
    let swaps = swaps::unfinished(&mut db).await?;
    for owed in pauses::all(&mut db).await? {
        let is_mixed = swaps.iter().any(|(_, environment, stage)| *environment == owed.environment && stage.is_mixed());
        let activity = activities::by_id(&mut db, &owed.activity).await?;
        let is_ours = regions::of_environment(&mut db, &owed.environment).await?.as_ref() == Some(region);
        if is_ours && !is_mixed && activity.is_none_or(|activity| activity.state.is_over()) {
            left.push(owed);
        }
    }
    drop(db);
    for owed in left {
        if begin(context, &owed, Turn::NowAndThen).await? {
            // A slow one must not keep half-done swaps waiting.
            let context = context.clone();
            tokio::spawn(async move { resume_late(&context, &owed).await });
        }
    }
    Ok(())
}

async fn begin(context: &Context, owed: &Pause, turn: Turn) -> Result<bool, Error> {
    let store = context.store();
    let mut tx = store.write().await?;
    let now = clock::now(&mut tx, store.dialect()).await?;
    let begun = pauses::begin(&mut tx, owed, turn, now, AGAIN).await?;
    store.commit(tx).await?;
    Ok(begun)
}

async fn resume_late(context: &Context, owed: &Pause) {
    let resuming = async {
        let environment = environments::by_id(&mut *context.store().read().await?, &owed.environment).await?;
        let Some(environment) = environment else { return Ok(()) };
        resume(context, owed, told(&environment, "recovery", &owed.activity, None, Origin { source: None })).await
    };
    match resuming.await {
        Ok(()) => tracing::warn!(environment.id = %owed.environment, "what an activity had paused and left goes on"),
        Err(error) => {
            let error = error.for_people();
            tracing::error!(environment.id = %owed.environment, %error, "an environment stays paused");
        }
    }
}
