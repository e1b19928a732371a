//! Merging an environment into its parent by the command that an operator named, or announcing it (R10).
//!
//! 1. The snapshot that was to come first is complete.         Nothing to undo.
//! 2. Ask again whether the initiator may, on both (R1).       Nothing to undo.
//! 3. Run the command, what it says into the log.              What it did is its own affair; the next try runs it again.
//! 4. End the activity.                                        Until then it is not merged.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;

use super::snapshot::{may_still, subject};
use super::{ATTEMPTS, Context, Error, crash_point, first, hooks, recovery};
use crate::domain::activity::{MergeEnvironment, MergeHow};
use crate::domain::environment::{CommandLine, Environment, EnvironmentStatus, ProjectCommands};
use crate::domain::policy::{Act, Refusal};
use crate::domain::time::span;
use crate::drivers::{self, command};
use crate::queue::{Lease, Work};
use crate::store::work::End;
use crate::store::{environments, projects};

/// Of what a command says, so many lines are kept.
const LINES: usize = 1_000;

pub(super) async fn run(context: &Context, work: &Work, merge: MergeEnvironment) -> Result<(), Error> {
    if work.attempt > ATTEMPTS {
        return Err(Error::TooManyAttempts(ATTEMPTS));
    }
    let lease = &work.lease;
    let (project, environment) = subject(context, &work.activity).await?;
    first::settled(context, lease, &merge.first).await?;
    let source = environments::by_id(&mut *context.store().read().await?, &merge.from.id).await?;
    let source = source.ok_or_else(|| Refusal::new(format!("{} does not exist any more.", merge.from.name)))?;
    for it in [&environment, &source] {
        may_still(context, &work.activity, &project, it, Act::MergeEnvironment).await?;
        is_active(it)?;
    }
    recovery::take_back_others(context, &environment.id).await?;
    hooks::resume_left(context, &environment.id).await?;
    match merge.how {
        MergeHow::Announcement => {
            let (from, into) = (&source.name, &environment.name);
            lease.log(&format!("Announced: {from} is merged into {into} by whoever asked")).await?;
        }
        MergeHow::Command => {
            let commands = projects::commands(&mut *context.store().read().await?, &project.id).await?;
            let gone = || {
                Refusal::new("The project has no command for merging any more.")
                    .instead("Ask the operator for one, or announce the merge.")
            };
            let line = commands.merge.clone().ok_or_else(gone)?;
            let origin = hooks::Origin { source: Some(&source.name) };
            let told = hooks::told(&environment, "merge", &work.activity.id, merge.first.snapshot(), origin);
            let words = ["merge".to_owned(), source.name.to_string(), environment.name.to_string()];
            run_command(lease, (line, &commands), words.to_vec(), told)
                .await
                .map_err(Error::command("merge", lease))?;
            crash_point("merge: ran");
        }
    }
    let mut tx = context.store().write().await?;
    lease.finish(&mut tx, &End::Success).await?;
    Ok(context.store().commit(tx).await?)
}

fn is_active(environment: &Environment) -> Result<(), Refusal> {
    match environment.status {
        EnvironmentStatus::Active => Ok(()),
        EnvironmentStatus::Inactive => {
            Err(Refusal::new(format!("The environment {} is not active.", environment.name)))
        }
        EnvironmentStatus::Removed => Err(Refusal::new(format!("The environment {} was removed.", environment.name))),
    }
}

/// Runs it with these words behind its own; what it says on either output goes into the log, line by line, as it comes.
pub(super) async fn run_command(
    lease: &Lease,
    (line, commands): (CommandLine, &ProjectCommands),
    words: Vec<String>,
    input: Arc<Vec<u8>>,
) -> Result<(), drivers::Error> {
    let within = commands.within();
    let begun = Instant::now();
    let telling = lease.clone();
    let runtime = Handle::current();
    let running = move || {
        let mut lines = 0;
        let mut tell = |said: &str| {
            lines += 1;
            let said = match lines {
                0..=LINES => said,
                more if more == LINES + 1 => "The rest of what it says is not kept",
                _ => return,
            };
            // What is done does not fail because it could not be told.
            if let Err(error) = runtime.block_on(telling.log(said)) {
                tracing::warn!(activity.id = %telling.activity(), %error, "a line could not be logged");
            }
        };
        let cancelled = || telling.is_cancelled();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let occasion = command::Occasion { words: &words, input: &input, within, cancelled: &cancelled };
        command::tell(&line, occasion, &mut tell)
    };
    tokio::task::spawn_blocking(running).await.expect("a command's run does not panic")?;
    let took = span(begun.elapsed());
    if let Err(error) = lease.log(&format!("The command succeeded (exit status: 0) after {took}")).await {
        tracing::warn!(activity.id = %lease.activity(), %error, "a line could not be logged");
    }
    Ok(())
}
