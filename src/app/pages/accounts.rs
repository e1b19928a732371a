//! `/accounts`: everybody who can log in, for operators.

use leptos::prelude::*;

use crate::app::page::{form_number, heading, link_made, load, problem};
use crate::app::present;
use crate::app::views::{date, icon};
use crate::authz::Need;
use crate::domain::view::AccountEntry;
use crate::ops;

#[component]
pub fn Accounts() -> impl IntoView {
    load(
        |visit| async move {
            let proof = visit.app.authorize_operator(&visit.actor, Need::Look).await?;
            ops::account::list(&visit.app, &proof).await
        },
        show,
    )
}

fn show(accounts: Vec<AccountEntry>) -> AnyView {
    let number = accounts.len();
    view! {
        <div class="head">
            {heading("Accounts".to_owned(), Vec::new())}
            <p class="lead">
                "Who was invited into a project makes an account with the link; "<code>"stillpointd admin user add"</code>
                " makes others."
            </p>
        </div>
        {link_made("Copy it now and hand it on: it is shown this once, works once, for a day. A former link has ended.")}
        {problem("reset-link")}
        <section class="panel" aria-labelledby="accounts">
            <header class="panel-head">
                <h2 id="accounts">"All accounts"</h2><span class="panel-note">{number.to_string()}</span>
            </header>
            <ul class="tokens">{accounts.into_iter().map(row).collect_view()}</ul>
        </section>
    }
    .into_any()
}

fn row(account: AccountEntry) -> AnyView {
    let AccountEntry { id, email, operator, support, created_at, last_seen_at } = account;
    let seen = match last_seen_at {
        Some(at) => view! { <span>"last seen "{date(present::moment(at))}</span> }.into_any(),
        None => view! { <span>"never seen"</span> }.into_any(),
    };
    view! {
        <li class="token">
            <div>
                <p class="token-name">
                    {email.clone()}
                    {operator.then(|| view! { <span class="tag">"operator"</span> })}
                    {support.then(|| view! { <span class="tag">"support"</span> })}
                </p>
                <p class="facts"><span>"since "{date(present::moment(created_at))}</span>{seen}</p>
            </div>
            <form method="post" action="/actions/reset-link">
                {form_number()}
                <input type="hidden" name="user" value=id.to_string()/>
                <button class="button button-small">
                    {icon("key")}<span>"Link for a new password"<span class="unseen">{format!(" of {email}")}</span></span>
                </button>
            </form>
        </li>
    }
    .into_any()
}
