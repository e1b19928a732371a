//! Changing how much storage is declared for a service or mount (R10).
//!
//! 1. The snapshot that was to come first is complete.         Nothing to undo.
//! 2. Ask again whether the initiator may (R1), and it fits.   Nothing to undo.
//! 3. Run the operator's command, if there is one.             What it did is its own affair; the next try runs it again.
//! 4. Declare the size and end the activity, in one            Until then the declared size is the old one.
//!    transaction.

use serde::Serialize;

use super::snapshot::{may_still, subject};
use super::{ATTEMPTS, Context, Error, Parts, crash_point, first, hooks, merge, recovery};
use crate::domain::activity::ChangeStorage;
use crate::domain::environment::{Composition, Environment};
use crate::domain::policy::{Act, Refusal, storage};
use crate::domain::{Bytes, PartName, Scope};
use crate::drivers::mount::Rules;
use crate::queue::Work;
use crate::store::work::End;
use crate::store::{environments, projects};

/// What the command learns beside its occasion.
#[derive(Debug, Serialize)]
struct Change<'a> {
    part: &'a PartName,
    /// Bytes.
    declared: Option<Bytes>,
    size: Bytes,
}

pub(super) async fn run(context: &Context, work: &Work, change: ChangeStorage) -> Result<(), Error> {
    if work.attempt > ATTEMPTS {
        return Err(Error::TooManyAttempts(ATTEMPTS));
    }
    let lease = &work.lease;
    let (project, environment) = subject(context, &work.activity).await?;
    first::settled(context, lease, &change.first).await?;
    may_still(context, &work.activity, &project, &environment, Act::ChangeStorage).await?;
    recovery::take_back_others(context, &environment.id).await?;
    hooks::resume_left(context, &environment.id).await?;
    let store = context.store();
    let composition = environments::composition(&mut *store.read().await?, store.sealer(), &environment.id).await?;
    has(&composition, &change.part)?;
    let declared = composition.storage.get(&change.part).copied();
    let used = used(&composition, &change.part, &context.rules(&environment.id).await?).await;
    storage::may_declare(&change.part, declared, change.to, used)?;
    let commands = projects::commands(&mut *store.read().await?, &project.id).await?;
    if let Some(line) = commands.resize.clone() {
        let more = Change { part: &change.part, declared, size: change.to };
        let told = hooks::told(&environment, "resize", &work.activity.id, change.first.snapshot(), more);
        let part = change.part.to_string().replace(':', " ");
        let words = ["resize", environment.name.as_str()].into_iter().chain(part.split(' ')).map(str::to_owned);
        let words = words.chain([change.to.0.to_string()]).collect();
        merge::run_command(lease, (line, &commands), words, told).await.map_err(Error::command("resize", lease))?;
        crash_point("storage: ran");
    }
    let mut tx = store.write().await?;
    let now = lease.finish(&mut tx, &End::Success).await?;
    let gone = || Refusal::new("The environment does not exist any more.");
    let environment = environments::by_id(&mut tx, &environment.id).await?.ok_or_else(gone)?;
    let mut composition = environments::composition(&mut tx, store.sealer(), &environment.id).await?;
    has(&composition, &change.part)?;
    composition.storage.insert(change.part, change.to);
    environments::put(&mut tx, store.sealer(), &Environment { updated_at: now, ..environment }, &composition).await?;
    Ok(store.commit(tx).await?)
}

fn has(composition: &Composition, part: &PartName) -> Result<(), Refusal> {
    match composition.has(part) {
        true => Ok(()),
        false => Err(Refusal::new(format!("The environment has no {} any more.", part.in_words()))),
    }
}

/// How much a part uses now; `None`: it can't be measured.
pub async fn used(composition: &Composition, part: &PartName, rules: &Rules) -> Option<Bytes> {
    let (composition, rules, scope) = (composition.clone(), rules.clone(), Scope::from_iter([part.clone()]));
    let measuring = tokio::task::spawn_blocking(move || {
        let parts = Parts::chosen(&composition, &scope)?;
        let mut used = parts.test(&rules)?.services;
        for mount in &parts.mounts {
            used = used + mount.driver.index().map_err(Error::part(mount.label()))?.contents().bytes;
        }
        Ok::<_, Error>(used)
    });
    match measuring.await {
        Ok(Ok(used)) => Some(used),
        Ok(Err(error)) => {
            tracing::warn!(part = %part, error = %error.for_people(), "a part's size can't be measured");
            None
        }
        Err(_) => None,
    }
}
