//! `…/snapshots/:name/restore`: what a restore would overwrite, before it is confirmed (R25).

use leptos::prelude::*;

use crate::app::page::{form_number, heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{date, icon, reason};
use crate::app::visit;
use crate::authz::RestoreSnapshot;
use crate::domain::SnapshotName;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::domain::view::{Change, Preflight};
use crate::ops;

#[component]
pub fn Restore() -> impl IntoView {
    load(
        |visit| async move {
            let (project, environment): (ProjectId, EnvironmentName) =
                (visit::param("project")?, visit::param("environment")?);
            let name: SnapshotName = visit::param("snapshot")?;
            let proof =
                visit.app.authorize_environment::<RestoreSnapshot>(&visit.actor, &project, &environment).await?;
            ops::restores::preflight(&visit.app, &proof, &name).await
        },
        show,
    )
}

fn show(preflight: Preflight) -> AnyView {
    let refusal = present::refusal(&preflight.offer);
    let Preflight { project, environment, snapshot, changes, untouched, expectations, obstacles, hash, .. } = preflight;
    let snapshot_page = at::snapshot(&project.id, &environment.name, &snapshot.name);
    let way = vec![
        ("/".to_owned(), "Projects".to_owned()),
        (at::project(&project.id), project.title.clone()),
        (at::environment(&project.id, &environment.name), environment.title.clone()),
        (snapshot_page.clone(), "Snapshot".to_owned()),
    ];
    let unsaid = refusal.filter(|refusal| !obstacles.contains(refusal));
    let obstacles: Vec<String> = unsaid.into_iter().chain(obstacles).collect();
    let closed = !obstacles.is_empty();
    view! {
        <div class="narrow">
            <div class="head">
                {heading(format!("Restore {}", environment.name), way)}
                <p class="lead">
                    {format!("{} goes back to ", environment.name)}
                    {date(present::moment(snapshot.taken_at))}
                    ", as kept in snapshot "<a class="name" href=snapshot_page.clone()>{snapshot.name.to_string()}</a>"."
                </p>
            </div>
            {problem("restore")}
            {hindered(obstacles)}
            <section class="panel" aria-labelledby="changes">
                <header class="panel-head"><h2 id="changes">"What will be overwritten"</h2></header>
                <ul class="changes">{changes.into_iter().map(change).collect_view()}</ul>
            </section>
            {list("untouched", "What stays as it is", "check", untouched)}
            {list("expect", "What to expect", "clock", expectations)}
            <form method="post" action="/actions/restore" class="panel form">
                {form_number()}
                <input type="hidden" name="project" value=project.id.to_string()/>
                <input type="hidden" name="environment" value=environment.name.to_string()/>
                <input type="hidden" name="snapshot" value=snapshot.name.to_string()/>
                <input type="hidden" name="plan_hash" value=hash/>
                <div class="buttons">
                    <button class="button button-danger" disabled=closed aria-describedby=closed.then_some("obstacles")>
                        {icon("restore")}<span>{format!("Overwrite {} and restore", environment.name)}</span>
                    </button>
                    <a class="button" href=snapshot_page>"Back"</a>
                </div>
            </form>
        </div>
    }
    .into_any()
}

fn hindered(obstacles: Vec<String>) -> impl IntoView {
    (!obstacles.is_empty()).then(|| {
        let texts = obstacles.into_iter().enumerate();
        let texts = texts.map(|(number, text)| reason(format!("obstacle-{number}"), text)).collect_view();
        view! {
            <section class="problem" id="obstacles" aria-labelledby="obstacles-title">
                {icon("alert")}
                <div><h2 class="problem-what" id="obstacles-title">"It can't be restored now"</h2>{texts}</div>
            </section>
        }
    })
}

fn change(change: Change) -> AnyView {
    view! {
        <li class="change">
            <p class="change-part">
                {icon(present::glyph_of(&change.part))}
                <span class="mono">{change.part.name.clone()}</span>
                <span class="second">{present::kind_of(&change.part)}</span>
            </p>
            <dl class="swap">
                <div class="swap-out"><dt>"Now, will be replaced"</dt><dd>{change.replaces}</dd></div>
                <div class="swap-in"><dt>"Afterwards"</dt><dd>{change.becomes}</dd></div>
            </dl>
        </li>
    }
    .into_any()
}

fn list(id: &'static str, title: &'static str, glyph: &'static str, texts: Vec<String>) -> impl IntoView {
    (!texts.is_empty()).then(|| {
        let items = texts.into_iter().map(|text| view! { <li>{icon(glyph)}<span>{text}</span></li> }).collect_view();
        view! {
            <section class="panel" aria-labelledby=id>
                <header class="panel-head"><h2 id=id>{title}</h2></header>
                <ul class="ticks">{items}</ul>
            </section>
        }
    })
}
