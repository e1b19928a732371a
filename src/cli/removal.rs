//! `environment:delete` and `project:delete`: first what that does, then the question, then exactly that.

use clap::Args;

use super::confirm::{Stake, confirm};
use super::error::Error;
use super::flags::{AnswerFlags, EnvironmentChoice, PlaceFlags, WaitFlags};
use super::session::{Place, Session};
use super::talk::Talk;
use super::wait;
use crate::domain::bytes::counted;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::wire::client::RemovalWish;
use crate::wire::{ProjectRemoval, Removal};

#[derive(Debug, Args)]
pub struct EnvironmentDelete {
    /// Environment; that of -e when left out
    #[arg(value_name = "ENVIRONMENT")]
    pub positional: Option<EnvironmentChoice>,
    #[command(flatten)]
    pub place: PlaceFlags,
    /// Also when visitors use it, or it is the only production environment
    #[arg(long)]
    pub even_live: bool,
    /// Take a last snapshot before: assumed where data is deleted
    #[arg(long, conflicts_with = "no_snapshot")]
    pub snapshot: bool,
    /// Take no last snapshot
    #[arg(long)]
    pub no_snapshot: bool,
    #[command(flatten)]
    pub wait: WaitFlags,
}

#[derive(Debug, Args)]
pub struct ProjectDelete {
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
    #[command(flatten)]
    pub wait: WaitFlags,
}

pub fn environment(
    command: &EnvironmentDelete,
    answer: &AnswerFlags,
    session: &Session,
    talk: &mut Talk<'_>,
) -> Result<(), Error> {
    let place = session.place_of(command.positional.as_ref(), &command.place)?;
    let (project, environment) = (&place.project, &place.environment);
    let removal = session.ask(project, |client| client.removal(project, environment))?;
    let last = match (command.snapshot, command.no_snapshot) {
        (false, false) => removal.last_backup,
        (wanted, _) => wanted,
    };
    tell(&removal, last, talk);
    if let (Some(why), false) = (&removal.weight, command.even_live) {
        let hint = Some("If it is to go all the same, add --even-live.".to_owned());
        return Err(Error::Declined { message: why.clone(), hint });
    }
    confirm(&format!("Remove the environment {environment} of {project}?"), Stake::Destructive, answer, talk)?;
    let wait = wait::is_wanted(command.wait, session, talk);
    let wish = RemovalWish { even_live: command.even_live, backup: Some(last) };
    let activity = session.ask(project, |client| client.delete_environment(project, environment, wish))?;
    talk.say(&format!("Removing the environment {environment}"));
    if !wait {
        wait::goes_on(&activity, &place, talk);
        return Ok(());
    }
    wait::until_over(activity, &place, session, talk)?;
    talk.say(&format!(
        "The environment {environment} is removed. Its snapshots: `{} snapshots {}`.",
        talk.program,
        place.flags()
    ));
    Ok(())
}

fn tell(removal: &Removal, last: bool, talk: &mut Talk<'_>) {
    let name = &removal.environment;
    talk.say(&format!("{name} is taken out of the lists; its schedules end."));
    if !removal.hosts.is_empty() {
        talk.say(&format!("  No longer served: {}", removal.hosts.join(", ")));
    }
    for what in &removal.deleted {
        talk.say(&format!("  Deleted: {what}"));
    }
    if !removal.stays.is_empty() {
        talk.say(&format!("  Stays where it is, untouched: {}", removal.stays.join(", ")));
    }
    if removal.cancelled_count > 0 {
        talk.say(&format!("  Cancelled: {} that did not begin", counted(removal.cancelled_count, "activity")));
    }
    match last {
        true => talk.say("  A last snapshot is taken before; without it nothing is removed."),
        false => talk.say("  No last snapshot is taken."),
    }
    let kept = counted(removal.backup_count + u64::from(last), "snapshot");
    talk.say(&format!("  Kept as long as the plan says, to be restored elsewhere: {kept}"));
}

pub fn project(
    command: &ProjectDelete,
    answer: &AnswerFlags,
    session: &Session,
    talk: &mut Talk<'_>,
) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    let removal = session.ask(&project, |client| client.project_removal(&project))?;
    tell_project(&removal, talk);
    confirm(&format!("Remove the project {project}?"), Stake::Destructive, answer, talk)?;
    let wait = wait::is_wanted(command.wait, session, talk);
    let activity = session.ask(&project, |client| client.delete_project(&project))?;
    let (Some(id), Some(environment)) = (activity, removal.environments.first()) else {
        talk.say(&format!("The project {project} is removed."));
        return Ok(());
    };
    let place = Place { project: project.clone(), environment: environment.clone() };
    let activity = session.ask(&project, |client| client.activity(&project, &id))?;
    talk.say(&format!("Removing the project {project}"));
    if !wait {
        wait::goes_on(&activity, &place, talk);
        return Ok(());
    }
    wait::until_over(activity, &place, session, talk)?;
    talk.say(&format!("The project {project} is removed."));
    Ok(())
}

fn tell_project(removal: &ProjectRemoval, talk: &mut Talk<'_>) {
    let names: Vec<&str> = removal.environments.iter().map(EnvironmentName::as_str).collect();
    talk.say(&format!("The project {} and all its environments are taken out of the console.", removal.project));
    if !names.is_empty() {
        talk.say(&format!("  Environments: {}", names.join(", ")));
    }
    for what in &removal.deleted {
        talk.say(&format!("  Deleted: {what}"));
    }
    talk.say("  All other services and files stay where they are. Only operators still see its history.");
    let kept = counted(removal.backup_count, "snapshot");
    talk.say(&format!("  Kept in its repository as long as the plan says: {kept}"));
}
