//! `/removed`: projects that were removed, for operators; `/projects/:p/removed`: environments of a project that were. Each
//! with who did it, what stays of it, and until when.

use leptos::prelude::*;

use super::removing::typed;
use super::retention::{kept_by, kept_what};
use crate::app::model::Door;
use crate::app::page::{done, form_number, heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{Clock, Weight, date, door, icon, reason, time};
use crate::app::visit;
use crate::authz::{Need, ViewProject};
use crate::domain::bytes::counted;
use crate::domain::environment::Project;
use crate::domain::ids::ProjectId;
use crate::domain::view::{Offer, RemovedEnvironment, RemovedPage, RemovedProject, RemovedSnapshot, Until};
use crate::ops;

#[component]
pub fn RemovedProjects() -> impl IntoView {
    load(
        |visit| async move {
            let operator = visit.app.authorize_operator(&visit.actor, Need::Look).await?;
            ops::removed::projects(&visit.app, &operator).await
        },
        show_projects,
    )
}

#[component]
pub fn Removed() -> impl IntoView {
    load(
        |visit| async move {
            let project: ProjectId = visit::param("project")?;
            let proof = visit.app.authorize_project::<ViewProject>(&visit.actor, &project).await?;
            ops::removed::page(&visit.app, &proof).await
        },
        show,
    )
}

fn show_projects(projects: Vec<RemovedProject>) -> AnyView {
    let empty = projects.is_empty().then(|| view! { <p class="empty panel">"No project was removed."</p> });
    let cards = projects.into_iter().map(|RemovedProject { project, at: removed_at, by, snapshots, until }| {
        view! {
            <li class="card">
                <h2 class="card-title">
                    <a class="card-link" href=at::removed(&project.id)>{project.title}</a>
                </h2>
                <p class="facts">
                    <span class="mono">{project.id.to_string()}</span>
                    <span>{format!("region {}", project.region)}</span>
                </p>
                <p class="facts">
                    <span>"removed "{date(present::moment(removed_at))}{by.map(|by| format!(" by {by}"))}</span>
                </p>
                <p class="facts facts-low">{stays(snapshots, until)}</p>
            </li>
        }
    });
    let cards = cards.collect_view();
    view! {
        <div class="head">
            {heading("Removed projects".to_owned(), vec![("/".to_owned(), "Projects".to_owned())])}
            <p class="lead">
                "Only operators see them. "<code>"stillpointd apply FILE --reinstate PROJECT"</code>
                " has one again, with its history and its snapshots."
            </p>
        </div>
        {empty}
        <ul class="cards">{cards}</ul>
    }
    .into_any()
}

/// How many, and until when the last of them.
fn stays(snapshots: u64, until: Until) -> AnyView {
    let number = counted(snapshots, "snapshot");
    match until {
        Until::Gone => view! { <span>"no snapshot is left"</span> }.into_any(),
        Until::At(at) => {
            view! { <span>{number}", the last goes "{time(present::moment(at), Clock::Day)}</span> }.into_any()
        }
        Until::NoEnd if snapshots == 1 => view! { <span>{number}", kept until somebody deletes it"</span> }.into_any(),
        Until::NoEnd => view! { <span>{number}", some of them kept until somebody deletes them"</span> }.into_any(),
    }
}

fn show(page: RemovedPage) -> AnyView {
    let RemovedPage { project, plan_title, environments, deleted, purge } = page;
    let id = project.id.clone();
    let way = match project.removed_at {
        Some(_) => {
            vec![("/".to_owned(), "Projects".to_owned()), ("/removed".to_owned(), "Removed projects".to_owned())]
        }
        None => vec![("/".to_owned(), "Projects".to_owned())],
    };
    let way = way.into_iter().chain([(at::project(&id), project.title.clone())]).collect();
    let empty = environments.is_empty().then(|| {
        view! { <p class="empty panel">"No environment was removed that you may see."</p> }
    });
    let elsewhere = match project.removed_at {
        None => ", and can be restored into another environment of the project",
        Some(_) => "",
    };
    let refusal = environments.iter().flat_map(|it| &it.snapshots).find_map(|it| present::refusal(&it.restore));
    let sections = environments.into_iter().map(|it| environment(&id, it, refusal.clone())).collect_view();
    view! {
        <div class="head">
            {heading("Removed environments".to_owned(), way)}
            <p class="lead">
                {format!("Their snapshots are kept as long as the {plan_title} plan says{elsewhere}.")}
            </p>
            <p class="facts"><a href=at::plan(&id)>"The plan"</a></p>
        </div>
        {done()}
        {problem("purge-project")}
        {problem("unpurge-project")}
        {refusal.map(|text| reason("restore-reason".to_owned(), text))}
        {empty}
        {sections}
        {purge.map(|offer| purging(&project, &offer, deleted))}
    }
    .into_any()
}

fn environment(project: &ProjectId, entry: RemovedEnvironment, refusal: Option<String>) -> AnyView {
    let until = entry.until();
    let RemovedEnvironment { environment, by, activity, snapshots } = entry;
    let labelled = format!("of-{}", environment.id);
    let heading_id = labelled.clone();
    let number = snapshots.len() as u64;
    let href = at::environment(project, &environment.name);
    let retention = at::retention(project, &environment.name);
    let who = by.map(|by| match activity {
        Some(activity) => {
            let href = at::activity(project, &activity);
            view! { <span>"by "<a href=href>{by}</a></span> }.into_any()
        }
        None => view! { <span>{format!("by {by}")}</span> }.into_any(),
    });
    let rows = snapshots.into_iter().map(|snapshot| row(project, &environment.name, snapshot, &refusal)).collect_view();
    view! {
        <section class="panel" aria-labelledby=labelled>
            <header class="panel-head">
                <h2 id=heading_id><a href=href>{environment.title.clone()}</a></h2>
                <a class="button button-small" href=retention>
                    "What is kept"<span class="unseen">{format!(" of {}", environment.name)}</span>
                </a>
            </header>
            <p class="facts">
                <span class="mono">{environment.name.to_string()}</span>
                <span class="tag">{present::type_word(environment.kind)}</span>
                <span>"removed "{date(present::moment(environment.updated_at))}</span>
                {who}
                {stays(number, until)}
            </p>
            {(number > 0).then(|| view! {
                <table class="kept">
                    <caption class="unseen">{format!("Snapshots of {}, newest first", environment.name)}</caption>
                    <thead>
                        <tr>
                            <th scope="col">"Snapshot"</th>
                            <th scope="col">"Goes"</th>
                            <th scope="col">"Why"</th>
                            <th scope="col"><span class="unseen">"Restore elsewhere"</span></th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            })}
        </section>
    }
    .into_any()
}

fn row(
    project: &ProjectId,
    environment: &crate::domain::ids::EnvironmentName,
    snapshot: RemovedSnapshot,
    refusal: &Option<String>,
) -> AnyView {
    let RemovedSnapshot { decision, restore } = snapshot;
    let name = decision.snapshot.to_string();
    let own = present::refusal(&restore).filter(|text| Some(text) != refusal.as_ref());
    let reason_id = format!("reason-{name}");
    let described = if own.is_some() { reason_id.clone() } else { "restore-reason".to_owned() };
    let to = Door { href: at::restore(project, environment, &decision.snapshot), refusal: present::refusal(&restore) };
    let holds = kept_by(&decision);
    view! {
        <tr>
            {kept_what(project, environment, &decision)}
            <td data-label="Goes">
                {match decision.goes_at {
                    Some(at) => time(present::moment(at), Clock::Day).into_any(),
                    None => "when somebody deletes it".into_any(),
                }}
            </td>
            <td data-label="Why" class="wrap">
                <div class="kept-what"><span>{decision.reason}</span>{holds}</div>
            </td>
            <td class="acts">
                {door(to, Weight::Small, "restore", "Restore elsewhere", Some(name), described)}
                {own.map(|text| reason(reason_id, text))}
            </td>
        </tr>
    }
    .into_any()
}

/// Letting all of a removed project's snapshots go now, and taking that back.
fn purging(project: &Project, offer: &Offer, deleted: u64) -> AnyView {
    let refusal = present::refusal(offer);
    let closed = refusal.is_some();
    let id = project.id.to_string();
    let back = (deleted > 0).then(|| {
        view! {
            <form method="post" action="/actions/unpurge-project" class="form panel">
                {form_number()}
                <input type="hidden" name="project" value=id.clone()/>
                <p>{format!("Deleted, and can still be taken back: {}.", counted(deleted, "snapshot"))}</p>
                <div class="buttons">
                    <button class="button" disabled=closed aria-describedby=closed.then_some("why-not")>
                        {icon("undo")}<span>"Take the deletion back"</span>
                    </button>
                </div>
            </form>
        }
    });
    view! {
        {back}
        <form method="post" action="/actions/purge-project" class="form panel" aria-labelledby="purge">
            {form_number()}
            <input type="hidden" name="project" value=id.clone()/>
            <header class="panel-head"><h2 id="purge">"Delete all its snapshots now"</h2></header>
            <ul class="ticks">
                <li>{icon("undo")}<span>"For 3 days that can be taken back here; then the data goes."</span></li>
                <li>{icon("key")}<span>"What is protected, in use or on an open ticket stays."</span></li>
                <li>{icon("folder")}<span>"The repository itself stays where it is, and its history here."</span></li>
            </ul>
            {typed("Its id", &id)}
            <div class="buttons">
                <button class="button button-danger" disabled=closed aria-describedby=closed.then_some("why-not")>
                    {icon("trash")}<span>"Delete all snapshots"</span>
                </button>
            </div>
            {refusal.map(|text| reason("why-not".to_owned(), text))}
        </form>
    }
    .into_any()
}
