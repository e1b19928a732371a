//! Taking environments and projects out of the console.

use leptos::prelude::*;

use super::act;
use crate::app::once::Outcome;
use crate::app::present::at;
use crate::app::visit::Visit;
use crate::authz;
use crate::domain::Problem;
use crate::domain::activity::Weighty;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::ops::removal::{self, LastSnapshot, RemovalRequest};

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
