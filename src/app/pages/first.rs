//! The snapshot that is offered before a change (R10), as a part of that change's form: ticked where it is advised.

use leptos::prelude::*;

use crate::app::flash::Flash;
use crate::app::present::{self, at};
use crate::app::views::reason;
use crate::domain::environment::Environment;
use crate::domain::policy::Advice;
use crate::domain::policy::retention::Eviction;

/// `action`: the form's; `before`: what it comes before, as in "before the merge".
pub fn first(
    (action, before): (&'static str, &'static str),
    environment: &Environment,
    advice: &Advice,
    eviction: &Eviction,
) -> AnyView {
    let refusal = present::refusal(&advice.offer());
    let closed = refusal.is_some();
    // A form that came back keeps what was chosen: an empty tick is not sent at all.
    let ticked = match Flash::problem_of(action).is_some() {
        true => Flash::kept(action, "first").is_some(),
        false => advice.is_ticked,
    };
    let name = environment.name.to_string();
    let names: Vec<String> = eviction.snapshots.iter().map(ToString::to_string).collect();
    let goes = (!names.is_empty() && !closed).then(|| {
        let links = eviction.snapshots.iter().map(|it| {
            let href = at::snapshot(&environment.project, &environment.name, it);
            view! { <a class="name" href=href>{it.to_string()}</a>" " }
        });
        let links = links.collect_view();
        view! {
            <p class="help" id="evict-hint">
                {format!("The plan keeps the newest {} manual snapshots. For another one goes, once it is complete: ", eviction.keeps)}
                {links}
                ". That can be taken back for 3 days."
            </p>
            <label class="check">
                <input type="checkbox" name="evict" value=names.join(",") aria-describedby="evict-hint"/>
                <span>"Let it go"</span>
            </label>
        }
    });
    view! {
        <fieldset class="options">
            <legend>"A snapshot first"</legend>
            <label class="check">
                <input
                    type="checkbox"
                    name="first"
                    value="1"
                    checked=ticked && !closed
                    disabled=closed
                    aria-describedby=if closed { "first-reason" } else { "first-hint" }
                />
                <span>{format!("Take a snapshot of {name} before {before}")}</span>
            </label>
            <p class="help" id="first-hint">
                {advice.newest.clone()}
                " It is taken first; if it fails, nothing else is done."
            </p>
            {refusal.map(|text| reason("first-reason".to_owned(), text))}
            {goes}
        </fieldset>
    }
    .into_any()
}
