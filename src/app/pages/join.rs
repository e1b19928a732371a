//! `/join?code=…`: what an invitation's link leads to.

use http::StatusCode;
use leptos::prelude::*;
use leptos_axum::ResponseOptions;
use leptos_meta::Title;

use crate::app::local::LocalPath;
use crate::app::page::{load_open, problem};
use crate::app::visit::{self, Visit};
use crate::domain::Secret;
use crate::domain::policy::Refusal;
use crate::domain::view::Joining;
use crate::ops;

#[component]
pub fn Join() -> impl IntoView {
    let code = Secret::new(visit::query("code").unwrap_or_default());
    let work = async move {
        let actor = Visit::here().await.ok().map(|visit| visit.actor);
        let joining = ops::invitations::look(&visit::application()?, &code, actor.as_ref()).await?;
        Ok(Some((joining, code)))
    };
    load_open(work, |(joining, code)| match joining {
        Joining::Closed(refusal) => closed("This invitation leads nowhere", refusal),
        open => show(open, &code),
    })
}

/// A link that does not work: 410, and what to do.
pub fn closed(title: &'static str, refusal: Refusal) -> AnyView {
    if let Some(response) = use_context::<ResponseOptions>() {
        response.set_status(StatusCode::GONE);
    }
    view! {
        <Title text=format!("{title} · Stillpoint")/>
        <section class="gate">
            <h1>{title}</h1>
            <p class="lead">{refusal.reason}</p>
            {refusal.instead.map(|instead| view! { <p>{instead}</p> })}
            <p><a class="button" href="/login">"Log in"</a></p>
        </section>
    }
    .into_any()
}

fn show(joining: Joining, code: &Secret) -> AnyView {
    let Joining::Open { project, email, roles, invited_by, has_account, me } = joining else { return ().into_any() };
    let way = match me {
        Some(me) if me.email == email => known(code),
        Some(me) => view! {
            <p class="lead">{format!("You are logged in as {}. Log out, then open the link again.", me.email)}</p>
            <form method="post" action="/actions/log-out"><button class="button button-main button-wide">"Log out"</button></form>
        }
        .into_any(),
        None if has_account => {
            let here = LocalPath::parse(&visit::here()).unwrap_or(LocalPath::root());
            view! {
                <p class="lead">{format!("There is an account for {email}: log in with it to join.")}</p>
                <a class="button button-main button-wide" href=here.after_login()>"Log in"</a>
            }
            .into_any()
        }
        None => newcomer(&email, code),
    };
    view! {
        <Title text=format!("Join {} · Stillpoint", project.title)/>
        <section class="gate">
            <h1>{format!("Join {}", project.title)}</h1>
            <p class="lead">{format!("{invited_by} invites {email} as {roles}.")}</p>
            {problem("join")}
            {way}
            <p class="gate-note">"The link works once."</p>
        </section>
    }
    .into_any()
}

fn known(code: &Secret) -> AnyView {
    view! {
        <form method="post" action="/actions/join" class="form">
            <input type="hidden" name="code" value=code.reveal().to_owned()/>
            <button class="button button-main button-wide">"Join"</button>
        </form>
    }
    .into_any()
}

fn newcomer(email: &str, code: &Secret) -> AnyView {
    view! {
        <form method="post" action="/actions/join" class="form">
            <input type="hidden" name="code" value=code.reveal().to_owned()/>
            <input type="hidden" name="email" autocomplete="username" value=email.to_owned()/>
            {new_password()}
            <button class="button button-main button-wide">"Create the account and join"</button>
        </form>
    }
    .into_any()
}

/// A password that is made up now, twice.
pub fn new_password() -> AnyView {
    view! {
        <div class="field">
            <label for="password">"New password"</label>
            <input
                id="password"
                name="password"
                type="password"
                autocomplete="new-password"
                minlength="12"
                required
                aria-describedby="password-help"
            />
            <p class="help" id="password-help">"At least 12 characters; a few unrelated words do well."</p>
        </div>
        <div class="field">
            <label for="repeated">"New password, once more"</label>
            <input
                id="repeated"
                name="repeated"
                type="password"
                autocomplete="new-password"
                minlength="12"
                required
            />
        </div>
    }
    .into_any()
}
