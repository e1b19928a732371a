//! The live part of an environment's page: how it stands, its feed, its snapshots.

use leptos::prelude::*;

use super::{Weight, condition, door, entry, kept_table, link, live, reason};
use crate::app::model::{Entry, Kept, Overview};

/// `stream`: as in [`live`]; none: an older page of the feed, which does not live. `older`: address of the next page.
pub fn environment(
    stream: Option<(String, i64)>,
    overview: Overview,
    entries: Vec<Entry>,
    older: Option<String>,
) -> AnyView {
    let newest = stream.is_none().then(|| view! { <a class="button" href="?">"Newest activity"</a> });
    let nothing = entries.is_empty().then(no_activity);
    let refusal = overview.restore_refusal.clone();
    let rows = entries.into_iter().map(|row| entry(row, refusal.clone())).collect_view();
    let [(_, status), (_, acts), (_, kept)] = environment_parts(overview);
    let content = view! {
        <div class="condition">
            <div id="status" role="status">{status}</div>
            <div id="acts" class="live-part">{acts}</div>
        </div>
        <div class="columns">
            <section class="panel" aria-labelledby="activity">
                <header class="panel-head"><h2 id="activity">"Activity"</h2>{link()}</header>
                {nothing}
                <div class="feed" id="feed">{rows}</div>
                <nav class="pager" aria-label="Pages of the feed">
                    {newest} {older.map(|href| view! { <a class="button" href=href>"Older activity"</a> })}
                </nav>
            </section>
            <section class="panel" id="kept" aria-labelledby="snapshots">{kept}</section>
        </div>
    };
    live(stream, content.into_any())
}

/// What changes beside the feed: ids of elements, and what fills them.
pub fn environment_parts(overview: Overview) -> [(&'static str, AnyView); 3] {
    let Overview { condition: stands, aside, snapshot, restore_refusal, snapshots } = overview;
    let aside = aside.into_iter().map(|text| view! { <p class="help">{text}</p> }).collect_view();
    let status = view! { {condition(stands)} {aside} };
    let why = snapshot.refusal.clone().map(|text| reason("snapshot-reason".to_owned(), text));
    let snapshot = door(snapshot, Weight::Main, "snapshot", "Snapshot", None, "snapshot-reason".to_owned());
    let acts = view! { <div class="condition-act">{snapshot}</div> {why} };
    [("status", status.into_any()), ("acts", acts.into_any()), ("kept", kept(snapshots, restore_refusal))]
}

fn kept(snapshots: Vec<Kept>, refusal: Option<String>) -> AnyView {
    let number = match snapshots.len() {
        0 => String::new(),
        number => format!("{number}, newest first"),
    };
    let list = if snapshots.is_empty() {
        no_snapshots().into_any()
    } else {
        kept_table("Snapshots, newest first", snapshots, &refusal).into_any()
    };
    view! {
        <header class="panel-head">
            <h2 id="snapshots">"Snapshots"</h2>
            <span class="panel-note">{number}</span>
        </header>
        {refusal.map(|text| reason("restore-reason".to_owned(), text))}
        {list}
    }
    .into_any()
}

fn no_snapshots() -> impl IntoView {
    view! {
        <div class="empty">
            <p class="empty-title">"No snapshots yet."</p>
            <p>
                "A snapshot holds the databases and files of this environment at one instant. Take one before \
                 anything that you may want to take back: a deployment, an import, a merge."
            </p>
        </div>
    }
}

fn no_activity() -> impl IntoView {
    view! {
        <div class="empty">
            <p class="empty-title">"Nothing has happened here yet."</p>
            <p>"Snapshots and restores appear here as soon as somebody asks for them, with who it was and how it went."</p>
        </div>
    }
}
