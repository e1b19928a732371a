//! The feed.

use std::collections::HashMap;

use async_stream::try_stream;
use futures::Stream;

use super::{App, Error, audit, projects};
use crate::authz::{Authorized, CancelActivity, OnEnvironment, Permission, ViewHistory, ViewProject};
use crate::domain::activity::{
    Activity, ActivityKind, ActivityResult, ActivityState, Keeping, Payload, ReadDump, RunDrill,
};
use crate::domain::audit::AuditKind;
use crate::domain::environment::Environment;
use crate::domain::ids::EnvironmentName;
use crate::domain::policy::acts::{Access, Subject};
use crate::domain::policy::{Act, Refusal, Standing};
use crate::domain::schedule::ScheduleChange;
use crate::domain::snapshot::Origin;
use crate::domain::ticket::{TicketAct, TicketStep};
use crate::domain::view::{ActivityEntry, ActivityPage, Feed, LogLine, Offer};
use crate::domain::{ActivityId, EnvironmentId, PartName, SnapshotName, Timestamp};
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
    let visible = projects::visible(&mut *app.store().read().await?, project, proof.standing()).await?;
    let scope = Scope::Project(project.id.clone(), visible.iter().map(|environment| environment.id.clone()).collect());
    list(app, Viewer { environments: &visible, standing: proof.standing() }, scope, filter).await
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

/// Lines after number `after` (0: all), and whether no more will come.
///
/// # Errors
/// [`Error::NotFound`] when the environment has no such activity.
pub async fn log(
    app: &App,
    proof: &Authorized<ViewHistory>,
    activity: &ActivityId,
    after: i64,
) -> Result<(Vec<LogLine>, bool), Error> {
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

/// Every change of the environment's activities after event `after`, as it comes. Ends only when the store fails.
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
    environments: &'a [Environment],
    standing: &'a Standing,
}

impl<'a> Viewer<'a> {
    /// Of one environment.
    pub(super) fn of<A: Permission<On = OnEnvironment>>(proof: &'a Authorized<A>) -> Self {
        Self { environments: std::slice::from_ref(&proof.on().environment), standing: proof.standing() }
    }

    fn from(&self, activity: &Activity) -> From {
        let source = match &activity.payload {
            Payload::RestoreSnapshot(restore) => restore.from.as_ref(),
            Payload::BranchEnvironment(branch) => Some(&branch.source),
            _ => None,
        };
        let Some(source) = source else { return From::Same };
        let subject = Subject { project: &activity.project, environment: Some((&source.id, source.kind)) };
        match self.standing.decide(Act::ViewHistory, &subject) {
            Access::Granted => From::Other(source.name.clone()),
            Access::Forbidden(_) | Access::Invisible => From::Hidden,
        }
    }

    fn branch(&self, activity: &Activity) -> Option<EnvironmentName> {
        let Payload::RestoreSnapshot(restore) = &activity.payload else { return None };
        let new = restore.branch.as_ref()?;
        let subject = Subject { project: &activity.project, environment: Some((&new.id, new.kind)) };
        (self.standing.decide(Act::ViewHistory, &subject) == Access::Granted).then(|| new.name.clone())
    }

    /// The target is named to those who may know of it (R2).
    fn describe_step(&self, activity: &Activity, step: &TicketStep, environment: &Environment) -> String {
        let subject = Subject { project: &activity.project, environment: Some((&step.target.id, step.target.kind)) };
        let into = match self.standing.decide(Act::ViewHistory, &subject) {
            Access::Granted => step.target.name.to_string(),
            Access::Forbidden(_) | Access::Invisible => "another environment".to_owned(),
        };
        let about = match step.act {
            TicketAct::File => "filed a ticket for",
            TicketAct::Comment => "commented on the ticket for",
            TicketAct::Claim => "claimed the ticket for",
            TicketAct::Release => "handed back the ticket for",
            TicketAct::Decline => "declined the ticket for",
            TicketAct::Run => "tried to run the ticket for",
            TicketAct::Withdraw => "withdrew the ticket for",
            TicketAct::Reopen => "reopened the ticket for",
        };
        format!("{about} restoring {} of {} into {into}", step.snapshot, environment.name)
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
            let done = activity.result == Some(ActivityResult::Success);
            let present = |name: &SnapshotName| Some(name.clone()).filter(|name| done && existing.contains(name));
            let (snapshot, undo) = match &activity.payload {
                Payload::TakeSnapshot(take) => (present(&take.snapshot), None),
                Payload::RestoreSnapshot(restore) => (present(&restore.snapshot), present(&restore.safety)),
                Payload::BranchEnvironment(branch) => (present(&branch.snapshot), None),
                Payload::ReadDump(ReadDump { snapshot, .. }) | Payload::RunDrill(RunDrill { snapshot }) => {
                    (snapshot.as_ref().and_then(present), None)
                }
                Payload::DeleteSnapshot(delete) => (present(&delete.snapshot), None),
                Payload::KeepSnapshot(keep) => (present(&keep.snapshot), None),
                Payload::Retain | Payload::ChangePlan(_) | Payload::ChangeSchedule(_) | Payload::Ticket(_) => {
                    (None, None)
                }
            };
            let cancel = if activity.state.is_over() {
                Offer { refusal: Some(Refusal::new("It is over already.")) }
            } else {
                self.standing.may(Act::CancelActivity, environment).into()
            };
            let from = self.from(&activity);
            let branch = self.branch(&activity);
            Some(ActivityEntry {
                environment: environment.name.clone(),
                description: match &activity.payload {
                    Payload::Ticket(step) => self.describe_step(&activity, step, environment),
                    _ => describe(&activity, environment, &from, branch.as_ref()),
                },
                branch,
                source: if let From::Other(source) = &from { source.clone() } else { environment.name.clone() },
                restore: self.standing.may(Act::RestoreSnapshot, environment).into(),
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
        Payload::ReadDump(ReadDump { snapshot, .. }) | Payload::RunDrill(RunDrill { snapshot }) => {
            snapshot.iter().cloned().collect()
        }
        Payload::DeleteSnapshot(delete) => vec![delete.snapshot.clone()],
        Payload::KeepSnapshot(keep) => vec![keep.snapshot.clone()],
        Payload::Retain | Payload::ChangePlan(_) | Payload::ChangeSchedule(_) | Payload::Ticket(_) => Vec::new(),
    }
}

/// Where the snapshot of a restore was taken, as far as the viewer may know (R2).
#[derive(PartialEq)]
enum From {
    Same,
    Other(EnvironmentName),
    Hidden,
}

impl From {
    fn of(&self, snapshot: &SnapshotName) -> String {
        match self {
            Self::Same => snapshot.to_string(),
            Self::Other(source) => format!("{snapshot} of {source}"),
            Self::Hidden => "a snapshot of another environment".to_owned(),
        }
    }
}

/// What follows the initiator's name: "created a snapshot of main".
fn describe(activity: &Activity, environment: &Environment, from: &From, branch: Option<&EnvironmentName>) -> String {
    let environment = &environment.name;
    let over = activity.state.is_over() && activity.result == Some(ActivityResult::Success);
    match (&activity.payload, over) {
        (Payload::TakeSnapshot(take), over) => {
            let verb = if over { "created" } else { "asked for" };
            let article = if take.origin == Origin::Automatic { "an automatic" } else { "a" };
            format!("{verb} {article} snapshot of {environment}")
        }
        (Payload::RestoreSnapshot(restore), over) => {
            let verb = if over { "restored" } else { "asked to restore" };
            let parts: Vec<String> = restore.scope.named().map(PartName::in_words).collect();
            let parts = if parts.is_empty() { String::new() } else { format!("{} of ", parts.join(", ")) };
            let of = from.of(&restore.snapshot);
            let by = restore.ticket.as_ref().map(|_| ", on a ticket").unwrap_or_default();
            match (&restore.branch, branch) {
                (None, _) => format!("{verb} {parts}{of} into {environment}{by}"),
                (Some(_), Some(new)) => format!("{verb} {parts}{of} into the new environment {new}{by}"),
                (Some(_), None) => format!("{verb} {parts}{of} into a new environment{by}"),
            }
        }
        (Payload::BranchEnvironment(branch), _) => {
            format!("made {environment} from {}", from.of(&branch.snapshot))
        }
        (Payload::RunDrill(run), over) => {
            let verb = if over { "proved" } else { "asked to try" };
            let of = run.snapshot.as_ref().map_or("the newest snapshot".to_owned(), ToString::to_string);
            format!("{verb} a restore of {of} of {environment}")
        }
        (Payload::ReadDump(read), over) => {
            let verb = if over { "downloaded" } else { "asked for" };
            let of = match &read.snapshot {
                Some(snapshot) => format!("{} in the snapshot {snapshot} of {environment}", read.service),
                None => format!("{} in {environment}", read.service),
            };
            format!("{verb} a dump of {of}")
        }
        (Payload::ChangeSchedule(entry), over) => {
            let (cron, zone) = (&entry.cron, &entry.time_zone);
            // What we stopped has not succeeded, but it is so.
            match (entry.change, over) {
                (ScheduleChange::Stopped, _) | (_, true) => {
                    format!("{} the schedule “{cron}” ({zone}) of {environment}", entry.change.verb())
                }
                (_, false) => {
                    format!("asked to {} the schedule “{cron}” ({zone}) of {environment}", entry.change.infinitive())
                }
            }
        }
        (Payload::Ticket(step), _) => step.act.done().to_owned(),
        (Payload::DeleteSnapshot(delete), over) => {
            let verb = if over { "deleted" } else { "asked to delete" };
            format!("{verb} {} of {environment}", delete.snapshot)
        }
        (Payload::KeepSnapshot(keep), over) => {
            let (done, asked) = match keep.how {
                Keeping::Protected => ("protected", "asked to protect"),
                Keeping::Unprotected => ("took the protection off", "asked to take the protection off"),
                Keeping::TakenBack => ("took back the deletion of", "asked to take back the deletion of"),
            };
            format!("{} {} of {environment}", if over { done } else { asked }, keep.snapshot)
        }
        (Payload::Retain, true) => format!("let go what the plan no longer keeps of {environment}"),
        (Payload::Retain, false) => format!("lets go what the plan no longer keeps of {environment}"),
        (Payload::ChangePlan(change), over) => {
            let verb = if over { "changed" } else { "asked to change" };
            format!("{verb} the project's plan from {} to {}", change.from, change.to)
        }
    }
}
