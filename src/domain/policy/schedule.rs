//! When schedules run: cron expressions in a time zone, spread, catching up, and who may make them (R8, R9).
//!
//! **Invariant:** a run never waits past the next one of its own schedule: what spreads the load is smaller than the
//! time between two runs.

use std::str::FromStr as _;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Zoned;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use sha2::{Digest as _, Sha256};

use super::plans::{Automatic, Keep, Manual, Schedules};
use super::retention::simulate;
use super::{Act, Plan, Refusal, Standing, Terms, Verdict};
use crate::domain::environment::{Environment, EnvironmentKind};
use crate::domain::ids::ScheduleId;
use crate::domain::schedule::{Errand, Schedule, ScheduleSource, ScheduleState, Slot};
use crate::domain::snapshot::Origin;
use crate::domain::time::{DAY, Timestamp, span};

/// S4's advice.
pub const ONCE_A_DAY: &str =
    "Please take scheduled snapshots no more than once a day: each of them adds to what is stored.";
/// S4's other one, beside every form.
pub const QUIET_HOURS: &str = "Choose non-peak hours of your site: each snapshot makes its requests wait for a moment.";
/// What a form offers: cron expression, and the same in words.
pub const PRESETS: [(&str, &str); 5] = [
    ("0 3 * * *", "every day at 03:00"),
    ("0 5 * * *", "every day at 05:00"),
    ("0 3 * * 1-5", "Monday to Friday at 03:00"),
    ("0 3 * * 0", "every Sunday at 03:00"),
    ("0 3 1 * *", "on the first of every month at 03:00"),
];

/// The same where it is several schedules that come to more.
pub const TOGETHER: &str = "Together with the environment's other schedules this makes more than one a day.";

const HOURLY: (&str, &str) = ("0 * * * *", "every hour");

/// An expression is never longer.
const LONGEST: usize = 200;
/// What is due is overdue when it is not done so long after it should have begun.
pub fn grace(what: Errand) -> Duration {
    match what {
        Errand::Snapshot => Duration::from_secs(60 * 60),
        // It reads and loads all there is, and waits for its turn.
        Errand::Drill => DAY,
    }
}
/// How many runs after a down time are counted one by one; beyond it is "more than".
const COUNTED: u32 = 100;

/// When something recurs: a cron expression in a time zone.
///
/// Clocks that change: a time of day that a change skips comes once, right after the gap; one that occurs twice comes at
/// the first. What recurs every hour (`*` in the hour's field) goes by elapsed time instead, through both.
#[derive(Debug, Clone)]
pub struct Rhythm {
    text: String,
    cron: Cron,
    zone: TimeZone,
    every_hour: bool,
}

impl Rhythm {
    /// Five fields, or a name as `@daily`; a zone's name as `Europe/Berlin`.
    ///
    /// # Errors
    /// What is wrong with which of them, and what would do.
    pub fn parse(cron: &str, zone: &str) -> Result<Self, Refusal> {
        let text = spelled_out(cron);
        let parsed = parser().parse(&text).map_err(|_| why_not(&text))?;
        let found = Some(zone.trim()).filter(|zone| is_zone_name(zone)).and_then(|zone| TimeZone::get(zone).ok());
        let zone = found.ok_or_else(|| {
            Refusal::new(format!("There is no time zone “{}”.", shortened(zone.trim())))
                .instead("Give its name as in “Europe/Berlin”, or “UTC”.")
        })?;
        let every_hour = text.split(' ').nth(1) == Some("*");
        let rhythm = Self { text, cron: parsed, zone, every_hour };
        if rhythm.next_after(Timestamp::from_micros(0)).is_none() {
            return Err(Refusal::new(format!("“{}” never comes: no month of these has such a day.", rhythm.text))
                .instead("Choose a day that the month has; `L` is its last one."));
        }
        Ok(rhythm)
    }

    /// The expression in its plain form: five fields, one space between them.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// "every day at 03:00", for people; never a whole sentence.
    pub fn in_words(&self) -> String {
        let preset = PRESETS.iter().chain(&[HOURLY]).find(|(cron, _)| *cron == self.text);
        if let Some((_, words)) = preset {
            return (*words).to_owned();
        }
        let sentence = self.cron.describe();
        let words = sentence.trim_end_matches('.');
        let mut letters = words.chars();
        letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
    }

    /// The first time after `after`; `None`: there is none in the next thousands of years.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let now = jiff::Timestamp::from_second(after.as_micros().div_euclid(1_000_000)).ok()?;
        if self.every_hour {
            let next = self.cron.find_next_occurrence(&Zoned::new(now, self.zone.clone()), false).ok()?;
            return Some(of_jiff(next.timestamp()));
        }
        let mut wall = self.zone.to_datetime(now);
        loop {
            wall = self.cron.find_next_occurrence(&wall, false).ok()?;
            let at = self.instant(wall)?;
            // In the second pass of an hour that occurs twice, what the first pass had is over.
            if at > now {
                return Some(of_jiff(at));
            }
        }
    }

    /// When the clock shows that: the first time, or where a change skips it, right after the change.
    fn instant(&self, wall: DateTime) -> Option<jiff::Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(wall);
        let skipped = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
        let earlier = ambiguous.earlier().ok()?;
        if !skipped {
            return Some(earlier);
        }
        self.zone.following(earlier).next().map(|change| change.timestamp())
    }

    /// How much time lies between two runs, on average over the next twelve.
    pub fn interval(&self, now: Timestamp) -> Option<Duration> {
        let first = self.next_after(now)?;
        let mut last = first;
        for _ in 0..12 {
            last = self.next_after(last)?;
        }
        Some(last.since(first) / 12)
    }

    /// How long what it takes is kept, and how many of it that makes; as in "Kept: …".
    pub fn kept_in_words(&self, keep: &Keep, now: Timestamp) -> String {
        let words = keep.in_words(Origin::Automatic);
        let Some(every) = self.interval(now) else { return words };
        let year = simulate(keep, every, now);
        match (keep, year.left.last()) {
            // It depends on what else there is.
            (Keep::Budget { .. }, _) | (_, None) => words,
            // Less than a year does not tell.
            _ if year.left.len() as u64 == year.taken => words,
            (_, Some(oldest)) => {
                let (number, oldest) = (year.left.len(), span(now.since(*oldest)));
                format!("{words}. That makes {number} of this schedule, the oldest {oldest} old")
            }
        }
    }

    /// Whether two runs fall on one day: then S4 advises against it.
    pub fn is_more_than_daily(&self, now: Timestamp) -> bool {
        let mut last = None;
        let mut at = now;
        // Expressions for some days only repeat their pattern of hours on each of them.
        for _ in 0..3 {
            let Some(next) = self.next_after(at) else { return false };
            let day =
                jiff::Timestamp::from_microsecond(next.as_micros()).map(|at| self.zone.to_datetime(at).date()).ok();
            if last == day {
                return true;
            }
            (last, at) = (day, next);
        }
        false
    }

    /// "Mon 23 Nov 2026, 03:00 CET".
    pub fn local(&self, at: Timestamp) -> String {
        let instant = jiff::Timestamp::from_microsecond(at.as_micros()).unwrap_or_default();
        Zoned::new(instant, self.zone.clone()).strftime("%a %-d %b %Y, %H:%M %Z").to_string()
    }
}

/// Whether an environment's active schedules take more than one snapshot a day in sum, whoever made them.
pub fn is_more_than_daily_together(all: &[Schedule], now: Timestamp) -> bool {
    /// A day that a change of clocks made an hour shorter is one a day too.
    const SLACK: f64 = 1.02;
    let active = all.iter().filter(|one| one.what == Errand::Snapshot && one.state == ScheduleState::Active);
    let rhythms = active.filter_map(|schedule| Rhythm::parse(&schedule.cron, &schedule.time_zone).ok());
    let a_day = |rhythm: Rhythm| rhythm.interval(now).map(|interval| DAY.as_secs_f64() / interval.as_secs_f64());
    rhythms.filter_map(a_day).sum::<f64>() > SLACK
}

/// Names of time zones, for a form's suggestions: one for each place, without the old spellings.
pub fn zones() -> Vec<String> {
    const AREAS: [&str; 10] = [
        "Africa/",
        "America/",
        "Antarctica/",
        "Arctic/",
        "Asia/",
        "Atlantic/",
        "Australia/",
        "Europe/",
        "Indian/",
        "Pacific/",
    ];
    let all = jiff::tz::db().available().map(|name| name.as_str().to_owned());
    let mut zones: Vec<String> = all.filter(|name| AREAS.iter().any(|area| name.starts_with(area))).collect();
    zones.sort();
    zones.insert(0, "UTC".to_owned());
    zones
}

/// A rhythm and the place in it that one schedule has: always the same share of the time to the next run, by its id.
#[derive(Debug, Clone)]
pub struct Turns<'a> {
    pub rhythm: &'a Rhythm,
    /// Of a part of the time that there is, 0 to 1 exclusively.
    share: f64,
    most: Duration,
    grace: Duration,
}

impl<'a> Turns<'a> {
    /// Of one schedule.
    pub fn of(rhythm: &'a Rhythm, schedule: &Schedule) -> Self {
        Self::by(rhythm, &schedule.id, schedule.source, schedule.what)
    }

    /// What a plan takes may begin anywhere within an hour; where the minute was named, within five minutes.
    fn by(rhythm: &'a Rhythm, id: &ScheduleId, source: ScheduleSource, what: Errand) -> Self {
        let digest = Sha256::digest(id.as_str());
        let number = digest.iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
        let minutes = if (source, what) == (ScheduleSource::Plan, Errand::Snapshot) { 60 } else { 5 };
        let most = Duration::from_secs(60 * minutes);
        Self { rhythm, share: f64::from(number) / (f64::from(u32::MAX) + 1.0), most, grace: grace(what) }
    }

    /// The first run that is due after `after`.
    pub fn after(&self, after: Timestamp) -> Option<Slot> {
        let due = self.rhythm.next_after(after)?;
        let room = self.rhythm.next_after(due).map_or(self.most, |next| next.since(due).min(self.most));
        Some(Slot { due, run: due.plus(room.mul_f64(self.share)) })
    }

    /// The next run that lies ahead when `slot` is begun at `now`, and how many between them nobody began: a down time is
    /// caught up once, not run by run (R9).
    pub fn next(&self, slot: Slot, now: Timestamp) -> (u32, Option<Slot>) {
        let mut passed = 0;
        let mut at = slot.due;
        loop {
            match self.after(at) {
                Some(next) if next.run <= now => {
                    passed += 1;
                    // Whatever is due before that has had its turn.
                    at = if passed > COUNTED { next.due.max(now.minus(self.most)) } else { next.due };
                }
                next => return (passed, next),
            }
        }
    }

    /// Since when what is due should be done: the run after the newest one's, when that is longer past than its [`grace`].
    pub fn overdue(&self, newest: Option<Timestamp>, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let slot = self.after(newest.map_or(since, |newest| newest.max(since)))?;
        (now > slot.run.plus(self.grace)).then_some(slot.due)
    }
}

/// What a run that is due comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Take,
    /// Another one was asked for since, and has not begun to end: it will hold what this one would.
    Shared,
    /// The one before it is still waiting or running: no second one piles up behind it (R9).
    Missed,
}

impl Turn {
    /// `unfinished`: when the environment's last automatic snapshot was asked for, if that is not over.
    pub fn of(slot: Slot, unfinished: Option<Timestamp>) -> Self {
        match unfinished {
            None => Self::Take,
            Some(asked) if asked >= slot.due => Self::Shared,
            Some(_) => Self::Missed,
        }
    }
}

/// Why runs between `slot` and `now` came to nothing, for the feed.
pub fn passed_in_words(slot: Slot, passed: u32, now: Timestamp) -> String {
    let number = match passed {
        1 => "An automatic snapshot was missed".to_owned(),
        passed if passed > COUNTED => format!("More than {COUNTED} automatic snapshots were missed"),
        passed => format!("{passed} automatic snapshots were missed"),
    };
    let (due, late) = (slot.due.table(), span(now.since(slot.due)));
    format!(
        "{number}: since {due} UTC, for {late}, no server was there to begin them. One is taken now in place of all."
    )
}

/// Why a run that [`Turn::Missed`] says came to nothing, for the feed.
pub fn missed_in_words(slot: Slot, asked: Timestamp) -> String {
    format!(
        "The automatic snapshot that was due at {} UTC was not taken: the one of {} UTC is still waiting or running. If it \
         is stuck, cancel it; until it is over no other one is begun, and this is the only line about it.",
        slot.due.table(),
        asked.table()
    )
}

impl Plan {
    /// Whether people may make schedules of their own (R9; R7: if not, why, and what there is instead).
    ///
    /// # Errors
    /// The [`Refusal`] to show.
    pub fn allows_schedules(&self, kind: EnvironmentKind) -> Verdict {
        let rules = self.rules(kind);
        if rules.schedules == Schedules::Yes {
            return Ok(());
        }
        let title = &self.title;
        let refusal =
            Refusal::new(format!("On the {title} plan, there are no schedules of {kind} environments to make."));
        Err(match (&rules.automatic, rules.manual) {
            (Some(automatic), _) => refusal.instead(format!("Automatic snapshots are taken {}.", automatic.when)),
            (None, Manual::No) => refusal.instead(self.elsewhere(kind)),
            (None, _) => refusal.instead(
                "Snapshots can be taken by hand, or by a cron job or CI that calls `stillpoint snapshot:create --yes --no-wait`.",
            ),
        })
    }

    /// Whether the plan itself takes snapshots: asked again when one of them starts (R1).
    ///
    /// # Errors
    /// The [`Refusal`] to show.
    pub fn takes_automatic(&self, kind: EnvironmentKind) -> Verdict {
        let title = &self.title;
        let rules = self.rules(kind);
        if rules.automatic.is_some() {
            return Ok(());
        }
        let refusal = Refusal::new(format!("The {title} plan takes no automatic snapshots of {kind} environments."));
        Err(match (rules.schedules, rules.manual) {
            (Schedules::Yes, _) => refusal.instead("Make a schedule of your own (schedule:add)."),
            (Schedules::No, Manual::No) => refusal.instead(self.elsewhere(kind)),
            (Schedules::No, _) => refusal.instead("Take them by hand, or by a cron job of your own."),
        })
    }

    /// What the plan itself takes, if somebody may change or stop that.
    ///
    /// # Errors
    /// The [`Refusal`] to show.
    pub fn allows_editing(&self, kind: EnvironmentKind) -> Verdict {
        let title = &self.title;
        match &self.rules(kind).automatic {
            Some(Automatic { editable: true, .. }) => Ok(()),
            Some(Automatic { when, .. }) => {
                let refusal = Refusal::new(format!(
                    "The {title} plan takes these {when}; they can be neither changed nor stopped."
                ));
                Err(match self.rules(kind).schedules {
                    Schedules::Yes => refusal.instead("Add a schedule of your own beside them (schedule:add)."),
                    Schedules::No => refusal.instead("Ask the operator for a plan whose schedule can be changed."),
                })
            }
            None => self.takes_automatic(kind),
        }
    }
}

impl Terms {
    /// Role and plan (R1, R2, R7): one question for the page, the operation, the scheduler and the worker.
    ///
    /// # Errors
    /// The refusal to show.
    pub fn may_schedule(&self, standing: &Standing, environment: &Environment) -> Verdict {
        standing.may(Act::ManageSchedules, environment)?;
        self.plan.allows_schedules(environment.kind)
    }

    /// The same for the schedule that the plan brings along.
    ///
    /// # Errors
    /// The refusal to show.
    pub fn may_edit_automatic(&self, standing: &Standing, environment: &Environment) -> Verdict {
        standing.may(Act::ManageSchedules, environment)?;
        self.plan.allows_editing(environment.kind)
    }
}

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build()
}

fn spelled_out(cron: &str) -> String {
    let text = cron.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.to_ascii_lowercase().as_str() {
        "@hourly" => "0 * * * *".to_owned(),
        "@daily" | "@midnight" => "0 0 * * *".to_owned(),
        "@weekly" => "0 0 * * 0".to_owned(),
        "@monthly" => "0 0 1 * *".to_owned(),
        "@yearly" | "@annually" => "0 0 1 1 *".to_owned(),
        _ => text,
    }
}

const FIELDS: [(&str, &str); 5] = [
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31, or L for the last"),
    ("month", "1 to 12, or JAN to DEC"),
    ("day of the week", "0 to 7 (0 and 7 are Sunday), or SUN to SAT"),
];

/// Names the field that is wrong.
fn why_not(text: &str) -> Refusal {
    let example = "Every day at 03:00 is `0 3 * * *`.";
    let fields: Vec<&str> = text.split(' ').filter(|field| !field.is_empty()).collect();
    if text.len() > LONGEST || fields.len() != FIELDS.len() {
        let number = if fields.len() == 1 { "1 field".to_owned() } else { format!("{} fields", fields.len()) };
        let reason = "A cron expression has five fields: minute, hour, day of the month, month, day of the week.";
        return Refusal::new(format!("{reason} “{}” has {number}.", shortened(text))).instead(example);
    }
    for (index, (field, (name, takes))) in fields.iter().zip(FIELDS).enumerate() {
        let alone: Vec<&str> = (0..FIELDS.len()).map(|other| if other == index { *field } else { "*" }).collect();
        if Cron::from_str(&alone.join(" ")).is_err() {
            return Refusal::new(format!("“{}” can't be the {name}: that takes {takes}.", shortened(field)))
                .instead("Also lists (1,15), ranges (1-5), steps (*/5, 8-18/2), and * for all.");
        }
    }
    Refusal::new(format!("“{}” is no cron expression.", shortened(text))).instead(example)
}

/// jiff also reads zones from POSIX strings and looks names up as paths: only names of places are meant here.
fn is_zone_name(zone: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
    !zone.is_empty() && zone.len() <= 64 && zone.chars().all(plain) && !zone.starts_with(['/', '-', '+'])
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

fn of_jiff(at: jiff::Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_microsecond())
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
