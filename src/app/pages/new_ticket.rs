//! `…/snapshots/:name/ticket`: asking support staff for a restore, with everything filled in (R27). The restore page leads
//! here.

use leptos::prelude::*;

use super::restore::{chosen, hindered, list, overwritten, sentence_start};
use crate::app::flash::Flash;
use crate::app::page::{form_number, heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{Must, date, icon, text_area};
use crate::app::visit;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::domain::policy::Refusal;
use crate::domain::problem::sentence;
use crate::domain::view::Preflight;
use crate::domain::{PartName, SnapshotName};
use crate::ops::restores::{Way, Wish};
use crate::ops::{self, Error};

#[component]
pub fn NewTicket() -> impl IntoView {
    load(
        |visit| async move {
            let (project, environment): (ProjectId, EnvironmentName) =
                (visit::param("project")?, visit::param("environment")?);
            let name: SnapshotName = visit::param("snapshot")?;
            let (into, parent) = (visit::query("into"), visit::query("branch_from").filter(|text| !text.is_empty()));
            let wish = Wish { target: into.as_deref(), branch_from: parent.as_deref() };
            let way = Way::authorize(&visit.app, &visit.actor, &project, &environment, wish).await?;
            let parts: Result<Vec<PartName>, _> = visit::queries("part").iter().map(|part| part.parse()).collect();
            let parts = parts.map_err(|error| Error::invalid(sentence(&error.to_string())))?;
            let preflight = ops::restores::preflight(&visit.app, &way, &name, &parts.into_iter().collect()).await?;
            match preflight.ticket {
                Some(_) => Ok(preflight),
                None => Err(Error::Conflict(
                    Refusal::new("No ticket is worked on for this restore.")
                        .instead("The snapshot’s restore page says what is possible."),
                )),
            }
        },
        show,
    )
}

fn show(preflight: Preflight) -> AnyView {
    let parts = chosen(&preflight);
    let Preflight { project, environment, source, branch_from, snapshot, changes, untouched, .. } = preflight;
    let back = at::restore(&project.id, &source, &snapshot.name);
    let way = vec![
        ("/".to_owned(), "Projects".to_owned()),
        (at::project(&project.id), project.title.clone()),
        (at::environment(&project.id, &source), source.to_string()),
        (at::snapshot(&project.id, &source, &snapshot.name), "Snapshot".to_owned()),
        (back.clone(), "Restore".to_owned()),
    ];
    let is_new = branch_from.is_some();
    let new = if is_new { "the new environment " } else { "" };
    let closed = !preflight.obstacles.is_empty();
    let untouched = untouched.iter().map(|part| sentence_start(&part.in_words())).collect();
    let next = vec![
        "Support staff sees the ticket at once, claims it, and restores exactly this: neither snapshot, target nor parts can \
         be changed afterwards."
            .to_owned(),
        "Your role is asked again when it is restored.".to_owned(),
        "The snapshot is kept until the ticket is over, however old it gets.".to_owned(),
        "You can comment and withdraw; each step stands in the activity feed.".to_owned(),
    ];
    view! {
        <div class="narrow">
            <div class="head">
                {heading(format!("File a ticket: {source} into {new}{}", environment.name), way)}
                <p class="lead">
                    {format!("{} is to get what {source} held on ", environment.name)}
                    {date(present::moment(snapshot.taken_at))}", as kept in snapshot "
                    <span class="name">{snapshot.name.to_string()}</span>"."
                </p>
            </div>
            {problem("file-ticket")}
            {hindered(preflight.obstacles)}
            {overwritten(changes, is_new, &Default::default())}
            {list("untouched", "What stays as it is", "check", untouched)}
            {list("next", "What happens then", "clock", next)}
            <form method="post" action="/actions/file-ticket" class="panel form">
                {form_number()}
                <input type="hidden" name="project" value=project.id.to_string()/>
                <input type="hidden" name="environment" value=source.to_string()/>
                <input type="hidden" name="snapshot" value=snapshot.name.to_string()/>
                <input type="hidden" name="plan[into]" value=environment.name.to_string()/>
                <input type="hidden" name="plan[branch_from]" value=branch_from.map(|parent| parent.to_string())/>
                <input type="hidden" name="plan[parts]" value=parts/>
                <input type="hidden" name="plan[hash]" value=preflight.hash/>
                <div class="field">
                    <label for="reason">"Why"</label>
                    {text_area("reason", 4, Flash::kept("file-ticket", "reason"), Must::BeFilled)}
                    <p class="help" id="reason-hint">"What it is for, and until when you need it. Support staff reads it first."</p>
                </div>
                <div class="buttons">
                    <button class="button button-main" disabled=closed aria-describedby=closed.then_some("obstacles")>
                        {icon("ticket")}<span>"File the ticket"</span>
                    </button>
                    <a class="button" href=back>"Back"</a>
                </div>
            </form>
        </div>
    }
    .into_any()
}
