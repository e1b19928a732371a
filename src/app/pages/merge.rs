//! `…/merge`: what a merge into the parent does, and the snapshot that comes first, before it is confirmed (R10).

use leptos::prelude::*;

use super::first::first;
use super::restore::list;
use crate::app::page::{form_number, heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{icon, reason};
use crate::app::visit;
use crate::domain::activity::MergeHow;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::domain::view::MergePage;
use crate::ops;

#[component]
pub fn Merge() -> impl IntoView {
    load(
        |visit| async move {
            let (project, environment): (ProjectId, EnvironmentName) =
                (visit::param("project")?, visit::param("environment")?);
            let merge = ops::merges::Merge::authorize(&visit.app, &visit.actor, &project, &environment).await?;
            ops::merges::preview(&visit.app, &merge).await
        },
        show,
    )
}

fn show(page: MergePage) -> AnyView {
    let expectations = page.expectations();
    let MergePage { project, from, into, how, advice, eviction, offer, .. } = page;
    let back = at::environment(&project.id, &from.name);
    let way = vec![
        ("/".to_owned(), "Projects".to_owned()),
        (at::project(&project.id), project.title.clone()),
        (back.clone(), from.title.clone()),
    ];
    let refusal = present::refusal(&offer);
    let closed = refusal.is_some();
    let (lead, button) = match how {
        MergeHow::Command => (
            format!("{} is merged into {}, which changes what {} serves.", from.name, into.name, into.name),
            format!("Merge into {}", into.name),
        ),
        MergeHow::Announcement => (
            format!("You, or your CI, are about to merge {} into {}.", from.name, into.name),
            "Announce the merge".to_owned(),
        ),
    };
    let mind = match into.live {
        true => vec![format!("{} is live: real visitors use it.", into.name)],
        false => Vec::new(),
    };
    view! {
        <div class="narrow">
            <div class="head">
                {heading(format!("Merge {} into {}", from.name, into.name), way)}
                <p class="lead">{lead}</p>
            </div>
            {problem("merge")}
            {list("mind", "Mind this first", "alert", mind)}
            {list("expect", "What to expect", "clock", expectations)}
            <form method="post" action="/actions/merge" class="form panel confirm">
                {form_number()}
                <input type="hidden" name="project" value=project.id.to_string()/>
                <input type="hidden" name="environment" value=from.name.to_string()/>
                <input type="hidden" name="shown" value=how.as_str()/>
                {first(("merge", "the merge"), &into, &advice, &eviction)}
                <div class="buttons">
                    <button class="button button-main" disabled=closed aria-describedby=closed.then_some("why-not")>
                        {icon("branch")}<span>{button}</span>
                    </button>
                    <a class="button" href=back>"Back"</a>
                </div>
                {refusal.map(|text| reason("why-not".to_owned(), text))}
            </form>
        </div>
    }
    .into_any()
}
