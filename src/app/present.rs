//! From the read models of `domain::view` to what the console draws: addresses, words and instants as text.

use super::model::{Condition, Door, Download, Entry, Kept, Line, Moment, Overview, Progress, Said, Stage, Tone};
use crate::domain::activity::{Activity, ActivityKind, ActivityResult, ActivityState, MergeHow, Payload};
use crate::domain::drill::{self, Drill, Outcome};
use crate::domain::environment::EnvironmentKind;
use crate::domain::ids::{ActivityId, EnvironmentName, PlanId, ProjectId};
use crate::domain::policy::plans;
use crate::domain::snapshot::Snapshot;
use crate::domain::view::{ActivityEntry, ActivityPage, Aside, EnvironmentPage, Health, LogLine, Offer, Part};
use crate::domain::{SnapshotName, TicketId, Timestamp, time, view};

/// Addresses of the console's pages: ids hold only characters that are safe in a path (`domain::ids`).
pub mod at {
    use super::{ActivityId, EnvironmentKind, EnvironmentName, PlanId, ProjectId, SnapshotName, TicketId};

    pub fn project(project: &ProjectId) -> String {
        format!("/projects/{project}")
    }

    pub fn environment(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("/projects/{project}/environments/{environment}")
    }

    pub fn new_snapshot(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("/projects/{project}/environments/{environment}/snapshots/new")
    }

    pub fn schedules(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("{}/schedules", self::environment(project, environment))
    }

    pub fn snapshot(project: &ProjectId, environment: &EnvironmentName, name: &SnapshotName) -> String {
        format!("/projects/{project}/environments/{environment}/snapshots/{name}")
    }

    pub fn restore(project: &ProjectId, environment: &EnvironmentName, name: &SnapshotName) -> String {
        format!("/projects/{project}/environments/{environment}/snapshots/{name}/restore")
    }

    /// The report of a drill, as JSON.
    pub fn report(project: &ProjectId, activity: &ActivityId) -> String {
        format!("/projects/{project}/activities/{activity}/report")
    }

    pub fn members(project: &ProjectId) -> String {
        format!("/projects/{project}/members")
    }

    pub fn notices(project: &ProjectId) -> String {
        format!("/projects/{project}/notices")
    }

    pub fn audit(project: &ProjectId) -> String {
        format!("/projects/{project}/audit")
    }

    pub fn activity(project: &ProjectId, activity: &ActivityId) -> String {
        format!("/projects/{project}/activities/{activity}")
    }

    pub fn tickets(project: &ProjectId) -> String {
        format!("/projects/{project}/tickets")
    }

    pub fn ticket(project: &ProjectId, ticket: &TicketId) -> String {
        format!("/projects/{project}/tickets/{ticket}")
    }

    pub fn new_ticket(project: &ProjectId, environment: &EnvironmentName, name: &SnapshotName) -> String {
        format!("/projects/{project}/environments/{environment}/snapshots/{name}/ticket")
    }

    pub fn merge(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("{}/merge", self::environment(project, environment))
    }

    pub fn storage(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("{}/storage", self::environment(project, environment))
    }

    pub fn retention(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("/projects/{project}/environments/{environment}/retention")
    }

    pub fn removal(project: &ProjectId, environment: &EnvironmentName) -> String {
        format!("{}/remove", self::environment(project, environment))
    }

    pub fn project_removal(project: &ProjectId) -> String {
        format!("{}/remove", self::project(project))
    }

    /// Environments of the project that were removed.
    pub fn removed(project: &ProjectId) -> String {
        format!("{}/removed", self::project(project))
    }

    /// Where the project lies.
    pub fn region(project: &ProjectId) -> String {
        format!("{}/region", self::project(project))
    }

    pub fn plan(project: &ProjectId) -> String {
        format!("/projects/{project}/plan")
    }

    pub fn simulation_of(project: &ProjectId) -> String {
        format!("/projects/{project}/plan/simulation")
    }

    pub fn simulation(project: &ProjectId, plan: &PlanId, kind: EnvironmentKind) -> String {
        format!("{}?plan={plan}&kind={kind}", simulation_of(project))
    }

    /// `page`: the environment's, or the snapshot's.
    pub fn dump(page: &str, service: &str) -> String {
        format!("{page}/services/{service}/dump")
    }
}

/// `2026-11-21T22:14:05Z` and `21 Nov 2026, 22:14 UTC`.
pub fn moment(instant: Timestamp) -> Moment {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let table = instant.table();
    let part = |range: std::ops::Range<usize>| table.get(range).unwrap_or_default();
    let number = |range| part(range).parse::<usize>().unwrap_or(1);
    let month = MONTHS.get(number(5..7).wrapping_sub(1)).copied().unwrap_or_default();
    Moment {
        iso: format!("{}T{}Z", part(0..10), part(11..19)),
        text: format!("{} {month} {}, {} UTC", number(8..10), part(0..4), part(11..16)),
    }
}

/// Why not, and what instead, in one text (R7).
pub fn refusal(offer: &Offer) -> Option<String> {
    offer.refusal.as_ref().map(ToString::to_string)
}

pub fn door(href: String, offer: &Offer) -> Door {
    Door { href, refusal: refusal(offer) }
}

pub fn condition(health: &Health) -> Condition {
    let tone = match health.tone {
        view::Tone::Good => Tone::Good,
        view::Tone::Busy => Tone::Busy,
        view::Tone::Attention => Tone::Attention,
        view::Tone::Bad => Tone::Bad,
    };
    Condition { tone, sentence: health.sentence.clone() }
}

pub fn entry(project: &ProjectId, entry: &ActivityEntry) -> Entry {
    let ActivityEntry { activity, environment, .. } = entry;
    let stage = stage(activity.state, activity.result);
    let restore = |name: &SnapshotName| door(at::restore(project, environment, name), &entry.restore);
    let is_backup = activity.kind == ActivityKind::Backup;
    Entry {
        id: activity.id.to_string(),
        href: match &activity.payload {
            Payload::Ticket(step) => at::ticket(project, &step.ticket),
            _ => at::activity(project, &activity.id),
        },
        glyph: glyph(activity.kind),
        stage,
        who: activity.initiator.name.clone(),
        what: entry.description.clone(),
        at: moment(activity.created_at),
        took: activity.started_at.zip(activity.completed_at).map(|(start, end)| time::span(end.since(start))),
        percent: activity.percent().min(100),
        failure: activity.failure.clone(),
        snapshot: entry.snapshot.as_ref().map(|name| (name.to_string(), at::snapshot(project, &entry.source, name))),
        made: entry
            .branch
            .as_ref()
            .filter(|_| stage == Stage::Done)
            .map(|name| (name.to_string(), at::environment(project, name))),
        restore: entry.snapshot.as_ref().filter(|_| is_backup && stage == Stage::Done).map(restore),
        undo: entry.undo.as_ref().filter(|_| stage == Stage::Done).map(restore),
        cancel: (!stage.is_over()).then(|| door(String::new(), &entry.cancel)),
    }
}

pub fn kept(project: &ProjectId, environment: &EnvironmentName, snapshot: &Snapshot, restore: &Offer) -> Kept {
    Kept {
        name: snapshot.name.to_string(),
        href: at::snapshot(project, environment, &snapshot.name),
        taken: moment(snapshot.taken_at),
        expires: snapshot.expires_at.map(moment),
        origin: snapshot.origin.to_string(),
        consistency: snapshot.consistency.label().to_owned(),
        protection: snapshot.protection.as_ref().map(|protection| match &protection.note {
            Some(note) => format!("protected: {note}"),
            None => "protected".to_owned(),
        }),
        note: snapshot.note.clone(),
        size: snapshot.size.to_string(),
        added: snapshot.added.to_string(),
        closed: closed(snapshot),
        restore: door(at::restore(project, environment, &snapshot.name), restore),
    }
}

/// `page`: the environment's, or the snapshot's; `part`: a service.
pub fn download(page: &str, part: &Part, offer: &Offer) -> Download {
    let href = at::dump(page, &part.name);
    Download {
        service: part.name.clone(),
        what: kind_of(part),
        packed: door(format!("{href}?compress=gzip"), offer),
        plain: door(href, offer),
    }
}

/// How long the gate was closed (R18); `None`: there was no hold.
pub fn closed(snapshot: &Snapshot) -> Option<String> {
    snapshot.proof.as_ref().map(|proof| micros(proof.closed_us))
}

pub fn micros(micros: u64) -> String {
    time::span(std::time::Duration::from_micros(micros))
}

pub fn overview(page: &EnvironmentPage) -> Overview {
    let (project, environment) = (&page.project.id, &page.card.environment.name);
    Overview {
        condition: condition(&page.card.health),
        aside: page.card.aside.iter().map(Aside::in_words).collect(),
        snapshot: door(at::new_snapshot(project, environment), &page.card.create_snapshot),
        restore_refusal: refusal(&page.restore),
        snapshots: page
            .snapshots
            .iter()
            .map(|entry| kept(project, environment, &entry.snapshot, &entry.restore))
            .collect(),
    }
}

pub fn line(line: &LogLine) -> Line {
    let mut at = moment(line.at);
    at.text = line.at.table().chars().skip(11).collect();
    Line { at, message: line.message.clone() }
}

pub fn progress(page: &ActivityPage) -> Progress {
    let project = &page.project.id;
    let entry = entry(project, &page.entry);
    Progress {
        condition: Condition { tone: entry.stage.tone(), sentence: sentence(page) },
        drill: page.drill.clone().map(|drill| (project.clone(), drill)),
        made: page.made.as_ref().map(|snapshot| kept(project, &page.entry.environment, snapshot, &page.entry.restore)),
        entry,
    }
}

/// What a branch activity is about: an environment that it makes, or its own.
fn made(page: &ActivityPage) -> String {
    match (&page.entry.activity.payload, &page.entry.branch) {
        (Payload::BranchEnvironment(_), _) => page.entry.environment.to_string(),
        (_, Some(new)) => new.to_string(),
        (_, None) => "the new environment".to_owned(),
    }
}

/// How the activity stands, in one sentence that fits what it does.
fn sentence(page: &ActivityPage) -> String {
    let activity = &page.entry.activity;
    let environment = &page.entry.environment;
    let noun = match activity.kind {
        ActivityKind::Backup => "snapshot",
        ActivityKind::Restore => "restore",
        ActivityKind::BackupDelete => "deletion",
        ActivityKind::Branch => "creation",
        ActivityKind::Dump => "download",
        ActivityKind::Drill => "try",
        ActivityKind::Schedule => "change of a schedule",
        ActivityKind::Ticket(_) => "step",
        ActivityKind::BackupKeep | ActivityKind::Plan => "change",
        ActivityKind::Retention => "retention",
        ActivityKind::Merge => "merge",
        ActivityKind::Storage => "change of storage",
        ActivityKind::Remove | ActivityKind::RemoveProject => "removal",
        ActivityKind::Move => "move",
    };
    match stage(activity.state, activity.result) {
        Stage::Waiting if activity.kind == ActivityKind::Branch => "Waiting for a free worker.".to_owned(),
        Stage::Waiting if activity.kind == ActivityKind::Move => {
            "Waiting for a worker of the region that it goes to.".to_owned()
        }
        Stage::Waiting => format!("Waiting for its turn: {environment} runs one activity at a time, in order."),
        Stage::Running if activity.kind == ActivityKind::Restore => {
            format!("Running. The data is loaded beside what {environment} serves now, and swapped in at the end.")
        }
        Stage::Running if activity.kind == ActivityKind::Merge => {
            "Running. The log shows what the command says.".to_owned()
        }
        Stage::Running => format!("Running. {environment} goes on serving."),
        Stage::Cancelled if activity.kind == ActivityKind::Dump => {
            "The download ended before the dump was whole.".to_owned()
        }
        Stage::Done => match activity.kind {
            ActivityKind::Backup => "The snapshot is complete and can be restored.".to_owned(),
            ActivityKind::Restore => format!("{environment} serves the restored data."),
            ActivityKind::BackupDelete => deleted(activity),
            ActivityKind::BackupKeep => "It is done.".to_owned(),
            ActivityKind::Retention => "What the plan no longer keeps is gone; the log names each, and why.".to_owned(),
            ActivityKind::Plan => "The project is under the new plan.".to_owned(),
            ActivityKind::Remove => {
                format!(
                    "{environment} is removed. Its snapshots are kept as long as the plan says, and can be restored elsewhere."
                )
            }
            ActivityKind::Move => {
                "The project and its snapshots are in the new region. The old repository stays where it \
                                   is, until an operator removes it."
                    .to_owned()
            }
            ActivityKind::RemoveProject => "The project is removed.".to_owned(),
            ActivityKind::Branch => sentence_start(&format!("{} is there and holds the snapshot's data.", made(page))),
            ActivityKind::Dump => "The dump was handed out whole.".to_owned(),
            ActivityKind::Drill => drilled(page),
            ActivityKind::Schedule => "Done.".to_owned(),
            ActivityKind::Storage => "The new size is declared.".to_owned(),
            ActivityKind::Merge => merged(activity).to_owned(),
            ActivityKind::Ticket(_) => "It is done, and stands in the ticket.".to_owned(),
        },
        Stage::Cancelled if activity.kind == ActivityKind::Branch => {
            format!("It was cancelled; nothing of {} is left.", made(page))
        }
        Stage::Failed => activity.failure.clone().unwrap_or_else(|| {
            format!("The {noun} failed; what {environment} served before, it serves on. The log says where it stopped.")
        }),
        Stage::Cancelled => format!("The {noun} was cancelled before it changed anything."),
    }
}

fn merged(activity: &Activity) -> &'static str {
    match &activity.payload {
        Payload::MergeEnvironment(merge) if merge.how == MergeHow::Command => {
            "The merge is done; the log has what its command said."
        }
        _ => "It is announced: whoever asked may merge now.",
    }
}

fn drilled(page: &ActivityPage) -> String {
    match page.drill.as_ref().and_then(Drill::outcome) {
        None => "The restore works: all was loaded beside the live data, checked, and dropped again.".to_owned(),
        Some(Outcome::ProvenBut(parts)) => format!(
            "The restore works but for {}, of which nothing can be proven here: the rest was loaded beside the live data, \
             checked, and dropped again.",
            drill::named(&parts)
        ),
        Some(_) => "Nothing can be proven here. That is no failure: the report says why, and what to do.".to_owned(),
    }
}

fn deleted(activity: &Activity) -> String {
    match &activity.payload {
        Payload::DeleteSnapshot(delete) => {
            let until = moment(delete.until).text;
            format!(
                "The snapshot is deleted. It could be taken back until {until}, on the environment's retention page."
            )
        }
        _ => "The snapshot is deleted.".to_owned(),
    }
}

pub fn stage(state: ActivityState, result: Option<ActivityResult>) -> Stage {
    match (state, result) {
        (ActivityState::Pending, _) => Stage::Waiting,
        (ActivityState::InProgress, _) => Stage::Running,
        (ActivityState::Complete, Some(ActivityResult::Failure)) => Stage::Failed,
        (ActivityState::Complete, _) => Stage::Done,
        (ActivityState::Cancelled, _) => Stage::Cancelled,
    }
}

fn glyph(kind: ActivityKind) -> &'static str {
    match kind {
        ActivityKind::Backup => "snapshot",
        ActivityKind::Restore => "restore",
        ActivityKind::BackupDelete => "trash",
        ActivityKind::Branch => "branch",
        ActivityKind::Dump => "download",
        ActivityKind::Drill => "check",
        ActivityKind::Schedule => "clock",
        ActivityKind::Ticket(_) => "ticket",
        ActivityKind::BackupKeep | ActivityKind::Plan => "check",
        ActivityKind::Retention => "clock",
        ActivityKind::Merge => "branch",
        ActivityKind::Storage => "folder",
        ActivityKind::Remove | ActivityKind::RemoveProject => "trash",
        ActivityKind::Move => "globe",
    }
}

/// "SQLite database", "files": the word that people have for a part's kind.
pub fn kind_of(part: &Part) -> String {
    match part.kind.as_str() {
        "mount" => "files".to_owned(),
        "command" => "data of an own program".to_owned(),
        "solr" => "Solr index".to_owned(),
        kind => format!("{} database", software(kind)),
    }
}

/// With a capital letter, unless it begins with a name that has none.
fn sentence_start(text: &str) -> String {
    text.strip_prefix("the ").map_or_else(|| text.to_owned(), |rest| format!("The {rest}"))
}

impl From<plans::Line> for Said {
    fn from(line: plans::Line) -> Self {
        Self { title: line.title, text: line.text, is_available: line.is_available }
    }
}

/// A kind of service by its own name.
pub fn software(kind: &str) -> &str {
    match kind {
        "sqlite" => "SQLite",
        "postgresql" => "PostgreSQL",
        "mysql" => "MySQL or MariaDB",
        "redis" => "Redis",
        "solr" => "Solr",
        // Which names itself.
        "command" => "Own program:",
        other => other,
    }
}

pub fn glyph_of(part: &Part) -> &'static str {
    if part.kind == "mount" { "folder" } else { "database" }
}

pub fn type_word(kind: EnvironmentKind) -> &'static str {
    match kind {
        EnvironmentKind::Production => "Production",
        EnvironmentKind::Staging => "Staging",
        EnvironmentKind::Development => "Development",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_for_machines_and_for_people_in_utc() {
        let moment = moment(Timestamp::from_micros(1_434_733_902_000_001));
        assert_eq!(moment.iso, "2015-06-19T17:11:42Z");
        assert_eq!(moment.text, "19 Jun 2015, 17:11 UTC");
    }

    #[test]
    fn a_finished_activity_without_success_has_failed() {
        assert_eq!(stage(ActivityState::Complete, Some(ActivityResult::Failure)), Stage::Failed);
        assert_eq!(stage(ActivityState::Complete, Some(ActivityResult::Success)), Stage::Done);
        assert_eq!(stage(ActivityState::InProgress, None), Stage::Running);
    }
}
