//! Schedules: what is taken and tried by itself, and when (R8, R9, R29).

use std::collections::HashMap;

use super::audit::Attempt;
use super::{App, Error};
use crate::authz::{Authorized, ManageSchedules, OnEnvironment, ViewHistory};
use crate::domain::activity::{Activity, ActivityKind, ChangeSchedule, Payload};
use crate::domain::environment::{Environment, EnvironmentStatus};
use crate::domain::policy::schedule::{
    ONCE_A_DAY, PRESETS, QUIET_HOURS, Rhythm, TOGETHER, Turns, is_more_than_daily_together, zones,
};
use crate::domain::policy::{Act, Refusal, Standing, Terms, Verdict, drills as rules};
use crate::domain::schedule::{Errand, Owner, Schedule, ScheduleChange, ScheduleSource, ScheduleState};
use crate::domain::snapshot::Origin;
use crate::domain::time::span;
use crate::domain::view::{NextRun, ScheduleEntry, SchedulesPage};
use crate::domain::{EnvironmentId, ScheduleId, Timestamp};
use crate::queue::{self, NewActivity};
use crate::store::{self, Db, drills, projects, schedules, snapshots};

/// Of one environment, beside those that come by themselves.
const MOST: usize = 20;
/// Next runs that are shown.
const SHOWN: usize = 3;

#[derive(Debug, Clone)]
pub struct ScheduleRequest {
    pub what: Errand,
    /// Of a drill also `@weekly` and `@monthly`: at a quiet hour of its own.
    pub cron: String,
    pub time_zone: String,
}

/// What is to be different; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct ScheduleEdit {
    pub cron: Option<String>,
    pub time_zone: Option<String>,
    pub wish: Option<Wish>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Pause,
    Resume,
}

/// # Errors
/// When the store fails.
pub async fn page(app: &App, proof: &Authorized<ViewHistory>) -> Result<SchedulesPage, Error> {
    let on = proof.on();
    let mut db = app.store().read().await?;
    let terms = projects::terms(&mut db, &on.project.id).await?;
    let now = store::clock::now(&mut db, app.store().dialect()).await?;
    let last = Last::read(&mut db, &on.environment).await?;
    let all = schedules::by_environment(&mut db, &on.environment.id).await?;
    let is_often = is_more_than_daily_together(&all, now);
    let facts = Facts { on, standing: proof.standing(), terms: &terms, now, last, is_often };
    let (drills, all): (Vec<_>, Vec<_>) = all.into_iter().partition(|schedule| schedule.what == Errand::Drill);
    Ok(SchedulesPage {
        project: on.project.clone(),
        environment: on.environment.clone(),
        plan_title: terms.plan.title.clone(),
        schedules: all.into_iter().map(|schedule| facts.entry(schedule)).collect(),
        drills: drills.into_iter().map(|schedule| facts.entry(schedule)).collect(),
        proven: drills::newest_proof(&mut db, &on.environment.id).await?,
        add: terms.may_schedule(proof.standing(), &on.environment).into(),
        add_drill: rules::may_schedule(proof.standing(), &on.environment).into(),
        drill_presets: rules::PRESETS.iter().map(|(cron, words)| ((*cron).to_owned(), (*words).to_owned())).collect(),
        advice: format!("{ONCE_A_DAY} {QUIET_HOURS}"),
        presets: PRESETS.iter().map(|(cron, words)| ((*cron).to_owned(), (*words).to_owned())).collect(),
        zones: zones(),
    })
}

/// # Errors
/// [`Error::NotFound`] when the environment has no such schedule.
pub async fn one(app: &App, proof: &Authorized<ViewHistory>, id: &ScheduleId) -> Result<ScheduleEntry, Error> {
    let page = page(app, proof).await?;
    let found = page.schedules.into_iter().chain(page.drills).find(|entry| entry.schedule.id == *id);
    found.ok_or(Error::NotFound("schedule"))
}

/// Makes a schedule in the actor's name. Its first run is the first that is due from now on.
///
/// # Errors
/// [`Error::Invalid`] for what is no cron expression or time zone; [`Error::Forbidden`] when the plan has none (recorded in
/// the feed, R5); [`Error::Conflict`] when there are enough.
pub async fn add(
    app: &App,
    proof: &Authorized<ManageSchedules>,
    request: &ScheduleRequest,
) -> Result<ScheduleEntry, Error> {
    Attempt::of(proof).recorded(app, make(app, proof, request).await).await
}

async fn make(
    app: &App,
    proof: &Authorized<ManageSchedules>,
    request: &ScheduleRequest,
) -> Result<ScheduleEntry, Error> {
    let change = Change::begin(app, proof).await?;
    let now = change.now;
    let id = ScheduleId::parse(store::random_id())?;
    let rhythm = parse((&id, request.what), &request.cron, &request.time_zone)?;
    let schedule = Schedule {
        id,
        environment: proof.on().environment.id.clone(),
        what: request.what,
        source: ScheduleSource::Person,
        cron: rhythm.text().to_owned(),
        time_zone: request.time_zone.trim().to_owned(),
        edited: false,
        owner: None,
        state: ScheduleState::Active,
        stopped_because: None,
        since: now,
        slot: None,
        missed: 0,
        last_activity: None,
        created_at: now,
        updated_at: now,
    };
    let allowed = may_add(&change.terms, proof.standing(), &proof.on().environment, request.what);
    let mut change = change.allow(allowed, &schedule, ScheduleChange::Added).await?;
    let there = schedules::by_environment(&mut change.tx, &schedule.environment).await?;
    if there.iter().filter(|other| other.source == ScheduleSource::Person).count() >= MOST {
        let refusal = Refusal::new(format!("An environment has at most {MOST} schedules."));
        return Err(Error::Conflict(refusal.instead("Remove or change one of them.")));
    }
    change.put(schedule, ScheduleChange::Added).await
}

/// Changes when it runs, pauses or resumes it. From then on it runs in the actor's name: whoever answers for what it does
/// is the last who said when.
///
/// # Errors
/// As [`add`], and [`Error::NotFound`] when the environment has no such schedule.
pub async fn edit(
    app: &App,
    proof: &Authorized<ManageSchedules>,
    id: &ScheduleId,
    edit: &ScheduleEdit,
) -> Result<ScheduleEntry, Error> {
    let mut change = Change::begin(app, proof).await?;
    let known = change.known(id).await?;
    let cron = edit.cron.as_deref().unwrap_or(&known.cron);
    let time_zone = edit.time_zone.as_deref().unwrap_or(&known.time_zone).trim().to_owned();
    let cron = parse((id, known.what), cron, &time_zone)?.text().to_owned();
    let state = match edit.wish {
        Some(Wish::Pause) => ScheduleState::Paused,
        Some(Wish::Resume) => ScheduleState::Active,
        None => known.state,
    };
    let what = match edit.wish {
        Some(Wish::Pause) => ScheduleChange::Paused,
        Some(Wish::Resume) => ScheduleChange::Resumed,
        None => ScheduleChange::Changed,
    };
    let stopped_because = known.stopped_because.clone().filter(|_| state == ScheduleState::Stopped);
    let edited = known.source == ScheduleSource::Plan;
    let (since, updated_at) = (change.now, change.now);
    let schedule = Schedule { cron, time_zone, state, stopped_because, edited, since, updated_at, ..known };
    let allowed = may_change(&change.terms, proof.standing(), &proof.on().environment, &schedule);
    change.allow(allowed, &schedule, what).await?.put(schedule, what).await
}

/// Removes it. What it has taken stays, and goes when it would have gone had the schedule run on.
///
/// # Errors
/// [`Error::NotFound`] when the environment has no such schedule; [`Error::Forbidden`] for the plan's own, which can be
/// paused where the plan allows it.
pub async fn remove(app: &App, proof: &Authorized<ManageSchedules>, id: &ScheduleId) -> Result<(), Error> {
    let mut change = Change::begin(app, proof).await?;
    let known = change.known(id).await?;
    let allowed = may_remove(&change.terms, proof.standing(), &proof.on().environment, &known);
    let mut change = change.allow(allowed, &known, ScheduleChange::Removed).await?;
    schedules::delete(&mut change.tx, id, change.now).await?;
    let new = change.activity(&known, ScheduleChange::Removed);
    queue::record_done(&mut change.tx, app.store(), new).await?;
    Ok(app.store().commit(change.tx).await?)
}

/// When what schedules do was done last.
struct Last {
    snapshot: Option<Timestamp>,
    /// Ended, well or not.
    drill: Option<Timestamp>,
    /// Whether there is anything to try.
    has_snapshots: bool,
}

impl Last {
    async fn read(db: &mut Db, environment: &Environment) -> Result<Self, Error> {
        let own = [environment.id.clone()];
        let newest = snapshots::newest_wanted_of(db, &own).await?;
        let drills = drills::last_ended_of(db, &own).await?;
        let automatic = snapshots::newest_automatic_of(db, &own).await?;
        let drill = drills.get(&environment.id);
        Ok(Self::new(automatic.get(&environment.id).copied(), drill, newest.contains_key(&environment.id)))
    }

    fn new(snapshot: Option<Timestamp>, drill: Option<&Activity>, has_snapshots: bool) -> Self {
        let drill = drill.map(|activity| activity.completed_at.unwrap_or(activity.updated_at));
        Self { snapshot, drill, has_snapshots }
    }

    fn overdue_since(&self, schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
        schedule.slot?;
        let rhythm = Rhythm::parse(&schedule.cron, &schedule.time_zone).ok()?;
        let last = match schedule.what {
            Errand::Snapshot => self.snapshot,
            Errand::Drill if self.has_snapshots => self.drill,
            Errand::Drill => return None,
        };
        Turns::of(&rhythm, schedule).overdue(last, schedule.since, now)
    }
}

/// What schedules and their last runs say of several environments, read together.
pub(super) struct Overdue {
    schedules: HashMap<EnvironmentId, Vec<Schedule>>,
    automatic: HashMap<EnvironmentId, Timestamp>,
}

impl Overdue {
    pub(super) async fn read(db: &mut Db, environments: &[EnvironmentId]) -> Result<Self, Error> {
        let schedules = schedules::by_environments(db, environments).await?;
        Ok(Self { schedules, automatic: snapshots::newest_automatic_of(db, environments).await? })
    }

    /// `tried`: the last drill that ended; `has_snapshots`: that there is anything to try.
    pub(super) fn of(
        &self,
        environment: &Environment,
        tried: Option<&Activity>,
        has_snapshots: bool,
        now: Timestamp,
    ) -> Option<String> {
        let last = Last::new(self.automatic.get(&environment.id).copied(), tried, has_snapshots);
        overdue(environment, self.schedules.get(&environment.id)?, &last, now)
    }
}

/// The environment's last automatic snapshot is older than it should be, or its last drill: since when, in a sentence.
fn overdue(environment: &Environment, all: &[Schedule], last: &Last, now: Timestamp) -> Option<String> {
    let mut stopped: Vec<&Schedule> = all.iter().filter(|schedule| schedule.state == ScheduleState::Stopped).collect();
    stopped.sort_by_key(|schedule| schedule.what == Errand::Drill);
    if let Some(stopped) = stopped.first() {
        let (cron, zone) = (&stopped.cron, &stopped.time_zone);
        let does = match stopped.what {
            Errand::Snapshot => "takes no more snapshots",
            Errand::Drill => "tries no more restores",
        };
        return Some(format!("The schedule “{cron}” ({zone}) was stopped and {does}: resume it, or remove it."));
    }
    if let Some(told) = all.iter().find_map(|schedule| never_runs(schedule, environment)) {
        return Some(told);
    }
    let late = |what| {
        let of_kind = all.iter().filter(move |schedule| schedule.what == what);
        let late = of_kind.filter_map(|schedule| Some((last.overdue_since(schedule, now)?, schedule)));
        late.min_by_key(|(since, _)| *since)
    };
    // Without snapshots nothing can be tried: they come first.
    let (since, schedule) = late(Errand::Snapshot).or_else(|| late(Errand::Drill))?;
    let done = match (schedule.what, last.snapshot, last.drill) {
        (Errand::Snapshot, Some(newest), _) => {
            format!("The last automatic snapshot is {} old", span(now.since(newest)))
        }
        (Errand::Snapshot, None, _) => "There is no automatic snapshot yet".to_owned(),
        (Errand::Drill, _, Some(last)) => format!("A restore was last tried {} ago", span(now.since(last))),
        (Errand::Drill, _, None) => "No restore has been tried yet".to_owned(),
    };
    let when = in_words(schedule);
    let (since, zone) = (since.table(), &schedule.time_zone);
    let late = format!("{done}; one is due {when} ({zone}): overdue since {since} UTC.");
    Some(format!("{late} Its activities say why; if there are none, see that a worker runs."))
}

/// An active schedule of an active environment that has no next run takes nothing and is never late: why, and what to do.
fn never_runs(schedule: &Schedule, environment: &Environment) -> Option<String> {
    let should = schedule.state == ScheduleState::Active && environment.status == EnvironmentStatus::Active;
    if !should || schedule.slot.is_some() {
        return None;
    }
    let why = match Rhythm::parse(&schedule.cron, &schedule.time_zone) {
        Err(refusal) => refusal.reason,
        Ok(_) => "It has lost its place.".to_owned(),
    };
    let (cron, zone) = (&schedule.cron, &schedule.time_zone);
    let does = match schedule.what {
        Errand::Snapshot => "takes no snapshots",
        Errand::Drill => "tries no restores",
    };
    let how = match (schedule.source, schedule.what) {
        (ScheduleSource::Plan, Errand::Snapshot) if !schedule.edited => "Ask the operator to mend the plan.",
        _ => "Change it, or remove it.",
    };
    Some(format!("The schedule “{cron}” ({zone}) never runs and {does}. {why} {how}"))
}

/// The next drill of all that are scheduled.
pub(super) async fn next_drill(db: &mut Db, environment: &Environment) -> Result<Option<NextRun>, Error> {
    let all = schedules::by_environment(db, &environment.id).await?;
    let drills = all.into_iter().filter(|schedule| schedule.what == Errand::Drill);
    let next = drills.filter_map(|schedule| Some((schedule.slot?.run, schedule))).min_by_key(|(run, _)| *run);
    let Some((at, schedule)) = next else { return Ok(None) };
    let rhythm = Rhythm::parse(&schedule.cron, &schedule.time_zone).ok();
    Ok(rhythm.map(|rhythm| NextRun { at, local: rhythm.local(at) }))
}

fn in_words(schedule: &Schedule) -> String {
    let rhythm = Rhythm::parse(&schedule.cron, &schedule.time_zone).ok();
    rhythm.map_or_else(|| schedule.cron.clone(), |rhythm| rhythm.in_words())
}

fn parse((id, what): (&ScheduleId, Errand), cron: &str, time_zone: &str) -> Result<Rhythm, Error> {
    let invalid = |refusal: Refusal| Error::Invalid { message: refusal.reason, hint: refusal.instead };
    let spread = (what == Errand::Drill).then(|| rules::spread(id, cron)).flatten();
    Rhythm::parse(spread.as_deref().unwrap_or(cron), time_zone).map_err(invalid)
}

fn may_add(terms: &Terms, standing: &Standing, environment: &Environment, what: Errand) -> Verdict {
    match what {
        Errand::Snapshot => terms.may_schedule(standing, environment),
        Errand::Drill => rules::may_schedule(standing, environment),
    }
}

fn may_change(terms: &Terms, standing: &Standing, environment: &Environment, schedule: &Schedule) -> Verdict {
    match (schedule.source, schedule.what) {
        (ScheduleSource::Plan, Errand::Snapshot) => terms.may_edit_automatic(standing, environment),
        (_, what) => may_add(terms, standing, environment, what),
    }
}

fn may_remove(terms: &Terms, standing: &Standing, environment: &Environment, schedule: &Schedule) -> Verdict {
    match (schedule.source, schedule.what) {
        (ScheduleSource::Plan, Errand::Snapshot) => {
            terms.may_edit_automatic(standing, environment)?;
            Err(Refusal::new("This one belongs to the plan.").instead("Pause it."))
        }
        (ScheduleSource::Plan, Errand::Drill) => {
            rules::may_schedule(standing, environment)?;
            Err(Refusal::new("This one comes with every production environment.").instead("Pause it."))
        }
        // Also under a plan that has none any more: it takes nothing, and should not have to stand there.
        (ScheduleSource::Person, _) => standing.may(Act::ManageSchedules, environment),
    }
}

struct Facts<'a> {
    on: &'a OnEnvironment,
    standing: &'a Standing,
    terms: &'a Terms,
    now: Timestamp,
    last: Last,
    /// All that the environment's active schedules take is more than one a day.
    is_often: bool,
}

impl Facts<'_> {
    fn entry(&self, schedule: Schedule) -> ScheduleEntry {
        let environment = &self.on.environment;
        let rhythm = Rhythm::parse(&schedule.cron, &schedule.time_zone).ok();
        let turns = rhythm.as_ref().map(|rhythm| Turns::of(rhythm, &schedule));
        let mut runs = Vec::new();
        let mut next = schedule.slot;
        while let (Some(slot), Some(turns), true) = (next, &turns, runs.len() < SHOWN) {
            runs.push(NextRun { at: slot.run, local: turns.rhythm.local(slot.run) });
            next = turns.after(slot.due);
        }
        let often = rhythm.as_ref().is_some_and(|rhythm| rhythm.is_more_than_daily(self.now));
        // What a plan takes is its maker's business.
        let by_person = schedule.source == ScheduleSource::Person || schedule.edited;
        let is_counted = schedule.what == Errand::Snapshot && schedule.state == ScheduleState::Active && by_person;
        let advise = match (often, self.is_often) {
            (true, _) if schedule.what == Errand::Snapshot && by_person => Some(ONCE_A_DAY.to_owned()),
            (_, true) if is_counted => Some(format!("{ONCE_A_DAY} {TOGETHER}")),
            _ => None,
        };
        let keep = self.terms.plan.rules(environment.kind).keep_of(Origin::Automatic);
        let kept = rhythm.as_ref().filter(|_| schedule.what == Errand::Snapshot);
        ScheduleEntry {
            when: in_words(&schedule),
            kept: kept.map(|rhythm| rhythm.kept_in_words(keep, self.now)),
            runs,
            overdue_since: self.last.overdue_since(&schedule, self.now),
            advice: never_runs(&schedule, environment).or(advise),
            change: may_change(self.terms, self.standing, environment, &schedule).into(),
            remove: may_remove(self.terms, self.standing, environment, &schedule).into(),
            schedule,
        }
    }
}

/// One change, in the transaction that makes it.
struct Change<'a> {
    app: &'a App,
    proof: &'a Authorized<ManageSchedules>,
    tx: store::Tx,
    terms: Terms,
    now: Timestamp,
}

impl<'a> Change<'a> {
    async fn begin(app: &'a App, proof: &'a Authorized<ManageSchedules>) -> Result<Self, Error> {
        let mut tx = app.store().write().await?;
        let terms = projects::terms(&mut tx, &proof.on().project.id).await?;
        let now = store::clock::now(&mut tx, app.store().dialect()).await?;
        Ok(Self { app, proof, tx, terms, now })
    }

    async fn known(&mut self, id: &ScheduleId) -> Result<Schedule, Error> {
        let found = schedules::by_id(&mut self.tx, id).await?;
        let found = found.filter(|found| found.environment == self.proof.on().environment.id);
        found.ok_or(Error::NotFound("schedule"))
    }

    /// Goes on, or ends with a record of what was refused (R5).
    async fn allow(mut self, allowed: Verdict, schedule: &Schedule, what: ScheduleChange) -> Result<Self, Error> {
        let Err(refusal) = allowed else { return Ok(self) };
        let (store, new) = (self.app.store(), self.activity(schedule, what));
        queue::record_refused(&mut self.tx, store, new, &refusal.to_string()).await?;
        store.commit(self.tx).await?;
        Err(Error::Forbidden(refusal))
    }

    fn activity(&self, schedule: &Schedule, change: ScheduleChange) -> NewActivity {
        let on = self.proof.on();
        let (cron, time_zone) = (schedule.cron.clone(), schedule.time_zone.clone());
        let what = schedule.what;
        let payload = ChangeSchedule { schedule: schedule.id.clone(), change, cron, time_zone, what };
        NewActivity {
            project: on.project.id.clone(),
            environment: on.environment.id.clone(),
            region: on.project.region.clone(),
            kind: ActivityKind::Schedule,
            initiator: self.proof.actor().initiator(),
            payload: Payload::ChangeSchedule(payload),
        }
    }

    async fn put(mut self, schedule: Schedule, what: ScheduleChange) -> Result<ScheduleEntry, Error> {
        let environment = &self.proof.on().environment;
        let me = self.proof.actor();
        let owner = Owner { id: me.user().clone(), email: me.me().email };
        let owner = Some(owner).filter(|_| schedule.source == ScheduleSource::Person);
        let active = environment.status == EnvironmentStatus::Active;
        let schedule = schedules::placed(Schedule { owner, ..schedule }, active, self.now);
        schedules::put(&mut self.tx, &schedule).await?;
        let new = self.activity(&schedule, what);
        queue::record_done(&mut self.tx, self.app.store(), new).await?;
        let last = Last::read(&mut self.tx, environment).await?;
        let all = schedules::by_environment(&mut self.tx, &environment.id).await?;
        let is_often = is_more_than_daily_together(&all, self.now);
        self.app.store().commit(self.tx).await?;
        let (on, standing) = (self.proof.on(), self.proof.standing());
        let facts = Facts { on, standing, terms: &self.terms, now: self.now, last, is_often };
        Ok(facts.entry(schedule))
    }
}
