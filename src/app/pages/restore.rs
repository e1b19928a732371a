//! `…/snapshots/:name/restore`: what a restore would overwrite, before it is confirmed (R25).

use leptos::prelude::*;

use super::ticket::WhenFiled;
use crate::app::model::Door;
use crate::app::page::{form_number, heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{Weight, date, door, icon, reason};
use crate::app::visit;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::domain::problem::sentence;
use crate::domain::view::{Change, Preflight, Versions};
use crate::domain::{PartName, Scope, SnapshotName};
use crate::ops::restores::{Way, Wish};
use crate::ops::{self, Error};

/// Stands for a new environment where its name is not known yet; no name has a `+`.
const NEW: &str = "+new";

#[component]
pub fn Restore() -> impl IntoView {
    load(
        |visit| async move {
            let (project, environment): (ProjectId, EnvironmentName) =
                (visit::param("project")?, visit::param("environment")?);
            let name: SnapshotName = visit::param("snapshot")?;
            let into = visit::query("into");
            let name_of_new = visit::query("new").filter(|name| !name.is_empty());
            let wish = match into.as_deref() {
                Some(NEW) => Wish { target: name_of_new.as_deref(), branch_from: Some(environment.as_str()) },
                target => Wish { target, branch_from: None },
            };
            let way = Way::authorize(&visit.app, &visit.actor, &project, &environment, wish).await?;
            // One path alone, or the parts that are ticked.
            let path = visit::query("path").map(|path| path.trim().to_owned()).filter(|path| !path.is_empty());
            let asked = path.map_or_else(|| visit::queries("part"), |path| vec![format!("mount:{path}")]);
            let parts: Result<Vec<PartName>, _> = asked.iter().map(|part| part.parse()).collect();
            let parts = parts.map_err(|error| Error::invalid(sentence(&error.to_string())))?;
            // Without a choice everything is meant; of a choice of nothing, that must not be said.
            let nothing = visit::query("choice").is_some() && parts.is_empty();
            let scope: Scope = parts.into_iter().collect();
            let mut preflight = ops::restores::preflight(&visit.app, &way, &name, &scope).await?;
            if nothing {
                preflight.choices.iter_mut().for_each(|(_, chosen)| *chosen = false);
                preflight.changes.clear();
                preflight.obstacles.push("Nothing is chosen: tick at least one part.".to_owned());
            }
            Ok(preflight)
        },
        show,
    )
}

fn show(preflight: Preflight) -> AnyView {
    let refusal = present::refusal(&preflight.offer);
    let choice = choice(&preflight);
    let parts = chosen(&preflight);
    let ticket = by_ticket(&preflight);
    let Preflight { project, environment, source, branch_from, snapshot, changes, .. } = preflight;
    let Preflight { untouched, expectations, warnings, versions, obstacles, hash, .. } = preflight;
    let title = if source == environment.name { environment.title.clone() } else { source.to_string() };
    let snapshot_page = at::snapshot(&project.id, &source, &snapshot.name);
    let way = vec![
        ("/".to_owned(), "Projects".to_owned()),
        (at::project(&project.id), project.title.clone()),
        (at::environment(&project.id, &source), title),
        (snapshot_page.clone(), "Snapshot".to_owned()),
    ];
    let unsaid = refusal.filter(|refusal| ticket.is_none() && !obstacles.contains(refusal));
    let obstacles: Vec<String> = unsaid.into_iter().chain(obstacles).collect();
    let closed = !obstacles.is_empty() || ticket.is_some();
    let why = if obstacles.is_empty() { "by-ticket" } else { "obstacles" };
    let untouched = untouched.iter().map(|part| sentence_start(&part.in_words())).collect();
    let is_new = branch_from.is_some();
    let becomes = match source == environment.name {
        true => format!("{} goes back to ", environment.name),
        false => format!("{} gets what {source} held on ", environment.name),
    };
    let (heading_text, button, class) = match is_new {
        true => (
            format!("Make {}", environment.name),
            format!("Make {} from this snapshot", environment.name),
            "button button-main",
        ),
        false => (
            format!("Restore {}", environment.name),
            format!("Overwrite {} and restore", environment.name),
            "button button-danger",
        ),
    };
    view! {
        <div class="narrow">
            <div class="head">
                {heading(heading_text, way)}
                <p class="lead">
                    {becomes}
                    {date(present::moment(snapshot.taken_at))}
                    ", as kept in snapshot "<a class="name" href=snapshot_page.clone()>{snapshot.name.to_string()}</a>"."
                </p>
            </div>
            {problem("restore")}
            {choice}
            {hindered(obstacles)}
            {list("mind", "Mind this first", "alert", warnings)}
            {overwritten(changes, is_new, &WhenFiled::new())}
            {list("untouched", "What stays as it is", "check", untouched)}
            {list("versions", "Versions", "check", versions.iter().map(Versions::in_words).collect())}
            {list("expect", "What to expect", "clock", expectations)}
            {ticket}
            <form method="post" action="/actions/restore" class="panel form confirm">
                {form_number()}
                <input type="hidden" name="project" value=project.id.to_string()/>
                <input type="hidden" name="environment" value=source.to_string()/>
                <input type="hidden" name="snapshot" value=snapshot.name.to_string()/>
                <input type="hidden" name="plan[into]" value=environment.name.to_string()/>
                <input type="hidden" name="plan[branch_from]" value=branch_from.map(|parent| parent.to_string())/>
                <input type="hidden" name="plan[parts]" value=parts/>
                <input type="hidden" name="plan[hash]" value=hash/>
                <p class="stale">"You changed the choice above. Press “Show what that would do” to see it first."</p>
                <div class="buttons">
                    <button class=class disabled=closed aria-describedby=closed.then_some(why)>
                        {icon(if is_new { "branch" } else { "restore" })}<span>{button}</span>
                    </button>
                    <a class="button" href=snapshot_page>"Back"</a>
                </div>
            </form>
        </div>
    }
    .into_any()
}

/// Where the region does not let one do it by oneself: both ways that there are (R27).
fn by_ticket(preflight: &Preflight) -> Option<AnyView> {
    let offer = preflight.ticket.as_ref()?;
    let Preflight { project, environment, source, branch_from, snapshot, .. } = preflight;
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("into", environment.name.as_str());
    query.extend_pairs(branch_from.iter().map(|parent| ("branch_from", parent.as_str())));
    let parts = chosen(preflight);
    query.extend_pairs(parts.split(',').filter(|part| !part.is_empty()).map(|part| ("part", part)));
    let href = format!("{}?{}", at::new_ticket(&project.id, source, &snapshot.name), query.finish());
    let to = Door { href, refusal: present::refusal(offer) };
    let why = to.refusal.clone();
    let region = &project.region;
    let view = view! {
        <section class="panel" aria-labelledby="by-ticket">
            <header class="panel-head"><h2 id="by-ticket">{format!("In the region {region} support staff does this")}</h2></header>
            <p>
                "Snapshots are restored into another environment on a ticket here. File one: what is shown above is filled in, \
                 and you follow it on its page. Or ask the operator to move the project to a region that lets you do it yourself."
            </p>
            <div class="buttons">{door(to, Weight::Main, "ticket", "File a ticket", None, "ticket-reason".to_owned())}</div>
            {why.map(|text| reason("ticket-reason".to_owned(), text))}
        </section>
    };
    Some(view.into_any())
}

/// The chosen parts for the form; none: everything.
pub(super) fn chosen(preflight: &Preflight) -> String {
    if preflight.choices.iter().all(|(_, chosen)| *chosen) {
        return String::new();
    }
    let parts = preflight.choices.iter().filter(|(_, chosen)| *chosen).map(|(part, _)| part.clone());
    parts.collect::<Scope>().to_string()
}

/// Where to, and which parts (R21, R26): folded away as long as it is everything, into where it came from.
fn choice(preflight: &Preflight) -> Option<AnyView> {
    let Preflight { project, environment, source, branch_from, snapshot, choices, targets, branch, .. } = preflight;
    let mount = choices.iter().find_map(|(part, _)| match part {
        PartName::Mount(mount) => Some(format!("{mount}/")),
        _ => None,
    });
    let path = mount.map(|mount| {
        view! {
            <div class="field">
                <label for="path">"Only this path in a mount"</label>
                <input id="path" name="path" type="text" autocomplete="off" spellcheck="false" aria-describedby="path-hint"/>
                <p class="help" id="path-hint">
                    "Mount, slash, file or directory: "<span class="mono">{format!("{mount}…")}</span>
                    ". With a path, what is ticked above does not count."
                </p>
            </div>
        }
    });
    let open = environment.name != *source || choices.iter().any(|(_, chosen)| !chosen);
    let targets = targets.iter().map(|target| {
        let own = if target == source { " (where it was taken)" } else { "" };
        let (value, chosen) = (target.to_string(), *target == environment.name);
        view! { <option value=value.clone() selected=chosen>{format!("{value}{own}")}</option> }
    });
    let targets = targets.collect_view();
    let why_not = present::refusal(branch);
    let (closed, is_new) = (why_not.is_some(), branch_from.is_some());
    let name = is_new.then(|| environment.name.to_string());
    let new_name = (!closed).then(|| {
        view! {
            <div class="field new-name">
                <label for="new">"Name of the new environment"</label>
                <input id="new" name="new" value=name maxlength="63" autocapitalize="off" autocomplete="off"
                    pattern="[a-z0-9]([a-z0-9\\-]*[a-z0-9])?" aria-describedby="new-hint" spellcheck="false"/>
                <p class="help" id="new-hint">"Lower-case letters, digits and hyphens; left empty, one is made up."</p>
            </div>
        }
    });
    let parts = choices.iter().map(|(part, chosen)| {
        let words = sentence_start(&part.in_words());
        view! {
            <label class="check">
                <input type="checkbox" name="part" value=part.to_string() checked=*chosen/>
                <span>{words}</span>
            </label>
        }
    });
    let parts = parts.collect_view();
    let view = view! {
        <details class="panel fold" open=open>
            <summary>"Only some parts, or into another or a new environment"</summary>
            <form method="get" action=at::restore(&project.id, source, &snapshot.name) class="form">
                <input type="hidden" name="choice" value="1"/>
                <div class="field">
                    <label for="into">"Into"</label>
                    <select id="into" name="into" aria-describedby=closed.then_some("no-new")>
                        {targets}
                        <option value=NEW selected=is_new disabled=closed>"A new environment"</option>
                    </select>
                    {why_not.map(|text| reason("no-new".to_owned(), text))}
                </div>
                {new_name}
                <fieldset class="options">
                    <legend>"Parts"</legend>
                    {parts}
                </fieldset>
                {path}
                <div class="buttons"><button class="button">"Show what that would do"</button></div>
            </form>
        </details>
    };
    Some(view.into_any())
}

/// `before`: what was there at an earlier time, by the part's name, where that was looked at.
pub(super) fn overwritten(changes: Vec<Change>, is_new: bool, before: &WhenFiled) -> impl IntoView + use<> {
    let title = if is_new { "What it will hold" } else { "What will be overwritten" };
    let changes: Vec<_> = changes
        .into_iter()
        .map(|it| {
            let before = before.get(&it.part.name).filter(|before| **before != it.replaces).cloned();
            (it, before)
        })
        .collect();
    (!changes.is_empty()).then(|| {
        view! {
            <section class="panel" aria-labelledby="changes">
                <header class="panel-head"><h2 id="changes">{title}</h2></header>
                <ul class="changes">{changes.into_iter().map(|(it, before)| change(it, is_new, before)).collect_view()}</ul>
            </section>
        }
    })
}

/// With a capital letter.
pub(super) fn sentence_start(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

pub(super) fn hindered(obstacles: Vec<String>) -> impl IntoView {
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

fn change(change: Change, is_new: bool, before: Option<String>) -> AnyView {
    let before =
        before.map(|before| view! { <dd class="second">{format!("when the ticket was filed: {before}")}</dd> });
    let replaces = (!is_new).then(|| {
        view! { <div class="swap-out"><dt>"Now, will be replaced"</dt><dd>{change.replaces}</dd>{before}</div> }
    });
    view! {
        <li class="change">
            <p class="change-part">
                {icon(present::glyph_of(&change.part))}
                <span class="mono">{change.part.name.clone()}</span>
                <span class="second">{present::kind_of(&change.part)}</span>
            </p>
            <dl class="swap" class:swap-one=is_new>
                {replaces}
                <div class="swap-in"><dt>{if is_new { "Will be there" } else { "Afterwards" }}</dt><dd>{change.becomes}</dd></div>
            </dl>
        </li>
    }
    .into_any()
}

pub(super) fn list(id: &'static str, title: &'static str, glyph: &'static str, texts: Vec<String>) -> impl IntoView {
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
