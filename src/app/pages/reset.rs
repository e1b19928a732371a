//! `/reset?code=…`: a new password, by a link that an operator made.

use leptos::prelude::*;
use leptos_meta::Title;

use super::join::{closed, new_password};
use crate::app::page::{load_open, problem};
use crate::app::visit;
use crate::domain::Secret;
use crate::ops::{self, Error};

#[component]
pub fn Reset() -> impl IntoView {
    let code = Secret::new(visit::query("code").unwrap_or_default());
    let work = async move {
        match ops::account::look(&visit::application()?, &code).await {
            Ok(email) => Ok(Some(Ok((email, code)))),
            Err(Error::Conflict(refusal)) => Ok(Some(Err(refusal))),
            Err(other) => Err(other),
        }
    };
    load_open(work, |found| match found {
        Ok((email, code)) => show(&email, &code),
        Err(refusal) => closed("This link leads nowhere", refusal),
    })
}

fn show(email: &str, code: &Secret) -> AnyView {
    view! {
        <Title text="New password · Stillpoint"/>
        <section class="gate">
            <h1>"Set a new password"</h1>
            <p class="lead">{format!("For {email}. Every session of this account ends; API tokens stay.")}</p>
            {problem("reset-password")}
            <form method="post" action="/actions/reset-password" class="form">
                <input type="hidden" name="code" value=code.reveal().to_owned()/>
                <input type="hidden" name="email" autocomplete="username" value=email.to_owned()/>
                {new_password()}
                <button class="button button-main button-wide">"Set the password"</button>
            </form>
            <p class="gate-note">"The link works once."</p>
        </section>
    }
    .into_any()
}
