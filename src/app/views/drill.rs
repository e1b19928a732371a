//! What came of a restore that was tried.

use leptos::prelude::*;

use super::{date, icon};
use crate::app::present::{self, at};
use crate::domain::drill::Drill;
use crate::domain::ids::ProjectId;

/// What a drill proved (R29).
pub fn report(project: &ProjectId, drill: Drill) -> AnyView {
    let file = at::report(project, &drill.activity);
    let unproven = unproven(&drill);
    let is_empty = drill.parts.is_empty();
    let failed = drill.failure.clone().map(|failure| {
        let part = failure.part.map(|part| view! { <span class="mono">{part.to_string()}</span>" " });
        view! { <h3>"Not restorable"</h3><p>{part}{failure.reason}</p> }
    });
    let took = if failed.is_some() { "Failed after" } else { "Loaded and checked in" };
    let rows = drill.parts.into_iter().map(|part| {
        view! {
            <tr>
                <th scope="row" data-label="Part" class="mono">{part.part.to_string()}</th>
                <td data-label="As the snapshot recorded it">{part.proven}</td>
                <td data-label="Took">{present::micros(part.took_us)}</td>
            </tr>
        }
    });
    view! {
        <section class="panel" aria-labelledby="report">
            <header class="panel-head">
                <h2 id="report">"Report"</h2>
                <a class="button button-small" href=file download="">{icon("download")}<span>"JSON"</span></a>
            </header>
            <dl class="figures">
                <div><dt>"Snapshot"</dt><dd class="mono">{drill.snapshot.to_string()}</dd></div>
                <div><dt>"Shows"</dt><dd>{date(present::moment(drill.taken_at))}</dd></div>
                <div><dt>{took}</dt><dd>{present::micros(drill.took_us)}</dd></div>
            </dl>
            {failed}
            {unproven}
            <table class="plain" hidden=is_empty>
                <caption>"What was loaded beside the live data and is as the snapshot recorded it"</caption>
                <thead>
                    <tr>
                        <th scope="col">"Part"</th>
                        <th scope="col">"As the snapshot recorded it"</th>
                        <th scope="col">"Took"</th>
                    </tr>
                </thead>
                <tbody>{rows.collect_view()}</tbody>
            </table>
        </section>
    }
    .into_any()
}

/// What could not be tried, and why.
fn unproven(drill: &Drill) -> Option<AnyView> {
    let left = drill.unproven.iter().map(|left| {
        view! { <li><span class="mono">{left.part.to_string()}</span>" "{left.why.clone()}</li> }
    });
    (!drill.unproven.is_empty()).then(|| {
        view! {
            <h3>"Not proven"</h3>
            <ul class="plain">{left.collect_view()}</ul>
        }
        .into_any()
    })
}
