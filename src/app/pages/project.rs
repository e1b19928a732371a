//! `/projects/:p`: its environments, and what happened in them lately.

use leptos::prelude::*;

use crate::app::page::{heading, load};
use crate::app::present::{self, at};
use crate::app::views::{Way, closed, condition, date, entry, icon, reason, way};
use crate::app::visit;
use crate::authz::ViewProject;
use crate::domain::bytes::counted;
use crate::domain::ids::ProjectId;
use crate::domain::view::{EnvironmentCard, Offer, ProjectPage};
use crate::ops;

#[component]
pub fn Project() -> impl IntoView {
    load(
        |visit| async move {
            let project: ProjectId = visit::param("project")?;
            let proof = visit.app.authorize_project::<ViewProject>(&visit.actor, &project).await?;
            ops::projects::page(&visit.app, proof).await
        },
        show,
    )
}

fn show(page: ProjectPage) -> AnyView {
    let project = page.card.project;
    let (removed, has_removed) = (page.removed, page.has_removed);
    let id = project.id.clone();
    let way_to = |word, href, offer: &Offer| Way { glyph: None, word, to: present::door(href, offer) };
    let guarded = [
        way_to("Notices", at::notices(&id), &page.notices),
        way_to("Audit", at::audit(&id), &page.audit),
        way_to("Remove", at::project_removal(&id), &page.remove),
    ];
    let why = closed(&guarded);
    let [notices, audit, remove] = guarded.map(way);
    let refusal = page.activities.iter().find_map(|activity| present::refusal(&activity.restore));
    let recent = page.activities.iter();
    let recent = recent.map(|activity| entry(present::entry(&id, activity), refusal.clone())).collect_view();
    let nothing = page.activities.is_empty().then(|| {
        view! { <p class="empty">"Nothing has happened in this project yet."</p> }
    });
    view! {
        <div class="head">
            {heading(project.title, vec![("/".to_owned(), "Projects".to_owned())])}
            <p class="facts">
                <span class="mono">{project.id.to_string()}</span>
                <a href=at::plan(&id)>{format!("{} plan", page.card.plan_title)}</a>
                <a href=at::region(&id)>{format!("region {}", project.region)}</a>
                {page.tickets.map(|unfinished| {
                    let text = if unfinished == 0 { "Restore tickets".to_owned() } else { format!("Restore tickets: {unfinished} unfinished") };
                    view! { <a class="part" href=at::tickets(&project.id)>{icon("ticket")}{text}</a> }
                })}
            </p>
            <nav class="siblings" aria-label="Of this project">
                <ul>
                    <li><a href=at::members(&id)>"Members"</a></li>
                    <li>{notices}</li>
                    <li>{audit}</li>
                    {has_removed.then(|| view! { <li><a href=at::removed(&id)>"Removed"</a></li> })}
                    <li>{remove}</li>
                </ul>
            </nav>
            {why}
        </div>
        <div class="condition">{condition(present::condition(&page.card.health))}</div>
        <section aria-labelledby="environments">
            <h2 id="environments" class="section-title">"Environments"</h2>
            <ul class="cards">{page.environments.into_iter().map(|card| environment(&id, card)).collect_view()}</ul>
        </section>
        {(!removed.is_empty()).then(|| view! {
            <section aria-labelledby="removed">
                <h2 id="removed" class="section-title">"Removed, with snapshots to restore elsewhere"</h2>
                <ul class="cards">{removed.into_iter().map(|card| environment(&id, card)).collect_view()}</ul>
            </section>
        })}
        <section class="panel" aria-labelledby="activity">
            <header class="panel-head"><h2 id="activity">"Recent activity"</h2></header>
            {nothing}
            {refusal.map(|text| reason("restore-reason".to_owned(), text))}
            <div class="feed">{recent}</div>
        </section>
    }
    .into_any()
}

fn environment(project: &ProjectId, card: EnvironmentCard) -> AnyView {
    let EnvironmentCard { environment, snapshots, newest_snapshot, health, .. } = card;
    let newest = newest_snapshot.map(|snapshot| {
        view! { <span>"newest "{date(present::moment(snapshot.taken_at))}</span> }
    });
    view! {
        <li class="card">
            <h3 class="card-title">
                <a class="card-link" href=at::environment(project, &environment.name)>{environment.title}</a>
            </h3>
            <p class="facts">
                <span class="mono">{environment.name.to_string()}</span>
                <span class="tag">{present::type_word(environment.kind)}</span>
                {environment.live.then(|| view! { <span class="tag tag-strong">"Live"</span> })}
            </p>
            {condition(present::condition(&health)).into_any()}
            <p class="facts facts-low">
                <span>{counted(snapshots, "snapshot")}</span>
                {newest}
            </p>
        </li>
    }
    .into_any()
}
