//! `activity:cancel`: what is pending, or can safely be stopped.

use super::arguments::ActivityCancel;
use super::error::Error;
use super::session::{Place, Session};
use super::talk::Talk;
use crate::domain::activity::ActivityState;
use crate::domain::ids::{ActivityId, ProjectId};
use crate::wire::client::Query;

pub fn run(command: &ActivityCancel, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let (project, id) = match &command.id {
        Some(id) => (session.project(command.place.project.as_ref())?, id.clone()),
        None => only_unfinished(session, session.place(&command.place)?)?,
    };
    let activity = session.ask(&project, |client| client.cancel(&project, &id))?;
    talk.say(&match activity.is_over() {
        true => format!("The activity {id} is cancelled."),
        false => format!("The activity {id} is being cancelled."),
    });
    Ok(())
}

/// Which one to stop is never guessed.
fn only_unfinished(session: &Session, place: Place) -> Result<(ProjectId, ActivityId), Error> {
    let Place { project, environment } = place;
    let query = Query { states: vec![ActivityState::Pending, ActivityState::InProgress], ..Query::default() };
    let mut found = session.ask(&project, |client| client.activities(&project, Some(&environment), &query))?;
    match found.len() {
        0 => Err(Error::Empty(format!("There is no unfinished activity in the environment {environment}"))),
        1 => Ok((project, found.remove(0).id)),
        _ => {
            let lines: Vec<String> =
                found.iter().map(|activity| format!("{}  {}", activity.id, activity.text)).collect();
            let message = format!("There are several unfinished activities:\n{}\n", lines.join("\n"));
            Err(Error::Refused { message, hint: Some("Say which one is meant.".to_owned()) })
        }
    }
}
