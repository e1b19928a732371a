//! `…/environments/:e/remove`: what goes, what stays, and what is kept, before it is asked for.

use leptos::prelude::*;

use super::removing::by_name;
use crate::app::flash::Flash;
use crate::app::page::{form_number, heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{icon, reason};
use crate::app::visit;
use crate::authz::ViewHistory;
use crate::domain::bytes::counted;
use crate::domain::environment::EnvironmentKind;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::domain::view::{Part, RemovalPage};
use crate::ops;

#[component]
pub fn RemoveEnvironment() -> impl IntoView {
    load(
        |visit| async move {
            let (project, environment): (ProjectId, EnvironmentName) =
                (visit::param("project")?, visit::param("environment")?);
            let proof = visit.app.authorize_environment::<ViewHistory>(&visit.actor, &project, &environment).await?;
            ops::removal::page(&visit.app, &proof).await
        },
        show,
    )
}

fn show(page: RemovalPage) -> AnyView {
    let RemovalPage { project, environment, offer, weight, hosts, deleted, stays, snapshots, waiting, last } = page;
    let refusal = present::refusal(&offer);
    let name = environment.name.to_string();
    let back = at::environment(&project.id, &environment.name);
    let way = vec![
        ("/".to_owned(), "Projects".to_owned()),
        (at::project(&project.id), project.title.clone()),
        (back.clone(), environment.title.clone()),
    ];
    let goes = deleted.clone();
    let last_refusal = present::refusal(&last);
    let last_closed = last_refusal.is_some();
    let kept = |field| Flash::kept("remove-environment", field);
    let is_ticked = match kept("typed") {
        Some(_) => kept("last").is_some(),
        None => !deleted.is_empty(),
    };
    let is_ticked = is_ticked && !last_closed;
    let all_the_same = kept("even_live").is_some();
    view! {
        <div class="narrow">
            <div class="head">
                {heading(format!("Remove {name}"), way)}
                <p class="lead">"It is taken out of the console: out of the lists, its schedules, and its addresses."</p>
            </div>
            {problem("remove-environment")}
            <section class="panel" aria-labelledby="what">
                <header class="panel-head"><h2 id="what">"What will happen"</h2></header>
                <ul class="ticks">
                    {(!hosts.is_empty()).then(|| line("globe", format!("No longer served: {}.", hosts.join(", "))))}
                    {goes.into_iter().map(|what| line("trash", format!("Deleted: {what}."))).collect_view()}
                    {(!stays.is_empty()).then(|| line("folder", staying(&stays)))}
                    {(waiting > 0).then(|| {
                        line("clock", format!("{} that did not begin: cancelled.", counted(waiting, "activity")))
                    })}
                    {line("snapshot", keeping(snapshots, environment.kind))}
                    {line("check", "The feed stays, and what links to it.".to_owned())}
                </ul>
                <p class="panel-note">"What runs there now is waited for."</p>
            </section>
            <form method="post" action="/actions/remove-environment" class="form panel">
                {form_number()}
                <input type="hidden" name="project" value=project.id.to_string()/>
                <input type="hidden" name="environment" value=name.clone()/>
                <fieldset class="options">
                    <legend>"Before"</legend>
                    <label class="check">
                        <input
                            type="checkbox"
                            name="last"
                            value="on"
                            checked=is_ticked
                            disabled=last_closed
                            aria-describedby=last_closed.then_some("last-reason")
                        />
                        <span>"Take a last snapshot. Without it nothing is removed."</span>
                    </label>
                    {last_refusal.map(|text| reason("last-reason".to_owned(), text))}
                    {weight.map(|why| view! {
                        <label class="check">
                            <input type="checkbox" name="even_live" value="on" required checked=all_the_same/>
                            <span>{format!("{why} Remove it all the same.")}</span>
                        </label>
                    })}
                </fieldset>
                {by_name("Its name", &name, back, refusal)}
            </form>
        </div>
    }
    .into_any()
}

fn keeping(snapshots: u64, kind: EnvironmentKind) -> String {
    match snapshots {
        0 => "There is no snapshot of it: once it is removed, nothing brings it back here.".to_owned(),
        some => format!(
            "{}: kept as long as the plan says. An admin of {kind} environments can restore them into another environment.",
            counted(some, "snapshot"),
        ),
    }
}

fn staying(parts: &[Part]) -> String {
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    format!("Untouched, where they are: {}. Whoever runs the site removes them, if they are to go.", names.join(", "))
}

fn line(glyph: &'static str, text: String) -> impl IntoView {
    view! { <li>{icon(glyph)}<span>{text}</span></li> }
}
