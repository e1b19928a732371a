//! Merging an environment into its parent, or announcing that (R10).

use super::activities::Viewer;
use super::audit::Attempt;
use super::environments::evictions;
use super::{App, Error, first};
use crate::authz::{Actor, Authorized, MergeEnvironment};
use crate::domain::activity::{self, ActivityKind, First, MergeHow, Payload, Source};
use crate::domain::environment::{Environment, ProjectCommands};
use crate::domain::ids::EnvironmentName;
use crate::domain::policy::advice::{Occasion, Wish, may_merge};
use crate::domain::policy::{Refusal, Standing};
use crate::domain::view::{ActivityEntry, MergePage, Offer};
use crate::domain::{ActivityId, ProjectId, SnapshotName};
use crate::queue::{self, NewActivity};
use crate::store::projects;

/// What is merged into what; the proofs say that both may be.
#[derive(Debug)]
pub struct Merge {
    from: Authorized<MergeEnvironment>,
    into: Authorized<MergeEnvironment>,
}

#[derive(Debug, Clone, Default)]
pub struct MergeRequest {
    pub snapshot: Wish,
    /// What the snapshot pushes out, by name: all of it must be named.
    pub evict: Vec<SnapshotName>,
    /// Who was to merge when it was confirmed; `None` from doors that confirm nothing in particular.
    pub shown: Option<MergeHow>,
}

impl Merge {
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Forbidden`] for either environment, [`Error::Conflict`] for one without a parent.
    pub async fn authorize(
        app: &App,
        actor: &Actor,
        project: &ProjectId,
        from: &EnvironmentName,
    ) -> Result<Self, Error> {
        let from = app.authorize_environment::<MergeEnvironment>(actor, project, from).await?;
        let environment = &from.on().environment;
        let Some(parent) = &environment.parent else {
            let orphan = may_merge(from.standing(), environment, None).err();
            return Err(Error::Conflict(orphan.unwrap_or_else(|| Refusal::new("It has no parent."))));
        };
        let into = app.authorize_environment::<MergeEnvironment>(actor, project, parent).await;
        let hint = format!("{parent} is the parent of {}, which it is merged into.", environment.name);
        let into = into.map_err(|error| match error {
            Error::NotFound(what) => Error::Absent { what, hint },
            other => other,
        })?;
        Ok(Self { from, into })
    }

    fn offer(&self) -> Offer {
        let (from, into) = (&self.from.on().environment, &self.into.on().environment);
        may_merge(self.from.standing(), from, Some(into)).into()
    }
}

/// Whether somebody may merge the environment, for its page and links. `there`: the project's environments.
pub(super) fn offer(standing: &Standing, environment: &Environment, there: &[Environment]) -> Offer {
    let parent = environment.parent.as_ref();
    let parent = parent.and_then(|parent| there.iter().find(|other| other.name == *parent));
    may_merge(standing, environment, parent).into()
}

fn how(commands: &ProjectCommands) -> MergeHow {
    if commands.merge.is_some() { MergeHow::Command } else { MergeHow::Announcement }
}

/// What a merge would do, and what is advised before it.
///
/// # Errors
/// When the store fails.
pub async fn preview(app: &App, merge: &Merge) -> Result<MergePage, Error> {
    let (project, into) = (&merge.into.on().project, &merge.into.on().environment);
    let mut db = app.store().read().await?;
    let terms = projects::terms(&mut db, &project.id).await?;
    let commands = projects::commands(&mut db, &project.id).await?;
    Ok(MergePage {
        advice: first::advice(app, &mut db, (into, &terms), merge.into.standing(), Occasion::Merge).await?,
        eviction: evictions(&mut db, into, &terms).await?,
        how: how(&commands),
        minutes: commands.minutes(),
        offer: merge.offer(),
        project: project.clone(),
        from: merge.from.on().environment.clone(),
        into: into.clone(),
    })
}

/// Queues the merge, in the feed of what it changes, behind the snapshot that comes first.
///
/// # Errors
/// [`Error::Forbidden`] when a snapshot is insisted on that the plan does not allow (recorded in the feed, R5),
/// [`Error::Conflict`] when an environment is not active, the snapshot would push out what was not named, or who merges is
/// no longer who was shown.
pub async fn create(app: &App, merge: Merge, request: MergeRequest) -> Result<ActivityEntry, Error> {
    let activity = Attempt::of(&merge.into).recorded(app, enqueue(app, &merge, request).await).await?;
    // Whoever may merge may see both.
    Viewer::of(&merge.into).one(app, &activity).await
}

async fn enqueue(app: &App, merge: &Merge, request: MergeRequest) -> Result<ActivityId, Error> {
    let (source, target) = (&merge.from.on().environment, merge.into.on());
    let into = &target.environment;
    if let Some(refusal) = merge.offer().refusal {
        return Err(Error::Conflict(refusal));
    }
    let mut tx = app.store().write().await?;
    let how = how(&projects::commands(&mut tx, &target.project.id).await?);
    if request.shown.is_some_and(|shown| shown != how) {
        return Err(Error::Conflict(
            Refusal::new("What a merge does in this project has changed since you looked.")
                .instead("Look at it again, and confirm again."),
        ));
    }
    let terms = projects::terms(&mut tx, &target.project.id).await?;
    let advice = first::advice(app, &mut tx, (into, &terms), merge.into.standing(), Occasion::Merge).await?;
    let new = |first| NewActivity {
        project: target.project.id.clone(),
        environment: into.id.clone(),
        region: target.project.region.clone(),
        kind: ActivityKind::Merge,
        initiator: merge.into.actor().initiator(),
        payload: Payload::MergeEnvironment(activity::MergeEnvironment {
            from: Source { id: source.id.clone(), name: source.name.clone(), kind: source.kind },
            how,
            first,
        }),
    };
    let step = match advice.follow(request.snapshot) {
        Ok(step) => step,
        Err(refusal) => {
            let first = First::Nothing { because: refusal.to_string() };
            queue::record_refused(&mut tx, app.store(), new(first), &refusal.to_string()).await?;
            app.store().commit(tx).await?;
            return Err(Error::Forbidden(refusal));
        }
    };
    let note = format!("before {} is merged into it", source.name);
    let first = first::take(app, &mut tx, &merge.into, step, (note, request.evict)).await?;
    let activity = queue::enqueue(&mut tx, app.store(), new(first)).await?;
    app.store().commit(tx).await?;
    Ok(activity.id)
}
