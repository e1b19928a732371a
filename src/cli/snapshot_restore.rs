//! `snapshot:restore`: shows what a restore would overwrite, asks, and restores exactly that (R25, R33).

use super::arguments::SnapshotRestore;
use super::confirm::{Stake, confirm};
use super::error::Error;
use super::flags::AnswerFlags;
use super::session::{Place, Session};
use super::talk::Talk;
use super::wait;
use crate::wire::{Activity, Preflight, RestoreRequest};

pub fn run(
    command: &SnapshotRestore,
    answer: &AnswerFlags,
    session: &Session,
    talk: &mut Talk<'_>,
) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let name = session.snapshot(&place, command.id.as_ref())?;
    let mut request = RestoreRequest {
        environment_name: command.target.clone(),
        branch_from: command.branch_from.clone(),
        plan_hash: None,
        parts: Some(command.only.clone()).filter(|parts| !parts.is_empty()),
    };
    let (project, environment) = (&place.project, &place.environment);
    let plan = session.ask(project, |client| client.preflight(project, environment, &name, &request))?;
    show(&plan, talk);
    possible(&plan)?;
    let (question, stake) = match &plan.branch_from {
        Some(_) => (format!("Make the environment {} from {name} now?", plan.environment), Stake::Harmless),
        None if plan.source == plan.environment => {
            (format!("Restore {name} into {environment} now?"), Stake::Destructive)
        }
        None => {
            let into = &plan.environment;
            (format!("Restore {name} of {environment} into {into}, and overwrite what is there?"), Stake::Destructive)
        }
    };
    request.plan_hash = Some(plan.plan_hash);
    // A name that was made up must be the one that was shown.
    request.environment_name = Some(plan.environment.to_string());
    confirm(&question, stake, answer, talk)?;
    let wait = wait::is_wanted(command.wait, session, talk);
    let activity =
        session.ask(&place.project, |client| client.restore(&place.project, &place.environment, &name, &request))?;
    match &plan.branch_from {
        Some(_) => talk.say(&format!("Making the environment {} from the snapshot {name}", plan.environment)),
        None => talk.say(&format!("Restoring the snapshot {name}")),
    }
    if !wait {
        wait::goes_on(&activity, &place, talk);
        return Ok(());
    }
    let activity = wait::until_over(activity, &place, session, talk)?;
    if plan.branch_from.is_some() {
        talk.say(&format!("The environment {} is there and holds the snapshot's data.", plan.environment));
        return Ok(());
    }
    talk.say("The snapshot is restored.");
    let overwritten = Place { environment: plan.environment, ..place };
    undo(&activity, &overwritten, talk);
    Ok(())
}

pub(super) fn show(plan: &Preflight, talk: &mut Talk<'_>) {
    let taken = plan.taken_at.table();
    let of = if plan.source == plan.environment { String::new() } else { format!(" of {}", plan.source) };
    let into = match &plan.branch_from {
        Some(parent) => format!("the new environment {} (as {parent} is)", plan.environment),
        None => plan.environment.to_string(),
    };
    talk.say(&format!("Restoring {}{of} into {into}: the state of {taken} UTC", plan.backup));
    for change in &plan.changes {
        talk.say(&format!("  {} ({}): {}", change.part.name, change.part.kind, change.becomes));
        if plan.branch_from.is_none() {
            talk.say(&format!("    replaces {}", change.replaces));
        }
    }
    if !plan.untouched.is_empty() {
        talk.say(&format!("  stays as it is: {}", plan.untouched.join(", ")));
    }
    for versions in &plan.versions {
        talk.say(&format!("  {}", versions.in_words()));
    }
    for sentence in &plan.warnings {
        talk.say(&format!("  WARNING: {sentence}"));
    }
    for sentence in &plan.expectations {
        talk.say(&format!("  {sentence}"));
    }
}

/// All that stands in the way; the refusal, where there is one, repeats the first of it.
fn possible(plan: &Preflight) -> Result<(), Error> {
    if !plan.obstacles.is_empty() {
        return Err(Error::Refused { message: plan.obstacles.join(" "), hint: None });
    }
    match &plan.refusal {
        Some(refusal) => Err(Error::Refused { message: refusal.reason.clone(), hint: refusal.instead.clone() }),
        None => Ok(()),
    }
}

fn undo(activity: &Activity, place: &Place, talk: &mut Talk<'_>) {
    let Some(safety) = &activity.payload.safety_backup_name else { return };
    let (program, flags) = (talk.program.clone(), place.flags());
    talk.say(&format!(
        "What was there before is kept as {safety}; to go back: {program} snapshot:restore {flags} {safety}"
    ));
}
