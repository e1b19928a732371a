//! `project:set-plan`: first what would change, then the question, then exactly that.

use super::arguments::ProjectSetPlan;
use super::confirm::{Stake, confirm};
use super::error::Error;
use super::flags::AnswerFlags;
use super::session::Session;
use super::talk::Talk;
use crate::domain::ids::{PlanId, ProjectId};
use crate::wire::{PlanChange, PlanRequest};

pub fn run(
    command: &ProjectSetPlan,
    answer: &AnswerFlags,
    session: &Session,
    talk: &mut Talk<'_>,
) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    let request = PlanRequest { plan: Some(command.plan.clone()), hash: None };
    let change = session.ask(&project, |client| client.change_plan(&project, &request))?;
    talk.say(&format!("From the {} plan to the {} plan:", change.from, change.to));
    let question = format!("Put {project} under the {} plan?", change.to);
    let done = format!("The project {project} is under the {} plan.", change.to);
    confirmed((&project, command.plan.clone()), change, Words { question, done }, (answer, session), talk)
}

/// What is asked, and what is said when it is done.
pub(super) struct Words {
    pub question: String,
    pub done: String,
}

/// Shows the change, asks, and does exactly that.
pub(super) fn confirmed(
    (project, plan): (&ProjectId, PlanId),
    change: PlanChange,
    words: Words,
    (answer, session): (&AnswerFlags, &Session),
    talk: &mut Talk<'_>,
) -> Result<(), Error> {
    show(&change, talk);
    let stake = if change.goes.is_empty() { Stake::Harmless } else { Stake::Destructive };
    confirm(&words.question, stake, answer, talk)?;
    let request = PlanRequest { plan: Some(plan), hash: Some(change.hash) };
    session.ask(project, |client| client.change_plan(project, &request))?;
    talk.say(&words.done);
    Ok(())
}

pub(super) fn show(change: &PlanChange, talk: &mut Talk<'_>) {
    for line in &change.rules {
        talk.say(&format!("  {}, {}: {}  Until now: {}", line.kind, line.title.to_lowercase(), line.becomes, line.is));
    }
    match change.goes.as_slice() {
        [] => talk.say("  No snapshot goes because of it."),
        goes => {
            talk.say("  These snapshots go because of it:");
            for backup in goes {
                let taken = backup.taken_at.table();
                talk.say(&format!("    {} of {} on {taken}. {}", backup.id, backup.environment, backup.reason));
            }
        }
    }
}
