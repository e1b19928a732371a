//! One activity in a feed.

use leptos::prelude::*;

use super::{Weight, badge, date, door, icon};
use crate::app::model::{Door, Entry, Stage};

/// `refusal_shown`: the reason that stands above the list, under the id `restore-reason`; a row repeats only others.
pub fn entry(entry: Entry, refusal_shown: Option<String>) -> impl IntoView {
    let Entry { id, href, glyph, stage, who, what, at, took, percent, failure, .. } = entry;
    let Entry { snapshot, made, restore, undo, .. } = entry;
    let name = snapshot.as_ref().map(|(name, _)| name.clone());
    let heading = format!("about-{id}");
    let own_reason = format!("reason-{id}");
    let refusal = restore.as_ref().or(undo.as_ref()).and_then(|door| door.refusal.clone());
    let (described_by, own) = match refusal {
        Some(text) if Some(&text) == refusal_shown.as_ref() => ("restore-reason".to_owned(), None),
        Some(text) => (own_reason.clone(), Some(text)),
        None => (String::new(), None),
    };
    let act = |to: Option<Door>, glyph: &'static str, word: &'static str| {
        to.map(|to| door(to, Weight::Small, glyph, word, name.clone(), described_by.clone()))
    };
    let restore = act(restore, "restore", "Restore");
    let undo = act(undo, "undo", "Undo");
    view! {
        <article
            id=format!("activity-{id}")
            class=format!("entry tone-{}", stage.tone().class())
            aria-labelledby=heading.clone()
        >
            <span class="entry-mark">{icon(glyph)}</span>
            <div class="entry-body">
                <h3 class="entry-text" id=heading.clone()>
                    <a href=href><span class="entry-who">{who}</span>" "{what}</a>
                </h3>
                <p class="entry-meta">
                    {stage_word(stage)}
                    {date(at)}
                </p>
                <p class="entry-meta">
                    {snapshot.into_iter().chain(made).map(|(name, href)| view! { <a class="name" href=href>{name}</a> }).collect_view()}
                    {took.map(|took| view! { <span>{format!("took {took}")}</span> })}
                </p>
                {(!stage.is_over()).then(|| progress_bar(stage, percent))}
                {failure.map(|failure| view! { <p class="entry-failure">{failure}</p> })}
                {own.map(|text| super::reason(own_reason, text))}
            </div>
            <div class="entry-acts">{restore}{undo}</div>
        </article>
    }
}

pub fn stage_word(stage: Stage) -> impl IntoView {
    badge(stage.tone(), stage.glyph(), stage.word())
}

/// Bytes read of bytes known (R19).
pub fn progress_bar(stage: Stage, percent: u16) -> impl IntoView {
    let label = if stage == Stage::Waiting { "Waiting".to_owned() } else { format!("{percent} %") };
    view! {
        <p class="bar">
            <progress max="100" value=percent.to_string() aria-label="Progress"></progress>
            <span class="bar-label">{label}</span>
        </p>
    }
}
