//! `/projects/:p/plan`: what the project's plan says; `?to=PLAN` shows what another one would change, before it does.

use leptos::prelude::*;

use crate::app::page::{form_number, heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{date, icon, lines, reason};
use crate::app::visit;
use crate::authz::{ChangePlan, ViewProject};
use crate::domain::environment::EnvironmentKind;
use crate::domain::ids::{PlanId, ProjectId};
use crate::domain::policy::plans::Line;
use crate::domain::view::{PlanChange, PlanPage};
use crate::ops;

#[component]
pub fn Plan() -> impl IntoView {
    load(
        |visit| async move {
            let project: ProjectId = visit::param("project")?;
            let to =
                visit::query("to").filter(|text| !text.is_empty()).map(|text| text.parse::<PlanId>()).transpose()?;
            let proof = visit.app.authorize_project::<ViewProject>(&visit.actor, &project).await?;
            let page = ops::plans::page(&visit.app, &proof).await?;
            let change = match to {
                None => None,
                Some(to) => {
                    let proof = visit.app.authorize_project::<ChangePlan>(&visit.actor, &project).await?;
                    Some(ops::plans::change(&visit.app, &proof, &to).await?)
                }
            };
            Ok((page, change))
        },
        |(page, change)| show(page, change),
    )
}

fn show(page: PlanPage, change: Option<PlanChange>) -> AnyView {
    let refusal = present::refusal(&page.change);
    let PlanPage { project, plan, plan_title, newer, told, taken, budget, offered, .. } = page;
    let way = vec![("/".to_owned(), "Projects".to_owned()), (at::project(&project.id), project.title.clone())];
    let storage = match budget {
        Some(budget) => format!("Its snapshots take {taken} of {budget}."),
        None => format!("Its snapshots take {taken}; it has no storage budget."),
    };
    let change = change.map(|change| {
        let words = Words {
            title: format!("What the {} plan would change", change.to_title),
            lead: None,
            button: format!("Change to {}", change.to_title),
        };
        changing(&project.id, change, words, None)
    });
    // What was asked to be shown is shown alone.
    let newer = newer.filter(|_| change.is_none()).map(|newer| {
        let lead = "The project is under the text that it was put under; there is a newer one since.";
        let words = Words {
            title: format!("The text of the {plan_title} plan has changed"),
            lead: Some(lead),
            button: "Take the new text".to_owned(),
        };
        changing(&project.id, newer, words, refusal.clone())
    });
    let sections = told.into_iter().map(|(kind, told)| {
        let (id, title) = (format!("of-{kind}"), present::type_word(kind));
        let labelled = id.clone();
        view! {
            <section class="panel" aria-labelledby=labelled>
                <header class="panel-head">
                    <h2 id=id>{title}</h2>
                    <a class="button button-small" href=at::simulation(&project.id, &plan, kind)>
                        "A year of it"<span class="unseen">{format!(" for {kind} environments")}</span>
                    </a>
                </header>
                {lines(told)}
            </section>
        }
    });
    let sections = sections.collect_view();
    view! {
        <div class="narrow">
            <div class="head">
                {heading(format!("The {plan_title} plan"), way)}
                <p class="lead">{storage}</p>
            </div>
            {problem("set-plan")}
            {change}
            {newer}
            {sections}
            {choice(&project.id, &plan, offered, refusal)}
        </div>
    }
    .into_any()
}

fn choice(project: &ProjectId, own: &PlanId, offered: Vec<(PlanId, String)>, refusal: Option<String>) -> AnyView {
    let closed = refusal.is_some();
    let options = offered.into_iter().map(|(id, title)| {
        let chosen = id == *own;
        view! { <option value=id.to_string() selected=chosen>{title}</option> }
    });
    let options = options.collect_view();
    view! {
        <form method="get" action=at::plan(project) class="form panel">
            <div class="field">
                <label for="to">"Another plan"</label>
                <select id="to" name="to" disabled=closed aria-describedby=closed.then_some("why-not")>{options}</select>
            </div>
            <div class="buttons">
                <button class="button" disabled=closed aria-describedby=closed.then_some("why-not")>
                    "Show what that would change"
                </button>
            </div>
            {refusal.map(|text| reason("why-not".to_owned(), text))}
        </form>
    }
    .into_any()
}

/// What stands round a change.
struct Words {
    title: String,
    lead: Option<&'static str>,
    button: String,
}

/// Read first, then confirmed; who may not sees why (R7).
fn changing(project: &ProjectId, change: PlanChange, words: Words, refusal: Option<String>) -> AnyView {
    let PlanChange { to, told, going, hash, .. } = change;
    let closed = refusal.is_some();
    let same = told.is_empty().then(|| view! { <p>"It says the same as the present one."</p> });
    let rules = told.into_iter().map(|(kind, is, becomes)| differs(kind, &is, &becomes)).collect_view();
    let none = going.is_empty().then(|| view! { <p>"No snapshot goes because of it."</p> });
    let snapshots = going.into_iter().map(|decision| {
        let href = at::snapshot(project, &decision.environment_name, &decision.snapshot);
        view! {
            <li>
                {icon("trash")}
                <span>
                    <a class="name" href=href>{decision.snapshot.to_string()}</a>
                    {format!(" of {}, ", decision.environment_name)}{date(present::moment(decision.taken_at))}". "
                    {decision.reason}
                </span>
            </li>
        }
    });
    let snapshots = snapshots.collect_view();
    view! {
        <section class="panel" aria-labelledby="change">
            <header class="panel-head"><h2 id="change">{words.title}</h2></header>
            {words.lead.map(|lead| view! { <p>{lead}</p> })}
            {same}
            <ul class="changes">{rules}</ul>
            <h3>"Snapshots that go because of it"</h3>
            {none}
            <ul class="ticks">{snapshots}</ul>
            <form method="post" action="/actions/set-plan" class="form confirm">
                {form_number()}
                <input type="hidden" name="project" value=project.to_string()/>
                <input type="hidden" name="to" value=to.to_string()/>
                <input type="hidden" name="hash" value=hash/>
                <div class="buttons">
                    <button class="button button-danger" disabled=closed aria-describedby=closed.then_some("why-not-now")>
                        {icon("check")}<span>{words.button}</span>
                    </button>
                    {words.lead.is_none().then(|| view! { <a class="button" href=at::plan(project)>"Leave it as it is"</a> })}
                </div>
                {refusal.map(|text| reason("why-not-now".to_owned(), text))}
            </form>
        </section>
    }
    .into_any()
}

fn differs(kind: EnvironmentKind, is: &Line, becomes: &Line) -> impl IntoView + use<> {
    view! {
        <li class="change">
            <p class="change-part"><span>{is.title.clone()}</span><span class="second">{present::type_word(kind)}</span></p>
            <dl class="swap">
                <div class="swap-out"><dt>"Now"</dt><dd>{is.text.clone()}</dd></div>
                <div class="swap-in"><dt>"Then"</dt><dd>{becomes.text.clone()}</dd></div>
            </dl>
        </li>
    }
}
