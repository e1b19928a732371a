//! `/projects/:p/plan/simulation`: what a year under a plan would leave.

use leptos::prelude::*;

use crate::app::page::{heading, load};
use crate::app::present::{self, at};
use crate::app::visit;
use crate::authz::ViewProject;
use crate::domain::bytes::counted;
use crate::domain::environment::EnvironmentKind;
use crate::domain::ids::{PlanId, ProjectId};
use crate::domain::time::Timestamp;
use crate::domain::view::SimulationPage;
use crate::ops;
use crate::ops::plans::Wish;

#[component]
pub fn Simulation() -> impl IntoView {
    load(
        |visit| async move {
            let project: ProjectId = visit::param("project")?;
            let plan = visit::query("plan").filter(|text| !text.is_empty()).map(|text| text.parse::<PlanId>());
            let kind = visit::query("kind").and_then(|text| text.parse().ok());
            let every_hours = visit::query("every").and_then(|text| text.parse().ok());
            let proof = visit.app.authorize_project::<ViewProject>(&visit.actor, &project).await?;
            let wish = Wish { plan: plan.transpose()?, kind, every_hours };
            ops::plans::simulation(&visit.app, &proof, wish).await
        },
        show,
    )
}

fn show(page: SimulationPage) -> AnyView {
    let SimulationPage { project, plan, kind, every_hours, kept, simulation, now, offered } = page;
    let way = vec![
        ("/".to_owned(), "Projects".to_owned()),
        (at::project(&project.id), project.title.clone()),
        (at::plan(&project.id), "Plan".to_owned()),
    ];
    let left = counted(simulation.left.len() as u64, "snapshot");
    let summary = format!("Of {} in a year, {left} would be left.", counted(simulation.taken, "snapshot"));
    let plans = offered.into_iter().map(|(id, title)| {
        let chosen = id == plan;
        view! { <option value=id.to_string() selected=chosen>{title}</option> }
    });
    let plans = plans.collect_view();
    let kinds = EnvironmentKind::ALL.into_iter().map(|of| {
        view! { <option value=of.to_string() selected=of == kind>{present::type_word(of)}</option> }
    });
    let kinds = kinds.collect_view();
    let words = [(1, "every hour"), (6, "every 6 hours"), (24, "once a day"), (24 * 7, "once a week")];
    let other = (!words.iter().any(|(hours, _)| *hours == every_hours)).then(|| {
        view! { <option value=every_hours.to_string() selected=true>{format!("every {every_hours} hours")}</option> }
    });
    let often = words.into_iter().map(|(hours, words)| {
        view! { <option value=hours.to_string() selected=hours == every_hours>{words}</option> }
    });
    let often = often.collect_view();
    let rows = simulation.bands.iter().map(|band| {
        view! {
            <tr>
                <th scope="row" data-label="Age">{band.title.clone()}</th>
                <td data-label="Left" class="number">{band.left.to_string()}</td>
            </tr>
        }
    });
    let rows = rows.collect_view();
    view! {
        <div class="narrow">
            <div class="head">
                {heading("A year of a plan".to_owned(), way)}
                <p class="lead">{summary}</p>
                <p class="facts"><span>{format!("Kept: {kept}.")}</span></p>
            </div>
            <form method="get" action=at::simulation_of(&project.id) class="form panel">
                <div class="field"><label for="plan">"Plan"</label><select id="plan" name="plan">{plans}</select></div>
                <div class="field"><label for="kind">"Environment"</label><select id="kind" name="kind">{kinds}</select></div>
                <div class="field">
                    <label for="every">"One is taken"</label>
                    <select id="every" name="every">{other}{often}</select>
                </div>
                <div class="buttons"><button class="button">"Show what is left"</button></div>
            </form>
            <section class="panel" aria-labelledby="left">
                <header class="panel-head"><h2 id="left">"What is left"</h2></header>
                {timeline(&simulation.left, now)}
                <table class="plain">
                    <caption class="unseen">"Snapshots left after a year, by age"</caption>
                    <thead><tr><th scope="col">"Age"</th><th scope="col" class="number">"Left"</th></tr></thead>
                    <tbody>{rows}</tbody>
                </table>
                <p class="help">
                    "Counted as if nothing were protected or in use. Where a plan keeps a number of manual ones, as if each \
                     new one took the place of the oldest."
                </p>
            </section>
        </div>
    }
    .into_any()
}

const WIDTH: f64 = 720.0;
const YEAR_DAYS: f64 = 365.0;

/// Where an age lies from the right: days are wide and months narrow, so that every one can be told from its neighbour.
fn place(days: f64) -> f64 {
    WIDTH - (1.0 + days).ln() / (1.0 + YEAR_DAYS).ln() * WIDTH
}

/// A stroke a snapshot; the table below says the same in numbers.
fn timeline(left: &[Timestamp], now: Timestamp) -> AnyView {
    let strokes = left.iter().map(|at| {
        let x = format!("{:.1}", place(now.since(*at).as_secs_f64() / 86_400.0));
        view! { <line x1=x.clone() x2=x y1="8" y2="44" stroke="currentColor" stroke-width="1.5"></line> }
    });
    let strokes = strokes.collect_view();
    let marks = [(1.0, "1 day"), (7.0, "1 week"), (28.0, "4 weeks"), (84.0, "12 weeks"), (365.0, "1 year")];
    let marks = marks.into_iter().map(|(days, text)| {
        let x = format!("{:.1}", place(days));
        let anchor = if days < YEAR_DAYS { "middle" } else { "start" };
        view! {
            <line x1=x.clone() x2=x.clone() y1="44" y2="52" stroke="currentColor" stroke-width="1"></line>
            <text x=x y="66" font-size="12" fill="currentColor" text-anchor=anchor>{text}</text>
        }
    });
    let marks = marks.collect_view();
    view! {
        <svg viewBox="0 0 720 72" width="100%" role="img" aria-label="Snapshots left, by age: now on the right, a year ago on \
            the left">
            <line x1="0" x2="720" y1="44" y2="44" stroke="currentColor" stroke-width="1"></line>
            {strokes}
            {marks}
        </svg>
    }
    .into_any()
}
