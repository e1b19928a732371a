//! `/accounts`: everybody who can log in, for operators: who runs the installation, who works tickets, whose is closed.

use leptos::prelude::*;

use crate::app::page::{done, form_number, heading, link_made, load, problem};
use crate::app::present;
use crate::app::views::{date, icon, reason};
use crate::authz::Need;
use crate::domain::policy::AccountChange;
use crate::domain::view::{AccountEntry, Offer};
use crate::ops;

#[component]
pub fn Accounts() -> impl IntoView {
    load(
        |visit| async move {
            let proof = visit.app.authorize_operator(&visit.actor, Need::Look).await?;
            ops::people::list(&visit.app, &proof).await
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
        {done()}
        {link_made("Copy it now and hand it on: it is shown this once, works once, for a day. A former link has ended.")}
        {problem("reset-link")}
        {problem("change-account")}
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
    let left = account.left_behind();
    let AccountEntry { id, email, operator, support, created_at, last_seen_at, closed_at, is_me, changes, .. } =
        account;
    let user = id.to_string();
    let seen = match last_seen_at {
        Some(at) => view! { <span>"last seen "{date(present::moment(at))}</span> }.into_any(),
        None => view! { <span>"never seen"</span> }.into_any(),
    };
    let closed = closed_at.map(|at| view! { <span>"closed since "{date(present::moment(at))}</span> });
    let link = closed_at.is_none().then(|| {
        view! {
            <form method="post" action="/actions/reset-link">
                {form_number()}
                <input type="hidden" name="user" value=user.clone()/>
                <button class="button button-small">
                    {icon("key")}<span>"Link for a new password"<span class="unseen">{format!(" of {email}")}</span></span>
                </button>
            </form>
        }
    });
    let changes = changes.into_iter().map(|(change, offer)| {
        let left = if change == AccountChange::Close { left.clone() } else { Vec::new() };
        self::change((&user, &email), change, &offer, left)
    });
    view! {
        <li class="token">
            <div>
                <p class="token-name">
                    {email.clone()}
                    {is_me.then(|| view! { <span class="tag tag-strong">"you"</span> })}
                    {operator.then(|| view! { <span class="tag">"operator"</span> })}
                    {support.then(|| view! { <span class="tag">"support"</span> })}
                    {closed_at.map(|_| view! { <span class="tag">"closed"</span> })}
                </p>
                <p class="facts"><span>"since "{date(present::moment(created_at))}</span>{seen}{closed}</p>
                <details class="more">
                    <summary>"Change"<span class="unseen">{format!(" {email}")}</span></summary>
                    {changes.collect_view()}
                </details>
            </div>
            {link}
        </li>
    }
    .into_any()
}

/// One that can't be done is shown with its reason (R7).
fn change((user, email): (&str, &str), change: AccountChange, offer: &Offer, left: Vec<String>) -> AnyView {
    let (word, help) = match change {
        AccountChange::Close => (
            "Close the account",
            "Its sessions end and its API tokens are revoked at once; nobody logs in by it, and it gets no mail. Its name \
             stays in the history, and it can be opened again.",
        ),
        AccountChange::Open => {
            ("Open the account again", "With the roles that it had. API tokens that were revoked stay so.")
        }
        AccountChange::GrantOperator => ("Make an operator", "Operators run this installation."),
        AccountChange::WithdrawOperator => ("No operator any more", "Roles in projects stay."),
        AccountChange::GrantSupport => {
            ("Make support staff", "They see every project's history, and restore through tickets.")
        }
        AccountChange::WithdrawSupport => {
            ("No support staff any more", "Others hand tickets that are being worked on back to the queue.")
        }
    };
    let why = present::refusal(offer);
    let (closed, id) = (why.is_some(), format!("why-{change}-{user}"));
    let style =
        if change == AccountChange::Close { "button button-small button-danger" } else { "button button-small" };
    view! {
        <form method="post" action="/actions/change-account" class="form">
            {form_number()}
            <input type="hidden" name="user" value=user.to_owned()/>
            <input type="hidden" name="change" value=change.as_str()/>
            <p class="help">{help}</p>
            {left.into_iter().map(|text| view! { <p class="help">{icon("alert")}" "{text}</p> }).collect_view()}
            <button class=style disabled=closed aria-describedby=closed.then(|| id.clone())>
                {word}<span class="unseen">{format!(": {email}")}</span>
            </button>
            {why.map(|text| reason(id.clone(), text))}
        </form>
    }
    .into_any()
}
