//! Waiting for an activity, with its progress and log (R31).

use std::thread;
use std::time::{Duration, Instant};

use super::arguments::WaitFlags;
use super::error::Error;
use super::session::{Place, Session};
use super::talk::Talk;
use crate::domain::activity::ActivityState;
use crate::domain::time;
use crate::wire::{Activity, client};

/// How often the server is asked.
const POLL: Duration = Duration::from_millis(500);
/// How long Ctrl-C may go unnoticed.
const SLICE: Duration = Duration::from_millis(50);
/// How long a server may be away (restarted, say) before waiting is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Without a terminal, progress is told in steps of so many percent.
const STEP: u16 = 10;

/// Whether to wait: the default, except where that might block a deployment.
pub fn is_wanted(flags: WaitFlags, session: &Session, talk: &mut Talk<'_>) -> bool {
    if flags.wait || flags.no_wait {
        return flags.wait;
    }
    let unattended = !talk.terminal.stdin && !talk.terminal.stderr;
    let hook = unattended && session.may_be_a_hook();
    if hook {
        talk.say(
            "Warning: this looks like a deploy hook or cron job, so --no-wait is assumed; --wait waits all the same.",
        );
    }
    !hook
}

/// Returns once the activity is over, well or ill.
///
/// # Errors
/// [`Error::ActivityFailed`] when it did not succeed; [`Error::Interrupted`] after Ctrl-C: the activity goes on.
pub fn until_over(
    activity: Activity,
    place: &Place,
    session: &Session,
    talk: &mut Talk<'_>,
) -> Result<Activity, Error> {
    let interrupt = talk.interrupt.clone();
    interrupt.hold_back();
    let end = Waiting { place, session, progress: Progress::default(), seen: 0, away: None }.run(activity, talk);
    interrupt.release();
    let activity = end?;
    match (&activity.failure_reason, activity.succeeded()) {
        (_, true) => Ok(activity),
        (Some(reason), _) => Err(Error::ActivityFailed(reason.clone())),
        (None, _) => Err(Error::ActivityFailed(format!("The activity {} was {}", activity.id, activity.state))),
    }
}

/// How to see an activity that goes on.
pub fn goes_on(activity: &Activity, place: &Place, talk: &mut Talk<'_>) {
    let program = talk.program.clone();
    talk.say(&format!("It goes on; see it with: {program} activity:log {} -p {}", activity.id, place.project));
}

struct Waiting<'a> {
    place: &'a Place,
    session: &'a Session,
    progress: Progress,
    /// Sequence number of the last log line shown.
    seen: i64,
    /// Since when the server can't be reached.
    away: Option<Instant>,
}

impl Waiting<'_> {
    fn run(&mut self, mut activity: Activity, talk: &mut Talk<'_>) -> Result<Activity, Error> {
        loop {
            match self.look(&activity, talk) {
                Ok(newer) => {
                    self.away = None;
                    activity = newer;
                }
                Err(client::Error::Connection { .. }) if self.is_patient(talk) => {}
                Err(error) => return Err(error.into()),
            }
            if activity.is_over() {
                self.progress.end(talk);
                return Ok(activity);
            }
            self.progress.show(&activity, talk);
            if pause(talk) {
                self.progress.end(talk);
                goes_on(&activity, self.place, talk);
                return Err(Error::Interrupted);
            }
        }
    }

    /// The activity is read before its log: when it is over, the log that follows is complete.
    fn look(&mut self, activity: &Activity, talk: &mut Talk<'_>) -> Result<Activity, client::Error> {
        let (client, project) = (&self.session.client, &self.place.project);
        let newer = client.activity(project, &activity.id)?;
        for item in client.log(project, &activity.id, self.seen)?.iter().filter(|item| !item.seal) {
            self.seen = item.id.parse().unwrap_or(self.seen);
            self.progress.line(item.message(), talk);
        }
        Ok(newer)
    }

    fn is_patient(&mut self, talk: &mut Talk<'_>) -> bool {
        if self.away.is_none() {
            self.progress.line("The server can't be reached; trying on.", talk);
        }
        self.away.get_or_insert_with(Instant::now).elapsed() < PATIENCE
    }
}

/// Waits for the next look; whether Ctrl-C came.
fn pause(talk: &Talk<'_>) -> bool {
    let start = Instant::now();
    while start.elapsed() < POLL {
        if talk.interrupt.came() {
            return true;
        }
        thread::sleep(SLICE);
    }
    talk.interrupt.came()
}

/// A single live line on a terminal, plain lines elsewhere.
struct Progress {
    since: Instant,
    /// What was last told where there is no terminal: state, and percent in steps.
    told: Option<(String, u16)>,
    /// Whether a live line stands on the terminal.
    live: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self { since: Instant::now(), told: None, live: false }
    }
}

impl Progress {
    fn show(&mut self, activity: &Activity, talk: &mut Talk<'_>) {
        let state = state(activity);
        let percent = activity.completion_percent;
        if talk.terminal.stderr {
            let line = format!("{percent:3} %  {state}, {}", time::span(self.since.elapsed()));
            let _unread = write!(talk.err, "\r\x1b[2K{line}").and_then(|()| talk.err.flush());
            self.live = true;
            return;
        }
        let told = (state.clone(), percent / STEP);
        if self.told.as_ref() != Some(&told) {
            talk.say(&format!("{percent:3} %  {state}"));
            self.told = Some(told);
        }
    }

    fn line(&mut self, text: &str, talk: &mut Talk<'_>) {
        self.end(talk);
        let text: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        talk.say(&format!("  {text}"));
    }

    fn end(&mut self, talk: &mut Talk<'_>) {
        if std::mem::take(&mut self.live) {
            let _unread = write!(talk.err, "\r\x1b[2K");
        }
    }
}

fn state(activity: &Activity) -> String {
    match activity.state {
        crate::wire::Word::Known(ActivityState::Pending) => "waiting for its turn".to_owned(),
        crate::wire::Word::Known(ActivityState::InProgress) => "in progress".to_owned(),
        ref other => other.to_string(),
    }
}
