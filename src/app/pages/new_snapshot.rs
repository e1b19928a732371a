//! `…/snapshots/new`: what will happen, before it does.

use leptos::prelude::*;

use crate::app::flash::Flash;
use crate::app::page::{form_number, heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{icon, reason};
use crate::app::visit;
use crate::authz::ViewHistory;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::domain::policy::retention::Eviction;
use crate::domain::view::EnvironmentPage;
use crate::ops;

#[component]
pub fn NewSnapshot() -> impl IntoView {
    load(
        |visit| async move {
            let (project, environment): (ProjectId, EnvironmentName) =
                (visit::param("project")?, visit::param("environment")?);
            let proof = visit.app.authorize_environment::<ViewHistory>(&visit.actor, &project, &environment).await?;
            ops::environments::page(&visit.app, proof).await
        },
        show,
    )
}

fn show(page: EnvironmentPage) -> AnyView {
    let refusal = present::refusal(&page.card.create_snapshot);
    let EnvironmentPage { project, card, parts, .. } = page;
    let environment = card.environment;
    let back = at::environment(&project.id, &environment.name);
    let way = vec![
        ("/".to_owned(), "Projects".to_owned()),
        (at::project(&project.id), project.title.clone()),
        (back.clone(), environment.title.clone()),
    ];
    let evicted = evicted(&project.id, &environment.name, &card.eviction);
    let held = parts.iter().map(|part| {
        let (name, kind) = (part.name.clone(), present::kind_of(part));
        view! { <li class="held">{icon(present::glyph_of(part))}<span class="mono">{name}</span><span>{kind}</span></li> }
    });
    let is_live = Flash::kept("snapshot", "mode").is_some_and(|mode| mode == "live");
    let closed = refusal.is_some();
    view! {
        <div class="narrow">
            <div class="head">{heading(format!("Take a snapshot of {}", environment.name), way)}</div>
            {problem("snapshot")}
            <section class="panel" aria-labelledby="what">
                <header class="panel-head"><h2 id="what">"What will happen"</h2></header>
                <p>"These parts are saved together, encrypted, as one entry that is complete or not there at all:"</p>
                <ul class="held-list">{held.collect_view()}</ul>
                <p>
                    "Code is not part of it. The environment goes on serving; you can watch the progress and leave the "
                    "page at any time."
                </p>
            </section>
            <form method="post" action="/actions/snapshot" class="form panel">
                {form_number()}
                <input type="hidden" name="project" value=project.id.to_string()/>
                <input type="hidden" name="environment" value=environment.name.to_string()/>
                <fieldset class="options">
                    <legend>"How"</legend>
                    <label class="option">
                        <input type="radio" name="mode" value="consistent" checked=!is_live/>
                        <span>
                            <strong>"Consistent"</strong>
                            <span class="option-text">
                                "All parts at one instant. Requests to the site wait while every part is opened, "
                                "usually far below a second and never longer than ten; none is dropped."
                            </span>
                        </span>
                    </label>
                    <label class="option">
                        <input type="radio" name="mode" value="live" checked=is_live/>
                        <span>
                            <strong>"Live"</strong>
                            <span class="option-text">
                                "No request waits. Each part is read while the site writes on, so that parts may be "
                                "some seconds apart; the snapshot is labelled so."
                            </span>
                        </span>
                    </label>
                </fieldset>
                <div class="field">
                    <label for="note">"Note "<span class="optional">"optional"</span></label>
                    <input
                        id="note"
                        name="note"
                        maxlength="500"
                        placeholder="before the spring import"
                        value=Flash::kept("snapshot", "note")
                    />
                </div>
                {evicted}
                <div class="buttons">
                    <button class="button button-main" disabled=closed aria-describedby=closed.then_some("why-not")>
                        {icon("snapshot")}<span>"Take the snapshot"</span>
                    </button>
                    <a class="button" href=back>"Back"</a>
                </div>
                {refusal.map(|text| reason("why-not".to_owned(), text))}
            </form>
        </div>
    }
    .into_any()
}

/// What the plan has no room for beside another one: named, and only with a tick (R13).
pub(super) fn evicted(project: &ProjectId, environment: &EnvironmentName, eviction: &Eviction) -> Option<AnyView> {
    if eviction.snapshots.is_empty() {
        return None;
    }
    let names: Vec<String> = eviction.snapshots.iter().map(ToString::to_string).collect();
    let links = eviction.snapshots.iter().map(|name| {
        view! { <a class="name" href=at::snapshot(project, environment, name)>{name.to_string()}</a>" " }
    });
    let links = links.collect_view();
    let view = view! {
        <fieldset class="options">
            <legend>"What goes for it"</legend>
            <p class="help" id="evict-hint">
                {format!("The plan keeps the newest {} manual snapshots. For another one goes, once it is complete: ", eviction.keeps)}
                {links}
                ". That can be taken back for 3 days. A protected snapshot does not count."
            </p>
            <label class="check">
                <input type="checkbox" name="evict" value=names.join(",") required aria-describedby="evict-hint"/>
                <span>"Let it go"</span>
            </label>
        </fieldset>
    };
    Some(view.into_any())
}
