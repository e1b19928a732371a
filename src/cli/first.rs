//! The snapshot that comes before a change (R10): offered with yes as the answer, taken without asking where nobody can be
//! asked.

use super::confirm::{Stake, confirm};
use super::error::Error;
use super::flags::{AnswerFlags, FirstFlags};
use super::session::{Place, Session};
use super::talk::Talk;
use super::wait;
use crate::domain::ids::{EnvironmentName, SnapshotName};
use crate::wire::Activity;
use crate::wire::backup::Names;
use crate::wire::merge::Advised;

/// What can't be taken and was insisted on, the server refuses.
pub fn wanted(
    flags: FirstFlags,
    advised: &Advised,
    environment: &EnvironmentName,
    answer: &AnswerFlags,
    talk: &mut Talk<'_>,
) -> Result<Wanted, Error> {
    let Some(wanted) = flags.wish() else { return offered(advised, environment, answer, talk) };
    let evict = if wanted { evicted(advised, answer, talk)? } else { None };
    Ok((Some(wanted), evict))
}

/// Whether one is taken (`None`: as the server advises), and what goes for it.
type Wanted = (Option<bool>, Option<Names>);

fn offered(
    advised: &Advised,
    environment: &EnvironmentName,
    answer: &AnswerFlags,
    talk: &mut Talk<'_>,
) -> Result<Wanted, Error> {
    if let Some(refusal) = &advised.refusal {
        if advised.advised {
            talk.say(&format!("No snapshot of {environment} can be taken first. {refusal}"));
        }
        return Ok((None, None));
    }
    if !advised.advised {
        return Ok((None, None));
    }
    if !is_agreed(environment, answer, talk)? {
        return Ok((Some(false), None));
    }
    Ok((Some(true), evicted(advised, answer, talk)?))
}

/// `--yes` takes what is advised, as does a command that nobody attends to.
fn is_agreed(environment: &EnvironmentName, answer: &AnswerFlags, talk: &mut Talk<'_>) -> Result<bool, Error> {
    let question = format!("Take a snapshot of {environment} first?");
    match confirm(&question, Stake::Harmless, answer, talk) {
        Ok(()) => Ok(true),
        Err(Error::Declined { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What the plan has no room for beside another one: said, and agreed to.
fn evicted(advised: &Advised, answer: &AnswerFlags, talk: &mut Talk<'_>) -> Result<Option<Names>, Error> {
    if advised.evicts.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = advised.evicts.iter().map(SnapshotName::as_str).collect();
    talk.say(&format!("The plan has no room for another one: {} goes when it is complete.", names.join(", ")));
    confirm("Let it go? For 3 days it can be taken back.", Stake::Destructive, answer, talk)?;
    Ok(Some(Names::Several(advised.evicts.clone())))
}

/// Shows how the snapshot comes along that the activity waits for; what becomes of it, that activity tells.
pub fn until_there(activity: &Activity, place: &Place, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let Some(first) = &activity.payload.after else { return Ok(()) };
    talk.say(&format!("Creating a snapshot of the environment {} first", place.environment));
    let snapshot = session.ask(&place.project, |client| client.activity(&place.project, first))?;
    match wait::until_over(snapshot, place, session, talk) {
        Ok(_) | Err(Error::ActivityFailed(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The answer, where there is one: the snapshot to go back to.
pub fn name(activity: &Activity, talk: &mut Talk<'_>) -> Result<(), Error> {
    match &activity.payload.backup_name {
        Some(name) => talk.answer(&format!("Backup name: {name}")),
        None => Ok(()),
    }
}
