//! `backup:get`: one snapshot.

use super::arguments::BackupGet;
use super::error::Error;
use super::properties;
use super::session::Session;
use super::talk::Talk;

pub fn run(command: &BackupGet, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let name = session.snapshot(&place, command.id.as_ref())?;
    let backup = session.ask(&place.project, |client| client.backup(&place.project, &place.environment, &name))?;
    let value = serde_json::to_value(backup).map_err(std::io::Error::from)?;
    properties::show(value, &command.property, talk)
}
