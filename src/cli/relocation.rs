//! `project:move`: first what that changes, then the question, then the move.

use clap::Args;

use super::confirm::{Stake, confirm};
use super::error::Error;
use super::flags::{AnswerFlags, WaitFlags};
use super::session::{Place, Session};
use super::talk::Talk;
use super::wait;
use crate::domain::ids::{ProjectId, RegionId};
use crate::wire::{Move, MoveRequest};

#[derive(Debug, Args)]
pub struct ProjectMove {
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
    /// Where it goes
    #[arg(long, value_name = "REGION")]
    pub region: RegionId,
    #[command(flatten)]
    pub wait: WaitFlags,
}

pub fn run(command: &ProjectMove, answer: &AnswerFlags, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    let told = session.ask(&project, |client| client.relocation(&project, &command.region))?;
    tell(&told, talk);
    if let Some(first) = told.obstacles.first() {
        return Err(Error::Refused { message: first.clone(), hint: None });
    }
    confirm(&format!("Move {project} to the region {}?", told.to), Stake::Destructive, answer, talk)?;
    let wait = wait::is_wanted(command.wait, session, talk);
    let request = MoveRequest { region: Some(command.region.clone()) };
    let activity = session.ask(&project, |client| client.relocate(&project, &request))?;
    talk.say(&format!("Moving {project}. It begins when a worker of the region {} takes it up.", told.to));
    let environment = activity.environments.first().cloned();
    let Some(environment) = environment.filter(|_| wait) else {
        talk.say(&format!("It goes on; see it with: {} activity:log {} -p {project}", talk.program, activity.id));
        return Ok(());
    };
    wait::until_over(activity, &Place { project: project.clone(), environment }, session, talk)?;
    talk.say(&format!("The project {project} is in the region {}.", told.to));
    Ok(())
}

fn tell(told: &Move, talk: &mut Talk<'_>) {
    talk.say(&format!("From the region {} to the region {}:", told.from, told.to));
    for line in &told.expectations {
        talk.say(&format!("  {line}"));
    }
}
