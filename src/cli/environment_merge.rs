//! `environment:merge`: merges an environment into its parent, or announces that, after a snapshot of the parent (R10).

use super::arguments::EnvironmentMerge;
use super::confirm::{Stake, confirm};
use super::error::Error;
use super::first;
use super::flags::AnswerFlags;
use super::session::{Place, Session};
use super::talk::Talk;
use super::wait;
use crate::domain::activity::MergeHow;
use crate::wire::MergeRequest;

pub fn run(
    command: &EnvironmentMerge,
    answer: &AnswerFlags,
    session: &Session,
    talk: &mut Talk<'_>,
) -> Result<(), Error> {
    let place = session.place_of(command.positional.as_ref(), &command.place)?;
    let (project, environment) = (&place.project, &place.environment);
    let plan = session.ask(project, |client| client.merge_preview(project, environment))?;
    if let Some(refusal) = plan.refusal {
        return Err(Error::Refused { message: refusal.reason, hint: refusal.instead });
    }
    let parent = Place { project: project.clone(), environment: plan.parent };
    let into = &parent.environment;
    for sentence in &plan.expectations {
        talk.say(sentence);
    }
    let question = match plan.how {
        MergeHow::Command => format!("Merge {environment} into {into} now?"),
        MergeHow::Announcement => format!("Announce that {environment} is merged into {into}?"),
    };
    confirm(&question, Stake::Destructive, answer, talk)?;
    let (snapshot, evict) = first::wanted(command.first, &plan.snapshot, into, answer, talk)?;
    let wait = wait::is_wanted(command.wait, session, talk);
    let request = MergeRequest { snapshot, evict, how: Some(plan.how) };
    let activity = session.ask(project, |client| client.merge(project, environment, &request))?;
    if !wait {
        wait::goes_on(&activity, &parent, talk);
        return first::name(&activity, talk);
    }
    first::until_there(&activity, &parent, session, talk)?;
    match plan.how {
        MergeHow::Command => talk.say(&format!("Merging {environment} into {into}")),
        MergeHow::Announcement => talk.say(&format!("Announcing that {environment} is merged into {into}")),
    }
    let activity = wait::until_over(activity, &parent, session, talk)?;
    match plan.how {
        MergeHow::Command => talk.say(&format!("{environment} is merged into {into}.")),
        MergeHow::Announcement => talk.say("It is announced: merge now."),
    }
    first::name(&activity, talk)
}
