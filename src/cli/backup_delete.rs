//! `backup:delete` and `snapshot:undelete`: a deletion can be taken back for three days.

use super::arguments::NamedSnapshot;
use super::confirm::{Stake, confirm};
use super::error::Error;
use super::flags::AnswerFlags;
use super::session::Session;
use super::talk::Talk;

pub fn delete(
    command: &NamedSnapshot,
    answer: &AnswerFlags,
    session: &Session,
    talk: &mut Talk<'_>,
) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let (project, environment, name) = (&place.project, &place.environment, &command.id);
    let backup = session.ask(project, |client| client.backup(project, environment, name))?;
    let of = backup.attributes.taken_at.table();
    let question = format!("Delete the snapshot {name} of {environment}, which shows it on {of} UTC?");
    confirm(&question, Stake::Destructive, answer, talk)?;
    session.ask(project, |client| client.delete_backup(project, environment, name))?;
    talk.say(&format!(
        "The snapshot {name} is deleted. For 3 days `{} snapshot:undelete {} {name}` takes that back.",
        talk.program,
        place.flags()
    ));
    Ok(())
}

pub fn undelete(command: &NamedSnapshot, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let (project, environment, name) = (&place.project, &place.environment, &command.id);
    session.ask(project, |client| client.undelete_backup(project, environment, name))?;
    talk.say(&format!("The snapshot {name} of {environment} is there again."));
    Ok(())
}
