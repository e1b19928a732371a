//! Which snapshots go, when and why (R11-R13): one plan for the preview, for the run, and for what another plan would
//! change.
//!
//! **Invariant:** pure, and in UTC only: no clock, no time zone, no summer time. Nothing that is held (R13) ever goes.

mod simulation;
#[cfg(test)]
mod tests;
mod thinning;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use simulation::{Band, Simulation, simulate};
use thinning::{Due, age_in_words};

use super::plans::Keep;
use super::{Plan, Refusal, Verdict};
use crate::domain::bytes::Bytes;
use crate::domain::environment::EnvironmentKind;
use crate::domain::ids::{EnvironmentId, EnvironmentName, ScheduleId, SnapshotName};
use crate::domain::snapshot::Origin;
use crate::domain::time::{DAY, Timestamp};

/// What is kept in a project, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub environments: Vec<Shelf>,
    pub ended: Ended,
    /// What the project's snapshots may take together, for plans that keep them while it lasts.
    pub budget: Option<Bytes>,
}

/// When schedules that were removed would have run since, in order: what they took goes as if they had, no sooner and no later.
pub type Ended = BTreeMap<ScheduleId, Vec<Timestamp>>;

/// The snapshots of one environment.
#[derive(Debug, Clone)]
pub struct Shelf {
    pub id: EnvironmentId,
    pub name: EnvironmentName,
    pub kind: EnvironmentKind,
    /// Its newest snapshot is never removed.
    pub is_active: bool,
    pub items: Vec<Item>,
}

/// One complete snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub name: SnapshotName,
    pub origin: Origin,
    pub taken_at: Timestamp,
    /// What it added to the repository: a budget is counted in this, since it neither changes nor has to be measured.
    pub added: Bytes,
    /// Its last drill could not load it (R29).
    pub has_failed: bool,
    /// Its last drill proved that it can be restored (R29).
    pub is_proven: bool,
    /// Those that it was taken for; a number is kept of each.
    pub schedules: BTreeSet<ScheduleId>,
    pub holds: BTreeSet<Hold>,
}

/// Why something stays, whatever another rule says (R13).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// With its note.
    Protected(Option<String>),
    /// A queued or running restore, download or drill.
    InUse,
    OnTicket,
    /// The newest complete one of an active environment. Only retention heeds it: a person may delete it.
    Newest,
    /// The newest of it whose last drill did not fail, from before the newest whose did. Only retention heeds it.
    NewestRestorable,
    /// The newest whose last drill proved it: what is known to work does not go for what nobody tried (R29). As above.
    Proven,
    /// That newest failed one: it goes last, since without it nothing would say why the other is kept. As above.
    NewestFailed,
}

impl Hold {
    /// Whether it is in a person's way too.
    fn binds_people(&self) -> bool {
        !matches!(self, Self::Newest | Self::NewestRestorable | Self::Proven | Self::NewestFailed)
    }

    pub fn in_words(&self) -> String {
        match self {
            Self::Protected(Some(note)) => format!("It is protected: \u{201c}{note}\u{201d}."),
            Self::Protected(None) => "It is protected.".to_owned(),
            Self::InUse => "A restore, download or drill uses it that is queued or running.".to_owned(),
            Self::OnTicket => "It is on an open ticket.".to_owned(),
            Self::Newest => "It is the newest of an active environment.".to_owned(),
            Self::NewestRestorable => {
                "A drill of another one of this active environment failed: this may be what can be restored.".to_owned()
            }
            Self::Proven => "It is the newest of an active environment whose restore was tried and proven.".to_owned(),
            Self::NewestFailed => {
                "It is the newest of an active environment that failed its drill, and shows why another one is kept."
                    .to_owned()
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    Stays,
    Goes,
}

/// What becomes of one snapshot, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub environment: EnvironmentId,
    pub environment_name: EnvironmentName,
    pub snapshot: SnapshotName,
    pub origin: Origin,
    pub taken_at: Timestamp,
    pub added: Bytes,
    pub fate: Fate,
    /// What the plan says of it, a sentence.
    pub reason: String,
    /// When its time is over by the plan, as things are now; `None`: it has no end. What holds it comes on top.
    pub goes_at: Option<Timestamp>,
    /// What keeps it whatever the plan says, if anything does.
    pub holds: BTreeSet<Hold>,
    /// It goes for want of space, and by its age would stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_for_space: bool,
}

/// Every snapshot of a project with its fate; by environment, newest first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RetentionPlan {
    pub decisions: Vec<Decision>,
    /// What all of them added to the repository.
    pub taken: Bytes,
    pub budget: Option<Bytes>,
}

impl RetentionPlan {
    pub fn going(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().filter(|decision| decision.fate == Fate::Goes)
    }

    pub fn of(&self, snapshot: &SnapshotName) -> Option<&Decision> {
        self.decisions.iter().find(|decision| decision.snapshot == *snapshot)
    }

    /// What goes by this plan and stays by `other`, which is of the same snapshots.
    pub fn goes_beside<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Decision> {
        self.going().filter(|gone| other.of(&gone.snapshot).is_some_and(|kept| kept.fate != Fate::Goes))
    }
}

/// How long the safety snapshot of a restore is kept (R13, R22).
pub const SAFETY_DAYS: u32 = 7;

/// What becomes of every snapshot when the project is under `plan` at `now`.
pub fn plan(plan: &Plan, facts: &Facts, now: Timestamp) -> RetentionPlan {
    let taken: Bytes = facts.environments.iter().flat_map(|shelf| &shelf.items).map(|item| item.added).sum();
    let mut decisions = Vec::new();
    for shelf in &facts.environments {
        let never = never_go(shelf);
        let mut dues = dues(plan, shelf, &facts.ended, now);
        let mut own: Vec<Decision> = shelf
            .items
            .iter()
            .map(|item| {
                let due = dues.remove(&item.name).expect("every snapshot has an origin, and every origin a rule");
                let mut holds = item.holds.clone();
                holds.extend(never.iter().filter(|(name, _)| *name == &item.name).map(|(_, hold)| hold.clone()));
                let goes = due.goes_at.is_some_and(|at| at <= now) && holds.is_empty();
                Decision {
                    environment: shelf.id.clone(),
                    environment_name: shelf.name.clone(),
                    snapshot: item.name.clone(),
                    origin: item.origin,
                    taken_at: item.taken_at,
                    added: item.added,
                    fate: if goes { Fate::Goes } else { Fate::Stays },
                    reason: due.reason,
                    goes_at: due.goes_at,
                    holds,
                    is_for_space: false,
                }
            })
            .collect();
        own.sort_by(|a, b| (b.taken_at, &b.snapshot).cmp(&(a.taken_at, &a.snapshot)));
        decisions.extend(own);
    }
    let mut whole = RetentionPlan { decisions, taken, budget: facts.budget };
    keep_within_budget(plan, facts, &mut whole, now);
    whole
}

/// What an active environment must not lose (R13): the newest that somebody wanted, else the newest there is; and where one
/// could not be restored when it was tried, the newest from before that too: nobody tried those that came after. The first
/// stays beside it, since what made a drill fail may lie elsewhere than in the snapshot. What a drill proved stays besides,
/// whatever failed before or after it.
fn never_go(shelf: &Shelf) -> Vec<(&SnapshotName, Hold)> {
    if !shelf.is_active {
        return Vec::new();
    }
    let newest = |of: &dyn Fn(&Item) -> bool| {
        let items = shelf.items.iter().filter(|item| of(item));
        items.max_by_key(|item| (item.taken_at, &item.name))
    };
    let is_wanted = |item: &Item| item.origin != Origin::Safety;
    let complete = newest(&is_wanted).or_else(|| newest(&|_| true));
    let failed = newest(&|item| item.has_failed);
    let is_before = |item: &Item| failed.is_some_and(|it| (item.taken_at, &item.name) < (it.taken_at, &it.name));
    let is_good = |item: &Item| !item.has_failed && is_before(item);
    let before = newest(&|item| is_good(item) && is_wanted(item)).or_else(|| newest(&is_good));
    let failed = failed.filter(|_| before.is_some());
    // Where all that somebody wanted failed and none is from before, what a restore replaced since is better than nothing.
    let since = || newest(&|item| !item.has_failed).filter(|_| complete.is_some_and(|it| it.has_failed));
    let restorable = before.or_else(since);
    let proven = newest(&|item| item.is_proven && !item.has_failed);
    let held = [
        (complete, Hold::Newest),
        (restorable, Hold::NewestRestorable),
        (proven, Hold::Proven),
        (failed, Hold::NewestFailed),
    ];
    held.into_iter().filter_map(|(item, hold)| Some((&item?.name, hold))).collect()
}

/// What the plan says of each, held or not.
fn dues(plan: &Plan, shelf: &Shelf, ended: &Ended, now: Timestamp) -> BTreeMap<SnapshotName, Due> {
    let rules = plan.rules(shelf.kind);
    let of = |origin: Origin| {
        let mut items: Vec<&Item> = shelf.items.iter().filter(|item| item.origin == origin).collect();
        items.sort_by_key(|item| (item.taken_at, &item.name));
        items
    };
    let mut dues = BTreeMap::new();
    let safety = Keep::Days(SAFETY_DAYS);
    for (origin, keep) in [
        (Origin::Manual, rules.keep_of(Origin::Manual)),
        (Origin::Automatic, rules.keep_of(Origin::Automatic)),
        (Origin::Safety, &safety),
    ] {
        dues.extend(thinning::dues(keep, origin, (&of(origin), ended), now));
    }
    dues
}

/// Between a plan's least and most days, the oldest go until the rest is within the project's budget.
fn keep_within_budget(plan: &Plan, facts: &Facts, whole: &mut RetentionPlan, now: Timestamp) {
    let kinds: BTreeMap<&EnvironmentId, EnvironmentKind> =
        facts.environments.iter().map(|shelf| (&shelf.id, shelf.kind)).collect();
    let going: Bytes = whole.going().map(|decision| decision.added).sum();
    let mut left = Bytes(whole.taken.0.saturating_sub(going.0));
    let mut order: Vec<usize> = (0..whole.decisions.len()).collect();
    order.sort_by_key(|at| (whole.decisions[*at].taken_at, whole.decisions[*at].snapshot.clone()));
    for at in order {
        let decision = &mut whole.decisions[at];
        let keep = match decision.origin {
            Origin::Safety => continue,
            origin => plan.rules(kinds[&decision.environment]).keep_of(origin),
        };
        let Keep::Budget { at_least_days, .. } = keep else { continue };
        if decision.goes_at.is_some_and(|at| at <= now) {
            continue;
        }
        let may_go = decision.taken_at.plus(DAY * *at_least_days);
        match facts.budget {
            Some(budget) if left > budget && may_go <= now => {
                decision.reason =
                    format!("The project's snapshots take {left} of {budget}: beyond that, the oldest go first.");
                decision.goes_at = Some(now);
                if decision.holds.is_empty() {
                    (decision.fate, decision.is_for_space) = (Fate::Goes, true);
                    left = Bytes(left.0.saturating_sub(decision.added.0));
                }
            }
            Some(budget) if may_go <= now => {
                decision.reason = format!("It stays while the project's storage lasts: {left} of {budget} are taken.");
            }
            _ => {}
        }
    }
}

/// Whether a person may delete it (R13): what somebody pinned or needs right now is not for one click.
///
/// # Errors
/// The refusal to show.
pub fn may_delete(holds: &BTreeSet<Hold>) -> Verdict {
    match holds.iter().find(|hold| hold.binds_people()) {
        None => Ok(()),
        Some(Hold::Protected(_)) => {
            Err(Refusal::new("This snapshot is protected.").instead("Take its protection off first."))
        }
        Some(Hold::OnTicket) => Err(Refusal::new("This snapshot is on an open ticket.")
            .instead("It can be deleted when the ticket is closed or withdrawn.")),
        Some(_) => Err(Refusal::new("A restore, download or drill uses this snapshot, or waits to.")
            .instead("Try again when that is over, or cancel it.")),
    }
}

/// What asking for another manual snapshot costs where a plan keeps a number of them. Protected ones don't count: what
/// was pinned is not kept by the number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Eviction {
    /// How many the plan keeps; 0: it keeps no number of them.
    pub keeps: u32,
    /// Oldest first.
    pub snapshots: Vec<SnapshotName>,
}

/// Which go when one more is complete. `waiting`: manual ones that are asked for and not there yet; `given_up`: what goes
/// for those.
pub fn evictions(keep: &Keep, shelf: &Shelf, waiting: usize, given_up: &BTreeSet<SnapshotName>) -> Eviction {
    let Keep::Newest(number) = keep else { return Eviction::default() };
    let is_pinned = |item: &&Item| item.holds.iter().any(|hold| matches!(hold, Hold::Protected(_)));
    let mut counted: Vec<&Item> = shelf.items.iter().filter(|item| item.origin == Origin::Manual).collect();
    counted.retain(|item| !is_pinned(item) && !given_up.contains(&item.name));
    counted.sort_by_key(|item| (item.taken_at, &item.name));
    let too_many = (counted.len() + waiting + 1).saturating_sub(usize::try_from(*number).unwrap_or(usize::MAX));
    let free = counted.into_iter().filter(|item| item.holds.is_empty());
    Eviction { keeps: *number, snapshots: free.take(too_many).map(|item| item.name.clone()).collect() }
}

impl Keep {
    /// As in "Kept: …".
    pub fn in_words(&self, origin: Origin) -> String {
        match self {
            Self::Days(days) => format!("for {}", age_in_words(*days)),
            Self::Newest(number) if origin == Origin::Manual => {
                format!("the newest {number}; another one takes the place of the oldest, after asking")
            }
            Self::Newest(number) => format!("the newest {number}{}", of_each(origin)),
            Self::AtLeast { days, newest } => {
                format!("for {}, and in any case the newest {newest}{}", age_in_words(*days), of_each(origin))
            }
            Self::Tiers(tiers) => thinning::tiers_in_words(tiers),
            Self::Budget { at_least_days, at_most_days } => format!(
                "for at least {} and at most {}; between the two while the project's storage lasts, the oldest go first",
                age_in_words(*at_least_days),
                age_in_words(*at_most_days)
            ),
        }
    }
}

fn of_each(origin: Origin) -> &'static str {
    if origin == Origin::Automatic { " of each schedule" } else { "" }
}
