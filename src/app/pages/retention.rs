//! `…/environments/:environment/retention`: which snapshots go, when and why (R11), and which deletions can be taken
//! back (R14).

use leptos::prelude::*;

use crate::app::model::Tone;
use crate::app::page::{form_number, heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{Clock, badge, date, icon, lines, reason, time};
use crate::app::visit;
use crate::authz::ViewHistory;
use crate::domain::bytes::counted;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::domain::policy::retention::{Decision, Fate, Hold};
use crate::domain::view::{DeletedEntry, RetentionPage};
use crate::ops;

#[component]
pub fn Retention() -> impl IntoView {
    load(
        |visit| async move {
            let (project, environment): (ProjectId, EnvironmentName) =
                (visit::param("project")?, visit::param("environment")?);
            let proof = visit.app.authorize_environment::<ViewHistory>(&visit.actor, &project, &environment).await?;
            ops::retention::preview(&visit.app, &proof).await
        },
        show,
    )
}

fn show(page: RetentionPage) -> AnyView {
    let RetentionPage { project, environment, plan_title, told, plan, deleted } = page;
    let (id, name) = (project.id.clone(), environment.name.clone());
    let way = vec![
        ("/".to_owned(), "Projects".to_owned()),
        (at::project(&id), project.title.clone()),
        (at::environment(&id, &name), environment.title.clone()),
    ];
    let going = plan.going().count();
    let summary = match going {
        0 => "Nothing goes at the next run.".to_owned(),
        number => format!("{} at the next run, within the hour.", counted_going(number)),
    };
    let budget = plan.budget.map(|budget| {
        let text = format!("The project's snapshots take {} of {budget}.", plan.taken);
        view! { <p class="facts"><span>{text}</span></p> }
    });
    let is_empty = plan.decisions.is_empty();
    let rows = plan.decisions.into_iter().map(|decision| row(&id, &name, decision)).collect_view();
    view! {
        <div class="head">
            {heading(format!("What is kept of {name}"), way)}
            <p class="lead">{summary}</p>
            {budget}
        </div>
        {problem("undelete-snapshot")}
        <section class="panel" aria-labelledby="rules">
            <header class="panel-head">
                <h2 id="rules">{format!("By the {plan_title} plan")}</h2>
                <a class="button button-small" href=at::plan(&id)>"The plan"</a>
            </header>
            {lines(told)}
        </section>
        {taken_back(&id, &name, deleted)}
        <section class="panel" aria-labelledby="fates">
            <header class="panel-head"><h2 id="fates">"Each snapshot"</h2></header>
            {is_empty.then(|| view! { <p class="empty">"There are no snapshots yet."</p> })}
            {(!is_empty).then(|| view! {
                <table class="kept">
                    <caption class="unseen">"Snapshots, newest first, with what becomes of them"</caption>
                    <thead>
                        <tr>
                            <th scope="col">"Snapshot"</th>
                            <th scope="col">"Fate"</th>
                            <th scope="col">"Time is over"</th>
                            <th scope="col">"Why"</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            })}
        </section>
    }
    .into_any()
}

fn counted_going(number: usize) -> String {
    let verb = if number == 1 { "goes" } else { "go" };
    format!("{} {verb}", counted(number as u64, "snapshot"))
}

/// The head of a snapshot's row in a table of what is kept.
pub fn kept_what(project: &ProjectId, environment: &EnvironmentName, decision: &Decision) -> impl IntoView + use<> {
    view! {
        <th scope="row" data-label="Snapshot">
            <div class="kept-what">
                <a class="kept-when" href=at::snapshot(project, environment, &decision.snapshot)>
                    {date(present::moment(decision.taken_at))}
                </a>
                <span class="name">{decision.snapshot.to_string()}</span>
                <span class="kept-facts">{decision.origin.to_string()}</span>
            </div>
        </th>
    }
}

/// What holds it, a note each.
pub fn kept_by(decision: &Decision) -> impl IntoView + use<> {
    let notes = decision.holds.iter().map(Hold::in_words).collect::<Vec<_>>();
    notes.into_iter().map(|text| view! { <span class="kept-note">{text}</span> }).collect_view()
}

fn row(project: &ProjectId, environment: &EnvironmentName, decision: Decision) -> impl IntoView + use<> {
    let fate = match (decision.fate, decision.holds.is_empty()) {
        (Fate::Goes, _) => badge(Tone::Attention, "trash", "Goes"),
        (Fate::Stays, true) => badge(Tone::Good, "check", "Stays"),
        (Fate::Stays, false) => badge(Tone::Good, "key", "Held"),
    };
    let holds = kept_by(&decision);
    view! {
        <tr>
            {kept_what(project, environment, &decision)}
            <td data-label="Fate">{fate}</td>
            <td data-label="Time is over">
                {match decision.goes_at {
                    Some(at) => time(present::moment(at), Clock::Day).into_any(),
                    None => "never by age".into_any(),
                }}
            </td>
            <td data-label="Why" class="wrap">
                <div class="kept-what"><span>{decision.reason}</span>{holds}</div>
            </td>
        </tr>
    }
}

fn taken_back(project: &ProjectId, environment: &EnvironmentName, deleted: Vec<DeletedEntry>) -> Option<AnyView> {
    if deleted.is_empty() {
        return None;
    }
    let refusal = deleted.iter().find_map(|entry| present::refusal(&entry.undelete));
    let closed = refusal.is_some();
    let items = deleted.into_iter().map(|DeletedEntry { snapshot, deletion, .. }| {
        let (name, by) = (snapshot.name.to_string(), deletion.by);
        view! {
            <li class="token">
                <div>
                    <p class="token-name"><span class="name">{name.clone()}</span></p>
                    <p class="facts facts-low">
                        <span>"of "{date(present::moment(snapshot.taken_at))}</span>
                        <span>{format!("deleted by {by} ")}{date(present::moment(deletion.at))}</span>
                        <span>"can be taken back until "{date(present::moment(deletion.until))}</span>
                    </p>
                </div>
                <form method="post" action="/actions/undelete-snapshot">
                    {form_number()}
                    <input type="hidden" name="project" value=project.to_string()/>
                    <input type="hidden" name="environment" value=environment.to_string()/>
                    <input type="hidden" name="snapshot" value=name.clone()/>
                    <button
                        class="button button-small"
                        disabled=closed
                        aria-describedby=closed.then_some("undelete-reason")
                    >
                        {icon("undo")}<span>"Take back"<span class="unseen">{format!(" {name}")}</span></span>
                    </button>
                </form>
            </li>
        }
    });
    let items = items.collect_view();
    let view = view! {
        <section class="panel" aria-labelledby="deleted">
            <header class="panel-head"><h2 id="deleted">"Deleted, and can be taken back"</h2></header>
            {refusal.map(|text| reason("undelete-reason".to_owned(), text))}
            <ul class="tokens">{items}</ul>
        </section>
    };
    Some(view.into_any())
}
