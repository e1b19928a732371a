//! `/projects/:p/environments/:e`: how it stands, what happened, what is kept. `?before=N` shows an older page of the
//! feed.

use leptos::prelude::*;

use crate::app::model::Door;
use crate::app::page::{heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{self, Way, Weight, date, icon};
use crate::app::{downloads, once, visit};
use crate::authz::ViewHistory;
use crate::domain::drill::{self, Drill, Outcome};
use crate::domain::environment::EnvironmentStatus;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::domain::view::{EnvironmentPage, NextRun, Offer, Part};
use crate::ops;
use crate::ops::activities::Filter;

#[component]
pub fn Environment() -> impl IntoView {
    load(
        |visit| async move {
            let (project, environment): (ProjectId, EnvironmentName) =
                (visit::param("project")?, visit::param("environment")?);
            let proof = visit.app.authorize_environment::<ViewHistory>(&visit.actor, &project, &environment).await?;
            let before = visit::query("before").and_then(|text| text.parse().ok());
            let mut page = ops::environments::page(&visit.app, proof.clone()).await?;
            if before.is_some() {
                let filter = Filter { before, ..Filter::default() };
                page.activities = ops::activities::feed(&visit.app, &proof, filter).await?;
            }
            Ok((page, before))
        },
        |(page, before)| show(page, before),
    )
}

fn show(page: EnvironmentPage, before: Option<i64>) -> AnyView {
    let overview = present::overview(&page);
    let EnvironmentPage { project, card, siblings, parts, urls, activities, dump, drill, remove, .. } = page;
    let known = Known { proven: page.proven, unprovable: page.unprovable, next: page.next_drill };
    let is_there = card.environment.status != EnvironmentStatus::Removed;
    let environment = card.environment;
    let here = at::environment(&project.id, &environment.name);
    let services = parts.iter().filter(|part| part.kind != "mount");
    let dumps = services.map(|part| present::download(&here, part, &dump)).collect();
    let entries = activities.entries.iter().map(|activity| present::entry(&project.id, activity)).collect();
    let stream = before.is_none().then(|| (format!("{here}/feed/events"), activities.event));
    let older = activities.older.map(|before| format!("?before={before}"));
    let removal = Way {
        glyph: Some("trash"),
        word: "Remove",
        to: present::door(at::removal(&project.id, &environment.name), &remove),
    };
    let way = vec![("/".to_owned(), "Projects".to_owned()), (at::project(&project.id), project.title.clone())];
    view! {
        <div class="head">
            {heading(environment.title.clone(), way)}
            <p class="facts">
                <span class="mono">{environment.name.to_string()}</span>
                <span class="tag">{present::type_word(environment.kind)}</span>
                {environment.live.then(|| view! { <span class="tag tag-strong">"Live"</span> })}
                {(!is_there).then(|| view! { <span class="tag tag-strong">"Removed"</span> })}
                {parts.iter().map(part).collect_view()}
                {urls.into_iter().map(site).collect_view()}
            </p>
            <p class="facts">
                {is_there.then(|| view! {
                    <a class="part" href=at::schedules(&project.id, &environment.name)>{icon("clock")}"Schedules"</a>
                })}
                <a class="part" href=at::retention(&project.id, &environment.name)>
                    {icon("snapshot")}"What is kept, and until when"
                </a>
                <a class="part" href=at::storage(&project.id, &environment.name)>{icon("folder")}"Storage"</a>
                {is_there.then(|| views::way(removal.clone()))}
            </p>
            {is_there.then(|| views::closed(&[removal]))}
            {views::downloads(dumps, present::refusal(&dump))}
            {switcher(&project.id, &environment.name, siblings)}
        </div>
        {problem(downloads::ACTION)}
        {problem("drill")}
        {is_there.then(|| proof(&project.id, &environment.name, known, &drill))}
        {environment.parent.as_ref().filter(|_| is_there).map(|parent| {
            merge(&project.id, &environment.name, parent, &card.merge)
        })}
        {views::environment(stream, overview, entries, older)}
    }
    .into_any()
}

/// Shown where there is a parent; with the reason where one may not (R7).
fn merge(project: &ProjectId, environment: &EnvironmentName, parent: &EnvironmentName, offer: &Offer) -> AnyView {
    let to = Door { href: at::merge(project, environment), refusal: present::refusal(offer) };
    let why = to.refusal.clone().map(|text| views::reason("merge-reason".to_owned(), text));
    let into = Some(format!("of {environment} into {parent}"));
    view! {
        <div class="proof">
            <p>{icon("branch")} {format!("Its parent is {parent}.")}</p>
            {views::door(to, Weight::Small, "branch", "Merge", into, "merge-reason".to_owned())}
            {why}
        </div>
    }
    .into_any()
}

/// What is known of whether a restore works (R29).
struct Known {
    proven: Option<Drill>,
    /// Tried since, and it proved nothing.
    unprovable: Option<Drill>,
    next: Option<NextRun>,
}

/// Whether a restore is known to work, and when the next one is tried.
fn proof(project: &ProjectId, environment: &EnvironmentName, known: Known, offer: &Offer) -> AnyView {
    let refusal = present::refusal(offer);
    let is_known = known.proven.is_some() || known.unprovable.is_some();
    let proven = known.proven.map(|drill| {
        let href = at::activity(project, &drill.activity);
        let took = present::micros(drill.took_us);
        let but = match drill.outcome() {
            Some(Outcome::ProvenBut(parts)) => format!(" but for {}", drill::named(&parts)),
            _ => String::new(),
        };
        view! {
            <p>
                {icon("check")} "Restore " <a href=href>"proven"</a> {but} " on "
                {date(present::moment(drill.finished_at))} {format!(" in {took}.")}
            </p>
        }
    });
    let unprovable = known.unprovable.map(|drill| {
        let href = at::activity(project, &drill.activity);
        let came_to = match drill.failure {
            Some(_) => ": it could not be restored. ",
            None => ": nothing can be proven here. ",
        };
        view! {
            <p>
                {icon("dash")} "Tried on " {date(present::moment(drill.finished_at))} {came_to}
                <a href=href>"Why, and what to do"</a>
            </p>
        }
    });
    let never = (!is_known).then(|| view! { <p>{icon("dash")} "No restore has been tried yet."</p> });
    let schedules = at::schedules(project, environment);
    let next = match known.next {
        Some(next) => {
            let moment = present::moment(next.at);
            match views::is_said(&moment, &next.local) {
                true => view! { <p>"The next one is tried " <a href=schedules>{date(moment)}</a></p> }.into_any(),
                false => {
                    view! { <p>"The next one is tried " {date(moment)} " · " <a href=schedules>{next.local}</a></p> }
                        .into_any()
                }
            }
        }
        None => view! { <p><a href=schedules>"None is tried by itself"</a></p> }.into_any(),
    };
    let says = view! { {proven}{unprovable}{never}{next} };
    view! {
        <form class="proof" method="post" action="/actions/drill">
            {says}
            <input type="hidden" name="project" value=project.to_string()/>
            <input type="hidden" name="environment" value=environment.to_string()/>
            <input type="hidden" name="form" value=once::form_number()/>
            <button
                class="button button-small"
                disabled=refusal.is_some()
                aria-describedby=refusal.is_some().then_some("drill-reason")
            >
                "Try a restore"
            </button>
            {refusal.map(|text| views::reason("drill-reason".to_owned(), text))}
        </form>
    }
    .into_any()
}

fn part(part: &Part) -> impl IntoView + use<> {
    let text = format!("{} · {}", part.name, present::kind_of(part));
    view! { <span class="part">{icon(present::glyph_of(part))}{text}</span> }
}

fn site(url: String) -> impl IntoView {
    let text = url.split_once("://").map_or(url.as_str(), |(_, host)| host.trim_end_matches('/')).to_owned();
    view! { <a class="part" href=url rel="noreferrer">{icon("globe")}{text}</a> }
}

fn switcher(
    project: &ProjectId,
    here: &EnvironmentName,
    siblings: Vec<(EnvironmentName, String)>,
) -> impl IntoView + use<> {
    let others: Vec<_> = siblings.into_iter().filter(|(name, _)| name != here).collect();
    (!others.is_empty()).then(|| {
        let links = others
            .into_iter()
            .map(|(name, title)| view! { <li><a href=at::environment(project, &name)>{title}</a></li> });
        view! { <nav class="siblings" aria-label="Other environments"><ul>{links.collect_view()}</ul></nav> }
    })
}
