//! An activity as it runs: how it stands, its progress, its log.

use leptos::prelude::*;

use super::{Link, link_state};
use crate::app::model::{Line, Progress};
use crate::app::views::{
    Clock, Weight, condition, door, icon, kept_head, kept_row, progress_bar, reason, time, use_zone,
};

/// What the form that cancels sends.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Cancel {
    pub project: String,
    pub activity: String,
    pub form: String,
}

/// `stream`: address of its events; `None`: it is over and its log is sealed.
#[island]
pub fn LiveActivity(stream: Option<String>, progress: Progress, lines: Vec<Line>, cancel: Cancel) -> impl IntoView {
    let zone = use_zone();
    let link = RwSignal::new(Link::Off);
    let progress = RwSignal::new(progress);
    let lines = RwSignal::new(lines);
    connect(stream, link, progress, lines);

    let bar = move || {
        let (stage, percent) = progress.with(|progress| (progress.entry.stage, progress.entry.percent));
        (!stage.is_over()).then(|| progress_bar(stage, percent))
    };
    view! {
        <div class="condition">
            {move || condition(progress.with(|progress| progress.condition.clone()))}
            <div class="condition-act">{move || acts(progress.get(), cancel.clone())}</div>
            {bar}
        </div>
        {move || {
            let made = progress.with(|progress| progress.made.clone());
            made.map(|kept| {
                view! {
                    <section class="panel" aria-labelledby="made">
                        <header class="panel-head"><h2 id="made">"The snapshot"</h2></header>
                        <table class="kept">{kept_head()}<tbody>{kept_row(kept, zone.get(), None)}</tbody></table>
                    </section>
                }
            })
        }}
        <section class="panel" aria-labelledby="log">
            <header class="panel-head"><h2 id="log">"Log"</h2>{link_state(link)}</header>
            {move || lines.with(Vec::is_empty).then(|| view! { <p class="empty">"No lines yet."</p> })}
            <ol class="log" tabindex="0" aria-label="Log lines">
                <For each=move || lines.get() key=|line| line.seq let:line>
                    <li>
                        {let at = line.at.clone(); move || time(at.clone(), zone.get(), Clock::Seconds)}
                        <span>{line.message}</span>
                    </li>
                </For>
            </ol>
        </section>
    }
}

fn acts(progress: Progress, cancel: Cancel) -> impl IntoView {
    let entry = progress.entry;
    let refusal = |door: &Option<crate::app::model::Door>| door.as_ref().and_then(|door| door.refusal.clone());
    let why = refusal(&entry.cancel).or(refusal(&entry.restore)).or(refusal(&entry.undo));
    let name = entry.snapshot.map(|(name, _)| name);
    let by = || "act-reason".to_owned();
    let restore = entry.restore.map(|to| door(to, Weight::Main, "restore", "Restore", name.clone(), by()));
    let undo = entry.undo.map(|to| door(to, Weight::Main, "undo", "Undo", None, by()));
    let cancel = entry.cancel.map(|to| {
        let refused = to.refusal.is_some();
        view! {
            <form method="post" action="/actions/cancel">
                <input type="hidden" name="project" value=cancel.project/>
                <input type="hidden" name="activity" value=cancel.activity/>
                <input type="hidden" name="form" value=cancel.form/>
                <button class="button" disabled=refused aria-describedby=refused.then(by)>
                    {icon("cross")}<span>"Cancel"</span>
                </button>
            </form>
        }
    });
    view! { {restore}{undo}{cancel}{why.map(|text| reason(by(), text))} }
}

#[cfg(feature = "hydrate")]
fn connect(stream: Option<String>, link: RwSignal<Link>, progress: RwSignal<Progress>, lines: RwSignal<Vec<Line>>) {
    let Some(address) = stream else { return };
    let last = lines.with_untracked(|lines| lines.last().map_or(0, |line| line.seq));
    let stream = super::stream::Stream::new(address, last, link);
    stream.on("progress", move |new: Progress| progress.set(new));
    stream.on("log", move |new: Vec<Line>| {
        let last = lines.with_untracked(|lines| lines.last().map_or(0, |line| line.seq));
        lines.update(|lines| lines.extend(new.into_iter().filter(|line| line.seq > last)));
    });
    stream.open();
}

#[cfg(not(feature = "hydrate"))]
fn connect(_: Option<String>, _: RwSignal<Link>, _: RwSignal<Progress>, _: RwSignal<Vec<Line>>) {}
