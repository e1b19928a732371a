//! The live part of an activity's page: how it stands, its progress, its log.

use leptos::prelude::*;

use super::drill::report;
use super::{Clock, Weight, condition, door, icon, kept_table, link, live, progress_bar, reason, stage_word, time};
use crate::app::model::{Cancel, Door, Entry, Kept, Line, Progress};

/// `stream`: as in [`live`]; none: it is over and its log is sealed.
pub fn activity(stream: Option<(String, i64)>, progress: Progress, lines: Vec<Line>, cancel: Cancel) -> AnyView {
    let nothing = lines.is_empty().then(|| view! { <p class="empty">"No lines yet."</p> });
    let [_, (_, status), (_, acts), (_, bar), (_, made), (_, proof)] = activity_parts(progress, cancel);
    let content = view! {
        <div class="condition">
            <div id="status" role="status">{status}</div>
            <div id="acts" class="live-part">{acts}</div>
            <div id="bar" class="live-part">{bar}</div>
        </div>
        <div id="made" class="live-part">{made}</div>
        <div id="proof" class="live-part">{proof}</div>
        <section class="panel" aria-labelledby="log-title">
            <header class="panel-head"><h2 id="log-title">"Log"</h2>{link()}</header>
            {nothing}
            <ol class="log" id="log" tabindex="0" aria-label="Log lines">{lines.into_iter().map(line).collect_view()}</ol>
        </section>
    };
    live(stream, content.into_any())
}

/// What changes beside the log: ids of elements, and what fills them.
pub fn activity_parts(progress: Progress, cancel: Cancel) -> [(&'static str, AnyView); 6] {
    let Progress { entry, condition: stands, made, drill } = progress;
    let (stage, percent) = (entry.stage, entry.percent);
    let end = end(&entry);
    let bar = (!stage.is_over()).then(|| progress_bar(stage, percent));
    [
        ("end", end),
        ("status", condition(stands).into_any()),
        ("acts", acts(entry, cancel)),
        ("bar", bar.into_any()),
        ("made", made.map(snapshot).into_any()),
        ("proof", drill.map(|(project, drill)| report(&project, drill)).into_any()),
    ]
}

/// How it ended and how long it took, for the element `end` of the page's head; nothing while it goes on.
pub fn end(entry: &Entry) -> AnyView {
    let stage = entry.stage;
    let took = entry.took.clone().map(|took| view! { <span>{format!("took {took}")}</span> });
    stage.is_over().then(|| view! { {stage_word(stage)} {took} }).into_any()
}

pub fn line(line: Line) -> impl IntoView {
    view! { <li>{time(line.at, Clock::Seconds)}<span>{line.message}</span></li> }
}

fn snapshot(made: Kept) -> impl IntoView {
    view! {
        <section class="panel" aria-labelledby="snapshot">
            <header class="panel-head"><h2 id="snapshot">"The snapshot"</h2></header>
            {kept_table("The snapshot that this activity made", vec![made], &None)}
        </section>
    }
}

fn acts(entry: Entry, cancel: Cancel) -> AnyView {
    let refusal = |door: &Option<Door>| door.as_ref().and_then(|door| door.refusal.clone());
    let why = refusal(&entry.cancel).or(refusal(&entry.restore)).or(refusal(&entry.undo));
    let name = entry.snapshot.map(|(name, _)| name);
    let open = entry.made.map(|(name, href)| {
        view! { <a class=Weight::Main.class() href=href>{icon("branch")} <span>{format!("Open {name}")}</span></a> }
    });
    let by = || "act-reason".to_owned();
    let restore = entry.restore.map(|to| door(to, Weight::Main, "restore", "Restore", name, by()));
    let undo = entry.undo.map(|to| door(to, Weight::Main, "undo", "Undo", None, by()));
    let cancel = entry.cancel.map(|to| {
        let refused = to.refusal.is_some();
        view! {
            <form method="post" action="/actions/cancel">
                <input type="hidden" name="project" value=cancel.project/>
                <input type="hidden" name="activity" value=cancel.activity/>
                <input type="hidden" name="form" value=cancel.form/>
                <button class="button" id="cancel" disabled=refused aria-describedby=refused.then(by)>
                    {icon("cross")}<span>"Cancel"</span>
                </button>
            </form>
        }
    });
    let why = why.map(|text| reason(by(), text));
    view! { <div class="condition-act">{open}{restore}{undo}{cancel}{why}</div> }.into_any()
}
