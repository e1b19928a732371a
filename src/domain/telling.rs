//! An activity as a sentence after the name of whoever asked for it: "created a snapshot of main". The feed and the audit
//! tell it alike.

use super::activity::{Activity, ActivityResult, Keeping, MergeHow, Payload, Source};
use super::drill::{self, Outcome};
use super::environment::EnvironmentKind;
use super::ids::{EnvironmentId, EnvironmentName};
use super::schedule::{Errand, ScheduleChange};
use super::snapshot::Origin;
use super::ticket::{TicketAct, TicketStep};
use super::{PartName, SnapshotName};

/// What is told, of which environment, to whom.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "it holds a question, and is never printed")]
pub struct Telling<'a> {
    pub payload: &'a Payload,
    /// It is over, and went well.
    pub done: bool,
    /// Whose feed it stands in.
    pub environment: &'a EnvironmentName,
    /// Whether the reader may know of another environment (R2).
    pub sees: &'a dyn Fn(&EnvironmentId, EnvironmentKind) -> bool,
}

/// Where the snapshot of a restore was taken, as far as the reader may know (R2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
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

/// Whether an activity is over and went well.
pub fn is_done(activity: &Activity) -> bool {
    activity.state.is_over() && activity.result == Some(ActivityResult::Success)
}

impl Telling<'_> {
    pub fn from(&self) -> From {
        let source = match self.payload {
            Payload::RestoreSnapshot(restore) => restore.from.as_ref(),
            Payload::BranchEnvironment(branch) => Some(&branch.source),
            Payload::MergeEnvironment(merge) => Some(&merge.from),
            _ => None,
        };
        match source {
            None => From::Same,
            Some(Source { id, name, kind }) if (self.sees)(id, *kind) => From::Other(name.clone()),
            Some(_) => From::Hidden,
        }
    }

    /// The environment that a restore makes.
    pub fn branch(&self) -> Option<EnvironmentName> {
        let Payload::RestoreSnapshot(restore) = self.payload else { return None };
        let new = restore.branch.as_ref()?;
        (self.sees)(&new.id, new.kind).then(|| new.name.clone())
    }

    /// As the feed tells it, where the snapshot and its note stand beside.
    pub fn in_words(&self) -> String {
        let environment = self.environment;
        match self.payload {
            Payload::TakeSnapshot(take) => {
                let verb = self.verb("created", "asked for");
                let article = if take.origin == Origin::Automatic { "an automatic" } else { "a" };
                format!("{verb} {article} snapshot of {environment}")
            }
            Payload::RestoreSnapshot(restore) => {
                let verb = self.verb("restored", "asked to restore");
                let parts: Vec<String> = restore.scope.named().map(PartName::in_words).collect();
                let parts = if parts.is_empty() { String::new() } else { format!("{} of ", parts.join(", ")) };
                let of = self.from().of(&restore.snapshot);
                let by = restore.ticket.as_ref().map(|_| ", on a ticket").unwrap_or_default();
                match (&restore.branch, self.branch()) {
                    (None, _) => format!("{verb} {parts}{of} into {environment}{by}"),
                    (Some(_), Some(new)) => format!("{verb} {parts}{of} into the new environment {new}{by}"),
                    (Some(_), None) => format!("{verb} {parts}{of} into a new environment{by}"),
                }
            }
            Payload::BranchEnvironment(branch) => {
                format!("made {environment} from {}", self.from().of(&branch.snapshot))
            }
            Payload::RunDrill(run) => {
                let of = run.snapshot.as_ref().map_or("the newest snapshot".to_owned(), ToString::to_string);
                let (verb, but) = match (self.done, &run.outcome) {
                    (false, _) => ("asked to try", String::new()),
                    (true, Some(Outcome::ProvenBut(parts))) => ("proved", format!(", but for {}", drill::named(parts))),
                    (true, Some(Outcome::Unprovable)) => ("could prove nothing of", String::new()),
                    (true, _) => ("proved", String::new()),
                };
                format!("{verb} a restore of {of} of {environment}{but}")
            }
            Payload::ReadDump(read) => {
                let verb = self.verb("downloaded", "asked for");
                match &read.snapshot {
                    Some(snapshot) => {
                        format!("{verb} a dump of {} in the snapshot {snapshot} of {environment}", read.service)
                    }
                    None => format!("{verb} a dump of {} in {environment}", read.service),
                }
            }
            Payload::ChangeSchedule(entry) => {
                // What we stopped has not succeeded, but it is so.
                let verb = match (entry.change, self.done) {
                    (ScheduleChange::Stopped, _) | (_, true) => entry.change.verb().to_owned(),
                    (_, false) => format!("asked to {}", entry.change.infinitive()),
                };
                let what = if entry.what == Errand::Drill { "schedule of drills" } else { "schedule" };
                format!("{verb} the {what} “{}” ({}) of {environment}", entry.cron, entry.time_zone)
            }
            Payload::Ticket(step) => self.step(step),
            Payload::DeleteSnapshot(delete) => {
                format!("{} {} of {environment}", self.verb("deleted", "asked to delete"), delete.snapshot)
            }
            Payload::KeepSnapshot(keep) => {
                let verb = match keep.how {
                    Keeping::Protected => self.verb("protected", "asked to protect"),
                    Keeping::Unprotected => self.verb("took the protection off", "asked to take the protection off"),
                    Keeping::TakenBack => self.verb("took back the deletion of", "asked to take back the deletion of"),
                };
                format!("{verb} {} of {environment}", keep.snapshot)
            }
            Payload::MergeEnvironment(merge) => {
                let verb = match merge.how {
                    MergeHow::Command => self.verb("merged", "asked to merge"),
                    MergeHow::Announcement => self.verb("announced a merge of", "asked to announce a merge of"),
                };
                match self.from() {
                    From::Other(source) => format!("{verb} {source} into {environment}"),
                    From::Same | From::Hidden => format!("{verb} another environment into {environment}"),
                }
            }
            Payload::ChangeStorage(change) => {
                let from = change.from.map(|from| format!(" from {from}")).unwrap_or_default();
                let verb = self.verb("changed", "asked to change");
                let (part, to) = (change.part.in_words(), change.to);
                format!("{verb} the declared storage of the {part} of {environment}{from} to {to}")
            }
            Payload::Retain => {
                format!("{} what the plan no longer keeps of {environment}", self.verb("let go", "lets go"))
            }
            Payload::RemoveEnvironment(_) => {
                format!("{} the environment {environment}", self.verb("removed", "asked to remove"))
            }
            Payload::MoveProject(moved) => {
                let verb = self.verb("moved", "asked to move");
                format!("{verb} the project from the region {} to {}", moved.from, moved.to)
            }
            Payload::RemoveProject(removed) => {
                format!("{} the project {}", self.verb("removed", "asked to remove"), removed.title)
            }
            Payload::ChangePlan(change) if change.from == change.to => {
                let verb = self.verb("took", "asked to take");
                format!("{verb} the present text of the {} plan for the project", change.to)
            }
            Payload::ChangePlan(change) => {
                let verb = self.verb("changed", "asked to change");
                format!("{verb} the project's plan from {} to {}", change.from, change.to)
            }
        }
    }

    /// As it stands alone, in the audit: with what the feed shows beside.
    pub fn in_full(&self) -> String {
        let told = self.in_words();
        match self.payload {
            Payload::TakeSnapshot(take) => {
                let note = take.note.as_ref().map(|note| format!(", noted “{note}”")).unwrap_or_default();
                format!("{told}: {}{note}", take.snapshot)
            }
            Payload::Ticket(TicketStep { ticket, text, .. }) => {
                let text = text.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
                format!("{told} ({ticket}){text}")
            }
            _ => told,
        }
    }

    fn verb(&self, done: &'static str, asked: &'static str) -> &'static str {
        if self.done { done } else { asked }
    }

    fn step(&self, step: &TicketStep) -> String {
        let into = match (self.sees)(&step.target.id, step.target.kind) {
            true => step.target.name.as_str(),
            false => "another environment",
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
        format!("{about} restoring {} of {} into {into}", step.snapshot, self.environment)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn payload(value: serde_json::Value) -> Payload {
        serde_json::from_value(value).expect("a payload as it is stored")
    }

    const SNAPSHOT: &str = "2ca4d6e8f00112233445";

    #[test]
    fn what_is_done_and_what_was_asked_for_are_told_apart() {
        let main = EnvironmentName::parse("main").expect("a name");
        let take = json!({"job": "take_snapshot", "snapshot": SNAPSHOT, "mode": "consistent", "origin": "manual",
            "note": "before the sale"});
        let protect = json!({"job": "keep_snapshot", "snapshot": SNAPSHOT, "how": "protected"});
        let plan = json!({"job": "change_plan", "from": "Pro", "to": "Starter"});
        let dump = json!({"job": "read_dump", "service": "database", "snapshot": SNAPSHOT});
        let table = [
            (&take, "created a snapshot of main", "asked for a snapshot of main"),
            (&protect, "protected 2ca4d6e8f00112233445 of main", "asked to protect 2ca4d6e8f00112233445 of main"),
            (
                &plan,
                "changed the project's plan from Pro to Starter",
                "asked to change the project's plan from Pro to Starter",
            ),
            (
                &dump,
                "downloaded a dump of database in the snapshot 2ca4d6e8f00112233445 of main",
                "asked for a dump of database in the snapshot 2ca4d6e8f00112233445 of main",
            ),
        ];
        for (value, done, asked) in table {
            let payload = payload(value.clone());
            let telling = |done| Telling { payload: &payload, done, environment: &main, sees: &|_, _| true };
            assert_eq!(telling(true).in_words(), done);
            assert_eq!(telling(false).in_words(), asked);
        }
    }

    #[test]
    fn the_audit_names_what_the_feed_shows_beside() {
        let main = EnvironmentName::parse("main").expect("a name");
        let take = payload(json!({"job": "take_snapshot", "snapshot": SNAPSHOT, "mode": "live", "origin": "manual",
            "note": "before the sale"}));
        let telling = Telling { payload: &take, done: true, environment: &main, sees: &|_, _| true };
        assert_eq!(telling.in_full(), "created a snapshot of main: 2ca4d6e8f00112233445, noted “before the sale”");
    }

    #[test]
    fn an_environment_that_the_reader_may_not_know_of_is_not_named() {
        let main = EnvironmentName::parse("main").expect("a name");
        let restore = payload(json!({"job": "restore_snapshot", "snapshot": SNAPSHOT, "safety": SNAPSHOT,
            "plan_hash": null, "from": {"id": "0123456789abcdef0123", "name": "secret", "kind": "production"}}));
        let seen = Telling { payload: &restore, done: true, environment: &main, sees: &|_, _| true };
        assert_eq!(seen.in_words(), "restored 2ca4d6e8f00112233445 of secret into main");
        let hidden = Telling { sees: &|_, _| false, ..seen };
        assert_eq!(hidden.in_words(), "restored a snapshot of another environment into main");
        assert_eq!(hidden.from(), From::Hidden);
    }
}
