//! The feed.

use std::collections::HashMap;

use async_stream::try_stream;
use futures::Stream;

use super::{App, Error, accounts, audit, projects};
use crate::authz::{self, Authorized, CancelActivity, OnEnvironment, Permission, ViewHistory, ViewProject};
use crate::domain::activity::{Activity, ActivityKind, ActivityResult, ActivityState, Payload, ReadDump, RunDrill};
use crate::domain::audit::AuditKind;
use crate::domain::environment::{Environment, EnvironmentKind, Project};
use crate::domain::policy::acts::{Access, Subject};
use crate::domain::policy::{Act, Refusal, Standing};
use crate::domain::telling::{From, Telling, is_done};
use crate::domain::view::{ActivityEntry, ActivityPage, Feed, LogLine, Offer};
use crate::domain::{ActivityId, EnvironmentId, ProjectId, SnapshotName, Timestamp};
use crate::queue::{self, Cancelling};
use crate::store::activities::Scope;
use crate::store::{self, Db, drills, events, logs, snapshots};

const DEFAULT_COUNT: u32 = 20;
const MOST: u32 = 100;

/// Which activities; the default is all, newest first.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub kinds: Vec<ActivityKind>,
    pub states: Vec<ActivityState>,
    pub result: Option<ActivityResult>,
    /// Older than this place in the feed.
    pub before: Option<i64>,
    /// Created then or earlier.
    pub starts_at: Option<Timestamp>,
    /// 20 if not given, at most 100.
    pub count: Option<u32>,
}

/// # Errors
/// When the store fails.
pub async fn feed(app: &App, proof: &Authorized<ViewHistory>, filter: Filter) -> Result<Feed, Error> {
    let on = proof.on();
    let scope = Scope::Environment(on.environment.id.clone());
    list(app, Viewer::of(proof), scope, filter).await
}

/// Of all environments that the actor may see.
///
/// # Errors
/// When the store fails.
pub async fn project_feed(app: &App, proof: &Authorized<ViewProject>, filter: Filter) -> Result<Feed, Error> {
    let project = &proof.on().project;
    let visible = projects::ever_visible(&mut *app.store().read().await?, project, proof.standing()).await?;
    let scope = Scope::Project(project.id.clone(), visible.iter().map(|environment| environment.id.clone()).collect());
    list(app, Viewer::over(project, &visible, proof.standing()), scope, filter).await
}

async fn list(app: &App, viewer: Viewer<'_>, scope: Scope, filter: Filter) -> Result<Feed, Error> {
    let mut db = app.store().read().await?;
    // The event first: what changes between the two readings is then seen twice, never missed.
    let event = events::newest(&mut db).await?;
    let count = filter.count.unwrap_or(DEFAULT_COUNT).clamp(1, MOST);
    let wanted = store::activities::Filter {
        kinds: filter.kinds,
        states: filter.states,
        result: filter.result,
        before: filter.before,
        starts_at: filter.starts_at,
    };
    let mut activities = store::activities::list(&mut db, &scope, &wanted, count + 1).await?;
    let more = activities.len() > count as usize;
    activities.truncate(count as usize);
    let older = activities.last().filter(|_| more).map(|last| last.seq);
    Ok(Feed { entries: viewer.entries(&mut db, activities).await?, older, event })
}

/// # Errors
/// [`Error::NotFound`] when the environment has no such activity.
pub async fn page(app: &App, proof: &Authorized<ViewHistory>, activity: &ActivityId) -> Result<ActivityPage, Error> {
    let entry = entry(app, proof, activity).await?;
    let mut db = app.store().read().await?;
    Ok(ActivityPage {
        project: proof.on().project.clone(),
        log: logs::after(&mut db, activity, 0).await?,
        made: snapshots::by_activity(&mut db, activity).await?,
        drill: drills::by_activity(&mut db, activity).await?,
        entry,
    })
}

/// Lines after number `after` (0: all), and whether no more will come. For those who follow it too, for hours perhaps.
///
/// # Errors
/// [`Error::NotFound`] when the environment has no such activity, [`Error::NotLoggedIn`] once the account is closed.
pub async fn log(
    app: &App,
    proof: &Authorized<ViewHistory>,
    activity: &ActivityId,
    after: i64,
) -> Result<(Vec<LogLine>, bool), Error> {
    accounts::still_open(app, proof.actor()).await?;
    // The state first: a line that is written afterwards is in the lines, and a sealed log is whole.
    let sealed = own(app, &proof.on().environment, activity).await?.state.is_over();
    let lines = logs::after(&mut *app.store().read().await?, activity, after).await?;
    Ok((lines, sealed))
}

/// One change in the feed.
#[derive(Debug, Clone)]
pub struct Update {
    /// Number to resume after.
    pub event: i64,
    pub entry: ActivityEntry,
}

/// Every change of the environment's activities after event `after`, as it comes. Ends when the store fails, or with the
/// account.
pub fn watch(
    app: &App,
    proof: Authorized<ViewHistory>,
    after: i64,
) -> impl Stream<Item = Result<Update, Error>> + Send + 'static {
    let app = app.clone();
    try_stream! {
        let environment = proof.on().environment.id.clone();
        let mut after = after;
        loop {
            let mut mark = app.store().mark();
            let changed = events::after(&mut *app.store().read().await?, &environment, after).await?;
            if !changed.is_empty() {
                accounts::still_open(&app, proof.actor()).await?;
            }
            for (event, activity) in changed {
                after = event;
                yield Update { event, entry: entry(&app, &proof, &activity).await? };
            }
            app.store().changed(&mut mark).await;
        }
    }
}

/// Cancels what has not started, and asks what runs to stop where that is safe (R20).
///
/// # Errors
/// [`Error::Conflict`] when it is over already.
pub async fn cancel(
    app: &App,
    proof: Authorized<CancelActivity>,
    activity: &ActivityId,
) -> Result<ActivityEntry, Error> {
    own(app, &proof.on().environment, activity).await?;
    let mut tx = app.store().write().await?;
    if queue::cancel(&mut tx, app.store(), activity).await? == Cancelling::TooLate {
        return Err(Error::Conflict(Refusal::new("This activity is over already; there is nothing to cancel.")));
    }
    let about = format!("cancelled the activity {activity}");
    let by = (proof.actor().initiator(), proof.on());
    audit::note_in(&mut tx, app, by, AuditKind::Cancelled, about).await?;
    app.store().commit(tx).await?;
    Viewer::of(&proof).one(app, activity).await
}

async fn own(app: &App, environment: &Environment, activity: &ActivityId) -> Result<Activity, Error> {
    let found = store::activities::by_id(&mut *app.store().read().await?, activity).await?;
    found.filter(|found| found.environment == environment.id).ok_or(Error::NotFound("activity"))
}

async fn entry(app: &App, proof: &Authorized<ViewHistory>, activity: &ActivityId) -> Result<ActivityEntry, Error> {
    own(app, &proof.on().environment, activity).await?;
    Viewer::of(proof).one(app, activity).await
}

/// The one for whom entries are made: what is offered depends on them.
pub(super) struct Viewer<'a> {
    project: &'a Project,
    environments: &'a [Environment],
    standing: &'a Standing,
}

impl<'a> Viewer<'a> {
    /// Of one environment.
    pub(super) fn of<A: Permission<On = OnEnvironment>>(proof: &'a Authorized<A>) -> Self {
        let OnEnvironment { project, environment } = proof.on();
        Self { project, environments: std::slice::from_ref(environment), standing: proof.standing() }
    }

    /// Of several.
    pub(super) fn over(project: &'a Project, environments: &'a [Environment], standing: &'a Standing) -> Self {
        Self { project, environments, standing }
    }

    /// Whether an environment of the project may be named to them (R2).
    fn sees(&self, project: &ProjectId, environment: &EnvironmentId, kind: EnvironmentKind) -> bool {
        let subject = Subject { project, environment: Some((environment, kind)) };
        self.standing.decide(Act::ViewHistory, &subject) == Access::Granted
    }

    pub(super) async fn one(&self, app: &App, activity: &ActivityId) -> Result<ActivityEntry, Error> {
        let mut db = app.store().read().await?;
        let activity = store::activities::by_id(&mut db, activity).await?.ok_or(Error::NotFound("activity"))?;
        self.entries(&mut db, vec![activity]).await?.pop().ok_or(Error::NotFound("activity"))
    }

    async fn entries(&self, db: &mut Db, activities: Vec<Activity>) -> Result<Vec<ActivityEntry>, Error> {
        let names: Vec<SnapshotName> = activities.iter().flat_map(|activity| named(&activity.payload)).collect();
        let existing = snapshots::existing(db, &names).await?;
        let environments: HashMap<&EnvironmentId, &Environment> =
            self.environments.iter().map(|environment| (&environment.id, environment)).collect();
        let entries = activities.into_iter().filter_map(|activity| {
            let environment = environments.get(&activity.environment)?;
            let done = is_done(&activity);
            let present = |name: &SnapshotName| Some(name.clone()).filter(|name| done && existing.contains(name));
            let (snapshot, undo) = match &activity.payload {
                Payload::TakeSnapshot(take) => (present(&take.snapshot), None),
                Payload::RestoreSnapshot(restore) => (present(&restore.snapshot), present(&restore.safety)),
                Payload::BranchEnvironment(branch) => (present(&branch.snapshot), None),
                Payload::ReadDump(ReadDump { snapshot, .. }) | Payload::RunDrill(RunDrill { snapshot, .. }) => {
                    (snapshot.as_ref().and_then(present), None)
                }
                Payload::DeleteSnapshot(delete) => (present(&delete.snapshot), None),
                Payload::KeepSnapshot(keep) => (present(&keep.snapshot), None),
                // Another activity of the same environment made it, which has it.
                Payload::MergeEnvironment(_) | Payload::ChangeStorage(_) => (None, None),
                Payload::RemoveEnvironment(remove) => (remove.after.as_ref().and_then(present), None),
                Payload::Retain | Payload::ChangePlan(_) | Payload::ChangeSchedule(_) | Payload::Ticket(_) => {
                    (None, None)
                }
                Payload::MoveProject(_) | Payload::RemoveProject(_) => (None, None),
            };
            let cancel = if activity.state.is_over() {
                Offer { refusal: Some(Refusal::new("It is over already.")) }
            } else {
                self.standing.may(Act::CancelActivity, environment).into()
            };
            let sees = |other: &EnvironmentId, kind| self.sees(&activity.project, other, kind);
            let telling = Telling { payload: &activity.payload, done, environment: &environment.name, sees: &sees };
            let from = telling.from();
            Some(ActivityEntry {
                environment: environment.name.clone(),
                description: telling.in_words(),
                branch: telling.branch(),
                source: if let From::Other(source) = &from { source.clone() } else { environment.name.clone() },
                restore: authz::may(self.project, self.standing, Act::RestoreSnapshot, environment).into(),
                snapshot: snapshot.filter(|_| from != From::Hidden),
                undo,
                cancel,
                activity,
            })
        });
        Ok(entries.collect())
    }
}

fn named(payload: &Payload) -> Vec<SnapshotName> {
    match payload {
        Payload::TakeSnapshot(take) => vec![take.snapshot.clone()],
        Payload::RestoreSnapshot(restore) => vec![restore.snapshot.clone(), restore.safety.clone()],
        Payload::BranchEnvironment(branch) => vec![branch.snapshot.clone()],
        Payload::ReadDump(ReadDump { snapshot, .. }) | Payload::RunDrill(RunDrill { snapshot, .. }) => {
            snapshot.iter().cloned().collect()
        }
        Payload::DeleteSnapshot(delete) => vec![delete.snapshot.clone()],
        Payload::KeepSnapshot(keep) => vec![keep.snapshot.clone()],
        Payload::MergeEnvironment(_) | Payload::ChangeStorage(_) => Vec::new(),
        Payload::RemoveEnvironment(remove) => remove.after.iter().cloned().collect(),
        Payload::Retain | Payload::ChangePlan(_) | Payload::ChangeSchedule(_) | Payload::Ticket(_) => Vec::new(),
        Payload::MoveProject(_) | Payload::RemoveProject(_) => Vec::new(),
    }
}
