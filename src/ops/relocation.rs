//! Moving a project to another region (R27): what that would change, and asking for it.

use super::activities::{self as feeds, Viewer};
use super::audit::Attempt;
use super::{App, Error};
use crate::authz::{self, Authorized, MoveProject, ViewProject};
use crate::domain::activity::{self, ActivityKind, Payload};
use crate::domain::environment::Project;
use crate::domain::ids::RegionId;
use crate::domain::policy::region::{self, Region};
use crate::domain::policy::{Act, Refusal};
use crate::domain::view::{ActivityEntry, LeftRepository, MovePage, RegionPage};
use crate::domain::{ActivityId, Bytes, EnvironmentId};
use crate::engine::{Copy, Location};
use crate::jobs;
use crate::queue::{self, NewActivity};
use crate::store::projects::RepositoryAccess;
use crate::store::{Db, activities, environments, projects, regions, relocations, snapshots};

/// Of the moves that were, so many are shown.
const MOVES: u32 = 5;

/// Where the project lies, where it could go, and what its moves left behind.
///
/// # Errors
/// When the store fails.
pub async fn page(app: &App, proof: &Authorized<ViewProject>) -> Result<RegionPage, Error> {
    let project = &proof.on().project;
    let mut db = app.store().read().await?;
    let all = regions::all(&mut db).await?;
    let under_way = stands_against(&mut db, project).await?;
    let left = relocations::left(&mut db, &project.id).await?;
    let region = regions::by_id(&mut db, &project.region).await?;
    drop(db);
    let may = proof.standing().may_in(Act::MoveProject, &project.id);
    let may = may.and_then(|()| authz::is_there(project)).and_then(|()| region::may_choose(&project.region, &all));
    let filter = feeds::Filter { kinds: vec![ActivityKind::Move], count: Some(MOVES), ..feeds::Filter::default() };
    let others = all.into_iter().filter(|other| other.id != project.region);
    let is_operator = proof.actor().me().operator;
    Ok(RegionPage {
        others: others
            .map(|other| {
                let place = region::place(&other, &project.id, app.data()).map(drop);
                (other, place.into())
            })
            .collect(),
        change: may.and(under_way).into(),
        moves: feeds::project_feed(app, proof, filter).await?.entries,
        left: left
            .into_iter()
            .filter(|it| !is_gone(&it.location))
            .map(|it| LeftRepository { region: it.region, at: it.at, location: is_operator.then_some(it.location) })
            .collect(),
        project: project.clone(),
        region,
    })
}

/// Whether a directory was removed: where what it lay in can't be seen from here, nobody knows.
fn is_gone(location: &str) -> bool {
    let location = std::path::Path::new(location);
    location.parent().is_some_and(std::path::Path::is_dir) && !location.exists()
}

/// # Errors
/// [`Error::Invalid`] when there is no such region.
pub async fn preflight(app: &App, proof: &Authorized<MoveProject>, to: &RegionId) -> Result<MovePage, Error> {
    let project = &proof.on().project;
    let mut db = app.store().read().await?;
    let to = found(&mut db, to).await?;
    let from = regions::by_id(&mut db, &project.region).await?;
    let access = projects::repository(&mut db, app.store().sealer(), &project.id).await?;
    let snapshots = snapshots::by_project(&mut db, &project.id).await?.len() as u64;
    let mut obstacles: Vec<Refusal> = Vec::new();
    obstacles.extend(region::may_move(&project.region, &to).err());
    obstacles.extend(stands_against(&mut db, project).await?.err());
    drop(db);
    let place = region::place(&to, &project.id, app.data());
    obstacles.extend(place.as_ref().err().cloned());
    let (mut size, mut free) = (None, None);
    if let Ok(place) = place {
        let looked = tokio::task::spawn_blocking(move || measured(&access, place)).await;
        if let Ok(Some((needed, left, whole))) = looked {
            (size, free) = (Some(whole), Some(left));
            obstacles.extend(region::has_room(&to, needed, left).err());
        }
    }
    Ok(MovePage {
        changes: region::changes(&from, &to),
        project: project.clone(),
        from,
        to,
        snapshots,
        size,
        free,
        obstacles: obstacles.iter().map(ToString::to_string).collect(),
    })
}

/// What is to be copied, what there is room for, and how much the repository is; `None`: not known from here.
fn measured(access: &RepositoryAccess, place: std::path::PathBuf) -> Option<(Bytes, Bytes, Bytes)> {
    let free = jobs::free(&place).ok()?;
    let copy = Copy::new(&Location::Local(access.location.clone().into()), &Location::Local(place)).ok()?;
    Some((copy.missing().ok()?, free, copy.size().ok()?))
}

/// Queues the move. A worker of the other region takes it up, so that one must be there; until it is done, the project is
/// where it was.
///
/// # Errors
/// [`Error::Invalid`] when there is no such region, [`Error::Conflict`] when something stands against it.
pub async fn begin(app: &App, proof: Authorized<MoveProject>, to: &RegionId) -> Result<ActivityEntry, Error> {
    let activity = Attempt::of(&proof).recorded(app, enqueue(app, &proof, to).await).await?;
    let all = environments::ever_in_project(&mut *app.store().read().await?, &proof.on().project.id).await?;
    Viewer::over(&proof.on().project, &all, proof.standing()).one(app, &activity).await
}

async fn enqueue(app: &App, proof: &Authorized<MoveProject>, to: &RegionId) -> Result<ActivityId, Error> {
    let project = &proof.on().project;
    let mut tx = app.store().write().await?;
    activities::hold_off(&mut tx).await?;
    let to = found(&mut tx, to).await?;
    region::may_move(&project.region, &to).map_err(Error::Conflict)?;
    region::place(&to, &project.id, app.data()).map_err(Error::Conflict)?;
    stands_against(&mut tx, project).await?.map_err(Error::Conflict)?;
    let none = || Refusal::new("The project has no environment yet, so there is nothing to move.");
    let environment = feed(&mut tx, proof).await?.ok_or_else(|| Error::Conflict(none()))?;
    let new = NewActivity {
        project: project.id.clone(),
        environment,
        region: to.id.clone(),
        kind: ActivityKind::Move,
        initiator: proof.actor().initiator(),
        payload: Payload::MoveProject(activity::MoveProject { from: project.region.clone(), to: to.id }),
    };
    let activity = queue::enqueue_beside(&mut tx, app.store(), new).await?;
    app.store().commit(tx).await?;
    Ok(activity.id)
}

/// The environment that matters most.
async fn feed(db: &mut Db, proof: &Authorized<MoveProject>) -> Result<Option<EnvironmentId>, Error> {
    let all = environments::by_project(db, &proof.on().project.id).await?;
    let feed = all.into_iter().min_by_key(|environment| (environment.kind, environment.created_at));
    Ok(feed.map(|environment| environment.id))
}

async fn found(db: &mut Db, id: &RegionId) -> Result<Region, Error> {
    let all = regions::all(db).await?;
    let known: Vec<String> = all.iter().map(|region| region.id.to_string()).collect();
    all.into_iter().find(|region| region.id == *id).ok_or_else(|| Error::Invalid {
        message: format!("There is no region `{id}`."),
        hint: Some(format!("There are: {}. Regions are declared: docs/declaration.md.", known.join(", "))),
    })
}

async fn stands_against(db: &mut Db, project: &Project) -> Result<Result<(), Refusal>, Error> {
    let unfinished = activities::unfinished(db, &project.id).await?;
    Ok(unfinished.iter().try_for_each(|(_, payload)| match payload {
        Payload::MoveProject(moved) => {
            Err(Refusal::new(format!("The project is being moved to the region {} already.", moved.to))
                .instead("Wait until it is there, or cancel that."))
        }
        Payload::RemoveProject(_) => Err(Refusal::new("The project is being removed.")),
        _ => Ok(()),
    }))
}
