//! `/projects/:p/activities/:id`: one activity, its progress and its log.

use leptos::prelude::*;

use crate::app::model::Cancel;
use crate::app::page::{heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{self, date};
use crate::app::{once, visit};
use crate::authz::ViewHistory;
use crate::domain::activity::ActivityKind;
use crate::domain::ids::{ActivityId, ProjectId};
use crate::domain::view::ActivityPage;
use crate::ops;

#[component]
pub fn Activity() -> impl IntoView {
    load(
        |visit| async move {
            let (project, activity): (ProjectId, ActivityId) = (visit::param("project")?, visit::param("activity")?);
            let proof = visit.app.authorize_activity::<ViewHistory>(&visit.actor, &project, &activity).await?;
            ops::activities::page(&visit.app, &proof, &activity).await
        },
        show,
    )
}

fn show(page: ActivityPage) -> AnyView {
    let progress = present::progress(&page);
    let last = page.log.last().map_or(0, |line| line.seq);
    let lines = page.log.iter().map(present::line).collect();
    let ActivityPage { project, entry, .. } = page;
    let activity = entry.activity;
    let here = at::activity(&project.id, &activity.id);
    let way = vec![
        ("/".to_owned(), "Projects".to_owned()),
        (at::project(&project.id), project.title.clone()),
        (at::environment(&project.id, &entry.environment), entry.environment.to_string()),
    ];
    let cancel =
        Cancel { project: project.id.to_string(), activity: activity.id.to_string(), form: once::form_number() };
    let is_over = progress.entry.stage.is_over();
    let title = match activity.kind {
        ActivityKind::Backup => format!("Snapshot of {}", entry.environment),
        ActivityKind::Restore => format!("Restore of {}", entry.environment),
        ActivityKind::BackupDelete => format!("Deletion of a snapshot of {}", entry.environment),
        ActivityKind::Branch => match &entry.branch {
            Some(new) => format!("New environment {new}"),
            None => format!("New environment of {}", entry.environment),
        },
        ActivityKind::Dump => format!("Download from {}", entry.environment),
        ActivityKind::Drill => format!("Trying a restore of {}", entry.environment),
        ActivityKind::Schedule => format!("Schedule of {}", entry.environment),
        ActivityKind::Ticket(_) => "A step of a restore ticket".to_owned(),
        ActivityKind::BackupKeep => format!("Keeping of a snapshot of {}", entry.environment),
        ActivityKind::Retention => format!("Retention of {}", entry.environment),
        ActivityKind::Merge => format!("Merge into {}", entry.environment),
        ActivityKind::Storage => format!("Storage of {}", entry.environment),
        ActivityKind::Plan => "Change of plan".to_owned(),
        ActivityKind::Remove => format!("Removal of {}", entry.environment),
        ActivityKind::Move => "Move to another region".to_owned(),
        ActivityKind::RemoveProject => "Removal of the project".to_owned(),
    };
    let who = format!("asked for by {} through {}", activity.initiator.name, authority(&activity.initiator.authority));
    let end = views::end(&progress.entry);
    view! {
        <div class="head">
            {heading(title, way)}
            <p class="facts">
                <span id="end" class="live-part">{end}</span>
                <span>{who}</span>
                {date(present::moment(activity.created_at))}
            </p>
        </div>
        {problem("cancel")}
        {views::activity((!is_over).then(|| (format!("{here}/events"), last)), progress, lines, cancel)}
    }
    .into_any()
}

/// `session`, `token:<name>`, `ticket:<id>`, `system`: as people say it.
fn authority(authority: &str) -> String {
    match authority.split_once(':') {
        Some(("token", name)) => format!("the API token “{name}”"),
        Some(("ticket", id)) => format!("the ticket {id}"),
        _ if authority == "session" => "the console".to_owned(),
        _ => "Stillpoint itself".to_owned(),
    }
}
