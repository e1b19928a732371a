//! `storage:list`, `storage:set`: what is declared for services and mounts, and changing it after a snapshot (R10).

use serde_json::Value;

use super::arguments::{StorageList, StorageSet};
use super::confirm::{Stake, confirm};
use super::error::Error;
use super::first;
use super::flags::AnswerFlags;
use super::session::Session;
use super::table::{self, Column, Format};
use super::talk::Talk;
use super::wait;
use crate::domain::Bytes;
use crate::wire::StorageRequest;
use crate::wire::storage::{Size, StoragePart};

pub fn list(command: &StorageList, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let (project, environment) = (&place.project, &place.environment);
    let storage = session.ask(project, |client| client.storage(project, environment))?;
    if !storage.parts.is_empty() || command.list.format == Format::Json {
        table::write(&storage.parts, COLUMNS, &["part", "type", "declared", "used"], &command.list, talk)?;
    }
    match storage.parts.is_empty() {
        true => Err(Error::Empty(format!("The environment {environment} has neither services nor mounts"))),
        false => Ok(()),
    }
}

pub fn set(command: &StorageSet, answer: &AnswerFlags, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let (project, environment) = (&place.project, &place.environment);
    let storage = session.ask(project, |client| client.storage(project, environment))?;
    if let Some(refusal) = storage.refusal {
        return Err(Error::Refused { message: refusal.reason, hint: refusal.instead });
    }
    for sentence in &storage.expectations {
        talk.say(sentence);
    }
    let (part, size) = (&command.part, command.size);
    let question = format!("Declare {size} for the {} of {environment}?", part.in_words());
    confirm(&question, Stake::Harmless, answer, talk)?;
    let (snapshot, evict) = first::wanted(command.first, &storage.snapshot, environment, answer, talk)?;
    let wait = wait::is_wanted(command.wait, session, talk);
    let (part, size) = (Some(part.clone()), Some(Size::Bytes(size.0)));
    let request = StorageRequest { part, size, snapshot, evict };
    let activity = session.ask(project, |client| client.change_storage(project, environment, &request))?;
    if !wait {
        wait::goes_on(&activity, &place, talk);
        return first::name(&activity, talk);
    }
    first::until_there(&activity, &place, session, talk)?;
    let activity = wait::until_over(activity, &place, session, talk)?;
    talk.say("The storage is declared.");
    first::name(&activity, talk)
}

const COLUMNS: &[Column<StoragePart>] = &[
    Column { key: "part", header: "Part", value: |it, _| it.part.to_string().into() },
    Column { key: "type", header: "Type", value: |it, _| it.kind.clone().into() },
    Column { key: "declared", header: "Declared", value: |it, _| size(it.declared, "-") },
    Column { key: "used", header: "Used", value: |it, _| size(it.used, "?") },
];

fn size(size: Option<Bytes>, none: &str) -> Value {
    size.map_or(none.to_owned(), |size| size.to_string()).into()
}
