//! What a person can do about notices.

use leptos::prelude::*;
use serde::{Deserialize, Serialize};

use super::act;
use crate::app::flash::Flash;
use crate::app::once::Outcome;
use crate::app::present::at;
use crate::app::visit::Visit;
use crate::authz::ManageNotices;
use crate::domain::Problem;
use crate::domain::ids::{ChannelId, ProjectId};
use crate::domain::notice::{Notice, Way};
use crate::ops::notices::{self, ChannelEdit, ChannelRequest, NewSecret};

/// What was ticked.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ticks {
    snapshot_failed: Option<String>,
    snapshot_missed: Option<String>,
    restore_failed: Option<String>,
    restored: Option<String>,
    drill_failed: Option<String>,
    drill_missed: Option<String>,
    ticket_changed: Option<String>,
    storage_near: Option<String>,
    snapshot_deleted: Option<String>,
}

impl Ticks {
    fn notices(self) -> Vec<Notice> {
        let is_ticked = |notice: &Notice| match notice {
            Notice::SnapshotFailed => self.snapshot_failed.is_some(),
            Notice::SnapshotMissed => self.snapshot_missed.is_some(),
            Notice::RestoreFailed => self.restore_failed.is_some(),
            Notice::Restored => self.restored.is_some(),
            Notice::DrillFailed => self.drill_failed.is_some(),
            Notice::DrillMissed => self.drill_missed.is_some(),
            Notice::TicketChanged => self.ticket_changed.is_some(),
            Notice::StorageNear => self.storage_near.is_some(),
            Notice::SnapshotDeleted => self.snapshot_deleted.is_some(),
            Notice::Trial => false,
        };
        Notice::ALL.into_iter().filter(is_ticked).collect()
    }
}

/// Adds an address; the secret of a webhook is shown once. `when`: nothing where nothing is ticked.
#[server(prefix = "/actions", endpoint = "add-channel")]
pub async fn add_channel(
    project: ProjectId,
    way: Way,
    address: String,
    when: Option<Ticks>,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_project::<ManageNotices>(&actor, &project).await?;
        let notices = when.map(Ticks::notices).unwrap_or_default();
        let made = notices::add(&app, &proof, ChannelRequest { way, address, notices }).await?;
        let flash = made.secret.map(|secret| Flash::Signing { secret: secret.reveal().to_owned() });
        Ok(Outcome { location: at::notices(&project), flash })
    })
    .await
}

/// Changes an address, what is told there, or what signs the posts; a new secret is shown once.
#[server(prefix = "/actions", endpoint = "edit-channel")]
pub async fn edit_channel(
    project: ProjectId,
    channel: ChannelId,
    address: String,
    when: Option<Ticks>,
    new_secret: Option<String>,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_project::<ManageNotices>(&actor, &project).await?;
        let notices = Some(when.map(Ticks::notices).unwrap_or_default());
        let edit = ChannelEdit { address: Some(address), notices, secret: new_secret.map(|_| NewSecret::Made) };
        let changed = notices::update(&app, &proof, &channel, edit).await?;
        let text = format!("Notices go to {} as is chosen there.", changed.channel.address);
        let flash = match changed.secret {
            Some(secret) => Flash::Signing { secret: secret.reveal().to_owned() },
            None => Flash::Done { text },
        };
        Ok(Outcome { location: at::notices(&project), flash: Some(flash) })
    })
    .await
}

#[server(prefix = "/actions", endpoint = "remove-channel")]
pub async fn remove_channel(project: ProjectId, channel: ChannelId, form: String) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_project::<ManageNotices>(&actor, &project).await?;
        notices::remove(&app, &proof, &channel).await?;
        Ok(Outcome::saying(at::notices(&project), "Nothing is sent there any more."))
    })
    .await
}

#[server(prefix = "/actions", endpoint = "try-channel")]
pub async fn try_channel(project: ProjectId, channel: ChannelId, form: String) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_project::<ManageNotices>(&actor, &project).await?;
        notices::try_out(&app, &proof, &channel).await?;
        let text = "A test message goes out within seconds. Load the page again to see below what became of it.";
        Ok(Outcome::saying(at::notices(&project), text))
    })
    .await
}
