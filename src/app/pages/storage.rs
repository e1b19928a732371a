//! `…/storage`: how much is declared and used, and changing it after a snapshot (R10).

use leptos::prelude::*;

use super::first::first;
use super::restore::{list, sentence_start};
use crate::app::flash::Flash;
use crate::app::page::{form_number, heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{icon, reason};
use crate::app::visit;
use crate::authz::ViewHistory;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::domain::view::{StoragePage, StoragePart};
use crate::ops;

#[component]
pub fn Storage() -> impl IntoView {
    load(
        |visit| async move {
            let (project, environment): (ProjectId, EnvironmentName) =
                (visit::param("project")?, visit::param("environment")?);
            let proof = visit.app.authorize_environment::<ViewHistory>(&visit.actor, &project, &environment).await?;
            ops::storage::page(&visit.app, &proof).await
        },
        show,
    )
}

fn show(page: StoragePage) -> AnyView {
    let expectations = page.expectations();
    let (project, environment) = (&page.project, &page.environment);
    let back = at::environment(&project.id, &environment.name);
    let way = vec![
        ("/".to_owned(), "Projects".to_owned()),
        (at::project(&project.id), project.title.clone()),
        (back.clone(), environment.title.clone()),
    ];
    view! {
        <div class="narrow">
            <div class="head">
                {heading(format!("Storage of {}", environment.name), way)}
                <p class="lead">"What is declared for each service and mount, and what it uses."</p>
            </div>
            {problem("storage")}
            {table(&page.parts, present::refusal(&page.change).is_some())}
            {list("expect", "What a change does", "clock", expectations)}
            {form(&page, back)}
        </div>
    }
    .into_any()
}

/// What is used is measured for those alone who can do something about it.
fn table(parts: &[StoragePart], is_unmeasured: bool) -> AnyView {
    if parts.is_empty() {
        let empty = view! {
            <div class="empty"><p class="empty-title">"This environment has neither services nor mounts."</p></div>
        };
        return empty.into_any();
    }
    let unknown = if is_unmeasured { "measured for those who may change it" } else { "can't be measured now" };
    let rows = parts.iter().map(|it| {
        let declared = it.declared.map_or("nothing declared".to_owned(), |size| size.to_string());
        let used = it.used.map_or(unknown.to_owned(), |size| size.to_string());
        view! {
            <tr>
                <th scope="row" data-label="Part">{sentence_start(&it.part.in_words())}</th>
                <td data-label="Declared">{declared}</td>
                <td data-label="Used">{used}</td>
            </tr>
        }
    });
    view! {
        <section class="panel" aria-labelledby="parts">
            <header class="panel-head"><h2 id="parts">"Services and mounts"</h2></header>
            <table class="plain">
                <thead><tr><th scope="col">"Part"</th><th scope="col">"Declared"</th><th scope="col">"Used"</th></tr></thead>
                <tbody>{rows.collect_view()}</tbody>
            </table>
        </section>
    }
    .into_any()
}

fn form(page: &StoragePage, back: String) -> AnyView {
    let kept = |field| Flash::kept("storage", field);
    let refusal = present::refusal(&page.change);
    let closed = refusal.is_some() || page.parts.is_empty();
    let chosen = kept("part");
    let parts = page.parts.iter().map(|it| {
        let value = it.part.to_string();
        let selected = chosen.as_ref() == Some(&value);
        view! { <option value=value selected=selected>{sentence_start(&it.part.in_words())}</option> }
    });
    view! {
        <form method="post" action="/actions/storage" class="form panel confirm">
            {form_number()}
            <input type="hidden" name="project" value=page.project.id.to_string()/>
            <input type="hidden" name="environment" value=page.environment.name.to_string()/>
            <div class="field">
                <label for="part">"Part"</label>
                <select id="part" name="part" disabled=closed>{parts.collect_view()}</select>
            </div>
            <div class="field">
                <label for="size">"New size"</label>
                <input
                    id="size" name="size" required maxlength="40" placeholder="20 GiB" value=kept("size")
                    aria-describedby="size-hint" disabled=closed
                />
                <p class="help" id="size-hint">"A number with MiB, GiB or TiB. Not less than what it uses."</p>
            </div>
            {first(("storage", "the change"), &page.environment, &page.advice, &page.eviction)}
            <div class="buttons">
                <button class="button button-main" disabled=closed aria-describedby=refusal.is_some().then_some("why-not")>
                    {icon("check")}<span>"Change the size"</span>
                </button>
                <a class="button" href=back>"Back"</a>
            </div>
            {refusal.map(|text| reason("why-not".to_owned(), text))}
        </form>
    }
    .into_any()
}
