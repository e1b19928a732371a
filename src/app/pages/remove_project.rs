//! `/projects/:p/remove`: what goes, what stays, and what is kept, before it is asked for.

use leptos::prelude::*;

use super::removing::by_name;
use crate::app::page::{form_number, heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::icon;
use crate::app::visit;
use crate::authz::ViewProject;
use crate::domain::bytes::counted;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::domain::view::ProjectRemovalPage;
use crate::ops;

#[component]
pub fn RemoveProject() -> impl IntoView {
    load(
        |visit| async move {
            let project: ProjectId = visit::param("project")?;
            let proof = visit.app.authorize_project::<ViewProject>(&visit.actor, &project).await?;
            ops::removal::project_page(&visit.app, &proof).await
        },
        show,
    )
}

fn show(page: ProjectRemovalPage) -> AnyView {
    let ProjectRemovalPage { project, offer, environments, deleted, snapshots } = page;
    let refusal = present::refusal(&offer);
    let id = project.id.to_string();
    let back = at::project(&project.id);
    let way = vec![("/".to_owned(), "Projects".to_owned()), (back.clone(), project.title.clone())];
    let names: Vec<&str> = environments.iter().map(EnvironmentName::as_str).collect();
    let lines = [
        (!names.is_empty()).then(|| ("branch", format!("All its environments are removed: {}.", names.join(", ")))),
        Some(("folder", "Services and files that were declared stay where they are, untouched.".to_owned())),
        Some((
            "snapshot",
            format!("{}: kept in its repository as long as the plan says.", counted(snapshots, "snapshot")),
        )),
        Some(("key", "Members see it no more. Operators still see its history and its audit.".to_owned())),
    ];
    let lines = lines.into_iter().flatten();
    let goes = deleted.into_iter().map(|what| ("trash", format!("Deleted: {what}.")));
    let lines = goes.chain(lines).map(|(glyph, text)| view! { <li>{icon(glyph)}<span>{text}</span></li> });
    let lines = lines.collect_view();
    view! {
        <div class="narrow">
            <div class="head">{heading(format!("Remove the project {id}"), way)}</div>
            {problem("remove-project")}
            <section class="panel" aria-labelledby="what">
                <header class="panel-head"><h2 id="what">"What will happen"</h2></header>
                <ul class="ticks">{lines}</ul>
                <p class="panel-note">"What runs there now is waited for. No last snapshot is taken: take it before."</p>
            </section>
            <form method="post" action="/actions/remove-project" class="form panel">
                {form_number()}
                <input type="hidden" name="project" value=id.clone()/>
                {by_name("Its id", &id, back, refusal)}
            </form>
        </div>
    }
    .into_any()
}
