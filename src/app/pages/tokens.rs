//! `/tokens`: API tokens, for the command line and other programs (R4).

use leptos::prelude::*;

use crate::app::flash::Flash;
use crate::app::islands::CopyButton;
use crate::app::page::{form_number, heading, load, problem};
use crate::app::present;
use crate::app::views::{date, icon};
use crate::domain::environment::EnvironmentKind;
use crate::domain::policy::Act;
use crate::domain::problem::sentence;
use crate::domain::view::{TokenEntry, TokenPlace, TokensPage};
use crate::ops;

#[component]
pub fn Tokens() -> impl IntoView {
    load(|visit| async move { ops::tokens::page(&visit.app, &visit.actor).await }, show)
}

fn show(page: TokensPage) -> AnyView {
    let TokensPage { tokens, places } = page;
    view! {
        <div class="head">
            {heading("API tokens".to_owned(), Vec::new())}
            <p class="lead">
                "For the command line and other programs. A token may do what you may do at that moment, and never more."
            </p>
        </div>
        {made()}
        <div class="columns columns-even">
            <section class="panel" aria-labelledby="new">
                <header class="panel-head"><h2 id="new">"Make a token"</h2></header>
                {problem("make-token")}
                {form(places)}
            </section>
            <section class="panel" aria-labelledby="tokens">
                <header class="panel-head"><h2 id="tokens">"Your tokens"</h2></header>
                {problem("revoke-token")}
                {list(tokens)}
            </section>
        </div>
    }
    .into_any()
}

/// The new token's text, this once.
fn made() -> impl IntoView {
    let Some(Flash::Token { name, text }) = Flash::here() else { return None };
    Some(view! {
        <section class="made" role="status" aria-labelledby="made">
            <h2 id="made">{format!("The token “{name}” is made")}</h2>
            <p>"Copy it now: it is shown this once, and kept only as a hash."</p>
            <p class="made-text"><code class="mono">{text.clone()}</code><CopyButton text=text/></p>
        </section>
    })
}

fn form(places: Vec<TokenPlace>) -> AnyView {
    let kept = |field| Flash::kept("make-token", field);
    let days = kept("expires_in_days").unwrap_or_else(|| "90".to_owned());
    let choices = [("7", "in 7 days"), ("30", "in 30 days"), ("90", "in 90 days"), ("365", "in a year"), ("", "never")];
    let choices = choices.into_iter().map(|(value, text)| {
        let chosen = value == days;
        view! { <option value=value selected=chosen>{text}</option> }
    });
    view! {
        <form method="post" action="/actions/make-token" class="form">
            {form_number()}
            <div class="field">
                <label for="name">"Name"</label>
                <input id="name" name="name" maxlength="100" required placeholder="nightly cron" value=kept("name")/>
            </div>
            <div class="field">
                <label for="expires">"Expires"</label>
                <select id="expires" name="expires_in_days">{choices.collect_view()}</select>
            </div>
            {place(places, kept("place").unwrap_or_default())}
            <fieldset class="options">
                <legend>"Types of environment"</legend>
                {ticks(EnvironmentKind::ALL.map(|kind| (format!("types[{kind}]"), present::type_word(kind).to_owned())))}
                <p class="help">"None ticked: all types."</p>
            </fieldset>
            <label class="check">
                <input type="checkbox" name="read_only" value="on" checked=kept("read_only").is_some()/>
                <span>"Read only: may list, may not take or restore snapshots"</span>
            </label>
            <details class="more" open=is_acts_kept()>
                <summary>"Only for some acts"</summary>
                <fieldset class="options">
                    <legend>"Beside reading, it may be used for"</legend>
                    {ticks(acts())}
                    <p class="help">"None ticked: whatever you may do yourself at that moment."</p>
                </fieldset>
            </details>
            <button class="button button-main">{icon("key")}<span>"Make the token"</span></button>
        </form>
    }
    .into_any()
}

/// Everything, one project, or one environment.
fn place(places: Vec<TokenPlace>, chosen: String) -> AnyView {
    let groups = places.into_iter().map(|TokenPlace { project, environments }| {
        let options = environments.into_iter().map(|environment| {
            let value = format!("{}/{}", project.id, environment.id);
            let is_chosen = value == chosen;
            view! { <option value=value selected=is_chosen>{format!("{} of {}", environment.name, project.id)}</option> }
        });
        let options = options.collect_view();
        let (id, is_chosen) = (project.id.to_string(), project.id.as_str() == chosen);
        view! {
            <optgroup label=project.title>
                <option value=id selected=is_chosen>{format!("{}, all environments", project.id)}</option>
                {options}
            </optgroup>
        }
    });
    let groups = groups.collect_view();
    view! {
        <div class="field">
            <label for="place">"Where it works"</label>
            <select id="place" name="place"><option value="">"Everywhere"</option>{groups}</select>
        </div>
    }
    .into_any()
}

/// What reads alone needs no tick.
fn acts() -> impl Iterator<Item = (String, String)> {
    let acts = Act::ALL.into_iter().filter(|act| !act.reads_only());
    acts.map(|act| (format!("acts[{}]", act.word()), sentence(act.gerund()).trim_end_matches('.').to_owned()))
}

fn is_acts_kept() -> bool {
    acts().any(|(name, _)| Flash::kept("make-token", &name).is_some())
}

fn ticks(all: impl IntoIterator<Item = (String, String)>) -> impl IntoView {
    let all = all.into_iter().map(|(name, text)| {
        let is_kept = Flash::kept("make-token", &name).is_some();
        view! {
            <label class="check"><input type="checkbox" name=name value="on" checked=is_kept/><span>{text}</span></label>
        }
    });
    all.collect_view()
}

fn list(tokens: Vec<TokenEntry>) -> impl IntoView {
    if tokens.is_empty() {
        let empty = view! {
            <div class="empty">
                <p class="empty-title">"No tokens yet."</p>
                <p>"Make one, then give it to the command line:"</p>
                <pre tabindex="0"><code>"export STILLPOINT_TOKEN=…\nstillpoint snapshots --project demo --environment main"</code></pre>
            </div>
        };
        return empty.into_any();
    }
    view! { <ul class="tokens">{tokens.into_iter().map(token).collect_view()}</ul> }.into_any()
}

fn token(token: TokenEntry) -> AnyView {
    let instant = |instant| date(present::moment(instant));
    let expires = match token.expires_at {
        Some(at) => view! { <span>"expires "{instant(at)}</span> }.into_any(),
        None => view! { <span>"does not expire"</span> }.into_any(),
    };
    let used = match token.last_used_at {
        Some(at) => view! { <span>"last used "{instant(at)}</span> }.into_any(),
        None => view! { <span>"never used"</span> }.into_any(),
    };
    let label = format!(" {}", token.name);
    view! {
        <li class="token">
            <div>
                <p class="token-name">
                    {token.name}
                    {token.narrowed.into_iter().map(|bound| view! { <span class="tag">{bound}</span> }).collect_view()}
                </p>
                <p class="facts"><span>"made "{instant(token.created_at)}</span>{used}{expires}</p>
            </div>
            <form method="post" action="/actions/revoke-token">
                {form_number()}
                <input type="hidden" name="token" value=token.id.to_string()/>
                <button class="button button-small">
                    {icon("trash")}<span>"Revoke"<span class="unseen">{label}</span></span>
                </button>
            </form>
        </li>
    }
    .into_any()
}
