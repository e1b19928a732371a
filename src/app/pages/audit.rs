//! `/projects/:p/audit` for its admins, `/audit` for operators: who did what, from where; also what was refused (R5).

use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

use crate::app::asked::AuditAsked;
use crate::app::downloads;
use crate::app::model::Tone;
use crate::app::page::{heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{badge, date, icon};
use crate::domain::audit::{AuditEntry, AuditKind};
use crate::domain::ids::EnvironmentName;
use crate::domain::view::AuditPage;
use crate::ops;

#[component]
pub fn Audit() -> impl IntoView {
    load(
        |visit| async move {
            let project = use_params_map().read_untracked().get("project");
            let asked = AuditAsked::here();
            let scope = asked.scope(&visit.app, &visit.actor, project.as_deref()).await?;
            let page = ops::audit::page(&visit.app, &scope, &asked.filter()?).await?;
            Ok((page, asked))
        },
        |(page, asked)| show(page, &asked),
    )
}

fn show(page: AuditPage, asked: &AuditAsked) -> AnyView {
    let AuditPage { project, environments, entries, older } = page;
    let (way, here, what) = match &project {
        Some(project) => {
            let way = vec![("/".to_owned(), "Projects".to_owned()), (at::project(&project.id), project.title.clone())];
            (way, at::audit(&project.id), "of this project")
        }
        None => (Vec::new(), "/audit".to_owned(), "of the whole installation"),
    };
    let query = asked.query(None);
    let export = |form| format!("{here}/export?format={form}&{query}");
    let empty = entries.is_empty().then(|| view! { <p class="empty">"Nothing matches."</p> });
    let everywhere = project.is_none();
    let rows = entries.into_iter().map(|entry| row(entry, everywhere)).collect_view();
    view! {
        <div class="head">
            {heading("Audit".to_owned(), way)}
            <p class="lead">
                {format!("Every change {what} by a person or a token, every reading of contents, and what was refused.")}
            </p>
        </div>
        {problem(downloads::ACTION)}
        {filters(&here, asked, &environments)}
        <section class="panel" aria-labelledby="lines">
            <header class="panel-head">
                <h2 id="lines">"Newest first"</h2>
                <span class="buttons">
                    <a class="button button-small" href=export("csv") download="audit.csv">{icon("download")}<span>"CSV"</span></a>
                    <a class="button button-small" href=export("jsonl") download="audit.jsonl">
                        {icon("download")}<span>"JSON lines"</span>
                    </a>
                </span>
            </header>
            {empty}
            <table class="plain audit">
                <caption class="unseen">"The audit, newest first"</caption>
                <thead>
                    <tr>
                        <th scope="col">"When"</th>
                        <th scope="col">"Who"</th>
                        <th scope="col">"What"</th>
                        <th scope="col">"Where"</th>
                        <th scope="col">"Outcome"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
            <nav class="pager" aria-label="Pages of the audit">
                {(!asked.before.is_empty()).then(|| view! { <a class="button" href=format!("{here}?{query}")>"Newest"</a> })}
                {older.map(|before| view! { <a class="button" href=format!("{here}?{}", asked.query(Some(before)))>"Older"</a> })}
            </nav>
        </section>
    }
    .into_any()
}

fn row(entry: AuditEntry, everywhere: bool) -> AnyView {
    let AuditEntry {
        at, project, environment, kind, name, authority, address, outcome, reason, about, activity, ..
    } = entry;
    let (tone, glyph) = match outcome.as_str() {
        "success" => (Tone::Good, "check"),
        "failure" => (Tone::Bad, "cross"),
        "refused" => (Tone::Attention, "alert"),
        _ => (Tone::Quiet, "clock"),
    };
    let link = project.as_ref().zip(activity).map(|(project, activity)| at::activity(project, &activity));
    let about = match link {
        Some(href) => view! { <a href=href>{about}</a> }.into_any(),
        None => view! { <span>{about}</span> }.into_any(),
    };
    let place = project.filter(|_| everywhere).map(|project| project.to_string());
    let place: Vec<String> = place.into_iter().chain(environment.map(|environment| environment.to_string())).collect();
    view! {
        <tr>
            <th scope="row" data-label="When" class="when">{date(present::moment(at))}</th>
            <td data-label="Who" class="wrap">{name}<span class="second">{authority}</span></td>
            <td data-label="What" class="wrap">{about}<span class="second mono">{kind}</span></td>
            <td data-label="Where" class="wrap">{place.join(" / ")}<span class="second address">{address}</span></td>
            <td data-label="Outcome" class="wrap">
                {badge(tone, glyph, outcome)}{reason.map(|reason| view! { <span class="second">{reason}</span> })}
            </td>
        </tr>
    }
    .into_any()
}

fn filters(here: &str, asked: &AuditAsked, environments: &[EnvironmentName]) -> AnyView {
    let option = |value: &str, text: String, now: &str| {
        view! { <option value=value.to_owned() selected=value == now>{text}</option> }
    };
    let groups = [
        ("", "everything"),
        ("environment", "environments: snapshots, restores, dumps"),
        ("project", "the project: members, invitations, declarations"),
        ("ticket", "restore tickets"),
        ("user", "accounts: logins, passwords, tokens"),
    ];
    let kinds: Vec<_> = groups.into_iter().map(|(value, text)| option(value, text.to_owned(), &asked.kind)).collect();
    let single = AuditKind::ALL.into_iter().map(|kind| option(kind.as_str(), kind.to_string(), &asked.kind));
    let single: Vec<_> = single.collect();
    let outcomes = [("", "any"), ("success", "success"), ("failure", "failure"), ("refused", "refused")];
    let outcomes: Vec<_> =
        outcomes.into_iter().map(|(value, text)| option(value, text.to_owned(), &asked.outcome)).collect();
    let places = environments.iter().map(|name| option(name.as_str(), name.to_string(), &asked.environment));
    let places: Vec<_> = places.collect();
    let environment = (!places.is_empty()).then(|| {
        view! {
            <div class="field">
                <label for="environment">"Environment"</label>
                <select id="environment" name="environment"><option value="">"any"</option>{places}</select>
            </div>
        }
    });
    view! {
        <form method="get" action=here.to_owned() class="panel filters" role="search" aria-label="Lines of the audit">
            <div class="field">
                <label for="kind">"What"</label>
                <select id="kind" name="kind">{kinds}<optgroup label="one kind">{single}</optgroup></select>
            </div>
            <div class="field">
                <label for="who">"Who"</label>
                <input id="who" name="who" autocomplete="off" placeholder="ada@example.org" value=asked.who.clone()/>
            </div>
            {environment}
            <div class="field">
                <label for="outcome">"Outcome"</label>
                <select id="outcome" name="outcome">{outcomes}</select>
            </div>
            <div class="field">
                <label for="since">"From (UTC)"</label>
                <input id="since" name="since" type="date" value=asked.since.clone()/>
            </div>
            <div class="field">
                <label for="until">"Up to and including"</label>
                <input id="until" name="until" type="date" value=asked.until.clone()/>
            </div>
            <button class="button">"Show"</button>
        </form>
    }
    .into_any()
}
