//! Restore tickets: filing, the queue, and what support staff and whoever filed one do with them (R3, R27, R28).
//!
//! **Invariant:** what a ticket asks for is written once. Support staff restores nothing but that: a run goes the way of
//! whoever filed it, with the role that they have then, and replaces what was to be replaced when it was filed.

mod page;

use std::collections::{BTreeMap, BTreeSet};

pub use page::{evidence, page};

use super::audit::{self, Attempt};
use super::restores::{self, RestoreRequest, Way};
use super::{App, Error};
use crate::authz::{self, Actor, Authorized, CommentTicket, FileTicket, OnTicket, Permission, ViewProject, WorkTicket};
use crate::domain::activity::{ActivityKind, Payload, Source};
use crate::domain::environment::Project;
use crate::domain::ids::RegionId;
use crate::domain::policy::acts::{Access, Act, Subject};
use crate::domain::policy::{Refusal, Standing};
use crate::domain::ticket::{Person, Ticket, TicketAct, TicketState, TicketTarget, Wanted};
use crate::domain::view::{Queue, TicketEntry};
use crate::domain::{EnvironmentId, ProjectId, Scope, TicketId, Timestamp};
use crate::queue::{self, NewActivity};
use crate::store::tickets::Filed;
use crate::store::{self, Db, clock, regions, snapshots, tickets};

const LONGEST_TEXT: usize = 2_000;
/// More than anybody works through; older ones come first.
const LISTED: u32 = 500;

#[derive(Debug, Clone)]
pub struct TicketRequest {
    pub restore: RestoreRequest,
    pub reason: String,
}

/// Files a ticket for a restore that the region does not let one do by oneself.
///
/// # Errors
/// [`Error::Conflict`] where no ticket is needed or none is worked on, when the restore is not possible as things are, and
/// when an unfinished ticket asks for the same; [`Error::Invalid`] without a reason.
pub async fn file(app: &App, way: Way, request: TicketRequest) -> Result<TicketEntry, Error> {
    let filed = filed(app, &way, request).await;
    Attempt::of(way.from()).doing(Act::FileTicket).recorded(app, filed).await
}

async fn filed(app: &App, way: &Way, request: TicketRequest) -> Result<TicketEntry, Error> {
    let reason = text_for(TicketAct::File, Some(request.reason))?.unwrap_or_default();
    let RestoreRequest { snapshot, scope, plan_hash } = request.restore;
    if !way.is_elsewhere() {
        let refusal = Refusal::new("A snapshot is restored into its own environment without a ticket.");
        return Err(Error::Conflict(
            refusal.instead("Restore it yourself (snapshot:restore, or the snapshot's page)."),
        ));
    }
    let (actor, project) = (way.from().actor(), &way.from().on().project);
    if let Err(refusal) = way.may_file_ticket() {
        let on = (&project.id, Some(&way.source().name));
        return Err(audit::refused(app, actor, on, Act::FileTicket, refusal).await?);
    }
    let region = regions::by_id(&mut *app.store().read().await?, &project.region).await?;
    region.may_file_ticket().map_err(Error::Conflict)?;
    let preflight = restores::preflight(app, way, &snapshot, &scope).await?;
    if let Some(obstacle) = preflight.obstacles.into_iter().next() {
        return Err(Error::Conflict(Refusal::new(obstacle)));
    }
    if plan_hash.is_some_and(|shown| shown != preflight.hash) {
        let refusal = Refusal::new("The environment has changed since you looked.");
        return Err(Error::Conflict(refusal.instead("Look at what would be replaced now, and file the ticket then.")));
    }

    let mut tx = app.store().write().await?;
    let (taken, manifest, composition) = restores::load(app, &mut tx, way, &snapshot).await?;
    let plan = way.plan(&manifest, &composition, &scope).map_err(Error::Conflict)?;
    let (source, target) = (way.source(), way.target());
    let wanted = Wanted {
        snapshot,
        taken_at: taken.taken_at,
        source: Source { id: source.id.clone(), name: source.name.clone(), kind: source.kind },
        target: TicketTarget {
            id: target.id.clone(),
            name: target.name.clone(),
            kind: target.kind,
            branch_from: way.branch_from().cloned(),
        },
        scope: if preflight.choices.iter().all(|(_, chosen)| *chosen) { Scope::default() } else { scope },
        plan_hash: plan.hash(),
        reason,
    };
    is_alone(&mut tx, &project.id, &wanted, None).await?;
    let now = clock::now(&mut tx, app.store().dialect()).await?;
    let ticket = Ticket {
        id: TicketId::parse(store::random_id())?,
        project: project.id.clone(),
        wanted,
        requester: person(actor),
        state: TicketState::Open,
        claimer: None,
        run: None,
        created_at: now,
        updated_at: now,
        version: 0,
    };
    tickets::insert(&mut tx, &ticket, &Filed { plan, changes: preflight.changes }).await.map_err(at_once)?;
    let text = Some(ticket.wanted.reason.clone());
    record(app, &mut tx, (project, &ticket), actor, (TicketAct::File, text), None).await?;
    app.store().commit(tx).await?;
    Ok(entry(ticket, project, (actor, way.from().standing()), now))
}

/// Two who ask for the same in the same moment: the second is told as if it had been later.
fn at_once(error: store::Error) -> Error {
    match error {
        store::Error::Taken(_) => {
            let refusal = Refusal::new("Somebody asked for the same in the same moment.");
            Error::Conflict(refusal.instead("Look at the project's tickets (ticket:list)."))
        }
        other => other.into(),
    }
}

/// No other unfinished ticket than `own` asks for the same.
async fn is_alone(db: &mut Db, project: &ProjectId, wanted: &Wanted, own: Option<&TicketId>) -> Result<(), Error> {
    let filter = tickets::Filter {
        states: TicketState::UNFINISHED.to_vec(),
        projects: Some(vec![project.clone()]),
        ..tickets::Filter::default()
    };
    let same = |ticket: &Ticket| {
        let other = &ticket.wanted;
        own != Some(&ticket.id)
            && (&other.snapshot, &other.target.name, &other.scope)
                == (&wanted.snapshot, &wanted.target.name, &wanted.scope)
    };
    match tickets::list(db, &filter, LISTED).await?.into_iter().find(same) {
        None => Ok(()),
        Some(other) => {
            let refusal = Refusal::new(format!("{} asked for the same in ticket {}.", other.requester.name, other.id));
            Err(Error::Conflict(refusal.instead("Write to that one (ticket:comment).")))
        }
    }
}

/// Which tickets; the default is all that one may see.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub id: Option<TicketId>,
    pub states: Vec<TicketState>,
    pub project: Option<ProjectId>,
    pub region: Option<RegionId>,
    pub whose: Whose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Whose {
    #[default]
    Anybodys,
    /// Filed or worked on by the one who asks.
    Mine,
}

/// The support queue: of every project.
///
/// # Errors
/// [`Error::Forbidden`] for who is not support staff.
pub async fn queue(app: &App, actor: &Actor, filter: Filter) -> Result<Queue, Error> {
    if !actor.me().support {
        let refusal = Refusal::new("The queue is for support staff.");
        return Err(Error::Forbidden(refusal.instead("A project's own tickets stand on the project's page.")));
    }
    list(app, actor, filter).await
}

/// Those that the actor may see, oldest first.
///
/// # Errors
/// When the store fails.
pub async fn list(app: &App, actor: &Actor, filter: Filter) -> Result<Queue, Error> {
    let mut db = app.store().read().await?;
    let now = clock::now(&mut db, app.store().dialect()).await?;
    let mut seen: BTreeMap<ProjectId, (Project, Standing)> = BTreeMap::new();
    for id in tickets::projects(&mut db).await? {
        let Some(project) = store::projects::by_id(&mut db, &id).await? else { continue };
        let standing = authz::standing(&mut db, actor, &project).await?;
        let subject = Subject { project: &project.id, environment: None };
        if standing.decide(Act::ViewProject, &subject) == Access::Granted {
            seen.insert(project.id.clone(), (project, standing));
        }
    }
    let wanted = tickets::Filter {
        id: filter.id,
        states: filter.states,
        projects: Some(match &filter.project {
            Some(one) => seen.keys().filter(|id| *id == one).cloned().collect(),
            None => seen.keys().cloned().collect(),
        }),
        region: filter.region,
        of: (filter.whose == Whose::Mine).then(|| actor.user().clone()),
    };
    let found = tickets::list(&mut db, &wanted, LISTED + 1).await?;
    let is_cut = found.len() > LISTED as usize;
    let mut entries = Vec::new();
    for ticket in found.into_iter().take(LISTED as usize) {
        let Some((project, standing)) = seen.get(&ticket.project) else { continue };
        if ticket.is_visible(standing) {
            entries.push(entry(ticket, project, (actor, standing), now));
        }
    }
    let titles = seen.values().map(|(project, _)| (project.id.clone(), project.title.clone())).collect();
    let used: BTreeSet<&RegionId> = seen.values().map(|(project, _)| &project.region).collect();
    let regions = regions::all(&mut db).await?.into_iter().filter(|region| used.contains(&region.id));
    let regions = regions.map(|region| (region.id, region.title)).collect();
    Ok(Queue { entries, projects: titles, regions, is_cut })
}

/// How many of the project's tickets somebody waits for; `None`: there are none, and the region needs none.
pub(super) async fn unfinished(app: &App, proof: &Authorized<ViewProject>) -> Result<Option<u64>, Error> {
    let project = &proof.on().project;
    let mut db = app.store().read().await?;
    let filter = tickets::Filter {
        states: TicketState::UNFINISHED.to_vec(),
        projects: Some(vec![project.id.clone()]),
        ..tickets::Filter::default()
    };
    let found = tickets::list(&mut db, &filter, LISTED).await?;
    let seen = found.iter().filter(|ticket| ticket.is_visible(proof.standing())).count() as u64;
    let is_by_ticket = regions::by_id(&mut db, &project.region).await?.may_file_ticket().is_ok();
    Ok((seen > 0 || is_by_ticket).then_some(seen))
}

/// Does it, as whoever asks may: the one way from the doors to all of a ticket's acts. `text` is the comment, or the reason.
///
/// # Errors
/// [`Error::NotFound`] and [`Error::Forbidden`] by role, [`Error::Conflict`] when the ticket's state does not allow it,
/// [`Error::Invalid`] where a text is needed and there is none.
pub async fn act(
    app: &App,
    actor: &Actor,
    (project, ticket): (&ProjectId, &TicketId),
    act: TicketAct,
    text: Option<String>,
) -> Result<TicketEntry, Error> {
    match act {
        TicketAct::File => Err(Error::Conflict(Refusal::new("It is filed already."))),
        TicketAct::Comment | TicketAct::Reopen => {
            let proof = app.authorize_ticket::<CommentTicket>(actor, project, ticket).await?;
            step(app, &proof, act, text).await
        }
        TicketAct::Withdraw => {
            let proof = app.authorize_ticket::<FileTicket>(actor, project, ticket).await?;
            step(app, &proof, act, text).await
        }
        TicketAct::Claim | TicketAct::Release | TicketAct::Decline => {
            let proof = app.authorize_ticket::<WorkTicket>(actor, project, ticket).await?;
            step(app, &proof, act, text).await
        }
        TicketAct::Run => {
            let proof = app.authorize_ticket::<WorkTicket>(actor, project, ticket).await?;
            run(app, &proof).await
        }
    }
}

/// All but the run: changes the ticket and writes the line of the feed, together.
async fn step<A: Permission<On = OnTicket>>(
    app: &App,
    proof: &Authorized<A>,
    act: TicketAct,
    text: Option<String>,
) -> Result<TicketEntry, Error> {
    Attempt::of(proof).recorded(app, stepped(app, proof, act, text).await).await
}

async fn stepped<A: Permission<On = OnTicket>>(
    app: &App,
    proof: &Authorized<A>,
    act: TicketAct,
    text: Option<String>,
) -> Result<TicketEntry, Error> {
    let text = text_for(act, text)?;
    let (project, actor) = (&proof.on().project, proof.actor());
    let mut tx = app.store().write().await?;
    let ticket = current(&mut tx, proof).await?;
    allowed(&ticket, act, proof)?;
    if act == TicketAct::Reopen && snapshots::by_name(&mut tx, &ticket.wanted.snapshot).await?.is_none() {
        let refusal = Refusal::new(format!("The snapshot {} does not exist any more.", ticket.wanted.snapshot));
        return Err(Error::Conflict(refusal.instead("File a new ticket for another one.")));
    }
    if act == TicketAct::Reopen {
        is_alone(&mut tx, &project.id, &ticket.wanted, Some(&ticket.id)).await?;
    }
    let now = clock::now(&mut tx, app.store().dialect()).await?;
    let next = ticket.after(act, person(actor));
    if act != TicketAct::Comment && !tickets::change(&mut tx, &next, now).await.map_err(at_once)? {
        // Somebody was faster: what they did says why not.
        allowed(&current(&mut tx, proof).await?, act, proof)?;
        return Err(Error::Conflict(Refusal::new("Somebody else changed this ticket in the same moment.")));
    }
    record(app, &mut tx, (project, &next), actor, (act, text), None).await?;
    let changed = current(&mut tx, proof).await?;
    app.store().commit(tx).await?;
    Ok(entry(changed, project, (actor, proof.standing()), now))
}

/// Queues the restore. Where it is refused the feed says so (R5).
async fn run(app: &App, proof: &Authorized<WorkTicket>) -> Result<TicketEntry, Error> {
    let (project, actor) = (&proof.on().project, proof.actor());
    let ticket = current(&mut *app.store().read().await?, proof).await?;
    Attempt::of(proof).recorded(app, allowed(&ticket, TicketAct::Run, proof)).await?;
    let refusal = match page::plan(app, proof, &ticket).await? {
        Ok((way, hash)) => {
            let Wanted { snapshot, scope, .. } = ticket.wanted.clone();
            let request = RestoreRequest { snapshot, scope, plan_hash: Some(hash) };
            match restores::enqueue(app, &way, request, Some(&ticket)).await {
                Ok(_) => {
                    let mut db = app.store().read().await?;
                    let now = clock::now(&mut db, app.store().dialect()).await?;
                    let ticket = current(&mut db, proof).await?;
                    return Ok(entry(ticket, project, (actor, proof.standing()), now));
                }
                Err(Error::Conflict(refusal)) => {
                    // Two who run it at once: the second is told what the first did.
                    let now = current(&mut *app.store().read().await?, proof).await?;
                    Attempt::of(proof).recorded(app, allowed(&now, TicketAct::Run, proof)).await?;
                    refusal
                }
                Err(error) => return Err(error),
            }
        }
        Err(refusal) => refusal,
    };
    let mut tx = app.store().write().await?;
    let told = refusal.to_string();
    record(app, &mut tx, (project, &ticket), actor, (TicketAct::Run, None), Some(&told)).await?;
    app.store().commit(tx).await?;
    Err(Error::Conflict(refusal))
}

fn allowed<A: Permission<On = OnTicket>>(ticket: &Ticket, act: TicketAct, proof: &Authorized<A>) -> Result<(), Error> {
    ticket.may(act, proof.actor().user(), proof.standing()).map_err(Error::Conflict)
}

async fn current<A: Permission<On = OnTicket>>(db: &mut Db, proof: &Authorized<A>) -> Result<Ticket, Error> {
    tickets::by_id(db, &proof.on().ticket.id).await?.ok_or(Error::NotFound("ticket"))
}

/// Writes a step into the feed of the snapshot's environment, and into the ticket's history.
async fn record(
    app: &App,
    db: &mut Db,
    (project, ticket): (&Project, &Ticket),
    actor: &Actor,
    (act, text): (TicketAct, Option<String>),
    refused: Option<&str>,
) -> Result<(), Error> {
    let environment: EnvironmentId = ticket.wanted.source.id.clone();
    let new = NewActivity {
        project: project.id.clone(),
        environment,
        region: project.region.clone(),
        kind: ActivityKind::Ticket(act),
        initiator: actor.initiator(),
        payload: Payload::Ticket(ticket.step(act, text)),
    };
    let activity = match refused {
        None => queue::record_done(db, app.store(), new).await?,
        Some(reason) => queue::record_refused(db, app.store(), new, reason).await?,
    };
    Ok(tickets::add_step(db, &ticket.id, &activity.id).await?)
}

fn text_for(act: TicketAct, text: Option<String>) -> Result<Option<String>, Error> {
    let text = text.map(|text| text.trim().replace("\r\n", "\n")).filter(|text| !text.is_empty());
    if text.as_ref().is_some_and(|text| text.chars().count() > LONGEST_TEXT) {
        return Err(Error::invalid(format!("The text may have at most {LONGEST_TEXT} characters.")));
    }
    match (act, &text) {
        (TicketAct::Comment, None) => Err(Error::invalid("A comment needs a text.")),
        (_, None) if act.needs_text() => {
            Err(Error::invalid("A reason is needed: whoever reads the ticket wants to know why."))
        }
        _ => Ok(text),
    }
}

fn person(actor: &Actor) -> Person {
    Person { user: actor.user().clone(), name: actor.me().email }
}

fn entry(ticket: Ticket, project: &Project, (actor, standing): (&Actor, &Standing), now: Timestamp) -> TicketEntry {
    let offers = TicketAct::ALL.into_iter().filter(|act| *act != TicketAct::File);
    let offers = offers.map(|act| (act, ticket.may(act, actor.user(), standing).into())).collect();
    TicketEntry {
        project_title: project.title.clone(),
        region: project.region.clone(),
        age: now.since(ticket.created_at),
        offers,
        ticket,
    }
}
