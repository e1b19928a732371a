//! `/projects/:p/region`: where the project lies and what its moves left behind; `?to=REGION` shows what moving it there would
//! do, before it does (R27).

use leptos::prelude::*;

use crate::app::page::{form_number, heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{date, entry, icon, reason};
use crate::app::visit;
use crate::authz::{MoveProject, ViewProject};
use crate::domain::ids::{ProjectId, RegionId};
use crate::domain::policy;
use crate::domain::view::{LeftRepository, MovePage, Offer, RegionPage};
use crate::ops::{self, Error};

#[component]
pub fn Region() -> impl IntoView {
    load(
        |visit| async move {
            let project: ProjectId = visit::param("project")?;
            let to = visit::query("to").filter(|text| !text.is_empty());
            let to = to.map(|text| text.parse::<RegionId>().map_err(|_| Error::NotFound("region"))).transpose()?;
            let proof = visit.app.authorize_project::<ViewProject>(&visit.actor, &project).await?;
            let page = ops::relocation::page(&visit.app, &proof).await?;
            let change = match to {
                None => None,
                Some(to) => {
                    let proof = visit.app.authorize_project::<MoveProject>(&visit.actor, &project).await?;
                    Some(ops::relocation::preflight(&visit.app, &proof, &to).await?)
                }
            };
            Ok((page, change))
        },
        |(page, change)| show(page, change),
    )
}

fn show(page: RegionPage, change: Option<MovePage>) -> AnyView {
    let RegionPage { project, region, others, change: offer, moves, left } = page;
    let id = project.id.clone();
    let way = vec![("/".to_owned(), "Projects".to_owned()), (at::project(&id), project.title.clone())];
    let chosen = change.as_ref().map(|change| change.to.id.clone());
    let title = (region.title != region.id.as_str())
        .then(|| view! { <p class="facts"><span>{region.title.clone()}</span></p> });
    let entries = moves.iter().map(|activity| entry(present::entry(&id, activity), None)).collect_view();
    let is_empty = moves.is_empty();
    view! {
        <div class="narrow">
            <div class="head">
                {heading(format!("Region {}", region.id), way)}
                {title}
                <p class="lead">
                    {format!("The project's snapshots lie here. {}", region.restore_elsewhere.in_words())}
                </p>
            </div>
            {problem("move-project")}
            {change.map(|change| moving(&id, change))}
            {choice(&id, others, chosen, &offer)}
            {(!left.is_empty()).then(|| left_behind(left))}
            <section class="panel" aria-labelledby="moves">
                <header class="panel-head"><h2 id="moves">"Moves"</h2></header>
                {is_empty.then(|| view! { <p class="empty">"The project was never moved."</p> })}
                <div class="feed">{entries}</div>
            </section>
        </div>
    }
    .into_any()
}

/// The others, with what they offer, and with why one can't be chosen (R7).
fn choice(
    project: &ProjectId,
    others: Vec<(policy::Region, Offer)>,
    chosen: Option<RegionId>,
    offer: &Offer,
) -> AnyView {
    let refusal = present::refusal(offer);
    let closed = refusal.is_some();
    let described = closed.then_some("why-not");
    if others.is_empty() {
        let none = view! {
            <section class="panel" aria-labelledby="elsewhere">
                <header class="panel-head"><h2 id="elsewhere">"Another region"</h2></header>
                <div class="buttons">
                    <button type="button" class="button" disabled aria-describedby="why-not">"Show what a move would do"</button>
                </div>
                {refusal.map(|text| reason("why-not".to_owned(), text))}
            </section>
        };
        return none.into_any();
    }
    let hints = others.iter().map(|(region, place)| {
        let text = match present::refusal(place) {
            Some(refusal) => format!("{}: {refusal}", region.id),
            None => format!("{}: {}", region.id, region.restore_elsewhere.in_words()),
        };
        view! { <li>{icon("globe")}<span>{text}</span></li> }
    });
    let hints = hints.collect_view();
    let options = others.into_iter().map(|(region, place)| {
        let (is_chosen, id) = (chosen.as_ref() == Some(&region.id), region.id.to_string());
        let text = if region.title == id { id.clone() } else { format!("{id}: {}", region.title) };
        view! { <option value=id selected=is_chosen disabled=!place.is_open()>{text}</option> }
    });
    let options = options.collect_view();
    view! {
        <form method="get" action=at::region(project) class="form panel" aria-labelledby="elsewhere">
            <header class="panel-head"><h2 id="elsewhere">"Another region"</h2></header>
            <ul class="ticks">{hints}</ul>
            <div class="field">
                <label for="to">"Where to"</label>
                <select id="to" name="to" disabled=closed aria-describedby=described>{options}</select>
            </div>
            <div class="buttons">
                <button class="button" disabled=closed aria-describedby=described>"Show what a move would do"</button>
            </div>
            {refusal.map(|text| reason("why-not".to_owned(), text))}
        </form>
    }
    .into_any()
}

/// Read first, then confirmed.
fn moving(project: &ProjectId, change: MovePage) -> AnyView {
    let to = change.to.id.clone();
    let expectations =
        change.expectations().into_iter().map(|text| view! { <li>{icon("check")}<span>{text}</span></li> });
    let expectations = expectations.collect_view();
    let closed = !change.obstacles.is_empty();
    let obstacles = (change.obstacles.into_iter().enumerate())
        .map(|(number, text)| reason(format!("obstacle-{number}"), text))
        .collect_view();
    view! {
        <section class="panel" aria-labelledby="change">
            <header class="panel-head"><h2 id="change">{format!("What moving it to {to} does")}</h2></header>
            <ul class="ticks">{expectations}</ul>
            <form method="post" action="/actions/move-project" class="form confirm">
                {form_number()}
                <input type="hidden" name="project" value=project.to_string()/>
                <input type="hidden" name="to" value=to.to_string()/>
                <div class="buttons">
                    <button
                        class="button button-danger"
                        disabled=closed
                        aria-describedby=closed.then_some("obstacle-0")
                    >
                        {icon("globe")}<span>{format!("Move the project to {to}")}</span>
                    </button>
                    <a class="button" href=at::region(project)>"Leave it where it is"</a>
                </div>
                {obstacles}
            </form>
        </section>
    }
    .into_any()
}

fn left_behind(left: Vec<LeftRepository>) -> AnyView {
    let items = left.into_iter().map(|LeftRepository { region, at, location }| {
        let location = location.map(|path| view! { ": " <code class="mono">{path}</code> });
        view! {
            <li>
                {icon("folder")}
                <span>{format!("The repository in the region {region}, left on ")}{date(present::moment(at))}{location}</span>
            </li>
        }
    });
    let items = items.collect_view();
    view! {
        <section class="panel" aria-labelledby="left">
            <header class="panel-head"><h2 id="left">"What moves left behind"</h2></header>
            <ul class="ticks">{items}</ul>
            <p class="panel-note">
                "Nothing here is used any more. It stays as it was until an operator removes it where it lies; look first that \
                 nothing else leads there."
            </p>
        </section>
    }
    .into_any()
}
