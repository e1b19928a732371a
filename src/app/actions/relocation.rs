//! Moving a project to another region.

use leptos::prelude::*;

use super::act;
use crate::app::once::Outcome;
use crate::app::present::at;
use crate::app::visit::Visit;
use crate::authz;
use crate::domain::Problem;
use crate::domain::ids::{ProjectId, RegionId};
use crate::ops::relocation;

/// Queues the move that was shown, and leads to its activity.
#[server(prefix = "/actions", endpoint = "move-project")]
pub async fn move_project(project: ProjectId, to: RegionId, form: String) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_project::<authz::MoveProject>(&actor, &project).await?;
        let entry = relocation::begin(&app, proof, &to).await?;
        Ok(Outcome::at(at::activity(&project, &entry.activity.id)))
    })
    .await
}
