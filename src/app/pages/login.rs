//! `/login?next=…`

use leptos::prelude::*;
use leptos_meta::Title;

use crate::app::flash::Flash;
use crate::app::local::LocalPath;
use crate::app::page::{done, load_open, problem};
use crate::app::visit::{self, Visit};
use crate::ops;

#[component]
pub fn Login() -> impl IntoView {
    let next = visit::query("next").as_deref().and_then(LocalPath::parse).unwrap_or(LocalPath::root());
    let work = async move {
        if ops::accounts::needs_setup(&visit::application()?).await? {
            leptos_axum::redirect("/setup");
            return Ok(None);
        }
        if Visit::here().await.is_ok() {
            leptos_axum::redirect(next.as_str());
            return Ok(None);
        }
        Ok(Some(next))
    };
    load_open(work, show)
}

fn show(next: LocalPath) -> AnyView {
    view! {
        <Title text="Log in · Stillpoint"/>
        <section class="gate">
            <h1>"Log in"</h1>
            <p class="lead">"Snapshots and restores of your environments."</p>
            {done()}
            {problem("log-in")}
            <form method="post" action="/actions/log-in" class="form">
                <input type="hidden" name="next" value=next.to_string()/>
                <div class="field">
                    <label for="email">"E-mail address"</label>
                    <input
                        id="email"
                        name="email"
                        type="email"
                        autocomplete="username"
                        required
                        autofocus
                        value=Flash::kept("log-in", "email")
                    />
                </div>
                <div class="field">
                    <label for="password">"Password"</label>
                    <input id="password" name="password" type="password" autocomplete="current-password" required/>
                </div>
                <button class="button button-main button-wide">"Log in"</button>
            </form>
            <p class="gate-note">"No account, or the password is lost? The operator of this installation can help."</p>
        </section>
    }
    .into_any()
}
