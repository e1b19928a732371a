//! `snapshot:create`: takes a snapshot, waits for it, and prints its name.

use super::arguments::SnapshotCreate;
use super::confirm::{Stake, confirm};
use super::error::Error;
use super::flags::AnswerFlags;
use super::session::{Place, Session};
use super::talk::Talk;
use super::wait;
use crate::domain::ids::SnapshotName;
use crate::wire::backup::Names;
use crate::wire::{Activity, BackupRequest};

pub fn run(
    command: &SnapshotCreate,
    answer: &AnswerFlags,
    session: &Session,
    talk: &mut Talk<'_>,
) -> Result<(), Error> {
    let place = session.place_of(command.positional.as_ref(), &command.place)?;
    let (project, environment) = (&place.project, &place.environment);
    let how = if command.live { "without holding requests" } else { "requests are held for a moment" };
    let question = format!("Create a snapshot of {environment} in {project} ({how})?");
    confirm(&question, Stake::Harmless, answer, talk)?;

    let wait = wait::is_wanted(command.wait, session, talk);
    let evict = evictions(&place, answer, session, talk)?;
    let request = BackupRequest { safe: Some(!command.live), note: command.note.clone(), evict };
    let activity = session.ask(project, |client| client.take_backup(project, environment, &request))?;
    talk.say(&format!("Creating a snapshot of the environment {environment}"));
    let name = name(&activity);
    if wait {
        wait::until_over(activity, &place, session, talk)?;
        talk.say("The snapshot is complete.");
    } else {
        wait::goes_on(&activity, &place, talk);
    }
    talk.answer(&format!("Backup name: {name}"))
}

/// What the plan has no room for beside another one: said and agreed to before anything is asked for.
pub(super) fn evictions(
    place: &Place,
    answer: &AnswerFlags,
    session: &Session,
    talk: &mut Talk<'_>,
) -> Result<Option<Names>, Error> {
    let Place { project, environment } = place;
    let evicted = session.ask(project, |client| client.environment(project, environment))?.evicts;
    if evicted.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = evicted.iter().map(SnapshotName::as_str).collect();
    talk.say(&format!("The plan has no room for another one: {} goes when it is complete.", names.join(", ")));
    confirm("Let it go? For 3 days it can be taken back.", Stake::Destructive, answer, talk)?;
    Ok(Some(Names::Several(evicted)))
}

fn name(activity: &Activity) -> String {
    activity.payload.backup_name.as_ref().map(ToString::to_string).unwrap_or_default()
}
