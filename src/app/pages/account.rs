//! `/account`: one's own password, sessions and roles.

use leptos::prelude::*;

use super::join::new_password;
use crate::app::page::{done, form_number, heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{date, icon};
use crate::domain::bytes::counted;
use crate::domain::view::{AccountPage, SessionEntry};
use crate::ops;

#[component]
pub fn Account() -> impl IntoView {
    load(|visit| async move { ops::account::page(&visit.app, &visit.actor, &visit.session).await }, show)
}

fn show(page: AccountPage) -> AnyView {
    let AccountPage { me, created_at, sessions, tokens, projects } = page;
    let words = [(me.operator, "operator"), (me.support, "support")].into_iter().filter(|(is, _)| *is);
    let words = words.map(|(_, word)| view! { <span class="tag">{word}</span> }).collect_view();
    let others = sessions.iter().any(|session| !session.is_this);
    let nowhere = projects.is_empty().then(|| view! { <p class="empty">"You are a member of no project."</p> });
    let projects = projects.into_iter().map(|(project, roles)| {
        view! {
            <li class="token">
                <p class="token-name"><a href=at::project(&project.id)>{project.title}</a></p>
                <p class="facts"><span>{roles.to_string()}</span></p>
            </li>
        }
    });
    view! {
        <div class="head">
            {heading("Account".to_owned(), Vec::new())}
            <p class="facts">
                <span>{me.email.clone()}</span>{words}<span>"since "{date(present::moment(created_at))}</span>
            </p>
        </div>
        {done()}
        <div class="columns columns-even">
            <section class="panel" aria-labelledby="password-title">
                <header class="panel-head"><h2 id="password-title">"Password"</h2></header>
                {problem("change-password")}
                <form method="post" action="/actions/change-password" class="form">
                    {form_number()}
                    <input type="hidden" name="email" autocomplete="username" value=me.email/>
                    <div class="field">
                        <label for="present">"Present password"</label>
                        <input id="present" name="present" type="password" autocomplete="current-password" required/>
                    </div>
                    {new_password()}
                    <button class="button button-main">{icon("key")}<span>"Change the password"</span></button>
                    <p class="help">
                        "Your other sessions end. API tokens stay: "
                        <a href="/tokens">{counted(tokens, "token")}</a>
                        ", each with a life of its own."
                    </p>
                </form>
            </section>
            <div class="stack">
                <section class="panel" aria-labelledby="sessions">
                    <header class="panel-head"><h2 id="sessions">"Where you are logged in"</h2></header>
                    {problem("end-sessions")}
                    <ul class="tokens">{sessions.into_iter().map(session).collect_view()}</ul>
                    <form method="post" action="/actions/end-sessions">
                        {form_number()}
                        <button class="button" disabled=!others>
                            {icon("leave")}<span>"End all other sessions"</span>
                        </button>
                    </form>
                </section>
                <section class="panel" aria-labelledby="projects">
                    <header class="panel-head"><h2 id="projects">"Your projects"</h2></header>
                    {nowhere}
                    <ul class="tokens">{projects.collect_view()}</ul>
                </section>
            </div>
        </div>
    }
    .into_any()
}

fn session(session: SessionEntry) -> AnyView {
    let SessionEntry { since, address, is_this } = session;
    view! {
        <li class="token">
            <p class="token-name">
                {address.unwrap_or_else(|| "unknown address".to_owned())}
                {is_this.then(|| view! { <span class="tag tag-strong">"this one"</span> })}
            </p>
            <p class="facts">{since.map(|at| view! { <span>"since "{date(present::moment(at))}</span> })}</p>
        </li>
    }
    .into_any()
}
