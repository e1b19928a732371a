//! An environment as it lives: how it stands, its feed, its snapshots.

use leptos::either::Either;
use leptos::prelude::*;

use super::{Link, link_state};
use crate::app::model::{Entry, Kept, Overview};
use crate::app::views::{Weight, Zone, condition, door, entry, kept_head, kept_row, reason, use_zone};

/// Rows of a feed that was left open for long; older ones are a page away.
#[cfg(feature = "hydrate")]
const MOST: usize = 60;

/// `stream`: address of its events; `None`: an older page of the feed, which does not live.
#[island]
pub fn LiveEnvironment(
    stream: Option<String>,
    after: i64,
    overview: Overview,
    entries: Vec<Entry>,
    older: Option<String>,
) -> impl IntoView {
    let zone = use_zone();
    let link = RwSignal::new(Link::Off);
    let overview = RwSignal::new(overview);
    let rows = RwSignal::new(entries.into_iter().map(RwSignal::new).collect::<Vec<_>>());
    let is_first_page = stream.is_some();
    connect(stream, after, link, overview, rows);
    let refusal = move || overview.with(|overview| overview.restore_refusal.clone());

    view! {
        <div class="condition">
            {move || condition(overview.with(|overview| overview.condition.clone()))}
            <div class="condition-act">
                {move || {
                    let to = overview.with(|overview| overview.snapshot.clone());
                    door(to, Weight::Main, "snapshot", "Snapshot", None, "snapshot-reason".to_owned())
                }}
            </div>
            {move || {
                let text = overview.with(|overview| overview.snapshot.refusal.clone());
                text.map(|text| reason("snapshot-reason".to_owned(), text))
            }}
        </div>
        <div class="columns">
            <section class="panel" aria-labelledby="activity">
                <header class="panel-head">
                    <h2 id="activity">"Activity"</h2>
                    {link_state(link)}
                </header>
                {move || rows.with(Vec::is_empty).then(no_activity)}
                <div class="feed">
                    <For each=move || rows.get() key=|row| row.with_untracked(|row| row.id.clone()) let:row>
                        {move || entry(row.get(), zone.get(), refusal())}
                    </For>
                </div>
                <nav class="pager" aria-label="Pages of the feed">
                    {(!is_first_page).then(|| view! { <a class="button" href="?">"Newest activity"</a> })}
                    {older.map(|href| view! { <a class="button" href=href>"Older activity"</a> })}
                </nav>
            </section>
            <section class="panel" aria-labelledby="snapshots">
                <header class="panel-head">
                    <h2 id="snapshots">"Snapshots"</h2>
                    <span class="panel-note">{move || overview.with(|overview| counted(overview.snapshots.len()))}</span>
                </header>
                {move || refusal().map(|text| reason("restore-reason".to_owned(), text))}
                {move || snapshots(overview.with(|overview| overview.snapshots.clone()), zone.get(), refusal())}
            </section>
        </div>
    }
}

fn snapshots(snapshots: Vec<Kept>, zone: Zone, refusal: Option<String>) -> impl IntoView {
    if snapshots.is_empty() {
        let empty = view! {
            <div class="empty">
                <p class="empty-title">"No snapshots yet."</p>
                <p>
                    "A snapshot holds the databases and files of this environment at one instant. Take one before \
                     anything that you may want to take back: a deployment, an import, a merge."
                </p>
            </div>
        };
        return Either::Left(empty);
    }
    let rows = snapshots.into_iter().map(|kept| kept_row(kept, zone, refusal.clone())).collect_view();
    Either::Right(view! {
        <table class="kept">
            <caption class="unseen">"Snapshots, newest first"</caption>
            {kept_head()}
            <tbody>{rows}</tbody>
        </table>
    })
}

fn no_activity() -> impl IntoView {
    view! {
        <div class="empty">
            <p class="empty-title">"Nothing has happened here yet."</p>
            <p>"Snapshots and restores appear here as soon as somebody asks for them, with who it was and how it went."</p>
        </div>
    }
}

fn counted(number: usize) -> String {
    match number {
        0 => String::new(),
        1 => "1, newest first".to_owned(),
        number => format!("{number}, newest first"),
    }
}

#[cfg(feature = "hydrate")]
fn connect(
    stream: Option<String>,
    after: i64,
    link: RwSignal<Link>,
    overview: RwSignal<Overview>,
    rows: RwSignal<Vec<RwSignal<Entry>>>,
) {
    let Some(address) = stream else { return };
    let owner = Owner::current();
    let stream = super::stream::Stream::new(address, after, link);
    stream.on("overview", move |new: Overview| overview.set(new));
    stream.on("entry", move |new: Entry| {
        let known =
            rows.with_untracked(|rows| rows.iter().copied().find(|row| row.with_untracked(|row| row.id == new.id)));
        if let Some(row) = known {
            row.set(new);
            return;
        }
        // A signal belongs to an owner, and an event has none of its own: the island's.
        let row = owner
            .as_ref()
            .map_or_else(|| RwSignal::new(new.clone()), |owner| owner.with(|| RwSignal::new(new.clone())));
        rows.update(|rows| {
            rows.insert(0, row);
            rows.truncate(MOST);
        });
    });
    stream.open();
}

#[cfg(not(feature = "hydrate"))]
fn connect(_: Option<String>, _: i64, _: RwSignal<Link>, _: RwSignal<Overview>, _: RwSignal<Vec<RwSignal<Entry>>>) {}
