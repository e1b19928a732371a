//! `activity:get`: one activity, with its duration in seconds.

use super::arguments::ActivityGet;
use super::error::Error;
use super::properties;
use super::session::Session;
use super::talk::Talk;
use crate::domain::time::Timestamp;

pub fn run(command: &ActivityGet, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let (project, id) = session.activity(&command.place, command.id.as_ref())?;
    let activity = session.ask(&project, |client| client.activity(&project, &id))?;
    let duration = activity.duration(Timestamp::now()).map(|span| span.as_secs());
    let mut value = serde_json::to_value(activity).map_err(std::io::Error::from)?;
    value["duration"] = duration.into();
    properties::show(value, &command.property, talk)
}
