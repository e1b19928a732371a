//! `project:set-plan`: first what would change, then the question, then exactly that.

use super::arguments::ProjectSetPlan;
use super::confirm::{Stake, confirm};
use super::error::Error;
use super::flags::AnswerFlags;
use super::session::Session;
use super::talk::Talk;
use crate::wire::PlanRequest;

pub fn run(
    command: &ProjectSetPlan,
    answer: &AnswerFlags,
    session: &Session,
    talk: &mut Talk<'_>,
) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    let mut request = PlanRequest { plan: Some(command.plan.clone()), hash: None };
    let change = session.ask(&project, |client| client.change_plan(&project, &request))?;
    talk.say(&format!("From the {} plan to the {} plan:", change.from, change.to));
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
    let stake = if change.goes.is_empty() { Stake::Harmless } else { Stake::Destructive };
    confirm(&format!("Put {project} under the {} plan?", change.to), stake, answer, talk)?;
    request.hash = Some(change.hash);
    session.ask(&project, |client| client.change_plan(&project, &request))?;
    talk.say(&format!("The project {project} is under the {} plan.", change.to));
    Ok(())
}
