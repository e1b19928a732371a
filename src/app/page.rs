//! What every page has in common: it loads through an operation, or shows why it can't; its frame; its small parts.

use std::future::Future;

use http::StatusCode;
use leptos::either::Either;
use leptos::prelude::*;
use leptos_axum::ResponseOptions;
use leptos_meta::Title;

use super::flash::Flash;
use super::islands::{CopyButton, ThemeSwitch};
use super::local::LocalPath;
use super::views::icon;
use super::visit::{self, Visit};
use super::{once, shell};
use crate::domain::Problem;
use crate::domain::view::Me;
use crate::ops::{self, Error};

/// Loads a page's data for whoever is looking, and shows it in the frame. Who is not logged in is led to the log-in
/// page, or to the set-up while nobody has an account.
pub fn load<T, Work, V>(
    work: impl FnOnce(Visit) -> Work + Send + 'static,
    show: impl FnOnce(T) -> V + Send + 'static,
) -> impl IntoView
where
    T: Send + 'static,
    Work: Future<Output = Result<T, Error>> + Send + 'static,
    V: IntoView + 'static,
{
    Suspend::new(async move {
        let visit = match Visit::here().await {
            Ok(visit) => visit,
            Err(error) => return Either::Left(elsewhere(error).await),
        };
        let me = visit.actor.me();
        match work(visit).await {
            Ok(data) => Either::Right(Either::Left(frame(Some(me), show(data).into_any()))),
            Err(error) => Either::Right(Either::Right(frame(Some(me), failure(error.problem()).into_any()))),
        }
    })
}

/// For pages that somebody may see who is not logged in.
pub fn load_open<T, Work, V>(work: Work, show: impl FnOnce(T) -> V + Send + 'static) -> impl IntoView
where
    T: Send + 'static,
    Work: Future<Output = Result<Option<T>, Error>> + Send + 'static,
    V: IntoView + 'static,
{
    Suspend::new(async move {
        match work.await {
            Ok(Some(data)) => Either::Left(frame(None, show(data).into_any())),
            Ok(None) => Either::Right(Either::Left(())),
            Err(error) => Either::Right(Either::Right(frame(None, failure(error.problem()).into_any()))),
        }
    })
}

async fn elsewhere(error: Error) -> impl IntoView {
    if !matches!(error, Error::NotLoggedIn) {
        return Either::Left(frame(None, failure(error.problem()).into_any()));
    }
    let needs_setup = match visit::application() {
        Ok(app) => ops::accounts::needs_setup(&app).await.unwrap_or(false),
        Err(_) => false,
    };
    let here = LocalPath::parse(&visit::here()).unwrap_or(LocalPath::root());
    let door = if needs_setup { "/setup".to_owned() } else { here.after_login() };
    leptos_axum::redirect(&door);
    Either::Right(())
}

pub fn not_found() -> impl IntoView {
    Suspend::new(async {
        let me = Visit::here().await.ok().map(|visit| visit.actor.me());
        frame(me, failure(Error::NotFound("page").problem()).into_any())
    })
}

/// An error as a page, with its status.
fn failure(problem: Problem) -> AnyView {
    if let (Some(response), Ok(status)) = (use_context::<ResponseOptions>(), StatusCode::from_u16(problem.status)) {
        response.set_status(status);
    }
    let title = match problem.status {
        401 => "Please log in",
        403 => "Not allowed",
        404 => "Not found",
        409 => "Not now",
        _ if problem.status >= 500 => "Something went wrong",
        _ => "This did not work",
    };
    view! {
        <Title text=format!("{title} · Stillpoint")/>
        <section class="lost">
            <p class="lost-code">{problem.status.to_string()}</p>
            <h1>{title}</h1>
            <p class="lead">{problem.message}</p>
            {problem.hint.map(|hint| view! { <p>{hint}</p> })}
            <p><a class="button" href="/">{icon("back")}<span>"To the projects"</span></a></p>
        </section>
    }
    .into_any()
}

fn frame(me: Option<Me>, content: AnyView) -> AnyView {
    view! {
        <a class="skip" href="#main">"Skip to the content"</a>
        <header class="top">
            <div class="top-inner">
                <a class="brand" href="/">
                    {mark()}
                    <span>"Stillpoint"</span>
                </a>
                {me.map(account)}
                <div class="top-theme"><ThemeSwitch theme=shell::theme()/></div>
            </div>
        </header>
        <main id="main" tabindex="-1">{content}</main>
        <footer class="foot">
            <p>{format!("Stillpoint {}", env!("CARGO_PKG_VERSION"))}</p>
        </footer>
    }
    .into_any()
}

/// The address is made at run time: a wholly static `use_` would be written under that very name.
fn mark() -> impl IntoView {
    let href = "#i-mark".to_owned();
    view! { <svg class="brand-mark" aria-hidden="true" focusable="false"><use_ href=href></use_></svg> }
}

fn account(me: Me) -> AnyView {
    let role =
        [(me.operator, "operator"), (me.support, "support")].into_iter().find(|(is, _)| *is).map(|(_, word)| word);
    view! {
        <nav class="top-nav" aria-label="Console">
            <a href="/">"Projects"</a>
            {me.support.then(|| view! { <a href="/support/tickets">"Support queue"</a> })}
            <a href="/tokens">"API tokens"</a>
            {me.operator.then(|| view! { <a href="/accounts">"Accounts"</a> <a href="/audit">"Audit"</a> })}
        </nav>
        <div class="top-account">
            <a class="top-me" href="/account" title=format!("Account of {}", me.email)>{me.email.clone()}</a>
            {role.map(|role| view! { <span class="tag">{role}</span> })}
            <form method="post" action="/actions/log-out">
                <button class="button button-quiet">{icon("leave")}<span>"Log out"</span></button>
            </form>
        </div>
    }
    .into_any()
}

/// Title of the window, the way here, and the page's heading.
pub fn heading(title: String, way: Vec<(String, String)>) -> AnyView {
    let window: Vec<&str> =
        std::iter::once(title.as_str()).chain(way.iter().rev().map(|(_, text)| text.as_str())).collect();
    let window = format!("{} · Stillpoint", window.join(" · "));
    let steps = way.into_iter().map(|(href, text)| view! { <li><a href=href>{text}</a></li> }).collect_view();
    view! {
        <Title text=window/>
        <nav class="crumbs" aria-label="Way here"><ol>{steps}</ol></nav>
        <h1>{title}</h1>
    }
    .into_any()
}

/// Why the action that was tried last did not work, beside its form.
pub fn problem(action: &str) -> impl IntoView + use<> {
    Flash::problem_of(action).map(|Problem { message, hint, .. }| {
        view! {
            <div class="problem" role="alert" tabindex="-1">
                {icon("alert")}
                <div><p class="problem-what">{message}</p>{hint.map(|hint| view! { <p>{hint}</p> })}</div>
            </div>
        }
    })
}

/// What the action that was tried last has done, where that does not show by itself.
pub fn done() -> impl IntoView {
    match Flash::here()? {
        Flash::Done { text } => Some(view! { <p class="done" role="status">{icon("check")}<span>{text}</span></p> }),
        _ => None,
    }
}

/// A link that works once, this once.
pub fn link_made(help: &'static str) -> impl IntoView {
    let Flash::Link { what, url } = Flash::here()? else { return None };
    Some(view! {
        <section class="made" role="status" aria-labelledby="made">
            <h2 id="made">{what}</h2>
            <p>{help}</p>
            <p class="made-text"><code class="mono">{url.clone()}</code><CopyButton text=url/></p>
        </section>
    })
}

/// The number by which a form that is sent twice acts once.
pub fn form_number() -> impl IntoView {
    view! { <input type="hidden" name="form" value=once::form_number()/> }
}
