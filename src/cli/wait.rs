//! Waiting for an activity, with its progress and log (R31).

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use super::error::Error;
use super::flags::WaitFlags;
use super::session::{Place, Session};
use super::talk::Talk;
use crate::domain::activity::ActivityState;
use crate::domain::time;
use crate::wire::{Activity, Word, client};

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

/// Asks again and again until there is an answer; `None`: there was none within that time.
///
/// # Errors
/// What asking ends with; [`Error::Interrupted`] after Ctrl-C.
pub fn look_until<T>(
    most: Duration,
    talk: &mut Talk<'_>,
    mut ask: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<Option<T>, Error> {
    let interrupt = talk.interrupt.clone();
    interrupt.hold_back();
    let begun = Instant::now();
    let answer = loop {
        match ask() {
            Ok(None) if begun.elapsed() >= most => break Ok(None),
            Ok(None) if pause(talk) => break Err(Error::Interrupted),
            Ok(None) => {}
            answer => break answer,
        }
    };
    interrupt.release();
    answer
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
    /// What was last told where there is no terminal.
    told: Option<Stage>,
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
        let stage = stage(activity);
        if talk.terminal.stderr {
            let line = format!("  {stage}, {}", time::span(self.since.elapsed()));
            let _unread = write!(talk.err, "\r\x1b[2K{line}").and_then(|()| talk.err.flush());
            self.live = true;
            return;
        }
        // That it has begun, its log says.
        let is_news = self.told.as_ref().is_none_or(|told| told.step() != stage.step());
        if is_news && stage != Stage::Done(0) {
            talk.say(&format!("  {stage}"));
            self.told = Some(stage);
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

/// How far an activity is.
#[derive(Debug, PartialEq)]
enum Stage {
    Waiting,
    /// Percent.
    Done(u16),
    /// A state that this program does not know.
    Other(String),
}

fn stage(activity: &Activity) -> Stage {
    match activity.state {
        Word::Known(ActivityState::Pending) => Stage::Waiting,
        Word::Known(ActivityState::InProgress) => Stage::Done(activity.completion_percent),
        ref other => Stage::Other(other.to_string()),
    }
}

impl Stage {
    fn step(&self) -> Self {
        match self {
            Self::Done(percent) => Self::Done(percent / STEP),
            Self::Waiting => Self::Waiting,
            Self::Other(word) => Self::Other(word.clone()),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("waiting for its turn"),
            Self::Done(0) => f.write_str("working"),
            Self::Done(percent) => write!(f, "{percent} % done"),
            Self::Other(word) => f.write_str(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::talk::Terminal;

    fn activity(state: &str, percent: u16) -> Activity {
        let text = serde_json::json!({
            "id": "0123456789abcdef0123", "type": "environment.restore", "parameters": {}, "project": "demo",
            "integration": null, "environments": ["main"], "state": state, "result": null, "failure_reason": null,
            "created_at": null, "updated_at": null, "started_at": null, "completed_at": null, "cancelled_at": null,
            "expires_at": null, "completion_percent": percent, "timings": {}, "log": "", "payload": {},
            "description": "", "text": "", "commands": [], "_links": {},
        });
        serde_json::from_value(text).expect("an activity")
    }

    fn told(attended: bool, stages: &[(&str, u16)]) -> String {
        let terminal = Terminal { stdin: attended, stdout: attended, stderr: attended };
        let (mut out, mut err, mut input) = (Vec::new(), Vec::new(), &b""[..]);
        let mut talk = Talk::new(&mut out, &mut err, &mut input, terminal);
        let mut progress = Progress::default();
        for (state, percent) in stages {
            progress.show(&activity(state, *percent), &mut talk);
        }
        String::from_utf8(err).expect("UTF-8")
    }

    /// R31: waits, unless it is told otherwise or might keep a deployment waiting.
    #[test]
    fn it_waits_except_where_that_might_block_a_deployment() {
        let flags = |wait, no_wait| WaitFlags { no_wait, wait };
        let (said, wait, no_wait) = (flags(false, false), flags(true, false), flags(false, true));
        let somebody = Terminal { stdin: true, stdout: true, stderr: true };
        let nobody = Terminal { stdin: false, stdout: false, stderr: false };
        // A terminal at either end is somebody; where the answer goes says nothing.
        let (typing, reading) = (Terminal { stdin: true, ..nobody }, Terminal { stderr: true, ..nobody });
        let caught = Terminal { stdout: true, ..nobody };
        // (flags, terminal, the project's own container, waits, warns)
        let table = [
            (said, somebody, false, true, false),
            (said, somebody, true, true, false),
            (said, nobody, false, true, false),
            (said, nobody, true, false, true),
            (said, typing, true, true, false),
            (said, reading, true, true, false),
            (said, caught, true, false, true),
            (wait, nobody, true, true, false),
            (wait, somebody, false, true, false),
            (no_wait, nobody, true, false, false),
            (no_wait, somebody, false, false, false),
        ];
        for (number, (flags, terminal, own, waits, warns)) in table.into_iter().enumerate() {
            let mut variables = vec![("STILLPOINT_URL", "http://127.0.0.1:1"), ("STILLPOINT_TOKEN", "token")];
            variables.extend(own.then_some(("PLATFORM_PROJECT", "demo")));
            let session = Session::open(&variables.into_iter().collect()).expect("an address and a token");
            let (mut out, mut err, mut input) = (Vec::new(), Vec::new(), &b""[..]);
            let wanted = is_wanted(flags, &session, &mut Talk::new(&mut out, &mut err, &mut input, terminal));
            let told = String::from_utf8(err).expect("UTF-8");
            assert_eq!((wanted, told.contains("--no-wait is assumed")), (waits, warns), "line {number}: {told}");
        }
    }

    #[test]
    fn without_a_terminal_progress_is_told_in_steps_and_nothing_while_there_is_none() {
        let stages = [("pending", 0), ("pending", 0), ("in_progress", 0), ("in_progress", 12), ("in_progress", 19)];
        assert_eq!(told(false, &stages), "  waiting for its turn\n  12 % done\n");
        assert_eq!(told(false, &[("in_progress", 0)]), "");
        assert_eq!(told(false, &[("in_progress", 9), ("in_progress", 10)]), "  9 % done\n  10 % done\n");
    }

    #[test]
    fn a_terminal_has_one_line_that_says_how_far_it_is() {
        let line = told(true, &[("in_progress", 0), ("in_progress", 40)]);
        assert!(line.contains("  working, ") && line.contains("\r\x1b[2K  40 % done, "), "{line:?}");
    }
}
