//! Taking environments and projects out of the console.

use leptos::prelude::*;

use super::act;
use crate::app::flash::Flash;
use crate::app::once::Outcome;
use crate::app::present::at;
use crate::app::visit::Visit;
use crate::authz;
use crate::domain::Problem;
use crate::domain::activity::Weighty;
use crate::domain::bytes::counted;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::ops::removal::{self, LastSnapshot, RemovalRequest};
use crate::ops::removed;

/// Queues the removal of an environment whose name was typed, and leads to its activity.
#[server(prefix = "/actions", endpoint = "remove-environment")]
pub async fn remove_environment(
    project: ProjectId,
    environment: EnvironmentName,
    typed: String,
    even_live: Option<String>,
    last: Option<String>,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_environment::<authz::RemoveEnvironment>(&actor, &project, &environment).await?;
        let weighty = even_live.map_or(Weighty::Refused, |_| Weighty::Agreed);
        let last = last.map_or(LastSnapshot::Left, |_| LastSnapshot::Taken);
        let entry = removal::remove(&app, proof, RemovalRequest { typed: Some(typed), weighty, last }).await?;
        Ok(Outcome::at(at::activity(&project, &entry.activity.id)))
    })
    .await
}

/// Queues the removal of a project whose id was typed, and leads to its activity.
#[server(prefix = "/actions", endpoint = "remove-project")]
pub async fn remove_project(project: ProjectId, typed: String, form: String) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_project::<authz::RemoveProject>(&actor, &project).await?;
        let activity = removal::remove_project(&app, proof, Some(&typed)).await?;
        let location = activity.map_or_else(|| "/".to_owned(), |activity| at::activity(&project, &activity));
        Ok(Outcome::at(location))
    })
    .await
}

/// Deletes all snapshots of a removed project whose id was typed; for three days that can be taken back.
#[server(prefix = "/actions", endpoint = "purge-project")]
pub async fn purge_project(project: ProjectId, typed: String, form: String) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_project::<authz::PurgeProject>(&actor, &project).await?;
        let done = removed::purge(&app, proof, Some(&typed)).await?;
        let stay = match done.held.len() as u64 {
            0 => String::new(),
            held => format!(" Held, and so still there: {}, as the list says.", counted(held, "snapshot")),
        };
        let text = format!("Deleted: {}. For 3 days that can be taken back.{stay}", counted(done.deleted, "snapshot"));
        Ok(Outcome { location: at::removed(&project), flash: Some(Flash::Done { text }) })
    })
    .await
}

/// Puts back what was deleted of a removed project, as far as that can be taken back.
#[server(prefix = "/actions", endpoint = "unpurge-project")]
pub async fn unpurge_project(project: ProjectId, form: String) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_project::<authz::PurgeProject>(&actor, &project).await?;
        let number = removed::take_back(&app, proof).await?;
        let text = format!("Kept again: {}.", counted(number, "snapshot"));
        Ok(Outcome { location: at::removed(&project), flash: Some(Flash::Done { text }) })
    })
    .await
}
