//! `/setup?code=…`: the first admin, before there is any account.

use leptos::prelude::*;
use leptos_meta::Title;

use crate::app::flash::Flash;
use crate::app::page::{load_open, problem};
use crate::app::visit;
use crate::ops;

#[component]
pub fn Setup() -> impl IntoView {
    let code = visit::query("code").unwrap_or_default();
    let work = async move {
        if !ops::accounts::needs_setup(&visit::application()?).await? {
            leptos_axum::redirect("/login");
            return Ok(None);
        }
        Ok(Some(code))
    };
    load_open(work, show)
}

fn show(code: String) -> AnyView {
    view! {
        <Title text="Set up · Stillpoint"/>
        <section class="gate">
            <h1>"Set up Stillpoint"</h1>
            <p class="lead">"Create the first account. It runs this installation and can add everybody else."</p>
            {problem("set-up")}
            <form method="post" action="/actions/set-up" class="form">
                <div class="field">
                    <label for="code">"Set-up code"</label>
                    <input
                        id="code"
                        name="code"
                        class="mono"
                        autocomplete="one-time-code"
                        spellcheck="false"
                        required
                        value=code
                        aria-describedby="code-help"
                    />
                    <p class="help" id="code-help">"The server printed it on its terminal when it started."</p>
                </div>
                <div class="field">
                    <label for="email">"E-mail address"</label>
                    <input
                        id="email"
                        name="email"
                        type="email"
                        autocomplete="username"
                        required
                        value=Flash::kept("set-up", "email")
                    />
                </div>
                <div class="field">
                    <label for="password">"Password"</label>
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
                    <label for="repeated">"Password, once more"</label>
                    <input
                        id="repeated"
                        name="repeated"
                        type="password"
                        autocomplete="new-password"
                        minlength="12"
                        required
                    />
                </div>
                <button class="button button-main button-wide">"Create the account"</button>
            </form>
        </section>
    }
    .into_any()
}
