//! `snapshot:protect` and `snapshot:unprotect`.

use super::arguments::{NamedSnapshot, SnapshotProtect};
use super::error::Error;
use super::session::Session;
use super::talk::Talk;

pub fn protect(command: &SnapshotProtect, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let place = session.place(&command.named.place)?;
    let (project, environment, name) = (&place.project, &place.environment, &command.named.id);
    session.ask(project, |client| client.protect_backup(project, environment, name, command.note.as_deref()))?;
    talk.say(&format!("The snapshot {name} of {environment} is protected: it stays until that is taken off."));
    Ok(())
}

pub fn unprotect(command: &NamedSnapshot, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let (project, environment, name) = (&place.project, &place.environment, &command.id);
    session.ask(project, |client| client.unprotect_backup(project, environment, name))?;
    talk.say(&format!("The snapshot {name} of {environment} is protected no more: its plan decides."));
    Ok(())
}
